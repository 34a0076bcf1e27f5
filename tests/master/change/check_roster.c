/*
 * roster: the table of all states and events, written here a second time, and the delays.
 *
 * This tests only the decisions. That the master acts on them is shown by the process tests.
 */
#include <stdio.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/change/roster.h"
#include "tests/support/harness.h"

static const char *const state_names[] = {"vacant",   "starting", "ready",
					  "retiring", "draining", "resting"};
static const char *const event_names[] = {"open",   "up",    "died",   "rested",
					  "retire", "close", "overdue"};
static const char *const action_names[] = {"nothing", "spawn", "announce", "rest",
					   "retire",  "drain", "kill",	   "forget"};

/* The pairs of state and event that change something; every other pair changes nothing. */
static const struct {
	const char *state, *event, *next, *action;
} changes[] = {
    {"vacant", "open", "starting", "spawn"},	 {"starting", "up", "ready", "announce"},
    {"starting", "died", "resting", "rest"},	 {"starting", "close", "draining", "drain"},
    {"ready", "died", "resting", "rest"},	 {"ready", "close", "draining", "drain"},
    {"draining", "up", "draining", "announce"},	 {"draining", "died", "vacant", "forget"},
    {"draining", "overdue", "draining", "kill"}, {"resting", "rested", "starting", "spawn"},
    {"resting", "close", "vacant", "forget"},	 {"starting", "retire", "retiring", "retire"},
    {"ready", "retire", "retiring", "retire"},	 {"resting", "retire", "vacant", "forget"},
    {"retiring", "died", "vacant", "forget"},	 {"retiring", "close", "draining", "drain"},
    {"retiring", "overdue", "retiring", "kill"},
};
#define CHANGES (sizeof changes / sizeof *changes)

START_TEST(the_table_state_by_event)
{
	_Static_assert(SLOT_STATES == 6 && SLOT_EVENTS == 7, "a new one needs its rows here");
	size_t changed = 0;

	for (unsigned state = 0; state < SLOT_STATES; state++) {
		for (unsigned event = 0; event < SLOT_EVENTS; event++) {
			struct roster_slot slot = {.state = (enum slot_state)state};
			const char *next = state_names[state], *action = "nothing";
			char pair[64];
			enum slot_action answer;

			for (size_t i = 0; i < CHANGES; i++) {
				if (strcmp(changes[i].state, state_names[state]) != 0 ||
				    strcmp(changes[i].event, event_names[event]) != 0)
					continue;
				next = changes[i].next;
				action = changes[i].action;
				changed++;
			}
			answer = roster_event(&slot, (enum slot_event)event, 12345);
			(void)snprintf(pair, sizeof pair, "%s, %s", state_names[state],
				       event_names[event]);
			ck_assert_msg(strcmp(state_names[slot.state], next) == 0, "%s: now %s",
				      pair, state_names[slot.state]);
			ck_assert_msg(strcmp(action_names[answer], action) == 0, "%s: do %s", pair,
				      action_names[answer]);
		}
	}
	ck_assert_uint_eq(changed, CHANGES);
}
END_TEST

/* An event that changes nothing does not change the counts either: if a worker says twice that it
 * is up, its life is still counted from the first time. */
START_TEST(what_changes_nothing_changes_no_count)
{
	for (unsigned state = 0; state < SLOT_STATES; state++) {
		for (unsigned event = 0; event < SLOT_EVENTS; event++) {
			struct roster_slot slot = {(enum slot_state)state, 11, 22, 33};

			if (roster_event(&slot, (enum slot_event)event, 99999) != DO_NOTHING)
				continue;
			ck_assert_uint_eq(slot.state, state);
			ck_assert_uint_eq(slot.born_ms, 11);
			ck_assert_uint_eq(slot.failures, 22);
			ck_assert_uint_eq(slot.delay_ms, 33);
		}
	}
}
END_TEST

/* ---- delays ---- */

static uint32_t now_roster_ms;

/* A worker starts, says that it is up (if ready), lives, and dies. Returns the slot's delay. */
static uint32_t live(struct roster_slot *slot, bool ready, uint32_t life_ms)
{
	enum slot_event begin = slot->state == SLOT_VACANT ? SLOT_OPEN : SLOT_RESTED;

	ck_assert_int_eq(roster_event(slot, begin, now_roster_ms), DO_SPAWN);
	if (ready)
		ck_assert_int_eq(roster_event(slot, SLOT_UP, now_roster_ms + life_ms / 2),
				 DO_ANNOUNCE);
	now_roster_ms += life_ms;
	ck_assert_int_eq(roster_event(slot, SLOT_DIED, now_roster_ms), DO_REST);
	now_roster_ms += slot->delay_ms;
	return slot->delay_ms;
}

