#include "bench/weirload/run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/weirload/chat/chat_kind.h"
#include "bench/weirload/chat/chat_table.h"
#include "bench/weirload/sender.h"
#include "bench/weirload/tcp/connection.h"
#include "bench/weirload/udp/udp_client.h"
#include "reactor/base/check.h"

#define START_DELAY_NS 20000000 /* until all senders have heard that they begin */
#define SECOND_NS      1000000000
#define STDIN_MS       250		  /* from one look for a signal to the next */
#define GRACE_NS       (5ull * SECOND_NS) /* on top of --timeout, for senders to end */

struct run {
	const struct plan *plan;
	struct schedule *schedule;
	struct chat_table *chat_table; /* of a chat only */
	struct tally *tallies;
	unsigned senders, ready, gone;
	int interrupts_seen; /* each signal ends one wait */
	struct pollfd doorbells[PLAN_PROCESSES_MAX];
	pid_t pids[PLAN_PROCESSES_MAX];
	uint64_t asked_ns; /* with --idle: when the last messages began */
	uint64_t shown_ns, shown_messages;
};

/* What is read at the beginning and at the end of what is measured. */
struct reading {
	uint64_t at_ns;
	struct tally sum;
	struct usage_snapshot server, generator;
	bool server_known;
};

static volatile sig_atomic_t interrupts;

static void on_signal(int signal)
{
	(void)signal;
	interrupts++;
}

/* ---- progress ---- */

static void show_progress(struct run *run, const char *doing)
{
	struct tally sum;
	uint64_t now_ns = clock_ns(), errors = 0;

	if (!isatty(STDERR_FILENO) || now_ns - run->shown_ns < SECOND_NS)
		return;
	tally_sum(&sum, run->tallies, run->senders);
	for (int kind = 0; kind < TALLY_ERROR_KINDS; kind++)
		errors += sum.errors[kind];
	if (run->shown_ns)
		(void)fprintf(stderr, "\r\033[K%s: %llu %s, %.0f %s/s, %llu errors", doing,
			      (unsigned long long)sum.open, plan_noun(run->plan),
			      (double)(sum.messages - run->shown_messages) * 1e9 /
				  (double)(now_ns - run->shown_ns),
			      run->plan->chats ? "deliveries" : "messages",
			      (unsigned long long)errors);
	run->shown_ns = now_ns;
	run->shown_messages = sum.messages;
}

static void clear_progress(void)
{
	if (isatty(STDERR_FILENO))
		(void)fprintf(stderr, "\r\033[K");
}

/* ---- senders ---- */

static _Noreturn void become_sender(const struct run *run, unsigned i, int doorbell)
{
	static struct sender sender;
	const struct plan *plan = run->plan;

	if (plan->nice && setpriority(PRIO_PROCESS, 0, plan->nice) < 0)
		die("setpriority: %s", strerror(errno));
	sender = (struct sender){
	    .plan = plan,
	    .schedule = run->schedule,
	    .kind = plan->chats		       ? &chat_kind
		    : plan->endpoint.datagrams ? &udp_client_kind
					       : &connection_kind,
	    .chat_table = run->chat_table,
	    .tally = &run->tallies[i],
	    .number = i,
	};
	sender_run(&sender, doorbell);
}

static void start_senders(struct run *run)
{
	run->senders = (unsigned)run->plan->processes;
	for (unsigned i = 0; i < run->senders; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			die("socketpair: %s", strerror(errno));
		run->pids[i] = fork();
		if (run->pids[i] < 0)
			die("fork: %s", strerror(errno));
		if (run->pids[i] == 0)
			become_sender(run, i, pair[1]);
		(void)close(pair[1]);
		run->doorbells[i] = (struct pollfd){.fd = pair[0], .events = POLLIN};
	}
}

static void ring_all(struct run *run, char what)
{
	for (unsigned i = 0; i < run->senders; i++)
		if (run->doorbells[i].fd >= 0)
			(void)send(run->doorbells[i].fd, &what, 1, MSG_NOSIGNAL);
}

static void hear(struct run *run, unsigned i)
{
	char what;

	if (read(run->doorbells[i].fd, &what, 1) == 1) {
		run->ready += what == DOORBELL_READY;
		return;
	}
	(void)close(run->doorbells[i].fd);
	run->doorbells[i].fd = -1;
	run->gone++;
}

/* Waits until until_ns, until *count is the number of senders (count may be NULL), until a sender
 * has gone (unless count is &run->gone), or until a signal comes. */
