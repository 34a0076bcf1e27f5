/*
 * spawn: a program for each connection, as inetd does it.
 *
 * Teaches: a worker is any program that reads its stdin and writes its stdout; here it is
 * spawn-worker, in the same folder. posix_spawn() does not copy page tables as fork() does, so its
 * cost does not grow with the server. The worker gets every descriptor that is not closed on exec,
 * so all of them are closed (SOCK_CLOEXEC), and the connection becomes 0 and 1. A signal that was
 * ignored stays ignored across exec, so SIGPIPE is set back to its default.
 *
 * Breaks: exec, and loading the program with its libraries, happen for each connection, and cost
 * more than fork() does for a small server: the most expensive churn of all. A program that buffers
 * its output, as stdio does when that is no terminal, answers late or never.
 */
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

#include "bench/designs/children.h"
#include "reactor/base/check.h"

static char worker[PATH_MAX];

static void find_worker(void)
{
	ssize_t n = readlink("/proc/self/exe", worker, sizeof worker - sizeof "-worker");

	if (n < 0)
		die("readlink of /proc/self/exe failed");
	(void)strcpy(worker + n, "-worker");
	if (access(worker, X_OK) < 0)
		die("%s: it is not there, or not to be executed", worker);
}

static void prepare(posix_spawnattr_t *attributes)
{
	sigset_t defaults;

	(void)sigemptyset(&defaults);
	(void)sigaddset(&defaults, SIGPIPE);
	(void)posix_spawnattr_init(attributes);
	(void)posix_spawnattr_setsigdefault(attributes, &defaults);
	(void)posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF);
}

static void spawn(const struct serve *serve, int fd, const posix_spawnattr_t *attributes)
{
	char *const argv[] = {worker, (char *)(uintptr_t)serve->endpoint.protocol->name, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int error;

	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
	error = posix_spawn(&pid, worker, &actions, attributes, argv, environ);
	if (error)
		serve_trouble("no room to spawn", error);
	(void)posix_spawn_file_actions_destroy(&actions);
}

int main(int argc, char **argv)
{
	struct serve serve = {0};
	posix_spawnattr_t attributes;

	serve_open(&serve, argc, argv);
	find_worker();
	prepare(&attributes);
	children_reap();
	serve_ready(&serve);
	for (;;) {
		int fd = serve_accept(&serve);

		spawn(&serve, fd, &attributes);
		(void)close(fd);
	}
}
