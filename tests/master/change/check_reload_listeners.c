/*
 * Reloads that change listeners, their protocols, and limits. What this shows: new listeners
 * answer; at a removed one, waiting clients are served and connected ones get what they are owed;
 * one that stays keeps its sockets; and the new configuration's options are used for new
 * connections and for those that moved.
 */
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/support/clients/load_process.h"
#include "tests/support/server_control.h"

#define INODES_MAX 64
#define LISTENS	   10 /* the state of a listening socket in the kernel's table */

/* ---- listening sockets in the kernel's table ---- */

struct sockets {
	unsigned long inodes[INODES_MAX];
	size_t n;
};

static int by_number(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

/* Reads the first part of the kernel's table, which has the listening sockets. The rest is long if
 * many connections have ended. */
static struct sockets sockets_of(unsigned port)
{
	struct sockets sockets = {.n = 0};
	FILE *file = fopen("/proc/net/tcp", "re");
	char line[512];

	ck_assert_ptr_nonnull(file);
	(void)!fgets(line, sizeof line, file); /* the headings */
	while (fgets(line, sizeof line, file)) {
		unsigned local, state;
		unsigned long inode;

		ck_assert_int_eq(sscanf(line,
					" %*d: %*x:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %*u %*d %lu",
					&local, &state, &inode),
				 3);
		if (state != LISTENS)
			break;
		if (local == port && sockets.n < INODES_MAX)
			sockets.inodes[sockets.n++] = inode;
	}
	(void)fclose(file);
	qsort(sockets.inodes, sockets.n, sizeof *sockets.inodes, by_number);
	return sockets;
}

/* Reads the table until it shows two sockets at this port: a line may be missing or come twice if
 * other programs' sockets come and go meanwhile. Called once in a test, because the table is long
 * if many connections have ended. */
static struct sockets two_sockets_of(unsigned port)
{
	struct wait wait = wait_begin();
	struct sockets sockets;

	while ((sockets = sockets_of(port)).n != 2)
		wait_more(&wait, "two listening sockets");
	return sockets;
}

static void same_sockets(const struct sockets *before, unsigned port)
{
	struct sockets now = two_sockets_of(port);

	ck_assert_mem_eq(now.inodes, before->inodes, now.n * sizeof *now.inodes);
}

static void still_held(const struct sockets *sockets, const struct server *server)
{
	char folder[64], path[350], target[64];
	struct dirent *entry;
	size_t held = 0;
	DIR *dir;

	(void)snprintf(folder, sizeof folder, "/proc/%d/fd", (int)server->pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		unsigned long inode;
		ssize_t n;

		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		n = readlink(path, target, sizeof target - 1);
		target[n > 0 ? n : 0] = '\0';
		if (sscanf(target, "socket:[%lu]", &inode) == 1)
			held += bsearch(&inode, sockets->inodes, sockets->n, sizeof inode,
					by_number) != NULL;
	}
	(void)closedir(dir);
	ck_assert_uint_eq(held, sockets->n);
}

/* ---- listeners before and after a change ---- */

static struct server *start(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void reload(const char *format, ...) __attribute__((format(printf, 1, 2)));

static struct server *start(const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	return CONTROLLED("--config", server_control_config(text));
}

static void reload(const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	(void)server_control_config(text);
	server_control_do("reload");
}

static void talks(int fd, const char *say, const char *answer)
{
	send_text(fd, say);
	expect_text(fd, answer);
}

static void talks_once(int fd, const char *say, const char *answer)
{
	talks(fd, say, answer);
	(void)close(fd);
}

/* ---- added, kept, removed ---- */

static void added_ones_answer(unsigned times)
{
	struct server *server = start("workers = 2\nlisten = echo://127.0.0.1:0\n");
	unsigned port = server->ports[0];
	struct sockets before = two_sockets_of(port);
	struct load_process *load = load_process_start(&(struct load_plan){
	    server_control_address(server, 0), .talkers = 20, .comers = 4, .pause_ms = 1});
	char path[128];

	(void)snprintf(path, sizeof path, "%s", in_folder("added.sock"));
	while (times--) {
		reload("workers = 2\nlisten = line://127.0.0.1:0\nlisten = echo://127.0.0.1:%u\n"
		       "listen = echo+udp://127.0.0.1:0\nlisten = increment://%s\n",
		       port, path);
		talks_once(connect_to(server_control_port(0)), "a line\n", "a line\n");
		talks_once(connect_unix(path), "^x$", "*y");
		still_held(&before, server);
		reload("workers = 2\nlisten = echo://127.0.0.1:%u\n", port);
		server_control_wait_workers(server, 2); /* a draining worker has it until then */
		ck_assert(!exists(path));
		still_held(&before, server);
		load_process_wait(load, 20, 5);
	}
	same_sockets(&before, port);
	load_process_ends_well(load, "at a listener that stays, while others come and go");
	server_control_stop(server);
}

START_TEST(added_ones_answer_and_kept_ones_stay)
{
	added_ones_answer(2);
}
END_TEST

START_TEST(ten_times_added_ones_answer)
{
	added_ones_answer(10);
}
END_TEST

/* They connect and send while all workers are stopped, so that they stay in the queue. */
START_TEST(who_waits_at_a_removed_one_is_served)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};
	struct server *server = start("workers = 2\naccept = %s\nlisten = echo://127.0.0.1:0\n"
				      "listen = increment://127.0.0.1:0\n",
				      modes[_i]);
	unsigned kept = server->ports[0], removed = server->ports[1];
	pid_t workers[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	struct wait wait = wait_begin();
	int fds[100];
	pid_t asked;

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(kill(workers[i], SIGSTOP), 0);
	for (size_t i = 0; i < 100; i++) {
		fds[i] = connect_to(removed);
		if (i % 2)
			send_text(fds[i], "^abc$");
	}
	(void)server_control_config("workers = 2\nlisten = echo://127.0.0.1:0\n");
	asked = server_control_ask_begin("reload");
	while (server_control_status("generation") != 2)
		wait_more(&wait, "the next generation");
	talks(connect_to(kept), "at once", "at once");
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(kill(workers[i], SIGCONT), 0);
	for (size_t i = 0; i < 100; i++) {
		char bytes[8] = "";
		size_t n = receive_to_end(fds[i], bytes, sizeof bytes);

		ck_assert_msg(n == (i % 2 ? 4 : 1) && strncmp(bytes, "*bcd", n) == 0,
			      "%s: client %zu got %zu bytes", modes[_i], i, n);
		(void)close(fds[i]);
	}
	ck_assert_int_eq(server_control_ask_end(asked), 0);
	server_control_wait_workers(server, 2);
	ck_assert_int_eq(try_connect(removed), -ECONNREFUSED);
	(void)printf("FIGURE waited at a removed listener, %s: 100, all served\n", modes[_i]);
	(void)fflush(stdout);
	server_control_stop(server);
}
END_TEST

/* It gets what it is owed, and then FIN. No new client is accepted meanwhile. */
START_TEST(who_is_connected_to_a_removed_one_gets_what_it_is_owed)
{
	static unsigned char sent[512 << 10], came[512 << 10];
	struct server *server =
	    start("workers = 2\nhigh-water = 4M\nwrite-timeout = 0\nlisten = echo://127.0.0.1:0\n"
		  "listen = echo://127.0.0.1:0\n");
	unsigned removed = server->ports[1];
	int fds[8];

	fill_random(sent, sizeof sent, 11);
	for (size_t i = 0; i < 8; i++) {
		fds[i] = connect_narrow(removed);
		send_all(fds[i], sent, sizeof sent);
	}
	server_wait_stat_is(server, "received_bytes", 8 * sizeof sent);
	(void)printf("FIGURE owed at a removed listener: %llu bytes\n",
		     (unsigned long long)(8 * sizeof sent - server_stat(server, "sent_bytes")));
	(void)fflush(stdout);
	ck_assert_uint_lt(server_stat(server, "sent_bytes"), 8 * sizeof sent);
	reload("workers = 2\nhigh-water = 4M\nwrite-timeout = 0\nlisten = echo://127.0.0.1:%u\n",
	       server->ports[0]);
	ck_assert_int_eq(try_connect(removed), -ECONNREFUSED);
	for (size_t i = 0; i < 8; i++) {
		ck_assert_uint_eq(receive_to_end(fds[i], came, sizeof came), sizeof sent);
		ck_assert_mem_eq(came, sent, sizeof sent);
		(void)close(fds[i]);
	}
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}
END_TEST

/* A listener's protocol changes: old connections end, and new ones are never refused. */
static void another_protocol(unsigned times)
{
	struct server *server = start("workers = 2\nlisten = increment://127.0.0.1:0\n");
	unsigned port = server->ports[0];
	struct sockets before = two_sockets_of(port);

	while (times--) {
		int fd = connect_to(port), next;

		expect_text(fd, "*");
		talks(fd, "^ab", "bc");
		reload("workers = 2\nlisten = echo://127.0.0.1:%u\n", port);
		next = connect_to(port);
		talks(next, "^ab", "^ab");
		expect_end(fd);
		(void)close(fd); /* else its worker would not end, and the next reload wait */
		still_held(&before, server);
		reload("workers = 2\nlisten = increment://127.0.0.1:%u\n", port);
		expect_end(next);
		(void)close(next);
	}
	same_sockets(&before, port);
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}

START_TEST(another_protocol_at_the_same_address)
{
	another_protocol(4);
}
END_TEST

START_TEST(twenty_times_another_protocol)
{
	another_protocol(20);
}
END_TEST

/* ---- reloads that can't be made ---- */

START_TEST(a_port_that_is_taken_changes_nothing)
{
	struct server *server = start("workers = 2\nlisten = echo://127.0.0.1:0\n");
	unsigned port = server->ports[0], other;
	struct sockets before = two_sockets_of(port);
	int taken = bind_own(SOCK_STREAM, &other), fd = connect_to(port);
	struct load_process *load = load_process_start(
	    &(struct load_plan){server_control_address(server, 0), .talkers = 20, .comers = 8});
	static char was[65536], is[65536];
	char text[256], wanted[64];

	(void)snprintf(wanted, sizeof wanted, "127.0.0.1:%u", other);
	(void)snprintf(text, sizeof text,
		       "workers = 4\naccept = shared\nlisten = line://127.0.0.1:0\n"
		       "listen = echo://%s\nlisten = increment://127.0.0.1:%u\n",
		       wanted, port);
	(void)server_control_config(text);
	process_descriptors(server->pid, was, sizeof was);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(server_control_ask("reload"), 1);
		ck_assert_msg(strstr(server_control_answer(), wanted) != NULL, "%s",
			      server_control_answer());
		ck_assert_msg(strstr(server_control_answer(), "in use") != NULL, "%s",
			      server_control_answer());
		still_held(&before, server);
		load_process_wait(load, 20, 5);
	}
	server_wait_log(server, wanted);
	ck_assert_int_eq(server_control_status("generation"), 1);
	ck_assert(server_control_status_is("accept", "reuseport"));
	talks(fd, "still echo", "still echo");
	process_descriptors(server->pid, is, sizeof is);
	ck_assert_str_eq(was, is);
	same_sockets(&before, port);
	load_process_ends_well(load, "reloads that failed for a port that is taken");
	(void)close(taken);
	server_control_do("reload");
	server_control_wait_workers(server, 4);
	server_control_stop(server);
}
END_TEST

