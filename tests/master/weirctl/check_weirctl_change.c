/*
 * weirctl, when it changes the server: its messages, its exit status, and that the change has been
 * made when it ends. One connection is held through all changes; other tests check more of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/control/control_file.h"
#include "tests/support/harness.h"

static struct server *server;
static char path[100], config[100];
static char out[65536];
static int held; /* a connection from before */

/* Runs weirctl, with stdout and stderr in `out`. Returns its exit status. */
static int ctl(const char *arguments)
{
	char command[600];
	FILE *pipe;
	int status;
	size_t n;

	(void)snprintf(command, sizeof command, "timeout 600 %s %s 2>&1", built("weirctl"),
		       arguments);
	pipe = popen(command, "re");
	ck_assert_ptr_nonnull(pipe);
	n = fread(out, 1, sizeof out - 1, pipe);
	out[n] = '\0';
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int ctl_there(const char *command)
{
	char arguments[300];

	(void)snprintf(arguments, sizeof arguments, "--control %s %s", path, command);
	return ctl(arguments);
}

static void has(const char *part)
{
	ck_assert_msg(strstr(out, part) != NULL, "\"%s\" is not in: %s", part, out);
}

static void done(const char *command, const char *says)
{
	char last[64];

	ck_assert_msg(ctl_there(command) == 0, "%s: %s", command, out);
	has(says);
	(void)snprintf(last, sizeof last, "\n%s: done\n", command);
	has(last);
}

static void failed(const char *command, const char *says)
{
	ck_assert_msg(ctl_there(command) == 1, "%s: %s", command, out);
	has(says);
}

static void held_echoes(void)
{
	send_text(held, "hello");
	expect_text(held, "hello");
}

static void configure(const char *more)
{
	char text[300];

	(void)snprintf(text, sizeof text, "workers = 2\nlisten = echo://127.0.0.1:0\n%s", more);
	(void)snprintf(config, sizeof config, "%s", write_file("weir.conf", text));
}

static void start(void)
{
	(void)snprintf(path, sizeof path, "%s", in_folder("control.sock"));
	configure("");
	server = SERVER("--config", config, "--control", path);
	held = connect_to(server->ports[0]);
	held_echoes();
}

static pid_t pid_now(void)
{
	ck_assert_int_eq(ctl_there("pid"), 0);
	return (pid_t)strtol(out, NULL, 10);
}

static uint64_t generation_now(void)
{
	const char *at;

	ck_assert_int_eq(ctl_there("-j status"), 0);
	at = strstr(out, "\"generation\":");
	ck_assert_ptr_nonnull(at);
	return strtoull(at + strlen("\"generation\":"), NULL, 10);
}

static void end(void)
{
	(void)close(held);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

/* Stops the server, which may no longer be a child of this process. */
static void stop(void)
{
	pid_t pid = pid_now();

	ck_assert_int_eq(ctl_there("stop"), 0);
	ck_assert(!process_state(pid) || process_state(pid) == 'Z');
	ck_assert(!exists(path));
}

START_TEST(reload_is_done_when_it_is)
{
	start();
	ck_assert_uint_eq(generation_now(), 1);
	done("reload", "generation 2 serves");
	ck_assert_uint_eq(generation_now(), 2);
	ck_assert_int_eq(ctl_there("-j workers"), 0);
	ck_assert_ptr_null(strstr(out, "\"generation\":1"));
	has("\"generation\":2");
	held_echoes();
	end();
}
END_TEST

START_TEST(a_bad_reload_says_why)
{
	start();
	configure("work = 3\n");
	failed("reload", "weirctl: reload: ");
	has("weir.conf:3: unknown key \"work\"");
	failed("-j reload", "\"outcome\":\"failed\",\"why\":\"");
	ck_assert_uint_eq(generation_now(), 1);
	held_echoes();
	configure("");
	done("reload", "generation 2 serves");
	held_echoes();
	end();
}
END_TEST

/* They all get the same outcome. It is no error that two ask. */
START_TEST(several_may_ask_for_one_reload)
{
	char command[600];

	start();
	(void)snprintf(command, sizeof command,
		       "for i in 1 2 3 4 5; do timeout 600 %s --control %s reload & pids=\"$pids "
		       "$!\"; done >/dev/null; for pid in $pids; do wait $pid || exit 1; done",
		       built("weirctl"), path);
	ck_assert_int_eq(system(command), 0);
	ck_assert_uint_ge(generation_now(), 2);
	held_echoes();
	end();
}
END_TEST

START_TEST(rebalance_is_done_when_it_is)
{
	int more[20];

	start();
	for (int i = 0; i < 20; i++) {
		more[i] = connect_to(server->ports[0]);
		send_text(more[i], "x");
		expect_text(more[i], "x");
	}
	done("rebalance", "connections moved");
	ck_assert_int_eq(ctl_there("-j workers"), 0);
	for (int i = 9; i <= 11; i++) {
		char text[32];

		(void)snprintf(text, sizeof text, "\"connections\":%d,", i);
		if (strstr(out, text))
			break;
		ck_assert_msg(i < 11, "21 connections are not about even: %s", out);
	}
	held_echoes();
	for (int i = 0; i < 20; i++)
		(void)close(more[i]);
	end();
}
END_TEST

/* The pid of the socket's owner, as the kernel reports it to a client. */
static pid_t pid_of_socket(void)
{
	struct ucred peer = {0};
	socklen_t n = sizeof peer;
	int fd = connect_unix(path);

	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n), 0);
	(void)close(fd);
	return peer.pid;
}

