/*
 * move_reasons: reasons to close a connection, as they travel: by name.
 *
 * A snapshot has its sender's number of a reason, and the sender says once, before the first one,
 * what its numbers are called. A weir from before this says nothing: its numbers are those of a
 * table that stands here and no longer changes, of which it compares a hash.
 */
#ifndef WORKER_MIGRATION_MOVE_REASONS_H
#define WORKER_MIGRATION_MOVE_REASONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/base/stats.h"

struct reasons_message {
	uint32_t kind, n;
	char names[CLOSE_REASONS_MAX][STATS_NAME_BYTES]; /* n of them; that of 0 is not used */
};

/* What the numbers of a sender are here; CLOSE_NONE: it is not known here. */
struct move_reasons {
	uint8_t here[CLOSE_REASONS_MAX];
};

/* Of a sender that has not said what they are called. */
void move_reasons_init(struct move_reasons *reasons);
/* Takes a message of n bytes. False: it is none. */
bool move_reasons_read(struct move_reasons *reasons, const struct reasons_message *message,
		       size_t n);
/* False: it is not known here. */
bool move_reasons_translate(const struct move_reasons *reasons, uint8_t *reason);

/* Those of this process. Returns how many bytes the message has. */
size_t move_reasons_write(struct reasons_message *message, uint32_t kind);

/* What a sender from before compares. */
uint64_t move_reasons_hash(void);

#endif
