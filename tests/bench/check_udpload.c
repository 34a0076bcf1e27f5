/*
 * weirload over datagrams: whether it counts exactly what was lost, doubled and reordered, and
 * finds what is wrong. The server of the test counts its own faults. No test here is about speed.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/servers/faulty_datagram.h"
#include "tests/support/harness.h"
#include "tests/support/clients/load.h"

#define ALL_OF_IT "--warmup", "0", "-d", "300ms"
#define TRIES	  6

/* A run, which goes on until enough has happened: how much can be done in a second depends on the
 * machine. On a busy one an answer may be late that should not be, or, if weirload does not run for
 * a while, in time although it should be late. weirload is right in both cases, but this is not
 * what is tested: such a run is repeated, with more patience. */
struct trial {
	enum datagram_form form;
	enum datagram_fault fault;
	unsigned long every, most;   /* how often the server makes a fault, and how often at most */
	unsigned long asked, faults; /* it ends after so many, when no answer is held back */
	unsigned long late;	     /* how many answers have to be late */
	unsigned timeout_ms;	     /* 0: so long that nothing is late */
	const struct datagram_count *count;
	uint64_t took_ms;
};

static bool is_enough(const void *of)
{
	const struct trial *trial = of;
	const struct datagram_count *count = trial->count;

	return count->asked >= trial->asked && count->faults >= trial->faults &&
	       (!count->held || trial->fault == DATAGRAM_SWAP);
}

/* Runs weirload with these arguments before the listener. Returns its status. */
static int try(struct trial *trial, const char *const arguments[])
{
	unsigned timeout_ms = trial->timeout_ms ? trial->timeout_ms : 60000, port;
	const char *argv[LOAD_ARGUMENTS_MAX] = {"-d", "1h", "--warmup", "0", "--timeout"};
	char timeout[24];
	int status;

	for (int tries = 1;; tries++) {
		size_t n = 6;
		uint64_t begin_ms = now_ms();

		(void)snprintf(timeout, sizeof timeout, "%ums", timeout_ms);
		argv[5] = timeout;
		for (size_t i = 0; arguments[i]; i++)
			argv[n++] = arguments[i];
		(void)faulty_datagram_start(trial->form, trial->fault, trial->every, trial->most,
					    &port, &trial->count);
		argv[n++] = load_listener(
		    trial->form == DATAGRAM_CHARGEN ? "chargen+udp" : "echo+udp", port);
		argv[n] = NULL;
		status = load_until(is_enough, trial, argv);
		trial->took_ms = now_ms() - begin_ms;
		if (load_figure("datagrams_late") == (double)trial->late || tries == TRIES)
			return status;
		if (trial->fault != DATAGRAM_LATE && timeout_ms < 20000)
			timeout_ms *= 3;
	}
}
#define TRY(trial, ...) try(trial, (const char *const[]){__VA_ARGS__, NULL})

/* ---- what it counts ---- */

struct case_of_fault {
	enum datagram_fault fault;
	bool loses;	     /* each fault leaves a request without an answer */
	const char *counted; /* the key that has to be the number of faults */
	const char *said;
	int status;
};

static const struct case_of_fault faults[] = {
    {DATAGRAM_LOSE, true, "datagrams_lost", " lost, 0 (0 %) doubled, 0 (0 %) reordered", 0},
    {DATAGRAM_DOUBLE, false, "datagrams_doubled", "datagrams 0 (0 %) lost, ", 0},
    {DATAGRAM_JOIN, false, "datagrams_doubled", "datagrams 0 (0 %) lost, ", 0},
    {DATAGRAM_AGAIN, false, "datagrams_doubled", "datagrams 0 (0 %) lost, ", 0},
    {DATAGRAM_SWAP, false, "datagrams_reordered", " lost, 0 (0 %) doubled, ", 0},
    {DATAGRAM_ALTER, false, "errors_altered", "was never sent", 1},
    {DATAGRAM_ALTER_1, false, "errors_altered", "byte 0 of 64 of its answer", 1},
    {DATAGRAM_CUT, false, "errors_truncated", "has 59 bytes instead of 64", 1},
    {DATAGRAM_LENGTHEN, false, "errors_truncated", "has 69 bytes instead of 64", 1},
    {DATAGRAM_EMPTY, true, "errors_truncated", "an answer of 0 bytes instead of 64", 1},
    {DATAGRAM_FOREIGN, true, "errors_foreign", "an answer of 64 bytes of socket", 1},
    {DATAGRAM_STRAY, false, "errors_unexpected", ", not asked", 1},
};
#define FAULTS (sizeof faults / sizeof *faults)

static const char *const loops[][4] = {{"-p", "1"}, {"-p", "8"}, {"-p", "8", "-r", "4000"}};
#define LOOPS (sizeof loops / sizeof *loops)

static int try_looped(struct trial *trial, size_t loop, const char *sockets)
{
	const char *arguments[LOAD_ARGUMENTS_MAX] = {"-c", sockets};
	size_t n = 2;

	for (size_t k = 0; k < 4 && loops[loop][k]; k++)
		arguments[n++] = loops[loop][k];
	return try(trial, arguments);
}

