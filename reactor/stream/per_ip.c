#include "reactor/stream/per_ip.h"

#include <string.h>

#include "reactor/base/address.h"
#include "reactor/base/check.h"
#include "reactor/base/hash.h"
#include "reactor/base/sys.h"

int clients_open(struct clients *clients, uint32_t connections_max, uint32_t capacity,
		 uint32_t limit)
{
	uint32_t chains = 64;
	size_t entries_bytes = capacity * sizeof(struct client);

	*clients = (struct clients){.limit = limit, .seed = sys_clock_us()};
	if (!limit)
		return 0;
	while (chains < connections_max && chains < 1u << 30)
		chains *= 2;
	clients->chains_mask = chains - 1;
	clients->mapped_bytes = entries_bytes + chains * sizeof(uint32_t);
	clients->entries =
	    sys_map(clients->mapped_bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (!clients->entries)
		return -ENOMEM;
	clients->chains = (uint32_t *)(void *)(clients->entries + capacity);
	(void)sys_getrandom(&clients->seed, sizeof clients->seed,
			    GRND_NONBLOCK); /* else the clock's */
	return 0;
}

void clients_close(struct clients *clients)
{
	if (clients->entries)
		(void)sys_munmap(clients->entries, clients->mapped_bytes);
	clients->entries = NULL;
}

static uint32_t *chain_of(struct clients *clients, const unsigned char address[16])
{
	uint64_t half[2];

	memcpy(half, address, 16);
	return &clients->chains[hash_mix(hash_mix(half[0] ^ clients->seed) + half[1]) &
				clients->chains_mask];
}

/* There is one: no more addresses than connections are ever in the table. */
static uint32_t client_new(struct clients *clients)
{
	uint32_t handle = clients->entries_free;

	if (!handle)
		return ++clients->entries_used;
	clients->entries_free = clients->entries[handle - 1].next;
	return handle;
}

static bool clients_count(struct clients *clients, const struct sockaddr *peer, uint32_t limit,
			  uint32_t *handle)
{
	unsigned char address[16];
	uint32_t *chain;

	*handle = 0;
	if (!clients->entries || !address_bytes(peer, address))
		return true;
	chain = chain_of(clients, address);
	for (uint32_t at = *chain; at; at = clients->entries[at - 1].next) {
		struct client *client = &clients->entries[at - 1];

		if (memcmp(client->address, address, 16) != 0)
			continue;
		if (client->connections >= limit)
			return false;
		client->connections++;
		*handle = at;
		return true;
	}
	*handle = client_new(clients);
	struct client *client = &clients->entries[*handle - 1];
	memcpy(client->address, address, 16);
	client->connections = 1;
	client->next = *chain;
	*chain = *handle;
	return true;
}

bool clients_take(struct clients *clients, const struct sockaddr *peer, uint32_t *handle)
{
	return clients_count(clients, peer, clients->limit, handle);
}

uint32_t clients_add(struct clients *clients, const struct sockaddr *peer)
{
	uint32_t handle;

	(void)clients_count(clients, peer, UINT32_MAX, &handle);
	return handle;
}

void clients_release(struct clients *clients, uint32_t handle)
{
	struct client *client;
	uint32_t *at;

	if (!handle)
		return;
	client = &clients->entries[handle - 1];
	CHECK(client->connections);
	if (--client->connections)
		return;
	at = chain_of(clients, client->address);
	while (*at != handle)
		at = &clients->entries[*at - 1].next;
	*at = client->next;
	client->next = clients->entries_free;
	clients->entries_free = handle;
}
