/*
 * proxy_parse: every value of what has few, compared with what the specification says of it; IPv6
 * addresses compared with inet_pton(3); every length; and bytes by chance.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "tests/protocol/proxy_pieces.h"

static const unsigned char *ip_of(const struct address *address)
{
	static unsigned char bytes[16];

	EXPECT(address_bytes((const struct sockaddr *)&address->socket, bytes));
	return bytes;
}

/* ---- version 1 ---- */

START_TEST(every_number_of_an_address)
{
	struct proxy_header header;
	char text[128];

	open_room();
	for (unsigned place = 0; place < 8; place++) {
		for (unsigned value = 0; value < 1100; value++) {
			unsigned at[8] = {1, 2, 3, 4, 5, 6, 7, 8};
			int n, answer;

			at[place] = value;
			n = snprintf(text, sizeof text,
				     "PROXY TCP4 %u.%u.%u.%u %u.%u.%u.%u 9 10\r\n", at[0], at[1],
				     at[2], at[3], at[4], at[5], at[6], at[7]);
			answer = parse(text, (size_t)n, &header);
			EXPECT(answer == (value <= 255 ? n : -PROXY_V1_ADDRESS));
			for (unsigned i = 0; answer > 0 && i < 8; i++)
				EXPECT(ip_of(i < 4 ? &header.source
						   : &header.destination)[12 + i % 4] == at[i]);
		}
	}
}
END_TEST

START_TEST(every_port)
{
	static const char *const families[] = {"TCP4 1.2.3.4 5.6.7.8", "TCP6 ::1 2::"};
	struct proxy_header header;
	char text[128];

	open_room();
	for (unsigned value = 0; value < 70000; value++) {
		unsigned other = (value * 7919) & 0xffff;
		int n = snprintf(text, sizeof text, "PROXY %s %u %u\r\n", families[value & 1],
				 value, other);
		int wanted = value <= 65535 ? n : -PROXY_V1_PORT;

		EXPECT(parse(text, (size_t)n, &header) == wanted);
		EXPECT(wanted < 0 || (address_port(&header.source) == value &&
				      address_port(&header.destination) == other));
		n = snprintf(text, sizeof text, "PROXY %s %u %u\r\n", families[value & 1], other,
			     value);
		EXPECT(parse(text, (size_t)n, &header) == (value <= 65535 ? n : wanted));
		EXPECT(wanted < 0 || address_port(&header.destination) == value);
	}
}
END_TEST

/* ---- IPv6 addresses as text ---- */

#define ADDRESS_MAX 100
#define IP6_GROUPS  8

static bool is_ip6(const char *text, unsigned char bytes[16])
{
	return inet_pton(AF_INET6, text, bytes) == 1;
}

/* Could some end make an address of it? */
static bool begins_ip6(const char *text)
{
	static const char *const groups = "0:0:0:0:0:0:0:0:0", *const numbers = "0.0.0.0";
	char whole[ADDRESS_MAX + 32];
	unsigned char bytes[16];
	int n = (int)strlen(text);

	if (is_ip6(text, bytes))
		return true;
	for (int i = 0; i <= 17; i++) {
		(void)snprintf(whole, sizeof whole, "%.*s%s", n, text, groups + i);
		if (is_ip6(whole, bytes))
			return true;
		(void)snprintf(whole, sizeof whole, "%.*s:%s", n, text, groups + i);
		if (is_ip6(whole, bytes))
			return true;
		(void)snprintf(whole, sizeof whole, "%.*s%s", n, text, numbers + (i < 7 ? i : 7));
		if (is_ip6(whole, bytes))
			return true;
	}
	return false;
}

