/*
 * weirload over datagrams: whether it counts exactly what was lost, doubled and reordered, finds
 * what is wrong, takes no harm from what sockets may say, and reports it. The server of the
 * test counts its own faults. How fast anything is, no test here does ask.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/faulty_datagram.h"
#include "tests/harness.h"
#include "tests/load.h"
#include "tests/trace.h"

#define ALL_OF_IT "--warmup", "0", "-d", "300ms"

/* ---- what it counts ---- */

struct case_of_fault {
	enum datagram_fault fault;
	bool loses;	     /* each fault leaves a question without an answer */
	const char *counted; /* is the number of faults */
	const char *said;
	int status;
};

static const struct case_of_fault faults[] = {
    {DATAGRAM_LOSE, true, "datagrams_lost", " lost, 0 (0 %) doubled, 0 (0 %) reordered", 0},
    {DATAGRAM_DOUBLE, false, "datagrams_doubled", "datagrams 0 (0 %) lost, ", 0},
    {DATAGRAM_JOIN, false, "datagrams_doubled", "datagrams 0 (0 %) lost, ", 0},
    {DATAGRAM_AGAIN, false, "datagrams_doubled", "datagrams 0 (0 %) lost, ", 0},
    {DATAGRAM_SWAP, false, "datagrams_reordered", " lost, 0 (0 %) doubled, ", 0},
    {DATAGRAM_ALTER, false, "errors_altered", "was never sent", 1},
    {DATAGRAM_ALTER_1, false, "errors_altered", "byte 0 of 64 of its answer", 1},
    {DATAGRAM_CUT, false, "errors_truncated", "has 59 bytes instead of 64", 1},
    {DATAGRAM_LENGTHEN, false, "errors_truncated", "has 69 bytes instead of 64", 1},
    {DATAGRAM_EMPTY, true, "errors_truncated", "an answer of 0 bytes instead of 64", 1},
    {DATAGRAM_FOREIGN, true, "errors_foreign", "an answer of 64 bytes of socket", 1},
    {DATAGRAM_STRAY, false, "errors_unexpected", ", not asked", 1},
};
#define FAULTS (sizeof faults / sizeof *faults)

static const char *const loops[][4] = {{"-p", "1"}, {"-p", "8"}, {"-p", "8", "-r", "4000"}};
#define LOOPS (sizeof loops / sizeof *loops)

static int load_looped(size_t loop, const char *sockets, unsigned port)
{
	const char *arguments[LOAD_ARGUMENTS_MAX] = {ALL_OF_IT, "-c", sockets};
	size_t n = 6;

	for (size_t k = 0; k < 4 && loops[loop][k]; k++)
		arguments[n++] = loops[loop][k];
	arguments[n] = load_listener("echo+udp", port);
	return load_in(&load_plain, arguments);
}

/* Nothing else than `of` is counted, but what must be lost with it. */
static void expect_only(const char *of, double lost)
{
	static const char *const keys[] = {
	    "datagrams_late",	"datagrams_doubled", "datagrams_reordered", "errors_altered",
	    "errors_truncated", "errors_foreign",    "errors_unexpected"};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		ck_assert_msg(strcmp(keys[i], of) == 0 || load_figure(keys[i]) == 0, "%s\n%s",
			      keys[i], load_said());
	ck_assert_msg(load_figure("datagrams_lost") == lost, "lost: not %g\n%s", lost, load_said());
	ck_assert(load_figure("datagrams_dropped") == 0);
}

