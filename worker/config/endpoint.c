#include "worker/config/endpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/udp/limiter.h"
#include "worker/config/value.h"

#define ADDRESSES_MAX (LISTENERS_MAX + 1) /* of a name: one more than allowed, to notice that */

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

static bool set_message_max(struct endpoint *endpoint, const char *value)
{
	uint32_t cap = endpoint->protocol->message_cap;

	return size_parse(value, &endpoint->message_max) && endpoint->message_max &&
	       endpoint->message_max <= (cap ? cap : 1u << 30);
}

static bool set_names(struct endpoint *endpoint, const char *value)
{
	endpoint->names = strcmp(value, "on") == 0;
	return endpoint->names || strcmp(value, "off") == 0;
}

static bool set_proxy(struct endpoint *endpoint, const char *value)
{
	endpoint->proxy = strcmp(value, "on") == 0;
	return endpoint->proxy || strcmp(value, "off") == 0;
}

static bool set_proxy_from(struct endpoint *endpoint, const char *value)
{
	char list[ENDPOINT_TEXT_BYTES], *rest = list, *text;

	(void)snprintf(list, sizeof list, "%s", value);
	endpoint->proxy_from_n = 0;
	while ((text = strsep(&rest, ",")))
		if (endpoint->proxy_from_n == PROXY_FROM_MAX ||
		    !network_parse(&endpoint->proxy_from[endpoint->proxy_from_n++], text))
			return false;
	return true;
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

static bool key_applies(const struct endpoint *endpoint, const char *key)
{
	if (strcmp(key, "rate") == 0 || strcmp(key, "queue") == 0 || strcmp(key, "send-queue") == 0)
		return endpoint->datagrams;
	if (endpoint->datagrams)
		return strcmp(key, "accept") == 0;
	if (strcmp(key, "mode") == 0)
		return address_path(&endpoint->address) != NULL;
	if (strcmp(key, "max-line") == 0)
		return endpoint->protocol->message_max == MESSAGE_MAX_LINE;
	if (strcmp(key, "max-frame") == 0)
		return endpoint->protocol->message_max == MESSAGE_MAX_FRAME;
	if (strcmp(key, "max-body") == 0)
		return endpoint->protocol->message_max == MESSAGE_MAX_BODY;
	if (strcmp(key, "names") == 0)
		return endpoint->protocol->has_topic;
	if (strcmp(key, "proxy-from") == 0)
		return !address_is_unix(&endpoint->address);
	return true;
}

/* What a key takes, in words. */
static const char *key_form(const struct endpoint *endpoint, const char *key, const char *form)
{
	static char capped[64];

	if (endpoint->datagrams && strcmp(key, "accept") == 0)
		return "reuseport or shared where datagrams come";
	if (strncmp(key, "max-", 4) != 0 || !endpoint->protocol->message_cap)
		return form;
	(void)snprintf(capped, sizeof capped, "a size from 1 to %u for %s",
		       endpoint->protocol->message_cap, endpoint->protocol->name);
	return capped;
}

static bool set_key(struct endpoint *endpoint, const char *key, const char *value, char *error,
		    size_t error_n)
{
	static const struct {
		const char *name;
		bool (*set)(struct endpoint *endpoint, const char *value);
		const char *form;
	} keys[] = {{"accept", set_accept, "reuseport, shared or handoff"},
		    {"mode", set_mode, "an octal mode such as 0660"},
		    {"max-line", set_message_max, "a size from 1 to 1G"},
		    {"max-frame", set_message_max, "a size from 1 to 1G"},
		    {"max-body", set_message_max, "a size from 1 to 1G"},
		    {"names", set_names, "on or off"},
		    {"proxy", set_proxy, "on or off"},
		    {"proxy-from", set_proxy_from, "up to 8 networks such as 10.0.0.0/8,::1"},
		    {"rate", set_rate, "a number up to 1000000"},
		    {"queue", set_queue, "a size from 1 to 1G"},
		    {"send-queue", set_send_queue, "a size from 1 to 1G"}};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		if (strcmp(keys[i].name, key) != 0)
			continue;
		if (!key_applies(endpoint, key)) {
			(void)snprintf(error, error_n, "%s does not apply to this listener", key);
			return false;
		}
		if (!value || !keys[i].set(endpoint, value)) {
			(void)snprintf(error, error_n, "%s takes %s, not \"%s\"", key,
				       key_form(endpoint, key, keys[i].form), value ? value : "");
			return false;
		}
		return true;
	}
	(void)snprintf(error, error_n,
		       "no key of a listener is \"%s\" (they are accept, mode, max-line, "
		       "max-frame, max-body, names, proxy, proxy-from, rate, queue, send-queue)",
		       key);
	return false;
}

