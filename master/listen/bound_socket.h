/*
 * bound_socket: one address at which weir listens: its sockets, by slot, and what goes with them.
 *
 * It outlives a configuration: two generations may serve the same one, so that its sockets, the
 * clients that wait there, its socket file and its accounts stay (listen.h says which set has it).
 * TCP and UDP sockets of ours have SO_REUSEPORT from the start, so that there may be more or fewer
 * of them at any time: socket i belongs to slot i, and is the i-th of the kernel's group of this
 * address, because slots come and go at the end only. Nothing else may bind there, or close one in
 * the middle: new connections are steered by that order.
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
	struct address address; /* at which it is bound */
	bool datagrams;
	bool borrowed; /* a service manager's: we neither remove its file nor shut it down */
	bool single;   /* more sockets can't be had: unix, or made by others without SO_REUSEPORT */
	bool shared;   /* another master has it too, as long as that one may go on serving */
	size_t fds_n;
	int fds[WORKERS_MAX];
	size_t reuseport_width; /* new connections come to this many sockets, the first ones */
	size_t width_used;	/* the largest width so far: clients may wait at so many */
	struct bound_socket_settings settings;
	struct socket_file file;
	int ledger;		/* a memfd, in which dropped lies; -1: none */
	uint32_t *dropped;	/* of datagrams, by socket, as struct datagram_ledger has it */
	struct limiter limiter; /* places NULL: no rate was ever asked for */
	bool used;
};

/* Binds a socket at the endpoint's address, or takes the service manager's; new connections come to
 * all of its sockets. 0; or -errno, *step being what failed, and nothing is left open. alone:
 * nobody else may be bound there; false if another one of ours overlaps it. */
int bound_socket_open(struct bound_socket *bound, const struct endpoint *endpoint,
		      const struct bound_socket_settings *settings,
		      const struct activation_socket *inherited, bool alone, const char **step);
/* The same with a socket that another master bound there, which is ours too from now on. file: that
 * master's, whose descriptor we do not have. False: fd is no socket. */
bool bound_socket_adopt(struct bound_socket *bound, const struct endpoint *endpoint,
			const struct bound_socket_settings *settings, int fd,
			const struct socket_file *file);
/* No client can come any more: its socket file was removed, or another one is there. */
bool bound_socket_is_lost(const struct bound_socket *bound);
/* Makes sockets until there are n, unless it is single. New connections are steered past the new
 * ones until the width is set. False: it has as many as before, and what failed. */
bool bound_socket_widen(struct bound_socket *bound, size_t n, char error[CONFIG_ERROR_BYTES]);
/* New connections come to the first n of its sockets only. 0 or -errno. */
int bound_socket_set_width(struct bound_socket *bound, size_t n);
/* Closes sockets until there are n. Clients that still wait at those are reset: see
 * bound_socket_take(). */
void bound_socket_narrow(struct bound_socket *bound, size_t n);
/* Lets clients wait at the sockets from this one on, even if a worker that ended shut one down. */
void bound_socket_let_wait(struct bound_socket *bound, size_t first);
/* Makes the accounts that datagrams need, unless it has them. 0 or -errno. */
int bound_socket_keep_accounts(struct bound_socket *bound, uint64_t rate);
/* Applies the settings to all sockets; warns of what the kernel refuses. */
void bound_socket_set(struct bound_socket *bound, const struct bound_socket_settings *settings);
/* Accepts the clients that wait at socket i, and hands them to took; NULL: ends them, by FIN. */
void bound_socket_take(struct bound_socket *bound, size_t i, uint32_t number,
		       void (*took)(uint32_t number, int fd));
/* Closes our sockets, and nothing else. */
void bound_socket_close_sockets(struct bound_socket *bound);
/* Closes sockets, file and accounts. keep_file: the file is another master's. */
void bound_socket_close(struct bound_socket *bound, bool keep_file);

/* Attaches the accounts that another master made, by their descriptors (-1: none). 0 or -errno. */
int bound_socket_attach_accounts(struct bound_socket *bound, int ledger, int limiter);

/* Is it at the address at which this endpoint wants to listen? */
bool bound_socket_is_at(const struct bound_socket *bound, const struct endpoint *endpoint);
/* Do their addresses overlap, so that only one master may bind both? */
bool bound_socket_overlaps(const struct bound_socket *bound, const struct endpoint *endpoint);

#endif
