/*
 * nameservers: a machine of the test's own, with the hosts file and name servers that it wants.
 *
 * The test's process, and what it starts, are alone on a network of their own; /etc/hosts,
 * /etc/resolv.conf and /etc/nsswitch.conf are the test's own files. Name servers are three sockets
 * that never answer; without them the kernel refuses each query at once. All of it ends with the
 * process. Needs root, ip(8) and pgrep(1).
 */
#ifndef TESTS_SUPPORT_SERVERS_NAMESERVERS_H
#define TESTS_SUPPORT_SERVERS_NAMESERVERS_H

#include <arpa/inet.h>
#include <sys/mount.h>

#include "tests/support/servers/two_hosts.h"

#define NAMESERVERS 3

static int nameservers[NAMESERVERS] = {-1, -1, -1};

/* Overwrites the file in place, because it is this file that is mounted in /etc. */
static inline void nameservers_write(const char *name, const char *text)
{
	FILE *file = fopen(in_folder(name), "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static inline void nameservers_mount(const char *name, const char *text)
{
	char at[64];

	(void)snprintf(at, sizeof at, "/etc/%s", name);
	nameservers_write(name, text);
	ck_assert_msg(mount(in_folder(name), at, NULL, MS_BIND, NULL) == 0, "no %s here", at);
}

static inline void nameservers_hosts(const char *text)
{
	nameservers_write("hosts", text);
}

static inline void nameservers_silent(void)
{
	for (unsigned i = 0; i < NAMESERVERS; i++) {
		struct sockaddr_in at = {.sin_family = AF_INET,
					 .sin_port = htons(53),
					 .sin_addr.s_addr = htonl(0x7f000021 + i)};

		nameservers[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(bind(nameservers[i], (struct sockaddr *)&at, sizeof at), 0);
	}
}

/* Whether a query has come to the first name server. */
static inline bool nameservers_asked(void)
{
	char byte;

	return recv(nameservers[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static inline void nameservers_gone(void)
{
	for (unsigned i = 0; i < NAMESERVERS; i++)
		(void)close(nameservers[i]);
}

/* Makes the machine. True: that is not possible here, and the test is skipped. */
static inline bool nameservers_cannot(const char *test)
{
	if (wire_cannot(test, "ip pgrep"))
		return true;
	(void)wire_host();
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	nameservers_mount("hosts", "127.0.0.1 one.test\n127.0.0.1 both.test\n::1 both.test\n");
	nameservers_mount("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
	nameservers_mount("resolv.conf", "nameserver 127.0.0.33\nnameserver 127.0.0.34\n"
					 "nameserver 127.0.0.35\nsearch far.test away.test\n");
	return false;
}

#endif
