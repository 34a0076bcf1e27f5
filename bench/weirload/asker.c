#include "bench/weirload/asker_parts.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <string.h>

#include "bench/weirload/dial.h"
#include "bench/weirload/verdict.h"
#include "reactor/list.h"
#include "reactor/sys.h"

#define TURN_READS	4
#define RETRY_MS	1    /* where the device's queue is full */
#define RETRY_MS_FAILED 100  /* where a call failed that may go well later */
#define LINGER_MS	100  /* for answers that come twice */
#define DATAGRAM_BYTES	1024 /* what the kernel adds to one in its queue, about */
#define RECEIVE_BYTES	(100 * 1024)
#define RECEIVE_MAX	(1 << 30)

static struct asker *asker_of(struct caller *caller)
{
	return CONTAINER_OF(caller, struct asker, caller);
}

static void asker_turn(struct loop *loop, struct source *source);

static size_t asker_bytes(const struct plan *plan)
{
	return sizeof(struct asker) + plan->pipeline * sizeof(struct place);
}

static void asker_init(struct caller *caller, struct sender *sender)
{
	struct asker *asker = asker_of(caller);
	uint32_t places = (uint32_t)sender->plan->pipeline;

	source_init(&caller->source, -1, asker_turn);
	asker->oldest = asker->newest = PLACE_NONE;
	for (uint32_t i = 0; i < places; i++)
		asker->places[i].behind = i + 1 < places ? i + 1 : PLACE_NONE;
}

static bool asker_is_open(const struct caller *caller)
{
	return CONTAINER_OF(caller, const struct asker, caller)->phase == ASKER_OPEN;
}

/* ---- the socket ---- */

/* Answers that weirload itself did not read in time are none that the server lost. */
static uint64_t dropped_here(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t n = sizeof info;

	if (sys_getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &n) < 0)
		return 0;
	return info[SK_MEMINFO_DROPS];
}

static void asker_close(struct asker *asker, struct sender *sender)
{
	struct source *source = &asker->caller.source;

	if (asker->phase == ASKER_GONE)
		return;
	if (source->fd >= 0) {
		TALLY_ADD(sender->tally, dropped, dropped_here(source->fd));
		(void)sys_close(source->fd);
		TALLY_ADD(sender->tally, open, -1);
	}
	source->fd = -1;
	source->ready = source->want = 0;
	loop_no_deadline(&sender->loop, source);
	asker->phase = ASKER_GONE;
	sender_finished(sender);
}

static void call_failed(struct sender *sender, const char *call, int error)
{
	char detail[TALLY_DETAIL_BYTES];

	verdict_say_errno(detail, call, -error);
	sender_wrong(sender, verdict_of_errno(-error), detail);
}

/* Room for all that may come at once, as far as the kernel gives it. */
static int receive_bytes(const struct sender *sender)
{
	uint64_t n = sender->plan->pipeline * (sender->reply_bytes + DATAGRAM_BYTES);

	return n <= RECEIVE_BYTES ? 0 : n < RECEIVE_MAX ? (int)n : RECEIVE_MAX;
}

