#include "master/weirctl/cell.h"

#include <stdio.h>
#include <string.h>

#include "reactor/base/printable.h"

static const char units[] = "KMGTPE";

void cell_scaled(char cell[CELL_BYTES], double value, double step)
{
	size_t unit = 0;

	for (value /= step; value >= step - 0.05 && units[unit + 1]; unit++)
		value /= step;
	(void)snprintf(cell, CELL_BYTES, "%.1f%c", value, units[unit]);
}

void cell_short(char cell[CELL_BYTES], double value, double step, int room)
{
	bool whole = value >= 9.95 || (value - (double)(int64_t)value) * 20 < 1;
	double most = room == 4 ? 9999.5 : 99999.5;
	size_t unit = 0;

	if (value < most && (step == 1000 || value < 9999.5)) {
		(void)snprintf(cell, CELL_BYTES, whole ? "%.0f" : "%.1f", value);
		return;
	}
	/* 999.9K would be 1000K; four digits and a unit are what there may be. */
	for (value /= step; value >= (room == 4 ? 999.5 : step - 0.5) && units[unit + 1]; unit++)
		value /= step;
	(void)snprintf(cell, CELL_BYTES, value < (room == 4 ? 9.95 : 99.95) ? "%.1f%c" : "%.0f%c",
		       value, units[unit]);
}

void cell_age(char cell[CELL_BYTES], int64_t seconds)
{
	long long s = seconds;

	if (s < 60)
		(void)snprintf(cell, CELL_BYTES, "%llds", s);
	else if (s < 3600)
		(void)snprintf(cell, CELL_BYTES, "%lldm%02llds", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(cell, CELL_BYTES, "%lldh%02lldm", s / 3600, s / 60 % 60);
	else
		(void)snprintf(cell, CELL_BYTES, "%lldd%02lldh", s / 86400, s / 3600 % 24);
}

void cell_lag(char cell[CELL_BYTES], double seconds)
{
	static const struct {
		double scale;
		char unit;
	} steps[] = {{1e6, 'u'}, {1e3, 'm'}, {1, 's'}};
	size_t i = 0;

	while (i < 2 && seconds * steps[i].scale >= 999.5)
		i++;
	seconds *= steps[i].scale;
	(void)snprintf(cell, CELL_BYTES, i && seconds < 9.95 ? "%.1f%c" : "%.0f%c", seconds,
		       steps[i].unit);
}

void cell_text(char cell[CELL_BYTES], const char *text)
{
	(void)printable_text(cell, CELL_BYTES, text);
}

void cell_ascii(char cell[CELL_BYTES], const char *text)
{
	size_t n = 0;

	for (; *text && n < CELL_BYTES - 1; text++)
		cell[n++] = *text < ' ' || *text > '~' ? '?' : *text;
	cell[n] = '\0';
}
