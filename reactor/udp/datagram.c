#include "reactor/udp/datagram.h"

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

enum phase { SERVING, STOPPING, LEAVING };

#define ERRORS_MAX 2 /* in a row, before it rests: the first may belong to an earlier datagram */

static void datagram_turn(struct loop *loop, struct source *source);

/* ---- what it waits for ---- */

/* Level-triggered: a batch leaves the rest to the next poll, and room to send, which is nearly
 * always there, is asked for only when there was none. Events 0: waits for its deadline only. */
static void datagram_watch(struct loop *loop, struct datagram_socket *socket, uint32_t events)
{
	if (events & EPOLLIN && socket->service->shared)
		events |= (uint32_t)EPOLLEXCLUSIVE;
	if (events == socket->watched && events)
		return;
	if (socket->watched)
		loop_unwatch(loop, &socket->source);
	socket->watched = events;
	if (events && loop_watch(loop, &socket->source, events) < 0)
		socket->watched = 0;
	if (!socket->watched)
		loop_deadline(loop, &socket->source, loop->now_ms + DATAGRAM_RETRY_MS);
}

/* Whoever sees more drops than were counted counts them. */
static void count_drops(struct datagram_socket *socket)
{
	uint32_t counted = __atomic_load_n(socket->service->dropped, __ATOMIC_RELAXED);

	while ((int32_t)(socket->rx.dropped - counted) > 0) {
		if (!__atomic_compare_exchange_n(socket->service->dropped, &counted,
						 socket->rx.dropped, false, __ATOMIC_RELAXED,
						 __ATOMIC_RELAXED))
			continue;
		STATS_ADD(socket->stats, datagrams_dropped, socket->rx.dropped - counted);
		return;
	}
}

int datagram_open(struct datagram_socket *socket, struct loop *loop, int fd,
		  const struct datagram_service *service,
		  void (*gone)(struct datagram_socket *socket))
{
	int error;

	*socket = (struct datagram_socket){
	    .service = service, .stats = loop->stats, .gone = gone, .opened_ms = loop->now_ms};
	source_init(&socket->source, fd, datagram_turn);
	socket->source.want = SOURCE_IN | SOURCE_OUT;
	error = udp_rx_open(&socket->rx, fd);
	if (!error)
		error = udp_tx_open(&socket->tx);
	if (error) {
		datagram_close(loop, socket);
		return error;
	}
	if (service->shared) /* others may ask for trains at any time */
		socket->rx.single = false;
	udp_rx_count_drops(&socket->rx, fd); /* those from when the socket had no worker */
	count_drops(socket);
	datagram_watch(loop, socket, EPOLLIN);
	return 0;
}

/* ---- answering ---- */

static bool within_rate(const struct datagram_socket *socket, const struct udp_peer *from,
			uint64_t now_us)
{
	struct limiter *limiter = socket->service->limiter;

	return !limiter || limiter_take(limiter, &from->peer.any, now_us);
}

/* May it be answered? If not, counts why. */
static bool datagram_admit(struct datagram_socket *socket, const struct udp_incoming *incoming)
{
	enum reflection_verdict verdict =
	    reflection_guard_check(socket->service->guard, &incoming->from->peer.any);

	if (incoming->truncated)
		STATS_ADD(socket->stats, datagrams_truncated, 1);
	else if (udp_peer_asked_many(incoming->from))
		STATS_ADD(socket->stats, datagrams_to_many, 1);
	else if (verdict == REFLECTION_NO_SENDER)
		STATS_ADD(socket->stats, datagrams_from_nobody, 1);
	else if (verdict == REFLECTION_LOW_PORT)
		STATS_ADD(socket->stats, datagrams_from_low_ports, 1);
	else if (verdict == REFLECTION_OWN_PORT)
		STATS_ADD(socket->stats, datagrams_from_own_ports, 1);
	else
		return true;
	return false;
}

static void datagram_serve(struct loop *loop, struct datagram_socket *socket,
			   const struct udp_incoming *incoming)
{
	struct datagram datagram = {incoming->bytes, incoming->n};

	STATS_ADD(socket->stats, datagrams_received, 1);
	if (!datagram_admit(socket, incoming) || !socket->service->protocol->datagram(&datagram))
		return;
	CHECK(datagram.n <= incoming->n); /* else a forged sender could have somebody flooded */
	if (within_rate(socket, incoming->from, loop->now_us))
		udp_tx_add(&socket->tx, incoming->from, datagram.bytes, datagram.n);
	else
		STATS_ADD(socket->stats, datagrams_over_rate, 1);
}

struct budget {
	unsigned batches, datagrams;
	size_t bytes;
	bool drained; /* the last batch was all that was there */
};

