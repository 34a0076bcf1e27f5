#include "worker/worker.h"

#include <stdio.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/pubsub/delivery.h"
#include "reactor/pubsub/history_age.h"
#include "reactor/loop/seqpacket.h"
#include "reactor/base/sys.h"
#include "worker/channel.h"
#include "worker/worker_listener.h"
#include "worker/migration/migration.h"
#include "worker/title.h"

static struct {
	const struct worker_setup *setup;
	struct loop loop;
	struct conn_table table;
	struct delivery delivery;
	struct history_age history_age; /* without a master */
	struct migration migration;
	struct worker_listener_shared shared;
	struct worker_listener listeners[LISTENERS_MAX];
	struct source signals, drain_timer;
	struct seqpacket channel;
	bool serving;  /* staged until then */
	bool retiring; /* its successors let people in */
	bool draining;
	bool leaving;	/* alone, while weir goes on */
	bool told_last; /* nobody hands over connections any more */
	bool overdue;	/* drain-timeout has passed */
	bool told_leaving;
} worker;

#define EACH_LISTENER(listener)                                                                    \
	for (struct worker_listener *listener = worker.listeners;                                  \
	     listener < worker.listeners + worker.setup->config->listeners_n; listener++)

static void worker_title(void)
{
	const char *state = worker.draining ? " (draining)" : worker.retiring ? " (retiring)" : "";
	char comm[16];

	(void)snprintf(comm, sizeof comm, "weir-w%u%s", worker.setup->index,
		       worker.retiring ? "-old" : "");
	if (worker.setup->channel < 0)
		title_set("weir", "weir: master and worker%s", state);
	else
		title_set(comm, "weir: worker %u%s", worker.setup->index, state);
}

/* ---- the end ---- */

/* How many connections there are to serve. One that has moved away may still have its place in the
 * table, until a turn that it was queued for. */
static uint32_t held(void)
{
	return (uint32_t)worker.table.stats->connections;
}

static bool listeners_stopped(void)
{
	EACH_LISTENER (listener)
		if (!worker_listener_is_closed(listener))
			return false;
	return true;
}

static bool datagrams_stopped(void)
{
	EACH_LISTENER (listener)
		if (worker_listener_has_datagrams(listener))
			return false;
	return true;
}

static void end_if_drained(void)
{
	if (!worker.draining || !worker.told_last)
		return;
	/* A worker that ends alone answers datagrams as long as it has connections to serve,
	 * because until then it has no successor. Datagrams that wait at that moment are left to
	 * the successor. */
	if (worker.leaving && !worker.table.conns.used)
		EACH_LISTENER (listener)
			worker_listener_leave_datagrams(listener);
	if (!listeners_stopped())
		return;
	if (worker.setup->journal) /* no member can come any more: those that are here may end */
		delivery_close_doors(&worker.delivery);
	/* Not before our answers have gone: connections that the master does not know to be taken
	 * it gives to another worker. */
	if (seqpacket_keeps(&worker.channel) && !worker.overdue)
		return;
	if (!worker.table.conns.used && datagrams_stopped())
		worker.loop.stopped = true;
}

static void drain_timer_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	source->ready = 0;
	if (held())
		log_warn("drain-timeout passed, closing what is left",
			 LOG_NUMBER("connections", held()));
	EACH_LISTENER (listener) {
		worker_listener_close(listener);
		worker_listener_close_datagrams(listener);
	}
	worker.told_last = worker.overdue = true;
	conn_table_abort(&worker.table, CLOSE_drain_timeout);
	end_if_drained();
}

static void drain(const char *why)
{
	worker.draining = true;
	worker_title();
	if (!worker.retiring || held())
		log_info("draining", LOG_TEXT("why", why), LOG_NUMBER("connections", held()));
	if (worker.setup->journal)
		delivery_drain(&worker.delivery, worker.leaving);
	migration_close(&worker.migration);
	conn_table_drain(&worker.table);
	loop_deadline(&worker.loop, &worker.drain_timer,
		      worker.loop.now_ms + config_ms(worker.setup->config->drain_timeout));
}

/* Only this worker ends: clients that wait to be accepted are left to its successor, or to another
 * worker. */
static void drain_alone(const char *why)
{
	if (worker.draining)
		return;
	worker.leaving = worker.told_last = true;
	EACH_LISTENER (listener)
		worker_listener_close(listener);
	drain(why);
	end_if_drained();
}

/* weir ends. Connections that wait to be accepted are taken in, served what they have sent, and
 * ended as the others are: no client that got through to us is reset. Likewise datagrams. */
