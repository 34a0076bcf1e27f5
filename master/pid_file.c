#include "master/pid_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "reactor/check.h"
#include "reactor/log.h"

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
	char stat_path[64], comm[32] = "", state = 'Z';
	FILE *file;

	if (pid <= 0 || pid == getpid())
		return;
	(void)snprintf(stat_path, sizeof stat_path, "/proc/%d/stat", pid);
	file = fopen(stat_path, "re");
	if (!file)
		return;
	/* One that is dead and was not reaped runs no more. */
	if (fscanf(file, "%*d (%31[^)]) %c", comm, &state) == 2 && state != 'Z' &&
	    strncmp(comm, "weir", 4) == 0)
		die("pid-file %s: weir runs already, as pid %d", path, pid);
	(void)fclose(file);
}

/* Written beside it and renamed: whoever reads the file reads a whole number. 0 or -errno. */
static int write_number(const char *path)
{
	char beside[512];
	FILE *file;
	bool whole;

	if ((size_t)snprintf(beside, sizeof beside, "%s.%d", path, (int)getpid()) >= sizeof beside)
		return -ENAMETOOLONG;
	file = fopen(beside, "we");
	if (!file)
		return -errno;
	whole = fprintf(file, "%d\n", (int)getpid()) > 0;
	return (fclose(file) == 0 && whole && rename(beside, path) == 0) ? 0 : -errno;
}

void pid_file_write(const char *path)
{
	int error = path ? write_number(path) : 0;

	if (error)
		die("pid-file %s: %s", path, strerror(-error));
	written = path ? strdup(path) : NULL;
}

void pid_file_take_over(const char *path)
{
	written = path ? strdup(path) : NULL;
	pid_file_take_back();
}

void pid_file_take_back(void)
{
	int error = written ? write_number(written) : 0;

	if (error)
		log_error("the pid file can't be written", LOG_TEXT("path", written),
			  LOG_TEXT("error", strerror(-error)));
}

void pid_file_remove(void)
{
	if (written && read_pid_file(written) == getpid())
		(void)unlink(written);
}
