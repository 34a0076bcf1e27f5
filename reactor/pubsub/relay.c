#include "reactor/pubsub/relay.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/base/sys.h"

#define REST_SHARE    3	   /* times what a batch cost */
#define REST_US_MIN   1000 /* the clock of deadlines is no finer; small topics never rest */
#define STARVED_MS    10   /* no buffers for a batch: look again */
#define DRAIN_LOOK_MS 2

static struct relay *relay_of(struct source *source)
{
	return CONTAINER_OF(source, struct relay, source);
}

/* ---- out ---- */

static void relay_look_for_space(struct relay *relay)
{
	unsigned left_behind = 0;

	relay->has_space = bus_wait_on(&relay->port, relay->loop->now_ms, &left_behind);
	if (left_behind) {
		STATS_ADD(relay->loop->stats, left_behind, left_behind);
		log_warn("a worker that does not read was left behind",
			 LOG_NUMBER("workers", left_behind));
	}
	if (relay->has_space)
		loop_wake(relay->loop, &relay->source);
	else
		loop_deadline(relay->loop, &relay->source, relay->loop->now_ms + BUS_LOOK_MS);
}

/* Comes before any delivery of a turn: members that are given lines would else go before those that
 * have waited. */
static void relay_go_on(struct relay *relay)
{
	relay->waiting = relay->has_space = false;
	for (size_t i = 0; i < relay->topics_n; i++) {
		struct topic *topic = relay->topics[(relay->next_to_go + i) % relay->topics_n];

		if (topic)
			topic_go_on(topic);
	}
}

/* ---- in ---- */

/* In all topics: the member that is in the way may be one of another topic. */
static void relay_make_room(struct relay *relay)
{
	for (size_t i = 0; i < relay->topics_n; i++)
		if (relay->topics[i])
			topic_make_room(relay->topics[i]);
}

static bool relay_has_batch(const struct relay *relay)
{
	for (size_t i = 0; i < relay->topics_n; i++)
		if (relay->topics[i] && topic_has_batch(relay->topics[i]))
			return true;
	return false;
}

static bool relay_peek(struct relay *relay, struct bus_record *record)
{
	while (bus_peek(&relay->port, record))
		if (record->topic != RELAY_ORDER || relay_follow(&relay->port, record))
			return true;
	return false;
}

/* Moves a record into the batch of its topic. False: there is no room for it. */
static bool relay_take(struct relay *relay, const struct bus_record *record)
{
	struct topic *topic = record->topic < relay->topics_n ? relay->topics[record->topic] : NULL;
	unsigned char unwanted[BUS_RECORD_MAX], *room = unwanted;

	if (topic && !(room = topic_room(topic, record->bytes)))
		return false;
	if (bus_take(&relay->port, record, room) && topic)
		topic_add(topic, record->bytes,
			  relay->port.ring == relay->port.seat ? record->sender : 0);
	return true;
}

/* Moves records from the rings into batches, until one batch is full, the turn's lines are read, or
 * there is none left. False: there were no buffers. */
static bool relay_gather(struct relay *relay)
{
	struct bus_record record;
	unsigned left = RELAY_TURN_LINES;

	relay->emptied = false;
	while (relay_peek(relay, &record)) {
		if (!left--)
			return true;
		if (relay_take(relay, &record))
			continue;
		if (relay_has_batch(relay)) /* it goes first */
			return true;
		relay_make_room(relay);
		return false;
	}
	relay->emptied = true;
	return true;
}

/* Delivers to so many members more. True: all have all that was gathered. */
static bool relay_deliver(struct relay *relay, bool judges, size_t members)
{
	bool all = true;

	for (size_t i = 0; all && i < relay->topics_n; i++)
		if (relay->topics[i] && topic_has_batch(relay->topics[i]))
			all = topic_deliver(relay->topics[i], judges, &members);
	return all;
}

static void relay_count_missed(struct relay *relay)
{
	uint64_t missed = relay->port.missed - relay->missed;

	if (!missed)
		return;
	relay->missed = relay->port.missed;
	STATS_ADD(relay->loop->stats, missed, missed);
	log_warn("this worker was left behind, its members missed lines",
		 LOG_NUMBER("lines", missed));
}

/* Members have written by now what was delivered before: how long did it take? */
static void relay_learn_cost(struct relay *relay)
{
	uint64_t now_us, rest_us;

	if (!relay->began_us)
		return;
	now_us = sys_clock_us();
	relay->cost_us += now_us - relay->began_us;
	relay->began_us = 0;
	if (relay_has_batch(relay))
		return;
	rest_us = relay->cost_us * REST_SHARE;
	relay->cost_us = 0;
	if (rest_us > RELAY_REST_MS * 1000)
		rest_us = RELAY_REST_MS * 1000;
	if (relay->emptied && rest_us >= REST_US_MIN)
		relay->rest_until_us = now_us + rest_us;
}

