#include "master/offload.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/spawn.h"
#include "reactor/base/descriptor.h"
#include "reactor/base/list.h"
#include "reactor/base/log.h"
#include "worker/title.h"

static void forget(struct offload *offload)
{
	loop_no_deadline(offload->loop, &offload->timer);
	(void)munmap(offload->found, offload->found_bytes);
	offload->found = NULL;
}

/* What was found is there until ended() returns. */
static void tell(struct offload *offload, const char *why)
{
	loop_no_deadline(offload->loop, &offload->timer);
	offload->ended(why ? NULL : offload->found, why);
	forget(offload);
}

static void timer_turn(struct loop *loop, struct source *source)
{
	struct offload *offload = CONTAINER_OF(source, struct offload, timer);
	bool due = source->ready & SOURCE_DUE;

	(void)loop;
	source->ready = 0;
	if (!due || !offload->found)
		return;
	(void)kill(offload->pid, SIGKILL);
	tell(offload, "it took too long");
}

void offload_init(struct offload *offload, struct loop *loop)
{
	*offload = (struct offload){.loop = loop};
	source_init(&offload->timer, -1, timer_turn);
}

/* It closes what it inherited, so that nothing of the master's stays open because of it. */
static _Noreturn void become_child(void (*job)(void *found), void *found)
{
	int log = log_descriptor();

	title_set("weir-lookup", "weir: looks up names");
	descriptors_keep_only(&log, 1);
	job(found);
	_exit(0);
}

int offload_begin(struct offload *offload, size_t found_bytes, uint32_t ms,
		  void (*job)(void *found), void (*ended)(const void *found, const char *why))
{
	void *found;

	if (offload->pid)
		return -EBUSY;
	found = mmap(NULL, found_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (found == MAP_FAILED)
		return -errno;
	offload->pid = spawn_helper();
	if (offload->pid == 0)
		become_child(job, found);
	if (offload->pid < 0) {
		int error = -errno;

		offload->pid = 0;
		(void)munmap(found, found_bytes);
		return error;
	}
	offload->found = found;
	offload->found_bytes = found_bytes;
	offload->ended = ended;
	loop_deadline(offload->loop, &offload->timer, offload->loop->now_ms + ms);
	return 0;
}

bool offload_is_busy(const struct offload *offload)
{
	return offload->found != NULL;
}

void offload_cancel(struct offload *offload)
{
	if (!offload->found)
		return;
	(void)kill(offload->pid, SIGKILL);
	forget(offload);
}

bool offload_reaped(struct offload *offload, pid_t pid, int status)
{
	char why[64];

	if (!pid || pid != offload->pid)
		return false;
	offload->pid = 0;
	if (!offload->found)
		return true;
	if (WIFSIGNALED(status))
		(void)snprintf(why, sizeof why, "the process that did it died: signal %d (%s)",
			       WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		(void)snprintf(why, sizeof why, "the process that did it ended with status %d",
			       WEXITSTATUS(status));
	tell(offload, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : why);
	return true;
}