static void drain_with_weir(const char *why, bool told_last)
{
	if (!worker.serving) {		     /* others serve: these sockets are not ours to stop */
		if (worker.table.conns.used) /* some have moved here already */
			drain_alone(why);
		else
			worker.loop.stopped = true;
		return;
	}
	worker.leaving = false;
	worker.told_last |= told_last;
	if (!worker.draining)
		drain(why);
	EACH_LISTENER (listener)
		worker_listener_empty(listener, false);
	end_if_drained();
}

static void on_room(struct conn_table *table)
{
	(void)table;
	end_if_drained();
	EACH_LISTENER (listener)
		worker_listener_has_room(listener);
}

static void worker_listener_stopped(void)
{
	migrate_out_look(&worker.migration);
	end_if_drained();
}

/* ---- moving ---- */

static struct worker_listener *worker_listener_of(uint32_t number)
{
	EACH_LISTENER (listener)
		if (listener->number == number && listener->services_n)
			return listener;
	return NULL;
}

static bool expects_more(void)
{
	return worker.retiring && !listeners_stopped();
}

static void tell_master(const struct ipc_message *message)
{
	int error = seqpacket_send(&worker.channel, message, sizeof *message, NULL, 0);

	/* If the master is gone, the channel's end tells. No more messages are ever kept than are
	 * sent in one turn of each move channel, and one of the channel to the master. */
	CHECK(error != -ENOBUFS);
}

static void moved_out(uint32_t order, uint32_t count, enum move_end end)
{
	tell_master(&(struct ipc_message){
	    .kind = IPC_MOVED_OUT, .order = order, .count = count, .end = end, .left = held()});
}

static const struct move_owner move_owner = {
    .expects_more = expects_more,
    .moved_out = moved_out,
};

static void take_move_channel(int move_channel, const struct ipc_message *message)
{
	struct conn_promise expected = {.connections = message->count, .chunks = message->left};
	struct service *services[LISTENERS_MAX * SERVICES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < SERVICES_MAX; i++) /* the first ones first */
		EACH_LISTENER (listener)
			if (i < listener->services_n)
				services[n++] = &listener->services[i];
	migrate_in(&worker.migration, move_channel, services, n, expected);
}

/* Clients that come from now on are for our successor, but for listeners that it does not serve. */
static void retire(void)
{
	if (worker.draining)
		return;
	worker.retiring = true;
	worker_title();
	migration_close(&worker.migration);
	EACH_LISTENER (listener) {
		if (listener->emptied)
			continue;
		worker_listener_close(listener);
		worker_listener_leave_datagrams(listener);
	}
}

static void serve(void)
{
	if (worker.serving)
		return;
	worker.serving = true;
	EACH_LISTENER (listener)
		worker_listener_serve(listener);
}

/* ---- the channel ---- */

/* The master is told first, because from then on these connections are ours alone. */
static void take_connections(const struct ipc_message *message, int *fds, size_t n)
{
	struct conn_table *table = &worker.table;
	struct worker_listener *listener = worker_listener_of(message->listener);
	bool here = listener && !worker.leaving && !worker.retiring;
	size_t room = here ? conn_table_room(table) : 0;
	size_t taken = n < room ? n : room;

	tell_master(&(struct ipc_message){
	    .kind = IPC_TAKEN, .order = message->order, .count = (uint32_t)taken});
	for (size_t i = 0; i < taken; i++) {
		struct sockaddr_storage peer;
		socklen_t bytes = sizeof peer;
		bool named = per_ip_counts(&table->per_ip) &&
			     sys_getpeername(fds[i], (struct sockaddr *)&peer, &bytes) == 0;

		conn_open(listener->newcomers, fds[i], CONN_PASSED,
			  named ? (struct sockaddr *)&peer : NULL);
		fds[i] = -1;
	}
}

/* Takes the doorbells of the seats from `seat` on. If there is no journal here, nobody needs them.
 */
static void take_doorbells(unsigned seat, int *fds, size_t n)
{
	for (size_t i = 0; i < n && worker.setup->journal; i++) {
		journal_add_doorbell(worker.setup->journal, seat + (unsigned)i, fds[i]);
		fds[i] = -1;
	}
}

/* The descriptor that should be beside a message; -1: none was free for it here, so it was closed,
 * and its other end notices. */
static int take_descriptor(int *fds, size_t n)
{
	int fd = n == 1 ? fds[0] : -1;

	if (n == 1)
		fds[0] = -1;
	return fd;
}