static void wait_for(struct run *run, uint64_t until_ns, const unsigned *count, const char *doing)
{
	for (;;) {
		uint64_t now_ns = clock_ns(), wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
		struct timespec wait;

		if (!wait_ns || interrupts != run->interrupts_seen ||
		    (count && *count == run->senders) || (count != &run->gone && run->gone))
			return;
		if (wait_ns > SECOND_NS / 4)
			wait_ns = SECOND_NS / 4;
		wait = (struct timespec){.tv_nsec = (long)wait_ns};
		if (ppoll(run->doorbells, run->senders, &wait, NULL) > 0)
			for (unsigned i = 0; i < run->senders; i++)
				if (run->doorbells[i].fd >= 0 && run->doorbells[i].revents)
					hear(run, i);
		show_progress(run, doing);
	}
}

/* With --wait: says that all are there, and waits for the end of stdin. A sender that goes
 * meanwhile shows when the run begins. */
static void wait_for_stdin(const struct run *run)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	char bytes[256];

	clear_progress();
	(void)fprintf(stderr, "weirload: all %llu %s are up; waiting for the end of stdin\n",
		      (unsigned long long)run->plan->connections, plan_noun(run->plan));
	while (interrupts == run->interrupts_seen)
		if (poll(&in, 1, STDIN_MS) > 0 && read(STDIN_FILENO, bytes, sizeof bytes) <= 0)
			return;
}

/* A number that grows with each answered message, and with each connection that ends. */
static uint64_t progress(const struct run *run)
{
	struct tally sum;

	tally_sum(&sum, run->tallies, run->senders);
	return sum.messages + sum.connects - sum.open + run->gone;
}

/* With --idle each last message has a time limit of its own, and only some are under way at a time.
 * There is no limit for all of them together: this gives up when there has been no progress for
 * --timeout and GRACE_NS. */
static void wait_for_idle(struct run *run, const unsigned *count, const char *doing)
{
	uint64_t patience_ns = run->plan->timeout_us * 1000 + GRACE_NS, before;

	run->interrupts_seen = interrupts;
	do {
		before = progress(run);
		wait_for(run, clock_ns() + patience_ns, count, doing);
	} while (*count < run->senders && interrupts == run->interrupts_seen &&
		 progress(run) != before);
}

static void wait_for_end(struct run *run)
{
	uint64_t patience_ns = run->plan->timeout_us * 1000 + GRACE_NS;

	if (run->plan->idle) {
		wait_for_idle(run, &run->gone, "ending");
		return;
	}
	if (run->plan->slow &&
	    run->plan->chats) /* slow clients have their time after all others have ended */
		patience_ns += run->plan->timeout_us * 1000;
	run->interrupts_seen = interrupts;
	wait_for(run, clock_ns() + patience_ns, &run->gone, "ending");
}

static void end_senders(struct run *run, struct outcome *outcome)
{
	wait_for_end(run);
	for (unsigned i = 0; i < run->senders; i++) {
		bool given_up = interrupts != run->interrupts_seen; /* by a signal */
		int status = 0;

		if (run->doorbells[i].fd >= 0)
			(void)kill(run->pids[i], SIGKILL);
		(void)waitpid(run->pids[i], &status, 0);
		if (WIFSIGNALED(status) && !given_up)
			(void)snprintf(outcome->invalid_why, sizeof outcome->invalid_why,
				       "a sending process did not come to its end (signal %d)",
				       WTERMSIG(status));
		else if (status && !given_up)
			(void)snprintf(outcome->invalid_why, sizeof outcome->invalid_why,
				       "a sending process failed");
	}
}

/* ---- readings ---- */

static bool usage_of(struct usage_snapshot *snapshot, pid_t pid, bool memory)
{
	int error = usage_take(snapshot, pid, memory);

	if (error)
		(void)fprintf(stderr, "weirload: process %d cannot be looked at: %s\n", (int)pid,
			      strerror(-error));
	return !error;
}

static void take(struct reading *reading, const struct run *run)
{
	if (run->plan->server_pid)
		reading->server_known = usage_of(&reading->server, run->plan->server_pid, false);
	(void)usage_of(&reading->generator, getpid(), false);
	tally_sum(&reading->sum, run->tallies, run->senders);
	reading->at_ns = clock_ns();
}

static void keep_difference(struct outcome *outcome, const struct reading *a,
			    const struct reading *b)
{
	outcome->measured_ns = b->at_ns - a->at_ns;
	outcome->messages = b->sum.messages - a->sum.messages;
	outcome->lines = b->sum.lines - a->sum.lines;
	outcome->connects = b->sum.connects - a->sum.connects;
	outcome->reopened = b->sum.reopened - a->sum.reopened;
	outcome->reopened_by_reset = b->sum.reopened_by_reset - a->sum.reopened_by_reset;
	outcome->retried = b->sum.retried - a->sum.retried;
	outcome->sent_bytes = b->sum.sent_bytes - a->sum.sent_bytes;
	outcome->received_bytes = b->sum.received_bytes - a->sum.received_bytes;
	outcome->server_known = a->server_known && b->server_known;
	if (outcome->server_known)
		usage_difference(&outcome->server, &a->server, &b->server);
	usage_difference(&outcome->generator, &a->generator, &b->generator);
}

