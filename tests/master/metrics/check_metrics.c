/*
 * The text of metrics, without a server: what it says, its form, and that it can be made in pieces
 * of any size; where the figures of processes come from; and what successive masters count.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "master/metrics/lifetime_counters.h"
#include "master/metrics/exposition.h"
#include "master/proc.h"
#include "master/state_words.h"
#include "tests/support/clients/scraper.h"

#define SLOTS 3

/* A different value for each row of each slot. */
static uint64_t value_of(size_t slot, size_t row)
{
	return 1000000 * (slot + 1) + row + 1;
}

static struct scrape *some_scrape(void)
{
	struct scrape *made = scrape_new(SLOTS), *scrape;
	size_t n = sizeof *made + (SLOTS + 1) * stats_rows_n * sizeof *made->values;

	ck_assert_ptr_nonnull(made);
	scrape = memcpy(keep(n), made, n);
	free(made);
	scrape->state = "serving";
	scrape->generation = 7;
	scrape->workers = scrape->workers_ready = 2;
	scrape->reloads = 4;
	scrape->reloads_failed = 5;
	scrape->upgrades = 1;
	scrape->began_us = 1700000000000001;
	scrape->journal = (struct journal_figures){.there = true,
						   .history_bytes = 64 << 20,
						   .bytes = 512 << 10,
						   .records = 1001,
						   .age_us = 2000003,
						   .published = 5000000000,
						   .voids = 6};
	scrape->listeners_n = 1;
	scrape->listeners[0] = (struct scrape_listener){.number = 9, .accept = "shared"};
	(void)snprintf(scrape->listeners[0].text, ENDPOINT_TEXT_BYTES, "echo://127.0.0.1:7");
	for (size_t slot = 0; slot < SLOTS; slot++) {
		scrape->slots[slot] = (struct scrape_worker){
		    .state = slot == 2 ? NULL : "ready",
		    .up = slot != 2,
		    .generation = 7,
		    .pid = slot == 2 ? 0 : 40 + (pid_t)slot,
		    .restarts = 2 * slot,
		    .cpu_us = 1500000 * slot + 30,
		    .memory_bytes = 4096 * slot,
		};
		for (size_t row = 0; row < stats_rows_n; row++)
			scrape_values(scrape, slot)[row] = value_of(slot, row);
	}
	return scrape;
}

static char *text_of(const struct scrape *scrape, size_t room)
{
	struct exposition_place place = {0, 0};
	char *text = keep(exposition_bytes(scrape) + room), *at = text;
	size_t n;

	while ((n = exposition_write(scrape, &place, at, room))) {
		ck_assert_uint_le(n, room);
		ck_assert_int_eq(at[n - 1], '\n');
		at += n;
	}
	ck_assert_uint_eq((size_t)(at - text), exposition_bytes(scrape));
	return text;
}

static size_t count_of(const char *text, const char *line)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, line)); at++)
		n += at == text || at[-1] == '\n';
	return n;
}

/* ---- its content ---- */

static void series_of(char series[256], const struct stats_row *row, const char *suffix,
		      const char *worker)
{
	int n = snprintf(series, 256, "%s%s{worker=\"%s\"", row->metric, suffix, worker);

	if (row->label)
		n += snprintf(series + n, 256 - (size_t)n, ",%s=\"%s\"", row->label, row->value);
	(void)snprintf(series + n, 256 - (size_t)n, "}");
}

static void seconds_text(char text[32], uint64_t us)
{
	(void)snprintf(text, 32, "%llu.%06llu", (unsigned long long)(us / 1000000),
		       (unsigned long long)(us % 1000000));
}

/* How each kind of row is written, as stats.h says. */
static void expect_row(const char *text, size_t at, size_t slot)
{
	const struct stats_row *row = &stats_rows[at];
	char series[256], value[32], worker[8];
	uint64_t sum = 0;

	(void)snprintf(worker, sizeof worker, "%zu", slot);
	for (size_t i = at; i < stats_rows_n && strcmp(stats_rows[i].metric, row->metric) == 0;
	     i--) {
		sum += stats_rows[i].kind == STATS_BUCKET ? value_of(slot, i) : 0;
		if (!i)
			break;
	}
	(void)snprintf(value, sizeof value, "%llu", (unsigned long long)value_of(slot, at));
	if (row->kind == STATS_TIME || row->kind == STATS_SUM)
		seconds_text(value, value_of(slot, at));
	series_of(series, row, row->kind == STATS_SUM ? "_sum" : "", worker);
	if (row->kind == STATS_BUCKET) {
		(void)snprintf(value, sizeof value, "%llu", (unsigned long long)sum);
		series_of(series, row, "_bucket", worker);
	}
	expect_sample(text, series, value);
	if (row->kind == STATS_SUM) {
		(void)snprintf(value, sizeof value, "%llu", (unsigned long long)sum);
		series_of(series, row, "_count", worker);
		expect_sample(text, series, value);
	}
}

