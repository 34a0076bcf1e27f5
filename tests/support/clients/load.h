/*
 * load: runs the weirload that was built, and reads what it says.
 *
 * Its JSON, its HDR text and its output lie in the test's temporary folder, those of the last
 * run. What is started ends with the test's process.
 */
#ifndef TESTS_SUPPORT_CLIENTS_LOAD_H
#define TESTS_SUPPORT_CLIENTS_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOAD_ARGUMENTS_MAX 32

struct server;

/* What a run is surrounded by. */
struct load_setting {
	int cpu; /* -1: any */
	int nice;
	unsigned long descriptors; /* 0: as it is */
	const char *name;	   /* of its files; NULL: those of the last run, which is read */
};
extern const struct load_setting load_plain;

pid_t load_start(const struct load_setting *setting, const char *const arguments[]);
int load_wait(pid_t pid); /* its exit status */
int load_in(const struct load_setting *setting, const char *const arguments[]);
#define LOAD(...) load_in(&load_plain, (const char *const[]){__VA_ARGS__, NULL})
/* Ends it before its time, in order: its exit status. */
int load_end(pid_t pid);
/* The same. Has it met no error? */
bool load_ended_well(const struct load_setting *setting, pid_t pid);
/* The same, and it must not have met one. */
void load_end_well(const struct load_setting *setting, pid_t pid);

/* ---- enough of it, however busy this machine is ----
 * Among many programs a short run may hardly have a turn. Each of these returns the exit status of
 * the last run, also if that was not enough: the test has to look at its figures. */

/* Until enough(of) is true, from outside, and then it is ended; or until it ends by itself. */
int load_until(bool (*enough)(const void *of), const void *of, const char *const arguments[]);
#define LOAD_UNTIL(enough, of, ...)                                                                \
	load_until(enough, of,                                                                     \
		   (const char *const[]){"-d", "1h", "--warmup", "0", __VA_ARGS__, NULL})
/* For load_until(): the server has had so much of it. */
struct load_served {
	const struct server *server;
	const char *stat;
	uint64_t least;
};
bool load_served(const void *of);

/* With option (-d, say) so many ms, and then four times as long, and so on, until its figures are
 * enough; five runs at most. */
int load_longer(bool (*enough)(void), const char *option, unsigned ms,
		const char *const arguments[]);
#define LOAD_LONGER(enough, ms, ...)                                                               \
	load_longer(enough, "-d", ms, (const char *const[]){__VA_ARGS__, NULL})
/* As it stands, and then longer until this figure is so high. */
int load_reaching(const char *key, double least, const char *const arguments[]);
#define LOAD_REACHING(key, least, ...)                                                             \
	load_reaching(key, least, (const char *const[]){__VA_ARGS__, NULL})
int load_answered(const char *const arguments[]);
#define LOAD_ANSWERED(...) LOAD_REACHING("messages", 1, __VA_ARGS__)

/* ---- what came of it ---- */

/* What the last run said, on stdout and stderr; and the last one of these. */
const char *load_said(void);
const char *load_said_of(const struct load_setting *setting);
const char *load_hdr(void);
/* A number of its JSON; -1 if it is null. */
double load_figure(const char *key);
/* Whether it has this value, as text. */
bool load_says(const char *key, const char *value);

/* This status is that of a server without a fault; or it found that this machine let it stand
 * still, and says so: INVALID. */
void load_expect_fine(int status);
/* Command lines that weirload refuses, and what it says of each. */
struct load_refusal {
	const char *arguments[7];
	const char *said;
};
void load_expect_refusals(const struct load_refusal *refusals, size_t n);
/* Of datagrams, nothing else than `of` is counted, but what must be lost with it. */
void load_expect_only(const char *of, double lost);

/* A port of ours on which nobody listens, for as long as this process runs. */
unsigned load_refusing_port(void);
/* For arguments; good for four calls. */
const char *load_listener(const char *protocol, unsigned port);
const char *load_number(long n);

#endif
