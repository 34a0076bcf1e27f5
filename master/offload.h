/*
 * offload: what may block is done by a child process, and a loop waits for its end.
 *
 * For calls that have no other form: names that are looked up (getaddrinfo, getpwnam), files on a
 * file system that may hang. The child is a fork of this process without its descriptors, so that
 * nothing stays open because of it; it leaves what it found in memory that both share, and ends. A
 * child that takes too long is killed, and what it found is dropped; no other one begins before the
 * kernel has let it go.
 */
#ifndef MASTER_OFFLOAD_H
#define MASTER_OFFLOAD_H

#include <sys/types.h>

#include "reactor/loop/loop.h"

struct offload {
	struct loop *loop;
	struct source timer;
	pid_t pid;   /* 0: there is no child */
	void *found; /* NULL: nobody waits for it, the child is only to be reaped */
	size_t found_bytes;
	void (*ended)(const void *found, const char *why);
};

/* Call it once for each, because its source may be queued later on. loop is borrowed. */
void offload_init(struct offload *offload, struct loop *loop);
/*
 * Runs job(found) in a child; found has so many bytes, all 0 at first. Later calls ended() here,
 * once, with what the job left there, or with NULL and why: it died, or was not done in ms. 0, or
 * -errno: -EBUSY if the child before has not ended.
 */
int offload_begin(struct offload *offload, size_t found_bytes, uint32_t ms,
		  void (*job)(void *found), void (*ended)(const void *found, const char *why));
bool offload_is_busy(const struct offload *offload);
/* Nobody waits for it any more; ended() is not called. */
void offload_cancel(struct offload *offload);
/* A child was reaped: true if it was this one; then its end is told. */
bool offload_reaped(struct offload *offload, pid_t pid, int status);

#endif
