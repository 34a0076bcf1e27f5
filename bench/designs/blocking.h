/*
 * blocking: a connection served by a process or a thread that does nothing else.
 *
 * blocking_serve() reads, calls the protocol and writes until the peer ends its side or the
 * connection fails. conn_send() returns when all is written, in several writes if one does not
 * suffice: a peer that does not read holds up its server for as long as it likes. All state of a
 * connection is on the stack. No two processes or threads may serve the same connection.
 */
#ifndef BENCH_DESIGNS_BLOCKING_H
#define BENCH_DESIGNS_BLOCKING_H

#include "bench/designs/serve.h"

/* Reads from in and writes to out, which may be the same. Closes neither. */
void blocking_serve(struct service *service, int in, int out);

#endif
