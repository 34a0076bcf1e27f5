/*
 * thread: a thread for each connection.
 *
 * Teaches: concurrency as with fork, in one address space: threads are cheaper to start, and all
 * see the same data. A detached thread leaves nothing to be waited for.
 *
 * Breaks: one bad pointer ends all of them, and what they share needs locks. Each has a stack: by
 * default 8 MiB of addresses (`ulimit -s`), of which only touched pages are memory. With 10,000
 * connections that was 82 GB of addresses and 4 KiB of page tables for each thread; it fails if
 * addresses are limited (`ulimit -v`, strict overcommit). With 64 KiB, as here, it was 0.7 GB and
 * 0.1 KiB; 12 KiB were touched both times. With 16 KiB, the size of blocking_serve()'s buffer
 * alone, the first connection ends the server: too small a stack is not an error, but a crash. A
 * thread takes a pid and two of 65,530 mappings (vm.max_map_count), so the limit is near 32,000
 * whatever the memory; beyond that pthread_create() fails, and the connection is closed.
 */
#include <pthread.h>
#include <unistd.h>

#include "bench/designs/blocking.h"
#include "reactor/base/check.h"

#define STACK_BYTES (64 * 1024)

static struct serve serve;

static void *work(void *connection)
{
	int fd = (int)(intptr_t)connection;

	blocking_serve(&serve.service, fd, fd);
	(void)close(fd);
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
