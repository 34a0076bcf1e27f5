#include "bench/weirload/chat/chat_wire.h"

#include <stdarg.h>
#include <stdio.h>

static void affix(struct chat_affix *affix, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void affix(struct chat_affix *affix, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	affix->n = (size_t)vsnprintf((char *)affix->bytes, sizeof affix->bytes, format, arguments);
	va_end(arguments);
}

void chat_wire_make(struct chat_wire *wire, size_t line_bytes, bool redis, bool names)
{
	*wire = (struct chat_wire){.line_bytes = line_bytes, .names = names};
	if (redis) {
		affix(&wire->sent_head, "*3\r\n$7\r\nPUBLISH\r\n$8\r\nweirload\r\n$%zu\r\n",
		      line_bytes);
		affix(&wire->received_head, ">3\r\n$7\r\nmessage\r\n$8\r\nweirload\r\n$%zu\r\n",
		      line_bytes);
		affix(&wire->tail, "\r\n");
		wire->hello = "HELLO 3\r\nSUBSCRIBE weirload\r\n";
		wire->welcome = ">3\r\n$9\r\nsubscribe\r\n$8\r\nweirload\r\n:1\r\n";
		wire->own_lines = wire->replies = true;
	} else {
		affix(&wire->tail, "\n");
	}
	wire->sent_bytes = wire->sent_head.n + line_bytes + wire->tail.n;
	wire->received_bytes = wire->received_head.n + line_bytes + wire->tail.n;
	wire->kept_max = wire->received_bytes + (names ? CHAT_NAME_BYTES : 0);
	if (wire->welcome && wire->kept_max < CHAT_WELCOME_BYTES)
		wire->kept_max = CHAT_WELCOME_BYTES;
}