/* Read before the first connection, and when all are there; below 0: not known. */
static int64_t server_memory(const struct plan *plan)
{
	struct usage_snapshot snapshot = {0};
	int64_t bytes;

	if (!plan->server_pid || !usage_of(&snapshot, plan->server_pid, true))
		return -1;
	bytes = (int64_t)snapshot.memory_bytes;
	usage_free(&snapshot);
	return bytes;
}

/* ---- the two kinds of run ---- */

static void run_measured(struct run *run, struct outcome *outcome)
{
	static struct reading from, to;
	struct schedule *schedule = run->schedule;
	const struct plan *plan = run->plan;

	schedule->start_ns = clock_ns() + START_DELAY_NS;
	schedule->measure_ns = schedule->start_ns + plan->warmup_us * 1000;
	ring_all(run, DOORBELL_GO);
	wait_for(run, schedule->measure_ns, NULL, "warming up");
	if (!interrupts) {
		take(&from, run);
		wait_for(run, schedule->measure_ns + plan->duration_us * 1000, NULL, "measuring");
		take(&to, run); /* the load goes on meanwhile */
		keep_difference(outcome, &from, &to);
	}
	schedule->end_ns = clock_ns();
	ring_all(run, DOORBELL_END);
}

static void run_idle(struct run *run, struct outcome *outcome)
{
	uint64_t from_ns = clock_ns();

	wait_for(run, from_ns + run->plan->duration_us * 1000, NULL, "holding");
	outcome->held_ns = clock_ns() - from_ns;
	run->schedule->measure_ns = from_ns;
	run->ready = 0;
	run->asked_ns = clock_ns();
	ring_all(run, DOORBELL_GO);
	/* If a process ended its connections now, that would delay the answers of other processes.
	 */
	wait_for_idle(run, &run->ready, "asking again");
	ring_all(run, DOORBELL_END);
}

static void merge_histograms(struct outcome *outcome, const struct run *run)
{
	for (unsigned i = 0; i < run->senders; i++) {
		const struct tally *one = &run->tallies[i];

		histogram_merge(&outcome->all.connect, &one->connect);
		histogram_merge(&outcome->all.service, &one->service);
		histogram_merge(&outcome->all.response, &one->response);
		histogram_merge(&outcome->all.slip, &one->slip);
	}
}

static void keep_disagreement(struct tally *all)
{
	if (!all->errors[TALLY_altered]++)
		(void)snprintf(all->details[TALLY_altered], TALLY_DETAIL_BYTES,
			       "two sending processes were answered with different bodies");
}

void run(struct outcome *outcome, const struct plan *plan)
{
	static struct run run;
	int64_t kernel_base_bytes = (int64_t)usage_kernel_bytes();
	struct sigaction action = {.sa_handler = on_signal};
	uint64_t begun_ns = clock_ns();

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	run.plan = plan;
	run.schedule = mmap(NULL, sizeof *run.schedule, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	run.tallies = tally_map((unsigned)plan->processes);
	if (plan->chats)
		run.chat_table = chat_table_map(plan);
	if (run.schedule == MAP_FAILED || !run.tallies || (plan->chats && !run.chat_table))
		die("no memory to count in");
	outcome->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	outcome->server_base_bytes = server_memory(plan);
	start_senders(&run);
	wait_for(&run, UINT64_MAX, &run.ready, "connecting");
	outcome->ramp_ns = clock_ns() - begun_ns;
	tally_sum(&outcome->all, run.tallies, run.senders);
	outcome->held = outcome->all.open;
	outcome->server_held_bytes = server_memory(plan);
	outcome->kernel_held_bytes = (int64_t)usage_kernel_bytes() - kernel_base_bytes;
	if (plan->wait && outcome->held && !run.gone)
		wait_for_stdin(&run);

	if (outcome->held && !interrupts && !run.gone) {
		if (plan->idle)
			run_idle(&run, outcome);
		else
			run_measured(&run, outcome);
		end_senders(&run, outcome);
		outcome->finish_ns = clock_ns() - run.asked_ns;
	} else {
		if (run.gone && !interrupts)
			(void)snprintf(outcome->invalid_why, sizeof outcome->invalid_why,
				       "a sending process ended before it could begin");
		for (unsigned i = 0; i < run.senders; i++) {
			(void)kill(run.pids[i], SIGKILL);
			(void)waitpid(run.pids[i], NULL, 0);
		}
	}
	clear_progress();
	outcome->interrupted = interrupts != 0;
	tally_sum(&outcome->all, run.tallies, run.senders);
	if (!tally_bodies_agree(run.tallies, run.senders))
		keep_disagreement(&outcome->all);
	merge_histograms(outcome, &run);
}
