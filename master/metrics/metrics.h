/*
 * metrics: the address where monitoring asks over HTTP how weir is, on the master's loop.
 *
 * One for each master: a listening socket for each address and a table of few connections with
 * short timeouts and buffers of their own, apart from the data path, so that a client that asks
 * slowly, or for nonsense, costs a place for seconds only. It is open before workers are there and
 * until the last one has gone, over reloads and upgrades: the next master gets the socket, and
 * clients that come meanwhile wait. Read-only: nothing that comes in changes anything, and no
 * worker is ever asked or waited for.
 */
#ifndef MASTER_METRICS_METRICS_H
#define MASTER_METRICS_METRICS_H

#include "master/listen/socket_file.h"
#include "reactor/loop/loop.h"
#include "worker/scoreboard.h"
#include "worker/config/config.h"

#define METRICS_CONNECTIONS 64

struct metrics_owner {
	struct loop *loop;
	const struct scoreboard *scoreboard;
	const struct stats *own;    /* what the master counts */
	const char *(*state)(void); /* one word: starting, serving, ... */
	const char *(*unready)(
	    void); /* why a load balancer should not send clients here; NULL: weir is ready */
};

/* What another master hands over. */
struct metrics_inherited {
	size_t n; /* addresses */
	int fds[METRICS_ADDRESSES_MAX];
	char at[METRICS_ADDRESSES_MAX][ADDRESS_TEXT_BYTES]; /* as its configuration had them */
	struct socket_file files[METRICS_ADDRESSES_MAX];    /* if those are paths */
};

/* Binds the addresses of the configuration, or takes what was inherited if it is bound there.
 * False: one can't be had, and why. Nobody is let in yet. */
bool metrics_bind(const struct config *config, const struct metrics_inherited *inherited,
		  char error[CONFIG_ERROR_BYTES]);
/* Once the loop is there. Borrows its owner. */
void metrics_begin(const struct metrics_owner *owner);
/* Lets in clients that come, and those that have waited; what was inherited and not taken is
 * closed. */
void metrics_serve(void);

/* At a reload: binds the addresses that are new. False: one can't be had, and why. */
bool metrics_stage(const struct config *config, char error[CONFIG_ERROR_BYTES]);
/* staged: what metrics_stage() bound serves from now on; else that is closed, and all stays as it
 * was. */
void metrics_conclude(bool staged);

/* The addresses, as bound, with spaces between them. False: metrics are not served here. */
#define METRICS_TEXT_BYTES (METRICS_ADDRESSES_MAX * 64)
bool metrics_at(char text[METRICS_TEXT_BYTES]);

/* For the next master. */
void metrics_export(struct metrics_inherited *inherited);
/* The next master lets clients in from now on: those that have asked here, or are about to, get
 * their answer, and the others are closed. */
void metrics_leave(void);
/* After that: is a client still here? */
bool metrics_is_busy(void);
/* In any state, more than once. */
void metrics_close(void);

#endif
