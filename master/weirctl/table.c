#include "master/weirctl/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "master/weirctl/cell.h"
#include "reactor/base/check.h"

#define GAP 1

enum kind {
	KIND_NUMBER, /* as it is */
	KIND_COUNT,
	KIND_BYTES,
	KIND_AGE,
	KIND_RATE,
	KIND_MESSAGES, /* a rate; nothing if the server has never counted one */
	KIND_BYTES_RATE,
	KIND_STATE,
	KIND_CPU,
	KIND_BUSY, /* a counter of microseconds, as a share of the time */
	KIND_LAG,
	KIND_MEMORY,
};

/* As they stand from left to right; those that fit in 80 columns first. */
static const struct column {
	const char *heading;
	int width;
	enum kind kind;
	const char *key;
	bool of_all;   /* the whole server has it, too */
	unsigned need; /* rank: 0 is shown first, the highest is left out first */
	const char *what;
} columns[] = {
    {"WORKER", 6, KIND_NUMBER, "worker", false, 0, "its number"},
    {"PID", 7, KIND_NUMBER, "pid", false, 9, "of its process; - where none is there now"},
    {"STATE", 8, KIND_STATE, "state", false, 1,
     "what it does; !stopped: by a signal or a debugger; !stuck: its loop makes no pass, and does "
     "not wait"},
    {"CONNS", 5, KIND_COUNT, "connections", true, 2, "connections now"},
    {"ACC/S", 6, KIND_RATE, "accepted", true, 7, "connections accepted a second"},
    {"MSG/S", 6, KIND_MESSAGES, "messages", true, 3,
     "messages received a second; - until one is counted: echo, discard, chargen and increment "
     "have none"},
    {"IN/S", 6, KIND_BYTES_RATE, "received_bytes", true, 11, "bytes received a second"},
    {"OUT/S", 6, KIND_BYTES_RATE, "sent_bytes", true, 10, "bytes sent a second"},
    {"CPU%", 5, KIND_CPU, NULL, true, 4, "of one CPU"},
    {"QUEUED", 6, KIND_BYTES, "queued_bytes", true, 6,
     "bytes in write queues now, which peers have not taken yet"},
    {"LAG", 4, KIND_LAG, NULL, false, 5,
     "what 99 of 100 passes of its loop took at most, in the last interval; a step of a histogram, "
     "so up to twice the true value"},
    {"DIED", 4, KIND_COUNT, "restarts", false, 8, "how often it was replaced because it died"},
    {"UP", 6, KIND_AGE, "up_s", false, 12, "since when it runs"},
    {"MEM", 5, KIND_MEMORY, NULL, false, 13, "its resident memory"},
    {"BUSY%", 5, KIND_BUSY, "loop_busy_us", false, 14,
     "the part of the time that its loop was not waiting"},
    {"SENT/S", 6, KIND_MESSAGES, "messages_sent", false, 15,
     "messages sent a second; - as in MSG/S"},
    {"GEN", 4, KIND_COUNT, "generation", false, 16, "its generation"},
};

#define COLUMNS	     (sizeof columns / sizeof *columns)
#define SORT_DEFAULT 0

/* What stands in a column as a number; false: nothing is known. */
static bool value_of(const struct sample *sample, const struct sample_row *row,
		     const struct column *column, double *value)
{
	double messages = 1;

	switch (column->kind) {
	case KIND_MESSAGES:
		if (sample_number(&sample->server, "messages", &messages) && messages < 1)
			return false;
		return sample_rate(sample, row, column->key, value);
	case KIND_RATE:
	case KIND_BYTES_RATE:
		return sample_rate(sample, row, column->key, value);
	case KIND_CPU:
		return sample_cpu(row, value);
	case KIND_MEMORY:
		*value = (double)row->process.proc.memory_bytes;
		return row->process.known;
	case KIND_LAG:
		return sample_lag(sample, row, value);
	case KIND_BUSY:
		if (!sample_rate(sample, row, column->key, value))
			return false;
		*value /= 1e4;
		return true;
	case KIND_STATE:
		return false;
	default:
		return sample_number(row, column->key, value);
	}
}

