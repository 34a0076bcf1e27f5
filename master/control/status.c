#include "master/control/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "master/metrics/carried_counters.h"
#include "master/options.h"
#include "reactor/base/check.h"

/* The counters that a record shows, beside the reasons of closes; others are in metrics only. */
static const char *const shown[] = {"connections",     "accepted",   "messages",
				    "received_bytes",  "sent_bytes", "queued_bytes",
				    "queued_bytes_max"};
/* What a record of `top` shows beside them: whether a worker moves, and how well. */
static const char *const shown_to_top[] = {"asleep", "harvests", "turns", "loop_busy_us",
					   "messages_sent"};

#define SHOWN	     (sizeof shown / sizeof *shown)
#define SHOWN_TO_TOP (sizeof shown_to_top / sizeof *shown_to_top)
#define FIELDS_OTHER 12 /* that are no counters */
#define FIELDS_MAX   (SHOWN + SHOWN_TO_TOP + CLOSE_REASONS_MAX + LAGS + FIELDS_OTHER)

struct record {
	struct log_field fields[FIELDS_MAX];
	size_t n;
};

static void record_add(struct record *record, struct log_field field)
{
	CHECK(record->n < FIELDS_MAX);
	record->fields[record->n++] = field;
}

static const struct stats_row *row_of(const char *name)
{
	size_t i = 0;

	while (i < stats_rows_n && strcmp(stats_rows[i].name, name) != 0)
		i++;
	CHECK(i < stats_rows_n);
	return &stats_rows[i];
}

/* What is read: n seats; or (one) a single worker's, without what was counted there before (NULL:
 * nothing). */
struct seats_read {
	const struct scoreboard *scoreboard;
	size_t first, n;
	bool one;
	const struct stats *before;
};

static void record_add_counter(struct record *record, const struct seats_read *seats,
			       const struct stats_row *row)
{
	uint64_t total = 0;

	if (seats->one)
		total = stats_value(&seats->scoreboard->seats[seats->first].stats, row);
	for (size_t seat = seats->first; !seats->one && seat < seats->first + seats->n; seat++)
		total = stats_combine(row, total, scoreboard_value(seats->scoreboard, seat, row));
	if (seats->before && stats_grows(row))
		total -= stats_value(seats->before, row);
	record_add(record, LOG_NUMBER(row->name, total));
}

static bool is_close(const struct stats_row *row)
{
	return strncmp(row->name, STATUS_CLOSED, strlen(STATUS_CLOSED)) == 0;
}

static bool is_lag(const struct stats_row *row)
{
	return row->kind == STATS_BUCKET && strncmp(row->name, "loop_lag_", 9) == 0;
}

static void record_add_counters(struct record *record, const struct seats_read *seats, bool for_top)
{
	for (size_t i = 0; i < SHOWN; i++)
		record_add_counter(record, seats, row_of(shown[i]));
	for (size_t i = 0; for_top && i < SHOWN_TO_TOP; i++)
		record_add_counter(record, seats, row_of(shown_to_top[i]));
	for (size_t i = 0; i < stats_rows_n; i++)
		if (is_close(&stats_rows[i]) || (for_top && is_lag(&stats_rows[i])))
			record_add_counter(record, seats, &stats_rows[i]);
}

static bool seats_are_there(const struct scoreboard *scoreboard, size_t first, size_t n)
{
	size_t seats = sizeof scoreboard->seats / sizeof *scoreboard->seats;

	return first <= seats && n <= seats - first;
}

void status_moment(struct control_client *client)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	CONTROL_RECORD(client, "moment",
		       LOG_NUMBER("us", now.tv_sec * 1000000 + now.tv_nsec / 1000));
}

