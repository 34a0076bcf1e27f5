/*
 * bus, a reader that is overtaken by a writer at each instruction of its read, or of taking its
 * seat: nothing is torn, and nothing is missed that is still there.
 */
#include <limits.h>
#include <stdio.h>

#include "tests/reactor/pubsub/bus_shared.h"

/* ---- a reader that is overtaken ---- */

/* Reads one record, which is the read that is overtaken, and then all. */
static void read_again_and_again(void)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct bus_port *port = &ports[READER];
	struct bus_record record;

	for (;;) {
		bool taken;

		stop();
		taken = bus_peek(port, &record) && bus_take(port, &record, bytes);
		TELL(done[1], true);
		if (taken && !is_whole(&record, bytes, WRITER))
			TELL(lost, true);
		TELL(heard, shared->heard + taken + hear_all(port));
		TELL(missed, port->missed);
		stop();
	}
}

static uint64_t begins[2 * RING_BYTES / sizeof(struct bus_record)]; /* positions of records */
static uint64_t head;

static bool say_at_head(size_t n)
{
	struct bus_port *port = &ports[WRITER];

	begins[port->number % (sizeof begins / sizeof *begins)] = head;
	(void)hear_all(port);
	if (!say(port, n))
		return false;
	head += (2 * sizeof(struct bus_record) - 1 + n) & ~(sizeof(struct bus_record) - 1);
	return true;
}

/* How many records, from this number on, are overwritten: a header's worth may be kept free before
 * the head. */
static uint64_t overwritten_since(uint64_t number)
{
	uint64_t gone = 0;

	while (begins[number++ % (sizeof begins / sizeof *begins)] + RING_BYTES <
	       head + sizeof(struct bus_record))
		gone++;
	return gone;
}

/* Overtakes the reader when it has made so many instructions of its read. False: it had moved on,
 * and was not left behind. */
static bool overtake(pid_t reader, unsigned long instruction, uint64_t *seed)
{
	uint64_t since = ports[WRITER].number, missed = SEEN(missed), gone;
	unsigned left_behind = 0;

	while (say_at_head(200 + next_random(seed) % 100))
		continue;
	MUST(bus_wait(&ports[WRITER], 0));
	(void)step(reader, &shared->done[1], instruction);
	(void)bus_wait_on(&ports[WRITER], BUS_PATIENCE_MS, &left_behind);
	for (unsigned n = left_behind ? 100 : 0; n; n--)
		MUST(say_at_head(next_random(seed) % 300));
	gone = overwritten_since(since);
	go_on(reader);
	MUST(!SEEN(lost));
	MUST(SEEN(heard) + SEEN(missed) == ports[WRITER].number);
	MUST(SEEN(missed) - missed <= gone); /* no record more than were overwritten */
	TELL(done[1], false);
	go_on(reader);
	return left_behind;
}

START_TEST(a_reader_overtaken_at_each_instruction)
{
	unsigned long at = 0, stride = suite_sanitized() ? 13 : 1, points = 0;
	uint64_t seed = 6;
	pid_t reader;

	if (!may_trace("a reader overtaken at each instruction"))
		return;
	open_shared();
	open_room(2);
	reader = trace(read_again_and_again);
	for (; overtake(reader, at, &seed); at += stride)
		points++;
	(void)printf("FIGURE a reader overtaken at %lu points (stride %lu): %llu records read, "
		     "%llu missed\n",
		     points, stride, (unsigned long long)SEEN(heard),
		     (unsigned long long)SEEN(missed));
	(void)fflush(stdout);
	ck_assert_uint_gt(points, 50);
	end_process(reader);
	bus_close(&bus);
}
END_TEST

/* ---- a reader that takes its seat ---- */

static void take_seat_again_and_again(void)
{
	struct bus_port *port = &ports[READER];
	struct bus_record record;

	for (;;) {
		stop();
		bus_take_seat(port, &bus, READER);
		TELL(done[1], true);
		TELL(next, port->expected[WRITER]);
		stop(); /* until the ring is full */
		while (hear(port, &record)) {
			if (record.number != shared->next)
				TELL(lost, true);
			TELL(next, record.number + 1);
		}
		TELL(missed, port->missed);
		bus_vacate(&bus, READER);
	}
}

/* Publishes up to n records, until the ring is full. The writer reads its own, so that only others
 * can hold it up. */
static void say_some(uint64_t n, uint64_t *seed)
{
	while (n-- && say_at_head(next_random(seed) % 300))
		continue;
	(void)hear_all(&ports[WRITER]);
}

#define LAPS(n) ((n)*RING_BYTES / 160)

/* A reader gets all from the moment at which it takes its seat, even if the writer goes round the
 * ring meanwhile. Tried at every stride-th of the first instructions, and then each time that their
 * number has grown by 1/share: a walk round the ring takes many, which repeat. */
static void take_a_seat_everywhere(unsigned long stride, unsigned long share)
{
	unsigned long all, points = 0;
	uint64_t seed = 8;
	bool past = false;
	pid_t reader;

	open_shared();
	open_room(2);
	bus_vacate(&bus, READER);
	say_some(LAPS(2), &seed);
	reader = trace(take_seat_again_and_again);
	all = step(reader, &shared->done[1], ULONG_MAX);
	for (unsigned long at = 0; !past; at += at < 1200 ? stride : at / share, points++) {
		past = at > all;
		go_on(reader);
		say_some(LAPS(2), &seed);
		go_on(reader);
		MUST(!SEEN(lost) && SEEN(missed) == 0);
		MUST(SEEN(next) == ports[WRITER].number);
		TELL(done[1], false);
		say_some(next_random(&seed) % LAPS(2), &seed);
		(void)step(reader, &shared->done[1], at);
		say_some(LAPS(2), &seed);
	}
	(void)printf("FIGURE a writer went round at %lu of %lu instructions of taking a seat\n",
		     points, all);
	(void)fflush(stdout);
	end_process(reader);
	bus_close(&bus);
}

START_TEST(a_seat_taken_at_some_instructions)
{
	if (may_trace("a seat taken at some instructions"))
		take_a_seat_everywhere(suite_sanitized() ? 61 : 31, 3);
}
END_TEST

START_TEST(a_seat_taken_at_each_instruction)
{
	if (may_trace("a seat taken at each instruction"))
		take_a_seat_everywhere(suite_sanitized() ? 7 : 1, 50);
}
END_TEST

SUITE("bus_overtaken",
      {"a reader overtaken at each instruction", a_reader_overtaken_at_each_instruction, 60},
      {"a seat taken at some instructions", a_seat_taken_at_some_instructions, 60},
      {"a seat taken at each instruction", a_seat_taken_at_each_instruction, 300,
       .kind = SUITE_LONG})
