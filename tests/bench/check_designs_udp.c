/*
 * The designs of bench/designs that serve datagrams: each datagram of any size comes back, however
 * many there are, and no child is left.
 */
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/bench/designs.h"

static const char *const udp_designs[] = {"iterative-udp", "fork-udp"};

static int connect_udp(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval patience = {.tv_sec = patience_ms() / 1000};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void expect_datagram(int fd, const void *out, size_t n, const void *expected,
			    size_t expected_n)
{
	static unsigned char bytes[1 << 16];
	ssize_t came;

	ck_assert_int_eq(send(fd, out, n, 0), (ssize_t)n);
	came = recv(fd, bytes, sizeof bytes, 0);
	ck_assert_msg(came == (ssize_t)expected_n, "%zd bytes of %zu came back", came, expected_n);
	ck_assert_int_eq(memcmp(bytes, expected, expected_n), 0);
}

START_TEST(datagrams_come_back)
{
	static const size_t sizes[] = {0, 1, 1472, 60000, 65507};
	static unsigned char bytes[1 << 16], answer[1 << 16];
	pid_t children[1];

	fill_random(bytes, sizeof bytes, 5);
	bytes[0] = '^';
	for (size_t i = 0; i < sizeof udp_designs / sizeof *udp_designs; i++) {
		for (int increment = 0; increment < 2; increment++) {
			struct wait wait = wait_begin();
			struct server *server;
			int fd;

			design_choose(udp_designs[i]);
			server = DESIGN_LAUNCH(increment ? "increment+udp://127.0.0.1:0"
							 : "echo+udp://127.0.0.1:0");
			ck_assert(server_log_has(server,
						 increment ? "=increment+udp://" : "=echo+udp://"));
			fd = connect_udp(server->ports[0]);
			for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
				size_t n = design_incremented(answer, bytes, sizes[j]);

				expect_datagram(fd, bytes, sizes[j], increment ? answer : bytes,
						increment ? n : sizes[j]);
			}
			/* More than fork-udp has children at a time. */
			for (int j = 0; j < 200; j++)
				expect_datagram(fd, "^a", 2, increment ? "*b" : "^a", 2);
			while (design_children(server->pid, children, 1))
				wait_more(&wait, udp_designs[i]);
			(void)close(fd);
			design_stop(server);
		}
	}
}
END_TEST

SUITE("designs_udp", {"datagrams come back", datagrams_come_back, 30})
