/*
 * Connections that we open, over real sockets: IPv4, IPv6, unix and abstract addresses; nobody
 * there, one that does not answer, one that resets; several in turn; many at once.
 *
 * One that does not answer is a listener whose queue is full: Linux drops what comes then. What
 * this can't see is a network that drops packets or knows no way (root_connect).
 */
#include <netinet/tcp.h>
#include <poll.h>

#include "protocol/protocol.h"
#include "reactor/stream/conn_snapshot.h"
#include "tests/support/dialer.h"

/* A listener that answers nobody, at the address that this sets. */
static void listen_silently(struct address *address)
{
	int listener = dialer_listen(address, 0);
	struct pollfd first = {.fd = listener, .events = POLLIN};

	ck_assert_int_ge(listener, 0);
	(void)connect_to(address_port(address));
	ck_assert_int_eq(poll(&first, 1, (int)patience_ms()), 1);
}

static int option(int level, int name)
{
	int value = -1;
	socklen_t n = sizeof value;

	ck_assert_int_eq(getsockopt(dialer.conn->source.fd, level, name, &value, &n), 0);
	return value;
}

START_TEST(a_listener_takes_it)
{
	static const char *const texts[] = {"127.0.0.1:0", "[::1]:0", NULL, "@"};
	struct address address;
	char text[ADDRESS_TEXT_BYTES];
	int listener;

	if (_i == 2)
		(void)snprintf(text, sizeof text, "%s", in_folder("a.sock"));
	else if (_i == 3)
		(void)snprintf(text, sizeof text, "@weir-check-connect-%d", (int)getpid());
	else
		(void)snprintf(text, sizeof text, "%s", texts[_i]);
	dialer_open();
	address = dialer_address(text);
	listener = dialer_listen(&address, 16);
	if (listener == -EADDRNOTAVAIL || listener == -EAFNOSUPPORT) {
		suite_skip("a listener takes it", "there is no IPv6 here");
		return;
	}
	ck_assert_int_ge(listener, 0);
	dialer_connect(&address, 1, patience_ms());
	DIALER_UNTIL(dialer.opened);
	ck_assert_int_eq(option(SOL_SOCKET, SO_OOBINLINE), 1);
	if (_i < 2)
		ck_assert_int_eq(option(IPPROTO_TCP, TCP_NODELAY), 1);
	dialer_expect_up(listener);
}
END_TEST

START_TEST(nobody_is_there)
{
	struct address address = dialer_nobody();

	dialer_open();
	dialer_connect(&address, 1, patience_ms());
	dialer_expect_unconnected(CLOSE_connect_refused);
	/* A path without a file, and a file without a listener. */
	for (int i = 0; i < 2; i++) {
		dialer_open();
		address = dialer_address(in_folder("b.sock"));
		if (i)
			(void)close(dialer_listen(&address, 1));
		dialer_connect(&address, 1, patience_ms());
		dialer_expect_unconnected(CLOSE_connect_refused);
	}
}
END_TEST

START_TEST(nobody_answers)
{
	struct address address = dialer_at(1, 0);
	uint64_t began_ms = now_ms();

	listen_silently(&address);
	dialer_open();
	dialer_connect(&address, 1, 200);
	dialer_expect_unconnected(CLOSE_connect_timeout);
	ck_assert_uint_ge(now_ms() - began_ms, 199);
}
END_TEST

/* A unix socket whose queue is full says so at once. */
START_TEST(a_full_unix_listener_is_no_reason_to_wait)
{
	struct address address = dialer_address(in_folder("c.sock"));
	int listener = dialer_listen(&address, 0);

	ck_assert_int_ge(listener, 0);
	(void)connect_unix(address_path(&address));
	dialer_open();
	dialer_connect(&address, 1, 10 * patience_ms());
	dialer_expect_unconnected(CLOSE_connect_failed);
}
END_TEST

