/*
 * journal.pml: a model of reactor/pubsub/journal*.c for spin; check_journal_model.c runs it.
 *
 * What it has: the draft, the commit, the head, segments that are closed, chosen and taken with the
 * floor raised before, the floor raised for slots, the record of a draft in its seat and who takes
 * it back, a reader with its checks of the floor, sleep and doorbell, a writer that is killed at any
 * step, or stopped there for ever, whoever clears its seat, and the next writer in it.
 *
 * Bounds: SLOTS slots, SEGMENTS segments of one record each, seats 0 and 1 with RECORDS_0 and
 * RECORDS_1 records, after a kill one more of seat 0, one reader. Ids do not wrap, as laps do.
 * A step has one access to shared memory, but which segment is chosen is one step, because that is
 * only a proposal, which the swap of the segment's state decides on.
 *
 * What holds, in all orders of steps:
 *   - what a reader accepts is the whole record of that id, and the same for every reader (truth);
 *   - an id is given once, and no record is published twice; below journal_end() there is no hole;
 *   - what a reader does not get is below the floor, and the floor is at most the end;
 *   - a segment that is written belongs to the writer and to nobody else;
 *   - a draft that its killed writer had begun is void if, and only if, it was not published;
 *   - no reader sleeps on while there is a record for it, if its writer lives or was reaped;
 *   - with one writer stopped for ever, at any step, the other one still publishes all (no invalid
 *     end state), and no loop goes on for ever (no cycle without progress; not asked after a kill,
 *     because there are fewer slots here than writers that may have stopped).
 *
 * Each order that the C code asks of the machine has a number. -DWITHOUT=n leaves number n out: then
 * the two accesses that it keeps apart may happen in either order.
 *
 *    1  commit    release of the swap     record before slot
 *    2  find      acquire of the slot     slot before record
 *    3  take      release fence           floor before record
 *    4  holds     acquire fence           record before floor
 *    5  commit    release of the swap     floor before slot
 *    6  find      acquire of the slot     slot before floor
 *    7  head      release                 slot before head
 *    8  end       acquire                 head before slot
 *    9  close     release                 record (of a draft that is dropped) before state
 *   10  take      acquire of the swap     state before record
 *   11  sleep     full fence              wish before slot
 *   12  announce  full fence              slot before wish
 *   13  commit    acquire of the swap     slot before what the seat says of its draft
 *   14  commit    release of the swap     what another seat says of its draft before slot
 *   15  clear     acquire of the slot     slot before what the seat says of its draft
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef SEGMENTS
#define SEGMENTS 4
#endif
#ifndef RECORDS_0
#define RECORDS_0 1
#endif
#ifndef RECORDS_1
#define RECORDS_1 3
#endif
#ifndef ENOUGH
#define ENOUGH 1 /* closed segments beside which no fresh one is taken */
#endif
#define IDS    8
#ifndef WITHOUT
#define WITHOUT 0
#endif

/* ---- what is shared ---- */

#define FREE   0
#define OWNED  1
#define CLOSED 2
#define NONE   7

byte head = 1, floor = 1;
byte slot[SLOTS];     /* id * 4 + segment; 0: never used */
byte swapped[SLOTS];  /* the same, as swaps see it: only without 7 ahead of what loads see */
byte kind[SEGMENTS], value[SEGMENTS]; /* one word: owned by that seat, closed with that end */
byte word[SEGMENTS], rid[SEGMENTS];   /* a record's words, and its id */
byte draft[2];                        /* as slots are; DRAFTED + segment: no id yet */
bool wants, rung;

#define ID(v)	   ((v) / 4)
#define PLACE(v)   ((v) % 4)
#define DRAFTED	   128

/* ---- what nobody sees but the judge ---- */

byte truth[IDS], end = 1;
bool pending;	    /* seat 0 has begun a record and not published it */
bool dead, stopped; /* who sits in seat 0 */
byte done;	    /* writers that have published all */
bool voided;

/* ---- writing ---- */

#define RAISE(what, to)                                                                            \
	d_step {                                                                                   \
		if                                                                                 \
		:: what < (to) -> what = (to)                                                      \
		:: else                                                                            \
		fi                                                                                 \
	}

#define RAISE_FLOOR(to)                                                                            \
	d_step {                                                                                   \
		assert((to) <= end);                                                               \
		if                                                                                 \
		:: floor < (to) -> floor = (to)                                                    \
		:: else                                                                            \
		fi                                                                                 \
	}

inline find_end()
{
	e = head;
	do
	:: atomic { ID(slot[e % SLOTS]) == e -> e++ }
	:: atomic { ID(slot[e % SLOTS]) > e -> e = head }
	:: ID(slot[e % SLOTS]) < e -> break
	od;
	skip
}

