#include "worker/title.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

extern char **environ;

static char *title_start;
static size_t title_bytes;
/* Kept as long as the process lives: options point into them. */
static char **__attribute__((used)) title_arguments;
/* Also holds those that were taken out of the environment: a library may have kept them. */
static char **__attribute__((used)) title_environment;

static char *copy_of(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		die("starting: out of memory");
	return copy;
}

/* The kernel lays argv's texts, then the environment's, one behind the other: as far as there is no
 * gap, the memory is used for the title. */
static void extend(char *text)
{
	if (text == title_start + title_bytes)
		title_bytes += strlen(text) + 1;
}

char **title_open(int argc, char **argv)
{
	char **copies = calloc((size_t)argc + 1, sizeof *copies);
	size_t environ_n = 0;

	while (environ[environ_n])
		environ_n++;
	title_environment = calloc(environ_n + 1, sizeof *title_environment);
	if (!copies || !title_environment)
		die("starting: out of memory");
	title_arguments = copies;
	if (argc)
		title_start = argv[0];
	for (int i = 0; i < argc; i++) {
		extend(argv[i]);
		copies[i] = copy_of(argv[i]);
	}
	for (int i = 0; environ[i]; i++) {
		extend(environ[i]);
		environ[i] = title_environment[i] = copy_of(environ[i]);
	}
	return copies;
}

void title_set(const char *comm, const char *format, ...)
{
	va_list arguments;
	int n;

	(void)sys_prctl(PR_SET_NAME, (unsigned long)(uintptr_t)comm);
	if (!title_bytes)
		return;
	va_start(arguments, format);
	n = vsnprintf(title_start, title_bytes, format, arguments);
	va_end(arguments);
	if (n >= 0 && (size_t)n < title_bytes)
		memset(title_start + n, 0, title_bytes - (size_t)n);
}