START_TEST(counts_each_fault_as_what_it_is)
{
	const struct case_of_fault *this = &faults[(size_t)_i / LOOPS];
	size_t loop = (size_t)_i % LOOPS;
	bool pairs = this->fault == DATAGRAM_SWAP, closed = loop < 2;
	bool over = this->loses && closed; /* one a place may be lost: soon none is left */
	const struct datagram_count *count;
	unsigned port;
	double lost, right;
	int status;

	if (pairs && loop == 0)
		return; /* there is no next one */
	(void)faulty_datagram_start(DATAGRAM_ECHO, this->fault, 20, 1000000, &port, &count);
	/* One socket: key 0, which stray answers are made for. */
	status = load_looped(loop, this->fault == DATAGRAM_STRAY || pairs ? "1" : "10", port);
	/* An open loop may find this machine too busy, and says so; one that is over so soon that
	 * measuring has not begun, too. */
	ck_assert_msg(status == this->status || (status == 3 && !closed) ||
			  (over && strstr(load_said(), "no message was answered")),
		      "status %d\n%s", status, load_said());
	ck_assert_msg(count->faults > (over ? 5 : 10), "%lu faults\n%s", count->faults,
		      load_said());
	ck_assert_msg(load_figure(this->counted) + (double)(pairs ? count->held : 0) ==
			  (double)count->faults,
		      "%lu faults:\n%s", count->faults, load_said());
	lost = (double)(this->loses ? count->faults : pairs ? count->held : 0);
	expect_only(this->counted, lost);
	ck_assert_ptr_nonnull(strstr(load_said(), this->said));
	ck_assert_msg(load_figure("datagrams_asked") == (double)count->asked, "%lu\n%s",
		      count->asked, load_said());
	ck_assert_msg(closed || count->asked < 4000, "more than were due: %s", load_said());
	right = (double)count->asked - lost;
	if (this->status == 1 && !this->loses && this->fault != DATAGRAM_STRAY)
		right -= (double)count->faults;
	ck_assert_msg(load_figure("messages_total") == right, "not %g right\n%s", right,
		      load_said());
	ck_assert((strstr(load_said(), "WRONG") != NULL) == (this->status == 1));
}
END_TEST

/* All in the beginning, so that the last comes before the end. */
START_TEST(tells_late_from_lost_and_doubled)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_LATE, 20, 15, &port, &count);
	ck_assert_msg(LOAD("--warmup", "0", "-d", "1500ms", "--timeout", "500ms", "-c", "4", "-p",
			   "8", load_listener("echo+udp", port)) == 0,
		      "%s", load_said());
	ck_assert_msg(load_figure("datagrams_late") == 15, "%s", load_said());
	expect_only("datagrams_late", 15);
	ck_assert_ptr_nonnull(strstr(load_said(), "lost, of which 15 came late"));
	ck_assert(load_figure("loss_percent") > 0 && load_figure("loss_percent") < 100);
}
END_TEST

/* One place, which is lost again and again before the first of those answers comes. */
START_TEST(remembers_what_was_lost_in_a_place)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_LATE, 1, 3, &port, &count);
	ck_assert_msg(LOAD("--warmup", "0", "-d", "1500ms", "--timeout", "200ms",
			   load_listener("echo+udp", port)) == 0,
		      "%s", load_said());
	ck_assert_msg(load_figure("datagrams_late") == 3, "%s", load_said());
	expect_only("datagrams_late", 3);
}
END_TEST

/* A lost question holds its own place for the timeout; all other places go on. */
START_TEST(goes_on_beside_a_lost_one)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_LOSE, 100, 15, &port, &count);
	ck_assert_int_eq(LOAD(ALL_OF_IT, "-c", "1", "-p", "16", load_listener("echo+udp", port)),
			 0);
	expect_only("datagrams_lost", 15);
	ck_assert_msg(load_figure("messages") > 2000, "%s", load_said());
	ck_assert(load_figure("service_max_us") < 1e6);
}
END_TEST

START_TEST(gives_lost_places_back)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_LOSE, 2, 1000000, &port, &count);
	ck_assert_int_eq(LOAD("--warmup", "0", "-d", "1s", "--timeout", "50ms", "-c", "2",
			      load_listener("echo+udp", port)),
			 0);
	ck_assert_msg(count->faults >= 16, "%lu\n%s", count->faults, load_said());
	expect_only("datagrams_lost", (double)count->faults);
	ck_assert_msg(load_figure("messages_total") >= 16, "%s", load_said());
}
END_TEST

START_TEST(says_that_nothing_was_answered)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_MUTE, 1, 1000000, &port, &count);
	ck_assert_int_eq(LOAD(ALL_OF_IT, "--timeout", "100ms", "-c", "3", "-p", "4",
			      load_listener("echo+udp", port)),
			 1);
	ck_assert_ptr_nonnull(strstr(load_said(), "no message was answered"));
	ck_assert(load_figure("datagrams_lost") == (double)count->asked &&
		  load_figure("loss_percent") == 100);
}
END_TEST

/* ---- every protocol, every way ---- */

static struct server *design_start(const char *name, const char *protocol)
{
	struct server *server;
	char listener[64];

