/*
 * resolver: names become addresses while the loop goes on. What this shows: a name of this machine;
 * numbers, paths and what is no address at all, without a child; a name that nobody has; one at a
 * time; and an owner that no longer waits.
 *
 * What it can't see: name servers, and deadlines (root_connect). What /etc/hosts says about
 * localhost is asked of getaddrinfo() here, too.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "reactor/loop/resolver.h"
#include "tests/support/harness.h"

static struct loop loop;
static struct stats stats;
static struct resolver resolver;
static struct address told[RESOLVER_ADDRESSES_MAX];
static size_t told_n;
static char told_why[128];
static unsigned ends;

static void begin(void)
{
	ck_assert_int_eq(loop_open(&loop, &stats, 0), 0);
	resolver_init(&resolver, &loop);
}

static void ended(struct resolver *of, const struct address *list, size_t n, const char *why)
{
	ck_assert_ptr_eq(of, &resolver);
	ck_assert((n == 0) == (list == NULL) && (n == 0) == (why != NULL));
	ends++;
	told_n = n;
	if (n)
		memcpy(told, list, n * sizeof *list);
	(void)snprintf(told_why, sizeof told_why, "%s", why ? why : "");
}

static void pass_until(unsigned ends_wanted)
{
	struct wait wait = wait_begin();

	while (ends < ends_wanted) {
		loop_pass(&loop, 100);
		wait_more(&wait, "the end of a lookup");
	}
	ck_assert_uint_eq(ends, ends_wanted);
	ck_assert(!resolver_is_busy(&resolver));
}

START_TEST(a_name_of_this_machine)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char text[ADDRESS_TEXT_BYTES];

	if (getaddrinfo("localhost", NULL, &hints, &found)) {
		suite_skip("a name of this machine", "nobody knows localhost here");
		return;
	}
	begin();
	(void)snprintf(text, sizeof text, "localhost:7");
	ck_assert_int_eq(resolver_begin(&resolver, text, 60000, ended), 0);
	memset(text, 0, sizeof text); /* it is copied */
	ck_assert(resolver_is_busy(&resolver));
	ck_assert_int_eq(resolver_begin(&resolver, "[::1]:7", 60000, ended), -EBUSY);
	ck_assert_uint_eq(ends, 0);
	pass_until(1);
	ck_assert_uint_ge(told_n, 1);
	ck_assert_int_eq(memcmp(&told[0].socket, found->ai_addr, 2), 0); /* its family, first */
	ck_assert_uint_eq(address_port(&told[0]), 7);
	freeaddrinfo(found);
}
END_TEST

START_TEST(what_is_no_name_needs_no_child)
{
	static const char *const texts[] = {"127.0.0.1:80", "[::1]:81", "/run/x.sock", "@x"};

	begin();
	for (unsigned i = 0; i < 4; i++) {
		char text[ADDRESS_TEXT_BYTES];

		ck_assert_int_eq(resolver_begin(&resolver, texts[i], 0, ended), 0);
		ck_assert(resolver_is_busy(&resolver) && !resolver.offload.pid);
		ck_assert_uint_eq(ends, i);
		pass_until(i + 1);
		ck_assert_uint_eq(told_n, 1);
		address_format(&told[0], text);
		ck_assert_str_eq(text, texts[i]);
	}
	ck_assert_int_eq(resolver_begin(&resolver, "/", 0, ended), 0);
	pass_until(5);
	ck_assert_str_eq(told_why, "the path is empty");
	ck_assert_int_eq(resolver_begin(&resolver, "nothing", 0, ended), 0);
	pass_until(6);
	ck_assert_msg(strstr(told_why, "HOST:PORT"), "%s", told_why);
}
END_TEST

START_TEST(a_name_that_nobody_has)
{
	char text[ADDRESS_TEXT_BYTES + 1];

	begin();
	ck_assert_int_eq(resolver_begin(&resolver, "nobody.invalid:80", 60000, ended), 0);
	pass_until(1);
	ck_assert_uint_eq(told_n, 0);
	ck_assert_str_ne(told_why, "");
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	ck_assert_int_eq(resolver_begin(&resolver, text, 0, ended), -ENAMETOOLONG);
	ck_assert(!resolver_is_busy(&resolver));
}
END_TEST

/* By its owner; nothing is told, of text with and without a name. */
START_TEST(its_owner_need_not_wait)
{
	struct wait wait = wait_begin();

	begin();
	ck_assert_int_eq(resolver_begin(&resolver, "[::1]:81", 0, ended), 0);
	resolver_cancel(&resolver);
	ck_assert(!resolver_is_busy(&resolver));
	loop_pass(&loop, 0);
	ck_assert_int_eq(resolver_begin(&resolver, "nobody.invalid:80", 60000, ended), 0);
	resolver_cancel(&resolver);
	ck_assert(!resolver_is_busy(&resolver));
	while (resolver.offload.pid) {
		loop_pass(&loop, 100);
		wait_more(&wait, "the end of a child");
	}
	ck_assert_uint_eq(ends, 0);
	ck_assert_int_eq(resolver_begin(&resolver, "127.0.0.1:80", 0, ended), 0);
	pass_until(1);
	ck_assert_uint_eq(told_n, 1);
}
END_TEST

SUITE("resolver", {"a name of this machine", a_name_of_this_machine, 60},
      {"what is no name needs no child", what_is_no_name_needs_no_child, 20},
      {"a name that nobody has", a_name_that_nobody_has, 60},
      {"its owner need not wait", its_owner_need_not_wait, 20})
