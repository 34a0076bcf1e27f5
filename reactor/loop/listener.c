#include "reactor/loop/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

/* Of several workers that share a socket, epoll wakes the one that registered first: one that has
 * taken this many registers again, and so is the last. */
#define LISTENER_RENEWAL 4
/* Connections that come one by one are further apart than this. */
#define LISTENER_STORM_US 1000

static void listener_turn(struct loop *loop, struct source *source);

static struct listener *listener_of(struct source *source)
{
	return CONTAINER_OF(source, struct listener, source);
}

void listener_init(struct listener *listener, int fd, const struct listener_owner *owner,
		   struct stats *stats)
{
	*listener = (struct listener){
	    .owner = owner, .stats = stats, .batch = 1, .spare = -1, .poll_number = UINT64_MAX};
	source_init(&listener->source, fd, listener_turn);
	listener->source.want = SOURCE_IN;
}

void listener_reopen(struct listener *listener, int fd)
{
	CHECK(listener->source.fd < 0);
	listener->source.fd = fd;
	listener->stopping = listener->leaves_rest = false;
	listener->batch = 1;
}

int listener_resume(struct loop *loop, struct listener *listener)
{
	int error = 0;

	if (listener->reject && listener->spare < 0)
		listener->spare = sys_eventfd(0, EFD_CLOEXEC);
	if (!listener->watched)
		error = loop_watch(loop, &listener->source,
				   EPOLLIN | (listener->shared ? (uint32_t)EPOLLEXCLUSIVE : 0));
	listener->watched = !error;
	if (error) {
		log_warn("a listener can't be watched, it is tried again",
			 LOG_TEXT("error", strerror(-error)));
		loop_deadline(loop, &listener->source, loop->now_ms + LISTENER_RETRY_MS);
	}
	return error;
}

void listener_has_room(struct loop *loop, struct listener *listener)
{
	if (!listener->watched && listener->source.fd >= 0)
		loop_wake(loop, &listener->source);
}

static void listener_pause(struct loop *loop, struct listener *listener)
{
	if (listener->watched) {
		STATS_ADD(listener->stats, accept_pauses, 1);
		loop_unwatch(loop, &listener->source);
	}
	listener->watched = false;
	loop_deadline(loop, &listener->source, loop->now_ms + LISTENER_RETRY_MS);
}

