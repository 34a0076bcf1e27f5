#include "bench/weirload/chat/chat_client_parts.h"

#include <string.h>

#include "bench/weirload/chat/chat_line.h"
#include "bench/weirload/plan/dial.h"
#include "bench/weirload/report/diagnosis.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define BACKLOG_RETRY_MS  5
#define SLOW_BUFFER_BYTES 1 /* the kernel takes its minimum instead */
#define READ_BUFFER_BYTES (256 * 1024)

static void chat_client_turn(struct loop *loop, struct source *source);

size_t chat_client_bytes(const struct chat_wire *wire)
{
	size_t bytes = sizeof(struct chat_client) + wire->sent_bytes + wire->kept_max;

	return (bytes + 63) & ~(size_t)63;
}

void chat_client_init(struct chat_client *client, struct chat *chat)
{
	const struct plan *plan = chat->sender->plan;
	uint64_t readers = plan->connections - plan->slow;
	uint32_t local = client->caller.number;

	source_init(&client->caller.source, -1, chat_client_turn);
	client->sends = local < chat->senders_n;
	client->caller.slow = local >= chat->readers_n;
	client->ledger.next = chat->next + (size_t)local * plan->senders;
	client->number = (uint32_t)(local * plan->processes + chat->sender->number);
	if (client->caller.slow)
		client->number =
		    (uint32_t)(readers + client->number - chat->readers_n * plan->processes);
}

/* ---- coming up ---- */

static void chat_client_connected(struct chat_client *client, struct chat *chat)
{
	const char *hello = chat->wire.hello;
	uint64_t now_ns = clock_ns();

	client->caller.free_ns = now_ns;
	client->caller.source.ready |= SOURCE_OUT;
	client->caller.source.want = SOURCE_IN;
	histogram_add(&chat->sender->tally->connect, now_ns - client->opened_ns);
	sender_count_open(chat->sender);
	client->phase = CHAT_CLIENT_GREETING;
	if (!hello) {
		chat_client_welcomed(client, chat);
		return;
	}
	client->unsent_n = (uint32_t)strlen(hello);
	memcpy(client->bytes, hello, client->unsent_n);
	chat_client_pump(client, chat);
}

static void chat_client_connect(struct chat_client *client, struct chat *chat, uint64_t nth)
{
	int error = dial_connect(chat->sender->plan, nth, client->caller.source.fd);

	if (error == -EAGAIN) { /* a unix socket whose backlog is full */
		(void)sys_close(client->caller.source.fd);
		client->caller.source.fd = -1;
		if (clock_ns() - client->opened_ns >= chat->sender->plan->timeout_us * 1000)
			chat_client_fail(client, chat, TALLY_timeout,
					 "connect: its backlog is full");
		else
			loop_deadline(&chat->sender->loop, &client->caller.source,
				      chat->sender->loop.now_ms + BACKLOG_RETRY_MS);
		return;
	}
	if (error && error != -EINPROGRESS) {
		chat_client_fail_of(client, chat, "connect", error);
		return;
	}
	client->phase = CHAT_CLIENT_CONNECTING;
	error = loop_watch(&chat->sender->loop, &client->caller.source, CONN_EVENTS);
	if (!error && !dial_is_up(client->caller.source.fd)) {
		client->caller.source.want = SOURCE_OUT | SOURCE_IN;
		error = loop_watch_out(&chat->sender->loop, &client->caller.source);
	}
	if (error) {
		chat_client_fail_of(client, chat, "epoll_ctl", error);
		return;
	}
	loop_deadline(&chat->sender->loop, &client->caller.source,
		      chat->sender->loop.now_ms + plan_timeout_ms(chat->sender->plan));
	if (!(client->caller.source.want & SOURCE_OUT))
		chat_client_connected(client, chat);
}

