/*
 * sim_udp: simulated UDP sockets, in addition to the simulated kernel of kernel.h.
 *
 * From sim_udp_begin() on, which follows kernel_begin(), socket(2) makes such sockets. Their
 * options, queues, trains (UDP_GRO, UDP_SEGMENT), drops, stored errors and epoll registrations
 * behave as on Linux. Registrations are level-triggered, and each epoll has a ready list of its
 * own: of those that wait with EPOLLEXCLUSIVE, one sleeper is woken for a datagram. A send queue
 * keeps what it took until sim_socket_drain(). Addresses are IPv6; IPv4 is mapped.
 *
 * Each step of a call (each datagram of a batch, each option, each mapping) can be made to fail.
 * Not simulated: routes, fragments, connected sockets, blocking calls.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_UDP_H
#define TESTS_SUPPORT_SIM_SIM_UDP_H

#include <netinet/in.h>

#include "tests/support/sim/kernel.h"

#define SIM_UDP_FD_FIRST 6000

/* Like kernel.h's, but the message also says what the test was doing. */
#undef EXPECT_MSG
#define EXPECT_MSG(condition, ...)                                                                 \
	do {                                                                                       \
		if (__builtin_expect(!(condition), 0))                                             \
			sim_udp_failed(__FILE__, __LINE__, __VA_ARGS__);                           \
	} while (0)
extern char sim_udp_how[200]; /* what the test is doing */
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
	size_t segment;	 /* bytes of a train's segments; 0: it is not a train */
	uint32_t drops;	 /* how many were dropped before it */
	int tag;	 /* tag and serial are */
	uint64_t serial; /* free for the test */
	size_t n;
	unsigned char *bytes;
};

struct sim_socket {
	int family;
	struct place here; /* the address :: is every address */
	bool v6only, reuseport, pktinfo4, pktinfo6, trains, counts_drops, filtered;
	struct sim_datagram *first, *last;
	size_t queue_bytes, queue_max; /* the datagram that exceeds queue_max is the last taken */
	uint32_t drops;
	int error;	       /* a stored error: the next call, whichever it is, fails with it */
	size_t owed, send_max; /* the send queue: nothing is taken once owed reaches send_max */
	size_t segment_max;    /* a train with longer segments is refused: EINVAL */
	int train_error;       /* the error with which every train is refused; 0: none */
	int holders;	       /* how many descriptors it has */
	size_t taken_n, sent_n;
	/* Called when a datagram is read; when one is found to be spoilt (receiving is made to
	 * fail with EAGAIN, as with a wrong checksum: that is a drop); when one has left; for each
	 * one of a message that was refused. They may be NULL. */
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
	/* Called before each step: returns 0, or the error with which the step fails. */
	int (*fault)(enum sim_udp_step step, struct sim_socket *sock);
	/* alarm() is called at alarm_us, unless that is 0: by a wait that would otherwise find
	 * nothing. */
	uint64_t alarm_us;
	void (*alarm)(void);
	int wait_asked;	      /* the timeout of the last epoll_wait, in ms */
	size_t mapped_bytes;  /* now */
	unsigned descriptors; /* of sockets, now */
	unsigned long errors; /* receiving calls that failed, except with EAGAIN */
	unsigned long waits;  /* sending calls that failed with EAGAIN, or for lack of memory */
} sim_udp;

extern const char *const sim_udp_step_names[SIM_UDP_STEPS];

void sim_udp_begin(void);
void sim_udp_end(void); /* fails the test if a descriptor or a mapping is left */

struct sim_socket *sim_socket_of(int fd);
int sim_socket_dup(int fd); /* another process' descriptor of the same socket */
/* Has a datagram arrive; false: the queue has no room. The bytes are copied. */
bool sim_socket_post(struct sim_socket *sock, const struct sim_datagram *sim_datagram);
/* Takes n bytes from the send queue: they have left. */
void sim_socket_drain(struct sim_socket *sock, size_t n);
/* Stores an error, as ICMP does: the next call on the socket fails with it. */
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
