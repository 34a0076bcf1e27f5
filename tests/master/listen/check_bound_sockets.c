/*
 * Bound sockets and sets of them: what a new configuration keeps, adds and removes, and that no
 * waiting client is refused or reset by it. The test plays the master and all its workers. Moves of
 * connections are in check_reload, a second master is in check_manifest.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/master/listen/bound_sockets.h"

static struct config configs[2];
static struct listen_set sets[2];

static const char *file_listener(const char *protocol, const char *keys)
{
	static char texts[2][200];
	static int turn;
	char *text = texts[turn++ % 2];

	(void)snprintf(text, sizeof *texts, "%s://%s%s", protocol, in_folder("point.sock"), keys);
	return text;
}

static unsigned mode_of_file(void)
{
	struct stat status;

	ck_assert_int_eq(stat(in_folder("point.sock"), &status), 0);
	return status.st_mode & 0777;
}

/* ---- kept, added, removed ---- */

START_TEST(kept_added_and_removed)
{
	unsigned ports[2];
	int kept_fds[3], held;
	uint32_t number;

	CONFIGURE(&configs[0], 3, "echo://127.0.0.1:0", file_listener("line", ""),
		  "discard+udp://127.0.0.1:0", "increment://127.0.0.1:0?accept=shared");
	serve_set(&sets[0], &configs[0]);
	ports[0] = port_of(&configs[0], 0);
	ports[1] = port_of(&configs[0], 3);
	memcpy(kept_fds, sets[0].bound_sockets[0]->fds, sizeof kept_fds);
	number = sets[0].numbers[0];
	held = connect_to(ports[0]);

	CONFIGURE(&configs[1], 3, "frame://127.0.0.1:0", at_port("echo", ports[0], ""),
		  "discard+udp://127.0.0.1:0?rate=7");
	open_set(&sets[1], &configs[1], &sets[0]);
	ck_assert_ptr_eq(sets[1].bound_sockets[1], sets[0].bound_sockets[0]);
	ck_assert_ptr_eq(sets[1].bound_sockets[2], sets[0].bound_sockets[2]);
	ck_assert_uint_eq(port_of(&configs[1], 2),
			  port_of(&configs[0], 2)); /* port 0 again, so it keeps its port */
	ck_assert_int_eq(memcmp(kept_fds, sets[1].bound_sockets[1]->fds, sizeof kept_fds), 0);
	ck_assert_uint_eq(sets[1].numbers[1], number);
	ck_assert_uint_eq(sets[1].numbers[0], 4); /* the lowest unused number */
	ck_assert_ptr_nonnull(sets[1].ledgers[2].limiter);
	ck_assert_ptr_null(sets[0].ledgers[2].limiter);
	ck_assert_ptr_eq(sets[1].ledgers[2].dropped, sets[0].ledgers[2].dropped);
	ck_assert(listen_has(&sets[1], number) && !listen_has(&sets[1], sets[0].numbers[1]));
	listen_serve(&sets[1]);
	ck_assert(exists(in_folder("point.sock")));
	(void)close(connect_unix(in_folder("point.sock")));
	listen_drop(&sets[0]);
	ck_assert(!exists(in_folder("point.sock")));
	ck_assert_int_eq(try_connect(ports[1]), -ECONNREFUSED);
	(void)close(connect_to(port_of(&configs[1], 0)));
	ck_assert_uint_eq(serve_all(sets[1].bound_sockets[1]), 1);
	expect_served(held);
	listen_drop(&sets[1]);
	ck_assert_int_eq(try_connect(ports[0]), -ECONNREFUSED);
}
END_TEST

