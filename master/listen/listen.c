#include "master/listen/listen_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "master/listen/activation.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"

struct listen_all listen_all;

const struct endpoint *listen_endpoint(const struct listen_set *set, size_t i)
{
	return &set->config->listeners[i];
}

enum accept_mode listen_mode(const struct listen_set *set, size_t i)
{
	return config_accept_mode(set->config, listen_endpoint(set, i));
}

size_t listen_width(const struct listen_set *set, size_t i)
{
	const struct bound_socket *bound = set->bound_sockets[i];

	if (set == &listen_all.inherited)
		return bound->fds_n;
	return listen_is_slots_own(set, i) ? set->slots : 1;
}

/* ---- which set has what ---- */

/* The n-th of all sets that are open, that of the master before us among them; NULL: none. */
static const struct listen_set *set_at(size_t n)
{
	return n == 0		      ? &listen_all.inherited
	       : n <= LISTEN_SETS_MAX ? listen_all.sets[n - 1]
				      : NULL;
}

int listen_place(const struct listen_set *set, const struct bound_socket *bound)
{
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		if (set->bound_sockets[i] == bound)
			return (int)i;
	return -1;
}

/* How many sockets of this bound socket are needed by sets other than `but`. */
static size_t width_but(const struct bound_socket *bound, const struct listen_set *but)
{
	size_t widest = 0;

	for (size_t n = 0; n <= LISTEN_SETS_MAX; n++) {
		const struct listen_set *set = set_at(n);
		int i = set && set != but ? listen_place(set, bound) : -1;

		if (i >= 0 && listen_width(set, (size_t)i) > widest)
			widest = listen_width(set, (size_t)i);
	}
	return widest;
}

int listen_find(const struct listen_set *set, uint32_t number)
{
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		if (set->numbers[i] == number)
			return (int)i;
	return -1;
}

bool listen_has_topic(const struct listen_set *set, const char *name)
{
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		if (strcmp(set->topics[i], name) == 0)
			return true;
	return false;
}

uint32_t listen_free_number(const struct listen_set *set)
{
	for (uint32_t number = 0; number < LISTEN_NUMBERS_MAX; number++) {
		bool used = listen_has(set, number);

		for (size_t n = 0; n <= LISTEN_SETS_MAX && !used; n++)
			used = set_at(n) && listen_has(set_at(n), number);
		if (!used)
			return number;
	}
	CHECK(false); /* two sets and what is inherited have at most LISTEN_NUMBERS_MAX */
	return 0;
}

struct bound_socket *listen_free_bound_socket(void)
{
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (!listen_all.bound_sockets[i].used)
			return &listen_all.bound_sockets[i];
	CHECK(false);
	return NULL;
}

void listen_register(struct listen_set *set)
{
	for (size_t i = 0; i < LISTEN_SETS_MAX; i++) {
		if (!listen_all.sets[i]) {
			listen_all.sets[i] = set;
			return;
		}
	}
	CHECK(false); /* never more than two generations */
}

static bool is_open(const struct listen_set *set)
{
	for (size_t i = 0; i < LISTEN_SETS_MAX; i++)
		if (listen_all.sets[i] == set)
			return true;
	return false;
}

/* ---- serving ---- */

struct bound_socket_settings listen_settings(const struct config *config,
					     const struct endpoint *endpoint)
{
	return (struct bound_socket_settings){
	    .backlog = (int)config->backlog,
	    .mode = endpoint->mode,
	    .queue_bytes = endpoint->queue_bytes,
	    .send_queue_bytes = endpoint->send_queue_bytes,
	};
}

/* If the kernel can't steer, some clients come to a socket that goes, and are taken from there. */
static void set_width(struct bound_socket *bound, size_t n)
{
	int error = bound_socket_set_width(bound, n);

	if (error)
		log_warn("newcomers are not steered", LOG_TEXT("error", strerror(-error)));
}

