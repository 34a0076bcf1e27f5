/*
 * kernel_parts: what the simulated kernel's parts have in common: kernel.c (the calls, their
 * faults, and time), kernel_descriptors.c (descriptors, epoll and eventfd), kernel_sockets.c
 * (stream sockets, listening sockets and the peers at their other ends) and kernel_connect.c
 * (sockets that the server connects). Only for these files.
 */
#ifndef TESTS_SUPPORT_SIM_KERNEL_PARTS_H
#define TESTS_SUPPORT_SIM_KERNEL_PARTS_H

#include <errno.h>

#include "tests/support/sim/kernel.h"

/* ---- kernel.c ---- */

/* The C library's calls. */
extern const struct sys_kernel kernel_genuine;
/* True between kernel_begin() and kernel_end(). */
bool kernel_is_simulated(void);

static inline int refuse(int error)
{
	errno = error;
	return -1;
}

/* ---- kernel_descriptors.c ---- */

/* What a simulated descriptor names. */
struct object {
	enum kind { NOTHING, STREAM, LISTENER, EPOLL, DOORBELL } kind;
	struct peer *peer;    /* of a stream */
	struct peer *backlog; /* of a listener: in the order of their arrival */
	uint64_t count;	      /* of a doorbell */
	int ep;		      /* the epoll in which it is registered */
	uint32_t events;      /* those registered for; 0: not registered */
	epoll_data_t data;
	bool queued;
};

/* Begins without descriptors; puts the calls of this part into the table. */
void kernel_descriptors_begin(struct sys_kernel *calls);
/* A descriptor for a new object of that kind; -1: EMFILE. */
int object_new(enum kind kind);
bool descriptors_used_up(void);
/* NULL: it is not a simulated descriptor. */
struct object *object_of(int fd);
/* Queues its registration if that asks for the event in key; 0: any event. */
void object_wake(struct object *object, uint32_t key);
/* Closes its descriptor. */
void object_end(struct object *object);

/* ---- kernel_connect.c ---- */

void kernel_connect_begin(struct sys_kernel *calls);

/* ---- kernel_sockets.c ---- */

void kernel_sockets_begin(struct sys_kernel *calls);
void kernel_sockets_end(void);
/* The peer of a stream socket's descriptor; NULL: it is no stream socket. */
struct peer *stream_of(int fd);
void peer_wake(struct peer *peer, uint32_t key);
/* The kernel's rule: room for half of what is queued (sk_stream_is_writeable). */
bool peer_writable(const struct peer *peer);

#endif
