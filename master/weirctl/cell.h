/*
 * cell: numbers and texts as weirctl's tables show them.
 */
#ifndef MASTER_WEIRCTL_CELL_H
#define MASTER_WEIRCTL_CELL_H

#include "reactor/base/log.h"

#define CELL_BYTES (LOG_LINE_BYTES + 1)
#define CELL_SHORT 5 /* characters that cell_short() needs at most */

/* With a unit and one decimal: "12.3K". step: 1000 or 1024. */
void cell_scaled(char cell[CELL_BYTES], double value, double step);
/* As it is if that has room (4 characters or 5), with one decimal if it is below 10 and not whole;
 * else with a unit. */
void cell_short(char cell[CELL_BYTES], double value, double step, int room);
/* "42s", "3m05s", "2h10m", "4d07h" */
void cell_age(char cell[CELL_BYTES], int64_t seconds);
/* "16u", "8.2m", "1.0s"; at most four characters. */
void cell_lag(char cell[CELL_BYTES], double seconds);
/* Made safe for a terminal (printable.h). */
void cell_text(char cell[CELL_BYTES], const char *text);
/* What is not printable ASCII becomes "?", so that each character is one column. */
void cell_ascii(char cell[CELL_BYTES], const char *text);

#endif
