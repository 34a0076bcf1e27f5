/*
 * bus, a writer that is killed at each instruction of publish and announce: readers get nothing of
 * its record or all of it, a reader that sleeps is woken when the writer is reaped, and the next
 * writer in that seat goes on after it.
 *
 * With a sanitizer there are many more instructions: only every n-th is tried, and n is printed.
 */
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>

#include "tests/reactor/pubsub/bus_room.h"

#define SEEN(field)	   __atomic_load_n(&shared->field, __ATOMIC_ACQUIRE)
#define TELL(field, value) __atomic_store_n(&shared->field, (value), __ATOMIC_RELEASE)

enum { WRITER, READER, SLEEPER, STUCK };

static struct shared {
	uint64_t next, missed, torn; /* the sleeper's */
	bool asleep;
	bool done; /* the writer's */
} * shared;

static void open_shared(void)
{
	shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
}

static bool is_rung(unsigned seat)
{
	return poll(&(struct pollfd){.fd = bus.doorbells[seat], .events = POLLIN}, 1, 0) == 1;
}

/* ---- a reader that sleeps ---- */

static int slept_fds[2]; /* a pipe with a byte for each time that the sleeper fell asleep */

static _Noreturn void read_and_sleep(void)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct pollfd doorbell = {.fd = bus.doorbells[SLEEPER], .events = POLLIN};
	struct bus_port *port = &ports[SLEEPER];
	struct bus_record record;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	bus_take_seat(port, &bus, SLEEPER);
	for (;;) {
		while (bus_peek(port, &record)) {
			if (!bus_take(port, &record, bytes))
				continue;
			TELL(torn, shared->torn + !is_whole(&record, bytes, port->ring));
			TELL(missed, port->missed);
			TELL(next, record.number + 1);
		}
		(void)bus_rest(port);
		if (!bus_sleep(port))
			continue;
		TELL(asleep, true);
		(void)!write(slept_fds[1], "z", 1);
		(void)poll(&doorbell, 1, -1);
		TELL(asleep, false);
		(void)doorbells_rung(SLEEPER);
		bus_wake_up(port);
	}
}

/* Waits until the sleeper has read all records before this one, and sleeps. */
static void await_sleeper(uint64_t next)
{
	struct pollfd slept = {.fd = slept_fds[0], .events = POLLIN};
	struct wait wait = wait_begin();
	char bytes[64];

	while (SEEN(next) != next || !SEEN(asleep)) {
		if (poll(&slept, 1, (int)patience_ms()) == 1)
			(void)!read(slept_fds[0], bytes, sizeof bytes);
		if (now_ms() > wait.until_ms)
			ck_abort_msg("it sleeps, and has not read %llu",
				     (unsigned long long)next - 1);
	}
	MUST(SEEN(torn) == 0 && SEEN(missed) == 0);
}

/* ---- a writer killed at each instruction ---- */

#define ANYWHERE SIZE_MAX

static struct kill_case {
	const char *name;
	size_t bytes, ring_bytes, place; /* place: of the record's header in the ring */
	bool later_lap, full;
	unsigned long stride;
} killed;

static uint64_t head; /* the ring's head: a position as its writer counts them */

static struct kill_sums {
	unsigned long points, before, after, not_rung, instructions, missed;
} sums;

static size_t size_in_ring(size_t bytes)
{
	return (2 * sizeof(struct bus_record) - 1 + bytes) & ~(sizeof(struct bus_record) - 1);
}

/* Publishes n bytes, and has all readers read them. */
static void say_and_hear(size_t n)
{
	while (!say(&ports[WRITER], n)) {
		unsigned left_behind = 0;

		(void)bus_wait(&ports[WRITER], 0);
		(void)bus_wait_on(&ports[WRITER], BUS_PATIENCE_MS, &left_behind);
	}
	head += size_in_ring(n);
	(void)bus_announce(&ports[WRITER]);
	(void)hear_all(&ports[WRITER]);
	MUST(hear_all(&ports[READER]) == 1);
	(void)doorbells_rung(READER);
	if (head % 8192 < size_in_ring(n)) /* often enough that the sleeper is never left behind */
		await_sleeper(ports[WRITER].number);
}

