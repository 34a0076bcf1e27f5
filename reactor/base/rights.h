/*
 * rights: descriptors that strangers pass over unix sockets (SCM_RIGHTS), where none are wanted.
 *
 * The last close of a stranger's descriptor may take as long as he likes: a TCP socket with
 * SO_LINGER and unsent bytes, also one in the queue of a socket that was passed. The kernel
 * makes that close inside our read() of bytes that came with descriptors, and inside our close()
 * of a socket that has such bytes unread. So, first, no socket of ours takes any: SO_PASSRIGHTS is
 * off, and sendmsg() fails at the sender (since Linux 6.16). If one may be there all the
 * same (older kernels; who connected before the socket was ours), nothing that has descriptors
 * is ever read, and the connection is not closed here but handed, as it is, to a process that
 * exits with it: see rights_hand_to() and master/disposal.h.
 */
#ifndef REACTOR_BASE_RIGHTS_H
#define REACTOR_BASE_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define RIGHTS_CAME EPERM /* as its sender is told if the kernel refuses them */

/* From now on nobody passes descriptors to this unix socket, nor to what is accepted from it.
 * False: this kernel can't. */
bool rights_refuse(int fd);
/* Is this a unix socket that descriptors may have come to? Then it is read and closed by the two
 * below. Good for sockets of any family. */
bool rights_may_come(int fd);
/* As read(2), of a stream or a message; -RIGHTS_CAME: what comes next has descriptors, and stays
 * where it is. Never blocks. */
ssize_t rights_read(int fd, void *bytes, size_t n);
/* Of a channel of ours where nobody passes any, rights_refuse() having been called for it before
 * anybody had it: a message, as rights_read(). */
ssize_t rights_receive(int channel, void *bytes, size_t n);
/* What another process may have made wait in close(2) does not. */
void rights_disarm(int fd);
/* Ends a stranger's descriptor, of whatever kind, without waiting for anything. */
void rights_close(int fd);
/* The same for one that another process has by now, and serves: it is let go of, not ended. */
void rights_leave(int fd);
/* The same for a listening socket. inherited: some may wait there who came before it was ours. */
void rights_close_listener(int fd, bool inherited);

/* Where rights_close() sends what it can't close, beside a byte; -1: nowhere, then that stays open
 * until the process ends. Borrowed, and the same in its children. */
void rights_hand_to(int channel);
int rights_channel(void);

#endif
