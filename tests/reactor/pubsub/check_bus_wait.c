/*
 * bus, a writer that waits: which readers it leaves behind, when at the earliest, and what these
 * count as missed.
 *
 * The rule: a reader in the way is left behind at the first look after it has stood still for
 * BUS_PATIENCE_MS, if no other reader that moves is further back; never before. Once it has
 * looked at the ring again it is waited for again. What it read and what it counts as missed is
 * together all that was published. The test sets the time, except for a process that is stopped.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/reactor/pubsub/bus_room.h"

#define NOW (UINT32_MAX - 500) /* a clock of milliseconds that wraps soon */

/* ---- which reader is left behind ---- */

static void leave_behind(struct bus_port *writer, uint32_t now_ms)
{
	(void)say_until_full(writer, 100);
	(void)hear_all(writer);
	ck_assert(bus_wait(writer, now_ms));
	ck_assert(wait_on(writer, now_ms + BUS_PATIENCE_MS, 1));
}

START_TEST(patience_ends_at_the_next_look)
{
	unsigned long all;

	open_room(2);
	all = say_until_full(&ports[0], 100);
	(void)hear_all(&ports[0]);
	ck_assert(bus_wait(&ports[0], NOW));
	ck_assert(!wait_on(&ports[0], NOW, 0));
	ck_assert(!wait_on(&ports[0], NOW + BUS_PATIENCE_MS - 1, 0));
	ck_assert(wait_on(&ports[0], NOW + BUS_PATIENCE_MS, 1));
	ck_assert(say(&ports[0], 100));
	ck_assert_uint_eq(hear_all(&ports[1]) + ports[1].missed, all + 1);
	ck_assert_uint_ge(ports[1].missed, 1);
	bus_close(&bus);
}
END_TEST

/* As slow as is allowed: it moves each time just before the writer's patience ends. */
START_TEST(a_reader_that_moves_slowly_is_never_left_behind)
{
	uint32_t now = NOW;
	struct bus_record record;
	uint64_t n = 0;

	open_room(2);
	(void)say_until_full(&ports[0], 100);
	(void)hear_all(&ports[0]);
	ck_assert(!say(&ports[0], 16000)); /* it needs the space of many records */
	ck_assert(bus_wait(&ports[0], now));
	do {
		now += BUS_PATIENCE_MS - 1;
		ck_assert(!wait_on(&ports[0], now, 0));
		ck_assert(hear(&ports[1], &record));
		ck_assert_uint_eq(record.number, n++);
	} while (!wait_on(&ports[0], now, 0));
	ck_assert_uint_gt(n, 100);
	ck_assert(say(&ports[0], 16000));
	(void)hear_all(&ports[1]);
	ck_assert_uint_eq(ports[1].missed, 0);
	bus_close(&bus);
}
END_TEST

/* The reader that stands still is further on than the one that moves. */
START_TEST(a_reader_that_moves_does_not_go_with_one_that_stands)
{
	uint32_t now = NOW;
	unsigned left_behind = 0;
	struct bus_record record;

	open_room(3);
	(void)say_until_full(&ports[0], 100);
	(void)hear_all(&ports[0]);
	for (unsigned i = 0; i < 50; i++)
		ck_assert(hear(&ports[2], &record));
	ck_assert(!say(&ports[0], 16000));
	ck_assert(bus_wait(&ports[0], now));
	do {
		ck_assert_uint_lt(now - NOW, 500 * BUS_PATIENCE_MS);
		now += BUS_PATIENCE_MS / 2;
		ck_assert(hear(&ports[1], &record));
		ck_assert_uint_eq(ports[1].missed, 0);
	} while (!bus_wait_on(&ports[0], now, &left_behind));
	ck_assert_uint_eq(left_behind, 1);
	ck_assert(say(&ports[0], 16000));
	(void)hear_all(&ports[1]);
	ck_assert_uint_eq(ports[1].missed, 0);
	ck_assert_uint_eq(hear_all(&ports[2]) + 50 + ports[2].missed, ports[0].number);
	ck_assert_uint_gt(ports[2].missed, 0);
	bus_close(&bus);
}
END_TEST

