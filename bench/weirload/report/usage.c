#include "bench/weirload/report/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ULL

struct process {
	pid_t pid, parent_pid;
	struct process *parent; /* NULL: the parent was not seen */
	bool member;
	unsigned threads;
	uint64_t cpu_ns;		   /* its own, of all threads that it ever had */
	uint64_t user_ticks, system_ticks; /* its own and those of reaped children */
	uint64_t reaped_ticks;
};

/* All processes of the machine. */
struct processes {
	struct process *all;
	size_t n, room;
};

/* ---- reading /proc ---- */

static uint64_t ticks_to_ns(uint64_t ticks)
{
	return ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* Reads a small file, or as much of it as there is room for; false if there is no such file. */
__attribute__((format(printf, 3, 4))) static bool read_text(char *text, size_t room,
							    const char *format, ...)
{
	char path[96];
	ssize_t part = 0;
	va_list arguments;
	size_t n = 0;
	int fd;

	va_start(arguments, format);
	(void)vsnprintf(path, sizeof path, format, arguments);
	va_end(arguments);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while (n < room - 1 && (part = read(fd, text + n, room - 1 - n)) > 0)
		n += (size_t)part;
	text[n] = '\0';
	(void)close(fd);
	return part >= 0 && n > 0;
}

/* The number after name at the start of a line, in bytes; 0 if there is none. */
static uint64_t row_bytes(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, n) == 0)
			return strtoull(line + n, NULL, 10) * 1024;
	}
	return 0;
}

/* The next entry of /proc, or of a task folder, that is a number; 0 at the end. */
static pid_t next_number(DIR *folder)
{
	struct dirent *entry;

	while ((entry = readdir(folder)))
		if (*entry->d_name >= '1' && *entry->d_name <= '9')
			return (pid_t)strtol(entry->d_name, NULL, 10);
	return 0;
}

/* The array, with room for one more element than n; NULL if there is no memory. */
static void *array_grow(void *array, size_t n, size_t *room, size_t element_bytes)
{
	size_t more = *room ? *room * 2 : 64;

	if (n < *room)
		return array;
	array = realloc(array, more * element_bytes);
	if (array)
		*room = more;
	return array;
}

/* ---- processes ---- */

/* The clock of all its threads, dead ones included; false if the process has gone. */
static bool process_clock(pid_t pid, uint64_t *ns)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		return false;
	*ns = (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
	return true;
}

static bool process_read(struct process *process, pid_t pid)
{
	unsigned long user, system;
	long reaped_user, reaped_system;
	char text[1024], *name_end;
	int parent, threads;

	if (!read_text(text, sizeof text, "/proc/%d/stat", (int)pid))
		return false;
	/* The name of a process may contain anything, even a closing bracket. */
	name_end = strrchr(text, ')');
	if (!name_end ||
	    sscanf(name_end + 1,
		   " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld "
		   "%*d %*d %d",
		   &parent, &user, &system, &reaped_user, &reaped_system, &threads) != 6)
		return false;
	*process = (struct process){
	    .pid = pid,
	    .parent_pid = parent,
	    .threads = (unsigned)threads,
	    .user_ticks = user + (unsigned long)reaped_user,
	    .system_ticks = system + (unsigned long)reaped_system,
	    .reaped_ticks = (unsigned long)reaped_user + (unsigned long)reaped_system,
	};
	return process_clock(pid, &process->cpu_ns);
}

