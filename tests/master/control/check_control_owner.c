/*
 * control's owner's side: in this process, on a loop of its own, against an owner that
 * answers at once, later, too much, or never. The peers are sockets of this process, too.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/control/control.h"
#include "master/control/status.h"
#include "tests/support/harness.h"

static struct loop loop;
static struct stats stats;
static char path[100];
static unsigned asked_n;
static pid_t worker; /* the process that counts as a worker */
static char answer[1 << 20];

/* status: at once; workers: very much; pid w3: the newest; pid: a failure; all else waits. */
static void asked(struct control_client *client, enum command command, const char *argument)
{
	char text[1024];

	asked_n++;
	if (command == COMMAND_status) {
		CONTROL_RECORD(client, "server", LOG_TEXT("state", "as \"it\" is"),
			       LOG_NUMBER("n", -5), LOG_TEXT("digits", "17"));
		control_record(client, "empty", NULL, 0);
		control_done(client);
	} else if (command == COMMAND_workers) {
		memset(text, 'x', sizeof text - 1);
		text[sizeof text - 1] = '\0';
		for (int i = 0; i < 400; i++)
			CONTROL_RECORD(client, "worker", LOG_TEXT("text", text));
		control_done(client);
	} else if (command == COMMAND_pid && strcmp(argument, "w3") == 0) {
		static const struct status_worker workers[] = {
		    {.slot = 3, .generation = 5, .pid = 105},
		    {.slot = 2, .generation = 6, .pid = 106},
		    {.slot = 3, .generation = 6, .pid = 107},
		    {.slot = 3, .generation = 7, .pid = 0},
		};

		status_pid(client, argument, 1, workers, 4);
	} else if (command == COMMAND_pid) {
		control_failed(client, "no pid of \"%s\"\n", argument);
	}
}

static bool is_worker(pid_t pid)
{
	return pid == worker;
}

static const struct control_owner owner = {.asked = asked, .is_worker = is_worker};

static void start(void)
{
	(void)snprintf(path, sizeof path, "%s", in_folder("c.sock"));
	ck_assert_int_eq(loop_open(&loop, &stats, 0), 0);
	control_open(&loop, &owner, path);
	ck_assert_str_eq(control_path(), path);
}

static void end(void)
{
	control_close();
	loop_close(&loop);
	ck_assert(!exists(path));
}

/* Until nothing happens any more. */
static void pass(void)
{
	uint64_t turns;

	do {
		turns = stats.turns;
		loop_pass(&loop, 0);
	} while (stats.turns != turns);
}

static int ask(const char *request)
{
	int fd = connect_unix(path);

	send_text(fd, request);
	pass();
	return fd;
}

/* What it was sent so far; and whether its end came. */
static bool read_answer(int fd)
{
	size_t n = 0;
	ssize_t part;

	for (;;) {
		part = recv(fd, answer + n, sizeof answer - 1 - n, MSG_DONTWAIT);
		if (part <= 0)
			break;
		n += (size_t)part;
		pass(); /* there is room for more now */
	}
	answer[n] = '\0';
	ck_assert(part == 0 || errno == EAGAIN);
	return part == 0;
}

static void is_answered(int fd, const char *wanted)
{
	ck_assert(read_answer(fd));
	ck_assert_msg(strcmp(answer, wanted) == 0, "%s, not %s", answer, wanted);
	(void)close(fd);
}

START_TEST(an_answer_has_the_form)
{
	start();
	is_answered(ask("status\n"), "server state=\"as \\\"it\\\" is\" n=-5 digits=\"17\"\n"
				     "empty\ndone\n");
	is_answered(ask("pid w1\n"), "failed why=\"no pid of \\\"w1\\\"\\u000a\"\n");
	end();
}
END_TEST

/* If a slot has two, in a reload, or none. */
START_TEST(a_pid_is_the_newest_workers)
{
	start();
	is_answered(ask("pid w3\n"), "process worker=3 pid=107\ndone\n");
	end();
}
END_TEST

