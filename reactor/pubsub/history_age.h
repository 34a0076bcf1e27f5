/*
 * history_age: lets what has been in the journal for too long go, on the loop of one process.
 *
 * One process of a machine is enough: the master, or the only one there is. It has a deadline only
 * while the journal holds records, so an idle server does not wake for it. Therefore a process that
 * has published into a journal which held nothing has to tell the one that looks
 * (history_age_begins). Records may stay a 64th of the age longer, at most a second, so that a
 * busy journal is not looked at for each record.
 *
 * Borrows loop and journal.
 */
#ifndef REACTOR_PUBSUB_HISTORY_AGE_H
#define REACTOR_PUBSUB_HISTORY_AGE_H

#include "reactor/loop/loop.h"
#include "reactor/pubsub/journal.h"

struct history_age {
	struct source timer;
	struct loop *loop;
	const struct journal *journal;
	uint32_t age_ms; /* 0: no limit */
};

void history_age_open(struct history_age *age, struct loop *loop, const struct journal *journal);
/* Lets go of what is older than this, now and from now on. 0: of nothing. */
void history_age_look(struct history_age *age, uint32_t age_ms);
void history_age_close(struct history_age *age);

/* After the record with this id was published, the first of several: may nobody look at the
 * journal, because it held nothing before? */
bool history_age_begins(const struct journal *journal, uint64_t id);

#endif
