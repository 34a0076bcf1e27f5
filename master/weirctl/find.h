/*
 * find: the server to talk to, by its socket, or the only one there is.
 *
 * Looks only where a server puts its socket by default; one that was started with --control
 * is found by that path alone. Who can't be told apart, or is not there, ends the program
 * with FIND_NONE, on stderr who is.
 */
#ifndef MASTER_WEIRCTL_FIND_H
#define MASTER_WEIRCTL_FIND_H

#include <sys/types.h>

#define FIND_NONE 3 /* the exit status */

struct found {
	int fd;		  /* connected, blocking */
	const char *path; /* good until the next search */
	pid_t pid;	  /* of who listens; 0: it lives where we can't see it */
};

/* path NULL: the only one. Connecting waits wait_ms at most; 0: as long as it takes. */
struct found find_server(const char *path, int wait_ms);
/* For who has had one already, and does not end without it: 0 or -errno. */
int find_again(const char *path, int wait_ms, struct found *found);

#endif
