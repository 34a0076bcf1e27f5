/*
 * weirload over datagrams, with all of its options: it finds nothing if nothing is wrong, counts
 * what the server counts, and survives and reports every error of its sockets. No test here is
 * about speed.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/servers/faulty_datagram.h"
#include "tests/support/harness.h"
#include "tests/support/clients/load.h"
#include "tests/support/trace.h"

#define PATIENT "--timeout", "60s" /* if no answer is lost, none is late */

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
	const char *arguments[LOAD_ARGUMENTS_MAX] = {"-d", "30ms", "--warmup", "20ms", PATIENT};
	size_t n = 6;

	for (size_t k = 0; k < 10 && ways[way][k]; k++)
		arguments[n++] = ways[way][k];
	arguments[n] = listener;
	return load_answered(arguments);
}

START_TEST(finds_nothing_where_nothing_is_wrong)
{
	const char *protocol = _i ? "increment" : "echo";
	struct server *server = design_start("iterative-udp", protocol);
	char listener[64];

	(void)snprintf(listener, sizeof listener, "%s+udp://127.0.0.1:%u", protocol,
		       server->ports[0]);
	for (size_t way = 0; way < WAYS; way++) {
		load_expect_fine(load_way(way, listener));
		ck_assert_msg(load_figure("errors") == 0 && load_figure("messages") > 0, "%s",
			      load_said());
		load_expect_only("", 0);
		ck_assert(load_figure("connected_max") == load_figure("connections"));
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}
END_TEST

/* fork-udp's answers overtake each other, but none is wrong. */
START_TEST(counts_what_a_process_for_each_reorders)
{
	struct server *server = design_start("fork-udp", "increment");

	load_expect_fine(load_answered((const char *const[]){
	    "-c", "2", "-p", "16", "-d", "200ms", "--warmup", "0", PATIENT, "--server-pid",
	    load_number(server->pid), load_listener("increment+udp", server->ports[0]), NULL}));
	ck_assert_msg(load_figure("errors") == 0 && load_figure("datagrams_doubled") == 0, "%s",
		      load_said());
	ck_assert(load_figure("server_cpu_us_per_message") > 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}
END_TEST

START_TEST(speaks_over_ipv6)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), answered = 0;
	struct wait wait = wait_begin();
	socklen_t n = sizeof address;
	char listener[64], bytes[2048];
	pid_t load;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	(void)snprintf(listener, sizeof listener, "echo+udp://[::1]:%u", ntohs(address.sin6_port));
	load = load_start(&load_plain,
			  (const char *const[]){"-c", "2", "-r", "1000", "-d", "1h", "--warmup",
						"0", PATIENT, listener, NULL});
	while (process_state(load) != 'Z') {
		ssize_t got = recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT,
				       (struct sockaddr *)&address, &n);

		if (got < 0) {
			wait_more(&wait, "the end of a load");
			continue;
		}
		ck_assert_int_eq(got, 64);
		ck_assert_int_eq(sendto(fd, bytes, 64, 0, (const struct sockaddr *)&address, n),
				 64);
		if (++answered == 100)
			ck_assert_int_eq(kill(load, SIGINT), 0);
	}
	load_expect_fine(load_wait(load));
	ck_assert_msg(load_figure("messages_total") == answered && load_figure("errors") == 0, "%s",
		      load_said());
}
END_TEST

/* Long batches and joined answers: the lost ones have to be those that the kernel dropped at the
 * server. False: some were late. */
