/*
 * control_file: the socket file of control: where it is, whose it is, and its end.
 *
 * The place is the operator's (a path that can't be had dies, at start) or the default one
 * (then there may be none, which is only warned of). A stale file is replaced, a live one
 * never; what a killed master left in the default place goes when the next one starts. The
 * file is removed by who made it, where it is still the same file.
 */
#ifndef MASTER_CONTROL_FILE_H
#define MASTER_CONTROL_FILE_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "worker/identity.h"

struct control_file {
	struct sockaddr_un address;
	bool asked_for; /* by the operator */
	dev_t device;
	ino_t inode; /* 0: no file of ours */
};

/* A listening socket; -1: there is none. identity NULL: no other user may connect. */
int control_file_open(struct control_file *file, const char *path, const struct identity *identity);
/* The same where it was before, of a file that was removed or forgotten; never dies. */
int control_file_again(struct control_file *file, const struct identity *identity);
/* fd listens where the master before us was reached: if that is the path (NULL: the default
 * place) the file is ours now; else it goes, and this is control_file_again() there. */
int control_file_adopt(struct control_file *file, const char *path, int fd,
		       const struct identity *identity);
void control_file_remove(struct control_file *file);
/* It is another's from now on. */
void control_file_forget(struct control_file *file);

#endif