static int listener_accept(struct listener *listener, struct sockaddr_storage *peer)
{
	socklen_t n = sizeof *peer;

	return sys_accept4(listener->source.fd, (struct sockaddr *)peer, peer ? &n : NULL,
			   SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Under --overload reject, peers are turned away also if descriptors are used up: the spare one is
 * closed, which makes room for one accept, and opened again at the end. */
static int listener_refuse(struct listener *listener, int fd)
{
	bool used_up = fd == -EMFILE || fd == -ENFILE;

	if (used_up && listener->spare >= 0) {
		(void)sys_close(listener->spare);
		fd = listener_accept(listener, NULL);
	}
	if (fd >= 0) {
		if (listener->local)
			rights_close(fd);
		else
			(void)sys_close(fd);
		STATS_ADD(listener->stats, accepted, 1);
		STATS_ADD(listener->stats, closed[CLOSE_overload], 1);
	}
	if (used_up && listener->spare >= 0)
		listener->spare = sys_eventfd(0, EFD_CLOEXEC);
	return fd;
}

enum outcome { TOOK, EMPTY, NO_ROOM };

static enum outcome listener_take(struct listener *listener)
{
	bool room = listener->owner->room(listener);
	struct sockaddr_storage peer, *named = listener->wants_peer ? &peer : NULL;
	enum accept_error error;
	int fd;

	if (!room && (!listener->reject ||
		      (listener->owner->undecided && listener->owner->undecided(listener))))
		return NO_ROOM;
	fd = listener_accept(listener, named);
	if (listener->reject && (!room || fd == -EMFILE || fd == -ENFILE))
		fd = listener_refuse(listener, fd);
	else if (fd >= 0)
		listener->owner->accepted(listener, fd, (struct sockaddr *)named);
	if (fd >= 0)
		return TOOK;
	if (fd == -EAGAIN)
		return EMPTY;
	error = accept_error_of(-fd);
	STATS_ADD(listener->stats, accept_errors[error], 1);
	return accept_error_is_of_one(error) ? TOOK : NO_ROOM;
}

static void listener_renew(struct loop *loop, struct listener *listener)
{
	if (!listener->shared || !listener->watched || listener->since_renewal < LISTENER_RENEWAL)
		return;
	listener->since_renewal = 0;
	loop_unwatch(loop, &listener->source);
	listener->watched = false;
	(void)listener_resume(loop, listener);
}

/* Takes up to max; returns why it ended. */
static enum outcome listener_take_some(struct listener *listener, unsigned max)
{
	enum outcome outcome = TOOK;
	unsigned taken = 0;

	for (; taken < max && outcome == TOOK; taken += outcome == TOOK)
		outcome = listener_take(listener);
	if (taken && listener->owner->batch_done)
		listener->owner->batch_done(listener);
	listener->since_renewal = (uint16_t)(listener->since_renewal + taken);
	return outcome;
}

/* If more wait than a turn takes, the next one takes more. */
static void listener_adapt(struct loop *loop, struct listener *listener, enum outcome outcome)
{
	unsigned max = listener->shared ? LISTENER_SHARED_BATCH_MAX : LISTENER_BATCH_MAX;
	bool again = loop->stats->harvests == listener->poll_number + 1 &&
		     loop->now_us - listener->took_us < LISTENER_STORM_US;

	if (outcome != TOOK)
		listener->batch = 1;
	else if (again && listener->batch * 2u <= max)
		listener->batch = (uint16_t)(listener->batch * 2);
	listener->poll_number = outcome == TOOK ? loop->stats->harvests : UINT64_MAX;
	listener->took_us = loop->now_us;
}

/* If there are no descriptors, accept4 can't tell: it takes one before it looks at the queue. */
static bool listener_is_empty(const struct listener *listener)
{
	struct pollfd one = {.fd = listener->source.fd, .events = POLLIN};

	return sys_poll(&one, 1, 0) == 0;
}

/* Has a listener that stops taken all that it has to, so that it waits for no more room? */
static bool listener_is_done(const struct listener *listener, enum outcome outcome)
{
	return outcome == EMPTY ||
	       (outcome == NO_ROOM && (listener->leaves_rest || listener_is_empty(listener)));
}

static void listener_turn(struct loop *loop, struct source *source)
{
	struct listener *listener = listener_of(source);
	enum outcome outcome;

	source->ready = 0;
	if (source->fd < 0)
		return;
	outcome =
	    listener_take_some(listener, listener->stopping ? LISTENER_BATCH_MAX : listener->batch);
	listener_adapt(loop, listener, outcome);
	if (listener->stopping && listener_is_done(listener, outcome)) {
		listener_close(loop, listener);
		if (listener->owner->stopped)
			listener->owner->stopped(listener);
	} else if (outcome == NO_ROOM) {
		listener_pause(loop, listener);
	} else if (listener->stopping) {
		loop_wake(loop, source);
	} else {
		loop_no_deadline(loop, source); /* that of a pause which ended early */
		listener_renew(loop, listener);
		(void)listener_resume(loop, listener);
	}
}

void listener_stop(struct loop *loop, struct listener *listener, bool leaves_rest)
{
	if (listener->source.fd < 0)
		return;
	listener->stopping = true;
	listener->leaves_rest = leaves_rest;
	(void)sys_listen(listener->source.fd, 0); /* nobody joins those who wait already */
	loop_wake(loop, &listener->source);
}

void listener_close(struct loop *loop, struct listener *listener)
{
	if (listener->source.fd < 0)
		return;
	if (listener->watched)
		loop_unwatch(loop, &listener->source);
	listener->watched = false;
	loop_no_deadline(loop, &listener->source);
	(void)sys_close(listener->source.fd);
	listener->source.fd = -1;
	if (listener->spare >= 0)
		(void)sys_close(listener->spare);
	listener->spare = -1;
}

/* ---- sockets ---- */

static int set_on(int fd, int level, int option)
{
	int on = 1;

	return sys_setsockopt(fd, level, option, &on, sizeof on);
}

/* Connections inherit these options from a listening TCP socket: no call is needed for each. */
static int set_inherited_options(int fd, const struct address *address, const char **step)
{
	struct linger off = {0};
	int error;

	if (address_is_unix(address)) {
		(void)rights_refuse(fd); /* older kernels can't: each connection is looked at */
		return 0;
	}
	/* Whoever made the socket may have wanted close() to wait. */
	*step = "SO_LINGER";
	error = sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
	if (error)
		return error;
	*step = "TCP_NODELAY";
	error = set_on(fd, IPPROTO_TCP, TCP_NODELAY);
	if (!error) { /* urgent bytes are read in their place, like others */
		*step = "SO_OOBINLINE";
		error = set_on(fd, SOL_SOCKET, SO_OOBINLINE);
	}
	return error;
}

static int set_options(int fd, const struct address *address, const struct listen_options *options,
		       const char **step)
{
	int error = 0, v6only = !address->dual_stack;

	if (address_is_unix(address))
		return set_inherited_options(fd, address, step);
	*step = "SO_REUSEADDR";
	error = set_on(fd, SOL_SOCKET, SO_REUSEADDR);
	if (!error && options->reuseport) {
		*step = "SO_REUSEPORT";
		error = set_on(fd, SOL_SOCKET, SO_REUSEPORT);
	}
	if (!error && address->socket.ss_family == AF_INET6) {
		*step = "IPV6_V6ONLY";
		error = sys_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
	}
	return error ? error : set_inherited_options(fd, address, step);
}

static int bind_and_listen(int fd, struct address *address, const struct listen_options *options,
			   const char **step)
{
	int error = set_options(fd, address, options, step);
	socklen_t n = sizeof address->socket;

	if (!error) {
		*step = "bind";
		error = sys_bind(fd, (struct sockaddr *)&address->socket, address->bytes);
	}
	if (!error) {
		*step = "listen";
		error = sys_listen(fd, options->backlog);
	}
	if (!error && !address_is_unix(address)) {
		*step = "getsockname";
		error = sys_getsockname(fd, (struct sockaddr *)&address->socket, &n);
	}
	return error;
}

int listen_on(struct address *address, const struct listen_options *options, const char **step)
{
	int fd, error;

	*step = "socket";
	fd = sys_socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	error = bind_and_listen(fd, address, options, step);
	if (error) {
		(void)sys_close(fd);
		return error;
	}
	return fd;
}

int listen_adopt(int fd, const struct address *address, int backlog, const char **step)
{
	int error = set_inherited_options(fd, address, step);

	if (error)
		return error;
	*step = "listen";
	return sys_listen(fd, backlog);
}

/* The program returns a random number of the kernel's modulo n: the index of the socket that is
 * chosen (socket(7), SO_ATTACH_REUSEPORT_CBPF). */
int listen_steer(int fd, unsigned n)
{
	const struct sys_filter instructions[] = {
	    SYS_FILTER_RANDOM,
	    SYS_FILTER_MODULO(n),
	    SYS_FILTER_RESULT,
	};
	struct sys_filter_program program = {3, instructions};
	int error, unused = 0;

	if (n)
		return sys_setsockopt(fd, SOL_SOCKET, SYS_ATTACH_REUSEPORT_CBPF, &program,
				      sizeof program);
	error = sys_setsockopt(fd, SOL_SOCKET, SYS_DETACH_REUSEPORT_BPF, &unused, sizeof unused);
	return error == -ENOENT ? 0 : error;
}
