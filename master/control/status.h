/*
 * status: what weirctl's `status`, `workers`, `top` and `pid` show, as records (weirctl(8)).
 *
 * Which processes there are, the master knows itself; the counters are read from the scoreboard,
 * which costs no worker anything. They are only shown: a worker that writes nonsense there makes
 * nonsense numbers, and nothing else.
 */
#ifndef MASTER_CONTROL_STATUS_H
#define MASTER_CONTROL_STATUS_H

#include "master/control/control.h"
#include "master/journal_setup.h"
#include "worker/scoreboard.h"

struct status_server {
	pid_t pid;
	unsigned generation;
	const char *state; /* one word: serving, reloading, upgrading, stopping, ... */
	int64_t since;	   /* when weir was started, as time(2) says it */
	uint64_t up_s, master_up_s;
	size_t workers;	      /* ready */
	size_t workers_asked; /* as configured, with TTIN and TTOU */
	const char *config;   /* the file; NULL: none */
	const char *metrics;  /* where they are served; NULL: nowhere */
};

struct status_listener {
	unsigned id;
	const char *listener; /* as endpoint_format() writes it */
	const char *accept;   /* mode */
	const char *state;    /* one word: open, closing */
};

struct status_worker {
	unsigned slot, seat, generation;
	pid_t pid;		    /* 0: nobody is there now */
	const char *state;	    /* one word */
	uint64_t up_s;		    /* since it was forked */
	const struct stats *before; /* what the seat's counters were then; NULL: 0 */
	unsigned restarts;	    /* how often the slot's worker was replaced because it died */
};

/* What was published, and is kept; nothing if there is no journal. */
void status_journal(struct control_client *client, const struct journal_figures *figures);

#define STATUS_CLOSED "closed_" /* what a field that counts closes begins with; then the reason */

/* Says when the counters that follow are read, by the clock that all processes here have: for
 * rates. */
void status_moment(struct control_client *client);
/* seats: how many of the scoreboard's are in use, for the sums. */
void status_server(struct control_client *client, const struct status_server *server,
		   const struct scoreboard *scoreboard, size_t seats);
/* for_top: with what only `top` shows. */
void status_listener(struct control_client *client, const struct status_listener *listener);
void status_worker(struct control_client *client, const struct status_worker *worker,
		   const struct scoreboard *scoreboard, bool for_top);
/* Ends the answer to `pid ARGUMENT`: "" is the master's, "wN" that of slot N's worker, the newest
 * if there are two. */
void status_pid(struct control_client *client, const char *argument, pid_t master,
		const struct status_worker *workers, size_t n);

#endif
