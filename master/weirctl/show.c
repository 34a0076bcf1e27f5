#include "master/weirctl/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "master/control/status.h"
#include "master/weirctl/cell.h"

#define COLUMNS_MAX 64
#define WIDTH	    80

enum form { PLAIN, COUNT, BYTES, AGE, PID };

struct column {
	const char *key, *heading;
	enum form form;
};

/* What people see of a worker: it has to fit in 80 columns. -j shows all. */
static const struct column worker_columns[] = {
    {"worker", "WORKER", PLAIN},
    {"pid", "PID", PID},
    {"generation", "GEN", PLAIN},
    {"state", "STATE", PLAIN},
    {"up_s", "UP", AGE},
    {"restarts", "DIED", PLAIN},
    {"connections", "CONNS", COUNT},
    {"accepted", "ACCEPTED", COUNT},
    {"messages", "MESSAGES", COUNT},
    {"received_bytes", "IN", BYTES},
    {"sent_bytes", "OUT", BYTES},
};

static const struct column journal_columns[] = {
    {"records", "RECORDS", COUNT},	 {"bytes", "MEMORY", BYTES},
    {"history_bytes", "HISTORY", BYTES}, {"oldest_s", "OLDEST", AGE},
    {"published", "PUBLISHED", COUNT},	 {"void_records", "VOID", COUNT},
};

static const struct column listener_columns[] = {
    {"id", "ID", PLAIN},
    {"accept", "ACCEPT", PLAIN},
    {"state", "STATE", PLAIN},
    {"listener", "LISTENER", PLAIN},
};

static const struct {
	const char *kind;
	const struct column *columns;
	size_t n;
} tables[] = {
    {"worker", worker_columns, sizeof worker_columns / sizeof *worker_columns},
    {"journal", journal_columns, sizeof journal_columns / sizeof *journal_columns},
    {"listener", listener_columns, sizeof listener_columns / sizeof *listener_columns},
};

/* ---- cells ---- */

static bool is_close(const struct log_field *field)
{
	return strncmp(field->key, STATUS_CLOSED, strlen(STATUS_CLOSED)) == 0;
}

static bool is_counted_close(const struct log_field *field)
{
	return is_close(field) && (field->text || field->number);
}

static void format_cell(char *cell, const struct log_field *field, enum form form)
{
	if (!field || (form == PID && !field->text && !field->number))
		(void)snprintf(cell, CELL_BYTES, "-");
	else if (field->text)
		cell_text(cell, field->text);
	else if (form == AGE)
		cell_age(cell, field->number);
	else if (form == COUNT && field->number > 9999999)
		cell_scaled(cell, (double)field->number, 1000);
	else if (form == BYTES && field->number > 9999)
		cell_scaled(cell, (double)field->number, 1024);
	else
		(void)snprintf(cell, CELL_BYTES, "%lld", (long long)field->number);
}

/* In characters, not bytes. */
static size_t width_of(const char *cell)
{
	size_t n = 0;

	for (; *cell; cell++)
		n += ((unsigned char)*cell & 0xc0) != 0x80;
	return n;
}

/* ---- tables ---- */

struct table {
	const struct answer *answer;
	const char *kind;
	struct column columns[COLUMNS_MAX];
	size_t widths[COLUMNS_MAX];
	bool numbers[COLUMNS_MAX]; /* which are aligned to the right */
	size_t n;
};

static void table_columns(struct table *table, const struct answer_record *first)
{
	table->n = 0;
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		if (strcmp(tables[i].kind, table->kind) != 0)
			continue;
		table->n = tables[i].n;
		memcpy(table->columns, tables[i].columns, tables[i].n * sizeof *table->columns);
		return;
	}
	for (; table->n < first->fields_n && table->n < COLUMNS_MAX; table->n++) {
		const char *key = first->fields[table->n].key;

		table->columns[table->n] = (struct column){key, key, PLAIN};
	}
}

static void table_row(const struct table *table, const struct answer_record *record, int gap)
{
	char cell[CELL_BYTES];

	for (size_t i = 0; i < table->n; i++) {
		const struct column *column = &table->columns[i];
		int pad;

		if (record)
			format_cell(cell, answer_field(record, column->key), column->form);
		else
			cell_text(cell, column->heading);
		pad = (int)(table->widths[i] - width_of(cell));
		if (table->numbers[i])
			(void)printf("%*s%*s%s", i ? gap : 0, "", pad, "", cell);
		else
			(void)printf("%*s%s%*s", i ? gap : 0, "", cell, i + 1 < table->n ? pad : 0,
				     "");
	}
	(void)printf("\n");
}

