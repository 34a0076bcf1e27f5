/*
 * journal, in memory that somebody writes over: whatever lies there, nothing is read or written
 * outside of it, nothing goes on for ever, and no process aborts.
 *
 * The memory lies between pages that nobody may touch. What is written over it is what would harm
 * most: the head, the floor, seats, states of segments, slots, and the heads of records.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "reactor/pubsub/journal_parts.h"
#include "tests/reactor/pubsub/journal_room.h"

/* ---- what is written over it ---- */

static uint64_t bad_value(uint64_t *seed)
{
	uint64_t random = next_random(seed), end = header_of(&journal)->head;

	switch (next_random(seed) % 9) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return random;
	case 3:
		return end + random % 9 - 4;
	case 4: /* a segment, closed at some time, or owned by somebody */
		return SEGMENT_STATE(SEGMENT_CLOSED, random % (2 * SLOTS));
	case 5:
		return SEGMENT_STATE(random % 4, random % 10);
	case 6: /* a slot of this lap, or almost, with a place just where memory ends, or not */
		return (uint64_t)(uint16_t)(lap_of(&journal, end) + random % 5 - 2) << 48 |
		       ((uint32_t)journal.segments * (JOURNAL_SEGMENT / RECORD_UNIT) -
			(random >> 8) % 9 + 5);
	case 7: /* the lengths of a record */
		return (random & 0xffff0001ffff) | (random & 1) << 31;
	default:
		return UINT64_C(1) << random % 64;
	}
}

static uint64_t *bad_place(uint64_t *seed)
{
	struct journal_header *header = header_of(&journal);
	uint64_t random = next_random(seed),
		 *header_words[] = {&header->head, &header->floor, &header->serial, &header->voids,
				    (uint64_t *)(void *)&header->seats};

	switch (next_random(seed) % 6) {
	case 0:
		return header_words[random % 5];
	case 1:
		return (uint64_t *)(void *)seat_of(&journal, random % SEATS) + random / SEATS % 3;
	case 2:
		return segment_states(&journal) + random % (random % 2 ? 16 : journal.segments);
	case 3:
		return slot_of(&journal, header->head + random % 20 - 10);
	case 4:
		return slots_of(&journal) + random % SLOTS;
	default:
		return (uint64_t *)(void *)(segment_bytes(&journal) +
					    random % 12 * JOURNAL_SEGMENT) +
		       random / 12 % (random % 2 ? 20 : JOURNAL_SEGMENT / 8);
	}
}

static void write_over(uint64_t *seed)
{
	uint64_t *place = bad_place(seed);

	__atomic_store_n(place, bad_value(seed), __ATOMIC_RELAXED);
}

/* ---- what is done there ---- */

static void read_all(uint64_t id)
{
	static unsigned char words[WORDS_MAX];
	struct journal_entry entry;

	for (unsigned i = 0; i < 8; i++, id++)
		if (journal_find(&journal, id, &entry) == JOURNAL_FOUND) {
			MUST(entry.payload_n <= JOURNAL_PAYLOAD_MAX);
			memcpy(words, entry.bytes,
			       (size_t)entry.name_n + entry.type_n + entry.payload_n);
			(void)journal_holds(&journal, id);
		}
}

static void search(uint64_t random)
{
	(void)journal_scan(&journal, random % 2 ? random : journal_floor(&journal), random,
			   UINT64_MAX);
	if (random % 3)
		(void)journal_since(&journal, random % 100);
	else
		journal_forget(&journal, random % 1000 ? 0 : random % 100);
	if (random % 1000 == 0)
		journal_raise_floor(&journal, random % 2 ? random : FIRST + random % SLOTS);
}

static void come_and_go(struct journal_port *port, unsigned seat, uint64_t random)
{
	if (random % 64 == 0)
		journal_leave_seat(port);
	else if (random % 64 == 1)
		journal_vacate(&journal, seat);
	if (random % 64 < 3)
		journal_take_seat(port, &journal, seat);
}

