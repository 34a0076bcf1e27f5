#include "master/pid_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "reactor/check.h"

static char *written; /* the configuration may go before it */

static int read_pid_file(const char *path)
{
	FILE *file = fopen(path, "re");
	int pid = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	(void)fclose(file);
	return pid;
}

/* One server must not take another's file; one that was killed leaves a number behind. */
void pid_file_refuse_in_use(const char *path)
{
	int pid = path ? read_pid_file(path) : 0;
	char comm_path[64], comm[32] = "";
	FILE *file;

	if (pid <= 0 || pid == getpid())
		return;
	(void)snprintf(comm_path, sizeof comm_path, "/proc/%d/comm", pid);
	file = fopen(comm_path, "re");
	if (!file)
		return;
	if (fgets(comm, sizeof comm, file) && strncmp(comm, "weir", 4) == 0)
		die("pid-file %s: weir runs already, as pid %d", path, pid);
	(void)fclose(file);
}

/* Written beside it and renamed: whoever reads the file reads a whole number. */
void pid_file_write(const char *path)
{
	char beside[512];
	FILE *file;

	if (!path)
		return;
	if ((size_t)snprintf(beside, sizeof beside, "%s.%d", path, (int)getpid()) >= sizeof beside)
		die("pid-file %s: the path is too long", path);
	file = fopen(beside, "we");
	if (!file || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file) != 0 ||
	    rename(beside, path) < 0)
		die("pid-file %s: %s", path, strerror(errno));
	written = strdup(path);
}

void pid_file_remove(void)
{
	if (written && read_pid_file(written) == getpid())
		(void)unlink(written);
}
