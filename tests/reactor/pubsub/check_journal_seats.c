/*
 * journal, for processes that come and go: seats, what of their records is void, doorbells, sleep,
 * the last of all that is said, and a journal that another process made.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "reactor/base/descriptor.h"
#include "reactor/pubsub/journal_parts.h"
#include "tests/reactor/pubsub/journal_room.h"

/* ---- seats ---- */

START_TEST(seats_come_into_use)
{
	open_room(1);
	for (unsigned n = 1; n < JOURNAL_SEATS_MAX; n *= 2) {
		ck_assert_int_eq(journal_use_seats(&journal, n + 1), 0);
		ck_assert_uint_eq(journal_seats(&journal), n + 1);
		journal_take_seat(&ports[1], &journal, n);
		(void)say(&ports[1], n, 100);
		(void)say(&ports[0], n, 100);
		ck_assert_int_ge(journal.doorbells[n], 0);
	}
	ck_assert_int_eq(journal_use_seats(&journal, JOURNAL_SEATS_MAX), 0);
	journal_take_seat(&ports[1], &journal, JOURNAL_SEATS_MAX - 1);
	(void)say(&ports[1], 7, 100);
	ck_assert_uint_eq(hear_all(), 2 * 9 + 1);
	ck_assert_int_eq(journal_use_seats(&journal, 3), 0);
	ck_assert_uint_eq(journal_seats(&journal), JOURNAL_SEATS_MAX); /* it never falls */
	journal_close(&journal);
}
END_TEST

START_TEST(a_new_seat_begins_at_the_end)
{
	unsigned left_behind = 0;

	open_room(2);
	for (unsigned i = 0; i < 100; i++)
		(void)say(&ports[0], i, 1000);
	journal_take_seat(&ports[1], &journal, 1);
	journal_tell_cursor(&ports[0], journal_end(&journal));
	ck_assert(journal_may_go_on(&ports[0], false, 0, &left_behind));
	ck_assert_uint_eq(left_behind, 0);
	journal_close(&journal);
}
END_TEST

START_TEST(serials_are_given_once)
{
	open_room(2);
	for (uint64_t i = 1; i < 1000; i++) {
		ck_assert_uint_eq(journal_serial(&journal), i);
		if (i % 100 == 0)
			journal_take_seat(&ports[0], &journal, 0);
	}
	journal_close(&journal);
}
END_TEST

/* ---- voids ---- */

static void leave_and_expect(unsigned seat, uint64_t voids)
{
	journal_vacate(&journal, seat);
	MUST(journal_voids(&journal) == voids);
	journal_vacate(&journal, seat); /* twice is once */
	journal_take_seat(&ports[seat], &journal, seat);
	MUST(journal_voids(&journal) == voids);
	(void)say(&ports[seat], 1, 1);
}

static void go_round(unsigned seat)
{
	for (uint64_t i = 0; i < 2 * SLOTS; i++)
		(void)say(&ports[seat], i, 0);
}

START_TEST(drafts_of_the_dead_are_void)
{
	open_room(2);
	for (uint64_t round = 0; round < 4; round++) {
		ck_assert_int_eq(draft(&ports[1], 1, 1, 0), 0);
		leave_and_expect(1, 3 * round + 1);
		ck_assert_int_eq(draft(&ports[1], 1, 1, 0), 0);
		go_round(0);
		leave_and_expect(1, 3 * round + 2);
		/* It wanted an id that somebody else got, and whose slot is used again. */
		ck_assert_int_eq(draft(&ports[1], 1, 1, 0), 0);
		seat_of(&journal, 1)->draft = slot_value(&journal, journal_end(&journal), 3,
							 (uint32_t)seat_of(&journal, 1)->draft);
		go_round(0);
		leave_and_expect(1, 3 * round + 3);
		/* A journal that all leave in peace has none. */
		ck_assert_int_eq(draft(&ports[1], 1, 1, 0), 0);
		(void)journal_append(&ports[1]);
		leave_and_expect(1, 3 * round + 3);
	}
	journal_close(&journal);
}
END_TEST

