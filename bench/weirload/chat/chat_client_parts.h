/*
 * chatter_parts: what the files of the chatter's room share, and nobody else may use.
 *
 *     chat_client.c       how it comes up, sends, ends; turns
 *     chat_client_read.c  what comes to it
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_PARTS_H
#define BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_PARTS_H

#include "bench/weirload/chat/chat_client.h"

/* One read, and all that it brings. */
void chatter_read(struct chatter *chatter, struct chat *chat);
/* A Redis has answered that the client is subscribed, or there was nothing to wait for. */
void chatter_welcomed(struct chatter *chatter, struct chat *chat);
/* The server has ended its side. */
void chatter_ended(struct chatter *chatter, struct chat *chat);
void chatter_fail_of(struct chatter *chatter, struct chat *chat, const char *call,
		     ssize_t error); /* -errno */
/* Lines that it did not get, and will not. */
void chatter_lost(struct chatter *chatter, struct chat *chat, const struct chat_gap *gap);
/* Where the bytes lie that are kept. */
unsigned char *chatter_kept(struct chatter *chatter, const struct chat *chat);

#endif
