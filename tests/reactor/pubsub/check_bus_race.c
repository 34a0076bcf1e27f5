/*
 * bus, the race between a process that goes to sleep and another one that wakes it: a reader and a
 * writer that publishes; a writer that waits for space and a reader that makes some. Both races are
 * interleaved by single steps; and because these do not show what a store buffer does, they are
 * also run at full speed on two cores. Nobody may be left asleep without a doorbell.
 */
#include <limits.h>
#include <poll.h>
#include <stdio.h>

#include "tests/reactor/pubsub/bus_shared.h"

static bool is_rung(unsigned seat)
{
	return poll(&(struct pollfd){.fd = bus.doorbells[seat], .events = POLLIN}, 1, 0) == 1;
}

/* ---- two sides interleaved ---- */

struct race {
	const char *name;
	void (*writer)(void), (*reader)(void); /* what each side does, again and again */
	bool (*is_lost)(void);
};

struct pair {
	pid_t writer, reader;
	unsigned long rounds, lost;
};

/* Both sides are about to act. First one side makes so many steps, then the other one so many
 * (ULONG_MAX: all); then both finish. */
static void interleave(struct pair *pair, const struct race *race, bool writer_first,
		       unsigned long writer_n, unsigned long reader_n)
{
	pid_t pids[2] = {pair->writer, pair->reader};
	unsigned long n[2] = {writer_n, reader_n};
	unsigned first = writer_first ? 0 : 1, second = 1 - first;

	(void)step(pids[first], &shared->done[first], n[first]);
	if (n[second] == ULONG_MAX)
		go_on(pids[second]);
	else
		(void)step(pids[second], &shared->done[second], n[second]);
	go_on(pids[first]);
	if (n[second] != ULONG_MAX)
		go_on(pids[second]);
	if (race->is_lost())
		ck_abort_msg("%s: a wake-up was lost, %s after %lu, the other after %lu",
			     race->name, writer_first ? "writer" : "reader", n[first], n[second]);
	/* Both get ready for the next time, the writer first. */
	TELL(done[0], false);
	TELL(done[1], false);
	go_on(pair->writer);
	go_on(pair->reader);
	pair->rounds++;
}

/* Stops one side at each of its instructions, while the other side does all that it does. */
static void interleave_whole(struct pair *pair, const struct race *race, unsigned long writer_n,
			     unsigned long reader_n, unsigned long stride)
{
	for (unsigned long i = 0; i <= writer_n; i += stride)
		interleave(pair, race, true, i, ULONG_MAX);
	for (unsigned long i = 0; i <= reader_n; i += stride)
		interleave(pair, race, false, ULONG_MAX, i);
}

/* About how many steps interleave_everywhere() makes in all. */
#define STEPS_ALL 400000ul

/* Stops both sides at instructions of theirs: those of one side by strides, those of the other by
 * strides that begin one later each time, so that in the end each was tried. */
static void interleave_everywhere(struct pair *pair, const struct race *race,
				  unsigned long writer_n, unsigned long reader_n)
{
	unsigned long stride_w = 1, stride_r = 1, all = writer_n * reader_n * (writer_n + reader_n);

	while (all / stride_r / stride_w > STEPS_ALL)
		if (stride_r < reader_n / 5)
			stride_r++;
		else
			stride_w++;
	for (unsigned long i = 0; i <= writer_n; i += stride_w)
		for (unsigned long j = i / stride_w % stride_r; j <= reader_n + stride_r;
		     j += stride_r) {
			interleave(pair, race, true, i, j);
			interleave(pair, race, false, i, j);
		}
}

static void run_race(const struct race *race, bool everywhere)
{
	struct pair pair = {0};
	unsigned long writer_n, reader_n;

	open_room(2);
	pair.writer = trace(race->writer);
	pair.reader = trace(race->reader);
	interleave(&pair, race, true, 0,
		   0); /* so that symbols are bound before steps are counted */
	writer_n = step(pair.writer, &shared->done[0], ULONG_MAX);
	reader_n = step(pair.reader, &shared->done[1], ULONG_MAX);
	interleave(&pair, race, true, 0, 0);
	if (everywhere)
		interleave_everywhere(&pair, race, writer_n, reader_n);
	else
		interleave_whole(&pair, race, writer_n, reader_n, suite_sanitized() ? 7 : 1);
	(void)printf("FIGURE %s: %lu interleavings of %lu and %lu instructions\n", race->name,
		     pair.rounds, writer_n, reader_n);
	(void)fflush(stdout);
	end_process(pair.writer);
	end_process(pair.reader);
	bus_close(&bus);
}

