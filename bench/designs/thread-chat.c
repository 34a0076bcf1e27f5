/*
 * thread-chat: chat as textbooks write it: a thread for each client, one list of clients, one lock.
 *
 * Teaches: how little a chat needs. A thread reads its client's lines and writes each of them to
 * all others. The lock keeps the list and each line whole, and each sender's lines in order.
 * Breaks: on one client that does not read. When its socket is full (here after 1.6 MB), write()
 * waits and holds the lock: no line is sent, new clients wait to be put into the list, and those
 * that leave wait to be taken out of it. TCP does not end that: the kernel goes on asking whether
 * the window has opened for as long as the peer's kernel answers.
 * Costs, if all read: a write for each line and client (39,600 for 400 lines to 99 others), as no
 * two lines are sent by one write. The lock is held for all writes of a line, 3 ms with 1,000
 * clients, so that no number of CPUs sends more than some 300 lines a second. Each line costs a
 * switch to the sender's thread and one away from it; each client costs a stack. Control bytes
 * reach other people's terminals as they were sent.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "bench/designs/serve.h"
#include "reactor/base/check.h"
#include "reactor/base/list.h"

#define STACK_BYTES (64 * 1024)
#define LINE_BYTES  16000 /* its \n not counted */

/* On the stack of its thread; the thread takes it out of the list before it ends. */
struct member {
	struct list link;
	int fd;
};

static struct serve serve = {.chat = true};
static struct list members = {&members, &members};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Returns only when the kernel has taken all of it. If the client has gone, that is left to its own
 * thread, whose read() will say so. */
static void write_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t written = write(fd, bytes, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return;
		bytes += written;
		n -= (size_t)written;
	}
}

static void broadcast(const struct member *from, const char *line, size_t n)
{
	(void)pthread_mutex_lock(&lock);
	LIST_EACH (&members, link) {
		const struct member *to = CONTAINER_OF(link, struct member, link);

		if (to != from)
			write_all(to->fd, line, n);
	}
	(void)pthread_mutex_unlock(&lock);
}

/* Sends on the whole lines among n bytes. Returns how many bytes they have. */
static size_t broadcast_lines(const struct member *from, const char *bytes, size_t n)
{
	size_t used = 0;
	const char *end;

	while ((end = memchr(bytes + used, '\n', n - used))) {
		size_t line_n = (size_t)(end + 1 - bytes) - used;

		broadcast(from, bytes + used, line_n);
		used += line_n;
	}
	return used;
}

/* Returns when the client ends its side, is gone, or sends a line that is too long. */
static void relay(const struct member *member)
{
	char bytes[LINE_BYTES + 1];
	size_t n = 0;

	while (n < sizeof bytes) {
		ssize_t came = read(member->fd, bytes + n, sizeof bytes - n);
		size_t used;

		if (came < 0 && errno == EINTR)
			continue;
		if (came <= 0)
			return;
		n += (size_t)came;
		used = broadcast_lines(member, bytes, n);
		n -= used;
		memmove(bytes, bytes + used, n);
	}
}

static void *work(void *connection)
{
	struct member member = {.fd = (int)(intptr_t)connection};

	(void)pthread_mutex_lock(&lock);
	list_append(&members, &member.link);
	(void)pthread_mutex_unlock(&lock);
	relay(&member);
	(void)pthread_mutex_lock(&lock);
	list_remove(&member.link);
	(void)pthread_mutex_unlock(&lock);
	(void)close(member.fd);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_attr_t attributes;

	serve_open(&serve, argc, argv);
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_attr_setstacksize(&attributes, STACK_BYTES))
		die("a stack of %d bytes is too small here", STACK_BYTES);
	serve_ready(&serve);
	for (;;) {
		int fd = serve_accept(&serve);
		pthread_t thread;
		int error = pthread_create(&thread, &attributes, work, (void *)(intptr_t)fd);

		if (error) {
			serve_trouble("no room for a thread", error);
			(void)close(fd);
		}
	}
}
