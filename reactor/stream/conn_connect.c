#include "reactor/stream/conn_connect.h"

#include <errno.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/stream/conn_parts.h"

int conn_connect(struct service *service, const struct address *addresses, size_t n, uint32_t ms,
		 struct conn **connecting)
{
	struct conn_table *table = service->table;
	struct chunk *kept;
	struct conn *conn;

	CHECK(service->listener == SERVICE_NO_LISTENER);
	CHECK(n && n <= CONN_ADDRESSES_MAX && ms && ms < WHEEL_MS_MAX);
	if (table->draining)
		return -ESHUTDOWN;
	if (!conn_table_places(table))
		return -EAGAIN;
	kept = chunk_new_for(&table->buffers, n * sizeof *addresses);
	if (!kept)
		return -ENOBUFS;
	memcpy(kept->bytes, addresses, n * sizeof *addresses);
	kept->used = (uint32_t)(n * sizeof *addresses);
	conn = pool_take(&table->conns);
	CHECK(conn);
	*conn = (struct conn){.service = service, .phase = CONNECTING, .input = kept};
	source_init(&conn->source, -1, conn_turn);
	conn->active_ms = conn->progress_ms = table->loop->now_ms;
	conn_dial_init(conn, table->loop->now_ms + ms);
	STATS_ADD(table->stats, connections, 1);
	loop_wake(table->loop, &conn->source);
	*connecting = conn;
	return 0;
}
