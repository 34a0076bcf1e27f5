/*
 * state_words: the words by which weir says how it is, and how a worker is.
 *
 * They are what `weirctl status` and `workers` show, and the values of the label `state` in
 * metrics: users match them, so a word that stands here never changes.
 */
#ifndef MASTER_STATE_WORDS_H
#define MASTER_STATE_WORDS_H

#include "master/liveness.h"

/* All words that there are, NULL at the end: in metrics each has its series at any time. */
extern const char *const state_words_of_server[], *const state_words_of_workers[];

/* One of state_words_of_workers: how the slot's worker is. */
const char *state_words_of_slot(const struct slot *slot, struct liveness liveness);

#endif