/* What is sent behind a request is not read before the answer is, and does not destroy it. */
START_TEST(behind_a_request_nothing_is_heard)
{
	int fd;

	start();
	fd = ask("reload\n");
	send_text(fd, "reload\n");
	pass();
	ck_assert_uint_eq(asked_n, 1);
	ck_assert_uint_eq(control_waiting(COMMAND_reload), 1);
	control_finish(COMMAND_reload, NULL);
	pass();
	ck_assert_uint_eq(asked_n, 1);
	is_answered(fd, "done\n");
	end();
}
END_TEST

START_TEST(all_who_wait_hear_the_outcome)
{
	int fds[3], other;

	start();
	for (int i = 0; i < 3; i++)
		fds[i] = ask("reload\n");
	other = ask("upgrade\n");
	ck_assert_uint_eq(control_waiting(COMMAND_reload), 3);
	ck_assert_uint_eq(control_waiting(COMMAND_upgrade), 1);
	CONTROL_TELL(COMMAND_reload, "note", LOG_TEXT("text", "half"));
	pass();
	ck_assert(!read_answer(fds[0]));
	ck_assert_str_eq(answer, "note text=half\n");
	control_finish(COMMAND_reload, NULL);
	ck_assert_uint_eq(control_waiting(COMMAND_reload), 0);
	pass();
	is_answered(fds[0], "done\n");
	is_answered(fds[1], "note text=half\ndone\n");
	is_answered(fds[2], "note text=half\ndone\n");
	control_finish(COMMAND_reload, "nobody waits");
	control_finish(COMMAND_upgrade, "it does not come up");
	pass();
	is_answered(other, "failed why=\"it does not come up\"\n");
	end();
}
END_TEST

/* They are forgotten at once; those that only ended their own side are not. */
START_TEST(who_went_does_not_wait)
{
	int fds[3], quick;

	start();
	for (int i = 0; i < 3; i++)
		fds[i] = ask("drain\n");
	(void)close(fds[0]);
	finish_sending(fds[1]);
	pass();
	ck_assert_uint_eq(control_waiting(COMMAND_drain), 2);
	(void)close(fds[1]);
	pass();
	ck_assert_uint_eq(control_waiting(COMMAND_drain), 1);
	/* It asks and goes, all before anybody looked. */
	quick = connect_unix(path);
	send_text(quick, "drain\n");
	(void)close(quick);
	asked_n = 0;
	pass();
	ck_assert_uint_eq(asked_n, 1);
	ck_assert_uint_eq(control_waiting(COMMAND_drain), 1);
	control_finish(COMMAND_drain, NULL);
	pass();
	is_answered(fds[2], "done\n");
	end();
}
END_TEST

START_TEST(a_long_answer_comes_whole)
{
	int fd;

	start();
	fd = ask("workers\n");
	ck_assert(read_answer(fd));
	ck_assert_uint_eq(strlen(answer), 400 * (strlen("worker text=\n") + 1023) + 5);
	ck_assert_str_eq(answer + strlen(answer) - 6, "\ndone\n");
	(void)close(fd);
	end();
}
END_TEST

/* Its answer is not thrown away at once, and not kept for ever. */
START_TEST(who_does_not_read_is_sent_away)
{
	struct wait wait = wait_begin();
	size_t before;
	uint64_t began = now_ms();
	int fd, other;

	start();
	before = process_descriptors_n(getpid());
	fd = ask("workers\n");
	while (process_descriptors_n(getpid()) > before + 1) {
		/* Others are served meanwhile. */
		other = ask("pid w1\n");
		ck_assert(read_answer(other));
		(void)close(other);
		pass();
		wait_more(&wait, "who does not read to be sent away");
	}
	ck_assert_uint_ge(now_ms() - began, 4900);
	ck_assert(read_answer(fd));
	ck_assert_uint_gt(strlen(answer), 0);
	ck_assert_ptr_null(strstr(answer, "done\n"));
	(void)close(fd);
	end();
}
END_TEST

