/*
 * Sleeping and waking are two stores and two loads that cross:
 *
 *     reader (journal_sleep)          writer (journal_commit, journal_announce)
 *       wants_doorbell = 1              slot = record
 *       -- full fence --                -- full fence --
 *       look at the slot                look at wants_doorbell
 *
 * In any order of these four at least one side sees what the other one stored: if both looks
 * missed, each would have come before the other side's store, and so before the store of its own
 * side, which the fences exclude. Whoever sees wants_doorbell takes it back with an exchange, so
 * that one sleep costs one doorbell. A writer that dies between its store and its look wakes
 * nobody: therefore whoever reaps it rings all doorbells. One that does not have the doorbell of a
 * seat yet leaves the wish, and rings when it gets the doorbell. Who looks how many seats there are
 * does so behind the fence, too, so that the above holds for new seats.
 */
#include "reactor/pubsub/journal_parts.h"

/* ---- sleeping ---- */

unsigned journal_announce(struct journal_port *port)
{
	const struct journal *journal = port->journal;
	unsigned rung = 0;

	if (!port->unannounced)
		return 0;
	port->unannounced = false;
	FULL_FENCE();
	for (unsigned i = 0, n = seats_in_use(journal); i < n; i++) {
		uint32_t *wants = &seat_of(journal, i)->wants_doorbell;

		if (i == port->seat || !LOAD_RELAXED(*wants) || journal->doorbells[i] < 0 ||
		    !__atomic_exchange_n(wants, 0, __ATOMIC_SEQ_CST))
			continue;
		journal_ring_doorbell(journal, i);
		rung++;
	}
	return rung;
}

void journal_tell_cursor(struct journal_port *port, uint64_t id)
{
	struct journal_seat *own = seat_of(port->journal, port->seat);

	STORE(own->cursor, id);
	STORE_RELAXED(own->turns, own->turns + 1);
}

bool journal_sleep(struct journal_port *port, uint64_t id)
{
	const struct journal *journal = port->journal;
	struct journal_seat *own = seat_of(journal, port->seat);

	STORE(own->wants_doorbell, 1);
	FULL_FENCE();
	if (slot_compare(journal, id, LOAD(*slot_of(journal, id))) < 0 &&
	    journal_floor(journal) <= id)
		return true;
	STORE(own->wants_doorbell, 0);
	return false;
}

void journal_wake_up(struct journal_port *port)
{
	STORE(seat_of(port->journal, port->seat)->wants_doorbell, 0);
}

/* ---- waiting for readers ---- */

/* Has this reader had no turn for too long, as far as we have looked? */
static bool is_overdue(struct journal_port *port, unsigned seat, uint32_t now_ms)
{
	uint32_t turns = LOAD_RELAXED(seat_of(port->journal, seat)->turns);

	if (port->seen[seat].turns != turns) {
		port->seen[seat].turns = turns;
		port->seen[seat].since_ms = now_ms;
		port->seen[seat].left_behind = false;
	}
	return now_ms - port->seen[seat].since_ms >= JOURNAL_READER_MS;
}

static void look_at_readers(struct journal_port *port, uint64_t least, uint32_t now_ms,
			    unsigned *left_behind)
{
	const struct journal *journal = port->journal;

	port->slowest = UINT64_MAX;
	port->looks = false;
	for (unsigned i = 0, n = seats_in_use(journal); i < n; i++) {
		const struct journal_seat *reader = seat_of(journal, i);
		uint64_t cursor = LOAD(reader->cursor);
		bool overdue = is_overdue(port, i, now_ms);

		if (i == port->seat || LOAD(reader->state) == VACANT)
			continue;
		if (cursor < least && overdue) {
			*left_behind += !port->seen[i].left_behind;
			port->seen[i].left_behind = true;
		} else if (cursor < port->slowest) {
			port->slowest = cursor;
		}
	}
}

/* How many parts a writer may be ahead of its own process: a 64th of the history. */
static unsigned parts_here(const struct journal *journal)
{
	unsigned parts = 2 * seats_in_use(journal) * JOURNAL_AHEAD_PARTS / 64;

	if (parts >= JOURNAL_AHEAD_PARTS)
		return JOURNAL_AHEAD_PARTS - 1;
	return parts ? parts : 1;
}

bool journal_may_go_on(struct journal_port *port, bool waits, uint32_t now_ms,
		       unsigned *left_behind)
{
	const struct journal_seat *own = seat_of(port->journal, port->seat);
	/* One that waits goes on when a part more than that has been read. */
	unsigned at = port->ahead_at + JOURNAL_AHEAD_PARTS + waits;
	uint64_t least = port->ahead[(at + 1) % JOURNAL_AHEAD_PARTS];
	uint64_t here = port->ahead[(at - parts_here(port->journal)) % JOURNAL_AHEAD_PARTS];

	if (port->looks || port->slowest < least)
		look_at_readers(port, least, now_ms, left_behind);
	return port->slowest >= least && LOAD_RELAXED(own->cursor) >= here;
}

/* ---- the last of all ---- */

void journal_say_last(struct journal_port *port)
{
	STORE(seat_of(port->journal, port->seat)->state, SAID_ALL);
	journal_ring_waiters(port->journal);
}

bool journal_all_said(struct journal_port *port, uint32_t now_ms)
{
	struct journal_seat *own = seat_of(port->journal, port->seat);
	bool all = true;

	STORE_RELAXED(own->looks, own->looks + 1);
	for (unsigned i = 0, n = seats_in_use(port->journal); i < n; i++) {
		const struct journal_seat *other = seat_of(port->journal, i);
		uint32_t looks = LOAD_RELAXED(other->looks);

		if (!port->looked || port->alive[i].looks != looks) {
			port->alive[i].looks = looks;
			port->alive[i].since_ms = now_ms;
		}
		if (LOAD(other->state) == TAKEN &&
		    now_ms - port->alive[i].since_ms < JOURNAL_PATIENCE_MS)
			all = false;
	}
	port->looked = true;
	return all;
}
