/*
 * chat_kind: clients of a chat as a kind of caller, and what their process does for all of them:
 * probe lines in the ramp, and, in END, looking again and again whether a client has all lines.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_KIND_H
#define BENCH_WEIRLOAD_CHAT_CHAT_KIND_H

#include "bench/weirload/sender.h"

extern const struct caller_kind chat_kind;

#endif
