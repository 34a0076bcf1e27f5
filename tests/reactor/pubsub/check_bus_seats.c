/*
 * bus, for processes that come and go: seats that come into use while others talk, doorbells that
 * come late, a bus to which another process attaches, and what a reader holds to be read again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "reactor/base/descriptor.h"
#include "tests/reactor/pubsub/bus_room.h"

/* ---- seats ---- */

START_TEST(seats_come_into_use_while_others_talk)
{
	uint64_t next[SEATS][SEATS] = {0}, seed = 1;
	struct bus_record record;
	unsigned seated = 1;

	open_room(1);
	for (unsigned long step = 0; step < suite_volume(200000); step++) {
		unsigned seat = (unsigned)(next_random(&seed) % seated);

		if (seated < SEATS && step == 1000u * seated * seated) {
			/* The seat is known before anybody sits there. */
			ck_assert_int_eq(bus_use_seats(&bus, seated + 1), 0);
			ck_assert_uint_eq(bus_seats(&bus), seated + 1);
			(void)hear(&ports[0], &record);
			bus_take_seat(&ports[seated], &bus, seated);
			for (unsigned i = 0; i < seated; i++)
				next[seated][i] = ports[i].number;
			for (unsigned i = 0; i < SEATS; i++)
				next[0][i] = ports[0].expected[i];
			ck_assert_uint_eq(ports[seated].number, 0);
			seated++;
		}
		if (next_random(&seed) & 1)
			(void)say(&ports[seat], next_random(&seed) % 3000);
		else if (hear(&ports[seat], &record))
			MUST(record.number == next[seat][ports[seat].ring]++);
		if (next_random(&seed) % 8 == 0)
			(void)bus_rest(&ports[seat]);
	}
	for (unsigned seat = 0; seat < SEATS; seat++) {
		while (hear(&ports[seat], &record))
			MUST(record.number == next[seat][ports[seat].ring]++);
		for (unsigned i = 0; i < SEATS; i++)
			ck_assert_uint_eq(next[seat][i], ports[i].number);
		ck_assert_uint_eq(ports[seat].missed, 0);
	}
	ck_assert_int_eq(bus_use_seats(&bus, 2), 0);
	ck_assert_uint_eq(bus_seats(&bus), SEATS); /* their number never falls */
	bus_close(&bus);
}
END_TEST

START_TEST(all_seats_there_can_be)
{
	struct bus_record record;

	open_room(1);
	for (unsigned seat = 1; seat < BUS_SEATS_MAX; seat *= 2) {
		ck_assert_int_eq(bus_use_seats(&bus, seat + 1), 0);
		bus_take_seat(&ports[1], &bus, seat);
		ck_assert(say(&ports[1], 100));
		ck_assert(hear(&ports[0], &record));
		ck_assert(hear(&ports[1], &record));
	}
	ck_assert_int_eq(bus_use_seats(&bus, BUS_SEATS_MAX), 0);
	bus_take_seat(&ports[1], &bus, BUS_SEATS_MAX - 1);
	ck_assert(say(&ports[0], 100));
	ck_assert(say(&ports[1], 100));
	ck_assert_uint_eq(hear_all(&ports[0]), 2);
	ck_assert_uint_eq(hear_all(&ports[1]), 2);
	bus_close(&bus);
}
END_TEST

START_TEST(a_number_is_given_once)
{
	uint32_t last = 0;

	open_room(2);
	for (unsigned life = 0; life < 20; life++) {
		bus_take_seat(&ports[1], &bus, 1);
		for (unsigned i = 0; i < life; i++) {
			uint32_t serial = bus_serial(&ports[1]);

			ck_assert_uint_gt(serial, last);
			last = serial;
		}
		ck_assert_uint_eq(bus_serial(&ports[0]), life + 1);
		bus_vacate(&bus, 1);
	}
	bus_close(&bus);
}
END_TEST

/* ---- a bus that another process made ---- */

static struct bus attached;

