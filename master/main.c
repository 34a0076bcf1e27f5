/* weir: reads what it is told, binds, and becomes a master, or the one process there is. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "master/listen/activation.h"
#include "master/metrics/lifetime_counters.h"
#include "master/metrics/carried_counters.h"
#include "master/control/control.h"
#include "master/listen/listen.h"
#include "master/master.h"
#include "master/metrics/metrics.h"
#include "master/notify.h"
#include "master/options.h"
#include "master/pid_file.h"
#include "master/change/upgrade.h"
#include "reactor/base/check.h"
#include "reactor/base/descriptor.h"
#include "reactor/base/inherited.h"
#include "reactor/base/log.h"
#include "worker/title.h"
#include "worker/worker.h"

static struct generation *first;

static size_t cpus_allowed(void)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
		return 1;
	return (size_t)CPU_COUNT(&allowed);
}

static pid_t opener;

/* However the process ends, what we left in the file system goes; workers must leave it alone. */
static void clean_up(void)
{
	if (getpid() != opener)
		return;
	control_close();
	metrics_close();
	EACH_GENERATION (generation)
		listen_drop(&generation->set);
	pid_file_remove();
}

static void ready_without_master(void)
{
	master_log_ready(&first->config);
	notify_ready("serving in one process");
}

static int run_without_master(struct scoreboard *scoreboard)
{
	static const struct stats nothing;
	static struct journal journal;
	const struct config *config = &first->config;
	struct worker_setup setup = {
	    .config = config,
	    .identity = config->user ? &config->identity : NULL,
	    .scoreboard = &scoreboard->seats[0],
	    .journal = config_has_topic(config) ? &journal : NULL,
	    .channel = -1,
	    .lifeline = -1,
	    .ledgers = first->set.ledgers,
	    .ready = ready_without_master,
	};
	int status;

	if (setup.journal && (status = journal_open(&journal, 1, config->history, 0)))
		die("shared memory for the journal: %s", strerror(-status));
	listen_for_slot(&first->set, 0, setup.listeners);
	listen_numbers(&first->set, setup.numbers);
	listen_topics(&first->set, setup.topics);
	for (size_t i = 0; i < config->listeners_n; i++) {
		setup.borrowed[i] = listen_borrowed(&first->set, i);
		/* Copies, because the worker closes its own. */
		setup.listeners[i] = fcntl(setup.listeners[i], F_DUPFD_CLOEXEC, 0);
		if (setup.listeners[i] < 0)
			die("duplicating a listener: %s", strerror(errno));
	}
	listen_stop(&first->set); /* clients that come while it drains are refused */
	status = worker_run(&setup);
	master_log_totals(scoreboard, &nothing);
	return status;
}

static int run(const struct handover_state *handover)
{
	struct master_setup setup = {.first = first, .handover = handover, .scoreboard_fd = -1};

	if (handover) {
		setup.scoreboard_fd = handover->scoreboard;
		setup.scoreboard = scoreboard_attach(setup.scoreboard_fd);
	}
	if (!setup.scoreboard) {
		setup.scoreboard = scoreboard_open(&setup.scoreboard_fd);
		if (!setup.scoreboard)
			die("shared memory for the board: %s", strerror(errno));
		if (handover && !carried_counters_open(setup.scoreboard, handover->scoreboard))
			log_warn("what the master before counted can't be read: it begins anew");
	}
	if (first->config.no_master)
		return run_without_master(setup.scoreboard);
	lifetime_counters_open(handover ? handover->lifetime_counters : -1);
	log_name("master");
	title_set("weir-master", "weir: master");
	return master_run(&setup);
}

/* Before anything else has descriptors of its own. */
static void take_activation(void)
{
	char error[CONFIG_ERROR_BYTES];

	if (activation_open(error))
		return;
	(void)fprintf(stderr, "weir: %s\n", error);
	exit(2);
}

/* Warns of what we inherited from whoever started us and can't mend. */
static void look_at_what_stays(void)
{
	char folder[4096];
	struct rlimit cpu;

	/* A reload reads the configuration by the same relative path as the start did. */
	if (!getcwd(folder, sizeof folder))
		log_warn("the working folder is not there: relative paths lead nowhere",
			 LOG_TEXT("error", strerror(errno)));
	if (getrlimit(RLIMIT_CPU, &cpu) == 0 && cpu.rlim_cur != RLIM_INFINITY)
		log_warn("a limit of CPU time ends each process that reaches it",
			 LOG_NUMBER("seconds", cpu.rlim_cur));
}

/* Refuses what a reload would refuse. If the master before does not say whether listeners were
 * configured, and we serve all that it has, we take it that none were. */
static void refuse_to_forget(const struct config *config, const struct handover_state *handover)
{
	char error[OPTIONS_ERROR_BYTES];
	uint32_t numbers[LISTENERS_MAX];
	bool default_listeners = handover->default_listeners || !listen_left(numbers);

	if (!options_look_intended(config, handover->file_settings, default_listeners, error))
		die("%s", error);
}

int main(int argc, char **argv)
{
	size_t descriptors;
	struct config *config;
	char error[CONFIG_ERROR_BYTES];
	static struct handover_state handover;
	bool successor, listens;

	inherited_repair(INHERITED_BY_SERVER);
	protocols_register();
	descriptors = descriptors_raise_limit();
	argv = title_open(argc, argv);
	take_activation();
	upgrade_remember(argv);
	successor = upgrade_inherit(&handover);
	first = generation_at(successor ? handover.generation + 1 : 1);
	first->number = successor ? handover.generation + 1 : 1;
	config = &first->config;
	options_read(config, argc, argv, cpus_allowed(), descriptors);
	first->workers_asked = config->workers;
	/* If signals changed the number of workers, that stays until the configuration says another
	 * one. */
	if (successor && handover.workers_asked == config->workers)
		config->workers = handover.slots;
	notify_open();
	log_open((enum log_level)config->log_level, (enum log_format)config->log_format);
	look_at_what_stays();
	if (config->user && !identity_may_be_taken(&config->identity))
		die("user %s: only root can become another user", config->user);
	if (config->no_master && config->control)
		log_warn("there is no control without a master", LOG_TEXT("path", config->control));
	if (config->max_connections_asked > config->max_connections)
		log_warn("the limit of descriptors cuts max-connections",
			 LOG_NUMBER("asked", config->max_connections_asked),
			 LOG_NUMBER("max_connections", config->max_connections));
	opener = getpid();
	(void)atexit(clean_up);
	pid_file_open(config->pid_file, successor ? &handover.pid_file : NULL);
	listens = listen_open(&first->set, config, NULL, error);
	if (successor) /* whatever it can't listen on may not be meant */
		refuse_to_forget(config, &handover);
	if (!listens)
		die("%s", error);
	if (!metrics_bind(config, &handover.metrics, error))
		die("%s", error);
	if (!successor)
		pid_file_write();
	return run(successor ? &handover : NULL);
}
