/*
 * chat_client_parts: what the files of a chat client share, and nobody else may use. Each of them
 * calls only those below it:
 *
 *     chat_client.c          how it comes up, sends, ends; its turns
 *     chat_client_read.c     what comes to it
 *     chat_client_outcome.c  it is there; an error; a line that it did not get; it leaves
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_PARTS_H
#define BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_PARTS_H

#include "bench/weirload/chat/chat_client.h"

/* ---- chat_client_read.c ---- */

/* One read, and all that it brings. */
void chat_client_read(struct chat_client *client, struct chat *chat);

/* ---- chat_client_outcome.c ---- */

/* A Redis has answered that the client is subscribed, or there was nothing to wait for. */
void chat_client_welcomed(struct chat_client *client, struct chat *chat);
/* Lines that it did not get, and will not. */
void chat_client_lost(struct chat_client *client, struct chat *chat, const struct chat_gap *gap);
/* It closes, and does not come back. */
void chat_client_leave(struct chat_client *client, struct chat *chat, bool failed);
void chat_client_fail_of(struct chat_client *client, struct chat *chat, const char *call,
			 ssize_t error); /* -errno */
/* The server has ended its side. */
void chat_client_ended(struct chat_client *client, struct chat *chat);

/* Where the bytes lie that are kept from one read to the next. */
static inline unsigned char *chat_client_kept(struct chat_client *client, const struct chat *chat)
{
	return client->bytes + chat->wire.sent_bytes;
}

#endif
