#include "worker/config/endpoint_keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/udp/limiter.h"
#include "worker/config/value.h"

static bool set_accept(struct endpoint *endpoint, const char *value)
{
	endpoint->accept = choice_find(ACCEPT_MODES, value);
	return endpoint->accept >= 0 &&
	       (!endpoint->datagrams || endpoint->accept != ACCEPT_HANDOFF);
}

static bool set_mode(struct endpoint *endpoint, const char *value)
{
	char *end;
	unsigned long mode = strtoul(value, &end, 8);

	endpoint->mode = (unsigned)mode;
	return *value >= '0' && *value <= '7' && !*end && mode <= 0777 && mode != 0;
}

static bool set_proxy(struct endpoint *endpoint, const char *value)
{
	endpoint->proxy = strcmp(value, "on") == 0;
	return endpoint->proxy || strcmp(value, "off") == 0;
}

static bool set_rate(struct endpoint *endpoint, const char *value)
{
	return number_parse(value, &endpoint->rate) && endpoint->rate <= LIMITER_RATE_MAX;
}

static bool set_queue(struct endpoint *endpoint, const char *value)
{
	return size_parse(value, &endpoint->queue_bytes) && endpoint->queue_bytes &&
	       endpoint->queue_bytes <= 1u << 30;
}

static bool set_send_queue(struct endpoint *endpoint, const char *value)
{
	return size_parse(value, &endpoint->send_queue_bytes) && endpoint->send_queue_bytes &&
	       endpoint->send_queue_bytes <= 1u << 30;
}

/* ---- settings of protocols ---- */

const struct setting *endpoint_setting_of(const struct protocol *protocol, const char *key)
{
	const struct protocol *reached[PROTOCOL_REACHED_MAX];
	size_t n = protocol_reached(protocol, reached);
	const struct setting *found = NULL;

	for (size_t i = 0; !found && i < n; i++)
		found = protocol_setting(reached[i], key);
	return found;
}

static const struct setting *setting_of(const struct endpoint *endpoint, const char *key)
{
	const struct setting *found = endpoint_setting_of(endpoint->protocol, key);

	if (endpoint->datagrams)
		return NULL;
	if (found || address_is_unix(&endpoint->address))
		return found;
	return protocol_setting(&proxy_protocol, key);
}

static bool networks_parse(struct endpoint *endpoint, const char *value, uint64_t *n)
{
	char list[ENDPOINT_TEXT_BYTES], *rest = list, *text;

	(void)snprintf(list, sizeof list, "%s", value);
	*n = 0;
	while ((text = strsep(&rest, ",")))
		if (*n == NETWORKS_MAX || !network_parse(&endpoint->networks[(*n)++], text))
			return false;
	return true;
}

static void refuse_setting(const struct endpoint *endpoint, const struct setting *setting,
			   const char *value, char *error, size_t error_n)
{
	const char *kind = setting->kind == SETTING_SIZE   ? "a size"
			   : setting->kind == SETTING_TIME ? "a time"
							   : "a number";
	char min[32], max[32];

	value_format(setting->kind, setting->argument, setting->min, min, sizeof min);
	value_format(setting->kind, setting->argument, setting->max, max, sizeof max);
	if (setting->kind == SETTING_NETWORKS)
		(void)snprintf(error, error_n,
			       "%s takes up to %s networks such as 10.0.0.0/8,::1 (bits behind the "
			       "length are 0), not \"%s\"",
			       setting->name, max, value);
	else if (setting->kind == SETTING_SWITCH || setting->kind == SETTING_CHOICE)
		(void)snprintf(error, error_n, "%s takes %s, not \"%s\"", setting->name,
			       value_form(setting->kind, setting->argument), value);
	else
		(void)snprintf(error, error_n, "%s takes %s from %s to %s for %s, not \"%s\"",
			       setting->name, kind, min, max, endpoint->protocol->name, value);
}

