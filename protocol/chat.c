/*
 * chat: each line goes to every other client of the listener, on every worker. A line of more than
 * max-line bytes, \n not counted, closes the connection. With names=on each line begins with who
 * said it, "ADDRESS:PORT: ".
 *
 * What one client says must not steer another's terminal. Only valid UTF-8 (RFC 3629) passes,
 * without controls: C0 but tab, DEL, C1, and those that change the direction of text (Unicode's
 * Bidi_Control). Each such byte or character becomes a "?": if it were taken out, its neighbours
 * could join and form another one. A \r before the \n is dropped. What a telnet client negotiates
 * (RFC 854) is dropped first: it is meant for the server, and is no text.
 *
 * A line that is not whole yet stays in the input buffer.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "protocol/lines.h"
#include "protocol/protocol.h"
#include "reactor/base/utf8.h"
#include "reactor/pubsub/delivery.h"

#define NAME_BYTES  (INET6_ADDRSTRLEN + 16)
#define LINE_BYTES  16000 /* at most, whatever max-line says: a line fits a chunk */
#define HISTORY_MAX 1000  /* lines */

enum { MAX_LINE, NAMES, HISTORY };
static struct setting chat_settings[] = {
    [MAX_LINE] = LINES_MAX_LINE(LINE_BYTES),
    [NAMES] = SETTING(SWITCH, "names", "off", NULL, 0, 1, "lines name who said them"),
    [HISTORY] = SETTING(NUMBER, "history", "0", NULL, 0, HISTORY_MAX,
			"a newcomer gets the last lines that were said"),
    {0}};

enum { TOO_LONG, TOO_MANY_TOPICS };
static struct reason chat_reasons[] = {[TOO_LONG] = LINES_TOO_LONG,
				       [TOO_MANY_TOPICS] =
					   REASON("too_many_topics", "max-topics was reached"),
				       {0}};

struct chat {
	/* The client's address, as its name: it keeps that when it moves to another process. */
	struct in6_addr address; /* IPv4 as ::ffff:a.b.c.d; all 0: it has no name */
	uint16_t port;		 /* 0: unix, and address is a struct unix_name */
	uint16_t looked : 13;	 /* half the bytes of the line under way that hold no \n */
	uint16_t telnet : 3;
	uint32_t subscription;
};

/* How far a telnet command has come, which begins with IAC and may contain \n, too. */
enum telnet { TEXT, COMMAND, OPTION, SUBNEGOTIATION, SUBNEGOTIATION_COMMAND };

/* Bytes of RFC 854. */
enum { SE = 240, SB = 250, WILL = 251, DONT = 254, IAC = 255 };

struct unix_name {
	uint32_t place, serial;
};

_Static_assert(sizeof(struct unix_name) <= sizeof(struct in6_addr), "one of the two");
_Static_assert(sizeof(struct chat) <= CONN_STATE_BYTES, "the state fits");
_Static_assert(LINE_BYTES / 2 < 1 << 13, "and so does half a line's length");
_Static_assert(NAME_BYTES + LINE_BYTES + 1 <= CHUNK_BYTES, "a line fits a chunk");

/* ---- text ---- */

static bool is_control(uint32_t character)
{
	return (character < 0x20 && character != '\t') ||
	       (character >= 0x7f && character <= 0x9f) || /* DEL and C1 */
	       character == 0x061c || character == 0x200e || character == 0x200f ||
	       (character >= 0x202a && character <= 0x202e) ||
	       (character >= 0x2066 && character <= 0x2069);
}

/* How many of n bytes, from the first on, are plain text, in ASCII: eight are looked at in one
 * word, whose top bits say that a byte is below a space (it borrows), a DEL (it carries), or no
 * ASCII. */
static size_t text_plain(const unsigned char *bytes, size_t n)
{
	const uint64_t ones = UINT64_MAX / 0xff;
	size_t at = 0;
	uint64_t word;

	for (; at + sizeof word <= n; at += sizeof word) {
		memcpy(&word, bytes + at, sizeof word);
		if (((word - ones * ' ') | (word + ones) | word) & ones * 0x80)
			break;
	}
	return at;
}

/* Copies n bytes and cleans them; the copy is never longer. Returns its length. */
static size_t text_clean(unsigned char *to, const unsigned char *bytes, size_t n)
{
	size_t used = 0;

	if (n && bytes[n - 1] == '\r')
		n--;
	for (size_t at = 0; at < n;) {
		uint32_t character;
		size_t length = text_plain(bytes + at, n - at);

		if (length) {
			memcpy(to + used, bytes + at, length);
			used += length;
			at += length;
			continue;
		}
		length = utf8_decode(bytes + at, n - at, &character);

		if (!length || is_control(character)) {
			to[used++] = '?';
			at += length ? length : 1;
			continue;
		}
		memcpy(to + used, bytes + at, length);
		used += length;
		at += length;
	}
	return used;
}

