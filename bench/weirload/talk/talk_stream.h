/*
 * talk_stream: a talk over a connection.
 *
 * Lines are framed as the protocol requires, and replies are turned into lines again. stdin is read
 * only while little waits to be sent, and the socket only while nothing waits for stdout: a peer
 * that does not read, or a pipe that nobody reads, stops the talk.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_STREAM_H
#define BENCH_WEIRLOAD_TALK_TALK_STREAM_H

#include "bench/weirload/talk/talk_state.h"

/* Returns, with the exit status, when the peer has ended. */
int talk_stream(struct talk *talk);

#endif
