/* mailroom_parts: what sim_udp.c (descriptors, epoll, options) and sim_udp_traffic.c (what comes in
 * and goes out) have in common. */
#ifndef TESTS_SUPPORT_SIM_SIM_UDP_PARTS_H
#define TESTS_SUPPORT_SIM_SIM_UDP_PARTS_H

#include "tests/support/sim/sim_udp.h"

/* ---- sim_udp.c ---- */

/* The kernel that is asked of what is no mailbox. */
const struct sys_kernel *mailroom_before(void);
int mailroom_fault(enum mail_step step, struct mailbox *box);
/* The mailbox of a descriptor, where it is one; then the call is counted. */
struct mailbox *mailbox_called(int fd, enum kernel_call call);
/* key: what happened. */
void mailbox_wake(const struct mailbox *box, uint32_t key);
uint32_t mailbox_poll(const struct mailbox *box);
socklen_t mailbox_write_name(const struct mailbox *box, const struct place *place, void *name,
			     socklen_t room_n);
struct place mailbox_read_name(const struct mailbox *box, const void *name, socklen_t n);

/* The last of a network of IPv4 with 256 addresses, as all of them are here. */
static inline bool mailbox_is_broadcast(const struct in6_addr *address)
{
	return IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] < 224 &&
	       address->s6_addr[15] == 255;
}

/* ---- sim_udp_traffic.c: the calls ---- */

int mail_recvmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags,
		  struct timespec *timeout);
ssize_t mail_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t mail_recvfrom(int fd, void *bytes, size_t n, int flags, struct sockaddr *peer,
		      socklen_t *peer_n);
int mail_sendmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags);
ssize_t mail_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t mail_sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *peer,
		    socklen_t peer_n);

#endif
