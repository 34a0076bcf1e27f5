/*
 * Moves of a listener whose connections have several protocols: two processes' sides in this one,
 * with real sockets between them. An older weir knows one service of a listener, the first; what it
 * is sent, and what it sends, must be as ever.
 *
 * Whole servers of two versions are not here.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/protocol.h"
#include "tests/support/harness.h"
#include "worker/migration/migration_parts.h"

#define LISTENER 5
#define REASONS	 UINT64_C(0xf43a257f79e3b505) /* of the version that first compared them */

static struct side {
	struct loop loop;
	struct stats stats;
	struct conn_table table;
	struct service services[2]; /* line, and the prefix before it */
	struct migration migration;
} sides[2];

static unsigned order_n; /* orders that ended */
static enum move_end order_end;

static bool expects_more(void)
{
	return false;
}

static void moved_out(uint32_t order, uint32_t count, enum move_end end)
{
	(void)order;
	(void)count;
	order_n++;
	order_end = end;
}

static void side_open(struct side *side)
{
	static const struct move_owner owner = {.expects_more = expects_more,
						.moved_out = moved_out};
	struct conn_limits limits = {
	    .high_water = 1 << 16, .low_water = 1 << 14, .connections_max = 1000};

	side->stats = (struct stats){0};
	ck_assert_int_eq(loop_open(&side->loop, &side->stats, 0), 0);
	ck_assert_int_eq(conn_table_open(&side->table, &side->loop, &limits, BUFFERS_MIN), 0);
	for (int i = 0; i < 2; i++)
		side->services[i] =
		    (struct service){.protocol = i ? &proxy_protocol : protocol_find("line"),
				     .table = &side->table,
				     .listener = LISTENER,
				     .next = &side->services[!i],
				     .settings = {i ? 0 : 1000}};
	migration_open(&side->migration, &side->table, 0, &owner);
}

static void start(void)
{
	side_open(&sides[0]);
	side_open(&sides[1]);
	order_n = 0;
}

static void end(void)
{
	for (int i = 0; i < 2; i++) {
		conn_table_close(&sides[i].table);
		loop_close(&sides[i].loop);
	}
}

static void pass_until(bool (*done)(void), const char *what)
{
	struct wait wait = wait_begin();

	while (!done()) {
		loop_pass(&sides[0].loop, 0);
		loop_pass(&sides[1].loop, 0);
		wait_more(&wait, what);
	}
}

static bool order_is_over(void)
{
	return order_n != 0;
}

/* A client of the first side. */
static int connect_here(struct service *service)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	set_nonblocking(pair[0]);
	conn_open(service, pair[0], CONN_ACCEPTED, NULL);
	return pair[1];
}

