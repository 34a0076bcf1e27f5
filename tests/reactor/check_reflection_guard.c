/*
 * reflection_guard: which peers get no answer to a datagram, by port and address.
 *
 * That no packet is sent is shown by the tests against a running server.
 */
#include "reactor/udp/reflection_guard.h"

#include <netinet/in.h>
#include <stdio.h>

#include "tests/support/suite.h"

static struct address address_of(const char *text)
{
	struct address address;
	const char *why;

	ck_assert_msg(address_parse(&address, text, &why), "%s: %s", text, why);
	return address;
}

static enum reflection_verdict judge(const struct reflection_guard *guard, const char *peer)
{
	struct address address = address_of(peer);

	return reflection_guard_check(guard, (const struct sockaddr *)&address.socket);
}

static void expect(const struct reflection_guard *guard, const char *peer,
		   enum reflection_verdict verdict)
{
	ck_assert_msg(judge(guard, peer) == verdict, "%s is judged %d, not %d", peer,
		      judge(guard, peer), verdict);
}

static void add(struct reflection_guard *guard, const char *here)
{
	struct address address = address_of(here);

	reflection_guard_add(guard, &address);
}

START_TEST(low_ports_are_never_answered)
{
	static const char *const hosts[] = {"127.0.0.1",     "192.0.2.1",	   "[::1]",
					    "[2001:db8::1]", "[::ffff:192.0.2.1]", "[fe80::1]"};
	struct reflection_guard guard = {.own_n = 0};

	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		for (unsigned port = 0; port < 65536; port += port == 1100 ? 64400 : 1) {
			char text[ADDRESS_TEXT_BYTES];

			(void)snprintf(text, sizeof text, "%s:%u", hosts[i], port);
			expect(&guard, text, port < 1024 ? REFLECTION_LOW_PORT : REFLECTION_NONE);
		}
	}
}
END_TEST

START_TEST(nobody_is_never_answered)
{
	struct reflection_guard guard = {.own_n = 0};

	expect(&guard, "[::]:5000", REFLECTION_NO_SENDER);
	expect(&guard, "0.0.0.0:5000", REFLECTION_NO_SENDER);
	expect(&guard, "[::ffff:0.0.0.0]:5000", REFLECTION_NO_SENDER);
	expect(&guard, "[::2]:5000", REFLECTION_NONE);
	expect(&guard, "0.0.0.1:5000", REFLECTION_NONE);
}
END_TEST

START_TEST(one_address_of_its_own)
{
	struct reflection_guard guard = {.own_n = 0};

	add(&guard, "127.0.0.1:7878");
	expect(&guard, "127.0.0.1:7878", REFLECTION_OWN_PORT);
	expect(&guard, "[::ffff:127.0.0.1]:7878", REFLECTION_OWN_PORT);
	expect(&guard, "127.0.0.1:7879", REFLECTION_NONE);
	expect(&guard, "127.0.0.1:7", REFLECTION_LOW_PORT);
	/* No listener of ours is at this address, and it is not another machine. */
	expect(&guard, "127.0.0.2:7878", REFLECTION_NONE);
	expect(&guard, "[::ffff:127.0.0.2]:7878", REFLECTION_NONE);
	expect(&guard, "[::1]:7878", REFLECTION_NONE);
	/* On another machine there may be another weir. */
	expect(&guard, "192.0.2.1:7878", REFLECTION_OWN_PORT);
	expect(&guard, "[2001:db8::1]:7878", REFLECTION_OWN_PORT);
	expect(&guard, "[::ffff:192.0.2.1]:7878", REFLECTION_OWN_PORT);
	expect(&guard, "192.0.2.1:7877", REFLECTION_NONE);
}
END_TEST

START_TEST(addresses_of_the_other_kind)
{
	struct reflection_guard guard = {.own_n = 0};

	add(&guard, "[::1]:7878");
	expect(&guard, "[::1]:7878", REFLECTION_OWN_PORT);
	expect(&guard, "127.0.0.1:7878", REFLECTION_NONE);
	expect(&guard, "[::ffff:127.0.0.1]:7878", REFLECTION_NONE);
	expect(&guard, "[fe80::1]:7878", REFLECTION_OWN_PORT);
	add(&guard, "192.0.2.7:9000");
	expect(&guard, "192.0.2.7:9000", REFLECTION_OWN_PORT);
	expect(&guard, "192.0.2.8:9000", REFLECTION_OWN_PORT);
	expect(&guard, "127.0.0.1:9000", REFLECTION_NONE);
	expect(&guard, "[::1]:9000", REFLECTION_NONE);
}
END_TEST

START_TEST(every_address_is_every_address)
{
	static const char *const wildcards[] = {":7878", "0.0.0.0:7878", "[::]:7878"};
	static const char *const peers[] = {"127.0.0.1:7878", "127.9.9.9:7878",
					    "[::1]:7878",     "[::ffff:127.0.0.3]:7878",
					    "192.0.2.1:7878", "[2001:db8::1]:7878"};

	for (size_t i = 0; i < 3; i++) {
		struct reflection_guard guard = {.own_n = 0};

		add(&guard, wildcards[i]);
		for (size_t k = 0; k < sizeof peers / sizeof *peers; k++)
			expect(&guard, peers[k], REFLECTION_OWN_PORT);
		expect(&guard, "127.0.0.1:7877", REFLECTION_NONE);
		expect(&guard, "[2001:db8::1]:7879", REFLECTION_NONE);
	}
}
END_TEST

START_TEST(as_many_as_there_may_be)
{
	struct reflection_guard guard = {.own_n = 0};
	char text[ADDRESS_TEXT_BYTES];

	for (unsigned i = 0; i < REFLECTION_GUARD_OWN_MAX; i++) {
		(void)snprintf(text, sizeof text, "127.0.0.%u:%u", 1 + i, 2000 + i);
		add(&guard, text);
	}
	for (unsigned i = 0; i < REFLECTION_GUARD_OWN_MAX; i++) {
		(void)snprintf(text, sizeof text, "127.0.0.%u:%u", 1 + i, 2000 + i);
		expect(&guard, text, REFLECTION_OWN_PORT);
		(void)snprintf(text, sizeof text, "127.0.0.%u:%u", 2 + i, 2000 + i);
		expect(&guard, text, REFLECTION_NONE);
	}
	/* The same port at two addresses: each of them counts. */
	guard.own_n = 0;
	add(&guard, "127.0.0.1:7878");
	add(&guard, "127.0.0.2:7878");
	expect(&guard, "127.0.0.1:7878", REFLECTION_OWN_PORT);
	expect(&guard, "127.0.0.2:7878", REFLECTION_OWN_PORT);
	expect(&guard, "127.0.0.3:7878", REFLECTION_NONE);
}
END_TEST

SUITE("guard", {"nobody is never answered", nobody_is_never_answered, 10},
      {"low ports are never answered", low_ports_are_never_answered, 10},
      {"one address of its own", one_address_of_its_own, 10},
      {"addresses of the other kind", addresses_of_the_other_kind, 10},
      {"every address is every address", every_address_is_every_address, 10},
      {"as many as there may be", as_many_as_there_may_be, 10})
