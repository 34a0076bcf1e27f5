/*
 * counters: no counter may be lower in the second of two scrapes than in the first.
 */
#ifndef TESTS_MASTER_METRICS_COUNTERS_H
#define TESTS_MASTER_METRICS_COUNTERS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/clients/scraper.h"

static inline bool is_counter(const char *line, size_t name_n)
{
	static const char *const ends[] = {"_total", "_bucket", "_sum", "_count"};

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		size_t n = strlen(ends[i]);

		if (name_n > n && strncmp(line + name_n - n, ends[i], n) == 0)
			return true;
	}
	return false;
}

/* Returns how many counters there were. */
static inline size_t expect_no_less(const char *before, const char *after)
{
	size_t n = 0;

	for (const char *line = before; *line; line += strcspn(line, "\n") + 1) {
		size_t name_n = strcspn(line, "{ "), series_n;
		const char *value, *now;
		char series[512];

		if (*line == '#' || !is_counter(line, name_n))
			continue;
		series_n = (size_t)(strstr(line, line[name_n] == '{' ? "} " : " ") - line) +
			   (line[name_n] == '{');
		(void)snprintf(series, sizeof series, "%.*s", (int)series_n, line);
		value = line + series_n + 1;
		now = sample_text(after, series);
		ck_assert_msg(now != NULL, "%s has gone", series);
		ck_assert_msg(strtod(now, NULL) >= strtod(value, NULL), "%s went back: %.*s, %.*s",
			      series, (int)strcspn(value, "\n"), value, (int)strcspn(now, "\n"),
			      now);
		n++;
	}
	return n;
}

#endif
