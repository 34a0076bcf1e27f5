/*
 * --user: workers become that user for good, with only that user's groups, and the master stays
 * root, so that it can replace them. Needs root and a user `nobody`. What this can't see: a system
 * without the file /etc/passwd.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/support/server_control.h"

static bool cannot(const char *test)
{
	if (geteuid() == 0 && getpwnam("nobody"))
		return false;
	suite_skip(test, geteuid() ? "needs root" : "there is no user nobody");
	return true;
}

/* Reads the line of /proc/PID/status with that name; gives what follows the name. */
static void status_line(pid_t pid, const char *name, char line[256])
{
	char path[64];
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, 256, file))
		if (strncmp(line, name, strlen(name)) == 0)
			break;
	(void)fclose(file);
	ck_assert_msg(strncmp(line, name, strlen(name)) == 0, "%s has no %s", path, name);
	memmove(line, line + strlen(name), strlen(line + strlen(name)) + 1);
}

/* Expects the real, effective, saved and file system ids all to be id. */
static void ids_are(pid_t pid, const char *name, unsigned id)
{
	unsigned ids[4];
	char line[256];

	status_line(pid, name, line);
	ck_assert_int_eq(sscanf(line, "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]), 4);
	for (int i = 0; i < 4; i++)
		ck_assert_msg(ids[i] == id, "%s of %d is %s", name, (int)pid, line);
}

/* Expects the groups of a process to be among those that the user database gives to the user. */
static void groups_are_of(pid_t pid, const struct passwd *user, gid_t gid)
{
	gid_t groups[64];
	int groups_n = 64;
	char line[256], *at = line, *end;

	ck_assert_int_gt(getgrouplist(user->pw_name, gid, groups, &groups_n), 0);
	status_line(pid, "Groups:", line);
	for (unsigned long group; (group = strtoul(at, &end, 10)), end != at; at = end) {
		bool found = false;

		for (int i = 0; i < groups_n; i++)
			found |= groups[i] == group;
		ck_assert_msg(found, "worker %d is in group %lu", (int)pid, group);
	}
}

static void worker_is(pid_t pid, const char *name, gid_t gid)
{
	const struct passwd *user = getpwnam(name);
	char line[256];

	ids_are(pid, "Uid:", user->pw_uid);
	ids_are(pid, "Gid:", gid);
	groups_are_of(pid, user, gid);
	status_line(pid, "CapEff:", line);
	ck_assert_uint_eq(strtoull(line, NULL, 16), 0);
}

static void serves(const struct server *server)
{
	int fd = connect_to(server->ports[0]);

	send_text(fd, "hello");
	expect_text(fd, "hello");
	(void)close(fd);
}

START_TEST(workers_are_the_user_and_the_master_is_root)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};
	static const gid_t roots_groups[] = {0, 4, 6}; /* groups that workers have to give up */

	if (cannot("workers are the user, the master is root"))
		return;
	ck_assert_int_eq(setgroups(3, roots_groups), 0);
	for (size_t mode = 0; mode < 3; mode++) {
		struct server *server = SERVER("--workers", "2", "--user", "nobody", "--accept",
					       modes[mode], "echo://127.0.0.1:0");

		ids_are(server->pid, "Uid:", 0);
		ids_are(server->pid, "Gid:", getegid());
		for (unsigned i = 0; i < 2; i++)
			worker_is(server_wait_worker(server, i, 0), "nobody",
				  getpwnam("nobody")->pw_gid);
		serves(server);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

START_TEST(group_may_be_another)
{
	struct group *group = getgrnam("daemon");
	struct server *server;

	if (cannot("a group of its own"))
		return;
	if (!group) {
		suite_skip("a group of its own", "there is no group daemon");
		return;
	}
	server = SERVER("--workers", "1", "--user", "nobody:daemon", "echo://127.0.0.1:0");
	worker_is(server_wait_worker(server, 0, 0), "nobody", group->gr_gid);
	serves(server);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(replacements_are_the_user_too)
{
	struct server *server;
	pid_t pid = 0;

	if (cannot("replacements are the user too"))
		return;
	server = SERVER("--workers", "1", "--user", "nobody", "echo://127.0.0.1:0");
	for (int i = 0; i < 3; i++) {
		pid = server_wait_worker(server, 0, pid);
		serves(server);
		worker_is(pid, "nobody", getpwnam("nobody")->pw_gid);
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
	}
	(void)server_wait_worker(server, 0, pid);
	serves(server);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* What only root may bind and write is bound and written before anybody becomes the user. */
START_TEST(what_needs_root_is_done_as_root)
{
	char pid_file[100], path[100], listener[128];
	struct server *server;
	int fd;

	if (cannot("what needs root is done as root"))
		return;
	(void)snprintf(pid_file, sizeof pid_file, "%s/weir.pid", temporary_folder());
	(void)snprintf(path, sizeof path, "%s/root.sock", temporary_folder());
	(void)snprintf(listener, sizeof listener, "echo://%s?mode=0600", path);
	server = SERVER("--workers", "1", "--user", "nobody", "--pid-file", pid_file, listener);
	ck_assert_int_eq(access(pid_file, F_OK), 0);
	fd = connect_unix(path);
	send_text(fd, "x");
	expect_text(fd, "x");
	(void)close(fd);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_int_ne(access(pid_file, F_OK), 0);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

static void fill(const char *path)
{
	static const char zeros[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	(void)lseek(fd, 0, SEEK_END);
	while (write(fd, zeros, sizeof zeros) > 0)
		;
	ck_assert_int_eq(errno, ENOSPC);
	(void)close(fd);
}

/* How many files are in a folder, without `.` and `..`. */
static size_t files_in(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, NULL);

	ck_assert_int_ge(n, 2);
	return (size_t)n - 2;
}

/* An upgrade needs no room on the disk; a start that finds none leaves nothing behind. */
START_TEST(a_full_disk_keeps_the_pid_file)
{
	char folder[100], pid_file[128], filler[128], output[4096];
	struct server *server;

	if (cannot("a full disk keeps the pid file"))
		return;
	(void)snprintf(folder, sizeof folder, "%s", in_folder("full"));
	(void)snprintf(pid_file, sizeof pid_file, "%s/pid", folder);
	(void)snprintf(filler, sizeof filler, "%s/filler", folder);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mount("full", folder, "tmpfs", 0, "size=64k"), 0);
	server = SERVER("--workers", "1", "--pid-file", pid_file, "echo://127.0.0.1:0");
	fill(filler);
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	ck_assert(exists(pid_file));
	ck_assert_int_eq(atoi(read_whole(pid_file)), server->pid);
	ck_assert_uint_eq(files_in(folder), 3); /* the pid file, its lock, the filler */
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_uint_eq(files_in(folder), 1);
	fill(filler);
	ck_assert_int_eq(RUN(output, "--pid-file", pid_file, "echo://127.0.0.1:0"), 1);
	ck_assert_msg(strstr(output, "/full/pid: No space left") != NULL, "%s", output);
	ck_assert_uint_eq(files_in(folder), 1);
	ck_assert_int_eq(umount(folder), 0);
}
END_TEST

/* Workers of a later generation, of the next master, and one that is added. */
START_TEST(workers_that_come_later_are_the_user_too)
{
	struct server *server;
	pid_t before;

	if (cannot("workers that come later are the user too"))
		return;
	server = CONTROLLED("--workers", "1", "--user", "nobody", "echo://127.0.0.1:0");
	before = server_wait_worker(server, 0, 0);
	for (int i = 0; i < 2; i++) {
		(void)server_control_make(server,
					  i ? SERVER_CONTROL_UPGRADE : SERVER_CONTROL_RELOAD);
		before = server_wait_worker(server, 0, before);
		worker_is(before, "nobody", getpwnam("nobody")->pw_gid);
		ids_are(server->pid, "Uid:", 0);
		serves(server);
	}
	(void)server_control_make(server, SERVER_CONTROL_MORE);
	worker_is(server_wait_worker(server, 1, 0), "nobody", getpwnam("nobody")->pw_gid);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Without a master, the one process becomes the user. */
START_TEST(no_master_becomes_the_user)
{
	struct server *server;

	if (cannot("without a master, the one process is the user"))
		return;
	server = SERVER("--no-master", "--workers", "1", "--user", "nobody", "echo://127.0.0.1:0");
	worker_is(server->pid, "nobody", getpwnam("nobody")->pw_gid);
	serves(server);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(unknown_users_are_wrong_usage)
{
	static const char *const users[] = {"no-such-user-here", "nobody:no-such-group-here",
					    "nobody:", ":daemon", "4294967295:0"};

	if (cannot("an unknown user is wrong usage"))
		return;
	for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
		char output[4096];
		int status = server_run(
		    (const char *const[]){"--user", users[i], "echo://127.0.0.1:0", NULL}, output,
		    sizeof output);

		ck_assert_msg(status == 2, "%s: exit %d: %s", users[i], status, output);
		ck_assert_msg(strstr(output, users[i]), "%s", output);
	}
}
END_TEST

SUITE("root_operator",
      {"workers are the user, the master is root", workers_are_the_user_and_the_master_is_root, 40},
      {"a group of its own", group_may_be_another, 20},
      {"replacements are the user too", replacements_are_the_user_too, 30},
      {"workers that come later are the user too", workers_that_come_later_are_the_user_too, 30},
      {"what needs root is done as root", what_needs_root_is_done_as_root, 20},
      {"a full disk keeps the pid file", a_full_disk_keeps_the_pid_file, 20},
      {"without a master, the one process is the user", no_master_becomes_the_user, 20},
      {"an unknown user is wrong usage", unknown_users_are_wrong_usage, 30})