START_TEST(every_row_is_there_for_every_worker)
{
	char *text = text_of(some_scrape(), 16384), line[512];

	for (size_t row = 0; row < stats_rows_n; row++) {
		for (size_t slot = 0; slot < SLOTS; slot++)
			expect_row(text, row, slot);
		(void)snprintf(line, sizeof line, "# HELP %s %s\n", stats_rows[row].metric,
			       stats_rows[row].metric_text);
		ck_assert_msg(count_of(text, line) == 1, "once: %s", line);
		(void)snprintf(line, sizeof line, "# TYPE %s ", stats_rows[row].metric);
		ck_assert_msg(count_of(text, line) == 1, "once: %s", line);
	}
}
END_TEST

START_TEST(each_metric_has_the_type_of_its_kind)
{
	static const char *const types[] = {
	    [STATS_COUNTER] = "counter", [STATS_TIME] = "counter",     [STATS_GAUGE] = "gauge",
	    [STATS_PEAK] = "gauge",	 [STATS_BUCKET] = "histogram", [STATS_SUM] = "histogram",
	};
	char *text = text_of(some_scrape(), 16384), line[256];

	for (size_t row = 0; row < stats_rows_n; row++) {
		(void)snprintf(line, sizeof line, "# TYPE %s %s\n", stats_rows[row].metric,
			       types[stats_rows[row].kind]);
		ck_assert_msg(count_of(text, line) == 1, "once: %s", line);
	}
}
END_TEST

START_TEST(what_the_master_knows_is_there)
{
	char *text = text_of(some_scrape(), 16384);

	expect_sample(text, "weir_state{state=\"serving\"}", "1");
	expect_sample(text, "weir_generation", "7");
	expect_sample(text, "weir_workers", "2");
	expect_sample(text, "weir_workers_ready", "2");
	expect_sample(text, "weir_start_time_seconds", "1700000000.000001");
	expect_sample(text, "weir_reloads_total{result=\"success\"}", "4");
	expect_sample(text, "weir_reloads_total{result=\"failure\"}", "5");
	expect_sample(text, "weir_upgrades_total{result=\"success\"}", "1");
	expect_sample(
	    text, "weir_listener_info{id=\"9\",listener=\"echo://127.0.0.1:7\",accept=\"shared\"}",
	    "1");
	expect_sample(text, "weir_journal_history_bytes", "67108864");
	expect_sample(text, "weir_journal_bytes", "524288");
	expect_sample(text, "weir_journal_records", "1001");
	expect_sample(text, "weir_journal_age_seconds", "2.000003");
	expect_sample(text, "weir_journal_published_total", "5000000000");
	expect_sample(text, "weir_journal_void_records_total", "6");
	expect_sample(text, "weir_worker_up{worker=\"0\"}", "1");
	expect_sample(text, "weir_worker_up{worker=\"2\"}", "0");
	expect_sample(text, "weir_worker_state{worker=\"1\",state=\"ready\"}", "1");
	expect_sample(text, "weir_worker_state{worker=\"1\",state=\"stuck\"}", "0");
	expect_sample(text, "weir_worker_pid{worker=\"1\"}", "41");
	expect_sample(text, "weir_worker_restarts_total{worker=\"2\"}", "4");
	expect_sample(text, "weir_worker_cpu_seconds_total{worker=\"1\"}", "1.500030");
	expect_sample(text, "weir_worker_resident_memory_bytes{worker=\"2\"}", "8192");
	ck_assert_ptr_nonnull(strstr(text, "weir_build_info{version=\""));
}
END_TEST

