#include "bench/weirload/report/tally.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

const struct tally_error_row tally_errors[TALLY_ERROR_KINDS] = {
#define ERROR(name, text, blame) {#name, text, BLAME_##blame},
    TALLY_ERRORS
#undef ERROR
};

struct tally *tally_map(unsigned n)
{
	void *tallies = mmap(NULL, n * sizeof(struct tally), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return tallies == MAP_FAILED ? NULL : tallies;
}

uint64_t tally_errors_of(const struct tally *tally, enum tally_blame blame)
{
	uint64_t n = 0;

	for (int kind = 0; kind < TALLY_ERROR_KINDS; kind++)
		if (tally_errors[kind].blame == blame)
			n += tally->errors[kind];
	return n;
}

bool tally_bodies_agree(const struct tally *tallies, unsigned n)
{
	const struct tally *first = NULL;

	for (unsigned i = 0; i < n; i++) {
		if (!tallies[i].body_n)
			continue;
		if (!first)
			first = &tallies[i];
		if (tallies[i].body_n != first->body_n ||
		    tallies[i].body_print != first->body_print)
			return false;
	}
	return true;
}

void tally_sum(struct tally *sum, const struct tally *tallies, unsigned n)
{
	memset(sum, 0, offsetof(struct tally, connect));
	for (unsigned i = 0; i < n; i++) {
		const struct tally *one = &tallies[i];

		sum->messages += TALLY_READ(one, messages);
		sum->lines += TALLY_READ(one, lines);
		sum->sent_bytes += TALLY_READ(one, sent_bytes);
		sum->received_bytes += TALLY_READ(one, received_bytes);
		sum->connects += TALLY_READ(one, connects);
		sum->settled += TALLY_READ(one, settled);
		sum->open += TALLY_READ(one, open);
		sum->open_max += TALLY_READ(one, open_max);
		sum->slow_ended += TALLY_READ(one, slow_ended);
		sum->unsent += TALLY_READ(one, unsent);
		sum->reopened += TALLY_READ(one, reopened);
		sum->reopened_by_reset += TALLY_READ(one, reopened_by_reset);
		sum->retried += TALLY_READ(one, retried);
		sum->asked += TALLY_READ(one, asked);
		sum->lost += TALLY_READ(one, lost);
		sum->late += TALLY_READ(one, late);
		sum->doubled += TALLY_READ(one, doubled);
		sum->reordered += TALLY_READ(one, reordered);
		sum->dropped += TALLY_READ(one, dropped);
		if (TALLY_READ(one, frozen_ns) > sum->frozen_ns) /* the longest, not the sum */
			sum->frozen_ns = TALLY_READ(one, frozen_ns);
		for (int kind = 0; kind < TALLY_ERROR_KINDS; kind++) {
			sum->errors[kind] += TALLY_READ(one, errors[kind]);
			if (!sum->details[kind][0])
				(void)snprintf(sum->details[kind], TALLY_DETAIL_BYTES, "%s",
					       one->details[kind]);
		}
	}
}