inline close_segment(s)
{
	find_end();
	d_step { kind[s] = CLOSED; value[s] = e; e = 0 }
}

inline choose()
{
	d_step {
		n = 0;
		free = NONE;
		seg = NONE;
		i = 0;
		do
		:: i < SEGMENTS ->
			if
			:: kind[i] == FREE && free == NONE -> free = i
			:: kind[i] == CLOSED ->
				n++;
				if
				:: seg == NONE -> seg = i
				:: seg != NONE && value[i] < value[seg] -> seg = i
				:: else
				fi
			:: else
			fi;
			i++
		:: else -> break
		od;
		if
		:: seg != NONE && (value[seg] <= floor || n >= ENOUGH || free == NONE) ->
			before = value[seg]
		:: else ->
			seg = free;
			before = 0
		fi;
		assert(seg != NONE);
		i = 0; n = 0; free = 0
	}
}

/* seg is ours; its words are written. */
inline write_word()
{
	d_step { assert(kind[seg] == OWNED && value[seg] == me); word[seg] = token }
}

inline swap_segment()
{
	d_step {
		ok = (before == 0 && kind[seg] == FREE) ||
		     (before && kind[seg] == CLOSED && value[seg] == before);
		if
		:: ok -> kind[seg] = OWNED; value[seg] = me
		:: else
		fi
	}
}

inline take()
{
	do
	:: choose();
#if WITHOUT == 3
		/* the floor comes behind the record */
		swap_segment();
		if
		:: ok -> write_word(); RAISE_FLOOR(before)
		:: else
		fi;
#elif WITHOUT == 10
		/* the record comes before the state */
		RAISE_FLOOR(before);
		if
		:: word[seg] = token
		:: true
		fi;
		swap_segment();
#else
		RAISE_FLOOR(before);
		swap_segment();
#endif
		if
		:: ok -> break
		:: else
		fi
	od;
	skip;
	d_step { before = 0; ok = false }
}

inline begin()
{
	d_step {
		draft[me] = DRAFTED + seg;
		if
		:: me == 0 -> pending = true
		:: else
		fi
	}
	write_word()
}

inline drop()
{
	d_step {
		draft[me] = 0;
		if
		:: me == 0 -> pending = false
		:: else
		fi
	}
}

inline take_back()
{
	if
	:: atomic { ID(before) && kind[PLACE(before)] == OWNED -> n = value[PLACE(before)] };
		if
		:: rid[PLACE(before)] == ID(before) ->
			d_step {
				if
				:: draft[n] == before -> draft[n] = 0
				:: else
				fi
			}
		:: else
		fi;
		n = 0
	:: else
	fi
}

inline swap_slot()
{
	d_step {
		ok = swapped[e % SLOTS] == before;
		if
		:: ok ->
			assert(e < IDS && truth[e] == 0);
			assert(e == 1 || ID(swapped[(e - 1) % SLOTS]) >= e - 1);
			swapped[e % SLOTS] = e * 4 + seg;
			truth[e] = token;
			end = e + 1;
			if
			:: me == 0 -> pending = false
			:: else
			fi;
#if WITHOUT != 7
			slot[e % SLOTS] = e * 4 + seg
#endif
		:: else
		fi
	}
}

#define CLEAR_SLOT() RAISE_FLOOR((e > SLOTS -> e - SLOTS + 1 : 0))

/* What stands before the swap of the slot, and what may come behind it. */
inline commit()
{
	d_step { before = slot[e % SLOTS]; ok = false };
	if
	:: ID(before) >= e || floor > e
	:: else ->
#if WITHOUT != 14
		take_back();
#endif
#if WITHOUT != 5
		CLEAR_SLOT();
#endif
#if WITHOUT != 1
		rid[seg] = e;
#endif
		draft[me] = e * 4 + seg;
#if WITHOUT == 13
		draft[me] = 0;
#endif
#if WITHOUT == 12
		woke = wants;
#endif
		swap_slot();
#if WITHOUT == 14
		take_back();
#endif
#if WITHOUT == 5
		CLEAR_SLOT();
#endif
#if WITHOUT == 1
		rid[seg] = e;
#endif
		skip
	fi;
	before = 0
}

inline publish()
{
	do
	:: find_end();
		commit();
		if
		:: ok -> break
		:: else
		fi
	od;
	skip;
	RAISE(head, e + 1);
#if WITHOUT == 7
	slot[e % SLOTS] = swapped[e % SLOTS];
#endif
	draft[me] = 0;
#if WITHOUT != 12
	woke = wants;
#endif
	d_step {
		if
		:: woke -> rung = rung || wants; wants = false
		:: else
		fi;
		e = 0;
		woke = false;
		ok = false
	}
}

