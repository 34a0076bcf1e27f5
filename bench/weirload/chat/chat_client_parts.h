/*
 * chat_client_parts: what the files of the client's room share, and nobody else may use.
 *
 *     chat_client.c       how it comes up, sends, ends; turns
 *     chat_client_read.c  what comes to it
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_PARTS_H
#define BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_PARTS_H

#include "bench/weirload/chat/chat_client.h"

/* One read, and all that it brings. */
void chat_client_read(struct chat_client *client, struct chat *chat);
/* A Redis has answered that the client is subscribed, or there was nothing to wait for. */
void chat_client_welcomed(struct chat_client *client, struct chat *chat);
/* The server has ended its side. */
void chat_client_ended(struct chat_client *client, struct chat *chat);
void chat_client_fail_of(struct chat_client *client, struct chat *chat, const char *call,
			 ssize_t error); /* -errno */
/* Lines that it did not get, and will not. */
void chat_client_lost(struct chat_client *client, struct chat *chat, const struct chat_gap *gap);
/* Where the bytes lie that are kept. */
unsigned char *chat_client_kept(struct chat_client *client, const struct chat *chat);

#endif
