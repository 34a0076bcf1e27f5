/*
 * weirload's chat: whether its results can be believed. If a server loses, doubles, moves or alters
 * one delivery in so many, weirload has to notice, and to say what happened; with a server that
 * does not, it finds nothing. No test here is about speed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/weirload/chat/chat_ledger.h"
#include "bench/weirload/chat/chat_line.h"
#include "tests/support/servers/faulty.h"
#include "tests/support/harness.h"
#include "tests/support/clients/load.h"

#define PATIENT "--timeout", "60s" /* if everything comes, nothing is late */

/* How much has to be delivered, with how many faults. */
struct amount {
	unsigned long units, faults, closed;
};

static bool is_enough(const void *of)
{
	const struct amount *amount = of;
	const struct faulty_count *count = faulty_counted();

	return count->units >= amount->units && count->faults >= amount->faults &&
	       count->closed >= amount->closed;
}

static const char *chat_at(unsigned port)
{
	return load_listener("chat", port);
}

/* ---- the form of a line ---- */

START_TEST(reads_what_it_wrote)
{
	unsigned char bytes[1024];
	struct chat_line read, line = {.sender = 131071, .number = CHAT_NUMBER_MAX, .due_ns = 5};

	line.sent_ns = (1ull << 48) - 1;
	for (size_t n = CHAT_LINE_BYTES_MIN; n < sizeof bytes; n++) {
		size_t i = 0;

		chat_line_write(bytes, n, &line);
		while (i < n && bytes[i] >= '0' && bytes[i] <= 'o')
			i++;
		ck_assert_msg(i == n, "byte %zu of %zu is %02x", i, n, bytes[i]);
		ck_assert(chat_line_read(&read, bytes, n));
		ck_assert_uint_eq(read.sender, line.sender);
		ck_assert_uint_eq(read.number, line.number);
		ck_assert_uint_eq(read.sent_ns, line.sent_ns);
		ck_assert_uint_eq(read.due_ns, line.due_ns);
	}
}
END_TEST

START_TEST(finds_each_byte_that_is_altered)
{
	static const size_t sizes[] = {32, 33, 39, 64, 100};
	struct chat_line read, line = {.sender = 7, .number = 12345, .sent_ns = 1e12};

	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		unsigned char bytes[128];

		chat_line_write(bytes, sizes[k], &line);
		for (size_t i = 0; i < sizes[k]; i++) {
			unsigned char was = bytes[i];

			for (unsigned byte = 0; byte < 256; byte++) {
				bytes[i] = (unsigned char)byte;
				if (chat_line_read(&read, bytes, sizes[k]) != (byte == was))
					ck_abort_msg("byte %zu of %zu: %02x for %02x", i, sizes[k],
						     byte, was);
			}
			bytes[i] = was;
		}
	}
}
END_TEST

START_TEST(tells_times_over_the_end_of_their_bits)
{
	uint64_t end = 1ull << 48;

	ck_assert_int_eq(chat_line_span_ns(end - 10, end + 20), 30);
	ck_assert_int_eq(chat_line_span_ns(end - 10, 20), 30);
	ck_assert_int_eq(chat_line_span_ns(end + 20, end - 10), -30);
	ck_assert_int_eq(chat_line_span_ns(20, end - 10), -30);
}
END_TEST

/* ---- what one client has received ---- */

static enum chat_entry enter(struct chat_ledger *ledger, uint32_t number)
{
	struct chat_gap lost;
	enum chat_entry entry;

	ck_assert(!chat_ledger_next(ledger, 0, number));
	entry = chat_ledger_enter(ledger, 0, number, &lost);
	ck_assert_uint_eq(lost.to, 0);
	return entry;
}

START_TEST(tells_late_from_doubled_and_lost)
{
	uint32_t next[1] = {0};
	struct chat_ledger ledger = {.next = next};
	struct chat_gap gap;

	ck_assert(chat_ledger_next(&ledger, 0, 0));
	ck_assert_int_eq(enter(&ledger, 0), CHAT_AGAIN);
	ck_assert_int_eq(enter(&ledger, 6), CHAT_AHEAD); /* 1 to 5 are missing */
	ck_assert(chat_ledger_next(&ledger, 0, 7));
	ck_assert_int_eq(enter(&ledger, 3), CHAT_LATE);
	ck_assert_int_eq(enter(&ledger, 3), CHAT_AGAIN);
	ck_assert_int_eq(enter(&ledger, 1), CHAT_LATE);
	ck_assert_int_eq(enter(&ledger, 5), CHAT_LATE);
	ck_assert_int_eq(enter(&ledger, 6), CHAT_AGAIN);
	gap = chat_ledger_give_up(&ledger);
	ck_assert(gap.from == 2 && gap.to == 3);
	gap = chat_ledger_give_up(&ledger);
	ck_assert(gap.from == 4 && gap.to == 5);
	ck_assert_uint_eq(chat_ledger_give_up(&ledger).to, 0);
	free(ledger.gaps);
}
END_TEST