static bool set_setting(struct endpoint *endpoint, const struct setting *setting, const char *value,
			char *error, size_t error_n)
{
	uint64_t *number = &endpoint->settings[setting->number];
	bool good = setting->kind == SETTING_NETWORKS
			? networks_parse(endpoint, value, number)
			: value_parse(setting->kind, setting->argument, value, number);

	if (endpoint->settings_given >> setting->number & 1) {
		(void)snprintf(error, error_n, "%s is there twice", setting->name);
		return false;
	}
	if (!good || !setting_allows(setting, *number)) {
		refuse_setting(endpoint, setting, value, error, error_n);
		return false;
	}
	endpoint->settings_given |= 1u << setting->number;
	return true;
}

/* ---- keys ---- */

static bool applies_anywhere(const struct endpoint *endpoint)
{
	return !endpoint->datagrams;
}

static bool applies_always(const struct endpoint *endpoint)
{
	(void)endpoint;
	return true;
}

static bool applies_to_paths(const struct endpoint *endpoint)
{
	return !endpoint->datagrams && address_path(&endpoint->address);
}

static bool applies_to_datagrams(const struct endpoint *endpoint)
{
	return endpoint->datagrams;
}

/* Those of listeners, whatever their protocol. */
static const struct key {
	const char *name;
	bool (*set)(struct endpoint *endpoint, const char *value);
	bool (*applies)(const struct endpoint *endpoint);
	const char *form;
} keys[] = {{"accept", set_accept, applies_always, "reuseport, shared or handoff"},
	    {"mode", set_mode, applies_to_paths, "an octal mode such as 0660"},
	    {"proxy", set_proxy, applies_anywhere, "on or off"},
	    {"rate", set_rate, applies_to_datagrams, "a number up to 1000000"},
	    {"queue", set_queue, applies_to_datagrams, "a size from 1 to 1G"},
	    {"send-queue", set_send_queue, applies_to_datagrams, "a size from 1 to 1G"}};

#define KEYS (sizeof keys / sizeof *keys)

/* What a key takes, in words. */
static const char *key_form(const struct endpoint *endpoint, const struct key *key)
{
	if (endpoint->datagrams && key->set == set_accept)
		return "reuseport or shared where datagrams come";
	return key->form;
}

size_t endpoint_keys_list(char *text, size_t n, const char *between)
{
	const struct setting *setting;
	size_t at = 0;

	for (size_t i = 0; i < KEYS && at < n; i++)
		at += (size_t)snprintf(text + at, n - at, "%s%s", i ? between : "", keys[i].name);
	for (size_t i = 0; (setting = setting_at(i)) && at < n; i++)
		at += (size_t)snprintf(text + at, n - at, "%s%s", between, setting->name);
	return at < n ? at : n - 1;
}

static bool is_setting(const char *key)
{
	const struct setting *setting;

	for (size_t i = 0; (setting = setting_at(i)); i++)
		if (strcmp(setting->name, key) == 0)
			return true;
	return false;
}

static bool refuse_key(const char *key, bool is_known, char *error, size_t error_n)
{
	char all[512];

	if (is_known) {
		(void)snprintf(error, error_n, "%s does not apply to this listener", key);
		return false;
	}
	(void)endpoint_keys_list(all, sizeof all, ", ");
	(void)snprintf(error, error_n, "no key of a listener is \"%s\" (they are %s)", key, all);
	return false;
}

static bool set_key(struct endpoint *endpoint, const char *name, const char *value, char *error,
		    size_t error_n)
{
	const struct setting *setting = setting_of(endpoint, name);
	const struct key *key = keys;

	value = value ? value : "";
	if (setting)
		return set_setting(endpoint, setting, value, error, error_n);
	while (key < keys + KEYS && strcmp(key->name, name) != 0)
		key++;
	if (key == keys + KEYS || !key->applies(endpoint))
		return refuse_key(name, key < keys + KEYS || is_setting(name), error, error_n);
	if (key->set(endpoint, value))
		return true;
	(void)snprintf(error, error_n, "%s takes %s, not \"%s\"", name, key_form(endpoint, key),
		       value);
	return false;
}

