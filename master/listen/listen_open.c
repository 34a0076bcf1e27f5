/* Opens a set: a bound socket for each listener, one that is there already or a new one. */
#include "master/listen/listen_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "master/listen/activation.h"
#include "reactor/base/log.h"

#define PORT_TRIES 16

_Static_assert(32 + 1 + ADDRESS_TEXT_BYTES + 4 <= LISTEN_TOPIC_BYTES, "any name fits");

/* The place in `before` of an endpoint's bound socket; -1: none. Prefers one of the same protocol,
 * because listeners that asked for any port of one address can be told apart only by that. */
static int match(const struct listen_set *set, const struct listen_set *before,
		 const struct endpoint *endpoint)
{
	for (int same = 1; same >= 0; same--)
		for (size_t i = 0; i < before->bound_sockets_n; i++) {
			const struct bound_socket *bound = before->bound_sockets[i];
			bool any_port = !address_is_unix(&endpoint->address) &&
					!address_port(&endpoint->address);

			if (bound_socket_is_at(bound, endpoint) && listen_place(set, bound) < 0 &&
			    (same || !any_port) &&
			    (before->protocols[i] == endpoint->protocol) == (bool)same)
				return (int)i;
		}
	return -1;
}

static const struct activation_socket *inherited_socket(const struct endpoint *endpoint)
{
	const struct activation_socket *found;

	for (size_t i = 0; i < activation_n(); i++) {
		found = activation_find(endpoint, activation_socket(i), 1);
		if (found)
			return found;
	}
	return NULL;
}

/* How many listeners from the i-th on are addresses of the same LISTENER. */
static size_t addresses_n(const struct config *config, size_t i)
{
	size_t n = 1;

	while (i + n < config->listeners_n && config->listeners[i + n].joined)
		n++;
	return n;
}

static size_t first_address(const struct config *config, size_t i)
{
	while (config->listeners[i].joined)
		i--;
	return i;
}

/* The port that another address of the same LISTENER has, if any port was asked for; 0: none. */
static unsigned port_of_others(const struct listen_set *set, const struct listen_set *before,
			       size_t i)
{
	size_t first = first_address(set->config, i);

	for (size_t k = first; k < first + addresses_n(set->config, first); k++) {
		int old = k < i ? -1 : match(set, before, &set->config->listeners[k]);

		if (k < i)
			return address_port(&set->bound_sockets[k]->address);
		if (old >= 0)
			return address_port(&before->bound_sockets[old]->address);
	}
	return 0;
}

/* NULL: it can't be had, and errno is why. */
static struct bound_socket *make_bound_socket(const struct listen_set *set,
					      const struct listen_set *before,
					      const struct endpoint *endpoint,
					      char error[CONFIG_ERROR_BYTES])
{
	struct bound_socket_settings settings = listen_settings(set->config, endpoint);
	struct endpoint there = *endpoint;
	struct bound_socket *bound = listen_free_bound_socket();
	char text[ENDPOINT_TEXT_BYTES];
	const char *step;
	bool alone = true;
	int failure;

	if (!address_is_unix(&there.address) && !address_port(&there.address))
		address_set_port(&there.address, port_of_others(set, before, set->bound_sockets_n));
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (listen_all.bound_sockets[i].used &&
		    bound_socket_overlaps(&listen_all.bound_sockets[i], &there))
			alone = false;
	failure =
	    bound_socket_open(bound, &there, &settings, inherited_socket(endpoint), alone, &step);
	if (failure) {
		endpoint_format(&there, text);
		(void)snprintf(error, CONFIG_ERROR_BYTES, "listening on %s: %s: %s", text, step,
			       strerror(-failure));
		errno = -failure;
		return NULL;
	}
	bound->asked = endpoint->address;
	return bound;
}

