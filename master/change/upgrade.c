#include "master/change/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/change/manifest.h"
#include "master/notify.h"
#include "reactor/base/check.h"
#include "reactor/base/descriptor.h"
#include "reactor/base/log.h"
#include "reactor/loop/seqpacket.h"

#define UPGRADE_VARIABLE "WEIR_UPGRADE" /* link and manifest, as descriptors */
#define FAILURE_MS	 1000

extern char **environ;

enum {
	READY = 1,
	FAILED,
	TAKE_OVER,
	WANT_MOVE_CHANNEL,
	MOVE_CHANNEL,
	DOORBELL,
	PASS_ON,
	LEFT,
	LATE
};

struct upgrade_message {
	uint32_t kind, number, attempt;
	char text[UPGRADE_TEXT_BYTES];
};

static struct {
	char **argv;
	const char *variable; /* taken out of the environment, and used here only */
	char *program;	      /* absolute; NULL: it is looked up in PATH */
	struct loop *loop;
	const struct upgrade_owner *owner;
	struct seqpacket link;	/* not open: there is no other master */
	int inherited;		/* the link's descriptor until this one has a loop; -1: none */
	struct source lifeline; /* of the old one's processes */
	bool successor;		/* this is the new one; later it may be the old one */
	bool was_ready;
	pid_t pid; /* of the new one */
	char failure[UPGRADE_TEXT_BYTES];
} upgrade = {.link.source.fd = -1, .inherited = -1};

/* ---- what is run ---- */

/* The path of a link itself, not of the file that it leads to: a deployment changes where it
 * leads. */
void upgrade_remember(char **argv)
{
	char folder[4096];

	upgrade.argv = argv;
	if (!strchr(argv[0], '/'))
		return;
	if (*argv[0] == '/' || !getcwd(folder, sizeof folder))
		upgrade.program = strdup(argv[0]);
	else if (asprintf(&upgrade.program, "%s/%s", folder, argv[0]) < 0)
		upgrade.program = NULL;
}

const char *upgrade_program(void)
{
	return upgrade.program ? upgrade.program : upgrade.argv[0];
}

/* ---- the link ---- */

/* Nothing to do if this fails: the other one has ended, and its death is told elsewhere. */
static void link_send(const struct upgrade_message *message, int fd)
{
	(void)seqpacket_send(&upgrade.link, message, sizeof *message, &fd, fd >= 0);
}

static void old_takes(const struct upgrade_message *message, int fd)
{
	switch (message->kind) {
	case READY:
		if (!upgrade.pid) /* and has died since */
			break;
		upgrade.was_ready = true;
		upgrade.owner->ready();
		break;
	case FAILED:
		(void)snprintf(upgrade.failure, sizeof upgrade.failure, "%.*s",
			       (int)sizeof message->text - 1, message->text);
		break;
	case MOVE_CHANNEL:
		upgrade.owner->move_channel(message->number, fd);
		break;
	case LEFT:
		upgrade.owner->left(message->number);
		break;
	case DOORBELL:
		if (fd >= 0)
			upgrade.owner->doorbell(message->number, fd);
		break;
	}
}

/* A descriptor that is taken becomes -1. */
static void new_takes(const struct upgrade_message *message, int *fd)
{
	if (message->kind == LATE && message->number < LISTEN_NUMBERS_MAX && *fd >= 0) {
		upgrade.owner->late(message->number, *fd);
		*fd = -1;
		return;
	}
	if (message->kind == TAKE_OVER)
		upgrade.owner->take_over();
	else if (message->kind == WANT_MOVE_CHANNEL)
		upgrade.owner->wants_move_channel(message->number, message->attempt);
	else if (message->kind == PASS_ON)
		upgrade.owner->passed_on(message->number, (int)message->attempt);
}

static void link_took(struct seqpacket *link, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	int none = -1, *fd = fds_n == 1 ? fds : &none;
	struct upgrade_message message;

	(void)link;
	if (n != sizeof message) { /* of a version that this one does not know */
		log_warn("another master says what this one does not understand");
		return;
	}
	memcpy(&message, bytes, sizeof message);
	if (upgrade.successor)
		new_takes(&message, fd);
	else
		old_takes(&message, *fd);
}

