/*
 * bus: with several seats in one process, what the header promises: order, whole records,
 * a full ring, new occupants of a seat, one doorbell for each sleep, garbage. How long a writer
 * waits is tested in check_bus_wait, writers that are killed in check_bus_kill, and races in
 * check_bus_race.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/reactor/pubsub/bus_room.h"

#define HEADER_BYTES sizeof(struct bus_record)
#define PLACES	     (RING_BYTES / HEADER_BYTES)
#define NOW	     (UINT32_MAX - 500) /* a clock of milliseconds that wraps soon */

/* ---- records ---- */

START_TEST(all_read_what_each_says_in_order)
{
	uint64_t next[SEATS][SEATS] = {0}, seed = 1;
	unsigned long refused = 0;
	struct bus_record record;

	open_room(SEATS);
	for (unsigned long step = suite_volume(400000); step; step--) {
		uint64_t random = next_random(&seed);
		unsigned seat = (unsigned)(random % SEATS);
		size_t n = random >> 8 & 15 ? random >> 20 & 127 : (random >> 20) % BUS_RECORD_MAX;

		if (random >> 4 & 1) {
			refused += !say(&ports[seat], n);
			continue;
		}
		if (!hear(&ports[seat], &record))
			continue;
		MUST(record.number == next[seat][ports[seat].ring]++);
		if (random >> 30 & 1)
			(void)bus_rest(&ports[seat]);
	}
	for (unsigned seat = 0; seat < SEATS; seat++) {
		while (hear(&ports[seat], &record))
			MUST(record.number == next[seat][ports[seat].ring]++);
		for (unsigned i = 0; i < SEATS; i++)
			ck_assert_uint_eq(next[seat][i], ports[i].number);
		ck_assert_uint_eq(ports[seat].missed, 0);
	}
	ck_assert_uint_gt(refused, 0);
	bus_close(&bus);
}
END_TEST

START_TEST(every_size_at_every_place)
{
	static const size_t sizes[] = {0, 1, 15, 16, 17, 40, 255, 4096, BUS_RECORD_MAX};
	unsigned long records = 0;

	open_room(2);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		static bool been[PLACES];
		size_t place = 0, n = sizes[i], left = PLACES;

		memset(been, 0, sizeof been);
		/* If a size comes to a place again, an empty record moves it on to another one. */
		for (; left; records++) {
			bool again = been[place];

			MUST(say(&ports[0], again ? 0 : n));
			MUST(hear_all(&ports[0]) == 1 && hear_all(&ports[1]) == 1);
			left -= !again;
			been[place] = true;
			place += 1 + (again ? 0 : (n + HEADER_BYTES - 1) / HEADER_BYTES);
			place %= PLACES;
		}
		/* Then back to the ring's first place. */
		for (; place; place = (place + 1) % PLACES) {
			MUST(say(&ports[0], 0));
			MUST(hear_all(&ports[0]) == 1 && hear_all(&ports[1]) == 1);
		}
	}
	for (size_t n = 0; n <= BUS_RECORD_MAX; n += suite_sanitized() ? 7 : 1) {
		MUST(say(&ports[0], n));
		MUST(hear_all(&ports[0]) == 1 && hear_all(&ports[1]) == 1);
	}
	ck_assert_uint_eq(ports[1].missed, 0);
	ck_assert_uint_eq(ports[1].expected[0], ports[0].number);
	printf("FIGURE records of %zu sizes at each of %zu places: %lu\n",
	       sizeof sizes / sizeof *sizes, PLACES, records);
	(void)fflush(stdout);
	bus_close(&bus);
}
END_TEST

START_TEST(a_part_may_be_nothing)
{
	struct bus_record record;
	unsigned char byte = 'x', heard = 0;

	open_room(2);
	ck_assert(bus_publish(&ports[0], 1, 2, (struct iovec){0}, (struct iovec){&byte, 1}));
	ck_assert(bus_publish(&ports[0], 1, 2, (struct iovec){&byte, 1}, (struct iovec){0}));
	ck_assert(bus_publish(&ports[0], 1, 2, (struct iovec){0}, (struct iovec){0}));
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(bus_peek(&ports[1], &record));
		ck_assert(bus_take(&ports[1], &record, &heard));
		ck_assert_uint_eq(record.bytes, i < 2);
		ck_assert_uint_eq(heard, 'x');
	}
	bus_close(&bus);
}
END_TEST

/* ---- readers for which a writer waits ---- */

