/*
 * udp_client_parts: what the files of a client over datagrams share, and nobody else may use.
 *
 *     udp_client.c         its socket, messages, turns, the end
 *     udp_client_answer.c  what becomes of a datagram that came, and of one that did not
 */
#ifndef BENCH_WEIRLOAD_UDP_UDP_CLIENT_PARTS_H
#define BENCH_WEIRLOAD_UDP_UDP_CLIENT_PARTS_H

#include "bench/weirload/udp/udp_client.h"

/* Counts it if at_ns is within the time that is measured. */
#define UDP_CLIENT_COUNT(sender, name, at_ns)                                                      \
	do {                                                                                       \
		if ((at_ns) >= (sender)->schedule->measure_ns)                                     \
			TALLY_ADD((sender)->tally, name, 1);                                       \
	} while (0)

/* A datagram has come. */
void udp_client_answer(struct udp_client *client, struct sender *sender, const unsigned char *bytes,
		       size_t n, uint64_t now_ns);
/* The message of this place is done with: the place is free. */
void udp_client_release(struct udp_client *client, const struct sender *sender, struct place *place,
			uint64_t now_ns);
/* The message of this place is given up as lost; the place is free. */
void udp_client_lose(struct udp_client *client, struct sender *sender, struct place *place,
		     uint64_t now_ns);

static inline struct place *udp_client_oldest(struct udp_client *client)
{
	return client->oldest == PLACE_NONE ? NULL : &client->places[client->oldest];
}

/* How many turns a place has before its messages repeat the bytes of earlier ones; and the number
 * of the message in a place. */
static inline uint64_t udp_client_turns(const struct sender *sender)
{
	return client_protocol_numbers((uint32_t)sender->plan->size) / sender->plan->pipeline;
}

static inline uint64_t udp_client_number(const struct udp_client *client,
					 const struct sender *sender, const struct place *place)
{
	return place->turn * sender->plan->pipeline + (uint64_t)(place - client->places);
}

#endif
