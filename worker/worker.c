#include "worker/worker.h"

#include <stdio.h>
#include <string.h>

#include "reactor/check.h"
#include "reactor/datagram.h"
#include "reactor/descriptor.h"
#include "reactor/listener.h"
#include "reactor/log.h"
#include "reactor/relay.h"
#include "reactor/sys.h"
#include "worker/channel.h"
#include "worker/title.h"

/* A listener of a worker, and what its connections share; or its socket of datagrams. */
struct entrance {
	struct listener listener; /* fd -1: none, or the master's */
	struct service service;
	struct topic topic;
	struct datagram_socket datagrams; /* fd -1: none */
	struct datagram_service datagram_service;
};

static struct {
	const struct worker_setup *setup;
	struct loop loop;
	struct conn_table table;
	struct relay relay;
	struct entrance entrances[LISTENERS_MAX];
	struct guard guard;
	struct source signals, channel, drain_timer;
	bool draining;
	bool leaving;	/* alone, while weir goes on */
	bool told_last; /* nobody hands over connections any more */
} worker;

static void worker_title(void)
{
	char comm[16];

	(void)snprintf(comm, sizeof comm, "weir-w%u", worker.setup->index);
	if (worker.setup->channel < 0)
		title_set("weir", "weir: master and worker%s",
			  worker.draining ? " (draining)" : "");
	else
		title_set(comm, "weir: worker %u%s", worker.setup->index,
			  worker.draining ? " (draining)" : "");
}

/* ---- the end ---- */

static bool listeners_stopped(void)
{
	for (size_t i = 0; i < worker.setup->config->listeners_n; i++)
		if (worker.entrances[i].listener.source.fd >= 0)
			return false;
	return true;
}

static bool datagrams_stopped(void)
{
	for (size_t i = 0; i < worker.setup->config->listeners_n; i++)
		if (worker.entrances[i].datagrams.source.fd >= 0)
			return false;
	return true;
}

/* A worker that ends alone answers datagrams as long as it has connections to serve: until then
 * it has no successor. What has come by then is for that one. */
static void leave_datagrams(void)
{
	for (size_t i = 0; i < worker.setup->config->listeners_n; i++)
		datagram_leave(&worker.loop, &worker.entrances[i].datagrams);
}

static void end_if_drained(void)
{
	if (!worker.draining || !worker.told_last)
		return;
	if (worker.leaving && !worker.table.conns.used)
		leave_datagrams();
	if (!listeners_stopped())
		return;
	if (worker.setup->bus) /* no member can come now: those who are here may end */
		relay_close_doors(&worker.relay);
	if (!worker.table.conns.used && datagrams_stopped())
		worker.loop.stopped = true;
}

static void close_listeners(void)
{
	for (size_t i = 0; i < worker.setup->config->listeners_n; i++)
		listener_close(&worker.loop, &worker.entrances[i].listener);
}

static void drain_timer_turn(struct loop *loop, struct source *source)
{
	source->ready = 0;
	if (worker.table.conns.used)
		log_warn("drain-timeout passed, closing what is left",
			 LOG_NUMBER("connections", worker.table.conns.used));
	close_listeners();
	for (size_t i = 0; i < worker.setup->config->listeners_n; i++)
		datagram_close(loop, &worker.entrances[i].datagrams);
	worker.told_last = true;
	conn_table_abort(&worker.table, CLOSE_drain_timeout);
	end_if_drained();
}

static void drain(const char *why)
{
	worker.draining = true;
	worker_title();
	log_info("draining", LOG_TEXT("why", why),
		 LOG_NUMBER("connections", worker.table.conns.used));
	if (worker.setup->bus)
		relay_drain(&worker.relay, worker.leaving);
	conn_table_drain(&worker.table);
	loop_deadline(&worker.loop, &worker.drain_timer,
		      worker.loop.now_ms + config_ms(worker.setup->config->drain_timeout));
}

/* weir ends. Connections that wait to be accepted are taken in, served what they have sent,
 * and ended as the others are: nobody who got through to us is reset. So are datagrams. */
