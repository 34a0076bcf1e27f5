#include "master/master.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/handoff.h"
#include "master/roster.h"
#include "master/spawn.h"
#include "reactor/check.h"
#include "reactor/descriptor.h"
#include "reactor/log.h"
#include "reactor/sys.h"
#include "worker/channel.h"

/* Beyond drain-timeout, for workers that have to close very many connections. */
#define STOP_GRACE_MS 2000

struct slot {
	struct roster_slot roster;
	pid_t pid;	       /* 0: nobody */
	struct source channel; /* fd -1: none */
	struct source timer;
	bool leaving; /* it takes no more connections */
};

static struct {
	const struct master_setup *setup;
	struct loop loop;
	struct stats stats;
	struct source signals, stop_timer;
	struct slot slots[WORKERS_MAX];
	size_t slots_n;
	bool stopping, told_ready;
} master;

static void slot_event(struct slot *slot, enum slot_event event);
static void signals_turn(struct loop *loop, struct source *source);

static size_t index_of(const struct slot *slot)
{
	return (size_t)(slot - master.slots);
}

/* ---- what is said ---- */

void master_log_ready(const struct config *config)
{
	char listeners[LOG_LINE_BYTES], text[ENDPOINT_TEXT_BYTES];
	size_t n = 0;

	*listeners = '\0';
	for (size_t i = 0; i < config->listeners_n && n < sizeof listeners; i++) {
		endpoint_format(&config->listeners[i], text);
		n += (size_t)snprintf(listeners + n, sizeof listeners - n, "%s%s", n ? " " : "",
				      text);
	}
	log_info("ready", LOG_NUMBER("pid", getpid()), LOG_NUMBER("workers", config->workers),
		 LOG_TEXT("listeners", listeners));
}

void master_log_totals(const struct board *board, size_t slots, const struct stats *own)
{
	struct log_field fields[64];
	size_t n = 0;

	for (size_t i = 0; i < stats_rows_n && n < 64; i++) {
		uint64_t total = stats_value(own, &stats_rows[i]);

		for (size_t slot = 0; slot < slots; slot++)
			total =
			    stats_combine(&stats_rows[i], total,
					  stats_value(&board->slot[slot].stats, &stats_rows[i]));
		if (total)
			fields[n++] = LOG_NUMBER(stats_rows[i].name, total);
	}
	log_write(LOG_INFO, "stopped", fields, n);
}

static void tell_when_ready(void)
{
	if (master.told_ready)
		return;
	for (size_t i = 0; i < master.slots_n; i++)
		if (master.slots[i].roster.state != SLOT_READY)
			return;
	master.told_ready = true;
	master_log_ready(master.setup->config);
}

/* ---- the channel of a worker ---- */

static void channel_close(struct slot *slot)
{
	if (slot->channel.fd < 0)
		return;
	handoff_worker_gone(index_of(slot)); /* before its number is another's */
	loop_unwatch(&master.loop, &slot->channel);
	(void)close(slot->channel.fd);
	slot->channel.fd = -1;
}

/* A worker that says what no worker says is not one any more. */
static void channel_distrust(struct slot *slot, const char *why)
{
	log_error("a worker broke the channel's rules", LOG_NUMBER("worker", index_of(slot)),
		  LOG_NUMBER("pid", slot->pid), LOG_TEXT("why", why));
	channel_close(slot);
	if (slot->pid)
		(void)kill(slot->pid, SIGKILL);
}

static void slot_tell(struct slot *slot, enum note_kind kind)
{
	struct note note = {.kind = kind};

	if (slot->channel.fd < 0 ||
	    descriptors_send(slot->channel.fd, &note, sizeof note, NULL, 0) < 0)
		log_warn("a worker does not take the order to drain",
			 LOG_NUMBER("worker", index_of(slot)));
}

/* A worker was sent TERM. Where all of us were (a service manager's way), the master's own
 * is there already: weir ends then, and who waits is served. */
static void slot_leaving(struct slot *slot)
{
	signals_turn(&master.loop, &master.signals);
	if (master.stopping || slot->channel.fd < 0)
		return;
	slot->leaving = true;
	slot_tell(slot, NOTE_LEAVE);
}

/* False: the channel has ended, or was ended. */
static bool channel_read(struct slot *slot)
{
	struct note note = {0};
	int fds[DESCRIPTORS_MAX];
	size_t fds_n;
	ssize_t n = descriptors_receive(slot->channel.fd, &note, sizeof note, fds, &fds_n);

	for (size_t i = 0; i < fds_n; i++)
		(void)close(fds[i]);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) { /* SIGCHLD follows */
		channel_close(slot);
		return false;
	}
	if (n != (ssize_t)sizeof note || fds_n) {
		channel_distrust(slot, "a note of another form");
		return false;
	}
	if (note.kind == NOTE_READY) {
		slot_event(slot, SLOT_UP);
	} else if (note.kind == NOTE_LEAVING) {
		slot_leaving(slot);
	} else if (note.kind != NOTE_TAKEN || !handoff_taken(index_of(slot), note.count)) {
		channel_distrust(slot, "a note out of place");
		return false;
	}
	return true;
}

