/*
 * health: probes at the metrics address are answered, whatever other clients do there. A probe
 * that is not answered in a second or two makes its sender kill weir, so the bound here is a
 * second; normally it takes a millisecond. A probe that had to wait for a place would always take
 * longer. On a busy machine any probe may, so only more than half have to be answered in time.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/metrics/metrics.h"
#include "tests/support/clients/scraper.h"

#define PROBES	 20
#define PROBE_MS 1000

static struct server *serve(void)
{
	return SERVER("--workers", "1", "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0");
}

static unsigned in_time, late;

static void probed(uint64_t begin_ms)
{
	if (now_ms() - begin_ms < PROBE_MS)
		in_time++;
	else
		late++;
	ck_assert_msg(late <= PROBES || suite_sanitized(), "%u probes took a second, %u did not",
		      late, in_time);
}

/* As many silent clients come again as were pushed out. */
START_TEST(it_is_heard_behind_the_silent)
{
	static const int numbers[] = {300, 400, 1000};
	static int silent[1000];
	struct server *server = serve();
	unsigned port = metrics_port(server);
	int n = numbers[_i], at = 0;

	raise_descriptor_limit();
	for (int i = 0; i < n; i++)
		silent[i] = connect_to(port);
	while (in_time <= PROBES && !(suite_sanitized() && late)) {
		uint64_t begin = now_ms();

		ck_assert_int_eq(get(port, "/healthz")->status, 200);
		probed(begin);
		for (int i = 0; i < METRICS_CONNECTIONS; i++, at = (at + 1) % n) {
			(void)close(silent[at]);
			silent[at] = connect_to(port);
		}
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Even if many clients come at once. */
START_TEST(who_has_asked_is_not_pushed_out)
{
	enum { CLIENTS = 100, SILENT_EACH = 4 };
	struct server *server = serve();
	unsigned port = metrics_port(server);
	int clients[CLIENTS];

	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = connect_to(port);
		send_text(clients[i], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
		for (int k = 0; k < SILENT_EACH; k++)
			(void)connect_to(port);
	}
	for (int i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(read_reply(clients[i], false)->status, 200);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Clients that ask for as much as a place can hold, and read nothing. */
START_TEST(who_does_not_read_holds_no_place_that_it_needs)
{
	static const char *const requests[] = {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
					       "GET / HTTP/1.1\r\nHost: x\r\n\r\n"};
	const char *path = in_folder("metrics");
	struct server *server = SERVER("--workers", "1", "--metrics", path, "echo://127.0.0.1:0");

	for (int i = 0; i < 3 * METRICS_CONNECTIONS; i++) {
		uint64_t begin = now_ms();
		int fd = connect_unix(path), other;

		for (int k = 0; k < 40; k++)
			if (send(fd, requests[_i], strlen(requests[_i]), MSG_NOSIGNAL) < 0)
				break;
		if (i % 8)
			continue;
		other = connect_unix(path);
		ck_assert_int_eq(get_on(other, "/healthz")->status, 200);
		(void)close(other);
		other = connect_unix(path);
		(void)get_on(other, "/metrics"); /* may be answered by 503 */
		(void)close(other);
		probed(begin);
	}
	/* Scrapes that take too long are ended, which makes room. */
	for (struct wait wait = wait_begin();; wait_more(&wait, "a scrape")) {
		int fd = connect_unix(path), status = get_on(fd, "/metrics")->status;

		(void)close(fd);
		if (status == 200)
			break;
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("health", {"it is heard behind the silent", it_is_heard_behind_the_silent, 60, 3},
      {"who has asked is not pushed out", who_has_asked_is_not_pushed_out, 60},
      {"who does not read holds no place that it needs",
       who_does_not_read_holds_no_place_that_it_needs, 60, 2})
