/*
 * inherited: a program works the same whatever it inherits from its parent: ignored and blocked
 * signals, timers, limits, a umask, closed descriptors. The parent is a child of the test, or a
 * script that ends in exec.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/inherited.h"
#include "tests/support/harness.h"

/* From now on servers are started by a shell script with these lines. */
static void start_by(const char *parent)
{
	char text[1024];
	const char *weir = getenv("WEIR"), *path;
	char *whole = realpath(weir ? weir : "build/weir", NULL);

	ck_assert_ptr_nonnull(whole);
	(void)snprintf(text, sizeof text, "#!/bin/sh\n%s\nexec %s \"$@\"%s\n", parent, whole,
		       strchr(parent, '<') ? " <&- >&-" : "");
	path = write_file("parent", text);
	ck_assert_int_eq(chmod(path, 0700), 0);
	(void)setenv("WEIR", path, 1);
	free(whole);
}

/* A mask of signals in /proc/PID/status, by the word before it; bit 0 is signal 1. */
static unsigned long long signals_of(pid_t pid, const char *word)
{
	char path[64], line[256];
	unsigned long long mask = ~0ull;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof line, file))
		if (strncmp(line, word, strlen(word)) == 0)
			ck_assert_int_eq(sscanf(line + strlen(word), ": %llx", &mask), 1);
	(void)fclose(file);
	return mask;
}

#define BIT(number) (1ull << ((number)-1))

static void expect_its_own_signals(pid_t pid)
{
	/* Higher signals are those that a C library keeps for itself. */
	ck_assert_uint_eq(signals_of(pid, "SigIgn") & 0x7fffffff, BIT(SIGPIPE) | BIT(SIGXFSZ));
	ck_assert_uint_eq(signals_of(pid, "SigBlk") & (BIT(SIGABRT) | BIT(SIGSEGV)), 0);
}

/* ---- the room alone ---- */

static void child(void (*play)(void))
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		play();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			_exit(__LINE__ % 255 + 1);                                                 \
	} while (0)

static bool is_ignored(int number)
{
	struct sigaction action;

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static void ignore_and_block(void)
{
	sigset_t all;

	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_IGN);
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
}

static bool blocks_any(void)
{
	sigset_t now;

	(void)sigprocmask(SIG_SETMASK, NULL, &now);
	for (int number = 1; number < 32; number++)
		if (sigismember(&now, number) == 1)
			return true;
	return false;
}

static void settle_signals_of_a_server(void)
{
	ignore_and_block();
	inherited_repair(INHERITED_BY_SERVER);
	for (int number = 1; number < 32; number++)
		EXPECT(is_ignored(number) == (number == SIGPIPE || number == SIGXFSZ));
	EXPECT(!blocks_any());
}

static void settle_signals_of_a_tool(void)
{
	ignore_and_block();
	inherited_repair(INHERITED_BY_TOOL);
	EXPECT(is_ignored(SIGHUP) && is_ignored(SIGINT) && is_ignored(SIGQUIT));
	EXPECT(!is_ignored(SIGCHLD) && !is_ignored(SIGPIPE) && !is_ignored(SIGTERM));
	EXPECT(!blocks_any());
}

static void on_segv(int number)
{
	(void)number;
}

static void settle_with_a_handler(void)
{
	struct sigaction action = {.sa_handler = on_segv};

	(void)sigaction(SIGSEGV, &action, NULL);
	inherited_repair(INHERITED_BY_SERVER);
	(void)sigaction(SIGSEGV, NULL, &action);
	EXPECT(action.sa_handler == on_segv);
}

START_TEST(signals_are_as_at_a_login)
{
	child(settle_signals_of_a_server);
	child(settle_signals_of_a_tool);
	child(settle_with_a_handler); /* a sanitizer's, say */
}
END_TEST