/* A reader is back once it has looked at the ring: from then on it has BUS_PATIENCE_MS again. */
START_TEST(a_reader_that_came_back_is_waited_for_again)
{
	struct bus_record record;
	unsigned long heard = 0;
	uint32_t now = NOW;
	uint64_t missed;

	open_room(2);
	for (unsigned round = 0; round < 20; round++) {
		leave_behind(&ports[0], now);
		now += BUS_PATIENCE_MS;
		ck_assert(say(&ports[0], 100));
		ck_assert(hear(&ports[1], &record));
		missed = ports[1].missed;
		(void)say_until_full(&ports[0], 100);
		(void)hear_all(&ports[0]);
		(void)say_until_full(&ports[0], 100);
		ck_assert(bus_wait(&ports[0], now));
		ck_assert(!wait_on(&ports[0], now + BUS_PATIENCE_MS - 1, 0));
		ck_assert(hear(&ports[1], &record));
		ck_assert_uint_eq(ports[1].missed, missed);
		ck_assert(wait_on(&ports[0], now += BUS_PATIENCE_MS, 0));
		heard += 2 + (round % 2 ? hear_all(&ports[1]) : 0);
	}
	heard += hear_all(&ports[1]);
	ck_assert_uint_eq(heard + ports[1].missed, ports[0].number);
	bus_close(&bus);
}
END_TEST

START_TEST(two_at_one_place_are_two)
{
	open_room(3);
	(void)say_until_full(&ports[0], 100);
	(void)hear_all(&ports[0]);
	ck_assert(bus_wait(&ports[0], NOW));
	ck_assert(wait_on(&ports[0], NOW + BUS_PATIENCE_MS, 2));
	bus_close(&bus);
}
END_TEST

/* Taking the record that it had peeked at is refused, and that record counts as missed. */
START_TEST(left_behind_between_peek_and_take)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct bus_record record;
	unsigned long heard = 0;

	open_room(2);
	for (unsigned turns = 1; turns < 200; turns += 17) {
		ck_assert(say(&ports[0], 100));
		ck_assert(bus_peek(&ports[1], &record));
		leave_behind(&ports[0], NOW);
		for (unsigned i = 0; i < turns; i++) {
			MUST(say(&ports[0], 100)); /* the reader delays no writer any more */
			(void)hear_all(&ports[0]);
		}
		ck_assert(!bus_take(&ports[1], &record, bytes));
		ck_assert(hear(&ports[1], &record));
		ck_assert_uint_gt(ports[1].missed, 0);
		heard += 1 + hear_all(&ports[1]);
		ck_assert_uint_eq(heard + ports[1].missed, ports[0].number);
	}
	bus_close(&bus);
}
END_TEST

START_TEST(left_behind_before_its_first_read)
{
	open_room(2);
	for (unsigned life = 0; life < 10; life++) {
		uint64_t before = ports[0].number;

		bus_take_seat(&ports[1], &bus, 1);
		leave_behind(&ports[0], NOW);
		for (unsigned i = 0; i < life * 500; i++) {
			MUST(say(&ports[0], 100));
			(void)hear_all(&ports[0]);
		}
		ck_assert_uint_eq(hear_all(&ports[1]) + ports[1].missed, ports[0].number - before);
		ck_assert_uint_ge(ports[1].missed, life * 500 + !life);
		bus_vacate(&bus, 1);
	}
	bus_close(&bus);
}
END_TEST

/* ---- the same at random, against a model ---- */

static struct listener {
	uint64_t next, heard, missed;
	uint32_t moved_ms;
	bool may_miss; /* it was in the way for too long, so it may miss records */
} listeners[SEATS];

static unsigned long times_left_behind;

static bool model_look(unsigned seat, uint32_t now, struct bus_record *record)
{
	struct listener *listener = &listeners[seat];

	if (!bus_peek(&ports[seat], record))
		return false;
	if (record->number == listener->next)
		return true;
	MUST(record->number > listener->next && listener->may_miss);
	listener->missed += record->number - listener->next;
	*listener =
	    (struct listener){record->number, listener->heard, listener->missed, now, false};
	return true;
}

