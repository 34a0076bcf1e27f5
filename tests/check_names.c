/*
 * Names of several addresses, and name servers that do not answer: what an ADDRESS and a LISTENER
 * become then. getaddrinfo(3) is this file's own: it knows a few names and no network. root_names
 * has the same with a real one.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/settings.h"

/* ---- a getaddrinfo of our own ---- */

static const struct {
	const char *name, *addresses[6];
} hosts[] = {
    {"both.test", {"::1", "127.0.0.1"}},
    {"twice.test", {"127.0.0.1", "127.0.0.1", "::1", "127.0.0.1"}},
    {"four.test", {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}},
    {"one.test", {"127.0.0.9"}},
};

static struct {
	struct addrinfo info;
	struct sockaddr_storage address;
} answers[8];
static unsigned asked, silent_for;

static void answer(size_t i, const char *text)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&answers[i].address;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&answers[i].address;
	bool six = strchr(text, ':') != NULL;

	memset(&answers[i], 0, sizeof answers[i]);
	answers[i].address.ss_family = six ? AF_INET6 : AF_INET;
	ck_assert_int_eq(inet_pton(six ? AF_INET6 : AF_INET, text,
				   six ? (void *)&in6->sin6_addr : (void *)&in->sin_addr),
			 1);
	answers[i].info.ai_family = answers[i].address.ss_family;
	answers[i].info.ai_addr = (struct sockaddr *)&answers[i].address;
	answers[i].info.ai_addrlen = six ? sizeof *in6 : sizeof *in;
	if (i)
		answers[i - 1].info.ai_next = &answers[i].info;
}

static bool is_number(const char *name)
{
	unsigned char bytes[16];

	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
		struct addrinfo **found)
{
	ck_assert_ptr_null(service);
	ck_assert_int_eq(hints->ai_socktype, SOCK_STREAM);
	*found = &answers[0].info;
	if (is_number(name)) {
		answer(0, name);
		return 0;
	}
	asked++;
	if (silent_for) {
		silent_for--;
		return EAI_AGAIN;
	}
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		if (strcmp(hosts[i].name, name) != 0)
			continue;
		for (size_t j = 0; hosts[i].addresses[j]; j++)
			answer(j, hosts[i].addresses[j]);
		return 0;
	}
	return EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *found)
{
	ck_assert_ptr_eq(found, &answers[0].info);
}

/* ---- addresses ---- */

static void list_is(const char *text, size_t max, const char *expected)
{
	char all[512] = "", one[ADDRESS_TEXT_BYTES];
	struct address list[8];
	const char *why = "";
	size_t n = address_list(list, max, text, &why);

	for (size_t i = 0; i < n; i++) {
		address_format(&list[i], one);
		(void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? " " : "",
			       one);
	}
	ck_assert_msg(strcmp(all, expected) == 0, "%s is \"%s\" (%s)", text, all, why);
}

START_TEST(a_name_stands_for_all_of_its_addresses)
{
	struct address first;
	const char *why;

	list_is("both.test:80", 8, "[::1]:80 127.0.0.1:80");
	list_is("twice.test:80", 8, "127.0.0.1:80 [::1]:80");
	list_is("four.test:0", 8, "127.0.0.1:0 127.0.0.2:0 127.0.0.3:0 127.0.0.4:0");
	list_is("four.test:80", 2, "127.0.0.1:80 127.0.0.2:80");
	list_is("127.0.0.1:80", 8, "127.0.0.1:80");
	list_is("[::1]:80", 8, "[::1]:80");
	list_is(":80", 8, ":80");
	list_is("/run/x", 8, "/run/x");
	ck_assert(address_parse(&first, "both.test:81", &why));
	ck_assert_int_eq(first.socket.ss_family, AF_INET6);
}
END_TEST

START_TEST(what_may_pass_is_told_from_what_will_not)
{
	struct address address;
	const char *why;

	silent_for = 1;
	ck_assert(!address_parse(&address, "one.test:80", &why));
	ck_assert_str_eq(why, gai_strerror(EAI_AGAIN));
	ck_assert(address_failed_for_now());
	ck_assert(!address_parse(&address, "no.test:80", &why));
	ck_assert(!address_failed_for_now());
	silent_for = 1;
	ck_assert(!address_parse(&address, "one.test:80", &why));
	ck_assert(!address_parse(&address, "one.test:http", &why));
	ck_assert(!address_failed_for_now());
	ck_assert_uint_eq(asked, 3);
}
END_TEST

START_TEST(patience_asks_again_and_has_an_end)
{
	struct address address;
	const char *why;

	address_patience(60000);
	silent_for = 2;
	ck_assert(address_parse(&address, "one.test:80", &why));
	ck_assert_uint_eq(asked, 3);
	ck_assert(!address_failed_for_now());
	ck_assert(!address_parse(&address, "no.test:80", &why)); /* which is asked once */
	ck_assert_uint_eq(asked, 4);
	address_patience(0);
	silent_for = 1000;
	ck_assert(!address_parse(&address, "one.test:80", &why));
	ck_assert_uint_eq(asked, 5);
	ck_assert(address_failed_for_now());
}
END_TEST

SUITE("names",
      {"a name stands for all of its addresses", a_name_stands_for_all_of_its_addresses, 10},
      {"what may pass is told from what will not", what_may_pass_is_told_from_what_will_not, 10},
      {"patience asks again and has an end", patience_asks_again_and_has_an_end, 20})
