/*
 * A listener with proxy=on, for real: names and limits of chat's clients behind a proxy, reloads
 * and upgrades in the middle of a header, what is no header, and HAProxy and nginx as proxies.
 *
 * Each byte of a header is check_proxy_parse's and sim_proxy's. Of nginx only version 1 is here: it
 * sends no other.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"
#include "tests/support/server_control.h"

static const char version_1[] = "PROXY TCP4 192.0.2.7 10.0.0.1 8080 9000\r\n";
/* From [2001:db8::7]:8080, with 3 bytes behind the addresses. */
static const unsigned char version_2[] =
    "\r\n\r\n\0\r\nQUIT\n" /* its signature */
    "\x21\x21\0\x27"	   /* version 2, PROXY; TCP over IPv6; 39 bytes follow */
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x08"
    "\x1f\x90\x23\x28" /* ports */
    "\x04\0";	       /* and a PP2_TYPE_NOOP of no bytes, with the 0 of this text */

static int listener; /* the client that hears what others say */

static struct server *start(const char *accept)
{
	char chat[100];
	struct server *server;

	(void)snprintf(chat, sizeof chat, "chat://127.0.0.1:0?names=on&proxy=on&accept=%s", accept);
	server = CONTROLLED("-w", "2", chat);
	listener = connect_to(server->ports[0]);
	send_text(listener, "PROXY UNKNOWN\r\n");
	server_wait_stat(server, "members_joined", 1);
	return server;
}

static void hears(const char *name, const char *line)
{
	char wanted[200];

	(void)snprintf(wanted, sizeof wanted, "%s: %s\n", name, line);
	expect_text(listener, wanted);
}

/* The client's own address, as a name. */
static const char *name_of(int fd)
{
	static char name[64];
	struct sockaddr_in address;
	socklen_t n = sizeof address;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	(void)snprintf(name, sizeof name, "127.0.0.1:%u", ntohs(address.sin_port));
	return name;
}

