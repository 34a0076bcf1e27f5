/*
 * chat_kind: clients of a chat as a kind of caller, and what their process does for all of them:
 * in RAMP it has probe lines sent, and in END it keeps looking whether each client has all lines.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_KIND_H
#define BENCH_WEIRLOAD_CHAT_CHAT_KIND_H

#include "bench/weirload/sender.h"

extern const struct caller_kind chat_kind;

#endif