/* Each state always has a series, and one of them is 1 if there is a worker. */
START_TEST(states_neither_come_nor_go)
{
	struct scrape *scrape = some_scrape();
	char series[128];

	for (size_t now = 0; state_words_of_workers[now]; now++) {
		const char *text;

		scrape->slots[0].state = state_words_of_workers[now];
		text = text_of(scrape, 16384);
		for (size_t i = 0; state_words_of_workers[i]; i++) {
			for (unsigned slot = 0; slot < 3; slot += 2) {
				(void)snprintf(series, sizeof series,
					       "weir_worker_state{worker=\"%u\",state=\"%s\"}",
					       slot, state_words_of_workers[i]);
				expect_sample(text, series, i == now && slot == 0 ? "1" : "0");
			}
		}
	}
	for (size_t now = 0; state_words_of_server[now]; now++) {
		const char *text;

		scrape->state = state_words_of_server[now];
		text = text_of(scrape, 16384);
		for (size_t i = 0; state_words_of_server[i]; i++) {
			(void)snprintf(series, sizeof series, "weir_state{state=\"%s\"}",
				       state_words_of_server[i]);
			expect_sample(text, series, i == now ? "1" : "0");
		}
	}
}
END_TEST

START_TEST(the_master_shows_what_it_counts_of_connections)
{
	struct scrape *scrape = some_scrape();
	char *text = text_of(scrape, 16384), series[256];

	ck_assert_ptr_null(strstr(text, "worker=\"master\""));
	for (size_t row = 0; row < stats_rows_n; row++)
		scrape_values(scrape, SLOTS)[row] = 5;
	text = text_of(scrape, 16384);
	for (size_t row = 0; row < stats_rows_n; row++) {
		bool shown =
		    (stats_rows[row].kind == STATS_COUNTER || stats_rows[row].kind == STATS_TIME) &&
		    strncmp(stats_rows[row].metric, "weir_loop", 9) != 0;

		series_of(series, &stats_rows[row], "", "master");
		if (shown)
			expect_sample(text, series,
				      stats_rows[row].kind == STATS_TIME ? "0.000005" : "5");
		else
			ck_assert_msg(!strstr(text, series), "%s is there", series);
	}
	ck_assert_ptr_null(strstr(text, "weir_loop_lag_seconds_count{worker=\"master\""));
}
END_TEST

/* ---- its form ---- */

START_TEST(pieces_of_any_size_make_the_same_text)
{
	struct scrape *scrape = some_scrape();
	char *whole = text_of(scrape, 1 << 20);

	for (size_t room = EXPOSITION_ROOM_MIN; room < 3 * EXPOSITION_ROOM_MIN; room += 61) {
		char *text = text_of(scrape, room);

		ck_assert_str_eq(text, whole);
	}
	ck_assert_uint_gt(strlen(whole), 16384);
}
END_TEST

START_TEST(texts_from_outside_are_harmless)
{
	struct scrape *scrape = some_scrape();
	char *text;

	(void)snprintf(scrape->listeners[0].text, ENDPOINT_TEXT_BYTES, "a\"b\\c\nd\x01\xff{e}");
	text = text_of(scrape, 16384);
	ck_assert_ptr_nonnull(strstr(text, "listener=\"a\\\"b\\\\c?d??{e}\","));
	for (const char *at = text; *at; at++)
		ck_assert(*at == '\n' || (*at >= ' ' && *at <= '~'));
}
END_TEST

START_TEST(the_longest_lines_fit)
{
	struct scrape *scrape = some_scrape();
	char *text;

	scrape->listeners_n = LISTENERS_MAX;
	for (size_t i = 0; i < LISTENERS_MAX; i++) {
		scrape->listeners[i].number = UINT32_MAX;
		memcpy(scrape->listeners[i].accept, "reuseport", sizeof "reuseport");
		memset(scrape->listeners[i].text, '\\', ENDPOINT_TEXT_BYTES - 1);
	}
	memset(scrape_values(scrape, 0), 0xff, (SLOTS + 1) * stats_rows_n * sizeof(uint64_t));
	text = text_of(scrape, EXPOSITION_ROOM_MIN);
	ck_assert_uint_eq(count_of(text, "weir_listener_info{"), LISTENERS_MAX);
}
END_TEST

static int promtool(const char *text)
{
	FILE *tool = popen("promtool check metrics 2>&1", "we");

	ck_assert_ptr_nonnull(tool);
	ck_assert_int_ge(fputs(text, tool), 0);
	return pclose(tool);
}