/* Topics and moves use a listener's number, so with another protocol it gets another number. */
START_TEST(another_protocol_is_another_number)
{
	uint32_t old;

	CONFIGURE(&configs[0], 2, "chat://127.0.0.1:0", "line://127.0.0.1:0");
	serve_set(&sets[0], &configs[0]);
	old = sets[0].numbers[0];
	CONFIGURE(&configs[1], 2, at_port("echo", port_of(&configs[0], 0), ""),
		  "chat://127.0.0.1:0");
	open_set(&sets[1], &configs[1], &sets[0]);
	ck_assert_ptr_eq(sets[1].bound_sockets[0], sets[0].bound_sockets[0]);
	ck_assert_uint_ne(sets[1].numbers[0], old);
	ck_assert_uint_ne(sets[1].numbers[1],
			  old); /* another chat listener is another topic, too */
	ck_assert(!listen_has(&sets[1], old));
	ck_assert_ptr_ne(sets[1].bound_sockets[1], sets[0].bound_sockets[1]);
	for (size_t slot = 0; slot < 2; slot++) /* no old worker may stop that socket */
		ck_assert(listen_keeps(&sets[1], &sets[0], 0, slot));
	ck_assert(!listen_keeps(&sets[1], &sets[0], 1, 0));
	listen_drop(&sets[0]);
	CONFIGURE(&configs[0], 2, at_port("echo", port_of(&configs[1], 0), ""),
		  "increment://127.0.0.1:0");
	open_set(&sets[0], &configs[0], &sets[1]);
	ck_assert_uint_eq(sets[0].numbers[0], sets[1].numbers[0]);
	ck_assert_uint_eq(sets[0].numbers[1], old); /* which is unused again */
	listen_drop(&sets[1]);
	listen_drop(&sets[0]);
}
END_TEST

START_TEST(any_port_is_told_apart_by_protocol)
{
	CONFIGURE(&configs[0], 1, "echo://127.0.0.1:0", "line://127.0.0.1:0", "line://127.0.0.1:0",
		  "echo+udp://127.0.0.1:0");
	serve_set(&sets[0], &configs[0]);
	CONFIGURE(&configs[1], 1, "line://127.0.0.1:0", "discard://127.0.0.1:0",
		  "line://127.0.0.1:0");
	open_set(&sets[1], &configs[1], &sets[0]);
	ck_assert_ptr_eq(sets[1].bound_sockets[0], sets[0].bound_sockets[1]);
	ck_assert_ptr_eq(sets[1].bound_sockets[2], sets[0].bound_sockets[2]);
	for (size_t i = 0; i < 4; i++)
		ck_assert_ptr_ne(sets[1].bound_sockets[1], sets[0].bound_sockets[i]);
	listen_drop(&sets[0]);
	listen_drop(&sets[1]);
}
END_TEST

/* 127.0.0.1 and the wildcard address can both be bound, but only by the same server. */
START_TEST(wider_and_narrower_address)
{
	char listener[64];
	unsigned port;
	int fd;

	CONFIGURE(&configs[0], 2, "echo://127.0.0.1:0", "echo+udp://127.0.0.1:0");
	serve_set(&sets[0], &configs[0]);
	port = port_of(&configs[0], 0);
	(void)snprintf(listener, sizeof listener, "echo://:%u", port);
	CONFIGURE(&configs[1], 2, listener, "echo+udp://0.0.0.0:0");
	open_set(&sets[1], &configs[1], &sets[0]);
	listen_serve(&sets[1]);
	listen_drop(&sets[0]);
	fd = connect_to(port);
	ck_assert_uint_eq(serve_all(sets[1].bound_sockets[0]), 1);
	expect_served(fd);
	CONFIGURE(&configs[0], 2, at_port("echo", port, ""));
	open_set(&sets[0], &configs[0], &sets[1]);
	listen_drop(&sets[1]);
	fd = connect_to(port);
	ck_assert_uint_eq(serve_all(sets[0].bound_sockets[0]), 1);
	expect_served(fd);
	listen_drop(&sets[0]);
}
END_TEST

/* ---- a set that can't be opened ---- */

