/*
 * talk_datagram: a talk over datagrams: each line is one.
 *
 * At most 32 are unanswered at a time. If nothing comes for 100 ms they are taken for lost, so that
 * lost datagrams do not stop the others.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_DATAGRAM_H
#define BENCH_WEIRLOAD_TALK_TALK_DATAGRAM_H

#include "bench/weirload/talk/talk_state.h"

/* Returns, with the exit status, when each line is answered, or no answer comes any more. */
int talk_datagram(struct talk *talk);

#endif
