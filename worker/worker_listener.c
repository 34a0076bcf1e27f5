#include "worker/worker_listener.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/pubsub/delivery.h"
#include "reactor/base/sys.h"
#include "reactor/stream/framing.h"

static const struct worker_listener_shared *common; /* of this process */

/* A client that finds no room although there are places waits, and is not turned away: epoll may
 * take more in a moment, or the room is at a successor. */
static bool worker_listener_undecided(struct listener *listener)
{
	(void)listener;
	return migration_is_undecided(common->migration) || conn_table_places(common->table);
}

/* Connections that moved away from a worker that retires live on at its successors, and newcomers
 * would move after them. So the places that they left here are not given away again. */
static bool worker_listener_room(struct listener *listener)
{
	const struct conn_table *table = common->table;
	uint64_t moved = listener->leaves_rest ? table->stats->moved_out - common->moved_before : 0;

	return conn_table_room(table) > moved;
}

static void worker_listener_accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	struct worker_listener *of = CONTAINER_OF(listener, struct worker_listener, stream);

	conn_open(of->newcomers, fd, CONN_ACCEPTED, peer);
}

static void worker_listener_stopped(struct listener *listener)
{
	(void)listener;
	common->stopped();
}

static const struct listener_owner worker_listener_owner = {
    .room = worker_listener_room,
    .accepted = worker_listener_accepted,
    .stopped = worker_listener_stopped,
    .undecided = worker_listener_undecided,
};

static void worker_listener_gone(struct datagram_socket *socket)
{
	(void)socket;
	common->stopped();
}

static void open_datagrams(struct worker_listener *listener, const struct endpoint *endpoint,
			   size_t i)
{
	const struct worker_setup *setup = common->setup;
	const struct datagram_ledger *ledger = &setup->ledgers[i];
	bool shared = config_accept_mode(setup->config, endpoint) == ACCEPT_SHARED;

	listener->datagram_service = (struct datagram_service){
	    .protocol = endpoint->protocol,
	    .guard = &common->guard,
	    .limiter = ledger->limiter,
	    .dropped = &ledger->dropped[shared ? 0 : setup->index],
	    .shared = shared && setup->config->workers > 1,
	    .inherited = setup->staged,
	};
}

static void add_service(struct worker_listener *listener, const struct endpoint *endpoint,
			const struct protocol *protocol)
{
	const struct setting *setting = protocol->settings, *of_framing = NULL;
	const struct config *config = common->setup->config;
	struct service *service = &listener->services[listener->services_n++];

	CHECK(listener->services_n <= SERVICES_MAX);
	*service = (struct service){
	    .protocol = protocol,
	    .table = common->table,
	    .listener = listener->number,
	    .networks = endpoint->networks,
	    .local = address_is_unix(&endpoint->address),
	};
	for (size_t i = 0; setting && setting[i].name; i++)
		service->settings[i] = config_setting(config, endpoint, &setting[i]);
	if (protocol->framing)
		of_framing = protocol->framing->settings;
	for (size_t i = 0; of_framing && of_framing[i].name; i++)
		service->settings[FRAMING_SETTING(i)] =
		    config_setting(config, endpoint, &of_framing[i]);
}

/* One for its protocol, one for each that this may turn into, and one for the prefix, which is the
 * last, so that the first is behind it. */
static void add_services(struct worker_listener *listener, const struct endpoint *endpoint)
{
	const struct protocol *reached[PROTOCOL_REACHED_MAX];
	size_t reached_n = protocol_reached(endpoint->protocol, reached), n;

	for (size_t i = 0; i < reached_n; i++)
		add_service(listener, endpoint, reached[i]);
	if (endpoint->proxy)
		add_service(listener, endpoint, &proxy_protocol);
	n = listener->services_n;
	for (size_t i = 0; n > 1 && i < n; i++)
		listener->services[i].next = &listener->services[(i + 1) % n];
	listener->newcomers = &listener->services[endpoint->proxy ? n - 1 : 0];
}

void worker_listener_open(struct worker_listener *listener,
			  const struct worker_listener_shared *shared, size_t i)
{
	const struct config *config = shared->setup->config;
	const struct endpoint *endpoint = &config->listeners[i];
	int fd = shared->setup->listeners[i];

	common = shared;
	listener->number = shared->setup->numbers[i];
	listener->borrowed = shared->setup->borrowed[i];
	listener->stream.source.fd = listener->datagrams.source.fd = listener->datagram_fd = -1;
	if (endpoint->datagrams) {
		listener->datagram_fd = fd;
		open_datagrams(listener, endpoint, i);
		return;
	}
	add_services(listener, endpoint);
	for (size_t k = 0; k < listener->services_n; k++)
		if (listener->services[k].protocol->shares == &pubsub_kind) {
			listener->services[k].topic = shared->setup->topics[i];
			delivery_serve(shared->delivery, &listener->services[k]);
		}
	listener_init(&listener->stream, fd, &worker_listener_owner, shared->table->stats);
	listener->stream.shared =
	    config_accept_mode(config, endpoint) == ACCEPT_SHARED && config->workers > 1;
	listener->stream.reject = config->overload == OVERLOAD_REJECT;
	listener->stream.local = listener->services[0].local;
	listener->stream.wants_peer =
	    per_ip_counts(&shared->table->per_ip) && !listener->newcomers->protocol->is_prefix;
}

void worker_listener_serve(struct worker_listener *listener)
{
	unsigned index = common->setup->index;
	struct loop *loop = common->table->loop;

	if (listener->datagram_fd >= 0) {
		int error = datagram_open(&listener->datagrams, loop, listener->datagram_fd,
					  &listener->datagram_service, worker_listener_gone);

		listener->datagram_fd = -1;
		if (error)
			die("worker %u: memory for datagrams: %s", index, strerror(-error));
	}
	if (listener->stream.source.fd >= 0)
		(void)listener_resume(loop, &listener->stream);
}

void worker_listener_has_room(struct worker_listener *listener)
{
	listener_has_room(common->table->loop, &listener->stream);
}

void worker_listener_empty(struct worker_listener *listener, bool leaves_rest)
{
	if (listener->borrowed) {
		worker_listener_close(listener);
		worker_listener_leave_datagrams(listener);
		return;
	}
	listener->emptied = true;
	listener_stop(common->table->loop, &listener->stream, leaves_rest);
	datagram_stop(common->table->loop, &listener->datagrams);
}

void worker_listener_close(struct worker_listener *listener)
{
	listener_close(common->table->loop, &listener->stream);
}

void worker_listener_leave_datagrams(struct worker_listener *listener)
{
	datagram_leave(common->table->loop, &listener->datagrams);
}

void worker_listener_close_datagrams(struct worker_listener *listener)
{
	datagram_close(common->table->loop, &listener->datagrams);
}
