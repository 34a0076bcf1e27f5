#include "bench/weirload/udp/udp_client_parts.h"

#include <errno.h>
#include <string.h>

#include "bench/weirload/plan/dial.h"
#include "bench/weirload/report/diagnosis.h"
#include "reactor/base/check.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define TURN_READS	4
#define RETRY_MS	1    /* after the queue of the device was full */
#define RETRY_MS_FAILED 100  /* after a call failed that may succeed later */
#define LINGER_MS	100  /* how long ENDING waits for answers that come twice */
#define DATAGRAM_BYTES	1024 /* about what the kernel adds to a datagram in its queue */
#define RECEIVE_BYTES	(100 * 1024)
#define RECEIVE_MAX	(1 << 30)

static struct udp_client *udp_client_of(struct caller *caller)
{
	return CONTAINER_OF(caller, struct udp_client, caller);
}

static void udp_client_turn(struct loop *loop, struct source *source);

static void udp_client_prepare(struct sender *sender)
{
	sender->batch = batch_make(sender->message_bytes, sender->plan->batch);
	if (!sender->batch)
		die("no memory for %u sockets", sender->callers_n);
}

static size_t udp_client_bytes(const struct sender *sender)
{
	return sizeof(struct udp_client) + sender->plan->pipeline * sizeof(struct place);
}

static void udp_client_init(struct caller *caller, struct sender *sender)
{
	struct udp_client *client = udp_client_of(caller);
	uint32_t places = (uint32_t)sender->plan->pipeline;

	source_init(&caller->source, -1, udp_client_turn);
	client->oldest = client->newest = PLACE_NONE;
	for (uint32_t i = 0; i < places; i++)
		client->places[i].behind = i + 1 < places ? i + 1 : PLACE_NONE;
}

static bool udp_client_is_open(const struct caller *caller)
{
	return CONTAINER_OF(caller, const struct udp_client, caller)->phase == UDP_CLIENT_OPEN;
}

/* ---- the socket ---- */

/* How many answers came, but were dropped because weirload did not read in time: the server did not
 * lose these. */
static uint64_t dropped_here(int fd)
{
	uint32_t info[SYS_MEMINFO_FIGURES] = {0};
	socklen_t n = sizeof info;

	if (sys_getsockopt(fd, SOL_SOCKET, SYS_SO_MEMINFO, info, &n) < 0)
		return 0;
	return info[SYS_MEMINFO_DROPS];
}

static void udp_client_close(struct udp_client *client, struct sender *sender)
{
	struct source *source = &client->caller.source;

	if (client->phase == UDP_CLIENT_GONE)
		return;
	if (source->fd >= 0) {
		TALLY_ADD(sender->tally, dropped, dropped_here(source->fd));
		(void)sys_close(source->fd);
		TALLY_ADD(sender->tally, open, -1);
	}
	source->fd = -1;
	source->ready = source->want = 0;
	loop_no_deadline(&sender->loop, source);
	client->phase = UDP_CLIENT_GONE;
	sender_finished(sender);
}

static void call_failed(struct sender *sender, const char *call, int error)
{
	char detail[TALLY_DETAIL_BYTES];

	diagnosis_say_errno(detail, call, -error);
	sender_wrong(sender, diagnosis_of_errno(-error), 1, "%s", detail);
}

/* The SO_RCVBUF that holds all that may come at once; 0: the kernel's default does. */
static int receive_bytes(const struct sender *sender)
{
	uint64_t n = sender->plan->pipeline * (sender->reply_bytes + DATAGRAM_BYTES);

	return n <= RECEIVE_BYTES ? 0 : n < RECEIVE_MAX ? (int)n : RECEIVE_MAX;
}

static int udp_client_connect(struct udp_client *client, struct sender *sender, const char **call)
{
	struct source *source = &client->caller.source;
	int bytes = receive_bytes(sender), error;
	uint64_t nth = sender_nth(sender);
	int fd = dial_socket(sender->plan, nth, bytes, call);

	if (fd < 0)
		return fd;
	if (bytes) /* root may go beyond the limit */
		(void)sys_setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	batch_prepare(sender->batch, fd);
	source->fd = fd;
	source->want = SOURCE_IN;
	*call = "connect";
	error = dial_connect(sender->plan, nth, fd);
	if (error == -EAGAIN) /* connect()'s error if no port is left */
		error = -EADDRNOTAVAIL;
	if (!error) {
		*call = "epoll_ctl";
		error = loop_watch(&sender->loop, source, EPOLLIN | EPOLLET);
	}
	if (error) {
		(void)sys_close(fd);
		source->fd = -1;
	}
	return error;
}

