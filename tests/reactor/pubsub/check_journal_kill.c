/*
 * journal, a writer that is killed or stopped at each instruction of what it does: of draft, commit
 * and announce, and of taking and leaving a seat.
 *
 * Meanwhile another writer goes round all slots and segments, and a reader reads all that is
 * published. Whatever happens to the first one, nothing is torn, missed or doubled; the record that
 * it was about to publish is published once or, if it was killed, perhaps void; all readers see one
 * order, and the next writer in its seat goes on.
 *
 * Each point has a journal and a process of its own. Short tests try every n-th instruction.
 */
#include <limits.h>
#include <poll.h>
#include <sys/mman.h>

#include "reactor/pubsub/journal_parts.h"
#include "tests/reactor/pubsub/journal_room.h"

#define SEEN(field)	   __atomic_load_n(&shared->field, __ATOMIC_ACQUIRE)
#define TELL(field, value) __atomic_store_n(&shared->field, (value), __ATOMIC_RELEASE)

enum { WRITER, VICTIM, SLEEPER, SEATS_USED };

static struct shared {
	uint64_t serial;
	bool done; /* the victim's */
} * shared;

static void open_shared(void)
{
	shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
}

/* ---- a reader that reads all ---- */

#define LOG_MAX (8 * SLOTS)

static struct {
	uint64_t at, next; /* of the writer's numbers */
	unsigned long victims;
	uint64_t log[LOG_MAX]; /* who said what, by id */
} reader;

#define LAST_WORDS UINT64_C(1000000) /* the number of what the victim is about to say */

static void read_on(void)
{
	struct journal_entry entry;

	while (hear(reader.at, &entry) == JOURNAL_FOUND) {
		if (entry.sender >> 48 == WRITER)
			MUST(entry.sender == sender_of(WRITER, reader.next++));
		reader.victims += entry.sender == sender_of(VICTIM, LAST_WORDS);
		MUST(reader.at - FIRST < LOG_MAX);
		reader.log[reader.at++ - FIRST] = entry.sender;
	}
	MUST(journal_find(&journal, reader.at, &entry) == JOURNAL_NOT_YET); /* it missed nothing */
}

/* Another reader comes later, and reads what is there by then: the same, in the same order. */
static void read_again(void)
{
	MUST(journal_end(&journal) == reader.at);
	for (uint64_t id = journal_floor(&journal); id < reader.at; id++)
		MUST(heard_sender(id) == reader.log[id - FIRST]);
}

/* ---- the other writer ---- */

static uint64_t said;

static void say_and_hear(size_t n)
{
	(void)say(&ports[WRITER], said++, n);
	read_on();
}

/* Goes so often round all slots, and round all segments. */
static void go_round(unsigned laps)
{
	for (unsigned i = 0; i < laps * SLOTS; i++) {
		(void)say(&ports[WRITER], said++, 0);
		if (i % 64 == 0)
			read_on();
	}
	for (unsigned i = 0; i < 50; i++)
		say_and_hear(JOURNAL_PAYLOAD_MAX - 30);
}

/* ---- what the victim does ---- */

enum need { HAS_ONE, UP_TO_ITS_END, FRESH, EXPIRED, OLDEST, FULL };

static struct kill_case {
	const char *name;
	void (*act)(void);
	enum need segment; /* that its record needs */
	bool later_lap, needs_floor;
	size_t bytes;
	unsigned long stride;
} now;

static void publish(void)
{
	(void)journal_append(&ports[VICTIM]);
	(void)journal_announce(&ports[VICTIM]);
}

static struct journal_message last_words;

static void draft_and_publish(void)
{
	(void)journal_draft(&ports[VICTIM], &last_words);
	publish();
}

static void take_seat(void)
{
	journal_take_seat(&ports[VICTIM], &journal, VICTIM);
}

static void leave_seat(void)
{
	journal_leave_seat(&ports[VICTIM]);
}

static void take_serial(void)
{
	TELL(serial, journal_serial(&journal));
}

static bool publishes(void)
{
	return now.act == draft_and_publish || now.act == publish;
}

static size_t record_size(size_t payload_n, uint64_t number)
{
	char name[32];

	return (RECORD_HEAD + put_name(name, number) + type_length(number) + payload_n +
		RECORD_UNIT - 1) /
	       RECORD_UNIT * RECORD_UNIT;
}