/* Settings of a prefix need it. */
static bool settings_apply(const struct endpoint *endpoint, char *error, size_t error_n)
{
	const struct setting *setting;

	for (size_t i = 0; !endpoint->proxy && (setting = setting_at(i)); i++) {
		if (!(endpoint->settings_given >> i & 1) ||
		    endpoint_setting_of(endpoint->protocol, setting->name))
			continue;
		(void)snprintf(error, error_n, "%s needs proxy=on", setting->name);
		return false;
	}
	return true;
}

bool endpoint_keys_set(struct endpoint *endpoint, char *text, char *error, size_t error_n)
{
	char *rest = text, *key;

	while ((key = strsep(&rest, "&"))) {
		char *value = strchr(key, '=');

		if (value)
			*value++ = '\0';
		if (!set_key(endpoint, key, value, error, error_n))
			return false;
	}
	return settings_apply(endpoint, error, error_n);
}

uint64_t endpoint_setting(const struct endpoint *endpoint, const char *name)
{
	const struct setting *setting = setting_of(endpoint, name);

	return setting ? endpoint->settings[setting->number] : 0;
}

/* ---- the other way round ---- */

/* One more key, behind those that stand in text already. */
static void add_key(char text[ENDPOINT_TEXT_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_key(char text[ENDPOINT_TEXT_BYTES], const char *format, ...)
{
	size_t n = strlen(text);
	va_list arguments;

	CHECK(n + 1 < ENDPOINT_TEXT_BYTES);
	text[n] = strchr(text, '?') ? '&' : '?';
	va_start(arguments, format);
	(void)vsnprintf(text + n + 1, ENDPOINT_TEXT_BYTES - n - 1, format, arguments);
	va_end(arguments);
}

static void format_networks(const struct endpoint *endpoint, const struct setting *setting,
			    char text[ENDPOINT_TEXT_BYTES])
{
	for (size_t i = 0; i < endpoint->settings[setting->number]; i++) {
		char network[NETWORK_TEXT_BYTES];

		network_format(&endpoint->networks[i], network);
		if (i)
			(void)snprintf(text + strlen(text), ENDPOINT_TEXT_BYTES - strlen(text),
				       ",%s", network);
		else
			add_key(text, "%s=%s", setting->name, network);
	}
}

/* Those of its protocols, or of a prefix. */
static void format_settings(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES],
			    bool of_prefix)
{
	const struct setting *setting;
	char value[64];

	for (size_t i = 0; (setting = setting_at(i)); i++) {
		if (!(endpoint->settings_given >> i & 1) ||
		    of_prefix == (endpoint_setting_of(endpoint->protocol, setting->name) != NULL))
			continue;
		if (setting->kind == SETTING_NETWORKS) {
			format_networks(endpoint, setting, text);
			continue;
		}
		/* Sizes in bytes, as they have always been shown. */
		value_format(setting->kind == SETTING_SIZE ? SETTING_NUMBER : setting->kind,
			     setting->argument, endpoint->settings[i], value, sizeof value);
		add_key(text, "%s=%s", setting->name, value);
	}
}

void endpoint_keys_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES])
{
	if (endpoint->accept >= 0) {
		char mode[16];

		choice_format(ACCEPT_MODES, (uint64_t)endpoint->accept, mode, sizeof mode);
		add_key(text, "accept=%s", mode);
	}
	if (endpoint->mode)
		add_key(text, "mode=%04o", endpoint->mode);
	format_settings(endpoint, text, false);
	if (endpoint->proxy)
		add_key(text, "proxy=on");
	format_settings(endpoint, text, true);
	if (endpoint->rate)
		add_key(text, "rate=%llu", (unsigned long long)endpoint->rate);
	if (endpoint->queue_bytes)
		add_key(text, "queue=%llu", (unsigned long long)endpoint->queue_bytes);
	if (endpoint->send_queue_bytes)
		add_key(text, "send-queue=%llu", (unsigned long long)endpoint->send_queue_bytes);
}
