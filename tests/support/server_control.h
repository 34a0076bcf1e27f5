/*
 * server_control: a weir that is reloaded, upgraded and asked, and followed from master to master.
 *
 * CONTROLLED(...) starts it from a copy of the binary in the test's temporary folder, with a
 * control socket and a pid file there, one at a time in a test's process. Changes by signal,
 * server_control_follow() and what reads the log work with any other server too. The test's
 * process adopts whatever a master leaves behind: after an upgrade the new master is its child,
 * and server->pid is the master that serves. A change that was not made fails the test.
 */
#ifndef TESTS_SUPPORT_SERVER_CONTROL_H
#define TESTS_SUPPORT_SERVER_CONTROL_H

#include "tests/support/harness.h"

/* ---- its start and its end ---- */

struct server *server_control_start(const char *const arguments[]);
#define CONTROLLED(...) server_control_start((const char *const[]){__VA_ARGS__, NULL})
/* Writes the file for --config (anew); its path. */
const char *server_control_config(const char *text);
/* TERM; it ends well, and leaves nothing. */
void server_control_stop(struct server *server);
/* All processes that were started have gone; the pid file and the control socket, too. */
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
	uint64_t ms;	/* from when the new workers were ready */
	uint64_t stay;	/* connections that could not be moved */
};

/* Asks for it. One at a time: the log so far is forgotten. */
void server_control_order(struct server *server, enum server_control what);
/* Is it over? Then what it was. Waits for nothing. */
bool server_control_done(struct server *server, enum server_control what,
			 struct server_control_change *seen);
/* Both, waiting. */
struct server_control_change server_control_make(struct server *server, enum server_control what);
/* After an upgrade: server is the new master from now on; the old one has ended well. */
void server_control_follow(struct server *server);

/* server->log begins anew. */
void server_control_forget(struct server *server);
/* Waits until the log has it so often since it was last forgotten. */
void server_control_wait_log_times(struct server *server, const char *text, size_t times);
/* No connection has ended but by its peer, and each that left a worker arrived at another one. */
void server_control_expect_no_loss(struct server *server);
/* For the message of a failure: how many connections ended for each reason. All that the log has
 * said goes to stdout, since a message is short. */
const char *server_control_close_counts(struct server *server);

/* ---- by weirctl ---- */

/* weirctl's exit status. Its answer, on stdout and stderr, stays until the next one has ended. */
int server_control_ask(const char *verb);
pid_t server_control_ask_begin(const char *verb);
int server_control_ask_end(pid_t pid);
const char *server_control_answer(void);
/* It has to be done. */
void server_control_do(const char *verb);
/* A number of `weirctl -j status`, or whether it has this text; -1 if nobody answers. */
long server_control_status(const char *key);
bool server_control_status_is(const char *key, const char *text);
/* Of the listener at this place in the configuration; 0: it has none. */
unsigned server_control_port(size_t listener);
/* Waits until it serves, with so many workers, and nothing else is among its processes. */
void server_control_wait_workers(struct server *server, size_t workers);
/* Where this listener of the start is, as load_process_start() takes it; good for four calls. */
const char *server_control_address(const struct server *server, size_t listener);

/* ---- its files ---- */

/* The pid in the pid file; 0: there is none. */
pid_t server_control_pid(void);
/* What the next upgrade runs is replaced by a rename. */
const char *server_control_program(void);
void server_control_program_is_weir(void);
void server_control_program_is(const char *text, unsigned mode); /* NULL: there is none */
/* The next upgrade waits, before anything, until server_control_release() is called. */
void server_control_program_is_held(void);
void server_control_release(void);

#endif
