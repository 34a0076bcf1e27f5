#include "master/control/control.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/base/rights.h"

#define REQUEST_MS   5000	  /* from connect to a whole request */
#define STALL_MS     5000	  /* an answer that nobody takes */
#define REST_MS	     500	  /* without accepting, after accept() failed */
#define ANSWER_BYTES (1200 << 10) /* a record for each of two generations' workers, and room */
#define ACCEPTS	     8		  /* in a turn */
#define WARN_MS	     1000	  /* refusals are not logged more often */

enum client_state {
	CLIENT_NONE,
	CLIENT_ASKING,	 /* its request is not whole */
	CLIENT_WAITING,	 /* for its outcome, which the owner will tell */
	CLIENT_ANSWERED, /* it goes when all is sent */
};

struct control_client {
	struct source source;
	enum client_state state;
	enum command command;
	uint32_t due_ms;
	bool timed; /* due_ms holds */
	char request[CONTROL_REQUEST_BYTES];
	size_t request_n;
	char *answer; /* ANSWER_BYTES: memory that nobody touches costs nothing */
	size_t answer_n, sent_n;
	bool overflowed;
	/* Of a long answer, while there is more of it; NULL: there is none. */
	void (*more)(struct control_client *client, void *state);
	void (*forget)(void *state);
	void *state_of_more;
	struct ucred peer;
};

static struct {
	struct loop *loop; /* NULL: not open */
	const struct control_owner *owner;
	struct control_file file;
	struct source listener; /* fd -1: none */
	bool watching;
	struct control_client clients[CONTROL_CLIENTS];
	uint64_t refused;
	uint32_t warned_ms;
} control = {.listener.fd = -1};

/* ---- which clients may ask ---- */

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

/* Nothing is read from it any more: the kernel refuses what it might still send. What it has sent
 * already is thrown away, up to a buffer of it, because a socket that is closed with unread bytes
 * is reset. */
static void deafen(int fd)
{
	char bytes[4096];

	(void)shutdown(fd, SHUT_RD);
	(void)rights_read(fd, bytes, sizeof bytes);
}

/* It has no place in the table yet, so it is told only what the socket's buffer takes. */
static void refuse(int fd, const struct ucred *peer, const char *why)
{
	char line[256];
	int n = snprintf(line, sizeof line, "failed why=\"%s\"\n", why);

	(void)send(fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	deafen(fd);
	rights_close(fd);
	control.refused++;
	if (control.refused > 1 && !time_reached(control.loop->now_ms, control.warned_ms + WARN_MS))
		return;
	control.warned_ms = control.loop->now_ms;
	log_warn("control: refused", LOG_TEXT("why", why), LOG_NUMBER("uid", peer->uid),
		 LOG_NUMBER("pid", peer->pid), LOG_NUMBER("refused", control.refused));
}

/* ---- accepting ---- */

/* Level-triggered: as long as nobody can be accepted, nobody may be reported either, or the loop
 * would spin. */
static void listener_rest(bool for_a_while)
{
	if (control.watching)
		loop_unwatch(control.loop, &control.listener);
	control.watching = false;
	if (for_a_while)
		loop_deadline(control.loop, &control.listener, control.loop->now_ms + REST_MS);
}

static void listener_go_on(void)
{
	if (control.watching || control.listener.fd < 0)
		return;
	loop_no_deadline(control.loop, &control.listener);
	control.watching = loop_watch(control.loop, &control.listener, EPOLLIN) == 0;
	if (!control.watching)
		loop_deadline(control.loop, &control.listener, control.loop->now_ms + REST_MS);
}

static void client_turn(struct loop *loop, struct source *source);

static void client_due(struct control_client *client, uint32_t after_ms)
{
	client->due_ms = control.loop->now_ms + after_ms;
	client->timed = true;
	loop_no_deadline(control.loop, &client->source);
	loop_deadline(control.loop, &client->source, client->due_ms);
}

static void client_not_due(struct control_client *client)
{
	client->timed = false;
	loop_no_deadline(control.loop, &client->source);
}

static void client_forget(struct control_client *client)
{
	if (client->more)
		client->forget(client->state_of_more);
	client->more = NULL;
}

/* Only in the client's own turn, and not after it has been woken in that turn: see loop.h. */
static void client_close(struct control_client *client)
{
	client_forget(client);
	loop_no_deadline(control.loop, &client->source);
	loop_unwatch(control.loop, &client->source);
	rights_close(client->source.fd);
	free(client->answer);
	client->answer = NULL;
	client->state = CLIENT_NONE;
	listener_go_on();
}

static void client_open(struct control_client *client, int fd, const struct ucred *peer)
{
	*client = (struct control_client){.peer = *peer, .answer = malloc(ANSWER_BYTES)};
	source_init(&client->source, fd, client_turn);
	client->source.want = SOURCE_IN | SOURCE_OUT;
	if (!client->answer ||
	    loop_watch(control.loop, &client->source, CONN_EVENTS | EPOLLOUT) < 0) {
		free(client->answer);
		client->answer = NULL;
		refuse(fd, peer, "the server is short of memory");
		return;
	}
	client->state = CLIENT_ASKING;
	client_due(client, REQUEST_MS);
}

static struct control_client *free_place(void)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		if (control.clients[i].state == CLIENT_NONE)
			return &control.clients[i];
	return NULL;
}