	(void)snprintf(listener, sizeof listener, "designs/%s", name);
	ck_assert_msg(access(built(listener), X_OK) == 0, "%s is not built: make designs", name);
	(void)setenv("WEIR", built(listener), 1);
	(void)snprintf(listener, sizeof listener, "%s+udp://127.0.0.1:0", protocol);
	server = server_launch((const char *const[]){listener, NULL});
	server_wait_log(server, "msg=ready");
	server_wait_log(server, "127.0.0.1:");
	while (server->log[server->log_n - 1] != '\n')
		server_wait_log(server, "\n");
	server->ports[0] =
	    (unsigned)strtoul(strstr(server->log, "127.0.0.1:") + strlen("127.0.0.1:"), NULL, 10);
	return server;
}

static const char *const ways[][10] = {
    {"-c", "1"},
    {"-c", "20", "-p", "8"},
    {"-c", "20", "-p", "8", "--batch", "off"},
    {"-c", "3", "-p", "33", "-s", "32"},
    {"-c", "2", "-p", "7", "-s", "1450"},
    {"-c", "2", "-p", "2", "-s", "9000"},
    {"-c", "1", "-p", "1", "-s", "65505"},
    {"-c", "10", "-P", "3", "-s", "101"},
    {"-c", "10", "--rate", "1000", "-p", "4"},
    {"-c", "10", "--source", "127.0.3.1-127.0.3.4", "--connect-rate", "200"},
};
#define WAYS (sizeof ways / sizeof *ways)

static int load_way(size_t way, const char *listener)
{
	const char *arguments[LOAD_ARGUMENTS_MAX] = {"-d", "100ms", "--warmup", "50ms"};
	size_t n = 4;

	for (size_t k = 0; k < 10 && ways[way][k]; k++)
		arguments[n++] = ways[way][k];
	arguments[n] = listener;
	return load_in(&load_plain, arguments);
}

START_TEST(finds_nothing_where_nothing_is_wrong)
{
	const char *protocol = _i ? "increment" : "echo";
	struct server *server = design_start("iterative-udp", protocol);
	char listener[64];

	(void)snprintf(listener, sizeof listener, "%s+udp://127.0.0.1:%u", protocol,
		       server->ports[0]);
	for (size_t way = 0; way < WAYS; way++) {
		int status = load_way(way, listener);

		ck_assert_msg(status == 0 || (status == 3 && load_figure("slip_n") > 0),
			      "%s, way %zu: status %d\n%s", protocol, way, status, load_said());
		ck_assert_msg(load_figure("errors") == 0 && load_figure("messages") > 0, "%s",
			      load_said());
		expect_only("", 0);
		ck_assert(load_figure("connected_max") == load_figure("connections"));
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}
END_TEST

/* Its answers do overtake each other, and none is wrong. */
START_TEST(counts_what_a_process_for_each_reorders)
{
	struct server *server = design_start("fork-udp", "increment");
	int status =
	    LOAD("-c", "2", "-p", "16", "-d", "500ms", "--warmup", "0", "--server-pid",
		 load_number(server->pid), load_listener("increment+udp", server->ports[0]));

	ck_assert_msg(status == 0, "status %d\n%s", status, load_said());
	ck_assert_msg(load_figure("errors") == 0 && load_figure("datagrams_doubled") == 0, "%s",
		      load_said());
	ck_assert(load_figure("server_cpu_us_per_message") > 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}
END_TEST

START_TEST(speaks_over_ipv6)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof address;
	char listener[64], bytes[2048];
	pid_t load;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	(void)snprintf(listener, sizeof listener, "echo+udp://[::1]:%u", ntohs(address.sin6_port));
	load = load_start(&load_plain, (const char *const[]){"-c", "2", "-r", "1000", "-d", "200ms",
							     "--warmup", "0", listener, NULL});
	for (int i = 0; i < 100; i++) {
		ssize_t got = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&address, &n);

		ck_assert_int_eq(got, 64);
		ck_assert_int_eq(sendto(fd, bytes, 64, 0, (const struct sockaddr *)&address, n),
				 64);
	}
	ck_assert_int_ge(load_wait(load), 0);
	ck_assert_msg(load_figure("messages_total") == 100 && load_figure("errors") == 0, "%s",
		      load_said());
}
END_TEST

