/*
 * help: what the columns of `top` are, and which keys it has, as lines of a frame.
 *
 * Words are never cut; if not all lines have room, they can be scrolled.
 */
#ifndef MASTER_WEIRCTL_HELP_H
#define MASTER_WEIRCTL_HELP_H

#include "master/weirctl/frame.h"

/* room: lines. */
void help_make(struct frame *frame, struct frame_view *view, size_t room);

#endif
