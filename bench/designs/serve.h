/*
 * serve: what every design begins with: its command line, its socket, its ready line.
 *
 *     NAME [-w WORKERS] LISTENER     LISTENER = echo://HOST:PORT or increment://HOST:PORT;
 *                                    chat://HOST:PORT for the one that serves chat
 *
 * main() fills in a struct serve, which is opened once and kept until the process ends. The socket
 * is made by weir's own listen_on(), with the same backlog and options: SO_REUSEADDR, because
 * otherwise a restarted server could not bind its port while connections that were closed from its
 * side are in TIME_WAIT (a minute); and TCP_NODELAY, which connections inherit. SIGPIPE is
 * ignored: a write to a peer that has gone is an error of one connection, never the end of the
 * server. When descriptors are used up, accepting must not become a busy loop.
 */
#ifndef BENCH_DESIGNS_SERVE_H
#define BENCH_DESIGNS_SERVE_H

#include "reactor/stream/conn.h"
#include "worker/config/endpoint.h"

#define SERVE_BYTES    (16 * 1024) /* of one read, as much as weir reads at once */
#define SERVE_RETRY_MS 50 /* until accept is tried again after it failed for lack of room */

struct serve {
	bool udp;	  /* serves PROTOCOL+udp:// */
	bool nonblocking; /* the listening socket */
	bool echo_only;
	bool chat; /* serves chat, and nothing else */
	bool reuseport;
	unsigned workers; /* the default of -w; 0: this design has no workers, and takes no -w */

	struct endpoint endpoint;
	struct service service;
	int fd; /* listening; with udp: bound */
};

/* echo or increment; NULL: any other name. */
const struct protocol *serve_protocol(const char *name);

/* Parses, raises the limit of descriptors, binds and listens. Ends the process with 2 if the usage
 * is wrong, with 1 if a step fails. */
void serve_open(struct serve *serve, int argc, char **argv);
/* One more socket that listens on the same address, with SO_REUSEPORT. */
int serve_listen(struct serve *serve);
void serve_ready(const struct serve *serve);

/* The next connection; -errno if there is no room for one now (the log says so); -EAGAIN if the
 * socket is non-blocking and nobody waits. */
int serve_try_accept(int listener, int flags);
/* The next connection, from a blocking socket. If there is no room for one it waits until there is.
 */
int serve_accept(const struct serve *serve);

/* A line in the log about what failed and will be tried again, at most one a second. */
void serve_trouble(const char *step, int error);

#endif