static bool is_spent(const struct budget *budget)
{
	return budget->batches == DATAGRAM_TURN_BATCHES || budget->bytes >= DATAGRAM_TURN_BYTES ||
	       budget->datagrams == DATAGRAM_TURN_MAX;
}

/* Answers what is in hand, as far as the budget goes. 0, or what udp_tx_send() says. */
static int datagram_answer(struct loop *loop, struct datagram_socket *socket, struct budget *budget)
{
	struct udp_incoming incoming;
	int error = udp_tx_send(&socket->tx, socket->source.fd, socket->stats);

	while (!error && budget->datagrams < DATAGRAM_TURN_MAX &&
	       udp_rx_next(&socket->rx, &incoming)) {
		if (udp_tx_full(&socket->tx)) {
			error = udp_tx_send(&socket->tx, socket->source.fd, socket->stats);
			continue;
		}
		datagram_serve(loop, socket, &incoming);
		udp_rx_done(&socket->rx, &incoming);
		budget->datagrams++;
	}
	if (!error)
		error = udp_tx_send(&socket->tx, socket->source.fd, socket->stats);
	return error;
}

/* ---- turns ---- */

enum taken { TOOK, NOTHING, FAILED };

static bool is_alone(const struct loop *loop, const struct datagram_socket *socket)
{
	return !socket->service->inherited ||
	       time_reached(loop->now_ms, socket->opened_ms + DATAGRAM_ALONE_MS);
}

static enum taken datagram_take(struct loop *loop, struct datagram_socket *socket,
				struct budget *budget)
{
	int n = udp_rx_receive(&socket->rx, socket->source.fd);

	if (n == -EAGAIN) {
		socket->errors = 0;
		return NOTHING;
	}
	if (n < 0) {
		STATS_ADD(socket->stats, datagram_receive_errors, 1);
		return ++socket->errors < ERRORS_MAX ? TOOK : FAILED;
	}
	socket->errors = 0;
	STATS_ADD(socket->stats, received_bytes, socket->rx.batch_bytes);
	if (n > 1 && !socket->rx.many && socket->phase == SERVING && is_alone(loop, socket))
		udp_rx_expect_many(&socket->rx, socket->source.fd);
	count_drops(socket);
	budget->batches++;
	budget->bytes += socket->rx.batch_bytes;
	budget->drained = n < UDP_RX_BATCH;
	return TOOK;
}

static void datagram_end(struct loop *loop, struct datagram_socket *socket)
{
	datagram_close(loop, socket);
	socket->gone(socket);
}

static void datagram_wait(struct loop *loop, struct datagram_socket *socket, int error)
{
	STATS_ADD(socket->stats, datagram_send_waits, 1);
	datagram_watch(loop, socket, error == -EAGAIN ? EPOLLOUT : 0);
}

/* If processes share a socket, the kernel wakes one of them for a datagram. If that was this one,
 * nobody else knows of what has come, so it takes that before it leaves. */
static bool may_leave(const struct datagram_socket *socket, const struct budget *budget)
{
	return socket->phase == LEAVING && udp_rx_empty(&socket->rx) &&
	       (!socket->service->shared || budget->drained || is_spent(budget));
}

static void datagram_turn(struct loop *loop, struct source *source)
{
	struct datagram_socket *socket = CONTAINER_OF(source, struct datagram_socket, source);
	struct budget budget = {0};
	enum taken taken = TOOK;
	int error;

	source->ready = 0;
	if (source->fd < 0)
		return;
	while (taken == TOOK) {
		error = datagram_answer(loop, socket, &budget);
		if (error) {
			datagram_wait(loop, socket, error);
			return;
		}
		if (may_leave(socket, &budget)) {
			datagram_end(loop, socket);
			return;
		}
		if (budget.drained && socket->phase == SERVING && udp_rx_empty(&socket->rx))
			break;
		if (is_spent(&budget)) {
			STATS_ADD(socket->stats, budget_yields, 1);
			break;
		}
		taken = datagram_take(loop, socket, &budget);
	}
	if (taken != TOOK && socket->phase != SERVING)
		datagram_end(loop, socket);
	else if (socket->phase == STOPPING || !udp_rx_empty(&socket->rx))
		loop_wake(loop,
			  source); /* neither what is in hand nor an empty queue makes an event */
	else
		datagram_watch(loop, socket, taken == FAILED ? 0 : EPOLLIN);
}

/* ---- the end ---- */

static bool is_shut(int fd)
{
	socklen_t instructions = 0;

	return sys_getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &instructions) == 0 &&
	       instructions;
}

