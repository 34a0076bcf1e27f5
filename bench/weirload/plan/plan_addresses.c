#include "bench/weirload/plan/plan_addresses.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "bench/weirload/plan/wrong_usage.h"

#define PORTS_COMFORT 8192 /* with so many between two addresses connect() finds a port at once */
#define CHURN_SPREAD  16   /* addresses for connections that end again and again */

/* ---- ranges ---- */

static bool ip_parse(const char *text, struct address *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&address->socket;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->socket;

	*address = (struct address){0};
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		address->bytes = sizeof *in;
	} else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		address->bytes = sizeof *in6;
	}
	return address->bytes != 0;
}

/* The last 32 bits of an address, in which the addresses of a range differ. */
static uint32_t *ip_tail(struct address *address)
{
	if (address->socket.ss_family == AF_INET)
		return &((struct sockaddr_in *)&address->socket)->sin_addr.s_addr;
	return &((struct sockaddr_in6 *)&address->socket)->sin6_addr.s6_addr32[3];
}

static struct address nth_after(struct address first, uint64_t n)
{
	*ip_tail(&first) = htonl(ntohl(*ip_tail(&first)) + (uint32_t)n);
	return first;
}

uint64_t plan_addresses_range(const char *name, const char *value, struct address *begin)
{
	char first[INET6_ADDRSTRLEN];
	const char *dash = strchr(value, '-');
	size_t n = dash ? (size_t)(dash - value) : strlen(value);
	struct address last;
	uint32_t from, to;

	(void)snprintf(first, sizeof first, "%.*s", (int)n, value);
	if (n >= sizeof first || !ip_parse(first, begin) ||
	    !ip_parse(dash ? dash + 1 : first, &last) ||
	    last.socket.ss_family != begin->socket.ss_family)
		wrong_usage("--%s takes an address or two of a kind, such as "
			    "127.0.0.1-127.0.0.16, not \"%s\"",
			    name, value);
	from = ntohl(*ip_tail(begin));
	to = ntohl(*ip_tail(&last));
	if (to < from || to - from >= PLAN_ADDRESSES_MAX)
		wrong_usage("--%s %s: from the lower address to the higher, at most %d", name,
			    value, PLAN_ADDRESSES_MAX);
	return to - from + 1;
}

/* ---- which address ---- */

struct address plan_addresses_source(const struct plan *plan, uint64_t n)
{
	return nth_after(plan->source, n % plan->sources);
}

/* Every source is used with every destination. */
struct address plan_addresses_destination(const struct plan *plan, uint64_t n)
{
	if (plan->destinations < 2)
		return plan->endpoint.address;
	return nth_after(plan->endpoint.address,
			 n / (plan->sources ? plan->sources : 1) % plan->destinations);
}

void plan_addresses_take_destination(struct plan *plan)
{
	struct address *to = &plan->endpoint.address;
	unsigned port;

	if (!plan->destinations)
		return;
	if (address_is_unix(to))
		wrong_usage("--destination is for HOST:PORT, not for %s", plan->listener);
	port = address_port(to);
	*to = plan->destination;
	address_set_port(to, port);
}

/* If a server listens on every address of IPv4, it can be reached by each address of 127/8. */
static bool is_every_address(const struct address *address)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->socket;

	return address->dual_stack ||
	       (in->sin_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_ANY));
}

static bool is_loopback4(const struct address *address)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->socket;

	return in->sin_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == 127;
}

bool plan_addresses_are_local(const struct plan *plan)
{
	const struct address *to = &plan->endpoint.address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&to->socket;

	return address_is_unix(to) || is_loopback4(to) || is_every_address(to) ||
	       (in6->sin6_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr));
}

void plan_addresses_spread(struct plan *plan)
{
	struct address *to = &plan->endpoint.address;
	uint64_t wanted = plan->churn ? CHURN_SPREAD : plan->connections / PORTS_COMFORT + 1;

	if (wanted < 2 || plan->sources || plan->destinations)
		return;
	if (is_loopback4(to)) {
		(void)ip_parse("127.0.0.1", &plan->source);
		plan->sources = wanted;
	} else if (is_every_address(to) && !plan->endpoint.datagrams) {
		(void)ip_parse("127.0.0.1", &plan->destination);
		plan->destinations = wanted;
		plan_addresses_take_destination(plan);
	}
}
