#include "master/weirctl/layout.h"

#include <stdio.h>
#include <string.h>

#include "master/control/status.h"
#include "master/weirctl/cell.h"
#include "master/weirctl/help.h"
#include "master/weirctl/table.h"
#include "reactor/base/stats.h"

/* ---- the head ---- */

/* The value is passed by its address, because the call that fills it in is another argument. */
static void cell_of(char cell[CELL_BYTES], bool known, const double *value)
{
	if (known)
		cell_short(cell, *value, 1000, CELL_SHORT);
	else
		(void)snprintf(cell, CELL_BYTES, "-");
}

static bool closes_rate(const struct sample *sample, double *a_second)
{
	const struct answer_record *server = sample->server.now;
	double one;

	*a_second = 0;
	for (size_t i = 0; i < server->fields_n; i++) {
		if (strncmp(server->fields[i].key, STATUS_CLOSED, strlen(STATUS_CLOSED)) != 0)
			continue;
		if (!sample_rate(sample, &sample->server, server->fields[i].key, &one))
			return false;
		*a_second += one;
	}
	return true;
}

static void head_server(struct frame *frame, const struct sample_row *server,
			const struct frame_view *view)
{
	struct frame_line *line = frame_line(frame, LOOK_STRONG);
	char up[CELL_BYTES], version[CELL_BYTES], state[CELL_BYTES];
	double up_s = 0, generation = 0;

	(void)sample_number(server, "up_s", &up_s);
	(void)sample_number(server, "generation", &generation);
	cell_age(up, (int64_t)up_s);
	cell_ascii(version, sample_text(server, "version"));
	cell_ascii(state, sample_text(server, "state"));
	frame_part(line, view, 0, "weir %.20s", version);
	frame_part(line, view, 2, "%.12s", state);
	frame_part(line, view, 2, "pid %d", (int)server->look.pid);
	frame_part(line, view, 2, "generation %.0f", generation);
	frame_part(line, view, 2, "up %s", up);
}

static void head_counts(struct frame *frame, const struct sample *sample,
			const struct frame_view *view)
{
	struct frame_line *line = frame_line(frame, LOOK_PLAIN);
	const struct sample_row *server = &sample->server;
	double workers = 0, asked = 0, value = 0;
	char cell[CELL_BYTES];

	(void)sample_number(server, "workers", &workers);
	(void)sample_number(server, "workers_asked", &asked);
	frame_part(line, view, 0, "workers %.0f of %.0f", workers, asked);
	cell_of(cell, sample_number(server, "connections", &value), &value);
	frame_part(line, view, 3, "connections %5s", cell);
	cell_of(cell, sample_rate(sample, server, "accepted", &value), &value);
	frame_part(line, view, 3, "accepted/s %5s", cell);
	cell_of(cell, closes_rate(sample, &value), &value);
	frame_part(line, view, 3, "closed/s %5s", cell);
}

/* ---- why connections ended ---- */

#define REASON_WIDTH 36 /* of a cell: name, total, rate */
#define REASON_GAP   4

static bool has_reason(const struct frame_view *view, const char *reason)
{
	for (size_t i = 0; i < view->reasons_n; i++)
		if (strcmp(view->reasons[i], reason) == 0)
			return true;
	return false;
}

/* Which reasons there are the server says, because it may be another version than we are. */
static void note_reasons(const struct sample *sample, struct frame_view *view)
{
	const struct answer_record *server = sample->server.now;
	double count;

	for (size_t i = 0; i < server->fields_n; i++) {
		const char *key = server->fields[i].key;

		if (strncmp(key, STATUS_CLOSED, strlen(STATUS_CLOSED)) == 0 &&
		    strlen(key) < sizeof *view->reasons &&
		    sample_number(&sample->server, key, &count) && count > 0 &&
		    view->reasons_n < FRAME_REASONS_MAX && !has_reason(view, key))
			(void)strcpy(view->reasons[view->reasons_n++], key);
	}
}

static size_t reasons_a_line(const struct frame_view *view)
{
	size_t n = (view->columns + REASON_GAP) / (REASON_WIDTH + REASON_GAP);

	return n ? n : 1;
}

