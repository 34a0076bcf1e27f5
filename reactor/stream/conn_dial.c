/*
 * A connection that is CONNECTING: one address after the other, until one takes it or none is left.
 *
 * With three addresses and 3 s, a silent first one costs 1 s; if the second refuses at once, the
 * third has the rest, 2 s. RFC 8305 would begin the second after 250 ms, and keep both. That is for
 * somebody who looks at a page; our connections are few and long, their addresses are replicas more
 * often than two families of one host, and to race them would take two places and two descriptors,
 * and show servers connections that nobody uses. HAProxy and nginx, too, give up one server before
 * they try the next.
 *
 * A failure gives way to the next address whatever it is; a peer that resets before we have seen
 * that it is up counts as one that refuses, because a proxy without a server behind it does that.
 * Why the last one failed is what is told: the earlier ones had less time.
 *
 * Whether a connect(2) has succeeded is asked by the same connect(2) once more: 0, EALREADY, or why
 * it failed. SO_ERROR could not tell the first two apart, and after a deadline nobody else can: a
 * process that was stopped while it asked epoll has heard of no event (EINTR).
 */
#include "reactor/stream/conn_parts.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"
#include "reactor/stream/conn_connect.h"

/* What a connecting one remembers, in the state that its protocol does not use yet. Its addresses
 * are its input, of which there is none yet either. */
struct connecting {
	uint32_t due_ms;   /* all of it */
	uint32_t share_ms; /* the address under way */
	uint32_t at;	   /* which one that is */
};

_Static_assert(sizeof(struct connecting) <= CONN_STATE_BYTES, "connecting fits the state");
_Static_assert(CONN_ADDRESSES_MAX * sizeof(struct address) <= CHUNK_BYTES, "addresses fit a chunk");
_Static_assert(_Alignof(struct address) <= 8, "a chunk's bytes are aligned for addresses");

void conn_dial_init(struct conn *conn, uint32_t due_ms)
{
	struct connecting *connecting = conn_state(conn);

	connecting->due_ms = due_ms;
}

static uint32_t addresses_left(const struct conn *conn)
{
	const struct connecting *connecting = (const void *)conn->state;

	return conn->input->used / (uint32_t)sizeof(struct address) - connecting->at;
}

static const struct address *address_now(const struct conn *conn)
{
	const struct connecting *connecting = (const void *)conn->state;

	return (const struct address *)(const void *)conn->input->bytes + connecting->at;
}

/* ---- one address ---- */

