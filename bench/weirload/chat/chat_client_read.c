#include "bench/weirload/chat/chat_client_parts.h"

#include <string.h>

#include "bench/weirload/chat/chat_line.h"
#include "reactor/base/sys.h"

#define SHOWN_BYTES 40 /* how many wrong bytes a message shows */

/* ---- a line ---- */

static uint32_t sender_of(const struct chat *chat, const struct chat_line *line)
{
	return (line->sender - chat->table->base) & CHAT_SENDER_MASK;
}

/* A line from another client shows that the server has taken this one in. */
static void probe_came(struct chat_client *client, struct chat *chat, const struct chat_line *line)
{
	if (line->number == client->number && !chat->wire.own_lines) {
		sender_wrong(chat->sender, TALLY_unexpected, 1, "client %u got a probe line back",
			     client->number);
		return;
	}
	if (client->settled)
		return;
	client->settled = true;
	if (client->caller.slow)
		client->caller.source.want &= (uint8_t)~SOURCE_IN;
	chat_settled(chat);
}

static void own_line_came(struct chat_client *client, struct chat *chat, uint32_t number)
{
	sender_wrong(chat->sender, TALLY_unexpected, 1, "client %u got its own line %u back",
		     client->number, number);
}

/* A line that is not the next of its sender. Returns whether it counts as a delivery. */
static bool line_out_of_turn(struct chat_client *client, struct chat *chat, uint32_t sender,
			     uint32_t number)
{
	uint32_t next = client->ledger.next[sender];
	struct chat_gap lost;
	enum chat_entry entry = chat_ledger_enter(&client->ledger, sender, number, &lost);

	if (lost.to)
		chat_client_lost(client, chat, &lost);
	if (entry == CHAT_LATE)
		sender_wrong(chat->sender, TALLY_reordered, 1,
			     "client %u got line %u of sender %u behind line %u", client->number,
			     number, sender, next - 1);
	if (entry == CHAT_AGAIN)
		sender_wrong(chat->sender, TALLY_doubled, 1,
			     "client %u got line %u of sender %u twice", client->number, number,
			     sender);
	return entry == CHAT_AHEAD;
}

static void line_times(struct chat *chat, const struct chat_line *line, uint64_t now_ns)
{
	struct tally *tally = chat->sender->tally;

	if (chat_line_span_ns(chat->sender->schedule->measure_ns, line->due_ns) < 0)
		return;
	histogram_add(&tally->service, (uint64_t)chat_line_span_ns(line->sent_ns, now_ns));
	if (plan_is_open(chat->sender->plan))
		histogram_add(&tally->response, (uint64_t)chat_line_span_ns(line->due_ns, now_ns));
}

/* Whether it counts as a delivery. */
static bool line_came(struct chat_client *client, struct chat *chat, const struct chat_line *line,
		      uint64_t now_ns)
{
	uint32_t sender = sender_of(chat, line);

	if (__builtin_expect(sender >= chat->sender->plan->senders, 0)) {
		if (sender == CHAT_PROBER)
			probe_came(client, chat, line);
		else
			sender_wrong(chat->sender, TALLY_foreign, 1,
				     "client %u got a line of a sender that is none of this run",
				     client->number);
		return false;
	}
	if (__builtin_expect(sender == client->number && !chat->wire.own_lines, 0)) {
		own_line_came(client, chat, line->number);
		return false;
	}
	if (__builtin_expect(!chat_ledger_next(&client->ledger, sender, line->number), 0) &&
	    !line_out_of_turn(client, chat, sender, line->number))
		return false;
	if (client->caller.slow)
		return false;
	line_times(chat, line, now_ns);
	if (chat->witnesses[sender] == client->caller.number) {
		uint32_t local = sender / (uint32_t)chat->sender->plan->processes;

		loop_wake(&chat->sender->loop, &chat_client_at(chat, local)->caller.source);
	}
	return true;
}

/* ---- bytes ---- */

static bool affix_fits(const struct chat_affix *affix, const unsigned char *bytes)
{
	return memcmp(bytes, affix->bytes, affix->n) == 0;
}

static bool frame_fits(const struct chat_wire *wire, const unsigned char *at)
{
	return affix_fits(&wire->received_head, at) &&
	       affix_fits(&wire->tail, at + wire->received_head.n + wire->line_bytes);
}

static void say_wrong(struct chat_client *client, struct chat *chat, const unsigned char *bytes,
		      size_t n)
{
	int shown = n < SHOWN_BYTES ? (int)n : SHOWN_BYTES;

	sender_wrong(chat->sender, TALLY_altered, 1,
		     "client %u got a line that nobody sent: \"%.*s\"...", client->number, shown,
		     (const char *)bytes);
}

/* The bytes at `at` are not a line that was sent. Returns the place where the next line may begin.
 * If the wrong line says that it is the next of its sender, it is not counted as lost as well. */
