#include "master/listen_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "master/activation.h"
#include "reactor/check.h"
#include "reactor/log.h"

#define SETS_MAX 2

static struct {
	struct point points[LISTEN_NUMBERS_MAX];
	struct listen_set *sets[SETS_MAX]; /* that are open */
	struct listen_set inherited;	   /* of the master before us, until it has gone */
} listeners;

static const struct endpoint *endpoint_of(const struct listen_set *set, size_t i)
{
	return &set->config->listeners[i];
}

static enum accept_mode mode_of(const struct listen_set *set, size_t i)
{
	return config_accept_mode(set->config, endpoint_of(set, i));
}

/* How many of the point's sockets this set has: the first ones. */
static size_t width(const struct listen_set *set, size_t i)
{
	const struct point *point = set->points[i];

	if (set == &listeners.inherited)
		return point->fds_n;
	return listen_is_slots_own(set, i) ? set->slots : 1;
}

/* ---- who has what ---- */

/* The n-th of all sets that are open, that of the master before us among them; NULL: none. */
static const struct listen_set *set_at(size_t n)
{
	return n == 0 ? &listeners.inherited : n <= SETS_MAX ? listeners.sets[n - 1] : NULL;
}

static int place_in(const struct listen_set *set, const struct point *point)
{
	for (size_t i = 0; i < set->points_n; i++)
		if (set->points[i] == point)
			return (int)i;
	return -1;
}

/* How many of a point's sockets are needed by others than `but`. */
static size_t width_but(const struct point *point, const struct listen_set *but)
{
	size_t widest = 0;

	for (size_t n = 0; n <= SETS_MAX; n++) {
		const struct listen_set *set = set_at(n);
		int i = set && set != but ? place_in(set, point) : -1;

		if (i >= 0 && width(set, (size_t)i) > widest)
			widest = width(set, (size_t)i);
	}
	return widest;
}

int listen_find(const struct listen_set *set, uint32_t number)
{
	for (size_t i = 0; i < set->points_n; i++)
		if (set->numbers[i] == number)
			return (int)i;
	return -1;
}

static uint32_t lowest_free_number(const struct listen_set *set)
{
	for (uint32_t number = 0; number < LISTEN_NUMBERS_MAX; number++) {
		bool used = listen_has(set, number);

		for (size_t n = 0; n <= SETS_MAX && !used; n++)
			used = set_at(n) && listen_has(set_at(n), number);
		if (!used)
			return number;
	}
	CHECK(false); /* two sets and what is inherited have at most LISTEN_NUMBERS_MAX */
	return 0;
}

static struct point *free_point(void)
{
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (!listeners.points[i].used)
			return &listeners.points[i];
	CHECK(false);
	return NULL;
}

static void register_set(struct listen_set *set)
{
	for (size_t i = 0; i < SETS_MAX; i++) {
		if (!listeners.sets[i]) {
			listeners.sets[i] = set;
			return;
		}
	}
	CHECK(false); /* never more than two generations */
}

static bool is_open(const struct listen_set *set)
{
	for (size_t i = 0; i < SETS_MAX; i++)
		if (listeners.sets[i] == set)
			return true;
	return false;
}

/* ---- opening ---- */

static struct point_settings settings_of(const struct config *config,
					 const struct endpoint *endpoint)
{
	return (struct point_settings){
	    .backlog = (int)config->backlog,
	    .mode = endpoint->mode,
	    .queue_bytes = endpoint->queue_bytes,
	    .send_queue_bytes = endpoint->send_queue_bytes,
	};
}

/* That of the same protocol first: several listeners may have asked for any port of one
 * address, and theirs are told apart by that alone. */