void listen_serve(struct listen_set *set)
{
	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		struct bound_socket_settings settings =
		    listen_settings(set->config, listen_endpoint(set, i));

		set_width(set->bound_sockets[i], listen_width(set, i));
		bound_socket_set(set->bound_sockets[i], &settings);
	}
}

struct bound_socket *listen_inherit(const struct bound_socket *bound,
				    const struct protocol *protocol, uint32_t number)
{
	struct listen_set *set = &listen_all.inherited;
	struct bound_socket *mine;

	if (set->bound_sockets_n == LISTENERS_MAX || listen_has(set, number))
		return NULL;
	mine = listen_free_bound_socket();
	*mine = *bound;
	mine->used = mine->shared = true;
	mine->width_used = mine->fds_n;
	set->bound_sockets[set->bound_sockets_n] = mine;
	set->protocols[set->bound_sockets_n] = protocol;
	*set->topics[set->bound_sockets_n] = '\0';
	set->numbers[set->bound_sockets_n++] = number;
	return mine;
}

bool listen_inherited(int fd)
{
	const struct listen_set *set = &listen_all.inherited;

	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		const struct bound_socket *bound = set->bound_sockets[i];

		if (fd == bound->ledger || (bound->limiter.places && fd == bound->limiter.fd))
			return true;
		for (size_t n = 0; n < bound->fds_n; n++)
			if (fd == bound->fds[n])
				return true;
	}
	return false;
}

/* ---- dropping ---- */

/* listen_tidy() closes the spare sockets; those that nobody can have come to are closed at once. */
static void steer_past_spares(struct bound_socket *bound, size_t needed)
{
	bound_socket_narrow(bound, bound->width_used > needed ? bound->width_used : needed);
	if (bound_socket_set_width(bound, bound->reuseport_width < needed ? bound->reuseport_width
									  : needed))
		bound_socket_narrow(bound, needed); /* not steered: clients come to each */
	bound_socket_let_wait(bound, needed);
}

static void let_go(struct listen_set *set, size_t i)
{
	struct bound_socket *bound = set->bound_sockets[i];
	size_t needed = width_but(bound, set);

	if (!needed)
		bound_socket_close(bound, set->handed_over || bound->shared);
	else
		steer_past_spares(bound, needed);
}

void listen_drop(struct listen_set *set)
{
	if (!is_open(set))
		return;
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		let_go(set, i);
	for (size_t i = 0; i < LISTEN_SETS_MAX; i++)
		if (listen_all.sets[i] == set)
			listen_all.sets[i] = NULL;
	*set = (struct listen_set){0};
}

void listen_handed_over(struct listen_set *set, bool handed_over)
{
	set->handed_over = handed_over;
}

void listen_end_sharing(void (*took)(uint32_t number, int fd))
{
	struct listen_set *set = &listen_all.inherited;

	for (size_t i = 0; i < set->bound_sockets_n; i++)
		set->bound_sockets[i]->shared = false;
	listen_take(set, 0, took);
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		let_go(set, i);
	*set = (struct listen_set){0};
}

size_t listen_left(uint32_t numbers[LISTENERS_MAX])
{
	const struct listen_set *set = &listen_all.inherited;
	size_t n = 0;

	for (size_t i = 0; i < set->bound_sockets_n; i++)
		if (!width_but(set->bound_sockets[i], set))
			numbers[n++] = set->numbers[i];
	return n;
}

/* ---- slots come and go ---- */

bool listen_add_slots(struct listen_set *set, size_t slots, char error[CONFIG_ERROR_BYTES])
{
	size_t before = set->slots;

	CHECK(slots >= before && slots <= WORKERS_MAX);
	set->slots = slots;
	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		if (!bound_socket_widen(set->bound_sockets[i], listen_width(set, i), error)) {
			listen_close_slots(set, before);
			return false;
		}
	}
	return true;
}

