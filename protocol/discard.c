/* discard (RFC 863): reads and answers nothing. */
#include "protocol/protocol.h"

static bool discard_datagram(struct datagram *datagram)
{
	(void)datagram;
	return false;
}

const struct protocol discard_protocol = {
    .name = "discard",
    .datagram = discard_datagram,
};
