/*
 * answer: a server's answer, line by line, as records.
 *
 * A record is a kind and fields, numbers or texts, as weirctl(8) says them. An answer keeps
 * its records, and their bytes, until it is cleared. What is not of that form is refused;
 * a kind or a key that nobody knows is not.
 */
#ifndef MASTER_WEIRCTL_ANSWER_H
#define MASTER_WEIRCTL_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "reactor/base/log.h"

#define ANSWER_LINE_BYTES (16 << 10)
#define ANSWER_FIELDS_MAX 256

struct answer_record {
	const char *kind;
	struct log_field *fields;
	size_t fields_n;
	char *line; /* where all these texts lie */
};

struct answer {
	struct answer_record *records;
	size_t n;
};

/* Adds the record that a line, without its newline, holds. NULL: it is no record; else good until
 * the next one. */
const struct answer_record *answer_line(struct answer *answer, const char *line);
/* NULL: it has no such field. */
const struct log_field *answer_field(const struct answer_record *record, const char *key);
/* The first record of a kind; NULL: there is none. */
const struct answer_record *answer_first(const struct answer *answer, const char *kind);
void answer_clear(struct answer *answer);

#endif
