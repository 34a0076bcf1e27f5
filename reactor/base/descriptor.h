/*
 * descriptor: descriptors that travel between processes, and those that must not.
 *
 * A message is one datagram of a SOCK_SEQPACKET pair with up to DESCRIPTORS_MAX descriptors
 * beside it (SCM_RIGHTS, unix(7)). A descriptor in flight dies with its receiver: a sender
 * keeps its copy until the receiver has said that it took it.
 */
#ifndef REACTOR_BASE_DESCRIPTOR_H
#define REACTOR_BASE_DESCRIPTOR_H

#include <stddef.h>
#include <sys/types.h>

#define DESCRIPTORS_MAX 64 /* in a message; the kernel's limit is 253 (SCM_MAX_FD) */

/* n or -errno; -EAGAIN: the receiver's queue is full, nothing was sent. */
ssize_t descriptors_send(int channel, const void *bytes, size_t n, const int *fds, size_t fds_n);

/* Bytes received, 0 if the other side has ended, or -errno. *fds_n: how many descriptors came,
 * which are closed on exec; fewer than were sent if this process has no room for more. */
ssize_t descriptors_receive(int channel, void *bytes, size_t n, int fds[DESCRIPTORS_MAX],
			    size_t *fds_n);

/* In a child: closes all descriptors but stdin, stdout, stderr and these. */
void descriptors_keep_only(const int *fds, size_t n);

/* Raises the soft limit of descriptors to the hard one; returns it. */
size_t descriptors_raise_limit(void);

#endif
