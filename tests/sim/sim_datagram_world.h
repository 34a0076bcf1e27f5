/*
 * sim_datagram_world: one worker with one UDP socket and its book. It lives from begin() to end(),
 * which expects every request to have been answered.
 */
#ifndef TESTS_SIM_SIM_DATAGRAM_WORLD_H
#define TESTS_SIM_SIM_DATAGRAM_WORLD_H

#include "tests/support/sim/sim_udp_servers.h"

static struct sim_udp_worker worker;
static struct book book;
static struct udp_server server;

static const char *const addresses[] = {"127.0.0.1:7878", "0.0.0.0:7878", "[::1]:7878", "[::]:7878",
					":7878"};
#define ADDRESSES ((int)(sizeof addresses / sizeof *addresses))

static void begin(const char *address, enum answer answer)
{
	sim_udp_servers_begin();
	sim_udp_worker_open(&worker);
	book_open(&book, address, answer);
	EXPECT(udp_server_open(&server, &worker, &book, false) == 0);
	sim_udp_worker_run(&worker, 1);
}

static void end(void)
{
	sim_udp_worker_expect(&worker, &book);
	udp_server_close(&server);
	udp_server_close(&server); /* the second call does nothing */
	book_close(&book);
	sim_udp_worker_close(&worker);
	sim_udp_servers_end();
}

#endif