static int table_measure(struct table *table)
{
	size_t total = 0;

	for (size_t i = 0; i < table->n; i++) {
		const struct column *column = &table->columns[i];
		char cell[CELL_BYTES];

		table->widths[i] = strlen(column->heading);
		table->numbers[i] = false;
		for (size_t j = 0; j < table->answer->n; j++) {
			const struct answer_record *record = &table->answer->records[j];
			const struct log_field *field = answer_field(record, column->key);

			if (strcmp(record->kind, table->kind) != 0)
				continue;
			format_cell(cell, field, column->form);
			table->numbers[i] |= field && !field->text;
			if (width_of(cell) > table->widths[i])
				table->widths[i] = width_of(cell);
		}
		total += table->widths[i] + (i ? 2 : 0);
	}
	return total > WIDTH ? 1 : 2;
}

static void show_table(const struct answer *answer, const struct answer_record *first)
{
	struct table table = {.answer = answer, .kind = first->kind};
	int gap;

	table_columns(&table, first);
	gap = table_measure(&table);
	table_row(&table, NULL, gap);
	for (size_t i = 0; i < answer->n; i++)
		if (strcmp(answer->records[i].kind, first->kind) == 0)
			table_row(&table, &answer->records[i], gap);
}

/* Counts of closes by reason, those that are not 0, after a label and within the width. */
static void show_closes(const struct answer_record *record, size_t indent)
{
	size_t prefix = strlen(STATUS_CLOSED), at = indent;
	bool begun = false;
	char cell[CELL_BYTES], text[CELL_BYTES + 64];

	for (size_t i = 0; i < record->fields_n; i++) {
		const struct log_field *field = &record->fields[i];

		if (!is_counted_close(field))
			continue;
		format_cell(cell, field, COUNT);
		(void)snprintf(text, sizeof text, "%.32s %s", field->key + prefix, cell);
		if (begun && at + 2 + strlen(text) > WIDTH - 1) {
			(void)printf(",\n%*s", (int)indent, "");
			at = indent;
			begun = false;
		}
		(void)printf("%s%s", begun ? ", " : "", text);
		at += strlen(text) + (begun ? 2 : 0);
		begun = true;
	}
	(void)printf("%s\n", at == indent ? "-" : "");
}

struct label {
	char text[64];
	size_t n;
	enum form form;
};

/* "received_bytes" is a key; "received", and a number with its unit, are for people. The unit is a
 * word of the key: "s" at its end, or "bytes" behind another word. */
static struct label label_of(const char *key)
{
	struct label label = {.form = strcmp(key, "pid") == 0 ? PLAIN : COUNT};
	size_t n;

	for (const char *word = key; *word; word += n + (word[n] == '_')) {
		n = strcspn(word, "_");
		if (word != key && n == 1 && *word == 's' && !word[n]) {
			label.form = AGE;
			continue;
		}
		if (word != key && n == 5 && memcmp(word, "bytes", n) == 0) {
			label.form = BYTES;
			continue;
		}
		label.n += (size_t)snprintf(label.text + label.n, sizeof label.text - label.n,
					    "%s%.*s", label.n ? " " : "", (int)n, word);
		if (label.n >= sizeof label.text)
			break;
	}
	return label;
}

static void show_list(const struct answer_record *record)
{
	char cell[CELL_BYTES];
	bool closes = false;

	for (size_t i = 0; i < record->fields_n; i++) {
		const struct log_field *field = &record->fields[i];
		struct label label;

		if (is_close(field)) {
			closes = true;
			continue;
		}
		label = label_of(field->key);
		format_cell(cell, field, label.form);
		(void)printf("%-14s %s\n", label.text, cell);
	}
	if (closes) {
		(void)printf("%-14s ", "closed");
		show_closes(record, 15);
	}
}

static bool has_closes(const struct answer *answer)
{
	for (size_t i = 0; i < answer->n; i++)
		for (size_t j = 0; j < answer->records[i].fields_n; j++)
			if (is_counted_close(&answer->records[i].fields[j]))
				return true;
	return false;
}

