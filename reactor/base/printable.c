#include "reactor/base/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "reactor/base/utf8.h"

static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

/* Marks, embeddings, overrides and isolates of bidirectional text; U+2028 and U+2029, which end a
 * line. */
static bool misleads(uint32_t c)
{
	return c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069);
}

size_t printable_unit(char unit[PRINTABLE_UNIT_BYTES], const char *text)
{
	uint32_t character;
	size_t n = utf8_decode((const unsigned char *)text, UTF8_BYTES_MAX, &character);

	if (!n)
		character = 0xfffd;
	if (!n || is_control(character) || misleads(character)) {
		(void)snprintf(unit, PRINTABLE_UNIT_BYTES, "\\u%04x", (unsigned)character & 0xffff);
		return n ? n : 1;
	}
	memcpy(unit, text, n);
	unit[n] = '\0';
	return n;
}

char *printable_text(char *to, size_t room, const char *text)
{
	char unit[PRINTABLE_UNIT_BYTES];
	size_t n = 0;

	while (*text) {
		text += printable_unit(unit, text);
		if (n + strlen(unit) >= room)
			break;
		memcpy(to + n, unit, strlen(unit));
		n += strlen(unit);
	}
	to[n] = '\0';
	return to;
}