START_TEST(promtool_finds_nothing_wrong)
{
	struct scrape *scrape = some_scrape();

	if (!command_exists("promtool")) {
		suite_skip("promtool finds nothing wrong", "promtool is not installed");
		return;
	}
	ck_assert_int_eq(promtool(text_of(scrape, 16384)), 0);
	/* A worker may have written any values there. */
	memset(scrape_values(scrape, 0), 0xff, (SLOTS + 1) * stats_rows_n * sizeof(uint64_t));
	(void)snprintf(scrape->listeners[0].text, ENDPOINT_TEXT_BYTES, "a\"b\\c\nd\x01\xff{e}");
	ck_assert_int_eq(promtool(text_of(scrape, 16384)), 0);
}
END_TEST

/* ---- processes ---- */

START_TEST(a_line_of_stat_is_read_whatever_its_name_holds)
{
	uint64_t tick = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
	struct proc proc;

	ck_assert(proc_parse("42 (a) (b) R 1 2 3) S 1 42 42 0 -1 4194560 1 2 3 4 50 7 9 9 20 0 1 "
			     "0 123456 1000 30 18446744073709551615 1 1",
			     &proc));
	ck_assert_uint_eq(proc.cpu_us, 57 * tick);
	ck_assert_uint_eq(proc.started, 123456);
	ck_assert_uint_eq(proc.memory_bytes, 30 * (uint64_t)sysconf(_SC_PAGESIZE));
	ck_assert(!proc_parse("", &proc));
	ck_assert(!proc_parse("42 (a) S 1 42", &proc));
	ck_assert(proc_read(getpid(), &proc));
	ck_assert_uint_gt(proc.memory_bytes, 0);
	ck_assert(!proc_read(0, &proc));
}
END_TEST

static pid_t spender(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct proc proc;

		do
			(void)proc_read(getpid(), &proc);
		while (proc.cpu_us < 30000);
		(void)!write(ready[1], "", 1);
		for (;;)
			(void)pause();
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	return pid;
}

