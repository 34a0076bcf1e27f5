/*
 * per_ip: connections counted for each peer address, compared with a plain table.
 *
 * It can't see whether the hash resists an attacker: only that each new process hashes with another
 * seed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/stream/per_ip.h"
#include "tests/support/harness.h"

/* ck_assert() writes a mark each time it is passed, which is slow for a million of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

union peer {
	struct sockaddr any;
	struct sockaddr_in ip4;
	struct sockaddr_in6 ip6;
	struct sockaddr_un un;
};

static union peer peer_of(const char *host, unsigned port)
{
	union peer peer;

	memset(&peer, 0, sizeof peer);
	if (strchr(host, ':')) {
		peer.ip6.sin6_family = AF_INET6;
		peer.ip6.sin6_port = htons((uint16_t)port);
		ck_assert_int_eq(inet_pton(AF_INET6, host, &peer.ip6.sin6_addr), 1);
	} else {
		peer.ip4.sin_family = AF_INET;
		peer.ip4.sin_port = htons((uint16_t)port);
		ck_assert_int_eq(inet_pton(AF_INET, host, &peer.ip4.sin_addr), 1);
	}
	return peer;
}

static bool take(struct per_ip *per_ip, const char *host, uint32_t *handle)
{
	static unsigned port = 1000;
	union peer peer = peer_of(host, port++); /* the port must not matter */

	return per_ip_take(per_ip, &peer.any, handle);
}

START_TEST(without_a_limit_there_is_no_table)
{
	struct per_ip per_ip;
	uint32_t handle = 7;

	ck_assert_int_eq(per_ip_open(&per_ip, 1000000, 1000000, 0), 0);
	ck_assert(!per_ip_counts(&per_ip));
	ck_assert_uint_eq(per_ip.mapped_bytes, 0);
	for (int i = 0; i < 100; i++) {
		ck_assert(take(&per_ip, "127.0.0.1", &handle));
		ck_assert_uint_eq(handle, 0);
		per_ip_release(&per_ip, handle);
	}
	per_ip_close(&per_ip);
}
END_TEST

START_TEST(the_limit_holds_for_each_address_of_its_own)
{
	uint32_t handles[3], other, refused = 7;
	struct per_ip per_ip;

	ck_assert_int_eq(per_ip_open(&per_ip, 100, 100, 3), 0);
	ck_assert(per_ip_counts(&per_ip));
	for (int i = 0; i < 3; i++)
		ck_assert(take(&per_ip, "127.0.0.1", &handles[i]));
	ck_assert_uint_ne(handles[0], 0);
	ck_assert_uint_eq(handles[0], handles[2]);
	ck_assert(!take(&per_ip, "127.0.0.1", &refused));
	ck_assert_uint_eq(refused, 0); /* 0, so that releasing it is harmless */
	per_ip_release(&per_ip, refused);
	ck_assert(!take(&per_ip, "127.0.0.1", &refused));
	ck_assert(take(&per_ip, "127.0.0.2", &other));
	ck_assert_uint_ne(other, handles[0]);
	per_ip_release(&per_ip, handles[1]);
	ck_assert(take(&per_ip, "127.0.0.1", &handles[1]));
	ck_assert(!take(&per_ip, "127.0.0.1", &refused));
	per_ip_close(&per_ip);
}
END_TEST

START_TEST(a_mapped_address_is_the_same_client)
{
	struct per_ip per_ip;
	uint32_t handle;

	ck_assert_int_eq(per_ip_open(&per_ip, 100, 100, 2), 0);
	ck_assert(take(&per_ip, "192.0.2.1", &handle));
	ck_assert(take(&per_ip, "::ffff:192.0.2.1", &handle));
	ck_assert(!take(&per_ip, "192.0.2.1", &handle));
	ck_assert(!take(&per_ip, "::ffff:192.0.2.1", &handle));
	/* Other addresses that end in the same four bytes are other clients. */
	ck_assert(take(&per_ip, "::192.0.2.1", &handle));
	ck_assert(take(&per_ip, "64:ff9b::192.0.2.1", &handle));
	per_ip_close(&per_ip);
}
END_TEST

START_TEST(peers_without_an_address_do_not_count)
{
	union peer peer = {.un = {.sun_family = AF_UNIX}};
	struct per_ip per_ip;
	uint32_t handle = 7;

	ck_assert_int_eq(per_ip_open(&per_ip, 10, 10, 1), 0);
	for (int i = 0; i < 100; i++) {
		ck_assert(per_ip_take(&per_ip, &peer.any, &handle));
		ck_assert_uint_eq(handle, 0);
	}
	per_ip_close(&per_ip);
}
END_TEST