void listen_steer_away(struct listen_set *set, size_t first_slot_that_goes)
{
	CHECK(first_slot_that_goes);
	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		size_t n = listen_width(set, i);

		set_width(set->bound_sockets[i],
			  n < first_slot_that_goes ? n : first_slot_that_goes);
	}
}

void listen_close_slots(struct listen_set *set, size_t slots)
{
	CHECK(slots && slots <= set->slots);
	set->slots = slots;
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		steer_past_spares(set->bound_sockets[i], width_but(set->bound_sockets[i], NULL));
}

void listen_tidy(struct listen_set *set, bool close, void (*took)(uint32_t number, int fd))
{
	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		struct bound_socket *bound = set->bound_sockets[i];
		size_t needed = width_but(bound, NULL);

		for (size_t n = needed; n < bound->fds_n; n++)
			bound_socket_take(bound, n, set->numbers[i], took);
		if (close)
			bound_socket_narrow(bound, needed);
	}
}

/* ---- clients that wait ---- */

void listen_take(struct listen_set *set, size_t slots, void (*took)(uint32_t number, int fd))
{
	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		size_t others = width_but(set->bound_sockets[i], set);

		for (size_t n = slots > others ? slots : others; n < listen_width(set, i); n++)
			bound_socket_take(set->bound_sockets[i], n, set->numbers[i], took);
	}
}

void listen_retire(struct listen_set *set, void (*took)(uint32_t number, int fd))
{
	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		if (width_but(set->bound_sockets[i], set))
			continue;
		for (size_t n = 0; n < listen_width(set, i); n++)
			bound_socket_take(set->bound_sockets[i], n, set->numbers[i], took);
		bound_socket_close_sockets(set->bound_sockets[i]);
	}
}

void listen_refuse(struct listen_set *set, size_t slot)
{
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		if (listen_is_slots_own(set, i))
			bound_socket_take(set->bound_sockets[i], slot, set->numbers[i], NULL);
}

void listen_refuse_all(struct listen_set *set)
{
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		for (size_t n = 0; n < listen_width(set, i); n++)
			bound_socket_take(set->bound_sockets[i], n, set->numbers[i], NULL);
}

void listen_stop(struct listen_set *set)
{
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		bound_socket_close_sockets(set->bound_sockets[i]);
}

/* ---- what others ask ---- */

void listen_numbers(const struct listen_set *set, uint32_t numbers[LISTENERS_MAX])
{
	memcpy(numbers, set->numbers, sizeof set->numbers);
}

void listen_topics(const struct listen_set *set, const char *topics[LISTENERS_MAX])
{
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		topics[i] = *set->topics[i] ? set->topics[i] : NULL;
}

bool listen_is_slots_own(const struct listen_set *set, size_t listener)
{
	return !set->bound_sockets[listener]->single &&
	       listen_mode(set, listener) == ACCEPT_REUSEPORT;
}

int listen_master_socket(const struct listen_set *set, size_t listener)
{
	const struct bound_socket *bound = set->bound_sockets[listener];

	return bound->fds_n ? bound->fds[0] : -1;
}

void listen_for_slot(const struct listen_set *set, size_t slot, int fds[LISTENERS_MAX])
{
	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		size_t n = listen_is_slots_own(set, i) ? slot : 0;

		fds[i] = listen_mode(set, i) != ACCEPT_HANDOFF && n < set->bound_sockets[i]->fds_n
			     ? set->bound_sockets[i]->fds[n]
			     : -1;
	}
}

bool listen_keeps(const struct listen_set *other, const struct listen_set *set, size_t listener,
		  size_t slot)
{
	int i = listen_place(other, set->bound_sockets[listener]);

	return i >= 0 &&
	       (listen_is_slots_own(set, listener) ? slot : 0) < listen_width(other, (size_t)i);
}

bool listen_borrowed(const struct listen_set *set, size_t listener)
{
	return set->bound_sockets[listener]->borrowed;
}
