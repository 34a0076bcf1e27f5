/*
 * weirctl's frames on screens of any width and height: what has room, and what is dropped first.
 * The test makes up the answers.
 */
#include <stdio.h>
#include <string.h>

#include "master/weirctl/table.h"
#include "tests/master/weirctl/frames.h"
#include "tests/support/suite.h"

static const char *const texts[] = {
    "0", "1", "4711", "99999", "1048576", "999999999", "9223372036854775807",
};

/* For all numbers: they end where the heading of their column ends. */
static void columns_hold(void)
{
	const char *headings = frame.lines[HEADINGS].text;

	for (size_t i = 0; headings[i]; i++) {
		bool ends = headings[i] != ' ' && (headings[i + 1] == ' ' || !headings[i + 1]);

		if (!ends || strncmp(headings + i - 4, "STATE", 5) == 0)
			continue;
		for (size_t row = HEADINGS + 2; row < HEADINGS + 5; row++) {
			const char *text = frame.lines[row].text;

			ck_assert_msg(text[i] != ' ', "%s\n%s\nat %zu", headings, text, i);
			ck_assert_msg(text[i + 1] == ' ' || !text[i + 1], "%s\n%s\nat %zu",
				      headings, text, i);
		}
	}
}

START_TEST(every_number_keeps_its_column)
{
	struct sample first, second;

	view.columns = FRAME_COLUMNS_MAX;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		sample_like(&first, 3, "0", NULL, 1);
		sample_like(&second, 3, texts[i], &first, 2);
		for (view.columns = 80; view.columns <= 130; view.columns += 50) {
			layout_make(&frame, &second, &view);
			lines_fit(view.columns, view.rows);
			columns_hold();
		}
		sample_clear(&second);
		sample_clear(&first);
	}
}
END_TEST

START_TEST(every_size_is_kept)
{
	static const size_t workers[] = {0, 1, 4, 100};
	struct sample first, second;

	for (size_t i = 0; i < sizeof workers / sizeof *workers; i++) {
		sample_like(&first, workers[i], "0", NULL, 1);
		sample_like(&second, workers[i], "4711", &first, 2);
		for (view.columns = 1; view.columns <= FRAME_COLUMNS_MAX; view.columns += 61)
			for (view.rows = 0; view.rows <= 40; view.rows++) {
				layout_make(&frame, &second, &view);
				lines_fit(view.columns, view.rows);
				ck_assert(!view.rows || *frame.lines[frame.n - 1].text == 'q');
			}
		sample_clear(&second);
		sample_clear(&first);
	}
}
END_TEST

START_TEST(who_has_no_room_is_counted)
{
	struct sample sample;
	unsigned more = 0;
	size_t shown = 0;

	sample_like(&sample, 100, "0", NULL, 1);
	view.rows = 24;
	view.columns = 80;
	layout_make(&frame, &sample, &view);
	for (size_t i = 0; i < frame.n; i++) {
		shown += strstr(frame.lines[i].text, " retiring ") != NULL;
		(void)sscanf(frame.lines[i].text, "... %u more", &more);
	}
	ck_assert_uint_ge(shown, 8);
	ck_assert_uint_eq(shown + more, 100);
	ck_assert(frame_has("master ") && frame_has("CLOSED") && frame_has("quit"));
	view.rows = 0; /* all workers, and no line of keys */
	layout_make(&frame, &sample, &view);
	ck_assert(!frame_has("more") && !frame_has("quit"));
	ck_assert_uint_ge(frame.n, 104);
	sample_clear(&sample);
}
END_TEST

