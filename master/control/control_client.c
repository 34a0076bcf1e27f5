/*
 * The clients of control. A request is a line; its answer is a text that grows as the owner adds
 * records, now or later, and is sent piece by piece as the client takes it. From the request on
 * nothing is read: what a client sends behind it is thrown away at the end.
 *
 *     ASKING --line--> WAITING --done, failed--> ANSWERED --all is sent--> (gone)
 */
#include "master/control/control_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/base/check.h"

#define ANSWER_BYTES (1200 << 10) /* a record for each of two generations' workers, and room */

enum client_state {
	CLIENT_NONE,
	CLIENT_ASKING,	 /* its request is not whole */
	CLIENT_WAITING,	 /* for its outcome, which the owner will tell */
	CLIENT_ANSWERED, /* it goes when all is sent */
};

struct control_client {
	enum client_state state;
	struct conn *conn;
	struct ucred peer;
	enum command command;
	char *answer; /* ANSWER_BYTES: memory that nobody touches costs nothing */
	size_t answer_n, sent_n;
	/* Of a long answer, while there is more of it; NULL: there is none. */
	void (*more)(struct control_client *client, void *state);
	void (*forget)(void *state);
	void *state_of_more;
};

static struct {
	const struct control_owner *owner;
	struct control_client clients[CONTROL_CLIENTS];
	struct ucred newcomer; /* the peer of the connection that is being opened */
} control;

#define EACH_CLIENT(client)                                                                        \
	for (struct control_client *client = control.clients;                                      \
	     client < control.clients + CONTROL_CLIENTS; client++)

void control_client_begin(const struct control_owner *owner)
{
	control.owner = owner;
}

/* ---- answers ---- */

/* A client that does not read its notes loses its answer: its connection ends. */
static void answer_add(struct control_client *client, const char *bytes, size_t n)
{
	if (client->state == CLIENT_NONE) /* this answer was too long for it */
		return;
	if (client->answer_n + n > ANSWER_BYTES) {
		conn_abort(client->conn, CLOSE_no_buffers);
		return;
	}
	memcpy(client->answer + client->answer_n, bytes, n);
	client->answer_n += n;
	conn_wake(client->conn);
}

void control_record(struct control_client *client, const char *kind, const struct log_field *fields,
		    size_t n)
{
	char field[LOG_LINE_BYTES + 1] = " ";

	CHECK(client->state == CLIENT_WAITING || client->state == CLIENT_NONE);
	answer_add(client, kind, strlen(kind));
	for (size_t i = 0; i < n; i++)
		answer_add(client, field, 1 + log_compose(field + 1, LOG_LOGFMT, &fields[i], 1));
	answer_add(client, "\n", 1);
}

void control_stream(struct control_client *client,
		    void (*more)(struct control_client *client, void *state),
		    void (*forget)(void *state), void *state)
{
	CHECK(client->state == CLIENT_WAITING && !client->more);
	client->more = more;
	client->forget = forget;
	client->state_of_more = state;
}

static void forget_more(struct control_client *client)
{
	if (client->more)
		client->forget(client->state_of_more);
	client->more = NULL;
}

static void end_answer(struct control_client *client)
{
	if (client->state == CLIENT_WAITING)
		client->state = CLIENT_ANSWERED;
	forget_more(client);
}

void control_done(struct control_client *client)
{
	control_record(client, "done", NULL, 0);
	end_answer(client);
}

