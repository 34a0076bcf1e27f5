/*
 * sys: every system call of reactor/, protocol/ and worker/, as an inline function.
 *
 * sys_NAME() takes what the call takes (see NAME in section 2 of the manual) and returns what
 * it returns, but -errno for an error; errno itself is never looked at again. In the product
 * these functions cost one addition: each call is counted by its name, in a worker's stats or
 * else where nobody looks. Functions that have no row in sys.def are not counted: they map
 * memory, repair what a process inherited, or write to a stderr that could block.
 * Built with -DSYS_SIMULATED, the rows of sys.def go through the table sys_kernel, so that a
 * test may put a kernel of its own there, which can fail any of these calls.
 */
#ifndef REACTOR_BASE_SYS_H
#define REACTOR_BASE_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reactor/base/stats.h"

#ifdef __GLIBC__
typedef unsigned long sys_ioctl_request;
typedef int sys_mmsg_flags;
typedef __itimer_which_t sys_timer;
typedef __rlimit_resource_t sys_limit;
#else
typedef int sys_timer;
typedef int sys_limit;
typedef int sys_ioctl_request; /* musl, as POSIX has it */
typedef unsigned sys_mmsg_flags;
#endif

/* Of Linux' own headers, which musl does not come with: udp(7), socket(7). */
#define SYS_UDP		    17 /* IPPROTO_UDP, as a level of options */
#define SYS_UDP_SEGMENT	    103
#define SYS_UDP_GRO	    104
#define SYS_SO_MEMINFO	    55
#define SYS_MEMINFO_DROPS   8 /* the index of the drops among its figures */
#define SYS_MEMINFO_FIGURES 9

/* Newer than some headers: unix(7), socket(7). */
#define SYS_SO_PASSPIDFD  76
#define SYS_SO_PASSRIGHTS 83 /* since Linux 6.16 */

/* An instruction and a program of classic BPF, for SO_ATTACH_FILTER (socket(7)). */
struct sys_filter {
	uint16_t code;
	uint8_t if_true, if_false;
	uint32_t k;
};
struct sys_filter_program {
	unsigned short n;
	const struct sys_filter *instructions;
};
/* A program of this instruction lets nothing pass. */
#define SYS_FILTER_NOTHING ((struct sys_filter){.code = 0x06 /* return k: pass so many bytes */})
/* These three choose one of n sockets at random (SKF_AD_RANDOM: linux/filter.h). */
#define SYS_FILTER_RANDOM                                                                          \
	{                                                                                          \
		.code = 0x20 /* load k */, .k = (uint32_t)(-0x1000 + 56)                           \
	}
#define SYS_FILTER_MODULO(n)                                                                       \
	{                                                                                          \
		.code = 0x94 /* modulo k */, .k = (n)                                              \
	}
#define SYS_FILTER_RESULT                                                                          \
	{                                                                                          \
		.code = 0x16 /* return it */                                                       \
	}
/* asm-generic/socket.h, as x86 and arm have it; older headers do not have the second. */
#define SYS_ATTACH_REUSEPORT_CBPF 51
#define SYS_DETACH_REUSEPORT_BPF  68
#define SYS_RWF_NOWAIT		  8 /* linux/fs.h */

/* Hidden from other objects, so that the pointer is one load away. */
struct sys_calls {
	uint64_t *made; /* how often each was made, by its enum call */
};
extern struct sys_calls sys_calls __attribute__((visibility("hidden")));

/* Counts the calls of this process in stats, which is borrowed, from now on; NULL: nowhere. */
void sys_count_into(struct stats *stats);

