/*
 * load: runs the weirload that was built, and reads what it says.
 *
 * The JSON, HDR text and output of the last run lie in the test's temporary folder. A weirload that
 * was started ends with the test's process.
 */
#ifndef TESTS_SUPPORT_CLIENTS_LOAD_H
#define TESTS_SUPPORT_CLIENTS_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOAD_ARGUMENTS_MAX 32

struct server;

/* The surroundings of a run. */
struct load_setting {
	int cpu; /* -1: any */
	int nice;
	unsigned long descriptors; /* the limit; 0: unchanged */
	const char *name;	   /* of its files; NULL: those that load_said() and others read */
};
extern const struct load_setting load_plain;

pid_t load_start(const struct load_setting *setting, const char *const arguments[]);
int load_wait(pid_t pid); /* its exit status */
int load_in(const struct load_setting *setting, const char *const arguments[]);
#define LOAD(...) load_in(&load_plain, (const char *const[]){__VA_ARGS__, NULL})
/* Ends it early, by a signal that it handles. Returns its exit status. */
int load_end(pid_t pid);
/* The same. Returns whether it met no error. */
bool load_ended_well(const struct load_setting *setting, pid_t pid);
/* The same, and fails the test if it met an error. */
void load_end_well(const struct load_setting *setting, pid_t pid);

/* ---- enough load, however busy this machine is ----
 * Among many programs a short run may hardly get any CPU time. Each of these functions returns the
 * exit status of the last run, even if that was not enough: the test has to look at its figures. */

/* Runs until enough(of) is true, and then ends it; or until it ends by itself. */
int load_until(bool (*enough)(const void *of), const void *of, const char *const arguments[]);
#define LOAD_UNTIL(enough, of, ...)                                                                \
	load_until(enough, of,                                                                     \
		   (const char *const[]){"-d", "1h", "--warmup", "0", __VA_ARGS__, NULL})
/* For load_until(): enough when this counter of the server has reached `least`. */
struct load_served {
	const struct server *server;
	const char *stat;
	uint64_t least;
};
bool load_served(const void *of);

/* Runs with an option (such as -d) of `ms` milliseconds, then four times as long, and so on, until
 * enough() is true of its figures; five runs at most. */
int load_longer(bool (*enough)(void), const char *option, unsigned ms,
		const char *const arguments[]);
#define LOAD_LONGER(enough, ms, ...)                                                               \
	load_longer(enough, "-d", ms, (const char *const[]){__VA_ARGS__, NULL})
/* Runs with these arguments, and then longer until this figure is at least that. */
int load_reaching(const char *key, double least, const char *const arguments[]);
#define LOAD_REACHING(key, least, ...)                                                             \
	load_reaching(key, least, (const char *const[]){__VA_ARGS__, NULL})
int load_answered(const char *const arguments[]);
#define LOAD_ANSWERED(...) LOAD_REACHING("messages", 1, __VA_ARGS__)

/* ---- its results ---- */

/* What the last run said on stdout and stderr; and the last run of this setting. */
const char *load_said(void);
const char *load_said_of(const struct load_setting *setting);
const char *load_hdr(void);
/* A number in its JSON; -1 if it is null. */
double load_figure(const char *key);
/* Whether the key has this value in its JSON, as text. */
bool load_says(const char *key, const char *value);

/* Expects the status of a run against a server without a fault; or of a run that found that this
 * machine gave it no CPU, and says INVALID. */
void load_expect_fine(int status);
/* Command lines that weirload refuses, and what it says of each. */
struct load_refusal {
	const char *arguments[7];
	const char *said;
};
void load_expect_refusals(const struct load_refusal *refusals, size_t n);
/* Datagrams: expects that of all that can go wrong only `of` was counted, and `lost` losses. */
void load_expect_only(const char *of, double lost);

/* A port of ours on which nobody listens, for as long as this process runs. */
unsigned load_refusing_port(void);
/* Texts for arguments; each is valid for four calls. */
const char *load_listener(const char *protocol, unsigned port);
const char *load_number(long n);

#endif
