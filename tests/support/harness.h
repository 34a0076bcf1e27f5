/*
 * harness: starts the weir that was built, talks to it, and reads its counters.
 *
 * $WEIR names the binary (build/weir). Nothing sleeps to synchronise: a server is there when its
 * ready line is, a counter is waited for until a deadline, a descriptor is polled. In a test that
 * fails, each wait ends after patience_ms(), which is long because other tests run meanwhile. What
 * a test starts ends with it, also if it fails: libcheck kills the process group, the kernel kills
 * the master with its parent, and workers without a master drain.
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
	struct server *before; /* none is freed: a test's process ends soon */
	pid_t pid;
	int log_fd;	   /* the pipe that its stderr is */
	char log[1 << 16]; /* what was read of it so far */
	size_t log_n;
	const struct scoreboard *scoreboard;
	unsigned ports[64]; /* of each listener, in order; 0 for unix */
	size_t ports_n;
};

/* ---- servers ---- */

/* Starts weir with these arguments (NULL ends them) and waits for its ready line. Use port 0. */
struct server *server_start(const char *const arguments[]);
#define SERVER(...) server_start((const char *const[]){__VA_ARGS__, NULL})
/* The same, without waiting for anything: for starts that fail. */
struct server *server_launch(const char *const arguments[]);
/* Is this the master of a server that was started here? */
bool server_is(pid_t pid);
/* Sends a signal, waits for its end; the exit status, or 128 + the signal that ended it. */
int server_stop(struct server *server, int signal);
int server_wait_exit(struct server *server);
/* Runs weir to its end; its status. What it said on stdout and stderr is in output. */
int server_run(const char *const arguments[], char *output, size_t output_n);
#define RUN(output, ...)                                                                           \
	server_run((const char *const[]){__VA_ARGS__, NULL}, output, sizeof(output))

/* Starts a program that is installed, and waits until somebody can connect to it at path, a unix
 * socket. It ends with the test; what it says goes to in_folder("program.log"). */
pid_t program_start(const char *path, const char *const argv[]);

/* Waits until its log holds text (since the start). */
void server_wait_log(struct server *server, const char *text);
bool server_log_has(struct server *server, const char *text);
/* How often its log holds text so far. */
size_t server_log_count(struct server *server, const char *text);

/* A row of reactor/base/stats.h ("accepted", "closed_eof"), combined over all workers; or the sum
 * of a family ("closed", "accept_errors", "calls"). */
uint64_t server_stat(const struct server *server, const char *name);
uint64_t server_worker_stat(const struct server *server, unsigned worker, const char *name);
void server_wait_stat(const struct server *server, const char *name, uint64_t at_least);
void server_wait_stat_is(const struct server *server, const char *name, uint64_t value);

/* The pid of that one of the master's children, by its comm; 0: there is none now. */
pid_t server_child(const struct server *server, const char *name);
pid_t server_worker(const struct server *server, unsigned worker);
pid_t server_wait_worker(const struct server *server, unsigned worker, pid_t other_than);
/* Resident memory that is the process' own (Rss - shared file pages), in bytes. */
size_t process_memory(pid_t pid);
/* From now on it may map so much more than it does; undone by prlimit(RLIMIT_AS) of *before. Not
 * under a sanitizer, whose own memory ends with it. */
void process_starve(pid_t pid, size_t more_bytes, struct rlimit *before);
/* CPU time in clock ticks (utime + stime). */
unsigned long process_ticks(pid_t pid);
/* The descriptors of a process as sorted text, a line each: what each is, not its number. Files
 * of /proc are left out: the master looks at some for a moment. */
void process_descriptors(pid_t pid, char *text, size_t n);
size_t process_descriptors_n(pid_t pid);
/* The master has so many children, none of which is a zombie; waits for that. */
void no_zombies(const struct server *server, size_t children_wanted);
/* 'R', 'S', 'Z', ...; 0: there is none. */
char process_state(pid_t pid);
/* By SIGSTOP; returns when it stands still. */
void process_stop(pid_t pid);

/* ---- clients ---- */

int connect_to(unsigned port); /* 127.0.0.1, blocking, with a deadline on every call */
int connect_to_host(const char *host, unsigned port);
/* The same with a small window: what the kernel does not take, weir owes. */
int connect_narrow(unsigned port);
int connect_unix(const char *path); /* @NAME is abstract */
int try_connect(unsigned port);	    /* a descriptor or -errno */
int try_connect_unix(const char *path);
/* A socket of ours on a free port of 127.0.0.1, which listens if type is SOCK_STREAM. */
int bind_any(int type, unsigned *port);
/* The same, with a port below those that the kernel gives away: nobody else's when it is closed. */
int bind_own(int type, unsigned *port);
void send_all(int fd, const void *bytes, size_t n);
void send_text(int fd, const char *text);
void receive_exactly(int fd, void *bytes, size_t n);
/* Until the end; fails if more than n come, or the connection is reset. */
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
/* Once in a loop that waits for something that has no descriptor: naps 1 ms; fails the test
 * when the time is over, naming what it waited for. */
void wait_more(struct wait *wait, const char *what);
/* The same pseudo-random bytes for the same seed (xorshift64*). */
void fill_random(void *bytes, size_t n, uint64_t seed);
uint64_t next_random(uint64_t *state);
bool command_exists(const char *name);
/* A new folder that is removed with all in it when the test's process ends. */
const char *temporary_folder(void);
const char *in_folder(const char *name); /* the path of a file there; good for four calls */
const char *write_file(const char *name, const char *text); /* there; its path */
/* The path of what was built, by its name below $BUILD; good for four calls. */
const char *built(const char *name);
char *read_whole(const char *path); /* NULL: there is none */
bool exists(const char *path);

#endif