static bool set_keys(struct endpoint *endpoint, char *keys, char *error, size_t error_n)
{
	char *rest = keys, *key;

	while ((key = strsep(&rest, "&"))) {
		char *value = strchr(key, '=');

		if (value)
			*value++ = '\0';
		if (!set_key(endpoint, key, value, error, error_n))
			return false;
	}
	if (endpoint->proxy_from_n && !endpoint->proxy) {
		(void)snprintf(error, error_n, "proxy-from needs proxy=on");
		return false;
	}
	return true;
}

static void name_protocols(char *error, size_t error_n, const char *given)
{
	int n = snprintf(error, error_n, "no protocol is \"%s\" (they are", given);

	for (const struct protocol *const *p = protocols; *p && (size_t)n < error_n; p++)
		n += snprintf(error + n, error_n - (size_t)n, " %s", (*p)->name);
	if ((size_t)n < error_n)
		(void)snprintf(error + n, error_n - (size_t)n, ")");
}

/* PROTOCOL[+udp], which ends where address begins. */
static bool set_protocol(struct endpoint *endpoint, char *protocol, char *address, char *error,
			 size_t error_n)
{
	if (address - protocol > 7 && memcmp(address - 7, "+udp", 4) == 0) {
		endpoint->datagrams = true;
		address[-7] = '\0';
	}
	endpoint->protocol = protocol_find(protocol);
	if (!endpoint->protocol)
		name_protocols(error, error_n, protocol);
	return endpoint->protocol != NULL;
}

/* Returns how many; the first of the list is the pattern for the others. */
static size_t set_addresses(struct endpoint *list, size_t max, const char *address, char *error,
			    size_t error_n)
{
	struct address found[ADDRESSES_MAX];
	const char *why = "";
	size_t n = address_list(found, max < ADDRESSES_MAX ? max : ADDRESSES_MAX, address, &why);

	if (!n) {
		if (*address != '/' && *address != '@' && strchr(address, '/'))
			why = "a listener has no path";
		(void)snprintf(error, error_n, "address \"%s\": %s", address, why);
		return 0;
	}
	if (list->datagrams && address_is_unix(&found[0])) {
		(void)snprintf(error, error_n, "address \"%s\": datagrams need HOST:PORT", address);
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		list[i] = list[0];
		list[i].address = found[i];
		list[i].joined = i != 0;
	}
	return n;
}

