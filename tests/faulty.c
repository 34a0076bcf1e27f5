#include "tests/faulty.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/suite.h"

#define PEERS_MAX  256
#define SPAN_BYTES 24 /* of a fault that is longer than a byte */

struct faulty {
	enum fault fault;
	unsigned long every, since;
	struct pollfd fds[PEERS_MAX]; /* the first is the listener */
	nfds_t n;
	unsigned char before[SPAN_BYTES]; /* the last bytes of another connection */
	nfds_t before_of;
};

static void send_whole(int fd, const unsigned char *bytes, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return;
		bytes += sent;
		n -= (size_t)sent;
	}
}

/* Answers n bytes with a fault at byte `at`. */
static void answer_wrongly(struct faulty *faulty, nfds_t i, unsigned char *bytes, size_t n,
			   size_t at)
{
	int fd = faulty->fds[i].fd;
	size_t span = n - at < SPAN_BYTES ? n - at : SPAN_BYTES;
	unsigned char byte = bytes[at];

	switch (faulty->fault) {
	case FAULT_DROP:
		memmove(bytes + at, bytes + at + 1, n - at - 1);
		n--;
		break;
	case FAULT_DOUBLE:
		send_whole(fd, bytes, at + span);
		bytes += at;
		n -= at;
		break;
	case FAULT_SWAP:
		if (at + 1 < n && byte != bytes[at + 1]) {
			bytes[at] = bytes[at + 1];
			bytes[at + 1] = byte;
		} else {
			bytes[at] ^= 1;
		}
		break;
	case FAULT_ALTER:
		bytes[at] ^= 1;
		break;
	case FAULT_FOREIGN:
		memcpy(bytes + at, faulty->before, span);
		break;
	case FAULT_EXTRA:
		send_whole(fd, bytes, n);
		n = 3;
		memcpy(bytes, "\0\0\0", n);
		break;
	case FAULT_CLOSE:
		(void)shutdown(fd, SHUT_RDWR);
		return;
	default:
		break;
	}
	send_whole(fd, bytes, n);
}

static bool fault_fits(const struct faulty *faulty, nfds_t i, size_t n, size_t at)
{
	if (faulty->fault == FAULT_FOREIGN)
		return n - at >= SPAN_BYTES && faulty->before_of && faulty->before_of != i;
	if (faulty->fault == FAULT_DROP || faulty->fault == FAULT_SWAP)
		return n - at >= SPAN_BYTES;
	return true;
}

static void answer(struct faulty *faulty, nfds_t i, unsigned char *bytes, size_t n)
{
	faulty->since += n;
	if (faulty->fault < FAULT_MUTE && faulty->fault != FAULT_NONE &&
	    faulty->since >= faulty->every) {
		size_t at = n / 3;

		if (fault_fits(faulty, i, n, at)) {
			faulty->since = 0;
			answer_wrongly(faulty, i, bytes, n, at);
			return;
		}
	}
	if (n >= SPAN_BYTES) {
		memcpy(faulty->before, bytes + n - SPAN_BYTES, SPAN_BYTES);
		faulty->before_of = i;
	}
	send_whole(faulty->fds[i].fd, bytes, n);
}

static void serve_one(struct faulty *faulty, nfds_t i)
{
	static unsigned char bytes[65536];
	ssize_t n = read(faulty->fds[i].fd, bytes, sizeof bytes);

	if (n > 0 && faulty->fault == FAULT_MUTE)
		return;
	if (n > 0 && faulty->fault == FAULT_SLOW)
		(void)usleep(5000); /* what it is there for */
	if (n > 0) {
		answer(faulty, i, bytes, (size_t)n);
		return;
	}
	(void)close(faulty->fds[i].fd);
	faulty->fds[i].fd = -1; /* poll leaves it out; the place is taken again */
}

