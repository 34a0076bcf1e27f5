#include "master/weirctl/frame.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/base/check.h"

struct frame_line *frame_line(struct frame *frame, enum frame_look look)
{
	struct frame_line *line;

	if (frame->n == frame->room) {
		frame->room = frame->room ? 2 * frame->room : 64;
		frame->lines = realloc(frame->lines, frame->room * sizeof *frame->lines);
		if (!frame->lines)
			die("memory: %s", strerror(errno));
	}
	line = &frame->lines[frame->n++];
	line->look = look;
	*line->text = '\0';
	return line;
}

void frame_add(struct frame_line *line, const char *format, ...)
{
	size_t n = strlen(line->text);
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(line->text + n, sizeof line->text - n, format, arguments);
	va_end(arguments);
}

void frame_part(struct frame_line *line, const struct frame_view *view, int gap, const char *format,
		...)
{
	char part[FRAME_COLUMNS_MAX + 1];
	size_t n = strlen(line->text);
	va_list arguments;

	gap = n ? gap : 0;
	va_start(arguments, format);
	(void)vsnprintf(part, sizeof part, format, arguments);
	va_end(arguments);
	if (n + (size_t)gap + strlen(part) <= view->columns)
		frame_add(line, "%*s%s", gap, "", part);
}

void frame_cut(struct frame_line *line, size_t columns)
{
	size_t n = columns;

	if (strlen(line->text) <= columns)
		return;
	while (n && line->text[n] != ' ')
		n--;
	line->text[n ? n : columns] = '\0';
}