static int memory_again(void)
{
	int fd = fcntl(bus.fd, F_DUPFD_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(another_process_goes_on)
{
	struct bus_record record;

	open_room(3);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(say(&ports[0], 100));
	(void)hear_all(&ports[1]);
	bus_vacate(&bus, 2);
	ck_assert_int_eq(bus_attach(&attached, memory_again()), 0);
	ck_assert_uint_eq(bus_seats(&attached), 3);
	ck_assert_uint_eq(attached.ring_bytes, RING_BYTES);
	for (unsigned i = 0; i < BUS_SEATS_MAX; i++)
		ck_assert_int_eq(attached.doorbells[i], -1);
	bus_take_seat(&ports[2], &attached, 2);
	ck_assert(!bus_peek(&ports[2], &record));
	ck_assert(say(&ports[0], 100));
	ck_assert(say(&ports[2], 100));
	ck_assert_uint_eq(hear_all(&ports[2]), 2);
	ck_assert_uint_eq(hear_all(&ports[1]), 2);
	/* The next master can add seats. */
	ck_assert_int_eq(bus_use_seats(&attached, 4), 0);
	bus_take_seat(&ports[3], &attached, 3);
	ck_assert(say(&ports[3], 100));
	ck_assert_uint_eq(hear_all(&ports[1]), 1);
	ck_assert_uint_eq(ports[1].missed + ports[2].missed, 0);
	bus_close(&bus);
	ck_assert(say(&ports[2], 100));
	bus_close(&attached);
}
END_TEST

static void refuse(off_t at, uint64_t value, size_t n)
{
	uint64_t before;
	int fd = memory_again();

	ck_assert_int_eq(pread(fd, &before, sizeof before, at), sizeof before);
	ck_assert_int_eq(pwrite(fd, &value, n, at), (ssize_t)n);
	ck_assert_int_eq(bus_attach(&attached, fd), -EPROTO);
	ck_assert_int_eq(pwrite(fd, &before, sizeof before, at), sizeof before);
	ck_assert_int_eq(close(fd), 0); /* it still belonged to the caller */
}

START_TEST(what_is_no_bus_is_refused)
{
	int fd, pipes[2];

	open_room(2);
	refuse(0, 0, 8);		  /* not a bus */
	refuse(8, 2 * RING_BYTES, 8);	  /* rings that do not fit the memory */
	refuse(8, RING_BYTES + 16, 8);	  /* not a power of two */
	refuse(8, RING_BYTES / 2, 8);	  /* too short */
	refuse(8, 1ull << 63, 8);	  /* too long */
	refuse(16, 2, 4);		  /* the next layout */
	refuse(20, BUS_SEATS_MAX / 2, 4); /* another capacity */
	refuse(64, 0, 4);		  /* no seats */
	refuse(64, BUS_SEATS_MAX + 1, 4); /* more than there are */
	fd = memory_again();
	ck_assert_int_eq(bus_attach(&attached, fd), 0);
	bus_close(&attached);
	fd = memfd_create("nothing", MFD_CLOEXEC);
	ck_assert_int_eq(bus_attach(&attached, fd), -EPROTO);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	ck_assert_int_eq(bus_attach(&attached, fd), -EPROTO);
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(bus_attach(&attached, pipes[0]), -EPROTO);
	ck_assert_int_eq(bus_attach(&attached, -1), -EBADF);
	bus_close(&attached);
	bus_close(&bus);
}
END_TEST

/* Whatever number a process writes there, others never look at seats that do not exist. */
START_TEST(a_false_number_of_seats_harms_nobody)
{
	static const uint32_t numbers[] = {0, 1, 3, BUS_SEATS_MAX, BUS_SEATS_MAX + 1, UINT32_MAX};
	struct bus_record record;

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		open_room(3);
		ports[2].ring = 2;
		memcpy(bus.memory + 64, &numbers[i], sizeof numbers[i]);
		ck_assert_uint_ge(bus_seats(&bus), 1);
		ck_assert_uint_le(bus_seats(&bus), BUS_SEATS_MAX);
		for (unsigned n = 0; n < 100; n++) {
			(void)say(&ports[0], 1000);
			while (bus_peek(&ports[0], &record) && hear(&ports[0], &record))
				continue;
			(void)bus_rest(&ports[2]);
			(void)hear(&ports[2], &record);
			(void)bus_announce(&ports[0]);
		}
		bus_close(&bus);
	}
}
END_TEST

/* ---- doorbells ---- */

START_TEST(whoever_has_no_doorbell_leaves_the_wish)
{
	open_room(2);
	ck_assert_int_eq(bus_attach(&attached, memory_again()), 0);
	bus_take_seat(&ports[1], &attached, 1); /* it does not have seat 0's doorbell yet */
	ck_assert(bus_sleep(&ports[0]));
	ck_assert(say(&ports[1], 10));
	ck_assert_uint_eq(bus_announce(&ports[1]), 0);
	ck_assert_uint_eq(doorbells_rung(0), 0);
	bus_add_doorbell(&attached, 0, fcntl(bus.doorbells[0], F_DUPFD_CLOEXEC, 0));
	ck_assert_uint_eq(doorbells_rung(0), 1);
	ck_assert_uint_eq(hear_all(&ports[0]), 1);
	ck_assert(bus_sleep(&ports[0]));
	ck_assert(say(&ports[1], 10));
	ck_assert_uint_eq(bus_announce(&ports[1]), 1);
	ck_assert_uint_eq(doorbells_rung(0), 1);
	/* Space is waited for in the same way. */
	(void)hear_all(&ports[0]);
	(void)say_until_full(&ports[0], 1000);
	(void)hear_all(&ports[0]);
	ck_assert(bus_wait(&ports[0], 0));
	(void)hear_all(&ports[1]);
	ck_assert_uint_eq(bus_rest(&ports[1]), 1);
	/* Adding the same doorbell again changes nothing. */
	bus_add_doorbell(&attached, 0, fcntl(bus.doorbells[0], F_DUPFD_CLOEXEC, 0));
	ck_assert_uint_eq(doorbells_rung(0), 2);
	bus_close(&attached);
	bus_close(&bus);
}
END_TEST

/* ---- what is read again ---- */

static void read_again_as_said(struct bus_port *again, const struct bus_port *port, uint64_t first,
			       unsigned n)
{
	struct bus_record record;
	static unsigned char bytes[BUS_RECORD_MAX];

	for (unsigned i = 0; i < n; i++) {
		ck_assert(again->at[0] < port->at[0]);
		ck_assert(bus_peek_in(again, 0, &record));
		ck_assert(bus_copy(again, &record, bytes));
		ck_assert(bus_take(again, &record, bytes));
		ck_assert(is_whole(&record, bytes, 0));
		ck_assert_uint_eq(record.number, first + i);
	}
	ck_assert(bus_read_all_again(again, port));
}

START_TEST(what_is_held_can_be_read_again)
{
	static struct bus_port again;
	unsigned long more, read;
	uint64_t marks[3];

	open_room(3);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert(say(&ports[0], i * 7));
		for (unsigned seat = 0; seat < 3; seat++)
			ck_assert_uint_eq(hear_all(&ports[seat]), 1);
	}
	memcpy(marks, ports[1].at, sizeof marks);
	ck_assert(bus_read_again(&again, &ports[1], marks, 3));
	ck_assert(bus_read_all_again(&again, &ports[1]));
	bus_hold(&ports[1]);
	more = say_until_full(&ports[0], 500);
	for (unsigned seat = 0; seat < 3; seat++)
		read = hear_all(&ports[seat]);
	ck_assert_uint_eq(read, more);
	ck_assert(!say(&ports[0], 500)); /* though all have read it */
	/* Another reader that has read as far can read it again. */
	ck_assert(bus_read_again(&again, &ports[2], marks, 3));
	ck_assert(!bus_read_all_again(&again, &ports[2]));
	read_again_as_said(&again, &ports[2], 100, (unsigned)more);
	ck_assert(bus_read_again(&again, &ports[2], marks, 1)); /* only ring 0 */
	read_again_as_said(&again, &ports[2], 100, (unsigned)more);
	marks[0] = ports[2].at[0] + 16;
	ck_assert(!bus_read_again(&again, &ports[2], marks, 3)); /* beyond what it has read */
	ck_assert(bus_wait(&ports[0], 0));
	bus_let_go(&ports[1]);
	ck_assert_uint_eq(bus_rest(&ports[1]), 1);
	ck_assert_uint_eq(doorbells_rung(0), 1);
	ck_assert(wait_on(&ports[0], 0, 0));
	ck_assert(say(&ports[0], 500));
	ck_assert_uint_eq(hear_all(&ports[1]), 1);
	bus_close(&bus);
}
END_TEST

