/*
 * utf8: the characters of a text, as RFC 3629 defines them.
 *
 * Overlong forms, surrogates, and what lies above U+10FFFF are no characters, nor is one that is
 * cut short: a reader that meets such a byte skips it alone, and goes on with the next one.
 */
#ifndef REACTOR_BASE_UTF8_H
#define REACTOR_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_BYTES_MAX 4 /* of one character */

/* The length of the character of several bytes with which these n bytes begin; 0: there is none.
 * Never reads past a byte that can't belong to it: in a text that ends with a NUL, n may be
 * UTF8_BYTES_MAX. */
static inline size_t utf8_decode_several(const unsigned char *bytes, size_t n, uint32_t *character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = *bytes < 0xc2	? 0
			: *bytes < 0xe0 ? 2
			: *bytes < 0xf0 ? 3
			: *bytes < 0xf5 ? 4
					: 0;

	if (!length || length > n)
		return 0;
	*character = *bytes & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		*character = *character << 6 | (bytes[i] & 0x3f);
	}
	if (*character < least[length] || *character > 0x10ffff ||
	    (*character >= 0xd800 && *character <= 0xdfff))
		return 0;
	return length;
}

/* The same for any character, also one of a single byte. */
static inline size_t utf8_decode(const unsigned char *bytes, size_t n, uint32_t *character)
{
	*character = *bytes;
	return *character < 0x80 ? 1 : utf8_decode_several(bytes, n, character);
}

/* A character up to U+10FFFF. Returns how many bytes it took. */
static inline size_t utf8_encode(char bytes[UTF8_BYTES_MAX], uint32_t character)
{
	static const unsigned char heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t n = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;

	for (size_t i = n; i-- > 1; character >>= 6)
		bytes[i] = (char)(0x80 | (character & 0x3f));
	bytes[0] = (char)(heads[n] | character);
	return n;
}

#endif
