#include "master/control/command.h"

#include <stdio.h>
#include <string.h>

const struct command_row command_rows[COMMANDS] = {
#define COMMAND(name, argument, kind, list, meaning)                                               \
	[COMMAND_##name] = {#name, argument, COMMAND_##kind, list, meaning},
#include "master/control/command.def"
#undef COMMAND
};

enum command command_find(const char *name)
{
	unsigned command = 0;

	while (command < COMMANDS && strcmp(command_rows[command].name, name) != 0)
		command++;
	return (enum command)command;
}

void command_list(char *text, size_t n)
{
	size_t at = 0;

	*text = '\0';
	for (size_t i = 0; i < COMMANDS && at + strlen(command_rows[i].name) + 1 < n; i++)
		at +=
		    (size_t)snprintf(text + at, n - at, "%s%s", i ? " " : "", command_rows[i].name);
}