/* Fills the victim's segment so that `left` bytes of it are free. */
static void fill_up_to(size_t left)
{
	struct journal_port *port = &ports[VICTIM];
	uint64_t number = 1;

	(void)say(port, number, 0);
	while (JOURNAL_SEGMENT - port->used > left) {
		size_t gap = JOURNAL_SEGMENT - port->used - left, least = record_size(0, number);

		if (gap > 2 * least)
			gap = gap - least < 60000 ? gap - least : 60000;
		MUST(gap >= least);
		(void)say(port, number, gap - least);
	}
	MUST(JOURNAL_SEGMENT - port->used == left);
}

static _Noreturn void act_and_stop(void)
{
	struct journal_port *port = &ports[VICTIM];

	journal_take_seat(port, &journal, VICTIM);
	if (now.segment == HAS_ONE)
		(void)say(port, 0, 10);
	else if (now.segment == UP_TO_ITS_END)
		fill_up_to(record_size(now.bytes, LAST_WORDS));
	else if (now.segment == FULL)
		fill_up_to(record_size(now.bytes, LAST_WORDS) - RECORD_UNIT);
	last_words = message_of(port, LAST_WORDS, now.bytes, 0);
	if (now.act != draft_and_publish)
		(void)journal_draft(port, &last_words);
	stop();
	now.act();
	TELL(done, true);
	stop();
	_exit(0);
}

/* ---- one point ---- */

static struct {
	unsigned long points, instructions, published, silent, voids, unpublished;
} sums;

/* With no more segments than these seats need: a walk over those of all seats there can be has
 * thousands of instructions which repeat. */
static void open_small_room(void)
{
	MUST(journal_open(&journal, SEATS_USED, HISTORY, FIRST) == 0);
	journal.segments = journal.segments_max + 2 * SEATS_USED;
	for (unsigned i = 0; i < SEATS_USED; i++)
		journal_take_seat(&ports[i], &journal, i);
}

/* Prepares all that the case asks for, and has the victim stand before its first instruction. */
static pid_t begin(void)
{
	pid_t pid;

	TELL(done, false);
	TELL(serial, 0);
	open_small_room();
	journal_ring_all_doorbells(&journal); /* so that all symbols are bound before steps count */
	said = 0;
	reader.at = FIRST;
	reader.next = reader.victims = 0;
	say_and_hear(100);
	if (now.later_lap)
		go_round(1);
	while (now.segment == OLDEST && reader.at < FIRST + 400)
		say_and_hear(8000);
	if (now.segment == EXPIRED) {
		for (unsigned i = 0; i < 6; i++)
			say_and_hear(60000);
		journal_raise_floor(&journal, journal_end(&journal));
	}
	pid = trace(act_and_stop);
	read_on();
	while (now.needs_floor && journal_end(&journal) - journal_floor(&journal) < SLOTS)
		say_and_hear(0);
	MUST(journal_sleep(&ports[SLEEPER], journal_end(&journal)));
	(void)doorbells_rung(SLEEPER);
	return pid;
}

/* Its process was reaped. */
static void judge_death(bool done)
{
	bool rung, published;

	rung = poll(&(struct pollfd){.fd = journal.doorbells[SLEEPER], .events = POLLIN}, 1, 0);
	read_on();
	published = reader.victims;
	MUST(reader.victims <= 1 && (!publishes() || !done || (published && rung)));
	journal_vacate(&journal, VICTIM);
	journal_ring_all_doorbells(&journal);
	MUST(doorbells_rung(SLEEPER));
	/* Once it is void, it is at each later instruction, until it is published. */
	MUST(journal_voids(&journal) <= 1 && (!published || !journal_voids(&journal)));
	if (publishes() && !published)
		MUST(journal_voids(&journal) >= (sums.voids > 0));
	sums.voids += journal_voids(&journal);
	sums.published += published;
	sums.unpublished += !published;
	sums.silent += published && !rung;
}

/* The seat's next writer, and all others, go on. */
static void go_on_with_the_next(void)
{
	uint64_t serial = SEEN(serial);

	read_again();
	journal_take_seat(&ports[VICTIM], &journal, VICTIM);
	(void)say(&ports[VICTIM], 5, 500);
	say_and_hear(100);
	read_again();
	MUST(journal_serial(&journal) > serial && journal_serial(&journal) <= 3);
	MUST(reader.victims <= 1 && journal_voids(&journal) <= 1);
}

enum fate { KILLED, STOPPED, STOPPED_AND_KILLED };

