/*
 * client_protocol: what a client of each protocol sends, and which bytes it must get for it.
 *
 * A message is a head, `size` bytes of the pattern and a tail; so is its reply. Any part of either
 * can be computed: nothing that was sent is kept. If the server only listens (discard), a message
 * is done when the kernel has taken it; if it only speaks (chargen), each `size` bytes count as a
 * message. Lines of chat have a form of their own (chat_line). For HTTP this computes bodies that
 * are echoed; the rest is in http_reply.
 *
 * Over datagrams a message is one datagram, and so is its reply. Replies may come in any order: the
 * words of the pattern say which message they answer. Only chargen's replies are all alike.
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
	bool http;			     /* http_message makes its head and tail */
	const char *head, *tail;	     /* of a message */
	const char *reply_head, *reply_tail; /* of its reply, in addition to the prefix */
	bool alike;			     /* each reply is the beginning of chargen's lines */
	struct pattern_rule sent, received;
};

/* NULL: weirload does not speak that protocol, or not over datagrams. */
const struct client_protocol *client_protocol_find(const char *protocol, bool datagrams);

/* The length of a whole message, and of a whole reply. */
uint32_t client_protocol_message_bytes(const struct client_protocol *protocol, uint32_t size);
uint32_t client_protocol_reply_bytes(const struct client_protocol *protocol, uint32_t size);

/* Writes n bytes of message number `message` of connection `key`, from byte `offset` on; n is at
 * most what is left of the message. */
void client_protocol_fill(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			  uint64_t message, uint32_t offset, unsigned char *bytes, uint32_t n);
/* The same for the reply to that message. */
void client_protocol_expect(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			    uint64_t message, uint32_t offset, unsigned char *bytes, uint32_t n);
/* Finds out which message of connection `key` these n bytes answer, by any word of the pattern that
 * is in its place. False if no word is. */
bool client_protocol_number(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			    const unsigned char *bytes, size_t n, uint64_t *message);
/* How many messages have bytes of their own; after that many the bytes repeat. */
uint64_t client_protocol_numbers(uint32_t size);
/* How many of n bytes are right, if they are the reply to that message from byte `offset` on. */
uint32_t client_protocol_match(const struct client_protocol *protocol, uint32_t size, uint64_t key,
			       uint64_t message, uint32_t offset, const unsigned char *bytes,
			       uint32_t n);

#endif
