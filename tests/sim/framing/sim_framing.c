/*
 * Protocols that speak in messages, on a simulated kernel: one inner protocol in two framings, cut
 * and moved to another process at every byte, with bounds for how much it may be in a turn, and for
 * how long a message may be. What is expected is put together here, not by the framings.
 */
#include "tests/sim/framing/framing_protocols.h"

/* ---- how it comes and goes ---- */

START_TEST(input_may_be_cut_anywhere)
{
	static const unsigned delivered[] = {7, 9};

	for (unsigned p = 0; p < 2; p++)
		for (size_t space = 1; space <= PEER_SPACE; space += PEER_SPACE - 1) {
			script(both[p]);
			for (size_t cut = 0; cut <= in.n; cut++) {
				struct peer *peer = begin(both[p]);

				peer->space = space;
				peer_send(peer, in.bytes, cut);
				take(peer, space);
				peer_send(peer, in.bytes + cut, in.n - cut);
				take(peer, space);
				EXPECT(inner_calls.delivered == delivered[p]);
				EXPECT(inner_calls.refused == p + 2u);
				peer_finish(peer);
				take(peer, space);
				expect_got();
				EXPECT(inner_calls.opened == 1 && inner_calls.closed == 1);
				EXPECT(move.worlds[0].stats.messages == delivered[p] + p);
				EXPECT(move.worlds[0].stats.messages_sent == delivered[p] + 3);
				end_with(peer, CLOSE_eof);
			}
		}
}
END_TEST

START_TEST(it_may_come_byte_by_byte)
{
	for (int p = 0; p < 2; p++) {
		struct peer *peer = begin(both[p]);

		script(both[p]);
		peer->space = 3;
		for (size_t i = 0; i < in.n; i++) {
			peer_send(peer, in.bytes + i, 1);
			take(peer, 1);
		}
		peer_finish(peer);
		take(peer, 1);
		expect_got();
		end_with(peer, CLOSE_eof);
	}
}
END_TEST

/* Whether it has had a turn before it goes, or not, and whether its peer takes anything. */
START_TEST(it_may_move_at_any_byte)
{
	for (int p = 0; p < 2; p++) {
		script(both[p]);
		for (size_t cut = 0; cut <= in.n; cut++)
			for (int way = 0; way < 4; way++) {
				struct peer *peer = begin(both[p]);

				peer->space = way & 2 ? 1 : PEER_SPACE;
				peer_send(peer, in.bytes, cut);
				if (way & 1)
					sim_move_run(&move);
				EXPECT(sim_move_move(&move, peer));
				peer_send(peer, in.bytes + cut, in.n - cut);
				take(peer, PEER_SPACE);
				EXPECT(sim_move_move(&move, peer));
				peer_finish(peer);
				take(peer, PEER_SPACE);
				expect_got();
				EXPECT(inner_calls.opened == 1);
				end_with(peer, CLOSE_eof);
			}
	}
}
END_TEST