/* What the workers' sockets of one listener share; the memory belongs to the bound socket. */
static bool open_accounts(struct listen_set *set, size_t i, char error[CONFIG_ERROR_BYTES])
{
	uint64_t rate = listen_endpoint(set, i)->rate;
	struct bound_socket *bound = set->bound_sockets[i];

	if (!bound->datagrams)
		return true;
	if (bound_socket_keep_accounts(bound, rate)) {
		(void)snprintf(error, CONFIG_ERROR_BYTES,
			       "shared memory for a listener of datagrams: %s", strerror(ENOMEM));
		return false;
	}
	set->ledgers[i] = (struct datagram_ledger){.dropped = bound->dropped};
	if (rate) {
		set->limiters[i] = bound->limiter;
		limiter_set_rate(&set->limiters[i], rate);
		set->ledgers[i].limiter = &set->limiters[i];
	}
	return true;
}

/* The bound socket of the set before. If its socket file is lost, a new one is made with the same
 * number: its connections move as ever, and clients that wait at the old socket are let in by the
 * old workers. If it can't be made, the old one is as good as it was. */
static struct bound_socket *same_bound_socket(const struct listen_set *set,
					      const struct listen_set *before,
					      struct bound_socket *bound,
					      const struct endpoint *endpoint)
{
	char error[CONFIG_ERROR_BYTES];
	struct bound_socket *anew;

	if (!bound_socket_is_lost(bound))
		return bound;
	anew = make_bound_socket(set, before, endpoint, error);
	if (!anew)
		log_warn("a socket file that was removed does not come back",
			 LOG_TEXT("error", error));
	return anew ? anew : bound;
}

static bool open_one(struct listen_set *set, struct endpoint *endpoint,
		     const struct listen_set *before, char error[CONFIG_ERROR_BYTES])
{
	int old = match(set, before, endpoint);
	size_t i = set->bound_sockets_n;

	set->bound_sockets[i] =
	    old >= 0 ? same_bound_socket(set, before, before->bound_sockets[old], endpoint)
		     : make_bound_socket(set, before, endpoint, error);
	if (!set->bound_sockets[i])
		return false;
	set->protocols[i] = endpoint->protocol;
	set->numbers[i] = old >= 0 && before->protocols[old] == endpoint->protocol
			      ? before->numbers[old]
			      : listen_free_number(set);
	*set->topics[i] = '\0';
	set->bound_sockets_n++;
	endpoint->address = set->bound_sockets[i]->address;
	/* Then there is one socket for all workers, whoever made it. */
	if (set->bound_sockets[i]->single && listen_mode(set, i) == ACCEPT_REUSEPORT)
		endpoint->accept = ACCEPT_SHARED;
	return bound_socket_widen(set->bound_sockets[i], listen_width(set, i), error) &&
	       open_accounts(set, i, error);
}

static void warn_of_somaxconn(uint64_t backlog)
{
	FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
	unsigned long long max = 0;

	if (!file)
		return;
	if (fscanf(file, "%llu", &max) == 1 && backlog > max)
		log_warn("net.core.somaxconn cuts the backlog", LOG_NUMBER("backlog", backlog),
			 LOG_NUMBER("somaxconn", max));
	(void)fclose(file);
}

/* ---- one LISTENER of several addresses ---- */

/* Leaves out an address that this machine does not have: no such family, or no such address. */
static bool leave_out(struct config *config, size_t i, int reason)
{
	struct endpoint *endpoint = &config->listeners[i];
	char text[ENDPOINT_TEXT_BYTES];

	if ((reason != EADDRNOTAVAIL && reason != EAFNOSUPPORT) ||
	    (!endpoint->joined && addresses_n(config, i) == 1))
		return false;
	endpoint_format(endpoint, text);
	log_warn("an address of a name is left out", LOG_TEXT("listener", text),
		 LOG_TEXT("error", strerror(reason)));
	if (!endpoint->joined)
		endpoint[1].joined = false;
	config->listeners_n--;
	memmove(endpoint, endpoint + 1, (config->listeners_n - i) * sizeof *endpoint);
	return true;
}

