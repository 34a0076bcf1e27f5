/*
 * slowly: very many clients that take their time, for bench/slow.
 *
 *     slowly [-c N] [-o PER_SECOND] [-e MS] KIND http://HOST:PORT
 *
 * Holds N connections (default 1000), opened at PER_SECOND (default: all at once), and does one
 * thing on each of them every MS milliseconds (default 1000), spread evenly:
 *     headers   sends one more byte of a field, in a request that never ends
 *     body      sends one more byte of a POST to /echo of a megabyte, whose first byte went with
 *               the head; answers are thrown away
 *     read      reads one byte of a gigabyte that was asked for, /bytes/N
 * If the server ends a connection, another one is opened. Says msg=ready on stderr when all are
 * there, and at SIGTERM, as JSON on stdout, how many were ended, and how. Exit status 1: it could
 * not go on.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "reactor/base/address.h"

#define N_MAX	   100000
#define TICK_MS	   10
#define EVENTS	   256
#define READ_BYTES 4096 /* the receive buffer of a slow reader */

enum kind { KIND_HEADERS, KIND_BODY, KIND_READ, KINDS };

static const struct {
	const char *name, *first, *next;
} kinds[KINDS] = {
    {"headers", "GET / HTTP/1.1\r\nHost: slow\r\nX-Slow: ", "a"},
    {"body", "POST /echo HTTP/1.1\r\nHost: slow\r\nContent-Length: 1000000\r\n\r\nb", "b"},
    {"read", "GET /bytes/1000000000 HTTP/1.1\r\nHost: slow\r\n\r\n", NULL},
};

struct slow {
	int fd; /* -1: not open */
	bool begun;
	int status; /* of the answer; 0: none came */
};

static struct {
	enum kind kind;
	struct address address;
	struct slow *slow;
	size_t n, held, turn; /* turn: the connection whose step is next */
	unsigned every_ms, open_rate;
	int ep, signals;
	bool ready;
	uint64_t opened, timed_out, closed, failed;
} all = {.n = 1000, .every_ms = 1000};

static _Noreturn void usage(const char *why)
{
	(void)fprintf(stderr,
		      "slowly: %s\nusage: slowly [-c N] [-o PER_SECOND] [-e MS] "
		      "headers|body|read http://HOST:PORT\n",
		      why);
	exit(2);
}

static _Noreturn void fail(const char *step)
{
	(void)fprintf(stderr, "slowly: %s: %s\n", step, strerror(errno));
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static unsigned number(const char *text, unsigned most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || !value || value > most)
		usage("a number above 0 is wanted");
	return (unsigned)value;
}

static void parse(int argc, char **argv)
{
	static const char scheme[] = "http://";
	const char *why;
	int letter;

	while ((letter = getopt(argc, argv, "c:o:e:")) != -1) {
		if (letter == 'c')
			all.n = number(optarg, N_MAX);
		else if (letter == 'o')
			all.open_rate = number(optarg, N_MAX);
		else if (letter == 'e')
			all.every_ms = number(optarg, 3600000);
		else
			usage("wrong usage");
	}
	if (argc - optind != 2)
		usage("a KIND and a LISTENER are wanted");
	while (strcmp(argv[optind], kinds[all.kind].name) != 0)
		if (++all.kind == KINDS)
			usage("no such KIND");
	if (strncmp(argv[optind + 1], scheme, strlen(scheme)) != 0)
		usage("http:// only");
	if (!address_parse(&all.address, argv[optind + 1] + strlen(scheme), &why))
		usage(why);
}

/* ---- one connection ---- */

