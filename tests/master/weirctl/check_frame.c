/*
 * weirctl's samples and frames, from answers that the test makes up: numbers of every size, workers
 * that make no progress, texts that would control a terminal. Screens of other sizes are in
 * check_frame_size, the program itself in check_top.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/weirctl/cell.h"
#include "master/weirctl/table.h"
#include "reactor/base/stats.h"
#include "tests/master/weirctl/frames.h"
#include "tests/support/suite.h"

/* ---- cells ---- */

static double cell_value(const char *cell)
{
	static const char units[] = "KMGTPE";
	char *end;
	double value = strtod(cell, &end);
	const char *unit = *end ? strchr(units, *end) : NULL;

	ck_assert_msg(!*end || (unit && !end[1]), "%s", cell);
	for (; unit && unit >= units; unit--)
		value *= 1000;
	return value;
}

START_TEST(numbers_are_short)
{
	char cell[CELL_BYTES];

	for (double value = 0; value < 1e19; value = value < 1000 ? value + 0.1 : value * 1.0007) {
		for (int room = 4; room <= 5; room++) {
			cell_short(cell, value, 1000, room);
			ck_assert_msg(strlen(cell) <= (size_t)room, "%f: %s", value, cell);
			ck_assert_double_le(cell_value(cell), value * 1.051 + 0.051);
			ck_assert_double_ge(cell_value(cell), value * 0.949 - 0.051);
			cell_short(cell, value, 1024, room);
			ck_assert_msg(strlen(cell) <= (size_t)room, "%f: %s", value, cell);
		}
	}
}
END_TEST

START_TEST(numbers_are_as_people_write_them)
{
	static const struct {
		double value, step;
		int room;
		const char *text;
	} rows[] = {
	    {0, 1000, 5, "0"},		 {0.26, 1000, 5, "0.3"},     {3, 1000, 5, "3"},
	    {9.94, 1000, 5, "9.9"},	 {9.96, 1000, 5, "10"},	     {99999, 1000, 5, "99999"},
	    {123456, 1000, 5, "123K"},	 {99999, 1000, 4, "100K"},   {12345, 1000, 4, "12K"},
	    {9999, 1000, 4, "9999"},	 {1234567, 1000, 4, "1.2M"}, {999950, 1000, 4, "1.0M"},
	    {9999, 1024, 5, "9999"},	 {10240, 1024, 5, "10.0K"},  {1 << 20, 1024, 5, "1.0M"},
	    {1047552, 1024, 5, "1023K"}, {1048064, 1024, 5, "1.0M"},
	};
	static const struct {
		int64_t seconds;
		const char *text;
	} ages[] = {{0, "0s"},	     {59, "59s"},	{60, "1m00s"},	  {3599, "59m59s"},
		    {7380, "2h03m"}, {86399, "23h59m"}, {86400, "1d00h"}, {176400, "2d01h"}};
	static const struct {
		double seconds;
		const char *text;
	} lags[] = {{0.000016, "16u"}, {0.000512, "512u"}, {0.001024, "1.0m"},
		    {0.065536, "66m"}, {0.524288, "524m"}, {2.097152, "2.1s"}};
	char cell[CELL_BYTES];

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		cell_short(cell, rows[i].value, rows[i].step, rows[i].room);
		ck_assert_str_eq(cell, rows[i].text);
	}
	for (size_t i = 0; i < sizeof lags / sizeof *lags; i++) {
		cell_lag(cell, lags[i].seconds);
		ck_assert_str_eq(cell, lags[i].text);
	}
	for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
		cell_age(cell, ages[i].seconds);
		ck_assert_str_eq(cell, ages[i].text);
	}
	cell_scaled(cell, 1048500, 1024);
	ck_assert_str_eq(cell, "1023.9K");
	cell_scaled(cell, 1048560, 1024);
	ck_assert_str_eq(cell, "1.0M");
	cell_text(cell, "\xc2\x80|\xc2\x9f|\xc2\xa0|\x7f|\x1f|\xc2");
	ck_assert_str_eq(cell, "\\u0080|\\u009f|\xc2\xa0|\\u007f|\\u001f|\\ufffd");
}
END_TEST

/* ---- samples ---- */

#define SERVER_LINE(more)                                                                          \
	"server pid=9 version=0.1.0 state=serving generation=1 workers=1 " more "\n"