/* The control socket stays at the given path, and is the new master's. */
START_TEST(upgrade_is_done_when_it_is)
{
	start();
	ck_assert_int_eq(pid_of_socket(), server->pid);
	done("upgrade", " serves; ");
	ck_assert_int_ne(pid_now(), server->pid);
	ck_assert_uint_eq(generation_now(), 2);
	ck_assert_int_eq(server_wait_exit(server), 0);
	held_echoes();
	ck_assert_int_ne(pid_now(), server->pid);
	ck_assert_int_eq(pid_of_socket(), pid_now());
	stop();
}
END_TEST

START_TEST(an_upgrade_that_fails_says_why)
{
	char command[600], copy[128];

	(void)snprintf(copy, sizeof copy, "%s", in_folder("weir"));
	(void)snprintf(command, sizeof command, "cp %s %s",
		       getenv("WEIR") ? getenv("WEIR") : "build/weir", copy);
	ck_assert_int_eq(system(command), 0);
	(void)setenv("WEIR", copy, 1);
	start();
	ck_assert_int_eq(unlink(copy), 0);
	failed("upgrade", "weirctl: upgrade: ");
	has("No such file or directory");
	ck_assert_int_eq(pid_now(), server->pid);
	(void)write_file("weir", "#!/bin/sh\nexit 7\n");
	failed("upgrade", "Permission denied");
	ck_assert_int_eq(chmod(copy, 0755), 0);
	failed("upgrade", "status 7");
	ck_assert_int_eq(pid_now(), server->pid);
	held_echoes();
	end();
}
END_TEST

/* In the default place each master has its own file; the old one's is removed. */
START_TEST(an_upgrade_moves_to_its_own_default_place)
{
	const char *folder = CONTROL_FOLDER;

	if (geteuid() != 0) {
		folder = temporary_folder();
		(void)setenv("XDG_RUNTIME_DIR", folder, 1);
	} else if (unshare(CLONE_NEWNS) < 0 ||
		   mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		   mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0) {
		suite_skip("an upgrade moves to its own default place", "no mount namespace");
		return;
	}
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	(void)snprintf(path, sizeof path, "%s/weir-%d.sock", folder, (int)server->pid);
	ck_assert(exists(path));
	ck_assert_msg(ctl("upgrade") == 0, "%s", out);
	ck_assert(!exists(path));
	ck_assert_msg(ctl("pid") == 0, "%s", out);
	ck_assert_int_ne(strtol(out, NULL, 10), server->pid);
	ck_assert_int_eq(server_wait_exit(server), 0);
	(void)snprintf(path, sizeof path, "%s/weir-%ld.sock", folder, strtol(out, NULL, 10));
	stop();
}
END_TEST

/* After two generations a worker uses the same shared memory as an earlier one. */
START_TEST(a_workers_counters_are_its_own)
{
	start();
	for (int i = 0; i < 2; i++)
		done("reload", "serves");
	ck_assert_int_eq(ctl_there("-j workers"), 0);
	for (const char *at = out; (at = strstr(at, "\"accepted\":")); at++)
		ck_assert_msg(strncmp(at, "\"accepted\":0,", 13) == 0, "%s", at);
	has("\"accepted\":0,");
	ck_assert_int_eq(ctl_there("-j status"), 0);
	has("\"accepted\":1,");
	end();
}
END_TEST

START_TEST(an_upgrade_says_why_it_failed)
{
	start();
	configure("no-such-key = 1\n");
	failed("upgrade", "weir.conf:3: unknown key \"no-such-key\"");
	configure("listen = echo:///nowhere/there.sock\n");
	failed("upgrade", "listening on echo:///nowhere/there.sock: bind");
	held_echoes();
	end();
}
END_TEST

START_TEST(what_comes_too_late_is_told_so)
{
	int slow;

	start();
	slow = connect_to(server->ports[0]);
	ck_assert_int_eq(kill(server_wait_worker(server, 0, 0), SIGSTOP), 0);
	ck_assert_int_eq(kill(server_wait_worker(server, 1, 0), SIGSTOP), 0);
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	server_wait_log(server, "msg=stopping");
	failed("reload", "the server is stopping");
	failed("upgrade", "the server is stopping");
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(kill(server_wait_worker(server, i, 0), SIGCONT), 0);
	(void)close(slow);
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

SUITE("weirctl_change", {"reload is done when it is", reload_is_done_when_it_is, 30},
      {"a bad reload says why", a_bad_reload_says_why, 30},
      {"several may ask for one reload", several_may_ask_for_one_reload, 60},
      {"rebalance is done when it is", rebalance_is_done_when_it_is, 30},
      {"upgrade is done when it is", upgrade_is_done_when_it_is, 30},
      {"an upgrade that fails says why", an_upgrade_that_fails_says_why, 60},
      {"an upgrade moves to its own default place", an_upgrade_moves_to_its_own_default_place, 30},
      {"a worker's counters are its own", a_workers_counters_are_its_own, 30},
      {"an upgrade says why it failed", an_upgrade_says_why_it_failed, 30},
      {"what comes too late is told so", what_comes_too_late_is_told_so, 30})