/* ---- telnet ---- */

static bool is_text(struct chat *chat, unsigned char byte)
{
	switch (chat->telnet) {
	case COMMAND: /* a byte below SE is no command, but text behind an IAC */
		chat->telnet = byte == SB		      ? SUBNEGOTIATION
			       : byte >= WILL && byte <= DONT ? OPTION
							      : TEXT;
		return byte < SE;
	case OPTION:
		chat->telnet = TEXT;
		return false;
	case SUBNEGOTIATION:
		if (byte == IAC)
			chat->telnet = SUBNEGOTIATION_COMMAND;
		return false;
	case SUBNEGOTIATION_COMMAND: /* IAC IAC is a byte of the negotiation, IAC SE its end */
		chat->telnet = byte == IAC ? SUBNEGOTIATION : TEXT;
		return false;
	default:
		chat->telnet = byte == IAC ? COMMAND : TEXT;
		return byte != IAC;
	}
}

/* Takes telnet's commands out of n bytes, of which the first `before` are known to be text. The
 * text is moved to the end of the n bytes. Returns how many bytes stand in front of it. */
static size_t telnet_strip(struct chat *chat, unsigned char *bytes, size_t before, size_t n)
{
	size_t text_n = before;

	if (chat->telnet == TEXT && !memchr(bytes + before, IAC, n - before))
		return 0;
	for (size_t at = before; at < n; at++)
		if (is_text(chat, bytes[at]))
			bytes[text_n++] = bytes[at];
	memmove(bytes + n - text_n, bytes, text_n);
	return n - text_n;
}

/* ---- names ---- */

static void name_keep(struct chat *chat, const struct address *peer)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&peer->socket;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer->socket;

	if (peer->socket.ss_family == AF_INET6) {
		chat->address = in6->sin6_addr;
		chat->port = ntohs(in6->sin6_port);
	} else if (peer->socket.ss_family == AF_INET) {
		chat->address.s6_addr[10] = chat->address.s6_addr[11] = 0xff;
		memcpy(&chat->address.s6_addr[12], &in->sin_addr, sizeof in->sin_addr);
		chat->port = ntohs(in->sin_port);
	}
}

/* Names a client once: one that has moved here has its name, unless names were off where it was. */
static void name_give(struct conn *conn)
{
	const struct delivery *delivery = delivery_of(conn);
	struct chat *chat = conn_state(conn);
	struct address peer;

	if (!conn_setting(conn, NAMES) || !IN6_IS_ADDR_UNSPECIFIED(&chat->address))
		return;
	if (conn_peer(conn, &peer))
		name_keep(chat, &peer);
	if (!chat->port) {
		struct unix_name name = {delivery->port.seat,
					 (uint32_t)journal_serial(delivery->port.journal)};

		memcpy(&chat->address, &name, sizeof name);
	}
}

static size_t name_format(const struct chat *chat, char name[NAME_BYTES])
{
	char address[INET6_ADDRSTRLEN] = "";
	int n;

	if (!chat->port) {
		struct unix_name unix_name;

		memcpy(&unix_name, &chat->address, sizeof unix_name);
		n = snprintf(name, NAME_BYTES, "unix:%u.%u: ", unix_name.place, unix_name.serial);
	} else if (IN6_IS_ADDR_V4MAPPED(&chat->address)) {
		(void)inet_ntop(AF_INET, &chat->address.s6_addr[12], address, sizeof address);
		n = snprintf(name, NAME_BYTES, "%s:%u: ", address, chat->port);
	} else {
		(void)inet_ntop(AF_INET6, &chat->address, address, sizeof address);
		n = snprintf(name, NAME_BYTES, "[%s]:%u: ", address, chat->port);
	}
	return (size_t)n;
}

/* ---- what it hears ---- */

/* A record is a line, as it is sent. */
static size_t line_bytes(const struct journal_entry *entry)
{
	return entry->payload_n;
}

static void line_encode(const struct journal_entry *entry, unsigned char *to)
{
	memcpy(to, journal_payload(entry), entry->payload_n);
}

/* One that reads so slowly that the journal has lost what it should get is closed; what its worker
 * was too slow for is no fault of its own, and is counted there. */
