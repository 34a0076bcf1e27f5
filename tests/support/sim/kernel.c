/* The simulated kernel's gate: counts each call, makes some fail, and has the clock. */
#include "tests/support/sim/kernel_parts.h"

/* ---- the real calls, and the gate in front of every call ---- */

#define SYS(type, name, parameters, arguments)                                                     \
	static type real_##name parameters                                                         \
	{                                                                                          \
		return name arguments;                                                             \
	}
#include "reactor/base/sys.def"
#undef SYS

#define SYS(type, name, parameters, arguments) .name = real_##name,
const struct sys_kernel kernel_genuine = {
#include "reactor/base/sys.def"
};
#undef SYS

/* The calls behind the gate: these answer if the gate does not make a call fail. */
static struct sys_kernel under;

struct kernel kernel;

static bool refuses(enum kernel_call call, intptr_t first);

#define FIRST(...)	 FIRST_OF(__VA_ARGS__, 0)
#define FIRST_OF(a, ...) a
#define SYS(type, name, parameters, arguments)                                                     \
	static type entry_##name parameters                                                        \
	{                                                                                          \
		if (refuses(KERNEL_##name, (intptr_t)(FIRST arguments)))                           \
			return -1;                                                                 \
		return (under.name ? under.name : kernel_genuine.name)arguments;                   \
	}
#include "reactor/base/sys.def"
#undef SYS

#define SYS(type, name, parameters, arguments) .name = entry_##name,
struct sys_kernel sys_kernel = {
#include "reactor/base/sys.def"
};
#undef SYS

#define SYS(type, name, parameters, arguments) #name,
const char *const kernel_call_names[KERNEL_CALLS] = {
#include "reactor/base/sys.def"
};
#undef SYS

static struct {
	bool simulated;
	struct {
		enum kernel_call call;
		unsigned long at; /* the number of the call; 0: every one */
		int error, subject;
	} fault;
} sim;

bool kernel_is_simulated(void)
{
	return sim.simulated;
}

/* ---- faults, and the clock ---- */

static bool refuses(enum kernel_call call, intptr_t first)
{
	int fd = call == KERNEL_epoll_ctl ? sim.fault.subject : (int)first;
	struct peer *peer;

	kernel.calls[call]++;
	if (!sim.fault.error || sim.fault.call != call)
		return false;
	if (sim.fault.at && sim.fault.at != kernel.calls[call])
		return false;
	kernel.failed = true;
	peer = call == KERNEL_accept4 || call == KERNEL_eventfd || call == KERNEL_epoll_wait ||
		       call == KERNEL_poll
		   ? NULL
		   : stream_of(fd);
	kernel.failed_peer = peer;
	/* After EAGAIN, what was not available is there a moment later. */
	if (peer && sim.fault.error == EAGAIN)
		peer_wake(peer, call == KERNEL_read ? EPOLLIN : EPOLLOUT);
	/* close(2) frees the descriptor even if it fails. */
	if (call == KERNEL_close)
		(void)(under.close ? under.close : kernel_genuine.close)(fd);
	errno = sim.fault.error;
	return true;
}

static int epoll_ctl_of(int ep, int op, int fd, struct epoll_event *event)
{
	sim.fault.subject = fd;
	return entry_epoll_ctl(ep, op, fd, event);
}

void kernel_begin(void)
{
	memset(&sim, 0, sizeof sim);
	kernel = (struct kernel){0};
	kernel.now_us = (((uint64_t)1 << 32) - 500) * 1000;
	sim.simulated = true;
	under = (struct sys_kernel){0};
	kernel_descriptors_begin(&under);
	kernel_sockets_begin(&under);
	sys_kernel.epoll_ctl = epoll_ctl_of;
}

void kernel_end(void)
{
	EXPECT(kernel.descriptors == 0 && kernel.stale == 0);
	kernel_sockets_end();
	under = (struct sys_kernel){0};
	sys_kernel.epoll_ctl = entry_epoll_ctl;
	sim.simulated = false;
}

/* sys_clock_us() calls the C library without sys.def: this takes the place of the library's. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (!sim.simulated || clock != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, clock, now);
	now->tv_sec = (time_t)(kernel.now_us / 1000000);
	now->tv_nsec = (long)(kernel.now_us % 1000000) * 1000;
	return 0;
}

void kernel_fail(enum kernel_call call, unsigned long k, int error)
{
	sim.fault.call = call;
	sim.fault.at = k ? kernel.calls[call] + k : 0;
	sim.fault.error = error;
	kernel.failed = false;
	kernel.failed_peer = NULL;
}
