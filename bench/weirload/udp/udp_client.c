#include "bench/weirload/udp/udp_client_parts.h"

#include <errno.h>
#include <string.h>

#include "bench/weirload/plan/dial.h"
#include "bench/weirload/report/reply_diagnosis.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define TURN_READS	4
#define RETRY_MS	1    /* where the device's queue is full */
#define RETRY_MS_FAILED 100  /* where a call failed that may go well later */
#define LINGER_MS	100  /* for answers that come twice */
#define DATAGRAM_BYTES	1024 /* what the kernel adds to one in its queue, about */
#define RECEIVE_BYTES	(100 * 1024)
#define RECEIVE_MAX	(1 << 30)

static struct querier *querier_of(struct caller *caller)
{
	return CONTAINER_OF(caller, struct querier, caller);
}

static void querier_turn(struct loop *loop, struct source *source);

static size_t querier_bytes(const struct plan *plan)
{
	return sizeof(struct querier) + plan->pipeline * sizeof(struct place);
}

static void querier_init(struct caller *caller, struct sender *sender)
{
	struct querier *querier = querier_of(caller);
	uint32_t places = (uint32_t)sender->plan->pipeline;

	source_init(&caller->source, -1, querier_turn);
	querier->oldest = querier->newest = PLACE_NONE;
	for (uint32_t i = 0; i < places; i++)
		querier->places[i].behind = i + 1 < places ? i + 1 : PLACE_NONE;
}

static bool querier_is_open(const struct caller *caller)
{
	return CONTAINER_OF(caller, const struct querier, caller)->phase == QUERIER_OPEN;
}

/* ---- the socket ---- */

/* Answers that weirload itself did not read in time are none that the server lost. */
static uint64_t dropped_here(int fd)
{
	uint32_t info[SYS_MEMINFO_FIGURES] = {0};
	socklen_t n = sizeof info;

	if (sys_getsockopt(fd, SOL_SOCKET, SYS_SO_MEMINFO, info, &n) < 0)
		return 0;
	return info[SYS_MEMINFO_DROPS];
}

