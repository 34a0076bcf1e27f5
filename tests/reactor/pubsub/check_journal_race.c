/*
 * journal, two that act at the same time: two writers that publish, and a writer that publishes
 * while a reader goes to sleep. They are interleaved by single steps, with a third one that reads;
 * and because that does not show what a store buffer does, they also run at full speed on two
 * cores.
 *
 * Each record is there once and whole, ids have no hole, each writer's records keep their order,
 * and no reader sleeps on.
 */
#include <limits.h>
#include <poll.h>
#include <sys/mman.h>

#include "tests/reactor/pubsub/journal_room.h"

#define SEEN(field)	   __atomic_load_n(&shared->field, __ATOMIC_ACQUIRE)
#define TELL(field, value) __atomic_store_n(&shared->field, (value), __ATOMIC_RELEASE)

enum { FIRST_SIDE, SECOND_SIDE, READER, SEATS_USED };

static struct shared {
	uint64_t said[2]; /* by both sides */
	bool slept, lost;
	bool done[2];
} * shared;

static void open_all(void)
{
	shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	ck_assert_int_eq(journal_open(&journal, SEATS_USED, HISTORY, FIRST), 0);
	journal.segments = journal.segments_max + 2 * SEATS_USED; /* walks that are not too long */
	for (unsigned i = 0; i < SEATS_USED; i++)
		journal_take_seat(&ports[i], &journal, i);
	journal_ring_all_doorbells(&journal);
}

/* ---- what both sides do, again and again ---- */

static bool each_in_a_new_segment;

static _Noreturn void publish_again_and_again(unsigned seat)
{
	struct journal_port *port = &ports[seat];

	for (uint64_t number = 0;; number++) {
		struct journal_message message = message_of(port, number, 40, 0);

		if (each_in_a_new_segment)
			port->used = JOURNAL_SEGMENT; /* as if it were full */
		stop();
		(void)journal_draft(port, &message);
		(void)journal_append(port);
		(void)journal_announce(port);
		TELL(said[seat], number + 1);
		TELL(done[seat], true);
		stop();
	}
}

static void publish_first(void)
{
	publish_again_and_again(FIRST_SIDE);
}

static void publish_second(void)
{
	publish_again_and_again(SECOND_SIDE);
}

static void sleep_again_and_again(void)
{
	struct journal_port *port = &ports[SECOND_SIDE];

	for (;;) {
		uint64_t end;

		journal_wake_up(port);
		(void)doorbells_rung(SECOND_SIDE);
		end = journal_end(&journal);
		stop();
		TELL(slept, journal_sleep(port, end));
		TELL(done[1], true);
		stop();
	}
}

/* ---- the judge ---- */

static uint64_t at, heard[2];

static void read_on(void)
{
	struct journal_entry entry;

	while (hear(at, &entry) == JOURNAL_FOUND) {
		unsigned seat = (unsigned)(entry.sender >> 48);

		MUST(entry.sender == sender_of(seat, heard[seat]++));
		at++;
	}
	MUST(journal_find(&journal, at, &entry) == JOURNAL_NOT_YET);
}

static void judge(bool sleeps)
{
	read_on();
	MUST(journal_end(&journal) == at && journal_voids(&journal) == 0);
	MUST(heard[0] == SEEN(said[0]) && heard[1] == SEEN(said[1]));
	if (sleeps && SEEN(slept) &&
	    poll(&(struct pollfd){.fd = journal.doorbells[1], .events = POLLIN}, 1, 0) != 1)
		ck_abort_msg("a wake-up was lost");
}

/* ---- two sides interleaved ---- */

struct pair {
	pid_t pids[2];
	unsigned long rounds;
	bool sleeps; /* the second one */
};

/* Both sides are about to act. First one makes so many steps, then the other one so many
 * (ULONG_MAX: all); then both finish. The judge reads in between. */
