/*
 * hold_floor: the barest way to hold very many loopback connections. bench/million compares with
 * it.
 *
 *     hold_floor CONNECTIONS [PROCESSES-ON-EACH-SIDE]
 *
 * On one side processes accept and echo what they read, each with a listening socket of its own on
 * one port of every address. On the other side processes connect to 127.0.0.1, 127.0.0.2 and so on
 * in turn. Each connection carries one message when it is made, and a second one when all are made.
 * Says in JSON how long both took.
 *
 * Gives up: everything else. The connecting side blocks: it makes a batch of connections, sends on
 * each, reads from each, and goes on to the next batch. It measures no single message, does not
 * look at what replies say, and does not notice which peers have gone. If anything fails all ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/peers/peer.h"

#define MESSAGE_BYTES 64
#define BATCH	      8	  /* connections that one process may have under way */
#define BATCH_ALL     512 /* those of all processes together, as in weirload's sender.c */
#define EVENTS	      256
#define DESCRIPTORS   64   /* of a process, beside its connections */
#define PORTS_COMFORT 8192 /* with so many to one destination connect() finds a port at once */
#define PROCESSES_MAX 1024
#define PATIENCE_S    60 /* a message or a connect that takes longer has failed */

static unsigned long connections, destinations;
static int accepting, connecting; /* processes */
static struct sockaddr_in listened;
static char message[MESSAGE_BYTES] = "the same for everybody";

static double now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- the accepting side ---- */

static void echo(int fd, uint32_t events)
{
	char bytes[MESSAGE_BYTES];
	ssize_t n;

	do {
		n = read(fd, bytes, sizeof bytes);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || write(fd, bytes, (size_t)n) != n) {
			(void)close(fd);
			return;
		}
	} while (n == sizeof bytes && (events & EPOLLRDHUP));
}

static void accept_all(int ep, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event event = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.fd = fd}};

		if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0)
			peer_fail("epoll_ctl", "a connection", errno);
	}
	if (errno != EAGAIN)
		peer_fail("accept4", "a connection", errno);
}

static _Noreturn void serve(int listener)
{
	struct epoll_event events[EVENTS] = {{EPOLLIN | EPOLLET, {.fd = listener}}};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, events) < 0)
		peer_fail("epoll", "the listening socket", errno);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, -1);

		for (int i = 0; i < n; i++)
			if (events[i].data.fd == listener)
				accept_all(ep, listener);
			else
				echo(events[i].data.fd, events[i].events);
	}
}

/* One for each process that accepts; each process closes those of the others. */
static int listeners[PROCESSES_MAX];

static void close_listeners_but(int kept)
{
	for (int i = 0; i < accepting; i++)
		if (i != kept)
			(void)close(listeners[i]);
}

static int listen_once_more(void)
{
	socklen_t n = sizeof listened;
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
	    bind(fd, (const struct sockaddr *)&listened, sizeof listened) < 0 ||
	    listen(fd, 65535) < 0 || getsockname(fd, (struct sockaddr *)&listened, &n) < 0)
		peer_fail("listen", "every address", errno);
	return fd;
}

/* ---- the connecting side ---- */

static unsigned long batch(unsigned long left)
{
	unsigned long share = BATCH_ALL / (unsigned long)connecting,
		      n = share < BATCH ? share : BATCH;

	return n < 1 ? 1 : n < left ? n : left;
}

static void connect_one(int fd, unsigned long nth)
{
	struct sockaddr_in to = listened;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(nth % destinations));
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
		peer_fail("connect", inet_ntoa(to.sin_addr), errno);
}

/* One message on each connection, all of them under way together. */
static void exchange(const int *fds, unsigned long n)
{
	char bytes[MESSAGE_BYTES];

	for (unsigned long i = 0; i < n; i++)
		if (write(fds[i], message, sizeof message) != sizeof message)
			peer_fail("write", "a connection", errno);
	for (unsigned long i = 0; i < n; i++)
		if (recv(fds[i], bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes)
			peer_fail("read", "a connection", errno);
}

static int connecting_socket(void)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	return fd;
}

/* Writes a byte to say that this process has come so far, and goes on when all others have, too. */
static void meet(int there, int go)
{
	char byte = 0;

	if (write(there, &byte, 1) != 1 || read(go, &byte, 1) != 0)
		peer_fail("read", "the word to go on", errno);
}

