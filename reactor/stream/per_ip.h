/*
 * per_ip: how many connections each peer address holds.
 *
 * A chained hash table of fixed size, made only if a limit is set. IPv4 addresses and IPv4-mapped
 * ones are the same client. Peers without an address (unix) do not count. A handle is the entry's
 * place plus one, and stays valid until it was released as often as it was taken. Each process
 * hashes with a seed of its own, because peers choose their addresses.
 */
#ifndef REACTOR_STREAM_PER_IP_H
#define REACTOR_STREAM_PER_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct per_ip_entry {
	unsigned char address[16];
	uint32_t connections;
	uint32_t next; /* of the chain, or of the free ones: a place plus one */
};

struct per_ip {
	struct per_ip_entry *entries; /* NULL: no limit is set */
	uint32_t *chains;	      /* a place plus one */
	uint32_t chains_mask, entries_used, entries_free;
	uint32_t limit;
	uint64_t seed;
	size_t mapped_bytes;
};

/* Room for `capacity` connections, chains for `connections_max` of them. limit 0 makes no table. 0
 * or -ENOMEM. */
int per_ip_open(struct per_ip *per_ip, uint32_t connections_max, uint32_t capacity, uint32_t limit);
void per_ip_close(struct per_ip *per_ip);

static inline bool per_ip_counts(const struct per_ip *per_ip)
{
	return per_ip->entries != NULL;
}

/* Counts one more; *handle is 0 if nothing was counted. False: over the limit. */
bool per_ip_take(struct per_ip *per_ip, const struct sockaddr *peer, uint32_t *handle);
/* The same, also over the limit, for a connection that was let in elsewhere. Returns the handle. */
uint32_t per_ip_add(struct per_ip *per_ip, const struct sockaddr *peer);
void per_ip_release(struct per_ip *per_ip, uint32_t handle);

#endif
