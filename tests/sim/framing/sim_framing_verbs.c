/*
 * What a protocol that speaks in messages does between two of them, on a simulated kernel: it may
 * pause, end, turn into another protocol, wait for its timer, and be drained, as any other may.
 */
#include "tests/sim/framing/framing_protocols.h"

START_TEST(it_may_pause_between_two)
{
	for (int p = 0; p < 2; p++) {
		struct peer *peer = begin(both[p]);

		in.n = 0;
		text_in(&in, both[p], "wait");
		text_in(&in, both[p], "later");
		text_in(&in, both[p], "plus");
		text_in(&in, both[p], "two");
		peer_send(peer, in.bytes, in.n);
		sim_move_run(&move);
		ck_assert_uint_eq(inner_calls.delivered, 1);
		resume(peer);
		sim_move_run(&move);
		ck_assert_uint_eq(inner_calls.delivered, 1);
		ck_assert_uint_eq(inner_calls.refused, 1);
		peer->space = peer->out.n; /* it takes nothing more: nothing can be produced */
		resume(peer);
		sim_move_run(&move);
		ck_assert_uint_eq(inner_calls.delivered, 3);
		take(peer, PEER_SPACE);
		ck_assert_uint_eq(inner_calls.delivered, 4);
		peer_finish(peer);
		take(peer, PEER_SPACE);
		end_with(peer, CLOSE_eof);
	}
}
END_TEST

/* However much stands behind the message that it ends with. */
START_TEST(it_may_end_in_the_middle)
{
	for (int p = 0; p < 2; p++) {
		size_t least;

		in.n = out.n = 0;
		text_in(&in, both[p], "one");
		text_in(&in, both[p], "x");
		least = in.n;
		text_in(&in, both[p], "two");
		text_in(&in, both[p], "three");
		text_out(&out, both[p], "ONE");
		text_out(&out, both[p], "bye");
		for (size_t n = least; n <= in.n; n++) {
			struct peer *peer = begin(both[p]);

			peer_send(peer, in.bytes, n);
			take(peer, PEER_SPACE);
			expect_got();
			EXPECT(inner_calls.delivered == 2 && inner_calls.closed == 1);
			EXPECT(move.worlds[0].stats.messages_sent == 2);
			end_with(peer, CLOSE_finished);
		}
	}
}
END_TEST

START_TEST(its_framing_may_end_it)
{
	struct peer *peer = begin(&framed);

	peer_text(peer, "P1QP2");
	take(peer, PEER_SPACE);
	ck_assert_uint_eq(got.n, 2);
	ck_assert_uint_eq(inner_calls.delivered, 0);
	end_with(peer, CLOSE_finished);
}
END_TEST

START_TEST(it_may_turn_into_another_protocol)
{
	for (int p = 0; p < 2; p++) {
		in.n = out.n = 0;
		text_in(&in, both[p], "one");
		text_in(&in, both[p], "switch");
		text_add(&in, "hello\nworld\n", 12);
		text_out(&out, both[p], "ONE");
		text_out(&out, both[p], "ok");
		text_add(&out, "hello\nworld\n", 12);
		for (size_t cut = 0; cut <= in.n; cut++)
			for (int moves = 0; moves < 2; moves++) {
				struct peer *peer = begin(both[p]);

				peer_send(peer, in.bytes, cut);
				sim_move_run(&move);
				if (moves)
					EXPECT(sim_move_move(&move, peer));
				peer_send(peer, in.bytes + cut, in.n - cut);
				peer_finish(peer);
				take(peer, PEER_SPACE);
				expect_got();
				EXPECT(inner_calls.delivered == 2);
				end_with(peer, CLOSE_eof);
			}
	}
}
END_TEST