/* Reasons get a sixth of the height, workers the rest. The line of keys is always there. */
START_TEST(a_full_screen_is_shared)
{
	struct sample first, second;

	for (size_t n = 10; n <= 100; n += 90) {
		view.rows = 24;
		view.columns = 80;
		sample_like(&first, n, "0", NULL, 1);
		sample_like(&second, n, "4711", &first, 2);
		layout_make(&frame, &second, &view);
		ck_assert(frame_has("(not all have room)"));
		ck_assert_uint_eq(frame_count(" retiring "), n == 10 ? 10 : 9);
		ck_assert_int_eq(frame_has("... 91 more"), n == 100);
		ck_assert_int_eq(strncmp(frame.lines[23].text, "q quit ", 7), 0);
		sample_clear(&second);
		sample_clear(&first);
	}
}
END_TEST

/* Workers are the most important: all other lines are dropped before the last workers. */
START_TEST(a_short_screen_is_the_workers)
{
	struct sample first, second;

	view.columns = 80;
	sample_like(&first, 2, "0", NULL, 1);
	sample_like(&second, 2, "4711", &first, 2);
	view.rows = 12;
	layout_make(&frame, &second, &view);
	ck_assert(!frame_has("CLOSED") && frame_has("master ") && frame_has(" STATE "));
	ck_assert_uint_eq(frame_count(" retiring "), 2);
	for (view.rows = 11; view.rows >= 4; view.rows--) {
		layout_make(&frame, &second, &view);
		ck_assert_uint_eq(frame_count(" retiring "), 2);
		ck_assert_int_eq(frame_has("master "), view.rows >= 9);
		ck_assert_int_eq(frame_has(" STATE "), view.rows >= 5);
	}
	view.rows = 3;
	layout_make(&frame, &second, &view);
	ck_assert_uint_eq(frame_count(" retiring "), 1);
	sample_clear(&second);
	sample_clear(&first);
}
END_TEST

/* A worker that makes no progress is shown even if others come before it in the order. */
START_TEST(who_stands_has_room)
{
	struct sample first, second;

	sample_like(&first, 100, "0", NULL, 1);
	sample_like(&second, 100, "0", &first, 9);
	for (size_t i = 0; i < 100; i++)
		second.workers[i].moved_us = second.at_us;
	second.workers[70].moved_us = first.at_us;
	for (view.rows = 3; view.rows <= 24; view.rows++) {
		layout_make(&frame, &second, &view);
		ck_assert(frame_has("    70 ") && frame_has(" !stuck "));
		ck_assert_int_eq(frame_has("... "), view.rows > 3);
	}
	view.rows = 0; /* all have room, so it stays in its place */
	layout_make(&frame, &second, &view);
	ck_assert_int_eq(strncmp(frame.lines[HEADINGS + 2].text, "     0 ", 7), 0);
	sample_clear(&second);
	sample_clear(&first);
}
END_TEST

/* No word is cut: each is also in one of the n lines for a wide terminal. */
static void words_are_whole(char wide[][FRAME_COLUMNS_MAX + 1], size_t n)
{
	for (size_t i = 0; i < frame.n; i++) {
		char text[FRAME_COLUMNS_MAX + 1], wanted[FRAME_COLUMNS_MAX + 3];
		bool found = false;

		(void)snprintf(text, sizeof text, "%s", frame.lines[i].text);
		for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
			(void)snprintf(wanted, sizeof wanted, " %s ", word);
			for (size_t j = found = 0; j < n && !found; j++)
				found = strstr(wide[j], wanted) != NULL;
			ck_assert_msg(found, "%zu: %s", view.columns, frame.lines[i].text);
		}
	}
}