START_TEST(counts_each_fault_as_what_it_is)
{
	const struct case_of_fault *this = &faults[(size_t)_i / LOOPS];
	size_t loop = (size_t)_i % LOOPS;
	bool pairs = this->fault == DATAGRAM_SWAP, closed = loop < 2;
	bool over = this->loses && closed; /* each loss blocks a place: soon none is left */
	struct trial trial = {.fault = this->fault,
			      .every = 20,
			      .most = over ? 6 : 30,
			      .faults = over ? 6 : 11,
			      .timeout_ms = this->loses ? 400 : 0};
	const struct datagram_count *count;
	double lost, right;
	int status;

	if (pairs && loop == 0)
		return; /* there is no next answer to swap with */
	/* One socket, whose key is 0: stray answers are made for that one. */
	status = try_looped(&trial, loop, this->fault == DATAGRAM_STRAY || pairs ? "1" : "10");
	count = trial.count;
	if (this->status == 0)
		load_expect_fine(status);
	else
		ck_assert_msg(status == this->status, "status %d\n%s", status, load_said());
	ck_assert_msg(load_figure(this->counted) + (double)(pairs ? count->held : 0) ==
			  (double)count->faults,
		      "%lu faults:\n%s", count->faults, load_said());
	lost = (double)(this->loses ? count->faults : pairs ? count->held : 0);
	load_expect_only(this->counted, lost);
	ck_assert_ptr_nonnull(strstr(load_said(), this->said));
	ck_assert_msg(load_figure("datagrams_asked") == (double)count->asked, "%lu\n%s",
		      count->asked, load_said());
	ck_assert_msg(closed || count->asked <= 4 * trial.took_ms, "more than were due: %s",
		      load_said());
	right = (double)count->asked - lost;
	if (this->status == 1 && !this->loses && this->fault != DATAGRAM_STRAY)
		right -= (double)count->faults;
	ck_assert_msg(load_figure("messages_total") == right, "not %g right\n%s", right,
		      load_said());
	ck_assert((strstr(load_said(), "WRONG") != NULL) == (this->status == 1));
}
END_TEST

/* All faults happen in the beginning, so that the last late answer comes before the end. */
START_TEST(tells_late_from_lost_and_doubled)
{
	struct trial trial = {.fault = DATAGRAM_LATE,
			      .every = 20,
			      .most = 15,
			      .faults = 15,
			      .late = 15,
			      .timeout_ms = 500};

	load_expect_fine(TRY(&trial, "-c", "4", "-p", "8"));
	ck_assert_msg(load_figure("datagrams_late") == 15, "%s", load_said());
	load_expect_only("datagrams_late", 15);
	ck_assert_ptr_nonnull(strstr(load_said(), "lost, of which 15 came late"));
	ck_assert(load_figure("loss_percent") > 0 && load_figure("loss_percent") < 100);
}
END_TEST

/* With only one place, three messages are given up before the first of their answers comes. */
START_TEST(remembers_what_was_lost_in_a_place)
{
	struct trial trial = {.fault = DATAGRAM_LATE,
			      .every = 1,
			      .most = 3,
			      .faults = 3,
			      .late = 3,
			      .timeout_ms = 200};

	load_expect_fine(TRY(&trial, "-c", "1"));
	ck_assert_msg(load_figure("datagrams_late") == 3, "%s", load_said());
	load_expect_only("datagrams_late", 3);
}
END_TEST

/* A lost message holds its own place for the timeout; all other places go on. */
START_TEST(goes_on_beside_a_lost_one)
{
	struct trial trial = {.fault = DATAGRAM_LOSE,
			      .every = 100,
			      .most = 15,
			      .faults = 15,
			      .asked = 3000,
			      .timeout_ms = 1000};

	load_expect_fine(TRY(&trial, "-c", "1", "-p", "16"));
	load_expect_only("datagrams_lost", 15);
	ck_assert_msg(load_figure("messages_total") > 2000, "%s", load_said());
	ck_assert(load_figure("service_n") <= load_figure("messages_total"));
}
END_TEST

START_TEST(gives_lost_places_back)
{
	struct trial trial = {
	    .fault = DATAGRAM_LOSE, .every = 2, .most = 1000000, .faults = 16, .timeout_ms = 50};

	load_expect_fine(TRY(&trial, "-c", "2"));
	load_expect_only("datagrams_lost", (double)trial.count->faults);
	ck_assert_msg(load_figure("messages_total") >= 16, "%s", load_said());
}
END_TEST

START_TEST(says_that_nothing_was_answered)
{
	const struct datagram_count *count;
	unsigned port;
	int status;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_MUTE, 1, 1000000, &port, &count);
	status = LOAD(ALL_OF_IT, "--timeout", "100ms", "-c", "3", "-p", "4",
		      load_listener("echo+udp", port));
	ck_assert_msg(status == 1 || strstr(load_said(), "INVALID: the generator hardly ran"),
		      "status %d\n%s", status, load_said());
	ck_assert_ptr_nonnull(strstr(load_said(), "no message was answered"));
	ck_assert(load_figure("datagrams_lost") == (double)count->asked &&
		  load_figure("loss_percent") == 100);
}
END_TEST

