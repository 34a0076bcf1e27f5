/*
 * printable: what others said, in a form that is safe on a terminal.
 *
 * A control character (C0, DEL, C1), one that turns the direction of what follows, and one that
 * ends a line become \uXXXX, as JSON has it; a byte that is not UTF-8 becomes \ufffd. All else
 * stays. Whatever a peer or a file's name says goes through here before people read it, in the log,
 * weirctl and weirload.
 */
#ifndef REACTOR_BASE_PRINTABLE_H
#define REACTOR_BASE_PRINTABLE_H

#include <stddef.h>

#define PRINTABLE_UNIT_BYTES 8 /* of one character, with the NUL */

/* The first character of text, which is not empty, as it may be shown. Returns how many bytes of
 * text it took. */
size_t printable_unit(char unit[PRINTABLE_UNIT_BYTES], const char *text);
/* All of text, cut between characters if there is no room. Returns to. */
char *printable_text(char *to, size_t room, const char *text);

#endif
