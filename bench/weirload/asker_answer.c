/*
 * What becomes of a datagram that came: the answer to a question under way, one more to a
 * question that was answered or given up, or wrong; and of a question whose answer did not come.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bench/weirload/asker_parts.h"

/* ---- places ---- */

void asker_release(struct asker *asker, const struct sender *sender, struct place *place,
		   uint64_t now_ns)
{
	if (asker->under_way-- == sender->plan->pipeline) /* with room for more there was room */
		asker->caller.free_ns = now_ns;
	if (place->before == PLACE_NONE)
		asker->oldest = place->behind;
	else
		asker->places[place->before].behind = place->behind;
	if (place->behind == PLACE_NONE)
		asker->newest = place->before;
	else
		asker->places[place->behind].before = place->before;
	place->under_way = false;
	place->turn = (place->turn + 1) % asker_turns(sender);
	place->behind = asker->free;
	asker->free = (uint32_t)(place - asker->places);
}

void asker_lose(struct asker *asker, struct sender *sender, struct place *place, uint64_t now_ns)
{
	ASKER_COUNT(sender, lost, place->flight.sent_ns);
	memmove(place->lost + 1, place->lost, (PLACE_LOST - 1) * sizeof *place->lost);
	place->lost[0] = place->turn + 1;
	asker->unseen++;
	asker_release(asker, sender, place, now_ns);
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

static void answered(struct asker *asker, struct sender *sender, struct place *place,
		     uint64_t now_ns)
{
	TALLY_ADD(sender->tally, messages, 1);
	sender_measure(sender, &place->flight, now_ns);
	if (place->order < asker->passed)
		ASKER_COUNT(sender, reordered, place->flight.sent_ns);
	else
		asker->passed = place->order;
	asker_release(asker, sender, place, now_ns);
}

static void came_again(struct asker *asker, struct sender *sender, bool lost, uint64_t now_ns)
{
	if (lost) {
		ASKER_COUNT(sender, late, now_ns);
		asker->unseen--;
	} else {
		ASKER_COUNT(sender, doubled, now_ns);
	}
}

/* Whether all bytes are those of the answer to this question; if not, it is counted. */
static bool is_right(const struct asker *asker, struct sender *sender, uint64_t number,
		     const unsigned char *bytes, size_t n)
{
	const struct plan *plan = sender->plan;
	uint32_t right, part = n < sender->reply_bytes ? (uint32_t)n : sender->reply_bytes;

	right =
	    dialect_match(plan->dialect, (uint32_t)plan->size, asker->key, number, 0, bytes, part);
	if (right < part)
		wrong(
		    sender, TALLY_altered,
		    "socket %llu, question %llu: byte %u of %u of its answer was never sent (%02x)",
		    (unsigned long long)asker->key, (unsigned long long)number, right,
		    sender->reply_bytes, bytes[right]);
	else if (n != sender->reply_bytes)
		wrong(sender, TALLY_truncated,
		      "socket %llu, question %llu: its answer has %zu bytes instead of %u",
		      (unsigned long long)asker->key, (unsigned long long)number, n,
		      sender->reply_bytes);
	return right == part && n == sender->reply_bytes;
}

/* All are alike: taken in the order of the questions. */
static void answer_alike(struct asker *asker, struct sender *sender, const unsigned char *bytes,
			 size_t n, uint64_t now_ns)
{
	struct place *place = asker_oldest(asker);
	bool right = is_right(asker, sender, asker->passed, bytes, n);

	if (right && place)
		answered(asker, sender, place, now_ns);
	else if (right)
		came_again(asker, sender, asker->unseen != 0, now_ns);
	else if (place)
		asker_release(asker, sender, place, now_ns);
}

/* No word of it stands where words of an answer to this socket do. */
static void answer_strange(struct asker *asker, struct sender *sender, const unsigned char *bytes,
			   size_t n)
{
	const struct plan *plan = sender->plan;
	uint64_t key, position;

	if (pattern_locate(plan->dialect->received, sender_keys(sender), bytes, n, &key,
			   &position) &&
	    key != asker->key)
		wrong(sender, TALLY_foreign, "socket %llu: an answer of %zu bytes of socket %llu",
		      (unsigned long long)asker->key, n, (unsigned long long)key);
	else if (!asker->caller.begun)
		wrong(sender, TALLY_unexpected, "socket %llu: nothing was asked",
		      (unsigned long long)asker->key);
	else if (n != sender->reply_bytes)
		wrong(sender, TALLY_truncated, "socket %llu: an answer of %zu bytes instead of %u",
		      (unsigned long long)asker->key, n, sender->reply_bytes);
	else
		wrong(sender, TALLY_altered, "socket %llu: an answer that was never sent",
		      (unsigned long long)asker->key);
}

/* Words that a rule has bent are not recognised: all of an answer may be. */
static bool find_by_comparing(struct asker *asker, const struct sender *sender,
			      const unsigned char *bytes, size_t n, uint64_t *number)
{
	const struct plan *plan = sender->plan;
	struct place *place = asker_oldest(asker);

	while (place && n == sender->reply_bytes) {
		*number = asker_number(asker, sender, place);
		if (dialect_match(plan->dialect, (uint32_t)plan->size, asker->key, *number, 0,
				  bytes, (uint32_t)n) == n)
			return true;
		place = place->behind == PLACE_NONE ? NULL : &asker->places[place->behind];
	}
	return false;
}

void asker_answer(struct asker *asker, struct sender *sender, const unsigned char *bytes, size_t n,
		  uint64_t now_ns)
{
	const struct plan *plan = sender->plan;
	uint64_t number, turn, turns = asker_turns(sender);
	struct place *place;

	TALLY_ADD(sender->tally, received_bytes, n);
	if (plan->dialect->kind == DIALECT_LISTENS) {
		wrong(sender, TALLY_unexpected, "a datagram of a server that only listens");
		return;
	}
	if (plan->dialect->alike) {
		answer_alike(asker, sender, bytes, n, now_ns);
		return;
	}
	if (!dialect_number(plan->dialect, (uint32_t)plan->size, asker->key, bytes, n, &number) &&
	    !find_by_comparing(asker, sender, bytes, n, &number)) {
		answer_strange(asker, sender, bytes, n);
		return;
	}
	place = &asker->places[number % plan->pipeline];
	turn = number / plan->pipeline;
	if (place->under_way && place->turn == turn) {
		if (is_right(asker, sender, number, bytes, n))
			answered(asker, sender, place, now_ns);
		else
			asker_release(asker, sender, place, now_ns);
	} else if (turn >= turns || (place->turn + turns - turn) % turns - 1 >= turns / 2) {
		wrong(sender, TALLY_unexpected,
		      "socket %llu: an answer to question %llu, not asked",
		      (unsigned long long)asker->key, (unsigned long long)number);
	} else if (is_right(asker, sender, number, bytes, n)) {
		came_again(asker, sender, was_lost(place, turn), now_ns);
	}
}
