/*
 * Subscribers that come back with a position, and what may happen to them until they are up to
 * date: each test shows one place where something could be lost, told wrongly, or last for ever.
 */
#include "tests/sim/pubsub/subscribers.h"

static struct world_setting setting = SETTING_USUAL;

/* ---- what clients do ---- */

static void begin(void)
{
	memset(&sums, 0, sizeof sums);
	all_open(&setting);
}

static void run_for(uint32_t ms)
{
	for (; ms; ms--) {
		for (unsigned w = 0; w < WORKERS; w++)
			for (int i = 0; i < 4; i++)
				worker_pass(w);
		for (unsigned i = 0; i < clients_n; i++)
			if (!clients[i].deaf && !clients[i].was_reset)
				client_hear(&clients[i], SIZE_MAX);
		kernel_advance(1);
	}
}

static void say(struct client *client, const char *command, const char *topic)
{
	char line[300];
	int n = snprintf(line, sizeof line, "%s %s\n", command, topic);

	peer_send(client->peer, line, (size_t)n);
	run_for(3);
}

static void publish(struct client *client, const char *topic, uint32_t size, unsigned n)
{
	char line[300];

	for (; n; n--) {
		int length = snprintf(line, sizeof line, "P %s %u\n", topic, size);

		peer_send(client->peer, line, (size_t)length);
		if (n % 50 == 0)
			run_for(2);
	}
	run_for(20);
}

static struct hearing *hearing_of(const struct client *client, unsigned t)
{
	unsigned epoch = epochs_of[client - clients][t];

	EXPECT(epoch);
	return &hearings[epoch];
}

/* Has it heard all of this topic, but its own? */
static void expect_all(const struct client *client, unsigned t)
{
	struct hearing *hearing = hearing_of(client, t);

	while (hearing->next < topic_models[t].n &&
	       is_silent(hearing, &topic_models[t].records[hearing->next]))
		hearing->next++;
	ck_assert_uint_eq(hearing->next, topic_models[t].n);
}

static void end(void)
{
	for (unsigned i = 0; i < clients_n; i++) {
		clients[i].deaf = false;
		clients[i].peer->space = PEER_SPACE;
		if (!clients[i].peer->closed)
			peer_finish(clients[i].peer);
	}
	run_for(3000);
	all_close();
}

#define NAME(t) topic_models[t].name

/* ---- coming back ---- */

/* Nothing is copied for it ahead of what it reads; then it is given what is new, without a seam. */
START_TEST(one_that_comes_back_is_fed_at_its_own_pace)
{
	struct client *speaker, *reader;
	struct pool *chunks = &workers[1].table.buffers.chunks;
	uint64_t replayed;

	begin();
	speaker = client_new(0, 0);
	say(speaker, "N", NAME(10));
	publish(speaker, NAME(10), 3000, 200);
	reader = client_new(1, 0);
	reader->deaf = true;
	reader->peer->space = 5000;
	say(reader, "I 1 0", NAME(10));
	run_for(50);
	ck_assert_uint_le(chunks->used, 4);
	ck_assert_uint_le(workers[1].stats.queued_bytes, CHUNK_BYTES + 3100);
	reader->deaf = false;
	for (int i = 0; i < 600; i++) {
		run_for(1);
		ck_assert_uint_le(chunks->used, 4);
		if (i % 20 == 0)
			publish(speaker, NAME(10), 100, 1);
	}
	expect_all(reader, 10);
	replayed = workers[1].stats.replayed;
	ck_assert_uint_ge(replayed, 200);
	publish(speaker, NAME(10), 100, 50);
	expect_all(reader, 10);
	ck_assert_uint_eq(workers[1].stats.replayed, replayed); /* it is up to date */
	end();
}
END_TEST