/* The same options as a connection that was accepted has; without them it would still serve. */
static void set_options(int fd, const struct address *address)
{
	int on = 1;

	(void)sys_setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
	if (address_is_unix(address))
		(void)rights_refuse(fd);
	else
		(void)sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int socket_open(struct conn *conn, uint32_t now_ms)
{
	struct connecting *connecting = conn_state(conn);
	const struct address *address = address_now(conn);
	uint32_t left_ms =
	    time_reached(now_ms, connecting->due_ms) ? 0 : connecting->due_ms - now_ms;
	int fd;

	connecting->share_ms = now_ms + left_ms / addresses_left(conn);
	fd = sys_socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	conn->source.fd = fd;
	set_options(fd, address);
	return 0;
}

static void socket_close(struct conn *conn)
{
	if (conn->source.fd >= 0)
		(void)sys_close(conn->source.fd);
	conn->source.fd = -1;
	conn->source.ready = 0;
	conn->source.watches_out = false;
}

/* The kernel may have given it the local port that it was to connect to: then it has connected to
 * itself, because nobody else is there. */
static bool is_itself(const struct conn *conn)
{
	struct address here = {.bytes = sizeof here.socket}, there = here;
	unsigned char bytes[2][16];

	if (address_is_unix(address_now(conn)) ||
	    sys_getsockname(conn->source.fd, (struct sockaddr *)&here.socket, &here.bytes) < 0 ||
	    address_port(&here) != address_port(address_now(conn)))
		return false;
	return sys_getpeername(conn->source.fd, (struct sockaddr *)&there.socket, &there.bytes) ==
		   0 &&
	       address_bytes((const struct sockaddr *)&here.socket, bytes[0]) &&
	       address_bytes((const struct sockaddr *)&there.socket, bytes[1]) &&
	       memcmp(bytes[0], bytes[1], sizeof bytes[0]) == 0;
}

/* 0: it is up; -EINPROGRESS: it may be later; another -errno: it will not. */
static int ask_kernel(const struct conn *conn)
{
	const struct address *address = address_now(conn);
	int error;

	do
		error = sys_connect(conn->source.fd, (const struct sockaddr *)&address->socket,
				    address->bytes);
	while (error == -EINTR);
	if (error == -EALREADY)
		return -EINPROGRESS;
	return !error && is_itself(conn) ? -ECONNREFUSED : error;
}

/* Not before connect(2): epoll would report the end of a socket that has not begun. One that is up
 * at once is registered as one that was accepted is; the other one's registration has what the
 * first short write would add to it. */
static int watch(struct conn *conn, struct loop *loop, bool up)
{
	int error;

	if (conn->source.watches_out)
		return 0;
	error = loop_watch(loop, &conn->source, CONN_EVENTS | (up ? 0 : (uint32_t)EPOLLOUT));
	conn->source.watches_out = !error && !up;
	return error;
}

/* Begins it, or looks how far it is. Returns what ask_kernel() does. */
static int attempt(struct conn *conn, struct loop *loop)
{
	int outcome = conn->source.fd < 0 ? socket_open(conn, loop->now_ms) : 0, error;

	if (!outcome)
		outcome = ask_kernel(conn);
	if (outcome && outcome != -EINPROGRESS)
		return outcome;
	error = watch(conn, loop, !outcome);
	return error ? error : outcome;
}

/* ---- all of them ---- */

static enum close_reason reason_of(int error)
{
	switch (-error) {
	case ECONNREFUSED:
	case ENOENT: /* no socket file */
		return CLOSE_connect_refused;
	case ECONNRESET:
	case ECONNABORTED:
	case EPIPE:
		return CLOSE_connect_reset;
	case ETIMEDOUT:
		return CLOSE_connect_timeout;
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ENETDOWN:
		return CLOSE_connect_unreachable;
	default:
		return CLOSE_connect_failed;
	}
}

/* The next address's turn, if there is one, and time for it. */
static void give_up_address(struct conn *conn, struct loop *loop, int error)
{
	struct connecting *connecting = conn_state(conn);
	enum close_reason reason = reason_of(error);
	enum log_level level = reason == CLOSE_connect_failed ? LOG_WARN : LOG_DEBUG;
	char text[ADDRESS_TEXT_BYTES];

	if (log_enabled(level)) {
		const struct log_field fields[] = {LOG_TEXT("to", text),
						   LOG_TEXT("error", strerror(-error))};

		address_format(address_now(conn), text);
		log_write(level, "could not connect", fields, sizeof fields / sizeof *fields);
	}
	socket_close(conn);
	if (addresses_left(conn) == 1)
		conn_die(conn, reason);
	else if (time_reached(loop->now_ms, connecting->due_ms))
		conn_die(conn, CLOSE_connect_timeout);
	else
		connecting->at++;
}

/* From now on it is like one that was accepted. */
static void come_up(struct conn *conn, struct conn_table *table)
{
	conn->guarded = address_is_unix(address_now(conn)) && rights_may_come(conn->source.fd);
	conn_drop_input(conn, table);
	memset(conn->state, 0, sizeof conn->state);
	conn->active_ms = conn->progress_ms = table->loop->now_ms;
	conn->source.ready |= SOURCE_OUT;
	conn->phase = OPEN;
	STATS_ADD(table->stats, connected, 1);
	if (!conn->service->protocol->open)
		return;
	conn->service->protocol->open(conn);
	conn_flush(conn, table);
}

bool conn_dial(struct conn *conn, struct conn_table *table)
{
	const struct connecting *connecting = conn_state(conn);

	while (conn->phase == CONNECTING) {
		int error = attempt(conn, table->loop);

		if (!error) {
			come_up(conn, table);
			return true;
		}
		if (error == -EINPROGRESS &&
		    !time_reached(table->loop->now_ms, connecting->share_ms)) {
			conn->source.ready = 0;
			conn->source.want = SOURCE_OUT;
			loop_deadline(table->loop, &conn->source, connecting->share_ms);
			return false;
		}
		give_up_address(conn, table->loop, error == -EINPROGRESS ? -ETIMEDOUT : error);
	}
	return true;
}
