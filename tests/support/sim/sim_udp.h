/*
 * sim_udp: simulated sockets of datagrams, beside the simulated kernel of kernel.h.
 *
 * From sim_udp_begin() on, which follows kernel_begin(), socket(2) makes sockets. Their
 * options, queues, trains (UDP_GRO, UDP_SEGMENT), drops, stored errors and epoll registrations
 * are as Linux has them, level-triggered ones only, and with the ready lists of several epolls:
 * of those that wait with EPOLLEXCLUSIVE, one sleeper is woken for a datagram. A send queue
 * keeps what it took until sim_socket_drain(). Addresses are IPv6's, IPv4's mapped.
 *
 * Each step of a call (each datagram of a batch, each option, each mapping) may be made to fail.
 * What it does not do: routes, fragments, connect(2), blocking calls.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_UDP_H
#define TESTS_SUPPORT_SIM_SIM_UDP_H

#include <netinet/in.h>

#include "tests/support/sim/kernel.h"

#define SIM_UDP_FD_FIRST 6000

/* As kernel.h has it, and says what the test was at. */
#undef EXPECT_MSG
#define EXPECT_MSG(condition, ...)                                                                 \
	do {                                                                                       \
		if (__builtin_expect(!(condition), 0))                                             \
			sim_udp_failed(__FILE__, __LINE__, __VA_ARGS__);                           \
	} while (0)
extern char sim_udp_how[200]; /* what the test is at */
_Noreturn void sim_udp_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

enum sim_udp_step {
	SIM_UDP_RECEIVE,
	SIM_UDP_SEND,
	SIM_UDP_SET_OPTION,
	SIM_UDP_GET_OPTION,
	SIM_UDP_WATCH, /* epoll_ctl */
	SIM_UDP_WAIT,  /* epoll_wait */
	SIM_UDP_MAP,
	SIM_UDP_SOCKET,
	SIM_UDP_BIND,
	SIM_UDP_NAME, /* getsockname */
	SIM_UDP_CLOSE,
	SIM_UDP_STEPS
};

struct place {
	struct in6_addr address;
	uint16_t port;
};

struct sim_datagram {
	struct sim_datagram *next;
	struct place from;
	struct in6_addr to;
	unsigned interface;
	size_t segment;	 /* of a train; 0: it is none */
	uint32_t drops;	 /* that were before it */
	int tag;	 /* whatever the test calls it, */
	uint64_t serial; /* twice */
	size_t n;
	unsigned char *bytes;
};

struct sim_socket {
	int family;
	struct place here; /* address ::: every one */
	bool v6only, reuseport, pktinfo4, pktinfo6, trains, counts_drops, filtered;
	struct sim_datagram *first, *last;
	size_t queue_bytes, queue_max; /* the datagram that passes it is the last */
	uint32_t drops;
	int error;	       /* what a call will say once, whatever it is about */
	size_t owed, send_max; /* the send queue: nothing is taken if owed is at the max */
	size_t segment_max;    /* longer ones are no train: EINVAL */
	int train_error;       /* what every train is refused with */
	int holders;	       /* descriptors */
	size_t taken_n, sent_n;
	/* A datagram is read, or found to be spoilt (receiving is made to fail with EAGAIN, as
	 * it does if the checksum is wrong: that is a drop); a datagram has left; one could not
	 * (with what else is in the call's message). They may be NULL. */
	void (*taken)(struct sim_socket *sock, const struct sim_datagram *sim_datagram);
	void (*spoilt)(struct sim_socket *sock, const struct sim_datagram *sim_datagram);
	void (*sent)(struct sim_socket *sock, const struct place *to, const struct in6_addr *from,
		     const unsigned char *bytes, size_t n);
	void (*refused)(struct sim_socket *sock, const struct place *to, const unsigned char *bytes,
			size_t n, int error, bool train);
	void *owner;
};

extern struct sim_udp {
	unsigned long steps[SIM_UDP_STEPS];
	/* Is asked before each: 0 or the error that it ends with. */
	int (*fault)(enum sim_udp_step step, struct sim_socket *sock);
	/* What happens at that time, unless it is 0: a wait that finds nothing passes it. */
	uint64_t alarm_us;
	void (*alarm)(void);
	int wait_asked;	      /* the timeout of the last epoll_wait, in ms */
	size_t mapped_bytes;  /* now */
	unsigned descriptors; /* of sockets, now */
	unsigned long errors; /* that receiving calls ended with, but for EAGAIN */
	unsigned long waits;  /* sending calls that ended with EAGAIN or for want of memory */
} sim_udp;

extern const char *const sim_udp_step_names[SIM_UDP_STEPS];

void sim_udp_begin(void);
void sim_udp_end(void); /* fails the test if a descriptor or a mapping is left */

struct sim_socket *sim_socket_of(int fd);
int sim_socket_dup(int fd); /* as another process has it */
/* Comes in: false if the queue has no room. The bytes are copied. */
bool sim_socket_post(struct sim_socket *sock, const struct sim_datagram *sim_datagram);
/* So many bytes of what was taken to be sent have gone. */
void sim_socket_drain(struct sim_socket *sock, size_t n);
/* What ICMP brings: the next call on the socket fails with it. */
void sim_socket_fail(struct sim_socket *sock, int error);

static inline bool place_equal(const struct place *a, const struct place *b)
{
	return a->port == b->port && IN6_ARE_ADDR_EQUAL(&a->address, &b->address);
}

static inline struct in6_addr ip4(unsigned a, unsigned b, unsigned c, unsigned d)
{
	return (struct in6_addr){
	    .s6_addr = {[10] = 0xff, 0xff, (uint8_t)a, (uint8_t)b, (uint8_t)c, (uint8_t)d}};
}

#endif
