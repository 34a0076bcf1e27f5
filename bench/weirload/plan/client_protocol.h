/*
 * protocol: what a client of each protocol says, and which bytes it must get for it.
 *
 * A message is a head, `size` bytes of the pattern and a tail; so is its reply. Both are
 * streams that can be computed from any byte on: nothing that was sent is kept. Where a
 * protocol only listens (discard), a message is done when the kernel has taken it; where it
 * only speaks (chargen), each `size` bytes of it count as one. Lines of chat have a form of
 * their own: chat_line. Replies of HTTP say how long they are: their bytes here are those of a
 * body that was echoed (http_reply has the rest).
 *
 * Over datagrams a message is one, and so is its reply, which may come in any order: the
 * words of the pattern say which message it answers. Replies of chargen are all alike, the
 * beginning of its lines: they do not.
 */
#ifndef BENCH_WEIRLOAD_PLAN_CLIENT_PROTOCOL_H
#define BENCH_WEIRLOAD_PLAN_CLIENT_PROTOCOL_H

#include "bench/weirload/plan/pattern.h"

enum client_protocol_kind {
	CLIENT_PROTOCOL_ANSWERS,
	CLIENT_PROTOCOL_LISTENS,
	CLIENT_PROTOCOL_SPEAKS,
	CLIENT_PROTOCOL_CHATS
};

struct client_protocol {
	const char *name;
	enum client_protocol_kind kind;
	const char *greeting;		     /* what the server says first */
	bool length_prefix;		     /* a head of 4 bytes, big-endian, both ways */
	bool http;			     /* head and tail are of the plan: http_message */
	const char *head, *tail;	     /* of a message; */
	const char *reply_head, *reply_tail; /* of its reply, beside the prefix */
	bool alike;			     /* each reply is the beginning of chargen's lines */
	struct pattern_rule sent, received;
};

/* NULL: weirload does not speak it (over datagrams). */
const struct client_protocol *client_protocol_find(const char *protocol, bool datagrams);

/* Whole messages and replies, in bytes. */
uint32_t client_protocol_message_bytes(const struct client_protocol *protocol, uint32_t size);
uint32_t client_protocol_reply_bytes(const struct client_protocol *protocol, uint32_t size);

/* n bytes of message number `message` of connection `key`, from byte `offset` on; n is at most
 * what is left of it. */
void client_protocol_fill(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			  uint64_t message, uint32_t offset, unsigned char *bytes, uint32_t n);
/* The same of the reply to it. */
void client_protocol_expect(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			    uint64_t message, uint32_t offset, unsigned char *bytes, uint32_t n);
/* The message of connection `key` that these n bytes answer, by any word that stands at its
 * place. False where none does. */
bool client_protocol_number(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			    const unsigned char *bytes, size_t n, uint64_t *message);
/* So many messages have bytes of their own; the next ones are as the first again. */
uint64_t client_protocol_numbers(uint32_t size);
/* How many of n bytes are right, as bytes of the reply to it from byte `offset` on. */
uint32_t client_protocol_match(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			       uint64_t message, uint32_t offset, const unsigned char *bytes,
			       uint32_t n);

#endif
