/*
 * subscription_parts: what the files of subscriptions share, and nobody else may use.
 *
 *     subscription.c        they come and go, are fed, and may be slow
 *     subscription_carry.c  on their way to another process
 *
 * A file calls only those above it in this list.
 */
#ifndef REACTOR_PUBSUB_SUBSCRIPTION_PARTS_H
#define REACTOR_PUBSUB_SUBSCRIPTION_PARTS_H

#include "reactor/pubsub/subscription.h"

/* One more of the connection's list, which begins nowhere yet. NULL: there are too many. */
struct subscription *subscription_new(struct subscriptions *subscriptions, struct conn *conn,
				      uint32_t *list, const char *name, size_t n,
				      const struct format *format);
void subscription_begin(struct subscriptions *subscriptions, struct subscription *subscription,
			struct since since);
/* It says something under this number, which nobody here has. */
struct sender *sender_new(struct subscriptions *subscriptions, struct subscription *subscription,
			  uint64_t number);

/* The first id that may be one of its topic's, and is not in topic->end. */
static inline uint64_t topic_reached(const struct subscriptions *subscriptions,
				     const struct topic *topic)
{
	return topic->pending ? topic->pending : subscriptions->topics->at;
}

#endif
