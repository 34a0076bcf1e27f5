/*
 * serve: what every design begins with: its command line, its socket, its ready line.
 *
 *     NAME [-w WORKERS] LISTENER     LISTENER = echo://HOST:PORT or increment://HOST:PORT;
 *                                    chat://HOST:PORT for the one that serves chat
 *
 * main() fills in a struct serve, which is opened once and kept until the process ends. The socket
 * is made by weir's own listen_on(), with the same backlog and options: SO_REUSEADDR, because
 * otherwise a server that ended could not bind its port again while connections that it closed
 * first are in TIME_WAIT (a minute); and TCP_NODELAY, which connections inherit. SIGPIPE is
 * ignored: a write to a peer that has gone is an error of one connection, never the end of the
 * server. When descriptors are used up, accepting must not become a busy loop.
 */
#ifndef BENCH_DESIGNS_SERVE_H
#define BENCH_DESIGNS_SERVE_H

#include "reactor/stream/conn.h"
#include "worker/config/endpoint.h"

#define SERVE_BYTES    (16 * 1024) /* read at once: what weir reads at once */
#define SERVE_RETRY_MS 50	   /* until accept is tried again if there was no room */

struct serve {
	bool udp;	  /* serves PROTOCOL+udp:// */
	bool nonblocking; /* its socket */
	bool echo_only;
	bool chat; /* serves chat, and nothing else */
	bool reuseport;
	unsigned workers; /* unless -w says otherwise; 0: it has none, and takes no -w */

	struct endpoint endpoint;
	struct service service;
	int fd; /* listening; with udp: bound */
};

/* echo or increment; NULL: any other name. */
const struct protocol *serve_protocol(const char *name);

/* Parses, raises the limit of descriptors, binds and listens. Else ends the process: with 2 for
 * wrong usage, with 1 if a step failed. */
void serve_open(struct serve *serve, int argc, char **argv);
/* Once more on the same address, with reuseport. */
int serve_listen(struct serve *serve);
void serve_ready(const struct serve *serve);

/* The next connection. Or -errno, if there is no room for one now (the log says so); or -EAGAIN, if
 * the socket does not block and nobody waits. */
int serve_try_accept(int listener, int flags);
/* The next connection, from a socket that blocks. If there is no room it waits until there is. */
int serve_accept(const struct serve *serve);

/* A line in the log about what failed and will be tried again, at most one a second. */
void serve_trouble(const char *step, int error);

#endif
