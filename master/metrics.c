#include "master/metrics_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/point.h"
#include "reactor/check.h"
#include "reactor/listener.h"
#include "reactor/log.h"

#define BUFFERS_BYTES (4u << 20)
#define IDLE_MS	      75000 /* longer than most scrape intervals */
#define WRITE_MS      5000
#define REQUEST_MS    5000
#define BACKLOG	      256
#define QUIET_MS      1000 /* who has not moved a byte for so long makes room for others */

static struct {
	const struct metrics_owner *owner; /* NULL: not begun */
	struct point point;		   /* not used: there is no such address */
	struct point staged;
	enum { STAYS, MOVES, ENDS } plan;
	int stranger; /* inherited, and not where we are to be; -1: none */
	struct socket_file strangers_file;
	bool serving, left;
	bool guest; /* the socket, and its file, are another master's still */
	struct conn_table table;
	bool has_table;
	struct service service;
	struct stats stats;	      /* of these connections: nobody else's */
	struct listener listeners[2]; /* in turns: the one before may still be queued */
	unsigned current;
} metrics = {.stranger = -1};

const struct metrics_owner *metrics_owner(void)
{
	return metrics.owner;
}

bool metrics_is_pressed(void)
{
	return metrics.left || metrics.table.conns.used > METRICS_CONNECTIONS / 2;
}

/* ---- where ---- */

static struct endpoint endpoint_of(const struct address *address)
{
	return (struct endpoint){.protocol = &metrics_protocol, .address = *address, .accept = -1};
}

static bool is_there(const char *at, const struct endpoint *endpoint)
{
	char text[ADDRESS_TEXT_BYTES];

	address_format(&endpoint->address, text);
	return strcmp(text, at) == 0;
}

static const struct point_settings settings = {.backlog = BACKLOG};

/* An error of it is said without a scheme, as the address was given. */
static bool open_there(struct point *point, const struct endpoint *endpoint, bool alone,
		       char error[CONFIG_ERROR_BYTES])
{
	static const char with[] = "listening on metrics://", without[] = "metrics ";

	if (point_open(point, endpoint, &settings, NULL, alone, error))
		return true;
	if (strncmp(error, with, sizeof with - 1) == 0) {
		memmove(error + sizeof without - 1, error + sizeof with - 1,
			strlen(error + sizeof with - 1) + 1);
		memcpy(error, without, sizeof without - 1);
	}
	return false;
}

/* Where its socket file is lost. False: it is as good as it was. */
static bool stage_anew(const struct endpoint *endpoint)
{
	char error[CONFIG_ERROR_BYTES];
	bool there = open_there(&metrics.staged, endpoint, true, error);

	if (!there)
		log_warn("a socket file that was removed does not come back",
			 LOG_TEXT("error", error));
	return there;
}

bool metrics_bind(const struct config *config, const struct metrics_legacy *legacy,
		  char error[CONFIG_ERROR_BYTES])
{
	struct endpoint endpoint;

	metrics.stranger = legacy->fd;
	metrics.strangers_file = legacy->file;
	if (!config->metrics)
		return true;
	endpoint = endpoint_of(&config->metrics_at[0]);
	if (legacy->fd >= 0 && is_there(legacy->at, &endpoint) &&
	    point_adopt(&metrics.point, &endpoint, &settings, legacy->fd, &legacy->file)) {
		if (point_is_lost(&metrics.point) && stage_anew(&endpoint)) {
			metrics.point = metrics.staged;
			metrics.staged = (struct point){.ledger = -1};
			return true;
		}
		metrics.stranger = -1;
		metrics.guest = true;
		return true;
	}
	return open_there(&metrics.point, &endpoint, legacy->fd < 0, error);
}

/* The other master's, and of no use to anybody: who comes there is refused. */
static void dismiss_stranger(void)
{
	struct address bound = {.bytes = sizeof bound.socket};
	struct socket_file file;

	if (metrics.stranger < 0)
		return;
	if (getsockname(metrics.stranger, (struct sockaddr *)&bound.socket, &bound.bytes) == 0 &&
	    address_path(&bound) && metrics.strangers_file.inode &&
	    socket_file_adopt(&file, address_path(&bound), metrics.strangers_file.device,
			      metrics.strangers_file.inode))
		socket_file_remove(&file, address_path(&bound));
	(void)shutdown(metrics.stranger, SHUT_RDWR);
	(void)close(metrics.stranger);
	metrics.stranger = -1;
}

/* ---- who comes ---- */

/* One that has not moved a byte for the longest time, where that is long, and its own doing. */
static void make_room(void)
{
	uint32_t now_ms = metrics.owner->loop->now_ms;
	struct conn *conn, *quiet = NULL;
	size_t cursor = 0;

	while ((conn = pool_next(&metrics.table.conns, &cursor)))
		if (!conn->waiting && (!quiet || (int32_t)(conn->active_ms - quiet->active_ms) < 0))
			quiet = conn;
	if (quiet && time_reached(now_ms, quiet->active_ms + QUIET_MS))
		conn_abort(quiet, CLOSE_overload);
}

static bool room(struct listener *listener)
{
	(void)listener;
	if (!conn_table_full(&metrics.table))
		return true;
	make_room();
	return false;
}

/* The last quarter of the descriptors is for workers, and for whoever steers weir: the lowest that
 * is free was taken, so that its number tells. */
static bool is_one_too_many(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd >= limit.rlim_cur / 4 * 3;
}

/* A worker that is being forked has a copy for a moment: its registration must not outlive it. */
static void accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	(void)listener;
	if (is_one_too_many(fd)) {
		(void)close(fd);
		return;
	}
	conn_open(&metrics.service, fd, CONN_PASSED, peer);
}

