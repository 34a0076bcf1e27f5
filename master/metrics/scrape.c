#include "master/metrics/scrape.h"

#include <stdlib.h>

#include "master/metrics/lifetime_counters.h"
#include "master/metrics/carried_counters.h"
#include "master/change/change.h"
#include "master/state_words.h"
#include "worker/config/value.h"

struct scrape *scrape_new(size_t slots)
{
	struct scrape *scrape =
	    calloc(1, sizeof *scrape + (slots + 1) * stats_rows_n * sizeof *scrape->values);

	if (scrape)
		scrape->slots_n = slots;
	return scrape;
}

/* ---- slots ---- */

static bool seat_was_used(const struct scoreboard *scoreboard, unsigned seat)
{
	for (size_t row = 0; row < stats_rows_n; row++)
		if (scoreboard_value(scoreboard, seat, &stats_rows[row]))
			return true;
	return false;
}

/* A slot that was given up keeps what it had counted: a sum over workers does not go back. */
static size_t slots_ever(const struct scoreboard *scoreboard)
{
	size_t n = change_serving()->slots_n;

	for (size_t slot = WORKERS_MAX; slot-- > n;)
		if (seat_was_used(scoreboard, scoreboard_seat_of((unsigned)slot, 0)) ||
		    seat_was_used(scoreboard, scoreboard_seat_of((unsigned)slot, 1)))
			return slot + 1;
	return n;
}

static void take_values(uint64_t *values, const struct scoreboard *scoreboard, unsigned slot)
{
	for (size_t row = 0; row < stats_rows_n; row++)
		values[row] = stats_combine(
		    &stats_rows[row],
		    scoreboard_value(scoreboard, scoreboard_seat_of(slot, 0), &stats_rows[row]),
		    scoreboard_value(scoreboard, scoreboard_seat_of(slot, 1), &stats_rows[row]));
}

/* The slot of the generation that serves, or is to; one that retires only if there is no other. */
static const struct slot *slot_of(unsigned index)
{
	const struct generation *serving = change_serving();

	if (index < serving->slots_n)
		return &serving->slots[index];
	EACH_GENERATION (generation)
		if (index < generation->slots_n && generation->slots[index].pid)
			return &generation->slots[index];
	return NULL;
}

static void take_worker(struct scrape_worker *worker, const struct scoreboard *scoreboard,
			unsigned index)
{
	const struct slot *slot = slot_of(index);
	struct lifetime_process mine = {.born_us = 0};
	struct liveness liveness;

	for (unsigned i = 0; i < 2; i++) {
		struct lifetime_process process =
		    lifetime_counters_process(scoreboard_seat_of(index, i));

		worker->cpu_us += process.cpu_us;
		worker->memory_bytes += process.memory_bytes;
		if (slot && slot_seat(slot) == scoreboard_seat_of(index, i))
			mine = process;
	}
	worker->born_us = mine.born_us;
	worker->restarts = lifetime_counters_restarts(index);
	if (!slot)
		return;
	liveness = mine.state ? liveness_of_state(scoreboard, slot, mine.state)
			      : liveness_of(scoreboard, slot);
	worker->state = state_words_of_slot(slot, liveness);
	worker->still_us = liveness.still_us;
	worker->up =
	    slot->roster.state == SLOT_READY && !slot->leaving && !liveness_is_bad(liveness);
	worker->generation = slot->generation->number;
	worker->pid = slot->pid;
}

/* ---- the server ---- */

static void take_listeners(struct scrape *scrape)
{
	const struct generation *serving = change_serving();
	const struct config *config = &serving->config;
	uint32_t numbers[LISTENERS_MAX];

	listen_numbers(&serving->set, numbers);
	scrape->listeners_n = config->listeners_n;
	for (size_t i = 0; i < config->listeners_n; i++) {
		struct scrape_listener *listener = &scrape->listeners[i];

		listener->number = numbers[i];
		choice_format(ACCEPT_MODES, config_accept_mode(config, &config->listeners[i]),
			      listener->accept, sizeof listener->accept);
		endpoint_format(&config->listeners[i], listener->text);
	}
}

static void take_server(struct scrape *scrape)
{
	const struct generation *serving = change_serving();

	scrape->generation = serving->number;
	scrape->workers = serving->slots_n;
	scrape->began_us = lifetime_counters_began_us();
	scrape->reloads = lifetime_counters_count(LIFETIME_RELOADS);
	scrape->reloads_failed = lifetime_counters_count(LIFETIME_RELOADS_FAILED);
	scrape->upgrades = lifetime_counters_count(LIFETIME_UPGRADES);
	scrape->upgrades_failed = lifetime_counters_count(LIFETIME_UPGRADES_FAILED);
	for (unsigned i = 0; i < 2; i++) {
		struct lifetime_process process = lifetime_counters_process(LIFETIME_MASTER + i);

		scrape->master_cpu_us += process.cpu_us;
		scrape->master_memory_bytes += process.memory_bytes;
		if (process.born_us > scrape->master_born_us)
			scrape->master_born_us = process.born_us;
	}
	scrape->journal = journal_setup_figures();
	take_listeners(scrape);
}

struct scrape *scrape_take(const struct scoreboard *scoreboard, const char *state,
			   const struct stats *own)
{
	struct scrape *scrape;
	size_t slots;

	carried_counters_look();
	slots = slots_ever(scoreboard);
	scrape = scrape_new(slots);
	if (!scrape)
		return NULL;
	scrape->state = state;
	take_server(scrape);
	for (size_t slot = 0; slot < slots; slot++) {
		take_worker(&scrape->slots[slot], scoreboard, (unsigned)slot);
		scrape->workers_ready += slot < scrape->workers && scrape->slots[slot].up;
		take_values(scrape_values(scrape, slot), scoreboard, (unsigned)slot);
	}
	for (size_t row = 0; row < stats_rows_n; row++)
		scrape_values(scrape, slots)[row] =
		    lifetime_counters_of_masters(row, stats_value(own, &stats_rows[row]));
	return scrape;
}