START_TEST(a_full_ring_goes_on_behind_the_slowest)
{
	struct bus_record record;
	unsigned long all;

	open_room(3);
	all = say_until_full(&ports[0], 48);	     /* 64 bytes each */
	ck_assert_uint_ge(all, RING_BYTES / 64 - 1); /* a header's worth may be kept free */
	ck_assert(!say(&ports[0], 48));
	ck_assert_uint_eq(hear_all(&ports[0]), all);
	ck_assert_uint_eq(hear_all(&ports[1]), all);
	ck_assert(!say(&ports[0], 48)); /* one of three readers has not read it yet */
	ck_assert(hear(&ports[2], &record));
	ck_assert_uint_eq(record.number, 0);
	ck_assert(say(&ports[0], 48));
	ck_assert(!say(&ports[0], 48));
	ck_assert(!say(&ports[0], BUS_RECORD_MAX));
	ck_assert_uint_eq(hear_all(&ports[2]), all);
	ck_assert(say(&ports[0], BUS_RECORD_MAX));
	bus_close(&bus);
}
END_TEST

START_TEST(a_vacated_seat_holds_nobody)
{
	open_room(3);
	(void)say_until_full(&ports[0], 1000);
	(void)hear_all(&ports[0]);
	(void)hear_all(&ports[1]);
	ck_assert(!say(&ports[0], 1000));
	bus_vacate(&bus, 2);
	for (unsigned i = 0; i < 1000; i++) {
		MUST(say(&ports[0], 1000));
		(void)hear_all(&ports[0]);
		MUST(hear_all(&ports[1]) == 1);
	}
	bus_close(&bus);
}
END_TEST

START_TEST(a_new_occupant_reads_and_writes_from_there_on)
{
	struct bus_record record;
	uint64_t seed = 3;

	open_room(2);
	for (unsigned life = 0; life < 500; life++) {
		unsigned n = (unsigned)(next_random(&seed) % 12);
		uint64_t number = ports[0].number;

		bus_take_seat(&ports[0], &bus, 0);
		ck_assert_uint_eq(ports[0].number, number);
		ck_assert(!bus_peek(&ports[0], &record)); /* not what the seat said before */
		for (unsigned i = 0; i < n; i++)
			MUST(say(&ports[0], next_random(&seed) % 4000));
		for (unsigned i = 0; i < n; i++) {
			MUST(hear(&ports[1], &record));
			MUST(record.number == number + i);
		}
		MUST(say(&ports[1], 10));
		bus_vacate(&bus, 0);
		MUST(say(&ports[1], 10));
		(void)hear_all(&ports[1]);
	}
	ck_assert_uint_eq(ports[1].missed, 0);
	ck_assert_uint_eq(ports[0].missed, 0);
	bus_close(&bus);
}
END_TEST

/* ---- doorbells ---- */

START_TEST(one_doorbell_for_each_sleep)
{
	struct bus_record record;

	open_room(3);
	ck_assert(say(&ports[0], 10));
	ck_assert_uint_eq(bus_announce(&ports[0]), 0); /* all are awake */
	ck_assert(!bus_sleep(&ports[1]));	       /* there is more to read */
	ck_assert(say(&ports[0], 10));
	ck_assert_uint_eq(bus_announce(&ports[0]), 0);
	(void)hear_all(&ports[1]);
	ck_assert(bus_sleep(&ports[1]));
	ck_assert_uint_eq(bus_announce(&ports[0]), 0); /* nothing new */
	for (unsigned i = 0; i < 5; i++)
		ck_assert(say(&ports[0], 10));
	ck_assert_uint_eq(bus_announce(&ports[0]), 1);
	ck_assert(say(&ports[0], 10));
	ck_assert_uint_eq(bus_announce(&ports[0]), 0); /* the sleeper was woken already */
	ck_assert(say(&ports[2], 10));
	ck_assert_uint_eq(bus_announce(&ports[2]), 0);
	ck_assert_uint_eq(doorbells_rung(1), 1);
	ck_assert_uint_eq(hear_all(&ports[1]), 7);
	ck_assert(bus_sleep(&ports[1]));
	bus_wake_up(&ports[1]);
	ck_assert(say(&ports[2], 10));
	ck_assert_uint_eq(bus_announce(&ports[2]), 0); /* it is awake, so no doorbell */
	ck_assert(hear(&ports[1], &record));
	ck_assert_uint_eq(doorbells_rung(0) + doorbells_rung(1) + doorbells_rung(2), 0);
	/* A seat's own records do not wake it; a seat that was left is not woken either. */
	ck_assert(bus_sleep(&ports[1]));
	ck_assert(say(&ports[1], 10));
	ck_assert_uint_eq(bus_announce(&ports[1]), 0);
	ck_assert(!bus_sleep(&ports[1]));
	(void)hear_all(&ports[1]);
	ck_assert(bus_sleep(&ports[1]));
	bus_vacate(&bus, 1);
	ck_assert(say(&ports[0], 10));
	ck_assert_uint_eq(bus_announce(&ports[0]), 0);
	bus_ring_all_doorbells(&bus); /* only of seats that are taken */
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(doorbells_rung(i), i != 1);
	bus_close(&bus);
}
END_TEST

