/*
 * Names, on a machine whose hosts file and name servers are the test's own (nameservers.h).
 *
 * What this shows: name servers that do not answer, and users that can't be looked up, delay nobody
 * who talks, connects or asks for a change, and change nothing; at start weir asks again for a
 * while. All addresses of a name are served, and stay one chat room over changes; metrics are at
 * all of them, and weirload tries all. Needs root.
 */
#include <signal.h>
#include <sys/stat.h>

#include "tests/support/clients/load_process.h"
#include "tests/support/clients/load.h"
#include "tests/support/servers/nameservers.h"
#include "tests/support/server_control.h"

#define ONE "listen = echo://one.test:0?accept=handoff\n"

/* ---- at a reload ---- */

/* How long the master takes to answer: a lookup on its loop would delay that. */
static uint64_t answers_in_ms(void)
{
	uint64_t begin = now_ms();

	ck_assert_int_eq(server_control_status("generation"), 1);
	return now_ms() - begin;
}

static void wait_asked(void)
{
	for (struct wait wait = wait_begin(); !nameservers_asked();)
		wait_more(&wait, "a query to a name server");
}

START_TEST(silent_name_servers_hold_up_nobody)
{
	uint64_t longest = 0;
	struct server *server;
	struct load_process *load;
	pid_t asked;

	if (nameservers_cannot("silent name servers hold up nobody"))
		return;
	nameservers_silent();
	server = CONTROLLED("--workers", "2", "--config", server_control_config(ONE));
	load = load_process_start(
	    &(struct load_plan){server_control_address(server, 0), .talkers = 10, .comers = 4});
	(void)server_control_config(ONE "listen = line://far-away:0\n");
	asked = server_control_ask_begin("reload");
	wait_asked();
	for (int i = 0; i < 20; i++) {
		uint64_t ms;

		load_process_wait(load, 10, 10);
		ms = answers_in_ms();
		longest = ms > longest ? ms : longest;
	}
	(void)printf("FIGURE beside a lookup that nobody answers, status took at most %llu ms\n",
		     (unsigned long long)longest);
	(void)fflush(stdout);
	ck_assert_uint_lt(longest, 4000); /* a query to one silent name server takes 5 s */
	ck_assert_int_eq(kill(server_child(server, "weir-lookup"), SIGKILL), 0);
	ck_assert_int_eq(server_control_ask_end(asked), 1);
	ck_assert_msg(strstr(server_control_answer(), "looking up its names"), "%s",
		      server_control_answer());
	ck_assert_int_eq(server_control_status("generation"), 1);
	(void)server_control_config(ONE);
	server_control_do("reload");
	load_process_ends_well(load, "while a name was looked up");
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}
END_TEST

/* The server stops in the middle of a lookup, and leaves no child behind; and a worker that dies
 * meanwhile is replaced at once. */
START_TEST(a_stop_does_not_wait_for_a_name)
{
	struct server *server;
	pid_t worker;

	if (nameservers_cannot("a stop does not wait for a name"))
		return;
	nameservers_silent();
	server = CONTROLLED("--workers", "1", "--config", server_control_config(ONE));
	(void)server_control_config("listen = line://far-away:0\n");
	ck_assert_int_eq(kill(server->pid, SIGHUP), 0);
	wait_asked();
	worker = server_wait_worker(server, 0, 0);
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	(void)server_wait_worker(server, 0, worker);
	(void)close(connect_to(server->ports[0]));
	ck_assert_int_gt(server_child(server, "weir-lookup"), 0);
	server_control_stop(server);
}
END_TEST

/* Imitates a directory of users on a network that is down: opening the file blocks. */
START_TEST(a_user_that_is_looked_up_holds_up_nobody)
{
	const char *config = "user = nobody\n" ONE;
	struct wait wait = wait_begin();
	struct server *server;
	pid_t asked;

	if (nameservers_cannot("a user that is looked up holds up nobody"))
		return;
	server = CONTROLLED("--workers", "1", "--config", server_control_config(config));
	ck_assert_int_eq(mkfifo(in_folder("passwd"), 0600), 0);
	ck_assert_int_eq(mount(in_folder("passwd"), "/etc/passwd", NULL, MS_BIND, NULL), 0);
	asked = server_control_ask_begin("reload");
	while (!server_child(server, "weir-lookup"))
		wait_more(&wait, "a child that looks it up");
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(server_control_status("generation"), 1);
		(void)close(connect_to(server->ports[0]));
	}
	ck_assert_int_eq(kill(server_child(server, "weir-lookup"), SIGKILL), 0);
	ck_assert_int_eq(server_control_ask_end(asked), 1);
	ck_assert_int_eq(umount("/etc/passwd"), 0);
	server_control_do("reload");
	ck_assert_int_eq(server_control_status("generation"), 2);
	server_control_wait_workers(server, 1);
	server_control_stop(server);
}
END_TEST

