#include "tests/support/servers/faulty.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/servers/faulty_peers.h"

#define SPAN_BYTES  24 /* the length of a fault that is longer than a byte */
#define EXTRA_BYTES 3

static struct faulty_count *counted;

const struct faulty_count *faulty_counted(void)
{
	return counted;
}

static void count_anew(void)
{
	counted =
	    mmap(NULL, sizeof *counted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(counted, MAP_FAILED);
}

struct faulty {
	struct faulty_peers peers;
	enum fault fault;
	unsigned long every, since;
	unsigned char before[SPAN_BYTES]; /* the last bytes of another connection */
	nfds_t before_of;
	bool answered[FAULTY_PEERS_MAX]; /* whether this connection has got an answer */
};

/* Answers n bytes with a fault at byte `at`; after them there is room for EXTRA_BYTES. */
static void answer_wrongly(struct faulty *faulty, nfds_t i, unsigned char *bytes, size_t n,
			   size_t at)
{
	size_t span = n - at < SPAN_BYTES ? n - at : SPAN_BYTES;
	unsigned char byte = bytes[at];

	switch (faulty->fault) {
	case FAULT_DROP:
		memmove(bytes + at, bytes + at + 1, n - at - 1);
		n--;
		break;
	case FAULT_DOUBLE:
		faulty_peers_send(&faulty->peers, i, bytes, at + span);
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
		/* In one piece: bytes that came later might be taken for the next reply. */
		memset(bytes + n, 0, EXTRA_BYTES);
		n += EXTRA_BYTES;
		break;
	case FAULT_CLOSE:
		(void)shutdown(faulty->peers.fds[i].fd, SHUT_RDWR);
		return;
	default:
		break;
	}
	faulty_peers_send(&faulty->peers, i, bytes, n);
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
			counted->faults++;
			answer_wrongly(faulty, i, bytes, n, at);
			return;
		}
	}
	if (n >= SPAN_BYTES) {
		memcpy(faulty->before, bytes + n - SPAN_BYTES, SPAN_BYTES);
		faulty->before_of = i;
	}
	faulty_peers_send(&faulty->peers, i, bytes, n);
}

static void faulty_turn(struct faulty_peers *peers, nfds_t i)
{
	static unsigned char bytes[65536];
	struct faulty *faulty = (struct faulty *)peers;
	ssize_t n = read(peers->fds[i].fd, bytes, sizeof bytes - EXTRA_BYTES);

	if (n > 0)
		counted->units += (size_t)n;
	if (n > 0 && faulty->fault == FAULT_MUTE)
		return;
	if (n > 0 && faulty->fault == FAULT_TLS) {
		faulty_peers_send(peers, i, "\x15\x03\x01\x00\x02\x02\x0a", 7);
		return;
	}
	if (n > 0 && faulty->fault == FAULT_SLOW)
		(void)usleep(5000); /* the delay is this server's fault, not a wait */
	if (n > 0 && faulty->fault == FAULT_TIRED && faulty->answered[i])
		(void)usleep(8000);
	faulty->answered[i] = true;
	if (n > 0)
		answer(faulty, i, bytes, (size_t)n);
	else
		faulty_peers_close(peers, i);
}

static void faulty_came(struct faulty_peers *peers, nfds_t i)
{
	((struct faulty *)peers)->answered[i] = false;
	if (((struct faulty *)peers)->fault == FAULT_BABBLE)
		faulty_peers_send(peers, i, "hello", 5);
}

pid_t faulty_start(enum fault fault, unsigned long every, unsigned *port)
{
	static struct faulty faulty;
	pid_t pid;

	count_anew();
	pid = faulty_peers_fork(&faulty.peers, port);
	if (pid == 0) {
		faulty.fault = fault;
		faulty.every = every;
		faulty_peers_run(&faulty.peers, faulty_came, faulty_turn);
	}
	return pid;
}

/* ---- chat ---- */

#define LINE_BYTES  4096
#define QUEUE_BYTES (1 << 20) /* if more waits to be sent, the client is closed */

struct client {
	/* What has come of a line of this client; a line to it that is held back, to be late. */
	unsigned char line[LINE_BYTES], held[LINE_BYTES];
	size_t line_n, held_n;
	nfds_t held_of;
	unsigned char *queue; /* to be sent, from queue_begin on */
	size_t queue_begin, queue_end;
	bool deaf;
};

struct faulty_chat {
	struct faulty_peers peers;
	enum chat_fault fault;
	unsigned long every, since;
	struct client clients[FAULTY_PEERS_MAX];
};

static void client_close(struct faulty_chat *chat, nfds_t i)
{
	faulty_peers_close(&chat->peers, i);
	free(chat->clients[i].queue);
	chat->clients[i] = (struct client){0};
}

static void client_flush(struct faulty_chat *chat, nfds_t i)
{
	struct client *client = &chat->clients[i];
	ssize_t n = send(chat->peers.fds[i].fd, client->queue + client->queue_begin,
			 client->queue_end - client->queue_begin, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		client->queue_begin += (size_t)n;
	if (client->queue_begin == client->queue_end)
		client->queue_begin = client->queue_end = 0;
	chat->peers.fds[i].events = client->queue_end ? POLLIN | POLLOUT : POLLIN;
}

static void client_send(struct faulty_chat *chat, nfds_t i, const unsigned char *line, size_t n)
{
	struct client *client = &chat->clients[i];

	if (chat->peers.fds[i].fd < 0)
		return;
	if (client->queue_end + n > QUEUE_BYTES) {
		client->queue_end -= client->queue_begin;
		memmove(client->queue, client->queue + client->queue_begin, client->queue_end);
		client->queue_begin = 0;
	}
	if (client->queue_end + n > QUEUE_BYTES) {
		counted->closed++;
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
		chat->fault = CHAT_FAULT_NONE; /* one such client is enough */
		return;
	case CHAT_FAULT_CLOSE:
		(void)shutdown(chat->peers.fds[i].fd, SHUT_WR);
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

	if (chat->peers.fds[i].fd < 0 || client->deaf || chat->fault == CHAT_FAULT_MUTE)
		return;
	counted->units++;
	if (chat->fault != CHAT_FAULT_NONE && !client->held_n && ++chat->since >= chat->every) {
		chat->since = 0;
		counted->faults++;
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
	ssize_t n = read(chat->peers.fds[from].fd, bytes, sizeof bytes);

	if (n <= 0 && client->queue_end) { /* what is owed is sent first */
		chat->peers.fds[from].events = POLLOUT;
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
		for (nfds_t i = 1; i < chat->peers.n; i++)
			if (i != from)
				deliver(chat, i, from, client->line, client->line_n);
		client->line_n = 0;
	}
}

static void chat_came(struct faulty_peers *peers, nfds_t i)
{
	struct faulty_chat *chat = (struct faulty_chat *)peers;

	chat->clients[i] = (struct client){.queue = malloc(QUEUE_BYTES)};
}

static void chat_turn(struct faulty_peers *peers, nfds_t i)
{
	struct faulty_chat *chat = (struct faulty_chat *)peers;

	if (peers->fds[i].revents & POLLOUT)
		client_flush(chat, i);
	if (peers->fds[i].revents & ~POLLOUT)
		client_read(chat, i);
}

pid_t faulty_chat_start(enum chat_fault fault, unsigned long every, unsigned *port)
{
	static struct faulty_chat chat;
	pid_t pid;

	count_anew();
	pid = faulty_peers_fork(&chat.peers, port);
	if (pid == 0) {
		chat.fault = fault;
		chat.every = every;
		faulty_peers_run(&chat.peers, chat_came, chat_turn);
	}
	return pid;
}