static void publish_again_and_again(void)
{
	for (;;) {
		skip_all(&ports[WRITER]);
		stop();
		(void)publish_48(&ports[WRITER]);
		(void)bus_announce(&ports[WRITER]);
		TELL(done[0], true);
		stop();
	}
}

static void sleep_again_and_again(void)
{
	for (;;) {
		bus_wake_up(&ports[READER]);
		(void)doorbells_rung(READER);
		skip_all(&ports[READER]);
		stop();
		TELL(slept, bus_sleep(&ports[READER]));
		TELL(done[1], true);
		stop();
	}
}

static bool sleeps_on(void)
{
	return SEEN(slept) && !is_rung(READER);
}

static void wait_again_and_again(void)
{
	for (;;) {
		(void)doorbells_rung(WRITER);
		do
			skip_all(&ports[WRITER]);
		while (publish_48(&ports[WRITER]));
		stop();
		TELL(waited, bus_wait(&ports[WRITER], 0));
		TELL(done[0], true);
		stop();
	}
}

static void take_again_and_again(void)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct bus_record record;

	for (;;) {
		(void)bus_peek(&ports[READER], &record);
		stop();
		(void)bus_take(&ports[READER], &record, bytes);
		(void)bus_rest(&ports[READER]);
		TELL(done[1], true);
		stop();
	}
}

static bool waits_on(void)
{
	return SEEN(waited) && !is_rung(WRITER);
}

static const struct race races[] = {
    {"publish and sleep", publish_again_and_again, sleep_again_and_again, sleeps_on},
    {"wait and take", wait_again_and_again, take_again_and_again, waits_on},
};

START_TEST(no_wake_up_is_lost_while_one_side_stands_still)
{
	if (!may_trace("no wake-up is lost while one side stands still"))
		return;
	open_shared();
	run_race(&races[_i], false);
}
END_TEST

START_TEST(no_wake_up_is_lost_between_two_steps)
{
	if (!may_trace("no wake-up is lost between two steps"))
		return;
	open_shared();
	run_race(&races[_i], true);
}
END_TEST

/* ---- two cores ---- */

#define ROUNDS	20000
#define SPIN_MS 3000 /* if they sleep each time, rounds would take longer: then there are fewer */

/* Waits a little, at random. If this side then has to sleep it was too early, else too late: it
 * learns from that, so that both sides come to act at the same moment. */
struct lingerer {
	uint64_t seed, most;
};

static void linger(struct lingerer *lingerer)
{
	for (uint64_t n = next_random(&lingerer->seed) % lingerer->most; n; n--)
		__asm__ volatile("");
}

static void learn(struct lingerer *lingerer, bool too_early)
{
	if (too_early)
		lingerer->most++;
	else if (lingerer->most > 16)
		lingerer->most--;
}

/* Waits for the doorbell. If it is not rung, a wake-up was lost. */
static bool await_doorbell(unsigned seat)
{
	struct pollfd doorbell = {.fd = bus.doorbells[seat], .events = POLLIN};

	TELL(sleeps, shared->sleeps + 1);
	if (poll(&doorbell, 1, (int)patience_ms()) != 1)
		TELL(lost, true);
	(void)doorbells_rung(seat);
	return !SEEN(lost);
}

static bool two_cores(const char *test, void (*other)(void), pid_t *pid)
{
	cpu_set_t cpus;

	if (allowed_cpus(&cpus) < 2) {
		suite_skip(test, "there is one CPU");
		return false;
	}
	open_shared();
	open_room(2);
	*pid = fork();
	ck_assert_int_ge(*pid, 0);
	if (*pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(&cpus, 1);
		other();
		_exit(0);
	}
	pin(&cpus, 0);
	return true;
}

static void two_cores_are_done(const char *what, unsigned long rounds, pid_t pid)
{
	(void)printf("FIGURE %s on two cores: %lu rounds, %llu sleeps\n", what, rounds,
		     (unsigned long long)SEEN(sleeps));
	(void)fflush(stdout);
	ck_assert(!SEEN(lost));
	ck_assert_uint_gt(SEEN(sleeps), 0);
	end_process(pid);
	bus_close(&bus);
}

