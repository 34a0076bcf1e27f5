/*
 * screen: the terminal, and the signals that have to do with it, while a table is on it.
 *
 * One at a time in a process; from open to close the alternate screen is shown, keys come one by
 * one, and signals come as events. A frame is one write, and only what a terminal that does not
 * read has no room for waits: nothing here blocks. However the program ends, but by a crash or
 * SIGKILL, the terminal is as it was.
 */
#ifndef MASTER_WEIRCTL_SCREEN_H
#define MASTER_WEIRCTL_SCREEN_H

#include "master/weirctl/frame.h"

enum screen_event {
	SCREEN_NOTHING, /* the time is over, or the other descriptor has something */
	SCREEN_KEY,
	SCREEN_REDRAW, /* it has another size, or was somebody else's meanwhile */
	SCREEN_END,    /* a signal to end, or the terminal has gone */
};

/* Keys that are more than a character. */
enum screen_key { KEY_UP = 256, KEY_DOWN, KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_HOME, KEY_END };

/* Can stdout show a live table? */
bool screen_is_possible(void);
void screen_open(void);
/* May be called in any state. */
void screen_close(void);
void screen_size(size_t *columns, size_t *rows);
/* False: the last one is not out yet, and this one was left out. */
bool screen_draw(const struct frame *frame);
/* Waits for one event, for other (-1: none) to be readable, or until ms have gone by. */
enum screen_event screen_wait(int other, int ms, int *key);

#endif
