/*
 * bystander: a connection that must not notice when other connections of the same worker end for
 * reasons that a test expects.
 *
 * Each test compares the counters of all reasons with what it did, so that a wrong reason or one
 * connection too many is noticed. There is one server at a time in a test's process.
 */
#ifndef TESTS_PROTOCOL_BYSTANDER_H
#define TESTS_PROTOCOL_BYSTANDER_H

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "reactor/base/stats.h"
#include "tests/support/harness.h"

enum { ECHO, FRAME, FRAME_SMALL, LINE, LINE_SMALL };
#define FRAME_SMALL_MAX 100u
#define LINE_SMALL_MAX	16u
#define LISTENERS                                                                                  \
	"echo://127.0.0.1:0", "frame://127.0.0.1:0", "frame://127.0.0.1:0?max-frame=100",          \
	    "line://127.0.0.1:0", "line://127.0.0.1:0?max-line=16"

/* ---- a connection that must not notice ---- */

static int bystander;
static uint32_t pings;

static inline void bystander_asks(void)
{
	pings++;
	send_all(bystander, &pings, sizeof pings);
}

static inline void bystander_is_answered(void)
{
	expect_bytes(bystander, &pings, sizeof pings);
}

static inline struct server *bystander_start(const char *const arguments[])
{
	struct server *server = server_start(arguments);

	bystander = connect_to(server->ports[ECHO]);
	bystander_asks();
	bystander_is_answered();
	return server;
}
#define START(...) bystander_start((const char *const[]){"--workers", "1", __VA_ARGS__, NULL})

/* ---- what was counted ---- */

#define EXPECTED_MAX 8
static struct expected {
	const char *row;
	uint64_t n;
} expected[EXPECTED_MAX];

static inline void bystander_expect_close(const char *row)
{
	struct expected *e = expected;

	while (e->row && strcmp(e->row, row) != 0)
		ck_assert(++e < expected + EXPECTED_MAX);
	e->row = row;
	e->n++;
}

static inline uint64_t bystander_expected(const char *row)
{
	for (int i = 0; i < EXPECTED_MAX && expected[i].row; i++)
		if (strcmp(expected[i].row, row) == 0)
			return expected[i].n;
	return 0;
}

/* All expected closes must have been counted, and no others. The bystander is the only connection
 * left, and is answered. */
static inline void bystander_finish(struct server *server)
{
	for (int i = 0; i < EXPECTED_MAX && expected[i].row; i++)
		server_wait_stat_is(server, expected[i].row, expected[i].n);
	server_wait_stat_is(server, "connections", 1);
	bystander_asks();
	bystander_is_answered();
	for (size_t i = 0; i < stats_rows_n; i++) {
		const char *row = stats_rows[i].name;

		if (strncmp(row, "closed_", strlen("closed_")) == 0)
			ck_assert_msg(server_stat(server, row) == bystander_expected(row),
				      "%s is %llu, not %llu", row,
				      (unsigned long long)server_stat(server, row),
				      (unsigned long long)bystander_expected(row));
	}
	(void)close(bystander);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

#endif
