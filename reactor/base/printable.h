/*
 * printable: what others said, as a terminal may get it.
 *
 * A control character (C0, DEL, C1), one that turns the direction of what follows, and one that
 * ends a line become \uXXXX, as JSON has it; a byte that is no UTF-8 becomes \ufffd. All else
 * stays. Whatever a peer or a file's name says goes through here before people read it: the log,
 * weirctl and weirload.
 */
#ifndef REACTOR_BASE_PRINTABLE_H
#define REACTOR_BASE_PRINTABLE_H

#include <stddef.h>

#define PRINTABLE_UNIT_BYTES 8 /* of one character, with the NUL */

/* The character at text, which is not at its end, as it may be shown. Returns how many bytes of
 * text it is. */
size_t printable_unit(char unit[PRINTABLE_UNIT_BYTES], const char *text);
/* All of text; what has no room is cut between characters. Returns to. */
char *printable_text(char *to, size_t room, const char *text);

#endif
