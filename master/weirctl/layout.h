/*
 * layout: a sample as a frame: what stands where, and what is left out if not all has room.
 *
 * From top to bottom: who serves, what is counted, the table of workers, why connections ended,
 * what is wrong, and the keys. Numbers are at most five characters, whatever they are, so that no
 * column ever moves. What a server says is shown with a "?" for all but printable ASCII, so that a
 * character is a column. No line may be wider, and no frame higher, than the view says.
 */
#ifndef MASTER_WEIRCTL_LAYOUT_H
#define MASTER_WEIRCTL_LAYOUT_H

#include "master/weirctl/frame.h"
#include "master/weirctl/sample.h"

/* Replaces what the frame has. sample NULL: there is none yet. */
void layout_make(struct frame *frame, const struct sample *sample, struct frame_view *view);

#endif