#define WORKER_LINE(worker, pid, more) "worker worker=" worker " pid=" pid " state=ready " more "\n"

START_TEST(rates_are_over_the_servers_time)
{
	struct sample first, second;
	double rate;

	sample_of(&first,
		  "moment us=1000000\n" SERVER_LINE("accepted=10 closed_eof=4 messages=7")
		      WORKER_LINE("0", "21", "accepted=5") WORKER_LINE("1", "22", "accepted=9"),
		  NULL);
	ck_assert(!sample_rate(&first, &first.server, "accepted", &rate));
	sample_of(&second,
		  "moment us=3500000\n" SERVER_LINE("accepted=20 closed_eof=4 messages=6")
		      WORKER_LINE("0", "21", "accepted=15") WORKER_LINE("1", "33", "accepted=5"),
		  &first);
	ck_assert_uint_eq(second.span_us, 2500000);
	ck_assert(sample_rate(&second, &second.server, "accepted", &rate));
	ck_assert_double_eq_tol(rate, 4, 1e-9);
	ck_assert(sample_rate(&second, &second.server, "closed_eof", &rate));
	ck_assert_double_eq_tol(rate, 0, 1e-9);
	/* A counter that decreased was started again, so it has no rate. */
	ck_assert(!sample_rate(&second, &second.server, "messages", &rate));
	ck_assert(!sample_rate(&second, &second.server, "unheard_of", &rate));
	ck_assert(sample_is_counter("accepted") && sample_is_counter("loop_busy_us"));
	ck_assert(!sample_is_counter("connections") && !sample_is_counter("unheard_of"));
	ck_assert(sample_rate(&second, &second.workers[0], "accepted", &rate));
	ck_assert_double_eq_tol(rate, 4, 1e-9);
	/* A new process in that slot has counted from 0. */
	ck_assert(sample_rate(&second, &second.workers[1], "accepted", &rate));
	ck_assert_double_eq_tol(rate, 2, 1e-9);
	sample_clear(&second);
	sample_clear(&first);
}
END_TEST

START_TEST(lag_is_of_this_time)
{
	struct sample first, second;
	double seconds;
	char before[4096] = "moment us=1000000\nserver pid=9\nworker worker=0 pid=21";
	char now[4096] = "moment us=2000000\nserver pid=9\nworker worker=0 pid=21";

	/* The first sample has long times only. Since then: 985 of 16 us, 15 of up to 1 ms. */
	for (size_t i = 0; i < stats_rows_n; i++) {
		const char *name = stats_rows[i].name;
		bool short_one = strcmp(name, "loop_lag_16us") == 0;
		bool long_one = strcmp(name, "loop_lag_1024us") == 0;
		bool last = strcmp(name, "loop_lag_more") == 0;

		if (stats_rows[i].kind != STATS_BUCKET)
			continue;
		(void)sprintf(before + strlen(before), " %s=%d", name, last ? 100000 : 0);
		(void)sprintf(now + strlen(now), " %s=%d", name,
			      last	  ? 100000
			      : short_one ? 985
			      : long_one  ? 15
					  : 0);
	}
	(void)strcat(before, "\n");
	(void)strcat(now, "\n");
	sample_of(&first, before, NULL);
	ck_assert(!sample_lag(&first, &first.workers[0], &seconds));
	sample_of(&second, now, &first);
	ck_assert(sample_lag(&second, &second.workers[0], &seconds));
	ck_assert_double_eq_tol(seconds, 0.001024, 1e-9);
	sample_clear(&second);
	sample_clear(&first);
}
END_TEST

