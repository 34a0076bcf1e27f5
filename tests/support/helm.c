#include "tests/support/helm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	int signal;
	const char *ends_with; /* the change after which all is done */
} changes[] = {
    [SERVER_CONTROL_RELOAD] = {SIGHUP, "reload"},   [SERVER_CONTROL_UPGRADE] = {SIGUSR2, "upgrade"},
    [SERVER_CONTROL_MORE] = {SIGTTIN, "rebalance"}, [SERVER_CONTROL_FEWER] = {SIGTTOU, "rebalance"},
    [SERVER_CONTROL_REBALANCE] = {0, "rebalance"},
};

static pid_t weirctl;

static struct {
	char log[1 << 16]; /* from before the last order */
	size_t n;
} forgotten;

static void forget_log(struct server *server)
{
	size_t room = sizeof forgotten.log - 1 - forgotten.n;
	size_t n = server->log_n < room ? server->log_n : room;

	memcpy(forgotten.log + forgotten.n, server->log, n);
	forgotten.n += n;
	server->log_n = 0;
	*server->log = '\0';
}

static void ask_weirctl(const char *verb)
{
	const char *control = in_folder("control");

	weirctl = fork();
	ck_assert_int_ge(weirctl, 0);
	if (weirctl == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
		(void)execl(built("weirctl"), "weirctl", "--control", control, verb, (char *)NULL);
		_exit(127);
	}
}

void server_control_order(struct server *server, enum server_control what)
{
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	(void)server_log_has(server, "");
	forget_log(server);
	if (changes[what].signal)
		ck_assert_int_eq(kill(server->pid, changes[what].signal), 0);
	else
		ask_weirctl("rebalance");
}

/* The number before this text; 0: it is not there. */
static uint64_t number_before(const char *line, const char *text)
{
	const char *end = strstr(line, text), *at = end;

	while (at && at > line && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return at && at < end ? strtoull(at, NULL, 10) : 0;
}

/* What the log says of all changes that were made since the order. */
static void read_changes(const struct server *server, struct server_control_change *seen)
{
	*seen = (struct server_control_change){0};
	for (const char *at = server->log; (at = strstr(at, "msg=\"change made\""));) {
		char line[512];

		(void)snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
		seen->moved += number_before(line, " connections moved in ");
		seen->ms += number_before(line, " ms");
		seen->stay += number_before(line, " stay and drain");
		at += strlen(line);
	}
}

/* Has the old master gone? */
static bool follow(struct server *server)
{
	const char *at = strstr(server->log, "how=\"pid ");
	int status;

	ck_assert_ptr_nonnull(at);
	if (waitpid(server->pid, &status, WNOHANG) != server->pid)
		return false;
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		      "the old master did not end well (status %d):\n%s", status, server->log);
	server->pid = (pid_t)strtol(at + strlen("how=\"pid "), NULL, 10);
	return true;
}

bool server_control_done(struct server *server, enum server_control what,
			 struct server_control_change *seen)
{
	char made[64];
	int status;

	(void)snprintf(made, sizeof made, "msg=\"change made\" what=%s ", changes[what].ends_with);
	ck_assert_msg(!server_log_has(server, "change not made"), "a change was not made:\n%s",
		      server->log);
	if (!server_log_has(server, made))
		return false;
	if (what == SERVER_CONTROL_UPGRADE && !follow(server))
		return false;
	if (what == SERVER_CONTROL_REBALANCE && weirctl) {
		ck_assert_int_eq(waitpid(weirctl, &status, 0), weirctl);
		weirctl = 0;
		ck_assert_int_eq(status, 0);
	}
	read_changes(server, seen);
	return true;
}

struct server_control_change server_control_make(struct server *server, enum server_control what)
{
	struct wait wait = wait_begin();
	struct server_control_change seen;

	wait.until_ms += patience_ms();
	for (server_control_order(server, what); !server_control_done(server, what, &seen);) {
		if (now_ms() > wait.until_ms)
			ck_abort_msg("waited in vain for a change:\n%s", server->log);
		wait_more(&wait, "a change");
	}
	return seen;
}

/* ---- who was lost ---- */

static const char *const ends[] = {
#define CLOSE(name, text) "closed_" #name,
#include "reactor/base/close.def"
#undef CLOSE
};

const char *server_control_story(struct server *server)
{
	static char story[2048];
	size_t at;

	(void)server_log_has(server, "");
	(void)printf("the server said:\n%s%s", forgotten.log, server->log);
	(void)fflush(stdout);
	at = (size_t)snprintf(story, sizeof story,
			      "accepted %llu, connections %llu, moved_out %llu, moved_in %llu",
			      (unsigned long long)server_stat(server, "accepted"),
			      (unsigned long long)server_stat(server, "connections"),
			      (unsigned long long)server_stat(server, "moved_out"),
			      (unsigned long long)server_stat(server, "moved_in"));
	for (size_t i = 0; i < sizeof ends / sizeof *ends && at < sizeof story; i++)
		if (server_stat(server, ends[i]))
			at += (size_t)snprintf(story + at, sizeof story - at, ", %s %llu", ends[i],
					       (unsigned long long)server_stat(server, ends[i]));
	return story;
}

void server_control_expect_no_loss(struct server *server)
{
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (strcmp(ends[i], "closed_eof") != 0)
			ck_assert_msg(server_stat(server, ends[i]) == 0, "%s: %s", ends[i],
				      server_control_story(server));
	for (struct wait wait = wait_begin();
	     server_stat(server, "moved_in") != server_stat(server, "moved_out");)
		wait_more(&wait, "all who were taken to be given up");
}