/* False: no other client waits now, or there is no place for it. */
static bool accept_one(void)
{
	struct control_client *client = free_place();
	struct ucred peer = {0};
	socklen_t peer_n = sizeof peer;
	const char *why;
	int fd;

	if (!client) {
		listener_rest(false);
		return false;
	}
	fd = accept4(control.listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			listener_rest(true);
		return false;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_n) < 0)
		why = "nobody knows who you are";
	else
		why = refusal(&peer);
	if (why)
		refuse(fd, &peer, why);
	else
		client_open(client, fd, &peer);
	return true;
}

static void listener_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	source->ready = 0;
	if (source->fd < 0)
		return;
	listener_go_on();
	for (int i = 0; i < ACCEPTS && accept_one(); i++)
		;
}

/* ---- answers ---- */

/* A client that does not read its notes loses its answer: its connection ends. */
static void client_line(struct control_client *client, const char *line, size_t n)
{
	if (client->answer_n + n > ANSWER_BYTES)
		client->overflowed = true;
	if (client->overflowed)
		return;
	memcpy(client->answer + client->answer_n, line, n);
	client->answer_n += n;
}

void control_record(struct control_client *client, const char *kind, const struct log_field *fields,
		    size_t n)
{
	char line[LOG_LINE_BYTES + 64];
	size_t at = (size_t)snprintf(line, 64, "%s ", kind);

	CHECK(client->state == CLIENT_WAITING && at < 64);
	at += log_compose(line + at, LOG_LOGFMT, fields, n);
	if (!n)
		at--;
	line[at++] = '\n';
	client_line(client, line, at);
	loop_wake(control.loop, &client->source);
}

void control_stream(struct control_client *client,
		    void (*more)(struct control_client *client, void *state),
		    void (*forget)(void *state), void *state)
{
	CHECK(client->state == CLIENT_WAITING && !client->more);
	client->more = more;
	client->forget = forget;
	client->state_of_more = state;
	loop_wake(control.loop, &client->source);
}

void control_done(struct control_client *client)
{
	CHECK(client->state == CLIENT_WAITING);
	client_forget(client);
	client_line(client, "done\n", 5);
	client->state = CLIENT_ANSWERED;
	loop_wake(control.loop, &client->source);
}

void control_failed(struct control_client *client, const char *format, ...)
{
	char why[1024];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(why, sizeof why, format, arguments);
	va_end(arguments);
	CONTROL_RECORD(client, "failed", LOG_TEXT("why", why));
	client->state = CLIENT_ANSWERED;
}

/* False: it has gone, or must. */
static bool client_send(struct control_client *client)
{
	size_t before = client->sent_n;

	if (client->overflowed)
		return false;
	while (client->sent_n < client->answer_n) {
		ssize_t n = send(client->source.fd, client->answer + client->sent_n,
				 client->answer_n - client->sent_n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return false;
		client->sent_n += (size_t)n;
	}
	if (client->sent_n == client->answer_n) {
		client->sent_n = client->answer_n = 0;
		client_not_due(client);
		if (client->state == CLIENT_WAITING &&
		    client->more) /* that wakes the client's source */
			client->more(client, client->state_of_more);
		else
			return client->state != CLIENT_ANSWERED;
		return true;
	}
	if (!client->timed || client->sent_n > before)
		client_due(client, STALL_MS);
	return true;
}

/* ---- requests ---- */

static void log_request(const struct control_client *client)
{
	const struct command_row *row = &command_rows[client->command];

	if (row->kind == COMMAND_SHOWS)
		return;
	log_info("control", LOG_TEXT("command", row->name), LOG_NUMBER("uid", client->peer.uid),
		 LOG_NUMBER("pid", client->peer.pid));
}

static bool is_printable(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] < ' ' || bytes[i] > '~')
			return false;
	return true;
}

/* n bytes, the newline being the last. */
static void client_ask(struct control_client *client, size_t n)
{
	char *line = client->request, *argument = "", list[LOG_LINE_BYTES / 2];
	enum command command;

	if (n < client->request_n) {
		control_failed(client, "one request a connection");
		return;
	}
	if (!is_printable(line, --n)) {
		control_failed(client, "a request is a line of printable ASCII");
		return;
	}
	line[n] = '\0';
	if (strchr(line, ' ')) {
		argument = strchr(line, ' ');
		*argument++ = '\0';
	}
	command = command_find(line);
	if (command == COMMANDS) {
		command_list(list, sizeof list);
		control_failed(client, "\"%s\" is no command; there are: %s", line, list);
		return;
	}
	if (*argument && !*command_rows[command].argument) {
		control_failed(client, "%s takes no argument, not \"%s\"", line, argument);
		return;
	}
	client->command = command;
	log_request(client);
	control.owner->asked(client, client->command, argument);
}

