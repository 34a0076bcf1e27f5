/* discard (RFC 863): reads and answers nothing. */
#include "protocol/protocol.h"

const struct protocol discard_protocol = {.name = "discard", .uses_all = true};
