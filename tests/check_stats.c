/*
 * stats: the rows are the table, each has a number of its own, and readers in another
 * process see whole numbers.
 *
 * It can't see whether anybody counts rightly: the process tests read the counters.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/stats.h"
#include "tests/harness.h"
#include "worker/board.h"

static const struct stats_row *find(const char *name)
{
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strcmp(stats_rows[i].name, name) == 0)
			return &stats_rows[i];
	return NULL;
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
#include "reactor/stats.def"
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
#include "reactor/close.def"
#undef CLOSE
	ck_assert_uint_eq(n, stats_rows_n);
}
END_TEST

/* Names that Prometheus, JSON and a shell take as they are. */
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

START_TEST(each_row_has_a_number_of_its_own)
{
	struct stats stats;

	for (size_t i = 0; i < stats_rows_n; i++) {
		memset(&stats, 0, sizeof stats);
		ck_assert_uint_eq(stats_rows[i].offset % sizeof(uint64_t), 0);
		ck_assert_uint_le(stats_rows[i].offset + sizeof(uint64_t), sizeof stats);
		memset((char *)&stats + stats_rows[i].offset, 0xff, sizeof(uint64_t));
		for (size_t j = 0; j < stats_rows_n; j++)
			ck_assert_uint_eq(stats_value(&stats, &stats_rows[j]),
					  i == j ? UINT64_MAX : 0);
	}
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
	ck_assert_str_eq(close_reason_name(CLOSE_REASONS), "unknown");
	ck_assert_str_eq(close_reason_name((enum close_reason) - 1), "unknown");
}
END_TEST

/* One process writes numbers whose halves are the same, another one reads them. */
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

/* Workers that counted into one line of cache would slow each other down. */
START_TEST(workers_share_no_line_of_cache)
{
	ck_assert_uint_eq(sizeof(struct board_seat) % 64, 0);
	ck_assert_uint_eq(offsetof(struct board, seats) % 64, 0);
	ck_assert_uint_ge(offsetof(struct board, seats), 64);
}
END_TEST

SUITE("stats", {"every entry of the tables is a row", every_entry_of_the_tables_is_a_row, 10},
      {"names are unique and plain", names_are_unique_and_plain, 10},
      {"each row has a number of its own", each_row_has_a_number_of_its_own, 10},
      {"macros count into their row", macros_count_into_their_row, 10},
      {"workers combine by kind", workers_combine_by_kind, 10},
      {"reasons outside the table have a name too", reasons_outside_the_table_have_a_name_too, 10},
      {"another process reads whole numbers", another_process_reads_whole_numbers, 60},
      {"workers share no line of cache", workers_share_no_line_of_cache, 10})