static void client_asked(struct control_client *client, const char *wrong, size_t n)
{
	deafen(client->source.fd);
	client_not_due(client);
	client->state = CLIENT_WAITING;
	client->command = COMMANDS; /* none yet */
	if (wrong)
		control_failed(client, "%s", wrong);
	else
		client_ask(client, n);
	/* If it has hung up meanwhile, its next turn finds out. */
	loop_wake(control.loop, &client->source);
}

/* False: it has gone without a request. */
static bool client_read(struct control_client *client)
{
	while (client->state == CLIENT_ASKING) {
		char *end = client->request + client->request_n, *newline;
		ssize_t n =
		    rights_read(client->source.fd, end, sizeof client->request - client->request_n);

		if (n == -EAGAIN)
			return true;
		if (n < 0 || (n == 0 && !client->request_n))
			return false;
		if (n == 0) {
			client_asked(client, "a request ends with a newline", 0);
			return true;
		}
		client->request_n += (size_t)n;
		newline = memchr(end, '\n', (size_t)n);
		if (newline)
			client_asked(client, NULL, (size_t)(newline + 1 - client->request));
		else if (client->request_n == CONTROL_REQUEST_BYTES)
			client_asked(client, "a request has at most 256 bytes", 0);
	}
	return true;
}

/* Ended both ways: whoever only ended its own side waits for an answer. */
static bool hung_up(const struct control_client *client)
{
	struct pollfd fd = {.fd = client->source.fd};

	return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR));
}

/* Edge-triggered: each turn goes on until the kernel says that there is no more. */
static void client_turn(struct loop *loop, struct source *source)
{
	struct control_client *client = CONTAINER_OF(source, struct control_client, source);
	bool due = client->timed && (source->ready & SOURCE_DUE) != 0;

	source->ready = 0;
	if (client->state == CLIENT_NONE) /* control was closed with a turn still to come */
		return;
	if (client->state == CLIENT_ASKING) {
		/* What lies there came in time: the delay is ours. */
		if (!client_read(client))
			client_close(client);
		else if (client->state == CLIENT_ASKING && due &&
			 time_reached(loop->now_ms, client->due_ms))
			client_asked(client, "no request came", 0);
		return; /* an answer has a turn of its own */
	}
	if (!client_send(client) || hung_up(client) ||
	    (due && client->timed && time_reached(loop->now_ms, client->due_ms)))
		client_close(client);
}

/* ---- all clients that wait ---- */

static bool waits_for(const struct control_client *client, enum command command)
{
	return client->state == CLIENT_WAITING && client->command == command;
}

size_t control_waiting(enum command command)
{
	size_t n = 0;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		n += waits_for(&control.clients[i], command);
	return n;
}

void control_tell(enum command command, const char *kind, const struct log_field *fields, size_t n)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		if (waits_for(&control.clients[i], command))
			control_record(&control.clients[i], kind, fields, n);
}

void control_finish(enum command command, const char *why)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		if (!waits_for(&control.clients[i], command))
			continue;
		if (why)
			control_failed(&control.clients[i], "%s", why);
		else
			control_done(&control.clients[i]);
	}
}

/* ---- its life ---- */

static void listener_begin(int fd)
{
	source_init(&control.listener, fd, listener_turn);
	control.listener.want = SOURCE_IN;
	control.watching = false;
	listener_go_on();
	if (fd >= 0)
		log_info("control socket", LOG_TEXT("path", control_file_path(&control.file)));
}

static void control_begin(struct loop *loop, const struct control_owner *owner, int fd)
{
	control.loop = loop;
	control.owner = owner;
	listener_begin(fd);
}

void control_open(struct loop *loop, const struct control_owner *owner, const char *path)
{
	CHECK(!control.loop);
	control_begin(loop, owner, control_file_open(&control.file, path));
}

void control_adopt(struct loop *loop, const struct control_owner *owner, const char *path,
		   const struct control_inherited *inherited)
{
	CHECK(!control.loop && inherited->fd >= 0);
	control_begin(loop, owner, control_file_adopt(&control.file, path, inherited));
}

void control_export(struct control_inherited *inherited)
{
	inherited->fd = control.file.asked_for ? control.listener.fd : -1;
	inherited->file = control.file.file;
}

const char *control_path(void)
{
	return control.listener.fd >= 0 ? control_file_path(&control.file) : NULL;
}

static void listener_close(void)
{
	if (control.listener.fd < 0)
		return;
	listener_rest(false);
	loop_no_deadline(control.loop, &control.listener);
	rights_close_listener(control.listener.fd, false);
	control.listener.fd = -1;
}

void control_hand_over(void)
{
	if (control.file.asked_for)
		control_file_forget(&control.file);
	else
		control_file_remove(&control.file);
	listener_close();
}

void control_take_back(void)
{
	if (control.loop && control.listener.fd < 0)
		listener_begin(control_file_again(&control.file));
}

void control_close(void)
{
	if (!control.loop)
		return;
	control_file_remove(&control.file);
	listener_close();
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		struct control_client *client = &control.clients[i];

		if (client->state == CLIENT_NONE)
			continue;
		(void)client_send(client);
		client_close(client);
	}
	control.loop = NULL;
}
