/*
 * disposal: ends connections that must not be closed where others wait.
 *
 * What is in such a connection may take its sender's time to close (reactor/rights.h). Workers,
 * and the master itself, send it here; nobody receives it until a child of the master does, which
 * then exits: the kernel lets nothing linger then, and should anything take its time all the same,
 * it is that child's. Only where the kernel can't refuse descriptors
 * beforehand is there anything to do.
 */
#ifndef MASTER_DISPOSAL_H
#define MASTER_DISPOSAL_H

#include <stdbool.h>
#include <sys/types.h>

#include "reactor/loop.h"

/* Before the first worker is forked. The loop is borrowed. */
void disposal_open(struct loop *loop);
/* Was it a child of this? */
bool disposal_reaped(pid_t pid);

#endif