static size_t reason_lines(const struct frame_view *view)
{
	size_t a_line = reasons_a_line(view), lines = (view->reasons_n + a_line - 1) / a_line;
	size_t room = view->rows / 6;

	return view->rows && lines > room ? room : lines;
}

static void put_closes(struct frame *frame, const struct sample *sample,
		       const struct frame_view *view)
{
	size_t a_line = reasons_a_line(view), lines = reason_lines(view);
	size_t heads = view->reasons_n < a_line ? view->reasons_n : a_line;
	struct frame_line *line = frame_line(frame, LOOK_HEADING);
	char count[CELL_BYTES], rate[CELL_BYTES];
	double value = 0;

	if (!view->reasons_n)
		frame_add(line, "CLOSED  none so far");
	for (size_t i = 0; i < heads; i++)
		frame_add(line, "%*s%-20s %7s %7s", i ? REASON_GAP : 0, "",
			  i == 0			     ? "CLOSED"
			  : a_line * lines < view->reasons_n ? "(not all have room)"
							     : "",
			  "TOTAL", "/S");
	for (size_t i = 0; i < view->reasons_n && i < a_line * lines; i++) {
		if (i % a_line == 0)
			line = frame_line(frame, LOOK_PLAIN);
		cell_of(count, sample_number(&sample->server, view->reasons[i], &value), &value);
		cell_of(rate, sample_rate(sample, &sample->server, view->reasons[i], &value),
			&value);
		frame_add(line, "%*s%-20.20s %7s %7s", i % a_line ? REASON_GAP : 0, "",
			  view->reasons[i] + strlen(STATUS_CLOSED), count, rate);
	}
}

/* ---- the foot ---- */

#define NOTICE_LINES_MAX 4 /* and at most a quarter of the rows */

/* What keeps the frame from being up to date, or a worker that does not move. */
struct notice {
	char text[512]; /* empty: nothing */
	enum frame_look look;
};

/* Workers that do not move; one of them by name. */
static void notice_still(struct notice *notice, const struct sample *sample)
{
	const struct sample_row *worst = NULL;
	uint64_t worst_us = 0;
	int length;
	size_t n = 0;
	double worker = 0;

	for (size_t i = 0; i < sample->workers_n; i++) {
		const struct sample_row *row = &sample->workers[i];
		uint64_t still_us = sample_still_us(sample, row);

		n += sample_is_still(sample, row);
		if (sample_is_still(sample, row) && (!worst || still_us > worst_us)) {
			worst = row;
			worst_us = still_us;
		}
	}
	if (!worst)
		return;
	(void)sample_number(worst, "worker", &worker);
	length = snprintf(notice->text, sizeof notice->text,
			  "worker %.0f (pid %d) has made no progress for %.0f s", worker,
			  (int)worst->look.pid, (double)worst_us / 1e6);
	if (n > 1)
		(void)snprintf(notice->text + length, sizeof notice->text - (size_t)length,
			       ", and %zu more", n - 1);
}

static void notice_make(struct notice *notice, const struct sample *sample,
			const struct frame_view *view)
{
	*notice = (struct notice){.look = LOOK_ALARM};
	if (view->message) {
		(void)snprintf(notice->text, sizeof notice->text, "%s", view->message);
	} else if (view->paused) {
		(void)snprintf(notice->text, sizeof notice->text, "paused");
		notice->look = LOOK_STRONG;
	} else if (sample) {
		notice_still(notice, sample);
	}
}

/* How much of text stands on its first line: whole words if one fits. */
static size_t first_line(const char *text, size_t columns)
{
	size_t n = columns;

	if (strlen(text) <= columns)
		return strlen(text);
	while (n && text[n] != ' ')
		n--;
	return n ? n : columns;
}

/* Its lines, 1 at least; if frame is NULL they are only counted. */
static size_t notice_lines(struct frame *frame, const struct notice *notice,
			   const struct frame_view *view)
{
	size_t most =
	    view->rows && view->rows / 4 < NOTICE_LINES_MAX ? view->rows / 4 : NOTICE_LINES_MAX;
	const char *text = notice->text;
	size_t lines = 0;

	do {
		size_t n = first_line(text, view->columns);

		if (frame)
			frame_add(frame_line(frame, notice->look), "%.*s", (int)n, text);
		text += n + (text[n] == ' ');
	} while (++lines < most && *text);
	return lines;
}

