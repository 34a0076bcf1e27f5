/*
 * framing_protocols: two framings, one inner protocol that does whatever a protocol may do, and a
 * connection that has it, on two simulated workers.
 *
 * Netstrings keep nothing and leave a message until it is whole. Frames are what a WebSocket's are:
 * masked, with a head that is used before the rest has come, with two kinds of messages, some of
 * them in several frames, and with pings in between. The test includes this once; one connection at
 * a time.
 */
#ifndef TESTS_SIM_FRAMING_FRAMING_PROTOCOLS_H
#define TESTS_SIM_FRAMING_FRAMING_PROTOCOLS_H

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

/*
 * ---- frames: M or N, a key, two bytes of length, masked bytes ----
 *
 * F is the same, of a message that goes on in the next frame; P and a byte is a ping, between any
 * two of them; Q is the end.
 */

enum { AT_FIRST, AT_BYTES, AT_NEXT };

struct frame_state {
	uint32_t length, clear; /* bytes of the message, and how many of them are unmasked */
	uint8_t key, kind, step, goes_on;
};

/* The bytes of the message that have come are moved behind the head of its next frame. */
static size_t frame_use(unsigned char *bytes, size_t before, size_t head)
{
	memmove(bytes + head, bytes, before);
	return head;
}

static size_t frame_begin(struct conn *conn, unsigned char *bytes, size_t n,
			  struct message *message)
{
	struct frame_state *state = framing_state(conn);
	size_t before = state->length;
	const unsigned char *head = bytes + before;
	bool goes_on = n && *head == 'F';
	uint32_t length;

	if (*head != 'M' && *head != 'N' && !goes_on) {
		framing_fail(conn, BAD);
		return 0;
	}
	if (n < 4)
		return 0;
	length = state->length + ((uint32_t)head[2] << 8 | head[3]);
	if (length > framing_setting(conn, MOST)) {
		framing_fail(conn, TOO_LONG);
		return 0;
	}
	if (length || goes_on) {
		*state = (struct frame_state){.length = length,
					      .clear = (uint32_t)before,
					      .key = head[1],
					      .kind = *head == 'N',
					      .step = length ? AT_BYTES : AT_NEXT,
					      .goes_on = goes_on};
		return frame_use(bytes, before, 4);
	}
	*message = message_of(bytes, 0);
	message->kind = *head == 'N';
	return 4;
}

/* Of n bytes, those of a message that has begun are the first. */
static size_t frame_head(struct conn *conn, unsigned char *bytes, size_t n, struct message *message)
{
	struct frame_state *state = framing_state(conn);
	size_t before = state->length;
	unsigned char ping[] = {'p', n > before + 1 ? bytes[before + 1] : 0};

	if (n == before)
		return 0;
	if (bytes[before] == 'Q') { /* whatever it says, it is too late */
		conn_finish(conn, CLOSE_finished);
		*message = message_of(bytes, 1);
		return 1;
	}
	if (bytes[before] != 'P')
		return frame_begin(conn, bytes, n - before, message);
	if (n < before + 2)
		return 0;
	conn_copy(conn, ping, 2);
	if (state->step == AT_FIRST)
		(void)conn_message_taken(conn);
	return frame_use(bytes, before, 2);
}