static void channel(int pair[2])
{
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

/* offers: of the receiver's services, the first ones. */
static void move_all(size_t offers)
{
	struct service *services[] = {&sides[1].services[0], &sides[1].services[1]};
	int pair[2];

	channel(pair);
	migrate_in(&sides[1].migration, pair[1], services, offers, (struct conn_promise){0});
	migrate_out(&sides[0].migration, pair[0], 1, MOVE_ALL);
	pass_until(order_is_over, "the move to be over");
	ck_assert_int_eq(order_end, MOVE_DONE);
}

static bool both_lines_came(void)
{
	return sides[1].stats.messages == 2;
}

START_TEST(each_goes_on_with_its_protocol)
{
	int behind, before;

	start();
	behind = connect_here(&sides[0].services[0]);
	before = connect_here(&sides[0].services[1]);
	send_text(before, "PROXY UNK");
	move_all(2);
	ck_assert_uint_eq(sides[0].stats.connections, 0);
	ck_assert_uint_eq(sides[1].stats.moved_in, 2);
	send_text(before, "NOWN\r\nhello\n");
	send_text(behind, "world\n");
	pass_until(both_lines_came, "both lines");
	expect_text(before, "hello\n");
	expect_text(behind, "world\n");
	end();
	(void)close(behind);
	(void)close(before);
}
END_TEST

/* What an older weir compares before it sends anything. */
START_TEST(an_offer_is_as_an_older_weir_has_it)
{
	struct service *services[] = {&sides[1].services[0], &sides[1].services[1]};
	struct offer_message offer;
	int pair[2];

	start();
	channel(pair);
	migrate_in(&sides[1].migration, pair[1], services, 2, (struct conn_promise){0});
	ck_assert_int_gt(recv(pair[0], &offer, sizeof offer, 0), 0);
	ck_assert_uint_eq(offer.version, 2);
	ck_assert_msg(offer.reasons == REASONS, "the hash of reasons is %#llx",
		      (unsigned long long)offer.reasons);
	ck_assert_uint_eq(offer.offers_n, 2);
	ck_assert_str_eq(offer.offers[0].protocol, "line");
	ck_assert_uint_eq(offer.offers[0].listener, LISTENER);
	ck_assert_str_eq(offer.offers[1].protocol, "proxy");
	end();
	(void)close(pair[0]);
}
END_TEST

static int sender; /* the sender's end of a channel */

static bool receiver_answered(void)
{
	char byte;

	return recv(sender, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* A sender that names what was not offered is refused, and nothing else happens. */
START_TEST(what_was_not_offered_is_refused)
{
	static const uint32_t wrong[] = {
	    LISTENER + 1, MOVE_BY_OFFER | 2, MOVE_BY_OFFER | LISTENER, MOVE_BY_OFFER - 1, 0,
	    UINT32_MAX};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct service *services[] = {&sides[1].services[0], &sides[1].services[1]};
		struct taken_message answer = {0};
		struct offer_message offer;
		int pair[2], client[2];

		start();
		channel(pair);
		migrate_in(&sides[1].migration, pair[1], services, 2, (struct conn_promise){0});
		ck_assert_int_gt(recv(pair[0], &offer, sizeof offer, 0), 0);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client), 0);
		move_message.batch = (struct move_batch_message){.kind = MOVE_BATCH, .count = 1};
		move_message.batch.snapshots[0].service = wrong[i];
		ck_assert_int_gt(descriptors_send(pair[0], &move_message,
						  sizeof(struct move_batch_message), client, 1),
				 0);
		sender = pair[0];
		pass_until(receiver_answered, "an answer");
		ck_assert_int_eq(recv(pair[0], &answer, sizeof answer, 0), sizeof answer);
		ck_assert_uint_eq(answer.taken, 0);
		ck_assert_uint_eq(sides[1].stats.moved_in, 0);
		end();
		(void)close(pair[0]);
		(void)close(client[0]);
		(void)close(client[1]);
	}
}
END_TEST

/* ---- reasons to close travel by name ---- */

static void receiver_opens(int pair[2])
{
	struct service *services[] = {&sides[1].services[0], &sides[1].services[1]};
	struct offer_message offer;

	start();
	channel(pair);
	migrate_in(&sides[1].migration, pair[1], services, 2, (struct conn_promise){0});
	ck_assert_int_gt(recv(pair[0], &offer, sizeof offer, 0), 0);
	sender = pair[0];
}

/* Sends one that lingers, because of this reason, as its sender counts them. True: it is taken. */
static bool is_taken(int channel_end, uint8_t reason)
{
	struct taken_message answer = {0};
	int client[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client), 0);
	set_nonblocking(client[0]);
	move_message.batch = (struct move_batch_message){.kind = MOVE_BATCH, .count = 1};
	move_message.batch.snapshots[0] =
	    (struct conn_snapshot){.service = LISTENER, .phase = 2, .reason = reason};
	ck_assert_int_gt(descriptors_send(channel_end, &move_message,
					  sizeof(struct move_batch_message), client, 1),
			 0);
	(void)close(client[0]);
	(void)close(client[1]);
	pass_until(receiver_answered, "an answer");
	ck_assert_int_eq(recv(channel_end, &answer, sizeof answer, 0), sizeof answer);
	return answer.taken;
}