/* The reset comes before the loop has looked. */
START_TEST(it_is_reset_at_once)
{
	struct address address = dialer_at(1, 0);
	int listener = dialer_listen(&address, 16);

	dialer_open();
	dialer_connect(&address, 1, patience_ms());
	loop_pass(&dialer.loop, 0);
	if (dialer.opened) { /* the kernel took so long that its answer was there already */
		reset(accept(listener, NULL, NULL));
		DIALER_UNTIL(dialer.closed);
		ck_assert_int_eq(dialer.why, CLOSE_reset);
		dialer_close();
		return;
	}
	reset(accept(listener, NULL, NULL));
	dialer_expect_unconnected(CLOSE_connect_reset);
}
END_TEST

/* The first is refused, the second says nothing, and the third takes it; or none does. */
START_TEST(three_addresses)
{
	struct address list[] = {dialer_nobody(), dialer_at(1, 0), dialer_at(2, 0)};
	int listener = dialer_listen(&list[2], 16);
	uint64_t began_ms = now_ms();

	listen_silently(&list[1]);
	dialer_open();
	dialer_connect(list, 3, 400);
	/* From here on, all the time in the world: the deadline was for the second. */
	if (_i) {
		(void)close(listener);
		dialer_expect_unconnected(CLOSE_connect_refused);
	} else {
		DIALER_UNTIL(dialer.opened || dialer.unconnected);
		dialer_expect_up(listener);
	}
	ck_assert_uint_ge(now_ms() - began_ms, 199);
}
END_TEST

/* Connections to ourselves, half of which are served by the same table. */
START_TEST(many_at_once)
{
	struct service echo = {.protocol = protocol_find("echo"), .table = &dialer.table};
	struct address address = dialer_at(1, 0);
	int listener = dialer_listen(&address, 128);
	enum { MANY = 100 };

	dialer_open();
	for (int round = 0; round < 3; round++) {
		unsigned before = dialer.opened;

		for (int i = 0; i < MANY; i++)
			dialer_connect(&address, 1, patience_ms());
		for (int i = 0; i < MANY; i++) {
			int fd;

			loop_pass(&dialer.loop, 0);
			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
			ck_assert_int_ge(fd, 0);
			conn_open(&echo, fd, CONN_ACCEPTED, NULL);
		}
		DIALER_UNTIL(dialer.opened == before + MANY);
		DIALER_UNTIL(dialer.heard_n == (size_t)(round + 1) * MANY * 5);
		conn_table_abort(&dialer.table, CLOSE_finished);
		DIALER_UNTIL(dialer.table.conns.used == 0);
	}
	ck_assert_uint_eq(dialer.unconnected, 0);
	dialer_close();
}
END_TEST

/* A drain ends one that is not up yet, and lets one that is finish; neither is moved. */
START_TEST(a_drain_ends_it)
{
	struct address address = dialer_at(1, 0);
	int listener = dialer_listen(&address, 16), fd;

	dialer_open();
	dialer_connect(&address, 1, patience_ms());
	ck_assert(!conn_can_freeze(dialer.conn));
	DIALER_UNTIL(dialer.opened);
	ck_assert(!conn_can_freeze(dialer.conn));
	fd = accept(listener, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	conn_table_drain(&dialer.table);
	DIALER_UNTIL(dialer.closed);
	ck_assert_int_eq(dialer.why, CLOSE_drained);
	expect_text(fd, "hello");
	finish_sending(fd);
	expect_end(fd);
	dialer_close();

	address = dialer_at(1, 0);
	listen_silently(&address);
	dialer_open();
	dialer_connect(&address, 1, 10 * patience_ms());
	loop_pass(&dialer.loop, 0); /* it has asked, and nobody answers */
	ck_assert(!conn_can_freeze(dialer.conn));
	conn_table_drain(&dialer.table);
	dialer_expect_unconnected(CLOSE_drained);
}
END_TEST

SUITE("connect", {"a listener takes it", a_listener_takes_it, 20, 4},
      {"nobody is there", nobody_is_there, 20}, {"nobody answers", nobody_answers, 20},
      {"a full unix listener is no reason to wait", a_full_unix_listener_is_no_reason_to_wait, 20},
      {"it is reset at once", it_is_reset_at_once, 20}, {"three addresses", three_addresses, 20, 2},
      {"many at once", many_at_once, 20}, {"a drain ends it", a_drain_ends_it, 20})
