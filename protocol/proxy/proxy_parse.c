#include "protocol/proxy/proxy_parse.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

/* ---- addresses ---- */

#define IP4_BYTES  4
#define IP6_BYTES  16
#define PORT_BYTES 2

/* Fills in an address that is all 0. The IP address is in network byte order, the port in that of
 * the host. */
static void set_address(struct address *address, const unsigned char *ip, size_t ip_n,
			unsigned port)
{
	struct sockaddr_in ip4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};

	if (ip_n == IP4_BYTES) {
		memcpy(&ip4.sin_addr, ip, IP4_BYTES);
		memcpy(&address->socket, &ip4, sizeof ip4);
		address->bytes = sizeof ip4;
	} else {
		memcpy(&ip6.sin6_addr, ip, IP6_BYTES);
		memcpy(&address->socket, &ip6, sizeof ip6);
		address->bytes = sizeof ip6;
	}
}

/* ---- version 1 ---- */

/*
 * A step reads one thing, from left to right. It returns true with `at` behind it; or false, and
 * then the verdict is minus an error, or 0 if bytes are missing. It looks at no byte behind the
 * first that decides.
 */
struct reading {
	const unsigned char *at, *end;
	int verdict;
};

static bool refuse(struct reading *reading, enum proxy_error error)
{
	reading->verdict = -(int)error;
	return false;
}

static bool read_text(struct reading *reading, const char *text, enum proxy_error error)
{
	for (; *text; text++, reading->at++) {
		if (reading->at == reading->end)
			return false;
		if (*reading->at != (unsigned char)*text)
			return refuse(reading, error);
	}
	return true;
}

static bool is_digit(unsigned char byte)
{
	return byte >= '0' && byte <= '9';
}

