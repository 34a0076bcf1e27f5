/*
 * two_hosts: two network namespaces joined by a veth pair, with nothing else in them. weir serves
 * on one, and clients are on the other.
 *
 * Both end with the test's process, because they have no name. Needs root, ip(8), and whatever a
 * test runs there. What the kernel sends by itself (to neighbours and routers) is kept to a
 * minimum.
 */
#ifndef TESTS_SUPPORT_SERVERS_TWO_HOSTS_H
#define TESTS_SUPPORT_SERVERS_TWO_HOSTS_H

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/harness.h"

/* The server has 10.9.0.1, 10.9.0.7, fd09::1, fd09::7 and fe80::1; the client has 10.9.0.2,
 * 10.9.0.3, fd09::2, fd09::3, fd09:0:0:1::2 and fe80::2. */
struct wire {
	int server, client; /* namespaces */
};

static inline bool wire_cannot(const char *test, const char *commands)
{
	char names[128], *rest = names, *name, why[160];

	if (geteuid() != 0) {
		suite_skip(test, "needs root");
		return true;
	}
	(void)snprintf(names, sizeof names, "%s", commands);
	while ((name = strsep(&rest, " "))) {
		if (command_exists(name))
			continue;
		(void)snprintf(why, sizeof why, "%s is not installed", name);
		suite_skip(test, why);
		return true;
	}
	if (unshare(CLONE_NEWNET) < 0) {
		suite_skip(test, "the kernel gives no network namespace here");
		return true;
	}
	return false;
}

static inline int wire_here(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static inline void wire_enter(int host)
{
	ck_assert_int_eq(setns(host, CLONE_NEWNET), 0);
}

static inline void wire_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs a command on the host where this process is. */
static inline void wire_run(const char *format, ...)
{
	char command[1024];
	va_list arguments;
	int status;

	va_start(arguments, format);
	(void)vsnprintf(command, sizeof command, format, arguments);
	va_end(arguments);
	status = system(command);
	ck_assert_msg(status == 0, "status %d: %s", status, command);
}

/* Puts this process on a new host of its own, which has loopback. */
static inline int wire_host(void)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	wire_run("ip link set lo up");
	return wire_here();
}

/* Without duplicate address detection, which would delay the addresses. */
static inline void wire_up(const char *name, const char *const addresses[])
{
	wire_run("echo 0 >/proc/sys/net/ipv6/conf/%s/accept_dad", name);
	wire_run("ip link set %s addrgenmode none", name);
	wire_run("ip link set %s up", name);
	for (; *addresses; addresses++)
		wire_run("ip addr add %s dev %s%s", *addresses, name,
			 strchr(*addresses, ':') ? " nodad" : " brd +");
}

/* The kernel takes its time to notice that the other end is up; until then it sends nothing. */
static inline void wire_wait_running(const char *name)
{
	struct wait wait = wait_begin();
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	(void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	do {
		wait_more(&wait, "a wire that is up");
		ck_assert_int_eq(ioctl(fd, SIOCGIFFLAGS, &request), 0);
	} while (!(request.ifr_flags & IFF_RUNNING));
	(void)close(fd);
}

/* Makes both hosts, and leaves this process on the client's. */
static inline struct wire wire_open(void)
{
	struct wire wire;

	wire.server = wire_host();
	wire.client = wire_host();
	wire_run("ip link add client type veth peer name server netns /proc/%d/fd/%d",
		 (int)getpid(), wire.server);
	wire_up("client",
		(const char *const[]){"10.9.0.2/24", "10.9.0.3/24", "fd09::2/64", "fd09::3/64",
				      "fd09:0:0:1::2/64", "fe80::2/64", NULL});
	wire_enter(wire.server);
	wire_up("server", (const char *const[]){"10.9.0.1/24", "10.9.0.7/24", "fd09::1/64",
						"fd09::7/64", "fe80::1/64", NULL});
	wire_run("ip route add fd09:0:0:1::/64 dev server");
	wire_wait_running("server");
	wire_enter(wire.client);
	wire_wait_running("client");
	return wire;
}

/* Starts weir on the server's host. */
#define WIRE_SERVER(wire, ...)                                                                     \
	(wire_enter((wire)->server), wire_started((wire)->client, SERVER(__VA_ARGS__)))

static inline struct server *wire_started(int host, struct server *server)
{
	wire_enter(host);
	return server;
}

#endif