/* Refused by the first byte with which no address begins any more; else read as the libc does. */
static bool expect_as_libc(const char *text)
{
	struct proxy_header header;
	char line[ADDRESS_MAX + 64], prefix[ADDRESS_MAX];
	unsigned char bytes[16];
	bool good = is_ip6(text, bytes);
	size_t n = strlen(text), decided;
	int all = snprintf(line, sizeof line, "PROXY TCP6 %s ::1 1 2\r\n", text), answer;

	EXPECT(all > 0 && all < PROXY_HEADER_MAX && n < ADDRESS_MAX);
	answer = parse_in_pieces((const unsigned char *)line, (size_t)all, 0, &decided);
	ck_assert_msg(answer == (good ? all : -PROXY_V1_ADDRESS), "%s: %d", text, answer);
	if (good) {
		EXPECT(parse(line, (size_t)all, &header) == all);
		EXPECT(memcmp(ip_of(&header.source), bytes, 16) == 0);
		return true;
	}
	/* The last that may be decisive is the space behind it. */
	decided -= strlen("PROXY TCP6 ");
	EXPECT(decided >= 1 && decided <= n + 1);
	(void)snprintf(prefix, sizeof prefix, "%.*s", (int)decided - 1, text);
	ck_assert_msg(begins_ip6(prefix), "%s: refused too late, behind %s", text, prefix);
	return false;
}

/* So many groups before and behind "::" or ":", with or without an IPv4 address at the end. */
START_TEST(every_shape_of_an_ipv6_address)
{
	static const char *const gaps[] = {"", ":", "::", ":::"};
	static const char *const ends[] = {"", ":", "1.2.3.4", ":1.2.3.4", "::1.2.3.4", "::"};
	unsigned good = 0;

	open_room();
	for (unsigned i = 0; i < 10 * 10 * 4 * 6; i++) {
		unsigned before = i % 10, behind = i / 10 % 10;
		char text[ADDRESS_MAX] = "", *at = text;

		if (before + behind > IP6_GROUPS + 3)
			continue;
		for (unsigned k = 0; k < before; k++)
			at += sprintf(at, "%s%x", k ? ":" : "", k * 0x111 + 1);
		at = stpcpy(at, gaps[i / 100 % 4]);
		for (unsigned k = 0; k < behind; k++)
			at += sprintf(at, "%s%X", k ? ":" : "", 0xffff - k * 0x1111);
		(void)strcpy(at, ends[i / 400]);
		good += expect_as_libc(text);
	}
	ck_assert_uint_gt(good, 100);
}
END_TEST

START_TEST(ipv6_addresses_by_chance)
{
	static const char *const words[] = {"::",  ":",	   ":",	   ":",	      "0", "1",	  "ab",
					    "12F", "abcd", "0000", "1.2.3.4", ".", "255", "256"};
	uint64_t random = 1;
	unsigned long good = 0, inputs = suite_volume(50000);

	open_room();
	for (unsigned long i = 0; i < inputs; i++) {
		char text[ADDRESS_MAX] = "", *at = text;
		unsigned n = 1 + (unsigned)(next_random(&random) % 18);

		while (n-- && at - text < 70)
			at = stpcpy(at,
				    words[next_random(&random) % (sizeof words / sizeof *words)]);
		/* Most of these would have no chance if groups were not apart. */
		for (char *c = text; i % 2 && *c; c++)
			if (*c == '.' && next_random(&random) % 4)
				*c = ':';
		good += expect_as_libc(text);
	}
	(void)printf("FIGURE IPv6 addresses by chance: %lu, %lu of them good\n", inputs, good);
	ck_assert_uint_gt(good, inputs / 100);
}
END_TEST

/* ---- version 2 ---- */

/* The 16 fixed bytes and, if they are there, 216 more. */
static const unsigned char *v2(unsigned command, unsigned family, size_t length)
{
	static unsigned char bytes[16 + 216];

	memcpy(bytes, BYTES(SIGNATURE));
	bytes[12] = (unsigned char)command;
	bytes[13] = (unsigned char)family;
	bytes[14] = (unsigned char)(length >> 8);
	bytes[15] = (unsigned char)length;
	for (size_t i = 16; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)i;
	return bytes;
}

START_TEST(every_command_and_family)
{
	struct proxy_header header;

	open_room();
	for (unsigned command = 0; command < 256; command++) {
		for (unsigned family = 0; family < 256; family++) {
			bool stream = family >> 4 < 4 && (family & 15) < 2;
			bool ip4 = family == 0x11, ip6 = family == 0x21;
			int wanted = 16, answer = parse(v2(command, family, 216), 232, &header);

			if (command >> 4 != 2)
				wanted = -PROXY_V2_VERSION;
			else if ((command & 15) > 1)
				wanted = -PROXY_V2_COMMAND;
			else if (command == 0x21)
				wanted = !stream ? -PROXY_V2_FAMILY : ip4 ? 28 : ip6 ? 52 : 16;
			EXPECT(answer == wanted);
			EXPECT(answer < 0 || header.known == (answer > 16));
			EXPECT(answer < 0 || header.rest == (uint32_t)(232 - answer));
		}
	}
}
END_TEST