static void take_message(const struct ipc_message *message, int *fds, size_t n)
{
	int move_channel;

	switch (message->kind) {
	case IPC_CONNECTIONS:
		take_connections(message, fds, n);
		break;
	case IPC_SERVE:
		serve();
		tell_master(&(struct ipc_message){.kind = IPC_SERVING});
		break;
	case IPC_EMPTY: /* this worker retires next */
		worker.shared.moved_before = worker.table.stats->moved_out;
		EACH_LISTENER (listener)
			if (listener->number == message->listener)
				worker_listener_empty(listener, message->count);
		break;
	case IPC_RETIRE:
		retire();
		break;
	case IPC_LEAVE:
		drain_alone(worker.retiring ? "these can't be moved" : "signal");
		break;
	case IPC_MOVE_OUT:
		move_channel = take_descriptor(fds, n);
		if (move_channel >= 0)
			migrate_out(&worker.migration, move_channel, message->order,
				    message->count);
		else
			moved_out(message->order, 0, MOVE_BROKEN);
		break;
	case IPC_MOVE_IN:
		move_channel = take_descriptor(fds, n);
		if (move_channel >= 0)
			take_move_channel(move_channel, message);
		break;
	case IPC_DOORBELLS:
		take_doorbells(message->count, fds, n);
		break;
	default:
		CHECK(message->kind == IPC_DRAIN || message->kind == IPC_LAST);
		drain_with_weir("the master says so", message->kind == IPC_LAST);
	}
}

static void channel_took(struct seqpacket *end, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	struct ipc_message message;

	(void)end;
	CHECK(n == sizeof message);
	memcpy(&message, bytes, sizeof message);
	take_message(&message, fds, fds_n);
}

static void channel_ended(struct seqpacket *end)
{
	(void)end;
	drain_with_weir("the master is gone", true);
}

static void channel_has_room(struct seqpacket *end)
{
	(void)end;
	end_if_drained();
}

static const struct seqpacket_owner channel_owner = {channel_took, channel_ended, channel_has_room,
						     false};

/* ---- signals ---- */

static void take_signal(struct loop *loop, int number)
{
	bool alone = worker.setup->channel < 0;

	switch (number) {
	case SIGQUIT:
		loop->stopped = true;
		break;
	case SIGTERM:
		if (worker.draining && alone)
			loop->stopped = true;
		else if (alone)
			drain_with_weir("signal", true);
		else if (!worker.told_leaving) { /* the master knows whether all of us got it */
			worker.told_leaving = true;
			tell_master(&(struct ipc_message){.kind = IPC_LEAVING});
		}
		break;
	default: /* the master's business */
		if (alone)
			log_warn("this signal does nothing without a master",
				 LOG_TEXT("signal", strsignal(number)));
	}
}

static void signals_turn(struct loop *loop, struct source *source)
{
	struct signalfd_siginfo info;

	source->ready = 0;
	while (sys_read(source->fd, &info, sizeof info) == (ssize_t)sizeof info) {
		/* A terminal's ^C reaches every process: the master decides, if there is one. */
		if (info.ssi_signo == SIGINT && worker.setup->channel < 0)
			info.ssi_signo = SIGTERM;
		take_signal(loop, (int)info.ssi_signo);
	}
}

static void watch(struct source *source, int fd, source_turn *turn, const char *what)
{
	int error;

	source_init(source, fd, turn);
	source->want = SOURCE_IN;
	error = fd < 0 ? fd : loop_watch(&worker.loop, source, EPOLLIN);
	if (error)
		die("worker %u: %s: %s", worker.setup->index, what, strerror(-error));
}

static void watch_signals(void)
{
	static const int numbers[] = {SIGTERM, SIGINT,	SIGQUIT, SIGHUP,
				      SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU};
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		(void)sigaddset(&set, numbers[i]);
	(void)sys_sigprocmask(SIG_BLOCK, &set, NULL);
	watch(&worker.signals, sys_signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), signals_turn,
	      "signalfd");
}

/* ---- set up ---- */

static void keep_last_words(const char *words)
{
	(void)snprintf(worker.setup->scoreboard->last_words, LAST_WORDS_BYTES, "%s", words);
}

