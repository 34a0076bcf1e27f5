#include "master/weirctl/lines.h"

#include <stdio.h>
#include <string.h>

void lines_frame(const struct frame *frame, bool again)
{
	if (again)
		(void)printf("\n");
	for (size_t i = 0; i < frame->n; i++) {
		const char *text = frame->lines[i].text;
		size_t n = strlen(text);

		while (n && text[n - 1] == ' ')
			n--;
		(void)printf("%.*s\n", (int)n, text);
	}
}

/* ---- JSON ---- */

/* weirctl sets no locale, so printf() writes a double as JSON has it. */
static void json_rates(const struct sample *sample, const struct sample_row *row)
{
	const struct answer_record *now = row->now;
	const char *comma = "";
	double value;

	(void)printf(",\"a_second\":{");
	for (size_t i = 0; i < now->fields_n; i++) {
		const char *key = now->fields[i].key;

		if (!sample_is_counter(key) || !sample_rate(sample, row, key, &value))
			continue;
		(void)printf("%s\"%s\":%.1f", comma, key, value);
		comma = ",";
	}
	(void)printf("}");
}

static void json_row(const struct sample *sample, const struct sample_row *row)
{
	char text[LOG_LINE_BYTES];
	size_t n = log_compose(text, LOG_JSON, row->now->fields, row->now->fields_n);
	double value;

	(void)printf("%.*s", (int)n - 1, text); /* the brace comes later */
	json_rates(sample, row);
	if (sample_cpu(row, &value))
		(void)printf(",\"cpu_percent\":%.1f", value);
	if (row->process.known)
		(void)printf(",\"memory_bytes\":%llu",
			     (unsigned long long)row->process.proc.memory_bytes);
}

void lines_json(const struct sample *sample)
{
	(void)printf("{\"moment_us\":%llu,\"span_us\":%llu,\"server\":",
		     (unsigned long long)sample->at_us, (unsigned long long)sample->span_us);
	json_row(sample, &sample->server);
	(void)printf("},\"workers\":[");
	for (size_t i = 0; i < sample->workers_n; i++) {
		const struct sample_row *row = &sample->workers[i];
		double seconds;

		(void)printf("%s", i ? "," : "");
		json_row(sample, row);
		if (sample_lag(sample, row, &seconds) && seconds < 999)
			(void)printf(",\"loop_lag_p99_us\":%.0f", seconds * 1e6);
		(void)printf(",\"stopped\":%s,\"still_us\":%llu}",
			     row->look.stopped ? "true" : "false",
			     (unsigned long long)sample_still_us(sample, row));
	}
	(void)printf("]}\n");
}

bool lines_flush(void)
{
	return fflush(stdout) == 0 && !ferror(stdout);
}
