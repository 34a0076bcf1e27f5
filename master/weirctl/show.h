/*
 * show: an answer on stdout, as tables for people or as one JSON document.
 *
 * What a server says is shown with its controls escaped: it may have come from a path that somebody
 * chose.
 */
#ifndef MASTER_WEIRCTL_SHOW_H
#define MASTER_WEIRCTL_SHOW_H

#include "master/weirctl/answer.h"

/* A note is shown as it comes. */
void show_note(const struct answer_record *note);
/* All but notes and the end: `server` as a list, a `process` as its pid, others as tables. */
void show_tables(const struct answer *answer);
/* list: the kind of records that is there as a list even if it is empty; NULL: none. why NULL:
 * done. */
void show_json(const struct answer *answer, const char *list, const char *why);

#endif