static bool model_hear(unsigned seat, uint32_t now)
{
	struct listener *listener = &listeners[seat];
	struct bus_record record;

	if (!model_look(seat, now, &record))
		return false;
	MUST(hear(&ports[seat], &record) && record.number == listener->next);
	MUST(ports[seat].missed == listener->missed);
	*listener = (struct listener){listener->next + 1, listener->heard + 1, listener->missed,
				      now, false};
	return true;
}

static bool model_wait_on(uint32_t now)
{
	unsigned left_behind = 0, possible = 0;
	bool space = bus_wait_on(&ports[0], now, &left_behind);

	for (unsigned i = 0; i < SEATS; i++)
		if (left_behind && now - listeners[i].moved_ms >= BUS_PATIENCE_MS) {
			listeners[i].may_miss = true;
			possible++;
		}
	MUST(left_behind <= possible);
	times_left_behind += left_behind;
	return space;
}

START_TEST(random_operations_agree_with_the_rule)
{
	size_t wanted = 0;
	uint64_t seed = 5, said = 0;
	struct bus_record record;
	uint32_t now = NOW;
	bool waiting = false;

	open_room(SEATS);
	for (unsigned i = 0; i < SEATS; i++)
		listeners[i] = (struct listener){.moved_ms = now};
	for (unsigned long step = suite_volume(2000000); step; step--) {
		uint64_t random = next_random(&seed);
		unsigned seat = (unsigned)(random % SEATS), what = random >> 8 & 15;

		/* Each reader has times in which it hardly reads. */
		if (what < 8 && ((step >> 9) + seat) % 4 && (random >> 12) % 512)
			what = 9;
		if (what < 7) {
			(void)model_hear(seat, now);
		} else if (what == 7) {
			(void)model_look(seat, now, &record);
		} else if (!waiting) {
			wanted = random >> 20 & 15 ? random >> 32 & 127 : (random >> 32) % 16000;
			said += !(waiting = !say(&ports[0], wanted));
			waiting = waiting && bus_wait(&ports[0], now);
		} else if ((random >> 20) % 16 == 0) {
			now += (random >> 32) % 2 ? BUS_LOOK_MS : 7;
			waiting = !model_wait_on(now);
			MUST(waiting || say(&ports[0], wanted));
			said += !waiting;
		}
	}
	for (unsigned i = 0; i < SEATS; i++) {
		while (model_hear(i, now))
			continue;
		ck_assert_uint_eq(listeners[i].heard + ports[i].missed, said);
	}
	printf("FIGURE bus model: %lu records, a reader left behind %lu times\n",
	       (unsigned long)said, times_left_behind);
	(void)fflush(stdout);
	ck_assert_uint_gt(times_left_behind, 0);
	bus_close(&bus);
}
END_TEST

/* ---- a process that is stopped ---- */

static struct shared {
	uint64_t next; /* the number of the record that it reads next */
	uint64_t heard, missed, torn;
	bool ready;
} * shared;

static void open_shared(void)
{
	shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
}

#define SEEN(field)	   __atomic_load_n(&shared->field, __ATOMIC_ACQUIRE)
#define TELL(field, value) __atomic_store_n(&shared->field, (value), __ATOMIC_RELEASE)

#define LAST UINT16_MAX /* the sender of the last record: not a seat */

static _Noreturn void read_to_the_last(void)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct pollfd doorbell = {.fd = bus.doorbells[1], .events = POLLIN};
	struct bus_record record = {0};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	bus_take_seat(&ports[1], &bus, 1);
	TELL(ready, true);
	while (record.sender != LAST) {
		while (bus_peek(&ports[1], &record)) {
			if (!bus_take(&ports[1], &record, bytes))
				continue;
			shared->heard++;
			if (record.sender != LAST)
				shared->torn += !is_whole(&record, bytes, 0);
			TELL(next, record.number + 1);
		}
		(void)bus_rest(&ports[1]);
		if (record.sender != LAST && bus_sleep(&ports[1]))
			(void)poll(&doorbell, 1, (int)patience_ms());
		(void)doorbells_rung(1);
		bus_wake_up(&ports[1]);
	}
	TELL(missed, ports[1].missed);
	_exit(0);
}