/* Killed behind the swap: its seat still says what it wanted to publish. */
static void publish_and_die(unsigned seat)
{
	uint64_t id = say(&ports[seat], 1, 1);

	seat_of(&journal, seat)->draft = *slot_of(&journal, id);
}

START_TEST(what_the_dead_published_is_not_void)
{
	open_room(2);
	for (uint64_t round = 0; round < 4; round++) {
		publish_and_die(1);
		leave_and_expect(1, 0);
		publish_and_die(1);
		journal_raise_floor(&journal, journal_end(&journal));
		leave_and_expect(1, 0);
		publish_and_die(1);
		go_round(0);
		leave_and_expect(1, 0);
	}
	journal_close(&journal);
}
END_TEST

/* ---- sleep ---- */

START_TEST(whoever_sleeps_is_woken_once)
{
	open_room(3);
	ck_assert(journal_sleep(&ports[1], FIRST));
	ck_assert_uint_eq(journal_announce(&ports[0]), 0); /* nothing was said */
	ck_assert_uint_eq(doorbells_rung(1), 0);
	(void)say(&ports[0], 1, 1);
	(void)say(&ports[0], 2, 1);
	ck_assert_uint_eq(journal_announce(&ports[0]), 1);
	ck_assert_uint_eq(doorbells_rung(1), 1);
	(void)say(&ports[0], 3, 1);
	ck_assert_uint_eq(journal_announce(&ports[0]), 0); /* it does not sleep any more */
	ck_assert(!journal_sleep(&ports[1], FIRST + 2));
	ck_assert(!journal_sleep(&ports[1], FIRST)); /* however far behind */
	(void)say(&ports[0], 4, 1);
	ck_assert_uint_eq(journal_announce(&ports[0]), 0);
	ck_assert(journal_sleep(&ports[1], FIRST + 4));
	journal_wake_up(&ports[1]);
	(void)say(&ports[0], 5, 1);
	ck_assert_uint_eq(journal_announce(&ports[0]), 0);
	/* Two sleep, and the writer itself. */
	ck_assert(journal_sleep(&ports[0], FIRST + 5));
	ck_assert(journal_sleep(&ports[1], FIRST + 5));
	ck_assert(journal_sleep(&ports[2], FIRST + 5));
	(void)say(&ports[0], 6, 1);
	ck_assert_uint_eq(journal_announce(&ports[0]), 2);
	ck_assert_uint_eq(doorbells_rung(0), 0);
	ck_assert_uint_eq(doorbells_rung(2), 1);
	/* What was missed is reason enough not to sleep. */
	for (uint64_t i = 0; i < 2 * SLOTS; i++)
		(void)say(&ports[0], i, 1);
	ck_assert(!journal_sleep(&ports[1], FIRST + 5));
	ck_assert(!journal_sleep(&ports[1], FIRST));
	journal_close(&journal);
}
END_TEST

START_TEST(those_in_a_seat_are_rung)
{
	open_room(3);
	(void)doorbells_rung(0);
	journal_leave_seat(&ports[1]);
	journal_ring_all_doorbells(&journal);
	ck_assert_uint_eq(doorbells_rung(0), 1);
	ck_assert_uint_eq(doorbells_rung(1), 0);
	ck_assert_uint_eq(doorbells_rung(2), 1);
	journal_say_last(&ports[0]); /* it waits now, and rings all that do */
	ck_assert_uint_eq(doorbells_rung(0), 1);
	ck_assert_uint_eq(doorbells_rung(2), 0);
	journal_ring_waiters(&journal);
	ck_assert_uint_eq(doorbells_rung(0), 1);
	ck_assert_uint_eq(doorbells_rung(2), 0);
	journal_close(&journal);
}
END_TEST

/* ---- the last of all ---- */

#define NOW (UINT32_MAX - 300)

START_TEST(all_have_said_all)
{
	open_room(3);
	ck_assert(!journal_all_said(&ports[0], NOW));
	journal_say_last(&ports[0]);
	ck_assert(!journal_all_said(&ports[0], NOW));
	journal_say_last(&ports[1]);
	ck_assert_uint_ge(doorbells_rung(0), 1);
	ck_assert(!journal_all_said(&ports[0], NOW + 10));
	journal_leave_seat(&ports[2]);
	ck_assert(journal_all_said(&ports[0], NOW + 20));
	ck_assert(journal_all_said(&ports[1], NOW + 20));
	journal_take_seat(&ports[2], &journal, 2); /* one that comes anew is waited for */
	ck_assert(!journal_all_said(&ports[0], NOW + 30));
	journal_close(&journal);
}
END_TEST

