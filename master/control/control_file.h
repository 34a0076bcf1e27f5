/*
 * control_file: where the socket of control is.
 *
 * The place is the operator's (at start the server dies of one that can't be had) or the default
 * one (if that can't be had there is none, with a warning). A stale file is replaced, a live one
 * never; what a killed master left in the default place goes when the next one starts. The file is
 * removed by the master that has it, and only if it is still the same file (socket_file.h).
 */
#ifndef MASTER_CONTROL_CONTROL_FILE_H
#define MASTER_CONTROL_CONTROL_FILE_H

#include <stdbool.h>

#include "master/listen/socket_file.h"

#define CONTROL_FOLDER "/run/weir" /* $XDG_RUNTIME_DIR if it can't be written */

struct control_file {
	struct address address;
	bool asked_for; /* by the operator */
	struct socket_file file;
};

/* What another master hands over. */
struct control_inherited {
	int fd; /* -1: none */
	struct socket_file file;
};

/* A listening socket; -1: there is none. */
int control_file_open(struct control_file *file, const char *path);
/* The same at the path that it had before it was removed or forgotten; never dies. */
int control_file_again(struct control_file *file);
/* The master before us was reached by this socket. If it is at `path` it is ours now; else its file
 * is removed, and a new socket is made at `path` (NULL: in the default place). */
int control_file_adopt(struct control_file *file, const char *path,
		       const struct control_inherited *inherited);
const char *control_file_path(const struct control_file *file);
void control_file_remove(struct control_file *file);
/* The file is another master's from now on. */
void control_file_forget(struct control_file *file);

#endif
