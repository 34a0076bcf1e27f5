/*
 * printable: no character that controls a terminal gets through, whatever is beside it, and
 * no other one is changed.
 */
#include "reactor/base/printable.h"
#include "reactor/base/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/suite.h"

static bool rules(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Each text is at the end of memory of its own, so that a sanitizer notices reads past its end. */
START_TEST(every_character_is_itself_or_escaped)
{
	for (uint32_t c = 1; c <= 0x10ffff; c++) {
		char text[8], unit[PRINTABLE_UNIT_BYTES], expected[8], *own;
		size_t n, taken;

		if (c >= 0xd800 && c < 0xe000)
			continue;
		n = utf8_encode(text, c);
		text[n] = '\0';
		own = memcpy(malloc(n + 1), text, n + 1);
		taken = printable_unit(unit, own);
		free(own);
		if (rules(c))
			(void)snprintf(expected, sizeof expected, "\\u%04x", (unsigned)c & 0xffff);
		else
			(void)memcpy(expected, text, n + 1);
		if (taken != n || strcmp(unit, expected) != 0)
			ck_abort_msg("U+%04X: %zu bytes, \"%s\"", (unsigned)c, taken, unit);
	}
}
END_TEST

START_TEST(what_is_no_utf8_is_a_byte)
{
	static const char *const bad[] = {"\x80",
					  "\xff",
					  "\xc0\xaf",
					  "\xe0\x80\x9b",
					  "\xed\xa0\x80",
					  "\xf4\x90\x80\x80",
					  "\xf8\x88\x80\x80",
					  "\xc3",
					  "\xe2\x80",
					  "\xe2\x80\xc3"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char unit[PRINTABLE_UNIT_BYTES], *own = strdup(bad[i]);

		ck_assert_uint_eq(printable_unit(unit, own), 1);
		ck_assert_str_eq(unit, "\\ufffd");
		free(own);
	}
}
END_TEST

START_TEST(text_is_cut_between_characters)
{
	static const char text[] = "a\x1b[2J\xc3\xa4\xe2\x80\xae\xff!";
	static const char whole[] = "a\\u001b[2J\xc3\xa4\\u202e\\ufffd!";
	char to[sizeof whole + 4];

	ck_assert_str_eq(printable_text(to, sizeof to, text), whole);
	for (size_t room = 1; room <= sizeof whole; room++) {
		size_t n;

		memset(to, '#', sizeof to);
		n = strlen(printable_text(to, room, text));
		ck_assert_uint_lt(n, room);
		ck_assert_mem_eq(to, whole, n);
		ck_assert_int_eq(to[n + 1], '#');
		/* If there is no room for a whole escape, or a whole character, it is left out. */
		ck_assert(n < 2 || strrchr(to, '\\') == NULL || strlen(strrchr(to, '\\')) >= 6);
		ck_assert(!n || (unsigned char)to[n - 1] != 0xc3);
	}
}
END_TEST

SUITE("printable",
      {"every character is itself or escaped", every_character_is_itself_or_escaped, 20},
      {"what is no UTF-8 is a byte", what_is_no_utf8_is_a_byte, 10},
      {"text is cut between characters", text_is_cut_between_characters, 10})