/* What it has missed is told with the right count, even if nothing of its topic is left. */
START_TEST(what_is_gone_is_told)
{
	struct client *speaker, *reader;

	begin();
	speaker = client_new(0, 0);
	reader = client_new(1, 0);
	say(speaker, "N", NAME(10));
	say(speaker, "N", NAME(11));
	publish(speaker, NAME(10), 10, 5);
	say(reader, "I 2 1", NAME(10)); /* nothing of it was lost yet */
	ck_assert_uint_eq(sums.gaps, 0);
	expect_all(reader, 10);
	say(reader, "U", NAME(10));
	publish(speaker, NAME(10), 10, 5);
	publish(speaker, NAME(11), 10, 5);
	journal_raise_floor(&journal, topic_models[10].records[7].id);
	say(reader, "I 2 1",
	    NAME(10)); /* a number that was never one of it: nobody knows how many */
	ck_assert_uint_eq(sums.gaps, 1);
	ck_assert_uint_eq(sums.lost, 6);
	expect_all(reader, 10);
	say(reader, "U", NAME(10));
	{
		char since[60];

		(void)snprintf(since, sizeof since, "I %llu %llu",
			       (unsigned long long)topic_models[10].records[3].id + 1,
			       (unsigned long long)topic_models[10].records[3].number);
		say(reader, since, NAME(10));
		ck_assert_uint_eq(sums.gaps, 2);
		ck_assert_uint_eq(sums.lost, 6 + 3);
		expect_all(reader, 10);
		say(reader, "U", NAME(10));
		journal_raise_floor(&journal, journal_end(&journal));
		say(reader, since, NAME(10));
	}
	ck_assert_uint_eq(sums.gaps, 3); /* at once: no record has to come for that */
	ck_assert_uint_eq(sums.lost, 6 + 3 + 6);
	publish(speaker, NAME(10), 10, 1);
	expect_all(reader, 10);
	ck_assert_uint_eq(sums.gaps, 3);
	end();
}
END_TEST

static void publish_at_once(unsigned w, const char *topic, unsigned n)
{
	struct topics *topics = &workers[w].delivery.topics;
	struct journal_message message = {.name = {(void *)(uintptr_t)topic, strlen(topic)},
					  .payload = {{(void *)(uintptr_t) "x", 1}}};

	for (; n; n--) {
		uint64_t id;

		EXPECT(topics_publish(topics, &message, &id) == 0);
	}
}

/* Between what it had and the next record there may be more than is looked at in a turn. */
START_TEST(a_gap_before_a_long_stretch_of_others_has_an_end)
{
	struct client *speaker, *reader;
	static const unsigned others[] = {11, 1}; /* the second one's hash looks like topic 0's */

	setting.history = 64 * JOURNAL_HISTORY_MIN;
	begin();
	speaker = client_new(0, 0);
	reader = client_new(1, 0);
	say(speaker, "N", NAME(0));
	for (unsigned i = 0; i < 2; i++) {
		publish(speaker, NAME(0), 10, 5);
		journal_raise_floor(&journal, journal_end(&journal));
		publish_at_once(0, NAME(others[i]), i ? 3000 : 200000);
		publish(speaker, NAME(0), 10, 5);
		say(reader, "I 2 0", NAME(0));
		run_for(20);
		expect_all(reader, 0);
		say(reader, "U", NAME(0));
		ck_assert_uint_eq(sums.gaps, 1 + i);
	}
	end();
}
END_TEST

/* One that has said nearly all of a topic itself does not go through all of that in one turn. */
START_TEST(own_records_are_passed_in_many_turns)
{
	struct client *speaker, *other;
	struct subscription *subscription;
	uint64_t passes = 0;

	setting.history = 16 * JOURNAL_HISTORY_MIN;
	begin();
	speaker = client_new(0, 0);
	other = client_new(1, 0);
	say(other, "N", NAME(10));
	say(speaker, "N", NAME(10));
	publish(speaker, NAME(10), 1, 5000);
	subscription = pool_next(&workers[0].delivery.subscriptions.pool, &(size_t){0});
	EXPECT(subscription && subscription->sender);
	subscription->position = 1;
	subscription_fall_behind(subscription);
	while (subscription->behind) {
		uint64_t before = subscription->position;

		worker_pass(0);
		ck_assert_uint_le(subscription->position - before, 1000);
		ck_assert_uint_lt(passes++, 100);
	}
	publish(other, NAME(10), 10, 3);
	expect_all(speaker, 10);
	end();
}
END_TEST

/* ---- ends ---- */

