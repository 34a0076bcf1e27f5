/*
 * verdict: what went wrong with a connection or a reply, and in words.
 *
 * A reply is wrong from its first wrong byte on. What is behind it tells how: the bytes that
 * should stand there come later or came before (lost, doubled), the same ones stand in
 * another order (reordered), only this one is another (altered), or they are of another
 * connection (foreign). With few bytes to validity_check by, the verdict may be of a neighbouring
 * kind; that it is wrong is certain.
 */
#ifndef BENCH_WEIRLOAD_REPORT_REPLY_DIAGNOSIS_H
#define BENCH_WEIRLOAD_REPORT_REPLY_DIAGNOSIS_H

#include "bench/weirload/tcp/connection.h"

/* The beginning of a reply: whether it is a record of TLS, and what there is to say then. */
bool diagnosis_is_tls(const unsigned char *bytes, size_t n);
extern const char diagnosis_tls[];

enum tally_error diagnosis_of_errno(int error);
void diagnosis_say_errno(char detail[TALLY_DETAIL_BYTES], const char *call, int error);
/* How late the oldest message is, or what else has not come. */
void diagnosis_say_late(char detail[TALLY_DETAIL_BYTES], const struct connection *connection,
			const struct sender *sender);

/* bytes, the last n of sender->buffer that are in use, begin with the first wrong one. Reads
 * what comes behind them, for up to 20 ms. */
enum tally_error diagnosis_of_reply(const struct connection *connection,
				    const struct sender *sender, unsigned char *bytes, size_t n,
				    char detail[TALLY_DETAIL_BYTES]);

#endif
