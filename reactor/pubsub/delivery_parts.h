/*
 * delivery_parts: what the files of delivery share, and nobody else may use.
 *
 *     delivery_say.c  what members publish
 *     delivery.c      what comes to them; the source's turn
 */
#ifndef REACTOR_PUBSUB_DELIVERY_PARTS_H
#define REACTOR_PUBSUB_DELIVERY_PARTS_H

#include "reactor/pubsub/delivery.h"

#define LOOK_FOR_ROOM_MS 5

/* delivery_say.c: if readers have come on, those that wait may go on; else it looks again later. */
void delivery_look_for_room(struct delivery *delivery);

#endif