static void settle_timers_limits_and_umask(void)
{
	struct itimerval timer = {.it_value.tv_sec = 1000};
	struct rlimit cpu = {1000, 2000}, file = {4096, RLIM_INFINITY}, stack;

	EXPECT(setitimer(ITIMER_REAL, &timer, NULL) == 0);
	EXPECT(setrlimit(RLIMIT_CPU, &cpu) == 0 && setrlimit(RLIMIT_FSIZE, &file) == 0);
	EXPECT(getrlimit(RLIMIT_STACK, &stack) == 0);
	stack.rlim_cur = 1 << 20;
	EXPECT(setrlimit(RLIMIT_STACK, &stack) == 0);
	(void)umask(0725);
	inherited_repair(INHERITED_BY_SERVER);
	EXPECT(getitimer(ITIMER_REAL, &timer) == 0 && !timer.it_value.tv_sec);
	EXPECT(getrlimit(RLIMIT_CPU, &cpu) == 0 && cpu.rlim_cur == 2000);
	EXPECT(getrlimit(RLIMIT_FSIZE, &file) == 0 && file.rlim_cur == RLIM_INFINITY);
	EXPECT(getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur == 8 << 20);
	EXPECT(umask(0) ==
	       0025); /* only the owner's bits are cleared: the rest is the operator's */
}

START_TEST(timers_limits_and_the_umask_end_nobody)
{
	child(settle_timers_limits_and_umask);
}
END_TEST

static void settle_closed_descriptors(void)
{
	char byte;

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		(void)close(fd);
	inherited_repair(INHERITED_BY_TOOL);
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		EXPECT(fcntl(fd, F_GETFD) == 0);
	EXPECT(read(STDIN_FILENO, &byte, 1) < 0 && errno == EBADF);
	EXPECT(write(STDOUT_FILENO, "x", 1) < 0 && errno == EBADF);
	EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){0}) == 0);
	EXPECT(write(STDERR_FILENO, "x", 1) < 0 && errno == EBADF);
}

START_TEST(closed_descriptors_are_no_sockets_later)
{
	child(settle_closed_descriptors);
}
END_TEST

/* ---- servers ---- */

/* The signals that a shell can ignore; that USR2 and others work even so is tested below. */
#define IGNORES "trap '' HUP INT QUIT ALRM TERM CHLD PIPE USR1 USR2 TTIN TTOU XFSZ XCPU\n"