/* However far the second reading has come when the records are overwritten, that is reported at the
 * latest when all was read. */
START_TEST(what_was_overwritten_is_not_read_again)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	static struct bus_port again, before;
	struct bus_record record;
	uint64_t marks[2];
	bool whole;

	for (unsigned place = 0; place < 30; place++) {
		open_room(2);
		memcpy(marks, ports[1].at, sizeof marks);
		for (unsigned i = 0; i < 20; i++)
			ck_assert(say(&ports[0], 3000));
		(void)hear_all(&ports[0]);
		(void)hear_all(&ports[1]);
		ck_assert(bus_read_again(&again, &ports[1], marks, 2));
		for (unsigned i = 0; i < place && again.at[0] < ports[1].at[0]; i++) {
			ck_assert(bus_peek_in(&again, 0, &record));
			ck_assert(bus_take(&again, &record, bytes));
		}
		before = ports[1];
		whole = bus_read_all_again(&again, &before);
		ck_assert(whole == (place >= 20));
		for (unsigned i = 0; i < 50; i++) {
			(void)hear_all(&ports[0]);
			(void)hear_all(&ports[1]);
			MUST(say(&ports[0], 3000));
		}
		if (!whole) {
			while (again.at[0] < before.at[0] && bus_peek_in(&again, 0, &record))
				(void)bus_take(&again, &record, bytes);
			ck_assert(!bus_read_all_again(&again, &before));
		}
		ck_assert(!bus_read_again(&again, &ports[1], marks, 2));
		bus_close(&bus);
	}
}
END_TEST

