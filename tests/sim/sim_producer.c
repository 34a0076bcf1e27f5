/*
 * Connections that have been asked and owe an answer that comes later, on a simulated kernel: woken
 * from anywhere, left by their peers, and at the end of the process. The protocol is the test's: a
 * line is a request, and what it says then is what the test put there.
 *
 * It can't see what a real unix socket reports when its peer closes: check_control_owner does.
 */
#include "tests/support/sim/kernel.h"

static struct world world;
static const char *words; /* to be said; "": nothing for now; NULL: it is over */
static bool wakes;	  /* in its own turn, each time it is asked */
static unsigned asked, closed;

static size_t producer_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	if (bytes[n - 1] != '\n')
		return 0;
	conn_produce(conn, true);
	return n;
}

static void producer_produce(struct conn *conn)
{
	asked++;
	if (wakes)
		conn_wake(conn);
	if (!words) {
		conn_finish(conn, CLOSE_finished);
		return;
	}
	conn_send(conn, words, strlen(words));
	words = "";
}

static void producer_ended(struct conn *conn)
{
	if (conn_offered_before(conn))
		conn_send(conn, "half\n", 5);
}

static void producer_close(struct conn *conn)
{
	(void)conn;
	closed++;
}

static const struct protocol producer = {
    .name = "producer",
    .input = producer_input,
    .produce = producer_produce,
    .ended = producer_ended,
    .close = producer_close,
};

static struct peer *begin(const char *request)
{
	struct peer *peer;

	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	world.service.protocol = &producer;
	words = "";
	asked = closed = 0;
	wakes = false;
	peer = world_connect(&world);
	peer_text(peer, request);
	world_run(&world);
	return peer;
}

static void end_with(struct peer *peer, enum close_reason reason)
{
	ck_assert(peer->closed);
	ck_assert_uint_eq(closed, 1);
	ck_assert_uint_eq(world.stats.closed[reason], 1);
	world_close(&world);
}

START_TEST(one_that_is_woken_says_more)
{
	struct peer *peer = begin("ask\n");
	unsigned before = asked;

	words = "one\n";
	world_run(&world);
	ck_assert_uint_eq(asked, before); /* nobody told it */
	conn_wake(world_conn(&world, peer));
	world_run(&world);
	peer_expect(peer, "one\n", 4);
	words = NULL;
	conn_wake(world_conn(&world, peer));
	world_run(&world);
	end_with(peer, CLOSE_finished);
}
END_TEST

/* Then it is queued when it ends: its memory must stay until its next turn. */
START_TEST(one_may_wake_itself_and_end)
{
	struct peer *peer = begin("ask\n");

	wakes = true;
	words = NULL;
	conn_wake(world_conn(&world, peer));
	world_pass(&world);
	ck_assert_uint_eq(world.table.conns.used, 1);
	world_run(&world);
	end_with(peer, CLOSE_finished);
}
END_TEST

START_TEST(one_may_abort_itself)
{
	struct peer *peer = begin("ask\n");
	struct conn *conn = world_conn(&world, peer);

	wakes = true;
	words = "more\n";
	conn_wake(conn);
	conn_abort(conn, CLOSE_overload);
	world_run(&world);
	end_with(peer, CLOSE_overload);
}
END_TEST

START_TEST(a_peer_that_hangs_up_is_not_waited_for)
{
	struct peer *peer = begin("ask\n");

	peer_hang_up(peer);
	world_run(&world);
	end_with(peer, CLOSE_reset);
	/* Also if it said all in one, and went before anybody looked. */
	peer = begin("");
	peer_text(peer, "ask\n");
	peer_hang_up(peer);
	world_run(&world);
	ck_assert_uint_eq(asked, 1);
	end_with(peer, CLOSE_reset);
}
END_TEST

START_TEST(a_peer_that_ended_its_side_is_answered)
{
	struct peer *peer = begin("ask\n");

	peer_finish(peer);
	world_run(&world);
	ck_assert(!peer->closed);
	words = "late\n";
	conn_wake(world_conn(&world, peer));
	world_run(&world);
	peer_expect(peer, "late\n", 5);
	words = NULL;
	conn_wake(world_conn(&world, peer));
	world_run(&world);
	end_with(peer, CLOSE_finished);
}
END_TEST

START_TEST(half_a_message_has_a_last_word)
{
	struct peer *peer = begin("as");

	peer_finish(peer);
	world_run(&world);
	peer_expect(peer, "half\n", 5);
	end_with(peer, CLOSE_truncated);
	/* Nothing is no half. */
	peer = begin("");
	peer_finish(peer);
	world_run(&world);
	peer_expect(peer, "", 0);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* What the kernel takes at once; the rest goes with the process. */
START_TEST(the_last_words_go_without_a_turn)
{
	struct peer *peer = begin("ask\n");

	words = "good";
	conn_table_flush(&world.table);
	peer_expect(peer, "good", 4);
	peer->space = 2;
	words = "bye\n";
	conn_table_flush(&world.table);
	peer_expect(peer, "by", 2);
	conn_table_flush(&world.table); /* nobody has told it that there is space again */
	peer_expect(peer, "", 0);
	conn_table_close(&world.table);
	ck_assert(peer->closed);
	ck_assert_uint_eq(closed, 1);
	loop_close(&world.loop);
	kernel_end();
}
END_TEST

/* Two that resume each other would never rest. */
START_TEST(resuming_one_that_is_not_paused_does_nothing)
{
	struct peer *peer = begin("ask\n");
	struct conn *conn = world_conn(&world, peer);

	conn_resume_input(conn);
	ck_assert(!conn->source.queued);
	words = NULL;
	conn_wake(conn);
	world_run(&world);
	end_with(peer, CLOSE_finished);
}
END_TEST

SUITE("sim_producer", {"one that is woken says more", one_that_is_woken_says_more, 10},
      {"one may wake itself, and end", one_may_wake_itself_and_end, 10},
      {"resuming one that is not paused does nothing", resuming_one_that_is_not_paused_does_nothing,
       10},
      {"one may abort itself", one_may_abort_itself, 10},
      {"a peer that hangs up is not waited for", a_peer_that_hangs_up_is_not_waited_for, 10},
      {"a peer that ended its side is answered", a_peer_that_ended_its_side_is_answered, 10},
      {"half a message has a last word", half_a_message_has_a_last_word, 10},
      {"the last words go without a turn", the_last_words_go_without_a_turn, 10})