/* ---- options ---- */

START_TEST(idle_timeout_is_the_new_one)
{
	struct server *server = start("workers = 2\nlisten = echo://127.0.0.1:0\n");
	int moved = connect_to(server->ports[0]), came;
	uint64_t begin;

	talks(moved, "x", "x");
	begin = now_ms();
	reload("workers = 2\nidle-timeout = 300ms\nlisten = echo://127.0.0.1:0\n");
	came = connect_to(server->ports[0]);
	expect_end(moved);
	expect_end(came);
	ck_assert_uint_ge(now_ms() - begin, 270);
	ck_assert_uint_eq(server_stat(server, "closed_idle_timeout"), 2);
	reload("workers = 2\nlisten = echo://127.0.0.1:0\n");
	came = connect_to(server->ports[0]);
	talks(came, "x", "x");
	server_control_stop(server);
}
END_TEST

/* After the reload, one byte more makes the line too long. */
START_TEST(max_line_is_the_new_one)
{
	static char line[5001];
	struct server *server = start("workers = 2\nlisten = line://127.0.0.1:0\n");
	int moved = connect_to(server->ports[0]), within = connect_to(server->ports[0]), came;

	memset(line, 'a', sizeof line - 1);
	send_text(moved, line);
	send_text(within, "short");
	server_wait_stat_is(server, "received_bytes", 5005);
	reload("workers = 2\nmax-line = 1000\nlisten = line://127.0.0.1:0\n");
	talks(within, " line\n", "short line\n");
	(void)send(moved, "b\n", 2, MSG_NOSIGNAL);
	expect_reset_or_end(moved);
	(void)close(moved);
	came = connect_to(server->ports[0]);
	send_text(came, line);
	expect_reset_or_end(came);
	(void)close(came);
	server_wait_stat_is(server, "closed_line_too_long", 2);
	reload("workers = 2\nmax-line = 64K\nlisten = line://127.0.0.1:0\n");
	send_text(within, line);
	send_text(within, "\n");
	expect_bytes(within, line, sizeof line - 1);
	server_control_stop(server);
}
END_TEST