static void interleave(struct pair *pair, unsigned first, unsigned long first_n,
		       unsigned long second_n)
{
	unsigned second = 1 - first;

	(void)step(pair->pids[first], &shared->done[first], first_n);
	if (second_n == ULONG_MAX)
		go_on(pair->pids[second]);
	else
		(void)step(pair->pids[second], &shared->done[second], second_n);
	read_on();
	go_on(pair->pids[first]);
	if (second_n != ULONG_MAX)
		go_on(pair->pids[second]);
	judge(pair->sleeps);
	TELL(done[0], false);
	TELL(done[1], false);
	go_on(pair->pids[0]);
	go_on(pair->pids[1]);
	pair->rounds++;
}

/* About how many steps there are in all. */
#define STEPS_ALL 400000ul

/* Stops both sides: one at strides, the other one at strides that begin one later each time. */
static void interleave_everywhere(struct pair *pair, const unsigned long n[2])
{
	unsigned long stride[2] = {1, 1}, all = n[0] * n[1] * (n[0] + n[1]);

	while (all / stride[0] / stride[1] > STEPS_ALL)
		stride[stride[1] < n[1] / 5 ? 1 : 0]++;
	for (unsigned long i = 0; i <= n[0]; i += stride[0])
		for (unsigned long j = i / stride[0] % stride[1]; j <= n[1]; j += stride[1]) {
			interleave(pair, 0, i, j);
			interleave(pair, 1, j, i);
		}
}

static const struct race {
	const char *name;
	void (*second)(void);
	bool each_in_a_new_segment;
} races[] = {
    {"publish and publish", publish_second, false},
    {"publish and publish, each in a new segment", publish_second, true},
    {"publish and sleep", sleep_again_and_again, false},
};

#define RACES ((int)(sizeof races / sizeof *races))

static void run_race(const struct race *race, bool everywhere)
{
	struct pair pair = {.sleeps = race->second == sleep_again_and_again};
	unsigned long n[2], stride;

	open_all();
	each_in_a_new_segment = race->each_in_a_new_segment;
	at = FIRST;
	pair.pids[0] = trace(publish_first);
	pair.pids[1] = trace(race->second);
	interleave(&pair, 0, 0, 0); /* symbols are bound before steps are counted */
	for (unsigned i = 0; i < 2; i++)
		n[i] = step(pair.pids[i], &shared->done[i], ULONG_MAX);
	interleave(&pair, 0, 0, 0);
	stride = (n[0] + n[1]) / (suite_sanitized() ? 60 : everywhere ? 3000 : 200) + 1;
	for (unsigned long i = 0; i <= n[0]; i += stride)
		interleave(&pair, 0, i, ULONG_MAX);
	for (unsigned long i = 0; i <= n[1]; i += stride)
		interleave(&pair, 1, i, ULONG_MAX);
	if (everywhere)
		interleave_everywhere(&pair, n);
	(void)printf("FIGURE %s: %lu interleavings of %lu and %lu instructions\n", race->name,
		     pair.rounds, n[0], n[1]);
	(void)fflush(stdout);
	end_process(pair.pids[0]);
	end_process(pair.pids[1]);
	journal_close(&journal);
}

START_TEST(one_stands_still_while_the_other_acts)
{
	if (may_trace("one stands still while the other acts"))
		run_race(&races[_i], false);
}
END_TEST

START_TEST(both_stand_still_in_between)
{
	if (may_trace("both stand still in between"))
		run_race(&races[_i], true);
}
END_TEST

/* ---- at full speed ---- */

/* Publishes at full speed, and reads all that it can: two writers, and as many readers. */
static void write_and_read(unsigned seat, unsigned long records)
{
	struct journal_port *port = &ports[seat];
	uint64_t seed = seat + 1, mine = FIRST, next[2] = {0}, gaps = 0;
	struct journal_entry entry;

	for (uint64_t number = 0; number < records; number++) {
		(void)say(port, number, next_random(&seed) % (number % 64 ? 100 : 20000));
		for (enum journal_found found; (found = hear(mine, &entry)) != JOURNAL_NOT_YET;) {
			unsigned sender = (unsigned)(entry.sender >> 48);

			if (found == JOURNAL_GONE) {
				mine = journal_floor(&journal);
				gaps++;
				continue;
			}
			MUST((entry.sender & 0xffffffffffff) >= next[sender]);
			MUST(gaps || entry.sender == sender_of(sender, next[sender]));
			next[sender] = (entry.sender & 0xffffffffffff) + 1;
			mine++;
		}
	}
	TELL(said[seat], records);
}

