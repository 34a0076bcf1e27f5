/*
 * ask: one request to a server, and its answer as it comes.
 *
 * The caller waits for the descriptor (POLLIN) and reads; nothing here blocks. It owns the
 * descriptor from the beginning to the end. A record is there as soon as its line is; an answer
 * is whole when the server said `done`, and no sooner.
 */
#ifndef MASTER_WEIRCTL_ASK_H
#define MASTER_WEIRCTL_ASK_H

#include "master/weirctl/answer.h"

struct ask {
	int fd; /* -1: it has ended */
	struct answer answer;
	bool said;	 /* done, or failed */
	const char *why; /* it failed; NULL: it did not */
	char *bytes;
	size_t n;
};

/* fd: connected. */
void ask_begin(struct ask *ask, int fd, const char *request);
/* Takes what has come. False: that was all; see why. */
bool ask_read(struct ask *ask);
/* Ends it as it is; its answer stays, and is the caller's. */
void ask_end(struct ask *ask);

#endif