/* The floor comes to lie exactly where the reader is: all is overwritten, but no gap can be seen.
 */
START_TEST(what_was_overwritten_to_the_last_is_not_read_again)
{
	const uint64_t *floor;
	static struct bus_port again, before;
	uint64_t marks[2];
	struct bus_record record;

	open_room(2);
	floor = (const uint64_t *)(void *)(bus.memory + bus.mapped_bytes -
					   BUS_SEATS_MAX * (64 + RING_BYTES) + 8);
	memcpy(marks, ports[1].at, sizeof marks);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(say(&ports[0], 3000));
	(void)hear_all(&ports[0]);
	(void)hear_all(&ports[1]);
	before = ports[1];
	ck_assert(bus_read_again(&again, &before, marks, 2));
	while (*floor < before.at[0]) {
		(void)hear_all(&ports[0]);
		(void)hear_all(&ports[1]);
		MUST(say(&ports[0], 3000));
	}
	ck_assert_uint_eq(*floor, before.at[0]);
	(void)bus_peek_in(&again, 0, &record);
	ck_assert_uint_eq(again.at[0], before.at[0]);
	ck_assert(!bus_read_all_again(&again, &before));
	bus_close(&bus);
}
END_TEST

static _Noreturn void write_for_ever(void)
{
	struct bus_record record;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	bus_take_seat(&ports[0], &bus, 0);
	for (;;) {
		(void)say(&ports[0], 100 + ports[0].number % 1000);
		while (hear(&ports[0], &record))
			continue;
	}
}

/* While a writer overwrites at full speed, reading again gives all records whole, or says that it
 * does not. */
START_TEST(reading_again_beside_a_writer)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	static struct bus_port again;
	struct wait wait = wait_begin();
	unsigned long whole = 0, not_whole = 0;
	struct bus_record record;
	pid_t pid;

	ck_assert_int_eq(bus_open(&bus, 2, RING_BYTES), 0);
	bus_take_seat(&ports[1], &bus, 1);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		write_for_ever();
	while (whole < 100 || not_whole < 100) {
		uint64_t marks[2] = {ports[1].at[0], ports[1].at[1]}, first = 0;
		unsigned n = 0, read = 0;
		bool all;

		ck_assert_uint_lt(now_ms(), wait.until_ms);
		for (unsigned want = 1 + (unsigned)((whole + not_whole) % 60); n < want;) {
			if (!hear(&ports[1], &record))
				continue;
			first = n++ ? first : record.number;
		}
		all = bus_read_again(&again, &ports[1], marks, 2);
		while (all && again.at[0] < ports[1].at[0] && bus_peek_in(&again, 0, &record)) {
			if (!bus_take(&again, &record, bytes))
				continue;
			MUST(is_whole(&record, bytes, 0));
			MUST(record.number >= first + read++);
		}
		all = all && bus_read_all_again(&again, &ports[1]);
		MUST(!all || read == n);
		whole += all;
		not_whole += !all;
	}
	ck_assert_uint_eq(ports[1].missed, 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	bus_close(&bus);
}
END_TEST

/* ---- processes that come while others talk ---- */

#define PROCESSES	12
#define RECORDS		3000 /* of each process */
#define NO_TIME_GOES_BY 0    /* so that nobody is left behind, however slow this machine is */

static int channels[PROCESSES][2];