/* ---- servers whose answers do not say which message they answer, or that do not answer ---- */

START_TEST(takes_chargen_in_order)
{
	static const enum datagram_fault some[] = {DATAGRAM_NONE, DATAGRAM_LOSE, DATAGRAM_DOUBLE,
						   DATAGRAM_ALTER, DATAGRAM_CUT};
	static const char *const counted[] = {"datagrams_lost", "datagrams_lost",
					      "datagrams_doubled", "errors_altered",
					      "errors_truncated"};
	bool loses = some[_i] == DATAGRAM_LOSE;
	struct trial trial = {.form = DATAGRAM_CHARGEN,
			      .fault = some[_i],
			      .every = 50,
			      .most = 6,
			      .asked = 400,
			      .faults = some[_i] == DATAGRAM_NONE ? 0 : 6,
			      .timeout_ms = loses ? 300 : 0};
	int status = TRY(&trial, "-c", "2", "-p", "4", "-s", "72");

	if (some[_i] < DATAGRAM_ALTER)
		load_expect_fine(status);
	else
		ck_assert_msg(status == 1, "status %d\n%s", status, load_said());
	ck_assert_msg(load_figure(counted[_i]) == (double)trial.count->faults, "%s", load_said());
	load_expect_only(counted[_i], loses ? 6 : 0);
	ck_assert_ptr_nonnull(strstr(load_said(), "all answers are alike"));
	ck_assert(load_figure("messages_total") > 100);
}
END_TEST

START_TEST(tells_late_ones_of_chargen)
{
	struct trial trial = {.form = DATAGRAM_CHARGEN,
			      .fault = DATAGRAM_LATE,
			      .every = 1,
			      .most = 3,
			      .faults = 3,
			      .late = 3,
			      .timeout_ms = 200};

	load_expect_fine(TRY(&trial, "-s", "70"));
	ck_assert_msg(load_figure("datagrams_late") == 3, "%s", load_said());
	load_expect_only("datagrams_late", 3);
}
END_TEST

/* If messages are longer than 512 bytes, shorter answers are right. */
START_TEST(knows_how_much_chargen_says)
{
	struct trial trial = {.form = DATAGRAM_CHARGEN, .asked = 10};

	load_expect_fine(TRY(&trial, "-s", "1"));
	ck_assert_int_eq(TRY(&trial, "-s", "600", "-r", "50"), 1);
	ck_assert_ptr_nonnull(strstr(load_said(), "has 72 bytes instead of 512"));
}
END_TEST

START_TEST(discard_is_done_when_it_has_left)
{
	struct trial trial = {.asked = 300};
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_MUTE, 1, 1000000, &port, &trial.count);
	load_expect_fine(LOAD_UNTIL(is_enough, &trial, "-c", "2", "-r", "2000", "-s", "1",
				    load_listener("discard+udp", port)));
	ck_assert(load_figure("messages_total") == load_figure("datagrams_asked"));
	ck_assert_msg(load_figure("messages_total") >= 300, "%s", load_said());
	ck_assert(load_figure("loss_percent") == -1 && !strstr(load_said(), "doubled"));
	trial.asked = trial.count->asked + 1000;
	load_expect_fine(LOAD_UNTIL(is_enough, &trial, "-c", "2", "-p", "64",
				    load_listener("discard+udp", port)));
	ck_assert_msg(load_figure("messages_total") > 1000, "%s", load_said());
}
END_TEST

START_TEST(finds_a_discard_that_answers)
{
	struct trial trial = {.asked = 50};
	unsigned port;

	(void)faulty_datagram_start(DATAGRAM_ECHO, DATAGRAM_NONE, 1, 0, &port, &trial.count);
	ck_assert_int_eq(
	    LOAD_UNTIL(is_enough, &trial, "-r", "500", load_listener("discard+udp", port)), 1);
	ck_assert_msg(load_figure("errors_unexpected") > 0, "%s", load_said());
}
END_TEST

SUITE("udpload",
      {"counts each fault as what it is", counts_each_fault_as_what_it_is, 20, FAULTS *LOOPS},
      {"tells late from lost and doubled", tells_late_from_lost_and_doubled, 20},
      {"remembers what was lost in a place", remembers_what_was_lost_in_a_place, 20},
      {"goes on beside a lost one", goes_on_beside_a_lost_one, 20},
      {"gives lost places back", gives_lost_places_back, 20},
      {"says that nothing was answered", says_that_nothing_was_answered, 20},
      {"takes chargen in order", takes_chargen_in_order, 20, 5},
      {"tells late ones of chargen", tells_late_ones_of_chargen, 20},
      {"knows how much chargen says", knows_how_much_chargen_says, 20},
      {"discard is done when it has left", discard_is_done_when_it_has_left, 20},
      {"finds a discard that answers", finds_a_discard_that_answers, 20})
