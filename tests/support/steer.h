/*
 * steer: a weir that is reloaded, upgraded and asked, and followed from master to master.
 *
 * It runs from a copy of the binary in the test's temporary folder, with a control socket and a
 * pid file there. The test's process is the reaper of all that a master leaves behind: at the end
 * nothing may be there any more (steer_all_gone()). One of them at a time in a test's process.
 */
#ifndef TESTS_SUPPORT_STEER_H
#define TESTS_SUPPORT_STEER_H

#include "tests/support/harness.h"

struct server *steer_start(const char *const arguments[]);
#define STEERED(...) steer_start((const char *const[]){__VA_ARGS__, NULL})

/* Writes the file for --config (anew); its path. */
const char *steer_config(const char *text);

/* weirctl's exit status. What it said, on stdout and stderr, stays until the next one. */
int steer_ask(const char *verb);
pid_t steer_ask_begin(const char *verb);
int steer_ask_end(pid_t pid);
const char *steer_said(void);
/* It has to be done. */
void steer_do(const char *verb);
/* A number of `weirctl -j status`, or whether it has this text; -1 where nobody answers. */
long steer_number(const char *key);
bool steer_says(const char *key, const char *value);
/* Of the listener at this place in the configuration; 0: it has none. */
unsigned steer_port(size_t listener);

/* Waits until it serves, with so many workers, and nothing else is among its processes. */
void steer_settle(struct server *server, size_t workers);
/* Where this listener of the start is, as crowd_start() takes it; good for four calls. */
const char *steer_address(const struct server *server, size_t listener);
/* TERM; it ends well, and leaves nothing. */
void steer_stop(struct server *server);
/* How often the log has it since the last steer_forget(). */
void steer_wait_log_times(struct server *server, const char *text, size_t times);
void steer_forget(struct server *server);

/* After an upgrade: server is the new master from now on; the old one has ended well. */
void steer_follow(struct server *server);
/* The pid in the pid file; 0: there is none. */
pid_t steer_master(void);
/* What the next upgrade runs is replaced by a rename. */
const char *steer_program(void);
void steer_program_is_weir(void);
void steer_program_is(const char *text, unsigned mode); /* NULL: there is none */
/* The next upgrade waits, before anything, until steer_release() is called. */
void steer_program_is_held(void);
void steer_release(void);
/* All processes that were started have gone; the pid file and the control socket, too. */
void steer_all_gone(void);

#endif
