#include "worker/config/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/config/endpoint_keys.h"

#define ADDRESSES_MAX (LISTENERS_MAX + 1) /* of a name: one more than allowed, to notice that */

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
	char copy[ENDPOINT_TEXT_BYTES], *address, *given;
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
	given = strchr(address, '?');
	if (given)
		*given++ = '\0';
	if (!set_protocol(list, copy, address, error, error_n))
		return 0;
	if (address_has_name(address)) {
		list->name = text + (address - copy);
		list->name_n = (int)(strrchr(address, ':') - address);
	}
	n = set_addresses(list, max, address, error, error_n);
	for (size_t i = 0; n && given && i < n; i++) {
		char each[ENDPOINT_TEXT_BYTES];

		(void)snprintf(each, sizeof each, "%s", given);
		if (!endpoint_keys_set(&list[i], each, error, error_n))
			return 0;
	}
	return n;
}

bool endpoint_parse(struct endpoint *endpoint, const char *text, char *error, size_t error_n)
{
	return endpoint_list(endpoint, 1, text, error, error_n) == 1;
}

static void format(const struct endpoint *endpoint, const char *address,
		   char text[ENDPOINT_TEXT_BYTES])
{
	(void)snprintf(text, ENDPOINT_TEXT_BYTES, "%s%s://%s", endpoint->protocol->name,
		       endpoint->datagrams ? "+udp" : "", address);
	endpoint_keys_format(endpoint, text);
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
