#include "reactor/base/descriptor.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
};

ssize_t descriptors_send(int channel, const void *bytes, size_t n, const int *fds, size_t fds_n)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, n};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control = {0};
	ssize_t sent;

	CHECK(fds_n <= DESCRIPTORS_MAX);
	if (fds_n) {
		message.msg_control = &control;
		message.msg_controllen = (socklen_t)CMSG_SPACE(fds_n * sizeof(int));
		struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = (socklen_t)CMSG_LEN(fds_n * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, fds_n * sizeof(int));
	}
	do
		sent = sys_sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent == -EINTR);
	return sent;
}

ssize_t descriptors_receive(int channel, void *bytes, size_t n, int fds[DESCRIPTORS_MAX],
			    size_t *fds_n)
{
	struct iovec iov = {bytes, n};
	union control control;
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof control};
	ssize_t received;

	*fds_n = 0;
	/* A peer that ends with something unread leaves one ECONNRESET, before what it sent. */
	do
		received = sys_recvmsg(channel, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (received == -EINTR || received == -ECONNRESET);
	if (received < 0)
		return received;
	/* The kernel gives all descriptors of a message in one header. */
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS)
		return received;
	*fds_n = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	CHECK(*fds_n <= DESCRIPTORS_MAX);
	memcpy(fds, CMSG_DATA(rights), *fds_n * sizeof(int));
	return received;
}

static int descriptor_order(const void *a, const void *b)
{
	int left = *(const int *)a, right = *(const int *)b;

	return (left > right) - (left < right);
}

void descriptors_keep_only(const int *fds, size_t n)
{
	int *kept = malloc((n + 1) * sizeof *kept);
	unsigned int from = STDERR_FILENO + 1;

	if (!kept)
		die("closing descriptors: out of memory");
	for (size_t i = 0; i < n; i++)
		kept[i] = fds[i];
	qsort(kept, n, sizeof *kept, descriptor_order);
	for (size_t i = 0; i < n; i++) {
		if (kept[i] < (int)from)
			continue;
		if (kept[i] > (int)from)
			sys_close_range(from, (unsigned int)kept[i] - 1);
		from = (unsigned int)kept[i] + 1;
	}
	sys_close_range(from, ~0u);
	free(kept);
}

size_t descriptors_raise_limit(void)
{
	struct rlimit limit;

	if (sys_get_descriptor_limit(&limit) < 0)
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	(void)sys_set_descriptor_limit(&limit);
	(void)sys_get_descriptor_limit(&limit);
	return limit.rlim_cur;
}
