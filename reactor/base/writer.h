/*
 * writer: text composed into a place that has room for it.
 *
 * Lives on the stack, for one text. Its caller makes the place as long as the longest text: one
 * that does not fit is a programmer's error (CHECK), and is never cut.
 */
#ifndef REACTOR_BASE_WRITER_H
#define REACTOR_BASE_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "reactor/base/check.h"

struct writer {
	char *at, *end;
};

static inline void writer_put(struct writer *writer, const char *bytes, size_t n)
{
	CHECK(n <= (size_t)(writer->end - writer->at));
	memcpy(writer->at, bytes, n);
	writer->at += n;
}

static inline void writer_text(struct writer *writer, const char *text)
{
	writer_put(writer, text, strlen(text));
}

static inline void writer_number(struct writer *writer, uint64_t number)
{
	char digits[20];
	size_t at = sizeof digits;

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	writer_put(writer, digits + at, sizeof digits - at);
}

#endif