START_TEST(one_that_does_not_ask_is_not_waited_for)
{
	open_room(3);
	journal_say_last(&ports[0]);
	for (uint32_t at = 0; at < 10 * JOURNAL_PATIENCE_MS; at += JOURNAL_LOOK_MS) {
		(void)journal_all_said(&ports[1], NOW + at); /* it drains, slowly */
		ck_assert(!journal_all_said(&ports[0], NOW + at));
	}
	journal_say_last(&ports[1]);
	ck_assert(
	    journal_all_said(&ports[0], NOW + 10 * JOURNAL_PATIENCE_MS)); /* seat 2 never did */
	journal_close(&journal);
}
END_TEST

START_TEST(one_that_stops_asking_is_waited_for_so_long)
{
	open_room(2);
	journal_say_last(&ports[0]);
	ck_assert(!journal_all_said(&ports[0], NOW));
	(void)journal_all_said(&ports[1], NOW);
	ck_assert(!journal_all_said(&ports[0], NOW + JOURNAL_PATIENCE_MS - 1));
	ck_assert(!journal_all_said(&ports[0], NOW + 2 * JOURNAL_PATIENCE_MS - 2));
	ck_assert(journal_all_said(&ports[0], NOW + 2 * JOURNAL_PATIENCE_MS - 1));
	journal_close(&journal);
}
END_TEST

/* ---- a journal that another process made ---- */

static struct journal attached;

