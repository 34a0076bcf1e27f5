/*
 * chat_client_parts: what the files of a chat client share, and nobody else may use. Each of them
 * calls only those below it:
 *
 *     chat_client.c          how it connects, sends and ends; its turns
 *     chat_client_read.c     what it receives
 *     chat_client_outcome.c  what may become of it: welcomed, an error, lines lost, left
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_PARTS_H
#define BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_PARTS_H

#include "bench/weirload/chat/chat_client.h"

/* ---- chat_client_read.c ---- */

/* Reads once, and handles all that has come. */
void chat_client_read(struct chat_client *client, struct chat *chat);

/* ---- chat_client_outcome.c ---- */

/* The client is in: Redis has confirmed its subscription, or there was nothing to wait for. */
void chat_client_welcomed(struct chat_client *client, struct chat *chat);
/* Counts lines that the client did not get, and will not get any more. */
void chat_client_lost(struct chat_client *client, struct chat *chat, const struct chat_gap *gap);
/* Closes the client, which does not come back. */
void chat_client_leave(struct chat_client *client, struct chat *chat, bool failed);
void chat_client_fail_of(struct chat_client *client, struct chat *chat, const char *call,
			 ssize_t error); /* -errno */
/* The server has ended its side. */
void chat_client_ended(struct chat_client *client, struct chat *chat);

/* The place of the bytes that are kept from one read to the next. */
static inline unsigned char *chat_client_kept(struct chat_client *client, const struct chat *chat)
{
	return client->bytes + chat->wire.sent_bytes;
}

#endif