static int match(const struct listen_set *set, const struct listen_set *before,
		 const struct endpoint *endpoint)
{
	for (int same = 1; same >= 0; same--)
		for (size_t i = 0; i < before->points_n; i++) {
			const struct point *point = before->points[i];
			bool any_port = !address_is_unix(&endpoint->address) &&
					!address_port(&endpoint->address);

			if (point_is_at(point, endpoint) && place_in(set, point) < 0 &&
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

static struct point *make_point(const struct config *config, const struct endpoint *endpoint,
				char error[CONFIG_ERROR_BYTES])
{
	struct point_settings settings = settings_of(config, endpoint);
	struct point *point = free_point();
	bool alone = true;

	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (listeners.points[i].used && point_overlaps(&listeners.points[i], endpoint))
			alone = false;
	if (!point_open(point, endpoint, &settings, inherited_socket(endpoint), alone, error))
		return NULL;
	return point;
}

/* What the workers' sockets of one listener share; its memory is the point's. */
static bool open_accounts(struct listen_set *set, size_t i, char error[CONFIG_ERROR_BYTES])
{
	uint64_t rate = endpoint_of(set, i)->rate;
	struct point *point = set->points[i];

	if (!point->datagrams)
		return true;
	if (point_keep_accounts(point, rate)) {
		(void)snprintf(error, CONFIG_ERROR_BYTES,
			       "shared memory for a listener of datagrams: %s", strerror(ENOMEM));
		return false;
	}
	set->ledgers[i] = (struct datagram_ledger){.dropped = point->dropped};
	if (rate) {
		set->limiters[i] = point->limiter;
		limiter_set_rate(&set->limiters[i], rate);
		set->ledgers[i].limiter = &set->limiters[i];
	}
	return true;
}

/* That of the set before; but where its socket file is lost, a new one is made, with the same
 * number: its connections move as ever, and who waits at the old socket is let in by the old
 * workers. Where that can't be, it is as good as it was. */
static struct point *same_point(const struct listen_set *set, struct point *point,
				const struct endpoint *endpoint)
{
	char error[CONFIG_ERROR_BYTES];
	struct point *anew;

	if (!point_is_lost(point))
		return point;
	anew = make_point(set->config, endpoint, error);
	if (!anew)
		log_warn("a socket file that was removed does not come back",
			 LOG_TEXT("error", error));
	return anew ? anew : point;
}

static bool open_one(struct listen_set *set, struct endpoint *endpoint,
		     const struct listen_set *before, char error[CONFIG_ERROR_BYTES])
{
	int old = match(set, before, endpoint);
	size_t i = set->points_n;

	set->points[i] = old >= 0 ? same_point(set, before->points[old], endpoint)
				  : make_point(set->config, endpoint, error);
	if (!set->points[i])
		return false;
	set->protocols[i] = endpoint->protocol;
	set->numbers[i] = old >= 0 && before->protocols[old] == endpoint->protocol
			      ? before->numbers[old]
			      : lowest_free_number(set);
	set->points_n++;
	endpoint->address = set->points[i]->bound;
	/* One socket is for all workers then, whoever made it. */
	if (set->points[i]->single && mode_of(set, i) == ACCEPT_REUSEPORT)
		endpoint->accept = ACCEPT_SHARED;
	return point_widen(set->points[i], width(set, i), error) && open_accounts(set, i, error);
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

bool listen_open(struct listen_set *set, struct config *config, const struct listen_set *before,
		 char error[CONFIG_ERROR_BYTES])
{
	*set = (struct listen_set){.config = config, .slots = config->workers};
	register_set(set);
	warn_of_somaxconn(config->backlog);
	for (size_t i = 0; i < config->listeners_n; i++) {
		if (!open_one(set, &config->listeners[i], before ? before : &listeners.inherited,
			      error)) {
			listen_drop(set);
			return false;
		}
	}
	return true;
}

/* Where the kernel does not steer, some come to a socket that goes, and are taken from there. */
static void feed(struct point *point, size_t n)
{
	int error = point_feed(point, n);

	if (error)
		log_warn("newcomers are not steered", LOG_TEXT("error", strerror(-error)));
}

void listen_serve(struct listen_set *set)
{
	for (size_t i = 0; i < set->points_n; i++) {
		struct point_settings settings = settings_of(set->config, endpoint_of(set, i));

		feed(set->points[i], width(set, i));
		point_set(set->points[i], &settings);
	}
}

struct point *listen_inherit(const struct point *point, const struct protocol *protocol,
			     uint32_t number)
{
	struct listen_set *set = &listeners.inherited;
	struct point *mine;

	if (set->points_n == LISTENERS_MAX || listen_has(set, number))
		return NULL;
	mine = free_point();
	*mine = *point;
	mine->used = mine->guest = true;
	mine->reached = mine->fds_n;
	set->points[set->points_n] = mine;
	set->protocols[set->points_n] = protocol;
	set->numbers[set->points_n++] = number;
	return mine;
}

bool listen_inherited(int fd)
{
	const struct listen_set *set = &listeners.inherited;

	for (size_t i = 0; i < set->points_n; i++) {
		const struct point *point = set->points[i];

		if (fd == point->ledger || (point->limiter.places && fd == point->limiter.fd))
			return true;
		for (size_t n = 0; n < point->fds_n; n++)
			if (fd == point->fds[n])
				return true;
	}
	return false;
}

/* ---- dropping ---- */

/* listen_tidy() closes them, but for those that nobody can have come to. */
static void steer_past_spares(struct point *point, size_t needed)
{
	point_narrow(point, point->reached > needed ? point->reached : needed);
	if (point_feed(point, point->fed < needed ? point->fed : needed))
		point_narrow(point, needed); /* somebody comes to each of them */
	point_let_wait(point, needed);
}

static void let_go(struct listen_set *set, size_t i)
{
	struct point *point = set->points[i];
	size_t needed = width_but(point, set);

	if (!needed)
		point_close(point, set->handed_over || point->guest);
	else
		steer_past_spares(point, needed);
}

void listen_drop(struct listen_set *set)
{
	if (!is_open(set))
		return;
	for (size_t i = 0; i < set->points_n; i++)
		let_go(set, i);
	for (size_t i = 0; i < SETS_MAX; i++)
		if (listeners.sets[i] == set)
			listeners.sets[i] = NULL;
	*set = (struct listen_set){0};
}

void listen_handed_over(struct listen_set *set, bool handed_over)
{
	set->handed_over = handed_over;
}

void listen_settle(void (*took)(uint32_t number, int fd))
{
	struct listen_set *set = &listeners.inherited;

	for (size_t i = 0; i < set->points_n; i++)
		set->points[i]->guest = false;
	listen_take(set, 0, took);
	for (size_t i = 0; i < set->points_n; i++)
		let_go(set, i);
	*set = (struct listen_set){0};
}

size_t listen_left(uint32_t numbers[LISTENERS_MAX])
{
	const struct listen_set *set = &listeners.inherited;
	size_t n = 0;

	for (size_t i = 0; i < set->points_n; i++)
		if (!width_but(set->points[i], set))
			numbers[n++] = set->numbers[i];
	return n;
}

/* ---- slots come and go ---- */

bool listen_add_slots(struct listen_set *set, size_t slots, char error[CONFIG_ERROR_BYTES])
{
	size_t before = set->slots;

	CHECK(slots >= before && slots <= WORKERS_MAX);
	set->slots = slots;
	for (size_t i = 0; i < set->points_n; i++) {
		if (!point_widen(set->points[i], width(set, i), error)) {
			listen_close_slots(set, before);
			return false;
		}
	}
	return true;
}

void listen_steer_away(struct listen_set *set, size_t first_slot_that_goes)
{
	CHECK(first_slot_that_goes);
	for (size_t i = 0; i < set->points_n; i++) {
		size_t n = width(set, i);

		feed(set->points[i], n < first_slot_that_goes ? n : first_slot_that_goes);
	}
}

void listen_close_slots(struct listen_set *set, size_t slots)
{
	CHECK(slots && slots <= set->slots);
	set->slots = slots;
	for (size_t i = 0; i < set->points_n; i++)
		steer_past_spares(set->points[i], width_but(set->points[i], NULL));
}

void listen_tidy(struct listen_set *set, bool close, void (*took)(uint32_t number, int fd))
{
	for (size_t i = 0; i < set->points_n; i++) {
		struct point *point = set->points[i];
		size_t needed = width_but(point, NULL);

		for (size_t n = needed; n < point->fds_n; n++)
			point_take(point, n, set->numbers[i], took);
		if (close)
			point_narrow(point, needed);
	}
}

/* ---- who waits ---- */

void listen_take(struct listen_set *set, size_t slots, void (*took)(uint32_t number, int fd))
{
	for (size_t i = 0; i < set->points_n; i++) {
		size_t others = width_but(set->points[i], set);

		for (size_t n = slots > others ? slots : others; n < width(set, i); n++)
			point_take(set->points[i], n, set->numbers[i], took);
	}
}

void listen_retire(struct listen_set *set, void (*took)(uint32_t number, int fd))
{
	for (size_t i = 0; i < set->points_n; i++) {
		if (width_but(set->points[i], set))
			continue;
		for (size_t n = 0; n < width(set, i); n++)
			point_take(set->points[i], n, set->numbers[i], took);
		point_close_sockets(set->points[i]);
	}
}

void listen_refuse(struct listen_set *set, size_t slot)
{
	for (size_t i = 0; i < set->points_n; i++)
		if (listen_is_slots_own(set, i))
			point_take(set->points[i], slot, set->numbers[i], NULL);
}

void listen_refuse_all(struct listen_set *set)
{
	for (size_t i = 0; i < set->points_n; i++)
		for (size_t n = 0; n < width(set, i); n++)
			point_take(set->points[i], n, set->numbers[i], NULL);
}

void listen_stop(struct listen_set *set)
{
	for (size_t i = 0; i < set->points_n; i++)
		point_close_sockets(set->points[i]);
}

/* ---- questions ---- */

void listen_numbers(const struct listen_set *set, uint32_t numbers[LISTENERS_MAX])
{
	memcpy(numbers, set->numbers, sizeof set->numbers);
}

bool listen_is_slots_own(const struct listen_set *set, size_t listener)
{
	return !set->points[listener]->single && mode_of(set, listener) == ACCEPT_REUSEPORT;
}

int listen_master_socket(const struct listen_set *set, size_t listener)
{
	const struct point *point = set->points[listener];

	return point->fds_n ? point->fds[0] : -1;
}

void listen_for_slot(const struct listen_set *set, size_t slot, int fds[LISTENERS_MAX])
{
	for (size_t i = 0; i < set->points_n; i++) {
		size_t n = listen_is_slots_own(set, i) ? slot : 0;

		fds[i] = mode_of(set, i) != ACCEPT_HANDOFF && n < set->points[i]->fds_n
			     ? set->points[i]->fds[n]
			     : -1;
	}
}

bool listen_keeps(const struct listen_set *other, const struct listen_set *set, size_t listener,
		  size_t slot)
{
	int i = place_in(other, set->points[listener]);

	return i >= 0 && (listen_is_slots_own(set, listener) ? slot : 0) < width(other, (size_t)i);
}

bool listen_borrowed(const struct listen_set *set, size_t listener)
{
	return set->points[listener]->borrowed;
}
