/*
 * talk_stream: a talk over a connection.
 *
 * Lines are framed as the protocol frames them, and what comes back is made lines again. stdin is
 * read only while little waits to be sent, and the socket only while nothing waits for stdout: a
 * peer that does not read, or a pipe that nobody reads, stops it.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_STREAM_H
#define BENCH_WEIRLOAD_TALK_TALK_STREAM_H

#include "bench/weirload/talk/talk_state.h"

/* Until the peer has ended; the exit status. */
int talk_stream(struct talk *talk);

#endif