static void format_value(char cell[CELL_BYTES], const struct column *column, double value)
{
	int room = column->width < CELL_SHORT ? column->width : CELL_SHORT;

	switch (column->kind) {
	case KIND_NUMBER:
		(void)snprintf(cell, CELL_BYTES, "%.0f", value);
		break;
	case KIND_AGE:
		cell_age(cell, (int64_t)value);
		break;
	case KIND_LAG:
		if (value < 999)
			cell_lag(cell, value);
		else
			(void)snprintf(cell, CELL_BYTES, "long");
		break;
	case KIND_CPU:
	case KIND_BUSY:
		(void)snprintf(cell, CELL_BYTES, value < 99.95 ? "%.1f" : "%.0f", value);
		break;
	case KIND_COUNT:
	case KIND_RATE:
	case KIND_MESSAGES:
		cell_short(cell, value, 1000, room);
		break;
	default:
		cell_short(cell, value, 1024, room);
	}
}

static void format_state(char cell[CELL_BYTES], const struct sample *sample,
			 const struct sample_row *row)
{
	if (sample_is_still(sample, row))
		(void)snprintf(cell, CELL_BYTES, row->look.stopped ? "!stopped" : "!stuck");
	else
		cell_ascii(cell, sample_text(row, "state"));
}

/* Those whose key the server does not know are left out. */
static bool is_there(const struct sample *sample, const struct column *column)
{
	return !column->key || !sample->workers_n ||
	       answer_field(sample->workers[0].now, column->key);
}

static const struct column *needed(unsigned need)
{
	size_t i = 0;

	while (columns[i].need != need)
		CHECK(++i < COLUMNS);
	return &columns[i];
}

/* How many columns have room: those whose `need` is below that are shown. */
static unsigned columns_that_fit(const struct sample *sample, const struct frame_view *view)
{
	size_t width = 0;
	unsigned n = 0;

	for (; n < COLUMNS; n++) {
		const struct column *column = needed(n);

		if (!is_there(sample, column))
			continue;
		width += (size_t)column->width + (width ? GAP : 0);
		if (width > view->columns)
			break;
	}
	return n;
}

static bool is_shown(const struct sample *sample, const struct column *column, unsigned fit)
{
	return column->need < fit && is_there(sample, column);
}

static void line_cell(struct frame_line *line, const struct column *column, const char *cell)
{
	frame_add(line, "%*s%*.*s", column == columns ? 0 : GAP, "",
		  column->kind == KIND_STATE ? -column->width : column->width, column->width, cell);
}

static void table_headings(struct frame_line *line, const struct sample *sample, unsigned fit)
{
	for (size_t i = 0; i < COLUMNS; i++)
		if (is_shown(sample, &columns[i], fit))
			line_cell(line, &columns[i], columns[i].heading);
}

static void format_cell(char cell[CELL_BYTES], const struct sample *sample,
			const struct sample_row *row, const struct column *column)
{
	double value;

	if (column->kind == KIND_STATE)
		format_state(cell, sample, row);
	else if (column->key && strcmp(column->key, "pid") == 0 && !row->look.pid)
		(void)snprintf(cell, CELL_BYTES, "-");
	else if (value_of(sample, row, column, &value))
		format_value(cell, column, value);
	else
		(void)snprintf(cell, CELL_BYTES, "-");
}

static void table_row(struct frame_line *line, const struct sample *sample,
		      const struct sample_row *row, unsigned fit)
{
	char cell[CELL_BYTES];

	for (size_t i = 0; i < COLUMNS; i++) {
		if (!is_shown(sample, &columns[i], fit))
			continue;
		format_cell(cell, sample, row, &columns[i]);
		line_cell(line, &columns[i], cell);
	}
}

/* One line for the workers and the master together; or for the master alone, of which only the
 * process is to be seen. */
