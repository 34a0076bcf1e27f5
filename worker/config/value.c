#include "worker/config/value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/loop/wheel.h"

bool number_parse(const char *text, uint64_t *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return !*end && !errno;
}

/* A whole number and one of the units; a bare number only if it is 0 or units[0] is "". */
static bool scaled_parse(const char *text, const char *const *units, const uint64_t *scales,
			 uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (!*end && !*value)
		return true;
	for (; *units; units++, scales++) {
		if (strcmp(end, *units) != 0)
			continue;
		if (*value > UINT64_MAX / *scales)
			return false;
		*value *= *scales;
		return true;
	}
	return false;
}

bool size_parse(const char *text, uint64_t *bytes)
{
	static const char *const units[] = {"", "K", "M", "G", "k", "m", "g", NULL};
	static const uint64_t scales[] = {1, 1 << 10, 1 << 20, 1 << 30, 1 << 10, 1 << 20, 1 << 30};

	return scaled_parse(text, units, scales, bytes);
}

bool time_parse(const char *text, uint64_t *us)
{
	static const char *const units[] = {"us", "ms", "s", "m", "h", NULL};
	static const uint64_t scales[] = {1, 1000, 1000000, 60000000, 3600000000};

	return scaled_parse(text, units, scales, us);
}

void size_format(uint64_t bytes, char *text, size_t n)
{
	static const char units[] = {'\0', 'K', 'M', 'G'};
	int unit = 0;

	for (; unit < 3 && bytes && bytes % 1024 == 0; unit++)
		bytes /= 1024;
	(void)snprintf(text, n, "%llu%.1s", (unsigned long long)bytes, &units[unit]);
}

void time_format(uint64_t us, char *text, size_t n)
{
	static const char *const units[] = {"us", "ms", "s", "m", "h"};
	static const unsigned steps[] = {1000, 1000, 60, 60};
	int unit = 0;

	for (; us && unit < 4 && us % steps[unit] == 0; unit++)
		us /= steps[unit];
	(void)snprintf(text, n, "%llu%s", (unsigned long long)us, us ? units[unit] : "");
}

int choice_find(const char *choices, const char *word)
{
	size_t n = strlen(word);
	int place = 0;

	for (;; place++) {
		size_t length = strcspn(choices, "|");

		if (length == n && strncmp(choices, word, n) == 0)
			return place;
		if (!choices[length])
			return -1;
		choices += length + 1;
	}
}

void choice_format(const char *choices, uint64_t place, char *text, size_t n)
{
	while (place--)
		choices += strcspn(choices, "|") + 1;
	(void)snprintf(text, n, "%.*s", (int)strcspn(choices, "|"), choices);
}

#define SWITCH "off|on"

static bool choice_parse(const char *choices, const char *text, uint64_t *value)
{
	int place = choice_find(choices, text);

	*value = place < 0 ? 0 : (uint64_t)place;
	return place >= 0;
}

bool value_parse(enum setting_kind kind, const char *choices, const char *text, uint64_t *value)
{
	switch (kind) {
	case SETTING_NUMBER:
		return number_parse(text, value) && *value <= INT32_MAX;
	case SETTING_TIME:
		return time_parse(text, value) && *value / 1000 < WHEEL_MS_MAX / 2;
	case SETTING_SIZE:
		return size_parse(text, value);
	case SETTING_CHOICE:
		return choice_parse(choices, text, value);
	case SETTING_SWITCH:
		return choice_parse(SWITCH, text, value);
	case SETTING_NETWORKS:
		break;
	}
	return false;
}

void value_format(enum setting_kind kind, const char *choices, uint64_t value, char *text, size_t n)
{
	switch (kind) {
	case SETTING_NUMBER:
	case SETTING_NETWORKS:
		(void)snprintf(text, n, "%llu", (unsigned long long)value);
		break;
	case SETTING_TIME:
		time_format(value, text, n);
		break;
	case SETTING_SIZE:
		size_format(value, text, n);
		break;
	case SETTING_CHOICE:
		choice_format(choices, value, text, n);
		break;
	case SETTING_SWITCH:
		choice_format(SWITCH, value, text, n);
		break;
	}
}

const char *value_form(enum setting_kind kind, const char *choices)
{
	switch (kind) {
	case SETTING_NUMBER:
		return "a whole number";
	case SETTING_TIME:
		return "a time below 6 days with its unit, such as 500ms, 30s, 5m or 1h";
	case SETTING_SIZE:
		return "a size, such as 4096, 64K, 1M or 2G";
	case SETTING_CHOICE:
		return choices;
	case SETTING_SWITCH:
		return "on or off";
	case SETTING_NETWORKS:
		break;
	}
	return "";
}
