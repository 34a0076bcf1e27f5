#include "worker/config/config.h"

#include <stdio.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/pubsub/journal.h"
#include "reactor/pubsub/delivery.h"
#include "reactor/stream/queue.h"
#include "worker/config/endpoint_keys.h"

/* Names the protocols that have it, and those that take less than others. */
static void describe_setting(const struct setting *setting, char *text, size_t n)
{
	size_t at =
	    (size_t)snprintf(text, n, "%s; also `?%s=` of one", setting->meaning, setting->name);
	char less[128] = "", size[32];
	bool first = true;

	for (const struct protocol *const *p = protocols; *p; p++) {
		const struct setting *own = endpoint_setting_of(*p, setting->name);

		if (!own)
			continue;
		at +=
		    (size_t)snprintf(text + at, n - at, "%s `%s`", first ? "" : " or", (*p)->name);
		first = false;
		value_format(setting->kind, setting->argument, own->max, size, sizeof size);
		if (own->max < setting->max)
			(void)snprintf(less, sizeof less, "; `%s` takes at most %s", (*p)->name,
				       size);
		CHECK(at < n);
	}
	at += (size_t)snprintf(text + at, n - at, " listener%s", less);
	CHECK(at < n);
}

const struct option_row *config_rows(void)
{
	static char meanings[SETTINGS_MAX][512];
	static struct option_row rows[OPTION_ROWS_MAX + 1] = {
#define OPTION(kind, field, name, letter, value, argument, meaning)                                \
	{OPTION_##kind, offsetof(struct config, field), name, letter, value, argument, meaning,    \
	 NULL},
#include "worker/config/config.def"
#undef OPTION
	};
	static bool complete;
	const struct setting *setting;
	size_t n = 0;

	if (complete)
		return rows;
	complete = true;
	protocols_register();
	while (rows[n].name)
		n++;
	for (size_t i = 0; (setting = setting_at(i)); i++) {
		if (!setting->argument)
			continue;
		CHECK(n < OPTION_ROWS_MAX);
		describe_setting(setting, meanings[i], sizeof meanings[i]);
		rows[n++] =
		    (struct option_row){(enum option_kind)setting->kind,
					offsetof(struct config, settings) + i * sizeof(uint64_t),
					setting->name,
					0,
					setting->value,
					setting->argument,
					meanings[i],
					setting};
	}
	return rows;
}

const char *const config_default_listeners[] = {
    "echo://127.0.0.1:7878",  "echo+udp://127.0.0.1:7878",
    "line://127.0.0.1:12345", "increment://127.0.0.1:9090",
    "frame://127.0.0.1:7879", "chat://127.0.0.1:9000",
    "http://127.0.0.1:8080",  NULL,
};

/* Descriptors of a worker that are not connections: standard ones, epoll, signals, channel, log,
 * and room for a batch that the master, or another worker, passes. To them come two for each
 * listener (its socket, and a spare), and for each worker one that moves connections here, and with
 * topics its doorbell. */
#define DESCRIPTORS_RESERVED 96

static uint64_t descriptors_reserved(const struct config *config)
{
	return DESCRIPTORS_RESERVED + 2 * config->listeners_n +
	       config->workers * (config_has_topic(config) ? 2 : 1);
}

/* ---- rows ---- */

static void *field_of(const struct config *config, const struct option_row *row)
{
	return (char *)(uintptr_t)config + row->offset;
}

