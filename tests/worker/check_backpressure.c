/*
 * Backpressure: a client that does not read costs a bounded amount of memory, no other client
 * loses bytes, and --write-timeout ends it; a client that only pauses gets every byte.
 *
 * Many clients send without end and never read, a thousand in `make check-long`. Until all of them
 * have been closed, as many others ask, and compare every byte of the answers. All clients are one
 * epoll loop in this process, with small socket buffers and segments, so that queues fill soon.
 *
 * Each of N clients that do not read is owed at most high-water and a chunk, and the first and the
 * last chunk of its queue may be partly filled. So the bound on a worker's memory is
 *     min(N * (high-water + 3 chunks), buffers) + small change
 * Small change is the buffers of clients that read, the connections (128 bytes each), the segments
 * (24 bytes for a chunk) and what the worker used before the first client. The kernel's buffers of
 * sockets are neither measured nor part of --buffers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define KIB	      1024ul
#define MIB	      (1024 * KIB)
#define CHUNK	      16384ul
#define SMALL_CHANGE  (2 * MIB)
#define PATTERN_BYTES 65521u /* a prime, so that connections differ in where they are */
#define REQUEST_MAX   4000u

enum role { GONE, FLOODS, ASKS, ONLY_WAITS };

struct peer {
	int fd;
	enum role role;
	uint32_t request;	 /* bytes of the current request */
	uint64_t sent, received; /* bytes */
};

static struct clients {
	struct server *server;
	pid_t worker;
	int epfd;
	struct peer *peers;
	unsigned n, asking;
	unsigned nap_ms; /* pause after each pass, so that a flood leaves some CPU to others */
	bool last_request;
	uint64_t answered;	  /* bytes */
	uint64_t pass_ms, gap_ms; /* time of the last pass; the longest time between two */
	size_t memory_max;
} clients;

static unsigned char pattern[2 * PATTERN_BYTES];

/* What a connection sends from this offset on: at least PATTERN_BYTES. */
static const unsigned char *pattern_of(const struct peer *peer, uint64_t offset)
{
	unsigned index = (unsigned)(peer - clients.peers);

	return pattern + (index * 7919ull + offset) % PATTERN_BYTES;
}

/* Small buffers and segments must be set before connect(). */
static int connect_small(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int segment = 1460, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	set_buffers(fd, 8192, 8192);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
	ck_assert_msg(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect: %s",
		      strerror(errno));
	set_nonblocking(fd);
	return fd;
}

/* ---- the clients ---- */

static bool clients_fits(const char *test, unsigned n)
{
	struct rlimit limit;

	raise_descriptor_limit();
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= n + 300)
		return true;
	suite_skip(test, "the hard limit of descriptors is too low");
	return false;
}

static void clients_begin(struct server *server, unsigned n)
{
	fill_random(pattern, PATTERN_BYTES, 12345);
	memcpy(pattern + PATTERN_BYTES, pattern, PATTERN_BYTES);
	clients.server = server;
	clients.worker = server_wait_worker(server, 0, 0);
	clients.epfd = epoll_create1(EPOLL_CLOEXEC);
	clients.peers = calloc(n, sizeof *clients.peers);
	ck_assert_ptr_nonnull(clients.peers);
}

static void peer_ask(struct peer *peer)
{
	static uint64_t random = 99;

	peer->request = 1 + (uint32_t)(next_random(&random) % REQUEST_MAX);
	/* It fits into the socket's buffer, which is empty. */
	ck_assert_int_eq(send(peer->fd, pattern_of(peer, peer->sent), peer->request, MSG_NOSIGNAL),
			 (int)peer->request);
	peer->sent += peer->request;
}

static void clients_join(unsigned n, enum role role, unsigned port)
{
	for (unsigned i = 0; i < n; i++) {
		struct peer *peer = &clients.peers[clients.n++];
		struct epoll_event event = {.data.ptr = peer};

		*peer = (struct peer){.fd = connect_small(port), .role = role};
		event.events = role == FLOODS ? EPOLLOUT : role == ASKS ? EPOLLIN : 0;
		ck_assert_int_eq(epoll_ctl(clients.epfd, EPOLL_CTL_ADD, peer->fd, &event), 0);
		if (role == ASKS) {
			clients.asking++;
			peer_ask(peer);
		}
	}
}

