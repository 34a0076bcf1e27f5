#include "bench/weirload/chat/chat_client_parts.h"

#include <string.h>

#include "bench/weirload/plan/dial.h"
#include "bench/weirload/report/reply_diagnosis.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define BACKLOG_RETRY_MS  5
#define SLOW_BUFFER_BYTES 1 /* the kernel makes it its least */
#define READ_BUFFER_BYTES (256 * 1024)

static void chatter_turn(struct loop *loop, struct source *source);

size_t chatter_kept_room(const struct chat_wire *wire)
{
	size_t line = wire->received_bytes + (wire->names ? CHAT_NAME_BYTES : 0);

	return wire->welcome && line < CHAT_WELCOME_BYTES ? CHAT_WELCOME_BYTES : line;
}

size_t chatter_bytes(const struct chat_wire *wire)
{
	size_t bytes = sizeof(struct chatter) + wire->sent_bytes + chatter_kept_room(wire);

	return (bytes + 63) & ~(size_t)63;
}

unsigned char *chatter_kept(struct chatter *chatter, const struct chat *chat)
{
	return chatter->bytes + chat->wire.sent_bytes;
}

void chatter_init(struct chatter *chatter, struct chat *chat, uint32_t local)
{
	const struct plan *plan = chat->plan;
	uint64_t readers = plan->connections - plan->slow;

	source_init(&chatter->source, -1, chatter_turn);
	chatter->local = local;
	chatter->sends = local < chat->senders_n;
	chatter->slow = local >= chat->readers_n;
	chatter->ledger.next = chat->next + (size_t)local * plan->senders;
	chatter->number = (uint32_t)(local * plan->processes + chat->number);
	if (chatter->slow)
		chatter->number =
		    (uint32_t)(readers + chatter->number - chat->readers_n * plan->processes);
}

/* ---- the end of a client ---- */

/* Gaps that are still open when it ends are not filled any more. */
static void count_gaps(struct chatter *chatter, struct chat *chat)
{
	struct chat_gap gap;

	while ((gap = chat_ledger_give_up(&chatter->ledger)).to)
		chatter_lost(chatter, chat, &gap);
}

static void chatter_leave(struct chatter *chatter, struct chat *chat, bool failed)
{
	if (chatter->source.fd >= 0)
		(void)sys_close(chatter->source.fd);
	chatter->source.fd = -1;
	chatter->source.ready = chatter->source.want = 0;
	loop_no_deadline(&chat->loop, &chatter->source);
	if (chatter->phase >= CHATTER_GREETING)
		TALLY_ADD(chat->tally, open, -1);
	chatter->phase = CHATTER_GONE;
	count_gaps(chatter, chat);
	if (!chatter->come)
		chat_come(chat);
	if (!chatter->settled)
		chat_settled(chat);
	chatter->come = chatter->settled = true;
	chat_left(chat, chatter, failed);
}

void chatter_fail(struct chatter *chatter, struct chat *chat, enum tally_error kind,
		  const char *detail)
{
	if (chatter->slow && chatter->settled && tally_errors[kind].blame == BLAME_SERVER)
		TALLY_ADD(chat->tally, slow_ended, 1); /* as a server should */
	else
		chat_wrong(chat, kind, 1, "client %u: %s", chatter->number, detail);
	chatter_leave(chatter, chat, true);
}

void chatter_fail_of(struct chatter *chatter, struct chat *chat, const char *call, ssize_t error)
{
	char detail[TALLY_DETAIL_BYTES];

	verdict_say_errno(detail, call, (int)-error);
	chatter_fail(chatter, chat, verdict_of_errno((int)-error), detail);
}

void chatter_ended(struct chatter *chatter, struct chat *chat)
{
	if (chatter->phase != CHATTER_ENDING) {
		chatter_fail(chatter, chat, TALLY_closed, "the server ended its connection");
		return;
	}
	if (chatter->kept_n)
		chat_wrong(chat, TALLY_altered, 1,
			   "client %u: %u bytes behind the last line are none", chatter->number,
			   chatter->kept_n);
	chatter_leave(chatter, chat, false);
}

/* ---- coming up ---- */

void chatter_welcomed(struct chatter *chatter, struct chat *chat)
{
	chatter->phase = CHATTER_OPEN;
	chatter->come = true;
	loop_no_deadline(&chat->loop, &chatter->source);
	chat_come(chat);
}

