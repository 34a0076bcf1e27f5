/*
 * bound: one address where weir listens: its sockets, by slot, and what goes with them.
 *
 * A bound outlives a configuration: two generations may serve the same one, so that its
 * sockets, who waits there, its socket file and its accounts stay (listen.h says who has it).
 * TCP and UDP sockets of ours have SO_REUSEPORT from the start, so that there may be more or
 * fewer of them at any time: socket i belongs to slot i, and is the i-th of the kernel's group
 * of this address, because slots come and go at the end only. Nothing else may bind there, or
 * close one in the middle: where to newcomers are steered goes by that order.
 */
#ifndef MASTER_LISTEN_BOUND_SOCKET_H
#define MASTER_LISTEN_BOUND_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "master/listen/socket_file.h"
#include "worker/config/config.h"
#include "worker/worker.h"

struct activation_socket;

/* What may change while the sockets stay. */
struct bound_socket_settings {
	int backlog;
	unsigned mode;
	uint64_t queue_bytes, send_queue_bytes;
};

struct bound_socket {
	struct address asked;	/* as the configuration has it: its port may be 0 */
	struct address address; /* where it is bound */
	bool datagrams;
	bool borrowed; /* a service manager's: neither its file nor its end is ours */
	bool single;   /* more sockets can't be had: unix, or made by others without SO_REUSEPORT */
	bool shared;   /* of another master, too, as long as it may carry on */
	size_t fds_n;
	int fds[WORKERS_MAX];
	size_t reuseport_width; /* newcomers come to the first so many sockets */
	size_t width_used;	/* they have come to so many, since those are there */
	struct bound_socket_settings settings;
	struct socket_file file;
	int ledger;		/* a memfd, in which dropped lies; -1: none */
	uint32_t *dropped;	/* of datagrams, by socket, as struct datagram_ledger has it */
	struct limiter limiter; /* places NULL: no rate was ever asked for */
	bool used;
};

/* Binds a socket at the endpoint's address, or takes the service manager's; all of them are
 * reuseport_width. 0; or -errno, *step being what failed, and nothing is left open. alone: nobody
 * else may be bound there; false if another one of ours overlaps it. */
int bound_socket_open(struct bound_socket *bound, const struct endpoint *endpoint,
		      const struct bound_socket_settings *settings,
		      const struct activation_socket *inherited, bool alone, const char **step);
/* The same with a socket that another master bound there, which is ours too from now on; file: its,
 * whose descriptor is not ours. False: it is none. */
bool bound_socket_adopt(struct bound_socket *bound, const struct endpoint *endpoint,
			const struct bound_socket_settings *settings, int fd,
			const struct socket_file *file);
/* Nobody can come any more: its socket file was removed, or another is there. */
bool bound_socket_is_lost(const struct bound_socket *bound);
/* So many sockets at least, where it isn't single; who comes is steered past the new ones until
 * they are reuseport_width. False: it has as many as before, and what failed. */
bool bound_socket_widen(struct bound_socket *bound, size_t n, char error[CONFIG_ERROR_BYTES]);
/* Newcomers come to the first n sockets only, of those that there are. 0 or -errno. */
int bound_socket_set_width(struct bound_socket *bound, size_t n);
/* So many at most. Who still waits at the others is reset: see bound_socket_take(). */
void bound_socket_narrow(struct bound_socket *bound, size_t n);
/* Peers may wait at the sockets from this one on, also where a worker that ended said otherwise. */
void bound_socket_let_wait(struct bound_socket *bound, size_t first);
/* Has the accounts that datagrams need. 0 or -errno. */
int bound_socket_keep_accounts(struct bound_socket *bound, uint64_t rate);
/* Sockets are as these say from now on; what the kernel refuses is warned of. */
void bound_socket_set(struct bound_socket *bound, const struct bound_socket_settings *settings);
/* Accepts who waits at socket i, and gives them to took; NULL: ends them, by FIN. */
void bound_socket_take(struct bound_socket *bound, size_t i, uint32_t number,
		       void (*took)(uint32_t number, int fd));
/* Closes our sockets, and nothing else. */
void bound_socket_close_sockets(struct bound_socket *bound);
/* The whole of it; keep_file: it is another's. */
void bound_socket_close(struct bound_socket *bound, bool keep_file);

/* The accounts of a bound that another master made, from its descriptors (-1: none). 0 or
 * -errno. */
int bound_socket_attach_accounts(struct bound_socket *bound, int ledger, int limiter);

/* Is it where this endpoint wants to listen? */
bool bound_socket_is_at(const struct bound_socket *bound, const struct endpoint *endpoint);
/* Can't both be bound, but by the same master? */
bool bound_socket_overlaps(const struct bound_socket *bound, const struct endpoint *endpoint);

#endif
