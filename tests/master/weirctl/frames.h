/*
 * frames: frames of `weirctl top` for tests, from answers that the test makes up.
 *
 * There is one frame at a time. The view (size, sort order) is kept from one to the next.
 */
#ifndef TESTS_MASTER_WEIRCTL_FRAMES_H
#define TESTS_MASTER_WEIRCTL_FRAMES_H

#include <stdio.h>
#include <string.h>

#include "master/weirctl/layout.h"
#include "reactor/base/stats.h"
#include "tests/support/suite.h"

#define HEADINGS 3 /* the number of the line with the headings */

static struct frame frame;
static struct frame_view view = {.columns = 80, .rows = 24, .interval_ms = 1000};

/* Makes a sample of these lines, each of which ends with a newline. /proc is not read. */
static inline void sample_of(struct sample *sample, const char *text, const struct sample *before)
{
	struct answer answer = {0};
	char line[4096];

	for (; *text; text += strcspn(text, "\n") + 1) {
		(void)snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
		ck_assert_msg(answer_line(&answer, line) != NULL, "%s", line);
	}
	ck_assert(sample_take(sample, &answer, before, false));
}

/* Makes a sample of n workers, all of whose numbers are this one. */
static inline void sample_like(struct sample *sample, size_t n, const char *number,
			       const struct sample *before, unsigned second)
{
	static char text[1 << 20];
	size_t length = (size_t)sprintf(text,
					"moment us=%u000000\nserver pid=4194304 version=0.1.0 "
					"state=rebalancing generation=%s workers=%s "
					"workers_asked=%s up_s=%s",
					second, number, number, number, number);

	for (size_t worker = 0; worker <= n; worker++) {
		for (size_t i = 0; i < stats_rows_n; i++)
			if (!stats_rows[i].label || strcmp(stats_rows[i].label, "reason") == 0)
				length += (size_t)sprintf(text + length, " %s=%s",
							  stats_rows[i].name, number);
		length += (size_t)sprintf(text + length, "\n");
		if (worker < n)
			length += (size_t)sprintf(text + length,
						  "worker worker=%zu pid=%zu generation=%s "
						  "state=retiring restarts=%s up_s=%s",
						  worker, 4194000 + worker, number, number, number);
	}
	sample_of(sample, text, before);
}

static inline bool frame_has(const char *text)
{
	for (size_t i = 0; i < frame.n; i++)
		if (strstr(frame.lines[i].text, text))
			return true;
	return false;
}

static inline size_t frame_count(const char *text)
{
	size_t n = 0;

	for (size_t i = 0; i < frame.n; i++)
		n += strstr(frame.lines[i].text, text) != NULL;
	return n;
}

static inline void lines_fit(size_t columns, size_t rows)
{
	if (rows)
		ck_assert_uint_eq(frame.n, rows);
	for (size_t i = 0; i < frame.n; i++) {
		const char *text = frame.lines[i].text, *at = text;

		while (*at >= ' ' && *at <= '~')
			at++;
		ck_assert_msg(!*at && (size_t)(at - text) <= columns, "%zu: %s", columns, text);
	}
}

#endif