static void slow_open(struct slow *slow)
{
	/* With a small buffer nearly all bytes of the answer have to wait at the server. */
	struct epoll_event event = {EPOLLRDHUP | EPOLLOUT, {.ptr = slow}};
	int fd, bytes = READ_BYTES;

	fd = socket(all.address.socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("socket");
	if (all.kind == KIND_READ)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	if (connect(fd, (struct sockaddr *)&all.address.socket, all.address.bytes) < 0 &&
	    errno != EINPROGRESS)
		fail("connect");
	if (epoll_ctl(all.ep, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("epoll_ctl");
	*slow = (struct slow){.fd = fd};
	all.opened++;
}

static void slow_begin(struct slow *slow)
{
	struct epoll_event event = {EPOLLRDHUP, {.ptr = slow}};
	const char *first = kinds[all.kind].first;

	if (all.kind != KIND_READ)
		event.events |= EPOLLIN;
	(void)epoll_ctl(all.ep, EPOLL_CTL_MOD, slow->fd, &event);
	/* If send() fails, an event follows. */
	if (send(slow->fd, first, strlen(first), MSG_NOSIGNAL) > 0) {
		slow->begun = true;
		all.held++;
	}
}

static void slow_end(struct slow *slow)
{
	if (!slow->begun)
		all.failed++;
	else if (slow->status == 408)
		all.timed_out++;
	else
		all.closed++;
	all.held -= slow->begun;
	(void)close(slow->fd);
	slow->fd = -1;
}

/* False: the connection is over. */
static bool slow_read(struct slow *slow, size_t most)
{
	char bytes[4096 + 1];
	ssize_t n = recv(slow->fd, bytes, most < sizeof bytes ? most : sizeof bytes - 1, 0);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	bytes[n] = '\0';
	if (!slow->status && strncmp(bytes, "HTTP/1.", 7) == 0)
		slow->status = atoi(bytes + 9);
	return true;
}

/* What it does every MS milliseconds. If that fails, an event follows. */
static void slow_step(struct slow *slow)
{
	if (slow->fd < 0 || !slow->begun)
		return;
	if (all.kind == KIND_READ)
		(void)slow_read(slow, 1);
	else
		(void)send(slow->fd, kinds[all.kind].next, 1, MSG_NOSIGNAL);
}

static void slow_event(struct slow *slow, uint32_t events)
{
	if (!slow->begun && (events & EPOLLOUT) && !(events & (EPOLLERR | EPOLLHUP)))
		slow_begin(slow);
	if ((events & EPOLLIN) && slow_read(slow, SIZE_MAX) && !(events & (EPOLLERR | EPOLLHUP)))
		return;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		slow_end(slow);
}

/* ---- all connections ---- */

/* If n are due in in_ms milliseconds: how many of them are due in ms. */
static size_t due(uint64_t ms, size_t n, uint64_t in_ms)
{
	return (size_t)(ms * n / in_ms);
}

static void tick(uint64_t since_ms, uint64_t *steps, uint64_t *opens)
{
	uint64_t steps_due = due(since_ms, all.n, all.every_ms);
	uint64_t may_open = all.open_rate ? due(since_ms, all.open_rate, 1000) + 1 : UINT64_MAX;

	for (; *steps < steps_due; ++*steps) {
		slow_step(&all.slow[all.turn]);
		all.turn = (all.turn + 1) % all.n;
	}
	for (size_t i = 0; i < all.n && *opens < may_open; i++)
		if (all.slow[i].fd < 0) {
			slow_open(&all.slow[i]);
			++*opens;
		}
	/* Once all are there, opens that were allowed and not needed are not saved up. */
	if (all.ready && all.open_rate && *opens < may_open)
		*opens = may_open;
	if (!all.ready && all.held == all.n) {
		all.ready = true;
		(void)fprintf(stderr, "msg=ready held=%zu\n", all.held);
	}
}

static void report(void)
{
	(void)printf(
	    "{\n  \"kind\": \"%s\",\n  \"held\": %zu,\n  \"opened\": %llu,\n"
	    "  \"ended_408\": %llu,\n  \"ended_otherwise\": %llu,\n  \"failed\": %llu\n}\n",
	    kinds[all.kind].name, all.held, (unsigned long long)all.opened,
	    (unsigned long long)all.timed_out, (unsigned long long)all.closed,
	    (unsigned long long)all.failed);
}

static void begin(void)
{
	struct epoll_event event = {EPOLLIN, {.ptr = NULL}};
	struct rlimit limit;
	sigset_t mask;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	all.ep = epoll_create1(EPOLL_CLOEXEC);
	all.signals = signalfd(-1, &mask, SFD_CLOEXEC);
	if (all.ep < 0 || all.signals < 0 ||
	    epoll_ctl(all.ep, EPOLL_CTL_ADD, all.signals, &event) < 0)
		fail("epoll");
	all.slow = malloc(all.n * sizeof *all.slow);
	if (!all.slow)
		fail("malloc");
	for (size_t i = 0; i < all.n; i++)
		all.slow[i].fd = -1;
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];
	uint64_t began, steps = 0, opens = 0;

	parse(argc, argv);
	begin();
	began = now_ms();
	for (;;) {
		int n;

		tick(now_ms() - began, &steps, &opens);
		n = epoll_wait(all.ep, events, EVENTS, TICK_MS);
		for (int i = 0; i < n; i++) {
			if (!events[i].data.ptr) {
				report();
				return 0;
			}
			slow_event(events[i].data.ptr, events[i].events);
		}
	}
}
