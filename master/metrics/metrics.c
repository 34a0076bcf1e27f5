#include "master/metrics/metrics_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/listen/bound_socket.h"
#include "reactor/base/check.h"
#include "reactor/loop/listener.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"

#define BUFFERS_BYTES (4u << 20)
#define IDLE_MS	      75000 /* longer than most scrape intervals */
#define WRITE_MS      5000
#define REQUEST_MS    5000
#define BACKLOG	      1024
#define SPARE_PLACES  8 /* for clients that come together: others make room a moment later */

/* One of our addresses. */
struct place {
	struct bound_socket bound; /* not in use: this place is free */
	bool wanted;		   /* by the newest configuration, which serves or is staged */
	bool staged;		   /* opened for that one, which does not serve yet */
	bool shared;		   /* the socket, and its file, are another master's still */
	bool serving;
	struct listener listener; /* while it serves */
};

#define PLACES_MAX (2 * METRICS_ADDRESSES_MAX) /* of two configurations */

static struct {
	const struct metrics_owner *owner; /* NULL: not begun */
	struct place places[PLACES_MAX];
	struct metrics_inherited unclaimed; /* inherited, and not ours to serve */
	bool serving, left;
	struct conn_table table;
	bool has_table;
	struct service service;
	struct stats stats; /* of these connections alone */
} metrics;

#define EACH_PLACE(place)                                                                          \
	for (struct place *place = metrics.places; place < metrics.places + PLACES_MAX; place++)   \
		if (place->bound.used)

/* ---- where ---- */

static struct endpoint endpoint_of(const struct address *address)
{
	return (struct endpoint){.protocol = &metrics_protocol, .address = *address, .accept = -1};
}

static struct place *place_of(const struct address *address)
{
	EACH_PLACE (place)
		if (address_is_same(&place->bound.asked, address))
			return place;
	return NULL;
}

static struct place *free_place(void)
{
	for (struct place *place = metrics.places; place < metrics.places + PLACES_MAX; place++)
		if (!place->bound.used)
			return place;
	CHECK(false); /* two configurations have at most as many */
	return NULL;
}

/* The port that the kernel chose for one address of a name is that of the others, too. */
static struct address at_same_port(const struct address *address, const struct config *config)
{
	struct address there = *address;

	for (size_t i = 0; i < config->metrics_n && !address_is_unix(&there); i++) {
		const struct place *other = place_of(&config->metrics_at[i]);

		if (other && !address_port(&there))
			address_set_port(&there, address_port(&other->bound.address));
	}
	return there;
}

static const struct bound_socket_settings settings = {.backlog = BACKLOG};

/* 0, or -errno and what failed: the address is said as it was given, without a scheme. */
static int open_there(struct bound_socket *bound, const struct endpoint *endpoint, bool alone,
		      char error[CONFIG_ERROR_BYTES])
{
	char text[ADDRESS_TEXT_BYTES];
	const char *step;
	int failure = bound_socket_open(bound, endpoint, &settings, NULL, alone, &step);

	if (failure) {
		address_format(&endpoint->address, text);
		(void)snprintf(error, CONFIG_ERROR_BYTES, "metrics %s: %s: %s", text, step,
			       strerror(-failure));
	}
	return failure;
}

/* Does nothing of ours, or of the master before us, overlap this address? */
static bool is_alone(const struct endpoint *endpoint)
{
	EACH_PLACE (place)
		if (bound_socket_overlaps(&place->bound, endpoint))
			return false;
	return !metrics.unclaimed.n;
}

static bool is_left_out(const struct address *address, int reason, size_t others, const char *error)
{
	char text[ADDRESS_TEXT_BYTES];

	if ((reason != EADDRNOTAVAIL && reason != EAFNOSUPPORT) || !others)
		return false;
	address_format(address, text);
	log_warn("an address of a name is left out", LOG_TEXT("metrics", text),
		 LOG_TEXT("error", error));
	return true;
}

/* NULL: it can't be had; *failure is why, -errno. */
static struct place *open_place(const struct config *config, const struct address *address,
				int *failure, char error[CONFIG_ERROR_BYTES])
{
	struct address there = at_same_port(address, config);
	struct endpoint endpoint = endpoint_of(&there);
	struct place *place = free_place();

	*failure = open_there(&place->bound, &endpoint, is_alone(&endpoint), error);
	if (*failure)
		return NULL;
	place->bound.asked = *address;
	place->staged = true;
	return place;
}

/* The place itself, or a new one if its socket file is lost; if that can't be had, the old one is
 * as good as it was. */
static struct place *same_place(const struct config *config, struct place *place)
{
	char error[CONFIG_ERROR_BYTES];
	struct place *anew;
	int failure;

	if (!bound_socket_is_lost(&place->bound))
		return place;
	anew = open_place(config, &place->bound.asked, &failure, error);
	if (!anew)
		log_warn("a socket file that was removed does not come back",
			 LOG_TEXT("error", error));
	return anew ? anew : place;
}