static _Noreturn void hold(unsigned long number, int there, const int *go)
{
	unsigned long n = connections / (unsigned long)connecting +
			  (number < connections % (unsigned long)connecting);
	int *fds = malloc(n * sizeof *fds + 1);

	if (!fds)
		peer_fail("malloc", "descriptors", errno);
	for (unsigned long i = 0, part; i < n; i += part) {
		part = batch(n - i);
		for (unsigned long k = i; k < i + part; k++) {
			fds[k] = connecting_socket();
			connect_one(fds[k], k * (unsigned long)connecting + number);
		}
		exchange(fds + i, part);
	}
	meet(there, go[0]);
	for (unsigned long i = 0; i < n; i += batch(n - i))
		exchange(fds + i, batch(n - i));
	meet(there, go[1]);
	for (unsigned long i = 0; i < n; i++)
		(void)close(fds[i]);
	exit(0);
}

/* ---- the process that starts them ---- */

static pid_t start(int *pids_n, pid_t *pids)
{
	pid_t pid = fork();

	if (pid < 0)
		peer_fail("fork", "a process", errno);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		return 0;
	}
	pids[(*pids_n)++] = pid;
	return pid;
}

static void read_arguments(int argc, char **argv)
{
	struct rlimit limit;
	double each;

	if (argc > 1)
		connections = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		accepting = connecting = (int)strtol(argv[2], NULL, 10);
	if (argc < 2 || argc > 3 || !connections || (argc == 3 && accepting < 1)) {
		(void)fprintf(stderr, "usage: %s CONNECTIONS [PROCESSES-ON-EACH-SIDE]\n", argv[0]);
		exit(2);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* Some processes get more than their share of connections (bench/million says why). */
	each = (double)limit.rlim_cur * 0.78;
	if (!accepting) {
		accepting = 1 + (int)((double)connections / each);
		connecting = 1 + (int)(connections / (limit.rlim_cur - DESCRIPTORS));
	}
	if (accepting > PROCESSES_MAX)
		peer_fail("processes", argv[1], EMFILE);
	destinations = connections / PORTS_COMFORT + 1;
	listened = (struct sockaddr_in){.sin_family = AF_INET};
}

static void await_all(int there)
{
	char byte;

	for (int n = 0; n < connecting; n++)
		if (read(there, &byte, 1) != 1)
			exit(1); /* the process that failed has said why */
}

static void await_ends(void)
{
	for (int n = 0, status; n < connecting; n++)
		if (wait(&status) < 0 || status)
			exit(1);
}

static void start_servers(pid_t *servers)
{
	int n = 0;

	for (int i = 0; i < accepting; i++)
		listeners[i] = listen_once_more();
	for (int i = 0; i < accepting; i++)
		if (start(&n, servers) == 0) {
			close_listeners_but(i);
			serve(listeners[i]);
		}
	close_listeners_but(-1);
}

int main(int argc, char **argv)
{
	static pid_t servers[PROCESSES_MAX], clients[PROCESSES_MAX];
	int there[2], go[2][2], n = 0;
	double begun, ramp;

	read_arguments(argc, argv);
	(void)signal(SIGPIPE, SIG_IGN);
	start_servers(servers);
	if (pipe(there) < 0 || pipe(go[0]) < 0 || pipe(go[1]) < 0)
		peer_fail("pipe", "the processes", errno);
	begun = now_s();
	for (int i = 0; i < connecting; i++)
		if (start(&n, clients) == 0) {
			(void)close(there[0]);
			(void)close(go[0][1]);
			(void)close(go[1][1]);
			hold((unsigned long)i, there[1], (const int[]){go[0][0], go[1][0]});
		}
	(void)close(there[1]);
	await_all(there[0]);
	ramp = now_s() - begun;
	(void)sleep(1); /* holds all connections for a moment */
	begun = now_s();
	(void)close(go[0][1]);
	await_all(there[0]);
	(void)close(go[1][1]);
	await_ends();
	(void)printf(
	    "{\n  \"held\": %lu,\n  \"accepting_processes\": %d,\n  "
	    "\"connecting_processes\": %d,\n  \"ramp_s\": %.3f,\n  \"finish_s\": %.3f\n}\n",
	    connections, accepting, connecting, ramp, now_s() - begun);
	for (int i = 0; i < accepting; i++)
		(void)kill(servers[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}