static const struct form {
	unsigned command, family;
	size_t needed, used; /* of its addresses */
} v2_forms[] = {
    {0x20, 0, 0, 0},	  {0x20, 0x11, 0, 0},	{0x20, 0xff, 0, 0},   {0x21, 0, 0, 0},
    {0x21, 0x01, 0, 0},	  {0x21, 0x10, 0, 0},	{0x21, 0x20, 0, 0},   {0x21, 0x30, 0, 0},
    {0x21, 0x11, 12, 12}, {0x21, 0x21, 36, 36}, {0x21, 0x31, 216, 0},
};

/* It is known as soon as the addresses have come, however much is to follow. */
START_TEST(every_length)
{
	struct proxy_header header;

	open_room();
	for (size_t i = 0; i < sizeof v2_forms / sizeof *v2_forms; i++) {
		const struct form *form = &v2_forms[i];
		size_t all = 16 + form->used;

		for (size_t length = 0; length <= 65535; length++) {
			const unsigned char *bytes = v2(form->command, form->family, length);
			bool fits = length >= form->needed;

			EXPECT(parse(bytes, 15, &header) == 0);
			EXPECT(parse(bytes, all, &header) ==
			       (fits ? (int)all : -PROXY_V2_TOO_SHORT));
			EXPECT(!fits || header.rest == length - form->used);
			EXPECT(!fits || header.known == (form->used > 0));
			EXPECT(parse(bytes, 16, &header) == (!fits	  ? -PROXY_V2_TOO_SHORT
							     : form->used ? 0
									  : 16));
		}
	}
}
END_TEST

/* ---- by chance ---- */

/* Whatever follows the beginning of a header: parse_in_pieces() says what has to hold. */
START_TEST(chance_finds_no_second_reading)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *alphabet; /* NULL: any byte */
	} begins[] = {
	    {BYTES(SIGNATURE), NULL},
	    {BYTES(SIGNATURE "\x20"), NULL},
	    {BYTES(SIGNATURE "\x21"), NULL},
	    {BYTES(SIGNATURE "\x21\x11"), NULL},
	    {BYTES(SIGNATURE "\x21\x11\0"), NULL},
	    {BYTES(SIGNATURE "\x21\x21\0"), NULL},
	    {BYTES("PROXY "), NULL},
	    {BYTES("PROXY UNKNOWN "), "\r\n a"},
	    {BYTES("PROXY TCP4 "), "01259. \r\n"},
	    {BYTES("PROXY TCP6 "), "01f:. \r\n"},
	    {BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 "), "0156 \r\n"},
	};
	unsigned long kinds[2] = {0}, inputs = suite_volume(50000);
	uint64_t random = 1;

	open_room();
	for (unsigned long i = 0; i < inputs; i++) {
		size_t which = i % (sizeof begins / sizeof *begins), decided;
		const char *alphabet = begins[which].alphabet;
		unsigned char bytes[128];
		int answer;

		memcpy(bytes, begins[which].bytes, begins[which].n);
		for (size_t k = begins[which].n; k < sizeof bytes; k++)
			bytes[k] =
			    alphabet
				? (unsigned char)alphabet[next_random(&random) % strlen(alphabet)]
				: (unsigned char)next_random(&random);
		answer = parse_in_pieces(bytes, sizeof bytes, 0, &decided);
		EXPECT(decided >= begins[which].n);
		kinds[answer > 0]++;
	}
	(void)printf("FIGURE headers by chance: %lu refused, %lu read\n", kinds[0], kinds[1]);
	ck_assert_uint_gt(kinds[0], inputs / 10);
	ck_assert_uint_gt(kinds[1], inputs / 10);
}
END_TEST

SUITE("proxy_values", {"every number of an address", every_number_of_an_address, 10},
      {"every port", every_port, 10},
      {"every shape of an IPv6 address", every_shape_of_an_ipv6_address, 10},
      {"IPv6 addresses by chance", ipv6_addresses_by_chance, 20},
      {"every command and family", every_command_and_family, 10},
      {"every length", every_length, 20},
      {"chance finds no second reading", chance_finds_no_second_reading, 20})