static int asker_connect(struct asker *asker, struct sender *sender, const char **call)
{
	struct source *source = &asker->caller.source;
	int bytes = receive_bytes(sender), error;
	int fd = dial_socket(
	    sender->plan, sender->opened * sender->plan->processes + sender->number, bytes, call);

	if (fd < 0)
		return fd;
	if (bytes) /* above the limit: root may */
		(void)sys_setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	batch_prepare(sender->batch, fd);
	source->fd = fd;
	source->want = SOURCE_IN;
	*call = "connect";
	error = dial_connect(sender->plan, fd);
	if (error == -EAGAIN) /* what it says where no port is left */
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

static void asker_open(struct caller *caller, struct sender *sender)
{
	struct asker *asker = asker_of(caller);
	struct tally *tally = sender->tally;
	const char *call;
	int error;

	asker->key = sender_key(sender);
	error = asker_connect(asker, sender, &call);
	sender->opened++;
	if (error == -EADDRNOTAVAIL && strcmp(call, "bind") == 0) {
		sender_wrong(sender, TALLY_other,
			     "bind: a --source address is not of this machine");
	} else if (error) {
		call_failed(sender, call, error);
	} else {
		asker->phase = ASKER_OPEN;
		caller->free_ns = clock_ns();
		TALLY_ADD(tally, connects, 1);
		TALLY_ADD(tally, open, 1);
		if (tally->open > tally->open_max)
			TALLY_ADD(tally, open_max, tally->open - tally->open_max);
	}
	sender_settled(sender);
}

/* ---- questions ---- */

/* UDP reports room to write all the time: it is asked for only while there is none. */
static void watch_room(struct asker *asker, struct sender *sender, bool blocked)
{
	struct source *source = &asker->caller.source;
	struct epoll_event event = {.events = EPOLLIN | EPOLLET | (blocked ? EPOLLOUT : 0),
				    .data.ptr = source};
	int error = sys_epoll_ctl(sender->loop.epfd, EPOLL_CTL_MOD, source->fd, &event);

	asker->blocked = blocked;
	source->ready &= (uint8_t)~SOURCE_OUT;
	source->want = blocked ? SOURCE_IN | SOURCE_OUT : SOURCE_IN;
	if (error)
		call_failed(sender, "epoll_ctl", error);
}

/* How many may be asked now, by one call. */
static uint32_t allowance(const struct asker *asker, const struct sender *sender)
{
	const struct caller *caller = &asker->caller;
	uint64_t n = sender->plan->pipeline - asker->under_way;

	if (asker->phase != ASKER_OPEN || sender->phase != SENDER_RUN || asker->blocked)
		return 0;
	if (sender->plan->rate && caller->asked - caller->begun < n)
		n = caller->asked - caller->begun;
	return n < batch_room(sender->batch) ? (uint32_t)n : batch_room(sender->batch);
}

/* The question in the first free place has left. */
static void asker_begin(struct asker *asker, struct sender *sender, uint64_t now_ns)
{
	uint32_t i = asker->free;
	struct place *place = &asker->places[i];

	asker->free = place->behind;
	place->before = asker->newest;
	place->behind = PLACE_NONE;
	if (asker->newest == PLACE_NONE)
		asker->oldest = i;
	else
		asker->places[asker->newest].behind = i;
	asker->newest = i;
	place->under_way = true;
	place->order = asker->caller.begun;
	place->flight.sent_ns = now_ns;
	if (!asker->under_way++)
		loop_deadline(&sender->loop, &asker->caller.source,
			      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	sender_begin(sender, &asker->caller, &place->flight, 0);
	ASKER_COUNT(sender, asked, now_ns);
	TALLY_ADD(sender->tally, sent_bytes, sender->message_bytes);
}

static void send_failed(struct asker *asker, struct sender *sender, int error)
{
	struct source *source = &asker->caller.source;

	if (error == -EAGAIN) {
		watch_room(asker, sender, true);
	} else if (error == -ENOBUFS) {
		loop_deadline(&sender->loop, source, sender->loop.now_ms + RETRY_MS);
	} else if (error == -ECONNREFUSED) { /* of one that had left before; this one had not */
		call_failed(sender, "send", error);
		loop_poke(&sender->loop, source);
	} else if (error != -EINTR) {
		call_failed(sender, "send", error);
		loop_deadline(&sender->loop, source, sender->loop.now_ms + RETRY_MS_FAILED);
	} else {
		loop_poke(&sender->loop, source);
	}
}

/* One call; where more could follow at once, in the next turn. */
static void asker_pump(struct asker *asker, struct sender *sender)
{
	const struct plan *plan = sender->plan;
	uint32_t n = allowance(asker, sender), i = asker->free;
	uint64_t now_ns;
	int sent;

	if (!n)
		return;
	for (uint32_t k = 0; k < n; k++, i = asker->places[i].behind)
		dialect_fill(plan->dialect, (uint32_t)plan->size, asker->key,
			     asker_number(asker, sender, &asker->places[i]), 0,
			     batch_question(sender->batch, k), sender->message_bytes);
	now_ns = clock_ns();
	sent = batch_send(sender->batch, asker->caller.source.fd, n);
	if (sent < 0) {
		send_failed(asker, sender, sent);
		return;
	}
	for (int k = 0; k < sent; k++)
		asker_begin(asker, sender, now_ns);
	while (plan->dialect->kind == DIALECT_LISTENS && asker->under_way) {
		TALLY_ADD(sender->tally, messages, 1);
		asker_release(asker, sender, asker_oldest(asker), now_ns);
	}
	if (allowance(asker, sender))
		loop_poke(&sender->loop, &asker->caller.source);
}

/* In the next pass, so that those that become due together leave together. */
static void asker_ask(struct caller *caller, struct sender *sender)
{
	if (asker_of(caller)->phase == ASKER_OPEN)
		loop_poke(&sender->loop, &caller->source);
}

/* ---- answers ---- */

/* Each ICMP is one error; what came before and behind it can still be read. */
static void receive_failed(struct asker *asker, struct sender *sender, int error)
{
	if (error == -EINTR)
		return;
	if (error != -EAGAIN)
		call_failed(sender, "recvmmsg", error);
	if (error != -ECONNREFUSED)
		asker->caller.source.ready &= (uint8_t)~SOURCE_IN;
}

static void asker_receive(struct asker *asker, struct sender *sender)
{
	for (int i = 0; i < TURN_READS; i++) {
		const unsigned char *bytes;
		uint64_t now_ns;
		bool drained;
		size_t n;
		int error = batch_receive(sender->batch, asker->caller.source.fd, &drained);

		if (error) {
			receive_failed(asker, sender, error);
			if (error == -EAGAIN)
				return;
			continue;
		}
		now_ns = clock_ns();
		while (batch_next(sender->batch, &bytes, &n))
			asker_answer(asker, sender, bytes, n, now_ns);
		if (drained) {
			asker->caller.source.ready &= (uint8_t)~SOURCE_IN;
			return;
		}
	}
}

/* A deadline has passed, which may be an older one: those that waited too long are lost. */
static void asker_due(struct asker *asker, struct sender *sender)
{
	uint64_t now_ns = clock_ns(), timeout_ns = sender->plan->timeout_us * 1000;
	struct place *place;

	while ((place = asker_oldest(asker)) && now_ns - place->flight.sent_ns >= timeout_ns)
		asker_lose(asker, sender, place, now_ns);
	if (place)
		loop_deadline(
		    &sender->loop, &asker->caller.source,
		    sender->loop.now_ms + 1 +
			(uint32_t)((place->flight.sent_ns + timeout_ns - now_ns) / 1000000));
}

/* ---- the end ---- */

static void asker_end(struct caller *caller, struct sender *sender)
{
	struct asker *asker = asker_of(caller);
	uint32_t now_ms = sender->loop.now_ms;

	if (asker->under_way)
		return;
	if (asker->phase == ASKER_OPEN && sender->plan->dialect->kind == DIALECT_ANSWERS) {
		asker->phase = ASKER_ENDING;
		asker->end_ms = now_ms + LINGER_MS;
	}
	if (asker->phase == ASKER_ENDING && !time_reached(now_ms, asker->end_ms))
		loop_deadline(&sender->loop, &caller->source, asker->end_ms);
	else
		asker_close(asker, sender);
}

static void asker_give_up(struct caller *caller, struct sender *sender)
{
	struct asker *asker = asker_of(caller);
	struct place *place;

	if (caller->source.fd >= 0)
		asker_receive(asker, sender);
	while ((place = asker_oldest(asker)))
		asker_lose(asker, sender, place, clock_ns());
	asker_close(asker, sender);
}

/* ---- turns ---- */

static void asker_turn(struct loop *loop, struct source *source)
{
	struct asker *asker = CONTAINER_OF(source, struct asker, caller.source);
	struct sender *sender = CONTAINER_OF(loop, struct sender, loop);
	bool due = source->ready & SOURCE_DUE;

	if (source->ready & SOURCE_BROKEN || due) /* what lies there unread is not lost */
		source->ready |= SOURCE_IN;
	source->ready &= (uint8_t) ~(SOURCE_DUE | SOURCE_POKED | SOURCE_BROKEN);
	if (source->fd < 0)
		return;
	if (source->ready & SOURCE_IN)
		asker_receive(asker, sender);
	if (due && source->ready & SOURCE_IN) /* there is more to read first */
		source->ready |= SOURCE_DUE;
	else if (due)
		asker_due(asker, sender);
	if (asker->blocked && source->ready & SOURCE_OUT) {
		watch_room(asker, sender, false);
		asker->caller.free_ns = clock_ns();
	}
	asker_pump(asker, sender);
	if (sender->phase == SENDER_END)
		asker_end(&asker->caller, sender);
	loop_settle(loop, source);
}

const struct caller_kind asker_kind = {.bytes = asker_bytes,
				       .init = asker_init,
				       .open = asker_open,
				       .is_open = asker_is_open,
				       .ask = asker_ask,
				       .end = asker_end,
				       .give_up = asker_give_up};
