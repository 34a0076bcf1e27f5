#include "worker/migration/move_reasons.h"

#include <string.h>

#include "reactor/base/hash.h"

/* By number, from 1 on. */
static const char *const before[] = {"eof",	      "reset",		 "lost",
				     "truncated",     "line_too_long",	 "frame_too_large",
				     "bad_request",   "input_too_long",	 "finished",
				     "idle_timeout",  "write_timeout",	 "request_timeout",
				     "no_buffers",    "slow_consumer",	 "drained",
				     "drain_timeout", "stopped",	 "worker_died",
				     "overload",      "too_many_per_ip", "descriptors",
				     "error"};

#define BEFORE (sizeof before / sizeof *before)

uint64_t move_reasons_hash(void)
{
	uint64_t hash = 0;

	for (size_t i = 0; i < BEFORE; i++)
		for (const char *at = before[i]; *at; at++)
			hash = hash_mix(hash ^ (unsigned char)*at);
	return hash;
}

void move_reasons_init(struct move_reasons *reasons)
{
	memset(reasons, 0, sizeof *reasons);
	for (size_t i = 0; i < BEFORE; i++)
		reasons->here[i + 1] = (uint8_t)close_reason_named(before[i]);
}

bool move_reasons_read(struct move_reasons *reasons, const struct reasons_message *message,
		       size_t n)
{
	memset(reasons, 0, sizeof *reasons);
	if (n < offsetof(struct reasons_message, names) || message->n > CLOSE_REASONS_MAX ||
	    n != offsetof(struct reasons_message, names) + message->n * sizeof *message->names)
		return false;
	for (uint32_t i = 1; i < message->n; i++) {
		if (!memchr(message->names[i], 0, sizeof message->names[i]))
			return false;
		reasons->here[i] = (uint8_t)close_reason_named(message->names[i]);
	}
	return true;
}

bool move_reasons_translate(const struct move_reasons *reasons, uint8_t *reason)
{
	bool none = *reason == CLOSE_NONE;

	*reason = *reason < CLOSE_REASONS_MAX ? reasons->here[*reason] : CLOSE_NONE;
	return none || *reason != CLOSE_NONE;
}

size_t move_reasons_write(struct reasons_message *message, uint32_t kind)
{
	memset(message, 0, sizeof *message);
	message->kind = kind;
	message->n = close_reasons_end();
	for (uint32_t i = 1; i < message->n; i++)
		memcpy(message->names[i], close_reason_name(i), strlen(close_reason_name(i)));
	return offsetof(struct reasons_message, names) + message->n * sizeof *message->names;
}