/* If somebody else has the port that the kernel chose, at another address of this LISTENER, all of
 * its addresses close, to try another port. */
static bool leave_port(struct listen_set *set, const struct listen_set *before, int reason,
		       unsigned *tries)
{
	struct endpoint *endpoints = set->config->listeners;
	size_t i = set->bound_sockets_n, first = first_address(set->config, i);

	if (reason != EADDRINUSE || !endpoints[i].joined || address_port(&endpoints[i].address) ||
	    ++*tries > PORT_TRIES)
		return false;
	for (size_t k = first; k < i; k++)
		if (listen_place(before, set->bound_sockets[k]) >= 0)
			return false;
	while (i-- > first) {
		endpoints[i].address = set->bound_sockets[i]->asked;
		bound_socket_close(set->bound_sockets[i], false);
	}
	set->bound_sockets_n = first;
	return true;
}

/* ---- topics ---- */

void listen_name_topic(const struct protocol *protocol, const struct address *address,
		       char name[LISTEN_TOPIC_BYTES])
{
	char text[ADDRESS_TEXT_BYTES];

	address_format(address, text);
	(void)snprintf(name, LISTEN_TOPIC_BYTES, "%.32s/%s", protocol->name, text);
}

static void set_topic(struct listen_set *set, size_t first, const char *name)
{
	for (size_t i = first, n = addresses_n(set->config, first); i < first + n; i++)
		(void)snprintf(set->topics[i], LISTEN_TOPIC_BYTES, "%s", name);
}

/* The one in `before`, if any of its addresses was there, so that connections that are moved go on
 * hearing everything. Of two LISTENERs that were one, the first one keeps it. */
static void keep_topic(struct listen_set *set, size_t first, const struct listen_set *before)
{
	size_t n = addresses_n(set->config, first);

	for (size_t i = first; i < first + n && !*set->topics[first]; i++) {
		int old = listen_find(before, set->numbers[i]);

		if (old >= 0 && *before->topics[old] && !listen_has_topic(set, before->topics[old]))
			set_topic(set, first, before->topics[old]);
	}
}

/* A name of its own. An address that was in a LISTENER with others may have left its name there. */
static void new_topic(struct listen_set *set, size_t first)
{
	char name[LISTEN_TOPIC_BYTES];
	size_t n;

	listen_name_topic(set->protocols[first], &set->bound_sockets[first]->address, name);
	n = strlen(name);
	for (unsigned again = 2; listen_has_topic(set, name); again++)
		(void)snprintf(name + n, sizeof name - n, "#%u", again);
	set_topic(set, first, name);
}

/* New names come last, so that they take none that another LISTENER keeps. */
static void name_topics(struct listen_set *set, const struct listen_set *before)
{
	for (int pass = 0; pass < 2; pass++)
		for (size_t first = 0; first < set->bound_sockets_n;
		     first += addresses_n(set->config, first)) {
			if (!set->protocols[first]->shares)
				continue;
			if (pass == 0)
				keep_topic(set, first, before);
			else if (!*set->topics[first])
				new_topic(set, first);
		}
}

bool listen_open(struct listen_set *set, struct config *config, const struct listen_set *before,
		 char error[CONFIG_ERROR_BYTES])
{
	unsigned tries = 0;

	if (!before)
		before = &listen_all.inherited;
	*set = (struct listen_set){.config = config, .slots = config->workers};
	listen_register(set);
	warn_of_somaxconn(config->backlog);
	while (set->bound_sockets_n < config->listeners_n) {
		size_t i = set->bound_sockets_n;

		errno = 0;
		if (!open_one(set, &config->listeners[i], before, error) &&
		    (set->bound_sockets_n > i ||
		     (!leave_out(config, i, errno) && !leave_port(set, before, errno, &tries)))) {
			listen_drop(set);
			return false;
		}
	}
	name_topics(set, before);
	return true;
}
