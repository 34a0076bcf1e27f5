/*
 * The peer of a connection: its address as the kernel has it, or as a proxy before us gave it, and
 * its place among those that are counted by address.
 *
 * What a proxy gave stands once, in an object of the table's pool, which has the place, too. A
 * connection without such an object costs nothing more than its place.
 */
#include "reactor/stream/conn_parts.h"

#include <netinet/in.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"
#include "reactor/stream/conn_snapshot.h"

_Static_assert(sizeof(struct conn_peer) % 8 == 0, "a pool's objects are multiples of 8 bytes");
_Static_assert(sizeof(struct packed_peer) == SNAPSHOT_PEER_BYTES, "no padding travels");

/* ---- as it is kept, and travels ---- */

static bool peer_pack(const struct address *peer, struct packed_peer *packed)
{
	const struct sockaddr *socket = (const struct sockaddr *)&peer->socket;

	*packed = (struct packed_peer){.port = (uint16_t)address_port(peer),
				       .is_ip4 = socket->sa_family == AF_INET};
	return address_bytes(socket, packed->address);
}

static void peer_unpack(const struct packed_peer *packed, struct address *peer)
{
	struct sockaddr_in ip4 = {.sin_family = AF_INET, .sin_port = htons(packed->port)};
	struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6, .sin6_port = htons(packed->port)};

	*peer = (struct address){.bytes = packed->is_ip4 ? sizeof ip4 : sizeof ip6};
	memcpy(&ip4.sin_addr, packed->address + 12, sizeof ip4.sin_addr);
	memcpy(&ip6.sin6_addr, packed->address, sizeof ip6.sin6_addr);
	if (packed->is_ip4)
		memcpy(&peer->socket, &ip4, sizeof ip4);
	else
		memcpy(&peer->socket, &ip6, sizeof ip6);
}

/* ---- where it stands ---- */

static struct conn_peer *given_peer(const struct conn *conn)
{
	return (struct conn_peer *)conn->service->table->peers.base + conn->peer;
}

/* Of the peer, among those that are counted by address; 0: not counted. */
static uint32_t *per_ip_handle(struct conn *conn)
{
	return conn->peer_given ? &given_peer(conn)->per_ip_handle : &conn->peer;
}

bool conn_peer(const struct conn *conn, struct address *peer)
{
	*peer = (struct address){.bytes = sizeof peer->socket};
	if (conn->peer_given) {
		peer_unpack(&given_peer(conn)->at, peer);
		return true;
	}
	return sys_getpeername(conn->source.fd, (struct sockaddr *)&peer->socket, &peer->bytes) ==
	       0;
}

static void keep_peer(struct conn *conn, const struct packed_peer *at)
{
	struct pool *peers = &conn->service->table->peers;
	struct conn_peer *given;

	if (conn->peer_given) {
		given_peer(conn)->at = *at;
		return;
	}
	given = pool_take(peers);
	CHECK(given); /* there is one for each connection */
	*given = (struct conn_peer){.at = *at, .per_ip_handle = conn->peer};
	conn->peer = (uint32_t)(given - (struct conn_peer *)peers->base);
	conn->peer_given = true;
}

void conn_set_peer(struct conn *conn, const struct address *peer)
{
	struct packed_peer at;

	if (peer_pack(peer, &at))
		keep_peer(conn, &at);
}

void conn_restore_peer(struct conn *conn, const unsigned char *bytes)
{
	struct packed_peer at;

	memcpy(&at, bytes, sizeof at);
	keep_peer(conn, &at);
}

bool conn_count_peer(struct conn *conn)
{
	struct per_ip *per_ip = &conn->service->table->per_ip;
	struct address peer;

	if (!per_ip_counts(per_ip) || !conn_peer(conn, &peer))
		return true;
	return per_ip_take(per_ip, (const struct sockaddr *)&peer.socket, per_ip_handle(conn));
}

void conn_recount_peer(struct conn *conn)
{
	struct per_ip *per_ip = &conn->service->table->per_ip;
	struct address peer;

	if (per_ip_counts(per_ip) && conn_peer(conn, &peer))
		*per_ip_handle(conn) = per_ip_add(per_ip, (const struct sockaddr *)&peer.socket);
}

void conn_forget_peer(struct conn *conn)
{
	struct conn_table *table = conn->service->table;

	per_ip_release(&table->per_ip, *per_ip_handle(conn));
	if (conn->peer_given)
		pool_give(&table->peers, given_peer(conn));
	conn->peer_given = false;
	conn->peer = 0;
}

const struct packed_peer *conn_packed_peer(const struct conn *conn)
{
	return conn->peer_given ? &given_peer(conn)->at : NULL;
}
