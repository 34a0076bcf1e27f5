/*
 * dialer: a loop, a table, and an owner that connects and writes down what it is told, in the
 * test's own process. Its protocol says hello, and keeps what it hears.
 */
#ifndef TESTS_SUPPORT_DIALER_H
#define TESTS_SUPPORT_DIALER_H

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/stream/conn_connect.h"
#include "tests/support/harness.h"

static struct dialer {
	struct loop loop;
	struct stats stats;
	struct conn_table table;
	struct service service;
	struct conn *conn;
	unsigned opened, closed, unconnected;
	enum close_reason why; /* it was closed, or not connected */
	char heard[64];
	size_t heard_n;
} dialer;

static void dialer_opened(struct conn *conn)
{
	dialer.opened++;
	conn_send(conn, "hello", 5);
}

static size_t dialer_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	(void)conn;
	if (dialer.heard_n + n <= sizeof dialer.heard)
		memcpy(dialer.heard + dialer.heard_n, bytes, n);
	dialer.heard_n += n;
	return n;
}

static void dialer_closed(struct conn *conn)
{
	dialer.closed++;
	dialer.why = conn_reason(conn);
}

static void dialer_unconnected(struct conn *conn, enum close_reason why)
{
	(void)conn;
	dialer.unconnected++;
	dialer.why = why;
}

static const struct protocol dialer_protocol = {.name = "dialer",
						.open = dialer_opened,
						.input = dialer_input,
						.close = dialer_closed,
						.unconnected = dialer_unconnected};

static inline void dialer_open(void)
{
	const struct conn_limits limits = {
	    .high_water = 256 << 10, .low_water = 64 << 10, .connections_max = 256};

	dialer = (struct dialer){.service = {.protocol = &dialer_protocol,
					     .table = &dialer.table,
					     .listener = SERVICE_NO_LISTENER}};
	ck_assert_int_eq(loop_open(&dialer.loop, &dialer.stats, 0), 0);
	ck_assert_int_eq(conn_table_open(&dialer.table, &dialer.loop, &limits, 4 << 20), 0);
}

#define DIALER_UNTIL(condition)                                                                    \
	do {                                                                                       \
		struct wait wait_ = wait_begin();                                                  \
		while (!(condition)) {                                                             \
			loop_pass(&dialer.loop, 10);                                               \
			wait_more(&wait_, #condition);                                             \
		}                                                                                  \
	} while (0)

/* Fails the test if a connection or a buffer is left. */
static inline void dialer_close(void)
{
	DIALER_UNTIL(dialer.table.conns.used == 0);
	ck_assert_uint_eq(dialer.opened, dialer.closed);
	ck_assert_uint_eq(dialer.stats.connected, dialer.opened);
	ck_assert_uint_eq(dialer.stats.connect_failures, dialer.unconnected);
	ck_assert_uint_eq(dialer.stats.connections, 0);
	ck_assert_uint_eq(dialer.stats.chunks, 0);
	conn_table_close(&dialer.table);
	loop_close(&dialer.loop);
}

static inline struct address dialer_address(const char *text)
{
	struct address address;
	const char *why = "";

	ck_assert_msg(address_parse(&address, text, &why), "%s: %s", text, why);
	return address;
}

/* At 127.0.0.HOST. */
static inline struct address dialer_at(unsigned host, unsigned port)
{
	char text[ADDRESS_TEXT_BYTES];

	(void)snprintf(text, sizeof text, "127.0.0.%u:%u", host, port);
	return dialer_address(text);
}

/* A listener at that address (port 0: any), which this sets; -errno: it can't be. */
static inline int dialer_listen(struct address *address, int backlog)
{
	socklen_t n = sizeof address->socket;
	int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address->socket, address->bytes) < 0) {
		int error = errno;

		(void)close(fd);
		return -error;
	}
	ck_assert_int_eq(listen(fd, backlog), 0);
	if (!address_is_unix(address))
		ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address->socket, &n), 0);
	return fd;
}

/* Where nobody listens, and nobody will: the port is taken. */
static inline struct address dialer_nobody(void)
{
	struct address address = dialer_at(1, 0);
	socklen_t n = address.bytes;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address.socket, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address.socket, &n), 0);
	return address;
}

static inline void dialer_connect(const struct address *list, size_t n, uint32_t ms)
{
	ck_assert_int_eq(conn_connect(&dialer.service, list, n, ms, &dialer.conn), 0);
}

static inline void dialer_expect_unconnected(enum close_reason why)
{
	DIALER_UNTIL(dialer.opened || dialer.unconnected);
	ck_assert_msg(dialer.unconnected == 1 && dialer.why == why, "opened %u times; %s",
		      dialer.opened, close_reason_name(dialer.why));
	dialer_close();
}

/* The connection is up, and this is the other end of it. */
static inline void dialer_expect_up(int listener)
{
	int fd = accept(listener, NULL, NULL);

	ck_assert_int_ge(fd, 0);
	DIALER_UNTIL(dialer.opened || dialer.unconnected);
	ck_assert_msg(dialer.opened == 1, "%s", close_reason_name(dialer.why));
	expect_text(fd, "hello");
	send_text(fd, "answer");
	finish_sending(fd);
	DIALER_UNTIL(dialer.closed);
	ck_assert_uint_eq(dialer.heard_n, 6);
	ck_assert_int_eq(memcmp(dialer.heard, "answer", 6), 0);
	ck_assert_int_eq(dialer.why, CLOSE_eof);
	DIALER_UNTIL(dialer.table.conns.used == 0);
	expect_end(fd);
	(void)close(fd);
	dialer_close();
}

#endif