static void chatter_connected(struct chatter *chatter, struct chat *chat)
{
	const char *hello = chat->wire.hello;
	uint64_t now_ns = clock_ns();
	struct tally *tally = chat->tally;

	chatter->free_ns = now_ns;
	chatter->source.ready |= SOURCE_OUT;
	chatter->source.want = SOURCE_IN;
	histogram_add(&tally->connect, now_ns - chatter->opened_ns);
	TALLY_ADD(tally, connects, 1);
	TALLY_ADD(tally, open, 1);
	if (tally->open > tally->open_max)
		tally->open_max = tally->open;
	chatter->phase = CHATTER_GREETING;
	if (!hello) {
		chatter_welcomed(chatter, chat);
		return;
	}
	chatter->unsent_n = (uint32_t)strlen(hello);
	memcpy(chatter->bytes, hello, chatter->unsent_n);
	chatter_pump(chatter, chat);
}

static void chatter_connect(struct chatter *chatter, struct chat *chat, uint64_t nth)
{
	int error = dial_connect(chat->plan, nth, chatter->source.fd);

	if (error == -EAGAIN) { /* a unix socket whose backlog is full */
		(void)sys_close(chatter->source.fd);
		chatter->source.fd = -1;
		if (clock_ns() - chatter->opened_ns >= chat->plan->timeout_us * 1000)
			chatter_fail(chatter, chat, TALLY_timeout, "connect: its backlog is full");
		else
			loop_deadline(&chat->loop, &chatter->source,
				      chat->loop.now_ms + BACKLOG_RETRY_MS);
		return;
	}
	if (error && error != -EINPROGRESS) {
		chatter_fail_of(chatter, chat, "connect", error);
		return;
	}
	chatter->phase = CHATTER_CONNECTING;
	error = loop_watch(&chat->loop, &chatter->source, CONN_EVENTS);
	if (!error && !dial_is_up(chatter->source.fd)) {
		chatter->source.want = SOURCE_OUT | SOURCE_IN;
		error = loop_watch_out(&chat->loop, &chatter->source);
	}
	if (error) {
		chatter_fail_of(chatter, chat, "epoll_ctl", error);
		return;
	}
	loop_deadline(&chat->loop, &chatter->source,
		      chat->loop.now_ms + plan_timeout_ms(chat->plan));
	if (!(chatter->source.want & SOURCE_OUT))
		chatter_connected(chatter, chat);
}

void chatter_open(struct chatter *chatter, struct chat *chat)
{
	const struct plan *plan = chat->plan;
	const char *call;
	uint64_t nth = chatter->local * plan->processes + chat->number;
	int fd = dial_socket(plan, nth, chatter->slow ? SLOW_BUFFER_BYTES : 0, &call);

	if (!chatter->opened_ns)
		chatter->opened_ns = clock_ns();
	chatter->source.ready = 0;
	chatter->source.fd = fd < 0 ? -1 : fd;
	if (fd == -EADDRNOTAVAIL)
		chatter_fail(chatter, chat, TALLY_other,
			     "bind: a --source address is not of this machine");
	else if (fd < 0)
		chatter_fail_of(chatter, chat, call, fd);
	else
		chatter_connect(chatter, chat, nth);
}

/* ---- sending ---- */

/* How many more lines may begin now. */
static uint64_t allowance(const struct chatter *chatter, const struct chat *chat)
{
	uint32_t witness, under_way;

	if (!chatter->sends || chatter->phase != CHATTER_OPEN || chat->phase != CHAT_RUN ||
	    chatter->begun >= CHAT_NUMBER_MAX)
		return 0;
	if (chat->plan->rate)
		return chatter->asked - chatter->begun;
	witness = chat->witnesses[chatter->number];
	if (witness == CHAT_NO_WITNESS)
		return 0;
	under_way = chatter->begun - chat_chatter(chat, witness)->ledger.next[chatter->number];
	return under_way < chat->plan->pipeline ? chat->plan->pipeline - under_way : 0;
}

static size_t line_compose(const struct chat *chat, unsigned char *bytes,
			   const struct chat_line *line)
{
	const struct chat_wire *wire = &chat->wire;
	unsigned char *at = bytes;

	memcpy(at, wire->sent_head.bytes, wire->sent_head.n);
	at += wire->sent_head.n;
	chat_line_write(at, wire->line_bytes, line);
	at += wire->line_bytes;
	memcpy(at, wire->tail.bytes, wire->tail.n);
	return wire->sent_bytes;
}

/* What is left of the last line, and what may be sent now. */
static size_t chatter_compose(const struct chatter *chatter, const struct chat *chat,
			      uint64_t now_ns)
{
	uint64_t lines = allowance(chatter, chat);
	size_t n = chatter->unsent_n;
	struct chat_line line = {
	    .sender = (chat->table->base + chatter->number) & CHAT_SENDER_MASK,
	    .number = chatter->begun,
	    .sent_ns = now_ns,
	    .due_ns = now_ns,
	};

	memcpy(chat->out, chatter->bytes, n);
	while (lines-- && n < CHAT_OUT_BYTES) {
		if (chat->plan->rate)
			line.due_ns = chat_due_ns(chat, chatter->local, line.number);
		n += line_compose(chat, chat->out + n, &line);
		line.number++;
	}
	return n;
}

