/*
 * command: what weirctl may ask of a server, the rows of command.def as a table.
 *
 * Server and weirctl have it in common, and neither knows a command that is not in it. A row that
 * stands there keeps its name: people's scripts say it.
 */
#ifndef MASTER_CONTROL_COMMAND_H
#define MASTER_CONTROL_COMMAND_H

#include <stddef.h>

enum command {
#define COMMAND(name, argument, kind, list, meaning) COMMAND_##name,
#include "master/control/command.def"
#undef COMMAND
	COMMANDS /* as none */
};

struct command_row {
	const char *name;
	const char *argument; /* "": it takes none */
	enum { COMMAND_SHOWS, COMMAND_CHANGES, COMMAND_ENDS } kind;
	const char *list; /* NULL: none */
	const char *meaning;
};

extern const struct command_row command_rows[COMMANDS];

/* COMMANDS: there is none of that name. */
enum command command_find(const char *name);
/* The names of as many as have room in n bytes, 1 or more, with blanks between them. */
void command_list(char *text, size_t n);

#endif
