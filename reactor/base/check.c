#include "reactor/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "reactor/base/log.h"

static void (*check_told)(const char *words);

/* Repetitions are written at once, because there is no later. */
static void log_last(const char *message, const struct log_field *fields, size_t n)
{
	log_write(LOG_ERROR, message, fields, n);
	log_tell_repeats(UINT64_MAX);
}

void check_witness(void (*witness)(const char *words))
{
	check_told = witness;
}

bool check_last_words(const char *words)
{
	if (check_told)
		check_told(words);
	return check_told != NULL;
}

_Noreturn void check_failed(const char *file, int line, const char *function, const char *condition)
{
	char words[256];

	(void)snprintf(words, sizeof words, "%s:%d: %s: CHECK(%s) does not hold", file, line,
		       function, condition);
	if (check_told)
		check_told(words);
	log_last("check failed", &LOG_TEXT("words", words), 1);
	abort();
}

_Noreturn void die(const char *format, ...)
{
	char words[512];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof words, format, arguments);
	va_end(arguments);
	if (check_told)
		check_told(words);
	log_last(words, NULL, 0);
	exit(1);
}
