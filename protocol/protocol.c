#include "protocol/protocol.h"

#include <string.h>

/* Two macros each, so that EXTRA_PROTOCOL is expanded to the name that it stands for. */
#define DECLARE(name)  extern const struct protocol name##_protocol;
#define PROTOCOL(name) DECLARE(name)
#include "protocol/protocols.def"
#undef PROTOCOL

#define ADDRESS_OF(name) &name##_protocol,
#define PROTOCOL(name)	 ADDRESS_OF(name)
const struct protocol *const protocols[] = {
#include "protocol/protocols.def"
    NULL};
#undef PROTOCOL

const struct protocol *protocol_find(const char *name)
{
	for (const struct protocol *const *p = protocols; *p; p++)
		if (strcmp((*p)->name, name) == 0)
			return *p;
	return NULL;
}

void protocols_register(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	for (const struct protocol *const *p = protocols; *p; p++)
		protocol_register(*p);
	protocol_register(&proxy_protocol);
}
