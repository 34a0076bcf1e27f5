#include "reactor/stream/per_ip.h"

#include <string.h>

#include "reactor/base/address.h"
#include "reactor/base/check.h"
#include "reactor/base/hash.h"
#include "reactor/base/sys.h"

int per_ip_open(struct per_ip *per_ip, uint32_t connections_max, uint32_t capacity, uint32_t limit)
{
	uint32_t chains = 64;
	size_t entries_bytes = capacity * sizeof(struct per_ip_entry);

	*per_ip = (struct per_ip){.limit = limit, .seed = sys_clock_us()};
	if (!limit)
		return 0;
	while (chains < connections_max && chains < 1u << 30)
		chains *= 2;
	per_ip->chains_mask = chains - 1;
	per_ip->mapped_bytes = entries_bytes + chains * sizeof(uint32_t);
	per_ip->entries =
	    sys_map(per_ip->mapped_bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (!per_ip->entries)
		return -ENOMEM;
	per_ip->chains = (uint32_t *)(void *)(per_ip->entries + capacity);
	(void)sys_getrandom(&per_ip->seed, sizeof per_ip->seed,
			    GRND_NONBLOCK); /* else it stays the clock's */
	return 0;
}

void per_ip_close(struct per_ip *per_ip)
{
	if (per_ip->entries)
		(void)sys_munmap(per_ip->entries, per_ip->mapped_bytes);
	per_ip->entries = NULL;
}

static uint32_t *chain_of(struct per_ip *per_ip, const unsigned char address[16])
{
	uint64_t half[2];

	memcpy(half, address, 16);
	return &per_ip->chains[hash_mix(hash_mix(half[0] ^ per_ip->seed) + half[1]) &
			       per_ip->chains_mask];
}

/* There always is one: the table never has more addresses than connections. */
static uint32_t entry_new(struct per_ip *per_ip)
{
	uint32_t handle = per_ip->entries_free;

	if (!handle)
		return ++per_ip->entries_used;
	per_ip->entries_free = per_ip->entries[handle - 1].next;
	return handle;
}

static bool entries_count(struct per_ip *per_ip, const struct sockaddr *peer, uint32_t limit,
			  uint32_t *handle)
{
	unsigned char address[16];
	uint32_t *chain;

	*handle = 0;
	if (!per_ip->entries || !address_bytes(peer, address))
		return true;
	chain = chain_of(per_ip, address);
	for (uint32_t at = *chain; at; at = per_ip->entries[at - 1].next) {
		struct per_ip_entry *entry = &per_ip->entries[at - 1];

		if (memcmp(entry->address, address, 16) != 0)
			continue;
		if (entry->connections >= limit)
			return false;
		entry->connections++;
		*handle = at;
		return true;
	}
	*handle = entry_new(per_ip);
	struct per_ip_entry *entry = &per_ip->entries[*handle - 1];
	memcpy(entry->address, address, 16);
	entry->connections = 1;
	entry->next = *chain;
	*chain = *handle;
	return true;
}

bool per_ip_take(struct per_ip *per_ip, const struct sockaddr *peer, uint32_t *handle)
{
	return entries_count(per_ip, peer, per_ip->limit, handle);
}

uint32_t per_ip_add(struct per_ip *per_ip, const struct sockaddr *peer)
{
	uint32_t handle;

	(void)entries_count(per_ip, peer, UINT32_MAX, &handle);
	return handle;
}

void per_ip_release(struct per_ip *per_ip, uint32_t handle)
{
	struct per_ip_entry *entry;
	uint32_t *at;

	if (!handle)
		return;
	entry = &per_ip->entries[handle - 1];
	CHECK(entry->connections);
	if (--entry->connections)
		return;
	at = chain_of(per_ip, entry->address);
	while (*at != handle)
		at = &per_ip->entries[*at - 1].next;
	*at = entry->next;
	entry->next = per_ip->entries_free;
	per_ip->entries_free = handle;
}
