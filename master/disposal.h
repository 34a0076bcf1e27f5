/*
 * disposal: ends connections that must not be closed by a process that others wait for.
 *
 * Closing such a connection may take as long as its sender likes (reactor/base/rights.h). So
 * workers, and the master itself, send it here, where a child of the master receives it and exits:
 * the kernel lets nothing linger then, and if anything should, only that child waits. If the kernel
 * can refuse descriptors beforehand, there is nothing to do.
 */
#ifndef MASTER_DISPOSAL_H
#define MASTER_DISPOSAL_H

#include <stdbool.h>
#include <sys/types.h>

#include "reactor/loop/loop.h"

/* Before the first worker is forked. The loop is borrowed. */
void disposal_open(struct loop *loop);
/* Was this one of its children? */
bool disposal_reaped(pid_t pid);

#endif
