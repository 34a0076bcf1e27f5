/*
 * dialect: what a client of each protocol says, and which bytes it must get for it.
 *
 * A message is a head, `size` bytes of the pattern and a tail; so is its reply. Both are
 * streams that can be computed from any byte on: nothing that was sent is kept. Where a
 * protocol only listens (discard), a message is done when the kernel has taken it; where it
 * only speaks (chargen), each `size` bytes of it count as one. Lines of chat have a form of
 * their own: chat_line.
 */
#ifndef BENCH_WEIRLOAD_DIALECT_H
#define BENCH_WEIRLOAD_DIALECT_H

#include "bench/weirload/pattern.h"

#define DIALECT_AFFIX_MAX 4 /* bytes of a head or a tail */

enum dialect_kind { DIALECT_ANSWERS, DIALECT_LISTENS, DIALECT_SPEAKS, DIALECT_CHATS };

struct dialect {
	const char *name;
	enum dialect_kind kind;
	const char *greeting;	 /* what the server says first */
	bool length_prefix;	 /* a head of 4 bytes, big-endian, both ways */
	const char *head, *tail; /* of a message; */
	const char *reply_tail;	 /* of its reply, which has no head but the prefix */
	struct pattern_rule sent, received;
};

/* NULL: weirload does not speak it. */
const struct dialect *dialect_find(const char *protocol);

/* Whole messages and replies, in bytes. */
uint32_t dialect_message_bytes(const struct dialect *dialect, uint32_t size);
uint32_t dialect_reply_bytes(const struct dialect *dialect, uint32_t size);

/* n bytes of message number `message` of connection `key`, from byte `offset` on; n is at most
 * what is left of it. */
void dialect_fill(const struct dialect *dialect, uint32_t size, uint64_t key, uint64_t message,
		  uint32_t offset, unsigned char *bytes, uint32_t n);
/* The same of the reply to it. */
void dialect_expect(const struct dialect *dialect, uint32_t size, uint64_t key, uint64_t message,
		    uint32_t offset, unsigned char *bytes, uint32_t n);
/* How many of n bytes are right, as bytes of the reply to it from byte `offset` on. */
uint32_t dialect_match(const struct dialect *dialect, uint32_t size, uint64_t key, uint64_t message,
		       uint32_t offset, const unsigned char *bytes, uint32_t n);

#endif