/* Publishes, leaving behind whichever readers it has to. Returns for how long it had to wait, in
 * ms.
 */
static uint64_t say_at_last(size_t n, unsigned *left_behind)
{
	struct pollfd doorbell = {.fd = bus.doorbells[0], .events = POLLIN};
	uint64_t begin = now_ms();

	(void)hear_all(&ports[0]);
	while (!say(&ports[0], n)) {
		(void)bus_announce(&ports[0]);
		if (!bus_wait(&ports[0], (uint32_t)now_ms()))
			continue;
		do {
			ck_assert_uint_lt(now_ms(), begin + patience_ms());
			(void)poll(&doorbell, 1, BUS_LOOK_MS);
			(void)doorbells_rung(0);
		} while (!bus_wait_on(&ports[0], (uint32_t)now_ms(), left_behind));
	}
	(void)bus_announce(&ports[0]);
	return now_ms() - begin;
}

/* Stops the reader. The writer has to wait for at least BUS_PATIENCE_MS, and then not at all until
 * the reader reads again. */
static uint64_t stop_and_go_on(pid_t pid)
{
	struct wait wait = wait_begin();
	unsigned left_behind = 0;
	uint64_t held = 0;

	for (unsigned i = 0; i < 20000; i++)
		(void)say_at_last(i % 400, &left_behind);
	/* The reader has to have read all: if it were behind already, it would not be left behind.
	 */
	while (SEEN(next) != ports[0].number)
		wait_more(&wait, "a reader that has read all");
	process_stop(pid);
	for (left_behind = 0; !left_behind;)
		held = say_at_last(100, &left_behind);
	ck_assert_uint_ge(held, BUS_PATIENCE_MS);
	for (unsigned i = 0; i < 5000; i++) {
		(void)hear_all(&ports[0]);
		MUST(say(&ports[0], i % 400));
	}
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	return held;
}

START_TEST(a_stopped_reader_holds_nobody_for_long)
{
	uint64_t held, held_max = 0;
	unsigned left_behind = 0;
	struct wait wait = wait_begin();
	int status;
	pid_t pid;

	open_shared();
	ck_assert_int_eq(bus_open(&bus, 2, RING_BYTES), 0);
	bus_take_seat(&ports[0], &bus, 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		read_to_the_last();
	while (!SEEN(ready))
		wait_more(&wait, "a reader");
	for (unsigned i = 0; i < 3; i++) {
		held = stop_and_go_on(pid);
		held_max = held > held_max ? held : held_max;
	}
	for (unsigned i = 0; i < 20000; i++)
		(void)say_at_last(i % 400, &left_behind);
	while (!bus_publish(&ports[0], 0, LAST, (struct iovec){0}, (struct iovec){0}))
		(void)say_at_last(0, &left_behind);
	(void)bus_announce(&ports[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(SEEN(torn), 0);
	ck_assert_uint_gt(SEEN(missed), 3 * 5000 / 2);
	ck_assert_uint_eq(SEEN(heard) + SEEN(missed), ports[0].number);
	printf("FIGURE a reader stopped three times: writer held up for at most %llu ms, %llu "
	       "records read, %llu missed\n",
	       (unsigned long long)held_max, (unsigned long long)shared->heard,
	       (unsigned long long)shared->missed);
	(void)fflush(stdout);
	bus_close(&bus);
}
END_TEST

SUITE("bus_wait", {"patience ends at the next look", patience_ends_at_the_next_look, 5},
      {"a reader that moves slowly is never left behind",
       a_reader_that_moves_slowly_is_never_left_behind, 5},
      {"a reader that moves does not go with one that stands",
       a_reader_that_moves_does_not_go_with_one_that_stands, 5},
      {"a reader that came back is waited for again", a_reader_that_came_back_is_waited_for_again,
       5},
      {"two at one place are two", two_at_one_place_are_two, 5},
      {"left behind between peek and take", left_behind_between_peek_and_take, 5},
      {"left behind before its first read", left_behind_before_its_first_read, 5},
      {"random operations agree with the rule", random_operations_agree_with_the_rule, 30},
      {"a stopped reader holds nobody for long", a_stopped_reader_holds_nobody_for_long, 60})