/* More notes than there is room for: it is sent away, others are not. */
START_TEST(notes_that_nobody_reads_end_it)
{
	char text[1024];
	int fd, reader;
	size_t lines = 0;

	start();
	memset(text, 'y', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	fd = ask("rebalance\n");
	reader = ask("rebalance\n");
	for (int i = 0; i < 2000; i++) {
		CONTROL_TELL(COMMAND_rebalance, "note", LOG_TEXT("text", text));
		if (i % 100 == 0) {
			pass();
			ck_assert(!read_answer(reader));
			lines += strlen(answer);
		}
	}
	pass();
	ck_assert_uint_eq(control_waiting(COMMAND_rebalance), 1);
	control_finish(COMMAND_rebalance, NULL);
	pass();
	ck_assert(read_answer(reader));
	ck_assert_uint_eq(lines + strlen(answer), 2000 * (strlen("note text=\n") + 1023) + 5);
	(void)close(reader);
	(void)close(fd);
	end();
}
END_TEST

/* A record has as many fields as it has, and is longer than a line of the log may be. */
START_TEST(a_record_of_many_fields_is_whole)
{
	static struct log_field fields[CLOSE_REASONS_MAX];
	static char keys[CLOSE_REASONS_MAX][STATS_NAME_BYTES], whole[16384];
	size_t at = (size_t)sprintf(whole, "note");
	int fd;

	start();
	fd = ask("rebalance\n");
	for (int i = 0; i < CLOSE_REASONS_MAX; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "closed_a_reason_with_a_long_name_%d", i);
		fields[i] = LOG_NUMBER(keys[i], INT64_MAX - i);
		at += (size_t)snprintf(whole + at, sizeof whole - at, " %s=%lld", keys[i],
				       (long long)(INT64_MAX - i));
	}
	ck_assert_uint_gt(at, LOG_LINE_BYTES);
	(void)snprintf(whole + at, sizeof whole - at, "\ndone\n");
	control_tell(COMMAND_rebalance, "note", fields, CLOSE_REASONS_MAX);
	control_finish(COMMAND_rebalance, NULL);
	pass();
	is_answered(fd, whole);
	end();
}
END_TEST

START_TEST(a_worker_is_refused)
{
	start();
	worker = getpid();
	is_answered(ask("status\n"), "failed why=\"a worker may not use this\"\n");
	ck_assert_uint_eq(asked_n, 0);
	worker = 0;
	(void)close(ask("status\n"));
	ck_assert_uint_eq(asked_n, 1);
	end();
}
END_TEST

START_TEST(a_full_house_makes_room)
{
	int fds[CONTROL_CLIENTS], late;
	uint64_t harvests;

	start();
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		fds[i] = ask("reload\n");
	ck_assert_uint_eq(control_waiting(COMMAND_reload), CONTROL_CLIENTS);
	late = ask("status\n");
	ck_assert(!read_answer(late));
	ck_assert_str_eq(answer, "");
	/* A client that waits for a place is not reported again and again. */
	harvests = stats.events;
	for (int i = 0; i < 10; i++)
		loop_pass(&loop, 0);
	ck_assert_uint_eq(stats.events, harvests);
	(void)close(fds[7]);
	pass();
	ck_assert(read_answer(late));
	ck_assert_ptr_nonnull(strstr(answer, "done\n"));
	(void)close(late);
	control_finish(COMMAND_reload, NULL);
	pass();
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		if (i != 7)
			is_answered(fds[i], "done\n");
	end();
}
END_TEST