static int memory_again(void)
{
	int fd = fcntl(journal.fd, F_DUPFD_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(another_process_goes_on)
{
	open_room(2);
	for (unsigned i = 0; i < 100; i++)
		(void)say(&ports[i % 2], i, i * 10);
	journal_leave_seat(&ports[1]);
	ck_assert_int_eq(journal_attach(&attached, memory_again()), 0);
	ck_assert(attached.first == FIRST && attached.slots_shift == journal.slots_shift &&
		  attached.segments == journal.segments &&
		  attached.segments_max == journal.segments_max &&
		  attached.mapped_bytes == journal.mapped_bytes);
	ck_assert_uint_eq(journal_seats(&attached), 2);
	for (unsigned i = 0; i < JOURNAL_SEATS_MAX; i++)
		ck_assert_int_eq(attached.doorbells[i], -1);
	ck_assert_uint_eq(journal_hash(&attached, "name", 4), journal_hash(&journal, "name", 4));
	journal_take_seat(&ports[1], &attached, 1);
	ck_assert_uint_eq(say(&ports[1], 100, 5), FIRST + 100);
	ck_assert_uint_eq(say(&ports[0], 101, 5), FIRST + 101);
	ck_assert_uint_eq(journal_serial(&journal), 1);
	ck_assert_uint_eq(journal_serial(&attached), 2);
	ck_assert_uint_eq(hear_all(), 102);
	ck_assert_int_eq(journal_use_seats(&attached, 3), 0);
	ck_assert_uint_eq(journal_seats(&journal), 3);
	journal_close(&journal);
	ck_assert_uint_eq(say(&ports[1], 102, 5), FIRST + 102);
	journal_close(&attached);
}
END_TEST

static void refuse(off_t at, uint64_t value, size_t n)
{
	uint64_t before;
	int fd = memory_again();

	ck_assert_int_eq(pread(fd, &before, sizeof before, at), sizeof before);
	ck_assert_int_eq(pwrite(fd, &value, n, at), (ssize_t)n);
	ck_assert_int_eq(journal_attach(&attached, fd), -EPROTO);
	ck_assert_ptr_null(attached.memory);
	ck_assert_int_eq(pwrite(fd, &before, sizeof before, at), sizeof before);
	ck_assert_int_eq(close(fd), 0); /* it still belonged to the caller */
}

static void refuse_length(off_t bytes)
{
	int fd = memory_again();

	ck_assert_int_eq(ftruncate(fd, bytes), 0);
	ck_assert_int_eq(journal_attach(&attached, fd), -EPROTO);
	ck_assert_int_eq(ftruncate(fd, (off_t)journal.mapped_bytes), 0);
	ck_assert_int_eq(close(fd), 0);
}

#define AT(field) offsetof(struct journal_header, field)

START_TEST(what_is_no_journal_is_refused)
{
	int fd, pipes[2];

	open_room(2);
	refuse(AT(magic), 0, 8);
	refuse(AT(layout), 2, 4);
	refuse(AT(layout), 0, 4);
	refuse(AT(seats_max), JOURNAL_SEATS_MAX / 2, 4);
	refuse(AT(history), HISTORY - 1, 8);
	refuse(AT(history), 2 * HISTORY, 8);
	refuse(AT(history), 0, 8);
	refuse(AT(history), UINT64_MAX, 8);
	refuse(AT(history), JOURNAL_HISTORY_MAX + 1, 8);
	refuse(AT(first), 0, 8);
	refuse(AT(seats), 0, 4);
	refuse(AT(seats), JOURNAL_SEATS_MAX + 1, 4);
	refuse_length((off_t)journal.mapped_bytes - 1);
	refuse_length((off_t)journal.mapped_bytes + 1);
	refuse_length((off_t)sizeof(struct journal_header));
	fd = memory_again();
	ck_assert_int_eq(journal_attach(&attached, fd), 0);
	journal_close(&attached);
	fd = memfd_create("nothing", MFD_CLOEXEC);
	ck_assert_int_eq(journal_attach(&attached, fd), -EPROTO);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	ck_assert_int_eq(journal_attach(&attached, fd), -EPROTO);
	ck_assert_int_eq(close(fd), 0);
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(journal_attach(&attached, pipes[0]), -EPROTO);
	ck_assert_int_eq(journal_attach(&attached, -1), -EBADF);
	journal_close(&attached);
	journal_close(&journal);
}
END_TEST

START_TEST(whoever_has_no_doorbell_leaves_the_wish)
{
	open_room(2);
	ck_assert_int_eq(journal_attach(&attached, memory_again()), 0);
	journal_take_seat(&ports[1], &attached, 1); /* it does not have seat 0's doorbell yet */
	ck_assert(journal_sleep(&ports[0], FIRST));
	(void)say(&ports[1], 1, 1);
	ck_assert_uint_eq(journal_announce(&ports[1]), 0);
	ck_assert_uint_eq(doorbells_rung(0), 0);
	journal_add_doorbell(&attached, 0, fcntl(journal.doorbells[0], F_DUPFD_CLOEXEC, 0));
	ck_assert_uint_eq(doorbells_rung(0), 1);
	ck_assert(journal_sleep(&ports[0], FIRST + 1));
	(void)say(&ports[1], 2, 1);
	ck_assert_uint_eq(journal_announce(&ports[1]), 1);
	/* Adding the same doorbell again changes nothing. */
	journal_add_doorbell(&attached, 0, fcntl(journal.doorbells[0], F_DUPFD_CLOEXEC, 0));
	ck_assert_uint_eq(doorbells_rung(0), 2);
	journal_close(&attached);
	journal_close(&journal);
}
END_TEST

/* ---- processes that come while others talk ---- */

#define PROCESSES 8
#define RECORDS	  4000 /* of each process */

static int channels[PROCESSES][2];

enum { ALL_HEARD = 0, GAP = 2, DISORDER = 3, FORGOTTEN = 4 };

static void take_doorbells(int channel)
{
	int fds[DESCRIPTORS_MAX];
	uint32_t seat;
	size_t n;

	while (descriptors_receive(channel, &seat, sizeof seat, fds, &n) == sizeof seat)
		if (n == 1)
			journal_add_doorbell(&journal, seat, fds[0]);
}

/* Reads what there is, each sender's in its order. */
static void hear_what_is_there(struct journal_port *port, uint64_t *at, uint64_t next[])
{
	struct journal_entry entry;
	enum journal_found found;

	while ((found = hear(*at, &entry)) == JOURNAL_FOUND) {
		unsigned seat = (unsigned)(entry.sender >> 48);

		if ((entry.sender & 0xffffffffffff) != next[seat]++)
			_exit(DISORDER);
		++*at;
	}
	if (found == JOURNAL_GONE)
		_exit(GAP);
	journal_tell_cursor(port, *at);
}

/* Publishes its records, reads all records of all, and sleeps in between. No time goes by, so that
 * nobody is left behind, however slow this machine is. */
static _Noreturn void talk_and_listen(unsigned seat)
{
	struct journal_port *port = &ports[0];
	struct pollfd sources[] = {{.fd = journal.doorbells[seat], .events = POLLIN},
				   {.fd = channels[seat][1], .events = POLLIN}};
	uint64_t at = FIRST, said = 0, next[PROCESSES] = {0};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	journal_take_seat(port, &journal, seat);
	journal_tell_cursor(port, FIRST);
	for (;;) {
		unsigned left_behind = 0;
		bool waiting = false;

		take_doorbells(channels[seat][1]);
		hear_what_is_there(port, &at, next);
		if (at == FIRST + PROCESSES * RECORDS)
			_exit(ALL_HEARD);
		for (unsigned i = 0; said < RECORDS && i <= seat && !waiting; i++) {
			waiting = !journal_may_go_on(port, false, 0, &left_behind);
			if (!waiting)
				(void)say(port, said, said % 300), said++;
		}
		(void)journal_announce(port);
		if ((!waiting && said < RECORDS) || !journal_sleep(port, at))
			continue;
		if (poll(sources, 2, waiting ? 1 : (int)patience_ms()) == 0 && !waiting)
			_exit(FORGOTTEN);
		(void)doorbells_rung(seat);
		journal_wake_up(port);
	}
}

static pid_t start_process(unsigned seat)
{
	pid_t pid;

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channels[seat]),
	    0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		talk_and_listen(seat);
	return pid;
}

/* Processes get the doorbell of a new one only after it has begun to talk. The history
 * has all that is said. */
START_TEST(processes_come_while_others_talk)
{
	struct wait wait = wait_begin();
	pid_t pids[PROCESSES];
	int status;

	ck_assert_int_eq(journal_open(&journal, 1, 64 * HISTORY, FIRST), 0);
	for (uint32_t seat = 0; seat < PROCESSES; seat++) {
		uint64_t end = journal_end(&journal);

		ck_assert_int_eq(journal_use_seats(&journal, seat + 1), 0);
		pids[seat] = start_process(seat);
		while (seat < 4 && journal_end(&journal) == end)
			wait_more(&wait, "a process to talk");
		for (unsigned i = 0; i < seat; i++)
			ck_assert_int_eq(descriptors_send(channels[i][0], &seat, sizeof seat,
							  &journal.doorbells[seat], 1),
					 sizeof seat);
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "process %u ends with 0x%x", i, (unsigned)status);
		journal_vacate(&journal, i);
		journal_ring_all_doorbells(&journal);
	}
	ck_assert_uint_eq(hear_all(), PROCESSES * RECORDS);
	ck_assert_uint_eq(journal_voids(&journal), 0);
	journal_close(&journal);
}
END_TEST

SUITE("journal_seats", {"seats come into use", seats_come_into_use, 5},
      {"a new seat begins at the end", a_new_seat_begins_at_the_end, 5},
      {"serials are given once", serials_are_given_once, 5},
      {"drafts of the dead are void", drafts_of_the_dead_are_void, 10},
      {"what the dead published is not void", what_the_dead_published_is_not_void, 10},
      {"whoever sleeps is woken once", whoever_sleeps_is_woken_once, 5},
      {"those in a seat are rung", those_in_a_seat_are_rung, 5},
      {"all have said all", all_have_said_all, 5},
      {"one that does not ask is not waited for", one_that_does_not_ask_is_not_waited_for, 5},
      {"one that stops asking is waited for so long", one_that_stops_asking_is_waited_for_so_long,
       5},
      {"another process goes on", another_process_goes_on, 5},
      {"what is no journal is refused", what_is_no_journal_is_refused, 5},
      {"whoever has no doorbell leaves the wish", whoever_has_no_doorbell_leaves_the_wish, 5},
      {"processes come while others talk", processes_come_while_others_talk, 60})
