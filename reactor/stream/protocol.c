#include "reactor/stream/protocol.h"

#include <ctype.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/stats.h"
#include "reactor/stream/framing.h"

static const struct setting *settings[SETTINGS_MAX];
static size_t settings_n;
static bool has_networks;

/* Metrics, weirctl, JSON and shells take such names as they are. */
static void check_name(const char *name, size_t max, char between)
{
	size_t n = strlen(name);
	bool good = n && n <= max && islower((unsigned char)*name);

	for (size_t i = 0; good && i < n; i++)
		good = islower((unsigned char)name[i]) || isdigit((unsigned char)name[i]) ||
		       name[i] == between;
	if (!good)
		die("a protocol's table: %s is no name of at most %zu lower-case letters, "
		    "digits and %c",
		    name, max, between);
}

bool setting_allows(const struct setting *setting, uint64_t value)
{
	if (setting->kind == SETTING_CHOICE || setting->kind == SETTING_SWITCH)
		return true; /* as many as there are words */
	return value >= setting->min && value <= setting->max;
}

static uint8_t setting_number(const struct setting *setting)
{
	size_t i = 0;

	while (i < settings_n && strcmp(settings[i]->name, setting->name) != 0)
		i++;
	if (i == SETTINGS_MAX)
		die("setting %s: there are too many", setting->name);
	if (i == settings_n) {
		if (setting->kind == SETTING_NETWORKS && has_networks)
			die("setting %s: a listener has room for one list of networks",
			    setting->name);
		has_networks |= setting->kind == SETTING_NETWORKS;
		settings[settings_n++] = setting;
	}
	if (settings[i]->kind != setting->kind)
		die("setting %s: another protocol has one of another kind", setting->name);
	return (uint8_t)i;
}

/* Returns how many settings there are. */
static size_t register_rows(struct setting *settings_of_it, struct reason *reasons,
			    struct counter *counters)
{
	size_t n = 0;

	for (struct setting *row = settings_of_it; row && row->name; row++, n++) {
		check_name(row->name, PROTOCOL_NAME_MAX, '-');
		row->number = setting_number(row);
	}
	for (struct reason *row = reasons; row && row->name; row++) {
		check_name(row->name, PROTOCOL_NAME_MAX, '_');
		row->number = (uint8_t)stats_add_reason(row->name, row->text);
	}
	for (struct counter *row = counters; row && row->name; row++) {
		check_name(row->name, PROTOCOL_NAME_MAX, '_');
		check_name(row->metric, PROTOCOL_METRIC_MAX, '_');
		row->number = (uint8_t)stats_add_counter(row->name, row->metric, row->text);
	}
	return n;
}

static void require(const struct protocol *protocol, bool good, const char *rule)
{
	if (!good)
		die("protocol %s: %s", protocol->name, rule);
}

static void register_one(const struct protocol *protocol)
{
	const struct framing *framing = protocol->framing;
	size_t settings_here, state_bytes = protocol->state_bytes;

	check_name(protocol->name, PROTOCOL_NAME_MAX, '-');
	settings_here = register_rows(protocol->settings, protocol->reasons, protocol->counters);
	require(protocol, !protocol->message || (framing && framing->cut && protocol->input),
		"one with message() has a framing with cut(), and an input()");
	if (framing) {
		settings_here +=
		    register_rows(framing->settings, framing->reasons, framing->counters);
		state_bytes += framing->state_bytes;
	}
	require(protocol, state_bytes <= CONN_STATE_BYTES, "its state is too large");
	require(protocol, settings_here <= PROTOCOL_SETTINGS_MAX, "it has too many settings");
}

void protocol_register(const struct protocol *protocol)
{
	const struct protocol *reached[PROTOCOL_REACHED_MAX];
	size_t n = protocol_reached(protocol, reached);

	for (size_t i = 0; i < n; i++)
		register_one(reached[i]);
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

static size_t add_reached(const struct protocol *protocol, const struct protocol **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == protocol)
			return n;
	CHECK(n < PROTOCOL_REACHED_MAX);
	list[n++] = protocol;
	for (size_t i = 0; protocol->turns_into && protocol->turns_into[i]; i++)
		n = add_reached(protocol->turns_into[i], list, n);
	return n;
}

size_t protocol_reached(const struct protocol *protocol,
			const struct protocol *list[PROTOCOL_REACHED_MAX])
{
	return add_reached(protocol, list, 0);
}

const struct setting *setting_at(size_t number)
{
	return number < settings_n ? settings[number] : NULL;
}
