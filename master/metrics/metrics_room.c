/*
 * A client that asks has to be answered, however many others hold places and say nothing: health is
 * asked for here, and a server that does not answer is restarted. So a new connection never waits
 * until another one goes by itself.
 */
#include "master/metrics/metrics_parts.h"

/* Since when the connection has been in this state. */
static uint32_t since_ms(const struct conn *conn, enum conn_standing standing)
{
	switch (standing) {
	case CONN_ASKS: /* bytes that come one by one buy no time */
		return conn->message_ms;
	case CONN_IDLE:
		return conn->active_ms;
	default:
		return conn->progress_ms;
	}
}

/* In the order of conn_standing: first clients that have had their answer, then silent ones, oldest
 * first; one that takes its answer slowly is the last to go. */
void metrics_make_room(struct conn_table *table)
{
	struct conn *conn, *victim = NULL;
	enum conn_standing worst = CONN_SERVED;
	uint32_t longest_ms = 0;
	size_t cursor = 0;

	while ((conn = pool_next(&table->conns, &cursor))) {
		enum conn_standing standing = conn_standing(conn);
		uint32_t ms = table->loop->now_ms - since_ms(conn, standing);

		if (standing == CONN_GONE || standing == CONN_SERVED || standing > worst ||
		    (standing == worst && ms <= longest_ms))
			continue;
		victim = conn;
		worst = standing;
		longest_ms = ms;
	}
	if (victim)
		conn_abort(victim, CLOSE_overload);
}
