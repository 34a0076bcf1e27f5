/*
 * Each error that a call may give, at every call of a scenario of topics on three workers, with
 * subscribers that come back, read slowly, half-close and are reset, and with records longer than a
 * chunk: all loops go on, and only the client whose call it was may lose something.
 *
 * What this can't see: side effects of a failing call in a real kernel.
 */
#include "tests/sim/pubsub/subscribers.h"

enum { SPEAKER, OTHER, WIDE, LATE, HALF, RESETS, CUSTOMERS };

static uint64_t baseline[CLOSE_REASONS_MAX];

static void say(struct client *client, const char *format, const char *topic, uint32_t size)
{
	char line[300];
	int n = snprintf(line, sizeof line, format, topic, size);

	if (client->peer->fd >= 0 && !client->peer->finished)
		peer_send(client->peer, line, (size_t)n);
}

static void pass_all(void)
{
	for (unsigned w = 0; w < WORKERS; w++)
		loop_pass(&workers[w].loop, 0);
	for (unsigned i = 0; i < clients_n; i++)
		if (!clients[i].was_reset && clients[i].peer != kernel.failed_peer)
			client_hear(&clients[i], SIZE_MAX);
	kernel_advance(1);
}

static void run_for(unsigned ms)
{
	while (ms--)
		pass_all();
}

static void finish(struct client *client)
{
	if (!client->peer->closed && !client->peer->finished && client->peer->fd >= 0)
		peer_finish(client->peer);
}

static void run_with_fault(enum kernel_call call, unsigned long k, int error)
{
	const char *one = topic_models[0].name, *two = topic_models[1].name;
	struct world_setting setting = SETTING_USUAL;

	setting.limits.write_ms = 3000;
	all_open(&setting);
	run_for(3);
	kernel_count_anew();
	if (error)
		kernel_fail(call, k, error);
	for (unsigned i = 0; i < CUSTOMERS; i++) {
		(void)client_new(i % WORKERS, i == WIDE);
		if (i < LATE)
			say(&clients[i], "N %s\n", one, 0);
	}
	say(&clients[SPEAKER], "N %s\n", two, 0);
	run_for(3);
	for (unsigned i = 0; i < 6; i++) {
		say(&clients[SPEAKER], "P %s %u\n", one, i == 3 ? 40000 : 30 * i);
		say(&clients[OTHER], "P %s %u\n", one, 500 + i);
		say(&clients[SPEAKER], "P %s %u\n", two, 3000);
		run_for(2);
	}
	clients[LATE].peer->space = clients[HALF].peer->space = clients[RESETS].peer->space = 3000;
	for (unsigned i = LATE; i < CUSTOMERS; i++) {
		say(&clients[i], "I 1 0 %s\n", one, 0);
		say(&clients[i], "L 2 %s\n", two, 0);
	}
	say(&clients[WIDE], "U %s\n", one, 0);
	say(&clients[OTHER], "P %s %u\n", one, 7);
	run_for(3);
	finish(&clients[HALF]); /* both are still behind */
	clients[RESETS].was_reset = true;
	if (clients[RESETS].peer->fd >= 0 && !clients[RESETS].peer->closed)
		peer_reset(clients[RESETS].peer);
	run_for(60);
}

static bool all_closed(void)
{
	for (unsigned i = 0; i < CUSTOMERS; i++)
		if (!clients[i].peer->closed)
			return false;
	return true;
}

/* All that it subscribes to, up to the end. */
static void check_client(unsigned i, const char *how)
{
	for (unsigned t = 0; t < 2; t++) {
		const struct topic_model *model = &topic_models[t];
		unsigned epoch = epochs_of[i][t], next;

		if (!epoch)
			continue;
		for (next = hearings[epoch].next;
		     next < model->n && is_silent(&hearings[epoch], &model->records[next]);)
			next++;
		EXPECT_MSG(next == model->n, "%s: %u heard %u of %u records of %s", how, i, next,
			   model->n, model->name);
	}
	EXPECT_MSG(i == WIDE || epochs_of[i][0], "%s: %u hears nothing", how, i);
}

static void check_all(const struct peer *hit, const char *how)
{
	for (unsigned i = 0; i < CUSTOMERS; i++)
		if (i != RESETS && clients[i].peer != hit)
			check_client(i, how);
	for (unsigned i = 0; i < CUSTOMERS; i++)
		finish(&clients[i]);
	for (int i = 0; !all_closed(); i++) {
		EXPECT_MSG(i < 10000, "%s: no end of it", how);
		pass_all();
	}
}

static void check_reasons(const struct peer *hit, const char *how)
{
	unsigned moved = 0;

	for (int i = 1; i < CLOSE_REASONS_MAX; i++) {
		uint64_t closed = 0;

		for (unsigned w = 0; w < WORKERS; w++)
			closed += workers[w].stats.closed[i];
		if (!how)
			baseline[i] = closed;
		moved += closed > baseline[i] ? (unsigned)(closed - baseline[i]) : 0;
	}
	EXPECT_MSG(moved <= (hit ? 1u : 0u), "%s: %u ended for another reason", how, moved);
}

static void try_call(enum kernel_call call, const int *errors)
{
	unsigned long n, runs = 0;
	char how[100];

	run_with_fault(call, 0, 0);
	n = kernel.calls[call];
	check_all(NULL, "no fault");
	check_reasons(NULL, NULL);
	all_close();
	EXPECT_MSG(n > 0, "the scenario has no %s", kernel_call_names[call]);
	for (; *errors; errors++)
		for (unsigned long k = 1; k <= n; k++, runs++) {
			(void)snprintf(how, sizeof how, "%s %lu, %s", kernel_call_names[call], k,
				       strerror(*errors));
			run_with_fault(call, k, *errors);
			EXPECT_MSG(kernel.failed, "%s: never came to pass", how);
			check_all(kernel.failed_peer, how);
			check_reasons(kernel.failed_peer, how);
			all_close();
		}
	(void)printf("FIGURE faults of %s among topics: %lu runs\n", kernel_call_names[call], runs);
	(void)fflush(stdout);
}

#define TRY(name, ...)                                                                             \
	START_TEST(name##_may_fail)                                                                \
	{                                                                                          \
		try_call(KERNEL_##name, (const int[]){__VA_ARGS__, 0});                            \
	}                                                                                          \
	END_TEST

TRY(read, EINTR, EAGAIN, ECONNRESET, EIO)
TRY(write, EINTR, EAGAIN, ECONNRESET, EPIPE, ENOBUFS)
TRY(writev, EINTR, EAGAIN, ECONNRESET, EPIPE, ENOBUFS)
TRY(epoll_wait, EINTR)
TRY(epoll_ctl, ENOMEM, ENOSPC)
TRY(close, EINTR, EIO)

SUITE("sim_topics_faults", {"read may fail", read_may_fail, 60},
      {"write may fail", write_may_fail, 60}, {"writev may fail", writev_may_fail, 60},
      {"epoll_wait may fail", epoll_wait_may_fail, 60},
      {"epoll_ctl may fail", epoll_ctl_may_fail, 60}, {"close may fail", close_may_fail, 60})