START_TEST(whoever_makes_space_rings_for_whoever_waits)
{
	struct bus_record record;

	open_room(3);
	(void)say_until_full(&ports[0], 1000);
	(void)hear_all(&ports[0]);
	(void)hear_all(&ports[1]);
	ck_assert(bus_wait(&ports[0], NOW));
	ck_assert(hear(&ports[2], &record));
	ck_assert_uint_eq(doorbells_rung(0), 0); /* it is not rung for each record */
	ck_assert_uint_eq(bus_rest(&ports[2]), 1);
	ck_assert_uint_eq(bus_rest(&ports[2]), 0);
	ck_assert_uint_eq(doorbells_rung(0), 1);
	ck_assert(wait_on(&ports[0], NOW, 0));
	ck_assert_uint_eq(bus_rest(&ports[2]), 0); /* the writer does not wait any more */
	(void)say_until_full(&ports[0], 1000);
	(void)hear_all(&ports[0]);
	ck_assert(bus_wait(&ports[0], NOW));
	ck_assert_uint_eq(bus_rest(&ports[1]), 1); /* not enough: the writer looks, and waits on */
	ck_assert(!wait_on(&ports[0], NOW, 0));
	(void)hear_all(&ports[2]);
	ck_assert_uint_eq(bus_rest(&ports[2]), 1);
	ck_assert_uint_eq(doorbells_rung(0), 2);
	ck_assert(wait_on(&ports[0], NOW, 0));
	/* A reader that leaves does not wake writers that do not wait. */
	(void)hear_all(&ports[1]);
	bus_ring_waiters(&bus);
	ck_assert_uint_eq(doorbells_rung(0) + doorbells_rung(1) + doorbells_rung(2), 0);
	(void)say_until_full(&ports[0], 1000);
	(void)hear_all(&ports[0]);
	(void)hear_all(&ports[1]);
	ck_assert(bus_wait(&ports[0], NOW));
	bus_vacate(&bus, 2);
	bus_ring_waiters(&bus);
	ck_assert_uint_eq(doorbells_rung(0), 1);
	ck_assert_uint_eq(doorbells_rung(1) + doorbells_rung(2), 0);
	ck_assert(wait_on(&ports[0], NOW, 0));
	bus_take_seat(&ports[2], &bus, 2);
	/* Space that was made before the wait is found without a doorbell. */
	(void)say_until_full(&ports[0], 1000);
	(void)hear_all(&ports[0]);
	(void)hear_all(&ports[1]);
	(void)hear_all(&ports[2]);
	ck_assert(!bus_wait(&ports[0], NOW));
	ck_assert_uint_eq(bus_rest(&ports[2]), 0);
	bus_close(&bus);
}
END_TEST

START_TEST(all_have_said_all)
{
	open_room(3);
	bus_vacate(&bus, 2);
	ck_assert(!bus_all_said(&ports[0], 0));
	ck_assert(say(&ports[0], 10));
	bus_say_last(&ports[0]);
	ck_assert(!doorbells_rung(1)); /* seat 1 does not wait for that yet */
	ck_assert(!bus_all_said(&ports[0], 0));
	bus_say_last(&ports[1]);
	ck_assert(doorbells_rung(0));
	ck_assert(bus_all_said(&ports[0], 0));
	ck_assert(bus_all_said(&ports[1], 0));
	ck_assert_uint_eq(hear_all(&ports[1]), 1);
	/* A reader that has said all is still waited for, because it reads on. */
	(void)hear_all(&ports[0]);
	(void)say_until_full(&ports[0], 1000);
	(void)hear_all(&ports[0]);
	ck_assert(!say(&ports[0], 1000));
	bus_take_seat(&ports[2], &bus, 2);
	ck_assert(!bus_all_said(&ports[0], 0));
	bus_close(&bus);
}
END_TEST

/* ---- garbage ---- */

static char *ring_of(unsigned seat, size_t *header)
{
	*header = 64; /* a cache line */
	return bus.memory + bus.mapped_bytes - (BUS_SEATS_MAX - seat) * (*header + bus.ring_bytes);
}

