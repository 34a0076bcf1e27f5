#include "master/control/control_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/base/rights.h"
#include "reactor/loop/listener.h"

#define BUFFERS_BYTES (4u << 20) /* a piece of an answer for each client, with plenty of room */
#define REQUEST_MS    5000	 /* from connect to a whole request */
#define WRITE_MS      5000	 /* an answer that nobody takes */
#define WARN_MS	      1000	 /* refusals are not logged more often */

static struct {
	struct loop *loop; /* NULL: not open */
	const struct control_owner *owner;
	struct control_file file;
	int fd; /* it listens; -1: none */
	struct listener listener;
	struct conn_table table;
	bool has_table;
	struct service service;
	struct stats stats; /* of these connections: nobody else's */
	uint64_t refused;
	uint32_t warned_ms;
} control = {.fd = -1};

/* ---- which clients may ask ---- */

/* NULL: it may. */
static const char *refusal(const struct ucred *peer)
{
	/* Not the user of --user: whoever takes over a worker could start a child as that user, and
	 * must not steer the master. */
	if (peer->uid != 0 && peer->uid != geteuid())
		return "only root and the master's user may use this";
	/* 0: it lives in another pid namespace, where no worker does. */
	if (peer->pid && control.owner->is_worker && control.owner->is_worker(peer->pid))
		return "a worker may not use this";
	return NULL;
}

/* It gets no place, so it is told only what the socket's buffer takes. A socket that is closed with
 * unread bytes is reset, and its peer loses the answer: so what has come is thrown away, and the
 * kernel refuses the rest. */
static void refuse(int fd, const struct ucred *peer, const char *why)
{
	char text[4096];
	int n = snprintf(text, sizeof text, "failed why=\"%s\"\n", why);

	(void)send(fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_RD);
	(void)rights_read(fd, text, sizeof text);
	rights_close(fd);
	control.refused++;
	if (control.refused > 1 && !time_reached(control.loop->now_ms, control.warned_ms + WARN_MS))
		return;
	control.warned_ms = control.loop->now_ms;
	log_warn("control: refused", LOG_TEXT("why", why), LOG_NUMBER("uid", peer->uid),
		 LOG_NUMBER("pid", peer->pid), LOG_NUMBER("refused", control.refused));
}

/* ---- accepting ---- */

static bool room(struct listener *listener)
{
	(void)listener;
	return !conn_table_full(&control.table);
}

static void accepted(struct listener *listener, int fd, const struct sockaddr *address)
{
	struct ucred peer = {0};
	socklen_t n = sizeof peer;
	const char *why;

	(void)listener;
	(void)address;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		why = "nobody knows who you are";
	else
		why = refusal(&peer);
	if (why)
		refuse(fd, &peer, why);
	else
		control_client_open(&control.service, fd, &peer);
}

static const struct listener_owner listener_owner = {.room = room, .accepted = accepted};

static void has_room(struct conn_table *table)
{
	(void)table;
	listener_has_room(control.loop, &control.listener);
}

/* 0 or -errno. */
static int table_open(void)
{
	static const struct conn_limits limits = {
	    .high_water = 256 << 10,
	    .low_water = 64 << 10,
	    .write_ms = WRITE_MS,
	    .request_ms = REQUEST_MS,
	    .connections_max = CONTROL_CLIENTS,
	};
	int error = conn_table_open_counting(&control.table, control.loop, &control.stats, &limits,
					     BUFFERS_BYTES);

	if (error) {
		conn_table_close(&control.table);
		return error;
	}
	control.table.on_room = has_room;
	control.service =
	    (struct service){.protocol = &control_protocol, .table = &control.table, .local = true};
	control.has_table = true;
	return 0;
}

/* ---- its life ---- */

/* The listener has a descriptor of its own: this one is for the next master. */
static void listen_at(int fd)
{
	int copy = -1, error;

	control.fd = fd;
	if (fd < 0)
		return;
	error = control.has_table ? 0 : table_open();
	if (!error) {
		copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		error = copy < 0 ? -errno : 0;
	}
	if (error) {
		log_error("weirctl can't reach this server", LOG_TEXT("error", strerror(-error)));
		return;
	}
	listener_reopen(&control.listener, copy);
	(void)listener_resume(control.loop, &control.listener);
	log_info("control socket", LOG_TEXT("path", control_file_path(&control.file)));
}

static void control_begin(struct loop *loop, const struct control_owner *owner)
{
	CHECK(!control.loop);
	control.loop = loop;
	control.owner = owner;
	control_client_begin(owner);
	if (!control.listener.owner)
		listener_init(&control.listener, -1, &listener_owner, &control.stats);
}

void control_open(struct loop *loop, const struct control_owner *owner, const char *path)
{
	control_begin(loop, owner);
	listen_at(control_file_open(&control.file, path));
}

void control_adopt(struct loop *loop, const struct control_owner *owner, const char *path,
		   const struct control_inherited *inherited)
{
	CHECK(inherited->fd >= 0);
	control_begin(loop, owner);
	listen_at(control_file_adopt(&control.file, path, inherited));
}

void control_export(struct control_inherited *inherited)
{
	inherited->fd = control.file.asked_for ? control.fd : -1;
	inherited->file = control.file.file;
}

const char *control_path(void)
{
	return control.fd >= 0 ? control_file_path(&control.file) : NULL;
}

static void stop_listening(void)
{
	listener_close(control.loop, &control.listener);
	if (control.fd >= 0)
		rights_close_listener(control.fd, false);
	control.fd = -1;
}

void control_hand_over(void)
{
	if (control.file.asked_for)
		control_file_forget(&control.file);
	else
		control_file_remove(&control.file);
	stop_listening();
}

void control_take_back(void)
{
	if (control.loop && control.fd < 0)
		listen_at(control_file_again(&control.file));
}

void control_close(void)
{
	if (!control.loop)
		return;
	control_file_remove(&control.file);
	stop_listening();
	if (control.has_table) {
		conn_table_flush(&control.table);
		conn_table_close(&control.table);
	}
	control.has_table = false;
	control.loop = NULL;
}
