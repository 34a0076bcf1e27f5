/*
 * subscription_parts: what the files of subscriptions share, and nobody else may use.
 *
 *     subscription.c       one comes, says something, and goes
 *     catch_up.c           one that is behind, or slow
 *     subscription_move.c  some on their way to another process
 *
 * A file calls only those above it in this list.
 */
#ifndef REACTOR_PUBSUB_SUBSCRIPTION_PARTS_H
#define REACTOR_PUBSUB_SUBSCRIPTION_PARTS_H

#include "reactor/pubsub/subscription.h"

/* subscription.c */
/* One more of the connection's list, which begins nowhere yet. NULL: there are too many. */
struct subscription *subscription_new(struct subscriptions *subscriptions, struct conn *conn,
				      uint32_t *list, const char *name, size_t n,
				      const struct format *format);
void subscription_begin(struct subscriptions *subscriptions, struct subscription *subscription,
			struct since since);
struct sender *sender_new(struct subscriptions *subscriptions, struct subscription *subscription,
			  uint64_t number);
/* Its last record had this number. */
void subscription_number(struct subscription *subscription, uint64_t number);
/* Did it publish that itself? */
bool subscription_said(const struct subscription *subscription, const struct journal_entry *entry);

#endif