#define SYS_COUNT(name)                                                                            \
	__atomic_store_n(&sys_calls.made[CALL_##name], sys_calls.made[CALL_##name] + 1,            \
			 __ATOMIC_RELAXED)

#ifdef SYS_SIMULATED

#define SYS(type, name, parameters, arguments) type(*name) parameters;
struct sys_kernel {
#include "reactor/base/sys.def"
};
#undef SYS

extern struct sys_kernel sys_kernel;
#define SYS_CALL(name) sys_kernel.name

#else
#define SYS_CALL(name) name
#endif

#define SYS(type, name, parameters, arguments)                                                     \
	static inline type sys_##name parameters                                                   \
	{                                                                                          \
		SYS_COUNT(name);                                                                   \
		type result = SYS_CALL(name) arguments;                                            \
		return result < 0 ? (type)-errno : result;                                         \
	}
#include "reactor/base/sys.def"
#undef SYS

/* Maps memory, private or of a descriptor; NULL if it can't. */
static inline void *sys_map(size_t n, int flags, int fd)
{
	void *start = mmap(NULL, n, PROT_READ | PROT_WRITE, flags, fd, 0);
	return start == MAP_FAILED ? NULL : start;
}

/* close_range(2) has a wrapper only from glibc 2.34 on, and none in older musl. */
static inline void sys_close_range(unsigned int first, unsigned int last)
{
	if (first <= last)
		(void)syscall(SYS_close_range, first, last, 0);
}

/* A copy, closed on exec, that is none of the standard descriptors. */
static inline int sys_duplicate(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return copy < 0 ? -errno : copy;
}

static inline int sys_open(const char *path, int flags)
{
	int fd = open(path, flags, 0);
	return fd < 0 ? -errno : fd;
}

/* The limit of descriptors is the only one that anybody asks for. */
static inline int sys_get_descriptor_limit(struct rlimit *limit)
{
	return getrlimit(RLIMIT_NOFILE, limit) < 0 ? -errno : 0;
}

static inline int sys_set_descriptor_limit(const struct rlimit *limit)
{
	return setrlimit(RLIMIT_NOFILE, limit) < 0 ? -errno : 0;
}

/* To least, or to the hard limit if that is lower. */
static inline void sys_raise_limit(sys_limit which, rlim_t least)
{
	struct rlimit limit;

	if (getrlimit(which, &limit) < 0 || limit.rlim_cur >= least)
		return;
	limit.rlim_cur = least < limit.rlim_max ? least : limit.rlim_max;
	(void)setrlimit(which, &limit);
}

/* ---- what inherited.h is about ---- */

static inline int sys_descriptor_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static inline int sys_signal_is_ignored(int number)
{
	struct sigaction action;

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static inline void sys_signal_handle(int number, void (*handler)(int number))
{
	struct sigaction action = {.sa_handler = handler};

	(void)sigaction(number, &action, NULL);
}

/* It goes off every us microseconds, until it is set to 0. */
static inline void sys_set_timer(sys_timer which, suseconds_t us)
{
	struct timeval every = {0, us};

	(void)setitimer(which, &(struct itimerval){every, every}, NULL);
}

static inline void sys_umask_let_through(mode_t mode)
{
	(void)umask(umask(0) & ~mode);
}

static inline int sys_prctl(int option, unsigned long value)
{
	return prctl(option, value, 0, 0, 0) < 0 ? -errno : 0;
}

/* ---- children that work for this process (helper.h) ---- */

static inline pid_t sys_fork(void)
{
	pid_t pid = fork();

	return pid < 0 ? -errno : pid;
}

/* Becomes readable when that child has ended; closed on exec. Some headers have no wrapper. */
static inline int sys_pidfd_open(pid_t pid)
{
	long fd = syscall(434L /* pidfd_open(2) */, (long)pid, 0L);

	return fd < 0 ? -errno : (int)fd;
}

static inline void sys_kill(pid_t pid)
{
	(void)kill(pid, SIGKILL);
}

/* pid: the child was reaped; 0: it has not ended; -ECHILD: somebody else has reaped it. */
static inline pid_t sys_reap(pid_t pid, int *status, bool waits)
{
	pid_t reaped;

	do
		reaped = waitpid(pid, status, waits ? 0 : WNOHANG);
	while (reaped < 0 && errno == EINTR);
	return reaped < 0 ? -errno : reaped;
}

/* ---- what log_sink.c needs if stderr can't be opened anew ---- */

static inline int sys_may_write(int fd)
{
	struct pollfd one = {.fd = fd, .events = POLLOUT};

	return poll(&one, 1, 0) == 1;
}

/* pwritev2(2) at the file's offset (-1); musl has a wrapper only from 1.2.5 on. */
static inline ssize_t sys_write_nowait(int fd, const struct iovec *span)
{
	long n = syscall(SYS_pwritev2, (long)fd, span, 1L, -1L, -1L, (long)SYS_RWF_NOWAIT);

	return n < 0 ? -errno : n;
}

/* Microseconds of CLOCK_MONOTONIC; the vDSO answers, no system call is made. */
static inline uint64_t sys_clock_us(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The time of day, which may jump. */
static inline uint64_t sys_realtime_us(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Sleeps: only at start, or in a process that has nothing else to do. */
static inline void sys_rest_ms(uint32_t ms)
{
	struct timespec rest = {ms / 1000, (long)(ms % 1000) * 1000000};

	(void)nanosleep(&rest, NULL);
}

#endif
