/*
 * bus_shared: what a test of the bus and the process that it traces tell each other.
 *
 * There are two ports of one bus: the test's is WRITER, the other process' is READER. The memory is
 * mapped before the fork, and is read and written only by SEEN() and TELL().
 */
#ifndef TESTS_REACTOR_PUBSUB_BUS_SHARED_H
#define TESTS_REACTOR_PUBSUB_BUS_SHARED_H

#include <sys/mman.h>

#include "tests/reactor/pubsub/bus_room.h"

#define SEEN(field)	   __atomic_load_n(&shared->field, __ATOMIC_ACQUIRE)
#define TELL(field, value) __atomic_store_n(&shared->field, (value), __ATOMIC_RELEASE)

enum { WRITER, READER };

static struct shared {
	uint64_t next, turn, sleeps, heard, missed;
	bool slept, waited, lost;
	bool done[2]; /* the writer's, the reader's */
} * shared;

static inline void open_shared(void)
{
	shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
}

/* Reads all records without looking at them. */
static inline void skip_all(struct bus_port *port)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	struct bus_record record;

	while (bus_peek(port, &record))
		(void)bus_take(port, &record, bytes);
}

static inline bool publish_48(struct bus_port *port)
{
	static unsigned char bytes[24];

	return bus_publish(port, 0, 0, (struct iovec){bytes, sizeof bytes},
			   (struct iovec){bytes, sizeof bytes});
}

#endif
