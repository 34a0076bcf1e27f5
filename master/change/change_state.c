/* What is wanted, which change goes on, and how far it is. */
#include "master/change/change_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* How soon a master whose workers all retire, and whose reload failed, tries again. */
#define BEREFT_MS 1000

struct change_state change;

struct generation *change_serving(void)
{
	return change.serving;
}

enum change change_now(void)
{
	static const enum change of_phase[CHANGE_PHASES] = {
	    [PHASE_IDLE] = CHANGE_NONE,		[PHASE_BESIDE] = CHANGE_NONE,
	    [PHASE_READING] = CHANGE_RELOAD,	[PHASE_STAGED] = CHANGE_RELOAD,
	    [PHASE_MOVING] = CHANGE_RELOAD,	[PHASE_GROWING] = CHANGE_WORKERS,
	    [PHASE_SHRINKING] = CHANGE_WORKERS, [PHASE_EVENING] = CHANGE_REBALANCE,
	    [PHASE_AWAITING] = CHANGE_UPGRADE,	[PHASE_LEAVING] = CHANGE_UPGRADE,
	    [PHASE_LEFT] = CHANGE_NONE,
	};

	return of_phase[change.phase];
}

bool change_is_handed_over(void)
{
	return change.phase == PHASE_LEAVING || change.phase == PHASE_LEFT;
}

/* ---- what is wanted ---- */

static void look_what_comes_next(void)
{
	loop_wake(change.owner->loop, &change.timer);
}

void change_reload(void)
{
	change.wants_reload = true;
	look_what_comes_next();
}

void change_workers(int more)
{
	change.wants_more += more;
	look_what_comes_next();
}

void change_rebalance(void)
{
	change.wants_rebalance = true;
	look_what_comes_next();
}

void change_upgrade(void)
{
	change.wants_upgrade = true;
	look_what_comes_next();
}

/* ---- its beginning and its end ---- */

void change_begin(enum change_phase phase)
{
	change.phase = phase;
	change.began_us = change.owner->loop->now_us;
	change.moved = change.stay = 0;
	change.under_way = 0;
	memset(change.routes, 0, sizeof change.routes);
	memset(change.full, 0, sizeof change.full);
	memset(change.told_to_leave, 0, sizeof change.told_to_leave);
	memset(change.asked, 0, sizeof change.asked);
	change.owner->begins(change_now());
}

void change_end(bool made, const char *format, ...)
{
	enum change ended = change_now();
	char text[CHANGE_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	change.phase = change.phase == PHASE_LEAVING ? PHASE_LEFT : PHASE_IDLE;
	loop_no_deadline(change.owner->loop, &change.timer);
	if (change.successor_lost) /* nobody serves, and no death of a worker will tell */
		loop_deadline(change.owner->loop, &change.timer,
			      change.owner->loop->now_ms + BEREFT_MS);
	look_what_comes_next();
	change.owner->ended(ended, made, text);
}

void change_end_moved(const char *what)
{
	unsigned long long ms = (change.owner->loop->now_us - change.began_us) / 1000;
	char stay[64] = "";

	if (change.stay)
		(void)snprintf(stay, sizeof stay, ", %llu stay and drain",
			       (unsigned long long)change.stay);
	change_end(true, "%s; %llu connections moved in %llu ms%s", what,
		   (unsigned long long)change.moved, ms, stay);
}