static void write_on_two_cores(unsigned long records)
{
	cpu_set_t cpus;
	pid_t pid;
	int status;

	if (allowed_cpus(&cpus) < 2) {
		suite_skip("two writers on two cores", "there is one CPU");
		return;
	}
	open_all();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(&cpus, 1);
		write_and_read(SECOND_SIDE, records);
		_exit(0);
	}
	pin(&cpus, 0);
	write_and_read(FIRST_SIDE, records);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(journal_end(&journal), FIRST + 2 * records);
	(void)hear_all();
	journal_close(&journal);
}

START_TEST(two_writers_on_two_cores)
{
	write_on_two_cores(suite_volume(100000));
}
END_TEST

START_TEST(two_writers_on_two_cores_for_long)
{
	write_on_two_cores(suite_volume(10000000));
}
END_TEST

#define ROUNDS	20000
#define SPIN_MS 3000 /* if they sleep each time, rounds would take longer: then there are fewer */

/* Falls asleep while the other one publishes. If no doorbell comes, a wake-up was lost. */
static void read_by_turns(void)
{
	struct journal_port *port = &ports[SECOND_SIDE];
	struct pollfd doorbell = {.fd = journal.doorbells[SECOND_SIDE], .events = POLLIN};
	uint64_t seed = 1, next = FIRST, sleeps = 0;

	for (;;) {
		TELL(said[1], next);
		for (uint64_t n = next_random(&seed) % 256; n; n--)
			__asm__ volatile("");
		if (journal_sleep(port, next)) {
			TELL(slept, sleeps++ > 0);
			if (poll(&doorbell, 1, (int)patience_ms()) != 1)
				break;
			(void)doorbells_rung(SECOND_SIDE);
		}
		while (journal_end(&journal) > next)
			next++;
	}
	TELL(lost, true);
}

static void sleep_on_two_cores(unsigned times)
{
	uint64_t until = now_ms() + (uint64_t)times * SPIN_MS, seed = 2, rounds = 0;
	cpu_set_t cpus;
	pid_t pid;

	if (allowed_cpus(&cpus) < 2) {
		suite_skip("no reader sleeps on", "there is one CPU");
		return;
	}
	open_all();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(&cpus, 1);
		read_by_turns();
		_exit(0);
	}
	pin(&cpus, 0);
	for (; rounds < (uint64_t)times * ROUNDS && (now_ms() < until || !SEEN(slept)); rounds++) {
		uint64_t id = 0;

		while (SEEN(said[1]) != journal_end(&journal) && !SEEN(lost))
			continue;
		for (uint64_t n = next_random(&seed) % 256; n; n--)
			__asm__ volatile("");
		id = say(&ports[FIRST_SIDE], rounds, 8);
		(void)journal_announce(&ports[FIRST_SIDE]);
		ck_assert(id && !SEEN(lost));
	}
	(void)printf("FIGURE publish and sleep on two cores: %lu rounds\n", (unsigned long)rounds);
	(void)fflush(stdout);
	ck_assert(SEEN(slept));
	end_process(pid);
	journal_close(&journal);
}

START_TEST(no_reader_sleeps_on)
{
	sleep_on_two_cores(1);
}
END_TEST

START_TEST(no_reader_sleeps_on_for_long)
{
	sleep_on_two_cores(10);
}
END_TEST

SUITE("journal_race",
      {"one stands still while the other acts", one_stands_still_while_the_other_acts, 60, RACES},
      {"both stand still in between", both_stand_still_in_between, 300, RACES, .kind = SUITE_LONG},
      {"two writers on two cores", two_writers_on_two_cores, 30},
      {"two writers on two cores for long", two_writers_on_two_cores_for_long, 200,
       .kind = SUITE_LONG},
      {"no reader sleeps on", no_reader_sleeps_on, 30},
      {"no reader sleeps on for long", no_reader_sleeps_on_for_long, 100, .kind = SUITE_LONG})
