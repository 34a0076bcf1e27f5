/*
 * framing_protocols: two framings, one inner protocol that does whatever a protocol may do, and a
 * connection that has it, on two simulated workers.
 *
 * Netstrings keep nothing and leave a message until it is whole. Frames are what a WebSocket's are:
 * masked, with a head that is used before the rest has come, with two kinds of messages and with
 * pings between them. The test includes this once; one connection at a time.
 */
#ifndef TESTS_SIM_FRAMING_PROTOCOLS_H
#define TESTS_SIM_FRAMING_PROTOCOLS_H

#include <ctype.h>
#include <stdio.h>

#include "reactor/stream/framing.h"
#include "tests/support/sim/sim_move.h"

extern const struct protocol line_protocol;

enum { MOST };
enum { BAD, TOO_LONG };
static struct reason framing_reasons[] = {[BAD] = REASON("bad_framing", "a test's"),
					  [TOO_LONG] = REASON("framing_too_long", "a test's"),
					  {0}};

/* ---- netstrings ---- */

static size_t net_cut(struct conn *conn, unsigned char *bytes, size_t n, struct message *message)
{
	size_t at = 0, length = 0;

	while (at < n && at < 5 && isdigit(bytes[at]))
		length = length * 10 + (size_t)(bytes[at++] - '0');
	if (at == n)
		return 0;
	if (!at || bytes[at++] != ':')
		framing_fail(conn, BAD);
	else if (length > framing_setting(conn, MOST))
		framing_fail(conn, TOO_LONG);
	else if (n - at > length && bytes[at + length] != ',')
		framing_fail(conn, BAD);
	else if (n - at > length)
		*message = message_of(bytes + at, length);
	return message->bytes ? at + length + 1 : 0;
}

static void net_frame(struct framed *framed, struct message message)
{
	char head[16];

	framed_add(framed, head, (size_t)sprintf(head, "%u:", message.n));
	memset(head, '?', sizeof head); /* it may go at once */
	framed_payload(framed, message.bytes, message.n);
	framed_add(framed, ",", 1);
}

static const struct framing net_framing = {
    .cut = net_cut, .frame = net_frame, .reasons = framing_reasons};

/* ---- frames: M or N, a key, two bytes of length, masked bytes; P and a byte, a ping; Q, the end
 * ---- */

struct frame_state {
	uint32_t length, clear; /* bytes, and how many of those that have come are unmasked */
	uint8_t key, kind, inside, unused;
};

static size_t frame_head(struct conn *conn, struct frame_state *state, const unsigned char *bytes,
			 size_t n, struct message *message)
{
	uint32_t length;

	if (*bytes != 'M' && *bytes != 'N') {
		framing_fail(conn, BAD);
		return 0;
	}
	if (n < 4)
		return 0;
	length = (uint32_t)bytes[2] << 8 | bytes[3];
	if (length > framing_setting(conn, MOST)) {
		framing_fail(conn, TOO_LONG);
		return 0;
	}
	if (length) {
		*state = (struct frame_state){length, 0, bytes[1], *bytes - 'M', 1, 0};
		return 4;
	}
	*message = message_of(bytes, 0);
	message->kind = *bytes - 'M';
	return 4;
}

static size_t frame_cut(struct conn *conn, unsigned char *bytes, size_t n, struct message *message)
{
	struct frame_state *state = framing_state(conn);

	if (!state->inside && *bytes == 'Q') { /* whatever it says, it is too late */
		conn_finish(conn, CLOSE_finished);
		*message = message_of(bytes, 1);
		return 1;
	}
	if (!state->inside && *bytes == 'P') {
		if (n < 2)
			return 0;
		conn_copy(conn, (const unsigned char[]){'p', bytes[1]}, 2);
		(void)conn_message_taken(conn);
		return 2;
	}
	if (!state->inside)
		return frame_head(conn, state, bytes, n, message);
	if (n > state->length)
		n = state->length;
	for (size_t i = state->clear; i < n; i++)
		bytes[i] ^= state->key;
	state->clear = (uint32_t)n;
	if (n < state->length)
		return 0;
	*message = message_of(bytes, n);
	message->kind = state->kind;
	return n;
}

static void frame_taken(struct conn *conn)
{
	struct frame_state *state = framing_state(conn);

	*state = (struct frame_state){0};
}

