/*
 * find: the server to talk to, by its socket, or the only one there is.
 *
 * Looks only in the folders in which a server puts its socket by default; one that was started with
 * --control is found by that path alone. If there is no server, or more than one, the program ends
 * with FIND_NONE, and stderr lists those there are.
 */
#ifndef MASTER_WEIRCTL_FIND_H
#define MASTER_WEIRCTL_FIND_H

#include <sys/types.h>

#define FIND_NONE 3 /* the exit status */

struct found {
	int fd;		  /* connected, blocking */
	const char *path; /* good until the next search */
	pid_t pid;	  /* of the server that listens; 0: it is in another pid namespace */
};

/* path NULL: the only one. Connecting waits wait_ms at most; 0: as long as it takes. */
struct found find_server(const char *path, int wait_ms);
/* Connects again, for a program that does not end if the server has gone: 0 or -errno. */
int find_again(const char *path, int wait_ms, struct found *found);

#endif
