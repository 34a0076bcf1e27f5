/*
 * activation: sockets passed as systemd passes them, to a child whose pid is in LISTEN_PID; and
 * which listener weir uses each for, by its address and name.
 *
 * The matching is tested with activation_look() on real sockets, without a server.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/servers/passed_sockets.h"
#include "tests/worker/settings.h"

/* ---- a socket as text ---- */

START_TEST(an_address_is_a_listeners)
{
	struct sockaddr_in ip = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	socklen_t n = sizeof ip;
	char text[64];
	int fd = listen_at("127.0.0.1:0");

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ip, &n), 0);
	(void)snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(ip.sin_port));
	ck_assert_str_eq(address_of(fd), text);
	(void)snprintf(text, sizeof text, "@weir-activation-%d", getpid());
	ck_assert_str_eq(address_of(listen_at(text)), text);
	ck_assert_str_eq(address_of(listen_at(in_folder("x.sock"))), in_folder("x.sock"));
	ck_assert_int_eq(strncmp(address_of(listen_at("0.0.0.0:0")), "0.0.0.0:", 8), 0);
	ck_assert_int_eq(strncmp(address_of(datagrams_at("127.0.0.2:0")), "127.0.0.2:", 10), 0);
	if (!ipv6_is_here()) {
		suite_skip("an address is a LISTENER's", "no IPv6 here");
		return;
	}
	ck_assert_int_eq(strncmp(address_of(listen_at("[::1]:0")), "[::1]:", 6), 0);
	ck_assert_int_eq(strncmp(address_of(listen_at("[::]:0")), "[::]:", 5), 0);
	ck_assert_int_eq(*address_of(listen_at(":0")), ':');
	ck_assert_int_eq(*address_of(datagrams_at(":0")), ':');
}
END_TEST

START_TEST(what_weir_can_not_serve_is_refused)
{
	int pair[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct activation_socket sock;
	const char *why;

	ck_assert(!activation_look(file, &sock, &why));
	ck_assert_str_eq(why, "no socket");
	(void)close(file);
	ck_assert(!activation_look(file, &sock, &why));
	ck_assert_str_eq(why, "no open descriptor");
	ck_assert(!activation_look(bind_to("127.0.0.1:0", SOCK_STREAM), &sock, &why));
	ck_assert_ptr_nonnull(strstr(why, "not listening"));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert(!activation_look(pair[0], &sock, &why));
	ck_assert_ptr_nonnull(strstr(why, "a connection"));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	ck_assert(!activation_look(pair[0], &sock, &why));
	ck_assert_ptr_nonnull(strstr(why, "neither streams nor"));
	ck_assert(!activation_look(bind_to(in_folder("d.sock"), SOCK_DGRAM), &sock, &why));
	ck_assert_ptr_nonnull(strstr(why, "datagrams of a unix socket"));
	ck_assert(!activation_look(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0), &sock, &why));
	ck_assert_ptr_nonnull(strstr(why, "neither IP nor unix"));
}
END_TEST

/* ---- which listener a socket is for ---- */

static struct activation_socket sockets[8];
static size_t sockets_n;

static void pass(int fd, const char *name)
{
	const char *why = "";

	ck_assert_msg(activation_look(fd, &sockets[sockets_n], &why), "%s", why);
	(void)snprintf(sockets[sockets_n++].name, ACTIVATION_NAME_BYTES, "%s", name);
}

static void expect_listener(size_t i, const char *wanted)
{
	char text[ENDPOINT_TEXT_BYTES];

	ck_assert_uint_lt(i, config.listeners_n);
	endpoint_format(&config.listeners[i], text);
	ck_assert_str_eq(text, wanted);
}

static void joins(size_t listeners)
{
	char error[CONFIG_ERROR_BYTES] = "";

	ck_assert_msg(activation_join(&config, sockets, sockets_n, error), "%s", error);
	ck_assert_uint_eq(config.listeners_n, listeners);
	/* Each socket is found by one listener. */
	for (size_t i = 0; i < sockets_n; i++) {
		size_t found = 0;

		for (size_t j = 0; j < config.listeners_n; j++)
			found += activation_find(&config.listeners[j], sockets, sockets_n) ==
				 &sockets[i];
		ck_assert_uint_eq(found, 1);
	}
}

static void is_refused(const char *words)
{
	char error[CONFIG_ERROR_BYTES] = "";

	ck_assert(!activation_join(&config, sockets, sockets_n, error));
	ck_assert_msg(strstr(error, words) != NULL, "not \"%s\": %s", words, error);
}

