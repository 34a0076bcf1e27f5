/*
 * lines: samples if there is no terminal: a frame as plain lines, or a JSON document that is one
 * line. Nothing but text goes out.
 */
#ifndef MASTER_WEIRCTL_LINES_H
#define MASTER_WEIRCTL_LINES_H

#include "master/weirctl/frame.h"
#include "master/weirctl/sample.h"

/* again: with an empty line before it. */
void lines_frame(const struct frame *frame, bool again);
void lines_json(const struct sample *sample);
/* False, and errno: they could not be written. */
bool lines_flush(void);

#endif
