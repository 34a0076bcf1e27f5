/* Orders to workers to move their connections. */
#include "master/change/change_parts.h"

#include <sys/socket.h>
#include <unistd.h>

#include "master/handoff.h"
#include "reactor/base/rights.h"
#include "worker/migration/migration.h"

#define ROUTE_RETRY_MS 50
#define TIDY_MS	       100
#define TIDY_ROUNDS    10	/* a second: longer than a handshake takes whose packets arrive */
#define ROUTE_US_MAX   30000000 /* how long a worker that retires looks for others */
#define ASKED_LOOK_MS  1000
#define LEAVE_GRACE_MS 2000 /* beyond drain-timeout */

/* Makes a move channel from one worker to another. False: it can't, or one of them is not there. */
bool change_order(struct slot *from, struct slot *to, uint32_t count)
{
	struct ipc_message out = {
	    .kind = IPC_MOVE_OUT, .count = count, .order = ++change.next_order};
	struct ipc_message in = slot_move_in(slot_index(from), from->generation->number, count);
	int ends[2];
	bool sent;

	if (!seqpacket_is_open(&from->channel) || to->roster.state != SLOT_READY ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	(void)rights_refuse(ends[0]); /* the receiving worker sends no descriptors */
	sent = slot_pass(to, &in, &ends[1], 1) && slot_pass(from, &out, &ends[0], 1);
	(void)close(ends[0]);
	(void)close(ends[1]);
	if (!sent)
		return false;
	from->orders++;
	change.under_way++;
	return true;
}

/* ---- slots that retire ---- */

/* The worker drains what it still has, and ends. */
void change_leave(struct slot *slot, uint64_t left)
{
	uint32_t drain_ms = config_ms(slot->generation->config.drain_timeout);

	change.told_to_leave[slot_index(slot)] = true;
	change.stay += left;
	(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_LEAVE});
	loop_deadline(change.owner->loop, &slot->timer,
		      change.owner->loop->now_ms + drain_ms + LEAVE_GRACE_MS);
}

/* Is there another worker to try? Not if all are full; one that is not up yet may be soon. */
static bool may_route(unsigned index)
{
	return change.full[index] <= change.serving->slots_n &&
	       change.owner->loop->now_us - change.began_us < ROUTE_US_MAX;
}

void change_route(struct slot *slot, uint64_t left)
{
	unsigned index = slot_index(slot);
	size_t n = change.serving->slots_n;

	if (!may_route(index)) {
		change_leave(slot, left);
		return;
	}
	if (change_is_handed_over()) {
		upgrade_want_move_channel(index, change.routes[index]++);
		slot->orders++; /* an order from now on */
		change.asked[index] = true;
		loop_deadline(change.owner->loop, &change.routing,
			      change.owner->loop->now_ms + ASKED_LOOK_MS);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		size_t to = (index + change.routes[index]++) % n;
		struct slot *other = &change.serving->slots[to];

		if (other != slot && change_order(slot, other, MOVE_ALL))
			return;
	}
	change_route_later();
}

void change_route_later(void)
{
	loop_deadline(change.owner->loop, &change.routing,
		      change.owner->loop->now_ms + ROUTE_RETRY_MS);
}

/* If the next master does not answer for too long, what is left is drained here. */
static void look_at_asked(struct slot *slot)
{
	unsigned index = slot_index(slot);

	if (!change.asked[index])
		return;
	if (may_route(index)) {
		loop_deadline(change.owner->loop, &change.routing,
			      change.owner->loop->now_ms + ASKED_LOOK_MS);
		return;
	}
	change.asked[index] = false;
	slot->orders--;
}

void change_routing_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	source->ready = 0;
	if (change_is_handed_over())
		EACH_SLOT (slot, change.serving)
			look_at_asked(slot);
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			if (slot->roster.state == SLOT_RETIRING && slot->pid && !slot->orders &&
			    !change.told_to_leave[slot_index(slot)])
				change_route(slot, slot_connections(slot));
}

/* Has every worker that retires moved all that it could? */
bool change_all_have_left(void)
{
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			if (slot->roster.state == SLOT_RETIRING && slot->pid &&
			    !change.told_to_leave[slot_index(slot)])
				return false;
	return true;
}

/* A client came late to a socket that goes: a worker of ours serves it now, or there is no such
 * listener any more. */
void change_give_late(uint32_t number, int fd)
{
	if (listen_has(&change.serving->set, number))
		handoff_give(number, fd);
	else
		rights_close(fd);
}

void change_tidy_later(void)
{
	change.tidy_rounds = TIDY_ROUNDS;
	loop_deadline(change.owner->loop, &change.tidying, change.owner->loop->now_ms + TIDY_MS);
}

/* Nothing is closed while another master comes up: it has all of the sockets, and closes them
 * itself. */
void change_tidying_turn(struct loop *loop, struct source *source)
{
	bool waits = change_now() == CHANGE_UPGRADE;

	source->ready = 0;
	if (change_is_handed_over() || change.stopping)
		return;
	if (change.tidy_rounds && !waits)
		change.tidy_rounds--;
	listen_tidy(&change.serving->set, !change.tidy_rounds && !waits, change_give_late);
	if (change.tidy_rounds)
		loop_deadline(loop, source, loop->now_ms + TIDY_MS);
}
