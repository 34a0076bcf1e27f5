/*
 * table: the table of workers in a frame of `top`, with a line for all of them, and one for the
 * master.
 *
 * What columns there are, and which of them have room, is said here alone. If not all workers have
 * room, those that do not move are shown first, then those that are first in the order, and how
 * many more there are.
 */
#ifndef MASTER_WEIRCTL_TABLE_H
#define MASTER_WEIRCTL_TABLE_H

#include "master/weirctl/frame.h"
#include "master/weirctl/sample.h"

void table_make(struct frame *frame, const struct sample *sample, struct frame_view *view,
		const struct frame_share *share);
/* The next column that it can be sorted by, to the right (1) or to the left (-1). */
void table_sort(struct frame_view *view, int step);
const char *table_sort_name(const struct frame_view *view);
/* What column i is, in words; NULL: there are no more. */
const char *table_column(size_t i, const char **heading);

#endif