void chat_client_open(struct chat_client *client, struct chat *chat)
{
	const struct plan *plan = chat->sender->plan;
	const char *call;
	uint64_t nth = client->caller.number * plan->processes + chat->sender->number;
	int fd = dial_socket(plan, nth, client->caller.slow ? SLOW_BUFFER_BYTES : 0, &call);

	if (!client->opened_ns)
		client->opened_ns = clock_ns();
	client->caller.source.ready = 0;
	client->caller.source.fd = fd < 0 ? -1 : fd;
	if (fd == -EADDRNOTAVAIL)
		chat_client_fail(client, chat, TALLY_other,
				 "bind: a --source address is not of this machine");
	else if (fd < 0)
		chat_client_fail_of(client, chat, call, fd);
	else
		chat_client_connect(client, chat, nth);
}

/* ---- sending ---- */

/* How many more lines may begin now. */
static uint64_t allowance(const struct chat_client *client, const struct chat *chat)
{
	uint32_t witness, under_way;

	if (!client->sends || client->phase != CHAT_CLIENT_OPEN ||
	    chat->sender->phase != SENDER_RUN || client->caller.begun >= CHAT_NUMBER_MAX)
		return 0;
	if (plan_is_open(chat->sender->plan))
		return client->caller.asked - client->caller.begun;
	witness = chat->witnesses[client->number];
	if (witness == CHAT_NO_WITNESS)
		return 0;
	under_way = (uint32_t)client->caller.begun -
		    chat_client_at(chat, witness)->ledger.next[client->number];
	return under_way < chat->sender->plan->pipeline ? chat->sender->plan->pipeline - under_way
							: 0;
}

static size_t line_compose(const struct chat *chat, unsigned char *bytes,
			   const struct chat_line *line)
{
	const struct chat_wire *wire = &chat->wire;
	unsigned char *at = bytes;

	memcpy(at, wire->sent_head.bytes, wire->sent_head.n);
	at += wire->sent_head.n;
	chat_line_write(at, wire->line_bytes, line);
	at += wire->line_bytes;
	memcpy(at, wire->tail.bytes, wire->tail.n);
	return wire->sent_bytes;
}

/* Writes to chat->out the rest of the last line, and lines that may be sent now. */
static size_t chat_client_compose(const struct chat_client *client, const struct chat *chat,
				  uint64_t now_ns)
{
	uint64_t lines = allowance(client, chat);
	size_t n = client->unsent_n;
	struct chat_line line = {
	    .sender = (chat->table->base + client->number) & CHAT_SENDER_MASK,
	    .number = (uint32_t)client->caller.begun,
	    .sent_ns = now_ns,
	    .due_ns = now_ns,
	};

	memcpy(chat->out, client->bytes, n);
	while (lines-- && n < CHAT_OUT_BYTES) {
		if (plan_is_open(chat->sender->plan))
			line.due_ns =
			    sender_due_ns(chat->sender, client->caller.number, line.number);
		n += line_compose(chat, chat->out + n, &line);
		line.number++;
	}
	return n;
}

static void chat_client_begin(struct chat_client *client, struct chat *chat, uint64_t now_ns)
{
	struct flight flight = {.sent_ns = now_ns};

	sender_begin(chat->sender, &client->caller, &flight, 0);
	TALLY_ADD(chat->sender->tally, lines, 1);
}

/* n bytes of chat->out have been sent. The rest of a line that was sent in part is kept. Lines of
 * which nothing was sent are made again later, with the time at which they are sent. */
static void chat_client_sent(struct chat_client *client, struct chat *chat, size_t n,
			     uint64_t now_ns)
{
	size_t line_bytes = chat->wire.sent_bytes, at = client->unsent_n;

	TALLY_ADD(chat->sender->tally, sent_bytes, n);
	if (n < at) {
		client->unsent_n -= (uint32_t)n;
		memmove(client->bytes, client->bytes + n, client->unsent_n);
		return;
	}
	client->unsent_n = 0;
	for (; at < n; at += line_bytes)
		chat_client_begin(client, chat, now_ns);
	if (at > n) {
		client->unsent_n = (uint32_t)(at - n);
		memcpy(client->bytes, chat->out + n, at - n);
	}
}

