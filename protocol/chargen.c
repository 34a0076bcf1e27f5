/*
 * chargen (RFC 864): lines of 72 of the 95 printing characters, each line starting one character
 * further on, as fast as the peer reads. Input is thrown away. A datagram is answered with the
 * beginning of the first lines.
 *
 * After 95 lines it begins anew, so sending whole rounds of 95 lines needs no state.
 */
#include "protocol/protocol.h"
#include "reactor/udp/datagram.h"

#define CHARACTERS	   95
#define LINE_COLUMNS	   72
#define LINE_BYTES	   (LINE_COLUMNS + 2) /* CR LF */
#define DATAGRAM_BYTES_MAX 512
#define ROUND_BYTES	   (CHARACTERS * LINE_BYTES)

static unsigned char chargen_rounds[2 * ROUND_BYTES];

_Static_assert(sizeof chargen_rounds <= CHUNK_BYTES, "a peer that does not read holds one chunk");

static void __attribute__((constructor)) chargen_fill(void)
{
	for (unsigned i = 0; i < sizeof chargen_rounds; i++) {
		unsigned line = i / LINE_BYTES, column = i % LINE_BYTES;

		if (column < LINE_COLUMNS)
			chargen_rounds[i] = (unsigned char)(' ' + (line + column) % CHARACTERS);
		else
			chargen_rounds[i] = column == LINE_COLUMNS ? '\r' : '\n';
	}
}

static void chargen_writable(struct conn *conn)
{
	conn_send(conn, chargen_rounds, sizeof chargen_rounds);
}

/* RFC 864 lets the server choose how long an answer is, 0 to 512 bytes: here, as many as came. */
static bool chargen_datagram(struct datagram *datagram)
{
	datagram->bytes = chargen_rounds;
	if (datagram->n > DATAGRAM_BYTES_MAX)
		datagram->n = DATAGRAM_BYTES_MAX;
	return true;
}

const struct protocol chargen_protocol = {
    .name = "chargen",
    .writable = chargen_writable,
    .datagram = chargen_datagram,
};
