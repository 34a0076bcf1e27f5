#include "worker/identity.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "reactor/sys.h"
#include "worker/config.h"

static const char *find_group(struct identity *identity, const char *name)
{
	const struct group *group = getgrnam(name);
	uint64_t number;

	if (group)
		identity->gid = group->gr_gid;
	else if (number_parse(name, &number) && number <= UINT32_MAX - 1)
		identity->gid = (gid_t)number;
	else
		return "no such group";
	return NULL;
}

const char *identity_find(struct identity *identity, const char *text)
{
	int groups = IDENTITY_GROUPS_MAX;
	const char *colon = strchr(text, ':');
	const struct passwd *user;
	uint64_t number;
	char name[64];

	*identity = (struct identity){0};
	if ((size_t)snprintf(name, sizeof name, "%.*s", (int)strcspn(text, ":"), text) >=
	    sizeof name)
		return "no such user";
	user = getpwnam(name);
	if (user) {
		identity->uid = user->pw_uid;
		identity->gid = user->pw_gid;
	} else if (number_parse(name, &number) && number <= UINT32_MAX - 1 && colon) {
		identity->uid = (uid_t)number;
	} else {
		return "no such user (a number needs its group: UID:GID)";
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
