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

/* Neighbours in a stream differ, and streams do, and it has no short period. */
static unsigned char byte_at(unsigned caller, uint64_t at)
{
	return (unsigned char)(caller * 89 + at * 7 + at / 251 + (caller ^ at >> 16));
}

void throng_open(struct throng *throng, struct server *server, unsigned max)
{
	*throng = (struct throng){.server = server,
				  .epfd = epoll_create1(EPOLL_CLOEXEC),
				  .callers = calloc(max, sizeof(struct caller)),
				  .max = max};
	ck_assert(throng->callers && throng->epfd >= 0);
}

void throng_close(struct throng *throng)
{
	for (unsigned i = 0; i < throng->n; i++)
		if (!throng->callers[i].gone)
			(void)close(throng->callers[i].fd);
	free(throng->callers);
	(void)close(throng->epfd);
}

unsigned throng_join(struct throng *throng, int fd)
{
	unsigned number = throng->n++;
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = number};

	ck_assert_uint_lt(number, throng->max);
	throng->callers[number] = (struct caller){.fd = fd};
	set_nonblocking(fd);
	ck_assert_int_eq(epoll_ctl(throng->epfd, EPOLL_CTL_ADD, fd, &event), 0);
	return number;
}

unsigned throng_join_known(struct throng *throng, int fd, unsigned workers)
{
	const char *name = "connections";
	unsigned number = throng_join(throng, fd), before[64], slot;
	struct wait wait = wait_begin();

	/* Those who came before have come, each alone: the one that is more is this one. */
	memset(before, 0, sizeof before);
	for (unsigned i = 0; i < number; i++)
		before[throng->callers[i].slot] += !throng->callers[i].gone;
	for (slot = 0; server_worker_stat(throng->server, slot, name) <= before[slot];
	     slot = (slot + 1) % workers)
		if (slot == workers - 1)
			wait_more(&wait, "a connection to be let in");
	throng->callers[number].slot = slot;
	return number;
}

static void caller_leave(struct throng *throng, struct caller *caller)
{
	caller->gone = true;
	throng->gone_n++;
	(void)close(caller->fd);
}

void throng_say(struct throng *throng, unsigned number, size_t n)
{
	struct caller *caller = &throng->callers[number];
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
		caller_leave(throng, caller);
}

static void caller_hear(struct throng *throng, struct caller *caller)
{
	static unsigned char bytes[READ_BYTES];
	unsigned number = (unsigned)(caller - throng->callers);
	ssize_t came = recv(caller->fd, bytes, sizeof bytes, 0);

	if (came <= 0) {
		if (came == 0 || errno != EAGAIN)
			caller_leave(throng, caller);
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

bool throng_listen(struct throng *throng, int wait_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(throng->epfd, events, 256, wait_ms);

	for (int i = 0; i < n; i++)
		caller_hear(throng, &throng->callers[events[i].data.u32]);
	return n > 0;
}

static bool has_all(const struct throng *throng)
{
	for (unsigned i = 0; i < throng->n; i++)
		if (!throng->callers[i].gone && throng->callers[i].back != throng->callers[i].sent)
			return false;
	return true;
}

void throng_hear_all(struct throng *throng)
{
	struct wait wait = wait_begin();

	while (!has_all(throng)) {
		if (throng_listen(throng, 1))
			wait = wait_begin();
		wait_more(&wait, "all that was sent to come back");
	}
}

void throng_pace(struct throng *throng, size_t n, uint64_t pause_us)
{
	uint64_t us = now_us();

	for (unsigned i = 0; i < throng->n; i++) {
		struct caller *caller = &throng->callers[i];

		if (caller->gone || caller->back != caller->sent)
			continue;
		if (!caller->due_us)
			caller->due_us = us + pause_us;
		else if (caller->due_us <= us)
			throng_say(throng, i, n);
	}
	(void)throng_listen(throng, 1);
}
