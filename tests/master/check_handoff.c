/*
 * handoff: both sides of the channel over which connections are handed to a worker, each with this
 * test at the other end; and a server whose workers take no connections.
 *
 * What this shows: no message is lost or confused if there are more than the channel has room for;
 * and clients that wait for a worker that does not take them leave the master the descriptors that
 * it needs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/handoff.h"
#include "reactor/base/list.h"
#include "tests/worker/settings.h"
#include "tests/support/server_control.h"
#include "worker/channel.h"
#include "worker/migration/migration_parts.h"

static void open_channel(int ends[2], int small_end)
{
	int least = 1;

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(setsockopt(ends[small_end], SOL_SOCKET, SO_SNDBUF, &least, sizeof least),
			 0);
}

/* Makes a connection; returns the client's end, and in `handed` the end to hand over. */
static int open_client(int *handed)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	set_nonblocking(ends[0]);
	*handed = ends[0];
	return ends[1];
}

/* ---- the worker's side ---- */

#define SMALL_BATCHES 60 /* more answers than the smallest buffer takes */

struct far_worker {
	pid_t pid;
	int channel;
};

static struct far_worker start_worker(void)
{
	struct worker_setup setup = {.config = &config, .lifeline = -1};
	struct far_worker worker;
	int ends[2], scoreboard_fd;

	config_defaults(&config);
	listen_to("echo://127.0.0.1:1?accept=handoff");
	set("workers", "1");
	set("max-connections", "1000");
	setup.listeners[0] = -1;
	setup.numbers[0] = 7;
	setup.scoreboard = &scoreboard_open(&scoreboard_fd)->seats[0];
	open_channel(ends, 1);
	worker.channel = ends[0];
	worker.pid = fork();
	ck_assert_int_ge(worker.pid, 0);
	if (!worker.pid) {
		(void)close(ends[0]);
		setup.channel = ends[1];
		_exit(worker_run(&setup));
	}
	(void)close(ends[1]);
	return worker;
}

static void tell(const struct far_worker *worker, const struct ipc_message *message, const int *fds,
		 size_t n)
{
	struct wait wait = wait_begin();

	while (descriptors_send(worker->channel, message, sizeof *message, fds, n) < 0)
		wait_more(&wait, "the worker to read its channel");
}

static struct ipc_message hear(const struct far_worker *worker)
{
	struct wait wait = wait_begin();
	int fds[DESCRIPTORS_MAX];
	struct ipc_message message;
	ssize_t n;
	size_t fds_n;

	while ((n = descriptors_receive(worker->channel, &message, sizeof message, fds, &fds_n)) ==
	       -EAGAIN)
		wait_more(&wait, "an answer of the worker's");
	ck_assert_int_eq(n, sizeof message);
	ck_assert_uint_eq(fds_n, 0);
	return message;
}

static int hand_over(const struct far_worker *worker, uint32_t batch)
{
	struct ipc_message message = {
	    .kind = IPC_CONNECTIONS, .listener = 7, .count = 1, .order = batch};
	int handed, client = open_client(&handed);

	tell(worker, &message, &handed, 1);
	(void)close(handed);
	return client;
}