static bool counts_alike(const char *timeout)
{
	struct server *server = SERVER("-w", "1", "echo+udp://127.0.0.1:0",
				       "chargen+udp://127.0.0.1:0", "discard+udp://127.0.0.1:0");
	static const char *const listeners[] = {"echo+udp", "chargen+udp", "discard+udp"};
	struct load_served served = {server, "datagrams_received", 0};
	double asked = 0, lost = 0, late = 0;

	for (size_t i = 0; i < 3; i++) {
		served.least += 5000;
		load_expect_fine(LOAD_UNTIL(load_served, &served, "-c", "20", "-p", "32", "-P", "2",
					    "--timeout", timeout,
					    load_listener(listeners[i], server->ports[i])));
		ck_assert_msg(load_figure("errors") == 0 && load_figure("messages_total") > 1000,
			      "%s", load_said());
		late += load_figure("datagrams_late");
		ck_assert(load_figure("datagrams_doubled") == 0);
		asked += load_figure("datagrams_asked");
		lost += load_figure("datagrams_lost") - load_figure("datagrams_dropped");
		if (i == 1 && late < 1) /* before discard, which answers nothing */
			ck_assert_uint_eq(server_stat(server, "datagrams_answered"),
					  (uint64_t)(asked - lost));
		served.least = server_stat(server, "datagrams_received");
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return late < 1;
}

START_TEST(counts_what_weir_counts)
{
	static const char *const timeouts[] = {"500ms", "1s", "5s", "20s"};
	size_t i = 0;

	while (!counts_alike(timeouts[i]))
		ck_assert_uint_lt(++i, 4);
}
END_TEST

/* ---- errors of sockets ---- */

/* An address of loopback that no other test uses, so that its ports are free as long as needed. */
static uint32_t own_address(void)
{
	return 0x7f400000 | ((uint32_t)getpid() & 0x3fffff);
}

static int bound_to(unsigned *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)*port),
				      .sin_addr.s_addr = htonl(own_address())};
	socklen_t n = sizeof address;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static const char *own_listener(unsigned port)
{
	static char text[64];
	uint32_t own = own_address();

	(void)snprintf(text, sizeof text, "echo+udp://127.%u.%u.%u:%u", own >> 16 & 255,
		       own >> 8 & 255, own & 255, port);
	return text;
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
	static const char *const durations[] = {"100ms", "2s", "20s"};
	unsigned port = 0;
	int status = 0;

	(void)close(bound_to(&port));
	for (size_t i = 0; i < 3; i++) {
		status = LOAD("--warmup", "0", "-d", durations[i], "-c", "3", "-p", "2",
			      "--timeout", "50ms", own_listener(port));
		if (load_figure("errors_refused") > 3)
			break;
	}
	ck_assert_int_eq(status, 1);
	ck_assert_ptr_nonnull(strstr(load_said(), "nobody listened there"));
	ck_assert_ptr_nonnull(strstr(load_said(), "no message was answered"));
	/* At most one error for each datagram that has left. */
	ck_assert_msg(load_figure("errors_refused") > 3 &&
			  load_figure("errors_refused") <= load_figure("datagrams_asked"),
		      "%s", load_said());
	ck_assert(load_figure("errors") == load_figure("errors_refused"));
	ck_assert(load_figure("datagrams_lost") == load_figure("datagrams_asked"));
}
END_TEST

/* Nobody answers for a time; then another server does, at the same port. */
static void refused_for(unsigned ms)
{
	unsigned port = 0;
	int fd = bound_to(&port);
	pid_t load = load_start(&load_plain,
				(const char *const[]){"-c", "1", "--timeout", "50ms", "--warmup",
						      "0", "-d", "1h", own_listener(port), NULL});

	for (int i = 0; i < 100; i++)
		echo_one(fd);
	(void)close(fd);
	(void)poll(NULL, 0, (int)ms); /* nothing shows that a datagram was refused */
	fd = bound_to(&port);
	for (int i = 0; i < 100; i++)
		echo_one(fd);
	(void)load_end(load);
}

/* The server ends, and comes back: the sockets go on. */
START_TEST(goes_on_when_it_was_refused)
{
	double answered;

	for (unsigned ms = 200; ms < 60000; ms *= 4) {
		refused_for(ms);
		if (load_figure("errors_refused") >= 1)
			break;
	}
	ck_assert_msg(load_figure("errors_refused") >= 1, "%s", load_said());
	/* Answers that were too late for weirload count, too. */
	answered = load_figure("messages_total") + load_figure("datagrams_late");
	ck_assert_msg(answered >= 190 && answered <= 200, "%s", load_said());
	ck_assert(load_figure("errors") == load_figure("errors_refused"));
}
END_TEST