static void link_ended(struct seqpacket *link)
{
	(void)link;
	if (upgrade.successor) /* the old one learns more from the new one's status */
		upgrade.owner->take_over();
}

/* The other master has gone, which is known from SIGCHLD or the lifeline, maybe before the link
 * ends. So what it still said is read first; the next upgrade has a link of its own. */
static void link_finish(void)
{
	while (seqpacket_read(&upgrade.link))
		;
	seqpacket_close(&upgrade.link);
}

/* 0 or -errno: then there is no link, and fd is the caller's still. */
static int link_open(int fd)
{
	static const struct seqpacket_owner owner = {link_took, link_ended, NULL, false};

	return seqpacket_open(&upgrade.link, upgrade.loop, fd, false, &owner);
}

/* ---- the old one ---- */

static void set_environment(int link, int manifest)
{
	const char *lines[NOTIFY_LINES];
	size_t n = notify_environment(lines);
	char value[64];

	for (size_t i = 0; i < n; i++)
		(void)putenv((char *)(uintptr_t)lines[i]);
	(void)snprintf(value, sizeof value, "%d,%d", link, manifest);
	(void)setenv(UPGRADE_VARIABLE, value, 1);
}

static _Noreturn void become_new(int link, int manifest, const struct handover_state *handover,
				 const struct listen_set *set)
{
	struct upgrade_message message = {.kind = FAILED};
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	manifest_let_survive(handover, set);
	(void)fcntl(link, F_SETFD, 0);
	(void)fcntl(manifest, F_SETFD, 0);
	set_environment(link, manifest);
	if (upgrade.program)
		(void)execv(upgrade.program, upgrade.argv);
	else
		(void)execvp(upgrade.argv[0], upgrade.argv);
	(void)snprintf(message.text, sizeof message.text, "%s: %s", upgrade_program(),
		       strerror(errno));
	(void)descriptors_send(link, &message, sizeof message, NULL, 0);
	_exit(127);
}

/* NULL, or the step that failed; errno says more. */
static const char *start_new(int manifest, const struct handover_state *handover,
			     const struct listen_set *set)
{
	int pair[2], error;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return "socketpair";
	error = link_open(pair[0]);
	if (error) {
		(void)close(pair[0]);
		(void)close(pair[1]);
		errno = -error;
		return "watching the new master";
	}
	pid = fork();
	if (pid == 0)
		become_new(pair[1], manifest, handover, set);
	error = errno;
	(void)close(pair[1]);
	if (pid < 0) {
		seqpacket_close(&upgrade.link);
		errno = error;
		return "fork";
	}
	upgrade.pid = pid;
	return NULL;
}

bool upgrade_begin(struct loop *loop, const struct upgrade_owner *owner,
		   const struct handover_state *handover, const struct listen_set *set,
		   char error[UPGRADE_TEXT_BYTES])
{
	const char *why;
	int manifest;

	upgrade.loop = loop;
	upgrade.owner = owner;
	upgrade.successor = upgrade.was_ready = false;
	*upgrade.failure = '\0';
	manifest = manifest_open(handover, set);
	if (manifest < 0) {
		(void)snprintf(error, UPGRADE_TEXT_BYTES, "writing the manifest: %s",
			       strerror(errno));
		return false;
	}
	why = start_new(manifest, handover, set);
	if (why)
		(void)snprintf(error, UPGRADE_TEXT_BYTES, "%s: %s", why, strerror(errno));
	(void)close(manifest);
	return !why;
}

pid_t upgrade_pid(void)
{
	return upgrade.pid;
}

void upgrade_give_up(void)
{
	if (upgrade.pid && !upgrade.was_ready)
		(void)kill(upgrade.pid, SIGKILL);
}

