/*
 * loop: poll, then take turns.
 *
 * A pass reads all of epoll's events into ready bits, turns passed deadlines into ready bits, and
 * then gives each queued source one bounded turn. No turn runs while events are read. What a
 * source wants is a flag, not a system call:
 *
 *     a source is queued  <=>  (ready & (want | SOURCE_ALWAYS)) != 0, until its turn comes
 *
 * One loop for each process, made after fork. It owns the epoll descriptor and borrows the sources:
 * an owner takes its source out (loop_unwatch, loop_no_deadline) before its memory goes, or frees
 * it in its own turn. A source must not be freed while it is queued.
 */
#ifndef REACTOR_LOOP_LOOP_H
#define REACTOR_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "reactor/base/stats.h"
#include "reactor/loop/wheel.h"

enum {
	SOURCE_IN = 1,	   /* bytes, a connection or the end of input may be there */
	SOURCE_OUT = 2,	   /* the last write was whole, or space has opened since */
	SOURCE_ENDED = 4,  /* the peer ended its side: read until 0, a short read proves nothing */
	SOURCE_BROKEN = 8, /* the kernel reports an error */
	SOURCE_DUE = 16,   /* its deadline has passed */
	SOURCE_WOKEN = 32, /* somebody asked for a turn */
	SOURCE_HUNG_UP = 64, /* both sides have ended: nothing that is sent arrives */
	SOURCE_ALWAYS = SOURCE_BROKEN | SOURCE_DUE | SOURCE_WOKEN,
};

struct loop;
struct source;

typedef void source_turn(struct loop *loop, struct source *source);

struct source {
	source_turn *turn;
	struct source *next_turn;
	struct deadline deadline;
	int fd; /* -1: none, only a deadline and loop_wake() */
	uint8_t ready, want;
	bool queued : 1, watches_out : 1;
};

struct loop {
	int epfd;
	bool stopped;
	uint32_t now_ms; /* of this pass */
	uint64_t now_us;
	uint64_t spin_us;
	uint64_t busy_us; /* when the last event came, for spin */
	uint64_t idle_us; /* when the last turn ended */
	struct source *first, *last;
	struct wheel wheel;
	struct stats *stats;
};

/* stats is borrowed. 0 or -errno. */
int loop_open(struct loop *loop, struct stats *stats, uint64_t spin_us);
void loop_close(struct loop *loop);

/* Passes until loop->stopped. */
void loop_run(struct loop *loop);
/* One pass, which waits wait_ms at most (-1: until something comes). */
void loop_pass(struct loop *loop, int wait_ms);

void source_init(struct source *source, int fd, source_turn *turn);

/* Registers its descriptor; events: EPOLLIN and so on, EPOLLET by the caller's choice.
 * 0 or -errno. */
int loop_watch(struct loop *loop, struct source *source, uint32_t events);
/* The same registration for other events. 0 or -errno. */
int loop_rewatch(struct loop *loop, struct source *source, uint32_t events);
/* What a stream connection is registered for. */
#define CONN_EVENTS (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)

/* Reports space to write from now on too. An edge-triggered stream source needs it once in
 * its life: after its first short write. 0 or -errno. */
int loop_watch_out(struct loop *loop, struct source *source);
/* Ends the registration; close() does not if another process has a copy of the descriptor. */
void loop_unwatch(struct loop *loop, struct source *source);

void loop_wake(struct loop *loop, struct source *source);
/* At the end of a turn: queues the source again if it is ready for what it wants. */
void loop_requeue(struct loop *loop, struct source *source);

/* A turn at due_ms (on the clock of now_ms) at the latest. If an earlier deadline is armed already,
 * it stays: a source that gets its turn too early looks at the clock, and arms anew. */
void loop_deadline(struct loop *loop, struct source *source, uint32_t due_ms);
void loop_no_deadline(struct loop *loop, struct source *source);

/* a is at or after b, on a clock that wraps. */
static inline bool time_reached(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) >= 0;
}

#endif
