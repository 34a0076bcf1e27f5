#include "master/weirctl/sample.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "master/control/status.h"
#include "reactor/base/check.h"
#include "reactor/base/stats.h"

/* A worker that was still for less may only have waited for a CPU. */
#define STILL_US 1000000

#define LAG	  "weir_loop_lag_seconds"
#define STEPS_MAX 64

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t whole_of(const struct answer_record *record, const char *key)
{
	const struct log_field *field = record ? answer_field(record, key) : NULL;

	return field && !field->text ? (uint64_t)field->number : 0;
}

static struct sample_process process_of(pid_t pid)
{
	struct sample_process process = {.at_us = 0};

	process.known = pid > 0 && proc_read(pid, &process.proc);
	process.at_us = now_us();
	return process;
}

/* ---- a sample ---- */

static const struct sample_row *same_worker(const struct sample *before,
					    const struct answer_record *record, pid_t pid)
{
	uint64_t worker = whole_of(record, "worker");

	for (size_t i = 0; before && i < before->workers_n; i++)
		if (before->workers[i].look.pid == pid &&
		    whole_of(before->workers[i].now, "worker") == worker)
			return &before->workers[i];
	return NULL;
}

static void row_take(struct sample_row *row, const struct answer_record *record,
		     const struct sample_row *before, uint64_t at_us, bool local)
{
	*row = (struct sample_row){
	    .now = record, .before = before ? before->now : NULL, .moved_us = at_us};
	row->look = (struct liveness_look){
	    .pid = (pid_t)whole_of(record, "pid"),
	    .progress = whole_of(record, "harvests") + whole_of(record, "turns"),
	    .asleep = whole_of(record, "asleep") != 0,
	};
	if (local)
		row->process = process_of(row->look.pid);
	if (before)
		row->process_before = before->process;
	/* A tracer's stop ('t') is a debugger's business, and seen all the same. */
	row->look.stopped = row->process.proc.state == 'T' || row->process.proc.state == 't';
	if (before && liveness_is_still(&before->look, &row->look))
		row->moved_us = before->moved_us;
}

bool sample_take(struct sample *sample, struct answer *answer, const struct sample *before,
		 bool local)
{
	const struct answer_record *server;
	size_t n = 0;

	*sample = (struct sample){.answer = *answer, .at_us = now_us()};
	*answer = (struct answer){0};
	server = answer_first(&sample->answer, "server");
	if (!server)
		return false;
	if (answer_first(&sample->answer, "moment"))
		sample->at_us = whole_of(answer_first(&sample->answer, "moment"), "us");
	if (before && sample->at_us > before->at_us)
		sample->span_us = sample->at_us - before->at_us;
	sample->workers = calloc(sample->answer.n, sizeof *sample->workers);
	if (!sample->workers)
		die("memory: %s", strerror(errno));
	row_take(&sample->server, server, before ? &before->server : NULL, sample->at_us, local);
	if (before && before->server.look.pid != sample->server.look.pid)
		sample->server.process_before = (struct sample_process){0};
	for (size_t i = 0; i < sample->answer.n; i++) {
		const struct answer_record *record = &sample->answer.records[i];
		pid_t pid = (pid_t)whole_of(record, "pid");

		if (strcmp(record->kind, "worker") == 0)
			row_take(&sample->workers[n++], record, same_worker(before, record, pid),
				 sample->at_us, local);
	}
	sample->workers_n = n;
	return true;
}

void sample_clear(struct sample *sample)
{
	answer_clear(&sample->answer);
	free(sample->workers);
	*sample = (struct sample){0};
}

/* ---- what it says ---- */

bool sample_number(const struct sample_row *row, const char *key, double *value)
{
	const struct log_field *field = answer_field(row->now, key);

	if (!field || field->text)
		return false;
	*value = (double)field->number;
	return true;
}

const char *sample_text(const struct sample_row *row, const char *key)
{
	const struct log_field *field = answer_field(row->now, key);

	return field && field->text ? field->text : "";
}

/* A counter that went back belongs to another server, or another worker. */
bool sample_rate(const struct sample *sample, const struct sample_row *row, const char *key,
		 double *a_second)
{
	const struct log_field *field = answer_field(row->now, key);
	uint64_t now, before;

	if (!sample->span_us || !field || field->text)
		return false;
	now = (uint64_t)field->number;
	before = row->before ? whole_of(row->before, key) : 0;
	if (now < before)
		return false;
	*a_second = (double)(now - before) * 1e6 / (double)sample->span_us;
	return true;
}

bool sample_cpu(const struct sample_row *row, double *percent)
{
	const struct sample_process *now = &row->process, *before = &row->process_before;

	if (!now->known || !before->known || now->at_us <= before->at_us ||
	    now->proc.started != before->proc.started)
		return false;
	*percent = (double)(now->proc.cpu_us - before->proc.cpu_us) * 100 /
		   (double)(now->at_us - before->at_us);
	return true;
}

uint64_t sample_still_us(const struct sample *sample, const struct sample_row *row)
{
	uint64_t still_us = sample->at_us - row->moved_us;

	return row->look.pid && (still_us >= STILL_US || (row->look.stopped && still_us)) ? still_us
											  : 0;
}

/* 99 of 100 passes of the loop in this time took at most that long. */
bool sample_lag(const struct sample *sample, const struct sample_row *row, double *seconds)
{
	double passes[STEPS_MAX], total = 0, sum = 0;
	const struct stats_row *steps[STEPS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < stats_rows_n && n < STEPS_MAX; i++) {
		if (stats_rows[i].kind != STATS_BUCKET || strcmp(stats_rows[i].metric, LAG) != 0)
			continue;
		if (!sample_rate(sample, row, stats_rows[i].name, &passes[n]))
			return false;
		total += passes[n];
		steps[n++] = &stats_rows[i];
	}
	if (total <= 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		sum += passes[i];
		*seconds = strtod(steps[i]->value, NULL);
		if (sum >= 0.99 * total)
			break;
	}
	return true;
}

bool sample_is_still(const struct sample *sample, const struct sample_row *row)
{
	return sample_still_us(sample, row) != 0 || (row->look.stopped && !row->before);
}

bool sample_is_counter(const char *key)
{
	if (strncmp(key, STATUS_CLOSED, strlen(STATUS_CLOSED)) == 0)
		return true;
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strcmp(stats_rows[i].name, key) == 0)
			return stats_rows[i].kind == STATS_COUNTER ||
			       stats_rows[i].kind == STATS_TIME;
	return false;
}