START_TEST(at_once_the_first_time_then_twice_as_long_each_time)
{
	static const uint32_t delays[] = {0,	100,   200,   400,   800,   1600, 3200,
					  6400, 12800, 25600, 30000, 30000, 30000};

	/* Also if the worker never comes up. */
	for (int ready = 0; ready < 2; ready++) {
		struct roster_slot slot = {0};

		now_roster_ms = UINT32_MAX - 20000; /* the clock wraps meanwhile */
		for (size_t i = 0; i < sizeof delays / sizeof *delays; i++)
			ck_assert_uint_eq(live(&slot, ready, 5), delays[i]);
	}
}
END_TEST

START_TEST(the_delay_never_leaves_its_bounds)
{
	struct roster_slot slot = {0};

	for (int i = 0; i < 100000; i++) {
		slot.state = SLOT_READY;
		(void)roster_event(&slot, SLOT_DIED, slot.born_ms);
		if (slot.delay_ms > ROSTER_DELAY_MS_MAX)
			ck_abort_msg("%u ms after %d deaths", slot.delay_ms, i + 1);
	}
	ck_assert_uint_eq(slot.delay_ms, ROSTER_DELAY_MS_MAX);
	slot = (struct roster_slot){.state = SLOT_READY, .failures = UINT32_MAX - 1};
	(void)roster_event(&slot, SLOT_DIED, 0);
	ck_assert_uint_eq(slot.delay_ms, ROSTER_DELAY_MS_MAX);
}
END_TEST

START_TEST(each_second_lived_makes_up_for_a_death)
{
	struct roster_slot slot = {0};

	now_roster_ms = UINT32_MAX - 700; /* the clock wraps during these lives */
	for (int i = 0; i < 5; i++)
		(void)live(&slot, true, 0);
	ck_assert_uint_eq(slot.failures, 5);
	ck_assert_uint_eq(slot.delay_ms, 800);
	ck_assert_uint_eq(live(&slot, true, 2999), 400); /* 5 + 1 - 2 */
	ck_assert_uint_eq(slot.failures, 4);
	ck_assert_uint_eq(live(&slot, true, 1000), 400); /* 4 + 1 - 1 */
	ck_assert_uint_eq(live(&slot, true, 60000), 0);
	ck_assert_uint_eq(slot.failures, 0);
	ck_assert_uint_eq(live(&slot, true, 999), 0); /* again like the first death */
	ck_assert_uint_eq(live(&slot, true, 999), 100);
}
END_TEST

START_TEST(a_start_that_takes_long_makes_up_for_nothing)
{
	struct roster_slot slot = {0};

	now_roster_ms = 0;
	ck_assert_uint_eq(live(&slot, false, 60000), 0);
	ck_assert_uint_eq(live(&slot, false, 60000), 100);
	ck_assert_uint_eq(live(&slot, false, 60000), 200);
}
END_TEST

START_TEST(an_end_that_was_asked_for_is_no_death)
{
	struct roster_slot slot = {0};

	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(roster_event(&slot, SLOT_OPEN, 0), DO_SPAWN);
		ck_assert_int_eq(roster_event(&slot, SLOT_UP, 0), DO_ANNOUNCE);
		ck_assert_int_eq(roster_event(&slot, SLOT_CLOSE, 0), DO_DRAIN);
		ck_assert_int_eq(roster_event(&slot, SLOT_DIED, 0), DO_FORGET);
		ck_assert_uint_eq(slot.failures, 0);
	}
}
END_TEST

START_TEST(an_impossible_state_or_event_aborts)
{
	static const unsigned pairs[][2] = {{SLOT_STATES, SLOT_OPEN}, {SLOT_READY, SLOT_EVENTS}};
	struct rlimit no_core = {0, 0};

	for (int i = 0; i < 2; i++) {
		struct roster_slot slot = {.state = (enum slot_state)pairs[i][0]};
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			(void)setrlimit(RLIMIT_CORE, &no_core);
			(void)close(STDERR_FILENO);
			(void)roster_event(&slot, (enum slot_event)pairs[i][1], 0);
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
}
END_TEST

SUITE("roster", {"the table, state by event", the_table_state_by_event, 10},
      {"what changes nothing changes no count", what_changes_nothing_changes_no_count, 10},
      {"at once the first time, then twice as long each time",
       at_once_the_first_time_then_twice_as_long_each_time, 10},
      {"the delay never leaves its bounds", the_delay_never_leaves_its_bounds, 30},
      {"each second lived makes up for a death", each_second_lived_makes_up_for_a_death, 10},
      {"a start that takes long makes up for nothing", a_start_that_takes_long_makes_up_for_nothing,
       10},
      {"an end that was asked for is no death", an_end_that_was_asked_for_is_no_death, 10},
      {"an impossible state or event aborts", an_impossible_state_or_event_aborts, 10})
