#include "master/control/control_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "master/metrics/lifetime_counters.h"
#include "master/control/control.h"
#include "master/metrics/exposition.h"
#include "master/metrics/metrics.h"
#include "master/options.h"
#include "master/control/status.h"
#include "master/state_words.h"
#include "worker/config/value.h"

/* How often a client that waits for the end of a drain hears how far it is. */
#define PROGRESS_MS 1000
/* So much of the text is written at a time, as the client takes it. */
#define TELLING_BYTES (64 << 10)

static struct {
	const struct control_commands_owner *owner;
	time_t born;
	uint64_t born_us;
	uint64_t cut; /* connections that had ended before their time when a drain began */
	struct source progress;
} commands;

static uint64_t seconds_since(uint64_t us)
{
	return (commands.owner->loop->now_us - us) / 1000000;
}

/* ---- status ---- */

static void answer_listeners(struct control_client *client, const struct generation *generation)
{
	const struct config *config = &generation->config;
	uint32_t numbers[LISTENERS_MAX];
	char text[ENDPOINT_TEXT_BYTES], accept[16];

	listen_numbers(&generation->set, numbers);
	for (size_t i = 0; i < config->listeners_n; i++) {
		if (generation != change_serving() &&
		    listen_has(&change_serving()->set, numbers[i]))
			continue;
		endpoint_format(&config->listeners[i], text);
		choice_format(ACCEPT_MODES, config_accept_mode(config, &config->listeners[i]),
			      accept, sizeof accept);
		status_listener(client,
				&(struct status_listener){
				    .id = numbers[i],
				    .listener = text,
				    .accept = accept,
				    .state = generation == change_serving() ? "open" : "closing"});
	}
}

/* When weir was started, by the first of its masters; if that is not known, when this one was. */
static time_t server_born(void)
{
	time_t began = (time_t)(lifetime_counters_began_us() / 1000000);

	return began && began < commands.born ? began : commands.born;
}

static void answer_server(struct control_client *client)
{
	const struct generation *serving = change_serving();
	char metrics[METRICS_TEXT_BYTES];
	struct status_server server = {
	    .pid = getpid(),
	    .generation = serving->number,
	    .state = commands.owner->state(),
	    .since = server_born(),
	    .master_up_s = seconds_since(commands.born_us),
	    .workers_asked = serving->slots_n,
	    .config = options_file(),
	};

	if (metrics_at(metrics))
		server.metrics = metrics;
	server.up_s = server.master_up_s + (uint64_t)(commands.born - server_born());
	for (size_t i = 0; i < serving->slots_n; i++)
		server.workers +=
		    serving->slots[i].roster.state == SLOT_READY &&
		    !liveness_is_bad(liveness_of(commands.owner->scoreboard, &serving->slots[i]));
	status_server(client, &server, commands.owner->scoreboard, SEATS_MAX);
}

static void answer_status(struct control_client *client, const char *argument)
{
	struct journal_figures journal = journal_setup_figures();

	(void)argument;
	answer_server(client);
	status_journal(client, &journal);
	answer_listeners(client, change_serving());
	EACH_GENERATION (generation)
		if (generation->phase == GENERATION_RETIRING)
			answer_listeners(client, generation);
	control_done(client);
}

/* ---- workers ---- */

static struct status_worker worker_of(const struct slot *slot)
{
	return (struct status_worker){
	    .slot = slot_index(slot),
	    .seat = slot_seat(slot),
	    .generation = slot->generation->number,
	    .pid = slot->pid,
	    .state = state_words_of_slot(slot, liveness_of(commands.owner->scoreboard, slot)),
	    .up_s = slot->pid ? seconds_since(slot->born_us) : 0,
	    .before = slot->pid ? &slot->before : NULL,
	    .restarts = slot->restarts,
	};
}

/* The workers that serve, and those of the other generation that are still there; how many. */
static size_t fill_workers(struct status_worker workers[SEATS_MAX])
{
	size_t n = 0;

	EACH_SLOT (slot, change_serving())
		workers[n++] = worker_of(slot);
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			if (generation != change_serving() && slot->pid)
				workers[n++] = worker_of(slot);
	return n;
}

static void show_workers(struct control_client *client, bool for_top)
{
	struct status_worker workers[SEATS_MAX];
	size_t n = fill_workers(workers);

	for (size_t i = 0; i < n; i++)
		status_worker(client, &workers[i], commands.owner->scoreboard, for_top);
	control_done(client);
}

static void answer_workers(struct control_client *client, const char *argument)
{
	(void)argument;
	show_workers(client, false);
}

static void answer_top(struct control_client *client, const char *argument)
{
	(void)argument;
	status_moment(client);
	answer_server(client);
	show_workers(client, true);
}

static void answer_pid(struct control_client *client, const char *argument)
{
	struct status_worker workers[SEATS_MAX];
	size_t n = fill_workers(workers);

	status_pid(client, argument, getpid(), workers, n);
}

static bool is_worker(pid_t pid)
{
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			if (slot->pid == pid)
				return true;
	return false;
}

/* ---- metrics ---- */

struct telling {
	struct scrape *scrape;
	struct exposition_place at;
};

static void forget_telling(void *state)
{
	struct telling *telling = state;

	free(telling->scrape);
	free(telling);
}