START_TEST(gives_up_the_oldest_gap)
{
	uint32_t next[1] = {0};
	struct chat_ledger ledger = {.next = next};
	struct chat_gap lost;

	for (uint32_t i = 0; i < CHAT_GAPS_MAX; i++)
		ck_assert_int_eq(enter(&ledger, 2 * i + 1), CHAT_AHEAD);
	ck_assert_int_eq(chat_ledger_enter(&ledger, 0, 2 * CHAT_GAPS_MAX + 1, &lost), CHAT_AHEAD);
	ck_assert(lost.from == 0 && lost.to == 1);
	ck_assert_int_eq(enter(&ledger, 2), CHAT_LATE);
	ck_assert_int_eq(enter(&ledger, 0), CHAT_AGAIN); /* its gap was given up */
	free(ledger.gaps);
}
END_TEST

/* ---- servers that deliver wrongly ---- */

static const struct {
	enum chat_fault fault;
	const char *counted, *said;
} faults[] = {
    {CHAT_FAULT_LOSE, "errors_lost", "did not get line"},
    {CHAT_FAULT_DOUBLE, "errors_doubled", "twice"},
    {CHAT_FAULT_SWAP, "errors_reordered", "behind line"},
    {CHAT_FAULT_ALTER, "errors_altered", "that nobody sent"},
    {CHAT_FAULT_SHORTEN, "errors_altered", "that nobody sent"},
    {CHAT_FAULT_ECHO, "errors_unexpected", "its own line"},
    {CHAT_FAULT_DEAF, "errors_lost", "did not get line"},
    {CHAT_FAULT_CLOSE, "errors_closed", "ended its connection"},
};

/* Whether all errors are of this kind. Two exceptions: a line that should come after the next one
 * is lost if its sender sent no next one, and a line without its last byte is lost if nothing
 * follows it. */
static bool finds_this_alone(int status, enum chat_fault fault, const char *counted)
{
	double wrong = load_figure(counted);

	if (status != 1 || wrong <= 0)
		return false;
	if (fault == CHAT_FAULT_SWAP || fault == CHAT_FAULT_SHORTEN)
		wrong += load_figure("errors_lost");
	return load_figure("errors") == wrong;
}

/* On a busy machine lines may take longer than weirload waits: then they are missing, too; and a
 * sending process that stands still is given up in the end. Such a run is done again, with more
 * patience. */
START_TEST(finds_one_wrong_delivery_in_a_thousand)
{
	static const char *const timeouts[] = {"500ms", "3s", "20s", "60s"};
	enum chat_fault fault = faults[_i].fault;
	bool once = fault == CHAT_FAULT_DEAF || fault == CHAT_FAULT_CLOSE, found = false;
	const struct amount enough = {.units = 3000, .faults = once ? 1 : 2};
	unsigned port;
	int status = 0;
	pid_t server;

	for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts && !found; i++) {
		server = faulty_chat_start(fault, 1000, &port);
		status = LOAD_UNTIL(is_enough, &enough, "-c", "10", "-p", "8", "--timeout",
				    timeouts[i], chat_at(port));
		found = finds_this_alone(status, fault, faults[_i].counted);
		ck_assert_int_eq(kill(server, SIGKILL), 0);
		ck_assert_int_eq(waitpid(server, NULL, 0), server);
	}
	ck_assert_msg(found, "status %d\n%s", status, load_said());
	ck_assert_msg(strstr(load_said(), faults[_i].said) != NULL, "%s", load_said());
	ck_assert_msg(load_figure("messages_total") > 1000, "%s", load_said());
}
END_TEST

