/*
 * A list of subscriptions as plain bytes: of each one its topic, its position, the number of the
 * last record that it had, and that of its sender. What another process says is checked.
 */
#include "reactor/pubsub/subscription_parts.h"

#include <string.h>

struct packed_subscription {
	uint64_t position, sender; /* sender: 0: it has not said anything */
	uint32_t number;
	uint8_t numbered, unused[2], name_n; /* the name follows */
};

_Static_assert(sizeof(struct packed_subscription) == 24, "no padding travels");

/* One that is up to date may have got its last record long ago: what was there since was not of its
 * topic, as far as this process has read it, and has not let it go unheard. */
static uint64_t position_now(const struct subscriptions *subscriptions,
			     const struct subscription *subscription)
{
	const struct topic *topic = subscription->topic;
	uint64_t at = topic_reached(subscriptions, topic);

	if (subscription->behind || subscription->position <= topic->gone ||
	    subscription->position < subscriptions->topics->whole_from)
		return subscription->position;
	if (topic->batch && subscription->position <= topic->batch_last)
		at = topic->batch_first;
	return at > subscription->position ? at : subscription->position;
}

size_t subscriptions_bytes(const struct subscriptions *subscriptions, uint32_t list)
{
	size_t n = 0;

	for (; list; list = subscription_of(subscriptions, list)->of_conn)
		n += sizeof(struct packed_subscription) +
		     subscription_of(subscriptions, list)->topic->name_n;
	return n;
}

void subscriptions_describe(const struct subscriptions *subscriptions, uint32_t list,
			    unsigned char *bytes)
{
	while (list) {
		const struct subscription *subscription = subscription_of(subscriptions, list);
		const struct topic *topic = subscription->topic;
		struct packed_subscription packed = {
		    .position = position_now(subscriptions, subscription),
		    .sender = subscription->sender ? subscription->sender->node.hash : 0,
		    .number = subscription->number,
		    .numbered = subscription->numbered,
		    .name_n = topic->name_n};

		memcpy(bytes, &packed, sizeof packed);
		memcpy(bytes + sizeof packed, topic->name, topic->name_n);
		bytes += sizeof packed + topic->name_n;
		list = subscription->of_conn;
	}
}

/* The next one of n bytes; returns how many it takes, or 0. */
static size_t unpack(const unsigned char *bytes, size_t n, struct packed_subscription *packed)
{
	if (n < sizeof *packed)
		return 0;
	memcpy(packed, bytes, sizeof *packed);
	if (!packed->name_n || packed->name_n > JOURNAL_TOPIC_MAX ||
	    n - sizeof *packed < packed->name_n)
		return 0;
	return sizeof *packed + packed->name_n;
}

bool subscriptions_are_valid(const unsigned char *bytes, size_t n)
{
	struct packed_subscription packed;
	size_t used;

	for (; n; bytes += used, n -= used)
		if (!(used = unpack(bytes, n, &packed)))
			return false;
	return true;
}

bool subscriptions_restore(struct subscriptions *subscriptions, struct conn *conn, uint32_t *list,
			   const unsigned char *bytes, size_t n, const struct format *format)
{
	struct packed_subscription packed;
	size_t used;

	for (; n && (used = unpack(bytes, n, &packed)); bytes += used, n -= used) {
		struct subscription *subscription =
		    subscription_new(subscriptions, conn, list, (const char *)bytes + sizeof packed,
				     packed.name_n, format);

		if (!subscription)
			return false;
		subscription_begin(subscriptions, subscription,
				   (struct since){SINCE_ID, packed.position, 0});
		if (packed.numbered) {
			subscription->number = packed.number;
			subscription->numbered = true;
		}
		/* A number that is somebody else's here is not taken from it. */
		if (packed.sender && !sender_find(subscriptions, packed.sender))
			(void)sender_new(subscriptions, subscription, packed.sender);
	}
	return !n;
}