/* Looks at this process, which works until the kernel has counted its CPU time. */
START_TEST(processes_are_looked_at_where_they_are_ours)
{
	struct sample first, second;
	struct answer answer = {0};
	uint64_t ticked_us;
	double percent = 0;
	char text[100];

	(void)snprintf(text, sizeof text, "server pid=%d", (int)getpid());
	ck_assert_ptr_nonnull(answer_line(&answer, text));
	ck_assert(sample_take(&first, &answer, NULL, true));
	ck_assert(first.server.process.known && !sample_cpu(&first.server, &percent));
	do {
		ck_assert_ptr_nonnull(answer_line(&answer, text));
		ck_assert(sample_take(&second, &answer, &first, true));
		ck_assert(sample_cpu(&second.server, &percent));
		ck_assert(second.server.process.proc.memory_bytes >= 100000);
		ticked_us = second.server.process.proc.cpu_us - first.server.process.proc.cpu_us;
		sample_clear(&second);
	} while (ticked_us < 200000);
	ck_assert_double_gt(percent, 0);
	ck_assert_double_le(percent, 110); /* one CPU, and the error of a tick */
	ck_assert_ptr_nonnull(answer_line(&answer, text));
	ck_assert(sample_take(&second, &answer, &first, false)); /* in another namespace */
	ck_assert(!sample_cpu(&second.server, &percent) && !second.server.process.known);
	sample_clear(&second);
	/* Another server; and another process that has got the same pid. */
	for (int i = 0; i < 2; i++) {
		first.server.look.pid = i ? getpid() : 1;
		first.server.process.proc.started -= (unsigned)i;
		ck_assert_ptr_nonnull(answer_line(&answer, text));
		ck_assert(sample_take(&second, &answer, &first, true));
		ck_assert(!sample_cpu(&second.server, &percent));
		sample_clear(&second);
	}
	sample_clear(&first);
}
END_TEST

/* ---- workers that make no progress ---- */

static void at(struct sample *sample, unsigned second, unsigned turns, unsigned asleep,
	       const struct sample *before)
{
	char text[512];

	(void)snprintf(text, sizeof text,
		       "moment us=%u000000\nserver pid=9\nworker worker=7 pid=21 state=ready "
		       "harvests=5 turns=%u asleep=%u\n",
		       second, turns, asleep);
	sample_of(sample, text, before);
}

START_TEST(who_stands_is_seen)
{
	struct sample samples[5];

	at(&samples[0], 1, 40, 0, NULL);
	at(&samples[1], 2, 41, 0, &samples[0]); /* it makes progress */
	layout_make(&frame, &samples[1], &view);
	ck_assert(frame_has(" ready ") && !frame_has("!stuck"));
	at(&samples[2], 4, 41, 0, &samples[1]);
	layout_make(&frame, &samples[2], &view);
	ck_assert(frame_has("!stuck"));
	ck_assert(frame_has("worker 7 (pid 21) has made no progress for 2 s"));
	at(&samples[3], 9, 41, 0, &samples[2]);
	ck_assert_uint_eq(sample_still_us(&samples[3], &samples[3].workers[0]), 7000000);
	at(&samples[4], 10, 41, 1, &samples[3]); /* waiting for events is no fault */
	layout_make(&frame, &samples[4], &view);
	ck_assert(frame_has(" ready ") && !frame_has("!stuck") && !frame_has("no progress"));
	for (size_t i = 0; i < 5; i++)
		sample_clear(&samples[4 - i]);
}
END_TEST

#define TWO(second, turns, others)                                                                 \
	"moment us=" second "000000\nserver pid=9\n"                                               \
	"worker worker=0 pid=21 turns=" turns "\nworker worker=1 pid=22 turns=" others "\n"

START_TEST(who_stands_longest_is_named)
{
	struct sample samples[3];

	sample_of(&samples[0], TWO("1", "1", "1"), NULL);
	sample_of(&samples[1], TWO("3", "2", "1"), &samples[0]);
	sample_of(&samples[2], TWO("6", "2", "1"), &samples[1]);
	layout_make(&frame, &samples[2], &view);
	ck_assert(frame_has("worker 1 (pid 22) has made no progress for 5 s, and 1 more"));
	for (size_t i = 0; i < 3; i++)
		sample_clear(&samples[2 - i]);
}
END_TEST

