#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "master/metrics/lifetime_counters.h"
#include "master/metrics/carried_counters.h"
#include "master/change/change.h"
#include "master/control/control.h"
#include "master/control/control_commands.h"
#include "master/disposal.h"
#include "master/change/generation.h"
#include "master/handoff.h"
#include "master/metrics/metrics.h"
#include "master/notify.h"
#include "master/pid_file.h"
#include "master/liveness.h"
#include "master/journal_setup.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "worker/title.h"

/* Beyond drain-timeout, for workers that have to close very many connections. */
#define STOP_GRACE_MS 2000
/* How often, and how many times, a master that leaves tries to tell the service manager which
 * master comes next. */
#define SHUTDOWN_NOTICE_MS 100
#define SHUTDOWN_NOTICES   50
/* So many counters have room in a line of the log; the rest are in metrics only. */
#define TOTALS_MAX 80

static struct {
	const struct master_setup *setup;
	struct loop loop;
	struct stats stats;
	struct source signals, stop_timer;
	struct source shutdown_notice;
	unsigned shutdown_notices;
	bool successor_told; /* systemd knows that the next master is the main process */
	int lifeline[2];     /* a pipe: its first end tells the next master when we have all gone */
	bool stopping, told_ready;
} master;

static void signals_turn(struct loop *loop, struct source *source);

static struct generation_owner generation_owner;
static struct control_commands_owner control_commands_owner;
static void drain(const char *why);

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

void master_log_totals(const struct scoreboard *scoreboard, const struct stats *own)
{
	struct log_field fields[TOTALS_MAX];
	size_t n = 0;

	carried_counters_look();
	for (size_t i = 0; i < stats_rows_n && n < TOTALS_MAX; i++) {
		const struct stats_row *row = &stats_rows[i];
		uint64_t total = lifetime_counters_of_masters(i, stats_value(own, row));

		for (size_t seat = 0; seat < SEATS_MAX; seat++)
			total = stats_combine(row, total, scoreboard_value(scoreboard, seat, row));
		if (total && row->kind != STATS_BUCKET && row->kind != STATS_SUM)
			fields[n++] = LOG_NUMBER(row->name, total);
	}
	log_write(LOG_INFO, "stopped", fields, n);
}

static void status_text(char text[NOTIFY_STATUS_BYTES])
{
	uint64_t connections = 0;
	size_t workers = 0;

	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			connections += slot_connections(slot);
	EACH_SLOT (slot, change_serving())
		workers += slot->roster.state == SLOT_READY;
	(void)snprintf(text, NOTIFY_STATUS_BYTES, "%s; workers: %zu of %zu, connections: %llu",
		       master.stopping ? "stopping" : "serving", workers, change_serving()->slots_n,
		       (unsigned long long)connections);
}

/* The watch has its turn anyway: so a record that a worker did not tell of is found some time. */
static void tell_status(void)
{
	char status[NOTIFY_STATUS_BYTES];

	journal_setup_look();
	if (!master.told_ready || !notify_is_open())
		return;
	status_text(status);
	notify_status("%s", status);
}

static void tell_ready(void)
{
	char status[NOTIFY_STATUS_BYTES];

	status_text(status);
	notify_ready(status);
}

static void tell_when_ready(void)
{
	if (master.told_ready || change_serving()->phase != GENERATION_SERVING ||
	    !generation_is_ready(change_serving()))
		return;
	master.told_ready = true;
	master_log_ready(&change_serving()->config);
	tell_ready();
}

/* ---- workers come and go ---- */

static void slot_up(struct slot *slot)
{
	change_slot_up(slot);
	tell_when_ready();
}

static void slot_gone(struct slot *slot)
{
	change_slot_gone(slot);
}

/* A worker was sent TERM. If all processes were, as a service manager does it, the master's own
 * signal is pending already: then weir ends, and clients that wait are served. */
static void slot_leaving(struct slot *slot)
{
	signals_turn(&master.loop, &master.signals);
	if (master.stopping || slot->leaving || !seqpacket_is_open(&slot->channel))
		return;
	slot->leaving = true;
	(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_LEAVE});
}