static void end_worker(const struct far_worker *worker)
{
	int status;

	(void)close(worker->channel); /* its master is gone, so it drains */
	ck_assert_int_eq(waitpid(worker->pid, &status, 0), worker->pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

START_TEST(each_batch_is_answered_however_late_it_is_heard)
{
	struct far_worker worker = start_worker();
	int clients[SMALL_BATCHES];

	for (uint32_t i = 0; i < SMALL_BATCHES; i++)
		clients[i] = hand_over(&worker, i + 1);
	ck_assert_uint_eq(hear(&worker).kind, IPC_READY);
	for (uint32_t i = 0; i < SMALL_BATCHES; i++) {
		struct ipc_message message = hear(&worker);

		ck_assert_uint_eq(message.kind, IPC_TAKEN);
		ck_assert_uint_eq(message.order, i + 1);
		ck_assert_uint_eq(message.count, 1);
	}
	for (size_t i = 0; i < SMALL_BATCHES; i++) {
		send_text(clients[i], "served");
		expect_text(clients[i], "served");
		(void)close(clients[i]);
	}
	end_worker(&worker);
}
END_TEST

/* As for a worker that was forked before the bus was made. */
START_TEST(a_doorbell_without_a_bus_is_closed)
{
	struct far_worker worker = start_worker();
	int doorbells[2] = {STDERR_FILENO, STDERR_FILENO}, client;
	struct ipc_message message = {.kind = IPC_DOORBELLS, .count = 2};
	size_t before;

	ck_assert_uint_eq(hear(&worker).kind, IPC_READY);
	client = hand_over(&worker, 1);
	ck_assert_uint_eq(hear(&worker).kind, IPC_TAKEN);
	before = process_descriptors_n(worker.pid);
	tell(&worker, &message, doorbells, 2);
	(void)close(client);
	client = hand_over(&worker, 2);
	ck_assert_uint_eq(hear(&worker).order, 2);
	send_text(client, "served");
	expect_text(client, "served");
	ck_assert_uint_eq(process_descriptors_n(worker.pid), before);
	(void)close(client);
	end_worker(&worker);
}
END_TEST

/* The test is also the worker to which they move. This is that worker's offer. */
static void offer(int queue)
{
	const struct protocol *echo = config.listeners[0].protocol;
	struct offer_message message = {.kind = MOVE_OFFER,
					.version = SNAPSHOT_VERSION,
					.reasons = move_reasons_hash(),
					.offers_n = 1,
					.offers = {{.listener = 7,
						    .state_bytes = echo->state_bytes,
						    .state_version = echo->state_version,
						    .protocol = "echo"}}};
	size_t n = offsetof(struct offer_message, offers) + sizeof message.offers[0];

	ck_assert_int_eq(descriptors_send(queue, &message, n, NULL, 0), (ssize_t)n);
}

static void take_batch(int queue, uint32_t count)
{
	struct wait wait = wait_begin();
	int fds[DESCRIPTORS_MAX];
	struct move_batch_message message;
	size_t fds_n;

	while (descriptors_receive(queue, &message, sizeof message, fds, &fds_n) <= 0)
		wait_more(&wait, "connections that move");
	ck_assert_uint_eq(message.kind, MOVE_BATCH);
	ck_assert_uint_eq(message.count, count);
}

/* Input for connections that have just moved queues their old places for a turn, after the turn of
 * the move's channel, in which the worker reports how many are left. These must not count. */
START_TEST(who_has_moved_is_not_left)
{
	enum { N = 3 };
	struct far_worker worker = start_worker();
	struct ipc_message message = {.kind = IPC_MOVE_OUT, .order = 1, .count = N};
	struct taken_message taken = {.kind = MOVE_TAKEN, .taken = (1 << N) - 1};
	int clients[N], queue[2];

	ck_assert_uint_eq(hear(&worker).kind, IPC_READY);
	for (uint32_t i = 0; i < N; i++) {
		clients[i] = hand_over(&worker, i + 1);
		ck_assert_uint_eq(hear(&worker).kind, IPC_TAKEN);
	}
	open_channel(queue, 0);
	tell(&worker, &message, &queue[0], 1);
	(void)close(queue[0]);
	offer(queue[1]);
	take_batch(queue[1], N);
	process_stop(worker.pid);
	ck_assert_int_eq(descriptors_send(queue[1], &taken, sizeof taken, NULL, 0), sizeof taken);
	for (int i = 0; i < N; i++)
		send_text(clients[i], "to where it is now");
	ck_assert_int_eq(kill(worker.pid, SIGCONT), 0);
	message = hear(&worker);
	ck_assert_uint_eq(message.kind, IPC_MOVED_OUT);
	ck_assert_uint_eq(message.count, N);
	ck_assert_uint_eq(message.left, 0);
	end_worker(&worker);
}
END_TEST

/* ---- the master's side ---- */

#define SEAT 3

static struct stats stats;
static struct loop loop;
static struct seqpacket channel;

static void has_room(struct seqpacket *end)
{
	(void)end;
	handoff_worker_has_room(SEAT);
}

static void took(struct seqpacket *end, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	struct ipc_message message;

	(void)end;
	(void)fds;
	ck_assert_uint_eq(n, sizeof message);
	ck_assert_uint_eq(fds_n, 0);
	memcpy(&message, bytes, n);
	ck_assert(handoff_taken(SEAT, message.order, message.count));
}

static void ended(struct seqpacket *end)
{
	(void)end;
}

static const struct seqpacket_owner channel_owner = {
    .took = took, .ended = ended, .has_room = has_room};

/* Returns a worker's end of the master's channel, from which nothing has been read yet. */
static int start_master(void)
{
	static struct listen_set none = {.config = &config};
	int ends[2], scoreboard_fd;

	config_defaults(&config);
	set("max-connections", "1000");
	ck_assert_int_eq(loop_open(&loop, &stats, 0), 0);
	open_channel(ends, 0);
	handoff_open(&loop, scoreboard_open(&scoreboard_fd));
	handoff_serve(&none);
	ck_assert_int_eq(seqpacket_open(&channel, &loop, ends[0], false, &channel_owner), 0);
	handoff_worker_up(SEAT, &channel);
	return ends[1];
}

/* Whether the master has closed its copy, as it does when the worker has the connection. */
static bool is_done(int client)
{
	struct pollfd fd = {.fd = client, .events = POLLIN};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

START_TEST(an_answer_is_that_of_the_batch_it_names)
{
	int far = start_master(), clients[3];

	for (uint32_t i = 0; i < 3; i++) {
		int handed;

		clients[i] = open_client(&handed);
		handoff_give(i, handed);
	}
	(void)far;
	ck_assert(handoff_taken(SEAT, 2, 1));
	ck_assert(!handoff_taken(SEAT, 2, 1));
	ck_assert(!handoff_taken(SEAT, 9, 1));
	ck_assert(!handoff_taken(SEAT, 0, 0));
	ck_assert(!handoff_taken(SEAT, 3, 2));
	ck_assert(!handoff_taken(SEAT + 1, 3, 1));
	/* What was sent is still in the channel. */
	ck_assert(!is_done(clients[0]) && !is_done(clients[1]) && !is_done(clients[2]));
	(void)close(far);
	ck_assert(!is_done(clients[0]) && is_done(clients[1]) && !is_done(clients[2]));
	ck_assert(handoff_taken(SEAT, 3, 1));
	ck_assert(handoff_taken(SEAT, 1, 1));
	ck_assert(is_done(clients[0]) && is_done(clients[2]));
}
END_TEST

/* More connections than the channel takes: each is handed over once, however slowly they are
 * read. */
START_TEST(a_full_channel_loses_nobody)
{
	enum { N = 200, NUMBERS = 64 };
	int far = start_master(), fds[DESCRIPTORS_MAX];
	bool given[LISTEN_NUMBERS_MAX] = {false};
	struct wait wait = wait_begin();
	unsigned n = 0, marked = 0;
	struct ipc_message message;
	size_t fds_n;

	for (uint32_t i = 0; i < N; i++) {
		int handed;

		(void)open_client(&handed);
		handoff_give(i % NUMBERS, handed);
	}
	while (n < N) {
		loop_pass(&loop, 0);
		if (descriptors_receive(far, &message, sizeof message, fds, &fds_n) !=
		    (ssize_t)sizeof message) {
			wait_more(&wait, "all to be handed over");
			continue;
		}
		ck_assert_uint_eq(message.kind, IPC_CONNECTIONS);
		ck_assert_uint_eq(message.count, fds_n);
		marked += !given[message.listener];
		given[message.listener] = true;
		n += message.count;
		message.kind = IPC_TAKEN;
		ck_assert_int_eq(descriptors_send(far, &message, sizeof message, NULL, 0),
				 sizeof message);
	}
	ck_assert_uint_eq(n, N);
	ck_assert_uint_eq(marked, NUMBERS);
}
END_TEST

/* ---- a server whose workers take none ---- */

#define WAITING	    300
#define DESCRIPTORS 128

/* Clients in a process of their own, as it may have more descriptors. All get their echo in the
 * end. */
static pid_t start_clients(int port_from, int word_to)
{
	static int clients[WAITING];
	pid_t pid = fork();
	unsigned port;

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	if (read(port_from, &port, sizeof port) != sizeof port)
		_exit(2);
	for (size_t i = 0; i < WAITING; i++)
		clients[i] = connect_to(port);
	(void)!write(word_to, "c", 1);
	for (size_t i = 0; i < WAITING; i++) {
		send_text(clients[i], "served");
		expect_text(clients[i], "served");
		(void)close(clients[i]); /* the next one needs its descriptor */
	}
	_exit(0);
}

START_TEST(who_waits_leaves_the_master_its_own)
{
	struct rlimit few = {DESCRIPTORS, DESCRIPTORS}, before;
	int port[2], word[2], status;
	struct server *server;
	struct wait wait;
	pid_t clients, asked;
	char byte;

	ck_assert_int_eq(pipe(port), 0);
	ck_assert_int_eq(pipe(word), 0);
	clients = start_clients(port[0], word[1]);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	server = CONTROLLED("--workers", "2", "--accept", "handoff", "--watchdog", "5s",
			    "echo://127.0.0.1:0");
	for (unsigned i = 0; i < 2; i++) {
		pid_t worker = server_wait_worker(server, i, 0);

		process_stop(worker);
	}
	ck_assert_int_eq((int)write(port[1], server->ports, sizeof *server->ports),
			 (int)sizeof *server->ports);
	ck_assert_int_eq((int)read(word[0], &byte, 1), 1);
	for (wait = wait_begin(); process_descriptors_n(server->pid) < DESCRIPTORS / 4;)
		wait_more(&wait, "connections in the master");
	asked = server_control_ask_begin("status");
	for (int i = 0; i < 500; i++) /* meanwhile it must accept no more */
		ck_assert_uint_lt(process_descriptors_n(server->pid), DESCRIPTORS * 3 / 4);
	ck_assert_int_eq(server_control_ask_end(asked), 0);
	/* The master can still look at its workers: it ends them, and others serve. */
	ck_assert_int_eq(waitpid(clients, &status, 0), clients);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_uint_ge(server_log_count(server, "a worker does not move"), 2);
	server_control_stop(server);
}
END_TEST

SUITE("handoff",
      {"a worker answers each batch, however late it is heard",
       each_batch_is_answered_however_late_it_is_heard, 10},
      {"a worker closes a doorbell without a bus", a_doorbell_without_a_bus_is_closed, 10},
      {"who has moved is not left", who_has_moved_is_not_left, 10},
      {"an answer is that of the batch it names", an_answer_is_that_of_the_batch_it_names, 10},
      {"a full channel loses nobody", a_full_channel_loses_nobody, 10},
      {"who waits for a worker leaves the master its own", who_waits_leaves_the_master_its_own, 20})
