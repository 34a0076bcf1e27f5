#include "master/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/lock_file.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"

#define NUMBER_BYTES 16

static struct {
	char *path; /* a copy, because the configuration may go first; NULL: none */
	int lock;
	bool shared; /* the lock is also another master's, whose file it is */
	struct {
		char *path; /* of the master before us, if it is not ours; NULL: none */
		int lock;
		pid_t pid;
	} before;
} file = {.lock = -1, .before.lock = -1};

/* ---- the number ---- */

/* 0: there is none. Never waits for the other end of a pipe. */
static int read_number(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char text[NUMBER_BYTES];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	return (int)strtol(text, NULL, 10);
}

/* 0 or -errno. The number is written first and the rest cut off after it, so that the first line is
 * right at any moment. */
static int put_number(int fd)
{
	char text[NUMBER_BYTES];
	int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
	ssize_t written = pwrite(fd, text, (size_t)n, 0);

	if (written == n && ftruncate(fd, n) == 0)
		return 0;
	return written < 0 || written == n ? -errno : -ENOSPC;
}

/* Is it a plain file of ours with a single name, so that nothing else is overwritten? */
static bool is_ours_alone(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1 &&
	       status.st_uid == geteuid() && status.st_size < NUMBER_BYTES;
}

/* Written beside it and renamed, so that whoever reads the file reads a whole number. If something
 * is beside it, a server that was killed left that, since we have the lock. 0 or -errno. */
static int make_file(const char *path)
{
	char beside[PID_FILE_PATH_BYTES];
	int fd, error;

	if ((size_t)snprintf(beside, sizeof beside, "%s.new", path) >= sizeof beside)
		return -ENAMETOOLONG;
	(void)unlink(beside);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	error = put_number(fd);
	if (close(fd) < 0 && !error)
		error = -errno;
	if (!error && rename(beside, path) < 0)
		error = -errno;
	if (error)
		(void)unlink(beside);
	return error;
}

/* Written in place if there is a file: that needs no room on a full disk. */
static int write_number(const char *path)
{
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), error;
	bool usable = fd >= 0 && is_ours_alone(fd);

	error = usable ? put_number(fd) : 0;
	if (fd >= 0)
		(void)close(fd);
	return usable ? error : make_file(path);
}

/* ---- whose it is ---- */

/* Is it a device or a socket? A user who wants no file may say /dev/null, and root's rename would
 * replace that for everybody. */
static bool is_no_files_place(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0 &&
	       (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) || S_ISSOCK(status.st_mode));
}

static _Noreturn void refuse(const char *path, int error)
{
	int pid = read_number(path);

	if (error != -EWOULDBLOCK)
		die("pid-file %s: %s", path, strerror(-error));
	if (pid > 0 && kill(pid, 0) < 0 && errno == ESRCH)
		die("pid-file %s: pid %d has gone, but a process that it started still locks "
		    "%s.lock",
		    path, pid, path);
	if (pid > 0)
		die("pid-file %s: weir runs already, as pid %d", path, pid);
	die("pid-file %s: weir runs already", path);
}

void pid_file_open(const char *path, const struct pid_file_inherited *inherited)
{
	bool is_inherited = inherited && inherited->lock >= 0;

	if (path)
		file.path = strdup(path);
	if (is_inherited && path && strcmp(inherited->path, path) == 0) {
		file.lock = inherited->lock;
		file.shared = true;
		return;
	}
	if (is_inherited) {
		file.before.path = strdup(inherited->path);
		file.before.lock = inherited->lock;
		file.before.pid = getppid();
	}
	if (!path)
		return;
	if (is_no_files_place(path)) {
		free(file.path);
		file.path = NULL;
		die("pid-file %s: a device or a socket is there", path);
	}
	file.lock = lock_file_take(path);
	if (file.lock < 0) {
		free(file.path);
		file.path = NULL; /* not ours: clean-up leaves it alone */
		refuse(path, file.lock);
	}
}

void pid_file_write(void)
{
	int error = file.path ? write_number(file.path) : 0;

	if (error)
		die("pid-file %s: %s", file.path, strerror(-error));
}

void pid_file_export(struct pid_file_inherited *inherited)
{
	inherited->lock = file.path ? file.lock : -1;
	if (file.path)
		(void)snprintf(inherited->path, sizeof inherited->path, "%s", file.path);
}

/* The lock may be lost: the master that had it may use another path, and have released ours; or it
 * has ended, and the lock with it; or somebody has removed the lock's file. */
static void have_it(void)
{
	int error;

	file.shared = false;
	if (!file.path)
		return;
	if (!lock_file_holds(file.lock, file.path)) {
		if (file.lock >= 0)
			(void)close(file.lock);
		file.lock = lock_file_take(file.path);
	}
	if (file.lock == -EWOULDBLOCK) {
		log_error("the pid file is another server's by now", LOG_TEXT("path", file.path));
		free(file.path);
		file.path = NULL;
		return;
	}
	error = write_number(file.path);
	if (error)
		log_error("the pid file can't be written", LOG_TEXT("path", file.path),
			  LOG_TEXT("error", strerror(-error)));
}

void pid_file_take_over(void)
{
	have_it();
	if (!file.before.path)
		return;
	if (read_number(file.before.path) == file.before.pid)
		(void)unlink(file.before.path);
	lock_file_release(file.before.lock, file.before.path);
	free(file.before.path);
	file.before.path = NULL;
}

void pid_file_hand_over(void)
{
	file.shared = true;
}

void pid_file_take_back(void)
{
	have_it();
}

void pid_file_remove(void)
{
	if (!file.path || file.shared)
		return;
	if (read_number(file.path) == getpid())
		(void)unlink(file.path);
	lock_file_release(file.lock, file.path);
	free(file.path);
	file.path = NULL;
}
