#include "worker/identity.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "reactor/base/sys.h"
#include "worker/config/value.h"

static bool failed_for_now;

bool identity_failed_for_now(void)
{
	return failed_for_now;
}

/* By these values of errno a lookup says that it found nothing because it could not look
 * everywhere; any other value means that there is no such entry (getpwnam(3), ERRORS). */
static const char *not_found(const char *why)
{
	failed_for_now = errno == EAGAIN || errno == EIO || errno == EMFILE || errno == ENFILE ||
			 errno == ENOMEM || errno == EINTR;
	return failed_for_now ? strerror(errno) : why;
}

static const char *find_group(struct identity *identity, const char *name)
{
	const struct group *group;
	uint64_t number;

	errno = 0;
	group = getgrnam(name);
	if (group)
		identity->gid = group->gr_gid;
	else if (number_parse(name, &number) && number <= UINT32_MAX - 1)
		identity->gid = (gid_t)number;
	else
		return not_found("no such group");
	return NULL;
}

const char *identity_find(struct identity *identity, const char *text)
{
	int groups = IDENTITY_GROUPS_MAX;
	const char *colon = strchr(text, ':');
	const struct passwd *user;
	uint64_t number;
	char name[64];

	failed_for_now = false;
	*identity = (struct identity){0};
	if ((size_t)snprintf(name, sizeof name, "%.*s", (int)strcspn(text, ":"), text) >=
	    sizeof name)
		return "no such user";
	errno = 0;
	user = getpwnam(name);
	if (user) {
		identity->uid = user->pw_uid;
		identity->gid = user->pw_gid;
	} else if (number_parse(name, &number) && number <= UINT32_MAX - 1 && colon) {
		identity->uid = (uid_t)number;
	} else {
		return not_found("no such user (a number needs its group: UID:GID)");
	}
	if (colon) {
		const char *error = find_group(identity, colon + 1);

		if (error)
			return error;
	}
	identity->groups[0] = identity->gid;
	identity->groups_n = 1;
	if (user && getgrouplist(user->pw_name, identity->gid, identity->groups, &groups) > 0)
		identity->groups_n = (size_t)groups;
	return NULL;
}

bool identity_may_be_taken(const struct identity *identity)
{
	return geteuid() == 0 || geteuid() == identity->uid;
}

int identity_take(const struct identity *identity)
{
	int error = sys_setgroups(identity->groups_n, identity->groups);

	if (!error)
		error = sys_setresgid(identity->gid, identity->gid, identity->gid);
	if (!error)
		error = sys_setresuid(identity->uid, identity->uid, identity->uid);
	/* A change of user ends core dumps (prctl(2), PR_SET_DUMPABLE); we want ours. */
	if (!error)
		(void)sys_prctl(PR_SET_DUMPABLE, 1);
	return error;
}
