/*
 * harness: starts the weir that was built, talks to it, and reads its counters.
 *
 * $WEIR names the binary (build/weir). Nothing sleeps to synchronise: a server is up when its ready
 * line has come, counters are waited for, descriptors are polled. Each wait fails the test after
 * patience_ms(), which is long because other tests run meanwhile. What a test starts ends with it,
 * even if it fails: libcheck kills the process group, the kernel kills the master with its parent,
 * and workers without a master drain.
 */
#ifndef TESTS_SUPPORT_HARNESS_H
#define TESTS_SUPPORT_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "tests/support/suite.h"
#include "worker/scoreboard.h"

struct server {
	struct server *before; /* servers are never freed: a test's process ends soon */
	pid_t pid;
	int log_fd;	   /* our end of the pipe that is its stderr */
	char log[1 << 16]; /* what was read from the pipe so far */
	size_t log_n;
	const struct scoreboard *scoreboard;
	unsigned ports[64]; /* one for each listener, in order; 0 for a unix socket */
	size_t ports_n;
};

/* ---- servers ---- */

/* Starts weir with these arguments (NULL ends them) and waits for its ready line. Use port 0. */
struct server *server_start(const char *const arguments[]);
#define SERVER(...) server_start((const char *const[]){__VA_ARGS__, NULL})
/* The same, without waiting for anything: used for starts that fail. */
struct server *server_launch(const char *const arguments[]);
/* Whether this is the master of a server that was started here. */
bool server_is(pid_t pid);
/* Sends a signal and waits for the server's end. Returns the exit status, or 128 + the signal that
 * ended it. */
int server_stop(struct server *server, int signal);
int server_wait_exit(struct server *server);
/* Runs weir to its end. Returns its status; what it said on stdout and stderr is in output. */
int server_run(const char *const arguments[], char *output, size_t output_n);
#define RUN(output, ...)                                                                           \
	server_run((const char *const[]){__VA_ARGS__, NULL}, output, sizeof(output))

/* Starts an installed program, and waits until one can connect to it at path, a unix socket. It
 * ends with the test; what it says goes to in_folder("program.log"). */
pid_t program_start(const char *path, const char *const argv[]);
void program_stop(pid_t pid);

/* Waits until the server's log has this text, anywhere since the start. */
void server_wait_log(struct server *server, const char *text);
bool server_log_has(struct server *server, const char *text);
/* How often the server's log has this text so far. */
size_t server_log_count(struct server *server, const char *text);

/* A row of reactor/base/stats.h ("accepted", "closed_eof"), combined over all workers; or the sum
 * of a family ("closed", "accept_errors", "calls"). */
uint64_t server_stat(const struct server *server, const char *name);
uint64_t server_worker_stat(const struct server *server, unsigned worker, const char *name);
void server_wait_stat(const struct server *server, const char *name, uint64_t at_least);
void server_wait_stat_is(const struct server *server, const char *name, uint64_t value);

/* The pid of the master's child whose comm is name; 0: there is none now. */
pid_t server_child(const struct server *server, const char *name);
pid_t server_worker(const struct server *server, unsigned worker);
pid_t server_wait_worker(const struct server *server, unsigned worker, pid_t other_than);
/* The process' own resident memory (Rss without shared file pages), in bytes. */
size_t process_memory(pid_t pid);
/* From now on the process may map only more_bytes more than it does now; prlimit(RLIMIT_AS) with
 * *before undoes that. Not for sanitizers, which would run out of memory themselves. */
void process_starve(pid_t pid, size_t more_bytes, struct rlimit *before);
/* CPU time in clock ticks (utime + stime). */
unsigned long process_ticks(pid_t pid);
/* The descriptors of a process as sorted text, a line each: what each of them is, not its number.
 * Files of /proc are left out, because the master opens some for a moment. Waits until the process
 * sleeps, so that what it is about to close is not there. */
void process_descriptors(pid_t pid, char *text, size_t n);
size_t process_descriptors_n(pid_t pid);
/* Waits until the master has so many children, none of which is a zombie. */
void no_zombies(const struct server *server, size_t children_wanted);
/* 'R', 'S', 'Z', ...; 0: there is no such process. */
char process_state(pid_t pid);
/* Stops a process by SIGSTOP; returns when it stands still. */
void process_stop(pid_t pid);

/* ---- clients ---- */

int connect_to(unsigned port); /* 127.0.0.1, blocking, with a deadline on every call */
int connect_to_host(const char *host, unsigned port);
/* The same with a small window, so that the kernel takes little and weir has to keep the rest. */
int connect_narrow(unsigned port);
int connect_unix(const char *path); /* @NAME is abstract */
int try_connect(unsigned port);	    /* a descriptor or -errno */
int try_connect_unix(const char *path);
/* Binds a socket to a free port of 127.0.0.1; it listens if type is SOCK_STREAM. */
int bind_any(int type, unsigned *port);
/* The same, with a port below those that the kernel hands out, so that nobody else gets it once the
 * socket is closed. */
int bind_own(int type, unsigned *port);
void send_all(int fd, const void *bytes, size_t n);
void send_text(int fd, const char *text);
void receive_exactly(int fd, void *bytes, size_t n);
/* Receives until the end of the stream; fails the test if more than n bytes come, or a reset. */
size_t receive_to_end(int fd, void *bytes, size_t n);
void expect_bytes(int fd, const void *bytes, size_t n);
void expect_text(int fd, const char *text);
void expect_end(int fd);	  /* FIN, and nothing before it */
void expect_reset_or_end(int fd); /* whatever bytes come before it */
void finish_sending(int fd);	  /* shutdown(SHUT_WR) */
void reset(int fd);		  /* closes with a RST */
void set_nonblocking(int fd);
void set_buffers(int fd, int send_bytes, int receive_bytes);
/* Raises the soft limit of descriptors to the hard one. */
void raise_descriptor_limit(void);

/* ---- time, and the rest ---- */

uint64_t now_ms(void);
unsigned patience_ms(void);
struct wait {
	uint64_t until_ms;
};
struct wait wait_begin(void);
/* For each round of a loop that waits for something without a descriptor: naps for 1 ms; fails the
 * test when the time is over, naming what it waited for. */
void wait_more(struct wait *wait, const char *what);
/* The same pseudo-random bytes for the same seed (xorshift64*). */
void fill_random(void *bytes, size_t n, uint64_t seed);
uint64_t next_random(uint64_t *state);
bool command_exists(const char *name);
/* A new folder, which is removed with all that is in it when the test's process ends. */
const char *temporary_folder(void);
const char *in_folder(const char *name); /* the path of a file there; valid for four calls */
const char *write_file(const char *name, const char *text); /* in that folder; returns its path */
/* The path of a built file, by its name below $BUILD; valid for four calls. */
const char *built(const char *name);
char *read_whole(const char *path); /* NULL: there is no such file */
bool exists(const char *path);

#endif