static size_t frame_cut(struct conn *conn, unsigned char *bytes, size_t n, struct message *message)
{
	struct frame_state *state = framing_state(conn);
	uint32_t there = n < state->length ? (uint32_t)n : state->length;

	if (state->step != AT_BYTES)
		return frame_head(conn, bytes, n, message);
	for (size_t i = state->clear; i < there; i++)
		bytes[i] ^= state->key;
	state->clear = there;
	if (there < state->length)
		return 0;
	if (state->goes_on) {
		state->step = AT_NEXT;
		return frame_head(conn, bytes, n, message);
	}
	*message = message_of(bytes, there);
	message->kind = state->kind;
	return there;
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
	return state.step <= AT_NEXT && state.clear <= state.length && state.kind <= 1;
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

/* A frame, on its way in. */
static inline void text_frame(struct text *text, char letter, unsigned char key, const void *bytes,
			      size_t n)
{
	const unsigned char *from = bytes;

	text_add(text,
		 (const unsigned char[]){(unsigned char)letter, key, (unsigned char)(n >> 8),
					 (unsigned char)n},
		 4);
	for (size_t i = 0; i < n; i++)
		text_add(text, &(unsigned char){from[i] ^ key}, 1);
}

/* A message as `protocol` has it; in: on its way in, where it may be masked. */
static inline void text_message(struct text *text, const struct protocol *protocol,
				const void *bytes, size_t n, unsigned kind, bool in)
{
	char letter = (char)('M' + kind), head[24];

	if (protocol == &net) {
		text_add(text, head, (size_t)sprintf(head, "%zu:", n));
		text_add(text, bytes, n);
		text_add(text, ",", 1);
	} else if (in) {
		text_frame(text, letter, 0x5a, bytes, n);
	} else {
		text_add(text, &letter, 1);
		text_add(text, (const unsigned char[]){(unsigned char)(n >> 8), (unsigned char)n},
			 2);
		text_add(text, bytes, n);
	}
}

static inline void text_in(struct text *text, const struct protocol *protocol, const char *message)
{
	text_message(text, protocol, message, strlen(message), 0, true);
}

static inline void text_out(struct text *text, const struct protocol *protocol, const char *message)
{
	text_message(text, protocol, message, strlen(message), 0, false);
}

/* ---- what is said, and what should come back ---- */

static struct text in, out;

static const struct protocol *const both[] = {&net, &framed};

/* What only frames can say: one message in several, some of them empty, each with another key, and
 * pings in between. */
static inline void script_of_frames(void)
{
	text_add(&in, "P!", 2);
	text_frame(&in, 'F', 1, "", 0);
	text_frame(&in, 'F', 2, "one mess", 8);
	text_add(&in, "P?", 2);
	text_frame(&in, 'F', 3, "", 0);
	text_frame(&in, 'F', 4, "age in man", 10);
	text_frame(&in, 'N', 5, "y", 1);
	text_frame(&in, 'F', 6, "later", 5);
	text_frame(&in, 'N', 7, "", 0);
	text_add(&out, "p!p?", 4);
	text_message(&out, &framed, "ONE MESSAGE IN MANY", 19, 1, false);
	text_message(&out, &framed, "LATER", 5, 1, false);
}

/* What is said, and what comes back of a protocol that waits and says more. */
static inline void script(const struct protocol *protocol)
{
	in.n = out.n = 0;
	text_in(&in, protocol, "hello");
	text_out(&out, protocol, "HELLO");
	text_in(&in, protocol, "");
	text_out(&out, protocol, "");
	text_in(&in, protocol, "later, if it may be");
	text_out(&out, protocol, "LATER, IF IT MAY BE");
	text_in(&in, protocol, "plus");
	text_out(&out, protocol, "PLUS");
	text_out(&out, protocol, "more");
	text_out(&out, protocol, "more");
	if (protocol == &framed)
		script_of_frames();
	text_message(&in, protocol, "ki\0nd", 5, protocol == &framed, true);
	text_message(&out, protocol, "KI\0ND", 5, protocol == &framed, false);
	text_in(&in, protocol, "wait");
	text_out(&out, protocol, "WAIT");
	text_in(&in, protocol, "l");
	text_out(&out, protocol, "L");
	text_out(&out, protocol, "end");
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

static inline void expect_got(void)
{
	EXPECT_MSG(got.n == out.n, "%zu bytes came, not %zu", got.n, out.n);
	EXPECT_MSG(memcmp(got.bytes, out.bytes, got.n) == 0, "other bytes came");
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
