/*
 * wheel: deadlines in milliseconds, on a hierarchical timing wheel.
 *
 * Five levels of 64 slots; a slot of level L spans 64^L ms. Arming, disarming and moving a
 * deadline are a few instructions, and the next one is found from a bitmap for each level.
 * Time is a uint32_t that wraps: a deadline lies less than WHEEL_MS_MAX ahead.
 * After Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987).
 */
#ifndef REACTOR_LOOP_WHEEL_H
#define REACTOR_LOOP_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "reactor/base/list.h"

#define WHEEL_LEVELS 5
#define WHEEL_SLOTS  64
#define WHEEL_MS_MAX (1u << 30) /* 12 days */

struct deadline {
	struct list node;
	uint32_t due_ms;
};

struct wheel {
	struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
	uint64_t occupied[WHEEL_LEVELS];
	uint32_t now_ms;
};

void wheel_init(struct wheel *wheel, uint32_t now_ms);

static inline void deadline_init(struct deadline *deadline)
{
	list_init(&deadline->node);
}

static inline bool deadline_armed(const struct deadline *deadline)
{
	return list_linked(&deadline->node);
}

/* Arms, or moves, a deadline; one that has passed already fires at the next advance. */
void wheel_arm(struct wheel *wheel, struct deadline *deadline, uint32_t due_ms);
void wheel_disarm(struct wheel *wheel, struct deadline *deadline);

/* Moves time on, and moves every deadline that has passed from the wheel to the end of due. */
void wheel_advance(struct wheel *wheel, uint32_t now_ms, struct list *due);

/* Milliseconds until the wheel wants to be advanced (which may be before the next deadline,
 * to move some down a level); -1 if there is nothing armed. */
int wheel_wait_ms(const struct wheel *wheel);

#endif