static void pin_to_cpu(unsigned index)
{
	cpu_set_t allowed, one;
	unsigned cpu = 0, left;

	if (sys_sched_getaffinity(0, sizeof allowed, &allowed) < 0 || !CPU_COUNT(&allowed))
		return;
	for (left = index % (unsigned)CPU_COUNT(&allowed);; cpu++)
		if (CPU_ISSET(cpu, &allowed) && left-- == 0)
			break;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	int error = sys_sched_setaffinity(0, sizeof one, &one);
	if (error)
		log_warn("affinity is not set", LOG_NUMBER("cpu", cpu),
			 LOG_TEXT("error", strerror(-error)));
}

/* ---- the journal ---- */

static void history_begins(void)
{
	if (worker.setup->channel >= 0)
		tell_master(&(struct ipc_message){.kind = IPC_HISTORY_BEGINS});
	else
		history_age_look(&worker.history_age, config_ms(worker.setup->config->history_age));
}

static int open_delivery(const struct worker_setup *setup)
{
	const struct config *config = setup->config;
	struct delivery_limits limits = {
	    .slow_bytes = (uint32_t)config->slow_consumer,
	    .topics_max = (uint32_t)config->max_topics,
	    .of_conn_max = (uint32_t)config->max_subscriptions,
	};
	int error;

	if (!setup->journal)
		return 0;
	history_age_open(&worker.history_age, &worker.loop, setup->journal);
	error = delivery_open(&worker.delivery, &worker.loop, &worker.table, setup->journal,
			      setup->seat, &limits);
	worker.delivery.history_begins = history_begins;
	return error;
}

static void open_channel(const struct worker_setup *setup)
{
	int error = 0;

	seqpacket_init(&worker.channel);
	if (setup->channel >= 0)
		error = seqpacket_open(&worker.channel, &worker.loop, setup->channel, true,
				       &channel_owner);
	if (error)
		die("worker %u: channel: %s", setup->index, strerror(-error));
}

static void worker_open(const struct worker_setup *setup)
{
	const struct config *config = setup->config;
	struct conn_limits limits = {
	    .high_water = (uint32_t)config->high_water,
	    .low_water = (uint32_t)config->low_water,
	    .idle_ms = config_ms(config->idle_timeout),
	    .write_ms = config_ms(config->write_timeout),
	    .request_ms = config_ms(config->request_timeout),
	    .connections_max = (uint32_t)config->max_connections,
	    .connections_per_ip = (uint32_t)config->max_connections_per_ip,
	    .connections_capacity = (uint32_t)config->connections_capacity,
	};
	int error;

	if (config->affinity)
		pin_to_cpu(setup->index);
	if (setup->identity && (error = identity_take(setup->identity)))
		die("worker %u: becoming %s: %s", setup->index, config->user, strerror(-error));
	error = loop_open(&worker.loop, &setup->scoreboard->stats, config->spin);
	if (!error)
		error = conn_table_open(&worker.table, &worker.loop, &limits, config->buffers);
	if (!error)
		error = open_delivery(setup);
	if (error)
		die("worker %u: setting up: %s", setup->index, strerror(-error));
	worker.table.on_room = on_room;
	migration_open(&worker.migration, &worker.table, setup->journal_id, &move_owner);
	watch_signals();
	source_init(&worker.drain_timer, -1, drain_timer_turn);
	open_channel(setup);
	worker.shared = (struct worker_listener_shared){.setup = setup,
							.table = &worker.table,
							.delivery = &worker.delivery,
							.migration = &worker.migration,
							.stopped = worker_listener_stopped};
	for (size_t i = 0; i < config->listeners_n; i++)
		if (config->listeners[i].datagrams)
			reflection_guard_add(&worker.shared.guard, &config->listeners[i].address);
	for (size_t i = 0; i < config->listeners_n; i++)
		worker_listener_open(&worker.listeners[i], &worker.shared, i);
}

int worker_run(const struct worker_setup *setup)
{
	worker.setup = setup;
	sys_count_into(&setup->scoreboard->stats);
	log_open((enum log_level)setup->config->log_level,
		 (enum log_format)setup->config->log_format);
	check_witness(keep_last_words);
	worker_title();
	worker_open(setup);
	if (!setup->staged)
		serve();
	if (setup->channel >= 0)
		tell_master(&(struct ipc_message){.kind = IPC_READY});
	if (setup->ready)
		setup->ready();
	loop_run(&worker.loop);
	log_info("worker ends", LOG_NUMBER("connections", worker.table.conns.used));
	conn_table_close(&worker.table);
	if (setup->journal)
		delivery_close(&worker.delivery);
	loop_close(&worker.loop);
	sys_count_into(NULL); /* from now on the seat is the next worker's */
	stats_clear_gauges(&setup->scoreboard->stats);
	return 0;
}
