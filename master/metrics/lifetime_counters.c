#include "master/metrics/lifetime_counters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "master/proc.h"
#include "reactor/base/hash.h"
#include "reactor/base/log.h"
#include "reactor/base/sys.h"

#define LIFETIME_VERSION 2
#define LIFETIME_SEATS	 (SEATS_MAX + 2)
#define LIFETIME_NAMES	 1024 /* a power of two, far more than there are counters */

/*
 * Two masters may write here at a time, each about its own processes. cpu_us is what is shown, one
 * word that only grows; used_us is the part of processes that have ended.
 */
struct lifetime_seat {
	uint64_t pid; /* 0: it was reaped */
	uint64_t born_us, started;
	uint64_t used_us, cpu_us;
};

/* A counter has its place by a hash of its name, because two versions of weir that write here at a
 * time may have different counters. */
struct lifetime_name {
	uint64_t id; /* 0: it is nobody's */
	uint64_t value;
};

struct lifetime_counters {
	uint64_t version, bytes, began_us, masters;
	uint64_t restarts[WORKERS_MAX];
	struct lifetime_seat seats[LIFETIME_SEATS];
	struct lifetime_name names[LIFETIME_NAMES];
};

static struct {
	struct lifetime_counters *shared; /* NULL: there are none */
	int fd;
	/* What masters before this one had counted; filled in when it is first asked for. */
	uint64_t before[SCOREBOARD_ROWS_MAX];
	bool known[SCOREBOARD_ROWS_MAX];
} here = {.fd = -1};

#define READ(place)	    __atomic_load_n(&(place), __ATOMIC_RELAXED)
#define WRITE(place, value) __atomic_store_n(&(place), (uint64_t)(value), __ATOMIC_SEQ_CST)
#define ADD(place, n)	    (void)__atomic_fetch_add(&(place), (uint64_t)(n), __ATOMIC_RELAXED)

static uint64_t wall_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- the memory ---- */

static bool attach(int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0 || status.st_size != (off_t)sizeof(struct lifetime_counters))
		return false;
	here.shared = sys_map(sizeof *here.shared, MAP_SHARED, fd);
	if (!here.shared)
		return false;
	if (here.shared->version == LIFETIME_VERSION &&
	    here.shared->bytes == sizeof(struct lifetime_counters)) {
		here.fd = fd;
		return true;
	}
	(void)munmap(here.shared, sizeof *here.shared);
	here.shared = NULL;
	return false;
}

static void make(void)
{
	here.fd = memfd_create("weir-annals", MFD_CLOEXEC);
	if (here.fd >= 0 && ftruncate(here.fd, sizeof(struct lifetime_counters)) == 0)
		here.shared = sys_map(sizeof *here.shared, MAP_SHARED, here.fd);
	if (!here.shared) {
		log_warn("no memory for annals: what happens is not counted");
		lifetime_counters_close();
		return;
	}
	here.shared->version = LIFETIME_VERSION;
	here.shared->bytes = sizeof(struct lifetime_counters);
	here.shared->began_us = wall_us();
}

void lifetime_counters_open(int inherited)
{
	if (inherited >= 0 && !attach(inherited)) {
		log_warn("other annals than those of the master before: they begin anew");
		(void)close(inherited);
	}
	if (!here.shared)
		make();
	if (here.shared) /* workers get no copy of it */
		(void)madvise(here.shared, sizeof *here.shared, MADV_DONTFORK);
}

int lifetime_counters_fd(void)
{
	return here.fd;
}

void lifetime_counters_close(void)
{
	if (here.shared)
		(void)munmap(here.shared, sizeof *here.shared);
	if (here.fd >= 0)
		(void)close(here.fd);
	here.shared = NULL;
	here.fd = -1;
	memset(here.known, 0, sizeof here.known);
}

/* ---- counts ---- */

static uint64_t id_of(const char *name)
{
	uint64_t hash = LIFETIME_NAMES;

	while (*name)
		hash = hash_mix(hash ^ (unsigned char)*name++);
	return hash | 1;
}

/* Finds the place of a name, or gives it one. NULL: there is no memory for it. */
static uint64_t *place_of(const char *name)
{
	uint64_t id = id_of(name);

	for (size_t i = 0; here.shared && i < LIFETIME_NAMES; i++) {
		struct lifetime_name *at = &here.shared->names[(id / 2 + i) % LIFETIME_NAMES];
		uint64_t nobody = 0;

		if (__atomic_compare_exchange_n(&at->id, &nobody, id, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED) ||
		    nobody == id)
			return &at->value;
	}
	return NULL;
}

