#include "reactor/base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/base/log.h"
#include "reactor/base/sys.h"

static struct sockaddr_in *ip4(const struct address *address)
{
	return (struct sockaddr_in *)(uintptr_t)&address->socket;
}

static struct sockaddr_in6 *ip6(const struct address *address)
{
	return (struct sockaddr_in6 *)(uintptr_t)&address->socket;
}

static struct sockaddr_un *un(const struct address *address)
{
	return (struct sockaddr_un *)(uintptr_t)&address->socket;
}

static bool parse_unix(struct address *address, const char *text, const char **why)
{
	struct sockaddr_un *name = un(address);
	size_t n = strlen(text);

	if (n < 2 || n >= sizeof name->sun_path) {
		*why = n < 2 ? "the path is empty" : "a unix path has at most 107 bytes";
		return false;
	}
	name->sun_family = AF_UNIX;
	memcpy(name->sun_path, text, n);
	if (*text == '@')
		name->sun_path[0] = '\0';
	/* A path ends with a 0 byte, an abstract name does not (unix(7)). */
	address->bytes =
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*text == '@' ? 0 : 1));
	return true;
}

static bool parse_port(const char *text, unsigned *port)
{
	char *end;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return false;
	value = strtoul(text, &end, 10);
	*port = (unsigned)value;
	return !*end && value <= 65535;
}

/* ---- names ---- */

#define AGAIN_MS 500

static struct {
	bool failed_for_now;
	uint64_t patient_until_us;
} names;

bool address_failed_for_now(void)
{
	return names.failed_for_now;
}

void address_patience(uint32_t ms)
{
	names.patient_until_us = sys_clock_us() + (uint64_t)ms * 1000;
}

/* May a name server, or this system, answer otherwise in a moment? */
static bool is_transient(int error)
{
	return error == EAI_AGAIN || error == EAI_MEMORY || error == EAI_SYSTEM;
}

static int look_up(const char *host, int flags, struct addrinfo **found)
{
	const struct addrinfo hints = {.ai_flags = flags, .ai_socktype = SOCK_STREAM};
	bool said = false;
	int error;

	while (is_transient(error = getaddrinfo(host, NULL, &hints, found)) &&
	       sys_clock_us() < names.patient_until_us) {
		if (!said)
			log_warn("a name can't be looked up now, and is tried again",
				 LOG_TEXT("name", host), LOG_TEXT("error", gai_strerror(error)));
		said = true;
		sys_rest_ms(AGAIN_MS);
	}
	names.failed_for_now = is_transient(error);
	return error;
}

static bool is_listed(const struct address *list, size_t n, const struct address *address)
{
	for (size_t i = 0; i < n; i++)
		if (address_is_same(&list[i], address))
			return true;
	return false;
}

/* flags: of getaddrinfo(3). */
static size_t resolve(struct address *list, size_t max, const char *host, int flags,
		      const char **why)
{
	struct addrinfo *found;
	int error = look_up(host, flags, &found);
	size_t n = 0;

	if (error) {
		*why = error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error);
		return 0;
	}
	for (const struct addrinfo *at = found; at && n < max; at = at->ai_next) {
		struct address address = {.bytes = at->ai_addrlen};

		if (at->ai_family != AF_INET && at->ai_family != AF_INET6)
			continue;
		memcpy(&address.socket, at->ai_addr, at->ai_addrlen);
		if (!is_listed(list, n, &address))
			list[n++] = address;
	}
	freeaddrinfo(found);
	*why = "the name has no address of IPv4 or IPv6";
	return n;
}

/* Lists the addresses that host, the text before the last colon, stands for. */
static size_t parse_host(struct address *list, size_t max, char *host, const char **why)
{
	size_t n = strlen(host);

	if (!n) {
		*list = (struct address){.dual_stack = true, .bytes = sizeof(struct sockaddr_in6)};
		ip6(list)->sin6_family = AF_INET6;
		return 1;
	}
	if (*host == '[' && (host[n - 1] == ']' || !strchr(host, ':'))) {
		host[n - 1] = '\0';
		/* Nothing else is asked of anybody: it may be parsed where nothing may block. */
		n = strchr(host + 1, ':') ? resolve(list, 1, host + 1, AI_NUMERICHOST, why) : 0;
		if (!n)
			*why = "no IPv6 address stands between [ and ]";
		return n;
	}
	if (strchr(host, ':')) {
		*why = "an IPv6 address stands in brackets: [::1]:7878";
		return 0;
	}
	return resolve(list, max, host, 0, why);
}