/* ---- at start ---- */

START_TEST(a_start_asks_again)
{
	struct server *server;

	if (nameservers_cannot("a start asks again"))
		return;
	server = server_launch((const char *const[]){"--control", in_folder("c"), "-w", "1",
						     "echo://late.test:0", NULL});
	server_wait_log(server, "a name can't be looked up now");
	nameservers_hosts("127.0.0.1 late.test\n");
	server_wait_log(server, "msg=ready");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A service manager restarts what ended with 1, but nothing that ended with 2. */
START_TEST(what_may_pass_ends_with_1)
{
	char output[4096];

	if (nameservers_cannot("what may pass ends with 1"))
		return;
	ck_assert_int_eq(RUN(output, "-t", "echo://late.test:0"), 1);
	ck_assert_msg(strstr(output, "late.test:0"), "%s", output);
	ck_assert_int_eq(RUN(output, "-t", "--metrics", "late.test:0"), 1);
	ck_assert_int_eq(RUN(output, "-t", "echo://one.test:99999"), 2);
	nameservers_write("nsswitch.conf", "hosts: files\n");
	ck_assert_int_eq(RUN(output, "-t", "echo://late.test:0"), 2);
	ck_assert_int_eq(RUN(output, "-t", "echo://one.test:0"), 0);
}
END_TEST

/* ---- all addresses of a name ---- */

#define BOTH "127.0.0.1 both.test\n::1 both.test\n"

/* Has each client say something, which all others have to hear. */
static void all_hear_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char line[32];

		(void)snprintf(line, sizeof line, "said by %zu\n", i);
		send_text(fds[i], line);
		for (size_t j = 0; j < n; j++)
			if (j != i)
				expect_text(fds[j], line);
	}
}

static void wait_members(const struct server *server, uint64_t n)
{
	struct wait wait = wait_begin();

	while (server_stat(server, "members_joined") - server_stat(server, "members_left") != n)
		wait_more(&wait, "members");
}

/* All addresses of one LISTENER are one chat room, over reloads and an upgrade, even if those of
 * the name change. */
START_TEST(a_room_has_all_addresses_of_its_name)
{
	static const char *const hosts[] = {
	    "::1 both.test\n127.0.0.1 both.test\n", /* in another order */
	    "127.0.0.1 both.test\n",
	    BOTH,
	};
	struct server *server;
	int fds[4];

	if (nameservers_cannot("a room has all addresses of its name"))
		return;
	nameservers_hosts(BOTH);
	server = CONTROLLED("--workers", "2", "--accept", _i ? "handoff" : "reuseport", "--config",
			    server_control_config("listen = chat://both.test:0\n"));
	ck_assert_uint_eq(server->ports_n, 2);
	ck_assert_uint_eq(server->ports[0], server->ports[1]);
	for (int i = 0; i < 4; i++)
		fds[i] = connect_to_host(i % 2 ? "[::1]" : "127.0.0.1", server->ports[0]);
	wait_members(server, 4);
	all_hear_all(fds, 4);
	nameservers_hosts(hosts[0]);
	server_control_do("reload");
	all_hear_all(fds, 4);
	server_control_do("upgrade");
	server_control_follow(server);
	all_hear_all(fds, 4);
	/* If one address goes its clients are drained, and the others stay. */
	nameservers_hosts(hosts[1]);
	server_control_do("reload");
	expect_end(fds[1]);
	expect_end(fds[3]);
	(void)close(fds[1]);
	(void)close(fds[3]);
	fds[1] = fds[2];
	all_hear_all(fds, 2);
	nameservers_hosts(hosts[2]);
	for (struct wait wait = wait_begin(); server_control_ask("reload");)
		wait_more(&wait, "a reload");
	fds[2] = connect_to_host("[::1]", server->ports[0]);
	wait_members(server, 3);
	all_hear_all(fds, 3);
	for (int i = 0; i < 3; i++)
		(void)close(fds[i]);
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}
END_TEST

/* As in a container: the hosts file has ::1, but the kernel has no IPv6. */
START_TEST(an_address_that_is_not_there_is_left_out)
{
	struct server *server;
	char *status;

	if (nameservers_cannot("an address that is not there is left out"))
		return;
	wire_run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
	nameservers_hosts("::1 both.test\n127.0.0.1 both.test\n");
	server = CONTROLLED("--workers", "1", "--metrics", "both.test:0", "--config",
			    server_control_config(
				"listen = echo://both.test:0\nlisten = echo+udp://both.test:0\n"));
	ck_assert_uint_eq(server->ports_n, 2);
	ck_assert_uint_eq(server_log_count(server, "an address of a name is left out"), 3);
	(void)close(connect_to(server->ports[0]));
	server_control_do("reload");
	ck_assert_int_eq(server_control_ask("status"), 0);
	status = strdup(server_control_answer());
	ck_assert_msg(strstr(status, "127.0.0.1") && !strstr(status, "[::1]"), "%s", status);
	free(status);
	server_control_stop(server);
}
END_TEST

