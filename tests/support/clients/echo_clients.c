#include "tests/support/clients/echo_clients.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (64u << 10)

uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Neighbouring bytes differ, streams of different clients differ, and there is no short period. */
static unsigned char byte_at(unsigned caller, uint64_t at)
{
	return (unsigned char)(caller * 89 + at * 7 + at / 251 + (caller ^ at >> 16));
}

void echo_clients_open(struct echo_clients *clients, struct server *server, unsigned max)
{
	*clients = (struct echo_clients){.server = server,
					 .epfd = epoll_create1(EPOLL_CLOEXEC),
					 .callers = calloc(max, sizeof(struct caller)),
					 .max = max};
	ck_assert(clients->callers && clients->epfd >= 0);
}

void echo_clients_close(struct echo_clients *clients)
{
	for (unsigned i = 0; i < clients->n; i++)
		if (!clients->callers[i].gone)
			(void)close(clients->callers[i].fd);
	free(clients->callers);
	(void)close(clients->epfd);
}

unsigned echo_clients_join(struct echo_clients *clients, int fd)
{
	unsigned number = clients->n++;
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = number};

	ck_assert_uint_lt(number, clients->max);
	clients->callers[number] = (struct caller){.fd = fd};
	set_nonblocking(fd);
	ck_assert_int_eq(epoll_ctl(clients->epfd, EPOLL_CTL_ADD, fd, &event), 0);
	return number;
}

unsigned echo_clients_join_known(struct echo_clients *clients, int fd, unsigned workers)
{
	const char *name = "connections";
	unsigned number = echo_clients_join(clients, fd), before[64], slot;
	struct wait wait = wait_begin();

	/* Clients joined one at a time, so a worker with one connection more has this one. */
	memset(before, 0, sizeof before);
	for (unsigned i = 0; i < number; i++)
		before[clients->callers[i].slot] += !clients->callers[i].gone;
	for (slot = 0; server_worker_stat(clients->server, slot, name) <= before[slot];
	     slot = (slot + 1) % workers)
		if (slot == workers - 1)
			wait_more(&wait, "a connection to be let in");
	clients->callers[number].slot = slot;
	return number;
}

static void caller_leave(struct echo_clients *clients, struct caller *caller)
{
	caller->gone = true;
	clients->gone_n++;
	(void)close(caller->fd);
}

void echo_clients_say(struct echo_clients *clients, unsigned number, size_t n)
{
	struct caller *caller = &clients->callers[number];
	unsigned char bytes[4096];
	ssize_t sent;

	ck_assert(n <= sizeof bytes && !caller->gone);
	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_at(number, caller->sent + i);
	if (caller->sent == caller->back)
		caller->since_us = now_us();
	sent = send(caller->fd, bytes, n, MSG_NOSIGNAL);
	if (sent > 0)
		caller->sent += (uint64_t)sent;
	else if (errno != EAGAIN)
		caller_leave(clients, caller);
}

static void caller_hear(struct echo_clients *clients, struct caller *caller)
{
	static unsigned char bytes[READ_BYTES];
	unsigned number = (unsigned)(caller - clients->callers);
	ssize_t came = recv(caller->fd, bytes, sizeof bytes, 0);

	if (came <= 0) {
		if (came == 0 || errno != EAGAIN)
			caller_leave(clients, caller);
		return;
	}
	if (caller->back + (uint64_t)came > caller->sent)
		ck_abort_msg("caller %u got more than it sent", number);
	for (ssize_t i = 0; i < came; i++, caller->back++)
		if (bytes[i] != byte_at(number, caller->back))
			ck_abort_msg("caller %u got another byte than it sent, at %llu", number,
				     (unsigned long long)caller->back);
	if (caller->back == caller->sent) {
		uint64_t waited_us = now_us() - caller->since_us;

		if (waited_us > caller->longest_us)
			caller->longest_us = waited_us;
		caller->due_us = 0;
	}
}

bool echo_clients_listen(struct echo_clients *clients, int wait_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(clients->epfd, events, 256, wait_ms);

	for (int i = 0; i < n; i++)
		caller_hear(clients, &clients->callers[events[i].data.u32]);
	return n > 0;
}

static bool has_all(const struct echo_clients *clients)
{
	for (unsigned i = 0; i < clients->n; i++)
		if (!clients->callers[i].gone &&
		    clients->callers[i].back != clients->callers[i].sent)
			return false;
	return true;
}

void echo_clients_hear_all(struct echo_clients *clients)
{
	struct wait wait = wait_begin();

	while (!has_all(clients)) {
		if (echo_clients_listen(clients, 1))
			wait = wait_begin();
		wait_more(&wait, "all that was sent to come back");
	}
}

void echo_clients_pace(struct echo_clients *clients, size_t n, uint64_t pause_us)
{
	uint64_t us = now_us();

	for (unsigned i = 0; i < clients->n; i++) {
		struct caller *caller = &clients->callers[i];

		if (caller->gone || caller->back != caller->sent)
			continue;
		if (!caller->due_us)
			caller->due_us = us + pause_us;
		else if (caller->due_us <= us)
			echo_clients_say(clients, i, n);
	}
	(void)echo_clients_listen(clients, 1);
}
