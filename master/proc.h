/*
 * proc: what the kernel says of a process, from /proc/PID/stat. It costs that process nothing.
 */
#ifndef MASTER_PROC_H
#define MASTER_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc {
	char state;	  /* R, S, T (stopped), t (by a tracer), Z, ... */
	uint64_t started; /* in ticks since boot: with the pid, it names the process */
	uint64_t cpu_us;
	uint64_t memory_bytes; /* resident, shared pages too */
};

/* False: there is no such process, or no /proc. */
bool proc_read(pid_t pid, struct proc *proc);
/* The same of a line as stat has it. */
bool proc_parse(const char *line, struct proc *proc);

#endif