START_TEST(failure_leaves_all_as_it_was)
{
	char error[CONFIG_ERROR_BYTES], before[1 << 14], after[1 << 14];
	unsigned port, other_port;
	int fds[100];
	const char *listener;

	(void)bind_any(SOCK_STREAM, &other_port);
	CONFIGURE(&configs[0], 2, "echo://127.0.0.1:0", file_listener("line", "?mode=0600"),
		  "echo+udp://127.0.0.1:0?rate=3");
	serve_set(&sets[0], &configs[0]);
	port = port_of(&configs[0], 0);
	process_descriptors(getpid(), before, sizeof before);

	listener = at_port("increment", other_port, "");
	CONFIGURE(&configs[1], 5, at_port("echo", port, ""), file_listener("line", "?mode=0666"),
		  "frame://127.0.0.1:0", "echo+udp://127.0.0.1:0?rate=5", listener);
	ck_assert(!listen_open(&sets[1], &configs[1], &sets[0], error));
	ck_assert_msg(strstr(error, listener) && strstr(error, "listening on ") == error &&
			  strstr(error, "bind: Address already in use"),
		      "%s", error);
	ck_assert_uint_eq(mode_of_file(), 0600);
	ck_assert_uint_eq(sets[0].bound_sockets[0]->fds_n, 2);
	for (int i = 0; i < 100; i++)
		fds[i] = connect_to(port);
	ck_assert_uint_eq(serve_waiting(sets[0].bound_sockets[0]->fds[0]) +
			      serve_waiting(sets[0].bound_sockets[0]->fds[1]),
			  100);
	for (int i = 0; i < 100; i++)
		expect_served(fds[i]);
	process_descriptors(getpid(), after, sizeof after);
	ck_assert_str_eq(before, after);
	listen_drop(&sets[1]); /* harmless for a set that was not opened */
	listen_drop(&sets[0]);
	ck_assert(!exists(in_folder("point.sock")));
}
END_TEST

/* ---- more and fewer sockets ---- */

static size_t waiting_beyond(const struct bound_socket *bound, size_t n)
{
	size_t waiting = 0;

	for (size_t i = n; i < bound->fds_n; i++)
		waiting += somebody_waits(bound->fds[i]);
	return waiting;
}

/* New sockets get no clients before their workers are there. */
START_TEST(new_sockets_get_nobody_before_they_serve)
{
	struct bound_socket *bound;
	int fds[200];

	CONFIGURE(&configs[0], 1, "echo://127.0.0.1:0");
	serve_set(&sets[0], &configs[0]);
	bound = sets[0].bound_sockets[0];
	CONFIGURE(&configs[1], 8, "echo://127.0.0.1:0");
	open_set(&sets[1], &configs[1], &sets[0]);
	ck_assert_uint_eq(bound->fds_n, 8);
	for (int i = 0; i < 200; i++)
		fds[i] = connect_to(port_of(&configs[0], 0));
	ck_assert_uint_eq(waiting_beyond(bound, 1), 0);
	listen_drop(&sets[1]); /* as if the new workers did not come up */
	ck_assert_uint_eq(bound->fds_n, 1);
	ck_assert_uint_eq(serve_all(bound), 200);
	for (int i = 0; i < 200; i++)
		expect_served(fds[i]);
	open_set(&sets[1], &configs[1], &sets[0]);
	listen_serve(&sets[1]);
	listen_drop(&sets[0]);
	for (int i = 0; i < 200; i++)
		fds[i] = connect_to(port_of(&configs[0], 0));
	ck_assert_uint_eq(waiting_beyond(bound, 0),
			  8); /* wrong with a probability of 8 * (7/8)^200 */
	ck_assert_uint_eq(serve_all(bound), 200);
	for (int i = 0; i < 200; i++)
		expect_served(fds[i]);
	listen_drop(&sets[1]);
}
END_TEST

static int stray_fds[1000];
static size_t strays;
static uint32_t stray_number;

static void take_stray(uint32_t number, int fd)
{
	stray_number = number;
	stray_fds[strays++] = fd;
}

static void serve_strays(void)
{
	for (size_t i = 0; i < strays; i++) {
		ck_assert_int_eq(send(stray_fds[i], "x", 1, MSG_NOSIGNAL), 1);
		(void)close(stray_fds[i]);
	}
}