/* Level-triggered, and one note a turn: none is read in vain. */
static void channel_turn(struct loop *loop, struct source *source)
{
	struct slot *slot = CONTAINER_OF(source, struct slot, channel);

	(void)loop;
	source->ready = 0;
	if (source->fd >= 0)
		(void)channel_read(slot);
}

/* ---- what the roster wants done ---- */

static int slot_spawn(struct slot *slot)
{
	const struct master_setup *setup = master.setup;
	struct worker_setup worker = {
	    .config = setup->config,
	    .identity = setup->identity,
	    .slot = &setup->board->slot[index_of(slot)],
	    .bus = setup->bus,
	    .index = (unsigned)index_of(slot),
	    .ledgers = setup->set->ledgers,
	};
	int channel, error;
	pid_t pid;

	listen_for_slot(setup->set, index_of(slot), worker.listeners);
	pid = spawn_worker(&worker, &channel);
	if (pid < 0)
		return pid;
	slot->pid = pid;
	slot->leaving = false;
	source_init(&slot->channel, channel, channel_turn);
	slot->channel.want = SOURCE_IN;
	error = loop_watch(&master.loop, &slot->channel, EPOLLIN);
	CHECK(!error);
	log_info("worker started", LOG_NUMBER("worker", index_of(slot)), LOG_NUMBER("pid", pid));
	return 0;
}

static void slot_event(struct slot *slot, enum slot_event event)
{
	enum slot_action action = roster_event(&slot->roster, event, master.loop.now_ms);
	int error;

	switch (action) {
	case DO_NOTHING:
		break;
	case DO_SPAWN:
		error = slot_spawn(slot);
		if (error) {
			log_error("a worker can't be forked", LOG_NUMBER("worker", index_of(slot)),
				  LOG_TEXT("error", strerror(-error)));
			slot_event(slot, SLOT_DIED);
		}
		break;
	case DO_ANNOUNCE:
		handoff_worker_up(index_of(slot), slot->channel.fd);
		tell_when_ready();
		break;
	case DO_REST:
		loop_no_deadline(&master.loop, &slot->timer);
		loop_deadline(&master.loop, &slot->timer,
			      master.loop.now_ms + slot->roster.delay_ms);
		break;
	case DO_DRAIN:
		slot_tell(slot, NOTE_DRAIN);
		break;
	case DO_KILL:
		log_warn("a worker did not end in its time", LOG_NUMBER("worker", index_of(slot)),
			 LOG_NUMBER("pid", slot->pid));
		if (slot->pid)
			(void)kill(slot->pid, SIGKILL);
		break;
	case DO_FORGET:
		loop_no_deadline(&master.loop, &slot->timer);
		break;
	}
}

static void slot_timer_turn(struct loop *loop, struct source *source)
{
	struct slot *slot = CONTAINER_OF(source, struct slot, timer);

	(void)loop;
	source->ready = 0;
	slot_event(slot, SLOT_RESTED);
}

/* ---- deaths ---- */

static void log_death(const struct slot *slot, pid_t pid, int status, uint64_t lost)
{
	struct board_slot *seat = &master.setup->board->slot[index_of(slot)];
	bool wanted =
	    slot->roster.state == SLOT_DRAINING || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
	char words[LAST_WORDS_BYTES], how[64];

	board_take_last_words(seat, words);
	if (WIFSIGNALED(status))
		(void)snprintf(how, sizeof how, "signal %d (%s)%s", WTERMSIG(status),
			       strsignal(WTERMSIG(status)),
			       WCOREDUMP(status) ? ", core dumped" : "");
	else
		(void)snprintf(how, sizeof how, "exit %d", WEXITSTATUS(status));
	struct log_field fields[] = {
	    LOG_NUMBER("worker", index_of(slot)),
	    LOG_NUMBER("pid", pid),
	    LOG_TEXT("how", how),
	    LOG_NUMBER("lost_connections", lost),
	    LOG_TEXT("last_words", words),
	};
	size_t n = sizeof fields / sizeof *fields;

	log_write(wanted ? LOG_INFO : LOG_WARN, wanted ? "worker ended" : "worker died", fields,
		  *words ? n : n - 1);
}

static void slot_died(struct slot *slot, int status)
{
	struct stats *stats = &master.setup->board->slot[index_of(slot)].stats;
	uint64_t lost = STATS_READ(stats, connections);
	pid_t pid = slot->pid;

	slot->pid = 0; /* reaped: the number may be anybody's now */

	/* Nobody else writes there now: what it held is accounted for. */
	STATS_ADD(stats, closed[CLOSE_worker_died], lost);
	STATS_ADD(stats, connections, -lost);
	while (slot->channel.fd >= 0 && channel_read(slot))
		; /* what it took, it took */
	channel_close(slot);
	if (master.setup->bus) {
		bus_vacate(master.setup->bus, (unsigned)index_of(slot));
		/* It may have published, and not woken anybody. */
		bus_ring_all_bells(master.setup->bus);
	}
	log_death(slot, pid, status, lost);
	slot_event(slot, SLOT_DIED);
	if (slot->roster.state == SLOT_RESTING)
		log_info("worker comes again", LOG_NUMBER("worker", index_of(slot)),
			 LOG_NUMBER("after_ms", slot->roster.delay_ms));
}

