/*
 * serve: what every design begins with: its command line, its socket, its ready line.
 *
 *     NAME [-w WORKERS] LISTENER     LISTENER = echo://HOST:PORT or increment://HOST:PORT;
 *                                    chat://HOST:PORT for the one that serves chat
 *
 * A struct serve is filled in by main(), opened once and kept until the process ends. The
 * socket is made by weir's own listen_on(), so that backlog and options are the same: with
 * SO_REUSEADDR, or a server that ended could not bind its port again while TIME_WAIT holds
 * connections that it closed first (a minute); with TCP_NODELAY, which connections inherit.
 * SIGPIPE is ignored: a write to a peer that has gone is an error of one connection, never
 * the end of the server. Whoever accepts must never spin where descriptors are used up.
 */
#ifndef DESIGNS_SERVE_H
#define DESIGNS_SERVE_H

#include "reactor/stream/conn.h"
#include "worker/config/endpoint.h"

#define SERVE_BYTES    (16 * 1024) /* read at once: what weir reads at once */
#define SERVE_RETRY_MS 50	   /* until accept is tried again where there was no room */

struct serve {
	bool udp;	  /* serves PROTOCOL+udp:// */
	bool nonblocking; /* its socket */
	bool echo_only;
	bool chat; /* serves chat, and nothing else */
	bool reuseport;
	unsigned workers; /* unless -w says otherwise; 0: it has none, and takes no -w */

	struct endpoint endpoint;
	struct service service;
	int fd; /* it listens, or, with udp, is bound */
};

/* echo or increment; NULL: it is not one of those that designs serve. */
const struct protocol *serve_protocol(const char *name);

/* Parses, raises the limit of descriptors, binds and listens; or ends the process: 2 for
 * wrong usage, 1 where a step failed. */
void serve_open(struct serve *serve, int argc, char **argv);
/* Once more on the same address, with reuseport. */
int serve_listen(struct serve *serve);
void serve_ready(const struct serve *serve);

/* The next connection; or, said in the log, -errno where there is no room for one now, or,
 * where the socket does not block, -EAGAIN. */
int serve_try_accept(int listener, int flags);
/* The next connection, from a socket that blocks. Waits where there is no room. */
int serve_accept(const struct serve *serve);

/* A line in the log about what failed and will be tried again, at most one a second. */
void serve_trouble(const char *step, int error);

#endif
