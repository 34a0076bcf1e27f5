/*
 * Fairness: one connection that floods a worker does not make the worker's other clients wait
 * until it is done.
 *
 * The flood is a process that sends and receives without pause until it is told to end: after all
 * pings of a hundred clients were answered, and it made progress in many of these rounds. So a
 * worker that served the flood first would answer no ping, and the test would reach its deadline.
 * The worker's counters show that it was a flood: turns ended because their budget was spent.
 *
 * The times that are printed depend on the machine and its load; no test fails because of them.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define CLIENTS	    100u
#define ROUNDS	    60u
#define FLOOD_BYTES 1048576u

/* ---- the flood ---- */

struct flood {
	pid_t pid;
	volatile uint64_t *bytes; /* how many it has sent, in memory shared with it */
};

static void flood_on(int fd, const unsigned char *bytes, volatile uint64_t *sent)
{
	static unsigned char came[FLOOD_BYTES];

	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN | POLLOUT};
		ssize_t n = send(fd, bytes, FLOOD_BYTES, MSG_NOSIGNAL);

		if (n > 0)
			*sent = *sent + (uint64_t)n;
		else if (errno != EAGAIN)
			_exit(1);
		n = recv(fd, came, sizeof came, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			_exit(1);
		(void)poll(&poll_fd, 1, 1000);
	}
}

/* what: the message that the flood repeats. FLOOD_BYTES is a multiple of its size. */
static struct flood flood_begin(unsigned port, const char *what, size_t n)
{
	static unsigned char bytes[FLOOD_BYTES];
	struct flood flood;
	int fd = connect_to(port);