/* A peer that has ended its side gets all that there is, and then the end. */
START_TEST(a_peer_that_half_closes_gets_all_and_the_end)
{
	struct client *speaker, *reader;

	begin();
	speaker = client_new(0, 0);
	say(speaker, "N", NAME(10));
	publish(speaker, NAME(10), 1000, 300);
	reader = client_new(1, 0);
	reader->peer->space = 2000;
	say(reader, "I 1 0", NAME(10));
	ck_assert_uint_lt(hearing_of(reader, 10)->next, 250);
	peer_finish(reader->peer);
	publish(speaker, NAME(10), 1000, 10);
	run_for(1000);
	ck_assert(reader->peer->closed);
	ck_assert_int_eq(reader->reason, CLOSE_eof);
	expect_all(reader, 10);
	end();
}
END_TEST

/* One that is reset while it is behind leaves nothing behind. */
START_TEST(a_peer_that_goes_while_it_is_behind_leaves_nothing)
{
	struct client *speaker, *reader;

	begin();
	speaker = client_new(0, 0);
	say(speaker, "N", NAME(10));
	publish(speaker, NAME(10), 1000, 300);
	reader = client_new(1, 0);
	reader->deaf = true;
	reader->peer->space = 2000;
	say(reader, "I 1 0", NAME(10));
	reader->was_reset = true;
	peer_reset(reader->peer);
	run_for(10);
	ck_assert(reader->peer->closed);
	end();
}
END_TEST

static void drain_all(void)
{
	for (unsigned w = 0; w < WORKERS; w++) {
		delivery_drain(&workers[w].delivery, false);
		conn_table_drain(&workers[w].table);
		delivery_close_doors(&workers[w].delivery);
	}
}

/* In a drain those that are behind get all first. One that subscribes to nothing ends, too, and
 * what it says of what had come by then is heard. */
START_TEST(a_drain_waits_for_those_that_are_behind)
{
	struct client *speaker, *reader, *idle, *late;
	char line[2 * JOURNAL_TOPIC_MAX + 20];

	begin();
	speaker = client_new(0, 0);
	say(speaker, "N", NAME(10));
	publish(speaker, NAME(10), 1000, 300);
	run_for(500);
	reader = client_new(1, 0);
	reader->peer->space = 2000;
	say(reader, "I 1 0", NAME(10));
	idle = client_new(2, 0);
	late = client_new(2, 0);
	run_for(1);
	ck_assert_uint_lt(hearing_of(reader, 10)->next, 250);
	(void)snprintf(line, sizeof line, "N %s\nP %s 77\n", NAME(10), NAME(10));
	for (int i = 0; i < 3000; i++) /* so that it takes some turns to come to that */
		peer_text(late->peer, "\n");
	peer_text(late->peer, line);
	drain_all();
	/* Two of the workers are ready to end before the third one has a turn. */
	for (int i = 0; i < 20; i++) {
		worker_pass(0);
		worker_pass(1);
	}
	for (int i = 0; i < 20; i++)
		for (unsigned w = 0; w < WORKERS; w++)
			worker_pass((w + 2) % WORKERS);
	run_for(500);
	for (unsigned i = 0; i < clients_n; i++) {
		ck_assert(clients[i].peer->closed);
		ck_assert_int_eq(clients[i].reason, CLOSE_drained);
	}
	ck_assert_uint_eq(topic_models[10].n, 301);
	expect_all(reader, 10);
	expect_all(speaker, 10);
	ck_assert_uint_eq(idle->peer->received, 0);
	end();
}
END_TEST

/* ---- buffers ---- */

static struct chunk *hoard[4096];

/* One that can't be sent a long record for want of buffers ends, and nobody touches what is gone.
 */
START_TEST(one_that_ends_while_it_is_fed_is_left_alone)
{
	struct buffers *buffers = &workers[1].table.buffers;
	struct client *speaker, *reader;
	char lines[2 * JOURNAL_TOPIC_MAX + 20];
	unsigned n = 0;

	setting.buffers = BUFFERS_MIN;
	begin();
	speaker = client_new(0, 0);
	say(speaker, "N", NAME(10));
	say(speaker, "N", NAME(11));
	publish(speaker, NAME(11), 700, 11); /* of a turn's budget, that leaves very little */
	publish(speaker, NAME(11), SIZE_MOST, 1);
	publish(speaker, NAME(10), 10, 3);
	reader = client_new(1, 1);
	reader->deaf = true;
	reader->peer->space = 1000;
	while (pool_free(&buffers->chunks) > 8)
		hoard[n++] = chunk_new(buffers);
	(void)snprintf(lines, sizeof lines, "I 1 0 %s\nI 1 0 %s\n", NAME(10), NAME(11));
	peer_text(reader->peer, lines);
	run_for(50);
	ck_assert_int_eq(reader->reason, CLOSE_no_buffers);
	while (n)
		chunk_release(buffers, hoard[--n]);
	end();
}
END_TEST

