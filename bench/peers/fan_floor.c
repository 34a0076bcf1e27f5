/*
 * fan_floor: the barest way to say to all what one says. weir's chat is compared with it.
 *
 *     fan_floor [-w PROCESSES] chat://HOST:PORT...
 *
 * What comes on a connection is written, with one write for each, to every other connection of the
 * same port. One edge-triggered epoll loop; nothing is parsed, and nothing is kept. A short read
 * has drained a socket, unless the peer's end was reported with it.
 *
 * One process holds no more connections than it may have descriptors. With -w there are several
 * such loops, each with listening sockets of its own (SO_REUSEPORT). Whoever has read something
 * also hands it to each other process, one record with the number of its port; these write it to
 * their connections. A record costs two calls for some ten thousand deliveries.
 *
 * Gives up: everything else. It finds no line in what it reads: of two clients that write at once,
 * a line may end up within another. There is no order that is the same for everybody. A peer that
 * does not read, so that a write is short, ends the program with a message; so do a process that
 * does not take the records of others, a lack of descriptors, and the end of one of the processes.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/peers/peer.h"

#define BUFFER_BYTES  (16 * 1024)
#define EVENTS	      256
#define PORTS_MAX     16
#define PROCESSES_MAX 256

enum kind { NONE, LISTENER, CLIENT, RECORDS };

/* What a descriptor of this process is. */
struct seat {
	unsigned char kind, port;
	unsigned place; /* of a client, in members[] of its port */
};

struct port {
	struct address address;
	const char *name;
	int listeners[PROCESSES_MAX]; /* by process: each closes those of the others */
	int *members;		      /* the clients that this process has */
	size_t members_n;
};

static struct port ports[PORTS_MAX];
static size_t ports_n;
static struct seat *seats; /* by descriptor */
static unsigned long descriptors;
static int processes = 1, self;
/* By process: what others write to, and where it reads. */
static int records_to[PROCESSES_MAX], records_from[PROCESSES_MAX];
/* The number of a port, and the bytes that came there: a record as it stands. */
static unsigned char record[1 + BUFFER_BYTES];

/* ---- out ---- */

/* A peer that has gone is left to the event that says so. */
static void say(const struct port *port, size_t n, int except)
{
	for (size_t i = 0; i < port->members_n; i++) {
		int fd = port->members[i];
		ssize_t written = fd == except ? (ssize_t)n : write(fd, record + 1, n);

		if (written != (ssize_t)n &&
		    (written >= 0 || (errno != EPIPE && errno != ECONNRESET)))
			peer_fail("write", "a client that does not read",
				  written < 0 ? errno : EAGAIN);
	}
}

static void hand_on(size_t n)
{
	for (int i = 0; i < processes; i++)
		if (i != self && send(records_to[i], record, 1 + n, MSG_DONTWAIT) < 0)
			peer_fail("send", "a process that does not take what others read", errno);
}

/* ---- in ---- */

static void client_leaves(int fd)
{
	struct seat *seat = &seats[fd];
	struct port *port = &ports[seat->port];
	int last = port->members[--port->members_n];

	port->members[seat->place] = last;
	seats[last].place = seat->place;
	seat->kind = NONE;
	(void)close(fd);
}

static void client_says(int fd, bool to_its_end)
{
	ssize_t n;

	do {
		record[0] = seats[fd].port;
		n = read(fd, record + 1, BUFFER_BYTES);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			client_leaves(fd);
			return;
		}
		say(&ports[record[0]], (size_t)n, fd);
		hand_on((size_t)n);
	} while (to_its_end || n == BUFFER_BYTES);
}

static void records_come(int fd)
{
	ssize_t n;

	while ((n = recv(fd, record, sizeof record, 0)) > 0)
		say(&ports[record[0]], (size_t)n - 1, -1);
	if (n == 0 || errno != EAGAIN)
		peer_fail("recv", "the records of others", n ? errno : EPIPE);
}

