#include "master/spawn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/descriptor.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"

static _Noreturn void become_worker(struct worker_setup *setup)
{
	int kept[LISTENERS_MAX + JOURNAL_SEATS_MAX + 4];
	size_t n = 0;
	char name[32];

	kept[n++] = setup->channel;
	kept[n++] = log_descriptor();
	kept[n++] = setup->lifeline;
	kept[n++] = rights_channel();
	for (size_t i = 0; i < setup->config->listeners_n; i++)
		if (setup->listeners[i] >= 0)
			kept[n++] = setup->listeners[i];
	for (unsigned i = 0; setup->journal && i < JOURNAL_SEATS_MAX; i++)
		if (setup->journal->doorbells[i] >= 0)
			kept[n++] = setup->journal->doorbells[i];
	descriptors_keep_only(kept, n);
	(void)snprintf(name, sizeof name, "w%u", setup->index);
	log_name(name);
	exit(worker_run(setup));
}

int spawn_channel(int ends[2])
{
	int error = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0;

	if (error)
		return -errno;
	(void)rights_refuse(ends[0]); /* workers send messages and no descriptors */
	return 0;
}

pid_t spawn_worker(struct worker_setup *setup)
{
	pid_t pid = fork();

	if (pid == 0)
		become_worker(setup);
	return pid < 0 ? -errno : pid;
}
