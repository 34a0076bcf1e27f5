/*
 * blocking: a connection served by whoever has nothing else to do: a process or a thread.
 *
 * blocking_serve() reads, calls the protocol and writes until the peer ends its side or the
 * connection fails. conn_send() returns when all is written: a partial write is gone on
 * with, and a peer that does not read holds its server for as long as it likes. All that a
 * connection has is on the stack. A connection must not be served by two at once.
 */
#ifndef DESIGNS_BLOCKING_H
#define DESIGNS_BLOCKING_H

#include "bench/designs/serve.h"

/* Reads from in and writes to out; mostly they are the same. Closes neither. */
void blocking_serve(struct service *service, int in, int out);

#endif