/* From one accept mode to another, with more or fewer workers: waiting clients are served. */
static void changes_mode(const char *from, size_t before, const char *to, size_t after)
{
	struct bound_socket *bound;
	int fds[120];
	size_t served;
	char keys[32];

	(void)snprintf(keys, sizeof keys, "?accept=%s", from);
	CONFIGURE(&configs[0], before, at_port("echo", 0, keys));
	serve_set(&sets[0], &configs[0]);
	bound = sets[0].bound_sockets[0];
	for (int i = 0; i < 40; i++)
		fds[i] = connect_to(port_of(&configs[0], 0));
	(void)snprintf(keys, sizeof keys, "?accept=%s", to);
	CONFIGURE(&configs[1], after, at_port("echo", 0, keys));
	open_set(&sets[1], &configs[1], &sets[0]);
	ck_assert_ptr_eq(bound, sets[1].bound_sockets[0]);
	for (int i = 40; i < 80; i++)
		fds[i] = connect_to(port_of(&configs[0], 0));
	listen_serve(&sets[1]);
	for (int i = 80; i < 120; i++)
		fds[i] = connect_to(port_of(&configs[0], 0));
	strays = 0;
	listen_take(&sets[0], 0, take_stray);
	ck_assert(!strays || stray_number == sets[1].numbers[0]);
	listen_drop(&sets[0]);
	listen_tidy(&sets[1], true, take_stray);
	ck_assert_uint_eq(bound->fds_n, strcmp(to, "reuseport") == 0 ? after : 1);
	served = strays + serve_all(bound);
	serve_strays();
	ck_assert_msg(served == 120, "%s to %s: %zu of 120", from, to, served);
	for (int i = 0; i < 120; i++)
		expect_served(fds[i]);
	listen_drop(&sets[1]);
}

START_TEST(modes_change_with_peers_waiting)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};

	for (size_t i = 0; i < 9; i++) {
		changes_mode(modes[i / 3], 4, modes[i % 3], 4);
		changes_mode(modes[i / 3], 5, modes[i % 3], 2);
		changes_mode(modes[i / 3], 2, modes[i % 3], 5);
	}
}
END_TEST

/* ---- slots come and go under load ---- */

/* A process that makes n clients, each of which must get its byte and the FIN. */
static _Noreturn void clients(unsigned port, int n, int progress)
{
	for (int i = 0; i < n; i++) {
		int fd = try_connect(port);
		char bytes[2];

		if (fd < 0)
			_exit(1);
		if (recv(fd, bytes, 2, MSG_WAITALL) != 1)
			_exit(2);
		(void)close(fd);
		if (write(progress, "x", 1) != 1)
			_exit(3);
	}
	_exit(0);
}

static size_t serve_slots(size_t n)
{
	size_t served = 0;

	for (size_t i = 0; i < n && i < sets[0].bound_sockets[0]->fds_n; i++)
		served += serve_waiting(sets[0].bound_sockets[0]->fds[i]);
	return served;
}

static size_t served_strays(void)
{
	size_t n = strays;

	serve_strays();
	strays = 0;
	return n;
}

/* Adds four workers and removes them again. A client whose handshake began before new clients were
 * steered away may complete it at any later time. */
static size_t more_and_fewer(bool grace)
{
	char error[CONFIG_ERROR_BYTES];
	size_t served;

	ck_assert_msg(listen_add_slots(&sets[0], 6, error), "%s", error);
	ck_assert_uint_eq(sets[0].bound_sockets[0]->fds_n, 6);
	served = serve_slots(2);
	listen_serve(&sets[0]);
	served += serve_slots(6);
	listen_steer_away(&sets[0], 2);
	served += serve_slots(6);
	listen_take(&sets[0], 2, take_stray);
	listen_close_slots(&sets[0], 2);
	served += serve_slots(2) + served_strays();
	for (uint64_t until_ms = now_ms() + 100; grace && now_ms() < until_ms;) {
		listen_tidy(&sets[0], false, take_stray);
		served += serve_slots(2) + served_strays();
	}
	listen_tidy(&sets[0], grace, take_stray);
	ck_assert_uint_eq(sets[0].bound_sockets[0]->fds_n, grace ? 2 : 6);
	ck_assert_uint_eq(sets[0].bound_sockets[1]->fds_n, grace ? 2 : 6);
	return served + serve_slots(2) + served_strays();
}

