/*
 * talk_datagram: a talk over datagrams: each line is one.
 *
 * At most 32 are unanswered at a time. If nothing comes for 100 ms those are taken for lost, so
 * that a lost one does not stop the others.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_DATAGRAM_H
#define BENCH_WEIRLOAD_TALK_TALK_DATAGRAM_H

#include "bench/weirload/talk/talk_state.h"

/* Until each line was answered, or no answer comes any more; the exit status. */
int talk_datagram(struct talk *talk);

#endif
