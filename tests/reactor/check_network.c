/*
 * network: its texts there and back, what is none, and which addresses it has: each length of both
 * families, against a mask that is worked out bit by bit here.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#include "reactor/base/network.h"
#include "tests/support/suite.h"

START_TEST(texts_go_there_and_back)
{
	static const char *const texts[] = {
	    "10.0.0.0/8", "127.0.0.1",	   "0.0.0.0/0",	 "::/0",     "192.168.4.0/22", "fd00::/8",
	    "::1",	  "2001:db8::/33", "1.2.3.4/31", "8000::/1", "::/96"};
	char text[NETWORK_TEXT_BYTES];
	struct network network;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		ck_assert_msg(network_parse(&network, texts[i]), "%s", texts[i]);
		network_format(&network, text);
		ck_assert_str_eq(text, texts[i]);
	}
	/* Other ways to write the same. */
	ck_assert(network_parse(&network, "127.0.0.1/32"));
	network_format(&network, text);
	ck_assert_str_eq(text, "127.0.0.1");
	ck_assert(network_parse(&network, "::ffff:10.0.0.0/104"));
	network_format(&network, text);
	ck_assert_str_eq(text, "10.0.0.0/8");
}
END_TEST

START_TEST(what_is_none_is_refused)
{
	static const char *const texts[] = {"",
					    "/",
					    "10.0.0.0/",
					    "10.0.0.0/33",
					    "10.0.0.0/08",
					    "10.0.0.0/-1",
					    "10.0.0.0/+8",
					    "10.0.0.0/8 ",
					    "10.0.0.0/8/8",
					    "10.0.0/8",
					    "10.0.0.1/8",
					    "::/129",
					    "fd00::1/8",
					    "localhost",
					    "*",
					    "fe80::1%lo",
					    ":1",
					    "10.0.0.0/4294967304",
					    "0123:4567:89ab:cdef:0123:4567:255.255.255.2555"};
	struct network network;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		ck_assert_msg(!network_parse(&network, texts[i]), "%s", texts[i]);
}
END_TEST

static bool bit(const unsigned char bytes[16], unsigned at)
{
	return bytes[at / 8] >> (7 - at % 8) & 1;
}

/* An address that differs from the network's in one bit is in it if that bit is behind its
 * length. */
START_TEST(one_bit_decides)
{
	for (unsigned length = 0; length <= 128; length++) {
		struct network network = {.bits = (unsigned char)length};

		for (unsigned i = 0; i < length; i++)
			if (i % 3 == 0)
				network.address[i / 8] |= (unsigned char)(0x80 >> i % 8);
		for (unsigned i = 0; i < 128; i++) {
			unsigned char other[16];

			memcpy(other, network.address, 16);
			ck_assert(network_has(&network, other));
			other[i / 8] ^= (unsigned char)(0x80 >> i % 8);
			ck_assert(bit(other, i) != bit(network.address, i));
			ck_assert_msg(network_has(&network, other) == (i >= length),
				      "length %u, bit %u", length, i);
		}
	}
}
END_TEST

/* Whichever kind of socket a client comes to. */
START_TEST(mapped_addresses_are_of_ip4)
{
	unsigned char address[16];
	struct network network;

	ck_assert(network_parse(&network, "10.0.0.0/8"));
	ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:10.1.2.3", address), 1);
	ck_assert(network_has(&network, address));
	ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:11.1.2.3", address), 1);
	ck_assert(!network_has(&network, address));
	ck_assert_int_eq(inet_pton(AF_INET6, "::10.1.2.3", address), 1);
	ck_assert(!network_has(&network, address));
}
END_TEST

SUITE("network", {"texts go there and back", texts_go_there_and_back, 10},
      {"what is none is refused", what_is_none_is_refused, 10},
      {"one bit decides", one_bit_decides, 10},
      {"mapped addresses are of IPv4", mapped_addresses_are_of_ip4, 10})
