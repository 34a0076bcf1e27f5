/*
 * terminal: weirctl on a pseudo-terminal, and what is to be seen there.
 *
 * It knows the sequences that weirctl_screen writes, and no others: a byte that it does not know,
 * a character beyond the right edge, or a line below the last one fails the test, and so does a
 * frame that is cut by another; what a CAN ends is nothing. Only whole frames are looked at. One at
 * a time.
 */
#ifndef TESTS_SUPPORT_CLIENTS_TERMINAL_H
#define TESTS_SUPPORT_CLIENTS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define TERMINAL_COLUMNS_MAX 300
#define TERMINAL_ROWS_MAX    100

/* $TERM is xterm unless the environment says dumb. arguments: weirctl's; NULL ends them. */
void terminal_start(size_t columns, size_t rows, const char *const arguments[]);
#define TERMINAL(columns, rows, ...)                                                               \
	terminal_start(columns, rows, (const char *const[]){__VA_ARGS__, NULL})
pid_t terminal_pid(void);
void terminal_type(const char *keys);
/* Waits until it is drawn anew: text stands at the beginning of its last line. */
void terminal_resize(size_t columns, size_t rows, const char *text);
/* The next whole frame; after it, what terminal_line() says is that. */
void terminal_next(void);
/* Frames, until one has this text. */
void terminal_wait(const char *text);
void terminal_wait_not(const char *text);
bool terminal_has(const char *text);
/* From 0; with the blanks at its end. */
const char *terminal_line(size_t row);
/* The first line that begins with this, after blanks; NULL: none. */
const char *terminal_line_of(const char *begin);
/* How much of what came was no frame: a plain program's output. */
const char *terminal_plain(void);
/* Reads nothing until the terminal has no room for more. */
void terminal_neglect(void);
/* The terminal gets the modes that it had before, as a shell does while a job is stopped. */
void terminal_shell(void);
/* Its exit status; the terminal is as it was before. What it said on stderr is in_folder("err"). */
int terminal_end(void);
/* It was stopped; the terminal is as it was before. */
void terminal_wait_stopped(void);

#endif
