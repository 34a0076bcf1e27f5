#include "master/weirctl/help.h"

#include <string.h>

#include "master/weirctl/table.h"

#define LABEL 8

static void help_on(struct frame *frame, size_t columns, const char *label, const char *text)
{
	struct frame_line *line = frame_line(frame, LOOK_PLAIN);

	frame_add(line, "%-*s", LABEL - 1, label);
	while (*text) {
		size_t n = strcspn(text, " "), at = strlen(line->text);

		if (at >= LABEL && at + 1 + n > columns) {
			line = frame_line(frame, LOOK_PLAIN);
			frame_add(line, "%*s", LABEL - 1, "");
		}
		frame_add(line, " %.*s", (int)n, text);
		text += n + (text[n] == ' ');
	}
}

void help_make(struct frame *frame, struct frame_view *view, size_t room)
{
	const char *heading, *what;
	size_t most;

	for (size_t i = 0; (what = table_column(i, &heading)); i++)
		help_on(frame, view->columns, heading, what);
	help_on(frame, view->columns, "j k", "down and up; so do arrows, PgUp, PgDn, Home and End");
	view->page = frame->n < room ? frame->n : room;
	most = frame->n - view->page;
	if (view->help_first > most)
		view->help_first = most;
	memmove(frame->lines, frame->lines + view->help_first, view->page * sizeof *frame->lines);
	frame->n = view->page;
}