START_TEST(a_parent_that_ignores_signals_changes_nothing)
{
	struct server *server;
	pid_t worker;
	int fd;

	start_by(IGNORES);
	server = SERVER("-w", "1", "echo://127.0.0.1:0");
	worker = server_wait_worker(server, 0, 0);
	expect_its_own_signals(server->pid);
	expect_its_own_signals(worker);
	fd = connect_to(server->ports[0]);
	send_text(fd, "a");
	expect_text(fd, "a");
	(void)kill(server->pid, SIGHUP);
	server_wait_log(server, "msg=\"change made\" what=reload");
	send_text(fd, "b");
	expect_text(fd, "b");
	worker = server_wait_worker(server, 0, worker);
	(void)kill(worker, SIGKILL);
	server_wait_log(server, "msg=\"worker died\"");
	(void)server_wait_worker(server, 0, worker);
	no_zombies(server, 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(the_next_master_is_settled_too)
{
	struct server *server;
	char number[32] = "";
	FILE *file;
	pid_t next = 0;
	const char *pid_file = in_folder("pid");
	struct wait wait = wait_begin();

	start_by(IGNORES "umask 777\n");
	server = SERVER("-w", "1", "--pid-file", pid_file, "echo://127.0.0.1:0");
	(void)kill(server->pid, SIGUSR2);
	server_wait_log(server, "msg=\"replaced by another master\"");
	while (!next || next == server->pid) {
		wait_more(&wait, "the next master's pid");
		file = fopen(pid_file, "re");
		if (file && fgets(number, sizeof number, file))
			next = (pid_t)strtol(number, NULL, 10);
		if (file)
			(void)fclose(file);
	}
	expect_its_own_signals(next);
	(void)kill(next, SIGTERM);
	while (process_state(next) && process_state(next) != 'Z')
		wait_more(&wait, "its end");
}
END_TEST

START_TEST(a_umask_that_shuts_us_out_does_not)
{
	struct stat status;
	struct server *server;
	char listener[128];

	start_by("umask 777\n");
	(void)snprintf(listener, sizeof listener, "echo://%s", in_folder("socket"));
	server = SERVER("-w", "1", "--pid-file", in_folder("pid"), listener);
	ck_assert_int_eq(stat(in_folder("pid"), &status), 0);
	ck_assert_uint_eq(status.st_mode & 0600, 0600);
	ck_assert_int_eq(stat(in_folder("socket"), &status), 0);
	ck_assert_uint_eq(status.st_mode & 0777, 0700);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_limit_of_file_sizes_is_an_error_and_no_signal)
{
	char output[4096];
	struct server *server;

	start_by("ulimit -S -f 8\n");
	server = SERVER("-w", "1", "echo://127.0.0.1:0");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	(void)setenv("WEIR", built("weir"), 1);
	start_by("ulimit -f 8\n");
	ck_assert_int_eq(RUN(output, "-w", "1", "echo://127.0.0.1:0"), 1);
	ck_assert_msg(strstr(output, "shared memory for the board: File too large") != NULL, "%s",
		      output);
}
END_TEST

/* All three are closed, so no log says when it is ready: that it is shows when one can connect. */
START_TEST(a_server_without_descriptors_writes_to_no_peer)
{
	char weir[512], path[128], command[800];
	pid_t pid;
	int fd;

	(void)snprintf(weir, sizeof weir, "%s", built("weir"));
	(void)snprintf(path, sizeof path, "%s", in_folder("socket"));
	(void)snprintf(command, sizeof command,
		       "exec %s -w 1 --log-level debug echo://%s <&- >&- 2>&-", weir, path);
	pid = program_start(path, (const char *const[]){"/bin/sh", "-c", command, NULL});
	fd = connect_unix(path);
	send_text(fd, "echo");
	expect_text(fd, "echo");
	finish_sending(fd);
	expect_end(fd);
	(void)kill(pid, SIGTERM);
}
END_TEST

START_TEST(weirctl_says_that_it_cant_answer)
{
	struct server *server =
	    SERVER("-w", "1", "--control", in_folder("control"), "echo://127.0.0.1:0");
	char command[700];

	(void)snprintf(command, sizeof command, "%s --control %s status >&- 2>/dev/null",
		       built("weirctl"), in_folder("control"));
	ck_assert_int_eq(WEXITSTATUS(system(command)), 1);
	(void)snprintf(command, sizeof command, "%s --control %s status >/dev/null",
		       built("weirctl"), in_folder("control"));
	ck_assert_int_eq(WEXITSTATUS(system(command)), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

static int load(const struct server *server, const char *parent, unsigned ms, const char *end)
{
	char command[700];

	(void)snprintf(command, sizeof command,
		       "%sexec %s -c 2 -d %ums --warmup 0ms echo://127.0.0.1:%u 2>/dev/null %s",
		       parent, built("weirload"), ms, server->ports[0], end);
	return WEXITSTATUS(system(command));
}

START_TEST(weirload_hears_of_its_children)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");

	/* A run without an answered message fails: then a longer one is tried. */
	for (unsigned ms = 50; load(server, "trap '' CHLD ALRM;", ms, ">/dev/null") != 0; ms *= 4)
		ck_assert_uint_le(ms, 20000);
	ck_assert_int_eq(load(server, "", 50, "<&- >&-"), 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("inherited", {"signals are as at a login", signals_are_as_at_a_login, 10},
      {"timers, limits and the umask end nobody", timers_limits_and_the_umask_end_nobody, 10},
      {"closed descriptors are no sockets later", closed_descriptors_are_no_sockets_later, 10},
      {"a parent that ignores signals changes nothing",
       a_parent_that_ignores_signals_changes_nothing, 60},
      {"the next master is settled, too", the_next_master_is_settled_too, 60},
      {"a umask that shuts us out does not", a_umask_that_shuts_us_out_does_not, 30},
      {"a limit of file sizes is an error, and no signal",
       a_limit_of_file_sizes_is_an_error_and_no_signal, 30},
      {"a server without descriptors writes to no peer",
       a_server_without_descriptors_writes_to_no_peer, 30},
      {"weirctl says that it can't answer", weirctl_says_that_it_cant_answer, 30},
      {"weirload hears of its children", weirload_hears_of_its_children, 30})
