#include "bench/weirload/plan/client_protocol.h"

#include <string.h>

#define ANYTHING                                                                                   \
	{                                                                                          \
		.forbidden = -1                                                                    \
	}

static const struct client_protocol client_protocols[] = {
    {.name = "echo", .sent = ANYTHING, .received = ANYTHING},
    {.name = "increment",
     .greeting = "*",
     .head = "^",
     .tail = "$",
     .sent = {.forbidden = '$'},
     .received = {.forbidden = '$', .plus_one = true}},
    {.name = "line",
     .tail = "\n",
     .reply_tail = "\n",
     .sent = {.forbidden = '\n'},
     .received = {.forbidden = '\n'}},
    {.name = "frame", .length_prefix = true, .sent = ANYTHING, .received = ANYTHING},
    {.name = "discard", .kind = CLIENT_PROTOCOL_LISTENS, .sent = ANYTHING, .received = ANYTHING},
    {.name = "chargen", .kind = CLIENT_PROTOCOL_SPEAKS, .sent = ANYTHING, .received = ANYTHING},
    {.name = "http", .http = true, .sent = ANYTHING, .received = ANYTHING},
    {.name = "chat", .kind = CLIENT_PROTOCOL_CHATS, .sent = ANYTHING, .received = ANYTHING},
};

/* RFC 864: a datagram of up to 512 characters; weir's answer is never longer than the request. */
#define CHARGEN_REPLY_MAX 512

static const struct client_protocol datagram_protocols[] = {
    {.name = "echo", .sent = ANYTHING, .received = ANYTHING},
    {.name = "increment",
     .head = "^",
     .tail = "$",
     .reply_head = "*",
     .sent = {.forbidden = '$'},
     .received = {.forbidden = '$', .plus_one = true}},
    {.name = "discard", .kind = CLIENT_PROTOCOL_LISTENS, .sent = ANYTHING, .received = ANYTHING},
    {.name = "chargen", .alike = true, .sent = ANYTHING, .received = ANYTHING},
};

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

const struct client_protocol *client_protocol_find(const char *protocol, bool datagrams)
{
	const struct client_protocol *rows = datagrams ? datagram_protocols : client_protocols;
	size_t n = datagrams ? COUNT(datagram_protocols) : COUNT(client_protocols);

	for (size_t i = 0; i < n; i++)
		if (strcmp(rows[i].name, protocol) == 0)
			return &rows[i];
	return NULL;
}

/* ---- a head, a piece of the pattern, a tail ---- */

#define PREFIX_BYTES 4

struct shape {
	const char *head, *tail;
	uint32_t head_n, tail_n;
	char prefix[PREFIX_BYTES];
};

static uint32_t affix(const char **out, const char *text)
{
	*out = text ? text : "";
	return (uint32_t)strlen(*out);
}

static void shape_make(struct shape *shape, const struct client_protocol *protocol, uint32_t size,
		       bool reply)
{
	shape->head_n = affix(&shape->head, reply ? protocol->reply_head : protocol->head);
	shape->tail_n = affix(&shape->tail, reply ? protocol->reply_tail : protocol->tail);
	if (protocol->length_prefix) {
		for (int i = 0; i < PREFIX_BYTES; i++)
			shape->prefix[i] = (char)(unsigned char)(size >> (24 - 8 * i));
		shape->head = shape->prefix;
		shape->head_n = PREFIX_BYTES;
	}
}

uint32_t client_protocol_message_bytes(const struct client_protocol *protocol, uint32_t size)
{
	struct shape shape;

	if (protocol->kind == CLIENT_PROTOCOL_SPEAKS)
		return 0;
	shape_make(&shape, protocol, size, false);
	return shape.head_n + size + shape.tail_n;
}

uint32_t client_protocol_reply_bytes(const struct client_protocol *protocol, uint32_t size)
{
	struct shape shape;

	if (protocol->kind == CLIENT_PROTOCOL_LISTENS)
		return 0;
	if (protocol->alike)
		return size < CHARGEN_REPLY_MAX ? size : CHARGEN_REPLY_MAX;
	shape_make(&shape, protocol, size, true);
	return shape.head_n + size + shape.tail_n;
}

/* Messages begin at a whole word of the stream. */
static uint64_t pattern_position(uint32_t size, uint64_t message)
{
	return message * (((uint64_t)size + 7) / 8 * 8);
}

uint64_t client_protocol_numbers(uint32_t size)
{
	return (1ull << PATTERN_INDEX_BITS) / (((uint64_t)size + 7) / 8);
}

/* How many bytes of [offset, offset + n) lie in [begin, end). */
static uint32_t overlap(uint32_t offset, uint32_t n, uint32_t begin, uint32_t end)
{
	uint32_t from = offset > begin ? offset : begin;
	uint32_t to = offset + n < end ? offset + n : end;

	return to > from ? to - from : 0;
}