static void drain_with_weir(const char *why, bool told_last)
{
	worker.leaving = false;
	worker.told_last |= told_last;
	if (!worker.draining)
		drain(why);
	for (size_t i = 0; i < worker.setup->config->listeners_n; i++) {
		listener_stop(&worker.loop, &worker.entrances[i].listener);
		datagram_stop(&worker.loop, &worker.entrances[i].datagrams);
	}
	end_if_drained();
}

/* Only this worker ends: whoever waits is its successor's, or another worker's. */
static void drain_alone(const char *why)
{
	if (worker.draining)
		return;
	worker.leaving = worker.told_last = true;
	close_listeners();
	drain(why);
	end_if_drained();
}

static void on_room(struct conn_table *table)
{
	(void)table;
	end_if_drained();
	for (size_t i = 0; i < worker.setup->config->listeners_n; i++)
		listener_has_room(&worker.loop, &worker.entrances[i].listener);
}

/* ---- accepting ---- */

static bool entrance_room(struct listener *listener)
{
	(void)listener;
	return !conn_table_full(&worker.table);
}

static void entrance_accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	struct entrance *entrance = CONTAINER_OF(listener, struct entrance, listener);

	conn_open(&entrance->service, fd, CONN_ACCEPTED, peer);
}

static void entrance_stopped(struct listener *listener)
{
	(void)listener;
	end_if_drained();
}

static const struct listener_owner entrance_owner = {
    .room = entrance_room,
    .accepted = entrance_accepted,
    .stopped = entrance_stopped,
};

static void entrance_open_topic(struct entrance *entrance)
{
	int error = topic_open(&entrance->topic, &worker.relay, &entrance->service,
			       (uint16_t)(entrance - worker.entrances),
			       (uint32_t)worker.setup->config->slow_consumer);

	if (error)
		die("worker %u: memory for members: %s", worker.setup->index, strerror(-error));
}

static void entrance_gone(struct datagram_socket *socket)
{
	(void)socket;
	end_if_drained();
}

static void entrance_open_datagrams(struct entrance *entrance, const struct endpoint *endpoint,
				    int fd)
{
	const struct worker_setup *setup = worker.setup;
	const struct datagram_ledger *ledger = &setup->ledgers[entrance - worker.entrances];
	bool shared = config_accept_mode(setup->config, endpoint) == ACCEPT_SHARED;
	int error;

	entrance->datagram_service = (struct datagram_service){
	    .protocol = endpoint->protocol,
	    .guard = &worker.guard,
	    .limiter = ledger->limiter,
	    .dropped = &ledger->dropped[shared ? 0 : setup->index],
	    .shared = shared && setup->config->workers > 1,
	};
	error = datagram_open(&entrance->datagrams, &worker.loop, fd, &entrance->datagram_service,
			      entrance_gone);
	if (error)
		die("worker %u: memory for datagrams: %s", setup->index, strerror(-error));
}

static void entrance_open(struct entrance *entrance, const struct endpoint *endpoint, int fd)
{
	const struct config *config = worker.setup->config;

	entrance->listener.source.fd = entrance->datagrams.source.fd = -1;
	if (endpoint->datagrams) {
		entrance_open_datagrams(entrance, endpoint, fd);
		return;
	}
	entrance->service = (struct service){
	    .protocol = endpoint->protocol,
	    .table = &worker.table,
	    .message_max = config_message_max(config, endpoint),
	    .names = endpoint->names,
	};
	if (endpoint->protocol->has_topic)
		entrance_open_topic(entrance);
	listener_init(&entrance->listener, fd, &entrance_owner, worker.loop.stats);
	entrance->listener.shared =
	    config_accept_mode(config, endpoint) == ACCEPT_SHARED && config->workers > 1;
	entrance->listener.reject = config->overload == OVERLOAD_REJECT;
	entrance->listener.wants_peer = clients_counted(&worker.table.clients);
	if (fd >= 0) {
		int error = listener_resume(&worker.loop, &entrance->listener);
		if (error)
			die("worker %u: watching a listener: %s", worker.setup->index,
			    strerror(-error));
	}
}

/* ---- the channel ---- */