static void accept_one(struct faulty *faulty)
{
	int fd = accept4(faulty->fds[0].fd, NULL, NULL, SOCK_CLOEXEC), on = 1;
	nfds_t i = 1;

	if (fd < 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (faulty->fault == FAULT_BABBLE)
		send_whole(fd, (const unsigned char *)"hello", 5);
	while (i < faulty->n && faulty->fds[i].fd >= 0)
		i++;
	if (i == PEERS_MAX) {
		(void)close(fd);
		return;
	}
	if (i == faulty->n)
		faulty->n++;
	faulty->fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static _Noreturn void faulty_serve(struct faulty *faulty)
{
	for (;;) {
		if (poll(faulty->fds, faulty->n, -1) < 0)
			continue;
		for (nfds_t i = 1; i < faulty->n; i++)
			if (faulty->fds[i].fd >= 0 && faulty->fds[i].revents)
				serve_one(faulty, i);
		if (faulty->fds[0].revents)
			accept_one(faulty);
	}
}

/* A socket that listens on a free port. */
static int listen_somewhere(unsigned *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

pid_t faulty_start(enum fault fault, unsigned long every, unsigned *port)
{
	static struct faulty faulty;
	int fd = listen_somewhere(port);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		faulty = (struct faulty){.fault = fault, .every = every, .n = 1};
		faulty.fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
		faulty_serve(&faulty);
	}
	(void)close(fd);
	return pid;
}

/* ---- chat ---- */

#define LINE_BYTES  4096
#define QUEUE_BYTES (1 << 20) /* a client that lets more wait is closed */

struct client {
	unsigned char line[LINE_BYTES], held[LINE_BYTES]; /* not whole yet; kept to be late */
	size_t line_n, held_n;
	nfds_t held_of;
	unsigned char *queue; /* from queue_begin on, not sent yet */
	size_t queue_begin, queue_end;
	bool deaf;
};

struct faulty_chat {
	enum chat_fault fault;
	unsigned long every, since;
	struct pollfd fds[PEERS_MAX]; /* the first is the listener */
	struct client clients[PEERS_MAX];
	nfds_t n;
};

static void client_close(struct faulty_chat *chat, nfds_t i)
{
	(void)close(chat->fds[i].fd);
	chat->fds[i].fd = -1;
	free(chat->clients[i].queue);
	chat->clients[i] = (struct client){0};
}

static void client_flush(struct faulty_chat *chat, nfds_t i)
{
	struct client *client = &chat->clients[i];
	ssize_t n = send(chat->fds[i].fd, client->queue + client->queue_begin,
			 client->queue_end - client->queue_begin, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		client->queue_begin += (size_t)n;
	if (client->queue_begin == client->queue_end)
		client->queue_begin = client->queue_end = 0;
	chat->fds[i].events = client->queue_end ? POLLIN | POLLOUT : POLLIN;
}

static void client_send(struct faulty_chat *chat, nfds_t i, const unsigned char *line, size_t n)
{
	struct client *client = &chat->clients[i];

	if (chat->fds[i].fd < 0)
		return;
	if (client->queue_end + n > QUEUE_BYTES) {
		client->queue_end -= client->queue_begin;
		memmove(client->queue, client->queue + client->queue_begin, client->queue_end);
		client->queue_begin = 0;
	}
	if (client->queue_end + n > QUEUE_BYTES) {
		client_close(chat, i);
		return;
	}
	memcpy(client->queue + client->queue_end, line, n);
	client->queue_end += n;
	client_flush(chat, i);
}

static void deliver_wrongly(struct faulty_chat *chat, nfds_t i, nfds_t from,
			    const unsigned char *line, size_t n)
{
	struct client *client = &chat->clients[i];
	unsigned char other[LINE_BYTES];
	size_t at = n / 3;

	memcpy(other, line, n);
	switch (chat->fault) {
	case CHAT_FAULT_LOSE:
		return;
	case CHAT_FAULT_DOUBLE:
		client_send(chat, i, line, n);
		break;
	case CHAT_FAULT_SWAP:
		memcpy(client->held, line, n);
		client->held_n = n;
		client->held_of = from;
		return;
	case CHAT_FAULT_ALTER:
		other[at] ^= 1;
		break;
	case CHAT_FAULT_SHORTEN:
		memmove(other + at, other + at + 1, n - at - 1);
		n--;
		break;
	case CHAT_FAULT_ECHO:
		client_send(chat, from, line, n);
		break;
	case CHAT_FAULT_DEAF:
		client->deaf = true;
		chat->fault = CHAT_FAULT_NONE; /* one is enough */
		return;
	case CHAT_FAULT_CLOSE:
		(void)shutdown(chat->fds[i].fd, SHUT_WR);
		client->deaf = true;
		chat->fault = CHAT_FAULT_NONE;
		return;
	default:
		break;
	}
	client_send(chat, i, other, n);
}

static void deliver(struct faulty_chat *chat, nfds_t i, nfds_t from, const unsigned char *line,
		    size_t n)
{
	struct client *client = &chat->clients[i];

	if (chat->fds[i].fd < 0 || client->deaf || chat->fault == CHAT_FAULT_MUTE)
		return;
	if (chat->fault != CHAT_FAULT_NONE && !client->held_n && ++chat->since >= chat->every) {
		chat->since = 0;
		deliver_wrongly(chat, i, from, line, n);
		return;
	}
	client_send(chat, i, line, n);
	if (client->held_n && client->held_of == from) {
		n = client->held_n;
		client->held_n = 0;
		client_send(chat, i, client->held, n);
	}
}

static void client_read(struct faulty_chat *chat, nfds_t from)
{
	static unsigned char bytes[65536];
	struct client *client = &chat->clients[from];
	ssize_t n = read(chat->fds[from].fd, bytes, sizeof bytes);

	if (n <= 0 && client->queue_end) { /* what is owed goes first */
		chat->fds[from].events = POLLOUT;
		return;
	}
	if (n <= 0) {
		client_close(chat, from);
		return;
	}
	for (ssize_t k = 0; k < n; k++) {
		if (client->line_n == LINE_BYTES)
			client->line_n = 0;
		client->line[client->line_n++] = bytes[k];
		if (bytes[k] != '\n')
			continue;
		for (nfds_t i = 1; i < chat->n; i++)
			if (i != from)
				deliver(chat, i, from, client->line, client->line_n);
		client->line_n = 0;
	}
}

static void client_accept(struct faulty_chat *chat)
{
	int fd = accept4(chat->fds[0].fd, NULL, NULL, SOCK_CLOEXEC), on = 1;
	nfds_t i = 1;

	if (fd < 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	while (i < chat->n && chat->fds[i].fd >= 0)
		i++;
	if (i == PEERS_MAX) {
		(void)close(fd);
		return;
	}
	if (i == chat->n)
		chat->n++;
	chat->fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	chat->clients[i] = (struct client){.queue = malloc(QUEUE_BYTES)};
}

static _Noreturn void faulty_chat_serve(struct faulty_chat *chat)
{
	for (;;) {
		if (poll(chat->fds, chat->n, -1) < 0)
			continue;
		for (nfds_t i = 1; i < chat->n; i++) {
			if (chat->fds[i].fd >= 0 && chat->fds[i].revents & POLLOUT)
				client_flush(chat, i);
			if (chat->fds[i].fd >= 0 && chat->fds[i].revents & ~POLLOUT)
				client_read(chat, i);
		}
		if (chat->fds[0].revents)
			client_accept(chat);
	}
}

pid_t faulty_chat_start(enum chat_fault fault, unsigned long every, unsigned *port)
{
	static struct faulty_chat chat;
	int fd = listen_somewhere(port);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		chat = (struct faulty_chat){.fault = fault, .every = every, .n = 1};
		chat.fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
		faulty_chat_serve(&chat);
	}
	(void)close(fd);
	return pid;
}