void datagram_stop(struct loop *loop, struct datagram_socket *socket)
{
	struct sys_filter_program program = {1, &SYS_FILTER_NOTHING};

	if (socket->source.fd < 0)
		return;
	/* If others have shut it, what their filter dropped is in that count. */
	if (!is_shut(socket->source.fd)) {
		udp_rx_count_drops(&socket->rx, socket->source.fd);
		count_drops(socket);
	}
	/* Without a filter, clients that go on asking would keep the socket until drain-timeout. */
	(void)sys_setsockopt(socket->source.fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
			     sizeof program);
	socket->phase = STOPPING;
	loop_wake(loop, &socket->source);
}

void datagram_leave(struct loop *loop, struct datagram_socket *socket)
{
	if (socket->source.fd < 0)
		return;
	socket->phase = LEAVING;
	loop_wake(loop, &socket->source);
}

void datagram_close(struct loop *loop, struct datagram_socket *socket)
{
	if (socket->source.fd < 0)
		return;
	if (socket->watched)
		loop_unwatch(loop, &socket->source);
	socket->watched = 0;
	loop_no_deadline(loop, &socket->source);
	(void)sys_close(socket->source.fd);
	socket->source.fd = -1;
	udp_rx_close(&socket->rx);
	udp_tx_close(&socket->tx);
}

/* ---- sockets ---- */

static int set_on(int fd, int level, int option)
{
	int on = 1;

	return sys_setsockopt(fd, level, option, &on, sizeof on);
}

static bool is_every_address(const struct address *address)
{
	unsigned char bytes[16];

	return address_bytes((const struct sockaddr *)&address->socket, bytes) &&
	       address_is_unspecified(bytes);
}

/* A broadcast or multicast address. connect(2) refuses a broadcast address, and so knows those of
 * the networks here, too. */
static bool is_address_of_many(const struct address *address)
{
	const struct sockaddr *to = (const struct sockaddr *)&address->socket;
	unsigned char bytes[16];
	int fd, error;

	if (!address_bytes(to, bytes))
		return false;
	if (to->sa_family == AF_INET6)
		return bytes[0] == 0xff;
	if (bytes[12] >= 224)
		return true;
	fd = sys_socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	error = sys_connect(fd, to, address->bytes);
	(void)sys_close(fd);
	return error == -EACCES;
}

/* Only CAP_NET_ADMIN may go beyond net.core.rmem_max and wmem_max; without it the kernel cuts the
 * size and says nothing. */
static int set_size(int fd, int forced, int option, uint64_t bytes)
{
	int n = (int)bytes;

	if (!n || sys_setsockopt(fd, SOL_SOCKET, forced, &n, sizeof n) == 0)
		return 0;
	return sys_setsockopt(fd, SOL_SOCKET, option, &n, sizeof n);
}

int datagram_adopt(int fd, const struct address *address, const struct datagram_options *options,
		   const char **step)
{
	bool ip6 = address->socket.ss_family == AF_INET6;
	bool several = is_every_address(address) || is_address_of_many(address);
	int error = 0;

	if (several && ip6) {
		*step = "IPV6_RECVPKTINFO";
		error = set_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
	}
	if (!error && several && (!ip6 || address->dual_stack)) {
		*step = "IP_PKTINFO";
		error = set_on(fd, IPPROTO_IP, IP_PKTINFO);
	}
	if (!error) {
		*step = "SO_RCVBUF";
		error = set_size(fd, SO_RCVBUFFORCE, SO_RCVBUF, options->queue_bytes);
	}
	if (!error) {
		*step = "SO_SNDBUF";
		error = set_size(fd, SO_SNDBUFFORCE, SO_SNDBUF,
				 options->send_queue_bytes ? options->send_queue_bytes
							   : DATAGRAM_SEND_BYTES);
	}
	return error;
}

/* No SO_REUSEADDR: with it, another server could take the port from under this one. */
static int set_options(int fd, const struct address *address,
		       const struct datagram_options *options, const char **step)
{
	int error = 0, v6only = !address->dual_stack;

	if (options->reuseport) {
		*step = "SO_REUSEPORT";
		error = set_on(fd, SOL_SOCKET, SO_REUSEPORT);
	}
	if (!error && address->socket.ss_family == AF_INET6) {
		*step = "IPV6_V6ONLY";
		error = sys_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
	}
	return error ? error : datagram_adopt(fd, address, options, step);
}

int datagram_bind(struct address *address, const struct datagram_options *options,
		  const char **step)
{
	socklen_t n = sizeof address->socket;
	int fd, error;

	*step = "socket";
	fd = sys_socket(address->socket.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	error = set_options(fd, address, options, step);
	if (!error) {
		*step = "bind";
		error = sys_bind(fd, (struct sockaddr *)&address->socket, address->bytes);
	}
	if (!error) {
		*step = "getsockname";
		error = sys_getsockname(fd, (struct sockaddr *)&address->socket, &n);
	}
	if (error) {
		(void)sys_close(fd);
		return error;
	}
	return fd;
}