const struct option_row *config_find(const char *name)
{
	EACH_OPTION (row)
		if (strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

/* Insertions, deletions and replacements that make b of a (Levenshtein, 1965). */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], n = strlen(b);

	if (n >= 64)
		return n;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; *a; a++, i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (*a != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const char *config_nearest(const char *name, bool key)
{
	const char *nearest = NULL;
	size_t least = strlen(name) / 3 + 2;

	if (key && distance(name, "listen") < least) {
		nearest = "listen";
		least = distance(name, nearest);
	}
	EACH_OPTION (row) {
		size_t d = distance(name, row->name);

		if (d < least && !(key && row->kind == OPTION_ACTION)) {
			least = d;
			nearest = row->name;
		}
	}
	return nearest;
}

/* Rows whose values have narrower limits than their kind. */
static const struct range {
	const char *name;
	uint64_t min, max;
	const char *form;
} ranges[] = {
    {"workers", 1, WORKERS_MAX, "from 1 to 256, or auto"},
    {"max-connections", 1, INT32_MAX, "at least 1, or auto"},
    {"backlog", 1, INT32_MAX, "at least 1"},
    {"high-water", 1, 1u << 30, "from 1 to 1G"},
    {"low-water", 0, 1u << 30, "at most 1G"},
    {"buffers", BUFFERS_MIN, 1ULL << 40, "from 1M to 1024G"},
    {"slow-consumer", 1, 1u << 30, "from 1 to 1G"},
    {"history", JOURNAL_HISTORY_MIN, JOURNAL_HISTORY_MAX, "from 1M to 16G"},
    {"max-topics", 1, INT32_MAX, "at least 1"},
    {"max-subscriptions", 1, INT32_MAX, "at least 1"},
};

static bool setting_in_range(const struct option_row *row, uint64_t number, const char *value,
			     char error[CONFIG_ERROR_BYTES])
{
	const struct setting *setting = row->setting;
	char min[32], max[32];

	if (setting_allows(setting, number))
		return true;
	value_format(setting->kind, row->argument, setting->min, min, sizeof min);
	value_format(setting->kind, row->argument, setting->max, max, sizeof max);
	(void)snprintf(error, CONFIG_ERROR_BYTES, "is from %s to %s, not \"%s\"", min, max, value);
	return false;
}

static bool in_range(const struct option_row *row, uint64_t number, const char *value,
		     char error[CONFIG_ERROR_BYTES])
{
	if (row->setting)
		return setting_in_range(row, number, value, error);
	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
		if (strcmp(row->name, ranges[i].name) != 0 ||
		    (number >= ranges[i].min && number <= ranges[i].max))
			continue;
		(void)snprintf(error, CONFIG_ERROR_BYTES, "is %s, not \"%s\"", ranges[i].form,
			       value);
		return false;
	}
	return true;
}

/* May it be left to weir? Then its value is 0. */
static bool may_be_auto(const struct option_row *row)
{
	return row->kind == OPTION_NUMBER && strstr(row->argument, "auto");
}

bool config_set(struct config *config, const struct option_row *row, const char *value,
		char error[CONFIG_ERROR_BYTES])
{
	enum setting_kind kind = (enum setting_kind)row->kind;
	uint64_t *number = field_of(config, row);

	if (row->kind == OPTION_TEXT) {
		*(const char **)field_of(config, row) = value;
		return true;
	}
	if (may_be_auto(row) && strcmp(value, "auto") == 0) {
		*number = 0;
		return true;
	}
	if (row->kind != OPTION_ACTION && value_parse(kind, row->argument, value, number))
		return in_range(row, *number, value, error);
	(void)snprintf(error, CONFIG_ERROR_BYTES, "takes %s%s, not \"%s\"",
		       value_form(kind, row->argument), may_be_auto(row) ? " or auto" : "", value);
	return false;
}

void config_text(const struct config *config, const struct option_row *row, char *text, size_t n)
{
	const uint64_t *number = field_of(config, row);
	const char *value;

	switch (row->kind) {
	case OPTION_ACTION:
		*text = '\0';
		break;
	case OPTION_TEXT:
		value = *(const char *const *)field_of(config, row);
		(void)snprintf(text, n, "%s", value ? value : "");
		break;
	default:
		if (!*number && may_be_auto(row))
			(void)snprintf(text, n, "auto");
		else
			value_format((enum setting_kind)row->kind, row->argument, *number, text, n);
	}
}

void config_defaults(struct config *config)
{
	char unused[CONFIG_ERROR_BYTES];
	const struct setting *setting;

	memset(config, 0, sizeof *config);
	EACH_OPTION (row)
		if (row->value)
			(void)config_set(config, row, row->value, unused);
	for (size_t i = 0; (setting = setting_at(i)); i++)
		if (setting->value)
			(void)value_parse(setting->kind, setting->argument, setting->value,
					  &config->settings[i]);
}

/* ---- the whole ---- */

static void name_datagram_protocols(char error[CONFIG_ERROR_BYTES], const char *given)
{
	int n = snprintf(error, CONFIG_ERROR_BYTES, "%s does not serve datagrams (", given);

	for (const struct protocol *const *p = protocols; *p; p++)
		if ((*p)->datagram && n < CONFIG_ERROR_BYTES)
			n += snprintf(error + n, CONFIG_ERROR_BYTES - (size_t)n, "%s ", (*p)->name);
	if (n < CONFIG_ERROR_BYTES)
		(void)snprintf(error + n, CONFIG_ERROR_BYTES - (size_t)n, "do)");
}

/* The earlier listener that has the same address; NULL: none. Each that asks for port 0 gets a port
 * of its own. */
static const struct endpoint *taken_by(const struct config *config, const struct endpoint *endpoint)
{
	for (size_t i = 0; i < config->listeners_n; i++) {
		const struct address *other = &config->listeners[i].address;

		if (config->listeners[i].datagrams == endpoint->datagrams &&
		    other->bytes == endpoint->address.bytes &&
		    memcmp(&other->socket, &endpoint->address.socket, other->bytes) == 0 &&
		    (address_is_unix(other) || address_port(other)))
			return &config->listeners[i];
	}
	return NULL;
}

bool config_listen(struct config *config, const char *listener, char error[CONFIG_ERROR_BYTES])
{
	struct endpoint list[LISTENERS_MAX + 1];
	size_t n;

	if (config->listeners_n == LISTENERS_MAX) {
		(void)snprintf(error, CONFIG_ERROR_BYTES, "there are at most %d listeners",
			       LISTENERS_MAX);
		return false;
	}
	n = endpoint_list(list, LISTENERS_MAX + 1, listener, error, CONFIG_ERROR_BYTES);
	if (!n)
		return false;
	if (list->datagrams && !list->protocol->datagram) {
		name_datagram_protocols(error, list->protocol->name);
		return false;
	}
	if (config->listeners_n + n > LISTENERS_MAX) {
		(void)snprintf(error, CONFIG_ERROR_BYTES,
			       "there are at most %d listeners, and \"%s\" has too many addresses",
			       LISTENERS_MAX, listener);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		const struct endpoint *other = taken_by(config, &list[i]);
		char text[ENDPOINT_TEXT_BYTES];

		if (other) {
			endpoint_format_named(other, text);
			(void)snprintf(error, CONFIG_ERROR_BYTES, "it listens where \"%s\" does",
				       text);
			return false;
		}
	}
	memcpy(&config->listeners[config->listeners_n], list, n * sizeof *list);
	config->listeners_n += n;
	return true;
}

/* Listeners that have a topic each; the addresses of one LISTENER share one. */
static size_t rooms_of(const struct config *config)
{
	size_t n = 0;

	for (size_t i = 0; i < config->listeners_n; i++)
		n += config->listeners[i].protocol->shares == &pubsub_kind &&
		     !config->listeners[i].joined;
	return n;
}

bool config_complete(struct config *config, size_t cpus, size_t descriptors,
		     char error[CONFIG_ERROR_BYTES])
{
	uint64_t allowed, reserved;
	const char *why;

	config->default_listeners = !config->listeners_n;
	if (config->default_listeners)
		for (const char *const *text = config_default_listeners; *text; text++)
			if (!config_listen(config, *text, error))
				return false;
	if (!config->workers)
		config->workers = cpus < WORKERS_MAX ? cpus : WORKERS_MAX;
	reserved = descriptors_reserved(config);
	allowed = descriptors > 2 * reserved ? descriptors - reserved : descriptors / 2;
	config->connections_capacity = allowed;
	config->max_connections_asked = config->max_connections;
	if (!config->max_connections || config->max_connections > allowed)
		config->max_connections = allowed;
	if (config->no_master && config->workers != 1) {
		(void)snprintf(error, CONFIG_ERROR_BYTES,
			       "no-master needs workers = 1, there are to be %llu",
			       (unsigned long long)config->workers);
		return false;
	}
	if (config->metrics && !*config->metrics)
		config->metrics = NULL;
	if (config->metrics && strstr(config->metrics, "://")) {
		(void)snprintf(
		    error, CONFIG_ERROR_BYTES,
		    "metrics \"%s\": it is an address without a scheme, as 127.0.0.1:9464",
		    config->metrics);
		return false;
	}
	config->metrics_n =
	    config->metrics
		? address_list(config->metrics_at, METRICS_ADDRESSES_MAX, config->metrics, &why)
		: 0;
	if (config->metrics && !config->metrics_n) {
		(void)snprintf(error, CONFIG_ERROR_BYTES, "metrics \"%s\": %s", config->metrics,
			       why);
		return false;
	}
	if (config->metrics && config->no_master) {
		(void)snprintf(error, CONFIG_ERROR_BYTES,
			       "metrics are the master's to serve: there are none with no-master");
		return false;
	}
	if (config->low_water > config->high_water) {
		char low[32], high[32];

		size_format(config->low_water, low, sizeof low);
		size_format(config->high_water, high, sizeof high);
		(void)snprintf(error, CONFIG_ERROR_BYTES, "low-water (%s) is above high-water (%s)",
			       low, high);
		return false;
	}
	if (rooms_of(config) > config->max_topics) {
		(void)snprintf(error, CONFIG_ERROR_BYTES,
			       "max-topics (%llu) is below the number of chat listeners (%zu)",
			       (unsigned long long)config->max_topics, rooms_of(config));
		return false;
	}
	return true;
}

enum accept_mode config_accept_mode(const struct config *config, const struct endpoint *endpoint)
{
	enum accept_mode mode = endpoint->accept >= 0 ? (enum accept_mode)endpoint->accept
						      : (enum accept_mode)config->accept;

	/* One path is one socket: there is no SO_REUSEPORT for unix. Without a master there
	 * is nobody to hand over. */
	if (mode == ACCEPT_REUSEPORT && address_is_unix(&endpoint->address))
		return ACCEPT_SHARED;
	if (mode == ACCEPT_HANDOFF && endpoint->datagrams) /* no connection, nothing to hand over */
		return ACCEPT_REUSEPORT;
	if (config->no_master && mode == ACCEPT_HANDOFF)
		return ACCEPT_SHARED;
	return mode;
}

bool config_has_topic(const struct config *config)
{
	for (size_t i = 0; i < config->listeners_n; i++)
		if (config->listeners[i].protocol->shares == &pubsub_kind)
			return true;
	return false;
}

uint64_t config_setting(const struct config *config, const struct endpoint *endpoint,
			const struct setting *setting)
{
	bool own = endpoint->settings_given >> setting->number & 1;
	uint64_t value = (own ? endpoint->settings : config->settings)[setting->number];

	return setting_allows(setting, value) ? value : setting->max;
}