static void table_sum(struct frame_line *line, const struct sample *sample, unsigned fit,
		      bool master)
{
	const struct sample_row *server = &sample->server;

	for (size_t i = 0; i < COLUMNS; i++) {
		const struct column *column = &columns[i];
		bool of_process = column->kind == KIND_CPU || column->kind == KIND_MEMORY ||
				  (column->key && strcmp(column->key, "pid") == 0);
		char cell[CELL_BYTES] = "";
		double sum = 0, one;

		if (!is_shown(sample, column, fit))
			continue;
		if (i == 0) {
			(void)snprintf(cell, sizeof cell, master ? "master" : "all");
		} else if (master ? of_process : column->of_all && column->kind != KIND_CPU) {
			format_cell(cell, sample, server, column);
		} else if (!master && column->kind == KIND_CPU) {
			bool known = value_of(sample, server, column, &sum);

			for (size_t j = 0; j < sample->workers_n; j++)
				if (value_of(sample, &sample->workers[j], column, &one)) {
					sum += one;
					known = true;
				}
			if (known)
				format_value(cell, column, sum);
			else
				(void)snprintf(cell, sizeof cell, "-");
		}
		line_cell(line, column, cell);
	}
}

struct order {
	const struct sample *sample;
	const struct column *column;
	bool upwards;
	bool still_first; /* because not all are shown */
};

static struct order order; /* qsort() passes nothing on */

static int compare_rows(const void *left, const void *right)
{
	const struct sample_row *a = *(const struct sample_row *const *)left;
	const struct sample_row *b = *(const struct sample_row *const *)right;
	double x = 0, y = 0;
	bool x_known = value_of(order.sample, a, order.column, &x);
	bool y_known = value_of(order.sample, b, order.column, &y);
	bool a_still = sample_is_still(order.sample, a), b_still = sample_is_still(order.sample, b);

	if (order.still_first && a_still != b_still)
		return a_still ? -1 : 1;
	if (x_known != y_known)
		return x_known ? -1 : 1;
	if (x < y || x > y)
		return (x < y) == order.upwards ? -1 : 1;
	return (a > b) - (a < b); /* as the server has them */
}

/* The index, in the order, of the first row that is shown. */
static size_t scrolled_to(struct frame_view *view, size_t n, size_t shown)
{
	view->page = shown;
	if (view->first > n - shown)
		view->first = n - shown;
	return view->first;
}

static void table_more(struct frame_line *line, size_t below, size_t above)
{
	frame_add(line, "...");
	if (below)
		frame_add(line, " %zu more", below);
	if (above)
		frame_add(line, "%s %zu above", below ? "," : "", above);
}

void table_make(struct frame *frame, const struct sample *sample, struct frame_view *view,
		const struct frame_share *share)
{
	unsigned fit = columns_that_fit(sample, view);
	size_t n = sample->workers_n;
	const struct sample_row **rows = calloc(n + 1, sizeof *rows);
	size_t shown = n <= share->room ? n : share->room - (share->room > 1);
	size_t first = scrolled_to(view, n, shown);

	if (!rows)
		die("memory: %s", strerror(errno));
	for (size_t i = 0; i < n; i++)
		rows[i] = &sample->workers[i];
	order = (struct order){sample, &columns[view->sort],
			       (view->sort == SORT_DEFAULT) != view->backwards, shown < n};
	qsort(rows, n, sizeof *rows, compare_rows);
	if (share->headings)
		table_headings(frame_line(frame, LOOK_HEADING), sample, fit);
	if (share->all)
		table_sum(frame_line(frame, LOOK_STRONG), sample, fit, false);
	for (size_t i = first; i < first + shown; i++)
		table_row(
		    frame_line(frame, sample_is_still(sample, rows[i]) ? LOOK_ALARM : LOOK_PLAIN),
		    sample, rows[i], fit);
	if (shown < share->room && shown < n)
		table_more(frame_line(frame, LOOK_FAINT), n - shown - first, first);
	if (share->master)
		table_sum(frame_line(frame, LOOK_PLAIN), sample, fit, true);
	free(rows);
}

void table_sort(struct frame_view *view, int step)
{
	do
		view->sort = (view->sort + COLUMNS + (size_t)step) % COLUMNS;
	while (columns[view->sort].kind == KIND_STATE);
}

const char *table_sort_name(const struct frame_view *view)
{
	return columns[view->sort].heading;
}

const char *table_column(size_t i, const char **heading)
{
	if (i >= COLUMNS)
		return NULL;
	*heading = columns[i].heading;
	return columns[i].what;
}
