/*
 * lingering: a socket that a hostile peer passes over a unix socket: the process that closes it
 * blocks for an hour. And an imitation of a kernel that can't refuse descriptors yet.
 */
#ifndef TESTS_SUPPORT_LINGERING_H
#define TESTS_SUPPORT_LINGERING_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/sys.h"
#include "tests/support/harness.h"

/* Makes a TCP connection, to a listener of ours that reads nothing, with unsent bytes: closing its
 * last descriptor blocks for an hour. */
static inline int linger_at(unsigned port)
{
	static char bytes[1 << 16];
	struct linger linger = {.l_onoff = 1, .l_linger = 3600};
	int fd = connect_to(port);

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	return fd;
}

static inline int lingering(void)
{
	unsigned port;

	(void)bind_any(SOCK_STREAM, &port); /* the listener stays open */
	return linger_at(port);
}

/* Passes fd beside n bytes. Returns 0 or -errno. */
static inline int pass_on(int to, const void *bytes, size_t n, int fd, int flags)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {(void *)(uintptr_t)bytes, n};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof control};

	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	return sendmsg(to, &message, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Passes a lingering socket without keeping a copy: a child makes it, which does not linger when it
 * exits. buried: it lies in the queue of the socket that is passed. Returns 0 or -errno. */
static inline int pass_lingering(int to, const char *text, bool buried, int flags)
{
	unsigned port;
	int status, pair[2];
	pid_t child;

	(void)bind_any(SOCK_STREAM, &port);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		int fd = linger_at(port);

		if (buried && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 &&
		    pass_on(pair[0], "x", 1, fd, 0) == 0)
			fd = pair[1];
		_exit(-pass_on(to, text, strlen(text), fd, flags));
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

/* From now on no socket of this process, and of those that it starts, refuses descriptors:
 * SO_PASSRIGHTS is unknown, as it was before Linux 6.16. False: that is not allowed here. */
static inline bool older_kernel(void)
{
#define ARGUMENT(i) ((uint32_t)(offsetof(struct seccomp_data, args) + (i) * sizeof(uint64_t)))
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsockopt, 1, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockopt, 0, 5),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(1)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_SOCKET, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(2)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_SO_PASSRIGHTS, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#endif
