#include "reactor/base/network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define IP4_BITS_BEFORE 96 /* of IPv4 mapped to IPv6 */

static bool is_ip4(const unsigned char address[16])
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(address, mapped, sizeof mapped) == 0;
}

/* 0 to max, without a sign or needless zeros; -1: it is no such number. */
static int parse_length(const char *text, int max)
{
	int length = 0;

	if (!*text || (*text == '0' && text[1]))
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		length = length * 10 + (*text - '0');
		if (length > max)
			return -1;
	}
	return length;
}

/* The byte of a mask of so many bits. */
static unsigned char mask_byte(unsigned bits, unsigned i)
{
	unsigned before = i * 8;

	if (bits >= before + 8)
		return 0xff;
	return bits <= before ? 0 : (unsigned char)(0xff00 >> (bits - before));
}

bool network_parse(struct network *network, const char *text)
{
	const char *slash = strchr(text, '/');
	char address[INET6_ADDRSTRLEN];
	int length, before = 0;

	if ((size_t)snprintf(address, sizeof address, "%.*s",
			     slash ? (int)(slash - text) : (int)sizeof address,
			     text) >= sizeof address)
		return false;
	*network = (struct network){.address = {[10] = 0xff, [11] = 0xff}};
	if (inet_pton(AF_INET, address, network->address + 12) == 1)
		before = IP4_BITS_BEFORE;
	else if (inet_pton(AF_INET6, address, network->address) != 1)
		return false;
	length = slash ? parse_length(slash + 1, 128 - before) : 128 - before;
	if (length < 0)
		return false;
	network->bits = (unsigned char)(before + length);
	for (unsigned i = 0; i < 16; i++)
		if (network->address[i] & ~mask_byte(network->bits, i))
			return false;
	return true;
}

void network_format(const struct network *network, char text[NETWORK_TEXT_BYTES])
{
	bool ip4 = network->bits >= IP4_BITS_BEFORE && is_ip4(network->address);
	char address[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(ip4 ? AF_INET : AF_INET6, network->address + (ip4 ? 12 : 0), address,
			sizeof address);
	if (network->bits == 128)
		(void)snprintf(text, NETWORK_TEXT_BYTES, "%s", address);
	else
		(void)snprintf(text, NETWORK_TEXT_BYTES, "%s/%d", address,
			       network->bits - (ip4 ? IP4_BITS_BEFORE : 0));
}

bool network_has(const struct network *network, const unsigned char address[16])
{
	for (unsigned i = 0; i < 16; i++)
		if ((address[i] & mask_byte(network->bits, i)) != network->address[i])
			return false;
	return true;
}