size_t endpoint_list(struct endpoint *list, size_t max, const char *text, char *error,
		     size_t error_n)
{
	char copy[ENDPOINT_TEXT_BYTES], *address, *keys;
	size_t n;

	*list = (struct endpoint){.accept = -1};
	if ((size_t)snprintf(copy, sizeof copy, "%s", text) >= sizeof copy) {
		(void)snprintf(error, error_n, "a listener has at most %zu bytes", sizeof copy - 1);
		return 0;
	}
	address = strstr(copy, "://");
	if (!address) {
		(void)snprintf(error, error_n,
			       "\"%s\" is not a listener: PROTOCOL://ADDRESS[?KEY=VALUE]", text);
		return 0;
	}
	*address = '\0';
	address += 3;
	keys = strchr(address, '?');
	if (keys)
		*keys++ = '\0';
	if (!set_protocol(list, copy, address, error, error_n))
		return 0;
	if (address_has_name(address)) {
		list->name = text + (address - copy);
		list->name_n = (int)(strrchr(address, ':') - address);
	}
	n = set_addresses(list, max, address, error, error_n);
	for (size_t i = 0; n && keys && i < n; i++) {
		char each[ENDPOINT_TEXT_BYTES];

		(void)snprintf(each, sizeof each, "%s", keys);
		if (!set_keys(&list[i], each, error, error_n))
			return 0;
	}
	return n;
}

bool endpoint_parse(struct endpoint *endpoint, const char *text, char *error, size_t error_n)
{
	return endpoint_list(endpoint, 1, text, error, error_n) == 1;
}

/* One more key, behind those that stand in text already. */
static void add_key(char text[ENDPOINT_TEXT_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_key(char text[ENDPOINT_TEXT_BYTES], const char *format, ...)
{
	size_t n = strlen(text);
	va_list arguments;

	text[n] = strchr(text, '?') ? '&' : '?';
	va_start(arguments, format);
	(void)vsnprintf(text + n + 1, ENDPOINT_TEXT_BYTES - n - 1, format, arguments);
	va_end(arguments);
}

static void format(const struct endpoint *endpoint, const char *address,
		   char text[ENDPOINT_TEXT_BYTES])
{
	static const char *const maxima[] = {[MESSAGE_MAX_LINE] = "max-line",
					     [MESSAGE_MAX_FRAME] = "max-frame",
					     [MESSAGE_MAX_BODY] = "max-body"};
	const struct protocol *protocol = endpoint->protocol;

	(void)snprintf(text, ENDPOINT_TEXT_BYTES, "%s%s://%s", protocol->name,
		       endpoint->datagrams ? "+udp" : "", address);
	if (endpoint->accept >= 0) {
		char mode[16];

		choice_format(ACCEPT_MODES, (uint64_t)endpoint->accept, mode, sizeof mode);
		add_key(text, "accept=%s", mode);
	}
	if (endpoint->mode)
		add_key(text, "mode=%04o", endpoint->mode);
	if (endpoint->message_max)
		add_key(text, "%s=%llu", maxima[protocol->message_max],
			(unsigned long long)endpoint->message_max);
	if (endpoint->names)
		add_key(text, "names=on");
	if (endpoint->proxy)
		add_key(text, "proxy=on");
	for (size_t i = 0; i < endpoint->proxy_from_n; i++) {
		char network[NETWORK_TEXT_BYTES];

		network_format(&endpoint->proxy_from[i], network);
		if (i)
			(void)snprintf(text + strlen(text), ENDPOINT_TEXT_BYTES - strlen(text),
				       ",%s", network);
		else
			add_key(text, "proxy-from=%s", network);
	}
	if (endpoint->rate)
		add_key(text, "rate=%llu", (unsigned long long)endpoint->rate);
	if (endpoint->queue_bytes)
		add_key(text, "queue=%llu", (unsigned long long)endpoint->queue_bytes);
	if (endpoint->send_queue_bytes)
		add_key(text, "send-queue=%llu", (unsigned long long)endpoint->send_queue_bytes);
}

void endpoint_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES])
{
	char address[ADDRESS_TEXT_BYTES];

	address_format(&endpoint->address, address);
	format(endpoint, address, text);
}

void endpoint_format_named(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES])
{
	char address[ADDRESS_TEXT_BYTES];

	if (!endpoint->name) {
		endpoint_format(endpoint, text);
		return;
	}
	(void)snprintf(address, sizeof address, "%.*s:%u", endpoint->name_n, endpoint->name,
		       address_port(&endpoint->address));
	format(endpoint, address, text);
}
