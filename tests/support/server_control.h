/*
 * server_control: a weir that is reloaded, upgraded and asked, and followed from master to master.
 *
 * CONTROLLED(...) starts it from a copy of the binary in the test's temporary folder, with a
 * control socket and a pid file there, one at a time in a test's process. Changes by signal,
 * server_control_follow(), and the functions that read the log work with any other server too. The
 * test's process adopts whatever a master leaves behind: after an upgrade the new master is its
 * child, and server->pid is the master that serves. A change that was not made fails the test.
 */
#ifndef TESTS_SUPPORT_SERVER_CONTROL_H
#define TESTS_SUPPORT_SERVER_CONTROL_H

#include "tests/support/harness.h"

/* ---- its start and its end ---- */

struct server *server_control_start(const char *const arguments[]);
#define CONTROLLED(...) server_control_start((const char *const[]){__VA_ARGS__, NULL})
/* Writes, or overwrites, the file for --config. Returns its path. */
const char *server_control_config(const char *text);
/* Sends TERM; expects the server to end well, and to leave nothing behind. */
void server_control_stop(struct server *server);
/* Expects that all processes that were started, the pid file and the control socket are gone. */
void server_control_expect_all_gone(void);

/* ---- changes by signal, and what the log says of them ---- */

enum server_control {
	SERVER_CONTROL_RELOAD,
	SERVER_CONTROL_UPGRADE,
	SERVER_CONTROL_MORE,
	SERVER_CONTROL_FEWER,
	SERVER_CONTROL_REBALANCE /* by weirctl, since there is no signal for it */
};

struct server_control_change {
	uint64_t moved; /* connections */
	uint64_t ms;	/* how long it took since the new workers were ready */
	uint64_t stay;	/* connections that could not be moved */
};

/* Asks for a change. One at a time: server->log is cleared. */
void server_control_order(struct server *server, enum server_control what);
/* Whether the change is over; if so, *seen says what was done. Does not wait. */
bool server_control_done(struct server *server, enum server_control what,
			 struct server_control_change *seen);
/* Asks for a change, and waits until it is over. */
struct server_control_change server_control_make(struct server *server, enum server_control what);
/* After an upgrade: waits until the old master has ended well; from then on server is the new one.
 */
void server_control_follow(struct server *server);

/* Clears server->log. */
void server_control_forget(struct server *server);
/* Waits until the log has the text so often since it was last cleared. */
void server_control_wait_log_times(struct server *server, const char *text, size_t times);
/* Expects that connections were ended only by their peers, and that each connection that left a
 * worker arrived at another one. */
void server_control_expect_no_loss(struct server *server);
/* For the message of a failed test: how many connections ended for each reason. The whole log goes
 * to stdout, because a message has to be short. */
const char *server_control_close_counts(struct server *server);

/* ---- by weirctl ---- */

/* Runs weirctl, and returns its exit status. Its answer, on stdout and stderr, stays until the next
 * weirctl has ended. */
int server_control_ask(const char *verb);
pid_t server_control_ask_begin(const char *verb);
int server_control_ask_end(pid_t pid);
const char *server_control_answer(void);
/* Has weirctl do it; fails the test if that fails. */
void server_control_do(const char *verb);
/* A number of `weirctl -j status`, -1 if nobody answers; or whether a value is this text. */
long server_control_status(const char *key);
bool server_control_status_is(const char *key, const char *text);
/* The port of the listener at this place in the configuration; 0: it has none. */
unsigned server_control_port(size_t listener);
/* Waits until the server serves with so many workers, and has no other processes. */
void server_control_wait_workers(struct server *server, size_t workers);
/* The address of a listener of the start, in the form that load_process_start() takes; valid for
 * four calls. */
const char *server_control_address(const struct server *server, size_t listener);

/* ---- its files ---- */

/* The pid in the pid file; 0: there is none. */
pid_t server_control_pid(void);
/* The program that the next upgrade runs: its path; each function below replaces it by a rename. */
const char *server_control_program(void);
void server_control_program_is_weir(void);
void server_control_program_is(const char *text, unsigned mode); /* NULL: there is none */
/* The next upgrade waits, before anything, until server_control_release() is called. */
void server_control_program_is_held(void);
void server_control_release(void);

#endif
