#include "worker/worker_listener.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/pubsub/relay.h"
#include "reactor/base/sys.h"

static const struct entrance_hall *the_hall; /* of this process */

/* Who finds no room where there are places is not turned away: epoll may take more in a moment, or
 * the room is elsewhere. */
static bool entrance_undecided(struct listener *listener)
{
	(void)listener;
	return mover_is_undecided(the_hall->mover) || conn_table_places(the_hall->table);
}

/* Who moved away from a worker that retires lives on elsewhere: newcomers who would do so, too, do
 * not follow, one by one, into the room that was theirs. */
static bool entrance_room(struct listener *listener)
{
	const struct conn_table *table = the_hall->table;
	uint64_t moved =
	    listener->leaves_rest ? table->stats->moved_out - the_hall->moved_before : 0;

	return conn_table_room(table) > moved;
}

static void entrance_accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	struct entrance *entrance = CONTAINER_OF(listener, struct entrance, listener);

	conn_open(&entrance->service, fd, CONN_ACCEPTED, peer);
}

static void entrance_stopped(struct listener *listener)
{
	(void)listener;
	the_hall->stopped();
}

static const struct listener_owner entrance_owner = {
    .room = entrance_room,
    .accepted = entrance_accepted,
    .stopped = entrance_stopped,
    .undecided = entrance_undecided,
};

static void entrance_gone(struct datagram_socket *socket)
{
	(void)socket;
	the_hall->stopped();
}

/* Another address of the same LISTENER may have it already. */
static void open_topic(struct entrance *entrance, uint32_t number)
{
	const struct worker_setup *setup = the_hall->setup;
	struct topic *there = the_hall->relay->topics[number];
	int error;

	if (there) {
		topic_share(there, &entrance->service);
		return;
	}
	error = topic_open(&entrance->topic, the_hall->relay, &entrance->service, (uint16_t)number,
			   (uint32_t)setup->config->slow_consumer);
	if (error)
		die("worker %u: memory for members: %s", setup->index, strerror(-error));
}

static void open_datagrams(struct entrance *entrance, const struct endpoint *endpoint, size_t i)
{
	const struct worker_setup *setup = the_hall->setup;
	const struct datagram_ledger *ledger = &setup->ledgers[i];
	bool shared = config_accept_mode(setup->config, endpoint) == ACCEPT_SHARED;

	entrance->datagram_service = (struct datagram_service){
	    .protocol = endpoint->protocol,
	    .guard = &the_hall->guard,
	    .limiter = ledger->limiter,
	    .dropped = &ledger->dropped[shared ? 0 : setup->index],
	    .shared = shared && setup->config->workers > 1,
	    .inherited = setup->staged,
	};
}

void entrance_open(struct entrance *entrance, const struct entrance_hall *hall, size_t i)
{
	const struct config *config = hall->setup->config;
	const struct endpoint *endpoint = &config->listeners[i];
	int fd = hall->setup->listeners[i];

	the_hall = hall;
	entrance->number = hall->setup->numbers[i];
	entrance->borrowed = hall->setup->borrowed[i];
	entrance->listener.source.fd = entrance->datagrams.source.fd = entrance->datagram_fd = -1;
	if (endpoint->datagrams) {
		entrance->datagram_fd = fd;
		open_datagrams(entrance, endpoint, i);
		return;
	}
	entrance->service = (struct service){
	    .protocol = endpoint->protocol,
	    .table = hall->table,
	    .message_max = config_message_max(config, endpoint),
	    .names = endpoint->names,
	    .local = address_is_unix(&endpoint->address),
	};
	if (endpoint->protocol->has_topic)
		open_topic(entrance, hall->setup->topics[i]);
	listener_init(&entrance->listener, fd, &entrance_owner, hall->table->stats);
	entrance->listener.shared =
	    config_accept_mode(config, endpoint) == ACCEPT_SHARED && config->workers > 1;
	entrance->listener.reject = config->overload == OVERLOAD_REJECT;
	entrance->listener.local = entrance->service.local;
	entrance->listener.wants_peer = clients_counted(&hall->table->clients);
}

void entrance_serve(struct entrance *entrance)
{
	unsigned index = the_hall->setup->index;
	struct loop *loop = the_hall->table->loop;

	if (entrance->datagram_fd >= 0) {
		int error = datagram_open(&entrance->datagrams, loop, entrance->datagram_fd,
					  &entrance->datagram_service, entrance_gone);

		entrance->datagram_fd = -1;
		if (error)
			die("worker %u: memory for datagrams: %s", index, strerror(-error));
	}
	if (entrance->listener.source.fd >= 0)
		(void)listener_resume(loop, &entrance->listener);
}

void entrance_has_room(struct entrance *entrance)
{
	listener_has_room(the_hall->table->loop, &entrance->listener);
}

void entrance_empty(struct entrance *entrance, bool leaves_rest)
{
	if (entrance->borrowed) {
		entrance_close(entrance);
		entrance_leave_datagrams(entrance);
		return;
	}
	entrance->emptied = true;
	listener_stop(the_hall->table->loop, &entrance->listener, leaves_rest);
	datagram_stop(the_hall->table->loop, &entrance->datagrams);
}

void entrance_close(struct entrance *entrance)
{
	listener_close(the_hall->table->loop, &entrance->listener);
}

void entrance_leave_datagrams(struct entrance *entrance)
{
	datagram_leave(the_hall->table->loop, &entrance->datagrams);
}

void entrance_close_datagrams(struct entrance *entrance)
{
	datagram_close(the_hall->table->loop, &entrance->datagrams);
}