static void move_head(size_t place)
{
	size_t gap;

	while ((gap = (size_t)(place - head) & (bus.ring_bytes - 1)))
		say_and_hear((gap < 8192 ? gap : 8192) - sizeof(struct bus_record));
}

/* The writer that is killed. */
static void say_and_die(void)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct bus_port *port = &ports[WRITER];
	struct iovec first = {bytes, killed.bytes / 3};
	struct iovec second = {bytes + killed.bytes / 3, killed.bytes - killed.bytes / 3};
	unsigned left_behind = 0;

	bus_take_seat(port, &bus, WRITER);
	if (!killed.full) {
		(void)say(port, 40);
		(void)bus_announce(port);
		stop(); /* until all readers have read that */
	}
	fill_record(bytes, killed.bytes, WRITER, port->number);
	if (killed.full && bus_publish(port, 0, WRITER, first, second))
		_exit(1);
	if (killed.full)
		(void)bus_wait(port, 0);
	stop();
	if (killed.full)
		(void)bus_wait_on(port, BUS_PATIENCE_MS, &left_behind);
	(void)bus_publish(port, (uint16_t)port->number, WRITER, first, second);
	(void)bus_announce(port);
	TELL(done, true);
	stop();
}

/* Starts the writer that is killed. When this returns the writer is about to publish, and all
 * others have read all and sleep. */
static pid_t start_writer(void)
{
	pid_t pid;

	if (killed.full) {
		bus_take_seat(&ports[STUCK], &bus, STUCK);
		for (; say(&ports[WRITER], 0); head += size_in_ring(0))
			if (ports[WRITER].number % 512 == 0)
				(void)hear_all(&ports[READER]);
		(void)bus_announce(&ports[WRITER]);
	} else if (killed.place != ANYWHERE) {
		move_head(killed.place - size_in_ring(40));
	}
	TELL(done, false);
	pid = trace(say_and_die);
	(void)hear_all(&ports[READER]);
	if (!killed.full) {
		head += size_in_ring(40);
		ports[WRITER].number++;
		MUST(killed.place == ANYWHERE || (head & (bus.ring_bytes - 1)) == killed.place);
		await_sleeper(ports[WRITER].number);
		go_on(pid);
	}
	await_sleeper(ports[WRITER].number);
	MUST(bus_sleep(&ports[READER]));
	(void)doorbells_rung(READER);
	return pid;
}

/* Expects nothing or all of the record to be there, and the next writer to go on after it. */
static void judge_death(bool done)
{
	uint64_t number = ports[WRITER].number;
	struct bus_record record;
	bool rung = is_rung(READER), whole = hear(&ports[READER], &record);

	MUST(!whole || (record.number == number && record.bytes == killed.bytes));
	MUST(!bus_peek(&ports[READER], &record));
	MUST(!done || (whole && rung));
	MUST(whole || !rung);
	bus_wake_up(&ports[READER]);
	sums.points++;
	sums.before += !whole;
	sums.after += whole;
	sums.not_rung += whole && !rung;
	head += whole ? size_in_ring(killed.bytes) : 0;
	bus_vacate(&bus, WRITER);
	bus_ring_all_doorbells(&bus);
	await_sleeper(number + whole);
	bus_take_seat(&ports[WRITER], &bus, WRITER);
	MUST(ports[WRITER].number == number + whole);
	say_and_hear(40);
	await_sleeper(number + whole + 1);
	MUST(ports[READER].missed == 0 && ports[READER].expected[WRITER] == number + whole + 1);
}