/* Under the table of workers: why their connections ended, if any has. */
static void show_closes_of_each(const struct answer *answer)
{
	if (!has_closes(answer))
		return;
	(void)printf("\nWORKER  CLOSED\n");
	for (size_t i = 0; i < answer->n; i++) {
		const struct answer_record *record = &answer->records[i];
		char cell[CELL_BYTES];

		if (strcmp(record->kind, "worker") != 0)
			continue;
		format_cell(cell, answer_field(record, "worker"), PLAIN);
		(void)printf("%6s  ", cell);
		show_closes(record, 8);
	}
}

static bool is_quiet(const char *kind)
{
	return strcmp(kind, "note") == 0 || strcmp(kind, "done") == 0 ||
	       strcmp(kind, "failed") == 0;
}

static bool is_single(const char *kind)
{
	return strcmp(kind, "server") == 0 || strcmp(kind, "process") == 0 ||
	       strcmp(kind, "journal") == 0;
}

static bool has_columns(const char *kind)
{
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		if (strcmp(tables[i].kind, kind) == 0)
			return true;
	return false;
}

static bool is_first_of_kind(const struct answer *answer, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (strcmp(answer->records[i].kind, answer->records[j].kind) == 0)
			return false;
	return true;
}

void show_note(const struct answer_record *note)
{
	const struct log_field *text = answer_field(note, "text");
	char cell[CELL_BYTES];

	format_cell(cell, text, PLAIN);
	(void)printf("%s\n", cell);
	(void)fflush(stdout);
}

void show_tables(const struct answer *answer)
{
	bool begun = false;

	for (size_t i = 0; i < answer->n; i++) {
		const struct answer_record *record = &answer->records[i];
		const struct log_field *pid = answer_field(record, "pid");

		if (is_quiet(record->kind) || !is_first_of_kind(answer, i))
			continue;
		if (strcmp(record->kind, "process") == 0 && pid) {
			(void)printf("%lld\n", (long long)pid->number);
			continue;
		}
		if (begun)
			(void)printf("\n");
		begun = true;
		if (is_single(record->kind) && !has_columns(record->kind))
			show_list(record);
		else
			show_table(answer, record);
		if (strcmp(record->kind, "worker") == 0)
			show_closes_of_each(answer);
	}
}

/* ---- JSON ---- */

static void json_object(const struct answer_record *record)
{
	char text[LOG_LINE_BYTES];

	(void)log_compose(text, LOG_JSON, record->fields, record->fields_n);
	(void)printf("%s", text);
}

static void json_list(const struct answer *answer, const char *kind)
{
	bool begun = false;

	(void)printf("  \"%ss\": [", kind);
	for (size_t i = 0; i < answer->n; i++) {
		if (strcmp(answer->records[i].kind, kind) != 0)
			continue;
		(void)printf("%s\n    ", begun ? "," : "");
		json_object(&answer->records[i]);
		begun = true;
	}
	(void)printf("%s],\n", begun ? "\n  " : "");
}

static bool has_kind(const struct answer *answer, const char *kind)
{
	for (size_t i = 0; i < answer->n; i++)
		if (strcmp(answer->records[i].kind, kind) == 0)
			return true;
	return false;
}

void show_json(const struct answer *answer, const char *list, const char *why)
{
	const struct log_field fields[] = {LOG_TEXT("outcome", why ? "failed" : "done"),
					   LOG_TEXT("why", why)};
	char text[LOG_LINE_BYTES];
	size_t n;

	(void)printf("{\n");
	for (size_t i = 0; i < answer->n; i++) {
		const struct answer_record *record = &answer->records[i];

		if (strcmp(record->kind, "done") == 0 || strcmp(record->kind, "failed") == 0 ||
		    !is_first_of_kind(answer, i))
			continue;
		if (is_single(record->kind)) {
			(void)printf("  \"%s\": ", record->kind);
			json_object(record);
			(void)printf(",\n");
		} else {
			json_list(answer, record->kind);
		}
	}
	if (list && !has_kind(answer, list))
		json_list(answer, list);
	n = log_compose(text, LOG_JSON, fields, why ? 2 : 1);
	(void)printf("  %.*s\n}\n", (int)n - 2, text + 1); /* the document has the braces */
}
