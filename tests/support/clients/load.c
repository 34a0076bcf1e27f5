#include "tests/support/clients/load.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"

const struct load_setting load_plain = {.cpu = -1};

/* The path of one of its files; valid for four calls. */
static const char *file_of(const struct load_setting *setting, const char *kind)
{
	char name[64];

	(void)snprintf(name, sizeof name, "%s.%s", setting->name ? setting->name : "load", kind);
	return in_folder(name);
}

static _Noreturn void become_weirload(const struct load_setting *setting, const char **argv)
{
	struct rlimit limit = {setting->descriptors, setting->descriptors};
	int out = open(file_of(setting, "out"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(out, STDOUT_FILENO);
	(void)dup2(out, STDERR_FILENO);
	if (setting->descriptors)
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (setting->cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((size_t)setting->cpu, &set);
		(void)sched_setaffinity(0, sizeof set, &set);
	}
	(void)setpriority(PRIO_PROCESS, 0, setting->nice);
	(void)execv(argv[0], (char **)(uintptr_t)argv);
	_exit(127);
}

pid_t load_start(const struct load_setting *setting, const char *const arguments[])
{
	const char *argv[LOAD_ARGUMENTS_MAX + 8] = {built("weirload"), "--json",
						    file_of(setting, "json"), "--hdr",
						    file_of(setting, "hdr")};
	size_t n = 5;
	pid_t pid;

	while (*arguments) {
		if (strstr(*arguments, "+udp://"))
			suite_datagrams();
		argv[n++] = *arguments++;
	}
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		become_weirload(setting, argv);
	return pid;
}

const char *load_said(void)
{
	return read_whole(in_folder("load.out"));
}

const char *load_said_of(const struct load_setting *setting)
{
	return read_whole(file_of(setting, "out"));
}

const char *load_hdr(void)
{
	return read_whole(in_folder("load.hdr"));
}

int load_wait(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "weirload ended by signal %d:\n%s", WTERMSIG(status),
		      load_said());
	return WEXITSTATUS(status);
}

int load_in(const struct load_setting *setting, const char *const arguments[])
{
	return load_wait(load_start(setting, arguments));
}

int load_end(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGINT), 0);
	return load_wait(pid);
}

bool load_served(const void *of)
{
	const struct load_served *served = of;

	return server_stat(served->server, served->stat) >= served->least;
}

bool load_ended_well(const struct load_setting *setting, pid_t pid)
{
	int status = load_end(pid);

	/* 3: it could not keep its schedule, because the machine is busy. */
	return (status == 0 || status == 3) && strstr(load_said_of(setting), "errors    none");
}

void load_end_well(const struct load_setting *setting, pid_t pid)
{
	bool well = load_ended_well(setting, pid);

	ck_assert_msg(well, "%s", load_said_of(setting));
}

int load_until(bool (*enough)(const void *of), const void *of, const char *const arguments[])
{
	pid_t pid = load_start(&load_plain, arguments);
	struct wait wait = wait_begin();

	while (!enough(of) && process_state(pid) != 'Z')
		wait_more(&wait, "enough of this load");
	return process_state(pid) == 'Z' ? load_wait(pid) : load_end(pid);
}

#define LONGER_RUNS 4 /* after the first one; the last is 256 times as long as the first */

int load_longer(bool (*enough)(void), const char *option, unsigned ms,
		const char *const arguments[])
{
	char time[16];
	const char *longer[LOAD_ARGUMENTS_MAX + 3];
	size_t n = 0;
	int status;

	for (; arguments[n]; n++) {
		ck_assert_uint_lt(n, LOAD_ARGUMENTS_MAX);
		longer[n] = arguments[n];
	}
	longer[n] = option; /* if an option is given twice the last one counts */
	longer[n + 1] = time;
	longer[n + 2] = NULL;
	for (int i = 0;; i++, ms *= 4) {
		(void)snprintf(time, sizeof time, "%ums", ms);
		status = load_in(&load_plain, longer);
		if (i == LONGER_RUNS || status == 2 || enough())
			return status;
	}
}

static struct {
	const char *key;
	double least;
} reach;

static bool is_reached(void)
{
	return load_figure(reach.key) >= reach.least;
}

int load_reaching(const char *key, double least, const char *const arguments[])
{
	int status = load_in(&load_plain, arguments);

	reach.key = key;
	reach.least = least;
	return status == 2 || is_reached() ? status : load_longer(is_reached, "-d", 300, arguments);
}

int load_answered(const char *const arguments[])
{
	return load_reaching("messages", 1, arguments);
}

/* The beginning of a key's value. */
static const char *value_of(const char *key)
{
	const char *text = read_whole(in_folder("load.json"));
	char wanted[64];
	const char *at;

	(void)snprintf(wanted, sizeof wanted, "\"%s\": ", key);
	ck_assert_msg(text != NULL, "no JSON:\n%s", load_said());
	at = strstr(text, wanted);
	ck_assert_msg(at != NULL, "no %s in\n%s", key, text);
	return at + strlen(wanted);
}

double load_figure(const char *key)
{
	const char *value = value_of(key);

	return strncmp(value, "null", 4) == 0 ? -1 : strtod(value, NULL);
}

bool load_says(const char *key, const char *value)
{
	return strncmp(value_of(key), value, strlen(value)) == 0;
}

void load_expect_refusals(const struct load_refusal *refusals, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int status = load_in(&load_plain, refusals[i].arguments);

		ck_assert_msg(status == 2, "case %zu: status %d\n%s", i, status, load_said());
		ck_assert_msg(strstr(load_said(), refusals[i].said) != NULL, "case %zu:\n%s", i,
			      load_said());
	}
}

void load_expect_fine(int status)
{
	ck_assert_msg(status == 0 || status == 3, "status %d\n%s", status, load_said());
}

void load_expect_only(const char *of, double lost)
{
	static const char *const keys[] = {
	    "datagrams_late",	"datagrams_doubled", "datagrams_reordered", "errors_altered",
	    "errors_truncated", "errors_foreign",    "errors_unexpected"};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		ck_assert_msg(strcmp(keys[i], of) == 0 || load_figure(keys[i]) == 0, "%s\n%s",
			      keys[i], load_said());
	ck_assert_msg(load_figure("datagrams_lost") == lost, "lost: not %g\n%s", lost, load_said());
	ck_assert(load_figure("datagrams_dropped") == 0);
}

unsigned load_refusing_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* stays bound */
	socklen_t n = sizeof address;

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	return ntohs(address.sin_port);
}

#define TEXTS 4

const char *load_listener(const char *protocol, unsigned port)
{
	static char texts[TEXTS][64];
	static unsigned next;
	char *text = texts[next++ % TEXTS];

	(void)snprintf(text, sizeof texts[0], "%s://127.0.0.1:%u", protocol, port);
	return text;
}

const char *load_number(long n)
{
	static char texts[TEXTS][24];
	static unsigned next;
	char *text = texts[next++ % TEXTS];

	(void)snprintf(text, sizeof texts[0], "%ld", n);
	return text;
}