static const struct listener_owner listener_owner = {.room = room, .accepted = accepted};

static void has_room(struct conn_table *table)
{
	(void)table;
	if (metrics.serving)
		listener_has_room(metrics.owner->loop, &metrics.listeners[metrics.current]);
}

/* Its counters are its own: they are no worker's, and not of what the master does for one. */
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
	struct loop *loop = metrics.owner->loop;
	struct stats *loops_own = loop->stats;
	int error;

	if (metrics.has_table)
		return 0;
	loop->stats = &metrics.stats;
	error = conn_table_open(&metrics.table, loop, &limits, BUFFERS_BYTES);
	loop->stats = loops_own;
	if (error) {
		conn_table_close(&metrics.table);
		return error;
	}
	metrics.table.on_room = has_room;
	metrics.service = (struct service){.protocol = &metrics_protocol, .table = &metrics.table};
	metrics.has_table = true;
	return 0;
}

static void listen_here(void)
{
	char text[ADDRESS_TEXT_BYTES];
	struct listener *listener;
	int fd, error;

	if (!metrics.point.used)
		return;
	CHECK(metrics.has_table);
	fd = fcntl(metrics.point.fds[0], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	error = fd < 0 ? -errno : 0;
	if (!error) {
		metrics.current ^= 1;
		listener = &metrics.listeners[metrics.current];
		listener_init(listener, fd, &listener_owner, &metrics.stats);
		metrics.serving = true;
		(void)listener_resume(metrics.owner->loop, listener);
	}
	address_format(&metrics.point.bound, text);
	if (error)
		log_error("metrics are not served", LOG_TEXT("address", text),
			  LOG_TEXT("error", strerror(-error)));
	else
		log_info("metrics", LOG_TEXT("address", text));
}

static void stop_listening(void)
{
	if (metrics.serving)
		listener_close(metrics.owner->loop, &metrics.listeners[metrics.current]);
	metrics.serving = false;
}

/* ---- its life ---- */

void metrics_begin(const struct metrics_owner *owner)
{
	int error;

	metrics.owner = owner;
	error = metrics.point.used ? table_open() : 0;
	if (error)
		die("metrics: memory for connections: %s", strerror(-error));
}

/* The next master, which has gone, may have ended it. */
static void bind_again(void)
{
	struct endpoint endpoint = {
	    .protocol = &metrics_protocol, .address = metrics.point.asked, .accept = -1};
	char error[CONFIG_ERROR_BYTES];
	int listens = 0;
	socklen_t n = sizeof listens;

	if (!metrics.point.used ||
	    (getsockopt(metrics.point.fds[0], SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) == 0 &&
	     listens))
		return;
	point_close(&metrics.point, true);
	if (!open_there(&metrics.point, &endpoint, true, error))
		log_error("metrics are not served", LOG_TEXT("error", error));
}

void metrics_serve(void)
{
	if (metrics.serving)
		return;
	dismiss_stranger();
	if (metrics.left)
		bind_again();
	metrics.left = metrics.guest = metrics.table.draining = false;
	listen_here();
}

void metrics_leave(void)
{
	stop_listening();
	metrics.left = true;
	if (metrics.has_table)
		conn_table_drain(&metrics.table);
}

bool metrics_is_busy(void)
{
	return metrics.has_table && metrics.table.conns.used != 0;
}

bool metrics_at(char text[ADDRESS_TEXT_BYTES])
{
	if (metrics.serving)
		address_format(&metrics.point.bound, text);
	return metrics.serving;
}

void metrics_bequeath(struct metrics_legacy *legacy)
{
	legacy->fd = metrics.point.used ? metrics.point.fds[0] : -1;
	legacy->file = metrics.point.file;
	if (metrics.point.used)
		address_format(&metrics.point.asked, legacy->at);
}

void metrics_close(void)
{
	if (metrics.owner) {
		stop_listening();
		if (metrics.has_table)
			conn_table_close(&metrics.table);
		metrics.has_table = false;
	}
	if (metrics.point.used)
		point_close(&metrics.point, metrics.left || metrics.guest);
	if (metrics.staged.used)
		point_close(&metrics.staged, false);
}

/* ---- a reload ---- */

bool metrics_stage(const struct config *config, char error[CONFIG_ERROR_BYTES])
{
	struct endpoint endpoint;
	char at[ADDRESS_TEXT_BYTES];
	int failure;

	metrics.plan = STAYS;
	if (!config->metrics) {
		if (metrics.point.used)
			metrics.plan = ENDS;
		return true;
	}
	endpoint = endpoint_of(&config->metrics_at[0]);
	if (metrics.point.used) {
		address_format(&metrics.point.asked, at);
		if (is_there(at, &endpoint)) {
			if (point_is_lost(&metrics.point) && stage_anew(&endpoint))
				metrics.plan = MOVES;
			return true;
		}
	}
	metrics.plan = MOVES;
	failure = table_open();
	if (failure) {
		(void)snprintf(error, CONFIG_ERROR_BYTES, "metrics: memory for connections: %s",
			       strerror(-failure));
		return false;
	}
	return open_there(&metrics.staged, &endpoint,
			  !metrics.point.used || !point_overlaps(&metrics.point, &endpoint), error);
}

void metrics_settle(bool staged)
{
	if (!staged) {
		if (metrics.staged.used)
			point_close(&metrics.staged, false);
		return;
	}
	if (metrics.plan == STAYS)
		return;
	stop_listening();
	if (metrics.point.used)
		point_close(&metrics.point, false);
	if (metrics.plan == MOVES) {
		metrics.point = metrics.staged;
		metrics.staged = (struct point){.ledger = -1};
	}
	metrics.plan = STAYS;
	listen_here();
}
