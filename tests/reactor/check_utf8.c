/*
 * utf8: every character there is, and every sequence of bytes that is not one, judged by the C
 * library's own decoder.
 */
#include "reactor/base/utf8.h"

#include <locale.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "tests/support/suite.h"

static bool is_surrogate(uint32_t character)
{
	return character >= 0xd800 && character <= 0xdfff;
}

/* Decodes bytes at the end of memory of their own, so that a sanitizer notices reads past them. */
static size_t decode_own(const char *bytes, size_t n, uint32_t *character)
{
	char *own = memcpy(malloc(n), bytes, n);
	size_t length = utf8_decode((const unsigned char *)own, n, character);

	free(own);
	return length;
}

START_TEST(every_character_comes_back)
{
	for (uint32_t c = 0; c <= 0x10ffff; c++) {
		char bytes[UTF8_BYTES_MAX];
		size_t n = utf8_encode(bytes, c);
		uint32_t decoded = UINT32_MAX;

		if (decode_own(bytes, n, &decoded) != (is_surrogate(c) ? 0 : n))
			ck_abort_msg("U+%04X: %zu bytes", (unsigned)c, n);
		if (!is_surrogate(c) && decoded != c)
			ck_abort_msg("U+%04X comes back as U+%04X", (unsigned)c, (unsigned)decoded);
		for (size_t part = 1; part < n; part++)
			if (decode_own(bytes, part, &decoded))
				ck_abort_msg("U+%04X, cut to %zu bytes", (unsigned)c, part);
	}
}
END_TEST

static void judge(const unsigned char *bytes, size_t n)
{
	mbstate_t state = {0};
	wchar_t c = 0;
	size_t expected = mbrtowc(&c, (const char *)bytes, n, &state), length;
	uint32_t character = 0;

	if (expected > 4 || (uint32_t)c > 0x10ffff || is_surrogate((uint32_t)c))
		expected = 0;
	else if (!expected)
		expected = 1; /* it is a NUL */
	length = utf8_decode(bytes, n, &character);
	if (length != expected || (length && character != (uint32_t)c))
		ck_abort_msg("%02x %02x %02x %02x: %zu bytes in place of %zu", bytes[0], bytes[1],
			     bytes[2], bytes[3], length, expected);
}

START_TEST(every_sequence_of_bytes)
{
	static const unsigned char last[] = {0, 0x7f, 0x80, 0xbf, 0xc0, 0xff};

	ck_assert_msg(setlocale(LC_CTYPE, "C.UTF-8"), "there is no locale C.UTF-8");
	for (uint32_t three = 0; three < 1u << 24; three++) {
		unsigned char bytes[4] = {(unsigned char)(three >> 16), (unsigned char)(three >> 8),
					  (unsigned char)three};

		if (bytes[0] < 0xc0 &&
		    (three & 0xffff) > 0xff) /* a one-byte sequence: few are enough */
			continue;
		if (bytes[0] < 0xf0) {
			judge(bytes, 3);
			continue;
		}
		for (size_t i = 0; i < sizeof last; i++) {
			bytes[3] = last[i];
			judge(bytes, 4);
		}
	}
}
END_TEST

/* If a text ends with a NUL, n may be the length of the longest character, even beyond that end. */
START_TEST(a_nul_ends_what_is_looked_at)
{
	static const char *const cut[] = {"", "\xc3", "\xe2\x80", "\xf0\x9f\x98"};

	for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
		unsigned char *own = (unsigned char *)strdup(cut[i]);
		uint32_t character = 1;

		ck_assert_uint_eq(utf8_decode(own, UTF8_BYTES_MAX, &character), *own ? 0 : 1);
		free(own);
	}
}
END_TEST

SUITE("utf8", {"every character comes back", every_character_comes_back, 20},
      {"every sequence of bytes", every_sequence_of_bytes, 60},
      {"a NUL ends what is looked at", a_nul_ends_what_is_looked_at, 10})