/* Long batches and joined answers, and what was lost is what the kernel dropped there. */
START_TEST(counts_what_weir_counts)
{
	struct server *server = SERVER("-w", "1", "echo+udp://127.0.0.1:0",
				       "chargen+udp://127.0.0.1:0", "discard+udp://127.0.0.1:0");
	static const char *const listeners[] = {"echo+udp", "chargen+udp", "discard+udp"};
	double asked = 0, lost = 0;

	for (size_t i = 0; i < 3; i++) {
		ck_assert_msg(LOAD(ALL_OF_IT, "-c", "20", "-p", "32", "-P", "2",
				   load_listener(listeners[i], server->ports[i])) == 0,
			      "%s", load_said());
		ck_assert_msg(load_figure("errors") == 0 && load_figure("messages") > 1000, "%s",
			      load_said());
		ck_assert(load_figure("datagrams_late") + load_figure("datagrams_doubled") == 0);
		asked += load_figure("datagrams_asked");
		lost += load_figure("datagrams_lost") - load_figure("datagrams_dropped");
		if (i == 1) /* of discard nothing is known */
			ck_assert_uint_eq(server_stat(server, "datagrams_answered"),
					  (uint64_t)(asked - lost));
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- those who cannot be asked which one they answer, or do not answer ---- */

START_TEST(takes_chargen_in_order)
{
	static const enum datagram_fault some[] = {DATAGRAM_NONE, DATAGRAM_LOSE, DATAGRAM_DOUBLE,
						   DATAGRAM_ALTER, DATAGRAM_CUT};
	static const char *const counted[] = {"datagrams_lost", "datagrams_lost",
					      "datagrams_doubled", "errors_altered",
					      "errors_truncated"};
	const struct datagram_count *count;
	unsigned port;
	int status;

	(void)faulty_datagram_start(DATAGRAM_CHARGEN, some[_i], 50, 6, &port, &count);
	status = LOAD(ALL_OF_IT, "-c", "2", "-p", "4", "-s", "72", "--timeout", "300ms",
		      load_listener("chargen+udp", port));
	ck_assert_msg(status == (some[_i] >= DATAGRAM_ALTER), "status %d\n%s", status, load_said());
	ck_assert_msg(load_figure(counted[_i]) == (double)count->faults, "%s", load_said());
	expect_only(counted[_i], some[_i] == DATAGRAM_LOSE ? 6 : 0);
	ck_assert_ptr_nonnull(strstr(load_said(), "all answers are alike"));
	ck_assert(load_figure("messages") > 100);
}
END_TEST

START_TEST(tells_late_ones_of_chargen)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_CHARGEN, DATAGRAM_LATE, 1, 3, &port, &count);
	ck_assert_int_eq(LOAD("--warmup", "0", "-d", "1500ms", "--timeout", "200ms", "-s", "70",
			      load_listener("chargen+udp", port)),
			 0);
	ck_assert_msg(load_figure("datagrams_late") == 3, "%s", load_said());
	expect_only("datagrams_late", 3);
}
END_TEST

/* Shorter answers than the question are right, from 512 bytes on. */
START_TEST(knows_how_much_chargen_says)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_CHARGEN, DATAGRAM_NONE, 1, 0, &port, &count);
	ck_assert_int_eq(LOAD(ALL_OF_IT, "-s", "1", load_listener("chargen+udp", port)), 0);
	ck_assert_int_eq(
	    LOAD(ALL_OF_IT, "-s", "600", "-r", "50", load_listener("chargen+udp", port)), 1);
	ck_assert_ptr_nonnull(strstr(load_said(), "has 72 bytes instead of 512"));
}
END_TEST

START_TEST(discard_is_done_when_it_has_left)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_MUTE, 1, 1000000, &port, &count);
	ck_assert_msg(LOAD(ALL_OF_IT, "-c", "2", "-r", "2000", "-s", "1",
			   load_listener("discard+udp", port)) != 1,
		      "%s", load_said());
	ck_assert(load_figure("messages_total") == load_figure("datagrams_asked"));
	ck_assert_msg(load_figure("messages_total") >= 300, "%s", load_said());
	ck_assert(load_figure("loss_percent") == -1 && !strstr(load_said(), "doubled"));
	ck_assert_int_eq(LOAD(ALL_OF_IT, "-c", "2", "-p", "64", load_listener("discard+udp", port)),
			 0);
	ck_assert_msg(load_figure("messages") > 1000, "%s", load_said());
}
END_TEST

START_TEST(finds_a_discard_that_answers)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_NONE, 1, 0, &port, &count);
	ck_assert_int_eq(LOAD(ALL_OF_IT, "-r", "500", load_listener("discard+udp", port)), 1);
	ck_assert_msg(load_figure("errors_unexpected") > 0, "%s", load_said());
}
END_TEST

/* ---- sockets that say no ---- */