static const char *const ways[][8] = {
    {"-c", "2"},
    {"-c", "20", "-p", "16"},
    {"-c", "20", "--senders", "1"},
    {"-c", "20", "-s", "32", "--senders", "3"},
    {"-c", "7", "-s", "1001", "-P", "3"},
    {"-c", "20", "--rate", "500"},
    {"-c", "21", "--rate", "500", "--senders", "5", "-P", "2"},
    {"-c", "20", "--connect-rate", "100"},
    {"-c", "200", "-p", "2", "--senders", "1", "-P", "2"},
};

START_TEST(finds_nothing_where_nothing_is_wrong)
{
	static const struct amount enough = {.units = 1000};
	const char *arguments[LOAD_ARGUMENTS_MAX] = {"-d", "1h", "--warmup", "0", PATIENT};
	size_t n = 6;
	unsigned port;

	(void)faulty_chat_start(CHAT_FAULT_NONE, 1, &port);
	for (size_t k = 0; k < 8 && ways[_i][k]; k++)
		arguments[n++] = ways[_i][k];
	arguments[n] = chat_at(port);
	load_expect_fine(load_until(is_enough, &enough, arguments));
	ck_assert_msg(load_figure("errors") == 0, "%s", load_said());
	ck_assert_msg(load_figure("messages_total") > 0, "%s", load_said());
	ck_assert(load_figure("service_n") > 0);
	ck_assert(load_figure("connected_max") == load_figure("connections"));
}
END_TEST

/* One process sends, four read: the others learn from the lines alone what they lack, and at the
 * end how many there were. */
START_TEST(finds_it_in_processes_that_send_nothing)
{
	static const struct {
		enum chat_fault fault;
		const char *counted;
	} wrong[] = {{CHAT_FAULT_LOSE, "errors_lost"}, {CHAT_FAULT_DOUBLE, "errors_doubled"}};
	const struct amount enough = {.units = 3000, .faults = 20};
	unsigned port;
	int status;

	(void)faulty_chat_start(wrong[_i].fault, 100, &port);
	status = LOAD_UNTIL(is_enough, &enough, "-c", "24", "--senders", "1", "-P", "4", "--rate",
			    "200", "--timeout", "3s", chat_at(port));
	ck_assert_msg(status == 1 && load_figure(wrong[_i].counted) >= 10, "status %d\n%s", status,
		      load_said());
}
END_TEST

/* The first line is due at once, the second one after many minutes. */
START_TEST(sends_less_than_a_line_a_second)
{
	unsigned port;

	(void)faulty_chat_start(CHAT_FAULT_NONE, 1, &port);
	load_expect_fine(LOAD("-c", "24", "--senders", "1", "-P", "4", "--rate", "0.001", "-d",
			      "2s", "--warmup", "0", PATIENT, chat_at(port)));
	ck_assert_msg(load_figure("messages_total") == 23 && load_figure("errors") == 0, "%s",
		      load_said());
	ck_assert(load_says("rate", "0.001"));
	ck_assert_ptr_nonnull(strstr(load_said(), "open loop, 0.001 lines/s"));
}
END_TEST

static void await_said(const char *text)
{
	struct wait wait = wait_begin();

	while (!load_said() || !strstr(load_said(), text))
		wait_more(&wait, text);
}

/* The nice value of its first sending process. */
static int nice_of(pid_t load)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)load, (int)load);
	return getpriority(PRIO_PROCESS, (id_t)strtoul(read_whole(path), NULL, 10));
}

/* While it waits nobody sends: each client has had a probe line, and so no more of them are sent.
 * Another run shows that time has passed. */
