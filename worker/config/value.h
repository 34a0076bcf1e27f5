/*
 * value: numbers, sizes, times and choices as an operator writes them, and the other way round.
 *
 * A number is decimal digits; a size may have a unit (K, M, G, powers of 1024), a time has to have
 * one (us ms s m h) unless it is 0, and is at most some 6 days. A choice is a word of a list
 * "a|b|c", and kept as its place there. Nothing else may stand in the text. If a parser returns
 * false, what it wrote must not be used.
 */
#ifndef WORKER_CONFIG_VALUE_H
#define WORKER_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/stream/protocol.h"

bool number_parse(const char *text, uint64_t *number);
bool size_parse(const char *text, uint64_t *bytes);
bool time_parse(const char *text, uint64_t *us);
/* The place of the word, from 0 on; -1: it is not there. */
int choice_find(const char *choices, const char *word);

/* With the largest unit that leaves a whole number. Room for 24 bytes is enough. */
void size_format(uint64_t bytes, char *text, size_t n);
void time_format(uint64_t us, char *text, size_t n);
void choice_format(const char *choices, uint64_t place, char *text, size_t n);

/* The same of any kind but networks; choices: those of a CHOICE. */
bool value_parse(enum setting_kind kind, const char *choices, const char *text, uint64_t *value);
void value_format(enum setting_kind kind, const char *choices, uint64_t value, char *text,
		  size_t n);
/* What value_parse() takes, in words. */
const char *value_form(enum setting_kind kind, const char *choices);

#endif
