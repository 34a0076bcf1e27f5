/*
 * weirload: whether its results can be believed. If a server answers wrongly, weirload has to
 * notice, and to say what was wrong; its counts are those of the server. Whether it notices its own
 * limits is tested in check_validity. No test here is about speed.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/servers/faulty.h"
#include "tests/support/harness.h"
#include "tests/support/clients/load.h"

/* ---- replies that are wrong ---- */

struct case_of_fault {
	enum fault fault;
	const char *size, *pipeline;
	const char *counted; /* the key that has to be above 0; NULL: any key of errors */
};

static const struct case_of_fault faults[] = {
    {FAULT_DROP, "64", "16", "errors_lost"},
    {FAULT_DROP, "64", "1", NULL}, /* most of these become messages without an end */
    {FAULT_DOUBLE, "64", "16", "errors_doubled"},
    {FAULT_DOUBLE, "64", "1", NULL},
    {FAULT_SWAP, "64", "16", "errors_reordered"},
    {FAULT_SWAP, "64", "1", "errors_reordered"},
    {FAULT_ALTER, "64", "16", "errors_altered"},
    {FAULT_ALTER, "64", "1", "errors_altered"},
    {FAULT_ALTER, "16K", "1", "errors_altered"},
    {FAULT_FOREIGN, "64", "16", "errors_foreign"},
    {FAULT_FOREIGN, "64", "1", "errors_foreign"},
    {FAULT_EXTRA, "64", "1", "errors_unexpected"},
    {FAULT_CLOSE, "64", "4", "errors_closed"},
};

struct amount {
	unsigned long units, faults;
};

static bool is_enough(const void *of)
{
	const struct amount *amount = of;

	return faulty_counted()->units >= amount->units &&
	       faulty_counted()->faults >= amount->faults;
}

/* A fault happens once in `many` bytes: at the second fault weirload has read the first one. */
static void finds_one_wrong_byte_in(unsigned long many, const struct case_of_fault *this)
{
	static const struct amount two = {.faults = 2};
	unsigned port;
	int status;

	(void)faulty_start(this->fault, many, &port);
	status = LOAD_UNTIL(is_enough, &two, "-c", "20", "--timeout", "1s", "-s", this->size, "-p",
			    this->pipeline, load_listener("echo", port));
	ck_assert_msg(status == 1, "status %d\n%s", status, load_said());
	ck_assert_msg(!this->counted || load_figure(this->counted) > 0, "no %s:\n%s", this->counted,
		      load_said());
	ck_assert_msg(load_figure("messages_total") > 0, "%s", load_said());
}

START_TEST(finds_one_wrong_byte_in_a_hundred_thousand)
{
	finds_one_wrong_byte_in(100000, &faults[_i]);
}
END_TEST

START_TEST(finds_one_wrong_byte_in_a_million)
{
	finds_one_wrong_byte_in(1000000, &faults[_i]);
}
END_TEST

START_TEST(finds_nothing_where_nothing_is_wrong)
{
	static const struct amount enough = {.units = 1000000};
	unsigned port;
	int status;

	(void)faulty_start(FAULT_NONE, 1, &port);
	status = LOAD_UNTIL(is_enough, &enough, "-c", "20", "-p", "16", "--timeout", "60s",
			    load_listener("echo", port));
	load_expect_fine(status);
	ck_assert(load_figure("errors") == 0 && (status == 3 || load_says("valid", "true")));
}
END_TEST

