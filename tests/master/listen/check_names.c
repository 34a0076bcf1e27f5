/*
 * Names with several addresses, and name servers that do not answer: what happens to an ADDRESS or
 * a LISTENER. This file has its own getaddrinfo(3), which knows a few names and uses no network.
 * root_names tests the same with the real one.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/syscall.h>

#include "tests/master/listen/bound_sockets.h"

/* ---- the test's getaddrinfo() ---- */

static const struct {
	const char *name, *addresses[6];
} hosts[] = {
    {"both.test", {"::1", "127.0.0.1"}},
    {"twice.test", {"127.0.0.1", "127.0.0.1", "::1", "127.0.0.1"}},
    {"four.test", {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}},
    {"one.test", {"127.0.0.9"}},
    {"swapped.test", {"127.0.0.1", "::1"}},
    {"far.test", {"203.0.113.1", "127.0.0.1", "2001:db8::1"}},
    {"beyond.test", {"203.0.113.1", "2001:db8::1"}},
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

/* ---- the test's bind() ---- */

static struct refused {
	const char *host;
	unsigned times;
	int error;
} refused;

int bind(int fd, const struct sockaddr *address, socklen_t bytes)
{
	struct address to = {.bytes = bytes};
	char text[ADDRESS_TEXT_BYTES];

	memcpy(&to.socket, address, bytes);
	address_format(&to, text);
	if (refused.times && strstr(text, refused.host)) {
		refused.times--;
		errno = refused.error;
		return -1;
	}
	return (int)syscall(SYS_bind, fd, address, bytes);
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
	ck_assert(!address_parse(&address, "no.test:80", &why)); /* which is looked up once */
	ck_assert_uint_eq(asked, 4);
	address_patience(0);
	silent_for = 1000;
	ck_assert(!address_parse(&address, "one.test:80", &why));
	ck_assert_uint_eq(asked, 5);
	ck_assert(address_failed_for_now());
}
END_TEST

/* ---- listeners ---- */

static struct config configs[3];
static struct listen_set sets[3];

static void listeners_are(const struct config *config, const char *expected)
{
	char all[4096] = "", one[ENDPOINT_TEXT_BYTES];

	for (size_t i = 0; i < config->listeners_n; i++) {
		endpoint_format(&config->listeners[i], one);
		(void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s%s", i ? " " : "",
			       config->listeners[i].joined ? "+" : "", one);
	}
	ck_assert_str_eq(all, expected);
}

static void no_listener(const char *listener, const char *why)
{
	char error[CONFIG_ERROR_BYTES] = "";
	size_t before = configs[0].listeners_n;

	ck_assert(!config_listen(&configs[0], listener, error));
	ck_assert_msg(strstr(error, why) != NULL, "%s", error);
	ck_assert_uint_eq(configs[0].listeners_n, before);
}

START_TEST(a_listener_has_all_addresses_of_its_name)
{
	char text[ENDPOINT_TEXT_BYTES];

	CONFIGURE(&configs[0], 1, "chat://both.test:9000?names=on",
		  "echo+udp://both.test:9000?rate=3", "echo://one.test:1");
	listeners_are(&configs[0], "chat://[::1]:9000?names=on +chat://127.0.0.1:9000?names=on "
				   "echo+udp://[::1]:9000?rate=3 +echo+udp://127.0.0.1:9000?rate=3 "
				   "echo://127.0.0.9:1");
	endpoint_format_named(&configs[0].listeners[1], text);
	ck_assert_str_eq(text, "chat://both.test:9000?names=on");
	no_listener("echo://127.0.0.1:9000",
		    "it listens where \"chat://both.test:9000?names=on\" does");
	no_listener("echo://swapped.test:9000",
		    "it listens where \"chat://both.test:9000?names=on\" does");
	for (unsigned i = 0; configs[0].listeners_n + 4 <= LISTENERS_MAX; i++) {
		char error[CONFIG_ERROR_BYTES], listener[64];

		(void)snprintf(listener, sizeof listener, "echo://four.test:%u", 100 + i);
		ck_assert_msg(config_listen(&configs[0], listener, error), "%s", error);
	}
	no_listener("echo://four.test:99", "at most 64 listeners, and");
}
END_TEST

START_TEST(a_port_that_is_chosen_is_that_of_all)
{
	CONFIGURE(&configs[0], 2, "echo://four.test:0", "echo://both.test:0");
	refused = (struct refused){"127.0.0.3", 2, EADDRINUSE};
	serve_set(&sets[0], &configs[0]);
	ck_assert_uint_eq(refused.times, 0);
	for (size_t i = 1; i < 4; i++)
		ck_assert_uint_eq(port_of(&configs[0], i), port_of(&configs[0], 0));
	ck_assert_uint_eq(port_of(&configs[0], 5), port_of(&configs[0], 4));
	ck_assert_uint_ne(port_of(&configs[0], 4), port_of(&configs[0], 0));
	/* A reload looks them up again, and they stay the same listeners. */
	CONFIGURE(&configs[1], 2, "echo://four.test:0", "echo://both.test:0");
	open_set(&sets[1], &configs[1], &sets[0]);
	ck_assert_mem_eq(sets[0].bound_sockets, sets[1].bound_sockets,
			 sizeof sets[0].bound_sockets);
	listen_drop(&sets[1]);
	listen_drop(&sets[0]);
}
END_TEST

/* If another program has the port at one of the addresses, the start fails. */
START_TEST(a_port_that_is_taken_at_one_address_fails)
{
	char error[CONFIG_ERROR_BYTES];

	CONFIGURE(&configs[0], 1, "echo://four.test:0");
	refused = (struct refused){"127.0.0.3", 1000, EADDRINUSE};
	ck_assert(!listen_open(&sets[0], &configs[0], NULL, error));
	ck_assert_msg(strstr(error, "127.0.0.3") && strstr(error, strerror(EADDRINUSE)), "%s",
		      error);
	CONFIGURE(&configs[0], 1, "echo://four.test:0");
	refused = (struct refused){"127.0.0.3", 1000, EACCES};
	ck_assert(!listen_open(&sets[0], &configs[0], NULL, error));
	ck_assert_msg(strstr(error, strerror(EACCES)) != NULL, "%s", error);
}
END_TEST

START_TEST(what_this_machine_has_not_is_left_out)
{
	char error[CONFIG_ERROR_BYTES];

	CONFIGURE(&configs[0], 1, "chat://far.test:0", "echo://127.0.0.1:0");
	serve_set(&sets[0], &configs[0]);
	ck_assert_uint_eq(configs[0].listeners_n, 2);
	ck_assert_uint_eq(sets[0].bound_sockets_n, 2);
	ck_assert(!configs[0].listeners[0].joined);
	ck_assert_str_eq(configs[0].listeners[1].protocol->name, "echo");
	(void)close(connect_to(port_of(&configs[0], 0)));
	listen_drop(&sets[0]);

	CONFIGURE(&configs[0], 1, "echo://beyond.test:0");
	ck_assert(!listen_open(&sets[0], &configs[0], NULL, error));
	ck_assert_msg(strstr(error, strerror(EADDRNOTAVAIL)) != NULL, "%s", error);

	CONFIGURE(&configs[0], 1, "echo://swapped.test:0"); /* no IPv6 */
	refused = (struct refused){"::1", 1000, EADDRNOTAVAIL};
	serve_set(&sets[0], &configs[0]);
	ck_assert_uint_eq(configs[0].listeners_n, 1);
	listen_drop(&sets[0]);
}
END_TEST

/* ---- topics ---- */

static void expect_topic(const struct listen_set *of, size_t i, const char *name)
{
	const char *topics[LISTENERS_MAX];

	listen_topics(of, topics);
	if (name)
		ck_assert_str_eq(topics[i], name);
	else
		ck_assert_ptr_null(topics[i]);
}

static void next_set(size_t turn)
{
	open_set(&sets[turn], &configs[turn], &sets[!turn]);
	listen_serve(&sets[turn]);
	listen_drop(&sets[!turn]);
}

/* In whatever order a name server returns the addresses, and even if it leaves some out: clients
 * whose connections move still hear all others. */
START_TEST(one_listener_is_one_topic)
{
	unsigned port;
	char both[64], swapped[64], four[64], six[64], name[64], other[80];

	CONFIGURE(&configs[0], 1, "line://127.0.0.1:0", "chat://both.test:0");
	serve_set(&sets[0], &configs[0]);
	port = port_of(&configs[0], 1);
	(void)snprintf(both, sizeof both, "chat://both.test:%u", port);
	(void)snprintf(swapped, sizeof swapped, "chat://swapped.test:%u", port);
	(void)snprintf(four, sizeof four, "chat://127.0.0.1:%u", port);
	(void)snprintf(six, sizeof six, "chat://[::1]:%u", port);
	(void)snprintf(name, sizeof name, "chat%s",
		       sets[0].bound_sockets[1]->address.socket.ss_family == AF_INET ? four + 6
										     : six + 6);
	expect_topic(&sets[0], 0, NULL);
	expect_topic(&sets[0], 1, name);
	expect_topic(&sets[0], 2, name);

	CONFIGURE(&configs[1], 1, swapped);
	next_set(1);
	expect_topic(&sets[1], 0, name);
	expect_topic(&sets[1], 1, name);

	/* The address that gave the name has gone, or the other one: it stays with what is left. */
	for (size_t i = 0; i < 2; i++) {
		CONFIGURE(&configs[0], 1, i ? six : four, "chat://127.0.0.1:0");
		next_set(0);
		expect_topic(&sets[0], 0, name);
		CONFIGURE(&configs[1], 1, both);
		next_set(1);
		expect_topic(&sets[1], 0, name);
	}

	/* What was one LISTENER is two: the first one keeps the name, the other gets its own; and
	 * one that is new takes none that an old one keeps, wherever it stands. */
	CONFIGURE(&configs[0], 1, name[5] == '1' ? six : four);
	next_set(0);
	expect_topic(&sets[0], 0, name);
	CONFIGURE(&configs[1], 1, name[5] == '1' ? four : six, name[5] == '1' ? six : four);
	next_set(1);
	(void)snprintf(other, sizeof other, "%s#2", name);
	expect_topic(&sets[1], 0, other);
	expect_topic(&sets[1], 1, name);
	listen_drop(&sets[1]);
}
END_TEST

/* A client that comes back with its last id finds its topic, though the listener was away. */
START_TEST(a_name_is_that_of_the_address)
{
	char path[200], name[200], abstract[100], port[64], by_port[64];

	(void)snprintf(path, sizeof path, "chat://%s", in_folder("point.sock"));
	(void)snprintf(name, sizeof name, "chat/%s", in_folder("point.sock"));
	(void)snprintf(abstract, sizeof abstract, "chat://@weir topics %d", (int)getpid());
	for (size_t turn = 0; turn < 2; turn++) {
		CONFIGURE(&configs[0], 2, "echo://127.0.0.1:0", path, abstract,
			  turn ? port : "chat://127.0.0.1:0?accept=handoff");
		serve_set(&sets[0], &configs[0]);
		expect_topic(&sets[0], 0, NULL);
		expect_topic(&sets[0], 1, name);
		(void)snprintf(by_port, sizeof by_port, "chat/@weir topics %d", (int)getpid());
		expect_topic(&sets[0], 2, by_port);
		(void)snprintf(by_port, sizeof by_port, "chat/127.0.0.1:%u",
			       port_of(&configs[0], 3));
		expect_topic(&sets[0], 3, by_port);
		(void)snprintf(port, sizeof port, "chat://127.0.0.1:%u", port_of(&configs[0], 3));
		CONFIGURE(&configs[1], 1, "echo://127.0.0.1:0");
		next_set(1);
		listen_drop(&sets[1]);
	}
}
END_TEST

SUITE("names",
      {"a name stands for all of its addresses", a_name_stands_for_all_of_its_addresses, 10},
      {"what may pass is told from what will not", what_may_pass_is_told_from_what_will_not, 10},
      {"patience asks again and has an end", patience_asks_again_and_has_an_end, 20},
      {"a listener has all addresses of its name", a_listener_has_all_addresses_of_its_name, 10},
      {"a port that is chosen is that of all", a_port_that_is_chosen_is_that_of_all, 10},
      {"a port that is taken at one address fails", a_port_that_is_taken_at_one_address_fails, 10},
      {"what this machine has not is left out", what_this_machine_has_not_is_left_out, 10},
      {"a name is that of the address", a_name_is_that_of_the_address, 10},
      {"one listener is one topic", one_listener_is_one_topic, 10})