static bool relay_rests(struct relay *relay)
{
	struct loop *loop = relay->loop;

	if (loop->now_us >= relay->rest_until_us)
		return false;
	loop_deadline(loop, &relay->source,
		      loop->now_ms + 1 + (uint32_t)((relay->rest_until_us - loop->now_us) / 1000));
	return true;
}

static void relay_sleep(struct relay *relay)
{
	relay->asleep = bus_sleep(&relay->port);
	if (!relay->asleep) {
		loop_wake(relay->loop, &relay->source);
		return;
	}
	for (size_t i = 0; i < relay->topics_n; i++)
		if (relay->topics[i])
			topic_idle(relay->topics[i]);
}

static void relay_read(struct relay *relay)
{
	bool buffers = relay_has_batch(relay) || relay_gather(relay);

	relay_count_missed(relay);
	if (relay_has_batch(relay)) {
		if (relay_deliver(relay, !relay->spares, relay->turn_members))
			relay->spares = false; /* all have had a turn when this one comes again */
		relay->began_us = sys_clock_us();
		loop_wake(relay->loop, &relay->source); /* behind the members' turns */
	} else if (!buffers) {
		loop_deadline(relay->loop, &relay->source, relay->loop->now_ms + STARVED_MS);
	} else if (!relay->emptied) {
		loop_wake(relay->loop, &relay->source);
	} else {
		relay_sleep(relay);
	}
	STATS_ADD(relay->loop->stats, bells, bus_rest(&relay->port));
}

/* ---- the end ---- */

static bool relay_has_more(const struct relay *relay)
{
	for (size_t i = 0; i < relay->topics_n; i++)
		if (relay->topics[i] && topic_has_more(relay->topics[i]))
			return true;
	return relay->waiting || !relay->closed;
}

/* While we drain: is all that will ever be said in the rings by now? */
static bool relay_all_said(struct relay *relay)
{
	bool all_said;

	if (relay->phase == RELAY_DRAINS && !relay_has_more(relay)) {
		relay->phase = RELAY_HAS_SAID_ALL;
		bus_say_last(&relay->port);
	}
	if (relay->phase != RELAY_DRAINS && relay->phase != RELAY_HAS_SAID_ALL)
		return false;
	all_said = bus_all_said(&relay->port, relay->loop->now_ms);
	/* Members' turns do not wake us; nor does a process that died with nobody to reap it. */
	loop_deadline(relay->loop, &relay->source,
		      relay->loop->now_ms +
			  (relay->phase == RELAY_DRAINS ? DRAIN_LOOK_MS : BUS_LOOK_MS));
	return relay->phase == RELAY_HAS_SAID_ALL && (relay->alone || all_said);
}

static void relay_end(struct relay *relay)
{
	relay->phase = RELAY_IS_OVER;
	for (size_t i = 0; i < relay->topics_n; i++)
		if (relay->topics[i])
			topic_last(relay->topics[i], false);
}

/* ---- members that move ---- */

static bool relay_deliver_all(struct relay *relay)
{
	return relay_has_batch(relay) && relay_deliver(relay, false, SIZE_MAX);
}

/* Reads a ring as far as that, and of other rings what has to be read first, and delivers it to all
 * members. */
static bool relay_read_to(struct relay *relay, unsigned ring, uint64_t position)
{
	struct bus_port *port = &relay->port;
	struct bus_record record;

	(void)relay_deliver_all(relay); /* a batch that members which have come since do not get */
	while (port->at[ring] < position && bus_peek_in(port, ring, &record)) {
		if (record.topic == RELAY_ORDER && !relay_follow(port, &record))
			continue;
		if (!relay_take(relay, &record) && !relay_deliver_all(relay))
			break;
	}
	(void)relay_deliver_all(relay);
	relay->spares = true; /* nobody has had a turn in between */
	return port->at[ring] >= position;
}

/* After reading in somebody else's turn, or a hold: others may wait for this space, and we may. */
static void relay_has_read(struct relay *relay)
{
	relay_count_missed(relay);
	STATS_ADD(relay->loop->stats, bells, bus_rest(&relay->port));
	loop_wake(relay->loop, &relay->source);
}

static void relay_let_go(struct relay *relay)
{
	bus_let_go(&relay->port);
	relay_has_read(relay);
}