void status_server(struct control_client *client, const struct status_server *server,
		   const struct scoreboard *scoreboard, size_t seats)
{
	time_t since = (time_t)server->since;
	struct record record = {.n = 0};
	char stamp[32];
	struct tm utc;

	CHECK(seats_are_there(scoreboard, 0, seats));
	carried_counters_look();
	(void)gmtime_r(&since, &utc);
	(void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc);
	record_add(&record, LOG_NUMBER("pid", server->pid));
	record_add(&record, LOG_TEXT("version", WEIR_VERSION));
	record_add(&record, LOG_TEXT("state", server->state));
	record_add(&record, LOG_NUMBER("generation", server->generation));
	record_add(&record, LOG_NUMBER("workers", server->workers));
	record_add(&record, LOG_NUMBER("workers_asked", server->workers_asked));
	record_add(&record, LOG_TEXT("since", stamp));
	record_add(&record, LOG_NUMBER("up_s", server->up_s));
	record_add(&record, LOG_NUMBER("master_up_s", server->master_up_s));
	if (server->config)
		record_add(&record, LOG_TEXT("config", server->config));
	if (server->metrics)
		record_add(&record, LOG_TEXT("metrics", server->metrics));
	record_add_counters(&record, &(struct seats_read){scoreboard, 0, seats, false, NULL},
			    false);
	control_record(client, "server", record.fields, record.n);
}

void status_journal(struct control_client *client, const struct journal_figures *figures)
{
	if (figures->there)
		CONTROL_RECORD(client, "journal", LOG_NUMBER("records", figures->records),
			       LOG_NUMBER("bytes", figures->bytes),
			       LOG_NUMBER("history_bytes", figures->history_bytes),
			       LOG_NUMBER("oldest_s", figures->age_us / 1000000),
			       LOG_NUMBER("published", figures->published),
			       LOG_NUMBER("void_records", figures->voids));
}

void status_listener(struct control_client *client, const struct status_listener *listener)
{
	CONTROL_RECORD(client, "listener", LOG_NUMBER("id", listener->id),
		       LOG_TEXT("listener", listener->listener),
		       LOG_TEXT("accept", listener->accept), LOG_TEXT("state", listener->state));
}

void status_worker(struct control_client *client, const struct status_worker *worker,
		   const struct scoreboard *scoreboard, bool for_top)
{
	struct record record = {.n = 0};

	CHECK(seats_are_there(scoreboard, worker->seat, 1));
	record_add(&record, LOG_NUMBER("worker", worker->slot));
	record_add(&record, LOG_NUMBER("seat", worker->seat));
	record_add(&record, LOG_NUMBER("pid", worker->pid));
	record_add(&record, LOG_NUMBER("generation", worker->generation));
	record_add(&record, LOG_TEXT("state", worker->state));
	record_add(&record, LOG_NUMBER("restarts", worker->restarts));
	record_add(&record, LOG_NUMBER("up_s", worker->up_s));
	record_add_counters(&record,
			    &(struct seats_read){scoreboard, worker->seat, 1, true, worker->before},
			    for_top);
	control_record(client, "worker", record.fields, record.n);
}

static const struct status_worker *worker_of(uint64_t slot, const struct status_worker *workers,
					     size_t n)
{
	const struct status_worker *found = NULL;

	for (size_t i = 0; i < n; i++)
		if (workers[i].slot == slot && workers[i].pid &&
		    (!found || workers[i].generation > found->generation))
			found = &workers[i];
	return found;
}

void status_pid(struct control_client *client, const char *argument, pid_t master,
		const struct status_worker *workers, size_t n)
{
	const struct status_worker *worker;
	uint64_t slot;

	if (!*argument) {
		CONTROL_RECORD(client, "process", LOG_NUMBER("pid", master));
		control_done(client);
		return;
	}
	if (*argument != 'w' || !number_parse(argument + 1, &slot)) {
		control_failed(client, "pid takes wN, a worker's number, not \"%s\"", argument);
		return;
	}
	worker = worker_of(slot, workers, n);
	if (!worker) {
		control_failed(client, "there is no worker %llu now", (unsigned long long)slot);
		return;
	}
	CONTROL_RECORD(client, "process", LOG_NUMBER("worker", slot),
		       LOG_NUMBER("pid", worker->pid));
	control_done(client);
}