static void frame_frame(struct framed *framed, struct message message)
{
	unsigned char head[3] = {(unsigned char)('M' + message.kind),
				 (unsigned char)(message.n >> 8), (unsigned char)message.n};

	framed_add(framed, head, 3);
	memset(head, '?', sizeof head);
	framed_payload(framed, message.bytes, message.n);
}

static bool frame_state_valid(const void *bytes)
{
	struct frame_state state;

	memcpy(&state, bytes, sizeof state);
	return state.inside <= 1 && state.clear <= state.length && state.kind <= 1;
}

static const struct framing frame_framing = {.cut = frame_cut,
					     .taken = frame_taken,
					     .frame = frame_frame,
					     .reasons = framing_reasons,
					     .state_bytes = sizeof(struct frame_state),
					     .state_valid = frame_state_valid};

/* ---- the protocol: the first letter of a message says what it does ---- */

struct inner {
	uint32_t due_ms;
	uint32_t to_say;
	uint32_t refused;
};

static struct {
	unsigned opened, closed, delivered, refused;
} inner_calls;

static void inner_open(struct conn *conn)
{
	const unsigned char *state = conn_state(conn);

	inner_calls.opened++;
	for (size_t i = 0; i < CONN_STATE_BYTES; i++)
		EXPECT(!state[i]);
}

static void inner_close(struct conn *conn)
{
	(void)conn;
	inner_calls.closed++;
}

static void say(struct conn *conn, const char *text)
{
	conn_send_message(conn, message_of(text, strlen(text)));
}

/* Does it take the message now? Those that begin with an l it takes at the second time. */
static bool takes(struct conn *conn, struct message message)
{
	struct inner *inner = conn_state(conn);

	if (!message.n || *message.bytes != 'l' || inner->refused) {
		inner->refused = 0;
		return true;
	}
	inner->refused = 1;
	inner_calls.refused++;
	conn_pause_input(conn);
	return false;
}

static bool inner_message(struct conn *conn, struct message message)
{
	struct inner *inner = conn_state(conn);

	if (!takes(conn, message))
		return false;
	inner_calls.delivered++;
	switch (message.n ? *message.bytes : 0) {
	case 'p': /* it says something more in its own time */
		inner->to_say = 2;
		conn_produce(conn, true);
		break;
	case 'w': /* it waits, until it is woken */
		conn_pause_input(conn);
		break;
	case 't':
		conn_set_timer(conn, 10);
		break;
	case 'x':
		say(conn, "bye");
		conn_finish(conn, CLOSE_finished);
		say(conn, "never");
		return true;
	case 's':
		say(conn, "ok");
		conn_switch(conn, &line_protocol);
		return true;
	default:
		break;
	}
	for (size_t i = 0; i < message.n; i++)
		message.bytes[i] = (unsigned char)toupper(message.bytes[i]);
	conn_send_message(conn, message);
	return true;
}

static void inner_produce(struct conn *conn)
{
	struct inner *inner = conn_state(conn);

	if (inner->to_say) {
		inner->to_say--;
		say(conn, "more");
	}
	if (!inner->to_say)
		conn_produce(conn, false);
}

static void inner_timer(struct conn *conn)
{
	say(conn, "tick");
}

static void inner_ended(struct conn *conn)
{
	say(conn, "end");
}

#define INNER                                                                                      \
	.open = inner_open, .close = inner_close, .input = framing_input,                          \
	.message = inner_message, .produce = inner_produce, .timer = inner_timer,                  \
	.timer_at = offsetof(struct inner, due_ms), .ended = inner_ended,                          \
	.state_bytes = sizeof(struct inner)

static const struct protocol net = {.name = "net", .framing = &net_framing, INNER};
static const struct protocol framed = {.name = "framed", .framing = &frame_framing, INNER};

/* Its first line is thrown away, and the second protocol that of the rest. */
static size_t door_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	unsigned char *end = memchr(bytes, '\n', n);

	if (!end)
		return 0;
	conn_switch(conn, *bytes == 'n' ? &net : &framed);
	return (size_t)(end + 1 - bytes);
}

static const struct protocol door = {.name = "door", .input = door_input};

/* ---- bytes ---- */

