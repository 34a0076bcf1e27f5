#include "master/listen/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/lock_file.h"
#include "reactor/loop/listener.h"

#define ANYBODY	   ((uid_t)-1)
#define LOCK_TRIES 20 /* a millisecond each */

/* ---- which file it is ---- */

static bool is_at(const char *path, dev_t device, ino_t inode)
{
	struct stat status;

	return lstat(path, &status) == 0 && S_ISSOCK(status.st_mode) && status.st_dev == device &&
	       status.st_ino == inode;
}

/* Holds the file at path. False: it is no socket, or somebody else's. ANYBODY: the owner does not
 * matter, because it may have been given to another one since. */
static bool hold(struct socket_file *file, const char *path, uid_t owner)
{
	int held = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;

	*file = (struct socket_file){.held = -1};
	if (held < 0)
		return false;
	if (fstat(held, &status) < 0 || !S_ISSOCK(status.st_mode) ||
	    (owner != ANYBODY && status.st_uid != owner)) {
		(void)close(held);
		return false;
	}
	*file = (struct socket_file){status.st_dev, status.st_ino, held};
	return true;
}

bool socket_file_adopt(struct socket_file *file, const char *path, dev_t device, ino_t inode)
{
	if (hold(file, path, ANYBODY) &&
	    (!inode || (file->device == device && file->inode == inode)))
		return true;
	socket_file_forget(file);
	return false;
}

bool socket_file_is_there(const struct socket_file *file, const char *path)
{
	return file->inode && is_at(path, file->device, file->inode);
}

/* ---- its life ---- */

/* Removes a stale file. 0: nobody listens there, and the path is free; or -errno. */
static int replace_stale(const struct address *address, const char **step)
{
	const char *path = address_path(address);
	struct stat status;
	int fd, error = 0;

	if (lstat(path, &status) < 0)
		return 0; /* bind() says what else is wrong with it */
	*step = "a file that is no socket is there";
	if (!S_ISSOCK(status.st_mode))
		return -EADDRINUSE;
	*step = "socket";
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address->socket, address->bytes) < 0)
		error = errno;
	(void)close(fd);
	*step = "a server is listening there";
	if (!error || error == EAGAIN)
		return -EADDRINUSE;
	*step = "removing a stale socket file";
	if (error == ECONNREFUSED && unlink(path) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

static int listen_there(struct address *address, const struct listen_options *options,
			unsigned mode, const char **step)
{
	mode_t mask = umask(0);
	int fd;

	/* bind() makes the file with the mode 0777, less the umask. */
	(void)umask(mode ? ~mode & 0777 : mask);
	fd = listen_on(address, options, step);
	(void)umask(mask);
	return fd;
}

/* Its holder is done in a moment, unless it hangs. */
static int take_lock(const char *path)
{
	int lock, tries = 0;

	while ((lock = lock_file_take(path)) == -EWOULDBLOCK && ++tries < LOCK_TRIES)
		(void)poll(NULL, 0, 1);
	return lock;
}

int socket_file_open(struct socket_file *file, struct address *address,
		     const struct listen_options *options, unsigned mode, const char **step)
{
	const char *path = address_path(address);
	int lock = take_lock(path), fd;

	*file = (struct socket_file){.held = -1};
	*step =
	    lock == -EWOULDBLOCK ? "another server is about to listen there" : "the lock beside it";
	if (lock == -EWOULDBLOCK)
		return -EADDRINUSE;
	if (lock < 0 && lock != -ENOENT && lock != -ENOTDIR) /* no such folder: bind() says so */
		return lock;
	fd = replace_stale(address, step);
	if (fd == 0)
		fd = listen_there(address, options, mode, step);
	if (fd >= 0)
		(void)hold(file, path, geteuid());
	lock_file_release(lock, path);
	return fd;
}

int socket_file_set_mode(const struct socket_file *file, unsigned mode)
{
	mode_t mask = umask(0);
	char held[32];

	(void)umask(mask);
	(void)snprintf(held, sizeof held, "/proc/self/fd/%d", file->held);
	return chmod(held, mode ? mode : 0777 & ~mask) < 0 ? -errno : 0;
}

/* If another server is about to replace the file, that one does what is left to do. If there can be
 * no lock, because the disk is full, it is removed all the same. */
void socket_file_remove(struct socket_file *file, const char *path)
{
	int lock = socket_file_is_there(file, path) ? take_lock(path) : -ENOENT;

	if (lock != -EWOULDBLOCK && socket_file_is_there(file, path))
		(void)unlink(path);
	lock_file_release(lock, path);
	socket_file_forget(file);
}

void socket_file_forget(struct socket_file *file)
{
	if (file->inode)
		(void)close(file->held);
	*file = (struct socket_file){.held = -1};
}

void socket_file_sweep(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct address address = {.bytes = sizeof name};
	const char *step;
	int lock;

	if ((size_t)snprintf(name.sun_path, sizeof name.sun_path, "%s", path) >=
	    sizeof name.sun_path)
		return;
	memcpy(&address.socket, &name, sizeof name);
	lock = lock_file_take(path);
	if (lock >= 0)
		(void)replace_stale(&address, &step);
	lock_file_release(lock, path);
}