size_t address_list(struct address *list, size_t max, const char *text, const char **why)
{
	char host[ADDRESS_TEXT_BYTES];
	const char *colon = strrchr(text, ':');
	unsigned port;
	size_t n;

	names.failed_for_now = false;
	memset(list, 0, sizeof *list);
	if (*text == '/' || *text == '@')
		return parse_unix(list, text, why);
	if (!colon || !parse_port(colon + 1, &port)) {
		*why = colon ? "a port is a number from 0 to 65535"
			     : "an address is HOST:PORT, [IPV6]:PORT, :PORT, /PATH or @NAME";
		return 0;
	}
	n = (size_t)(colon - text);
	if (n >= sizeof host) {
		*why = "the host name is too long";
		return 0;
	}
	memcpy(host, text, n);
	host[n] = '\0';
	n = parse_host(list, max, host, why);
	for (size_t i = 0; i < n; i++)
		address_set_port(&list[i], port);
	return n;
}

bool address_parse(struct address *address, const char *text, const char **why)
{
	return address_list(address, 1, text, why) == 1;
}

bool address_has_name(const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	char host[ADDRESS_TEXT_BYTES];
	struct in_addr number;

	if (!n || strchr("/@[", *text))
		return false;
	(void)snprintf(host, sizeof host, "%.*s", (int)n, text);
	return inet_pton(AF_INET, host, &number) != 1;
}

bool address_is_same(const struct address *a, const struct address *b)
{
	return a->bytes == b->bytes && a->dual_stack == b->dual_stack &&
	       memcmp(&a->socket, &b->socket, a->bytes) == 0;
}

bool address_is_unix(const struct address *address)
{
	return address->socket.ss_family == AF_UNIX;
}

const char *address_path(const struct address *address)
{
	return address_is_unix(address) && un(address)->sun_path[0] ? un(address)->sun_path : NULL;
}

unsigned address_port(const struct address *address)
{
	switch (address->socket.ss_family) {
	case AF_INET:
		return ntohs(ip4(address)->sin_port);
	case AF_INET6:
		return ntohs(ip6(address)->sin6_port);
	default:
		return 0;
	}
}

void address_set_port(struct address *address, unsigned port)
{
	if (address->socket.ss_family == AF_INET)
		ip4(address)->sin_port = htons((uint16_t)port);
	else
		ip6(address)->sin6_port = htons((uint16_t)port);
}

void address_format(const struct address *address, char text[ADDRESS_TEXT_BYTES])
{
	char host[INET6_ADDRSTRLEN];

	if (address_path(address)) {
		(void)snprintf(text, ADDRESS_TEXT_BYTES, "%s", address_path(address));
	} else if (address_is_unix(address)) {
		int n = (int)(address->bytes - offsetof(struct sockaddr_un, sun_path)) - 1;
		(void)snprintf(text, ADDRESS_TEXT_BYTES, "@%.*s", n, un(address)->sun_path + 1);
	} else if (address->dual_stack) {
		(void)snprintf(text, ADDRESS_TEXT_BYTES, ":%u", address_port(address));
	} else if (address->socket.ss_family == AF_INET) {
		(void)inet_ntop(AF_INET, &ip4(address)->sin_addr, host, sizeof host);
		(void)snprintf(text, ADDRESS_TEXT_BYTES, "%s:%u", host, address_port(address));
	} else {
		(void)inet_ntop(AF_INET6, &ip6(address)->sin6_addr, host, sizeof host);
		unsigned scope = ip6(address)->sin6_scope_id;
		char percent[16] = "";
		if (scope)
			(void)snprintf(percent, sizeof percent, "%%%u", scope);
		(void)snprintf(text, ADDRESS_TEXT_BYTES, "[%s%s]:%u", host, percent,
			       address_port(address));
	}
}

bool address_bytes(const struct sockaddr *ip, unsigned char bytes[16])
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (ip->sa_family == AF_INET) {
		memcpy(bytes, mapped, sizeof mapped);
		memcpy(bytes + 12, &((const struct sockaddr_in *)(const void *)ip)->sin_addr, 4);
		return true;
	}
	if (ip->sa_family == AF_INET6)
		memcpy(bytes, &((const struct sockaddr_in6 *)(const void *)ip)->sin6_addr, 16);
	return ip->sa_family == AF_INET6;
}

bool address_is_unspecified(const unsigned char bytes[16])
{
	static const unsigned char ip4[16] = {[10] = 0xff, [11] = 0xff}, ip6[16];

	return memcmp(bytes, ip4, 16) == 0 || memcmp(bytes, ip6, 16) == 0;
}