struct text {
	unsigned char bytes[64 << 10];
	size_t n;
};

static inline void text_add(struct text *text, const void *bytes, size_t n)
{
	EXPECT(text->n + n <= sizeof text->bytes);
	memcpy(text->bytes + text->n, bytes, n);
	text->n += n;
}

/* A message as `protocol` has it; in: on its way in, where it may be masked. */
static inline void text_message(struct text *text, const struct protocol *protocol,
				const void *bytes, size_t n, unsigned kind, bool in)
{
	const unsigned char *from = bytes;
	char head[24];

	if (protocol == &net) {
		text_add(text, head, (size_t)sprintf(head, "%zu:", n));
		text_add(text, bytes, n);
		text_add(text, ",", 1);
		return;
	}
	text_add(text, &(char){(char)('M' + kind)}, 1);
	if (in)
		text_add(text, "\x5a", 1);
	text_add(text, (const unsigned char[]){(unsigned char)(n >> 8), (unsigned char)n}, 2);
	for (size_t i = 0; i < n; i++)
		text_add(text, &(unsigned char){in ? from[i] ^ 0x5a : from[i]}, 1);
}

static inline void text_in(struct text *text, const struct protocol *protocol, const char *message)
{
	text_message(text, protocol, message, strlen(message), 0, true);
}

static inline void text_out(struct text *text, const struct protocol *protocol, const char *message)
{
	text_message(text, protocol, message, strlen(message), 0, false);
}

/* ---- a connection ---- */

static struct sim_move move;
static struct service services[2][4];
static struct text got;

static inline struct peer *begin_with(const struct protocol *protocol, struct conn_limits limits)
{
	static const struct protocol *const all[] = {&net, &framed, &door, &line_protocol};

	sim_move_open(&move, "echo", limits, BUFFERS_MIN);
	memset(&inner_calls, 0, sizeof inner_calls);
	got.n = 0;
	for (int w = 0; w < 2; w++) {
		for (int i = 0; i < 4; i++) {
			protocol_register(all[i]);
			services[w][i] = move.worlds[w].service;
			services[w][i].protocol = all[i];
			services[w][i].settings[FRAMING_SETTING(MOST)] = CHUNK_BYTES;
			services[w][i].next = &services[w][(i + 1) % 4];
		}
		services[w][3].next = &move.worlds[w].service;
		move.worlds[w].service.protocol = protocol;
		move.worlds[w].service.settings[FRAMING_SETTING(MOST)] = CHUNK_BYTES;
		move.worlds[w].service.next = &services[w][0];
	}
	return world_connect(&move.worlds[0]);
}

static inline struct peer *begin(const struct protocol *protocol)
{
	return begin_with(protocol, (struct conn_limits){WORLD_LIMITS});
}

static inline bool is_paused(struct peer *peer)
{
	return !peer->closed && world_conn(sim_move_here(&move), peer)->paused & PAUSED_INPUT;
}

static inline void resume(struct peer *peer)
{
	conn_resume_input(world_conn(sim_move_here(&move), peer));
}

/* Takes what comes, at most so many bytes at a time, and wakes it whenever it waits. */
static inline void take(struct peer *peer, size_t most)
{
	for (;;) {
		sim_move_run(&move);
		if (peer->out.n) {
			EXPECT(got.n + peer->out.n <= sizeof got.bytes);
			got.n += peer_receive(peer, got.bytes + got.n, most);
		} else if (is_paused(peer)) {
			resume(peer);
		} else {
			return;
		}
	}
}

static inline void expect_got(const struct text *out)
{
	EXPECT_MSG(got.n == out->n, "%zu bytes came, not %zu", got.n, out->n);
	EXPECT_MSG(memcmp(got.bytes, out->bytes, got.n) == 0, "other bytes came");
}

static inline void end_with(struct peer *peer, enum close_reason reason)
{
	sim_move_run(&move);
	EXPECT(peer->closed);
	EXPECT_MSG(sim_move_reason(&move) == reason, "closed for %s, not %s",
		   close_reason_name(sim_move_reason(&move)), close_reason_name(reason));
	sim_move_close(&move);
}

/* A reason of the framings'. */
static inline enum close_reason reason_of(unsigned i)
{
	return (enum close_reason)framing_reasons[i].number;
}

#endif
