/*
 * offload: what may block is done by a child process, and a loop waits for its end.
 *
 * For calls that have no other form: names that are looked up (getaddrinfo, getpwnam), files on a
 * file system that may hang. The child is a fork of this process without its descriptors; it leaves
 * what it found in memory that both share, and ends, which a pidfd in the loop tells: no SIGCHLD is
 * needed. One that takes too long is killed, and what it found is dropped; no other one begins
 * before the kernel has let it go.
 *
 * offload_begin() returns when the child has closed the descriptors that it inherited: else a
 * connection that is closed here meanwhile would go on there, and its registration with epoll
 * would outlive its memory. That, and the fork, hold the loop up for 0.2 ms (Linux 6.18; it was 4
 * ms for a worker with 256 MiB of buffers in use, until children no longer got these: buffers.c).
 *
 * What it needs of a sandbox: fork, prctl, pipe2, close_range, pidfd_open, wait4, and kill for a
 * child of the same user; and in the child whatever the job does.
 */
#ifndef REACTOR_LOOP_OFFLOAD_H
#define REACTOR_LOOP_OFFLOAD_H

#include <sys/types.h>

#include "reactor/loop/loop.h"

struct offload {
	struct loop *loop;
	struct source source; /* readable when the child has ended; and its deadline */
	pid_t pid;	      /* 0: there is no child */
	void *found;	      /* NULL: nobody waits for it, the child is only to be reaped */
	size_t found_bytes;
	void (*ended)(struct offload *offload, const void *found, const char *why);
};

/* Call it once for each. loop is borrowed, and must outlive it; as it stands, nothing of it must go
 * before its child has been reaped. */
void offload_init(struct offload *offload, struct loop *loop);
/*
 * Runs job(offload, found) in a child; found has so many bytes, all 0 at first. Later calls ended()
 * here, once, with what the job left there, or with NULL and why: it died, or was not done in ms.
 * What was found is there until ended() returns, which must not begin another one. 0, or -errno:
 * -EBUSY if the child before has not been reaped.
 */
int offload_begin(struct offload *offload, size_t found_bytes, uint32_t ms,
		  void (*job)(struct offload *offload, void *found),
		  void (*ended)(struct offload *offload, const void *found, const char *why));
bool offload_is_busy(const struct offload *offload);
/* Nobody waits for it any more; ended() is not called. */
void offload_cancel(struct offload *offload);

#endif