static void chatter_begin(struct chatter *chatter, struct chat *chat, uint64_t now_ns)
{
	if (chat->plan->rate) {
		uint64_t due_ns = chat_due_ns(chat, chatter->local, chatter->begun);
		uint64_t could_ns = chatter->free_ns > due_ns ? chatter->free_ns : due_ns;

		if (due_ns >= chat->schedule->measure_ns)
			histogram_add(&chat->tally->slip,
				      now_ns > could_ns ? now_ns - could_ns : 0);
	}
	chatter->begun++;
	TALLY_ADD(chat->tally, lines, 1);
}

/* n bytes of what lies in chat->out have gone. The rest of a line that has begun is kept;
 * those that have not are made anew, with the time at which they leave. */
static void chatter_sent(struct chatter *chatter, struct chat *chat, size_t n, uint64_t now_ns)
{
	size_t line_bytes = chat->wire.sent_bytes, at = chatter->unsent_n;

	TALLY_ADD(chat->tally, sent_bytes, n);
	if (n < at) {
		chatter->unsent_n -= (uint32_t)n;
		memmove(chatter->bytes, chatter->bytes + n, chatter->unsent_n);
		return;
	}
	chatter->unsent_n = 0;
	for (; at < n; at += line_bytes)
		chatter_begin(chatter, chat, now_ns);
	if (at > n) {
		chatter->unsent_n = (uint32_t)(at - n);
		memcpy(chatter->bytes, chat->out + n, at - n);
	}
}

/* As of connection_cannot_write(): what was said before is read first, and so is how it ended. */
static void chatter_cannot_write(struct chatter *chatter, struct chat *chat, ssize_t error)
{
	if (error != -EPIPE && error != -ECONNRESET) {
		chatter_fail_of(chatter, chat, "write", error);
		return;
	}
	chatter->reset |= error == -ECONNRESET;
	chatter->source.ready &= (uint8_t)~SOURCE_OUT;
	chatter->source.ready |= SOURCE_IN | SOURCE_ENDED;
	loop_poke(&chat->loop, &chatter->source);
}

/* One write; where more could follow at once, in the next turn. */
void chatter_pump(struct chatter *chatter, struct chat *chat)
{
	struct source *source = &chatter->source;
	uint64_t now_ns;
	ssize_t written;
	size_t n;

	if (chatter->phase < CHATTER_GREETING || chatter->phase > CHATTER_OPEN ||
	    !(source->ready & SOURCE_OUT) || (!chatter->unsent_n && !allowance(chatter, chat)))
		return;
	now_ns = clock_ns();
	if (source->want & SOURCE_OUT) /* the kernel had no room until now */
		chatter->free_ns = now_ns;
	n = chatter_compose(chatter, chat, now_ns);
	do
		written = sys_write(source->fd, chat->out, n);
	while (written == -EINTR);
	if (written == -EAGAIN)
		written = 0;
	if (written < 0) {
		chatter_cannot_write(chatter, chat, written);
		return;
	}
	chatter_sent(chatter, chat, (size_t)written, now_ns);
	source->want &= (uint8_t)~SOURCE_OUT;
	if ((size_t)written < n) {
		int error = loop_watch_out(&chat->loop, source);

		source->ready &= (uint8_t)~SOURCE_OUT;
		source->want |= SOURCE_OUT;
		if (error)
			chatter_fail_of(chatter, chat, "epoll_ctl", error);
	} else if (allowance(chatter, chat)) {
		loop_poke(&chat->loop, source);
	}
}

void chatter_probe(struct chatter *chatter, struct chat *chat)
{
	uint64_t now_ns = clock_ns();
	struct chat_line line = {
	    .sender = (chat->table->base + CHAT_PROBER) & CHAT_SENDER_MASK,
	    .number = chatter->number,
	    .sent_ns = now_ns,
	    .due_ns = now_ns,
	};

	if (chatter->unsent_n) /* the one before has not even left */
		return;
	chatter->unsent_n = (uint32_t)line_compose(chat, chatter->bytes, &line);
	chatter_pump(chatter, chat);
}

/* ---- ending ---- */

/* Nothing is missing that can be known. Where a gap is open, a line may still come late. */
static bool chatter_has_all(struct chatter *chatter, const struct chat *chat)
{
	for (; chatter->lacks_from < chat->plan->senders; chatter->lacks_from++) {
		uint32_t sender = chatter->lacks_from;
		uint64_t sent = CHAT_TABLE_READ(chat->table->sent[sender]);

		if (sender == chatter->number && !chat->wire.own_lines)
			continue;
		if (sent == CHAT_SENT_OPEN)
			return false;
		if (sent != CHAT_SENT_UNKNOWN && chatter->ledger.next[sender] + 1ull < sent)
			return false;
	}
	return !chatter->ledger.gaps_n;
}

