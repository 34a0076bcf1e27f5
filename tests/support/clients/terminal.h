/*
 * terminal: weirctl on a pseudo-terminal, and what can be seen there.
 *
 * It knows only the sequences that weirctl_screen writes: an unknown byte, a character beyond the
 * right edge, a line below the last one, or a frame that is cut off by another one fails the test.
 * A frame that ends in CAN is ignored. Only whole frames are looked at. One terminal at a time.
 */
#ifndef TESTS_SUPPORT_CLIENTS_TERMINAL_H
#define TESTS_SUPPORT_CLIENTS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define TERMINAL_COLUMNS_MAX 300
#define TERMINAL_ROWS_MAX    100

/* $TERM is xterm, unless it is dumb in the environment. arguments: weirctl's, ended by NULL. */
void terminal_start(size_t columns, size_t rows, const char *const arguments[]);
#define TERMINAL(columns, rows, ...)                                                               \
	terminal_start(columns, rows, (const char *const[]){__VA_ARGS__, NULL})
pid_t terminal_pid(void);
void terminal_type(const char *keys);
/* Waits until the screen is redrawn, with text at the beginning of its last line. */
void terminal_resize(size_t columns, size_t rows, const char *text);
/* Waits for the next whole frame, which terminal_line() then reads. */
void terminal_next(void);
/* Waits for a frame that has this text. */
void terminal_wait(const char *text);
void terminal_wait_not(const char *text);
bool terminal_has(const char *text);
/* A line of the last frame, counted from 0, with the blanks at its end. */
const char *terminal_line(size_t row);
/* The first line that begins with this text, leading blanks aside; NULL: there is none. */
const char *terminal_line_of(const char *begin);
/* All output outside of frames: that of a plain program. */
const char *terminal_plain(void);
/* Reads nothing until the terminal has no room for more. */
void terminal_neglect(void);
/* Sets the terminal's modes back to what they were before, as a shell does while a job is stopped.
 */
void terminal_shell(void);
/* Waits for weirctl's end, and checks that the terminal is as it was before. Returns the exit
 * status; in_folder("err") has what weirctl said on stderr. */
int terminal_end(void);
/* Waits until weirctl is stopped, and checks that the terminal is as it was before. */
void terminal_wait_stopped(void);

#endif