/* Columns are dropped one by one, the most important ones last. */
START_TEST(a_narrow_screen_has_whole_words)
{
	static const char *const order[] = {"WORKER", "STATE", "CONNS", "MSG/S", "CPU%",  "LAG",
					    "QUEUED", "ACC/S", "DIED",	"PID",	 "OUT/S", "IN/S"};
	static char wide[24][FRAME_COLUMNS_MAX + 1];
	struct sample first, second;

	view.rows = 24;
	view.columns = FRAME_COLUMNS_MAX - 2;
	sample_like(&first, 3, "0", NULL, 1);
	sample_like(&second, 3, "4711", &first, 2);
	layout_make(&frame, &second, &view);
	for (size_t i = 0; i < 24; i++)
		(void)snprintf(wide[i], sizeof wide[i], " %.254s ", frame.lines[i].text);
	for (view.columns = 80; view.columns >= 21; view.columns--) {
		bool gone = false;

		layout_make(&frame, &second, &view);
		for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
			bool there = strstr(frame.lines[HEADINGS].text, order[i]) != NULL;

			ck_assert_msg(!gone || !there, "%zu: %s", view.columns, order[i]);
			ck_assert(view.columns < 80 || there);
			gone = !there;
		}
		columns_hold();
		frame.n = 2; /* the first and last lines only: their words must be whole */
		words_are_whole(wide, 24);
		layout_make(&frame, &second, &view);
		frame.lines[0] = frame.lines[23];
		frame.n = 1;
		words_are_whole(wide, 24);
	}
	sample_clear(&second);
	sample_clear(&first);
}
END_TEST

/* Expects this worker to be the first, and this text about those that are not shown. */
static void scrolled(const struct sample *sample, size_t to, const char *first, const char *more)
{
	view.first = to;
	layout_make(&frame, sample, &view);
	ck_assert_int_eq(strncmp(frame.lines[HEADINGS + 2].text, first, strlen(first)), 0);
	ck_assert_msg(frame_has(more), "%zu: no %s", to, more);
	ck_assert(frame_has("master ") && frame_has("CLOSED"));
}

START_TEST(workers_can_be_scrolled)
{
	struct sample sample;

	view.rows = 24;
	view.columns = 80;
	sample_like(&sample, 100, "0", NULL, 1);
	scrolled(&sample, 0, "     0 ", "more");
	scrolled(&sample, 7, "     7 ", " more, 7 above");
	ck_assert_uint_eq(view.first, 7);
	scrolled(&sample, FRAME_END, "    87 ", "... 87 above"); /* there is room for 13 */
	ck_assert_uint_eq(view.page, 13);
	ck_assert_uint_eq(view.first, 87);
	view.rows = 0;
	layout_make(&frame, &sample, &view);
	ck_assert_uint_eq(view.first, 0);
	sample_clear(&sample);
}
END_TEST

/* The help fits on a usual screen, and can be scrolled on a smaller one. */
START_TEST(help_says_what_columns_are)
{
	const char *heading, *what;
	char begin[16];

	view.help = true;
	view.rows = 24;
	view.columns = 80;
	layout_make(&frame, NULL, &view);
	lines_fit(80, 24);
	for (size_t i = 0; (what = table_column(i, &heading)); i++) {
		(void)snprintf(begin, sizeof begin, "%-8s", heading);
		ck_assert_msg(frame_has(begin), "%s", heading);
	}
	ck_assert(frame_has("twice the true value") && frame_has("PgUp") && frame_has("? back"));
	for (view.columns = 1; view.columns <= 80; view.columns++)
		for (view.rows = 1; view.rows <= 30; view.rows++) {
			view.help_first = FRAME_END;
			layout_make(&frame, NULL, &view);
			lines_fit(view.columns, view.rows);
			ck_assert(view.columns < 30 || view.rows < 4 || frame_has("End"));
		}
	view.help = false;
}
END_TEST

SUITE("frame size", {"every number keeps its column", every_number_keeps_its_column, 10},
      {"every size is kept", every_size_is_kept, 30},
      {"who has no room is counted", who_has_no_room_is_counted, 10},
      {"a full screen is shared", a_full_screen_is_shared, 10},
      {"a short screen is the workers", a_short_screen_is_the_workers, 10},
      {"who stands has room", who_stands_has_room, 10},
      {"a narrow screen has whole words", a_narrow_screen_has_whole_words, 10},
      {"workers can be scrolled", workers_can_be_scrolled, 10},
      {"help says what columns are", help_says_what_columns_are, 10})