static void querier_close(struct querier *querier, struct sender *sender)
{
	struct source *source = &querier->caller.source;

	if (querier->phase == QUERIER_GONE)
		return;
	if (source->fd >= 0) {
		TALLY_ADD(sender->tally, dropped, dropped_here(source->fd));
		(void)sys_close(source->fd);
		TALLY_ADD(sender->tally, open, -1);
	}
	source->fd = -1;
	source->ready = source->want = 0;
	loop_no_deadline(&sender->loop, source);
	querier->phase = QUERIER_GONE;
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

static int querier_connect(struct querier *querier, struct sender *sender, const char **call)
{
	struct source *source = &querier->caller.source;
	int bytes = receive_bytes(sender), error;
	uint64_t nth = sender_nth(sender);
	int fd = dial_socket(sender->plan, nth, bytes, call);

	if (fd < 0)
		return fd;
	if (bytes) /* above the limit: root may */
		(void)sys_setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	batch_prepare(sender->batch, fd);
	source->fd = fd;
	source->want = SOURCE_IN;
	*call = "connect";
	error = dial_connect(sender->plan, nth, fd);
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

static void querier_open(struct caller *caller, struct sender *sender)
{
	struct querier *querier = querier_of(caller);
	struct tally *tally = sender->tally;
	const char *call;
	int error;

	querier->key = sender_key(sender);
	error = querier_connect(querier, sender, &call);
	sender->opened++;
	if (error == -EADDRNOTAVAIL && strcmp(call, "bind") == 0) {
		sender_wrong(sender, TALLY_other,
			     "bind: a --source address is not of this machine");
	} else if (error) {
		call_failed(sender, call, error);
	} else {
		querier->phase = QUERIER_OPEN;
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
static void watch_room(struct querier *querier, struct sender *sender, bool blocked)
{
	struct source *source = &querier->caller.source;
	struct epoll_event event = {.events = EPOLLIN | EPOLLET | (blocked ? EPOLLOUT : 0),
				    .data.ptr = source};
	int error = sys_epoll_ctl(sender->loop.epfd, EPOLL_CTL_MOD, source->fd, &event);

	querier->blocked = blocked;
	source->ready &= (uint8_t)~SOURCE_OUT;
	source->want = blocked ? SOURCE_IN | SOURCE_OUT : SOURCE_IN;
	if (error)
		call_failed(sender, "epoll_ctl", error);
}

/* How many may be asked now, by one call. */
static uint32_t allowance(const struct querier *querier, const struct sender *sender)
{
	const struct caller *caller = &querier->caller;
	uint64_t n = sender->plan->pipeline - querier->under_way;

	if (querier->phase != QUERIER_OPEN || sender->phase != SENDER_RUN || querier->blocked)
		return 0;
	if (sender->plan->rate && caller->asked - caller->begun < n)
		n = caller->asked - caller->begun;
	return n < batch_room(sender->batch) ? (uint32_t)n : batch_room(sender->batch);
}

/* The question in the first free place has left. */
static void querier_begin(struct querier *querier, struct sender *sender, uint64_t now_ns)
{
	uint32_t i = querier->free;
	struct place *place = &querier->places[i];

	querier->free = place->behind;
	place->before = querier->newest;
	place->behind = PLACE_NONE;
	if (querier->newest == PLACE_NONE)
		querier->oldest = i;
	else
		querier->places[querier->newest].behind = i;
	querier->newest = i;
	place->under_way = true;
	place->order = querier->caller.begun;
	place->flight.sent_ns = now_ns;
	if (!querier->under_way++)
		loop_deadline(&sender->loop, &querier->caller.source,
			      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	sender_begin(sender, &querier->caller, &place->flight, 0);
	QUERIER_COUNT(sender, asked, now_ns);
	TALLY_ADD(sender->tally, sent_bytes, sender->message_bytes);
}

static void send_failed(struct querier *querier, struct sender *sender, int error)
{
	struct source *source = &querier->caller.source;

	if (error == -EAGAIN) {
		watch_room(querier, sender, true);
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
static void querier_pump(struct querier *querier, struct sender *sender)
{
	const struct plan *plan = sender->plan;
	uint32_t n = allowance(querier, sender), i = querier->free;
	uint64_t now_ns;
	int sent;

	if (!n)
		return;
	for (uint32_t k = 0; k < n; k++, i = querier->places[i].behind)
		dialect_fill(plan->dialect, (uint32_t)plan->size, querier->key,
			     querier_number(querier, sender, &querier->places[i]), 0,
			     batch_question(sender->batch, k), sender->message_bytes);
	now_ns = clock_ns();
	sent = batch_send(sender->batch, querier->caller.source.fd, n);
	if (sent < 0) {
		send_failed(querier, sender, sent);
		return;
	}
	for (int k = 0; k < sent; k++)
		querier_begin(querier, sender, now_ns);
	while (plan->dialect->kind == DIALECT_LISTENS && querier->under_way) {
		TALLY_ADD(sender->tally, messages, 1);
		querier_release(querier, sender, querier_oldest(querier), now_ns);
	}
	if (allowance(querier, sender))
		loop_poke(&sender->loop, &querier->caller.source);
}

/* In the next pass, so that those that become due together leave together. */
static void querier_ask(struct caller *caller, struct sender *sender)
{
	if (querier_of(caller)->phase == QUERIER_OPEN)
		loop_poke(&sender->loop, &caller->source);
}

/* ---- answers ---- */

/* Each ICMP is one error; what came before and behind it can still be read. */
static void receive_failed(struct querier *querier, struct sender *sender, int error)
{
	if (error == -EINTR)
		return;
	if (error != -EAGAIN)
		call_failed(sender, "recvmmsg", error);
	if (error != -ECONNREFUSED)
		querier->caller.source.ready &= (uint8_t)~SOURCE_IN;
}

static void querier_receive(struct querier *querier, struct sender *sender)
{
	for (int i = 0; i < TURN_READS; i++) {
		const unsigned char *bytes;
		uint64_t now_ns;
		bool drained;
		size_t n;
		int error = batch_receive(sender->batch, querier->caller.source.fd, &drained);

		if (error) {
			receive_failed(querier, sender, error);
			if (error == -EAGAIN)
				return;
			continue;
		}
		now_ns = clock_ns();
		while (batch_next(sender->batch, &bytes, &n))
			querier_answer(querier, sender, bytes, n, now_ns);
		if (drained) {
			querier->caller.source.ready &= (uint8_t)~SOURCE_IN;
			return;
		}
	}
}

/* A deadline has passed, which may be an older one: those that waited too long are lost. */
static void querier_due(struct querier *querier, struct sender *sender)
{
	uint64_t now_ns = clock_ns(), timeout_ns = sender->plan->timeout_us * 1000;
	struct place *place;

	while ((place = querier_oldest(querier)) && now_ns - place->flight.sent_ns >= timeout_ns)
		querier_lose(querier, sender, place, now_ns);
	if (place)
		loop_deadline(
		    &sender->loop, &querier->caller.source,
		    sender->loop.now_ms + 1 +
			(uint32_t)((place->flight.sent_ns + timeout_ns - now_ns) / 1000000));
}

/* ---- the end ---- */

static void querier_end(struct caller *caller, struct sender *sender)
{
	struct querier *querier = querier_of(caller);
	uint32_t now_ms = sender->loop.now_ms;

	if (querier->under_way)
		return;
	if (querier->phase == QUERIER_OPEN && sender->plan->dialect->kind == DIALECT_ANSWERS) {
		querier->phase = QUERIER_ENDING;
		querier->end_ms = now_ms + LINGER_MS;
	}
	if (querier->phase == QUERIER_ENDING && !time_reached(now_ms, querier->end_ms))
		loop_deadline(&sender->loop, &caller->source, querier->end_ms);
	else
		querier_close(querier, sender);
}

static void querier_give_up(struct caller *caller, struct sender *sender)
{
	struct querier *querier = querier_of(caller);
	struct place *place;

	if (caller->source.fd >= 0)
		querier_receive(querier, sender);
	while ((place = querier_oldest(querier)))
		querier_lose(querier, sender, place, clock_ns());
	querier_close(querier, sender);
}

/* ---- turns ---- */

static void querier_turn(struct loop *loop, struct source *source)
{
	struct querier *querier = CONTAINER_OF(source, struct querier, caller.source);
	struct sender *sender = CONTAINER_OF(loop, struct sender, loop);
	bool due = source->ready & SOURCE_DUE;

	if (source->ready & SOURCE_BROKEN || due) /* what lies there unread is not lost */
		source->ready |= SOURCE_IN;
	source->ready &= (uint8_t) ~(SOURCE_DUE | SOURCE_POKED | SOURCE_BROKEN);
	if (source->fd < 0)
		return;
	if (source->ready & SOURCE_IN)
		querier_receive(querier, sender);
	if (due && source->ready & SOURCE_IN) /* there is more to read first */
		source->ready |= SOURCE_DUE;
	else if (due)
		querier_due(querier, sender);
	if (querier->blocked && source->ready & SOURCE_OUT) {
		watch_room(querier, sender, false);
		querier->caller.free_ns = clock_ns();
	}
	querier_pump(querier, sender);
	if (sender->phase == SENDER_END)
		querier_end(&querier->caller, sender);
	loop_settle(loop, source);
}

const struct caller_kind querier_kind = {.bytes = querier_bytes,
					 .init = querier_init,
					 .open = querier_open,
					 .is_open = querier_is_open,
					 .ask = querier_ask,
					 .end = querier_end,
					 .give_up = querier_give_up};
