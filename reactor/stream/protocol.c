#include "reactor/stream/protocol.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/stats.h"

static const struct setting *settings[SETTINGS_MAX];
static size_t settings_n;

static uint8_t setting_number(const struct setting *setting)
{
	size_t i = 0;

	while (i < settings_n && strcmp(settings[i]->name, setting->name) != 0)
		i++;
	CHECK(i < SETTINGS_MAX);
	if (i == settings_n)
		settings[settings_n++] = setting;
	CHECK(settings[i]->kind == setting->kind && strlen(setting->name) <= SETTING_NAME_MAX);
	return (uint8_t)i;
}

void protocol_register(const struct protocol *protocol)
{
	size_t n = 0;

	for (struct setting *row = protocol->settings; row && row->name; row++, n++)
		row->number = setting_number(row);
	CHECK(n <= PROTOCOL_SETTINGS_MAX);
	for (struct reason *row = protocol->reasons; row && row->name; row++)
		row->number = (uint8_t)stats_add_reason(row->name, row->text);
	for (struct counter *row = protocol->counters; row && row->name; row++)
		row->number = (uint8_t)stats_add_counter(row->name, row->metric, row->text);
}

const struct setting *protocol_setting(const struct protocol *protocol, const char *name)
{
	for (const struct setting *row = protocol->settings; row && row->name; row++)
		if (strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

const struct setting *setting_at(size_t number)
{
	return number < settings_n ? settings[number] : NULL;
}