static void line_gap(struct conn *conn, const struct gap *gap)
{
	if (gap->from >= delivery_of(conn)->topics.whole_from)
		conn_abort(conn, CLOSE_slow_consumer);
}

static const struct format line_format = {"line", line_bytes, line_encode, line_gap};

/* ---- a client ---- */

static void chat_subscribe(struct conn *conn, struct since since)
{
	struct chat *chat = conn_state(conn);
	const char *topic = conn->service->topic;

	if (!subscribe(&delivery_of(conn)->subscriptions, conn, &chat->subscription, topic,
		       strlen(topic), &line_format, since))
		conn_fail(conn, TOO_MANY_TOPICS);
}

static void chat_open(struct conn *conn)
{
	uint64_t history = conn_setting(conn, HISTORY);

	chat_subscribe(conn, (struct since){history ? SINCE_LAST : SINCE_NOW, history, 0});
	name_give(conn);
}

static void chat_produce(struct conn *conn)
{
	struct chat *chat = conn_state(conn);

	subscriptions_produce(&delivery_of(conn)->subscriptions, chat->subscription, conn);
}

static void chat_close(struct conn *conn)
{
	struct chat *chat = conn_state(conn);

	unsubscribe_all(&delivery_of(conn)->subscriptions, &chat->subscription);
}

/* ---- from worker to worker ---- */

static size_t chat_carried_bytes(const struct conn *conn)
{
	const struct chat *chat = (const struct chat *)(const void *)conn->state;

	return subscriptions_bytes(&delivery_of(conn)->subscriptions, chat->subscription);
}

static void chat_carry(const struct conn *conn, unsigned char *bytes)
{
	const struct chat *chat = (const struct chat *)(const void *)conn->state;

	subscriptions_describe(&delivery_of(conn)->subscriptions, chat->subscription, bytes);
}

static void chat_carried(struct conn *conn, const unsigned char *bytes, size_t n)
{
	struct chat *chat = conn_state(conn);

	if (!subscriptions_restore(&delivery_of(conn)->subscriptions, conn, &chat->subscription,
				   bytes, n, &line_format))
		conn_fail(conn, TOO_MANY_TOPICS);
	else if (!n)
		chat_subscribe(conn, (struct since){.kind = SINCE_NOW});
}

static void chat_restore(struct conn *conn)
{
	struct chat *chat = conn_state(conn);

	chat->looked = 0; /* another process' word is not taken for input that we have */
	name_give(conn);
}

/* ---- what it says ---- */

static bool chat_say(struct conn *conn, const unsigned char *line, size_t n)
{
	static unsigned char
	    text[LINE_BYTES + 1]; /* a copy, because the input may have to be said again */
	struct chat *chat = conn_state(conn);
	size_t text_n = text_clean(text, line, n), name_n = 0;
	char name[NAME_BYTES];

	text[text_n++] = '\n';
	if (conn_setting(conn, NAMES))
		name_n = name_format(chat, name);
	return delivery_say(delivery_of(conn), chat->subscription, (struct iovec){name, name_n},
			    (struct iovec){text, text_n});
}

static size_t chat_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct chat *chat = conn_state(conn);
	uint64_t max = conn_setting(conn, MAX_LINE);
	size_t used = telnet_strip(chat, bytes, conn_offered_before(conn), n);

	while (used < n) {
		unsigned char *line = bytes + used;
		size_t left = n - used;
		size_t looked = 2 * (size_t)chat->looked;
		unsigned char *end = memchr(line + looked, '\n', left - looked);
		size_t length = end ? (size_t)(end - line) : left;

		if (length > max) {
			conn_fail(conn, TOO_LONG);
			return n;
		}
		if (!end) {
			chat->looked = length / 2 & 0x1fff;
			conn_message_begun(conn);
			return used;
		}
		chat->looked = 0;
		if (!chat_say(conn, line, length))
			return used;
		used += length + 1;
		if (!conn_message_taken(conn))
			return used;
	}
	return used;
}

const struct protocol chat_protocol = {
    .name = "chat",
    .state_bytes = sizeof(struct chat),
    .state_version = 2,
    .open = chat_open,
    .restore = chat_restore,
    .carried_bytes = chat_carried_bytes,
    .carry = chat_carry,
    .carried_valid = subscriptions_are_valid,
    .carried = chat_carried,
    .carries_at = offsetof(struct chat, subscription),
    .input = chat_input,
    .produce = chat_produce,
    .close = chat_close,
    .shares = &pubsub_kind,
    .settings = chat_settings,
    .reasons = chat_reasons,
};