/* Ends a hold before others leave us behind because of it, and so no longer wait for us. */
static void relay_look_at_hold(struct relay *relay)
{
	if (relay->loop->now_ms - relay->held_since_ms >= RELAY_HOLD_MS)
		relay_let_go(relay);
	else
		loop_deadline(relay->loop, &relay->source, relay->held_since_ms + RELAY_HOLD_MS);
}

bool relay_mark(struct relay *relay, uint64_t marks[BUS_SEATS_MAX], unsigned *n)
{
	struct bus_port *port = &relay->port;
	bool read = relay_read_to(relay, port->seat, bus_head(port->bus, port->seat));

	relay_has_read(relay);
	if (!read)
		return false;
	*n = bus_seats(port->bus);
	memcpy(marks, port->at, *n * sizeof *marks);
	relay->marks_n++;
	if (!port->holds) {
		bus_hold(port);
		relay->held_since_ms = relay->loop->now_ms;
	}
	return true;
}

void relay_unmark(struct relay *relay)
{
	CHECK(relay->marks_n);
	relay->spares = true; /* those that were thawed */
	if (!--relay->marks_n && relay->port.holds)
		relay_let_go(relay);
}

static bool relay_read_to_marks(struct relay *relay, const uint64_t marks[], unsigned n)
{
	const struct bus_port *port = &relay->port;

	for (unsigned i = 0; i < n; i++)
		if (!relay_read_to(relay, i, marks[i]))
			return false;
	return relay_read_to(relay, port->seat, bus_head(port->bus, port->seat));
}

bool relay_catch_up(struct relay *relay, const uint64_t marks[], unsigned n, size_t newcomers)
{
	bool caught_up;

	if (relay->phase != RELAY_SERVES || n > bus_seats(relay->port.bus))
		return false;
	caught_up = relay_read_to_marks(relay, marks, n);
	relay_has_read(relay);
	if (!caught_up || !replay_gather(&relay->replay, relay, marks, n, newcomers))
		return false;
	for (unsigned i = 0; i < n; i++)
		if (relay->order[i] < marks[i])
			relay->order[i] = marks[i];
	if (relay->order_n < n)
		relay->order_n = n;
	return true;
}

void relay_end_catch_up(struct relay *relay)
{
	replay_drop(&relay->replay);
}

/* ---- the turn ---- */

static void relay_turn(struct loop *loop, struct source *source)
{
	struct relay *relay = relay_of(source);
	bool all_said;

	source->ready = 0;
	if (relay->asleep)
		bus_wake_up(&relay->port);
	relay->asleep = false;
	all_said = relay_all_said(relay);
	STATS_ADD(loop->stats, bells, bus_announce(&relay->port));
	relay_learn_cost(relay);
	if (relay->has_space)
		relay_go_on(relay);
	if (relay->port.holds)
		relay_look_at_hold(relay);
	if (!relay_rests(relay))
		relay_read(relay);
	if (relay->waiting)
		relay_look_for_space(relay);
	if (all_said && relay->asleep)
		relay_end(relay);
}

void relay_drain(struct relay *relay, bool alone)
{
	if (relay->phase != RELAY_SERVES)
		return;
	relay->phase = RELAY_DRAINS;
	relay->alone = alone;
	for (size_t i = 0; i < relay->topics_n; i++)
		if (relay->topics[i])
			topic_last(relay->topics[i], true);
	loop_wake(relay->loop, &relay->source);
}

void relay_close_doors(struct relay *relay)
{
	relay->closed = true;
	loop_wake(relay->loop, &relay->source);
}

/* ---- the whole ---- */

int relay_open(struct relay *relay, struct loop *loop, struct bus *bus, unsigned seat)
{
	*relay = (struct relay){.loop = loop, .turn_members = RELAY_TURN_MEMBERS};
	CHECK(bus->doorbells[seat] >= 0);
	source_init(&relay->source, bus->doorbells[seat], relay_turn);
	relay->source.want = SOURCE_IN;
	bus_take_seat(&relay->port, bus, seat);
	loop_wake(loop, &relay->source);
	/* Edge-triggered, a doorbell need not be read: each one is an edge. */
	return loop_watch(loop, &relay->source, EPOLLIN | EPOLLET);
}

void relay_close(struct relay *relay)
{
	loop_unwatch(relay->loop, &relay->source); /* others have the doorbell too */
	STATS_ADD(relay->loop->stats, bells, bus_announce(&relay->port));
	bus_vacate(relay->port.bus, relay->port.seat);
	bus_ring_waiters(relay->port.bus);
}