static void shape_fill(const struct shape *shape, struct pattern_rule rule, uint32_t size,
		       uint64_t key, uint64_t message, uint32_t offset, unsigned char *bytes,
		       uint32_t n)
{
	uint32_t part, body_end = shape->head_n + size;

	part = overlap(offset, n, 0, shape->head_n);
	memcpy(bytes, shape->head + (part ? offset : 0), part);
	bytes += part, offset += part, n -= part;
	part = overlap(offset, n, shape->head_n, body_end);
	pattern_fill(rule, key,
		     pattern_position(size, message) + (part ? offset - shape->head_n : 0), bytes,
		     part);
	bytes += part, offset += part, n -= part;
	memcpy(bytes, shape->tail + (n ? offset - body_end : 0), n);
}

void client_protocol_fill(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			  uint64_t message, uint32_t offset, unsigned char *bytes, uint32_t n)
{
	struct shape shape;

	shape_make(&shape, protocol, size, false);
	shape_fill(&shape, protocol->sent, size, key, message, offset, bytes, n);
}

/* ---- RFC 864, as most servers implement it: 95 rotating lines of 72 characters ---- */

#define CHARGEN_COLUMNS 72
#define CHARGEN_FIRST	32
#define CHARGEN_LETTERS 95
#define CHARGEN_LINE	(CHARGEN_COLUMNS + 2)

static unsigned char chargen_at(uint64_t position)
{
	uint64_t line = position / CHARGEN_LINE % CHARGEN_LETTERS, column = position % CHARGEN_LINE;

	if (column >= CHARGEN_COLUMNS)
		return column == CHARGEN_COLUMNS ? '\r' : '\n';
	return (unsigned char)(CHARGEN_FIRST + (line + column) % CHARGEN_LETTERS);
}

static uint32_t chargen_match(uint64_t position, const unsigned char *bytes, uint32_t n)
{
	static unsigned char period[CHARGEN_LETTERS * CHARGEN_LINE];
	uint32_t matched = 0;

	if (!period[0])
		for (uint32_t i = 0; i < sizeof period; i++)
			period[i] = chargen_at(i);
	while (matched < n) {
		size_t at = (position + matched) % sizeof period;
		size_t part = sizeof period - at < n - matched ? sizeof period - at : n - matched;

		if (memcmp(bytes + matched, period + at, part) != 0) {
			while (bytes[matched] == period[at])
				matched++, at++;
			return matched;
		}
		matched += (uint32_t)part;
	}
	return n;
}

void client_protocol_expect(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			    uint64_t message, uint32_t offset, unsigned char *bytes, uint32_t n)
{
	struct shape shape;

	if (protocol->kind == CLIENT_PROTOCOL_SPEAKS || protocol->alike) {
		uint64_t begin = protocol->alike ? 0 : message * size;

		for (uint32_t i = 0; i < n; i++)
			bytes[i] = chargen_at(begin + offset + i);
		return;
	}
	shape_make(&shape, protocol, size, true);
	shape_fill(&shape, protocol->received, size, key, message, offset, bytes, n);
}

static uint32_t affix_match(const char *text, const unsigned char *bytes, uint32_t n)
{
	uint32_t i = 0;

	while (i < n && bytes[i] == (unsigned char)text[i])
		i++;
	return i;
}

uint32_t client_protocol_match(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			       uint64_t message, uint32_t offset, const unsigned char *bytes,
			       uint32_t n)
{
	struct shape shape;
	uint32_t part, matched, body_end;

	if (protocol->kind == CLIENT_PROTOCOL_SPEAKS)
		return chargen_match(message * size + offset, bytes, n);
	if (protocol->alike)
		return chargen_match(offset, bytes, n);
	shape_make(&shape, protocol, size, true);
	body_end = shape.head_n + size;

	part = overlap(offset, n, 0, shape.head_n);
	matched = affix_match(shape.head + (part ? offset : 0), bytes, part);
	if (matched < part)
		return matched;
	part = overlap(offset, n, shape.head_n, body_end);
	if (part)
		matched += (uint32_t)pattern_match(protocol->received, key,
						   pattern_position(size, message) + offset +
						       matched - shape.head_n,
						   bytes + matched, part);
	if (matched < n && offset + matched >= body_end)
		matched += affix_match(shape.tail + (offset + matched - body_end), bytes + matched,
				       n - matched);
	return matched;
}

bool client_protocol_number(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			    const unsigned char *bytes, size_t n, uint64_t *message)
{
	uint64_t words = ((uint64_t)size + 7) / 8, whose, index;
	struct shape shape;

	shape_make(&shape, protocol, size, true);
	bytes += shape.head_n;
	n = n > shape.head_n ? n - shape.head_n : 0;
	for (uint64_t i = 0; i < size / 8 && (i + 1) * 8 <= n; i++) {
		pattern_word(protocol->received, bytes + i * 8, &whose, &index);
		*message = index / words;
		if (whose == key && index % words == i)
			return true;
	}
	return false;
}