	for (size_t i = 0; i < FLOOD_BYTES; i += n)
		memcpy(bytes + i, what, n);
	flood.bytes = mmap(NULL, sizeof *flood.bytes, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne((void *)(uintptr_t)flood.bytes, MAP_FAILED);
	set_nonblocking(fd);
	flood.pid = fork();
	ck_assert_int_ge(flood.pid, 0);
	if (flood.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		flood_on(fd, bytes, flood.bytes);
	}
	(void)close(fd);
	return flood;
}

static void flood_is_on(const struct flood *flood)
{
	ck_assert_msg(waitpid(flood->pid, NULL, WNOHANG) == 0, "the flood has ended");
}

static void flood_end(const struct flood *flood)
{
	flood_is_on(flood);
	(void)kill(flood->pid, SIGKILL);
	ck_assert_int_eq(waitpid(flood->pid, NULL, 0), flood->pid);
}

/* ---- clients that ping ---- */

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t took_us[ROUNDS * CLIENTS];

/* All clients send a ping, then answers are taken as they come. */
static void ping_round(struct pollfd *clients, uint64_t *took)
{
	static const char ping[] = "\0\0\0\4ping"; /* a frame, or eight bytes */
	uint64_t begin_us = now_us();
	unsigned left = CLIENTS;
	bool waits[CLIENTS];

	for (unsigned i = 0; i < CLIENTS; i++) {
		send_all(clients[i].fd, ping, 8);
		waits[i] = true;
	}
	while (left) {
		ck_assert_msg(poll(clients, CLIENTS, (int)patience_ms()) > 0,
			      "%u of %u pings wait for the flood to end", left, CLIENTS);
		for (unsigned i = 0; i < CLIENTS; i++) {
			if (!clients[i].revents)
				continue;
			ck_assert_msg(waits[i], "an answer to no ping");
			expect_bytes(clients[i].fd, ping, 8);
			waits[i] = false;
			*took++ = now_us() - begin_us;
			left--;
		}
	}
}

static void figures(const char *what, size_t n)
{
	qsort(took_us, n, sizeof *took_us, by_value);
	(void)printf("FIGURE ping of 100 clients, %s: p50 %llu max %llu us\n", what,
		     (unsigned long long)took_us[n / 2], (unsigned long long)took_us[n - 1]);
	(void)fflush(stdout);
}

/* No turn took more than its budget. The turns of pings count too, which makes this a bit weaker
 * but not wrong. */
static void expect_bounded_turns(const struct server *server, uint64_t turns, uint64_t messages,
				 uint64_t bytes)
{
	messages = server_stat(server, "messages") - messages;
	bytes = server_stat(server, "received_bytes") - bytes;
	turns = server_stat(server, "turns") - turns + 1;
	ck_assert_uint_le(messages / turns, 1024);
	ck_assert_uint_le(bytes / turns, 65536);
}

static void ping_beside(const char *what, const char *listener, const char *message, size_t n)
{
	struct server *server =
	    SERVER("--workers", "1", "--request-timeout", "0", "frame://127.0.0.1:0", listener);
	unsigned rounds = (unsigned)suite_volume(ROUNDS), moved = 0;
	struct wait wait = wait_begin();
	struct pollfd clients[CLIENTS];
	uint64_t yields, received, messages, turns, bytes;
	struct flood flood;

	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = (struct pollfd){.fd = connect_to(server->ports[0]), .events = POLLIN};
	for (unsigned i = 0; i < rounds; i++)
		ping_round(clients, took_us + i * CLIENTS);
	figures("alone", rounds * CLIENTS);
	flood = flood_begin(server->ports[1], message, n);
	server_wait_stat(server, "received_bytes", 16 * FLOOD_BYTES);
	server_wait_stat(server, "budget_yields", 100);
	yields = server_stat(server, "budget_yields");
	turns = server_stat(server, "turns");
	messages = server_stat(server, "messages");
	bytes = server_stat(server, "received_bytes");
	/* A round may end before the flood's next turn, or while the flood's process gets no CPU:
	 * then more rounds are made. */
	for (unsigned i = 0; i < rounds || moved <= rounds / 2 ||
			     server_stat(server, "budget_yields") <= yields + rounds / 2;
	     i++) {
		received = server_stat(server, "received_bytes");
		ping_round(clients, took_us + i % rounds * CLIENTS);
		moved += server_stat(server, "received_bytes") > received + CLIENTS * 8;
		if (now_ms() > wait.until_ms)
			ck_abort_msg("the flood moved on in %u of %u rounds", moved, i + 1);
	}
	flood_is_on(&flood);
	figures(what, rounds * CLIENTS);
	expect_bounded_turns(server, turns, messages, bytes);
	received = *flood.bytes;
	server_wait_stat(server, "received_bytes", server_stat(server, "received_bytes") + 65536);
	flood_end(&flood);
	ck_assert_uint_ge(*flood.bytes, received);
	for (unsigned i = 0; i < CLIENTS; i++)
		(void)close(clients[i].fd);
	server_wait_stat_is(server, "connections", 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(beside_an_echo_flood)
{
	ping_beside("beside an echo flood", "echo://127.0.0.1:0", "echo", 4);
}
END_TEST

START_TEST(beside_a_discard_flood)
{
	ping_beside("beside a discard flood", "discard://127.0.0.1:0", "sink", 4);
}
END_TEST

/* Bytes that cost the sender little and the worker much: 16,376 messages in one read. */
START_TEST(beside_a_flood_of_empty_lines)
{
	ping_beside("beside a flood of empty lines", "line://127.0.0.1:0", "\n", 1);
}
END_TEST

START_TEST(beside_a_flood_of_empty_frames)
{
	ping_beside("beside a flood of empty frames", "frame://127.0.0.1:0", "\0\0\0", 4);
}
END_TEST

SUITE("fairness", {"pings beside an echo flood", beside_an_echo_flood, 60},
      {"pings beside a discard flood", beside_a_discard_flood, 60},
      {"pings beside a flood of empty lines", beside_a_flood_of_empty_lines, 60},
      {"pings beside a flood of empty frames", beside_a_flood_of_empty_frames, 60})
