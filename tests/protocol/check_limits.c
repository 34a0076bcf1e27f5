/*
 * Timeouts and limits of connections: --request-timeout, --idle-timeout, --max-connections-per-ip
 * and --max-connections end a connection, refuse it or let it wait, the reason is counted, and
 * other connections do not notice (bystander.h).
 *
 * --write-timeout is in check_backpressure.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "tests/protocol/bystander.h"

/* ---- timeouts ---- */

/* Two clients send a good message, then another one byte by byte. A third one pauses between two
 * messages. */
START_TEST(request_timeout)
{
	static const char frame[] = "\0\0\0\4good\0\1\0\0", line[] = "good\n";
	struct server *server = START("--request-timeout", "300ms", LISTENERS);
	int fds[] = {connect_to(server->ports[FRAME]), connect_to(server->ports[LINE])};
	int patient = connect_to(server->ports[LINE]);
	uint64_t begin_ms[2] = {0};
	ssize_t n;
	int left = 2;

	send_text(patient, line);
	expect_text(patient, line);
	send_all(fds[0], frame, 8);
	expect_bytes(fds[0], frame, 8);
	send_all(fds[1], line, 5);
	expect_text(fds[1], line);
	for (size_t i = 0; left; i++) {
		ck_assert_uint_lt(i, 2000);
		for (int k = 0; k < 2; k++) {
			if (fds[k] < 0)
				continue;
			begin_ms[k] = begin_ms[k] ? begin_ms[k] : now_ms();
			/* The prefix says 65,536. Each byte of the frame comes back at once. */
			(void)send(fds[k], k == 0 ? &frame[8 + (i < 4 ? i : 3)] : "x", 1,
				   MSG_NOSIGNAL);
			(void)poll(NULL, 0, 50);
			n = recv(fds[k], &(char){0}, 1, MSG_DONTWAIT);
			ck_assert_msg(k == 0 || n <= 0, "a byte came of half a line");
			if (n > 0 || (n < 0 && errno != ECONNRESET))
				continue;
			ck_assert_uint_ge(now_ms() - begin_ms[k], 280);
			bystander_expect_close("closed_request_timeout");
			(void)close(fds[k]);
			fds[k] = -1;
			left--;
		}
	}
	send_text(patient, line);
	expect_text(patient, line);
	(void)close(patient);
	bystander_expect_close("closed_eof");
	bystander_finish(server);
}
END_TEST

/* There is no bystander here, as it would be idle, too. That a client which talks is not ended is
 * in sim_loop. */
START_TEST(idle_timeout)
{
	struct server *server = server_start(
	    (const char *const[]){"--workers", "1", "--idle-timeout", "500ms", LISTENERS, NULL});
	uint64_t begin_ms = now_ms();
	int fds[] = {connect_to(server->ports[ECHO]), connect_to(server->ports[LINE])};

	for (int i = 0; i < 2; i++) {
		expect_end(fds[i]);
		ck_assert_uint_ge(now_ms() - begin_ms, 480);
		(void)close(fds[i]);
	}
	server_wait_stat_is(server, "connections", 0);
	ck_assert_uint_eq(server_stat(server, "closed_idle_timeout"), 2);
	ck_assert_uint_eq(server_stat(server, "closed"), 2);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- limits of connections ---- */

static int connect_from(const char *source, unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	struct timeval patience = {.tv_sec = patience_ms() / 1000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	(void)inet_pton(AF_INET, source, &address.sin_addr);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	address.sin_port = htons((uint16_t)port);
	(void)inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void close_all(const int *fds, int n)
{
	for (int i = 0; i < n; i++) {
		(void)close(fds[i]);
		bystander_expect_close("closed_eof");
	}
}

static void expect_served(int fd)
{
	send_text(fd, "served\n");
	expect_text(fd, "served\n");
}

START_TEST(connections_per_ip)
{
	struct server *server = START("--max-connections-per-ip", "3", LISTENERS);
	int fds[2], others[3];

	for (int i = 0; i < 2; i++) /* the bystander is the third */
		expect_served(fds[i] = connect_to(server->ports[LINE]));
	for (int i = 0; i < 50; i++) {
		int fd = connect_to(server->ports[i % 2 ? LINE : FRAME]);

		expect_end(fd);
		(void)close(fd);
		bystander_expect_close("closed_too_many_per_ip");
	}
	for (int i = 0; i < 3; i++)
		expect_served(others[i] = connect_from("127.0.0.9", server->ports[LINE]));
	for (int round = 0; round < 20; round++) { /* a client that leaves makes room */
		close_all(fds, 1);
		server_wait_stat_is(server, "closed_eof", bystander_expected("closed_eof"));
		expect_served(fds[0] = connect_to(server->ports[LINE]));
	}
	close_all(fds, 2);
	close_all(others, 3);
	bystander_finish(server);
}
END_TEST

/* Clients above the limit wait in the kernel's queue, and are served when others leave. */
START_TEST(overload_pause)
{
	struct server *server = START("--max-connections", "4", "--overload", "pause", LISTENERS);
	int fds[13];

	for (int i = 0; i < 13; i++) {
		fds[i] = connect_to(server->ports[LINE]);
		if (i < 3)
			expect_served(fds[i]);
		else
			send_text(fds[i], "served\n");
	}
	server_wait_stat(server, "accept_pauses", 1);
	ck_assert_uint_eq(server_stat(server, "connections"), 4);
	for (int i = 3; i < 13; i++) {
		ck_assert_int_eq(recv(fds[i], &(char){0}, 1, MSG_DONTWAIT), -1);
		close_all(fds + i - 3, 1);
		expect_text(fds[i], "served\n");
		ck_assert_uint_le(server_stat(server, "connections"), 4);
		bystander_asks();
		bystander_is_answered();
	}
	close_all(fds + 10, 3);
	bystander_finish(server);
}
END_TEST

START_TEST(overload_reject)
{
	struct server *server = START("--max-connections", "4", "--overload", "reject", LISTENERS);
	int fds[3];

	for (int i = 0; i < 3; i++)
		expect_served(fds[i] = connect_to(server->ports[LINE]));
	for (int i = 0; i < 50; i++) {
		int fd = connect_to(server->ports[LINE]);

		expect_end(fd);
		(void)close(fd);
		bystander_expect_close("closed_overload");
		bystander_asks();
		bystander_is_answered();
	}
	close_all(fds, 1);
	server_wait_stat_is(server, "closed_eof", 1);
	expect_served(fds[0] = connect_to(server->ports[LINE]));
	close_all(fds, 3);
	bystander_finish(server);
}
END_TEST

SUITE("limits", {"a message that is not finished in time", request_timeout, 90},
      {"idle timeout", idle_timeout, 30},
      {"max-connections-per-ip: the others are served", connections_per_ip, 30},
      {"overload pause: latecomers wait", overload_pause, 30},
      {"overload reject: latecomers are closed", overload_reject, 30})