static int bound_to(unsigned *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)*port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof address;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static void echo_one(int fd)
{
	struct sockaddr_in from;
	socklen_t from_n = sizeof from;
	char bytes[2048];
	ssize_t n = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &from_n);

	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(sendto(fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, from_n), n);
}

START_TEST(says_that_nobody_listens)
{
	unsigned port = 0;

	(void)close(bound_to(&port));
	ck_assert_int_eq(LOAD(ALL_OF_IT, "-c", "3", "-p", "2", "--timeout", "50ms",
			      load_listener("echo+udp", port)),
			 1);
	ck_assert_ptr_nonnull(strstr(load_said(), "nobody listened there"));
	ck_assert_ptr_nonnull(strstr(load_said(), "no message was answered"));
	/* Once for each that has left, at most. */
	ck_assert_msg(load_figure("errors_refused") > 3 &&
			  load_figure("errors_refused") <= load_figure("datagrams_asked"),
		      "%s", load_said());
	ck_assert(load_figure("errors") == load_figure("errors_refused"));
	ck_assert(load_figure("datagrams_lost") == load_figure("datagrams_asked"));
}
END_TEST

/* The server goes, and comes back: the sockets go on. */
START_TEST(goes_on_when_it_was_refused)
{
	unsigned port = 0;
	int fd = bound_to(&port);
	struct wait wait = wait_begin();
	pid_t load = load_start(
	    &load_plain, (const char *const[]){"-c", "1", "--timeout", "50ms", "--warmup", "0",
					       "-d", "1h", load_listener("echo+udp", port), NULL});

	for (int i = 0; i < 100; i++)
		echo_one(fd);
	(void)close(fd);
	while (now_ms() < wait.until_ms - patience_ms() + 300)
		wait_more(&wait, "some that are refused");
	fd = bound_to(&port);
	for (int i = 0; i < 100; i++)
		echo_one(fd);
	ck_assert_int_eq(kill(load, SIGINT), 0);
	ck_assert_int_eq(load_wait(load), 1);
	ck_assert_msg(load_figure("errors_refused") >= 1 && load_figure("messages_total") == 200,
		      "%s", load_said());
	ck_assert(load_figure("errors") == load_figure("errors_refused"));
}
END_TEST

/* What a call of weirload's may answer, put there by strace: it loses nothing of it. */
static const struct {
	const char *inject, *arguments;
} troubles[] = {
    {"sendto:error=EAGAIN:when=3+5", "-p 1"},
    {"sendto:error=ENOBUFS:when=3+5", "-p 1"},
    {"sendto:error=EINTR:when=3+5", "-p 1"},
    {"sendmsg:error=EIO:when=1", "-p 8"},
    {"sendmsg:error=EINVAL:when=1", "-p 8"},
    {"sendmsg:error=EAGAIN:when=2+3", "-p 8"},
    {"sendmmsg:error=ENOBUFS:when=2+3", "-p 8 -s 2000"},
    {"recvmmsg:error=EINTR:when=2+3", "-p 8"},
};

START_TEST(loses_nothing_where_a_call_fails)
{
	const struct datagram_count *count;
	char command[1024];
	unsigned port;
	int status;

	if (!tracing_works("loses nothing where a call fails"))
		return;
	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_NONE, 1, 0, &port, &count);
	(void)snprintf(command, sizeof command,
		       "ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o /dev/null -e "
		       "trace=sendto,sendmsg,sendmmsg,recvmmsg -e inject=%s "
		       "%s --json %s -c 2 --warmup 0 -d 500ms %s echo+udp://127.0.0.1:%u >%s 2>&1",
		       troubles[_i].inject, built("weirload"), in_folder("load.json"),
		       troubles[_i].arguments, port, in_folder("load.out"));
	status = system(command);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %d\n%s", command,
		      status, load_said());
	ck_assert_msg(load_figure("messages_total") == (double)count->asked && count->asked > 50,
		      "%lu\n%s", count->asked, load_said());
	expect_only("", 0);
}
END_TEST

/* ---- usage ---- */