/* As many addresses as connections: again and again all go, and others come. */
START_TEST(places_are_used_again)
{
	struct per_ip per_ip;
	uint32_t handles[50];

	ck_assert_int_eq(per_ip_open(&per_ip, 50, 50, 1), 0);
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 50; i++) {
			char host[32];

			(void)snprintf(host, sizeof host, "10.%d.1.%d", round, i);
			MUST(take(&per_ip, host, &handles[i]));
			MUST(handles[i] >= 1 && handles[i] <= 50);
		}
		for (int i = 0; i < 50; i++)
			per_ip_release(&per_ip, handles[(i * 7 + round) % 50]);
	}
	ck_assert_uint_le(per_ip.entries_used, 50);
	per_ip_close(&per_ip);
}
END_TEST

/* ---- against a model ---- */

#define ADDRESSES   600
#define CONNECTIONS 2000
#define LIMIT	    5

START_TEST(random_operations_agree_with_a_table)
{
	static struct {
		uint32_t handle;
		int address; /* -1: no connection */
	} connections[CONNECTIONS];
	static union peer peers[ADDRESSES];
	static unsigned counts[ADDRESSES];
	unsigned long refused = 0;
	struct per_ip per_ip;
	uint64_t seed = 9;

	ck_assert_int_eq(per_ip_open(&per_ip, CONNECTIONS, CONNECTIONS, LIMIT), 0);
	for (unsigned i = 0; i < ADDRESSES; i++) {
		char host[64];

		(void)snprintf(host, sizeof host, i % 2 ? "10.0.%u.%u" : "2001:db8::%x:%x", i / 250,
			       i % 250);
		peers[i] = peer_of(host, i + 1);
	}
	for (int i = 0; i < CONNECTIONS; i++)
		connections[i].address = -1;
	for (unsigned long step = 0; step < suite_volume(1000000); step++) {
		uint64_t random = next_random(&seed);
		unsigned i = (unsigned)(random % CONNECTIONS);
		int address = (int)((random >> 32) % ADDRESSES);

		if (connections[i].address >= 0) {
			per_ip_release(&per_ip, connections[i].handle);
			counts[connections[i].address]--;
			connections[i].address = -1;
		} else if (per_ip_take(&per_ip, &peers[address].any, &connections[i].handle)) {
			MUST(connections[i].handle && counts[address] < LIMIT);
			counts[address]++;
			connections[i].address = address;
			MUST(per_ip.entries[connections[i].handle - 1].connections ==
			     counts[address]);
		} else {
			MUST(counts[address] == LIMIT);
			refused++;
		}
	}
	ck_assert_uint_gt(refused, 0);
	/* Once all have gone each address may have connections up to the limit again. */
	for (int i = 0; i < CONNECTIONS; i++)
		if (connections[i].address >= 0)
			per_ip_release(&per_ip, connections[i].handle);
	for (uint32_t i = 0; i <= per_ip.chains_mask; i++)
		MUST(!per_ip.chains[i]);
	ck_assert_uint_le(per_ip.entries_used, ADDRESSES);
	per_ip_close(&per_ip);
}
END_TEST

/* The seed of a new program's table, which the program prints. */
static uint64_t seed_of_new_program(void)
{
	uint64_t seed = 0;
	int ends[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)setenv("CLIENTS_SEED", "1", 1);
		(void)execl("/proc/self/exe", "check_per_ip", (char *)NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq((int)read(ends[0], &seed, sizeof seed), (int)sizeof seed);
	return seed;
}

__attribute__((constructor)) static void tell_seed(void)
{
	struct per_ip per_ip;

	if (!getenv("CLIENTS_SEED"))
		return;
	if (per_ip_open(&per_ip, 1, 1, 1) < 0 ||
	    write(STDOUT_FILENO, &per_ip.seed, sizeof per_ip.seed) < 0)
		_exit(1);
	_exit(0);
}

START_TEST(a_new_program_hashes_in_its_own_way)
{
	ck_assert_uint_ne(seed_of_new_program(), seed_of_new_program());
}
END_TEST

SUITE("clients", {"without a limit there is no table", without_a_limit_there_is_no_table, 10},
      {"the limit holds for each address of its own", the_limit_holds_for_each_address_of_its_own,
       10},
      {"a mapped address is the same client", a_mapped_address_is_the_same_client, 10},
      {"peers without an address do not count", peers_without_an_address_do_not_count, 10},
      {"places are used again", places_are_used_again, 10},
      {"random operations agree with a table", random_operations_agree_with_a_table, 60},
      {"a new program hashes in its own way", a_new_program_hashes_in_its_own_way, 10})