START_TEST(waits_for_the_end_of_stdin)
{
	static const struct load_setting meanwhile = {.cpu = -1, .name = "meanwhile"};
	struct server *server = SERVER("chat://127.0.0.1:0", "echo://127.0.0.1:0");
	uint64_t before;
	int ends[2];
	pid_t load;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	(void)dup2(ends[0], STDIN_FILENO);
	load =
	    load_start(&load_plain, (const char *const[]){"--wait", "--nice", "7", "-c", "24", "-P",
							  "2", "--senders", "1", "--rate", "100",
							  "-d", "200ms", "--warmup", "0", PATIENT,
							  chat_at(server->ports[0]), NULL});
	await_said("all 24 connections are up");
	ck_assert_int_eq(nice_of(load), 7);
	send_text(ends[1], "not the end\n");
	before = server_stat(server, "messages");
	(void)load_in(&meanwhile,
		      (const char *const[]){"-d", "500ms", "--warmup", "0", "--rate", "1",
					    load_listener("echo", server->ports[1]), NULL});
	ck_assert_uint_eq(server_stat(server, "messages"), before);
	ck_assert_msg(before >= 2 && process_state(load) != 'Z', "%s", load_said());
	(void)close(ends[1]);
	load_expect_fine(load_wait(load));
	ck_assert_msg(load_figure("messages_total") >= 23 && load_figure("errors") == 0, "%s",
		      load_said());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* With one sender, and nothing left under way, each line was delivered to each of the others. */
START_TEST(counts_a_delivery_for_each_receiver)
{
	unsigned port;

	(void)faulty_chat_start(CHAT_FAULT_NONE, 1, &port);
	load_expect_fine(LOAD_REACHING("lines", 1, "-c", "10", "--senders", "1", "-d", "200ms",
				       "--warmup", "0", PATIENT, chat_at(port)));
	ck_assert_msg((long)load_figure("messages_total") % 9 == 0, "%s", load_said());
	ck_assert(load_figure("messages_total") >= 9 * load_figure("lines") - 9);
	ck_assert(load_figure("senders") == 1 && load_figure("lines_per_s") > 0);
	ck_assert_ptr_nonnull(strstr(load_said(), "deliveries"));
}
END_TEST

START_TEST(reads_lines_with_names)
{
	struct server *server = SERVER("-w", "2", "chat://127.0.0.1:0?names=on");
	struct load_served served = {server, "messages", 200};
	char listener[80];

	(void)snprintf(listener, sizeof listener, "%s?names=on", chat_at(server->ports[0]));
	load_expect_fine(
	    LOAD_UNTIL(load_served, &served, "-c", "40", "-p", "4", PATIENT, listener));
	ck_assert_msg(load_figure("errors") == 0 && load_figure("messages_total") > 1000, "%s",
		      load_said());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* The server counts probe lines as messages, weirload does not. */
START_TEST(counts_what_weir_counts)
{
	struct server *server = SERVER("-w", "2", "chat://127.0.0.1:0");
	struct load_served served = {server, "messages", 200};

	load_expect_fine(LOAD_UNTIL(load_served, &served, "-c", "40", "-P", "2", "-p", "4", PATIENT,
				    chat_at(server->ports[0])));
	ck_assert_msg(load_figure("errors") == 0 && load_figure("messages_total") > 1000, "%s",
		      load_said());
	ck_assert_uint_ge(server_stat(server, "messages"),
			  (uint64_t)load_figure("messages_total") / 39 + 2);
	ck_assert_uint_eq(server_stat(server, "accepted"), 40);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(counts_slow_clients_that_are_closed)
{
	static const struct amount all = {.closed = 3};
	unsigned port;

	(void)faulty_chat_start(CHAT_FAULT_NONE, 1, &port);
	load_expect_fine(LOAD_UNTIL(is_enough, &all, "-c", "12", "--slow", "3", "-s", "4000", "-p",
				    "8", chat_at(port)));
	ck_assert_msg(load_figure("slow_ended") == 3, "%s", load_said());
	ck_assert_ptr_nonnull(strstr(load_said(), "slow      3 of 3 closed by the server"));
}
END_TEST

START_TEST(says_that_slow_clients_were_not_closed)
{
	static const struct amount some = {.units = 50};
	static const char *const timeouts[] = {"300ms", "3s", "20s"};
	unsigned port;
	int status = 0;

	for (size_t i = 0; i < 3; i++) { /* short at first: it waits so long for slow clients */
		(void)faulty_chat_start(CHAT_FAULT_NONE, 1, &port);
		status = LOAD_UNTIL(is_enough, &some, "-c", "12", "--slow", "3", "--rate", "20",
				    "-P", "2", "--timeout", timeouts[i], chat_at(port));
		if (load_figure("errors") == 0)
			break;
	}
	load_expect_fine(status);
	ck_assert_msg(load_figure("slow_ended") == 0 && load_figure("errors") == 0, "%s",
		      load_said());
	ck_assert_ptr_nonnull(strstr(load_said(), "slow      0 of 3 closed by the server"));
}
END_TEST

START_TEST(finds_a_server_that_delivers_nothing)
{
	unsigned port;

	(void)faulty_chat_start(CHAT_FAULT_MUTE, 1, &port);
	ck_assert_int_eq(LOAD("-c", "4", "--timeout", "300ms", "-d", "300ms", chat_at(port)), 1);
	ck_assert_msg(load_figure("errors_timeout") == 4, "%s", load_said());
	ck_assert_ptr_nonnull(strstr(load_said(), "no line of another client reached it"));
}
END_TEST

START_TEST(says_that_nobody_listens)
{
	ck_assert_int_eq(LOAD("-c", "3", "-d", "1s", chat_at(load_refusing_port())), 1);
	ck_assert(load_figure("errors_refused") == 3);
	ck_assert_ptr_nonnull(strstr(load_said(), "no connection came up"));
}
END_TEST

/* Two runs in one room hear each other. */
START_TEST(finds_lines_that_are_none_of_its_run)
{
	unsigned port;
	pid_t other;
	char byte;
	int fd;

	(void)faulty_chat_start(CHAT_FAULT_NONE, 1, &port);
	other = load_start(&load_plain, (const char *const[]){"-c", "2", "--rate", "50", "-d", "1h",
							      chat_at(port), NULL});
	fd = connect_to(port);
	receive_exactly(fd, &byte, 1); /* the other run has begun to send */
	(void)close(fd);
	ck_assert_int_eq(LOAD_REACHING("errors_foreign", 1, "-c", "3", "--rate", "50", "-d",
				       "300ms", "--warmup", "0", chat_at(port)),
			 1);
	ck_assert_msg(load_figure("errors_foreign") > 0, "%s", load_said());
	ck_assert_msg(load_figure("errors") == load_figure("errors_foreign"), "%s", load_said());
	ck_assert_int_eq(kill(other, SIGKILL), 0);
	ck_assert_int_eq(waitpid(other, NULL, 0), other);
}
END_TEST

START_TEST(ends_early_and_reports_when_interrupted)
{
	static char bytes[100000];
	unsigned port;
	pid_t load;
	int fd;

	(void)faulty_chat_start(CHAT_FAULT_NONE, 1, &port);
	load = load_start(&load_plain, (const char *const[]){"-c", "5", "-d", "1h", "--warmup", "0",
							     "-P", "2", chat_at(port), NULL});
	fd = connect_to(port);
	receive_exactly(fd, bytes, sizeof bytes);
	(void)close(fd);
	load_expect_fine(load_end(load));
	ck_assert_ptr_nonnull(strstr(load_said(), "ended early"));
	ck_assert(load_figure("errors") == 0 && load_figure("messages_total") > 100);
}
END_TEST

/* ---- Redis ---- */

START_TEST(drives_redis_alike)
{
	const char *path = in_folder("redis.sock"), *folder = temporary_folder();
	char listener[128];
	int status;

	if (!command_exists("redis-server")) {
		suite_skip("drives redis alike", "redis-server is not installed");
		return;
	}
	(void)program_start(
	    path, (const char *const[]){"redis-server", "--port", "0", "--unixsocket", path,
					"--save", "", "--appendonly", "no", "--dir", folder, NULL});
	(void)snprintf(listener, sizeof listener, "chat://%s", path);
	load_expect_fine(LOAD_ANSWERED("--redis", "-c", "10", "-p", "4", "-d", "100ms", "--warmup",
				       "50ms", PATIENT, listener));
	ck_assert_msg(load_figure("messages") > 0 && load_figure("errors") == 0, "%s", load_said());
	load_expect_fine(LOAD_ANSWERED("--redis", "-c", "10", "-P", "2", "--senders", "1", "-d",
				       "100ms", "--warmup", "0", PATIENT, listener));
	/* In Redis a client gets its own lines, too. */
	ck_assert_msg((long)load_figure("messages_total") % 10 == 0, "%s", load_said());
	/* If a server does not answer like Redis, no client counts as connected. */
	status = LOAD("-c", "3", "-d", "300ms", "--timeout", "500ms", listener);
	ck_assert_msg(status == 1, "status %d\n%s", status, load_said());
}
END_TEST

/* ---- usage, and --talk ---- */

static const struct load_refusal refusals[] = {
    {{"--churn", "-c", "4", "chat://127.0.0.1:1"}, "chat has no --churn"},
    {{"--idle", "-c", "4", "chat://127.0.0.1:1"}, "chat has no --churn and no --idle"},
    {{"-c", "4", "chat+udp://127.0.0.1:1"}, "chat"},
    {{"chat://127.0.0.1:1"}, "2 connections or more"},
    {{"-c", "3", "-P", "2", "chat://127.0.0.1:1"}, "2 connections or more"},
    {{"-c", "4", "--slow", "3", "chat://127.0.0.1:1"}, "2 connections or more"},
    {{"-c", "4", "--senders", "5", "chat://127.0.0.1:1"}, "--senders 5 of 4"},
    {{"-c", "4", "-s", "31", "chat://127.0.0.1:1"}, "from 32 to 65536"},
    {{"-c", "4", "--rate", "1", "-p", "2", "chat://127.0.0.1:1"}, "not both"},
    {{"--senders", "1", "echo://127.0.0.1:1"}, "--senders is for chat"},
    {{"--redis", "echo://127.0.0.1:1"}, "--redis is for chat"},
    {{"--nice", "20", "chat://127.0.0.1:1"}, "from 0 to 19"},
    {{"--rate", "0", "chat://127.0.0.1:1"}, "a number from 0.001 to 1000000000"},
    {{"--rate", "1.2.3", "chat://127.0.0.1:1"}, "such as 1000 or 0.1, not \"1.2.3\""},
    {{"--rate", "1e3", "chat://127.0.0.1:1"}, "such as 1000 or 0.1"},
};

START_TEST(refuses_wrong_usage)
{
	load_expect_refusals(refusals, sizeof refusals / sizeof *refusals);
}
END_TEST

/* What is typed goes to the others, and what they say is printed, until stdin ends. */
START_TEST(talks)
{
	unsigned port;
	int ends[2], other, status;
	pid_t talker;

	(void)faulty_chat_start(CHAT_FAULT_NONE, 1, &port);
	other = connect_to(port);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	talker = fork();
	ck_assert_int_ge(talker, 0);
	if (talker == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(ends[1], STDIN_FILENO);
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)execl(built("weirload"), "weirload", "--talk", chat_at(port), (char *)NULL);
		_exit(127);
	}
	(void)close(ends[1]);
	send_text(ends[0], "hello\n");
	expect_text(other, "hello\n");
	send_text(other, "you too\n");
	expect_text(ends[0], "you too\n");
	send_text(ends[0], "no end of line");
	finish_sending(ends[0]);
	expect_text(other, "no end of line\n");
	expect_end(ends[0]);
	ck_assert_int_eq(waitpid(talker, &status, 0), talker);
	ck_assert_int_eq(status, 0);
}
END_TEST

SUITE("chatload", {"reads what it wrote", reads_what_it_wrote, 10},
      {"finds each byte that is altered", finds_each_byte_that_is_altered, 10},
      {"tells times over the end of their bits", tells_times_over_the_end_of_their_bits, 10},
      {"tells late from doubled and lost", tells_late_from_doubled_and_lost, 10},
      {"gives up the oldest gap", gives_up_the_oldest_gap, 10},
      {"finds one wrong delivery in a thousand", finds_one_wrong_delivery_in_a_thousand, 60,
       sizeof faults / sizeof *faults},
      {"finds nothing where nothing is wrong", finds_nothing_where_nothing_is_wrong, 20,
       sizeof ways / sizeof *ways},
      {"counts a delivery for each receiver", counts_a_delivery_for_each_receiver, 20},
      {"finds it in processes that send nothing", finds_it_in_processes_that_send_nothing, 60, 2},
      {"sends less than a line a second", sends_less_than_a_line_a_second, 20},
      {"waits for the end of stdin", waits_for_the_end_of_stdin, 20},
      {"reads lines with names", reads_lines_with_names, 20},
      {"counts what weir counts", counts_what_weir_counts, 20},
      {"counts slow clients that are closed", counts_slow_clients_that_are_closed, 30},
      {"says that slow clients were not closed", says_that_slow_clients_were_not_closed, 20},
      {"finds a server that delivers nothing", finds_a_server_that_delivers_nothing, 20},
      {"says that nobody listens", says_that_nobody_listens, 20},
      {"finds lines that are none of its run", finds_lines_that_are_none_of_its_run, 20},
      {"ends early and reports when interrupted", ends_early_and_reports_when_interrupted, 20},
      {"drives redis alike", drives_redis_alike, 20},
      {"refuses wrong usage", refuses_wrong_usage, 20}, {"talks", talks, 10})