/* The reader tells what it has read, and goes to sleep while the writer writes the next record. */
static void read_by_turns(void)
{
	struct bus_port *port = &ports[READER];
	struct lingerer early = {1, 64};
	bool asleep;

	do {
		skip_all(port);
		TELL(next, port->expected[WRITER]);
		linger(&early);
		asleep = bus_sleep(port);
		learn(&early, asleep);
	} while (!asleep || await_doorbell(READER));
}

/* Whether there were enough rounds. At least one side must have slept: else there was no race. */
static bool is_over(uint64_t rounds, uint64_t most, uint64_t until_ms)
{
	return rounds >= most || SEEN(lost) || (now_ms() >= until_ms && SEEN(sleeps));
}

static void publish_by_turns(unsigned times)
{
	struct bus_port *port = &ports[WRITER];
	uint64_t until = now_ms() + (uint64_t)times * SPIN_MS;
	struct lingerer late = {2, 64};
	pid_t pid;

	if (!two_cores("no reader sleeps on", read_by_turns, &pid))
		return;
	while (!is_over(port->number, (uint64_t)times * ROUNDS, until)) {
		linger(&late);
		MUST(publish_48(port));
		(void)bus_announce(port);
		skip_all(port);
		while (SEEN(next) != port->number && !SEEN(lost))
			continue;
	}
	two_cores_are_done("publish and sleep", port->number, pid);
}

START_TEST(no_reader_sleeps_on)
{
	publish_by_turns(1);
}
END_TEST

START_TEST(no_reader_sleeps_on_for_long)
{
	publish_by_turns(10);
}
END_TEST

/* The reader makes space while the writer begins to wait for it. */
static void take_by_turns(void)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct bus_record record;
	struct lingerer late = {3, 64};

	for (uint64_t turn = 1;; turn++) {
		while (SEEN(turn) != turn)
			continue;
		(void)bus_peek(&ports[READER], &record);
		linger(&late);
		(void)bus_take(&ports[READER], &record, bytes);
		(void)bus_rest(&ports[READER]);
	}
}

/* Publishes, after waiting for space. If the doorbell was an old one it waits again. */
static bool publish_at_last(struct bus_port *port, struct lingerer *early)
{
	do {
		bool waits = bus_wait(port, 0);

		learn(early, waits);
		if (waits && !await_doorbell(WRITER))
			return false;
	} while (!publish_48(port));
	return true;
}

static void wait_by_turns(unsigned times)
{
	struct bus_port *port = &ports[WRITER];
	uint64_t until = now_ms() + (uint64_t)times * SPIN_MS;
	struct lingerer early = {4, 64};
	pid_t pid;

	if (!two_cores("no writer waits on", take_by_turns, &pid))
		return;
	do
		skip_all(port);
	while (publish_48(port));
	while (!is_over(shared->turn, (uint64_t)times * ROUNDS, until)) {
		TELL(turn, shared->turn + 1);
		linger(&early);
		if (!publish_at_last(port, &early))
			break;
		MUST(!publish_48(port));
		skip_all(port);
	}
	two_cores_are_done("wait and take", shared->turn, pid);
}

START_TEST(no_writer_waits_on)
{
	wait_by_turns(1);
}
END_TEST

START_TEST(no_writer_waits_on_for_long)
{
	wait_by_turns(10);
}
END_TEST

#define RACES (sizeof races / sizeof *races)

SUITE("bus_race",
      {"no wake-up is lost while one side stands still",
       no_wake_up_is_lost_while_one_side_stands_still, 30, RACES},
      {"no wake-up is lost between two steps", no_wake_up_is_lost_between_two_steps, 300, RACES,
       .kind = SUITE_LONG},
      {"no reader sleeps on", no_reader_sleeps_on, 30},
      {"no writer waits on", no_writer_waits_on, 30},
      {"no reader sleeps on, ten times as long", no_reader_sleeps_on_for_long, 60,
       .kind = SUITE_LONG},
      {"no writer waits on, ten times as long", no_writer_waits_on_for_long, 60,
       .kind = SUITE_LONG})
