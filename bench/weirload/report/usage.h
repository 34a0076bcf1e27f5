/*
 * usage: what a tree of processes uses of CPU and memory, read from /proc.
 *
 * The tree is a process and all its descendants; a process whose parent died first is no longer
 * part of it. A snapshot is owned by the caller, starts as all zero, may be taken again and again,
 * and is freed with usage_free(). Taking one costs about 13 us for each process of the machine
 * (10,000: 0.13 s), and three times that with memory. It is not of one moment: a process that ends
 * while it is read may be missed, with the CPU time that it had used. Children of a process that
 * ignores SIGCHLD leave no trace.
 */
#ifndef BENCH_WEIRLOAD_REPORT_USAGE_H
#define BENCH_WEIRLOAD_REPORT_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct usage_thread {
	pid_t tid;
	uint64_t run_ns, wait_ns; /* on a CPU; ready to run, without one */
};

struct usage_snapshot {
	uint64_t cpu_ns;		   /* of the living, and of those that they reaped */
	uint64_t user_ticks, system_ticks; /* the same, counted by clock ticks */
	uint64_t memory_bytes;
	unsigned processes;
	struct usage_thread *threads; /* by tid */
	size_t threads_n, threads_room;
};

struct usage {
	uint64_t cpu_ns;	     /* exact to the ns; for reaped processes to 10 ms */
	uint64_t user_ns, system_ns; /* cpu_ns, shared out by clock ticks */
	/* Of the threads still there, the one that ran and waited for a CPU the longest. */
	pid_t busiest_tid;
	uint64_t busiest_ns, busiest_wait_ns;
	/* At the later snapshot. Memory is the sum of what each process maps, where a page mapped
	 * by N processes counts as 1/N for each (Pss); without the right to read that, it is Rss
	 * without shared pages. */
	uint64_t memory_bytes;
	unsigned processes, threads;
};

/* 0, or -errno: -ESRCH if root is not there (one that is dead and not reaped still is). Without
 * memory that figure stays 0. */
int usage_take(struct usage_snapshot *snapshot, pid_t root, bool memory);
void usage_free(struct usage_snapshot *snapshot);
void usage_difference(struct usage *usage, const struct usage_snapshot *before,
		      const struct usage_snapshot *after);

/* The memory that the kernel of the whole machine uses for its own objects, such as sockets:
 * Slab, KernelStack and PageTables of /proc/meminfo; 0 if that can't be read.
 * An idle TCP connection is in Slab. Bytes that wait in socket queues are there only up to
 * about a page; pages of larger queues are in no row of meminfo (the row TCP, mem of
 * /proc/net/sockstat has them, with each socket rounded up to whole pages). */
uint64_t usage_kernel_bytes(void);

#endif