static void sleep_and_wait(struct journal_port *port, uint64_t random)
{
	unsigned left_behind = 0;

	(void)journal_announce(port);
	journal_tell_cursor(port, random);
	(void)journal_may_go_on(port, false, (uint32_t)random, &left_behind);
	MUST(left_behind <= JOURNAL_SEATS_MAX);
	(void)journal_sleep(port, random % 2 ? random : journal_end(&journal));
	journal_wake_up(port);
	(void)journal_all_said(port, (uint32_t)random);
	if (random % 16 == 0)
		journal_say_last(port);
	journal_ring_waiters(&journal);
	journal_ring_all_doorbells(&journal);
	MUST(journal_seats(&journal) >= 1 && journal_seats(&journal) <= JOURNAL_SEATS_MAX);
	(void)(journal_bytes(&journal) + journal_voids(&journal) + journal_serial(&journal));
}

static void do_everything(uint64_t *seed)
{
	uint64_t random = next_random(seed);
	unsigned seat = (unsigned)(random % SEATS);
	struct journal_port *port = &ports[seat];

	come_and_go(port, seat, random / SEATS);
	read_all(random % 2 ? journal_floor(&journal) : journal_end(&journal) - 4);
	search(next_random(seed));
	if (draft(port, random % 1000, random / 1000 % (random % 7 ? 300 : 65536), 5) == 0) {
		if (!journal_commit(port, random % 3 ? journal_end(&journal) : random, 1, 1))
			(void)journal_append(port);
	}
	sleep_and_wait(port, next_random(seed));
}

static void open_between_guards(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes;
	char *guarded;

	open_room(SEATS);
	bytes = (journal.mapped_bytes + page - 1) & ~(page - 1);
	guarded = mmap(NULL, bytes + 2 * page, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(guarded, MAP_FAILED);
	ck_assert_int_eq(munmap(journal.memory, journal.mapped_bytes), 0);
	journal.memory = mmap(guarded + page, journal.mapped_bytes, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, journal.fd, 0);
	ck_assert_ptr_eq(journal.memory, guarded + page);
}

START_TEST(one_bad_word_after_the_other)
{
	uint64_t seed = 1;

	for (unsigned life = 0; life < 40; life++) {
		open_between_guards();
		for (unsigned long i = 0; i < suite_volume(2000); i++) {
			do_everything(&seed);
			if (i % 16 == 15)
				write_over(&seed);
		}
		journal_close(&journal);
	}
}
END_TEST

/* All words of a kind are bad, and stay so. */
START_TEST(memory_full_of_bad_words)
{
	uint64_t seed = 2;

	for (unsigned life = 0; life < 30; life++) {
		uint64_t value;

		open_between_guards();
		for (unsigned i = 0; i < 50; i++)
			do_everything(&seed);
		value = bad_value(&seed);
		for (uint64_t *at = (uint64_t *)(void *)(journal.memory + 64);
		     at < (uint64_t *)(void *)(segment_bytes(&journal) + 4096); at++)
			*at = life % 2 ? value : bad_value(&seed);
		for (unsigned i = 0; i < 5; i++)
			do_everything(&seed);
		journal_close(&journal);
	}
}
END_TEST

/* All slots say that their ids are given, and later ones too. */
START_TEST(no_end_to_be_found)
{
	open_between_guards();
	(void)say(&ports[0], 1, 1);
	for (unsigned i = 0; i < SLOTS; i++)
		slots_of(&journal)[i] = UINT64_C(1000) << 48 | 1;
	(void)journal_end(&journal);
	ck_assert_int_eq(draft(&ports[0], 1, 1, 0), 0);
	ck_assert_uint_eq(journal_append(&ports[0]), 0);
	journal_leave_seat(&ports[0]);
	journal_close(&journal);
}
END_TEST

static _Noreturn void write_over_for_ever(void)
{
	uint64_t seed = 3;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		write_over(&seed);
}

START_TEST(another_process_writes_meanwhile)
{
	uint64_t seed = 4;
	pid_t pid;

	open_between_guards();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		write_over_for_ever();
	for (unsigned long i = 0; i < suite_volume(20000); i++)
		do_everything(&seed);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	journal_close(&journal);
}
END_TEST

SUITE("journal_hostile", {"one bad word after the other", one_bad_word_after_the_other, 60},
      {"memory full of bad words", memory_full_of_bad_words, 60},
      {"no end to be found", no_end_to_be_found, 30},
      {"another process writes meanwhile", another_process_writes_meanwhile, 60})