enum { ALL_HEARD = 0, TORN = 2, MISSED = 3, FORGOTTEN = 4 };

static void take_doorbells(int channel)
{
	int fds[DESCRIPTORS_MAX];
	uint32_t seat;
	size_t n;

	while (descriptors_receive(channel, &seat, sizeof seat, fds, &n) == sizeof seat)
		if (n == 1)
			bus_add_doorbell(&bus, seat, fds[0]);
}

static bool all_heard(const struct bus_port *port)
{
	for (unsigned i = 0; i < PROCESSES; i++)
		if (port->expected[i] != RECORDS)
			return false;
	return true;
}

static void hear_what_is_there(struct bus_port *port)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct bus_record record;

	while (bus_peek(port, &record))
		if (bus_take(port, &record, bytes) && !is_whole(&record, bytes, port->ring))
			_exit(TORN);
	if (port->missed)
		_exit(MISSED);
	(void)bus_rest(port);
}

/* Publishes its records, reads all records of the others, and sleeps in between. */
static _Noreturn void talk_and_listen(unsigned seat)
{
	struct bus_port *port = &ports[0];
	struct pollfd sources[] = {{.fd = bus.doorbells[seat], .events = POLLIN},
				   {.fd = channels[seat][1], .events = POLLIN}};
	bool waiting = false;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	bus_take_seat(port, &bus, seat);
	for (;;) {
		unsigned left_behind = 0;

		take_doorbells(channels[seat][1]);
		hear_what_is_there(port);
		if (all_heard(port))
			_exit(ALL_HEARD);
		if (waiting)
			waiting = !bus_wait_on(port, NO_TIME_GOES_BY, &left_behind);
		for (unsigned i = 0; !waiting && port->number < RECORDS && i < 1 + seat; i++)
			if (!say(port, port->number % 50))
				waiting = bus_wait(port, NO_TIME_GOES_BY);
		(void)bus_announce(port);
		if ((!waiting && port->number < RECORDS) || !bus_sleep(port))
			continue;
		if (poll(sources, 2, waiting ? BUS_LOOK_MS : (int)patience_ms()) == 0 && !waiting)
			_exit(FORGOTTEN);
		(void)doorbells_rung(seat);
		bus_wake_up(port);
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

/* Processes get the doorbell of a new one only after it has begun to talk. */
START_TEST(processes_come_while_others_talk)
{
	struct wait wait = wait_begin();
	pid_t pids[PROCESSES];
	int status;

	ck_assert_int_eq(bus_open(&bus, 1, RING_BYTES), 0);
	for (uint32_t seat = 0; seat < PROCESSES; seat++) {
		uint64_t head = bus_head(&bus, 0);

		ck_assert_int_eq(bus_use_seats(&bus, seat + 1), 0);
		pids[seat] = start_process(seat);
		while (seat && bus_head(&bus, seat) == 0)
			wait_more(&wait, "a process to talk");
		while (!seat && bus_head(&bus, 0) == head)
			wait_more(&wait, "the first process to talk");
		for (unsigned i = 0; i < seat; i++)
			ck_assert_int_eq(descriptors_send(channels[i][0], &seat, sizeof seat,
							  &bus.doorbells[seat], 1),
					 sizeof seat);
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "process %u ends with 0x%x", i, (unsigned)status);
		bus_vacate(&bus, i);
		bus_ring_all_doorbells(&bus);
	}
	bus_close(&bus);
}
END_TEST

SUITE("bus_seats",
      {"seats come into use while others talk", seats_come_into_use_while_others_talk, 20},
      {"all seats there can be", all_seats_there_can_be, 10},
      {"a number is given once", a_number_is_given_once, 5},
      {"another process goes on", another_process_goes_on, 5},
      {"what is no bus is refused", what_is_no_bus_is_refused, 5},
      {"a false number of seats harms nobody", a_false_number_of_seats_harms_nobody, 10},
      {"whoever has no doorbell leaves the wish", whoever_has_no_doorbell_leaves_the_wish, 5},
      {"what is held can be read again", what_is_held_can_be_read_again, 5},
      {"what was overwritten is not read again", what_was_overwritten_is_not_read_again, 10},
      {"what was overwritten to the last is not read again",
       what_was_overwritten_to_the_last_is_not_read_again, 10},
      {"reading again beside a writer", reading_again_beside_a_writer, 60},
      {"processes come while others talk", processes_come_while_others_talk, 60})