/* As in connection_cannot_write(): reads first get what the server had sent, and then its end. */
static void chat_client_cannot_write(struct chat_client *client, struct chat *chat, ssize_t error)
{
	if (error != -EPIPE && error != -ECONNRESET) {
		chat_client_fail_of(client, chat, "write", error);
		return;
	}
	client->reset |= error == -ECONNRESET;
	client->caller.source.ready &= (uint8_t)~SOURCE_OUT;
	client->caller.source.ready |= SOURCE_IN | SOURCE_ENDED;
	loop_wake(&chat->sender->loop, &client->caller.source);
}

void chat_client_pump(struct chat_client *client, struct chat *chat)
{
	struct source *source = &client->caller.source;
	uint64_t now_ns;
	ssize_t written;
	size_t n;

	if (client->phase < CHAT_CLIENT_GREETING || client->phase > CHAT_CLIENT_OPEN ||
	    !(source->ready & SOURCE_OUT) || (!client->unsent_n && !allowance(client, chat)))
		return;
	now_ns = clock_ns();
	if (source->want & SOURCE_OUT) /* the kernel had no room until now */
		client->caller.free_ns = now_ns;
	n = chat_client_compose(client, chat, now_ns);
	do
		written = sys_write(source->fd, chat->out, n);
	while (written == -EINTR);
	if (written == -EAGAIN)
		written = 0;
	if (written < 0) {
		chat_client_cannot_write(client, chat, written);
		return;
	}
	chat_client_sent(client, chat, (size_t)written, now_ns);
	source->want &= (uint8_t)~SOURCE_OUT;
	if ((size_t)written < n) {
		int error = loop_watch_out(&chat->sender->loop, source);

		source->ready &= (uint8_t)~SOURCE_OUT;
		source->want |= SOURCE_OUT;
		if (error)
			chat_client_fail_of(client, chat, "epoll_ctl", error);
	} else if (allowance(client, chat)) {
		loop_wake(&chat->sender->loop, source);
	}
}

void chat_client_probe(struct chat_client *client, struct chat *chat)
{
	uint64_t now_ns = clock_ns();
	struct chat_line line = {
	    .sender = (chat->table->base + CHAT_PROBER) & CHAT_SENDER_MASK,
	    .number = client->number,
	    .sent_ns = now_ns,
	    .due_ns = now_ns,
	};

	if (client->unsent_n) /* the line before has not left yet */
		return;
	client->unsent_n = (uint32_t)line_compose(chat, client->bytes, &line);
	chat_client_pump(client, chat);
}

/* ---- ending ---- */

/* Whether no line is missing, as far as this process can know. While a gap is open, its lines may
 * still come late. */
static bool chat_client_has_all(struct chat_client *client, const struct chat *chat)
{
	for (; client->lacks_from < chat->sender->plan->senders; client->lacks_from++) {
		uint32_t sender = client->lacks_from;
		uint64_t sent = CHAT_TABLE_READ(chat->table->sent[sender]);

		if (sender == client->number && !chat->wire.own_lines)
			continue;
		if (sent == CHAT_SENT_OPEN)
			return false;
		if (sent != CHAT_SENT_UNKNOWN && client->ledger.next[sender] + 1ull < sent)
			return false;
	}
	return !client->ledger.gaps_n;
}

void chat_client_look(struct chat_client *client, struct chat *chat)
{
	if (client->phase != CHAT_CLIENT_OPEN || client->unsent_n ||
	    !chat_client_has_all(client, chat))
		return;
	if (client->caller.slow) {
		chat_client_leave(client, chat, false);
		return;
	}
	client->phase = CHAT_CLIENT_ENDING;
	if (sys_shutdown(client->caller.source.fd, SHUT_WR) <
	    0) { /* the connection was reset: a read will say so */
		client->caller.source.ready |= SOURCE_IN;
		loop_requeue(&chat->sender->loop, &client->caller.source);
	}
}