/* -1: it is none. */
static int hex_value(unsigned char byte)
{
	if (is_digit(byte))
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Decimal, without leading zeros. Some other byte has to come before its end is known. */
static bool read_number(struct reading *reading, unsigned max, enum proxy_error error,
			unsigned *value)
{
	const unsigned char *begin = reading->at;

	for (*value = 0; reading->at < reading->end && is_digit(*reading->at); reading->at++) {
		if (reading->at > begin && !*value)
			return refuse(reading, error);
		*value = *value * 10 + (unsigned)(*reading->at - '0');
		if (*value > max)
			return refuse(reading, error);
	}
	if (reading->at == reading->end)
		return false;
	return reading->at > begin || refuse(reading, error);
}

static bool read_ip4(struct reading *reading, unsigned char ip[IP4_BYTES])
{
	for (int i = 0; i < IP4_BYTES; i++) {
		unsigned value;

		if (i && !read_text(reading, ".", PROXY_V1_ADDRESS))
			return false;
		if (!read_number(reading, 255, PROXY_V1_ADDRESS, &value))
			return false;
		ip[i] = (unsigned char)value;
	}
	return true;
}

/* An IPv6 address is up to eight groups of 16 bits, of which "::" stands for one or more. */
struct ip6 {
	unsigned char bytes[IP6_BYTES]; /* the groups that were written, without a gap */
	unsigned groups, before_gap;	/* how many of them there are, and stand before "::" */
	bool has_gap;
};

#define IP6_GROUPS 8

static bool has_room(const struct ip6 *ip, unsigned groups)
{
	return ip->groups + groups + ip->has_gap <= IP6_GROUPS;
}

/* The last two groups may be written as an IPv4 address, which reading->at begins. */
static bool read_embedded_ip4(struct reading *reading, struct ip6 *ip)
{
	if (!has_room(ip, 2) || (!ip->has_gap && ip->groups != IP6_GROUPS - 2))
		return refuse(reading, PROXY_V1_ADDRESS);
	if (!read_ip4(reading, ip->bytes + 2 * ip->groups))
		return false;
	ip->groups += 2;
	return true;
}

/* Reads one group, or an IPv4 address, which its '.' tells from a group. */
static bool read_group(struct reading *reading, struct ip6 *ip, bool *embedded)
{
	const unsigned char *begin = reading->at;
	unsigned value = 0;

	for (; reading->at < reading->end && hex_value(*reading->at) >= 0; reading->at++) {
		if (!has_room(ip, 1) || reading->at - begin == 4)
			return refuse(reading, PROXY_V1_ADDRESS);
		value = value << 4 | (unsigned)hex_value(*reading->at);
	}
	if (reading->at == reading->end)
		return false;
	if (reading->at == begin)
		return refuse(reading, PROXY_V1_ADDRESS);
	*embedded = *reading->at == '.';
	if (*embedded) {
		reading->at = begin;
		return read_embedded_ip4(reading, ip);
	}
	ip->bytes[2 * ip->groups] = (unsigned char)(value >> 8);
	ip->bytes[2 * ip->groups + 1] = (unsigned char)value;
	ip->groups++;
	return true;
}

/* Reads the ':' or "::" that reading->at begins. Only "::" may begin an address. */
static bool read_colons(struct reading *reading, struct ip6 *ip)
{
	if (!has_room(ip, 1))
		return refuse(reading, PROXY_V1_ADDRESS);
	if (++reading->at == reading->end)
		return false;
	if (*reading->at != ':')
		return ip->groups || refuse(reading, PROXY_V1_ADDRESS);
	if (ip->has_gap)
		return refuse(reading, PROXY_V1_ADDRESS);
	reading->at++;
	ip->has_gap = true;
	ip->before_gap = ip->groups;
	return true;
}

/* inet_pton(3) would want all of it, and a wrong byte is to be refused when it comes. */
static bool read_ip6(struct reading *reading, unsigned char bytes[IP6_BYTES])
{
	struct ip6 ip = {0};
	bool embedded = false;
	size_t before, behind;

	if (reading->at < reading->end && *reading->at == ':' && !read_colons(reading, &ip))
		return false;
	while (!embedded) {
		bool behind_gap = ip.has_gap && ip.before_gap == ip.groups;

		if (reading->at == reading->end)
			return false;
		if (behind_gap && hex_value(*reading->at) < 0)
			break;
		if (!read_group(reading, &ip, &embedded))
			return false;
		if (embedded || *reading->at != ':')
			break;
		if (!read_colons(reading, &ip))
			return false;
	}
	if (!ip.has_gap && ip.groups < IP6_GROUPS)
		return refuse(reading, PROXY_V1_ADDRESS);
	before = 2 * (ip.has_gap ? ip.before_gap : ip.groups);
	behind = 2 * ip.groups - before;
	memset(bytes, 0, IP6_BYTES);
	memcpy(bytes, ip.bytes, before);
	memcpy(bytes + IP6_BYTES - behind, ip.bytes + before, behind);
	return true;
}

static bool read_ip(struct reading *reading, unsigned char *ip, size_t ip_n)
{
	return ip_n == IP4_BYTES ? read_ip4(reading, ip) : read_ip6(reading, ip);
}

/* From the first address up to the end of the line. */
static bool read_addresses(struct reading *reading, size_t ip_n, struct proxy_header *header)
{
	unsigned char source[IP6_BYTES], destination[IP6_BYTES];
	unsigned source_port, destination_port;

	if (!read_ip(reading, source, ip_n) || !read_text(reading, " ", PROXY_V1_ADDRESS) ||
	    !read_ip(reading, destination, ip_n) || !read_text(reading, " ", PROXY_V1_ADDRESS) ||
	    !read_number(reading, UINT16_MAX, PROXY_V1_PORT, &source_port) ||
	    !read_text(reading, " ", PROXY_V1_PORT) ||
	    !read_number(reading, UINT16_MAX, PROXY_V1_PORT, &destination_port) ||
	    !read_text(reading, "\r\n", PROXY_V1_LINE_END))
		return false;
	header->known = true;
	set_address(&header->source, source, ip_n, source_port);
	set_address(&header->destination, destination, ip_n, destination_port);
	return true;
}

/* What is behind UNKNOWN: CRLF, or a space and anything up to the first CRLF. */
static bool skip_line(struct reading *reading)
{
	if (reading->at == reading->end)
		return false;
	if (*reading->at == '\r')
		return read_text(reading, "\r\n", PROXY_V1_LINE_END);
	if (!read_text(reading, " ", PROXY_V1_FAMILY))
		return false;
	for (; reading->end - reading->at >= 2; reading->at++) {
		if (reading->at[0] == '\r' && reading->at[1] == '\n') {
			reading->at += 2;
			return true;
		}
	}
	return false;
}

static bool read_line(struct reading *reading, struct proxy_header *header)
{
	bool is_ip4;

	if (reading->at < reading->end && *reading->at == 'U')
		return read_text(reading, "UNKNOWN", PROXY_V1_FAMILY) && skip_line(reading);
	if (!read_text(reading, "TCP", PROXY_V1_FAMILY) || reading->at == reading->end)
		return false;
	is_ip4 = *reading->at == '4';
	return read_text(reading, is_ip4 ? "4 " : "6 ", PROXY_V1_FAMILY) &&
	       read_addresses(reading, is_ip4 ? IP4_BYTES : IP6_BYTES, header);
}

static int parse_v1(const unsigned char *bytes, size_t n, struct proxy_header *header)
{
	struct reading reading = {.at = bytes};

	reading.end = bytes + (n < PROXY_HEADER_MAX ? n : PROXY_HEADER_MAX);
	if (read_text(&reading, "PROXY ", PROXY_NO_HEADER) && read_line(&reading, header))
		return (int)(reading.at - bytes);
	return !reading.verdict && n >= PROXY_HEADER_MAX ? -PROXY_V1_TOO_LONG : reading.verdict;
}

/* ---- version 2 ---- */

/* Where things stand, and what is before the addresses: in bytes. */
enum v2 {
	V2_VERSION_COMMAND = 12, /* what is before it is the signature */
	V2_FAMILY_TRANSPORT = 13,
	V2_LENGTH = 14,
	V2_FIXED_BYTES = 16,
};

#define V2_VERSION 2
#define V2_LOCAL   0
#define V2_PROXY   1

/* Families are the upper four bits, transports the lower four. */
#define V2_FAMILY_MAX 3 /* unspecified, IPv4, IPv6, unix */
#define V2_TRANSPORT_MAX                                                                           \
	1 /* unspecified, stream; 2 is datagrams, of which no connection is made                   \
	   */
#define V2_TCP4	       0x11
#define V2_TCP6	       0x21
#define V2_UNIX_STREAM 0x31
#define V2_UNIX_BYTES  108 /* of one address */

static bool is_family(unsigned char byte)
{
	return byte >> 4 <= V2_FAMILY_MAX && (byte & 15) <= V2_TRANSPORT_MAX;
}

/* What its addresses, and their ports, take up at least. */
static size_t v2_addresses_n(unsigned char family)
{
	switch (family) {
	case V2_TCP4:
		return 2 * (IP4_BYTES + PORT_BYTES);
	case V2_TCP6:
		return 2 * (IP6_BYTES + PORT_BYTES);
	case V2_UNIX_STREAM:
		return 2 * V2_UNIX_BYTES;
	default:
		return 0;
	}
}

static unsigned big_endian(const unsigned char bytes[2])
{
	return (unsigned)(bytes[0] << 8 | bytes[1]);
}

/* Both addresses, then both ports. */
static void take_addresses(struct proxy_header *header, const unsigned char *at, size_t ip_n)
{
	const unsigned char *ports = at + 2 * ip_n;

	header->known = true;
	set_address(&header->source, at, ip_n, big_endian(ports));
	set_address(&header->destination, at + ip_n, ip_n, big_endian(ports + PORT_BYTES));
}

/* The signature has been compared as far as it has come. */
static int parse_v2(const unsigned char *bytes, size_t n, struct proxy_header *header)
{
	bool local;
	unsigned char family;
	size_t length, addresses_n;

	if (n <= V2_VERSION_COMMAND)
		return 0;
	if (bytes[V2_VERSION_COMMAND] >> 4 != V2_VERSION)
		return -PROXY_V2_VERSION;
	if ((bytes[V2_VERSION_COMMAND] & 15) > V2_PROXY)
		return -PROXY_V2_COMMAND;
	local = (bytes[V2_VERSION_COMMAND] & 15) == V2_LOCAL;
	if (n <= V2_FAMILY_TRANSPORT)
		return 0;
	/* Of a LOCAL header all that follows is ignored, its family too. */
	family = local ? 0 : bytes[V2_FAMILY_TRANSPORT];
	if (!is_family(family))
		return -PROXY_V2_FAMILY;
	if (n < V2_FIXED_BYTES)
		return 0;
	length = big_endian(bytes + V2_LENGTH);
	addresses_n = v2_addresses_n(family);
	if (length < addresses_n)
		return -PROXY_V2_TOO_SHORT;
	if (family != V2_TCP4 && family != V2_TCP6)
		addresses_n = 0;
	if (n < V2_FIXED_BYTES + addresses_n)
		return 0;
	if (addresses_n)
		take_addresses(header, bytes + V2_FIXED_BYTES,
			       family == V2_TCP4 ? IP4_BYTES : IP6_BYTES);
	header->rest = (uint32_t)(length - addresses_n);
	return (int)(V2_FIXED_BYTES + addresses_n);
}

/* ---- both ---- */

int proxy_parse(const unsigned char *bytes, size_t n, struct proxy_header *header)
{
	static const unsigned char signature[] = {'\r', '\n', '\r', '\n', 0,   '\r',
						  '\n', 'Q',  'U',  'I',  'T', '\n'};

	_Static_assert(sizeof signature == V2_VERSION_COMMAND, "the first byte behind it");
	*header = (struct proxy_header){0};
	if (!n)
		return 0;
	if (*bytes == 'P')
		return parse_v1(bytes, n, header);
	if (memcmp(bytes, signature, n < sizeof signature ? n : sizeof signature) != 0)
		return -PROXY_NO_HEADER;
	return parse_v2(bytes, n, header);
}
