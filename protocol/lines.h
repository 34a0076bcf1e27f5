/*
 * lines: what protocols of lines have in common, as rows of their tables: the limit of a line,
 * without its \n, which may be at most `most` bytes, and why one above it closes a connection.
 */
#ifndef PROTOCOL_LINES_H
#define PROTOCOL_LINES_H

#define LINES_MAX_LINE(most)                                                                       \
	SETTING(SIZE, "max-line", "64K", "SIZE", 1, most, "the longest line, without its \\n")
#define LINES_TOO_LONG REASON("line_too_long", "a line above max-line")

#endif