static const unsigned char *line_wrong(struct chat_client *client, struct chat *chat,
				       const unsigned char *at, const unsigned char *end)
{
	const struct chat_wire *wire = &chat->wire;
	const unsigned char *text = at + wire->received_head.n;
	const unsigned char *newline;
	struct chat_line line;
	uint32_t sender;

	say_wrong(client, chat, text, wire->line_bytes);
	if (chat_line_read_name(&line, text)) {
		sender = sender_of(chat, &line);
		if (sender < chat->sender->plan->senders &&
		    line.number == client->ledger.next[sender])
			client->ledger.next[sender]++;
	}
	if (frame_fits(wire, at))
		return at + wire->received_bytes;
	newline = memchr(at, '\n', (size_t)(end - at));
	client->lost_track = !newline;
	return newline ? newline + 1 : end;
}

/* The end of the reply, or of the rest of a wrong line, that begins at `at`; NULL: its end has not
 * come yet. */
static const unsigned char *skip(const unsigned char *at, const unsigned char *end)
{
	const unsigned char *newline = memchr(at, '\n', (size_t)(end - at));

	return newline ? newline + 1 : NULL;
}

/* The end of the name before a line, or `at` if there is no name; NULL: its end has not come yet.
 */
static const unsigned char *name_skip(const unsigned char *at, const unsigned char *end)
{
	size_t n = (size_t)(end - at);
	const unsigned char *name_end;

	if (n > CHAT_NAME_BYTES)
		n = CHAT_NAME_BYTES;
	name_end = memmem(at, n, ": ", 2);
	if (name_end)
		return name_end + 2;
	return n == CHAT_NAME_BYTES || memchr(at, '\n', n) ? at : NULL;
}

/* Checks the lines that have come whole. Returns the end of the last one. */
static const unsigned char *lines_take(struct chat_client *client, struct chat *chat,
				       const unsigned char *at, const unsigned char *end,
				       uint64_t now_ns)
{
	const struct chat_wire *wire = &chat->wire;
	uint64_t deliveries = 0;
	struct chat_line line;

	while (at < end) {
		const unsigned char *text;

		if (wire->replies && *at == ':') {
			const unsigned char *behind = skip(at, end);

			if (!behind)
				break;
			at = behind;
			continue;
		}
		text = wire->names ? name_skip(at, end) : at;
		if (!text || (size_t)(end - text) < wire->received_bytes)
			break;
		if (__builtin_expect(
			frame_fits(wire, text) &&
			    chat_line_read(&line, text + wire->received_head.n, wire->line_bytes),
			1)) {
			deliveries += line_came(client, chat, &line, now_ns);
			at = text + wire->received_bytes;
		} else {
			at = line_wrong(client, chat, text, end);
		}
	}
	TALLY_ADD(chat->sender->tally, messages, deliveries);
	return at;
}

/* The end of Redis' answer to a client that subscribes; NULL: its end has not come yet. */
static const unsigned char *welcome_take(struct chat_client *client, struct chat *chat,
					 const unsigned char *at, const unsigned char *end)
{
	size_t n = strlen(chat->wire.welcome);
	const unsigned char *found = memmem(at, (size_t)(end - at), chat->wire.welcome, n);

	if (!found)
		return NULL;
	chat_client_welcomed(client, chat);
	return found + n;
}

static void bytes_came(struct chat_client *client, struct chat *chat, size_t n, uint64_t now_ns)
{
	const unsigned char *at = chat->in, *end = at + n, *behind;

	client->kept_n = 0;
	if (client->phase == CHAT_CLIENT_GREETING && (behind = welcome_take(client, chat, at, end)))
		at = behind;
	if (client->lost_track) {
		behind = skip(at, end);
		client->lost_track = !behind;
		at = behind ? behind : end;
	}
	if (client->phase != CHAT_CLIENT_GREETING)
		at = lines_take(client, chat, at, end, now_ns);
	n = (size_t)(end - at);
	if (n > chat->wire.kept_max) {
		chat_client_fail(client, chat, TALLY_altered,
				 "what came is neither line nor reply");
		return;
	}
	memcpy(chat_client_kept(client, chat), at, n);
	client->kept_n = (uint32_t)n;
}

void chat_client_read(struct chat_client *client, struct chat *chat)
{
	struct source *source = &client->caller.source;
	uint32_t kept = client->kept_n;
	uint64_t now_ns;
	ssize_t n;

	memcpy(chat->in, chat_client_kept(client, chat), kept);
	do
		n = sys_read(source->fd, chat->in + kept, CHAT_IN_BYTES);
	while (n == -EINTR);
	if (n == -EAGAIN) {
		source->ready &= (uint8_t)~SOURCE_IN;
		return;
	}
	if (n < 0) {
		chat_client_fail_of(
		    client, chat, client->phase == CHAT_CLIENT_CONNECTING ? "connect" : "read", n);
		return;
	}
	if (n == 0 && client->reset) {
		chat_client_fail_of(client, chat, "read", -ECONNRESET);
		return;
	}
	if (n == 0) {
		chat_client_ended(client, chat);
		return;
	}
	if (n < CHAT_IN_BYTES && !(source->ready & SOURCE_ENDED))
		source->ready &= (uint8_t)~SOURCE_IN;
	TALLY_ADD(chat->sender->tally, received_bytes, n);
	now_ns = clock_ns();
	bytes_came(client, chat, kept + (size_t)n, now_ns);
	sender_keep_pace(chat->sender, now_ns);
}
