/*
 * slowly: a crowd of clients that take their time, for bench/slow.
 *
 *     slowly [-c N] [-o PER_SECOND] [-e MS] KIND http://HOST:PORT
 *
 * Holds N connections (1000), opened at so many a second (all at once), and does one thing on
 * each every MS milliseconds (1000), spread evenly:
 *
 *     headers   a request without end: one byte more of a field
 *     body      a POST to /echo of a megabyte, its first byte with its head: one byte more of it;
 *               answers are thrown away
 *     read      a gigabyte is asked for, /bytes/N: one byte of it is read
 *
 * Where the server ends one, another is opened. Says msg=ready on stderr when all are there, and
 * at SIGTERM, as JSON on stdout, how many were ended, and how. Exit status 1: it could not go on.
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
#define READ_BYTES 4096 /* the receive buffer of who reads slowly */

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
	size_t n, held, turn; /* turn: whose it is to do its one thing */
	unsigned every_ms, open_rate;
	int ep, signals;
	bool ready;
	uint64_t opened, timed_out, closed, failed;
} crowd = {.n = 1000, .every_ms = 1000};

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
			crowd.n = number(optarg, N_MAX);
		else if (letter == 'o')
			crowd.open_rate = number(optarg, N_MAX);
		else if (letter == 'e')
			crowd.every_ms = number(optarg, 3600000);
		else
			usage("wrong usage");
	}
	if (argc - optind != 2)
		usage("a KIND and a LISTENER are wanted");
	while (strcmp(argv[optind], kinds[crowd.kind].name) != 0)
		if (++crowd.kind == KINDS)
			usage("no such KIND");
	if (strncmp(argv[optind + 1], scheme, strlen(scheme)) != 0)
		usage("http:// only");
	if (!address_parse(&crowd.address, argv[optind + 1] + strlen(scheme), &why))
		usage(why);
}

/* ---- one of them ---- */

static void slow_open(struct slow *slow)
{
	/* All bytes of the answer but the few that fit the buffer wait at the server. */
	struct epoll_event event = {EPOLLRDHUP | EPOLLOUT, {.ptr = slow}};
	int fd, bytes = READ_BYTES;

	fd = socket(crowd.address.socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("socket");
	if (crowd.kind == KIND_READ)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	if (connect(fd, (struct sockaddr *)&crowd.address.socket, crowd.address.bytes) < 0 &&
	    errno != EINPROGRESS)
		fail("connect");
	if (epoll_ctl(crowd.ep, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("epoll_ctl");
	*slow = (struct slow){.fd = fd};
	crowd.opened++;
}

static void slow_begin(struct slow *slow)
{
	struct epoll_event event = {EPOLLRDHUP, {.ptr = slow}};
	const char *first = kinds[crowd.kind].first;

	if (crowd.kind != KIND_READ)
		event.events |= EPOLLIN;
	(void)epoll_ctl(crowd.ep, EPOLL_CTL_MOD, slow->fd, &event);
	/* Where it fails, an event follows. */
	if (send(slow->fd, first, strlen(first), MSG_NOSIGNAL) > 0) {
		slow->begun = true;
		crowd.held++;
	}
}

static void slow_end(struct slow *slow)
{
	if (!slow->begun)
		crowd.failed++;
	else if (slow->status == 408)
		crowd.timed_out++;
	else
		crowd.closed++;
	crowd.held -= slow->begun;
	(void)close(slow->fd);
	slow->fd = -1;
}

/* False: it is over. */
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

/* Its one thing. What fails here is told by an event, too. */
static void slow_step(struct slow *slow)
{
	if (slow->fd < 0 || !slow->begun)
		return;
	if (crowd.kind == KIND_READ)
		(void)slow_read(slow, 1);
	else
		(void)send(slow->fd, kinds[crowd.kind].next, 1, MSG_NOSIGNAL);
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

/* ---- all of them ---- */

/* How many of the list are due in a time, of so many in another. */
static size_t due(uint64_t ms, size_t n, uint64_t in_ms)
{
	return (size_t)(ms * n / in_ms);
}

static void tick(uint64_t since_ms, uint64_t *steps, uint64_t *opens)
{
	uint64_t steps_due = due(since_ms, crowd.n, crowd.every_ms);
	uint64_t may_open = crowd.open_rate ? due(since_ms, crowd.open_rate, 1000) + 1 : UINT64_MAX;

	for (; *steps < steps_due; ++*steps) {
		slow_step(&crowd.slow[crowd.turn]);
		crowd.turn = (crowd.turn + 1) % crowd.n;
	}
	for (size_t i = 0; i < crowd.n && *opens < may_open; i++)
		if (crowd.slow[i].fd < 0) {
			slow_open(&crowd.slow[i]);
			++*opens;
		}
	/* What was not needed is not saved up, once all are there. */
	if (crowd.ready && crowd.open_rate && *opens < may_open)
		*opens = may_open;
	if (!crowd.ready && crowd.held == crowd.n) {
		crowd.ready = true;
		(void)fprintf(stderr, "msg=ready held=%zu\n", crowd.held);
	}
}

static void report(void)
{
	(void)printf(
	    "{\n  \"kind\": \"%s\",\n  \"held\": %zu,\n  \"opened\": %llu,\n"
	    "  \"ended_408\": %llu,\n  \"ended_otherwise\": %llu,\n  \"failed\": %llu\n}\n",
	    kinds[crowd.kind].name, crowd.held, (unsigned long long)crowd.opened,
	    (unsigned long long)crowd.timed_out, (unsigned long long)crowd.closed,
	    (unsigned long long)crowd.failed);
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
	crowd.ep = epoll_create1(EPOLL_CLOEXEC);
	crowd.signals = signalfd(-1, &mask, SFD_CLOEXEC);
	if (crowd.ep < 0 || crowd.signals < 0 ||
	    epoll_ctl(crowd.ep, EPOLL_CTL_ADD, crowd.signals, &event) < 0)
		fail("epoll");
	crowd.slow = malloc(crowd.n * sizeof *crowd.slow);
	if (!crowd.slow)
		fail("malloc");
	for (size_t i = 0; i < crowd.n; i++)
		crowd.slow[i].fd = -1;
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
		n = epoll_wait(crowd.ep, events, EVENTS, TICK_MS);
		for (int i = 0; i < n; i++) {
			if (!events[i].data.ptr) {
				report();
				return 0;
			}
			slow_event(events[i].data.ptr, events[i].events);
		}
	}
}
