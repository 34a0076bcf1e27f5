/*
 * The example that weir began with: three clients, each of which speaks now and then, are served
 * at the same time by one worker. The first one that came ends last.
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"

START_TEST(three_clients_at_once)
{
	static const char *const parts[] = {"^abc$de^abte$f", "xyz^123", "25$^ab0000$abab"};
	struct server *server = SERVER("--workers", "1", "increment://127.0.0.1:0");
	int clients[3];

	for (int i = 0; i < 3; i++) {
		clients[i] = connect_to(server->ports[0]);
		expect_text(clients[i], "*");
	}
	for (size_t part = 0; part < 3; part++) {
		/* The pause of the example. Nothing has to happen in it. */
		if (part)
			(void)poll(NULL, 0, 200);
		for (int i = 0; i < 3; i++)
			send_text(clients[i], parts[part]);
	}
	/* A server that served them one after the other would wait here for ever. */
	for (int i = 2; i >= 0; i--) {
		finish_sending(clients[i]);
		expect_text(clients[i], "bcdbcuf23436bc1111");
		expect_end(clients[i]);
	}
	server_wait_stat_is(server, "closed_eof", 3);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("seed", {"three clients at once", three_clients_at_once, 30})
