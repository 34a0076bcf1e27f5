#include "bench/weirload/report/diagnosis.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "reactor/base/sys.h"

#define WAIT_MS		20   /* for what follows the first wrong byte */
#define WAITS_MAX	8    /* wrong replies after which it does not wait any more */
#define LOOKED_AT_MAX	4096 /* bytes that are looked at */
#define SHIFT_MAX	8192 /* how far bytes may have moved to be found by comparing */
#define SHIFT_BYTES_MIN 4    /* fewer bytes are found somewhere by chance */
#define SURE_BYTES	16   /* if so many bytes fit, a shift is proved */

const char diagnosis_tls[] = "the answer looks like TLS, which weirload does not speak";

/* A TLS record: the alert with which a TLS server answers plain bytes, or a handshake. */
bool diagnosis_is_tls(const unsigned char *bytes, size_t n)
{
	return n >= 3 && (bytes[0] == 0x15 || bytes[0] == 0x16) && bytes[1] == 3 && bytes[2] <= 4;
}

enum tally_error diagnosis_of_errno(int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ENOENT: /* a unix socket */
		return TALLY_refused;
	case ECONNRESET:
	case EPIPE:
	case ECONNABORTED:
		return TALLY_reset;
	case ETIMEDOUT:
		return TALLY_timeout;
	case EADDRNOTAVAIL:
	case EADDRINUSE:
		return TALLY_ports;
	case EMFILE:
	case ENFILE:
		return TALLY_descriptors;
	case ENOMEM:
	case ENOBUFS:
	case ENOSPC: /* epoll's watches */
		return TALLY_memory;
	default:
		return TALLY_other;
	}
}

void diagnosis_say_errno(char detail[TALLY_DETAIL_BYTES], const char *call, int error)
{
	(void)snprintf(detail, TALLY_DETAIL_BYTES, "%s: %s", call, strerror(error));
}

void diagnosis_say_late(char detail[TALLY_DETAIL_BYTES], const struct connection *connection,
			const struct sender *sender)
{
	if (connection->phase == CONNECTION_CONNECTING)
		(void)snprintf(detail, TALLY_DETAIL_BYTES, "a connect did not come up");
	else if (connection->phase == CONNECTION_ENDING)
		(void)snprintf(detail, TALLY_DETAIL_BYTES,
			       "the server did not end a connection whose other side had ended");
	else if (sender->plan->protocol->http)
		(void)snprintf(detail, TALLY_DETAIL_BYTES,
			       "message %llu of a connection: %u bytes of its reply's body came",
			       (unsigned long long)connection->received,
			       connection->received_bytes);
	else
		(void)snprintf(detail, TALLY_DETAIL_BYTES,
			       "message %llu of a connection: %u of %u bytes of its reply came",
			       (unsigned long long)connection->received, connection->received_bytes,
			       sender->reply_bytes);
}

/* ---- replies ---- */

/* All replies of a connection as one stream, and the position of its first wrong byte. */
struct stream {
	const struct connection *connection;
	const struct sender *sender;
	uint64_t position;
};

static void stream_fill(const struct stream *stream, uint64_t position, unsigned char *bytes,
			size_t n)
{
	const struct sender *sender = stream->sender;

	while (n) {
		uint32_t offset = (uint32_t)(position % sender->reply_bytes);
		uint32_t part = sender->reply_bytes - offset;

		if (part > n)
			part = (uint32_t)n;
		client_protocol_expect(sender->plan->protocol, (uint32_t)sender->plan->size,
				       stream->connection->key, position / sender->reply_bytes,
				       offset, bytes, part);
		bytes += part, position += part, n -= part;
	}
}

/* How many bytes at the beginning are the expected ones in another order; 0: none are. */
static size_t permutation(const unsigned char *bytes, const unsigned char *expected, size_t n)
{
	int balance[256] = {0};
	size_t unbalanced = 0;

	for (size_t i = 0; i < n; i++) {
		unbalanced += balance[bytes[i]] == 0 ? 1 : 0;
		unbalanced -= ++balance[bytes[i]] == 0 ? 1 : 0;
		unbalanced += balance[expected[i]] == 0 ? 1 : 0;
		unbalanced -= --balance[expected[i]] == 0 ? 1 : 0;
		if (!unbalanced)
			return i + 1;
	}
	return 0;
}

/* How far from here in the stream these bytes belong: above 0 if bytes before them are missing;
 * below 0 if they have come before; 0 if they belong nowhere near. */
static long shift_of(const struct stream *stream, const unsigned char *bytes, size_t n)
{
	unsigned char *around = stream->sender->expected;
	size_t before = stream->position < SHIFT_MAX ? (size_t)stream->position : SHIFT_MAX;

	if (n < SHIFT_BYTES_MIN)
		return 0;
	if (n > SURE_BYTES)
		n = SURE_BYTES;
	stream_fill(stream, stream->position - before, around, before + SHIFT_MAX + n);
	for (size_t shift = 1; shift <= SHIFT_MAX; shift++) {
		if (shift <= before && memcmp(bytes, around + before - shift, n) == 0)
			return -(long)shift;
		if (memcmp(bytes, around + before + shift, n) == 0)
			return (long)shift;
	}
	return 0;
}