static void tell_more(struct control_client *client, void *state)
{
	static char piece[TELLING_BYTES];
	struct telling *telling = state;
	size_t n = exposition_write(telling->scrape, &telling->at, piece, sizeof piece);
	char *end;

	for (char *line = piece; line < piece + n; line = end + 1) {
		end = memchr(line, '\n', (size_t)(piece + n - line));
		*end = '\0';
		CONTROL_RECORD(client, "note", LOG_TEXT("text", line));
	}
	if (!n)
		control_done(client);
}

static void answer_metrics(struct control_client *client, const char *argument)
{
	struct telling *telling = calloc(1, sizeof *telling);

	(void)argument;
	if (telling)
		telling->scrape = scrape_take(commands.owner->scoreboard, commands.owner->state(),
					      commands.owner->own);
	if (telling && telling->scrape) {
		control_stream(client, tell_more, forget_telling, telling);
		return;
	}
	free(telling);
	control_failed(client, "the server is short of memory");
}

/* ---- how far a drain is ---- */

static void progress_turn(struct loop *loop, struct source *source)
{
	uint64_t connections = 0;
	char text[64];

	source->ready = 0;
	if (!control_waiting(COMMAND_drain))
		return;
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			connections += slot_connections(slot);
	(void)snprintf(text, sizeof text, "connections left: %llu",
		       (unsigned long long)connections);
	CONTROL_TELL(COMMAND_drain, "note", LOG_TEXT("text", text),
		     LOG_NUMBER("connections", connections));
	loop_deadline(loop, source, loop->now_ms + PROGRESS_MS);
}

/* ---- the whole ---- */

/* Connections that were cut: neither drained nor ended by their peers. */
static uint64_t connections_cut(void)
{
	uint64_t cut = 0;

	for (size_t seat = 0; seat < SEATS_MAX; seat++) {
		const struct stats *stats = &commands.owner->scoreboard->seats[seat].stats;

		cut += STATS_READ(stats, closed[CLOSE_drain_timeout]) +
		       STATS_READ(stats, closed[CLOSE_worker_died]);
	}
	return cut;
}

/* May a change be asked for? If it has to wait for another one, the client hears that at once.
 * False: it can't be, and the client has been told. */
static bool comes(struct control_client *client)
{
	char text[64];

	if (strcmp(commands.owner->state(), "stopping") == 0) {
		control_failed(client, "the server is stopping");
		return false;
	}
	if (change_now() != CHANGE_NONE) {
		(void)snprintf(text, sizeof text, "waiting: the server is still %s",
			       commands.owner->state());
		CONTROL_RECORD(client, "note", LOG_TEXT("text", text));
	}
	return true;
}

/* Whoever asked for a change hears of its end: control_commands_tell(). */
static void answer_reload(struct control_client *client, const char *argument)
{
	(void)argument;
	if (comes(client))
		change_reload();
}

static void answer_rebalance(struct control_client *client, const char *argument)
{
	(void)argument;
	if (comes(client))
		change_rebalance();
}

static void answer_upgrade(struct control_client *client, const char *argument)
{
	(void)argument;
	if (comes(client))
		commands.owner->upgrade();
}

/* Whoever asked for the end hears of it then: control_commands_close(). */
static void answer_drain(struct control_client *client, const char *argument)
{
	(void)client;
	(void)argument;
	commands.cut = connections_cut();
	commands.owner->drain("weirctl drain");
	loop_wake(commands.owner->loop, &commands.progress);
}

static void answer_stop(struct control_client *client, const char *argument)
{
	(void)client;
	(void)argument;
	commands.owner->stop("weirctl stop");
}

static void (*const answers[COMMANDS])(struct control_client *client, const char *argument) = {
#define COMMAND(name, argument, kind, list, meaning) [COMMAND_##name] = answer_##name,
#include "master/control/command.def"
#undef COMMAND
};

static void asked(struct control_client *client, enum command command, const char *argument)
{
	answers[command](client, argument);
}

static const struct control_owner control_owner = {.asked = asked, .is_worker = is_worker};

void control_commands_tell(enum change change, bool made, const char *text)
{
	enum command command;

	if (change == CHANGE_RELOAD)
		command = COMMAND_reload;
	else if (change == CHANGE_REBALANCE)
		command = COMMAND_rebalance;
	else if (change == CHANGE_UPGRADE)
		command = COMMAND_upgrade;
	else
		return;
	if (made)
		CONTROL_TELL(command, "note", LOG_TEXT("text", text));
	control_finish(command, made ? NULL : text);
}

void control_commands_open(const struct control_commands_owner *owner,
			   const struct control_inherited *inherited)
{
	const char *path = change_serving()->config.control;

	commands.owner = owner;
	commands.born = time(NULL);
	commands.born_us = owner->loop->now_us;
	source_init(&commands.progress, -1, progress_turn);
	if (inherited && inherited->fd >= 0)
		control_adopt(owner->loop, &control_owner, path, inherited);
	else
		control_open(owner->loop, &control_owner, path);
}

void control_commands_close(void)
{
	uint64_t cut = connections_cut() - commands.cut;
	char text[96];

	if (cut && control_waiting(COMMAND_drain)) {
		(void)snprintf(text, sizeof text,
			       "connections closed by drain-timeout, or with a worker: %llu",
			       (unsigned long long)cut);
		CONTROL_TELL(COMMAND_drain, "note", LOG_TEXT("text", text),
			     LOG_NUMBER("connections", cut));
	}
	control_finish(COMMAND_drain, NULL);
	control_finish(COMMAND_stop, NULL);
	control_close();
}