/* An upgrade: the socket is another master's, clients that wait here are still ours. */
START_TEST(the_socket_is_handed_over)
{
	struct control_inherited inherited;
	int waits, later;

	start();
	waits = ask("upgrade\n");
	control_export(&inherited);
	inherited.fd = dup(inherited.fd);
	ck_assert_int_ge(inherited.fd, 0);
	control_hand_over();
	ck_assert_ptr_null(control_path());
	later = connect_unix(path);
	send_text(later, "status\n");
	pass();
	ck_assert(!read_answer(later));
	control_finish(COMMAND_upgrade, NULL);
	pass();
	is_answered(waits, "done\n");
	control_close();
	ck_assert(exists(path)); /* not ours any more */
	/* The next master. */
	control_adopt(&loop, &owner, path, &inherited);
	pass();
	ck_assert(read_answer(later));
	ck_assert_ptr_nonnull(strstr(answer, "done\n"));
	(void)close(later);
	is_answered(ask("pid w1\n"), "failed why=\"no pid of \\\"w1\\\"\\u000a\"\n");
	end();
}
END_TEST

/* The other master died after it had taken over. */
START_TEST(the_socket_is_taken_back)
{
	struct control_inherited inherited;
	int waits, fd;

	start();
	waits = ask("upgrade\n");
	control_export(&inherited);
	fd = dup(inherited.fd);
	control_hand_over();
	control_take_back(); /* not while somebody listens there */
	ck_assert_ptr_null(control_path());
	(void)close(fd);
	control_take_back();
	ck_assert_str_eq(control_path(), path);
	control_finish(COMMAND_upgrade, "it died");
	pass();
	is_answered(waits, "failed why=\"it died\"\n");
	is_answered(ask("pid w1\n"), "failed why=\"no pid of \\\"w1\\\"\\u000a\"\n");
	end();
}
END_TEST

/* What can be sent in the end is sent. */
START_TEST(closing_tells_the_outcome)
{
	int drains, silent;

	start();
	drains = ask("drain\n");
	silent = ask("sta");
	control_finish(COMMAND_drain, NULL);
	control_close();
	control_close();
	loop_close(&loop);
	expect_text(drains, "done\n");
	expect_end(drains);
	expect_end(silent);
	(void)close(drains);
	(void)close(silent);
}
END_TEST

/* However little room there is: whole names, and nothing behind it. */
START_TEST(commands_are_listed_within_their_room)
{
	char text[512], whole[512];

	command_list(whole, sizeof whole);
	ck_assert_ptr_nonnull(strstr(whole, "status workers top "));
	for (size_t n = 1; n <= strlen(whole) + 1; n++) {
		size_t length;

		memset(text, '#', sizeof text);
		command_list(text, n);
		length = strlen(text);
		ck_assert_uint_lt(length, n);
		ck_assert_int_eq(strncmp(text, whole, length), 0);
		ck_assert(whole[length] == ' ' || !whole[length] || !length);
		for (size_t i = n; i < sizeof text; i++)
			ck_assert_int_eq(text[i], '#');
	}
	ck_assert_str_eq(text, whole);
}
END_TEST

SUITE("control_owner", {"an answer has the form", an_answer_has_the_form, 10},
      {"a pid is the newest worker's", a_pid_is_the_newest_workers, 10},
      {"behind a request nothing is heard", behind_a_request_nothing_is_heard, 10},
      {"all who wait hear the outcome", all_who_wait_hear_the_outcome, 10},
      {"who went does not wait", who_went_does_not_wait, 10},
      {"a long answer comes whole", a_long_answer_comes_whole, 10},
      {"who does not read is sent away", who_does_not_read_is_sent_away, 30},
      {"notes that nobody reads end it", notes_that_nobody_reads_end_it, 20},
      {"a record of many fields is whole", a_record_of_many_fields_is_whole, 20},
      {"a worker is refused", a_worker_is_refused, 10},
      {"a full house makes room", a_full_house_makes_room, 10},
      {"the socket is handed over", the_socket_is_handed_over, 10},
      {"the socket is taken back", the_socket_is_taken_back, 10},
      {"closing tells the outcome", closing_tells_the_outcome, 10},
      {"commands are listed within their room", commands_are_listed_within_their_room, 10})
