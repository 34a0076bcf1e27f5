#include "master/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reads the fields behind the command's name, which may contain anything, ")" too: proc(5). */
bool proc_parse(const char *line, struct proc *proc)
{
	const char *behind = strrchr(line, ')');
	unsigned long long user, system, started, pages;
	char state;
	uint64_t hertz = (uint64_t)sysconf(_SC_CLK_TCK), page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!behind || sscanf(behind,
			      ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d "
			      "%*d %*d %*d %*d %llu %*u %llu",
			      &state, &user, &system, &started, &pages) != 5)
		return false;
	*proc = (struct proc){
	    .state = state,
	    .started = started,
	    .cpu_us = (user + system) * (1000000 / hertz),
	    .memory_bytes = pages * page,
	};
	return true;
}

bool proc_read(pid_t pid, struct proc *proc)
{
	char path[64], line[1024];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, line, sizeof line - 1);
	(void)close(fd);
	if (n <= 0)
		return false;
	line[n] = '\0';
	return proc_parse(line, proc);
}

/* WNOWAIT: the child can still be reaped as if nothing had been asked. */
bool proc_is_stopped(pid_t child)
{
	siginfo_t info = {.si_pid = 0};

	return waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == child;
}
