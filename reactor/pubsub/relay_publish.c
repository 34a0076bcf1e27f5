/*
 * The half of the relay that topics call: which topics there are, what their members publish, and
 * the order in which rings are to be read. What comes back is read and delivered in relay.c.
 */
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/pubsub/relay.h"

/* ---- what members say ---- */

static void relay_wait(struct relay *relay)
{
	relay->waiting = true;
	STATS_ADD(relay->loop->stats, publish_waits, 1);
	loop_wake(relay->loop, &relay->source);
}

/* Members that moved here have heard lines that they may answer, and may have said some themselves
 * where they came from: others are to read all of these before what is said here from now on. */
static bool relay_publish_order(struct relay *relay)
{
	struct iovec order = {relay->order, relay->order_n * sizeof *relay->order};

	if (!relay->order_n)
		return true;
	if (!bus_publish(&relay->port, RELAY_ORDER, 0, order, (struct iovec){0}))
		return false;
	memset(relay->order, 0, order.iov_len);
	relay->order_n = 0;
	return true;
}

bool relay_publish(struct relay *relay, uint16_t topic, uint32_t member, struct iovec first,
		   struct iovec second)
{
	if (relay->waiting) /* a short line does not overtake the long one that waits */
		return false;
	while (!relay_publish_order(relay) ||
	       !bus_publish(&relay->port, topic, member, first, second))
		if (bus_wait(&relay->port, relay->loop->now_ms)) {
			relay->next_to_go = topic + 1u;
			relay_wait(relay);
			return false;
		}
	loop_wake(relay->loop, &relay->source);
	return true;
}

/* ---- orders ---- */

/* A ring that has to be read before what follows this order; BUS_SEATS_MAX: none. */
static unsigned order_wants(const struct bus_port *port, const struct bus_record *record)
{
	uint64_t order[BUS_SEATS_MAX];

	if (record->bytes > sizeof order || !bus_copy(port, record, order))
		return BUS_SEATS_MAX;
	for (unsigned i = 0; i < record->bytes / sizeof *order; i++)
		if (port->at[i] < order[i])
			return i;
	return BUS_SEATS_MAX;
}

/*
 * The next record is an order. What it wants to be read first was published before it, and may
 * itself lie behind orders that are older still; so this ends at a record that wants nothing. If
 * it does not, no process of ours wrote that.
 */
bool relay_follow(struct bus_port *port, struct bus_record *record)
{
	unsigned ring = port->ring, hops = 0, wanted;

	while ((wanted = order_wants(port, record)) < BUS_SEATS_MAX && hops++ < BUS_SEATS_MAX) {
		if (!bus_peek_in(port, wanted, record))
			break;
		if (record->topic != RELAY_ORDER)
			return true;
		ring = wanted;
	}
	if (!bus_peek_in(port, ring, record))
		return false;
	if (record->topic == RELAY_ORDER) {
		unsigned char obeyed[BUS_RECORD_MAX];

		(void)bus_take(port, record, obeyed);
		return false;
	}
	return true;
}

/* ---- topics ---- */

void relay_add(struct relay *relay, struct topic *topic)
{
	CHECK(topic->number < RELAY_TOPICS_MAX && !relay->topics[topic->number]);
	relay->topics[topic->number] = topic;
	if (topic->number >= relay->topics_n)
		relay->topics_n = topic->number + 1u;
}

void relay_remove(struct relay *relay, const struct topic *topic)
{
	CHECK(relay->topics[topic->number] == topic);
	relay->topics[topic->number] = NULL;
}