static void udp_client_open(struct caller *caller, struct sender *sender)
{
	struct udp_client *client = udp_client_of(caller);
	const char *call;
	int error;

	client->key = sender_key(sender);
	error = udp_client_connect(client, sender, &call);
	sender->opened++;
	if (error == -EADDRNOTAVAIL && strcmp(call, "bind") == 0) {
		sender_wrong(sender, TALLY_other, 1,
			     "bind: a --source address is not of this machine");
	} else if (error) {
		call_failed(sender, call, error);
	} else {
		client->phase = UDP_CLIENT_OPEN;
		caller->free_ns = clock_ns();
		sender_count_open(sender);
	}
	sender_connected(sender);
	sender_settled(sender);
}

/* ---- messages ---- */

/* A UDP socket reports room to write nearly always: that is watched only while there is none. */
static void watch_room(struct udp_client *client, struct sender *sender, bool blocked)
{
	struct source *source = &client->caller.source;
	struct epoll_event event = {.events = EPOLLIN | EPOLLET | (blocked ? EPOLLOUT : 0),
				    .data.ptr = source};
	int error = sys_epoll_ctl(sender->loop.epfd, EPOLL_CTL_MOD, source->fd, &event);

	client->blocked = blocked;
	source->ready &= (uint8_t)~SOURCE_OUT;
	source->want = blocked ? SOURCE_IN | SOURCE_OUT : SOURCE_IN;
	if (error)
		call_failed(sender, "epoll_ctl", error);
}

/* How many may leave now, by one call. */
static uint32_t allowance(const struct udp_client *client, const struct sender *sender)
{
	const struct caller *caller = &client->caller;
	uint64_t n = sender->plan->pipeline - client->under_way;

	if (client->phase != UDP_CLIENT_OPEN || sender->phase != SENDER_RUN || client->blocked)
		return 0;
	if (plan_is_open(sender->plan) && caller->asked - caller->begun < n)
		n = caller->asked - caller->begun;
	return n < batch_room(sender->batch) ? (uint32_t)n : batch_room(sender->batch);
}

