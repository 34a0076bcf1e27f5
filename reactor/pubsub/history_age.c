#include "reactor/pubsub/history_age.h"

#define LATE_PARTS  64
#define LATE_MS_MAX 1000

/* For how long nothing will be too old, at most the age, whatever the record says of its time. */
static uint32_t wait_ms(const struct history_age *age, uint64_t now_ms)
{
	uint32_t late_ms = age->age_ms / LATE_PARTS;
	struct journal_entry oldest;
	uint64_t old_ms = 0;

	if (journal_find(age->journal, journal_floor(age->journal), &oldest) == JOURNAL_FOUND &&
	    oldest.said_us / 1000 < now_ms)
		old_ms = now_ms - oldest.said_us / 1000;
	if (late_ms > LATE_MS_MAX)
		late_ms = LATE_MS_MAX;
	return (old_ms < age->age_ms ? age->age_ms - (uint32_t)old_ms : 0) + late_ms + 1;
}

/* The end is read after the floor was raised, and whoever publishes looks at the floor after that:
 * with a fence on both sides at least one of us sees what the other one did. */
static void look(struct history_age *age)
{
	const struct journal *journal = age->journal;
	uint64_t now_ms = age->loop->now_us / 1000;

	loop_no_deadline(age->loop, &age->timer);
	if (!age->age_ms)
		return;
	if (now_ms >= age->age_ms)
		journal_forget(journal, (now_ms - age->age_ms) * 1000 + 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (journal_floor(journal) < journal_end(journal))
		loop_deadline(age->loop, &age->timer, age->loop->now_ms + wait_ms(age, now_ms));
}

static void timer_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	source->ready = 0;
	look(CONTAINER_OF(source, struct history_age, timer));
}

void history_age_open(struct history_age *age, struct loop *loop, const struct journal *journal)
{
	*age = (struct history_age){.loop = loop, .journal = journal};
	source_init(&age->timer, -1, timer_turn);
}

void history_age_look(struct history_age *age, uint32_t age_ms)
{
	age->age_ms = age_ms;
	look(age);
}

void history_age_close(struct history_age *age)
{
	loop_no_deadline(age->loop, &age->timer);
}

bool history_age_begins(const struct journal *journal, uint64_t id)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return journal_floor(journal) >= id;
}