static const char *const change_names[] = {
    [CHANGE_RELOAD] = "reload",
    [CHANGE_WORKERS] = "workers",
    [CHANGE_REBALANCE] = "rebalance",
    [CHANGE_UPGRADE] = "upgrade",
};

static void change_begins(enum change change)
{
	log_info("change begins", LOG_TEXT("what", change_names[change]));
	if (change == CHANGE_RELOAD)
		notify_reloading();
}

static void count_change(enum change change, bool made)
{
	if (change == CHANGE_RELOAD)
		lifetime_counters_add(made ? LIFETIME_RELOADS : LIFETIME_RELOADS_FAILED);
	else if (change == CHANGE_UPGRADE)
		lifetime_counters_add(made ? LIFETIME_UPGRADES : LIFETIME_UPGRADES_FAILED);
}

static void change_ended(enum change change, bool made, const char *text)
{
	count_change(change, made);
	journal_setup_look(); /* another configuration may serve */
	if (made)
		log_info("change made", LOG_TEXT("what", change_names[change]),
			 LOG_TEXT("how", text));
	else
		log_error(master.stopping ? "change given up" : "change not made, all is as it was",
			  LOG_TEXT("what", change_names[change]), LOG_TEXT("why", text));
	if (change == CHANGE_RELOAD && !master.stopping) {
		tell_ready();
		liveness_look_soon();
	}
	control_commands_tell(change, made, text);
}

static void change_passed_on(enum change change)
{
	char text[64];

	log_info("change is the next master's", LOG_TEXT("what", change_names[change]));
	(void)snprintf(text, sizeof text, "the next master, pid %d, was told to do it",
		       (int)upgrade_pid());
	control_commands_tell(change, false, text);
}

/* ---- another master ---- */

static bool start_upgrade(char error[CHANGE_TEXT_BYTES])
{
	const struct generation *serving = change_serving();
	struct handover_state handover = {
	    .generation = serving->number,
	    .slots = serving->slots_n,
	    .workers_asked = (size_t)serving->workers_asked,
	    .default_listeners = serving->config.default_listeners,
	    .file_settings = serving->config.file_settings,
	    .scoreboard = master.setup->scoreboard_fd,
	    .lifeline = master.lifeline[0],
	    .lifetime_counters = lifetime_counters_fd(),
	};
	int error_number;

	control_export(&handover.control);
	metrics_export(&handover.metrics);
	pid_file_export(&handover.pid_file);
	error_number = journal_setup_export(&serving->config, &handover);
	if (error_number) {
		(void)snprintf(error, CHANGE_TEXT_BYTES, "shared memory for the journal: %s",
			       strerror(-error_number));
		return false;
	}
	return upgrade_begin(&master.loop, change_upgrade_owner(), &handover, &serving->set, error);
}

static void handed_over(bool handed_over)
{
	listen_handed_over(&change_serving()->set, handed_over);
	journal_setup_look();
	if (!handed_over) {
		listen_serve(&change_serving()->set); /* whatever the other one did there */
		control_take_back();
		metrics_serve();
		pid_file_take_back();
		(void)notify_main_pid(getpid());
		return;
	}
	master.shutdown_notices = 0;
	lifetime_counters_leave_master(&master.stats);
	pid_file_hand_over();
	control_hand_over();
	metrics_leave();
	master.successor_told = notify_main_pid(upgrade_pid());
	title_set("weir-master-old", "weir: master (its workers retire)");
}

static void takes_over(void)
{
	struct generation *serving = change_serving();

	listen_serve(&serving->set);
	handoff_serve(&serving->set);
}

static void open_control_commands(void)
{
	const struct handover_state *handover = master.setup->handover;

	control_commands_owner.scoreboard = master.setup->scoreboard;
	control_commands_open(&control_commands_owner, handover ? &handover->control : NULL);
}

static void serves(void)
{
	pid_file_take_over();
	journal_setup_look();
	open_control_commands();
	metrics_serve();
	tell_when_ready();
}

