/*
 * proc: what the kernel says of a process, from /proc/PID/stat. It costs that process nothing.
 *
 * A look at /proc takes a descriptor, and may fail; then nothing is known of the process, which
 * must not be taken for good news. Whether a child is stopped can always be known.
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

/* False: it is not known. There is no such process, no /proc, or no descriptor to spare. */
bool proc_read(pid_t pid, struct proc *proc);
/* The same from a line as /proc/PID/stat has it. */
bool proc_parse(const char *line, struct proc *proc);
/* Is this child of ours stopped by a signal? Neither a descriptor nor /proc is needed. One that a
 * debugger holds does not count. */
bool proc_is_stopped(pid_t child);

#endif
