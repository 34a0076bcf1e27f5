/*
 * weirload in a network namespace of its own: with only a few local ports, and with more
 * connections than tests that run at the same time could bear. Needs root.
 */
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/support/clients/load.h"

static bool cannot(const char *test)
{
	if (geteuid() == 0)
		return false;
	suite_skip(test, "needs root");
	return true;
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

/* From now on this process, and what it starts, has a network with nothing but loopback. */
static void own_network(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	(void)close(fd);
}

START_TEST(says_that_ports_ran_out)
{
	struct server *server;
	int status;

	if (cannot("says that ports ran out"))
		return;
	own_network();
	write_to("/proc/sys/net/ipv4/ip_local_port_range", "40000 40009");
	server = SERVER("-w", "1", "echo://127.0.0.1:7878");
	status = LOAD("--idle", "-c", "30", "-d", "10ms", "--source", "127.0.0.1",
		      "echo://127.0.0.1:7878");
	ck_assert_msg(status == 3, "status %d\n%s", status, load_said());
	ck_assert(load_figure("errors_ports") == 20 && load_figure("held") == 10);
	ck_assert_ptr_nonnull(strstr(load_said(), "INVALID: local ports ran out"));
	status = LOAD("--idle", "-c", "30", "-d", "10ms", "--source", "127.0.0.2-127.0.0.11",
		      "echo://127.0.0.1:7878");
	ck_assert_msg(status == 0, "status %d\n%s", status, load_said());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* The script itself, with a small part of its million. */
START_TEST(holds_a_part_of_a_million)
{
	char output[1 << 14];
	FILE *script;
	size_t n;

	if (cannot("holds a part of a million"))
		return;
	script = popen("bench/million -q 2>&1", "re");
	ck_assert_ptr_nonnull(script);
	n = fread(output, 1, sizeof output - 1, script);
	output[n] = '\0';
	ck_assert_msg(pclose(script) == 0, "%s", output);
	ck_assert_msg(strstr(output, "20,000 of 20,000 held"), "%s", output);
	ck_assert_msg(strstr(output, " of the probe's "), "%s", output);
}
END_TEST

#define PID	1
#define SESSION 6

/* Makes a program of that name for bench/million: it writes field n of its /proc/PID/stat to a
 * file, and then becomes the program that was built, or `instead`. */
static void note_field_of(const char *name, int n, const char *instead)
{
	char text[512], path[300], built[256];

	(void)snprintf(built, sizeof built, "%s/%s \"$@\"", getenv("BUILD"), name);
	(void)snprintf(text, sizeof text,
		       "#!/bin/sh\ncut -d ' ' -f %d /proc/$$/stat >%s/%s.field\nexec %s\n", n,
		       temporary_folder(), name, instead ? instead : built);
	(void)snprintf(path, sizeof path, "%s", write_file(name, text));
	ck_assert_int_eq(chmod(path, 0755), 0);
}

/* If a hundred processes of weir and of weirload were in two sessions, they would do little else
 * than interrupt each other. */
START_TEST(a_million_is_of_one_session)
{
	char command[600], *weir;

	if (cannot("a million is of one session"))
		return;
	note_field_of("weir", SESSION, NULL);
	note_field_of("weirload", SESSION, NULL);
	(void)snprintf(command, sizeof command, "BUILD=%s bench/million 0.001 >%s 2>&1",
		       temporary_folder(), in_folder("said"));
	ck_assert_msg(system(command) == 0, "%s", read_whole(in_folder("said")));
	weir = strdup(read_whole(in_folder("weir.field")));
	ck_assert_str_eq(weir, read_whole(in_folder("weirload.field")));
	free(weir);
}
END_TEST

/* The script's process group is killed, as test runners do: what it started is in other groups, but
 * ends, too. */
START_TEST(a_million_ends_with_its_process_group)
{
	struct wait wait = wait_begin();
	pid_t script, weir;

	if (cannot("a million ends with its process group"))
		return;
	note_field_of("weir", PID, NULL);
	note_field_of("weirload", PID, "sleep 1000");
	script = fork();
	ck_assert_int_ge(script, 0);
	if (script == 0) {
		(void)setpgid(0, 0);
		(void)setenv("BUILD", temporary_folder(), 1);
		(void)execl("bench/million", "bench/million", "0.001", (char *)NULL);
		_exit(127);
	}
	while (!read_whole(in_folder("weirload.field")))
		wait_more(&wait, "a load");
	weir = (pid_t)strtol(read_whole(in_folder("weir.field")), NULL, 10);
	ck_assert_int_gt(weir, 1);
	ck_assert_int_eq(kill(-script, SIGKILL), 0);
	ck_assert_int_eq(waitpid(script, NULL, 0), script);
	while (process_state(weir))
		wait_more(&wait, "weir's end");
}
END_TEST

SUITE("weirload, as root", {"says that ports ran out", says_that_ports_ran_out, 20},
      {"holds a part of a million", holds_a_part_of_a_million, 60},
      {"a million is of one session", a_million_is_of_one_session, 60},
      {"a million ends with its process group", a_million_ends_with_its_process_group, 60})
