#include "reactor/loop/resolver.h"

#include <stdio.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

struct resolved {
	size_t n;
	struct address list[RESOLVER_ADDRESSES_MAX];
	char why[128];
};

static void resolve(struct resolver *resolver, struct resolved *resolved)
{
	const char *why = "";

	resolved->n = address_list(resolved->list, RESOLVER_ADDRESSES_MAX, resolver->text, &why);
	(void)snprintf(resolved->why, sizeof resolved->why, "%s", why);
}

static void tell(struct resolver *resolver, const struct resolved *resolved)
{
	bool good = resolved->n != 0;

	CHECK(resolved->n <= RESOLVER_ADDRESSES_MAX);
	resolver->ended(resolver, good ? resolved->list : NULL, resolved->n,
			good ? NULL : resolved->why);
}

/* ---- in a child ---- */

static struct resolver *resolver_of(struct offload *offload)
{
	return CONTAINER_OF(offload, struct resolver, offload);
}

static void job(struct offload *offload, void *found)
{
	(void)sys_prctl(PR_SET_NAME, (unsigned long)"weir-lookup");
	resolve(resolver_of(offload), found);
}

static void job_ended(struct offload *offload, const void *found, const char *why)
{
	struct resolver *resolver = resolver_of(offload);

	if (found)
		tell(resolver, found);
	else
		resolver->ended(resolver, NULL, 0, why);
}

/* ---- at once ---- */

static void at_once_turn(struct loop *loop, struct source *source)
{
	struct resolver *resolver = CONTAINER_OF(source, struct resolver, at_once);
	struct resolved resolved = {0};
	bool waited_for = source->want;

	(void)loop;
	source->ready = source->want = 0;
	if (!waited_for)
		return;
	resolve(resolver, &resolved);
	tell(resolver, &resolved);
}

void resolver_init(struct resolver *resolver, struct loop *loop)
{
	*resolver = (struct resolver){0};
	offload_init(&resolver->offload, loop);
	source_init(&resolver->at_once, -1, at_once_turn);
}

int resolver_begin(struct resolver *resolver, const char *text, uint32_t ms,
		   void (*ended)(struct resolver *resolver, const struct address *list, size_t n,
				 const char *why))
{
	size_t n = strlen(text);

	if (resolver_is_busy(resolver))
		return -EBUSY;
	if (n >= sizeof resolver->text)
		return -ENAMETOOLONG;
	memcpy(resolver->text, text, n + 1);
	resolver->ended = ended;
	if (address_has_name(text))
		return offload_begin(&resolver->offload, sizeof(struct resolved), ms, job,
				     job_ended);
	resolver->at_once.want = SOURCE_WOKEN;
	loop_wake(resolver->offload.loop, &resolver->at_once);
	return 0;
}

bool resolver_is_busy(const struct resolver *resolver)
{
	return offload_is_busy(&resolver->offload) || resolver->at_once.want;
}

void resolver_cancel(struct resolver *resolver)
{
	offload_cancel(&resolver->offload);
	resolver->at_once.want = 0;
}