static void peer_leave(struct peer *peer)
{
	(void)close(peer->fd);
	peer->role = GONE;
}

static void peer_flood(struct peer *peer)
{
	ssize_t n = send(peer->fd, pattern_of(peer, peer->sent), 32768, MSG_NOSIGNAL);

	if (n > 0)
		peer->sent += (uint64_t)n;
	else if (errno != EAGAIN)
		peer_leave(peer); /* weir closed it */
}

static void peer_take_answer(struct peer *peer)
{
	static unsigned char came[REQUEST_MAX];
	ssize_t n = recv(peer->fd, came, sizeof came, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	ck_assert_msg(n >= 0, "one that reads was cut off: %s", strerror(errno));
	if (n == 0) {
		ck_assert_msg(clients.last_request && peer->received == peer->sent,
			      "one that reads got the end after %llu of %llu bytes",
			      (unsigned long long)peer->received, (unsigned long long)peer->sent);
		clients.asking--;
		peer_leave(peer);
		return;
	}
	ck_assert_uint_le(peer->received + (uint64_t)n, peer->sent);
	ck_assert_msg(memcmp(came, pattern_of(peer, peer->received), (size_t)n) == 0,
		      "one that reads got other bytes after %llu",
		      (unsigned long long)peer->received);
	peer->received += (uint64_t)n;
	clients.answered += (uint64_t)n;
	if (peer->received < peer->sent)
		return;
	if (clients.last_request)
		finish_sending(peer->fd);
	else
		peer_ask(peer);
}

/* Handles one round of events, and checks the worker's memory. */
static void clients_pass(void)
{
	struct epoll_event events[256];
	int n = epoll_wait(clients.epfd, events, 256, 10);
	size_t memory = process_memory(clients.worker);
	uint64_t now = now_ms();

	if (clients.pass_ms && now - clients.pass_ms > clients.gap_ms)
		clients.gap_ms = now - clients.pass_ms;
	clients.pass_ms = now;
	if (memory > clients.memory_max)
		clients.memory_max = memory;
	for (int i = 0; i < n; i++) {
		struct peer *peer = events[i].data.ptr;

		switch (peer->role) {
		case FLOODS:
			peer_flood(peer);
			break;
		case ASKS:
			peer_take_answer(peer);
			break;
		case ONLY_WAITS: /* it asked for no events, so this is an error or HUP */
			peer_leave(peer);
			break;
		case GONE:
			break;
		}
	}
	if (clients.nap_ms)
		(void)poll(NULL, 0, (int)clients.nap_ms);
}

static uint64_t stat_of(const char *row)
{
	return server_stat(clients.server, row);
}

/* Runs until all n clients that do not read have been closed, for one of the two reasons. */
static void clients_until_closed(uint64_t n)
{
	struct wait wait = wait_begin();

	wait.until_ms += 50000;
	while (stat_of("closed_write_timeout") + stat_of("closed_no_buffers") < n) {
		clients_pass();
		if (now_ms() > wait.until_ms)
			ck_abort_msg("%llu of %llu closed, %llu bytes answered",
				     (unsigned long long)stat_of("closed_write_timeout"),
				     (unsigned long long)n, (unsigned long long)clients.answered);
	}
}

/* Clients that ask get their last answer, and then the end. */
static void clients_end(void)
{
	struct wait wait = wait_begin();

	clients.last_request = true;
	while (clients.asking) {
		clients_pass();
		ck_assert_msg(now_ms() < wait.until_ms, "%u wait for their last answer",
			      clients.asking);
	}
	for (unsigned i = 0; i < clients.n; i++)
		if (clients.peers[i].role != GONE)
			peer_leave(&clients.peers[i]);
	server_wait_stat_is(clients.server, "connections", 0);
}

static void expect_memory(const char *what, size_t bound, size_t before)
{
	size_t spare = 4 * MIB; /* chunks that a worker keeps to use them again */

	(void)printf("FIGURE worker's memory, %s: at most %zu KiB (bound %zu KiB)\n", what,
		     clients.memory_max / KIB, bound / KIB);
	(void)printf("FIGURE longest queue, %s: %llu bytes\n", what,
		     (unsigned long long)stat_of("queued_bytes_max"));
	(void)fflush(stdout);
	if (suite_sanitized())
		return;
	ck_assert_uint_le(clients.memory_max, bound);
	/* The worker has given their memory back to the kernel. */
	ck_assert_uint_le(process_memory(clients.worker), before + spare + SMALL_CHANGE);
}

/* ---- tests ---- */

#define HIGH_WATER    (64 * KIB)
#define OPTIONS	      "--workers", "1", "--high-water", "64K", "--low-water", "16K", "--write-timeout"
#define ONE_OWES_MOST (HIGH_WATER + 3 * CHUNK)

static size_t small_change(size_t before)
{
	return before + SMALL_CHANGE;
}

/* False: the limit under test was not reached. This is each queue's high-water; or with few
 * buffers theirs, as these may pause all clients before any queue is at high-water. It happens
 * if this process gets no CPU to send until the floods are closed. */
static bool floods_beside_requests(const char *what, unsigned n, size_t buffers_bytes,
				   bool by_time_only)
{
	size_t before, bound = n * ONE_OWES_MOST;
	struct server *server;
	char buffers[24];
	bool met;

	if (!clients_fits(what, 2 * n))
		return true;
	(void)snprintf(buffers, sizeof buffers, "%zu", buffers_bytes);
	clients = (struct clients){.nap_ms = clients.nap_ms};
	if (bound > buffers_bytes)
		bound = buffers_bytes;
	server = SERVER(OPTIONS, "2s", "--buffers", buffers, "echo://127.0.0.1:0");
	clients_begin(server, 2 * n);
	before = process_memory(clients.worker);
	clients_join(n, ASKS, server->ports[0]);
	clients_join(n, FLOODS, server->ports[0]);
	clients_until_closed(n);
	clients_end();
	(void)printf("FIGURE %s: answered beside %u of them: %llu MiB\n", what, n,
		     (unsigned long long)(clients.answered / MIB));
	(void)printf("FIGURE %s: closed for want of buffers: %llu\n", what,
		     (unsigned long long)stat_of("closed_no_buffers"));
	ck_assert_uint_le(stat_of("queued_bytes_max"), HIGH_WATER + CHUNK);
	ck_assert_uint_le(stat_of("chunks_max") * CHUNK, buffers_bytes);
	ck_assert_uint_le(stat_of("chunks_max") * CHUNK, bound + SMALL_CHANGE);
	ck_assert_uint_eq(stat_of("closed_eof"), n);
	if (by_time_only) {
		met = stat_of("queued_bytes_max") > HIGH_WATER && stat_of("backpressure_on");
		ck_assert_uint_eq(stat_of("closed_write_timeout"), n);
	} else {
		met = stat_of("buffer_waits");
	}
	/* Clients that ask always make progress, so none is closed for lack of buffers; unless
	 * this process got no CPU to ask. */
	if (clients.gap_ms < 300)
		ck_assert_uint_eq(stat_of("closed_no_buffers"), 0);
	expect_memory(what, bound + small_change(before), before);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return met;
}

/* The same with few clients, which don't take all of the machine, and with a thousand. */
static const struct volume {
	unsigned n, nap_ms;
	size_t few_buffers; /* MiB: clients are paused for lack of them long before high-water */
} few = {200, 4, 7}, thousand = {1000, 0, 32};

static unsigned volume_begin(const struct volume *volume)
{
	clients.nap_ms = volume->nap_ms;
	return (unsigned)suite_volume(volume->n);
}

static void floods_never_read(const struct volume *volume)
{
	unsigned n = volume_begin(volume);
	struct wait wait = wait_begin();

	while (!floods_beside_requests("floods", n, 256 * MIB, true))
		wait_more(&wait, "floods that fill queues");
}

static void floods_and_few_buffers(const struct volume *volume)
{
	unsigned n = volume_begin(volume);
	size_t buffers = suite_sanitized() ? volume->few_buffers / 8 : volume->few_buffers;
	struct wait wait = wait_begin();

	if (buffers < 1)
		buffers = 1;
	while (!floods_beside_requests("floods in few buffers", n, buffers * MIB, false))
		wait_more(&wait, "floods that use up buffers");
}

/* They are sent at most a chunk before they read: the next one is made when that was sent. */
static void chargen_peers(const struct volume *volume)
{
	unsigned n = volume_begin(volume);
	struct server *server;
	size_t before;

	if (!clients_fits("chargen peers that never read", n))
		return;
	server = SERVER(OPTIONS, "2s", "chargen://127.0.0.1:0");
	clients_begin(server, n);
	before = process_memory(clients.worker);
	clients_join(n / 2, ONLY_WAITS, server->ports[0]);
	clients_join(n - n / 2, FLOODS, server->ports[0]); /* chargen ignores its input */
	clients_until_closed(n);
	ck_assert_uint_eq(stat_of("closed_write_timeout"), n);
	clients_end();
	ck_assert_uint_le(stat_of("queued_bytes_max"), CHUNK);
	expect_memory("chargen peers", n * 2 * CHUNK + small_change(before), before);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(floods_that_never_read)
{
	floods_never_read(&few);
}
END_TEST

START_TEST(floods_that_never_read_and_few_buffers)
{
	floods_and_few_buffers(&few);
}
END_TEST

START_TEST(chargen_peers_that_never_read)
{
	chargen_peers(&few);
}
END_TEST

START_TEST(a_thousand_floods)
{
	floods_never_read(&thousand);
}
END_TEST

START_TEST(a_thousand_floods_and_few_buffers)
{
	floods_and_few_buffers(&thousand);
}
END_TEST

START_TEST(a_thousand_chargen_peers)
{
	chargen_peers(&thousand);
}
END_TEST

/* Sends what the socket takes, until `total` bytes were sent in all. */
static void send_some(struct peer *peer, uint64_t total)
{
	while (peer->sent < total) {
		uint64_t left = total - peer->sent;
		size_t part = left < 32768 ? (size_t)left : 32768;
		ssize_t n = send(peer->fd, pattern_of(peer, peer->sent), part, MSG_NOSIGNAL);

		if (n <= 0) {
			ck_assert_msg(errno == EAGAIN, "send: %s", strerror(errno));
			return;
		}
		peer->sent += (uint64_t)n;
	}
}

static bool receive_some(struct peer *peer, size_t most)
{
	static unsigned char came[32768];
	ssize_t n = recv(peer->fd, came, most < sizeof came ? most : sizeof came, 0);

	if (n < 0) {
		ck_assert_msg(errno == EAGAIN, "recv: %s", strerror(errno));
		(void)poll(&(struct pollfd){.fd = peer->fd, .events = POLLIN}, 1, 1);
		return true;
	}
	ck_assert_uint_le(peer->received + (uint64_t)n, peer->sent);
	ck_assert_msg(memcmp(came, pattern_of(peer, peer->received), (size_t)n) == 0,
		      "other bytes came after %llu", (unsigned long long)peer->received);
	peer->received += (uint64_t)n;
	return n > 0;
}

/* Ten times, stops reading until weir stops too, then reads a few bytes at a time until weir
 * goes on. At last it reads all. */
START_TEST(a_slow_reader_who_resumes)
{
	const uint64_t total = suite_volume(64) * MIB;
	struct server *server = SERVER(OPTIONS, "60s", "echo://127.0.0.1:0");
	struct peer *peer;
	struct wait wait;

	clients_begin(server, 1);
	clients_join(1, ONLY_WAITS, server->ports[0]);
	peer = clients.peers;
	for (int i = 0; i < 10; i++) {
		uint64_t off = stat_of("backpressure_off"), until;

		wait = wait_begin();
		while (stat_of("backpressure_on") <= off) {
			send_some(peer, total);
			wait_more(&wait, "backpressure");
		}
		/* weir goes on at the latest when all that was sent has been read. */
		until = peer->received + (peer->sent - peer->received) * (unsigned)i / 10;
		wait = wait_begin();
		while (peer->received < until || stat_of("backpressure_off") <= off) {
			ck_assert_msg(now_ms() < wait.until_ms, "paused for ever");
			ck_assert(receive_some(peer, 1 + peer->received % 3000));
		}
	}
	while (peer->received < total) {
		send_some(peer, total);
		ck_assert(receive_some(peer, SIZE_MAX));
	}
	finish_sending(peer->fd);
	wait = wait_begin();
	while (receive_some(peer, 1))
		ck_assert(now_ms() < wait.until_ms);
	ck_assert_uint_eq(peer->received, total);
	(void)printf("FIGURE a slow reader: paused and resumed %llu times\n",
		     (unsigned long long)stat_of("backpressure_off"));
	(void)fflush(stdout);
	ck_assert_uint_eq(stat_of("received_bytes"), total);
	server_wait_stat_is(server, "closed_eof", 1);
	ck_assert_uint_le(stat_of("queued_bytes_max"), HIGH_WATER + CHUNK);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* epoll reports space only when a third of the socket's send buffer is free, which may be
 * megabytes. A peer that reads all the time but needs longer than --write-timeout for that much
 * still makes progress, and must not be closed. */
static bool read_slowly(void)
{
	static unsigned char bytes[65536];
	struct server *server =
	    SERVER("--workers", "1", "--write-timeout", "2s", "echo://127.0.0.1:0");
	uint64_t last_ms, gap_ms = 0, end_ms;
	int fd = connect_to(server->ports[0]);
	struct wait wait = wait_begin();

	set_nonblocking(fd);
	while (!server_stat(server, "backpressure_on"))
		if (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) < 0)
			wait_more(&wait, "backpressure");
	last_ms = now_ms();
	end_ms = last_ms + 4000;
	while (last_ms < end_ms && !server_stat(server, "closed_write_timeout")) {
		(void)poll(NULL, 0, 50); /* it reads 320 KiB a second */
		(void)recv(fd, bytes, 16384, 0);
		gap_ms = now_ms() - last_ms > gap_ms ? now_ms() - last_ms : gap_ms;
		last_ms = now_ms();
	}
	if (gap_ms <= 500)
		ck_assert_uint_eq(server_stat(server, "closed_write_timeout"), 0);
	(void)close(fd);
	server_wait_stat_is(server, "connections", 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return gap_ms <= 500;
}

START_TEST(a_slow_reader_who_never_stops)
{
	struct wait wait = wait_begin();

	while (!read_slowly())
		if (now_ms() > wait.until_ms) {
			suite_skip("a slow reader who never stops", "this machine kept it waiting");
			return;
		}
}
END_TEST

SUITE("backpressure",
      {"floods that never read, beside requests and answers", floods_that_never_read, 60},
      {"the same with too few buffers for all", floods_that_never_read_and_few_buffers, 60},
      {"chargen peers that never read", chargen_peers_that_never_read, 60},
      {"a thousand floods", a_thousand_floods, 90, .kind = SUITE_LONG},
      {"a thousand floods and few buffers", a_thousand_floods_and_few_buffers, 90,
       .kind = SUITE_LONG},
      {"a thousand chargen peers", a_thousand_chargen_peers, 60, .kind = SUITE_LONG},
      {"a slow reader that resumes gets every byte", a_slow_reader_who_resumes, 60},
      {"a slow reader that never stops is not timed out", a_slow_reader_who_never_stops, 30})
