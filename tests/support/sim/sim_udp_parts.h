/* sim_udp_parts: what sim_udp.c (descriptors, epoll, options) and sim_udp_traffic.c (receiving and
 * sending) have in common. */
#ifndef TESTS_SUPPORT_SIM_SIM_UDP_PARTS_H
#define TESTS_SUPPORT_SIM_SIM_UDP_PARTS_H

#include "tests/support/sim/sim_udp.h"

/* ---- sim_udp.c ---- */

/* The calls for all descriptors that are not of a sim_socket. */
const struct sys_kernel *sim_udp_before(void);
int sim_udp_fault(enum sim_udp_step step, struct sim_socket *sock);
/* The sim_socket of a descriptor, or NULL; if there is one, the call is counted. */
struct sim_socket *sim_socket_called(int fd, enum kernel_call call);
/* Wakes those that wait for the event in key. */
void sim_socket_wake(const struct sim_socket *sock, uint32_t key);
uint32_t sim_socket_poll(const struct sim_socket *sock);
socklen_t sim_socket_write_name(const struct sim_socket *sock, const struct place *place,
				void *name, socklen_t room_n);
struct place sim_socket_read_name(const struct sim_socket *sock, const void *name, socklen_t n);

/* Whether it is the last address of its IPv4 network: all networks have 256 addresses here. */
static inline bool sim_socket_is_broadcast(const struct in6_addr *address)
{
	return IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] < 224 &&
	       address->s6_addr[15] == 255;
}

/* ---- sim_udp_traffic.c: the calls ---- */

int sim_udp_recvmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags,
		     struct timespec *timeout);
ssize_t sim_udp_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t sim_udp_recvfrom(int fd, void *bytes, size_t n, int flags, struct sockaddr *peer,
			 socklen_t *peer_n);
int sim_udp_sendmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags);
ssize_t sim_udp_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t sim_udp_sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *peer,
		       socklen_t peer_n);

#endif