/* How much is owed. During a worker's turn this may be more than before and after it. */
static uint64_t owed_now(const struct server *server)
{
	uint64_t sent = server_stat(server, "sent_bytes");

	return server_stat(server, "received_bytes") - sent;
}

/* More is owed than the new high-water allows: all of it is sent, and only then more is read. */
START_TEST(high_water_is_the_new_one)
{
	static unsigned char sent[1 << 20], came[1 << 20];
	struct server *server =
	    start("workers = 1\nhigh-water = 4M\nwrite-timeout = 0\nlisten = echo://127.0.0.1:0\n");
	int moved = connect_narrow(server->ports[0]), next;
	uint64_t owed;

	fill_random(sent, sizeof sent, 3);
	send_all(moved, sent, sizeof sent);
	server_wait_stat_is(server, "received_bytes", sizeof sent);
	reload("workers = 1\nhigh-water = 64K\nlow-water = 16K\nwrite-timeout = 0\n"
	       "listen = echo://127.0.0.1:0\n");
	server_control_wait_workers(server, 1);
	/* A new connection is read from until its socket is full and its queue above high-water. */
	next = connect_narrow(server->ports[0]);
	set_nonblocking(next);
	for (struct wait wait = wait_begin(); send(next, sent, sizeof sent, 0) > 0;)
		wait_more(&wait, "a client that does not read to be held");
	ck_assert_int_eq(errno, EAGAIN);
	receive_exactly(moved, came, sizeof came);
	ck_assert_mem_eq(came, sent, sizeof sent);
	talks(moved, "and more", "and more");
	for (struct wait wait = wait_begin(); owed_now(server) <= 16 << 10;) { /* the low mark */
		(void)send(next, sent, sizeof sent, 0);
		wait_more(&wait, "more to be owed");
	}
	for (struct wait wait = wait_begin(); (owed = owed_now(server)) > (64 << 10) + (16 << 10);)
		wait_more(&wait, "no more to be owed than may be");
	(void)printf("FIGURE owed above a high-water mark of 64K: %llu bytes\n",
		     (unsigned long long)owed);
	(void)fflush(stdout);
	reset(next);
	(void)close(moved);
	server_control_stop(server);
}
END_TEST

SUITE("reload_listeners",
      {"added ones answer and kept ones stay", added_ones_answer_and_kept_ones_stay, 30},
      {"who waits at a removed one is served", who_waits_at_a_removed_one_is_served, 30, 3},
      {"who is connected to a removed one gets what it is owed",
       who_is_connected_to_a_removed_one_gets_what_it_is_owed, 30},
      {"another protocol at the same address", another_protocol_at_the_same_address, 30},
      {"a port that is taken changes nothing", a_port_that_is_taken_changes_nothing, 30},
      {"idle-timeout is the new one", idle_timeout_is_the_new_one, 30},
      {"max-line is the new one", max_line_is_the_new_one, 30},
      {"high-water is the new one", high_water_is_the_new_one, 30},
      {"ten times added ones answer", ten_times_added_ones_answer, 60, .kind = SUITE_LONG},
      {"twenty times another protocol", twenty_times_another_protocol, 60, .kind = SUITE_LONG})
