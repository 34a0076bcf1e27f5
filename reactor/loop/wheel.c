#include "reactor/loop/wheel.h"

#include "reactor/base/check.h"

#define LEVEL_BITS 6

static uint64_t rotate_left(uint64_t bits, unsigned by)
{
	by &= 63;
	return by ? bits << by | bits >> (64 - by) : bits;
}

void wheel_init(struct wheel *wheel, uint32_t now_ms)
{
	for (int level = 0; level < WHEEL_LEVELS; level++) {
		wheel->occupied[level] = 0;
		for (int slot = 0; slot < WHEEL_SLOTS; slot++)
			list_init(&wheel->slots[level][slot]);
	}
	wheel->now_ms = now_ms;
}

void wheel_arm(struct wheel *wheel, struct deadline *deadline, uint32_t due_ms)
{
	uint32_t ahead = due_ms - wheel->now_ms;
	uint32_t at = due_ms;
	int level = 0;

	wheel_disarm(wheel, deadline);
	deadline->due_ms = due_ms;
	if ((int32_t)ahead <= 0) { /* passed: the very next slot */
		ahead = 1;
		at = wheel->now_ms + 1;
	}
	CHECK(ahead < WHEEL_MS_MAX);
	while (ahead >> (LEVEL_BITS * (level + 1)))
		level++;

	unsigned slot = (at >> (LEVEL_BITS * level)) % WHEEL_SLOTS;
	list_append(&wheel->slots[level][slot], &deadline->node);
	wheel->occupied[level] |= 1ULL << slot;
}

/* The bit of its slot stays set, even if that is empty now: one needless look at most. */
void wheel_disarm(struct wheel *wheel, struct deadline *deadline)
{
	(void)wheel;
	list_remove(&deadline->node);
}

/* The slots that time passed over on one level, as bits. */
static uint64_t slots_passed(uint32_t from, uint32_t to, unsigned shift)
{
	uint32_t first = from >> shift;
	uint32_t ticks = ((to >> shift) - first) & (UINT32_MAX >> shift);

	if (ticks >= WHEEL_SLOTS)
		return UINT64_MAX;
	return rotate_left((1ULL << ticks) - 1, first + 1);
}

void wheel_advance(struct wheel *wheel, uint32_t now_ms, struct list *due)
{
	struct list taken;

	if ((int32_t)(now_ms - wheel->now_ms) <= 0)
		return;
	list_init(&taken);
	for (int level = 0; level < WHEEL_LEVELS; level++) {
		unsigned shift = LEVEL_BITS * (unsigned)level;
		uint64_t passed = slots_passed(wheel->now_ms, now_ms, shift);
		uint64_t found = passed & wheel->occupied[level];

		if (!passed)
			break;
		wheel->occupied[level] &= ~found;
		for (; found; found &= found - 1)
			list_splice(&taken, &wheel->slots[level][__builtin_ctzll(found)]);
	}
	wheel->now_ms = now_ms;
	LIST_EACH_SAFE (&taken, node) {
		struct deadline *deadline = CONTAINER_OF(node, struct deadline, node);

		list_remove(node);
		if ((int32_t)(deadline->due_ms - now_ms) <= 0)
			list_append(due, node);
		else
			wheel_arm(wheel, deadline, deadline->due_ms);
	}
}

int wheel_wait_ms(const struct wheel *wheel)
{
	uint32_t soonest = WHEEL_MS_MAX;
	bool armed = false;

	for (int level = 0; level < WHEEL_LEVELS; level++) {
		unsigned shift = LEVEL_BITS * (unsigned)level;
		uint32_t tick = wheel->now_ms >> shift;

		if (!wheel->occupied[level])
			continue;
		/* Bit 0 of the rotated bitmap is the slot one tick ahead. */
		uint64_t ahead = rotate_left(wheel->occupied[level], 64 - ((tick + 1) & 63));
		uint32_t ticks = (uint32_t)__builtin_ctzll(ahead) + 1;
		uint32_t wait = ((tick + ticks) << shift) - wheel->now_ms;

		if (wait < soonest)
			soonest = wait;
		armed = true;
	}
	return armed ? (int)soonest : -1;
}