/* Kills the writer at that instruction. True: the writer was done before. */
static bool kill_at(unsigned long instruction)
{
	uint64_t since = ports[WRITER].number;
	pid_t pid = start_writer();
	unsigned long heard = 0;
	bool done;

	sums.instructions = step(pid, &shared->done, instruction);
	done = SEEN(done);
	end_process(pid);
	/* A reader that was left behind reads either what the dead writer left, or only what is
	 * there in the end. */
	if (killed.full && sums.points % 2)
		heard = hear_all(&ports[STUCK]);
	judge_death(done);
	if (killed.full) {
		heard += hear_all(&ports[STUCK]);
		MUST(heard + ports[STUCK].missed == ports[WRITER].number - since);
		sums.missed += ports[STUCK].missed;
		bus_vacate(&bus, STUCK);
	}
	return done;
}

/* Kills the writer at every stride-th instruction, beginning with `first`. */
static void kill_everywhere(const struct kill_case *now, unsigned long first, unsigned long stride)
{
	pid_t sleeper;

	killed = *now;
	killed.stride *= stride;
	sums = (struct kill_sums){0};
	head = 0;
	*shared = (struct shared){0};
	ck_assert_int_eq(bus_open(&bus, SEATS, killed.ring_bytes), 0);
	bus_take_seat(&ports[WRITER], &bus, WRITER);
	bus_take_seat(&ports[READER], &bus, READER);
	ck_assert_int_eq(pipe(slept_fds), 0);
	sleeper = fork();
	ck_assert_int_ge(sleeper, 0);
	if (sleeper == 0)
		read_and_sleep();
	await_sleeper(0);
	while (killed.later_lap && head < 2 * bus.ring_bytes)
		say_and_hear(4000);
	(void)kill_at(ULONG_MAX);
	if (suite_sanitized())
		killed.stride += sums.instructions / 50;
	for (unsigned long at = first; !kill_at(at); at += killed.stride)
		continue;
	(void)printf("FIGURE kill points, %s: %lu (%lu instructions, stride %lu): %lu before it "
		     "published, %lu after, %lu of these before the doorbell\n",
		     killed.name, sums.points, sums.instructions, killed.stride, sums.before,
		     sums.after, sums.not_rung);
	(void)fflush(stdout);
	ck_assert(sums.before && sums.after && sums.not_rung);
	ck_assert(killed.full == (sums.missed > 0));
	end_process(sleeper);
	(void)close(slept_fds[0]);
	(void)close(slept_fds[1]);
	bus_close(&bus);
}

static const struct kill_case kill_cases[] = {
    {"first lap", 40, BUS_RING_BYTES, ANYWHERE, false, false, 1},
    {"later lap", 40, RING_BYTES, ANYWHERE, true, false, 1},
    {"bytes across the end", 40, RING_BYTES, RING_BYTES - 32, true, false, 1},
    {"header at the end", 40, RING_BYTES, RING_BYTES - 16, true, false, 1},
    {"up to the end", 40, RING_BYTES, RING_BYTES - 64, true, false, 1},
    {"full, one left behind", 40, RING_BYTES, ANYWHERE, true, true, 1},
    {"large, across the end", 3000, RING_BYTES, RING_BYTES - 1600, true, false, 5},
};

/* The cases have most instructions in common, so each of them begins with another one. */
START_TEST(a_writer_killed_at_some_instructions)
{
	if (!may_trace("a writer killed at some instructions"))
		return;
	open_shared();
	kill_everywhere(&kill_cases[_i], (unsigned)_i, 7);
}
END_TEST

START_TEST(a_writer_killed_at_each_instruction)
{
	if (!may_trace("a writer killed at each instruction"))
		return;
	open_shared();
	kill_everywhere(&kill_cases[_i], 0, 1);
}
END_TEST

#define KILL_CASES (sizeof kill_cases / sizeof *kill_cases)

SUITE("bus_kill",
      {"a writer killed at some instructions", a_writer_killed_at_some_instructions, 60,
       KILL_CASES},
      {"a writer killed at each instruction", a_writer_killed_at_each_instruction, 300, KILL_CASES,
       .kind = SUITE_LONG})