static const struct {
	const char *arguments[6];
	const char *said;
} refusals[] = {
    {{"--churn", "echo+udp://127.0.0.1:1"}, "has no --churn"},
    {{"--idle", "echo+udp://127.0.0.1:1"}, "has no --idle"},
    {{"--slow", "1", "-c", "2", "echo+udp://127.0.0.1:1"}, "has no --slow"},
    {{"-s", "15", "echo+udp://127.0.0.1:1"}, "from 16 to 65507"},
    {{"-s", "65508", "echo+udp://127.0.0.1:1"}, "from 16 to 65507"},
    {{"-s", "31", "increment+udp://127.0.0.1:1"}, "from 32 to 65505"},
    {{"-s", "65508", "discard+udp://127.0.0.1:1"}, "from 1 to 65507"},
    {{"-p", "4097", "echo+udp://127.0.0.1:1"}, "at most 4096"},
    {{"--batch", "maybe", "echo+udp://127.0.0.1:1"}, "--batch takes on or off"},
    {{"line+udp://127.0.0.1:1"}, "does not speak it over datagrams"},
    {{"frame+udp://127.0.0.1:1"}, "does not speak it over datagrams"},
    {{"chat+udp://127.0.0.1:1"}, "does not speak it over datagrams"},
    {{"--senders", "1", "echo+udp://127.0.0.1:1"}, "--senders is for chat"},
    {{"--source", "::1", "echo+udp://127.0.0.1:1"}, "another kind"},
};

START_TEST(refuses_wrong_usage)
{
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		int status = load_in(&load_plain, refusals[i].arguments);

		ck_assert_msg(status == 2, "case %zu: status %d\n%s", i, status, load_said());
		ck_assert_msg(strstr(load_said(), refusals[i].said) != NULL, "case %zu:\n%s", i,
			      load_said());
	}
}
END_TEST

START_TEST(says_that_an_address_is_not_here)
{
	ck_assert_int_eq(LOAD(ALL_OF_IT, "--source", "192.0.2.1", "echo+udp://127.0.0.1:1"), 1);
	ck_assert_ptr_nonnull(strstr(load_said(), "is not of this machine"));
	ck_assert_ptr_nonnull(strstr(load_said(), "no socket came up"));
}
END_TEST

START_TEST(reports_it)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_NONE, 1, 0, &port, &count);
	ck_assert_int_eq(LOAD("-d", "200ms", "--warmup", "200ms", "--batch", "off", "-c", "1", "-s",
			      "16", load_listener("echo+udp", port)),
			 0);
	ck_assert_ptr_nonnull(strstr(load_said(), "1 socket, 16 bytes, no batches, 1 process"));
	ck_assert_ptr_nonnull(
	    strstr(load_said(), "datagrams 0 (0 %) lost, 0 (0 %) doubled, 0 (0 %) reordered\n"));
	ck_assert(load_says("batch", "\"off\"") && load_says("loss_percent", "0.000"));
	/* The warm-up is not in it. */
	ck_assert_msg(load_figure("datagrams_asked") < (double)count->asked * 0.9, "%s",
		      load_said());
	ck_assert_ptr_nonnull(strstr(load_hdr(), "Percentile"));
}
END_TEST

SUITE("udpload",
      {"counts each fault as what it is", counts_each_fault_as_what_it_is, 20, FAULTS *LOOPS},
      {"tells late from lost and doubled", tells_late_from_lost_and_doubled, 20},
      {"remembers what was lost in a place", remembers_what_was_lost_in_a_place, 20},
      {"goes on beside a lost one", goes_on_beside_a_lost_one, 20},
      {"gives lost places back", gives_lost_places_back, 20},
      {"says that nothing was answered", says_that_nothing_was_answered, 20},
      {"finds nothing where nothing is wrong", finds_nothing_where_nothing_is_wrong, 40, 2},
      {"counts what a process for each reorders", counts_what_a_process_for_each_reorders, 20},
      {"counts what weir counts", counts_what_weir_counts, 20},
      {"speaks over IPv6", speaks_over_ipv6, 20},
      {"takes chargen in order", takes_chargen_in_order, 20, 5},
      {"tells late ones of chargen", tells_late_ones_of_chargen, 20},
      {"knows how much chargen says", knows_how_much_chargen_says, 20},
      {"discard is done when it has left", discard_is_done_when_it_has_left, 20},
      {"finds a discard that answers", finds_a_discard_that_answers, 20},
      {"says that nobody listens", says_that_nobody_listens, 20},
      {"goes on when it was refused", goes_on_when_it_was_refused, 20},
      {"loses nothing where a call fails", loses_nothing_where_a_call_fails, 20,
       sizeof troubles / sizeof *troubles},
      {"refuses wrong usage", refuses_wrong_usage, 20},
      {"says that an address is not here", says_that_an_address_is_not_here, 20},
      {"reports it", reports_it, 20})
