/*
 * What weir does if epoll can register nothing more, for example because another process of the
 * same user has used up fs.epoll.max_user_watches. Here strace makes the calls of one process fail;
 * other processes are not affected.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/server_control.h"
#include "tests/support/trace.h"

/* From now on every epoll_ctl of this process fails. */
static pid_t refuse_watches(pid_t pid)
{
	char number[16];
	pid_t strace = fork();

	ck_assert_int_ge(strace, 0);
	if (strace == 0) {
		int null = open("/dev/null", O_RDWR);

		(void)snprintf(number, sizeof number, "%d", (int)pid);
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		(void)dup2(null, STDERR_FILENO);
		(void)execlp("strace", "strace", "-o", "/dev/null", "-e", "trace=epoll_ctl", "-e",
			     "inject=epoll_ctl:error=ENOSPC", "-p", number, (char *)NULL);
		_exit(127);
	}
	ck_assert(strace_attached(strace, pid));
	return strace;
}

static void let_watch(pid_t strace)
{
	ck_assert_int_eq(kill(strace, SIGTERM), 0);
	ck_assert_int_eq(waitpid(strace, NULL, 0), strace);
}

static void echoes(int fd)
{
	send_text(fd, "still here");
	expect_text(fd, "still here");
}

START_TEST(a_master_that_can_watch_nothing_goes_on)
{
	struct server *server;
	pid_t strace;
	int client;

	if (!tracing_works("a master that can watch nothing goes on"))
		return;
	server = CONTROLLED("-w", "2", "echo://127.0.0.1:0");
	client = connect_to(server->ports[0]);
	echoes(client);
	strace = refuse_watches(server->pid);
	(void)kill(server->pid, SIGHUP);
	server_wait_log(server, "msg=\"change not made, all is as it was\" what=reload");
	(void)kill(server->pid, SIGUSR2);
	server_wait_log(server, "msg=\"change not made, all is as it was\" what=upgrade");
	(void)kill(server->pid, SIGTTIN);
	server_wait_log(server, "msg=\"a worker can't be forked\" worker=2");
	echoes(client);
	let_watch(strace);
	(void)server_wait_worker(server, 2, 0); /* the master tries again */
	server_wait_log(server, "msg=\"change made\" what=workers");
	(void)server_control_make(server, SERVER_CONTROL_RELOAD);
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	echoes(client);
	server_control_expect_no_loss(server);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_worker_that_can_watch_nothing_keeps_its_connections)
{
	static const char *const overload[] = {"pause", "reject"};
	struct server *server;
	int client, late;
	pid_t strace, worker;

	if (!tracing_works("a worker that can watch nothing keeps its connections"))
		return;
	server = SERVER("-w", "1", "--overload", overload[_i], "echo://127.0.0.1:0");
	client = connect_to(server->ports[0]);
	echoes(client);
	worker = server_wait_worker(server, 0, 0);
	strace = refuse_watches(worker);
	for (int i = 0; i < 20; i++)
		(void)connect_to(server->ports[0]);
	server_wait_stat(server, "accept_pauses", 1);
	echoes(client);
	let_watch(strace);
	late = connect_to(server->ports[0]);
	echoes(late);
	echoes(client);
	ck_assert_uint_eq(server_stat(server, "closed_overload"), 0); /* there was room */
	ck_assert_int_eq(server_wait_worker(server, 0, 0), worker);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("watches",
      {"a master that can watch nothing goes on", a_master_that_can_watch_nothing_goes_on, 60},
      {"a worker that can watch nothing keeps its connections",
       a_worker_that_can_watch_nothing_keeps_its_connections, 60, 2})