static void watch(int ep, int fd, enum kind kind, unsigned char port)
{
	struct epoll_event event = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.fd = fd}};

	if (kind == LISTENER)
		event.events = EPOLLIN | EPOLLET;
	seats[fd] = (struct seat){.kind = (unsigned char)kind, .port = port};
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0)
		peer_fail("epoll_ctl", ports[port].name, errno);
}

static void clients_come(int ep, int listener)
{
	unsigned char number = seats[listener].port;
	struct port *port = &ports[number];
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		watch(ep, fd, CLIENT, number);
		seats[fd].place = (unsigned)port->members_n;
		port->members[port->members_n++] = fd;
	}
	if (errno != EAGAIN)
		peer_fail("accept4", port->name, errno);
}

/* ---- processes ---- */

/* The end of any process is the end of all. */
static void on_child(int signal)
{
	(void)signal;
	_exit(1);
}

/* The process that was started is number 0. */
static void start_others(void)
{
	(void)signal(SIGCHLD, on_child);
	for (int i = 1; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			peer_fail("fork", "a process", errno);
		if (pid > 0)
			continue;
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)signal(SIGCHLD, SIG_DFL);
		self = i;
		return;
	}
}

static void listen_all(void)
{
	int pair[2], firsts[PORTS_MAX];

	for (size_t k = 0; k < ports_n; k++) {
		struct port *port = &ports[k];

		for (int i = 0; i < processes; i++)
			port->listeners[i] =
			    processes == 1
				? peer_listen(&port->address, port->name, SOCK_NONBLOCK)
				: peer_listen_too(&port->address, port->name, SOCK_NONBLOCK);
		firsts[k] = port->listeners[0];
	}
	for (int i = 0; i < processes && processes > 1; i++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
			peer_fail("socketpair", "the processes", errno);
		records_to[i] = pair[0];
		records_from[i] = pair[1];
	}
	peer_all_ready(firsts, ports_n);
}

static void keep_what_is_ours(int ep)
{
	for (int i = 0; i < processes; i++) {
		for (size_t k = 0; k < ports_n; k++)
			if (i == self)
				watch(ep, ports[k].listeners[i], LISTENER, (unsigned char)k);
			else
				(void)close(ports[k].listeners[i]);
		if (processes > 1 && i == self)
			watch(ep, records_from[i], RECORDS, 0);
		else if (processes > 1)
			(void)close(records_from[i]);
	}
}

static void read_arguments(int argc, char **argv)
{
	int at = 1;

	descriptors = peer_prepare();
	if (argc > 2 && strcmp(argv[1], "-w") == 0) {
		processes = (int)strtol(argv[2], NULL, 10);
		at = 3;
	}
	if (processes < 1 || processes > PROCESSES_MAX)
		peer_usage(argv[0], argv[2], "not a number of processes from 1 to 256");
	if (at == argc || argc - at > PORTS_MAX)
		peer_usage(argv[0], "LISTENER", "from 1 to 16 of them");
	seats = calloc(descriptors, sizeof *seats);
	for (; at < argc; at++) {
		struct port *port = &ports[ports_n++];

		peer_parse(&port->address, argv[0], argv[at], "chat");
		port->name = argv[at];
		port->members = calloc(descriptors, sizeof *port->members);
		if (!seats || !port->members)
			peer_fail("calloc", argv[at], errno);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];
	int ep;

	read_arguments(argc, argv);
	listen_all();
	start_others();
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (ep < 0)
		peer_fail("epoll_create1", argv[0], errno);
	keep_what_is_ours(ep);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			/* A client that has gone during this round has none. */
			if (seats[fd].kind == CLIENT)
				client_says(fd, events[i].events & ~(uint32_t)EPOLLIN);
			else if (seats[fd].kind == RECORDS)
				records_come(fd);
		}
		/* Last, so that no event is left for a descriptor number that a new client gets. */
		for (int i = 0; i < n; i++)
			if (seats[events[i].data.fd].kind == LISTENER)
				clients_come(ep, events[i].data.fd);
	}
}