static const char *const lifetime_counter_names[LIFETIME_COUNTERS] = {
    [LIFETIME_RELOADS] = "reloads",
    [LIFETIME_RELOADS_FAILED] = "reloads_failed",
    [LIFETIME_UPGRADES] = "upgrades",
    [LIFETIME_UPGRADES_FAILED] = "upgrades_failed",
};

void lifetime_counters_add(enum lifetime_counter lifetime_counter)
{
	uint64_t *value = place_of(lifetime_counter_names[lifetime_counter]);

	if (value)
		ADD(*value, 1);
}

uint64_t lifetime_counters_count(enum lifetime_counter lifetime_counter)
{
	uint64_t *value = place_of(lifetime_counter_names[lifetime_counter]);

	return value ? READ(*value) : 0;
}

/* The next master must go on from what was shown, so that is stored. */
uint64_t lifetime_counters_of_masters(size_t row, uint64_t value)
{
	char name[SCOREBOARD_NAME_BYTES + 8];
	uint64_t *shown;

	(void)snprintf(name, sizeof name, "master %s", stats_rows[row].name);
	shown = place_of(name);
	if (!shown || !stats_grows(&stats_rows[row]))
		return value;
	if (!here.known[row])
		here.before[row] = READ(*shown);
	here.known[row] = true;
	if (here.before[row] + value > READ(*shown))
		WRITE(*shown, here.before[row] + value);
	return READ(*shown);
}

void lifetime_counters_leave_master(const struct stats *own)
{
	for (size_t row = 0; row < stats_rows_n; row++)
		(void)lifetime_counters_of_masters(row, stats_value(own, &stats_rows[row]));
}

uint64_t lifetime_counters_began_us(void)
{
	return here.shared ? here.shared->began_us : 0;
}

void lifetime_counters_count_restart(unsigned slot)
{
	if (here.shared && slot < WORKERS_MAX)
		ADD(here.shared->restarts[slot], 1);
}

uint64_t lifetime_counters_restarts(unsigned slot)
{
	return here.shared && slot < WORKERS_MAX ? READ(here.shared->restarts[slot]) : 0;
}

/* ---- processes ---- */

static struct lifetime_seat *seat_at(unsigned seat)
{
	return here.shared && seat < LIFETIME_SEATS ? &here.shared->seats[seat] : NULL;
}

/* If another master reaped the process before, what was seen of that last is all that is known. */
void lifetime_counters_process_began(unsigned seat, pid_t pid)
{
	struct lifetime_seat *at = seat_at(seat);
	struct proc proc;

	if (!at)
		return;
	WRITE(at->used_us, READ(at->cpu_us));
	WRITE(at->born_us, wall_us());
	WRITE(at->started, proc_read(pid, &proc) ? proc.started : 0);
	WRITE(at->pid, pid);
}

void lifetime_counters_master_began(void)
{
	if (!here.shared)
		return;
	lifetime_counters_process_began(LIFETIME_MASTER + (unsigned)(here.shared->masters & 1),
					getpid());
	ADD(here.shared->masters, 1);
}

static uint64_t us_of(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

static void grow(struct lifetime_seat *at, uint64_t cpu_us)
{
	if (cpu_us > READ(at->cpu_us))
		WRITE(at->cpu_us, cpu_us);
}

/* The pid goes first, so that another master that looks meanwhile does not add twice what the
 * process used. */
void lifetime_counters_process_ended(unsigned seat, const struct rusage *used)
{
	struct lifetime_seat *at = seat_at(seat);

	if (!at || !READ(at->pid))
		return;
	WRITE(at->pid, 0);
	grow(at, READ(at->used_us) + us_of(&used->ru_utime) + us_of(&used->ru_stime));
	WRITE(at->used_us, READ(at->cpu_us));
}

/* Is this still the process that came? If its start could not be read then, it is read now. */
static bool is_it(struct lifetime_seat *at, const struct proc *proc)
{
	if (!READ(at->started))
		WRITE(at->started, proc->started);
	return proc->started == READ(at->started);
}

struct lifetime_process lifetime_counters_process(unsigned seat)
{
	struct lifetime_seat *at = seat_at(seat);
	struct lifetime_process process = {0};
	uint64_t pid, used_us;
	struct proc proc;

	if (!at)
		return process;
	pid = READ(at->pid);
	used_us = READ(at->used_us);
	if (pid && proc_read((pid_t)pid, &proc) && is_it(at, &proc) && READ(at->pid) == pid) {
		grow(at, used_us + proc.cpu_us);
		process.memory_bytes = proc.memory_bytes;
		process.state = proc.state;
	}
	process.cpu_us = READ(at->cpu_us);
	process.born_us = READ(at->born_us);
	return process;
}