/* If a record ends beyond what is published, its ring is skipped to the end of what is. */
START_TEST(a_record_that_is_too_long_is_skipped)
{
	static const uint16_t lengths[] = {33, 49, BUS_RECORD_MAX, BUS_RECORD_MAX + 1, UINT16_MAX};
	struct bus_record record;
	size_t header;

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		open_room(3);
		ck_assert(say(&ports[0], 32));
		ck_assert(say(&ports[1], 32));
		memcpy(ring_of(0, &header) + header + offsetof(struct bus_record, bytes),
		       &lengths[i], sizeof lengths[i]);
		ck_assert(hear(&ports[2], &record));
		ck_assert_uint_eq(ports[2].ring, 1);
		ck_assert(!hear(&ports[2], &record));
		ck_assert(bus_sleep(&ports[2]));
		ck_assert(say(&ports[0], 32));
		ck_assert(hear(&ports[2], &record));
		ck_assert_uint_eq(record.number, 1);
		ck_assert_uint_eq(ports[2].missed, 1);
		bus_close(&bus);
	}
}
END_TEST

/* All memory is garbage, heads and floors included. What is read is garbage, but reading ends. */
START_TEST(garbage_ends)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct bus_record record;
	uint64_t seed = 9;
	size_t header;

	open_room(2);
	for (unsigned round = 0; round < suite_volume(2000); round++) {
		char *ring = ring_of(1, &header);
		uint64_t head = next_random(&seed) >> next_random(&seed) % 64;
		unsigned long n = 0;

		fill_random(ring + header, RING_BYTES, next_random(&seed));
		memcpy(ring, &head, sizeof head);
		head = next_random(&seed) >> next_random(&seed) % 64;
		memcpy(ring + sizeof head, &head, sizeof head);
		while (bus_peek(&ports[0], &record)) {
			(void)bus_take(&ports[0], &record, bytes);
			ck_assert_uint_le(++n, PLACES);
		}
		(void)bus_rest(&ports[0]);
		ck_assert(bus_sleep(&ports[0]));
		bus_wake_up(&ports[0]);
		bus_take_seat(&ports[0], &bus, 0);
	}
	ck_assert(say(&ports[0], 100));
	bus_close(&bus);
}
END_TEST

/* ---- processes ---- */

static _Noreturn void write_for_ever(uint64_t *said)
{
	struct bus_record record;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	bus_take_seat(&ports[0], &bus, 0);
	for (;;) {
		__atomic_add_fetch(said, say(&ports[0], 40), __ATOMIC_RELEASE);
		while (hear(&ports[0], &record))
			continue;
	}
}

/* A worker that starts takes its seat while others talk as fast as they can, and misses nothing. */
START_TEST(a_seat_is_taken_while_others_write)
{
	struct wait wait = wait_begin();
	struct bus_record record;
	uint64_t *said =
	    mmap(NULL, sizeof *said, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	ck_assert_ptr_ne(said, MAP_FAILED);
	ck_assert_int_eq(bus_open(&bus, 2, BUS_RING_BYTES), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		write_for_ever(said);
	while (__atomic_load_n(said, __ATOMIC_ACQUIRE) <
	       BUS_RING_BYTES / 32) /* so it is not the first lap */
		wait_more(&wait, "a ring to be written");
	for (unsigned i = 0; i < 300; i++) {
		uint64_t next;

		bus_take_seat(&ports[1], &bus, 1);
		next = ports[1].expected[0];
		for (unsigned heard = 0; heard < 100; heard += hear(&ports[1], &record))
			ck_assert_uint_lt(now_ms(), wait.until_ms);
		ck_assert_uint_eq(record.number, next + 99);
		ck_assert_uint_eq(ports[1].missed, 0);
		bus_vacate(&bus, 1);
	}
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	bus_close(&bus);
}
END_TEST

SUITE("bus", {"all read what each says, in order", all_read_what_each_says_in_order, 20},
      {"every size at every place", every_size_at_every_place, 20},
      {"a part may be nothing", a_part_may_be_nothing, 5},
      {"a full ring goes on behind the slowest", a_full_ring_goes_on_behind_the_slowest, 5},
      {"a vacated seat holds nobody", a_vacated_seat_holds_nobody, 5},
      {"a new occupant reads and writes from there on",
       a_new_occupant_reads_and_writes_from_there_on, 5},
      {"one doorbell for each sleep", one_doorbell_for_each_sleep, 5},
      {"whoever makes space rings for whoever waits", whoever_makes_space_rings_for_whoever_waits,
       5},
      {"all have said all", all_have_said_all, 5},
      {"a record that is too long is skipped", a_record_that_is_too_long_is_skipped, 5},
      {"garbage ends", garbage_ends, 10},
      {"a seat is taken while others write", a_seat_is_taken_while_others_write, 30})
