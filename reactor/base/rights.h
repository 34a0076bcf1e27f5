/*
 * rights: descriptors that strangers pass over unix sockets (SCM_RIGHTS), where none are wanted.
 *
 * The last close of a stranger's descriptor may wait for as long as the stranger likes: that of a
 * TCP socket with SO_LINGER and unsent bytes, or of a socket that has one in its queue. The kernel
 * makes that close inside our read() of bytes that came with descriptors, and inside our close()
 * of a socket that has such bytes unread. So, first, no socket of ours takes any: SO_PASSRIGHTS is
 * off, and sendmsg() fails at the sender (since Linux 6.16). If some may be there all the same
 * (older kernels; a peer that connected before the socket was ours), bytes that came with
 * descriptors are never read, and the connection is not closed here but handed, as it is, to a
 * process that exits with it: see rights_hand_to() and master/disposal.h.
 */
#ifndef REACTOR_BASE_RIGHTS_H
#define REACTOR_BASE_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define RIGHTS_CAME EPERM /* what the sender gets if the kernel refuses them */

/* From now on nobody can pass descriptors to this unix socket, nor to one accepted from it.
 * False: this kernel can't refuse them. */
bool rights_refuse(int fd);
/* Is this a unix socket that descriptors may have come to? Then it must be read with rights_read()
 * and closed with rights_close(). May be asked of sockets of any family. */
bool rights_may_come(int fd);
/* Like read(2), of a stream or a message. -RIGHTS_CAME: what comes next has descriptors, and stays
 * unread. Never blocks. */
ssize_t rights_read(int fd, void *bytes, size_t n);
/* Like rights_read(), but a message, from a channel of ours for which rights_refuse() was called
 * before anybody else had it. */
ssize_t rights_receive(int channel, void *bytes, size_t n);
/* Makes sure that close(2) does not wait, whatever SO_LINGER another process may have set. */
void rights_disarm(int fd);
/* Ends a stranger's descriptor, of whatever kind, without waiting for anything. */
void rights_close(int fd);
/* The same for a connection that another process has by now, and serves: that is not ended. */
void rights_leave(int fd);
/* The same for a listening socket. inherited: peers may wait there that came before it was ours. */
void rights_close_listener(int fd, bool inherited);

/* Sets where rights_close() sends what it can't close, beside a byte; -1: nowhere, so that it stays
 * open until the process ends. Borrowed; children have it too. */
void rights_hand_to(int channel);
int rights_channel(void);

#endif