/* In the first sample, even if it was stopped only just now. */
START_TEST(who_is_stopped_is_seen_at_once)
{
	struct answer answer = {0};
	struct sample sample;
	pid_t pid = fork();
	char text[100];
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		for (;;)
			(void)pause();
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	(void)snprintf(text, sizeof text, "worker worker=0 pid=%d state=ready turns=4", (int)pid);
	ck_assert_ptr_nonnull(answer_line(&answer, "server pid=9"));
	ck_assert_ptr_nonnull(answer_line(&answer, text));
	ck_assert(sample_take(&sample, &answer, NULL, true));
	layout_make(&frame, &sample, &view);
	ck_assert(frame_has("!stopped") && frame_has("has made no progress for 0 s"));
	sample_clear(&sample);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

/* ---- frames ---- */

START_TEST(what_is_not_there_is_a_dash)
{
	struct sample first, second;

	view.columns = 130;
	sample_of(&first,
		  "moment us=1000000\n" SERVER_LINE("accepted=1")
		      WORKER_LINE("3", "0", "loop_busy_us=0"),
		  NULL);
	sample_of(&second,
		  "moment us=2000000\n" SERVER_LINE("accepted=1")
		      WORKER_LINE("3", "0", "loop_busy_us=500000"),
		  &first);
	layout_make(&frame, &second, &view);
	ck_assert(frame_has("     3       - ready "));
	ck_assert(frame_has("  50.0")); /* half of the time */
	sample_clear(&second);
	sample_clear(&first);
}
END_TEST

START_TEST(the_order_is_as_asked)
{
	struct sample sample;

	sample_of(&sample,
		  "moment us=1000000\n" SERVER_LINE("connections=60")
		      WORKER_LINE("0", "21", "connections=20")
			  WORKER_LINE("1", "22", "connections=30")
			      WORKER_LINE("2", "23", "connections=10"),
		  NULL);
	view.sort = 0;
	layout_make(&frame, &sample, &view);
	ck_assert_int_eq(strncmp(frame.lines[HEADINGS + 2].text, "     0 ", 7), 0);
	while (strcmp(table_sort_name(&view), "CONNS") != 0)
		table_sort(&view, 1);
	layout_make(&frame, &sample, &view);
	ck_assert_int_eq(strncmp(frame.lines[HEADINGS + 2].text, "     1 ", 7), 0);
	ck_assert_int_eq(strncmp(frame.lines[HEADINGS + 4].text, "     2 ", 7), 0);
	view.backwards = true;
	layout_make(&frame, &sample, &view);
	ck_assert_int_eq(strncmp(frame.lines[HEADINGS + 2].text, "     2 ", 7), 0);
	sample_clear(&sample);
	/* Workers without a value come last. */
	sample_of(&sample,
		  "moment us=1000000\n" SERVER_LINE("connections=0")
		      WORKER_LINE("0", "21", "turns=0") WORKER_LINE("1", "22", "connections=0"),
		  NULL);
	layout_make(&frame, &sample, &view);
	ck_assert_int_eq(strncmp(frame.lines[HEADINGS + 2].text, "     1 ", 7), 0);
	sample_clear(&sample);
}
END_TEST

/* Reasons are in the order in which they were first seen, so that none changes its place. */
START_TEST(reasons_stay_in_their_places)
{
	struct sample first, second;

	sample_of(&first, "moment us=1000000\n" SERVER_LINE("closed_eof=0 closed_stopped=3"), NULL);
	layout_make(&frame, &first, &view);
	ck_assert(frame_has("stopped                    3       -") && !frame_has("eof"));
	sample_of(&second, "moment us=2000000\n" SERVER_LINE("closed_eof=8 closed_stopped=5"),
		  &first);
	layout_make(&frame, &second, &view);
	ck_assert(frame_has("stopped                    5       2    eof                        8"
			    "       8"));
	ck_assert_uint_eq(frame_count("stopped"), 1);
	ck_assert(frame_has("closed/s    10"));
	sample_clear(&second);
	sample_clear(&first);
}
END_TEST

START_TEST(no_text_rules_the_terminal)
{
	struct sample sample;

	sample_of(&sample,
		  "moment us=1000000\n"
		  "server pid=9 version=\"\\u001b[2J\xc2\x9b\xc3\xa4\" state=\"a\\u000ab\"\n"
		  "worker worker=0 pid=3 state=\"\\u001bc-and-much-more-than-there-is-room-for\"\n",
		  NULL);
	layout_make(&frame, &sample, &view);
	lines_fit(80, 24);
	ck_assert(frame_has("weir ?[2J????  a?b  pid 9 "));
	ck_assert(frame_has(" ?c-and-m "));
	sample_clear(&sample);
}
END_TEST

/* The last figures are shown faint, as they are old; the message is not. */
START_TEST(a_server_that_has_gone_is_faint)
{
	struct sample sample;

	sample_like(&sample, 2, "4711", NULL, 1);
	view.message = "the server has gone";
	for (int gone = 0; gone < 2; gone++) {
		view.gone = gone;
		layout_make(&frame, &sample, &view);
		for (size_t i = 0; i < frame.n - 2; i++)
			ck_assert_int_eq(*frame.lines[i].text && frame.lines[i].look == LOOK_FAINT,
					 *frame.lines[i].text && gone);
		ck_assert_int_eq(frame.lines[frame.n - 2].look, LOOK_ALARM);
	}
	sample_clear(&sample);
}
END_TEST

/* A message is never cut: it takes as many lines as it needs, above the line of keys. */
START_TEST(what_is_said_of_a_server_is_not_cut)
{
	static const char message[] =
	    "the server has gone, for 12 s (/var/lib/some-where/that/is/rather/deep/in/the/tree/"
	    "control.sock: Connection refused)";
	struct sample sample;
	char said[sizeof message + 8] = "";
	size_t from = 0;

	sample_like(&sample, 2, "4711", NULL, 1);
	view.message = message;
	layout_make(&frame, &sample, &view);
	lines_fit(80, 24);
	while (from < frame.n && strncmp(frame.lines[from].text, "the server", 10) != 0)
		from++;
	for (size_t i = from; i + 1 < frame.n; i++) {
		ck_assert_int_eq(frame.lines[i].look, LOOK_ALARM);
		(void)strcat(strcat(said, *said ? " " : ""), frame.lines[i].text);
	}
	ck_assert_str_eq(said, message);
	ck_assert_int_eq(strncmp(frame.lines[frame.n - 1].text, "q quit", 6), 0);
	view.columns = 40; /* so that a word is longer than a line */
	layout_make(&frame, &sample, &view);
	lines_fit(40, 24);
	ck_assert(frame_has("/in/the/tree/control.sock: Connection"));
	for (view.rows = 1; view.rows < 24; view.rows++) {
		layout_make(&frame, &sample, &view);
		lines_fit(40, view.rows);
		ck_assert(view.rows < 2 || frame_has("q quit"));
	}
	sample_clear(&sample);
}
END_TEST

/* A server whose protocols have no messages counts none: 0 a second would be wrong. */
START_TEST(bytes_have_no_messages)
{
	for (int messages = 0; messages < 2; messages++) {
		struct sample first, second;
		char text[512];

		(void)snprintf(text, sizeof text,
			       "moment us=1000000\nserver pid=9 messages=%d\n"
			       "worker worker=0 pid=21 state=ready messages=%d received_bytes=5\n",
			       messages, messages);
		sample_of(&first, text, NULL);
		(void)snprintf(text, sizeof text,
			       "moment us=2000000\nserver pid=9 messages=%d\n"
			       "worker worker=0 pid=21 state=ready messages=%d received_bytes=9\n",
			       messages, messages);
		sample_of(&second, text, &first);
		layout_make(&frame, &second, &view);
		ck_assert(frame_has(messages ? "  0      4" : "  -      4"));
		sample_clear(&second);
		sample_clear(&first);
	}
}
END_TEST

START_TEST(what_is_no_answer_is_refused)
{
	struct answer answer = {0};
	struct sample sample;

	ck_assert_ptr_nonnull(answer_line(&answer, "moment us=5"));
	ck_assert(!sample_take(&sample, &answer, NULL, false));
	sample_clear(&sample);
	layout_make(&frame, NULL, &view); /* before the first sample */
	lines_fit(80, 24);
}
END_TEST

SUITE("frame", {"numbers are short", numbers_are_short, 20},
      {"numbers are as people write them", numbers_are_as_people_write_them, 10},
      {"rates are over the server's time", rates_are_over_the_servers_time, 10},
      {"processes are looked at where they are ours", processes_are_looked_at_where_they_are_ours,
       30},
      {"lag is of this time", lag_is_of_this_time, 10},
      {"who stands is seen", who_stands_is_seen, 10},
      {"who stands longest is named", who_stands_longest_is_named, 10},
      {"who is stopped is seen at once", who_is_stopped_is_seen_at_once, 10},
      {"what is not there is a dash", what_is_not_there_is_a_dash, 10},
      {"the order is as asked", the_order_is_as_asked, 10},
      {"reasons stay in their places", reasons_stay_in_their_places, 10},
      {"no text rules the terminal", no_text_rules_the_terminal, 10},
      {"a server that has gone is faint", a_server_that_has_gone_is_faint, 10},
      {"what is said of a server is not cut", what_is_said_of_a_server_is_not_cut, 10},
      {"bytes have no messages", bytes_have_no_messages, 10},
      {"what is no answer is refused", what_is_no_answer_is_refused, 10})
