/*
 * fake_systemd: the service manager's end of sd_notify(3), for tests of notify.
 */
#ifndef TESTS_SUPPORT_SERVERS_FAKE_SYSTEMD_H
#define TESTS_SUPPORT_SERVERS_FAKE_SYSTEMD_H

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct {
	int fd;
	char name[120]; /* the value of NOTIFY_SOCKET */
	pid_t from;	/* the sender of the last message */
} manager;

static inline int bind_receiver(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	memcpy(address.sun_path, name, strlen(name));
	if (*name == '@')
		address.sun_path[0] = '\0';
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, n), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
	return fd;
}

static inline void fake_systemd_open(bool abstract)
{
	if (abstract)
		(void)snprintf(manager.name, sizeof manager.name, "@weir-notify-%d", getpid());
	else
		(void)snprintf(manager.name, sizeof manager.name, "%s", in_folder("notify"));
	manager.fd = bind_receiver(manager.name);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", manager.name, 1), 0);
}

/* The next message; NULL: none came within ms. */
static inline const char *next(unsigned ms)
{
	static char text[4096];
	struct pollfd poll_fd = {.fd = manager.fd, .events = POLLIN};
	char control[CMSG_SPACE(sizeof(struct ucred))] = "";
	struct iovec part = {text, sizeof text - 1};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof control};
	struct cmsghdr *header;
	struct ucred sender;
	ssize_t n;

	if (poll(&poll_fd, 1, (int)ms) <= 0)
		return NULL;
	n = recvmsg(manager.fd, &message, 0);
	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	header = CMSG_FIRSTHDR(&message);
	ck_assert_ptr_nonnull(header);
	ck_assert_int_eq(header->cmsg_type, SCM_CREDENTIALS);
	memcpy(&sender, CMSG_DATA(header), sizeof sender);
	manager.from = sender.pid;
	return text;
}

static inline void expect(const char *wanted)
{
	const char *text = next(patience_ms());

	ck_assert_msg(text != NULL, "nothing came, not \"%s\"", wanted);
	ck_assert_str_eq(text, wanted);
}

static inline void expect_nothing(void)
{
	const char *text = next(0);

	ck_assert_msg(!text, "came: %s", text);
}

static inline void expect_soon(const char *wanted)
{
	struct wait wait = wait_begin();
	const char *text;

	do {
		text = next(100);
		wait_more(&wait, wanted);
	} while (!text || strcmp(text, wanted) != 0);
}

#endif