/* Others that read are not closed because a long record goes to many that read slowly. */
START_TEST(a_long_record_to_many_slow_readers_closes_nobody)
{
	struct client *speaker, *readers[40];

	setting.buffers = 4 * BUFFERS_MIN;
	begin();
	speaker = client_new(0, 0);
	say(speaker, "N", NAME(10));
	for (unsigned i = 0; i < 40; i++) {
		readers[i] = client_new(1, 1);
		readers[i]->peer->space = 3000;
		say(readers[i], "N", NAME(10));
	}
	publish(speaker, NAME(10), SIZE_MOST, 5);
	publish(speaker, NAME(10), 10, 5);
	for (int i = 0; i < 40; i++)
		run_for(50);
	for (unsigned i = 0; i < 40; i++) {
		ck_assert(!readers[i]->peer->closed);
		expect_all(readers[i], 10);
	}
	end();
}
END_TEST

/* ---- in the middle of a batch ---- */

/* Members leave, come, and come in another format while a batch goes round, one at a time. */
START_TEST(members_change_in_the_middle_of_a_batch)
{
	struct client *speaker, *readers[6];

	setting.turn_members = 1;
	begin();
	speaker = client_new(0, 0);
	say(speaker, "N", NAME(10));
	for (unsigned round = 0; round < 200; round++) {
		unsigned n = 1 + round % 6;

		for (unsigned i = 0; i < n; i++) {
			readers[i] = client_new(1, round % 3 == 2);
			say(readers[i], "N", NAME(10));
		}
		for (unsigned i = 0; i < 10; i++) {
			char line[300];

			(void)snprintf(line, sizeof line, "P %s %u\n", NAME(10), i * 30);
			peer_text(speaker->peer, line);
		}
		worker_pass(0);
		for (unsigned i = 0; i < round / 6 % 6; i++)
			worker_pass(1);
		for (unsigned i = 0; i < n; i++) { /* all leave, in any order */
			char line[300];

			(void)snprintf(line, sizeof line, "U %s\n", NAME(10));
			peer_text(readers[(i + round) % n]->peer, line);
			if (round % 2)
				worker_pass(1);
		}
		if (round % 4 == 3) { /* and one is back before the batch has ended */
			say(readers[0], "L 3", NAME(10));
			run_for(5);
			expect_all(readers[0], 10);
		}
		run_for(5);
		for (unsigned i = 0; i < n; i++)
			peer_finish(readers[i]->peer);
		run_for(5);
		for (unsigned i = 1; i < clients_n; i++) {
			ck_assert(clients[i].peer->closed);
			ck_assert_int_eq(clients[i].reason, CLOSE_eof);
			free(clients[i].heard.at);
		}
		clients_n = 1;
		memset(epochs_of + 1, 0, sizeof epochs_of - sizeof *epochs_of);
	}
	end();
}
END_TEST

SUITE("sim_replay",
      {"one that comes back is fed at its own pace", one_that_comes_back_is_fed_at_its_own_pace,
       30},
      {"what is gone is told", what_is_gone_is_told, 30},
      {"a gap before a long stretch of others has an end",
       a_gap_before_a_long_stretch_of_others_has_an_end, 30},
      {"own records are passed in many turns", own_records_are_passed_in_many_turns, 30},
      {"a peer that half-closes gets all, and the end",
       a_peer_that_half_closes_gets_all_and_the_end, 30},
      {"a peer that goes while it is behind leaves nothing",
       a_peer_that_goes_while_it_is_behind_leaves_nothing, 30},
      {"a drain waits for those that are behind", a_drain_waits_for_those_that_are_behind, 30},
      {"one that ends while it is fed is left alone", one_that_ends_while_it_is_fed_is_left_alone,
       30},
      {"a long record to many slow readers closes nobody",
       a_long_record_to_many_slow_readers_closes_nobody, 30},
      {"members change in the middle of a batch", members_change_in_the_middle_of_a_batch, 30})
