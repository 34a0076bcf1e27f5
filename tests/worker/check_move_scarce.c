/*
 * Connections that move to a worker that lacks memory or descriptors, and workers that get wrong
 * messages. What this shows: a connection that does not fit does not keep others out, and a process
 * that sends what no worker sends loses its own connections only.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/server_control.h"

#define BYTES  (6u << 20)
#define OTHERS 5

static void echoes(int fd, const char *text)
{
	send_text(fd, text);
	expect_text(fd, text);
}

/* The first client does not read, and is owed more than the new worker has room for. */
START_TEST(one_that_is_too_big_keeps_out_no_other)
{
	static unsigned char sent[BYTES];
	struct server *server = CONTROLLED(
	    "--config", server_control_config("workers = 1\nhigh-water = 16M\nlow-water = 8M\n"
					      "buffers = 64M\nlisten = echo://127.0.0.1:0\n"));
	int big = connect_to(server->ports[0]), others[OTHERS];

	fill_random(sent, sizeof sent, 6);
	set_buffers(big, 0, 1 << 16);
	send_all(big, sent, sizeof sent);
	server_wait_stat(server, "received_bytes", sizeof sent);
	ck_assert_uint_gt(server_stat(server, "queued_bytes_max"), 1 << 20);
	for (size_t i = 0; i < OTHERS; i++) {
		others[i] = connect_to(server->ports[0]);
		echoes(others[i], "before");
	}
	(void)server_control_config("workers = 1\nhigh-water = 64K\nlow-water = 16K\nbuffers = 1M\n"
				    "listen = echo://127.0.0.1:0\n");
	ck_assert_msg(server_control_ask("reload") == 0, "%s\n%s", server_control_answer(),
		      server->log);
	ck_assert_msg(strstr(server_control_answer(), "5 connections moved") != NULL, "%s",
		      server_control_answer());
	ck_assert_msg(strstr(server_control_answer(), "1 stay") != NULL, "%s",
		      server_control_answer());
	for (size_t i = 0; i < OTHERS; i++)
		echoes(others[i], "after");
	expect_bytes(big, sent, sizeof sent);
	expect_end(big);
	(void)close(big);
	server_control_wait_workers(server, 1);
	server_control_stop(server);
}
END_TEST

SUITE("move_scarce",
      {"one that is too big keeps out no other", one_that_is_too_big_keeps_out_no_other, 30})
