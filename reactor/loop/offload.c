/*
 * Whether the job was done stands behind what it found, because a process that reaps all of its
 * children (the master) may have taken the child's status from us.
 */
#include "reactor/loop/offload.h"

#include <stdio.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/descriptor.h"
#include "reactor/base/helper.h"
#include "reactor/base/log.h"
#include "reactor/base/sys.h"

#define DONE_BYTES 1 /* behind what is found */

static bool *done_of(void *found, size_t found_bytes)
{
	return (bool *)found + found_bytes;
}

static void forget(struct offload *offload)
{
	loop_no_deadline(offload->loop, &offload->source);
	(void)sys_munmap(offload->found, offload->found_bytes + DONE_BYTES);
	offload->found = NULL;
}

/* Its owner may free it in ended(), if the child has been reaped. */
static void tell(struct offload *offload, const char *why)
{
	void *found = offload->found;
	size_t bytes = offload->found_bytes + DONE_BYTES;

	loop_no_deadline(offload->loop, &offload->source);
	offload->found = NULL;
	offload->ended(offload, why ? NULL : found, why);
	(void)sys_munmap(found, bytes);
}

/* ---- its end ---- */

static void tell_end(struct offload *offload, bool known, int status)
{
	char why[96] = "the process that did it died";

	if (*done_of(offload->found, offload->found_bytes)) {
		tell(offload, NULL);
		return;
	}
	if (known && WIFSIGNALED(status))
		(void)snprintf(why, sizeof why, "the process that did it died: signal %d (%s)",
			       WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (known)
		(void)snprintf(why, sizeof why, "the process that did it ended with status %d",
			       WEXITSTATUS(status));
	tell(offload, why);
}

static void child_ended(struct offload *offload)
{
	int status = 0;
	pid_t pid = sys_reap(offload->pid, &status, false);

	if (!pid)
		return;
	(void)sys_close(offload->source.fd);
	offload->source.fd = -1;
	offload->pid = 0;
	if (offload->found)
		tell_end(offload, pid > 0, status);
}

static void offload_turn(struct loop *loop, struct source *source)
{
	struct offload *offload = CONTAINER_OF(source, struct offload, source);
	uint8_t ready = source->ready;

	(void)loop;
	source->ready = 0;
	if (ready & SOURCE_IN && offload->pid)
		child_ended(offload);
	else if (ready & SOURCE_DUE && offload->found) {
		sys_kill(offload->pid);
		tell(offload, "it took too long");
	}
}

/* ---- its beginning ---- */

static _Noreturn void become_child(struct offload *offload, int gate,
				   void (*job)(struct offload *offload, void *found))
{
	int kept[] = {log_descriptor(), gate};

	descriptors_keep_only(kept, sizeof kept / sizeof *kept);
	(void)sys_close(gate);
	job(offload, offload->found);
	*done_of(offload->found, offload->found_bytes) = true;
	_exit(0);
}

/* Waits until the child has closed its end, as it does when it has closed all others. */
static void wait_for_child(int gate)
{
	char nothing;

	while (sys_read(gate, &nothing, 1) == -EINTR)
		;
	(void)sys_close(gate);
}

/* 0 or -errno: then there is no child. */
static int watch_child(struct offload *offload)
{
	int status, error, fd = sys_pidfd_open(offload->pid);

	offload->source.fd = fd;
	error = fd < 0 ? fd : loop_watch(offload->loop, &offload->source, EPOLLIN);
	if (!error)
		return 0;
	if (fd >= 0)
		(void)sys_close(fd);
	offload->source.fd = -1;
	sys_kill(offload->pid);
	(void)sys_reap(offload->pid, &status, true);
	return error;
}

static int fork_child(struct offload *offload, void (*job)(struct offload *offload, void *found))
{
	int gate[2], error = sys_pipe2(gate, O_CLOEXEC);
	pid_t pid;

	if (error)
		return error;
	pid = helper_fork();
	if (pid == 0)
		become_child(offload, gate[1], job);
	(void)sys_close(gate[1]);
	wait_for_child(gate[0]);
	if (pid < 0)
		return pid;
	offload->pid = pid;
	error = watch_child(offload);
	if (error)
		offload->pid = 0;
	return error;
}

void offload_init(struct offload *offload, struct loop *loop)
{
	*offload = (struct offload){.loop = loop};
	source_init(&offload->source, -1, offload_turn);
	offload->source.want = SOURCE_IN;
}

int offload_begin(struct offload *offload, size_t found_bytes, uint32_t ms,
		  void (*job)(struct offload *offload, void *found),
		  void (*ended)(struct offload *offload, const void *found, const char *why))
{
	int error;

	CHECK(found_bytes && ms < WHEEL_MS_MAX);
	if (offload->pid)
		return -EBUSY;
	offload->found = sys_map(found_bytes + DONE_BYTES, MAP_SHARED | MAP_ANONYMOUS, -1);
	if (!offload->found)
		return -ENOMEM;
	offload->found_bytes = found_bytes;
	offload->ended = ended;
	error = fork_child(offload, job);
	if (error)
		forget(offload);
	else
		loop_deadline(offload->loop, &offload->source, offload->loop->now_ms + ms);
	return error;
}

bool offload_is_busy(const struct offload *offload)
{
	return offload->found != NULL;
}

void offload_cancel(struct offload *offload)
{
	if (!offload->found)
		return;
	sys_kill(offload->pid);
	forget(offload);
}