static int process_order(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int processes_read(struct processes *processes)
{
	DIR *folder = opendir("/proc");
	struct process process;
	pid_t pid;

	if (!folder)
		return -errno;
	while ((pid = next_number(folder))) {
		struct process *grown;

		if (!process_read(&process, pid))
			continue;
		grown = array_grow(processes->all, processes->n, &processes->room, sizeof process);
		if (!grown) {
			(void)closedir(folder);
			return -ENOMEM;
		}
		processes->all = grown;
		processes->all[processes->n++] = process;
	}
	(void)closedir(folder);
	return 0;
}

static struct process *processes_find(const struct processes *processes, pid_t pid)
{
	struct process key = {.pid = pid};

	if (!processes->n)
		return NULL;
	return bsearch(&key, processes->all, processes->n, sizeof key, process_order);
}

/* Marks all descendants of root. Most children have higher pids than their parent: then one round
 * finds all of them, and a second round shows that there are no more. */
static int processes_mark(struct processes *processes, pid_t root)
{
	struct process *top;
	bool more = true;

	qsort(processes->all, processes->n, sizeof *processes->all, process_order);
	top = processes_find(processes, root);
	if (!top)
		return -ESRCH;
	for (size_t i = 0; i < processes->n; i++)
		processes->all[i].parent = processes_find(processes, processes->all[i].parent_pid);
	top->member = true;
	while (more) {
		more = false;
		for (size_t i = 0; i < processes->n; i++) {
			struct process *process = &processes->all[i];

			if (process->member || !process->parent || !process->parent->member)
				continue;
			process->member = more = true;
		}
	}
	return 0;
}

/* ---- a snapshot ---- */

/* Kernels without scheduling statistics count the time of threads in ticks, and do not count how
 * long they waited. */
static bool thread_read(struct usage_thread *thread, pid_t pid, pid_t tid)
{
	unsigned long long run, wait;
	unsigned long user, system;
	char text[1024], *name_end;

	thread->tid = tid;
	if (read_text(text, sizeof text, "/proc/%d/task/%d/schedstat", (int)pid, (int)tid) &&
	    sscanf(text, "%llu %llu", &run, &wait) == 2) {
		thread->run_ns = run;
		thread->wait_ns = wait;
		return true;
	}
	if (!read_text(text, sizeof text, "/proc/%d/task/%d/stat", (int)pid, (int)tid))
		return false;
	name_end = strrchr(text, ')');
	if (!name_end ||
	    sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
		   &system) != 2)
		return false;
	thread->run_ns = ticks_to_ns(user + system);
	thread->wait_ns = 0;
	return true;
}

static int take_thread(struct usage_snapshot *snapshot, pid_t pid, pid_t tid)
{
	struct usage_thread thread, *grown;

	if (!thread_read(&thread, pid, tid))
		return 0;
	grown = array_grow(snapshot->threads, snapshot->threads_n, &snapshot->threads_room,
			   sizeof thread);
	if (!grown)
		return -ENOMEM;
	snapshot->threads = grown;
	snapshot->threads[snapshot->threads_n++] = thread;
	return 0;
}

static int take_threads(struct usage_snapshot *snapshot, const struct process *process)
{
	char path[64];
	int error = 0;
	DIR *folder;
	pid_t tid;

	if (process->threads == 1)
		return take_thread(snapshot, process->pid, process->pid);
	(void)snprintf(path, sizeof path, "/proc/%d/task", (int)process->pid);
	folder = opendir(path);
	if (!folder)
		return errno == ENOENT ? 0 : -errno;
	while (!error && (tid = next_number(folder)))
		error = take_thread(snapshot, process->pid, tid);
	(void)closedir(folder);
	return error;
}