static void slots_come_and_go(int n)
{
	int rounds = 0, status, ends[2];
	size_t served = 0, before, wanted = 4 * (size_t)n;
	struct wait wait = wait_begin();
	pid_t pids[4];

	CONFIGURE(&configs[0], 2, "echo://127.0.0.1:0", "echo+udp://127.0.0.1:0");
	serve_set(&sets[0], &configs[0]);
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	for (int i = 0; i < 4; i++)
		if ((pids[i] = fork()) == 0)
			clients(port_of(&configs[0], 0), n, ends[1]);
	for (; served < wanted; rounds++) {
		before = served;
		served += more_and_fewer(rounds % 20 == 19);
		if (served == before)
			wait_more(&wait, "clients to come");
	}
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a client was %s",
			      WEXITSTATUS(status) == 1 ? "refused" : "reset");
	}
	ck_assert_uint_eq(served, wanted);
	ck_assert_int_gt(rounds, 10);
	(void)printf("FIGURE rounds of more and fewer slots under %zu connects: %d\n", wanted,
		     rounds);
	(void)fflush(stdout);
	listen_drop(&sets[0]);
}

START_TEST(slots_come_and_go_under_load)
{
	slots_come_and_go((int)suite_volume(800));
}
END_TEST

START_TEST(slots_come_and_go_under_ten_thousand)
{
	slots_come_and_go((int)suite_volume(2500));
}
END_TEST

/* ---- settings ---- */

static unsigned backlog_of(int fd)
{
	struct tcp_info info;
	socklen_t n = sizeof info;

	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n), 0);
	return info.tcpi_sacked;
}

static int queue_of(int fd)
{
	int bytes;
	socklen_t n = sizeof bytes;

	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &n), 0);
	return bytes;
}

START_TEST(settings_change_when_it_serves)
{
	int queue, fd;

	(void)umask(022);
	CONFIGURE(&configs[0], 2, "echo://127.0.0.1:0", "echo+udp://127.0.0.1:0",
		  file_listener("echo", ""));
	configs[0].backlog = 100;
	serve_set(&sets[0], &configs[0]);
	queue = queue_of(sets[0].bound_sockets[1]->fds[1]);
	fd = connect_to(port_of(&configs[0], 0));
	CONFIGURE(&configs[1], 2, "echo://127.0.0.1:0", "echo+udp://127.0.0.1:0?queue=32K",
		  file_listener("echo", "?mode=0600"));
	configs[1].backlog = 50;
	open_set(&sets[1], &configs[1], &sets[0]);
	ck_assert_uint_eq(backlog_of(sets[0].bound_sockets[0]->fds[1]), 100);
	ck_assert_int_eq(queue_of(sets[0].bound_sockets[1]->fds[1]), queue);
	ck_assert_uint_eq(mode_of_file(), 0755);
	listen_serve(&sets[1]);
	for (size_t i = 0; i < 2; i++) {
		ck_assert_uint_eq(backlog_of(sets[0].bound_sockets[0]->fds[i]), 50);
		ck_assert_int_eq(queue_of(sets[0].bound_sockets[1]->fds[i]), 2 * 32768);
	}
	ck_assert_uint_eq(mode_of_file(), 0600);
	listen_serve(&sets[0]); /* back to the old settings */
	ck_assert_uint_eq(backlog_of(sets[0].bound_sockets[0]->fds[1]), 100);
	ck_assert_int_eq(queue_of(sets[0].bound_sockets[1]->fds[1]), queue);
	ck_assert_uint_eq(mode_of_file(), 0755);
	ck_assert_uint_eq(serve_all(sets[0].bound_sockets[0]), 1);
	expect_served(fd);
	listen_drop(&sets[1]);
	listen_drop(&sets[0]);
}
END_TEST

