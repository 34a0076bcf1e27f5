#include "bench/weirload/child.h"

#include <string.h>
#include <sys/timerfd.h>

#include "reactor/base/check.h"
#include "reactor/base/descriptor.h"
#include "reactor/base/sys.h"

void child_begin(struct loop *loop, int doorbell)
{
	static struct stats stats;
	int error;

	descriptors_keep_only(&doorbell, 1);
	(void)signal(SIGINT, SIG_IGN); /* the conductor ends it */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
	error = loop_open(loop, &stats, 0);
	if (error)
		die("epoll_create1: %s", strerror(-error));
}

void child_watch(struct loop *loop, struct source *doorbell, struct source *timer)
{
	int error;

	timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->fd < 0)
		die("timerfd_create: %s", strerror(errno));
	doorbell->want = timer->want = SOURCE_IN;
	error = loop_watch(loop, doorbell, EPOLLIN);
	/* An edge-triggered timer need not be read: setting it again clears it. */
	if (!error)
		error = loop_watch(loop, timer, EPOLLIN | EPOLLET);
	if (error)
		die("epoll_ctl: %s", strerror(-error));
}

void child_timer_arm(struct source *timer, uint64_t at_ns)
{
	struct itimerspec at = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000),
					     .tv_nsec = (long)(at_ns % 1000000000)}};

	CHECK(timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

void child_ring(struct source *doorbell, char what)
{
	(void)sys_write(doorbell->fd, &what, 1);
}
