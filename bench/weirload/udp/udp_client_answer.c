/*
 * What becomes of a datagram that came: the answer to a question under way, one more to a
 * question that was answered or given up, or wrong; and of a question whose answer did not come.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bench/weirload/udp/udp_client_parts.h"

/* ---- places ---- */

void querier_release(struct querier *querier, const struct sender *sender, struct place *place,
		     uint64_t now_ns)
{
	if (querier->under_way-- == sender->plan->pipeline) /* with room for more there was room */
		querier->caller.free_ns = now_ns;
	if (place->before == PLACE_NONE)
		querier->oldest = place->behind;
	else
		querier->places[place->before].behind = place->behind;
	if (place->behind == PLACE_NONE)
		querier->newest = place->before;
	else
		querier->places[place->behind].before = place->before;
	place->under_way = false;
	place->turn = (place->turn + 1) % querier_turns(sender);
	place->behind = querier->free;
	querier->free = (uint32_t)(place - querier->places);
}

void querier_lose(struct querier *querier, struct sender *sender, struct place *place,
		  uint64_t now_ns)
{
	QUERIER_COUNT(sender, lost, place->flight.sent_ns);
	memmove(place->lost + 1, place->lost, (PLACE_LOST - 1) * sizeof *place->lost);
	place->lost[0] = place->turn + 1;
	querier->unseen++;
	querier_release(querier, sender, place, now_ns);
}

/* Whether this turn was given up, and no answer to it has come since. */
static bool was_lost(struct place *place, uint64_t turn)
{
	for (int i = 0; i < PLACE_LOST; i++)
		if (place->lost[i] == turn + 1) {
			place->lost[i] = 0;
			return true;
		}
	return false;
}

/* ---- answers ---- */

static void wrong(struct sender *sender, enum tally_error kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void wrong(struct sender *sender, enum tally_error kind, const char *format, ...)
{
	char detail[TALLY_DETAIL_BYTES];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(detail, sizeof detail, format, arguments);
	va_end(arguments);
	sender_wrong(sender, kind, detail);
}

static void answered(struct querier *querier, struct sender *sender, struct place *place,
		     uint64_t now_ns)
{
	TALLY_ADD(sender->tally, messages, 1);
	sender_measure(sender, &place->flight, now_ns);
	if (place->order < querier->passed)
		QUERIER_COUNT(sender, reordered, place->flight.sent_ns);
	else
		querier->passed = place->order;
	querier_release(querier, sender, place, now_ns);
}

static void came_again(struct querier *querier, struct sender *sender, bool lost, uint64_t now_ns)
{
	if (lost) {
		QUERIER_COUNT(sender, late, now_ns);
		querier->unseen--;
	} else {
		QUERIER_COUNT(sender, doubled, now_ns);
	}
}

/* Whether all bytes are those of the answer to this question; if not, it is counted. */
static bool is_right(const struct querier *querier, struct sender *sender, uint64_t number,
		     const unsigned char *bytes, size_t n)
{
	const struct plan *plan = sender->plan;
	uint32_t right, part = n < sender->reply_bytes ? (uint32_t)n : sender->reply_bytes;

	right = dialect_match(plan->dialect, (uint32_t)plan->size, querier->key, number, 0, bytes,
			      part);
	if (right < part)
		wrong(
		    sender, TALLY_altered,
		    "socket %llu, question %llu: byte %u of %u of its answer was never sent (%02x)",
		    (unsigned long long)querier->key, (unsigned long long)number, right,
		    sender->reply_bytes, bytes[right]);
	else if (n != sender->reply_bytes)
		wrong(sender, TALLY_truncated,
		      "socket %llu, question %llu: its answer has %zu bytes instead of %u",
		      (unsigned long long)querier->key, (unsigned long long)number, n,
		      sender->reply_bytes);
	return right == part && n == sender->reply_bytes;
}

/* All are alike: taken in the order of the questions. */
static void answer_alike(struct querier *querier, struct sender *sender, const unsigned char *bytes,
			 size_t n, uint64_t now_ns)
{
	struct place *place = querier_oldest(querier);
	bool right = is_right(querier, sender, querier->passed, bytes, n);

	if (right && place)
		answered(querier, sender, place, now_ns);
	else if (right)
		came_again(querier, sender, querier->unseen != 0, now_ns);
	else if (place)
		querier_release(querier, sender, place, now_ns);
}

/* No word of it stands where words of an answer to this socket do. */
static void answer_strange(struct querier *querier, struct sender *sender,
			   const unsigned char *bytes, size_t n)
{
	const struct plan *plan = sender->plan;
	uint64_t key, position;

	if (pattern_locate(plan->dialect->received, sender_keys(sender), bytes, n, &key,
			   &position) &&
	    key != querier->key)
		wrong(sender, TALLY_foreign, "socket %llu: an answer of %zu bytes of socket %llu",
		      (unsigned long long)querier->key, n, (unsigned long long)key);
	else if (!querier->caller.begun)
		wrong(sender, TALLY_unexpected, "socket %llu: nothing was asked",
		      (unsigned long long)querier->key);
	else if (n != sender->reply_bytes)
		wrong(sender, TALLY_truncated, "socket %llu: an answer of %zu bytes instead of %u",
		      (unsigned long long)querier->key, n, sender->reply_bytes);
	else
		wrong(sender, TALLY_altered, "socket %llu: an answer that was never sent",
		      (unsigned long long)querier->key);
}

/* Words that a rule has bent are not recognised: all of an answer may be. */
static bool find_by_comparing(struct querier *querier, const struct sender *sender,
			      const unsigned char *bytes, size_t n, uint64_t *number)
{
	const struct plan *plan = sender->plan;
	struct place *place = querier_oldest(querier);

	while (place && n == sender->reply_bytes) {
		*number = querier_number(querier, sender, place);
		if (dialect_match(plan->dialect, (uint32_t)plan->size, querier->key, *number, 0,
				  bytes, (uint32_t)n) == n)
			return true;
		place = place->behind == PLACE_NONE ? NULL : &querier->places[place->behind];
	}
	return false;
}

void querier_answer(struct querier *querier, struct sender *sender, const unsigned char *bytes,
		    size_t n, uint64_t now_ns)
{
	const struct plan *plan = sender->plan;
	uint64_t number, turn, turns = querier_turns(sender);
	struct place *place;

	TALLY_ADD(sender->tally, received_bytes, n);
	if (plan->dialect->kind == DIALECT_LISTENS) {
		wrong(sender, TALLY_unexpected, "a datagram of a server that only listens");
		return;
	}
	if (plan->dialect->alike) {
		answer_alike(querier, sender, bytes, n, now_ns);
		return;
	}
	if (!dialect_number(plan->dialect, (uint32_t)plan->size, querier->key, bytes, n, &number) &&
	    !find_by_comparing(querier, sender, bytes, n, &number)) {
		answer_strange(querier, sender, bytes, n);
		return;
	}
	place = &querier->places[number % plan->pipeline];
	turn = number / plan->pipeline;
	if (place->under_way && place->turn == turn) {
		if (is_right(querier, sender, number, bytes, n))
			answered(querier, sender, place, now_ns);
		else
			querier_release(querier, sender, place, now_ns);
	} else if (turn >= turns || (place->turn + turns - turn) % turns - 1 >= turns / 2) {
		wrong(sender, TALLY_unexpected,
		      "socket %llu: an answer to question %llu, not asked",
		      (unsigned long long)querier->key, (unsigned long long)number);
	} else if (is_right(querier, sender, number, bytes, n)) {
		came_again(querier, sender, was_lost(place, turn), now_ns);
	}
}
