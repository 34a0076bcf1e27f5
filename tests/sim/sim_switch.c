/*
 * A connection that turns into another protocol in mid-life, on a simulated kernel: cut and moved
 * to another process at every byte, with a peer that takes one byte at a time, and from an answer.
 *
 * The first protocol is the test's: its only line names the protocol that the connection is to
 * have, it says "ok", and with "later" it says so in a turn of its own.
 */
#include "tests/support/sim/sim_move.h"

static struct sim_move move;
static struct service lines[2]; /* of each world: beside its first service */
static unsigned opened, closed;

extern const struct protocol line_protocol;

static const struct protocol *const turns_into[] = {&line_protocol, NULL};

static void pick_open(struct conn *conn)
{
	opened++;
	conn_message_begun(conn);
}

static size_t pick_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	unsigned char *end = memchr(bytes, '\n', n);

	if (!end)
		return 0;
	(void)conn_message_done(conn);
	if (*bytes == 'l' && (size_t)(end - bytes) == strlen("later")) {
		conn_hold(conn, "never sent", 10);
		conn_produce(conn, true);
	} else {
		conn_send(conn, "ok\n", 3);
		conn_switch(conn, &line_protocol);
	}
	return (size_t)(end + 1 - bytes);
}

static void pick_produce(struct conn *conn)
{
	conn_switch(conn, &line_protocol);
	conn_send(conn, "ok\n", 3);
}

static void pick_close(struct conn *conn)
{
	(void)conn;
	closed++;
}

static const struct protocol pick = {
    .name = "pick",
    .open = pick_open,
    .input = pick_input,
    .produce = pick_produce,
    .close = pick_close,
    .turns_into = turns_into,
};

static struct peer *begin(void)
{
	sim_move_open(&move, "echo", (struct conn_limits){WORLD_LIMITS, .request_ms = 1000},
		      BUFFERS_MIN);
	opened = closed = 0;
	for (int i = 0; i < 2; i++) {
		struct service *first = &move.worlds[i].service;

		first->protocol = &pick;
		lines[i] = *first;
		lines[i].protocol = &line_protocol;
		lines[i].next = first;
		first->next = &lines[i];
	}
	return world_connect(&move.worlds[0]);
}

static void end_with(struct peer *peer, const char *said, enum close_reason reason)
{
	sim_move_run(&move);
	EXPECT_MSG(peer->received == strlen(said), "%zu bytes came, not %zu", peer->received,
		   strlen(said));
	EXPECT(peer->closed);
	EXPECT(opened == 1 && closed == 1);
	EXPECT(sim_move_reason(&move) == reason);
	sim_move_close(&move);
}

/* What the peer takes is as it should be, however little it is. */
static void take(struct peer *peer, const char *said, size_t most)
{
	unsigned char got[64];
	size_t at = peer->received, n = peer_receive(peer, got, most < 64 ? most : 64);

	EXPECT(at + n <= strlen(said));
	EXPECT(memcmp(got, said + at, n) == 0);
}

static void take_all(struct peer *peer, const char *said)
{
	sim_move_run(&move);
	while (peer->out.n) {
		take(peer, said, 64);
		sim_move_run(&move);
	}
}

static const char *const requests[] = {"line\nhello\nworld\n", "later\nhello\nworld\n"};
static const char said[] = "ok\nhello\nworld\n";

START_TEST(input_may_be_cut_anywhere)
{
	for (int r = 0; r < 2; r++)
		for (size_t cut = 0; cut <= strlen(requests[r]); cut++) {
			struct peer *peer = begin();

			peer_send(peer, requests[r], cut);
			sim_move_run(&move);
			peer_text(peer, requests[r] + cut);
			take_all(peer, said);
			peer_finish(peer);
			end_with(peer, said, CLOSE_eof);
		}
}
END_TEST

/* Its peer takes nothing until it has said all, and then a byte at a time. */
START_TEST(what_is_owed_goes_first)
{
	for (int r = 0; r < 2; r++) {
		struct peer *peer = begin();

		peer->space = 1;
		peer_text(peer, requests[r]);
		sim_move_run(&move);
		peer_finish(peer);
		while (peer->received < strlen(said)) {
			EXPECT(peer->out.n == 1);
			take(peer, said, 1);
			sim_move_run(&move);
		}
		end_with(peer, said, CLOSE_eof);
	}
}
END_TEST

START_TEST(it_may_move_at_any_byte)
{
	for (int r = 0; r < 2; r++)
		for (size_t cut = 0; cut <= strlen(requests[r]); cut++)
			for (int runs = 0; runs < 2; runs++) {
				struct peer *peer = begin();

				peer_send(peer, requests[r], cut);
				if (runs)
					sim_move_run(&move);
				EXPECT(sim_move_move(&move, peer));
				peer_text(peer, requests[r] + cut);
				take_all(peer, said);
				EXPECT(sim_move_move(&move, peer));
				peer_finish(peer);
				sim_move_run(&move);
				EXPECT(move.worlds[0].stats.moved_in == 1);
				/* Where it comes, a connection is restored, not opened. */
				EXPECT(opened == 1);
				closed = 1; /* a departure is an end, too */
				end_with(peer, said, CLOSE_eof);
			}
}
END_TEST

/* The message that the first protocol began is not the second one's: no request is due. */
START_TEST(the_request_timeout_is_the_protocols)
{
	struct peer *peer = begin();

	peer_text(peer, "lin");
	sim_move_run(&move);
	sim_move_wait(&move, 900);
	peer_text(peer, "e\nhello\n");
	take_all(peer, said);
	sim_move_wait(&move, 5000);
	EXPECT(!peer->closed);
	peer_text(peer, "world\n");
	take_all(peer, said);
	peer_finish(peer);
	end_with(peer, said, CLOSE_eof);
	/* One that never says is ended by it. */
	peer = begin();
	peer_text(peer, "lin");
	sim_move_run(&move);
	sim_move_wait(&move, 1100);
	end_with(peer, "", CLOSE_request_timeout);
}
END_TEST

SUITE("sim_switch", {"input may be cut anywhere", input_may_be_cut_anywhere, 20},
      {"what is owed goes first", what_is_owed_goes_first, 20},
      {"it may move at any byte", it_may_move_at_any_byte, 20},
      {"the request-timeout is the protocol's", the_request_timeout_is_the_protocols, 20})