START_TEST(names_are_those_of_clients)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};
	struct server *server = start(modes[_i]);
	int fds[3];

	for (int i = 0; i < 3; i++)
		fds[i] = connect_to(server->ports[0]);
	send_text(fds[0], version_1);
	send_text(fds[0], "one\n");
	hears("192.0.2.7:8080", "one");
	send_all(fds[1], version_2, sizeof version_2);
	send_text(fds[1], "two\n");
	hears("[2001:db8::7]:8080", "two");
	/* A proxy that speaks for itself. */
	send_text(fds[2], "PROXY UNKNOWN\r\nthree\n");
	hears(name_of(fds[2]), "three");
	for (int i = 0; i < 3; i++)
		(void)close(fds[i]);
	(void)close(listener);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_change_in_the_middle_of_a_header)
{
	static const enum server_control changes[] = {SERVER_CONTROL_RELOAD, SERVER_CONTROL_UPGRADE,
						      SERVER_CONTROL_RELOAD};
	struct server *server = start("reuseport");
	int first = connect_to(server->ports[0]), second = connect_to(server->ports[0]);
	size_t at = 0;

	for (size_t i = 0; i < 3; i++) {
		send_all(first, version_1 + 10 * i, 10);
		send_all(second, version_2 + at, i == 1 ? 38 : 7); /* then its additions follow */
		at += i == 1 ? 38 : 7;
		(void)server_control_make(server, changes[i]);
	}
	send_text(first, version_1 + 30);
	send_text(first, "one\n");
	hears("192.0.2.7:8080", "one");
	send_all(second, version_2 + at, sizeof version_2 - at);
	send_text(second, "two\n");
	hears("[2001:db8::7]:8080", "two");
	ck_assert_uint_eq(server_stat(server, "closed"), 0);
	/* And behind it: the name goes along. */
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	send_text(first, "three\n");
	hears("192.0.2.7:8080", "three");
	(void)close(first);
	(void)close(second);
	(void)close(listener);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(limits_are_those_of_clients)
{
	struct server *server =
	    SERVER("-w", "1", "--max-connections-per-ip", "2", "line://127.0.0.1:0?proxy=on");
	int fds[5];

	for (int i = 0; i < 5; i++)
		fds[i] = connect_to(server->ports[0]);
	for (int i = 0; i < 3; i++)
		send_text(fds[i], "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\nhello\n");
	for (int i = 3; i < 5; i++)
		send_text(fds[i], "PROXY TCP6 ::ffff:192.0.2.2 ::1 1 2\r\nhello\n");
	server_wait_stat(server, "closed_too_many_per_ip", 1);
	for (int i = 3; i < 5; i++)
		expect_text(fds[i], "hello\n");
	ck_assert_uint_eq(server_stat(server, "connections"), 4);
	for (int i = 0; i < 5; i++)
		(void)close(fds[i]);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(what_is_no_header_is_closed)
{
	struct server *server =
	    SERVER("-w", "1", "--request-timeout", "300ms", "line://127.0.0.1:0?proxy=on",
		   "line://127.0.0.1:0?proxy=on&proxy-from=10.0.0.0/8,::1");
	int fd = connect_to(server->ports[0]);

	send_text(fd, "hello\n");
	expect_end(fd);
	(void)close(fd);
	fd = connect_to(server->ports[0]); /* one that never comes */
	expect_end(fd);
	(void)close(fd);
	fd = connect_to(server->ports[1]);
	expect_end(fd);
	(void)close(fd);
	server_wait_stat(server, "closed", 3);
	ck_assert_uint_eq(server_stat(server, "closed_proxy_no_header"), 1);
	ck_assert_uint_eq(server_stat(server, "closed_request_timeout"), 1);
	ck_assert_uint_eq(server_stat(server, "closed_proxy_forbidden"), 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- other people's proxies ---- */

/* A port that a proxy may have, which nobody else gets meanwhile. */
static unsigned free_port(void)
{
	unsigned port;

	(void)close(bind_own(SOCK_STREAM, &port));
	return port;
}

/* The proxy is up when its other socket is there: a client of that would be one more. */
static void talk_through(unsigned port)
{
	for (int i = 0; i < 3; i++) {
		int fd = connect_to(port);

		send_text(fd, "hello\n");
		hears(name_of(fd), "hello");
		(void)close(fd);
	}
}

START_TEST(haproxy_before_it)
{
	static const char *const versions[] = {"send-proxy", "send-proxy-v2"};
	const char *path = in_folder("haproxy.sock"), *file;
	unsigned port = free_port();
	struct server *server;
	char text[1000];
	pid_t pid;

	if (!command_exists("haproxy")) {
		suite_skip("HAProxy before it", "there is no haproxy");
		return;
	}
	server = start("reuseport");
	(void)snprintf(text, sizeof text,
		       "defaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n"
		       " timeout server 60s\nfrontend f\n bind 127.0.0.1:%u\n bind unix@%s\n"
		       " default_backend b\nbackend b\n server weir 127.0.0.1:%u %s\n",
		       port, path, server->ports[0], versions[_i]);
	file = write_file("haproxy.cfg", text);
	pid = program_start(path, (const char *const[]){"haproxy", "-q", "-db", "-f", file, NULL});
	talk_through(port);
	program_stop(pid);
	(void)close(listener);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

#define NGINX_STREAM "/usr/lib/nginx/modules/ngx_stream_module.so"

START_TEST(nginx_before_it)
{
	const char *path = in_folder("nginx.sock"), *file, *folder = temporary_folder();
	unsigned port = free_port();
	struct server *server;
	char text[1500];
	pid_t pid;

	if (!command_exists("nginx") || !exists(NGINX_STREAM)) {
		suite_skip("nginx before it", "there is no nginx with its stream module");
		return;
	}
	server = start("reuseport");
	(void)snprintf(text, sizeof text,
		       "load_module %s; daemon off; pid %s/nginx.pid; error_log %s/nginx.log;\n"
		       "worker_processes 1; events { worker_connections 64; }\n"
		       "stream { server { listen 127.0.0.1:%u; listen unix:%s;\n"
		       "proxy_pass 127.0.0.1:%u; proxy_protocol on; } }\n",
		       NGINX_STREAM, folder, folder, port, path, server->ports[0]);
	file = write_file("nginx.conf", text);
	pid = program_start(path, (const char *const[]){"nginx", "-p", folder, "-c", file, NULL});
	talk_through(port);
	program_stop(pid);
	(void)close(listener);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("proxy", {"names are those of clients", names_are_those_of_clients, 30, 3},
      {"a change in the middle of a header", a_change_in_the_middle_of_a_header, 60},
      {"limits are those of clients", limits_are_those_of_clients, 20},
      {"what is no header is closed", what_is_no_header_is_closed, 20},
      {"HAProxy before it", haproxy_before_it, 60, 2}, {"nginx before it", nginx_before_it, 60})
