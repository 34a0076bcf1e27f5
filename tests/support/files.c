/* Files of a test, in its temporary folder. */
#include "tests/support/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *in_folder(const char *name)
{
	static char paths[4][128];
	static int turn;
	char *path = paths[turn++ % 4];

	(void)snprintf(path, sizeof *paths, "%s/%s", temporary_folder(), name);
	return path;
}

const char *built(const char *name)
{
	static char paths[4][512];
	static int turn;
	const char *build = getenv("BUILD");
	char *path = paths[turn++ % 4];

	(void)snprintf(path, sizeof *paths, "%s/%s", build ? build : "build", name);
	return path;
}

const char *write_file(const char *name, const char *text)
{
	const char *path = in_folder(name);
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
	return path;
}

char *read_whole(const char *path)
{
	static char text[1 << 18];
	FILE *file = fopen(path, "re");
	size_t n;

	if (!file)
		return NULL;
	n = fread(text, 1, sizeof text - 1, file);
	text[n] = '\0';
	(void)fclose(file);
	return text;
}

bool exists(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0;
}
