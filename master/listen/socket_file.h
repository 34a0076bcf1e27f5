/*
 * socket_file: the name in the file system by which a unix socket is found.
 *
 * The folder may be another user's. So nothing is done to a path that was only looked at: a file of
 * ours is held open (O_PATH), so that its inode's number can't be another's meanwhile; its mode is
 * there when it is made, and changed by that descriptor; it is removed only if it is still the one
 * at the path. Whoever looks whether a file is stale, and then replaces or removes it, holds the
 * lock beside it (lock_file.h): two servers that start at one path can't both take it for stale.
 */
#ifndef MASTER_LISTEN_SOCKET_FILE_H
#define MASTER_LISTEN_SOCKET_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "reactor/base/address.h"

struct listen_options;

struct socket_file {
	dev_t device;
	ino_t inode; /* 0: there is none of ours, and `held` says nothing */
	int held;
};

/* A listening socket at a path; mode 0: as the umask has it. A stale file is replaced, a live one
 * is not. Its descriptor or -errno; *step: what failed. */
int socket_file_open(struct socket_file *file, struct address *address,
		     const struct listen_options *options, unsigned mode, const char **step);
/* Takes over a file that another master made (inode 0: it did not say which). False: it is gone. */
bool socket_file_adopt(struct socket_file *file, const char *path, dev_t device, ino_t inode);
bool socket_file_is_there(const struct socket_file *file, const char *path);
/* mode 0: as the umask has it. 0 or -errno. */
int socket_file_set_mode(const struct socket_file *file, unsigned mode);
/* Removes it, if it is still there. */
void socket_file_remove(struct socket_file *file, const char *path);
/* The file is another process' from now on. */
void socket_file_forget(struct socket_file *file);
/* Removes a socket that nobody listens on, whoever made it. */
void socket_file_sweep(const char *path);

#endif
