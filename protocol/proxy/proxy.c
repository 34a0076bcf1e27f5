/*
 * proxy: the header that a proxy sends before the client's bytes (proxy_parse.h). It stands before
 * the protocol of its listener, for which the connection begins when the header is whole: from then
 * on its peer's address is the one that the header gives.
 *
 * A listener with it serves nobody without it, and trusts the header of anybody unless it says from
 * which networks one may come. The header has to come within request-timeout.
 */
#include "protocol/proxy/proxy_parse.h"
#include "protocol/protocol.h"

struct proxy {
	uint32_t rest; /* bytes behind the addresses, still to come */
	uint32_t is_read;
};

enum { PROXY_FROM };
static struct setting proxy_settings[] = {
    [PROXY_FROM] =
	SETTING(NETWORKS, "proxy-from", NULL, NULL, 0, NETWORKS_MAX, "who may send a PROXY header"),
    {0}};

/* By enum proxy_error; the first is none of them. */
enum { FORBIDDEN };
static struct reason proxy_reasons[] = {
    [FORBIDDEN] =
	REASON("proxy_forbidden",
	       "it came to a listener with proxy=on from an address that is not of proxy-from"),
    [PROXY_NO_HEADER] = REASON("proxy_no_header", "it did not begin with a PROXY header"),
    [PROXY_V1_FAMILY] =
	REASON("proxy_v1_family",
	       "a PROXY header of version 1 with another word than TCP4, TCP6 or UNKNOWN"),
    [PROXY_V1_ADDRESS] =
	REASON("proxy_v1_address", "a PROXY header of version 1 with a malformed address"),
    [PROXY_V1_PORT] = REASON("proxy_v1_port", "a PROXY header of version 1 with a malformed port"),
    [PROXY_V1_LINE_END] =
	REASON("proxy_v1_line_end", "a PROXY header of version 1 that does not end with CRLF"),
    [PROXY_V1_TOO_LONG] =
	REASON("proxy_v1_too_long", "a PROXY header of version 1 of more than 107 bytes"),
    [PROXY_V2_VERSION] =
	REASON("proxy_v2_version", "a PROXY header of a version that is not known"),
    [PROXY_V2_COMMAND] =
	REASON("proxy_v2_command", "a PROXY header of version 2 with a command that is not known"),
    [PROXY_V2_FAMILY] =
	REASON("proxy_v2_family",
	       "a PROXY header of version 2 of datagrams, or of a family that is not known"),
    [PROXY_V2_TOO_SHORT] =
	REASON("proxy_v2_too_short", "a PROXY header of version 2 too short for its addresses"),
    {0}};

/* Is the proxy's own address one of those that may send a header? */
static bool may_come(const struct conn *conn)
{
	const struct network *networks = conn_networks(conn);
	size_t n = (size_t)conn_setting(conn, PROXY_FROM);
	unsigned char address[16];
	struct address peer;

	if (!n)
		return true;
	if (!conn_peer(conn, &peer) ||
	    !address_bytes((const struct sockaddr *)&peer.socket, address))
		return false;
	for (size_t i = 0; i < n; i++)
		if (network_has(&networks[i], address))
			return true;
	return false;
}

static void proxy_open(struct conn *conn)
{
	conn_message_begun(conn);
	if (!may_come(conn))
		conn_fail(conn, FORBIDDEN);
}

/* The header is whole: its client is the peer, and counts. */
static void let_in(struct conn *conn)
{
	if (conn_count_peer(conn))
		conn_end_prefix(conn);
	else
		conn_finish(conn, CLOSE_too_many_per_ip);
}

static size_t read_header(struct conn *conn, struct proxy *proxy, const unsigned char *bytes,
			  size_t n)
{
	struct proxy_header header;
	int used = proxy_parse(bytes, n, &header);

	if (used < 0)
		conn_fail(conn, (unsigned)-used);
	if (used <= 0)
		return used ? n : 0;
	proxy->is_read = true;
	proxy->rest = header.rest;
	if (header.known)
		conn_set_peer(conn, &header.source);
	return (size_t)used;
}

static size_t proxy_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct proxy *proxy = conn_state(conn);
	size_t used = proxy->is_read ? 0 : read_header(conn, proxy, bytes, n), rest;

	if (!proxy->is_read)
		return used;
	rest = n - used < proxy->rest ? n - used : proxy->rest;
	proxy->rest -= (uint32_t)rest;
	if (!proxy->rest)
		let_in(conn);
	return used + rest;
}

/* Another process may say anything. */
static bool proxy_state_valid(const void *state, bool producing)
{
	const struct proxy *proxy = state;

	return !producing &&
	       (proxy->is_read ? proxy->rest && proxy->rest <= UINT16_MAX : !proxy->rest);
}

const struct protocol proxy_protocol = {
    .name = "proxy",
    .state_bytes = sizeof(struct proxy),
    .is_prefix = true,
    .settings = proxy_settings,
    .reasons = proxy_reasons,
    .open = proxy_open,
    .input = proxy_input,
    .state_valid = proxy_state_valid,
};