void chatter_look(struct chatter *chatter, struct chat *chat)
{
	if (chatter->phase != CHATTER_OPEN || chatter->unsent_n || !chatter_has_all(chatter, chat))
		return;
	if (chatter->slow) {
		chatter_leave(chatter, chat, false);
		return;
	}
	chatter->phase = CHATTER_ENDING;
	if (sys_shutdown(chatter->source.fd, SHUT_WR) < 0) { /* it was reset: read says so */
		chatter->source.ready |= SOURCE_IN;
		loop_settle(&chat->loop, &chatter->source);
	}
}

static void count_missing(struct chatter *chatter, struct chat *chat)
{
	for (uint32_t sender = chatter->lacks_from; sender < chat->plan->senders; sender++) {
		uint64_t sent = CHAT_TABLE_READ(chat->table->sent[sender]);
		struct chat_gap gap = {sender, chatter->ledger.next[sender], (uint32_t)(sent - 1)};

		if (sent == CHAT_SENT_OPEN || sent == CHAT_SENT_UNKNOWN || gap.from >= gap.to ||
		    (sender == chatter->number && !chat->wire.own_lines))
			continue;
		chatter_lost(chatter, chat, &gap);
	}
}

void chatter_give_up(struct chatter *chatter, struct chat *chat)
{
	if (chatter->slow) {
		chatter_leave(chatter, chat, false);
		return;
	}
	if (chatter->phase != CHATTER_OPEN) {
		chatter_fail(chatter, chat, TALLY_timeout,
			     chatter->phase == CHATTER_ENDING
				 ? "the server did not end a connection whose other side had ended"
				 : "it did not come up");
		return;
	}
	if (chatter->unsent_n)
		chat_wrong(chat, TALLY_timeout, 1,
			   "client %u: the server did not read all that it sent", chatter->number);
	count_missing(chatter, chat);
	chatter_leave(chatter, chat, false);
}

void chatter_wake(struct chatter *chatter, struct chat *chat)
{
	int room = READ_BUFFER_BYTES;

	if (chatter->phase != CHATTER_OPEN)
		return;
	(void)sys_setsockopt(chatter->source.fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	chatter->source.want |= SOURCE_IN;
	chatter->source.ready |= SOURCE_IN;
	loop_settle(&chat->loop, &chatter->source);
}

/* ---- turns ---- */

static void chatter_due(struct chatter *chatter, struct chat *chat)
{
	uint64_t limit_ns = chatter->opened_ns + chat->plan->timeout_us * 1000;
	uint64_t now_ns = clock_ns();

	if (chatter->phase != CHATTER_CONNECTING && chatter->phase != CHATTER_GREETING)
		return;
	if (now_ns < limit_ns)
		loop_deadline(&chat->loop, &chatter->source,
			      chat->loop.now_ms + 1 + (uint32_t)((limit_ns - now_ns) / 1000000));
	else
		chatter_fail(chatter, chat, TALLY_timeout,
			     chatter->phase == CHATTER_GREETING ? "the server did not subscribe it"
								: "its connect did not come up");
}

static void chatter_turn(struct loop *loop, struct source *source)
{
	struct chatter *chatter = CONTAINER_OF(source, struct chatter, source);
	struct chat *chat = CONTAINER_OF(loop, struct chat, loop);
	bool due = source->ready & SOURCE_DUE, broken = source->ready & SOURCE_BROKEN;

	source->ready &= (uint8_t) ~(SOURCE_DUE | SOURCE_POKED | SOURCE_BROKEN);
	if (chatter->phase == CHATTER_GONE)
		return;
	if (chatter->phase == CHATTER_ABSENT) { /* a unix socket that was busy */
		chatter_open(chatter, chat);
		return;
	}
	if (broken && !source->want) { /* a slow one does not even look why */
		chatter_fail(chatter, chat, TALLY_reset, "reset");
		return;
	}
	if (broken) /* a read will say what it is */
		source->ready |= SOURCE_IN | SOURCE_ENDED;
	if (chatter->phase == CHATTER_CONNECTING && dial_is_up(source->fd))
		chatter_connected(chatter, chat);
	if (source->ready & source->want & SOURCE_IN)
		chatter_read(chatter, chat);
	if (due)
		chatter_due(chatter, chat);
	chatter_pump(chatter, chat);
	if (chatter->phase != CHATTER_GONE)
		loop_settle(loop, source);
}
