/*
 * weirctl_table: the table of workers in a frame of `top`, with a line for all of them, and one
 * for the master.
 *
 * What columns there are, and which of them have room, is said here alone. Where not all workers
 * have room, those that are first in the order are shown, and how many more there are.
 */
#ifndef MASTER_WEIRCTL_TABLE_H
#define MASTER_WEIRCTL_TABLE_H

#include "master/weirctl_frame.h"

/* room: lines for workers; of no meaning where the view has as many as it takes. */
void table_make(struct frame *frame, const struct sample *sample, const struct frame_view *view,
		size_t room);
/* The next column that it can be sorted by, to the right (1) or to the left (-1). */
void table_sort(struct frame_view *view, int step);
const char *table_sort_name(const struct frame_view *view);

#endif
