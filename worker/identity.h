/*
 * identity: the user that workers run as, looked up before the fork and taken after it.
 */
#ifndef WORKER_IDENTITY_H
#define WORKER_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define IDENTITY_GROUPS_MAX 64

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t groups[IDENTITY_GROUPS_MAX];
	size_t groups_n;
};

/* "USER[:GROUP]", by name or by number. NULL, or what is wrong (a static text). A name may be
 * looked up over a network, so nothing that runs a loop may call this. */
const char *identity_find(struct identity *identity, const char *text);
/* Did the last identity_find() fail for a reason that may pass? */
bool identity_failed_for_now(void);
/* May this process become it? */
bool identity_may_be_taken(const struct identity *identity);
/* 0 or -errno. There is no way back. */
int identity_take(const struct identity *identity);

#endif
