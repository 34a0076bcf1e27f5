/*
 * talk: a client for people and pipes: what weirload --talk LISTENER does.
 *
 * Lines from stdin are sent, and what comes back goes to stdout at once:
 *     echo, line, others   both unchanged (a last line without \n gets one, except for echo)
 *     frame                a line without its \n is a frame; each payload is a line
 *     increment            a line is sent as ^line$; a \n follows the reply to each line
 *     datagrams            a line is a datagram (increment: ^line$); a \n follows each reply
 * At the end of stdin it shuts its side and goes on until the peer ends; with datagrams, until all
 * are answered, or no answer comes for two seconds. It keeps 64 KiB for each direction; for frames
 * also the whole line.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_H
#define BENCH_WEIRLOAD_TALK_TALK_H

#include <stdbool.h>

#include "worker/config/endpoint.h"

/* Returns the exit status: 0, or 1 if the peer was not there, ended early, or left something
 * unanswered; stderr says which. Nothing else may use stdin and stdout. */
int talk(const struct endpoint *endpoint);

#endif