/* Places for all addresses. One that this machine does not have is left out, if the name has
 * others. */
static bool open_places(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	size_t left = config->metrics_n;

	EACH_PLACE (place)
		place->wanted = false;
	for (size_t i = 0; i < config->metrics_n; i++) {
		const struct address *address = &config->metrics_at[i];
		struct place *place = place_of(address);
		int failure = 0;

		place = place ? same_place(config, place)
			      : open_place(config, address, &failure, error);
		if (place)
			place->wanted = true;
		else if (!is_left_out(address, -failure, --left, error))
			return false;
	}
	return true;
}

static void add_unclaimed(int fd, const struct socket_file *file)
{
	struct metrics_inherited *unclaimed = &metrics.unclaimed;

	unclaimed->fds[unclaimed->n] = fd;
	unclaimed->files[unclaimed->n++] = *file;
}

static void adopt_places(const struct config *config, const struct metrics_inherited *inherited)
{
	for (size_t i = 0; i < inherited->n; i++) {
		bool adopted = false;

		for (size_t j = 0; j < config->metrics_n && !adopted; j++) {
			struct endpoint endpoint = endpoint_of(&config->metrics_at[j]);
			struct place *place = free_place();
			char at[ADDRESS_TEXT_BYTES];

			address_format(&endpoint.address, at);
			adopted = !place_of(&endpoint.address) &&
				  strcmp(at, inherited->at[i]) == 0 &&
				  bound_socket_adopt(&place->bound, &endpoint, &settings,
						     inherited->fds[i], &inherited->files[i]);
			place->shared = adopted;
		}
		if (!adopted)
			add_unclaimed(inherited->fds[i], &inherited->files[i]);
	}
}

bool metrics_bind(const struct config *config, const struct metrics_inherited *inherited,
		  char error[CONFIG_ERROR_BYTES])
{
	adopt_places(config, inherited);
	if (!open_places(config, error))
		return false;
	EACH_PLACE (place) {
		place->staged = false;
		if (place->wanted)
			continue;
		add_unclaimed(place->bound.fds[0], &place->bound.file);
		socket_file_forget(&place->bound.file);
		place->bound = (struct bound_socket){.ledger = -1};
	}
	return true;
}

/* Closes what the other master had and nobody uses now: clients that come there are refused. */
static void close_unclaimed(void)
{
	struct metrics_inherited *unclaimed = &metrics.unclaimed;

	while (unclaimed->n) {
		int fd = unclaimed->fds[--unclaimed->n];
		const struct socket_file *known = &unclaimed->files[unclaimed->n];
		struct address bound = {.bytes = sizeof bound.socket};
		struct socket_file file;

		if (getsockname(fd, (struct sockaddr *)&bound.socket, &bound.bytes) == 0 &&
		    address_path(&bound) && known->inode &&
		    socket_file_adopt(&file, address_path(&bound), known->device, known->inode))
			socket_file_remove(&file, address_path(&bound));
		(void)shutdown(fd, SHUT_RDWR);
		(void)close(fd);
	}
}

/* ---- who comes ---- */

static bool room(struct listener *listener)
{
	(void)listener;
	if (!conn_table_full(&metrics.table))
		return true;
	metrics_make_room(&metrics.table);
	return false;
}

/* The last quarter of the descriptors is for workers, and for weirctl. The kernel gives the lowest
 * free number, so the number tells how many are used. */
static bool is_one_too_many(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd >= limit.rlim_cur / 4 * 3;
}

/* CONN_PASSED, because a worker that is being forked has a copy for a moment, and the registration
 * must not outlive our close(). */
static void accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	(void)listener;
	if (is_one_too_many(fd)) {
		rights_close(fd);
		return;
	}
	conn_open(&metrics.service, fd, CONN_PASSED, peer);
	if (metrics.table.conns.used > METRICS_CONNECTIONS - SPARE_PLACES)
		metrics_make_room(&metrics.table);
}

static const struct listener_owner listener_owner = {.room = room, .accepted = accepted};

static void has_room(struct conn_table *table)
{
	(void)table;
	EACH_PLACE (place)
		if (place->serving)
			listener_has_room(metrics.owner->loop, &place->listener);
}

/* Its counters are its own, so that they do not mix with those of what the master does for
 * workers. */
static int table_open(void)
{
	static const struct conn_limits limits = {
	    .high_water = 256 << 10,
	    .low_water = 64 << 10,
	    .idle_ms = IDLE_MS,
	    .write_ms = WRITE_MS,
	    .request_ms = REQUEST_MS,
	    .connections_max = METRICS_CONNECTIONS,
	};
	int error;

	if (metrics.has_table)
		return 0;
	error = conn_table_open_counting(&metrics.table, metrics.owner->loop, &metrics.stats,
					 &limits, BUFFERS_BYTES);
	if (error) {
		conn_table_close(&metrics.table);
		return error;
	}
	metrics.table.on_room = has_room;
	metrics.service = (struct service){.protocol = &metrics_protocol,
					   .table = &metrics.table,
					   .local = true /* some may be */};
	metrics.has_table = true;
	return 0;
}