static struct change_owner change_owner = {
    .loop = &master.loop,
    .seats = journal_setup_use,
    .upgrade = start_upgrade,
    .handed_over = handed_over,
    .doorbell = journal_setup_add_doorbell,
    .takes_over = takes_over,
    .serves = serves,
    .begins = change_begins,
    .ended = change_ended,
    .passed_on = change_passed_on,
    .stop = drain,
};

static struct generation_owner generation_owner = {
    .loop = &master.loop,
    .up = slot_up,
    .gone = slot_gone,
    .moved_out = change_slot_moved_out,
    .leaving = slot_leaving,
    .history_begins = journal_setup_look,
};

/* ---- deaths ---- */

static bool may_go(void)
{
	return (master.stopping || change_is_handed_over()) && !generations_have_workers();
}

/* All workers have gone, and so do we. But first the service manager has to hear which master comes
 * after us, or it would take our end for that of weir; a client that asked for metrics gets its
 * answer, and the next master gets all messages. */
static void shutdown_notice_turn(struct loop *loop, struct source *source)
{
	source->ready = 0;
	/* The next master may have died since: then all is ours again. */
	if (!may_go())
		return;
	if (change_is_handed_over() && !master.successor_told)
		master.successor_told = notify_main_pid(upgrade_pid());
	if (change_is_handed_over() &&
	    (!master.successor_told || metrics_is_busy() || upgrade_is_telling()) &&
	    master.shutdown_notices++ < SHUTDOWN_NOTICES) {
		loop_deadline(loop, source, loop->now_ms + SHUTDOWN_NOTICE_MS);
		return;
	}
	loop->stopped = true;
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = generations_reap(&status)))
		if (!disposal_reaped(pid))
			change_reaped(pid, status);
	if (may_go())
		shutdown_notice_turn(&master.loop, &master.shutdown_notice);
}

/* ---- stopping ---- */

static void tell_stopping(void)
{
	char status[NOTIFY_STATUS_BYTES];

	master.stopping = true;
	status_text(status);
	notify_stopping(status);
	change_stop();
}

static void tell_last(void)
{
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			if (slot->pid)
				(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_LAST});
}

static void stop_gracefully(const char *why)
{
	struct generation *serving = change_serving();
	uint32_t drain_ms = config_ms(serving->config.drain_timeout);

	log_info("stopping", LOG_TEXT("why", why), LOG_NUMBER("drain_timeout_ms", drain_ms),
		 LOG_TEXT("hint", "a second signal stops at once"));
	tell_stopping();
	reap(); /* deaths that came together with TERM are handled as part of it */
	EACH_SLOT (slot, serving) /* clients at listeners of another master are not ours */
		if ((!slot->pid || slot->leaving) && !change_is_handed_over())
			listen_refuse(&serving->set, slot_index(slot));
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			slot_event(slot, SLOT_CLOSE);
	handoff_stop(tell_last);
	if (!generations_have_workers() && !change_is_handed_over())
		listen_refuse_all(&serving->set);
	/* Workers have copies: clients that come after those are closed are refused. */
	EACH_GENERATION (generation)
		listen_stop(&generation->set);
	loop_deadline(&master.loop, &master.stop_timer,
		      master.loop.now_ms + drain_ms + STOP_GRACE_MS);
	if (!generations_have_workers())
		master.loop.stopped = true;
}

static void stop_at_once(const char *why)
{
	log_info("stopping at once", LOG_TEXT("why", why));
	tell_stopping();
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation) {
			slot_event(slot, SLOT_CLOSE);
			if (slot->pid)
				(void)kill(slot->pid, SIGKILL);
		}
	if (!generations_have_workers())
		master.loop.stopped = true;
}

static void stop_timer_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	source->ready = 0;
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			slot_event(slot, SLOT_OVERDUE);
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
	case SIGHUP:
		log_info("reload", LOG_TEXT("why", "HUP"));
		change_reload();
		break;
	case SIGUSR2:
		log_info("upgrade", LOG_TEXT("why", "USR2"));
		change_upgrade();
		break;
	case SIGTTIN:
		log_info("one worker more", LOG_TEXT("why", "TTIN"));
		change_workers(1);
		break;
	case SIGTTOU:
		log_info("one worker fewer", LOG_TEXT("why", "TTOU"));
		change_workers(-1);
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