static void put_foot(struct frame *frame, const struct frame_view *view)
{
	struct frame_line *line = frame_line(frame, LOOK_FAINT);

	frame_add(line, view->columns < strlen("q quit") ? "q" : "q quit");
	frame_part(line, view, 2, "? %s", view->help ? "back" : "help");
	if (view->help)
		return;
	frame_part(line, view, 2, "s < > sort by %s", table_sort_name(view));
	frame_part(line, view, 2, "r reverse");
	frame_part(line, view, 2, "space %s", view->paused ? "go on" : "pause");
	frame_part(line, view, 2, "every %g s", (double)view->interval_ms / 1000);
}

/* ---- which part gets how much of the height ---- */

#define WORKERS_WANTED 8 /* so many workers are worth more than anything else that is shown */

struct height {
	struct frame_share share;
	int left; /* below 0: that many lines too many */
};

static void give_up(struct height *height, bool *part, size_t lines, size_t wanted)
{
	if (height->left >= (int)wanted)
		return;
	*part = false;
	height->left += (int)lines;
}

/* The last to be left out are a worker's line, and the line that says how many more there are. */
static struct frame_share share_height(const struct frame_view *view, size_t workers_n, size_t foot)
{
	struct height height = {.share = {true, true, true, true, true, true, true, workers_n}};
	struct frame_share *share = &height.share;
	size_t closes = 2 + reason_lines(view); /* with a blank before them */
	size_t wanted = workers_n < WORKERS_WANTED ? workers_n : WORKERS_WANTED;
	size_t least = workers_n < 2 ? workers_n : 2;

	if (!view->rows)
		return *share;
	/* 3 of the head, and 3 of the table. */
	height.left = (int)view->rows - (int)closes - 3 - 3 - (int)foot;
	give_up(&height, &share->closes, closes, wanted);
	give_up(&height, &share->blanks, 1, wanted);
	give_up(&height, &share->master, 1, wanted);
	give_up(&height, &share->counts, 1, least);
	give_up(&height, &share->all, 1, least);
	give_up(&height, &share->head, 1, least);
	give_up(&height, &share->headings, 1, least);
	share->room = height.left > 0 ? (size_t)height.left : 0;
	return *share;
}

static void put_body(struct frame *frame, const struct sample *sample, struct frame_view *view,
		     size_t foot)
{
	struct frame_share share;

	note_reasons(sample, view);
	share = share_height(view, sample->workers_n, foot);
	if (share.head)
		head_server(frame, &sample->server, view);
	if (share.counts)
		head_counts(frame, sample, view);
	if (share.blanks)
		(void)frame_line(frame, LOOK_PLAIN);
	table_make(frame, sample, view, &share);
	if (!share.closes)
		return;
	(void)frame_line(frame, LOOK_PLAIN);
	put_closes(frame, sample, view);
}

void layout_make(struct frame *frame, const struct sample *sample, struct frame_view *view)
{
	struct notice notice;
	size_t foot; /* lines: the notice's, and one for the keys */

	notice_make(&notice, sample, view);
	foot = notice_lines(NULL, &notice, view) + 1;
	frame->n = 0;
	if (view->help)
		help_make(frame, view, view->rows > foot ? view->rows - foot : 0);
	else if (sample)
		put_body(frame, sample, view, foot);
	for (size_t i = 0; view->gone && !view->help && i < frame->n; i++)
		frame->lines[i].look = LOOK_FAINT;
	if (view->rows && frame->n + foot > view->rows) /* the foot is the last to go */
		frame->n = view->rows > foot ? view->rows - foot : 0;
	while (frame->n + foot < view->rows)
		(void)frame_line(frame, LOOK_PLAIN);
	if (*notice.text)
		(void)notice_lines(frame, &notice, view);
	if (view->rows) {
		if (frame->n + 1 < view->rows)
			(void)frame_line(frame, LOOK_PLAIN);
		put_foot(frame, view);
		if (frame->n > view->rows)
			frame->n = view->rows;
	}
	for (size_t i = 0; i < frame->n; i++)
		frame_cut(&frame->lines[i], view->columns);
}
