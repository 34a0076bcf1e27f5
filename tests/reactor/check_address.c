/*
 * address: every form that it takes, every error, and that formatting undoes parsing.
 *
 * Names are resolved only as far as that is possible without a network.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/address.h"
#include "tests/support/harness.h"

static struct address parse(const char *text)
{
	struct address address;
	const char *why = "";

	ck_assert_msg(address_parse(&address, text, &why), "%s: %s", text, why);
	return address;
}

static void expect_text_of(const struct address *address, const char *text)
{
	char formatted[ADDRESS_TEXT_BYTES];

	address_format(address, formatted);
	ck_assert_str_eq(formatted, text);
}

/* Each text is formatted as the text beside it, which is parsed as the same address. */
START_TEST(forms_come_out_as_they_went_in)
{
	static const struct {
		const char *text, *formatted;
		int family;
		unsigned port;
	} forms[] = {
	    {"127.0.0.1:7878", "127.0.0.1:7878", AF_INET, 7878},
	    {"0.0.0.0:0", "0.0.0.0:0", AF_INET, 0},
	    {"255.255.255.255:65535", "255.255.255.255:65535", AF_INET, 65535},
	    {"127.0.0.1:0080", "127.0.0.1:80", AF_INET, 80},
	    {"[::1]:7878", "[::1]:7878", AF_INET6, 7878},
	    {"[::]:1", "[::]:1", AF_INET6, 1},
	    {"[0:0:0:0:0:0:0:1]:2", "[::1]:2", AF_INET6, 2},
	    {"[2001:DB8::ff]:3", "[2001:db8::ff]:3", AF_INET6, 3},
	    {"[::ffff:192.0.2.1]:4", "[::ffff:192.0.2.1]:4", AF_INET6, 4},
	    {":9000", ":9000", AF_INET6, 9000},
	    {":0", ":0", AF_INET6, 0},
	    {"/run/weir.sock", "/run/weir.sock", AF_UNIX, 0},
	    {"/a:80", "/a:80", AF_UNIX, 0},
	    {"@weir", "@weir", AF_UNIX, 0},
	    {"@w", "@w", AF_UNIX, 0},
	};

	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct address address = parse(forms[i].text), again;

		ck_assert_int_eq(address.socket.ss_family, forms[i].family);
		ck_assert_uint_eq(address_port(&address), forms[i].port);
		ck_assert_int_eq(address_is_unix(&address), forms[i].family == AF_UNIX);
		ck_assert_int_eq(address.dual_stack, *forms[i].text == ':');
		expect_text_of(&address, forms[i].formatted);
		again = parse(forms[i].formatted);
		ck_assert_uint_eq(address.bytes, again.bytes);
		ck_assert_mem_eq(&address.socket, &again.socket, sizeof address.socket);
		ck_assert_int_eq(address.dual_stack, again.dual_stack);
	}
}
END_TEST

START_TEST(a_name_becomes_a_number)
{
	char text[ADDRESS_TEXT_BYTES];
	struct addrinfo *known;
	struct address address;

	if (getaddrinfo("localhost", NULL, NULL, &known) != 0) {
		suite_skip("a name becomes a number", "localhost is no name here");
		return;
	}
	freeaddrinfo(known);
	address = parse("localhost:80");
	address_format(&address, text);
	ck_assert_msg(strcmp(text, "127.0.0.1:80") == 0 || strcmp(text, "[::1]:80") == 0,
		      "localhost is %s", text);
}
END_TEST

/* The scope says to which network a link-local address belongs: without it no socket can be bound.
 */
START_TEST(a_link_local_address_keeps_its_scope)
{
	struct address address = parse("[fe80::1%lo]:80"), again;
	char text[ADDRESS_TEXT_BYTES];

	ck_assert_uint_ne(((struct sockaddr_in6 *)(void *)&address.socket)->sin6_scope_id, 0);
	address_format(&address, text);
	again = parse(text);
	ck_assert_msg(memcmp(&address.socket, &again.socket, sizeof address.socket) == 0,
		      "[fe80::1%%lo]:80 is told as %s, which is another address", text);
}
END_TEST