/* True: the victim was done before. */
static bool try_at(unsigned long instruction, enum fate fate)
{
	pid_t pid = begin();
	bool done;

	sums.instructions = step(pid, &shared->done, instruction);
	done = SEEN(done);
	if (fate != KILLED)
		go_round(2);
	if (fate == STOPPED) {
		if (!done)
			go_on(pid);
		read_on();
		MUST(reader.victims == publishes());
		say_and_hear(10);
		go_round(2);
		read_again();
		MUST(journal_voids(&journal) == !publishes() * (now.act != take_serial));
		sums.published++;
	}
	end_process(pid);
	if (fate == STOPPED)
		journal_vacate(&journal, VICTIM);
	else
		judge_death(done);
	go_on_with_the_next();
	journal_close(&journal);
	sums.points++;
	return done;
}

static const char *const fates[] = {"killed", "stopped", "stopped, then killed"};

static void try_everywhere(const struct kill_case *kill_case, enum fate fate, unsigned long first,
			   unsigned long stride)
{
	now = *kill_case;
	now.stride *= stride;
	memset(&sums, 0, sizeof sums);
	(void)try_at(ULONG_MAX, fate);
	if (suite_sanitized())
		now.stride += sums.instructions / 30;
	for (unsigned long at = first; !try_at(at, fate); at += now.stride)
		continue;
	(void)printf("FIGURE %s, %s: %lu points (%lu instructions, stride %lu), %lu published, "
		     "%lu of these without a doorbell, %lu void\n",
		     fates[fate], now.name, sums.points, sums.instructions, now.stride,
		     sums.published, sums.silent, sums.voids);
	(void)fflush(stdout);
	if (publishes() && fate != STOPPED)
		ck_assert(sums.published && sums.unpublished);
}

static const struct kill_case kill_cases[] = {
    {"first lap", draft_and_publish, HAS_ONE, false, false, 40, 1},
    {"first lap, a fresh segment", draft_and_publish, FRESH, false, false, 40, 1},
    {"later lap", draft_and_publish, HAS_ONE, true, false, 40, 1},
    {"later lap, the floor is raised", publish, HAS_ONE, true, true, 40, 1},
    {"up to the segment's end", draft_and_publish, UP_TO_ITS_END, true, false, 40, 1},
    {"an expired segment", draft_and_publish, EXPIRED, false, false, 40, 1},
    {"the oldest segment", draft_and_publish, OLDEST, false, false, 40, 1},
    {"its segment is full", draft_and_publish, FULL, true, false, 40, 1},
    {"3000 bytes", draft_and_publish, HAS_ONE, true, false, 3000, 5},
    {"a seat that is taken", take_seat, HAS_ONE, true, false, 40, 31},
    {"a seat that is left", leave_seat, HAS_ONE, true, false, 40, 1},
    {"a serial", take_serial, HAS_ONE, false, false, 40, 1},
};

#define KILL_CASES ((int)(sizeof kill_cases / sizeof *kill_cases))

/* The cases have most instructions in common, so each of them begins with another one. */
START_TEST(a_writer_killed_at_some_instructions)
{
	if (!may_trace("a writer killed at some instructions"))
		return;
	open_shared();
	try_everywhere(&kill_cases[_i], KILLED, (unsigned)_i * 4, 53);
}
END_TEST

START_TEST(a_writer_stopped_at_some_instructions)
{
	if (!may_trace("a writer stopped at some instructions"))
		return;
	open_shared();
	try_everywhere(&kill_cases[_i], STOPPED, (unsigned)_i * 15, 199);
}
END_TEST

START_TEST(a_writer_stopped_and_killed_at_some_instructions)
{
	if (!may_trace("a writer stopped and killed at some instructions"))
		return;
	open_shared();
	try_everywhere(&kill_cases[_i], STOPPED_AND_KILLED, (unsigned)_i * 13, 163);
}
END_TEST

START_TEST(a_writer_killed_or_stopped_at_each_instruction)
{
	if (!may_trace("a writer killed or stopped at each instruction"))
		return;
	open_shared();
	try_everywhere(&kill_cases[_i % KILL_CASES], (enum fate)(_i / KILL_CASES), 0, 1);
}
END_TEST

SUITE("journal_kill",
      {"a writer killed at some instructions", a_writer_killed_at_some_instructions, 60,
       KILL_CASES},
      {"a writer stopped at some instructions", a_writer_stopped_at_some_instructions, 60,
       KILL_CASES},
      {"a writer stopped and killed at some instructions",
       a_writer_stopped_and_killed_at_some_instructions, 60, KILL_CASES},
      {"a writer killed or stopped at each instruction",
       a_writer_killed_or_stopped_at_each_instruction, 300, 3 * KILL_CASES, .kind = SUITE_LONG})
