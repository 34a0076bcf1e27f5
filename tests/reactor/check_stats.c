/*
 * stats: the rows match the table, each has a number of its own, and readers in another process
 * see whole numbers.
 *
 * It can't see whether counters are counted correctly: tests of a running server look at that.
 */
#include <limits.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/stats.h"
#include "tests/support/harness.h"
#include "worker/scoreboard.h"

static const struct stats_row *find(const char *name)
{
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strcmp(stats_rows[i].name, name) == 0)
			return &stats_rows[i];
	return NULL;
}

static void expect_row(const char *name, enum stats_kind kind, const char *value, size_t offset)
{
	const struct stats_row *row = find(name);

	ck_assert_msg(row != NULL, "no row is called %s", name);
	ck_assert_int_eq(row->kind, kind);
	ck_assert_uint_eq(row->offset, offset);
	if (value)
		ck_assert_str_eq(row->value, value);
	else
		ck_assert_ptr_null(row->value);
}

/* Is it a row that a protocol has added? */
static bool is_added(const struct stats_row *row)
{
	return row->offset >= offsetof(struct stats, added) ||
	       (row->offset >= offsetof(struct stats, closed[CLOSE_REASONS]) &&
		row->offset < offsetof(struct stats, closed[CLOSE_REASONS_MAX]));
}

