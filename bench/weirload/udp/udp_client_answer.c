/*
 * Decides what an incoming datagram is: the answer to a message under way, another answer to one
 * that was answered or given up, or wrong. And what becomes of a message whose answer did not come.
 */
#include <string.h>

#include "bench/weirload/udp/udp_client_parts.h"

/* ---- places ---- */

void udp_client_release(struct udp_client *client, const struct sender *sender, struct place *place,
			uint64_t now_ns)
{
	if (client->under_way-- ==
	    sender->plan->pipeline) /* there was no room for one more until now */
		client->caller.free_ns = now_ns;
	if (place->before == PLACE_NONE)
		client->oldest = place->behind;
	else
		client->places[place->before].behind = place->behind;
	if (place->behind == PLACE_NONE)
		client->newest = place->before;
	else
		client->places[place->behind].before = place->before;
	place->under_way = false;
	place->turn = (place->turn + 1) % udp_client_turns(sender);
	place->behind = client->free;
	client->free = (uint32_t)(place - client->places);
}

void udp_client_lose(struct udp_client *client, struct sender *sender, struct place *place,
		     uint64_t now_ns)
{
	UDP_CLIENT_COUNT(sender, lost, place->flight.sent_ns);
	memmove(place->lost + 1, place->lost, (PLACE_LOST - 1) * sizeof *place->lost);
	place->lost[0] = place->turn + 1;
	client->unseen++;
	udp_client_release(client, sender, place, now_ns);
}

/* Whether the message of this turn was given up, and no answer to it has come since. */
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

static void answered(struct udp_client *client, struct sender *sender, struct place *place,
		     uint64_t now_ns)
{
	TALLY_ADD(sender->tally, messages, 1);
	sender_measure(sender, &place->flight, now_ns);
	if (place->order < client->passed)
		UDP_CLIENT_COUNT(sender, reordered, place->flight.sent_ns);
	else
		client->passed = place->order;
	udp_client_release(client, sender, place, now_ns);
}

static void came_again(struct udp_client *client, struct sender *sender, bool lost, uint64_t now_ns)
{
	if (lost) {
		UDP_CLIENT_COUNT(sender, late, now_ns);
		client->unseen--;
	} else {
		UDP_CLIENT_COUNT(sender, doubled, now_ns);
	}
}

/* Whether all bytes are those of the answer to this message; if not, an error is counted. */
static bool is_right(const struct udp_client *client, struct sender *sender, uint64_t number,
		     const unsigned char *bytes, size_t n)
{
	const struct plan *plan = sender->plan;
	uint32_t right, part = n < sender->reply_bytes ? (uint32_t)n : sender->reply_bytes;

	right = client_protocol_match(plan->protocol, (uint32_t)plan->size, client->key, number, 0,
				      bytes, part);
	if (right < part)
		sender_wrong(
		    sender, TALLY_altered, 1,
		    "socket %llu, question %llu: byte %u of %u of its answer was never sent (%02x)",
		    (unsigned long long)client->key, (unsigned long long)number, right,
		    sender->reply_bytes, bytes[right]);
	else if (n != sender->reply_bytes)
		sender_wrong(sender, TALLY_truncated, 1,
			     "socket %llu, question %llu: its answer has %zu bytes instead of %u",
			     (unsigned long long)client->key, (unsigned long long)number, n,
			     sender->reply_bytes);
	return right == part && n == sender->reply_bytes;
}

/* All answers are alike, so each is taken for the answer to the oldest message. */
static void answer_alike(struct udp_client *client, struct sender *sender,
			 const unsigned char *bytes, size_t n, uint64_t now_ns)
{
	struct place *place = udp_client_oldest(client);
	bool right = is_right(client, sender, client->passed, bytes, n);

	if (right && place)
		answered(client, sender, place, now_ns);
	else if (right)
		came_again(client, sender, client->unseen != 0, now_ns);
	else if (place)
		udp_client_release(client, sender, place, now_ns);
}

/* None of its words is in a place that it could have in an answer to this socket. */
static void answer_strange(struct udp_client *client, struct sender *sender,
			   const unsigned char *bytes, size_t n)
{
	const struct plan *plan = sender->plan;
	uint64_t key, position;

	if (pattern_locate(plan->protocol->received, sender_keys(sender), bytes, n, &key,
			   &position) &&
	    key != client->key)
		sender_wrong(sender, TALLY_foreign, 1,
			     "socket %llu: an answer of %zu bytes of socket %llu",
			     (unsigned long long)client->key, n, (unsigned long long)key);
	else if (!client->caller.begun)
		sender_wrong(sender, TALLY_unexpected, 1, "socket %llu: nothing was asked",
			     (unsigned long long)client->key);
	else if (n != sender->reply_bytes)
		sender_wrong(sender, TALLY_truncated, 1,
			     "socket %llu: an answer of %zu bytes instead of %u",
			     (unsigned long long)client->key, n, sender->reply_bytes);
	else
		sender_wrong(sender, TALLY_altered, 1, "socket %llu: an answer that was never sent",
			     (unsigned long long)client->key);
}

/* Words that a rule has changed are not recognised, and a rule may have changed all words of an
 * answer: so it is compared with what each message under way should get. */
static bool find_by_comparing(struct udp_client *client, const struct sender *sender,
			      const unsigned char *bytes, size_t n, uint64_t *number)
{
	const struct plan *plan = sender->plan;
	struct place *place = udp_client_oldest(client);

	while (place && n == sender->reply_bytes) {
		*number = udp_client_number(client, sender, place);
		if (client_protocol_match(plan->protocol, (uint32_t)plan->size, client->key,
					  *number, 0, bytes, (uint32_t)n) == n)
			return true;
		place = place->behind == PLACE_NONE ? NULL : &client->places[place->behind];
	}
	return false;
}

void udp_client_answer(struct udp_client *client, struct sender *sender, const unsigned char *bytes,
		       size_t n, uint64_t now_ns)
{
	const struct plan *plan = sender->plan;
	uint64_t number, turn, turns = udp_client_turns(sender);
	struct place *place;

	TALLY_ADD(sender->tally, received_bytes, n);
	if (plan->protocol->kind == CLIENT_PROTOCOL_LISTENS) {
		sender_wrong(sender, TALLY_unexpected, 1,
			     "a datagram of a server that only listens");
		return;
	}
	if (plan->protocol->alike) {
		answer_alike(client, sender, bytes, n, now_ns);
		return;
	}
	if (!client_protocol_number(plan->protocol, (uint32_t)plan->size, client->key, bytes, n,
				    &number) &&
	    !find_by_comparing(client, sender, bytes, n, &number)) {
		answer_strange(client, sender, bytes, n);
		return;
	}
	place = &client->places[number % plan->pipeline];
	turn = number / plan->pipeline;
	if (place->under_way && place->turn == turn) {
		if (is_right(client, sender, number, bytes, n))
			answered(client, sender, place, now_ns);
		else
			udp_client_release(client, sender, place, now_ns);
	} else if (turn >= turns || (place->turn + turns - turn) % turns - 1 >= turns / 2) {
		sender_wrong(sender, TALLY_unexpected, 1,
			     "socket %llu: an answer to question %llu, not asked",
			     (unsigned long long)client->key, (unsigned long long)number);
	} else if (is_right(client, sender, number, bytes, n)) {
		came_again(client, sender, was_lost(place, turn), now_ns);
	}
}