static void count_missing(struct chat_client *client, struct chat *chat)
{
	for (uint32_t sender = client->lacks_from; sender < chat->sender->plan->senders; sender++) {
		uint64_t sent = CHAT_TABLE_READ(chat->table->sent[sender]);
		struct chat_gap gap = {sender, client->ledger.next[sender], (uint32_t)(sent - 1)};

		if (sent == CHAT_SENT_OPEN || sent == CHAT_SENT_UNKNOWN || gap.from >= gap.to ||
		    (sender == client->number && !chat->wire.own_lines))
			continue;
		chat_client_lost(client, chat, &gap);
	}
}

void chat_client_give_up(struct chat_client *client, struct chat *chat)
{
	if (client->caller.slow) {
		chat_client_leave(client, chat, false);
		return;
	}
	if (client->phase != CHAT_CLIENT_OPEN) {
		chat_client_fail(
		    client, chat, TALLY_timeout,
		    client->phase == CHAT_CLIENT_ENDING
			? "the server did not end a connection whose other side had ended"
			: "it did not come up");
		return;
	}
	if (client->unsent_n)
		sender_wrong(chat->sender, TALLY_timeout, 1,
			     "client %u: the server did not read all that it sent", client->number);
	count_missing(client, chat);
	chat_client_leave(client, chat, false);
}

/* A slow client reads on, to see whether the server has closed it. */
static void chat_client_resume(struct chat_client *client)
{
	int room = READ_BUFFER_BYTES;

	(void)sys_setsockopt(client->caller.source.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	client->caller.source.want |= SOURCE_IN;
	client->caller.source.ready |= SOURCE_IN;
}

/* ---- turns ---- */

static void chat_client_due(struct chat_client *client, struct chat *chat)
{
	uint64_t limit_ns = client->opened_ns + chat->sender->plan->timeout_us * 1000;
	uint64_t now_ns = clock_ns();

	if (client->phase != CHAT_CLIENT_CONNECTING && client->phase != CHAT_CLIENT_GREETING)
		return;
	if (now_ns < limit_ns)
		loop_deadline(&chat->sender->loop, &client->caller.source,
			      chat->sender->loop.now_ms + 1 +
				  (uint32_t)((limit_ns - now_ns) / 1000000));
	else
		chat_client_fail(client, chat, TALLY_timeout,
				 client->phase == CHAT_CLIENT_GREETING
				     ? "the server did not subscribe it"
				     : "its connect did not come up");
}

static void chat_client_turn(struct loop *loop, struct source *source)
{
	struct chat_client *client = CONTAINER_OF(source, struct chat_client, caller.source);
	struct chat *chat = CONTAINER_OF(loop, struct sender, loop)->chat;
	bool due = source->ready & SOURCE_DUE, broken = source->ready & SOURCE_BROKEN;

	source->ready &= (uint8_t) ~(SOURCE_DUE | SOURCE_WOKEN | SOURCE_BROKEN);
	if (client->phase == CHAT_CLIENT_GONE)
		return;
	if (client->phase == CHAT_CLIENT_ABSENT) { /* a unix socket that was busy */
		chat_client_open(client, chat);
		return;
	}
	if (chat->slow_read && client->caller.slow && !(source->want & SOURCE_IN) &&
	    client->phase == CHAT_CLIENT_OPEN)
		chat_client_resume(client);
	if (broken && !source->want) { /* a slow client does not read, so it does not see why */
		chat_client_fail(client, chat, TALLY_reset, "reset");
		return;
	}
	if (broken) /* a read will say what has happened */
		source->ready |= SOURCE_IN | SOURCE_ENDED;
	if (client->phase == CHAT_CLIENT_CONNECTING && dial_is_up(source->fd))
		chat_client_connected(client, chat);
	if (source->ready & source->want & SOURCE_IN)
		chat_client_read(client, chat);
	if (due)
		chat_client_due(client, chat);
	chat_client_pump(client, chat);
	if (client->phase != CHAT_CLIENT_GONE)
		loop_requeue(loop, source);
}