START_TEST(without_sockets_nothing_changes)
{
	config_defaults(&config);
	joins(0);
	listen_to("echo://127.0.0.1:0");
	joins(1);
	ck_assert_ptr_null(activation_find(&config.listeners[0], sockets, 0));
}
END_TEST

START_TEST(a_listener_takes_the_socket_of_its_address)
{
	int stream = listen_at("127.0.0.1:0"), file = listen_at(in_folder("l.sock"));
	int datagrams = datagrams_at(address_of(stream));

	config_defaults(&config);
	pass(stream, "weir.socket"); /* the name does not matter here, even if it is a protocol's */
	pass(datagrams, "line");
	pass(file, "echo");
	listen_to(listener_of("discard+udp", datagrams));
	listen_to("echo://127.0.0.1:0");
	listen_to(listener_of("frame", stream));
	listen_to(listener_of("line", file));
	joins(4);
	ck_assert_ptr_eq(activation_find(&config.listeners[0], sockets, 3), &sockets[1]);
	ck_assert_ptr_null(activation_find(&config.listeners[1], sockets, 3));
	ck_assert_ptr_eq(activation_find(&config.listeners[2], sockets, 3), &sockets[0]);
	ck_assert_ptr_eq(activation_find(&config.listeners[3], sockets, 3), &sockets[2]);
	expect_listener(2, listener_of("frame", stream));
}
END_TEST

START_TEST(a_name_that_is_a_protocol_is_served)
{
	char name[64];
	size_t configured = (size_t)_i;

	(void)snprintf(name, sizeof name, "@weir-activation-%d", (int)getpid());

	int fds[] = {listen_at("127.0.0.1:0"), listen_at(name), datagrams_at("127.0.0.1:0"),
		     datagrams_at("127.0.0.1:0"), listen_at(in_folder("n.sock"))};

	config_defaults(&config);
	if (configured)
		listen_to("chat://127.0.0.1:0"); /* is kept, too */
	pass(fds[0], "line");
	pass(fds[1], "echo");
	pass(fds[2], "echo+udp");
	pass(fds[3], "chargen"); /* a unit has one name for both its streams and datagrams */
	pass(fds[4], "increment");
	joins(configured + 5);
	expect_listener(configured, listener_of("line", fds[0]));
	expect_listener(configured + 1, listener_of("echo", fds[1]));
	expect_listener(configured + 2, listener_of("echo+udp", fds[2]));
	expect_listener(configured + 3, listener_of("chargen+udp", fds[3]));
	expect_listener(configured + 4, listener_of("increment", fds[4]));
}
END_TEST

/* A socket at a default listener's address, without binding that port. */
static void pretend(const char *listener, const char *name)
{
	struct endpoint endpoint;
	char error[CONFIG_ERROR_BYTES];

	ck_assert(endpoint_parse(&endpoint, listener, error, sizeof error));
	sockets[sockets_n] = (struct activation_socket){
	    .fd = 3, .datagrams = endpoint.datagrams, .address = endpoint.address};
	(void)snprintf(sockets[sockets_n++].name, ACTIVATION_NAME_BYTES, "%s", name);
}

START_TEST(a_default_address_is_enough_without_listeners)
{
	char error[CONFIG_ERROR_BYTES];

	config_defaults(&config);
	pretend("echo://127.0.0.1:12345", "weir.socket"); /* line's default */
	pretend("echo+udp://127.0.0.1:7878", "weir.socket");
	pretend("echo://127.0.0.1:9000", "echo"); /* the name comes first */
	joins(3);
	expect_listener(0, "line://127.0.0.1:12345");
	expect_listener(1, "echo+udp://127.0.0.1:7878");
	expect_listener(2, "echo://127.0.0.1:9000");
	/* Only these: defaults are not added. */
	ck_assert(config_complete(&config, 2, 1024, error));
	ck_assert_uint_eq(config.listeners_n, 3);
}
END_TEST

