#include "master/control/control_file.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/loop/listener.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"

#define BACKLOG	  128
#define MODE	  0660
#define WHY_BYTES 256

/* False: it is too long. */
static bool set_path(struct control_file *file, const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	*file = (struct control_file){.address.bytes = sizeof name, .file.held = -1};
	if ((size_t)snprintf(name.sun_path, sizeof name.sun_path, "%s", path) >=
	    sizeof name.sun_path)
		return false;
	memcpy(&file->address.socket, &name, sizeof name);
	return true;
}

const char *control_file_path(const struct control_file *file)
{
	const char *path = address_path(&file->address);

	return path ? path : "";
}

/* The socket, or -1 and why. */
static int open_at(struct control_file *file, char why[WHY_BYTES])
{
	static const struct listen_options options = {.backlog = BACKLOG};
	const char *step;
	int fd = socket_file_open(&file->file, &file->address, &options, MODE, &step);

	if (fd >= 0)
		return fd;
	(void)snprintf(why, WHY_BYTES, "%s: %s", step, strerror(-fd));
	return -1;
}

/* Removes what masters that were killed left: nobody listens there, and no process has that
 * number. */
static void sweep(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[512];
	int pid, end;

	while (dir && (entry = readdir(dir))) {
		end = 0;
		if (sscanf(entry->d_name, "weir-%d.sock%n", &pid, &end) != 1 || !end ||
		    entry->d_name[end] || pid <= 0 || kill(pid, 0) == 0 || errno != ESRCH)
			continue;
		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		socket_file_sweep(path);
	}
	if (dir)
		(void)closedir(dir);
}

static void warn(const char *path, const char *why)
{
	log_warn("weirctl can't reach this server: no place for its socket (see --control)",
		 LOG_TEXT("path", path), LOG_TEXT("error", why));
}

static int open_default(struct control_file *file)
{
	const char *folders[] = {CONTROL_FOLDER, getenv("XDG_RUNTIME_DIR")};
	char why[WHY_BYTES] = "", path[512] = "";
	int fd;

	if (mkdir(CONTROL_FOLDER, 0755) == 0) /* whatever the umask is */
		(void)chmod(CONTROL_FOLDER, 0755);
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		if (!folders[i] || *folders[i] != '/')
			continue;
		(void)snprintf(path, sizeof path, "%s/weir-%d.sock", folders[i], (int)getpid());
		if (!set_path(file, path)) {
			(void)snprintf(why, sizeof why, "the path is too long");
			continue;
		}
		fd = open_at(file, why);
		if (fd >= 0) {
			sweep(folders[i]);
			return fd;
		}
	}
	warn(path, why);
	*file = (struct control_file){.file.held = -1};
	return -1;
}

int control_file_open(struct control_file *file, const char *path)
{
	char why[WHY_BYTES];
	int fd;

	if (!path)
		return open_default(file);
	if (!set_path(file, path))
		die("control %s: the path is too long", path);
	file->asked_for = true;
	fd = open_at(file, why);
	if (fd < 0)
		die("control %s: %s", path, why);
	return fd;
}

int control_file_again(struct control_file *file)
{
	char why[WHY_BYTES];
	int fd;

	if (!address_path(&file->address))
		return -1; /* there was no place before, either */
	fd = open_at(file, why);
	if (fd < 0)
		warn(control_file_path(file), why);
	return fd;
}

int control_file_adopt(struct control_file *file, const char *path,
		       const struct control_inherited *inherited)
{
	struct sockaddr_un bound = {0};
	socklen_t n = sizeof bound - 1;
	struct socket_file there;

	if (getsockname(inherited->fd, (struct sockaddr *)&bound, &n) == 0 &&
	    socket_file_adopt(&there, bound.sun_path, inherited->file.device,
			      inherited->file.inode)) {
		if (path && strcmp(bound.sun_path, path) == 0 && set_path(file, path)) {
			file->asked_for = true;
			file->file = there;
			(void)rights_refuse(inherited->fd);
			/* Listen again, so that whoever connects learns our pid from now on
			 * (SO_PEERCRED in unix(7)). */
			(void)listen(inherited->fd, BACKLOG);
			return inherited->fd;
		}
		/* The configuration names another place by now. */
		socket_file_remove(&there, bound.sun_path);
	}
	(void)close(inherited->fd);
	if (!path)
		return open_default(file);
	/* We serve: it is no time to die. */
	if (!set_path(file, path)) {
		warn(path, "the path is too long");
		return -1;
	}
	file->asked_for = true;
	return control_file_again(file);
}

void control_file_remove(struct control_file *file)
{
	if (file->file.inode)
		socket_file_remove(&file->file, control_file_path(file));
}

void control_file_forget(struct control_file *file)
{
	socket_file_forget(&file->file);
}
