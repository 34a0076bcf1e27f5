/*
 * The rates in the JSON of weirctl top: each is the difference of two samples divided by the time
 * between them; and counters are those of the scoreboard.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/ctl.h"
#include "tests/support/json.h"
#include "tests/master/weirctl/looked_at.h"

static const char *rates_of(const char *row)
{
	return strstr(row, "\"a_second\":{");
}

/* The rate is the difference divided by the time between the two samples, to its last digit. */
static void rate_is_right(const char *before, const char *now, const char *key, double span_us)
{
	double difference = number_of(now, key) - number_of(before, key);
	double rate = number_of(rates_of(now), key);

	ck_assert_double_ge_tol(difference, 0, 0.1);
	ck_assert_double_eq_tol(rate, difference * 1e6 / span_us, 0.051);
}

/* Bytes and lines are sent while weirctl top runs. When all are answered, the last document has the
 * counters of the scoreboard. */
START_TEST(rates_are_right)
{
	static const char *const keys[] = {"accepted", "received_bytes", "sent_bytes", "messages",
					   "closed_eof"};
	double sum = 0, first = 0;
	char bytes[5000];
	const char *line, *next;
	unsigned lines = 0;
	pid_t pid;

	start();
	memset(bytes, 'x', sizeof bytes);
	pid = LAUNCH("-j", "--interval", "100ms", "--count", "5", "top");
	for (int i = 0; process_state(pid) != 'Z'; i++) {
		struct pollfd nap = {.fd = -1};
		int fd = connect_to(server->ports[i % 2]);

		send_all(fd, i % 2 ? "line\n" : bytes, i % 2 ? 5 : sizeof bytes);
		expect_bytes(fd, i % 2 ? "line\n" : bytes, i % 2 ? 5 : sizeof bytes);
		(void)close(fd);
		(void)poll(&nap, 1, 1); /* so that a busy machine can keep up */
	}
	ck_assert_int_eq(ctl_outcome(pid), 0);
	for (line = out; *line; line = next, lines++) {
		double span_us;

		ck_assert_ptr_nonnull(next = json_value(line));
		ck_assert_int_eq(*next++, '\n');
		if (!*next)
			break;
		span_us = number_of(next, "span_us");
		ck_assert_double_eq_tol(
		    span_us, number_of(next, "moment_us") - number_of(line, "moment_us"), 0.1);
		for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
			rate_is_right(line, next, keys[i], span_us);
			for (unsigned worker = 0; worker < 2; worker++)
				rate_is_right(worker_row(line, worker), worker_row(next, worker),
					      keys[i], span_us);
		}
		if (!lines)
			first = number_of(line, "sent_bytes");
		sum += number_of(rates_of(next), "sent_bytes") * span_us / 1e6;
	}
	ck_assert_uint_eq(lines, 4);
	ck_assert_double_gt(sum, 0);
	ck_assert_double_eq_tol(first + sum, number_of(line, "sent_bytes"), 1);
	/* The counters are those of the scoreboard. */
	ck_assert_int_eq(ASK("-j", "--interval", "100ms", "top"), 0);
	next = rates_of(worker_row(out, 0)); /* the only document */
	line = strstr(next, "\"connections\":");
	ck_assert(strstr(next, "\"loop_busy_us\":") < strchr(next, '}'));
	ck_assert(!line || line > strchr(next, '}'));
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		ck_assert_double_eq_tol(number_of(out, keys[i]),
					(double)server_stat(server, keys[i]), 0.1);
		for (unsigned worker = 0; worker < 2; worker++)
			ck_assert_double_eq_tol(number_of(worker_row(out, worker), keys[i]),
						(double)server_worker_stat(server, worker, keys[i]),
						0.1);
	}
	stop();
}
END_TEST

SUITE("top_rates", {"rates are right", rates_are_right, 40})
