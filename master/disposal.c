#include "master/disposal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/base/descriptor.h"
#include "reactor/base/helper.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "worker/title.h"

#define REST_MS	     20	  /* between two children: a flood costs no more than that */
#define CHILDREN_MAX 16	  /* that have not ended yet, whatever holds them up */
#define MESSAGES_MAX 512  /* for one child */
#define SENDER_MS    5000 /* for a sender to close its copy, as it does next */

static struct {
	struct loop *loop;
	struct source channel;
	pid_t children[CHILDREN_MAX]; /* 0: none */
} disposal;

static bool has_room(void)
{
	int ends[2];

	if (pipe(ends) < 0)
		return false;
	(void)close(ends[0]);
	(void)close(ends[1]);
	return true;
}

/* Closes nothing that may be a connection, or hold one, before it exits: a copy of the master's
 * might be the last by now. */
static _Noreturn void take_and_exit(void)
{
	struct pollfd sent[MESSAGES_MAX];
	int fds[DESCRIPTORS_MAX], n = 0;
	size_t fds_n;
	char byte;

	title_set("weir-disposal", "weir: ends connections");
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		(void)close(fd);
	while (n < MESSAGES_MAX && has_room() &&
	       descriptors_receive(disposal.channel.fd, &byte, 1, fds, &fds_n) > 0)
		if (fds_n == 2)
			sent[n++] = (struct pollfd){.fd = fds[1]};
	while (n-- && poll(&sent[n], 1, SENDER_MS) > 0) /* until the sender's copy is closed, too */
		;
	_exit(0); /* which closes whatever came */
}

static pid_t *free_place(void)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (!disposal.children[i])
			return &disposal.children[i];
	return NULL;
}

static void watch(void)
{
	if (loop_watch(disposal.loop, &disposal.channel, EPOLLIN) < 0)
		loop_deadline(disposal.loop, &disposal.channel, disposal.loop->now_ms + REST_MS);
}

/* Level-triggered: it is left alone until the child has had time to read what is there. */
static void channel_turn(struct loop *loop, struct source *source)
{
	pid_t *place = free_place(), child;

	if (!(source->ready & SOURCE_IN)) {
		source->ready = 0;
		watch();
		return;
	}
	source->ready = 0;
	loop_unwatch(loop, source);
	loop_deadline(loop, source, loop->now_ms + REST_MS);
	child = place ? helper_fork() : -1;
	if (child == 0)
		take_and_exit();
	if (child > 0)
		*place = child;
}

void disposal_open(struct loop *loop)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair: %s", strerror(errno));
	if (!rights_refuse(pair[1]))
		log_info("this kernel can't refuse descriptors that are passed over unix sockets: "
			 "each read there takes two calls (Linux 6.16 has SO_PASSRIGHTS)");
	disposal.loop = loop;
	source_init(&disposal.channel, pair[0], channel_turn);
	disposal.channel.want = SOURCE_IN;
	watch();
	rights_hand_to(pair[1]);
}

bool disposal_reaped(pid_t pid)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		if (!pid || disposal.children[i] != pid)
			continue;
		disposal.children[i] = 0;
		return true;
	}
	return false;
}