static bool all_are_gone(void)
{
	return sides[1].stats.connections == 0;
}

static uint64_t closed(const char *reason)
{
	return sides[1].stats.closed[close_reason_named(reason)];
}

/* In its table the fifth was line_too_long, and the last the twenty-second. */
START_TEST(a_reason_of_an_older_weir_is_what_it_was_there)
{
	int pair[2];

	receiver_opens(pair);
	ck_assert(is_taken(pair[0], 5));
	ck_assert(is_taken(pair[0], 22));
	ck_assert(!is_taken(pair[0], 23));
	ck_assert(!is_taken(pair[0], 255));
	pass_until(all_are_gone, "both to end");
	ck_assert_uint_eq(closed("line_too_long"), 1);
	ck_assert_uint_eq(closed("error"), 1);
	end();
	(void)close(pair[0]);
}
END_TEST

START_TEST(a_reason_is_what_its_sender_calls_it)
{
	static struct reasons_message said = {.kind = MOVE_REASONS, .n = 4};
	const size_t n = offsetof(struct reasons_message, names) + 4 * sizeof *said.names;
	int pair[2];

	receiver_opens(pair);
	(void)strcpy(said.names[1], "of a version to come");
	(void)strcpy(said.names[2], "frame_too_large");
	(void)strcpy(said.names[3], "proxy_v1_port");
	ck_assert_int_eq(send(pair[0], &said, n, 0), (ssize_t)n);
	ck_assert(is_taken(pair[0], 2));
	ck_assert(is_taken(pair[0], 3));
	ck_assert(!is_taken(pair[0], 1)); /* it ends where its reason is known */
	ck_assert(!is_taken(pair[0], 4));
	pass_until(all_are_gone, "both to end");
	ck_assert_uint_eq(closed("frame_too_large"), 1);
	ck_assert_uint_eq(closed("proxy_v1_port"), 1);
	end();
	(void)close(pair[0]);
}
END_TEST

static bool channel_is_closed(void)
{
	char byte;

	return recv(sender, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

START_TEST(names_that_are_none_end_the_channel)
{
	static struct reasons_message said;
	const size_t one = offsetof(struct reasons_message, names) + sizeof *said.names;
	const struct {
		uint32_t n;
		size_t bytes;
		char fill;
	} bad[] = {{2, one, 0},
		   {1, one + sizeof *said.names, 0},
		   {UINT32_MAX, one, 0},
		   {CLOSE_REASONS_MAX + 1, sizeof said, 0},
		   {0, sizeof said.kind, 0},
		   {2, one + sizeof *said.names, 'x'}};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int pair[2];

		receiver_opens(pair);
		memset(&said, bad[i].fill, sizeof said);
		said.kind = MOVE_REASONS;
		said.n = bad[i].n;
		ck_assert_int_gt(send(pair[0], &said, bad[i].bytes, 0), 0);
		pass_until(channel_is_closed, "the channel to end");
		end();
		(void)close(pair[0]);
	}
}
END_TEST

static bool one_lingers(void)
{
	const struct conn *conn;
	size_t cursor = 0;

	conn = pool_next(&sides[0].table.conns, &cursor);
	return conn && conn_standing(conn) == CONN_LINGERS;
}

static bool none_is_left(void)
{
	return sides[0].stats.connections + sides[1].stats.connections == 0;
}

/* ---- a receiver of the test's own ---- */

/* Offers the first service; an older weir reads nothing but batches. */
static void offer_line(int fd, uint8_t reads)
{
	struct offer_message offer = {
	    .kind = MOVE_OFFER, .version = SNAPSHOT_VERSION, .reasons = REASONS, .offers_n = 1};
	const struct protocol *line = sides[1].services[0].protocol;

	offer.offers[0] = (struct move_offer){.listener = LISTENER,
					      .state_bytes = line->state_bytes,
					      .state_version = line->state_version,
					      .protocol = "line",
					      .reads = reads};
	ck_assert_int_gt(
	    send(fd, &offer, offsetof(struct offer_message, offers) + sizeof *offer.offers, 0), 0);
}

static struct move_batch_message batch;
static int receiver; /* the receiver's end of a channel */
static unsigned batches;

/* Takes all of a batch, or nothing, if one has come. */
static void take_batch(bool takes)
{
	static union move_message message;
	struct taken_message answer = {.kind = MOVE_TAKEN};
	int fds[DESCRIPTORS_MAX];
	size_t fds_n;
	ssize_t n = descriptors_receive(receiver, &message, sizeof message, fds, &fds_n);

	if (n <= 0 || message.kind != MOVE_BATCH)
		return;
	batch = message.batch;
	batches++;
	for (size_t i = 0; i < fds_n; i++)
		(void)close(fds[i]);
	if (takes)
		answer.taken = (UINT64_C(1) << batch.count) - 1;
	ck_assert_int_eq(send(receiver, &answer, sizeof answer, 0), sizeof answer);
}

static bool order_is_over_if_all_is_taken(void)
{
	take_batch(true);
	return order_is_over();
}

static bool order_is_over_if_nothing_is_taken(void)
{
	take_batch(false);
	return order_is_over();
}

static bool header_is_read(void)
{
	const struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(&sides[0].table.conns, &cursor)))
		if (conn->peer_given)
			return true;
	return false;
}