START_TEST(another_protocol_may_turn_into_it)
{
	for (int p = 0; p < 2; p++) {
		script(both[p]);
		memmove(in.bytes + 2, in.bytes, in.n);
		memcpy(in.bytes, p ? "f\n" : "n\n", 2);
		in.n += 2;
		for (size_t cut = 0; cut <= in.n; cut++)
			for (int moves = 0; moves < 2; moves++) {
				struct peer *peer = begin(&door);

				peer_send(peer, in.bytes, cut);
				sim_move_run(&move);
				if (moves)
					EXPECT(sim_move_move(&move, peer));
				peer_send(peer, in.bytes + cut, in.n - cut);
				take(peer, PEER_SPACE);
				peer_finish(peer);
				take(peer, PEER_SPACE);
				expect_got();
				EXPECT(inner_calls.opened == 1);
				end_with(peer, CLOSE_eof);
			}
	}
}
END_TEST

START_TEST(its_timer_speaks_in_messages)
{
	for (int p = 0; p < 2; p++) {
		struct peer *peer = begin(both[p]);

		in.n = out.n = 0;
		text_in(&in, both[p], "t");
		text_out(&out, both[p], "T");
		text_out(&out, both[p], "tick");
		text_in(&in, both[p], "half of it");
		peer_send(peer, in.bytes, in.n - 5); /* in the middle of the next */
		sim_move_run(&move);
		ck_assert(sim_move_move(&move, peer));
		sim_move_wait(&move, 10);
		take(peer, PEER_SPACE);
		expect_got();
		peer_send(peer, in.bytes + in.n - 5, 5);
		text_out(&out, both[p], "HALF OF IT");
		take(peer, PEER_SPACE);
		expect_got();
		peer_finish(peer);
		take(peer, PEER_SPACE);
		end_with(peer, CLOSE_eof);
	}
}
END_TEST

/* One that has begun, however little of it is kept, has its time; between two there is none. */
START_TEST(a_message_under_way_has_a_deadline)
{
	for (int p = 0; p < 2; p++) {
		in.n = 0;
		text_in(&in, both[p], "hello");
		for (size_t n = 0; n <= in.n; n++) {
			bool under_way = n && n < in.n;
			struct peer *peer = begin_with(
			    both[p], (struct conn_limits){WORLD_LIMITS, .request_ms = 1000});

			if (p)
				peer_text(peer, "P.");
			peer_send(peer, in.bytes, n);
			sim_move_run(&move);
			sim_move_wait(&move, 999);
			EXPECT(!peer->closed);
			sim_move_wait(&move, 1);
			EXPECT(peer->closed == under_way);
			if (!under_way)
				peer_finish(peer);
			take(peer, PEER_SPACE);
			end_with(peer, under_way ? CLOSE_request_timeout : CLOSE_eof);
		}
	}
}
END_TEST

/* What has come before a drain is served, as far as it is whole. */
START_TEST(a_drain_serves_what_has_come)
{
	for (int p = 0; p < 2; p++) {
		struct peer *peer = begin(both[p]);

		in.n = out.n = 0;
		text_in(&in, both[p], "one");
		text_in(&in, both[p], "later");
		text_in(&in, both[p], "three");
		text_in(&in, both[p], "not whole");
		text_out(&out, both[p], "ONE");
		text_out(&out, both[p], "LATER");
		text_out(&out, both[p], "THREE");
		peer_send(peer, in.bytes, in.n - 2);
		conn_table_drain(&move.worlds[0].table);
		take(peer, PEER_SPACE);
		expect_got();
		end_with(peer, CLOSE_drained);
	}
}
END_TEST

SUITE("sim_framing_verbs", {"it may pause between two", it_may_pause_between_two, 10},
      {"it may end in the middle", it_may_end_in_the_middle, 10},
      {"its framing may end it", its_framing_may_end_it, 10},
      {"it may turn into another protocol", it_may_turn_into_another_protocol, 20},
      {"another protocol may turn into it", another_protocol_may_turn_into_it, 20},
      {"its timer speaks in messages", its_timer_speaks_in_messages, 10},
      {"a message under way has a deadline", a_message_under_way_has_a_deadline, 30},
      {"a drain serves what has come", a_drain_serves_what_has_come, 10})