void control_failed(struct control_client *client, const char *format, ...)
{
	char why[1024];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(why, sizeof why, format, arguments);
	va_end(arguments);
	CONTROL_RECORD(client, "failed", LOG_TEXT("why", why));
	end_answer(client);
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

/* line: n bytes, and one that may be changed. */
static void client_ask(struct control_client *client, char *line, size_t n)
{
	char *argument = "", list[LOG_LINE_BYTES / 2];
	enum command command;

	if (!is_printable(line, n)) {
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
	control.owner->asked(client, command, argument);
}

/* ---- the protocol ---- */

struct visit {
	uint32_t place; /* of its client, plus one */
};

static struct control_client *client_of(struct conn *conn)
{
	const struct visit *visit = conn_state(conn);

	return &control.clients[visit->place - 1];
}

static void say(struct conn *conn, const char *text)
{
	conn_send(conn, text, strlen(text));
}

/* A client that connects has to ask within the request timeout: a place is not had for nothing. */
static void control_open_conn(struct conn *conn)
{
	struct visit *visit = conn_state(conn);
	struct control_client *client;

	while (control.clients[visit->place++].state != CLIENT_NONE)
		CHECK(visit->place < CONTROL_CLIENTS);
	client = client_of(conn);
	*client = (struct control_client){.state = CLIENT_ASKING,
					  .conn = conn,
					  .peer = control.newcomer,
					  .answer = malloc(ANSWER_BYTES)};
	conn_request_begun(conn);
	if (client->answer)
		return;
	say(conn, "failed why=\"the server is short of memory\"\n");
	conn_finish(conn, CLOSE_no_buffers);
}

/* One request, of which nothing is left behind. */
static size_t control_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct control_client *client = client_of(conn);
	size_t looked_at = n < CONTROL_REQUEST_BYTES ? n : CONTROL_REQUEST_BYTES;
	unsigned char *newline = memchr(bytes, '\n', looked_at);

	if (!newline && n < CONTROL_REQUEST_BYTES)
		return 0;
	(void)conn_message_done(conn);
	conn_produce(conn, true);
	client->state = CLIENT_WAITING;
	client->command = COMMANDS; /* none yet */
	if (!newline)
		control_failed(client, "a request has at most 256 bytes");
	else if (newline + 1 < bytes + n)
		control_failed(client, "one request a connection");
	else
		client_ask(client, (char *)bytes, n - 1);
	return n;
}

static void control_produce(struct conn *conn)
{
	struct control_client *client = client_of(conn);
	size_t n;

	if (client->sent_n == client->answer_n) {
		client->sent_n = client->answer_n = 0;
		if (client->more)
			client->more(client, client->state_of_more);
	}
	n = client->answer_n - client->sent_n;
	if (n > CHUNK_BYTES)
		n = CHUNK_BYTES;
	conn_send(conn, client->answer + client->sent_n, n);
	client->sent_n += n;
	if (!n && client->state == CLIENT_ANSWERED)
		conn_finish(conn, CLOSE_finished);
}

static void control_ended(struct conn *conn)
{
	if (conn_offered_before(conn))
		say(conn, "failed why=\"a request ends with a newline\"\n");
}

static void control_timeout(struct conn *conn)
{
	say(conn, "failed why=\"no request came\"\n");
}

static void control_close_conn(struct conn *conn)
{
	struct control_client *client = client_of(conn);

	forget_more(client);
	free(client->answer);
	*client = (struct control_client){.state = CLIENT_NONE};
}

const struct protocol control_protocol = {
    .name = "control",
    .open = control_open_conn,
    .input = control_input,
    .produce = control_produce,
    .ended = control_ended,
    .timeout = control_timeout,
    .close = control_close_conn,
};

void control_client_open(struct service *service, int fd, const struct ucred *peer)
{
	control.newcomer = *peer;
	conn_open(service, fd, CONN_PASSED, NULL);
}

/* ---- all clients that wait ---- */

static bool waits_for(const struct control_client *client, enum command command)
{
	return client->state == CLIENT_WAITING && client->command == command;
}

size_t control_waiting(enum command command)
{
	size_t n = 0;

	EACH_CLIENT (client)
		n += waits_for(client, command);
	return n;
}

void control_tell(enum command command, const char *kind, const struct log_field *fields, size_t n)
{
	EACH_CLIENT (client)
		if (waits_for(client, command))
			control_record(client, kind, fields, n);
}

void control_finish(enum command command, const char *why)
{
	EACH_CLIENT (client) {
		if (!waits_for(client, command))
			continue;
		if (why)
			control_failed(client, "%s", why);
		else
			control_done(client);
	}
}