static bool anybody_left(void)
{
	for (size_t i = 0; i < master.slots_n; i++)
		if (master.slots[i].pid)
			return true;
	return false;
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < master.slots_n; i++)
			if (master.slots[i].pid == pid)
				slot_died(&master.slots[i], status);
	if (master.stopping && !anybody_left())
		master.loop.stopped = true;
}

/* ---- stopping ---- */

static void tell_last(void)
{
	for (size_t i = 0; i < master.slots_n; i++)
		if (master.slots[i].pid)
			slot_tell(&master.slots[i], NOTE_LAST);
}

static void stop_gracefully(const char *why)
{
	uint32_t drain_ms = config_ms(master.setup->config->drain_timeout);

	log_info("stopping", LOG_TEXT("why", why), LOG_NUMBER("drain_timeout_ms", drain_ms),
		 LOG_TEXT("hint", "a second signal stops at once"));
	master.stopping = true;
	reap(); /* TERM is told before the deaths that came with it */
	for (size_t i = 0; i < master.slots_n; i++) {
		if (!master.slots[i].pid || master.slots[i].leaving)
			listen_refuse(master.setup->set, i);
		slot_event(&master.slots[i], SLOT_CLOSE);
	}
	handoff_stop(tell_last);
	if (!anybody_left())
		listen_refuse_all(master.setup->set);
	listen_stop(master.setup->set); /* workers have their own: who comes now is refused */
	loop_deadline(&master.loop, &master.stop_timer,
		      master.loop.now_ms + drain_ms + STOP_GRACE_MS);
	if (!anybody_left())
		master.loop.stopped = true;
}

static void stop_at_once(const char *why)
{
	log_info("stopping at once", LOG_TEXT("why", why));
	master.stopping = true;
	for (size_t i = 0; i < master.slots_n; i++) {
		slot_event(&master.slots[i], SLOT_CLOSE);
		if (master.slots[i].pid)
			(void)kill(master.slots[i].pid, SIGKILL);
	}
	if (!anybody_left())
		master.loop.stopped = true;
}

static void stop_timer_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	source->ready = 0;
	for (size_t i = 0; i < master.slots_n; i++)
		slot_event(&master.slots[i], SLOT_OVERDUE);
}

/* ---- signals ---- */

static const int master_signals[] = {SIGTERM, SIGINT,  SIGQUIT, SIGCHLD, SIGHUP,
				     SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU};

static void take_signal(int number)
{
	switch (number) {
	case SIGCHLD:
		reap();
		break;
	case SIGTERM:
	case SIGINT:
		if (master.stopping)
			stop_at_once("a second signal");
		else
			stop_gracefully(strsignal(number));
		break;
	case SIGQUIT:
		stop_at_once(strsignal(number));
		break;
	default:
		log_warn("this signal does nothing in this version",
			 LOG_TEXT("signal", strsignal(number)));
	}
}

static void signals_turn(struct loop *loop, struct source *source)
{
	struct signalfd_siginfo info;

	(void)loop;
	source->ready = 0;
	while (read(source->fd, &info, sizeof info) == (ssize_t)sizeof info)
		take_signal((int)info.ssi_signo);
}

static void watch_signals(void)
{
	int error;
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof master_signals / sizeof *master_signals; i++)
		(void)sigaddset(&set, master_signals[i]);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	source_init(&master.signals, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), signals_turn);
	master.signals.want = SOURCE_IN;
	error = loop_watch(&master.loop, &master.signals, EPOLLIN | EPOLLET);
	if (master.signals.fd < 0 || error)
		die("watching signals: %s", strerror(error ? -error : errno));
}

int master_run(const struct master_setup *setup)
{
	int error;

	master.setup = setup;
	master.slots_n = setup->config->workers;
	error = loop_open(&master.loop, &master.stats, 0);
	if (error)
		die("epoll: %s", strerror(-error));
	watch_signals();
	source_init(&master.stop_timer, -1, stop_timer_turn);
	handoff_open(&master.loop, setup->set, setup->board);
	for (size_t i = 0; i < master.slots_n; i++) {
		source_init(&master.slots[i].channel, -1, channel_turn);
		source_init(&master.slots[i].timer, -1, slot_timer_turn);
		slot_event(&master.slots[i], SLOT_OPEN);
		if (!master.slots[i].pid)
			die("starting worker %zu: it can't be forked", i);
	}
	loop_run(&master.loop);
	handoff_close();
	master_log_totals(setup->board, master.slots_n, &master.stats);
	loop_close(&master.loop);
	return 0;
}
