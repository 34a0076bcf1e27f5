#include "reactor/stream/protocol.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/stats.h"
#include "reactor/stream/framing.h"

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

/* Returns how many settings there are. */
static size_t register_rows(struct setting *settings_of_it, struct reason *reasons,
			    struct counter *counters)
{
	size_t n = 0;

	for (struct setting *row = settings_of_it; row && row->name; row++, n++)
		row->number = setting_number(row);
	for (struct reason *row = reasons; row && row->name; row++)
		row->number = (uint8_t)stats_add_reason(row->name, row->text);
	for (struct counter *row = counters; row && row->name; row++)
		row->number = (uint8_t)stats_add_counter(row->name, row->metric, row->text);
	return n;
}

void protocol_register(const struct protocol *protocol)
{
	const struct framing *framing = protocol->framing;
	size_t n = register_rows(protocol->settings, protocol->reasons, protocol->counters);

	CHECK(!protocol->message || (framing && framing->cut && protocol->input));
	if (framing) {
		n += register_rows(framing->settings, framing->reasons, framing->counters);
		CHECK(protocol->state_bytes + framing->state_bytes <= CONN_STATE_BYTES);
	}
	CHECK(n <= PROTOCOL_SETTINGS_MAX);
}

uint16_t protocol_state_bytes(const struct protocol *protocol)
{
	unsigned framing = protocol->framing ? protocol->framing->state_bytes : 0;

	return (uint16_t)(protocol->state_bytes + (framing << 8));
}

uint16_t protocol_state_version(const struct protocol *protocol)
{
	unsigned framing = protocol->framing ? protocol->framing->state_version : 0;

	return (uint16_t)(protocol->state_version + (framing << 8));
}

const struct setting *protocol_setting(const struct protocol *protocol, const char *name)
{
	const struct setting *of_framing = protocol->framing ? protocol->framing->settings : NULL;

	for (const struct setting *row = protocol->settings; row && row->name; row++)
		if (strcmp(row->name, name) == 0)
			return row;
	for (const struct setting *row = of_framing; row && row->name; row++)
		if (strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

const struct setting *setting_at(size_t number)
{
	return number < settings_n ? settings[number] : NULL;
}