/* Another process says what its framing keeps: not all of it can be. */
START_TEST(both_states_are_looked_at)
{
	struct peer *peer = begin(&framed);
	struct frame_state wrong = {.length = 5, .clear = 6, .step = AT_BYTES};
	struct conn *conn;
	struct load load;

	in.n = 0;
	text_in(&in, &framed, "hello");
	peer_send(peer, in.bytes, 6);
	sim_move_run(&move);
	conn = world_conn(&move.worlds[0], peer);
	ck_assert(conn_freeze(conn));
	load_take(&load, conn, peer);
	memcpy(load.snapshot.state + CONN_STATE_BYTES - sizeof wrong, &wrong, sizeof wrong);
	ck_assert(!load_leave(&load, &services[1][1]));
	conn_thaw(conn);
	ck_assert(sim_move_move(&move, peer));
	peer_finish(peer);
	sim_move_run(&move);
	peer_expect(peer, "M\0\3end", 6);
	end_with(peer, CLOSE_truncated);
	/* To a process whose framing keeps something else nothing goes. */
	ck_assert_uint_ne(protocol_state_bytes(&net), protocol_state_bytes(&framed));
	ck_assert_uint_eq(protocol_state_bytes(&line_protocol), line_protocol.state_bytes);
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_turn_has_its_budget)
{
	struct peer *peer = begin(&net);

	in.n = out.n = 0;
	for (int i = 0; i < 3000; i++) {
		text_in(&in, &net, "a");
		text_out(&out, &net, "A");
	}
	peer_send(peer, in.bytes, in.n);
	for (unsigned i = 1; i < 3; i++) {
		world_pass(&move.worlds[0]);
		ck_assert_uint_eq(inner_calls.delivered, i * CONN_TURN_MESSAGES);
	}
	take(peer, PEER_SPACE);
	expect_got();
	ck_assert_uint_eq(move.worlds[0].stats.messages, 3000);
	ck_assert_uint_gt(move.worlds[0].stats.budget_yields, 0);
	peer_finish(peer);
	sim_move_run(&move);
	peer_expect(peer, "3:end,", 6);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* Pings are no messages of the protocol's, but take as long. */
START_TEST(what_is_no_message_has_it_too)
{
	struct peer *peer = begin(&framed);

	for (int i = 0; i < 3000; i++)
		peer_text(peer, "P.");
	world_pass(&move.worlds[0]);
	ck_assert_uint_eq(peer->out.n, 2u * CONN_TURN_MESSAGES);
	take(peer, PEER_SPACE);
	ck_assert_uint_eq(got.n, 6000);
	ck_assert_uint_eq(inner_calls.delivered, 0);
	peer_finish(peer);
	take(peer, PEER_SPACE);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* The most that is contiguous: a message with all that cut() leaves is a chunk. */
START_TEST(the_most_bytes_fit_and_one_more_does_not)
{
	static unsigned char large[CHUNK_BYTES + 1];

	memset(large, 'A', sizeof large);
	for (size_t more = 0; more < 2; more++)
		for (int p = 0; p < 2; p++)
			for (size_t cut = 0; cut < 9; cut++) {
				/* A netstring's five digits, colon and comma are left, too. */
				size_t most = p ? CHUNK_BYTES : CHUNK_BYTES - 7, at;
				struct peer *peer = begin(both[p]);

				in.n = out.n = 0;
				text_message(&in, both[p], large, most + more, 0, true);
				text_message(&out, both[p], large, most, 0, false);
				text_out(&out, both[p], "end");
				at = cut < 8 ? cut : in.n - 1;
				peer_send(peer, in.bytes, at);
				sim_move_run(&move);
				peer_send(peer, in.bytes + at, in.n - at);
				if (!more)
					peer_finish(peer);
				take(peer, PEER_SPACE);
				if (!more)
					expect_got();
				else
					ck_assert_uint_eq(got.n, 0);
				sim_move_wait(&move, more ? 3000 : 0); /* what is unread */
				end_with(peer, !more ? CLOSE_eof
					       : p   ? reason_of(TOO_LONG)
						     : CLOSE_input_too_long);
			}
}
END_TEST

/* By its length alone: nothing is kept of it. */
START_TEST(a_length_is_checked_before_it_is_trusted)
{
	for (int p = 0; p < 2; p++)
		for (unsigned most = 3; most < 5; most++) {
			struct peer *peer = begin(both[p]);

			move.worlds[0].service.settings[FRAMING_SETTING(MOST)] = most;
			peer_send(peer, p ? "MK\0\4" : "4:", p ? 4 : 2);
			sim_move_run(&move);
			ck_assert_int_eq(peer->closed, most < 4);
			peer_finish(peer);
			take(peer, PEER_SPACE);
			end_with(peer, most < 4 ? reason_of(TOO_LONG) : CLOSE_truncated);
		}
}
END_TEST

START_TEST(malformed_ones_are_refused_after_what_was_good)
{
	static const char *const bad[2][5] = {{",", "x:", "123456:", "1:ab", "1 :a,"},
					      {"m", "A", "\n", "RP", "\x80"}};

	for (int p = 0; p < 2; p++)
		for (int i = 0; i < 5; i++) {
			struct peer *peer = begin(both[p]);

			in.n = out.n = 0;
			text_in(&in, both[p], "good");
			text_out(&out, both[p], "GOOD");
			text_add(&in, bad[p][i], strlen(bad[p][i]));
			peer_send(peer, in.bytes, in.n);
			take(peer, PEER_SPACE);
			expect_got();
			end_with(peer, reason_of(BAD));
		}
}
END_TEST

/* A peer that takes nothing stops it at high-water, and what it is owed comes in the end. */
START_TEST(a_peer_that_takes_nothing_is_not_read)
{
	struct peer *peer = begin_with(
	    &net, (struct conn_limits){.high_water = 1000, .low_water = 500, .connections_max = 4});
	unsigned before;

	in.n = out.n = 0;
	peer->space = 1;
	for (int i = 0; i < 1000; i++) {
		text_in(&in, &net, "message");
		text_out(&out, &net, "MESSAGE");
		peer_send(peer, in.bytes + in.n - 10, 10);
		sim_move_run(&move);
	}
	before = inner_calls.delivered;
	ck_assert_uint_lt(before, 1000);
	ck_assert_uint_eq(move.worlds[0].stats.backpressure_on, 1);
	take(peer, 1);
	expect_got();
	ck_assert_uint_eq(inner_calls.delivered, 1000);
	peer_finish(peer);
	take(peer, 1);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* ---- one for many ---- */

static void stream_frame(struct framed *to, struct message message)
{
	const unsigned char *line = message.bytes, *end = line + message.n;

	while (line < end) {
		const unsigned char *next = memchr(line, '\n', (size_t)(end - line));
		size_t n = next ? (size_t)(next - line) : (size_t)(end - line);

		framed_add(to, "data: ", 6);
		framed_payload(to, line, n);
		framed_add(to, "\n", 1);
		line += n + 1;
	}
	framed_add(to, "\n", 1);
}

START_TEST(a_message_for_many_is_framed_once)
{
	static const struct framing stream = {.frame = stream_frame};
	const struct framing *const framings[] = {&net_framing, &frame_framing, &stream};
	struct peer *peers[3] = {begin(&net)};
	struct buffers *buffers = &move.worlds[0].table.buffers;
	static unsigned char large[5000];

	peers[1] = world_connect(&move.worlds[0]);
	peers[2] = world_connect(&move.worlds[0]);
	memset(large, 'z', sizeof large);
	large[1000] = large[1001] = large[4000] = '\n';
	for (int f = 0; f < 3; f++) {
		struct message message = message_of(large, sizeof large);
		size_t n = framing_write(framings[f], message, NULL);
		struct chunk *chunk = chunk_new_for(buffers, n);

		out.n = 0;
		for (size_t at = 0, next; f == 2 && at < 5000; at = next + 1) {
			next = at == 0 ? 1000 : at == 1001 ? 1001 : at == 1002 ? 4000 : 5000;
			text_add(&out, "data: ", 6);
			text_add(&out, large + at, next - at);
			text_add(&out, "\n", 1);
		}
		if (f == 2)
			text_add(&out, "\n", 1);
		else
			text_message(&out, both[f], large, sizeof large, 0, false);
		ck_assert(chunk);
		ck_assert_uint_eq(n, out.n);
		chunk->used = (uint32_t)framing_write(framings[f], message, chunk->bytes);
		ck_assert_uint_eq(chunk->used, n);
		for (int i = 0; i < 3; i++)
			ck_assert(conn_share(world_conn(&move.worlds[0], peers[i]), chunk, 0,
					     chunk->used));
		chunk_release(buffers, chunk);
		sim_move_run(&move);
		for (int i = 0; i < 3; i++)
			peer_expect(peers[i], out.bytes, out.n);
	}
	for (int i = 0; i < 3; i++)
		peer_finish(peers[i]);
	sim_move_run(&move);
	ck_assert_uint_eq(move.worlds[0].stats.closed[CLOSE_eof], 3);
	sim_move_close(&move);
}
END_TEST

SUITE("sim_framing", {"input may be cut anywhere", input_may_be_cut_anywhere, 30},
      {"it may come byte by byte", it_may_come_byte_by_byte, 20},
      {"it may move at any byte", it_may_move_at_any_byte, 30},
      {"both states are looked at", both_states_are_looked_at, 10},
      {"a turn has its budget", a_turn_has_its_budget, 10},
      {"what is no message has it, too", what_is_no_message_has_it_too, 10},
      {"the most bytes fit, and one more does not", the_most_bytes_fit_and_one_more_does_not, 20},
      {"a length is checked before it is trusted", a_length_is_checked_before_it_is_trusted, 10},
      {"malformed ones are refused after what was good",
       malformed_ones_are_refused_after_what_was_good, 10},
      {"a peer that takes nothing is not read", a_peer_that_takes_nothing_is_not_read, 20},
      {"a message for many is framed once", a_message_for_many_is_framed_once, 10})