/* The message of the first free place has left. */
static void udp_client_begin(struct udp_client *client, struct sender *sender, uint64_t now_ns)
{
	uint32_t i = client->free;
	struct place *place = &client->places[i];

	client->free = place->behind;
	place->before = client->newest;
	place->behind = PLACE_NONE;
	if (client->newest == PLACE_NONE)
		client->oldest = i;
	else
		client->places[client->newest].behind = i;
	client->newest = i;
	place->under_way = true;
	place->order = client->caller.begun;
	place->flight.sent_ns = now_ns;
	if (!client->under_way++)
		loop_deadline(&sender->loop, &client->caller.source,
			      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	sender_begin(sender, &client->caller, &place->flight, 0);
	UDP_CLIENT_COUNT(sender, asked, now_ns);
	TALLY_ADD(sender->tally, sent_bytes, sender->message_bytes);
}

static void send_failed(struct udp_client *client, struct sender *sender, int error)
{
	struct source *source = &client->caller.source;

	if (error == -EAGAIN) {
		watch_room(client, sender, true);
	} else if (error == -ENOBUFS) {
		loop_deadline(&sender->loop, source, sender->loop.now_ms + RETRY_MS);
	} else if (error ==
		   -ECONNREFUSED) { /* an earlier datagram was refused; these have not left */
		call_failed(sender, "send", error);
		loop_wake(&sender->loop, source);
	} else if (error != -EINTR) {
		call_failed(sender, "send", error);
		loop_deadline(&sender->loop, source, sender->loop.now_ms + RETRY_MS_FAILED);
	} else {
		loop_wake(&sender->loop, source);
	}
}

/* Sends with one call; more follow in the next turn. */
static void udp_client_pump(struct udp_client *client, struct sender *sender)
{
	const struct plan *plan = sender->plan;
	uint32_t n = allowance(client, sender), i = client->free;
	uint64_t now_ns;
	int sent;

	if (!n)
		return;
	for (uint32_t k = 0; k < n; k++, i = client->places[i].behind)
		client_protocol_fill(plan->protocol, (uint32_t)plan->size, client->key,
				     udp_client_number(client, sender, &client->places[i]), 0,
				     batch_message(sender->batch, k), sender->message_bytes);
	now_ns = clock_ns();
	sent = batch_send(sender->batch, client->caller.source.fd, n);
	if (sent < 0) {
		send_failed(client, sender, sent);
		return;
	}
	for (int k = 0; k < sent; k++)
		udp_client_begin(client, sender, now_ns);
	while (plan->protocol->kind == CLIENT_PROTOCOL_LISTENS && client->under_way) {
		TALLY_ADD(sender->tally, messages, 1);
		udp_client_release(client, sender, udp_client_oldest(client), now_ns);
	}
	if (allowance(client, sender))
		loop_wake(&sender->loop, &client->caller.source);
}

/* Sends in the next pass, so that messages that become due together leave together. */
static void udp_client_ask(struct caller *caller, struct sender *sender)
{
	if (udp_client_of(caller)->phase == UDP_CLIENT_OPEN)
		loop_wake(&sender->loop, &caller->source);
}

/* ---- answers ---- */

/* Each ICMP message is one error of a read; what came before and after it can still be read. */
static void receive_failed(struct udp_client *client, struct sender *sender, int error)
{
	if (error == -EINTR)
		return;
	if (error != -EAGAIN)
		call_failed(sender, "recvmmsg", error);
	if (error != -ECONNREFUSED)
		client->caller.source.ready &= (uint8_t)~SOURCE_IN;
}

static void udp_client_receive(struct udp_client *client, struct sender *sender)
{
	for (int i = 0; i < TURN_READS; i++) {
		const unsigned char *bytes;
		uint64_t now_ns;
		bool drained;
		size_t n;
		int error = batch_receive(sender->batch, client->caller.source.fd, &drained);

		if (error) {
			receive_failed(client, sender, error);
			if (error == -EAGAIN)
				return;
			continue;
		}
		now_ns = clock_ns();
		while (batch_next(sender->batch, &bytes, &n))
			udp_client_answer(client, sender, bytes, n, now_ns);
		if (drained) {
			client->caller.source.ready &= (uint8_t)~SOURCE_IN;
			return;
		}
	}
}

/* A deadline has passed, perhaps an outdated one: messages that waited too long are lost. */
static void udp_client_due(struct udp_client *client, struct sender *sender)
{
	uint64_t now_ns = clock_ns(), timeout_ns = sender->plan->timeout_us * 1000;
	struct place *place;

	while ((place = udp_client_oldest(client)) && now_ns - place->flight.sent_ns >= timeout_ns)
		udp_client_lose(client, sender, place, now_ns);
	if (place)
		loop_deadline(
		    &sender->loop, &client->caller.source,
		    sender->loop.now_ms + 1 +
			(uint32_t)((place->flight.sent_ns + timeout_ns - now_ns) / 1000000));
}

/* ---- the end ---- */

static void udp_client_end(struct caller *caller, struct sender *sender)
{
	struct udp_client *client = udp_client_of(caller);
	uint32_t now_ms = sender->loop.now_ms;

	if (client->under_way)
		return;
	if (client->phase == UDP_CLIENT_OPEN &&
	    sender->plan->protocol->kind == CLIENT_PROTOCOL_ANSWERS) {
		client->phase = UDP_CLIENT_ENDING;
		client->end_ms = now_ms + LINGER_MS;
	}
	if (client->phase == UDP_CLIENT_ENDING && !time_reached(now_ms, client->end_ms))
		loop_deadline(&sender->loop, &caller->source, client->end_ms);
	else
		udp_client_close(client, sender);
}

static void udp_client_give_up(struct caller *caller, struct sender *sender)
{
	struct udp_client *client = udp_client_of(caller);
	struct place *place;

	if (caller->source.fd >= 0)
		udp_client_receive(client, sender);
	while ((place = udp_client_oldest(client)))
		udp_client_lose(client, sender, place, clock_ns());
	udp_client_close(client, sender);
}

/* ---- turns ---- */

static void udp_client_turn(struct loop *loop, struct source *source)
{
	struct udp_client *client = CONTAINER_OF(source, struct udp_client, caller.source);
	struct sender *sender = CONTAINER_OF(loop, struct sender, loop);
	bool due = source->ready & SOURCE_DUE;

	if (source->ready & SOURCE_BROKEN || due) /* an answer that waits unread is not lost */
		source->ready |= SOURCE_IN;
	source->ready &= (uint8_t) ~(SOURCE_DUE | SOURCE_WOKEN | SOURCE_BROKEN);
	if (source->fd < 0)
		return;
	if (source->ready & SOURCE_IN)
		udp_client_receive(client, sender);
	if (due && source->ready & SOURCE_IN) /* there is more to read first */
		source->ready |= SOURCE_DUE;
	else if (due)
		udp_client_due(client, sender);
	if (client->blocked && source->ready & SOURCE_OUT) {
		watch_room(client, sender, false);
		client->caller.free_ns = clock_ns();
	}
	udp_client_pump(client, sender);
	if (sender->phase == SENDER_END)
		udp_client_end(&client->caller, sender);
	loop_requeue(loop, source);
}

const struct caller_kind udp_client_kind = {.prepare = udp_client_prepare,
					    .bytes = udp_client_bytes,
					    .init = udp_client_init,
					    .open = udp_client_open,
					    .is_open = udp_client_is_open,
					    .start = sender_wake_callers,
					    .ask = udp_client_ask,
					    .end = udp_client_end,
					    .give_up = udp_client_give_up};
