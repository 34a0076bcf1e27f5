/*
 * control_commands: answers what weirctl asks for, from what the master knows, or when it has
 * happened.
 *
 * Clients that asked for a change hear of its outcome when it ends; several that ask for the same
 * one at a time share it. It knows no client longer than it takes to answer: control keeps those
 * that wait.
 */
#ifndef MASTER_CONTROL_CONTROL_COMMANDS_H
#define MASTER_CONTROL_CONTROL_COMMANDS_H

#include "master/change/change.h"
#include "master/control/control_file.h"

struct control_commands_owner {
	struct loop *loop;
	const struct scoreboard *scoreboard;
	const struct stats *own;    /* what the master counts */
	const char *(*state)(void); /* one word */
	void (*drain)(const char *why);
	void (*stop)(const char *why);
	void (*upgrade)(void);
};

/* After the generations. Listens at the path of the serving one's configuration, or on the socket
 * that a master before us had (NULL: there was none). Borrows its owner. */
void control_commands_open(const struct control_commands_owner *owner,
			   const struct control_inherited *inherited);
/* All clients that wait hear that it has ended, and the socket goes. */
void control_commands_close(void);
/* A change has ended; text says how, or why it was not made. */
void control_commands_tell(enum change change, bool made, const char *text);

#endif