static void listen_at(struct place *place)
{
	char text[ADDRESS_TEXT_BYTES];
	int fd, error;

	CHECK(metrics.has_table);
	fd = fcntl(place->bound.fds[0], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	error = fd < 0 ? -errno : 0;
	if (!error) {
		listener_reopen(&place->listener, fd);
		place->serving = true;
		(void)listener_resume(metrics.owner->loop, &place->listener);
	}
	address_format(&place->bound.address, text);
	if (error)
		log_error("metrics are not served", LOG_TEXT("address", text),
			  LOG_TEXT("error", strerror(-error)));
	else
		log_info("metrics", LOG_TEXT("address", text));
}

static void stop_listening(struct place *place)
{
	if (place->serving)
		listener_close(metrics.owner->loop, &place->listener);
	place->serving = false;
}

/* ---- its life ---- */

static size_t metrics_n(void)
{
	size_t n = 0;

	EACH_PLACE (place)
		n++;
	return n;
}

void metrics_begin(const struct metrics_owner *owner)
{
	int error;

	metrics.owner = owner;
	metrics_http_begin(owner, &metrics.table);
	for (size_t i = 0; i < PLACES_MAX; i++)
		listener_init(&metrics.places[i].listener, -1, &listener_owner, &metrics.stats);
	error = metrics_n() ? table_open() : 0;
	if (error)
		die("metrics: memory for connections: %s", strerror(-error));
}

/* The next master, which has gone, may have shut the socket down. */
static void bind_again(struct place *place)
{
	struct endpoint endpoint = endpoint_of(&place->bound.asked);
	char error[CONFIG_ERROR_BYTES];
	int listens = 0;
	socklen_t n = sizeof listens;

	if (getsockopt(place->bound.fds[0], SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) == 0 &&
	    listens)
		return;
	bound_socket_close(&place->bound, true);
	if (open_there(&place->bound, &endpoint, true, error))
		log_error("metrics are not served", LOG_TEXT("error", error));
}

void metrics_serve(void)
{
	if (metrics.serving)
		return;
	close_unclaimed();
	EACH_PLACE (place) {
		if (metrics.left)
			bind_again(place);
		place->shared = false;
	}
	metrics.left = metrics.table.draining = false;
	metrics.serving = true;
	EACH_PLACE (place)
		listen_at(place);
}

void metrics_leave(void)
{
	EACH_PLACE (place)
		stop_listening(place);
	metrics.serving = false;
	metrics.left = true;
	if (metrics.has_table)
		conn_table_drain(&metrics.table);
}

bool metrics_is_busy(void)
{
	return metrics.has_table && metrics.table.conns.used != 0;
}

bool metrics_at(char text[METRICS_TEXT_BYTES])
{
	char one[ADDRESS_TEXT_BYTES];
	size_t n = 0;

	*text = '\0';
	EACH_PLACE (place) {
		if (!place->serving || n >= METRICS_TEXT_BYTES)
			continue;
		address_format(&place->bound.address, one);
		n += (size_t)snprintf(text + n, METRICS_TEXT_BYTES - n, "%s%s", n ? " " : "", one);
	}
	return n != 0;
}

void metrics_export(struct metrics_inherited *inherited)
{
	inherited->n = 0;
	EACH_PLACE (place) {
		if (inherited->n == METRICS_ADDRESSES_MAX) /* more, while a reload moves them */
			break;
		inherited->fds[inherited->n] = place->bound.fds[0];
		inherited->files[inherited->n] = place->bound.file;
		address_format(&place->bound.asked, inherited->at[inherited->n++]);
	}
}

void metrics_close(void)
{
	if (metrics.owner) {
		EACH_PLACE (place)
			stop_listening(place);
		if (metrics.has_table)
			conn_table_close(&metrics.table);
		metrics.has_table = metrics.serving = false;
	}
	EACH_PLACE (place)
		bound_socket_close(&place->bound,
				   !place->staged && (metrics.left || place->shared));
}

/* ---- a reload ---- */

bool metrics_stage(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	int failure = config->metrics_n ? table_open() : 0;

	if (failure) {
		(void)snprintf(error, CONFIG_ERROR_BYTES, "metrics: memory for connections: %s",
			       strerror(-failure));
		return false;
	}
	if (open_places(config, error))
		return true;
	metrics_conclude(false);
	return false;
}

void metrics_conclude(bool staged)
{
	EACH_PLACE (place) {
		bool stays = staged ? place->wanted : !place->staged;

		if (!stays) {
			stop_listening(place);
			bound_socket_close(&place->bound, false);
		} else if (place->staged) {
			listen_at(place);
		}
		place->staged = false;
	}
}