/* It names a service by its listener, which means the first one; it would misread where the bytes
 * of the next connection begin behind those of a peer. */
START_TEST(an_older_weir_gets_what_it_can_read)
{
	int pair[2], plain, before, behind;

	start();
	plain = connect_here(&sides[0].services[0]);
	before = connect_here(&sides[0].services[1]);
	behind = connect_here(&sides[0].services[1]);
	send_text(behind, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n");
	pass_until(header_is_read, "the header to be read");
	channel(pair);
	receiver = pair[1];
	batches = 0;
	offer_line(pair[1], MOVE_READS_PROMISES);
	migrate_out(&sides[0].migration, pair[0], 1, MOVE_ALL);
	pass_until(order_is_over_if_all_is_taken, "the move to be over");
	ck_assert_uint_eq(batches, 1);
	ck_assert_uint_eq(batch.count, 1);
	ck_assert_uint_eq(batch.snapshots[0].service, LISTENER);
	ck_assert_uint_eq(sides[0].stats.moved_out, 1);
	ck_assert_uint_eq(sides[0].stats.connections, 2); /* to be drained */
	end();
	(void)close(pair[1]);
	(void)close(plain);
	(void)close(before);
	(void)close(behind);
}
END_TEST

/* A side's services, for more listeners than one offer has room for. */
static struct service many[2][MOVE_OFFERS_MAX];

static void open_many(void)
{
	start();
	for (size_t i = 0; i < 2 * MOVE_OFFERS_MAX; i++) {
		struct side *side = &sides[i & 1];
		size_t at = i / 2;

		many[i & 1][at] =
		    (struct service){.protocol = side->services[at & 1].protocol,
				     .table = &side->table,
				     .listener = (uint32_t)(at / 2 + (at & 1) * 70000),
				     .settings = {at & 1 ? 0 : 1000}};
	}
}

START_TEST(any_number_of_services_is_offered)
{
	struct service *services[MOVE_OFFERS_MAX];
	int clients[MOVE_OFFERS_MAX], pair[2];
	size_t cursor = 0, n = 0;
	struct conn *conn;

	open_many();
	for (size_t i = 0; i < MOVE_OFFERS_MAX; i++) {
		services[i] = &many[1][i];
		clients[i] = connect_here(&many[0][i]);
	}
	channel(pair);
	migrate_in(&sides[1].migration, pair[1], services, MOVE_OFFERS_MAX,
		   (struct conn_promise){0});
	migrate_out(&sides[0].migration, pair[0], 1, MOVE_ALL);
	pass_until(order_is_over, "the move to be over");
	ck_assert_uint_eq(sides[0].stats.moved_out, MOVE_OFFERS_MAX);
	/* They come in the order of the sender's table. */
	while ((conn = pool_next(&sides[1].table.conns, &cursor)))
		n += conn->service->listener == many[1][n].listener &&
		     conn->service->protocol == many[1][n].protocol;
	ck_assert_uint_eq(n, MOVE_OFFERS_MAX);
	end();
	for (size_t i = 0; i < MOVE_OFFERS_MAX; i++)
		(void)close(clients[i]);
}
END_TEST

static char longest[40000]; /* a line above the limit, more than is read at once: so its connection
			     * lingers */

START_TEST(what_is_refused_for_its_reason_is_not_sent_again)
{
	int pair[2], client;

	memset(longest, 'x', sizeof longest);
	start();
	client = connect_here(&sides[0].services[0]);
	ck_assert_int_eq(send(client, longest, sizeof longest, 0), sizeof longest);
	pass_until(one_lingers, "it to linger");
	channel(pair);
	receiver = pair[1];
	batches = 0;
	offer_line(pair[1], MOVE_READS_PROMISES | MOVE_READS_ALL);
	migrate_out(&sides[0].migration, pair[0], 1, MOVE_ALL);
	pass_until(order_is_over_if_nothing_is_taken, "the move to be over");
	ck_assert_int_eq(order_end, MOVE_DONE);
	ck_assert_uint_eq(batches, 1);
	ck_assert_uint_eq(sides[0].stats.connections, 1);
	end();
	(void)close(pair[1]);
	(void)close(client);
}
END_TEST

/* One that lingers goes along, and is counted for its reason there; to an older weir it does not.
 */
START_TEST(one_that_ends_moves_if_its_reason_can_be_said)
{
	memset(longest, 'x', sizeof longest);
	for (int older = 0; older < 2; older++) {
		struct service *services[] = {&sides[1].services[0], &sides[1].services[1]};
		int pair[2], client;

		start();
		client = connect_here(&sides[0].services[0]);
		ck_assert_int_eq(send(client, longest, sizeof longest, 0), sizeof longest);
		pass_until(one_lingers, "it to linger");
		channel(pair);
		if (older)
			offer_line(pair[1], 0);
		else
			migrate_in(&sides[1].migration, pair[1], services, 1,
				   (struct conn_promise){0});
		migrate_out(&sides[0].migration, pair[0], 1, MOVE_ALL);
		pass_until(order_is_over, "the move to be over");
		ck_assert_uint_eq(sides[0].stats.moved_out, !older);
		(void)close(client);
		pass_until(none_is_left, "it to end");
		ck_assert_uint_eq(
		    sides[older ? 0 : 1].stats.closed[close_reason_named("line_too_long")], 1);
		end();
		if (older)
			(void)close(pair[1]);
	}
}
END_TEST

SUITE("move_services", {"each goes on with its protocol", each_goes_on_with_its_protocol, 20},
      {"an older weir gets what it can read", an_older_weir_gets_what_it_can_read, 20},
      {"what is refused for its reason is not sent again",
       what_is_refused_for_its_reason_is_not_sent_again, 20},
      {"any number of services is offered", any_number_of_services_is_offered, 20},
      {"an offer is as an older weir has it", an_offer_is_as_an_older_weir_has_it, 10},
      {"what was not offered is refused", what_was_not_offered_is_refused, 10},
      {"a reason of an older weir is what it was there",
       a_reason_of_an_older_weir_is_what_it_was_there, 20},
      {"a reason is what its sender calls it", a_reason_is_what_its_sender_calls_it, 20},
      {"names that are none end the channel", names_that_are_none_end_the_channel, 20},
      {"one that ends moves if its reason can be said",
       one_that_ends_moves_if_its_reason_can_be_said, 20})