START_TEST(every_entry_of_the_tables_is_a_row)
{
	size_t n = 0;

#define STAT(kind_, name_, metric_, text_)                                                         \
	do {                                                                                       \
		const struct stats_row *row = find(#name_);                                        \
		ck_assert_ptr_nonnull(row);                                                        \
		ck_assert_int_eq(row->kind, STATS_##kind_);                                        \
		ck_assert_str_eq(row->metric, metric_);                                            \
		ck_assert_str_eq(row->text, text_);                                                \
		ck_assert_uint_eq(row->offset, offsetof(struct stats, name_));                     \
		n++;                                                                               \
	} while (0);
#include "reactor/base/stats.def"
#undef STAT
#define CLOSE(name_, text_)                                                                        \
	do {                                                                                       \
		const struct stats_row *row = find("closed_" #name_);                              \
		ck_assert_ptr_nonnull(row);                                                        \
		ck_assert_int_eq(row->kind, STATS_COUNTER);                                        \
		ck_assert_str_eq(row->text, text_);                                                \
		ck_assert_str_eq(close_reason_name(CLOSE_##name_), #name_);                        \
		n++;                                                                               \
	} while (0);
#include "reactor/base/close.def"
#undef CLOSE
#define ACCEPT_ERROR(error_, name_, whose_, text_)                                                 \
	do {                                                                                       \
		expect_row("accept_errors_" #name_, STATS_COUNTER, #error_,                        \
			   offsetof(struct stats, accept_errors[ACCEPT_##error_]));                \
		ck_assert_int_eq(accept_error_of(error_), ACCEPT_##error_);                        \
		ck_assert_int_eq(accept_error_is_of_one(ACCEPT_##error_),                          \
				 strcmp(#whose_, "ONE") == 0);                                     \
		n++;                                                                               \
	} while (0);
#include "reactor/base/accept_error.def"
#undef ACCEPT_ERROR
#define SYS(type_, name_, parameters_, arguments_)                                                 \
	expect_row("calls_" #name_, STATS_COUNTER, #name_,                                         \
		   offsetof(struct stats, calls[CALL_##name_]));                                   \
	n++;
#include "reactor/base/sys.def"
#undef SYS
#define LAG(us_, seconds_)                                                                         \
	expect_row("loop_lag_" #us_ "us", STATS_BUCKET, seconds_,                                  \
		   offsetof(struct stats, lag[LAG_##us_]));                                        \
	ck_assert_double_eq_tol(strtod(seconds_, NULL), us_ / 1e6, 1e-12);                         \
	expect_row("delivery_lag_" #us_ "us", STATS_BUCKET, seconds_,                              \
		   offsetof(struct stats, delivery_lag[LAG_##us_]));                               \
	n += 2;
#include "reactor/base/lag.def"
#undef LAG
	expect_row("accept_errors_other", STATS_COUNTER, "other",
		   offsetof(struct stats, accept_errors[ACCEPT_OTHER]));
	expect_row("loop_lag_more", STATS_BUCKET, "+Inf", offsetof(struct stats, lag[LAG_MORE]));
	expect_row("loop_lag_us", STATS_SUM, NULL, offsetof(struct stats, loop_busy_us));
	expect_row("delivery_lag_more", STATS_BUCKET, "+Inf",
		   offsetof(struct stats, delivery_lag[LAG_MORE]));
	expect_row("delivery_lag_us", STATS_SUM, NULL, offsetof(struct stats, delivery_us));
	for (size_t i = 0; i < stats_rows_n; i++)
		n += is_added(&stats_rows[i]);
	ck_assert_uint_eq(n + 5, stats_rows_n);
}
END_TEST

/* Prometheus, JSON and a shell take these names without quoting. */
START_TEST(names_are_unique_and_plain)
{
	for (size_t i = 0; i < stats_rows_n; i++) {
		const char *name = stats_rows[i].name;

		ck_assert_ptr_eq(find(name), &stats_rows[i]);
		ck_assert_msg(islower((unsigned char)*name), "%s", name);
		ck_assert_msg(!name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")], "%s",
			      name);
		ck_assert_uint_gt(strlen(stats_rows[i].text), 0);
	}
}
END_TEST

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), end_n = strlen(end);

	return n >= end_n && strcmp(text + n - end_n, end) == 0;
}

/* https://prometheus.io/docs/practices/naming, and what promtool says about names. */
static void expect_good_name(const struct stats_row *row)
{
	static const char *const reserved[] = {"_count", "_sum", "_bucket", "_info"};
	static const char *const times[] = {"_seconds", "_seconds_total"};
	const char *metric = row->metric, *bytes = strstr(metric, "_bytes");
	bool total = row->kind == STATS_COUNTER || row->kind == STATS_TIME;
	bool time = row->kind == STATS_TIME || row->kind == STATS_BUCKET || row->kind == STATS_SUM;

	ck_assert_msg(strncmp(metric, "weir_", 5) == 0, "%s", metric);
	ck_assert_msg(!metric[strspn(metric, "abcdefghijklmnopqrstuvwxyz_")], "%s", metric);
	ck_assert_msg(total == ends_with(metric, "_total"), "%s", metric);
	ck_assert_msg(time == ends_with(metric, times[total]), "%s", metric);
	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		ck_assert_msg(!ends_with(metric, reserved[i]), "%s", metric);
	/* A unit comes last, before _total. */
	ck_assert_msg(!bytes || ends_with(metric, total ? "_bytes_total" : "_bytes"), "%s", metric);
	ck_assert_msg(strstr(row->name, "bytes") == NULL || bytes, "%s: %s", row->name, metric);
}

START_TEST(metrics_are_named_as_prometheus_wants_them)
{
	for (size_t i = 0; i < stats_rows_n; i++) {
		expect_good_name(&stats_rows[i]);
		ck_assert_uint_gt(strlen(stats_rows[i].metric_text), 0);
		ck_assert(!stats_rows[i].label == !stats_rows[i].value);
	}
}
END_TEST

static bool is_histogram(const struct stats_row *row)
{
	return row->kind == STATS_BUCKET || row->kind == STATS_SUM;
}

/* Checks what code that prints a metric relies on: its rows are next to each other, and have the
 * same values for what is printed only once. */
static void expect_together(size_t i, size_t j)
{
	const struct stats_row *a = &stats_rows[i], *b = &stats_rows[j];

	for (size_t k = i; k < j; k++)
		ck_assert_str_eq(stats_rows[k].metric, a->metric);
	ck_assert_str_eq(a->metric_text, b->metric_text);
	ck_assert_ptr_nonnull(a->label);
	ck_assert(is_histogram(a) ? is_histogram(b) : a->kind == b->kind);
	if (b->kind == STATS_SUM) /* the sum of a histogram, which follows its buckets */
		return;
	ck_assert_int_eq(a->kind, b->kind);
	ck_assert_str_eq(a->label, b->label);
	ck_assert_str_ne(a->value, b->value);
}

START_TEST(rows_of_one_metric_stand_together)
{
	for (size_t i = 0; i < stats_rows_n; i++)
		for (size_t j = i + 1; j < stats_rows_n; j++)
			if (strcmp(stats_rows[i].metric, stats_rows[j].metric) == 0)
				expect_together(i, j);
}
END_TEST

/* Buckets rise, the last one has no upper bound, and the sum follows. */
START_TEST(a_histogram_is_whole)
{
	size_t sums = 0;

	for (size_t i = 0; i < stats_rows_n; i++) {
		const struct stats_row *row = &stats_rows[i], *next = row + 1;

		sums += row->kind == STATS_SUM;
		if (row->kind != STATS_BUCKET)
			continue;
		ck_assert_uint_lt(i + 1, stats_rows_n);
		ck_assert_str_eq(row->label, "le");
		ck_assert_str_eq(row->metric, next->metric);
		if (strcmp(row->value, "+Inf") == 0)
			ck_assert_int_eq(next->kind, STATS_SUM);
		else
			ck_assert_double_lt(strtod(row->value, NULL), strtod(next->value, NULL));
	}
	ck_assert_uint_eq(sums, 2);
}
END_TEST

START_TEST(each_row_has_a_number_of_its_own)
{
	struct stats stats;

	for (size_t i = 0; i < stats_rows_n; i++) {
		if (stats_rows[i].kind == STATS_SUM) /* it shows the number of another row */
			continue;
		memset(&stats, 0, sizeof stats);
		ck_assert_uint_eq(stats_rows[i].offset % sizeof(uint64_t), 0);
		ck_assert_uint_le(stats_rows[i].offset + sizeof(uint64_t), sizeof stats);
		memset((char *)&stats + stats_rows[i].offset, 0xff, sizeof(uint64_t));
		for (size_t j = 0; j < stats_rows_n; j++)
			if (stats_rows[j].kind != STATS_SUM)
				ck_assert_uint_eq(stats_value(&stats, &stats_rows[j]),
						  i == j ? UINT64_MAX : 0);
	}
}
END_TEST

/* A lag equal to the bound of a step belongs to it; a microsecond more belongs to the next. */
START_TEST(lags_fall_into_their_step)
{
	uint64_t last = 0;

	ck_assert_int_eq(lag_of(0), 0);
	ck_assert_int_eq(lag_of(1), 0);
#define LAG(us, seconds)                                                                           \
	ck_assert_int_eq(lag_of(us), LAG_##us);                                                    \
	ck_assert_int_eq(lag_of(us + 1), LAG_##us + 1);                                            \
	last = us;
#include "reactor/base/lag.def"
#undef LAG
	ck_assert_uint_gt(last, 1000000);
	ck_assert_int_eq(lag_of(100 * last), LAG_MORE);
	ck_assert_int_eq(lag_of(UINT64_MAX), LAG_MORE);
}
END_TEST

/* The gauges of a worker that has gone are cleared; its counters and maxima stay. */
START_TEST(gauges_go_with_their_worker)
{
	struct stats stats;
	size_t gauges = 0;

	memset(&stats, 0xff, sizeof stats);
	stats_clear_gauges(&stats);
	for (size_t i = 0; i < stats_rows_n; i++) {
		bool gauge = stats_rows[i].kind == STATS_GAUGE;

		gauges += gauge;
		ck_assert_uint_eq(stats_value(&stats, &stats_rows[i]), gauge ? 0 : UINT64_MAX);
		ck_assert(!(gauge && stats_grows(&stats_rows[i])));
	}
	ck_assert_uint_gt(gauges, 0);
	ck_assert(stats_grows(find("accepted")) && stats_grows(find("loop_busy_us")) &&
		  stats_grows(find("loop_lag_16us")) && stats_grows(find("loop_lag_us")) &&
		  !stats_grows(find("chunks_max")));
}
END_TEST

START_TEST(macros_count_into_their_row)
{
	struct stats stats = {0};

	STATS_ADD(&stats, connections, 3);
	STATS_ADD(&stats, connections, -1);
	STATS_ADD(&stats, received_bytes, UINT32_MAX);
	STATS_ADD(&stats, received_bytes, 1);
	STATS_ADD(&stats, closed[CLOSE_idle_timeout], 1);
	STATS_MAX(&stats, chunks_max, 5);
	STATS_MAX(&stats, chunks_max, 4);
	ck_assert_uint_eq(STATS_READ(&stats, connections), 2);
	ck_assert_uint_eq(stats_value(&stats, find("connections")), 2);
	ck_assert_uint_eq(stats_value(&stats, find("received_bytes")), 1ULL << 32);
	ck_assert_uint_eq(stats_value(&stats, find("closed_idle_timeout")), 1);
	ck_assert_uint_eq(stats_value(&stats, find("chunks_max")), 5);
}
END_TEST

START_TEST(workers_combine_by_kind)
{
	ck_assert_uint_eq(stats_combine(find("accepted"), 3, 4), 7);
	ck_assert_uint_eq(stats_combine(find("connections"), 3, 4), 7);
	ck_assert_uint_eq(stats_combine(find("closed_eof"), 3, 4), 7);
	ck_assert_uint_eq(stats_combine(find("chunks_max"), 3, 4), 4);
	ck_assert_uint_eq(stats_combine(find("chunks_max"), 4, 3), 4);
}
END_TEST

START_TEST(reasons_outside_the_table_have_a_name_too)
{
	ck_assert_str_eq(close_reason_name(CLOSE_NONE), "none");
	ck_assert_str_eq(close_reason_name(close_reasons_end()), "unknown");
	ck_assert_str_eq(close_reason_name(UINT_MAX), "unknown");
}
END_TEST

/* One process writes numbers with two equal halves, another process reads them. */
START_TEST(another_process_reads_whole_numbers)
{
	struct stats *stats =
	    mmap(NULL, sizeof *stats, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct stats_row *row = find("received_bytes");
	const uint64_t both = 0x100000001ULL, last = suite_volume(20000000) * both;
	uint64_t seen = 0;
	unsigned long looks = 0;
	int status;
	pid_t pid;

	ck_assert_ptr_ne(stats, MAP_FAILED);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		while (stats->received_bytes < last)
			STATS_ADD(stats, received_bytes, both);
		_exit(0);
	}
	for (; seen < last; looks++) {
		uint64_t value = stats_value(stats, row);

		if (value < seen || value >> 32 != (value & UINT32_MAX))
			ck_abort_msg("%llx after %llx", (unsigned long long)value,
				     (unsigned long long)seen);
		seen = value;
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(seen, last);
}
END_TEST

/* Workers that counted into the same cache line would slow each other down. */
START_TEST(workers_share_no_line_of_cache)
{
	ck_assert_uint_eq(sizeof(struct scoreboard_seat) % 64, 0);
	ck_assert_uint_eq(offsetof(struct scoreboard, seats) % 64, 0);
	ck_assert_uint_ge(offsetof(struct scoreboard, seats), 64);
}
END_TEST

/* A scoreboard written by a weir with other counters is not read. */
START_TEST(a_scoreboard_of_another_layout_is_none)
{
	struct scoreboard *scoreboard, *same;
	int fd;

	scoreboard = scoreboard_open(&fd);
	ck_assert_ptr_nonnull(scoreboard);
	STATS_ADD(&scoreboard->seats[3].stats, calls[CALL_read], 7);
	same = scoreboard_attach(fd);
	ck_assert_ptr_nonnull(same);
	ck_assert_uint_eq(stats_value(&same->seats[3].stats, find("calls_read")), 7);
	scoreboard->head.layout ^= 1;
	ck_assert_ptr_null(scoreboard_attach(fd));
	scoreboard->head.layout ^= 1;
	scoreboard->head.version++;
	ck_assert_ptr_null(scoreboard_attach(fd));
	scoreboard->head.version--;
	ck_assert_int_eq(
	    ftruncate(fd, (off_t)(sizeof *scoreboard - sizeof(struct scoreboard_seat))), 0);
	ck_assert_ptr_null(scoreboard_attach(fd));
	(void)close(fd);
}
END_TEST

/* What was there before keeps its number; the metric's rows stay together (see above). */
START_TEST(a_protocol_adds_rows)
{
	size_t before = stats_rows_n;
	unsigned end = close_reasons_end();
	enum close_reason reason = stats_add_reason("of_a_test", "a text");
	size_t counter = stats_add_counter("counter_of_a_test", "weir_of_a_test_total", "a text");
	const struct stats_row *row;
	static struct stats stats;

	ck_assert_uint_eq(reason, end);
	ck_assert_uint_eq(close_reasons_end(), end + 1);
	ck_assert_uint_eq(stats_rows_n, before + 2);
	ck_assert_str_eq(close_reason_name(reason), "of_a_test");
	ck_assert_uint_eq(close_reason_named("of_a_test"), reason);
	ck_assert_uint_eq(close_reason_named("eof"), CLOSE_eof);
	ck_assert_uint_eq(close_reason_named("no such thing"), CLOSE_NONE);
	STATS_ADD(&stats, closed[reason], 3);
	STATS_ADD(&stats, added[counter], 4);
	row = find("closed_of_a_test");
	ck_assert_ptr_nonnull(row);
	ck_assert_str_eq(row->metric, find("closed_eof")->metric);
	ck_assert_str_eq(row[-1].metric, row->metric);
	ck_assert_str_eq(row->value, "of_a_test");
	ck_assert_uint_eq(stats_value(&stats, row), 3);
	row = find("counter_of_a_test");
	ck_assert_ptr_nonnull(row);
	ck_assert_uint_eq(stats_value(&stats, row), 4);
	ck_assert_uint_eq(stats_add_reason("of_a_test", "another text"), reason);
	ck_assert_uint_eq(stats_add_reason("eof", "another text"), CLOSE_eof);
	ck_assert_uint_eq(stats_add_counter("counter_of_a_test", "another", "text"), counter);
	ck_assert_uint_eq(stats_rows_n, before + 2);
}
END_TEST

SUITE("stats", {"a protocol adds rows", a_protocol_adds_rows, 10},
      {"every entry of the tables is a row", every_entry_of_the_tables_is_a_row, 10},
      {"names are unique and plain", names_are_unique_and_plain, 10},
      {"metrics are named as Prometheus wants them", metrics_are_named_as_prometheus_wants_them,
       10},
      {"rows of one metric stand together", rows_of_one_metric_stand_together, 10},
      {"a histogram is whole", a_histogram_is_whole, 10},
      {"each row has a number of its own", each_row_has_a_number_of_its_own, 10},
      {"lags fall into their step", lags_fall_into_their_step, 10},
      {"gauges go with their worker", gauges_go_with_their_worker, 10},
      {"macros count into their row", macros_count_into_their_row, 10},
      {"workers combine by kind", workers_combine_by_kind, 10},
      {"reasons outside the table have a name too", reasons_outside_the_table_have_a_name_too, 10},
      {"another process reads whole numbers", another_process_reads_whole_numbers, 60},
      {"workers share no line of cache", workers_share_no_line_of_cache, 10},
      {"a scoreboard of another layout is none", a_scoreboard_of_another_layout_is_none, 10})