static const char *state(void)
{
	static const char *const states[] = {
	    [CHANGE_NONE] = "serving",	    [CHANGE_RELOAD] = "reloading",
	    [CHANGE_WORKERS] = "resizing",  [CHANGE_REBALANCE] = "rebalancing",
	    [CHANGE_UPGRADE] = "upgrading",
	};

	if (master.stopping)
		return "stopping";
	return master.told_ready ? states[change_now()] : "starting";
}

static void drain(const char *why)
{
	if (!master.stopping)
		stop_gracefully(why);
}

static struct metrics_owner metrics_owner;

/* Why a load balancer should not send clients here now; NULL: it may. */
static const char *unready(void)
{
	if (master.stopping)
		return "stopping: connections are drained";
	if (change_is_handed_over()) /* to a master whose workers were ready */
		return NULL;
	if (change_serving()->phase != GENERATION_SERVING)
		return "starting: another master serves still";
	if (!master.told_ready)
		return "starting: not all workers are ready yet";
	EACH_SLOT (slot, change_serving())
		if (slot->roster.state == SLOT_READY && !slot->leaving &&
		    !liveness_is_bad(liveness_of(metrics_owner.scoreboard, slot)))
			return NULL;
	return "no worker is ready";
}

static struct metrics_owner metrics_owner = {
    .loop = &master.loop,
    .own = &master.stats,
    .state = state,
    .unready = unready,
};

static struct control_commands_owner control_commands_owner = {
    .loop = &master.loop,
    .own = &master.stats,
    .state = state,
    .drain = drain,
    .stop = stop_at_once,
    .upgrade = change_upgrade,
};

static uint32_t watchdog_ms(void)
{
	return config_ms(change_serving()->config.watchdog);
}

int master_run(const struct master_setup *setup)
{
	struct generation *first = setup->first;
	size_t n = (size_t)first->config.workers;
	int error;

	master.setup = setup;
	error = loop_open(&master.loop, &master.stats, 0);
	if (error)
		die("epoll: %s", strerror(-error));
	watch_signals();
	disposal_open(&master.loop);
	source_init(&master.stop_timer, -1, stop_timer_turn);
	source_init(&master.shutdown_notice, -1, shutdown_notice_turn);
	if (pipe2(master.lifeline, O_CLOEXEC | O_NONBLOCK) < 0)
		die("pipe: %s", strerror(errno));
	generation_owner.scoreboard = setup->scoreboard;
	generation_owner.lifeline = master.lifeline[1];
	change_owner.predecessor = setup->handover ? setup->handover->lifeline : -1;
	generation_init(&generation_owner);
	journal_setup_init(&generation_owner);
	change_init(&change_owner, first);
	handoff_open(&master.loop, setup->scoreboard);
	metrics_owner.scoreboard = setup->scoreboard;
	metrics_begin(&metrics_owner);
	lifetime_counters_master_began();
	if (setup->handover)
		journal_setup_inherit(setup->handover, scoreboard_seat_of((unsigned)n, 0));
	error = journal_setup_use(&first->config, scoreboard_seat_of((unsigned)n, 0));
	if (error)
		die("shared memory for the journal: %s", strerror(-error));
	first->phase = setup->handover ? GENERATION_STAGED : GENERATION_SERVING;
	if (!setup->handover) {
		takes_over();
		open_control_commands();
		metrics_serve();
	}
	if (!generation_fill(first, n))
		die("starting workers: one can't be forked");
	liveness_watch(&master.loop, setup->scoreboard, watchdog_ms, tell_status);
	loop_run(&master.loop);
	/* All of weir ends, and a master before us with it: so we remove its socket files. */
	if (master.stopping && change_serving()->phase == GENERATION_SERVING)
		listen_end_sharing(NULL);
	control_commands_close();
	metrics_close();
	handoff_close();
	if (change_is_handed_over())
		log_info("replaced by another master");
	else
		master_log_totals(setup->scoreboard, &master.stats);
	loop_close(&master.loop);
	return 0;
}
