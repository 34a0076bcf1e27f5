#include "master/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/log.h"

#define PATH_BYTES 4096
#define TRIES	   16 /* how often it is tried again, because the holder may go in between */

static bool name_of(char name[PATH_BYTES], const char *path)
{
	return (size_t)snprintf(name, PATH_BYTES, "%s.lock", path) < PATH_BYTES;
}

static bool is_at(int lock, const char *name)
{
	struct stat held, there;

	return fstat(lock, &held) == 0 && lstat(name, &there) == 0 && held.st_dev == there.st_dev &&
	       held.st_ino == there.st_ino;
}

/* 0 or -errno. Some file systems have no locks. Without one weir runs all the same: a second start
 * is refused there too, unless it is at the same moment. */
static int lock_it(int lock, const char *name)
{
	if (flock(lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK || errno == EINTR)
		return -EWOULDBLOCK;
	log_warn("no lock can be had in this file system", LOG_TEXT("path", name),
		 LOG_TEXT("error", strerror(errno)));
	return 0;
}

int lock_file_take(const char *path)
{
	char name[PATH_BYTES];

	if (!name_of(name, path))
		return -ENAMETOOLONG;
	for (int i = 0; i < TRIES; i++) {
		/* Not through a link, and not waiting for the other end of a pipe. */
		int lock = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
		int error;

		if (lock < 0)
			return -errno;
		error = lock_it(lock, name);
		if (!error && is_at(lock, name))
			return lock;
		(void)close(lock);
		if (error)
			return error;
	}
	return -EWOULDBLOCK;
}

bool lock_file_holds(int lock, const char *path)
{
	char name[PATH_BYTES];

	return lock >= 0 && name_of(name, path) && is_at(lock, name);
}

/* A process that opened the file before it was removed, and gets the lock afterwards, looks whether
 * it is still at the path (lock_file_take()). */
void lock_file_release(int lock, const char *path)
{
	char name[PATH_BYTES];

	if (lock_file_holds(lock, path) && name_of(name, path))
		(void)unlink(name);
	if (lock >= 0)
		(void)close(lock);
}