/* Right answers of one protocol are wrong ones of another. */
START_TEST(finds_an_echo_that_claims_to_be_increment)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	struct load_served served = {server, "received_bytes", 64L * 100};

	ck_assert_int_eq(LOAD_UNTIL(load_served, &served, "-c", "2",
				    load_listener("increment", server->ports[0])),
			 1);
	ck_assert(load_figure("errors_altered") > 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- every protocol, every way to load it ---- */

static const char *const ways[][8] = {
    {"-p", "1", "-s", "64"},   {"-p", "7", "-s", "1"},	      {"-p", "3", "-s", "5000"},
    {"-p", "2", "-s", "300K"}, {"-P", "3", "-s", "100"},      {"--churn"},
    {"--idle", "-s", "333"},   {"--rate", "2000", "-p", "4"}, {"--churn", "--rate", "500"},
    {"--connect-rate", "100"}, {"--slow", "2", "-s", "2000"},
};
#define WAYS (sizeof ways / sizeof *ways)

static const char *const protocols_spoken[] = {"echo",	"increment", "line",
					       "frame", "discard",   "chargen"};
#define PROTOCOLS (sizeof protocols_spoken / sizeof *protocols_spoken)

static bool way_fits(const char *protocol, const char *const way[])
{
	if (strcmp(protocol, "chargen") != 0)
		return true;
	return strcmp(way[0], "-p") != 0 && strcmp(way[0], "--idle") != 0 &&
	       strcmp(way[0], "--rate") != 0 && (!way[1] || strcmp(way[1], "--rate") != 0);
}

START_TEST(speaks_every_protocol_in_every_way)
{
	const char *protocol = protocols_spoken[_i];
	struct server *server = SERVER("-w", "2", "--max-line", "1M", load_listener(protocol, 0));

	for (size_t i = 0; i < WAYS; i++) {
		const char *arguments[LOAD_ARGUMENTS_MAX] = {"-c",   "10",	 "-d",
							     "40ms", "--warmup", "10ms"};
		size_t n = 6;
		int status;

		if (!way_fits(protocol, ways[i]))
			continue;
		for (size_t k = 0; k < 8 && ways[i][k]; k++)
			arguments[n++] = ways[i][k];
		arguments[n] = load_listener(protocol, server->ports[0]);
		status = load_answered(arguments);
		/* It may find that this machine is too busy, and say so. */
		ck_assert_msg(status == 0 || status == 3, "%s, way %zu: status %d\n%s", protocol, i,
			      status, load_said());
		ck_assert_msg(load_figure("errors") == 0, "%s", load_said());
		ck_assert_msg(status == 3 || load_figure("messages") > 0, "%s, way %zu\n%s",
			      protocol, i, load_said());
		ck_assert(load_figure("connected_max") == 10);
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(counts_what_the_server_counts)
{
	struct server *server = SERVER("-w", "2", "line://127.0.0.1:0");

	ck_assert_int_eq(LOAD("--idle", "-c", "300", "-P", "2", "-d", "100ms",
			      load_listener("line", server->ports[0])),
			 0);
	ck_assert(load_figure("messages") == 600 && load_figure("held") == 300 &&
		  load_figure("connects") == 300);
	ck_assert_uint_eq(server_stat(server, "messages"), 600);
	ck_assert_uint_eq(server_stat(server, "accepted"), 300);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(speaks_over_unix_sockets_and_ipv6)
{
	struct server *server;
	char abstract[64], six[64];

	(void)snprintf(abstract, sizeof abstract, "echo://@weirload-test-%d", (int)getpid());
	server = SERVER("-w", "1", abstract, "frame://[::1]:0");
	load_expect_fine(LOAD_ANSWERED("-c", "20", "-d", "100ms", "--warmup", "0", abstract));
	load_expect_fine(
	    LOAD_ANSWERED("-c", "20", "-d", "100ms", "--warmup", "0", "--churn", abstract));
	(void)snprintf(six, sizeof six, "frame://[::1]:%u", server->ports[1]);
	load_expect_fine(LOAD_ANSWERED("-c", "20", "-d", "100ms", "--warmup", "0", six));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(loads_from_many_addresses)
{
	struct server *server =
	    SERVER("-w", "1", "--max-connections-per-ip", "5", "echo://127.0.0.1:0");

	ck_assert_int_eq(LOAD("--idle", "-c", "50", "-d", "10ms", "--source",
			      "127.0.3.1-127.0.3.10", load_listener("echo", server->ports[0])),
			 0);
	ck_assert_int_eq(LOAD("--idle", "-c", "50", "-d", "10ms", "--source", "127.0.3.1-127.0.3.9",
			      load_listener("echo", server->ports[0])),
			 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Without --source the kernel chooses the local addresses. */
START_TEST(loads_to_many_addresses)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.3.2:0");
	char listener[64];

	(void)snprintf(listener, sizeof listener, "echo://127.0.0.1:%u", server->ports[0]);
	ck_assert_int_eq(LOAD("--idle", "-c", "8", "-d", "10ms", "--destination",
			      "127.0.3.1-127.0.3.4", listener),
			 1);
	ck_assert_msg(load_figure("held") == 2 && load_figure("errors_refused") == 6, "%s",
		      load_said());
	/* Each source is used with each destination: so half of the connections succeed. */
	ck_assert_int_eq(LOAD("--idle", "-c", "8", "-d", "10ms", "--destination",
			      "127.0.3.1-127.0.3.2", "--source", "127.0.0.5-127.0.0.6", listener),
			 1);
	ck_assert_msg(load_figure("held") == 4, "%s", load_said());
	ck_assert_int_eq(
	    LOAD("--idle", "-c", "8", "-d", "10ms", "--destination", "127.0.3.2", listener), 0);
	ck_assert_ptr_nonnull(strstr(load_said(), ", to 127.0.3.2:"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Expects a run that went well, or was INVALID because the machine is busy. */
static void ran(int status)
{
	ck_assert_msg(status == 0 || status == 3, "status %d: %s", status, load_said());
}

/* weirload takes the LISTENER of a server on every address. */
START_TEST(spreads_over_loopback_by_itself)
{
	struct server *server = SERVER("-w", "1", "echo://0.0.0.0:0");
	char listener[64];

	(void)snprintf(listener, sizeof listener, "echo://0.0.0.0:%u", server->ports[0]);
	ran(LOAD("--churn", "-c", "3", "-d", "100ms", "--warmup", "0", listener));
	ck_assert(load_figure("destinations") == 16 && load_figure("sources") == 0);
	ck_assert_ptr_nonnull(strstr(load_said(), ", to 16 addresses"));
	ran(LOAD("-c", "3", "-d", "100ms", "--warmup", "0", listener));
	ck_assert(load_figure("destinations") == 0 && load_figure("sources") == 0);
	/* With only one destination, connections come from many local addresses. */
	ran(LOAD("--churn", "-c", "3", "-d", "100ms", "--warmup", "0",
		 load_listener("echo", server->ports[0])));
	ck_assert(load_figure("destinations") == 0 && load_figure("sources") == 16);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- what a server does to its clients ---- */

/* All last messages together take longer than one of them may take. But they are sent a few at a
 * time, and the time of each begins when it is sent. */
START_TEST(asks_at_the_end_at_the_pace_of_the_answers)
{
	unsigned port;
	int status;

	(void)faulty_start(FAULT_TIRED, 1, &port);
	status = LOAD("--idle", "-c", "250", "-d", "10ms", "--timeout", "1600ms",
		      load_listener("echo", port));
	ck_assert_msg(status == 0, "status %d\n%s", status, load_said());
	ck_assert(load_figure("held") == 250 && load_figure("messages_total") == 500);
}
END_TEST

START_TEST(counts_slow_readers_that_are_given_up)
{
	struct server *server = SERVER("-w", "1", "--write-timeout", "300ms", "--high-water", "64K",
				       "echo://127.0.0.1:0");
	struct load_served served = {server, "closed_write_timeout", 1};

	load_expect_fine(LOAD_UNTIL(load_served, &served, "-c", "4", "--slow", "2", "-s", "16K",
				    load_listener("echo", server->ports[0])));
	ck_assert_msg(load_figure("slow_ended") >= 1, "%s", load_said());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(says_that_nobody_listens)
{
	ck_assert_int_eq(LOAD("-c", "3", "-d", "1s", load_listener("echo", load_refusing_port())),
			 1);
	ck_assert(load_figure("errors_refused") == 3);
	ck_assert_ptr_nonnull(strstr(load_said(), "no connection came up"));
}
END_TEST

static void echo_message(int fd)
{
	char bytes[64];

	receive_exactly(fd, bytes, sizeof bytes);
	send_all(fd, bytes, sizeof bytes);
}

/* If a process ended its connections before others are done, the server would be busy with that
 * while the others ask. */
START_TEST(ends_nothing_before_all_are_answered)
{
	unsigned port;
	int listener = bind_any(SOCK_STREAM, &port), fds[2];
	pid_t load = load_start(&load_plain,
				(const char *const[]){"--idle", "-c", "2", "-P", "2", "-d", "10ms",
						      load_listener("echo", port), NULL});
	struct pollfd ended;

	for (int i = 0; i < 2; i++)
		fds[i] = accept(listener, NULL, NULL);
	for (int i = 0; i < 4; i++) {
		echo_message(fds[i % 2]);
		ended = (struct pollfd){.fd = fds[0], .events = POLLIN};
		ck_assert_msg(i != 2 || poll(&ended, 1, 300) == 0, "it has ended before the other");
	}
	for (int i = 0; i < 2; i++) {
		expect_end(fds[i]);
		(void)close(fds[i]);
	}
	ck_assert_int_eq(load_wait(load), 0);
	(void)close(listener);
}
END_TEST

/* The LISTENER leads to a unix datagram socket: there is no kind of error for this. */
START_TEST(names_what_is_of_no_kind)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char listener[128];

	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", in_folder("datagrams"));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	(void)snprintf(listener, sizeof listener, "echo://%s", address.sun_path);
	ck_assert_int_eq(LOAD("-c", "1", "-d", "100ms", listener), 1);
	ck_assert_msg(strstr(load_said(), "errors    1 connect: Protocol wrong type") != NULL, "%s",
		      load_said());
	ck_assert_int_eq(LOAD("-c", "2", "-d", "100ms", listener), 1);
	ck_assert_msg(strstr(load_said(), "errors    2 of other kinds\n          first: connect: "),
		      "%s", load_said());
	(void)close(fd);
}
END_TEST

/* The port is one of TLS, whatever protocol weirload speaks. */
START_TEST(hints_at_tls)
{
	static const char *const spoken[] = {"echo", "line", "frame"};
	static const struct amount any = {.units = 1};
	unsigned port;

	for (size_t i = 0; i < 3; i++) {
		(void)faulty_start(FAULT_TLS, 1, &port);
		ck_assert_int_eq(LOAD_UNTIL(is_enough, &any, "-c", "1", "--timeout", "60s",
					    load_listener(spoken[i], port)),
				 1);
		ck_assert_msg(strstr(load_said(), "looks like TLS") != NULL, "%s", load_said());
	}
}
END_TEST

/* The server's worker dies during a run: connections are reset, come back, and nothing hangs. */
START_TEST(goes_on_when_connections_are_reset)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	pid_t worker = server_worker(server, 0);
	pid_t load = load_start(
	    &load_plain, (const char *const[]){"-c", "20", "-d", "1h", "--warmup", "0",
					       load_listener("echo", server->ports[0]), NULL});

	server_wait_stat(server, "received_bytes", 100000);
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	(void)server_wait_worker(server, 0, worker);
	server_wait_stat(server, "received_bytes", server_stat(server, "received_bytes") + 100000);
	ck_assert_int_eq(load_end(load), 1);
	ck_assert_msg(load_figure("errors_reset") + load_figure("errors_closed") >= 20, "%s",
		      load_said());
	ck_assert_msg(load_figure("errors_lost") + load_figure("errors_altered") == 0, "%s",
		      load_said());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(measures_the_servers_whole_tree)
{
	struct server *server = SERVER("-w", "3", "echo://127.0.0.1:0");

	load_expect_fine(LOAD_ANSWERED("-c", "200", "-d", "200ms", "--warmup", "100ms",
				       "--server-pid", load_number(server->pid),
				       load_listener("echo", server->ports[0])));
	ck_assert(load_figure("server_processes") == 4);
	ck_assert_msg(load_figure("server_cpu_us_per_message") > 0.1 &&
			  load_figure("server_cpu_us_per_message") < 1000,
		      "%s", load_said());
	ck_assert(load_figure("server_cpus") <= 3.1);
	ck_assert_int_eq(LOAD("-c", "1", "-d", "100ms", "--server-pid", "999999999",
			      load_listener("echo", server->ports[0])),
			 2);
	ck_assert_ptr_nonnull(strstr(load_said(), "no such process"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(ends_early_in_its_warm_up)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	pid_t load = load_start(
	    &load_plain, (const char *const[]){"-c", "5", "-d", "1h", "--warmup", "1h",
					       load_listener("echo", server->ports[0]), NULL});

	server_wait_stat(server, "received_bytes", 100000);
	load_expect_fine(load_end(load));
	ck_assert_ptr_nonnull(strstr(load_said(), "ended early"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(ends_early_and_reports_when_interrupted)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	pid_t load = load_start(
	    &load_plain, (const char *const[]){"-c", "5", "-d", "1h", "--warmup", "0",
					       load_listener("echo", server->ports[0]), NULL});

	server_wait_stat(server, "received_bytes", 100000);
	load_expect_fine(load_end(load));
	ck_assert_ptr_nonnull(strstr(load_said(), "ended early"));
	ck_assert(load_figure("messages_total") > 100);
	server_wait_stat_is(server, "connections", 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- servers with faults ---- */

START_TEST(finds_bytes_that_nobody_asked_for)
{
	unsigned port;

	(void)faulty_start(FAULT_BABBLE, 1, &port);
	ck_assert_int_eq(LOAD_REACHING("errors_unexpected", 3, "-c", "3", "-d", "200ms", "--warmup",
				       "0", "--timeout", "500ms", load_listener("discard", port)),
			 1);
	ck_assert_msg(load_figure("errors_unexpected") >= 3, "%s", load_said());
	ck_assert_int_eq(LOAD_REACHING("errors", 1, "-c", "3", "-d", "200ms", "--warmup", "0",
				       "--timeout", "500ms", load_listener("echo", port)),
			 1);
}
END_TEST

START_TEST(finds_a_chargen_that_says_nothing)
{
	unsigned port;

	(void)faulty_start(FAULT_MUTE, 1, &port);
	ck_assert_int_eq(LOAD_REACHING("errors_timeout", 3, "-c", "3", "-d", "500ms", "--warmup",
				       "0", "--timeout", "200ms", load_listener("chargen", port)),
			 1);
	ck_assert_msg(load_figure("errors_timeout") >= 3, "%s", load_said());
}
END_TEST

/* A run in which nothing was answered shows no figures that could be taken for results. */
START_TEST(shows_no_figures_of_nothing)
{
	unsigned port;
	int status;

	(void)faulty_start(FAULT_MUTE, 1, &port);
	status = LOAD("-c", "3", "-d", "300ms", "--warmup", "0", "--timeout", "200ms",
		      load_listener("echo", port));
	ck_assert_msg(status == 1 || status == 3, "status %d\n%s", status, load_said());
	ck_assert_msg(!strstr(load_said(), "p99.9") &&
			  !strstr(load_said(), "(the generator's limit") &&
			  !strstr(load_said(), "figure to quote"),
		      "%s", load_said());
	ck_assert_ptr_nonnull(strstr(load_said(), "no message was answered"));
}
END_TEST

START_TEST(keeps_its_rate_though_connections_end)
{
	unsigned port;

	(void)faulty_start(FAULT_CLOSE, 5 * 64, &port);
	ck_assert_int_eq(LOAD_REACHING("messages_total", 251, "-c", "20", "-d", "1s", "--warmup",
				       "0", "--churn", "--rate", "400",
				       load_listener("echo", port)),
			 1);
	ck_assert_msg(load_figure("messages_total") > 250, "%s", load_said());
}
END_TEST

/* ---- usage ---- */

static const struct {
	const char *arguments[6];
	const char *said;
} refusals[] = {
    {{NULL}, "which LISTENER?"},
    {{"echo://127.0.0.1:1", "echo://127.0.0.1:2"}, "one LISTENER"},
    {{"nonsense"}, "not a listener"},
    {{"smtp://127.0.0.1:25"}, "no protocol is \"smtp\""},
    {{"echo://127.0.0.1:0"}, "which port?"},
    {{"--bogus", "echo://127.0.0.1:1"}, "there is no option --bogus"},
    {{"echo://127.0.0.1:1", "-c"}, "-c needs a value"},
    {{"-c", "0", "echo://127.0.0.1:1"}, "--connections takes"},
    {{"-c", "ten", "echo://127.0.0.1:1"}, "--connections takes"},
    {{"-d", "10", "echo://127.0.0.1:1"}, "--duration takes"},
    {{"-d", "0", "echo://127.0.0.1:1"}, "--duration is longer than 0"},
    {{"-s", "2G", "echo://127.0.0.1:1"}, "--size takes"},
    {{"-p", "0", "echo://127.0.0.1:1"}, "--pipeline takes"},
    {{"--churn", "--idle", "echo://127.0.0.1:1"}, "exclude each other"},
    {{"--churn", "-p", "2", "echo://127.0.0.1:1"}, "--churn has no"},
    {{"--rate", "5", "chargen://127.0.0.1:1"}, "chargen is not asked"},
    {{"--slow", "2", "echo://127.0.0.1:1"}, "--slow 2 of"},
    {{"--source", "127.0.0.9-127.0.0.1", "echo://127.0.0.1:1"}, "--source 127"},
    {{"--source", "::1", "echo://127.0.0.1:1"}, "another kind"},
    {{"--source", "here", "echo://127.0.0.1:1"}, "--source takes"},
    {{"--destination", "127.0.0.9-127.0.0.1", "echo://127.0.0.1:1"}, "--destination 127"},
    {{"--destination", "127.0.0.1-there", "echo://127.0.0.1:1"}, "--destination takes"},
    {{"--destination", "127.0.0.1", "echo://@weirload-test"}, "--destination is for HOST:PORT"},
    {{"--destination", "::1", "--source", "127.0.0.1", "echo://127.0.0.1:1"},
     "another kind of address than --destination"},
    {{"--server-pid", "999999999", "echo://127.0.0.1:1"},
     "weirload: --server-pid 999999999: there is no such process\n"},
    {{"--json", "/nonexistent/file", "echo://127.0.0.1:1"}, "/nonexistent/file"},
    {{"--json", "/nonexistent/file", "echo://127.0.0.1:1"}, " process=weirload "},
    {{"--hdr", "/nonexistent/file", "echo://127.0.0.1:1"}, " process=weirload "},
};

START_TEST(refuses_wrong_usage)
{
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		int status = load_in(&load_plain, refusals[i].arguments);
		const char *file = refusals[i].arguments[0] ? refusals[i].arguments[1] : NULL;
		int wanted = file && strcmp(file, "/nonexistent/file") == 0 ? 1 : 2;

		ck_assert_msg(status == wanted, "case %zu: status %d\n%s", i, status, load_said());
		ck_assert_msg(strstr(load_said(), refusals[i].said) != NULL, "case %zu:\n%s", i,
			      load_said());
	}
}
END_TEST

START_TEST(helps)
{
	ck_assert_int_eq(LOAD("--help"), 0);
	ck_assert_ptr_nonnull(strstr(load_said(), "--connections N"));
	ck_assert_int_eq(LOAD("--version"), 0);
	ck_assert_ptr_nonnull(strstr(load_said(), "weirload 0."));
}
END_TEST
SUITE("weirload",
      {"finds one wrong byte in 100,000", finds_one_wrong_byte_in_a_hundred_thousand, 20,
       sizeof faults / sizeof *faults},
      {"finds one wrong byte in a million", finds_one_wrong_byte_in_a_million, 20,
       sizeof faults / sizeof *faults, SUITE_LONG},
      {"finds nothing where nothing is wrong", finds_nothing_where_nothing_is_wrong, 20},
      {"finds an echo that claims to be increment", finds_an_echo_that_claims_to_be_increment, 20},
      {"speaks every protocol in every way", speaks_every_protocol_in_every_way, 60, PROTOCOLS},
      {"counts what the server counts", counts_what_the_server_counts, 20},
      {"speaks over unix sockets and IPv6", speaks_over_unix_sockets_and_ipv6, 20},
      {"loads to many addresses", loads_to_many_addresses, 20},
      {"spreads over loopback by itself", spreads_over_loopback_by_itself, 20},
      {"asks at the end at the pace of the answers", asks_at_the_end_at_the_pace_of_the_answers,
       20},
      {"ends nothing before all are answered", ends_nothing_before_all_are_answered, 20},
      {"loads from many addresses", loads_from_many_addresses, 20},
      {"counts slow readers that are given up", counts_slow_readers_that_are_given_up, 20},
      {"says that nobody listens", says_that_nobody_listens, 20},
      {"names what is of no kind", names_what_is_of_no_kind, 20},
      {"hints at TLS", hints_at_tls, 20},
      {"goes on when connections are reset", goes_on_when_connections_are_reset, 20},
      {"measures the server's whole tree", measures_the_servers_whole_tree, 20},
      {"ends early and reports when interrupted", ends_early_and_reports_when_interrupted, 20},
      {"ends early in its warm-up", ends_early_in_its_warm_up, 20},
      {"finds bytes that nobody asked for", finds_bytes_that_nobody_asked_for, 20},
      {"finds a chargen that says nothing", finds_a_chargen_that_says_nothing, 20},
      {"shows no figures of nothing", shows_no_figures_of_nothing, 20},
      {"keeps its rate though connections end", keeps_its_rate_though_connections_end, 20},
      {"refuses wrong usage", refuses_wrong_usage, 20}, {"helps", helps, 10})
