/* What /proc says about weir's processes. */
#include "tests/support/harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_file(const char *path, char *text, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t at = 0;
	ssize_t part = 0;

	if (fd < 0)
		return false;
	while (at < n - 1 && (part = read(fd, text + at, n - 1 - at)) > 0)
		at += (size_t)part;
	text[at] = '\0';
	(void)close(fd);
	return part >= 0;
}

pid_t server_child(const struct server *server, const char *name)
{
	char path[96], children[8192], comm[64], wanted[32], *at = children, *end;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)server->pid,
		       (int)server->pid);
	(void)snprintf(wanted, sizeof wanted, "%s\n", name);
	if (!read_file(path, children, sizeof children))
		return 0;
	for (;; at = end) {
		pid_t pid = (pid_t)strtol(at, &end, 10);

		if (end == at)
			return 0;
		(void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
		if (read_file(path, comm, sizeof comm) && strcmp(comm, wanted) == 0 &&
		    process_state(pid) != 'Z')
			return pid;
	}
}

pid_t server_worker(const struct server *server, unsigned worker)
{
	char name[32];

	(void)snprintf(name, sizeof name, "weir-w%u", worker);
	return server_child(server, name);
}

pid_t server_wait_worker(const struct server *server, unsigned worker, pid_t other_than)
{
	struct wait wait = wait_begin();
	pid_t pid;

	while (!(pid = server_worker(server, worker)) || pid == other_than)
		wait_more(&wait, "a worker");
	return pid;
}

size_t process_memory(pid_t pid)
{
	char path[64], text[256];
	unsigned long size, resident, shared;

	(void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	ck_assert(read_file(path, text, sizeof text));
	ck_assert_int_eq(sscanf(text, "%lu %lu %lu", &size, &resident, &shared), 3);
	return (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

void process_starve(pid_t pid, size_t more_bytes, struct rlimit *before)
{
	char path[64], text[256];
	struct rlimit limit;

	(void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	ck_assert(read_file(path, text, sizeof text));
	ck_assert_int_eq(prlimit(pid, RLIMIT_AS, NULL, before), 0);
	limit = *before;
	limit.rlim_cur = strtoul(text, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE) + more_bytes;
	ck_assert_int_eq(prlimit(pid, RLIMIT_AS, &limit, NULL), 0);
}

char process_state(pid_t pid)
{
	char path[64], text[512], *paren;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (!read_file(path, text, sizeof text) || !(paren = strrchr(text, ')')))
		return 0;
	return paren[2];
}

void process_stop(pid_t pid)
{
	struct wait wait = wait_begin();

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	while (process_state(pid) != 'T')
		wait_more(&wait, "a process to be stopped");
}

unsigned long process_ticks(pid_t pid)
{
	char path[64], text[512], *paren;
	unsigned long user = 0, system = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	ck_assert(read_file(path, text, sizeof text));
	paren = strrchr(text, ')');
	ck_assert_ptr_nonnull(paren);
	ck_assert_int_eq(sscanf(paren + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system),
			 2);
	return user + system;
}

static int text_order(const void *a, const void *b)
{
	return strcmp(a, b);
}

#define DESCRIPTORS_READ_MAX 32768
#define LINE_BYTES	     128

/* A peer's end wakes a process at once, so one that sleeps has closed its own side. */
static void wait_until_asleep(pid_t pid)
{
	struct wait wait = wait_begin();

	while (pid != getpid() && process_state(pid) == 'R')
		wait_more(&wait, "a process to have nothing to do");
}

/* Reads what each descriptor is, in no order. Returns how many there are. */
static size_t read_descriptors(pid_t pid, char (*lines)[LINE_BYTES], size_t max)
{
	char folder[64], path[350];
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	wait_until_asleep(pid);
	(void)snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) && n < max) {
		ssize_t length;

		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		length = readlink(path, lines[n], LINE_BYTES - 1);
		if (length <= 0)
			continue;
		lines[n][length] = '\0';
		n += strncmp(lines[n], "/proc/", 6) != 0;
	}
	(void)closedir(dir);
	return n;
}

static char descriptors[DESCRIPTORS_READ_MAX][LINE_BYTES];

void process_descriptors(pid_t pid, char *text, size_t n)
{
	size_t lines_n = read_descriptors(pid, descriptors, DESCRIPTORS_READ_MAX), at = 0;

	/* "socket:[123]" becomes "socket": the number means nothing in another process. */
	for (size_t i = 0; i < lines_n; i++)
		descriptors[i][strcspn(descriptors[i], "[")] = '\0';
	qsort(descriptors, lines_n, sizeof *descriptors, text_order);
	*text = '\0';
	for (size_t i = 0; i < lines_n && at < n; i++)
		at += (size_t)snprintf(text + at, n - at, "%s\n", descriptors[i]);
}

size_t process_descriptors_n(pid_t pid)
{
	return read_descriptors(pid, descriptors, DESCRIPTORS_READ_MAX);
}

void no_zombies(const struct server *server, size_t children_wanted)
{
	struct wait wait = wait_begin();
	char path[64], line[4096];
	size_t children, zombies;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)server->pid,
		       (int)server->pid);
	do {
		FILE *file = fopen(path, "re");
		char *at = line, *end;

		ck_assert_ptr_nonnull(file);
		*line = '\0';
		(void)!fgets(line, sizeof line, file);
		(void)fclose(file);
		children = zombies = 0;
		for (pid_t pid; (pid = (pid_t)strtol(at, &end, 10)), end != at; at = end) {
			children++;
			zombies += process_state(pid) == 'Z';
		}
		wait_more(&wait, "as many children as workers, and no zombie");
	} while (children != children_wanted || zombies);
}