START_TEST(what_nobody_claims_is_refused)
{
	config_defaults(&config);
	pretend("echo://127.0.0.1:7879", "weir.socket"); /* frame's default */
	listen_to("echo://127.0.0.1:7878");
	is_refused("inherited socket 127.0.0.1:7879 (weir.socket): no LISTENER has this address");
	config_defaults(&config);
	sockets_n = 0;
	pretend("echo://127.0.0.1:7", "weir.socket");
	is_refused("inherited socket 127.0.0.1:7 (weir.socket)");
	sockets_n = 0;
	pretend("echo://127.0.0.1:7", "echo+udp"); /* but it is a stream */
	is_refused("127.0.0.1:7 (echo+udp)");
	sockets_n = 0;
	pretend("echo+udp://127.0.0.1:7", "line");
	is_refused("127.0.0.1:7, datagrams (line): line does not serve datagrams");
	sockets_n = 0;
	pretend("echo+udp://127.0.0.1:7", "+udp");
	is_refused("(+udp)");
	sockets_n = 0;
	pretend("echo+udp://127.0.0.1:7", "echo+udp+udp");
	is_refused("(echo+udp+udp)");
	sockets_n = 0;
	pretend("echo://127.0.0.1:7", "echo");
	pretend("echo://127.0.0.1:7", "echo");
	is_refused("there are two of this address");
	ck_assert_uint_eq(config.listeners_n, 1);
}
END_TEST

START_TEST(streams_and_datagrams_are_two_places)
{
	config_defaults(&config);
	listen_to("echo://127.0.0.1:5000");
	pretend("echo+udp://127.0.0.1:5000", "weir.socket");
	is_refused("127.0.0.1:5000, datagrams (weir.socket)");
	listen_to("discard+udp://127.0.0.1:5000");
	joins(2);
}
END_TEST

START_TEST(every_address_is_both_or_ipv6_alone)
{
	int both, alone;

	if (!ipv6_is_here()) {
		suite_skip("every address is both, or IPv6 alone", "no IPv6 here");
		return;
	}
	both = listen_at(":0");
	alone = listen_at("[::]:0");
	config_defaults(&config);
	pass(both, "weir.socket");
	pass(alone, "weir.socket");
	listen_to(listener_of("echo", both));
	listen_to(listener_of("echo", alone));
	joins(2);
	/* They are not the same: with the other's socket :PORT would get no IPv4 clients, and
	 * [::]:PORT would get them too. */
	for (size_t i = 0; i < 2; i++) {
		config.listeners[i].address.dual_stack ^= true;
		is_refused(i ? "[::]:" : "inherited socket :");
		config.listeners[i].address.dual_stack ^= true;
	}
	/* With a name, the listener takes the socket's address. */
	config_defaults(&config);
	sockets_n = 0;
	pass(both, "echo");
	pass(alone, "line");
	joins(2);
	expect_listener(0, listener_of("echo", both));
	expect_listener(1, listener_of("line", alone));
}
END_TEST

START_TEST(an_address_that_is_no_listener_is_refused)
{
	char name[64];

	(void)snprintf(name, sizeof name, "@weir-%d?mode", (int)getpid());
	config_defaults(&config);
	pass(listen_at(in_folder("a?b")), "echo");
	is_refused("a?b (echo): ");
	sockets_n = 0;
	pass(listen_at(name), "echo");
	is_refused("(echo): ");
	sockets_n = 0;
	(void)snprintf(name, sizeof name, "weir-%d", (int)getpid());
	pass(listen_at_name(name, strlen(name) + 5), "echo"); /* the 0 bytes are part of the name */
	is_refused("can't be written as a LISTENER");
	ck_assert_uint_eq(config.listeners_n, 0);
	/* As many listeners as are allowed. */
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		listen_to("line://127.0.0.1:0");
	sockets_n = 0;
	pretend("echo://127.0.0.1:7", "echo");
	is_refused("127.0.0.1:7 (echo): there are at most 64 listeners");
}
END_TEST

/* ---- what systemd says ---- */

/* Calls activation_open() and writes its result: "ADDRESS NAME\n" for each socket, or the error;
 * and all that is wrong. No assertions here, as libcheck's own descriptor may be among these. */
static _Noreturn void tell_what_is_opened(int out)
{
	char error[CONFIG_ERROR_BYTES], address[ADDRESS_TEXT_BYTES];
	bool good = activation_open(error);

	if (!good)
		(void)dprintf(out, "%s", error);
	for (size_t i = 0; good && i < activation_n(); i++) {
		address_format(&activation_socket(i)->address, address);
		(void)dprintf(out, "%s %s\n", address, activation_name(i));
		if (activation_fd(i) != 3 + (int)i || activation_socket(i)->fd != 3 + (int)i)
			(void)dprintf(out, "another number\n");
		if (!(fcntl(activation_fd(i), F_GETFD) & FD_CLOEXEC))
			(void)dprintf(out, "not closed on exec\n");
	}
	if (activation_fd(activation_n()) != -1 || activation_name(activation_n()) ||
	    activation_socket(activation_n()))
		(void)dprintf(out, "one more\n");
	if (getenv("LISTEN_PID") || getenv("LISTEN_FDS") || getenv("LISTEN_FDNAMES"))
		(void)dprintf(out, "still in the environment\n");
	_exit(0);
}