/* Whether all n bytes are those of the stream at that distance. */
static bool fits_shifted(const struct stream *stream, long shift, const unsigned char *bytes,
			 size_t n)
{
	stream_fill(stream, (uint64_t)((int64_t)stream->position + shift), stream->sender->expected,
		    n);
	return memcmp(bytes, stream->sender->expected, n) == 0;
}

/* Asks the words of the pattern where they come from, however far away that is. */
static enum tally_error diagnosis_by_words(const struct stream *stream, const unsigned char *bytes,
					   size_t n, char *text, size_t text_n)
{
	const struct sender *sender = stream->sender;
	const struct plan *plan = sender->plan;
	uint64_t key, position;

	if (plan->protocol->kind != CLIENT_PROTOCOL_ANSWERS ||
	    !pattern_locate(plan->protocol->received, sender_keys(sender), bytes, n, &key,
			    &position)) {
		(void)snprintf(text, text_n, "never sent");
		return TALLY_altered;
	}
	if (key != stream->connection->key) {
		(void)snprintf(text, text_n, "of connection %llu", (unsigned long long)key);
		return TALLY_foreign;
	}
	(void)snprintf(text, text_n, "from byte %llu of its stream", (unsigned long long)position);
	return position > stream->position ? TALLY_lost : TALLY_doubled;
}

static enum tally_error diagnosis_of_bytes(const struct stream *stream, const unsigned char *bytes,
					   size_t n, bool asked, char *text, size_t text_n)
{
	unsigned char *expected = stream->sender->expected;
	size_t moved = 0;
	long shift;

	if (asked) {
		stream_fill(stream, stream->position, expected, n);
		if (n == 1 ||
		    memcmp(bytes + 1, expected + 1, n <= SURE_BYTES ? n - 1 : SURE_BYTES) == 0) {
			(void)snprintf(text, text_n, "one that was never sent");
			return TALLY_altered;
		}
		moved = permutation(bytes, expected, n);
	}
	shift = shift_of(stream, bytes, n);
	/* If one byte is missing, what follows looks like a permutation as soon as that byte comes
	 * again. */
	if (moved && (!shift || !fits_shifted(stream, shift, bytes, n))) {
		(void)snprintf(text, text_n, "%zu bytes in another order", moved);
		return TALLY_reordered;
	}
	if (shift < 0) {
		(void)snprintf(text, text_n, "those of %ld bytes before", -shift);
		return TALLY_doubled;
	}
	if (shift > 0 && asked) {
		(void)snprintf(text, text_n, "those of %ld bytes further on", shift);
		return TALLY_lost;
	}
	if (!asked && diagnosis_by_words(stream, bytes, n, text, text_n) != TALLY_foreign) {
		(void)snprintf(text, text_n, "nothing was asked");
		return TALLY_unexpected;
	}
	return diagnosis_by_words(stream, bytes, n, text, text_n);
}

/* Only for the first WAITS_MAX errors: this process does nothing else while it waits. */
static size_t read_more(const struct connection *connection, const struct sender *sender,
			unsigned char *bytes, size_t n, size_t room)
{
	struct pollfd more = {.fd = connection->caller.source.fd, .events = POLLIN};
	ssize_t read;

	if (n >= LOOKED_AT_MAX || n >= room ||
	    tally_errors_of(sender->tally, BLAME_REPLY) >= WAITS_MAX ||
	    poll(&more, 1, WAIT_MS) != 1)
		return n;
	read = sys_read(connection->caller.source.fd, bytes + n, room - n);
	return read > 0 ? n + (size_t)read : n;
}

enum tally_error diagnosis_of_reply(const struct connection *connection,
				    const struct sender *sender, unsigned char *bytes, size_t n,
				    char detail[TALLY_DETAIL_BYTES])
{
	struct stream stream = {connection, sender,
				connection->received * sender->reply_bytes +
				    connection->received_bytes};
	bool asked = connection->received < connection->sent || connection->sent_bytes != 0 ||
		     sender->plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS;
	size_t room = (size_t)(sender->buffer + SENDER_BUFFER_BYTES - bytes);
	enum tally_error kind;
	char text[80];

	n = read_more(connection, sender, bytes, n, room);
	if (n > LOOKED_AT_MAX)
		n = LOOKED_AT_MAX;
	kind = diagnosis_of_bytes(&stream, bytes, n, asked, text, sizeof text);
	if (!stream.position && diagnosis_is_tls(bytes, n)) {
		(void)snprintf(detail, TALLY_DETAIL_BYTES, "connection %llu: %s",
			       (unsigned long long)connection->key, diagnosis_tls);
		return kind;
	}
	if (!asked) {
		(void)snprintf(detail, TALLY_DETAIL_BYTES,
			       "connection %llu, after message %llu: %s",
			       (unsigned long long)connection->key,
			       (unsigned long long)connection->received, text);
		return kind;
	}
	stream_fill(&stream, stream.position, sender->expected, 1);
	(void)snprintf(detail, TALLY_DETAIL_BYTES,
		       "connection %llu, message %llu, byte %u of %u of its reply: %s "
		       "(%02x instead of %02x)",
		       (unsigned long long)connection->key,
		       (unsigned long long)connection->received, connection->received_bytes,
		       sender->reply_bytes, text, bytes[0], sender->expected[0]);
	return kind;
}