static void metrics_answer(const char *host, unsigned port)
{
	char answer[1 << 16];
	int fd = connect_to_host(host, port);

	send_text(fd, "GET /healthz HTTP/1.0\r\n\r\n");
	answer[receive_to_end(fd, answer, sizeof answer - 1)] = '\0';
	ck_assert_msg(strncmp(answer, "HTTP/1.1 200", 12) == 0, "%s: %s", host, answer);
	(void)close(fd);
}

static bool metrics_are_refused(unsigned port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6,
				  .sin6_port = htons((uint16_t)port),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool refused = connect(fd, (struct sockaddr *)&at, sizeof at) < 0;

	(void)close(fd);
	return refused;
}

START_TEST(metrics_are_at_all_addresses_of_a_name)
{
	struct server *server;
	unsigned port;
	char *at;

	if (nameservers_cannot("metrics are at all addresses of a name"))
		return;
	nameservers_hosts(BOTH);
	server = CONTROLLED(
	    "--workers", "1", "--config",
	    server_control_config("metrics = both.test:0\nlisten = echo://127.0.0.1:0\n"));
	server_wait_log(server, "msg=metrics address=");
	at = strstr(server->log, "msg=metrics address=");
	port = (unsigned)strtoul(strstr(at, "]:") ? strstr(at, "]:") + 2 : "0", NULL, 10);
	ck_assert_uint_ne(port, 0);
	metrics_answer("127.0.0.1", port);
	metrics_answer("[::1]", port);
	server_control_do("reload");
	metrics_answer("[::1]", port);
	server_control_do("upgrade");
	server_control_follow(server);
	metrics_answer("127.0.0.1", port);
	metrics_answer("[::1]", port);
	nameservers_hosts("127.0.0.1 both.test\n");
	server_control_do("reload");
	metrics_answer("127.0.0.1", port);
	ck_assert(metrics_are_refused(port));
	nameservers_hosts(BOTH);
	server_control_do("reload");
	metrics_answer("[::1]", port);
	server_control_stop(server);
}
END_TEST

/* ---- weirload ---- */

/* The name has ::1 first, as in many hosts files, but nobody listens there. */
START_TEST(weirload_tries_all_addresses)
{
	char listener[64], output[512], command[256];
	struct server *server;
	FILE *talk;

	if (nameservers_cannot("weirload tries all addresses"))
		return;
	nameservers_hosts(
	    "::1 both.test\n127.0.0.1 both.test\n::1 nobody.test\n127.0.0.2 nobody.test\n");
	server = SERVER("-w", "1", "--control", in_folder("c"), "echo://127.0.0.1:0",
			"echo+udp://127.0.0.1:0");
	for (int i = 0; i < 2; i++) {
		(void)snprintf(listener, sizeof listener, "%s://both.test:%u",
			       i ? "echo+udp" : "echo", server->ports[i]);
		ck_assert_msg(LOAD("-d", "50ms", "--warmup", "0", listener) == 0, "%s",
			      load_said());
		(void)snprintf(command, sizeof command, "echo hello | %s --talk %s 2>&1",
			       built("weirload"), listener);
		talk = popen(command, "r");
		ck_assert_ptr_nonnull(talk);
		ck_assert_ptr_nonnull(fgets(output, sizeof output, talk));
		ck_assert_str_eq(output, "hello\n");
		ck_assert_int_eq(pclose(talk), 0);
	}
	(void)snprintf(listener, sizeof listener, "echo://nobody.test:%u", server->ports[0]);
	ck_assert_int_ne(LOAD("-d", "50ms", "--warmup", "0", listener), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("names", {"silent name servers hold up nobody", silent_name_servers_hold_up_nobody, 60},
      {"a stop does not wait for a name", a_stop_does_not_wait_for_a_name, 30},
      {"a user that is looked up holds up nobody", a_user_that_is_looked_up_holds_up_nobody, 30},
      {"a start asks again", a_start_asks_again, 30},
      {"what may pass ends with 1", what_may_pass_ends_with_1, 30},
      {"a room has all addresses of its name", a_room_has_all_addresses_of_its_name, 30, 2},
      {"an address that is not there is left out", an_address_that_is_not_there_is_left_out, 30},
      {"metrics are at all addresses of a name", metrics_are_at_all_addresses_of_a_name, 30},
      {"weirload tries all addresses", weirload_tries_all_addresses, 30})