bool upgrade_reaped(pid_t pid, int status)
{
	char why[UPGRADE_TEXT_BYTES];

	if (!pid || pid != upgrade.pid)
		return false;
	upgrade.pid = 0;
	link_finish();
	if (upgrade.was_ready) {
		upgrade.owner->lost(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		return true;
	}
	if (*upgrade.failure)
		(void)snprintf(why, sizeof why, "%s", upgrade.failure);
	else if (WIFSIGNALED(status))
		(void)snprintf(why, sizeof why, "the new master died: signal %d (%s)",
			       WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		(void)snprintf(why, sizeof why,
			       "the new master ended with status %d before it was ready (see the "
			       "log)",
			       WEXITSTATUS(status));
	upgrade.owner->failed(why);
	return true;
}

bool upgrade_is_telling(void)
{
	return seqpacket_keeps(&upgrade.link);
}

void upgrade_hand_over(void)
{
	link_send(&(struct upgrade_message){.kind = TAKE_OVER}, -1);
}

void upgrade_want_move_channel(unsigned slot, unsigned attempt)
{
	link_send(&(struct upgrade_message){.kind = WANT_MOVE_CHANNEL,
					    .number = slot,
					    .attempt = attempt},
		  -1);
}

bool upgrade_give_late(uint32_t number, int fd)
{
	struct upgrade_message message = {.kind = LATE, .number = number};

	return seqpacket_send(&upgrade.link, &message, sizeof message, &fd, 1) == 0;
}

void upgrade_pass_on(unsigned what, int n)
{
	link_send(
	    &(struct upgrade_message){.kind = PASS_ON, .number = what, .attempt = (uint32_t)n}, -1);
}

/* ---- the new one ---- */

/* Tells the old master why this one does not come up. It is the last message: it goes before others
 * that are kept, and waits a short time for room. */
static void tell_failure(const char *words)
{
	int fd = seqpacket_is_open(&upgrade.link) ? upgrade.link.source.fd : upgrade.inherited;
	struct upgrade_message message = {.kind = FAILED};
	struct pollfd room = {.fd = fd, .events = POLLOUT};

	if (fd < 0)
		return;
	(void)snprintf(message.text, sizeof message.text, "the new master: %.200s", words);
	if (descriptors_send(fd, &message, sizeof message, NULL, 0) == -EAGAIN &&
	    poll(&room, 1, FAILURE_MS) > 0)
		(void)descriptors_send(fd, &message, sizeof message, NULL, 0);
}

bool upgrade_inherit(struct handover_state *handover)
{
	const char *value = upgrade.variable = getenv(UPGRADE_VARIABLE);
	int link, manifest;

	if (!value)
		return false;
	if (sscanf(value, "%d,%d", &link, &manifest) != 2)
		die("upgrade: %s=%s", UPGRADE_VARIABLE, value);
	(void)unsetenv(UPGRADE_VARIABLE);
	(void)fcntl(link, F_SETFD, FD_CLOEXEC);
	manifest_read(manifest, handover);
	upgrade.successor = true;
	upgrade.inherited = link;
	check_witness(tell_failure);
	return true;
}

bool upgrade_is_successor(void)
{
	return upgrade.successor;
}

static void lifeline_turn(struct loop *loop, struct source *source)
{
	char byte;

	source->ready = 0;
	if (source->fd < 0 || read(source->fd, &byte, 1) != 0)
		return;
	loop_unwatch(loop, source);
	(void)close(source->fd);
	source->fd = -1;
	link_finish();
	upgrade.owner->alone();
}

void upgrade_listen(struct loop *loop, const struct upgrade_owner *owner, int lifeline)
{
	int error;

	upgrade.loop = loop;
	upgrade.owner = owner;
	source_init(&upgrade.lifeline, lifeline, lifeline_turn);
	upgrade.lifeline.want = SOURCE_IN;
	error = link_open(upgrade.inherited);
	if (!error)
		error = loop_watch(loop, &upgrade.lifeline, EPOLLIN);
	if (error)
		die("watching the old master: %s", strerror(-error));
	upgrade.inherited = -1;
}

void upgrade_tell_doorbell(unsigned seat, int fd)
{
	link_send(&(struct upgrade_message){.kind = DOORBELL, .number = seat}, fd);
}

void upgrade_tell_left(uint32_t number)
{
	link_send(&(struct upgrade_message){.kind = LEFT, .number = number}, -1);
}

void upgrade_tell_ready(void)
{
	link_send(&(struct upgrade_message){.kind = READY}, -1);
}

void upgrade_give_move_channel(unsigned slot, int fd)
{
	link_send(&(struct upgrade_message){.kind = MOVE_CHANNEL, .number = slot}, fd);
}