START_TEST(what_is_no_address_is_refused_with_the_reason)
{
	static const struct {
		const char *text, *why;
	} errors[] = {
	    {"", "an address is"},
	    {"7878", "an address is"},
	    {"localhost", "an address is"},
	    {"localhost:", "a port is"},
	    {":", "a port is"},
	    {"127.0.0.1:65536", "a port is"},
	    {"127.0.0.1:99999999999999999999", "a port is"},
	    {"127.0.0.1:-1", "a port is"},
	    {"127.0.0.1:+1", "a port is"},
	    {"127.0.0.1: 1", "a port is"},
	    {"127.0.0.1:1 ", "a port is"},
	    {"127.0.0.1:0x10", "a port is"},
	    {"127.0.0.1:http", "a port is"},
	    {"::1", "in brackets"},
	    {"::1:80", "in brackets"},
	    {"[::1]", "a port is"},
	    {"[::1]x:80", "in brackets"},
	    {"[::1:80", "in brackets"},
	    {"[name:80", "between [ and ]"},
	    {"[x:y]:80", "between [ and ]"},
	    {"[a:b.example]:80", "between [ and ]"},
	    {"[]:80", "no IPv6 address"},
	    {"[127.0.0.1]:80", "no IPv6 address"},
	    {"[localhost]:80", "no IPv6 address"},
	    {"[::g]:80", "no IPv6 address"},
	    {"/", "the path is empty"},
	    {"@", "the path is empty"},
	};

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		struct address address;
		const char *why = "";

		ck_assert_msg(!address_parse(&address, errors[i].text, &why), "%s was taken",
			      errors[i].text);
		ck_assert_msg(strstr(why, errors[i].why) != NULL, "%s: %s", errors[i].text, why);
	}
}
END_TEST

/* A text of `begin`, n bytes of x, and `end`. */
static const char *text_of(const char *begin, size_t n, const char *end)
{
	static char text[2048];
	size_t at = strlen(begin);

	memcpy(text, begin, at);
	memset(text + at, 'x', n - at);
	(void)snprintf(text + n, sizeof text - n, "%s", end);
	return text;
}

START_TEST(lengths_up_to_the_limit_are_taken_and_no_more)
{
	struct address address;
	const char *why = "";

	address = parse(text_of("/", 107, ""));
	ck_assert_uint_eq(strlen(address_path(&address)), 107);
	expect_text_of(&address, text_of("/", 107, ""));
	ck_assert(!address_parse(&address, text_of("/", 108, ""), &why));
	ck_assert_ptr_nonnull(strstr(why, "at most 107 bytes"));
	address = parse(text_of("@", 107, ""));
	ck_assert_uint_eq(address.bytes, offsetof(struct sockaddr_un, sun_path) + 107);
	expect_text_of(&address, text_of("@", 107, ""));
	ck_assert(!address_parse(&address, text_of("@", 108, ""), &why));
	ck_assert_ptr_nonnull(strstr(why, "at most 107 bytes"));
	ck_assert(!address_parse(&address, text_of("", 1500, ":80"), &why));
	ck_assert_ptr_nonnull(strstr(why, "too long"));
}
END_TEST

START_TEST(only_a_socket_file_has_a_path)
{
	static const char *const others[] = {"@abstract", "127.0.0.1:80", "[::1]:80", ":80"};
	struct address address = parse("/run/weir.sock");

	ck_assert_str_eq(address_path(&address), "/run/weir.sock");
	for (size_t i = 0; i < 4; i++) {
		address = parse(others[i]);
		ck_assert_ptr_null(address_path(&address));
	}
}
END_TEST

START_TEST(setting_a_port_changes_nothing_else)
{
	struct address address = parse("127.0.0.1:0");

	address_set_port(&address, 65535);
	expect_text_of(&address, "127.0.0.1:65535");
	address = parse("[::1]:0");
	address_set_port(&address, 80);
	expect_text_of(&address, "[::1]:80");
	address = parse(":0");
	address_set_port(&address, 80);
	expect_text_of(&address, ":80");
}
END_TEST

/* The kernel takes what was parsed, and gives back the same. The length of an abstract name counts:
 * with zeros after it, it would be another name. */
START_TEST(the_kernel_binds_what_was_parsed)
{
	static const char *const texts[] = {"127.0.0.1:0", "@%s", "%s/socket"};

	for (size_t i = 0; i < 3; i++) {
		char text[256], formatted[ADDRESS_TEXT_BYTES];
		struct address address, bound = {.bytes = sizeof bound.socket};
		int fd;

		(void)snprintf(text, sizeof text, texts[i], temporary_folder());
		address = parse(text);
		fd = socket(address.socket.ss_family, SOCK_STREAM, 0);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&address.socket, address.bytes), 0);
		ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&bound.socket, &bound.bytes),
				 0);
		ck_assert_uint_eq(bound.bytes, address.bytes);
		address_format(&bound, formatted);
		if (i == 0)
			ck_assert_uint_ne(address_port(&bound), 0);
		else
			ck_assert_str_eq(formatted, text);
		(void)close(fd);
	}
}
END_TEST

SUITE("address", {"forms come out as they went in", forms_come_out_as_they_went_in, 10},
      {"a name becomes a number", a_name_becomes_a_number, 10},
      {"a link-local address keeps its scope", a_link_local_address_keeps_its_scope, 10},
      {"what is no address is refused with the reason",
       what_is_no_address_is_refused_with_the_reason, 30},
      {"lengths up to the limit are taken and no more",
       lengths_up_to_the_limit_are_taken_and_no_more, 10},
      {"only a socket file has a path", only_a_socket_file_has_a_path, 10},
      {"setting a port changes nothing else", setting_a_port_changes_nothing_else, 10},
      {"the kernel binds what was parsed", the_kernel_binds_what_was_parsed, 10})