static uint64_t end(unsigned seat, pid_t pid)
{
	struct rusage used;
	int status;

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(wait4(pid, &status, 0, &used), pid);
	lifetime_counters_process_ended(seat, &used);
	return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

START_TEST(cpu_time_of_a_seat_adds_up)
{
	uint64_t used, seen;
	pid_t pid;

	lifetime_counters_open(-1);
	ck_assert_uint_eq(lifetime_counters_process(3).born_us, 0);
	pid = spender();
	lifetime_counters_process_began(3, pid);
	seen = lifetime_counters_process(3).cpu_us;
	ck_assert_uint_ge(seen, 30000);
	ck_assert_uint_gt(lifetime_counters_process(3).memory_bytes, 0);
	ck_assert_uint_gt(lifetime_counters_process(3).born_us, lifetime_counters_began_us() - 1);
	used = end(3, pid);
	ck_assert_uint_ge(used, seen);
	ck_assert_uint_eq(lifetime_counters_process(3).cpu_us, used);
	ck_assert_uint_eq(lifetime_counters_process(3).memory_bytes, 0);
	pid = spender();
	lifetime_counters_process_began(3, pid);
	ck_assert_uint_ge(lifetime_counters_process(3).cpu_us, used + 30000);
	used += end(3, pid);
	ck_assert_uint_eq(lifetime_counters_process(3).cpu_us, used);
	/* If its end is reported twice, it is counted once. */
	lifetime_counters_process_ended(3, &(struct rusage){.ru_utime.tv_sec = 100});
	ck_assert_uint_eq(lifetime_counters_process(3).cpu_us, used);
	ck_assert_uint_eq(lifetime_counters_process(2).cpu_us, 0);
	lifetime_counters_close();
}
END_TEST

/* For example because its master was killed. */
START_TEST(one_that_nobody_reaped_keeps_what_was_seen)
{
	uint64_t seen;
	int status;
	pid_t pid;

	lifetime_counters_open(-1);
	pid = spender();
	lifetime_counters_process_began(3, pid);
	seen = lifetime_counters_process(3).cpu_us;
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_uint_eq(lifetime_counters_process(3).cpu_us, seen);
	ck_assert_uint_eq(lifetime_counters_process(3).memory_bytes, 0);
	pid = spender();
	lifetime_counters_process_began(3, pid);
	seen += 30000;
	ck_assert_uint_ge(lifetime_counters_process(3).cpu_us, seen);
	seen = lifetime_counters_process(3).cpu_us;
	/* By ticks it may have used more than the kernel's exact figure at its end. */
	lifetime_counters_process_ended(3, &(struct rusage){.ru_utime.tv_usec = 10});
	ck_assert_uint_ge(lifetime_counters_process(3).cpu_us, seen);
	(void)end(3, pid);
	lifetime_counters_close();
}
END_TEST

START_TEST(lifetime_counters_go_on_with_the_next_master)
{
	int fd;

	ck_assert_uint_eq(lifetime_counters_count(LIFETIME_RELOADS), 0);
	lifetime_counters_add(LIFETIME_RELOADS); /* ignored, as there are no counters yet */
	lifetime_counters_open(-1);
	lifetime_counters_master_began();
	lifetime_counters_add(LIFETIME_RELOADS);
	lifetime_counters_count_restart(5);
	lifetime_counters_count_restart(5);
	ck_assert_uint_eq(lifetime_counters_count(LIFETIME_RELOADS), 1);
	fd = dup(lifetime_counters_fd());
	lifetime_counters_close();
	ck_assert_uint_eq(lifetime_counters_restarts(5), 0);
	lifetime_counters_open(fd);
	lifetime_counters_master_began();
	ck_assert_uint_eq(lifetime_counters_count(LIFETIME_RELOADS), 1);
	ck_assert_uint_eq(lifetime_counters_restarts(5), 2);
	ck_assert_uint_eq(lifetime_counters_restarts(WORKERS_MAX), 0);
	/* The two masters use different places. */
	ck_assert_uint_gt(lifetime_counters_process(LIFETIME_MASTER).born_us, 0);
	ck_assert_uint_gt(lifetime_counters_process(LIFETIME_MASTER + 1).born_us, 0);
	lifetime_counters_close();
}
END_TEST

START_TEST(lifetime_counters_of_another_form_begin_anew)
{
	int fd = open("/dev/null", O_RDWR);

	ck_assert_int_ge(fd, 0);
	lifetime_counters_open(fd);
	ck_assert_uint_gt(lifetime_counters_began_us(), 0);
	lifetime_counters_add(LIFETIME_UPGRADES);
	ck_assert_uint_eq(lifetime_counters_count(LIFETIME_UPGRADES), 1);
	lifetime_counters_close();
}
END_TEST

START_TEST(no_worker_has_lifetime_counters)
{
	int status;
	pid_t pid;

	lifetime_counters_open(-1);
	ck_assert_uint_gt(lifetime_counters_began_us(), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)signal(SIGSEGV, SIG_DFL);
		_exit(lifetime_counters_began_us() != 0); /* there are no counters here */
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(suite_sanitized() || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
	lifetime_counters_close();
}
END_TEST

SUITE("metrics", {"every row is there for every worker", every_row_is_there_for_every_worker, 20},
      {"each metric has the type of its kind", each_metric_has_the_type_of_its_kind, 20},
      {"what the master knows is there", what_the_master_knows_is_there, 10},
      {"states neither come nor go", states_neither_come_nor_go, 10},
      {"the master shows what it counts of connections",
       the_master_shows_what_it_counts_of_connections, 20},
      {"pieces of any size make the same text", pieces_of_any_size_make_the_same_text, 20},
      {"texts from outside are harmless", texts_from_outside_are_harmless, 10},
      {"the longest lines fit", the_longest_lines_fit, 10},
      {"promtool finds nothing wrong", promtool_finds_nothing_wrong, 20},
      {"a line of stat is read whatever its name holds",
       a_line_of_stat_is_read_whatever_its_name_holds, 10},
      {"cpu time of a seat adds up", cpu_time_of_a_seat_adds_up, 20},
      {"one that nobody reaped keeps what was seen", one_that_nobody_reaped_keeps_what_was_seen,
       20},
      {"lifetime counters go on with the next master", lifetime_counters_go_on_with_the_next_master,
       10},
      {"lifetime counters of another form begin anew", lifetime_counters_of_another_form_begin_anew,
       10},
      {"no worker has lifetime counters", no_worker_has_lifetime_counters, 10})