/* Errors that a call of weirload may return, injected by strace: it loses nothing. */
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
	static const char *const durations[] = {"100ms", "3s", "20s"};
	const struct datagram_count *count;
	char command[1024];
	unsigned port;
	int status = -1;

	if (!tracing_works("loses nothing where a call fails"))
		return;
	for (size_t i = 0; i < 3; i++) {
		(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_NONE, 1, 0, &port, &count);
		(void)snprintf(command, sizeof command,
			       "ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o /dev/null -e "
			       "trace=sendto,sendmsg,sendmmsg,recvmmsg -e inject=%s "
			       "%s --json %s -c 2 --warmup 0 -d %s --timeout 60s %s "
			       "echo+udp://127.0.0.1:%u >%s 2>&1",
			       troubles[_i].inject, built("weirload"), in_folder("load.json"),
			       durations[i], troubles[_i].arguments, port, in_folder("load.out"));
		status = system(command);
		if (count->asked > 50)
			break;
	}
	ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3),
		      "%s: status %d\n%s", command, status, load_said());
	ck_assert_msg(load_figure("messages_total") == (double)count->asked && count->asked > 50,
		      "%lu\n%s", count->asked, load_said());
	load_expect_only("", 0);
}
END_TEST

/* ---- usage ---- */

static const struct load_refusal refusals[] = {
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
	load_expect_refusals(refusals, sizeof refusals / sizeof *refusals);
}
END_TEST

START_TEST(says_that_an_address_is_not_here)
{
	ck_assert_int_eq(LOAD("-d", "300ms", "--source", "192.0.2.1", "echo+udp://127.0.0.1:1"), 1);
	ck_assert_ptr_nonnull(strstr(load_said(), "is not of this machine"));
	ck_assert_ptr_nonnull(strstr(load_said(), "no socket came up"));
}
END_TEST

START_TEST(reports_it)
{
	const struct datagram_count *count;
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_NONE, 1, 0, &port, &count);
	load_expect_fine(load_answered(
	    (const char *const[]){"-d", "100ms", "--warmup", "300ms", "--batch", "off", "-c", "1",
				  "-s", "16", PATIENT, load_listener("echo+udp", port), NULL}));
	ck_assert_ptr_nonnull(strstr(load_said(), "1 socket, 16 bytes, no batches, 1 process"));
	ck_assert_ptr_nonnull(
	    strstr(load_said(), "datagrams 0 (0 %) lost, 0 (0 %) doubled, 0 (0 %) reordered\n"));
	ck_assert(load_says("batch", "\"off\"") && load_says("loss_percent", "0.000"));
	/* The warm-up is not counted. */
	ck_assert_msg(load_figure("datagrams_asked") < (double)count->asked, "%s", load_said());
	ck_assert_ptr_nonnull(strstr(load_hdr(), "Percentile"));
}
END_TEST

SUITE("udpload ways",
      {"finds nothing where nothing is wrong", finds_nothing_where_nothing_is_wrong, 40, 2},
      {"counts what a process for each reorders", counts_what_a_process_for_each_reorders, 20},
      {"counts what weir counts", counts_what_weir_counts, 20},
      {"speaks over IPv6", speaks_over_ipv6, 20},
      {"says that nobody listens", says_that_nobody_listens, 20},
      {"goes on when it was refused", goes_on_when_it_was_refused, 20},
      {"loses nothing where a call fails", loses_nothing_where_a_call_fails, 20,
       sizeof troubles / sizeof *troubles},
      {"refuses wrong usage", refuses_wrong_usage, 20},
      {"says that an address is not here", says_that_an_address_is_not_here, 20},
      {"reports it", reports_it, 20})
