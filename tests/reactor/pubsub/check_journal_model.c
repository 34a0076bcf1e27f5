/*
 * journal, its model (journal.pml): it holds as it stands, and not without any single one of the
 * orders that the journal asks of the machine.
 *
 * Each run is spin, a C compiler and the verifier that they make. Without spin it is skipped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/harness.h"

#define MODEL "tests/reactor/pubsub/journal.pml"

static const char *cc(void)
{
	const char *named = getenv("CC");

	return named && *named ? named : "cc";
}

/* Runs the model with these definitions. Returns what the verifier said, in one of two texts. */
static const char *run_model(const char *definitions, const char *flags, const char *options)
{
	static char command[2048], said[4096];
	FILE *pipe;
	size_t n;

	(void)snprintf(command, sizeof command,
		       "cp " MODEL " %s/journal.pml && cd %s && "
		       "spin %s -a journal.pml >spin.log 2>&1 && %s -w -DVECTORSZ=256 %s -o pan "
		       "pan.c 2>&1 && ./pan -m100000 %s 2>&1; tail -n 3 spin.log",
		       temporary_folder(), temporary_folder(), definitions, cc(), flags, options);
	pipe = popen(command, "r");
	ck_assert_ptr_nonnull(pipe);
	n = fread(said, 1, sizeof said - 1, pipe);
	said[n] = 0;
	(void)pclose(pipe);
	ck_assert_msg(strstr(said, "errors: "), "%s said: %s", command, said);
	ck_assert_msg(!strstr(said, "max search depth too small"), "%s", said);
	return said;
}

static bool has_spin(const char *test)
{
	if (command_exists("spin") && command_exists(cc()))
		return true;
	suite_skip(test, "there is no spin, or no C compiler");
	return false;
}

/* ---- the whole ---- */

static const struct whole {
	const char *name, *definitions, *flags, *options;
} wholes[] = {
    /* in each run of the tests */
    {"two writers and a reader, slots and segments used again",
     "-DKILL=0 -DSTOP=0 -DREADER=1 -DDROPPED=true -DRECORDS_1=2", "-O2 -DSAFETY", ""},
    {"one writer killed, and the next one in its seat",
     "-DKILL=1 -DSTOP=0 -DREADER=0 -DDROPPED=true -DRECORDS_1=2", "-O2 -DSAFETY", ""},
    /* in long ones */
    {"slots used again before segments are",
     "-DKILL=0 -DSTOP=0 -DREADER=1 -DDROPPED=true -DRECORDS_1=2 -DENOUGH=9", "-O2 -DSAFETY", ""},
    {"drafts that are dropped", "-DKILL=0 -DSTOP=0 -DREADER=1 -DDROPPED=false -DRECORDS_1=2",
     "-O2 -DSAFETY", ""},
    {"one writer stopped for ever, and no loop without an end",
     "-DKILL=0 -DSTOP=1 -DREADER=1 -DDROPPED=true -DRECORDS_1=2", "-O2 -DNP", "-l"},
    /* And one writer killed beside a reader, -DKILL=1 -DREADER=1 -DRECORDS_1=1: 74,173,932 states
     * and no error. That takes 100 s and 9.5 GB, too much to be asked for each time. */
};

#define WHOLES	    ((int)(sizeof wholes / sizeof *wholes))
#define WHOLES_EACH 2

static void expect_whole(const struct whole *whole)
{
	const char *said = run_model(whole->definitions, whole->flags, whole->options);
	double states = 0;
	const char *at = strstr(said, " states, stored");

	ck_assert_msg(strstr(said, "errors: 0"), "%s: %s", whole->name, said);
	ck_assert_ptr_nonnull(at);
	while (at > said && at[-1] != '\n')
		at--;
	states = strtod(at, NULL);
	ck_assert(states > 100000);
	(void)printf("FIGURE the journal's model, %s: %.0f states\n", whole->name, states);
	(void)fflush(stdout);
}

START_TEST(the_model_holds)
{
	if (has_spin("the model holds"))
		expect_whole(&wholes[_i]);
}
END_TEST

START_TEST(the_model_holds_in_all_its_parts)
{
	if (has_spin("the model holds in all its parts"))
		expect_whole(&wholes[WHOLES_EACH + _i]);
}
END_TEST

/* ---- one order left out ---- */

#define USUAL  "-DKILL=0 -DSTOP=0 -DREADER=1 -DRECORDS_1=2 -DDROPPED=true"
#define DROPS  "-DKILL=0 -DSTOP=0 -DREADER=1 -DRECORDS_1=2 -DDROPPED=false"
#define EARLY  "-DKILL=0 -DSTOP=0 -DREADER=1 -DRECORDS_1=2 -DDROPPED=true -DENOUGH=9"
#define KILLED "-DKILL=1 -DSTOP=0 -DREADER=0 -DRECORDS_1=2 -DDROPPED=true"

/* The numbers are those of the model; what is seen without each of them. */
static const struct {
	const char *definitions, *seen;
} orders[] = {
    {USUAL, "(w==truth[at])"},	 /* 1: a record is read before it is whole */
    {USUAL, "(w==truth[at])"},	 /* 2 */
    {USUAL, "(w==truth[at])"},	 /* 3: one that is overwritten is accepted */
    {USUAL, "(w==truth[at])"},	 /* 4 */
    {EARLY, "violated 0"},	 /* 5: one is gone, and the floor does not say so */
    {USUAL, "violated 0"},	 /* 6 */
    {USUAL, "(at<h)"},		 /* 7: a hole below the end */
    {USUAL, "(at<h)"},		 /* 8 */
    {DROPS, "(w==truth[at])"},	 /* 9: a draft that was dropped is written over a record */
    {USUAL, "(w==truth[at])"},	 /* 10: a record is written where another one is read */
    {USUAL, "invalid end"},	 /* 11: a reader sleeps on */
    {USUAL, "invalid end"},	 /* 12 */
    {KILLED, "voided==pending"}, /* 13: a record is neither published nor void */
    {KILLED, "voided==pending"}, /* 14: or both */
    {KILLED, "voided==pending"}, /* 15 */
};

#define ORDERS ((int)(sizeof orders / sizeof *orders))

START_TEST(each_order_taken_out_is_caught)
{
	char definitions[256];
	const char *said;

	if (!has_spin("each order taken out is caught"))
		return;
	(void)snprintf(definitions, sizeof definitions, "-DWITHOUT=%d %s", _i + 1,
		       orders[_i].definitions);
	said = run_model(definitions, "-O0 -DSAFETY", "");
	ck_assert_msg(strstr(said, "errors: 1") && strstr(said, orders[_i].seen), "without %d: %s",
		      _i + 1, said);
}
END_TEST

SUITE("journal_model", {"the model holds", the_model_holds, 60, WHOLES_EACH},
      {"each order taken out is caught", each_order_taken_out_is_caught, 30, ORDERS},
      {"the model holds in all its parts", the_model_holds_in_all_its_parts, 200,
       WHOLES - WHOLES_EACH, .kind = SUITE_LONG})
