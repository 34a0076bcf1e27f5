/*
 * talk: the common client, for people and pipes: what weirload --talk LISTENER does.
 *
 * Lines from stdin are sent, and what comes back goes to stdout as it comes:
 *     echo, line, others   lines and what comes as they are (a last line gets its \n, but of echo)
 *     frame                a line without its \n is a frame; each payload is a line
 *     increment            a line goes between ^ and $; a \n follows the reply to each line
 *     datagrams            a line is a datagram, of increment ^line$; each reply ends in a \n
 * After stdin's end it shuts its side and goes on until the peer ends; with datagrams until
 * each is answered, or none comes for two seconds. It keeps 64 KiB for either direction, and
 * of a frame its whole line: a peer that does not read, or a pipe that nobody reads, stops it.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_H
#define BENCH_WEIRLOAD_TALK_TALK_H

#include <stdbool.h>

#include "worker/config/endpoint.h"

/* The exit status: 0, or 1 where the peer was not there, ended early, or left something
 * unanswered, which is then said on stderr. Takes stdin and stdout for itself. */
int talk(const struct endpoint *endpoint);

#endif
