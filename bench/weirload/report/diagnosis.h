/*
 * diagnosis: what went wrong with a connection or a reply, as a kind of error and in words.
 *
 * A reply is wrong from its first wrong byte on. The bytes there show how: they belong further on
 * (some were lost) or have come before (doubled); they are the expected ones in another order
 * (reordered); only the first byte is wrong (altered); or they belong to another connection
 * (foreign). That the reply is wrong is certain; with few bytes to go by, the kind may be mistaken.
 */
#ifndef BENCH_WEIRLOAD_REPORT_DIAGNOSIS_H
#define BENCH_WEIRLOAD_REPORT_DIAGNOSIS_H

#include "bench/weirload/tcp/connection.h"

/* Whether a reply begins like a TLS record, and what to say then. */
bool diagnosis_is_tls(const unsigned char *bytes, size_t n);
extern const char diagnosis_tls[];

enum tally_error diagnosis_of_errno(int error);
void diagnosis_say_errno(char detail[TALLY_DETAIL_BYTES], const char *call, int error);
/* Says how late the oldest message is, or what else has not come. */
void diagnosis_say_late(char detail[TALLY_DETAIL_BYTES], const struct connection *connection,
			const struct sender *sender);

/* bytes are the last n used bytes of sender->buffer, beginning with the first wrong one. Reads what
 * comes after them, for up to 20 ms. */
enum tally_error diagnosis_of_reply(const struct connection *connection,
				    const struct sender *sender, unsigned char *bytes, size_t n,
				    char detail[TALLY_DETAIL_BYTES]);

#endif