/* The rate changes, but what a client has used stays used: a reload gives it no new answers. */
START_TEST(rate_changes_and_the_account_stays)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	const struct sockaddr *from = (const struct sockaddr *)&peer;
	struct limiter *old, *new;
	uint64_t now;
	unsigned taken = 0;

	CONFIGURE(&configs[0], 2, "echo+udp://127.0.0.1:0?rate=10");
	serve_set(&sets[0], &configs[0]);
	old = sets[0].ledgers[0].limiter;
	now = old->begun_us + 1000;
	while (limiter_take(old, from, now))
		taken++;
	ck_assert_uint_eq(taken, 10);
	CONFIGURE(&configs[1], 2, "echo+udp://127.0.0.1:0?rate=100");
	open_set(&sets[1], &configs[1], &sets[0]);
	new = sets[1].ledgers[0].limiter;
	ck_assert(!limiter_take(new, from, now));
	ck_assert(!limiter_take(old, from, now));
	for (taken = 0; limiter_take(new, from, now + 500000); taken++)
		;
	ck_assert_uint_eq(taken, 50);
	ck_assert(!limiter_take(old, from, now + 500000));
	listen_drop(&sets[0]);
	ck_assert(limiter_take(new, from, now + 1000000));
	listen_drop(&sets[1]);
}
END_TEST

/* ---- again and again ---- */

static size_t maps(void)
{
	char line[512];
	FILE *file = fopen("/proc/self/maps", "re");
	size_t n = 0;

	while (fgets(line, sizeof line, file))
		n++;
	(void)fclose(file);
	return n;
}

START_TEST(two_hundred_reloads_leak_nothing)
{
	static const char *const first[] = {"echo://127.0.0.1:0",
					    "chat://127.0.0.1:0?accept=shared",
					    "echo+udp://127.0.0.1:0?rate=9", NULL};
	char error[CONFIG_ERROR_BYTES];
	size_t descriptors = 0, mapped = 0;

	configure(&configs[0], 2, first);
	serve_set(&sets[0], &configs[0]);
	for (int i = 1; i <= 200; i++) {
		struct listen_set *old = &sets[(i - 1) % 2], *new = &sets[i % 2];
		struct config *config = &configs[i % 2];

		configure(config, (size_t)(1 + i % 4), first);
		if (i % 2)
			ck_assert(config_listen(config, file_listener("line", ""), error));
		if (i % 3)
			ck_assert(config_listen(config, "discard+udp://127.0.0.1:0?rate=1", error));
		if (i % 5 == 0)
			config->listeners[1].accept = i % 10 ? ACCEPT_HANDOFF : ACCEPT_REUSEPORT;
		open_set(new, config, old);
		if (i % 7 == 0) { /* as if its workers did not come up at first */
			listen_drop(new);
			listen_serve(old);
			configure(config, 1, first);
			open_set(new, config, old);
		}
		listen_serve(new);
		listen_take(old, 0, NULL);
		listen_drop(old);
		listen_tidy(new, true, NULL);
		for (size_t l = 0; l < new->bound_sockets_n; l++)
			ck_assert_uint_lt(new->numbers[l], 10);
		if (i == 60) {
			descriptors = process_descriptors_n(getpid());
			mapped = maps();
		}
		if (i > 60 && i % 60 == 0) {
			ck_assert_uint_eq(process_descriptors_n(getpid()), descriptors);
			if (!suite_sanitized()) /* a sanitizer makes maps of its own */
				ck_assert_uint_eq(maps(), mapped);
		}
	}
	listen_drop(&sets[0]);
}
END_TEST

SUITE("bound_sockets", {"bound sockets are kept, added and removed", kept_added_and_removed, 20},
      {"another protocol is another number", another_protocol_is_another_number, 20},
      {"port 0 twice is told apart by protocol", any_port_is_told_apart_by_protocol, 20},
      {"an address becomes wider, and narrower", wider_and_narrower_address, 20},
      {"a failure leaves all as it was", failure_leaves_all_as_it_was, 20},
      {"new sockets get nobody before they serve", new_sockets_get_nobody_before_they_serve, 20},
      {"modes change with peers waiting", modes_change_with_peers_waiting, 30},
      {"slots come and go under load", slots_come_and_go_under_load, 60},
      {"settings change when it serves", settings_change_when_it_serves, 20},
      {"a rate changes, and the account stays", rate_changes_and_the_account_stays, 20},
      {"200 reloads leak nothing", two_hundred_reloads_leak_nothing, 30},
      {"slots come and go under ten thousand", slots_come_and_go_under_ten_thousand, 60,
       .kind = SUITE_LONG})