inline write_records(records)
{
	do
	:: left < records ->
		left++;
		token++;
		if
		:: seg != NONE -> close_segment(seg)
		:: else
		fi;
		take();
		begin();
		if
		:: !dropped -> /* it drops that, and drafts another one */
			dropped = true;
			drop();
			close_segment(seg);
#if WITHOUT == 9
			word[seg] = token;
#endif
			token = token + 8;
			take();
			begin()
		:: true
		fi;
		publish();
	:: else -> break
	od;
	skip
}

#define LOCALS                                                                                     \
	byte token = me * 64 + first, seg = NONE, e, before, i, n, free, left;                      \
	bool ok, woke

#define FORGET /* so that ends which differ in nothing else are one state */                          \
	token = 0; seg = 0; e = 0; before = 0; i = 0; n = 0; free = 0; left = 0; ok = false;            \
	woke = false; dropped = false; first = 1; records = 0

proctype writer(byte me; byte first; byte records; bool dropped)
{
	LOCALS;

	{
		write_records(records);
		d_step { done++; FORGET }
	} unless {
		me == 0 && first == 0 && (dead || stopped) -> d_step { FORGET }
	}
}

/* Kills the first writer of seat 0 at any step, clears its seat, and sends the next one. */
proctype reaper()
{
	byte e, said, now;

	dead = true;
	said = draft[0];
#if WITHOUT == 15
	d_step { now = draft[0]; draft[0] = 0 }
#endif
	if
	:: said && said < DRAFTED -> e = slot[rid[PLACE(said)] % SLOTS]
	:: else
	fi;
#if WITHOUT != 15
	d_step { now = draft[0]; draft[0] = 0 }
#endif
	voided = now && e != said;
	assert(voided == pending);
	d_step { pending = false; said = 0 }
	do
	:: said < SEGMENTS ->
		if
		:: kind[said] == OWNED && value[said] == 0 -> close_segment(said)
		:: else
		fi;
		said++
	:: else -> break
	od;
	skip;
	d_step { rung = rung || wants; wants = false }
	d_step { e = 0; said = 0; now = 0 }
	run writer(0, 32, 1, true)
}

/* ---- reading ---- */

proctype reader()
{
	byte at = 1, h, s, f, w, r;

	do
	:: d_step { h = 0; s = 0; f = 0; w = 0; r = 0 };
#if WITHOUT == 8
		s = slot[at % SLOTS];
		h = head;
#elif WITHOUT == 6
		f = floor;
		s = slot[at % SLOTS];
#elif WITHOUT == 2
		h = 0; /* by chance it looked at this record before it looked at the slot */
		do
		:: h < SEGMENTS - 1 -> h++
		:: true -> break
		od;
		w = word[h];
		r = rid[h];
		s = slot[at % SLOTS];
		if
		:: ID(s) == at && PLACE(s) != h -> w = word[PLACE(s)]; r = rid[PLACE(s)]
		:: else
		fi;
#else
		h = head;
		s = slot[at % SLOTS];
		assert(!(ID(s) < at && at < h));
#endif
#if WITHOUT == 8
		assert(!(ID(s) < at && at < h));
#endif
#if WITHOUT != 6
		f = floor;
#endif
		if
		:: f > at -> at = f
		:: f <= at && ID(s) > at -> assert(false) /* gone, and nobody says how much is */
		:: f <= at && ID(s) < at -> goto sleep
		:: f <= at && ID(s) == at ->
#if WITHOUT == 4
			f = floor;
#endif
#if WITHOUT != 2
			w = word[PLACE(s)];
			r = rid[PLACE(s)];
#endif
#if WITHOUT != 4
			f = floor;
#endif
			d_step {
				if
				:: f <= at -> assert(r == at && w == truth[at]); at++
				:: else -> at = f
				fi
			}
		fi;
		goto next;
sleep:
#if WITHOUT == 11
		s = slot[at % SLOTS];
		wants = true;
#else
		wants = true;
		s = slot[at % SLOTS];
#endif
		if
		:: ID(s) >= at || floor > at -> wants = false
		:: else ->
			d_step { h = 0; s = 0; f = 0; w = 0; r = 0 };
			if
			:: atomic { rung -> rung = false }
			:: stopped -> break /* perhaps just before it would ring */
			:: done >= 2 && ID(slot[at % SLOTS]) < at && floor <= at && !rung -> break
			fi
		fi;
next:
		skip
	od
}

init
{
	atomic {
		run writer(0, 0, RECORDS_0, DROPPED);
		run writer(1, 0, RECORDS_1, true);
#if READER
		run reader();
#endif
#if KILL
		run reaper()
#elif STOP
		/* it goes on till here, and then perhaps no further */
#endif
	}
#if STOP
	d_step { stopped = true; done++ }
#endif
}