static const char *opened(const struct said *said, const int *fds, int n)
{
	static char text[1 << 16];
	int ends[2], status;
	size_t got = 0;
	ssize_t part;
	pid_t pid;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		int out = fcntl(ends[1], F_DUPFD_CLOEXEC, 200);

		become_activated(said, fds, n);
		tell_what_is_opened(out);
	}
	(void)close(ends[1]);
	while ((part = read(ends[0], text + got, sizeof text - 1 - got)) > 0)
		got += (size_t)part;
	text[got] = '\0';
	(void)close(ends[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	return text;
}

#define OPENED(pid, fds_text, names, ...)                                                          \
	opened(&(struct said){pid, fds_text, names}, (const int[]){__VA_ARGS__},                   \
	       (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

START_TEST(passed_sockets_are_taken_with_their_names)
{
	int stream = listen_at("127.0.0.1:0"), file = listen_at(in_folder("p.sock"));
	int datagrams = datagrams_at("127.0.0.1:0");
	char wanted[512];

	(void)snprintf(wanted, sizeof wanted, "%s echo\n%s a b.socket\n%s unknown\n",
		       address_of(stream), address_of(file), address_of(datagrams));
	ck_assert_str_eq(OPENED(NULL, "3", "echo:a b.socket:", stream, file, datagrams), wanted);
	(void)snprintf(wanted, sizeof wanted, "%s unknown\n%s unknown\n", address_of(stream),
		       address_of(file));
	ck_assert_str_eq(OPENED(NULL, "2", NULL, stream, file), wanted);
	(void)snprintf(wanted, sizeof wanted, "%s unknown\n", address_of(stream));
	ck_assert_str_eq(OPENED(NULL, "1", "", stream), wanted);
}
END_TEST

START_TEST(words_for_another_process_are_ignored)
{
	int fd = listen_at("127.0.0.1:0");
	char parent[16];

	(void)snprintf(parent, sizeof parent, "%d", getpid());
	ck_assert_str_eq(OPENED(parent, "1", "echo", fd), "");
	ck_assert_str_eq(OPENED("", "1", "echo", fd), "");
	ck_assert_str_eq(OPENED("x", "1", "echo", fd), "");
	ck_assert_str_eq(OPENED("-1", "x", "echo", fd), "");
	ck_assert_str_eq(OPENED(NULL, "0", NULL, fd), "");
	ck_assert_str_eq(OPENED(NULL, "0", "", fd), "");
}
END_TEST

START_TEST(wrong_words_are_an_error)
{
	static char long_name[300];
	int fd = listen_at("127.0.0.1:0"), file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const char *text;

	memset(long_name, 'n', sizeof long_name - 1);
	text = "LISTEN_FDS is a number up to 64, not \"";
	ck_assert_int_eq(strncmp(OPENED(NULL, NULL, "echo", fd), text, strlen(text)), 0);
	ck_assert_int_eq(strncmp(OPENED(NULL, "", "echo", fd), text, strlen(text)), 0);
	ck_assert_int_eq(strncmp(OPENED(NULL, "1x", "echo", fd), text, strlen(text)), 0);
	ck_assert_int_eq(strncmp(OPENED(NULL, "-1", "echo", fd), text, strlen(text)), 0);
	ck_assert_int_eq(strncmp(OPENED(NULL, "65", NULL, fd), text, strlen(text)), 0);
	ck_assert_int_eq(
	    strncmp(OPENED(NULL, "99999999999999999999", NULL, fd), text, strlen(text)), 0);
	ck_assert_str_eq(OPENED(NULL, "1", "a:b", fd), "LISTEN_FDNAMES has 2 names for 1 sockets");
	ck_assert_str_eq(OPENED(NULL, "2", "a", fd, fd),
			 "LISTEN_FDNAMES has 1 names for 2 sockets");
	ck_assert_str_eq(OPENED(NULL, "1", long_name, fd),
			 "the name of inherited descriptor 3 has more than 255 bytes");
	long_name[256] = '\0';
	ck_assert_ptr_nonnull(strstr(OPENED(NULL, "1", long_name, fd), "more than 255 bytes"));
	long_name[255] = '\0';
	ck_assert_ptr_nonnull(strstr(OPENED(NULL, "1", long_name, fd), long_name));
	ck_assert_str_eq(OPENED(NULL, "2", "a:b", fd, file),
			 "inherited descriptor 4 (b) is no socket");
	ck_assert_ptr_nonnull(strstr(OPENED(NULL, "1", "a", bind_to("127.0.0.1:0", SOCK_STREAM)),
				     "descriptor 3 (a) is a connection, or not listening"));
}
END_TEST

/* ---- an upgrade ---- */

START_TEST(a_manifest_goes_round)
{
	int fds[] = {listen_at("127.0.0.1:0"), datagrams_at("127.0.0.1:0")};
	char lines[512] = "", again[512] = "", error[CONFIG_ERROR_BYTES] = "";
	FILE *file = fmemopen(lines, sizeof lines, "w");

	(void)snprintf(again, sizeof again, "inherited %d echo\n", fds[0]);
	ck_assert_msg(activation_read(again, error), "%s", error);
	(void)snprintf(again, sizeof again, "inherited %d a b:c", fds[1]);
	ck_assert_msg(activation_read(again, error), "%s", error);
	ck_assert_uint_eq(activation_n(), 2);
	ck_assert_int_eq(activation_fd(0), fds[0]);
	ck_assert_str_eq(activation_name(0), "echo");
	ck_assert_int_eq(activation_fd(1), fds[1]);
	ck_assert_str_eq(activation_name(1), "a b:c");
	ck_assert(activation_socket(1)->datagrams);
	ck_assert(activation_write(file));
	ck_assert_int_eq(fclose(file), 0);
	(void)snprintf(again, sizeof again, "inherited %d echo\ninherited %d a b:c\n", fds[0],
		       fds[1]);
	ck_assert_str_eq(lines, again);
}
END_TEST

START_TEST(a_malformed_manifest_is_refused)
{
	static const char *const lines[] = {
	    "",
	    "inherited",
	    "inherited ",
	    "inherited x echo",
	    "inherited 9",
	    "inherited -9 echo",
	    "inherited 9x echo",
	    "inherited  9 echo",
	    "inherited 0 echo",
	    "inherited 4294967299 echo",
	    "inherited 99999999999999999999 echo",
	    "inherited 999 echo",
	    "Inherited 9 echo",
	    "point 9 echo",
	};
	char error[CONFIG_ERROR_BYTES];

	ck_assert_int_eq(dup2(listen_at("127.0.0.1:0"), 0), 0); /* a socket, but not passed */
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		*error = '\0';
		ck_assert_msg(!activation_read(lines[i], error), "%s", lines[i]);
		ck_assert_msg(strstr(error, "inherited") != NULL, "%s: %s", lines[i], error);
	}
	ck_assert_uint_eq(activation_n(), 0);
}
END_TEST

SUITE("activation", {"an address is a LISTENER's", an_address_is_a_listeners, 10},
      {"what weir can not serve is refused", what_weir_can_not_serve_is_refused, 10},
      {"without sockets nothing changes", without_sockets_nothing_changes, 10},
      {"a LISTENER takes the socket of its address", a_listener_takes_the_socket_of_its_address,
       10},
      {"a name that is a protocol is served", a_name_that_is_a_protocol_is_served, 10, 2},
      {"a default address is enough without LISTENERs",
       a_default_address_is_enough_without_listeners, 10},
      {"what nobody claims is refused", what_nobody_claims_is_refused, 10},
      {"streams and datagrams are two places", streams_and_datagrams_are_two_places, 10},
      {"every address is both, or IPv6 alone", every_address_is_both_or_ipv6_alone, 10},
      {"an address that is no LISTENER is refused", an_address_that_is_no_listener_is_refused, 10},
      {"passed sockets are taken with their names", passed_sockets_are_taken_with_their_names, 10},
      {"words for another process are ignored", words_for_another_process_are_ignored, 10},
      {"wrong words are an error", wrong_words_are_an_error, 10},
      {"a manifest goes round", a_manifest_goes_round, 10},
      {"a malformed manifest is refused", a_malformed_manifest_is_refused, 10})