static uint64_t process_memory_bytes(pid_t pid)
{
	unsigned long resident, shared;
	char text[4096];

	if (read_text(text, sizeof text, "/proc/%d/smaps_rollup", (int)pid))
		return row_bytes(text, "Pss:");
	if (!read_text(text, sizeof text, "/proc/%d/statm", (int)pid) ||
	    sscanf(text, "%*u %lu %lu", &resident, &shared) != 2 || shared > resident)
		return 0;
	return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int thread_order(const void *a, const void *b)
{
	const struct usage_thread *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

static void snapshot_clear(struct usage_snapshot *snapshot)
{
	*snapshot = (struct usage_snapshot){.threads = snapshot->threads,
					    .threads_room = snapshot->threads_room};
}

static int take_members(struct usage_snapshot *snapshot, const struct processes *processes,
			bool memory)
{
	int error = 0;

	for (size_t i = 0; !error && i < processes->n; i++) {
		const struct process *process = &processes->all[i];

		if (!process->member)
			continue;
		snapshot->processes++;
		snapshot->cpu_ns += process->cpu_ns + ticks_to_ns(process->reaped_ticks);
		snapshot->user_ticks += process->user_ticks;
		snapshot->system_ticks += process->system_ticks;
		if (memory)
			snapshot->memory_bytes += process_memory_bytes(process->pid);
		error = take_threads(snapshot, process);
	}
	return error;
}

int usage_take(struct usage_snapshot *snapshot, pid_t root, bool memory)
{
	struct processes processes = {0};
	int error;

	snapshot_clear(snapshot);
	error = processes_read(&processes);
	if (!error)
		error = processes_mark(&processes, root);
	if (!error)
		error = take_members(snapshot, &processes, memory);
	free(processes.all);
	if (error)
		snapshot_clear(snapshot);
	else if (snapshot->threads_n)
		qsort(snapshot->threads, snapshot->threads_n, sizeof *snapshot->threads,
		      thread_order);
	return error;
}

void usage_free(struct usage_snapshot *snapshot)
{
	free(snapshot->threads);
	*snapshot = (struct usage_snapshot){0};
}

/* ---- between two snapshots ---- */

static uint64_t growth(uint64_t before, uint64_t after)
{
	return after > before ? after - before : 0;
}

/* What a thread had used before; zero if it is new, or another thread with the same number. */
static struct usage_thread thread_before(const struct usage_snapshot *before,
					 const struct usage_thread *after)
{
	const struct usage_thread *found = NULL;

	if (before->threads_n)
		found =
		    bsearch(after, before->threads, before->threads_n, sizeof *after, thread_order);
	if (!found || found->run_ns > after->run_ns || found->wait_ns > after->wait_ns)
		return (struct usage_thread){0};
	return *found;
}

static void find_busiest(struct usage *usage, const struct usage_snapshot *before,
			 const struct usage_snapshot *after)
{
	for (size_t i = 0; i < after->threads_n; i++) {
		const struct usage_thread *thread = &after->threads[i];
		struct usage_thread was = thread_before(before, thread);
		uint64_t run_ns = thread->run_ns - was.run_ns;
		uint64_t wait_ns = thread->wait_ns - was.wait_ns;

		if (run_ns + wait_ns < usage->busiest_ns + usage->busiest_wait_ns)
			continue;
		usage->busiest_tid = thread->tid;
		usage->busiest_ns = run_ns;
		usage->busiest_wait_ns = wait_ns;
	}
}

void usage_difference(struct usage *usage, const struct usage_snapshot *before,
		      const struct usage_snapshot *after)
{
	uint64_t user = growth(before->user_ticks, after->user_ticks);
	uint64_t system = growth(before->system_ticks, after->system_ticks);

	*usage = (struct usage){
	    .cpu_ns = growth(before->cpu_ns, after->cpu_ns),
	    .memory_bytes = after->memory_bytes,
	    .processes = after->processes,
	    .threads = (unsigned)after->threads_n,
	};
	/* If there was less than a tick of either, all time counts as user time. */
	usage->user_ns = usage->cpu_ns;
	if (user + system)
		usage->user_ns =
		    (uint64_t)((double)usage->cpu_ns * (double)user / (double)(user + system));
	usage->system_ns = usage->cpu_ns - usage->user_ns;
	find_busiest(usage, before, after);
}

uint64_t usage_kernel_bytes(void)
{
	char text[8192];

	if (!read_text(text, sizeof text, "/proc/meminfo"))
		return 0;
	return row_bytes(text, "Slab:") + row_bytes(text, "KernelStack:") +
	       row_bytes(text, "PageTables:");
}
