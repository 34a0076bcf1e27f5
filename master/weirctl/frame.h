/*
 * frame: lines of text for a table that is drawn again and again, none wider than asked for, and
 * how somebody wants to see them.
 *
 * The text alone says everything; how a line looks only helps the eye. layout, table and help fill
 * a frame line by line; it owns its lines until the program ends.
 */
#ifndef MASTER_WEIRCTL_FRAME_H
#define MASTER_WEIRCTL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/base/stats.h"

#define FRAME_COLUMNS_MAX 256
#define FRAME_REASONS_MAX 64
#define FRAME_END	  (SIZE_MAX / 2) /* as far as it goes */

enum frame_look { LOOK_PLAIN, LOOK_STRONG, LOOK_HEADING, LOOK_ALARM, LOOK_FAINT };

struct frame_line {
	char text[FRAME_COLUMNS_MAX + 1];
	enum frame_look look;
};

struct frame {
	struct frame_line *lines;
	size_t n, room;
};

/* How somebody wants to see it. */
struct frame_view {
	size_t columns; /* at least 1 */
	size_t rows;	/* 0: as many as it takes, and nothing about keys */
	size_t sort;	/* by which column of the table */
	bool backwards; /* the other way round than usual for that column */
	bool paused;
	bool help;		  /* show what each column is, not the table */
	size_t first, help_first; /* line shown, if not all have room */
	size_t page;		  /* how many lines had room */
	bool gone;		  /* the server has gone: this is how it was */
	uint64_t interval_ms;
	const char *message; /* why it is not up to date; NULL: it is */
	/* Reasons in the order in which they were first seen: they stay in their places. */
	char reasons[FRAME_REASONS_MAX][STATS_NAME_BYTES];
	size_t reasons_n;
};

/* Which parts of a frame have room. */
struct frame_share {
	bool head, counts, blanks, headings, all, master, closes;
	size_t room; /* lines for workers, with the one that says how many more there are */
};

/* Good until the next one. */
struct frame_line *frame_line(struct frame *frame, enum frame_look look);
/* What does not fit is cut. */
void frame_add(struct frame_line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Adds a part of a line, with gap blanks before it, or nothing if not all of it fits in the
 * columns. */
void frame_part(struct frame_line *line, const struct frame_view *view, int gap, const char *format,
		...) __attribute__((format(printf, 4, 5)));
/* Cuts a line behind the last word that fits; a first word that is too long is cut all the same. */
void frame_cut(struct frame_line *line, size_t columns);

#endif