static void tell_master(enum note_kind kind, size_t count)
{
	struct note note = {.kind = kind, .count = (uint32_t)count};

	/* The queue holds far more notes than are ever under way; if the master is gone,
	 * the channel's end tells. */
	(void)descriptors_send(worker.setup->channel, &note, sizeof note, NULL, 0);
}

/* What is said to be taken is ours from then on; so it is said first. */
static void take_connections(const struct note *note, const int *fds, size_t n)
{
	struct conn_table *table = &worker.table;
	size_t room = worker.leaving ? 0 : pool_free(&table->conns);
	size_t taken = n < room ? n : room;

	CHECK(note->listener < worker.setup->config->listeners_n);
	tell_master(NOTE_TAKEN, taken);
	for (size_t i = taken; i < n; i++)
		(void)sys_close(fds[i]);
	for (size_t i = 0; i < taken; i++) {
		struct sockaddr_storage peer;
		socklen_t bytes = sizeof peer;
		bool named = clients_counted(&table->clients) &&
			     sys_getpeername(fds[i], (struct sockaddr *)&peer, &bytes) == 0;

		conn_open(&worker.entrances[note->listener].service, fds[i], CONN_PASSED,
			  named ? (struct sockaddr *)&peer : NULL);
	}
}

/* Level-triggered, and one note a turn: none is read in vain. */
static void channel_turn(struct loop *loop, struct source *source)
{
	struct note note = {0};
	int fds[DESCRIPTORS_MAX];
	size_t fds_n;
	ssize_t n;

	source->ready = 0;
	n = descriptors_receive(source->fd, &note, sizeof note, fds, &fds_n);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		loop_unwatch(loop, source);
		drain_with_weir("the master is gone", true);
		return;
	}
	CHECK(n == (ssize_t)sizeof note);
	if (note.kind == NOTE_CONNECTIONS) {
		take_connections(&note, fds, fds_n);
	} else if (note.kind == NOTE_LEAVE) {
		drain_alone("signal");
	} else {
		CHECK(note.kind == NOTE_DRAIN || note.kind == NOTE_LAST);
		drain_with_weir("the master says so", note.kind == NOTE_LAST);
	}
}

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
		else /* to all of us, or to this worker? */
			tell_master(NOTE_LEAVING, 0);
		break;
	default: /* the master's business */
		if (alone)
			log_warn("this signal does nothing in this version",
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
	(void)snprintf(worker.setup->slot->last_words, LAST_WORDS_BYTES, "%s", words);
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
	};
	int error;

	if (config->affinity)
		pin_to_cpu(setup->index);
	if (setup->identity && (error = identity_take(setup->identity)))
		die("worker %u: becoming %s: %s", setup->index, config->user, strerror(-error));
	error = loop_open(&worker.loop, &setup->slot->stats, config->spin);
	if (!error)
		error = conn_table_open(&worker.table, &worker.loop, &limits, config->buffers);
	if (!error && setup->bus)
		error = relay_open(&worker.relay, &worker.loop, setup->bus, setup->index);
	if (error)
		die("worker %u: setting up: %s", setup->index, strerror(-error));
	worker.table.on_room = on_room;
	watch_signals();
	source_init(&worker.drain_timer, -1, drain_timer_turn);
	if (setup->channel >= 0)
		watch(&worker.channel, setup->channel, channel_turn, "channel");
	for (size_t i = 0; i < config->listeners_n; i++)
		if (config->listeners[i].datagrams)
			guard_add(&worker.guard, &config->listeners[i].address);
	for (size_t i = 0; i < config->listeners_n; i++)
		entrance_open(&worker.entrances[i], &config->listeners[i], setup->listeners[i]);
}

int worker_run(const struct worker_setup *setup)
{
	worker.setup = setup;
	(void)signal(SIGPIPE, SIG_IGN);
	check_witness(keep_last_words);
	worker_title();
	worker_open(setup);
	if (setup->channel >= 0)
		tell_master(NOTE_READY, 0);
	if (setup->ready)
		setup->ready();
	loop_run(&worker.loop);
	log_info("worker ends", LOG_NUMBER("connections", worker.table.conns.used));
	conn_table_close(&worker.table);
	if (setup->bus)
		relay_close(&worker.relay);
	loop_close(&worker.loop);
	return 0;
}
