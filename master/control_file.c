#include "master/control_file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/control.h"
#include "reactor/check.h"

#define BACKLOG 128

/* 0: somebody listens; else why not. */
static int look_for_listener(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error = 0;

	if (fd < 0)
		return errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno != EAGAIN)
		error = errno;
	(void)close(fd);
	return error;
}

/* NULL, or why the place can't be had. */
static const char *make_room(const struct sockaddr_un *address)
{
	struct stat status;
	int error;

	if (lstat(address->sun_path, &status) < 0)
		return NULL; /* bind() says what else is wrong with it */
	if (!S_ISSOCK(status.st_mode))
		return "a file that is no socket is there";
	error = look_for_listener(address);
	if (!error)
		return "a server is listening there";
	if (error != ECONNREFUSED)
		return strerror(error);
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return strerror(errno);
	return NULL;
}

static void remember(struct control_file *file)
{
	struct stat status;

	file->inode = 0;
	if (stat(file->address.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return;
	file->device = status.st_dev;
	file->inode = status.st_ino;
}

/* Nobody can connect before listen(): the file is as it shall be by then. */
static const char *bind_there(const struct control_file *file, int fd,
			      const struct identity *identity)
{
	const char *path = file->address.sun_path;
	mode_t mask = umask(0117);
	int error = bind(fd, (const struct sockaddr *)&file->address, sizeof file->address) < 0;

	error = error ? errno : 0;
	(void)umask(mask);
	if (error)
		return strerror(error);
	if (identity && geteuid() == 0 && lchown(path, identity->uid, (gid_t)-1) < 0)
		error = errno;
	if (!error && listen(fd, BACKLOG) < 0)
		error = errno;
	if (!error)
		return NULL;
	(void)unlink(path);
	return strerror(error);
}

/* The socket, or -1 and why. */
static int open_at(struct control_file *file, const struct identity *identity, const char **why)
{
	int fd;

	*why = make_room(&file->address);
	if (*why)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	*why = fd < 0 ? strerror(errno) : bind_there(file, fd, identity);
	if (!*why) {
		remember(file);
		return fd;
	}
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

static bool set_path(struct control_file *file, const char *path)
{
	*file = (struct control_file){.address.sun_family = AF_UNIX};
	return (size_t)snprintf(file->address.sun_path, sizeof file->address.sun_path, "%s", path) <
	       sizeof file->address.sun_path;
}

/* What masters that were killed left: nobody listens, and nobody has that number. */
static void sweep(const char *folder)
{
	DIR *dir = opendir(folder);
	struct control_file other;
	struct dirent *entry;
	char path[512];
	int pid, end;

	while (dir && (entry = readdir(dir))) {
		end = 0;
		if (sscanf(entry->d_name, "weir-%d.sock%n", &pid, &end) != 1 || !end ||
		    entry->d_name[end] || pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH)
			continue;
		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (set_path(&other, path))
			(void)make_room(&other.address);
	}
	if (dir)
		(void)closedir(dir);
}

static void warn(const struct control_file *file, const char *why)
{
	log_warn("weirctl can't reach this server: no place for its socket (see --control)",
		 LOG_TEXT("path", file->address.sun_path), LOG_TEXT("error", why));
}

static int open_default(struct control_file *file, const struct identity *identity)
{
	const char *folders[] = {CONTROL_FOLDER, getenv("XDG_RUNTIME_DIR")};
	const char *why = "";
	int fd;

	(void)mkdir(CONTROL_FOLDER, 0755);
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		char path[512];

		if (!folders[i] || *folders[i] != '/')
			continue;
		(void)snprintf(path, sizeof path, "%s/weir-%d.sock", folders[i], (int)getpid());
		if (!set_path(file, path)) {
			why = "the path is too long";
			continue;
		}
		fd = open_at(file, identity, &why);
		if (fd >= 0) {
			sweep(folders[i]);
			return fd;
		}
	}
	warn(file, why);
	*file = (struct control_file){0};
	return -1;
}

int control_file_open(struct control_file *file, const char *path, const struct identity *identity)
{
	const char *why;
	int fd;

	if (!path)
		return open_default(file, identity);
	if (!set_path(file, path))
		die("control %s: the path is too long", path);
	file->asked_for = true;
	fd = open_at(file, identity, &why);
	if (fd < 0)
		die("control %s: %s", path, why);
	return fd;
}

int control_file_again(struct control_file *file, const struct identity *identity)
{
	const char *why;
	int fd;

	if (!*file->address.sun_path)
		return -1; /* there was no place before, either */
	fd = open_at(file, identity, &why);
	if (fd < 0)
		warn(file, why);
	return fd;
}

int control_file_adopt(struct control_file *file, const char *path, int fd,
		       const struct identity *identity)
{
	struct sockaddr_un bound = {0};
	socklen_t n = sizeof bound - 1;
	bool named = getsockname(fd, (struct sockaddr *)&bound, &n) == 0;

	if (named && path && strcmp(bound.sun_path, path) == 0 && set_path(file, path)) {
		file->asked_for = true;
		remember(file);
		/* Once more: who connects learns our pid from now on (SO_PEERCRED in unix(7)). */
		(void)listen(fd, BACKLOG);
		return fd;
	}
	/* The configuration names another place by now. We serve: it is no time to die. */
	if (named)
		(void)unlink(bound.sun_path);
	(void)close(fd);
	if (!path)
		return open_default(file, identity);
	if (!set_path(file, path)) {
		warn(file, "the path is too long");
		return -1;
	}
	file->asked_for = true;
	return control_file_again(file, identity);
}

void control_file_remove(struct control_file *file)
{
	struct control_file now = *file;

	if (!file->inode)
		return;
	remember(&now);
	if (now.inode == file->inode && now.device == file->device)
		(void)unlink(file->address.sun_path);
	file->inode = 0;
}

void control_file_forget(struct control_file *file)
{
	file->inode = 0;
}
