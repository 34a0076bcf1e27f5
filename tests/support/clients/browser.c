/* The DevTools protocol over a pipe: JSON texts that end in a zero byte, both ways. */
#include "tests/support/clients/browser.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/utf8.h"
#include "tests/support/harness.h"

#define BROWSER_WAIT_MS 60000
#define TEXT_MAX	(1 << 20)
#define LOG_MAX		(1 << 22)
#define TAIL		2000 /* libcheck takes no long messages */

struct browser {
	pid_t pid;
	int to, from;
	unsigned asked;
	char session[64];
	char text[TEXT_MAX]; /* what has come of a text that is not whole yet */
	size_t text_n;
	char value[TEXT_MAX];
	char log[LOG_MAX]; /* events, a line each */
	size_t log_n;
};

bool browser_there(const char *test)
{
	if (command_exists("chromium"))
		return true;
	suite_skip(test, "no chromium is installed");
	return false;
}

static _Noreturn void become_chromium(int input, int output)
{
	char profile[256];
	const char *const argv[] = {"chromium",
				    "--headless=new",
				    "--no-sandbox",
				    "--disable-gpu",
				    "--disable-dev-shm-usage",
				    "--disable-background-networking",
				    "--disable-component-update",
				    "--disable-default-apps",
				    "--disable-extensions",
				    "--disable-sync",
				    "--no-first-run",
				    "--no-proxy-server",
				    "--window-size=1280,900",
				    "--remote-debugging-pipe",
				    profile,
				    "about:blank",
				    NULL};
	int null = open("/dev/null", O_RDWR);

	(void)snprintf(profile, sizeof profile, "--user-data-dir=%s", in_folder("chromium"));
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int fd = 0; fd <= 2; fd++)
		(void)dup2(null, fd);
	/* The browser reads from 3 and writes to 4, so our ends have to be above both. */
	input = fcntl(input, F_DUPFD, 5);
	output = fcntl(output, F_DUPFD, 5);
	(void)dup2(input, 3);
	(void)dup2(output, 4);
	for (int fd = 5; fd < 256; fd++)
		(void)close(fd);
	(void)execvp(argv[0], (char **)(uintptr_t)argv);
	_exit(127);
}

/* ---- texts out and in ---- */

static void tell(struct browser *browser, const char *text)
{
	size_t n = strlen(text) + 1;

	while (n) {
		ssize_t part = write(browser->to, text, n);

		ck_assert_msg(part > 0, "chromium takes no more: %s", strerror(errno));
		text += part;
		n -= (size_t)part;
	}
}

static void keep(struct browser *browser, const char *text)
{
	size_t n = strlen(text);

	ck_assert_msg(browser->log_n + n + 2 < LOG_MAX, "chromium said too much");
	memcpy(browser->log + browser->log_n, text, n);
	browser->log_n += n;
	browser->log[browser->log_n++] = '\n';
	browser->log[browser->log_n] = '\0';
}

/* The next whole text, which stays until text_done(). */
static char *text_next(struct browser *browser, const char *why)
{
	uint64_t until = now_ms() + BROWSER_WAIT_MS;

	while (!memchr(browser->text, '\0', browser->text_n)) {
		struct pollfd poll_fd = {browser->from, POLLIN, 0};
		ssize_t part;

		ck_assert_msg(browser->text_n < TEXT_MAX, "a text of chromium is too long");
		ck_assert_msg(now_ms() < until && poll(&poll_fd, 1, BROWSER_WAIT_MS) > 0,
			      "waited in vain for chromium: %s", why);
		part = read(browser->from, browser->text + browser->text_n,
			    TEXT_MAX - browser->text_n);
		ck_assert_msg(part > 0, "chromium ended: %s", why);
		browser->text_n += (size_t)part;
	}
	return browser->text;
}

static void text_done(struct browser *browser)
{
	size_t n = strlen(browser->text) + 1;

	memmove(browser->text, browser->text + n, browser->text_n - n);
	browser->text_n -= n;
}

/* Gives the text after "key":" with its escapes undone; false: there is no such key. */
static bool string_of(const char *text, const char *key, char *value, size_t n)
{
	char wanted[64];
	const char *at;
	size_t i = 0;

	(void)snprintf(wanted, sizeof wanted, "\"%s\":\"", key);
	at = strstr(text, wanted);
	if (!at)
		return false;
	for (at += strlen(wanted); *at && *at != '"' && i < n - 4; at++) {
		if (*at != '\\') {
			value[i++] = *at;
		} else if (*++at == 'u') {
			const char code[] = {at[1], at[2], at[3], at[4], '\0'};

			i += utf8_encode(value + i, (uint32_t)strtoul(code, NULL, 16));
			at += 4;
		} else {
			value[i++] = (char)(*at == 'n' ? '\n' : *at == 't' ? '\t' : *at);
		}
	}
	value[i] = '\0';
	return true;
}

/* Calls method, and waits for the answer; events that come before the answer are kept. */
static const char *command(struct browser *browser, const char *method, const char *parameters)
{
	static char text[TEXT_MAX];
	char answer[32];
	int n = snprintf(text, sizeof text, "{\"id\":%u,\"method\":\"%s\",\"params\":{%s}%s%s%s}",
			 ++browser->asked, method, parameters,
			 *browser->session ? ",\"sessionId\":\"" : "", browser->session,
			 *browser->session ? "\"" : "");

	ck_assert_int_lt(n, (int)sizeof text);
	tell(browser, text);
	(void)snprintf(answer, sizeof answer, "{\"id\":%u,", browser->asked);
	for (;;) {
		const char *came = text_next(browser, method);
		bool ours = strncmp(came, answer, strlen(answer)) == 0;

		if (ours) {
			(void)strcpy(text, came);
			ck_assert_msg(!strstr(text, "\"error\":{"), "%s: %s", method, text);
		} else {
			keep(browser, came);
		}
		text_done(browser);
		if (ours)
			return text;
	}
}

/* ---- its life ---- */

struct browser *browser_start(void)
{
	static const char *const domains[] = {"Page.enable", "Runtime.enable", "Log.enable",
					      "Network.enable"};
	struct browser *browser = calloc(1, sizeof *browser);
	int in[2], out[2];
	char target[64], parameters[160];

	ck_assert_ptr_nonnull(browser);
	(void)temporary_folder();
	(void)signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	browser->pid = fork();
	ck_assert_int_ge(browser->pid, 0);
	if (browser->pid == 0)
		become_chromium(in[0], out[1]);
	(void)close(in[0]);
	(void)close(out[1]);
	browser->to = in[1];
	browser->from = out[0];
	ck_assert(string_of(command(browser, "Target.createTarget", "\"url\":\"about:blank\""),
			    "targetId", target, sizeof target));
	(void)snprintf(parameters, sizeof parameters, "\"targetId\":\"%s\",\"flatten\":true",
		       target);
	ck_assert(string_of(command(browser, "Target.attachToTarget", parameters), "sessionId",
			    browser->session, sizeof browser->session));
	for (size_t i = 0; i < sizeof domains / sizeof *domains; i++)
		(void)command(browser, domains[i], "");
	return browser;
}

void browser_end(struct browser *browser)
{
	*browser->session = '\0';
	(void)command(browser, "Browser.close", "");
	(void)close(browser->to);
	(void)close(browser->from);
	(void)waitpid(browser->pid, NULL, 0);
	free(browser);
}

void browser_open(struct browser *browser, const char *url)
{
	char parameters[512];

	(void)snprintf(parameters, sizeof parameters, "\"url\":\"%s\"", url);
	(void)command(browser, "Page.navigate", parameters);
	browser_wait(browser, "document.readyState === 'complete'");
}

/* ---- asking the page ---- */

static const char *evaluate(struct browser *browser, const char *expression)
{
	char text[8192];
	size_t n = 0;
	const char *answer;

	n += (size_t)snprintf(text, sizeof text,
			      "\"awaitPromise\":true,\"returnByValue\":true,\"expression\":\"(async"
			      " () => String(await (");
	for (; *expression && n < sizeof text - 16; expression++) {
		if (strchr("\"\\", *expression))
			text[n++] = '\\';
		text[n++] = *expression;
	}
	ck_assert_msg(!*expression, "an expression is too long");
	(void)strcpy(text + n, ")))()\"");
	answer = command(browser, "Runtime.evaluate", text);
	ck_assert_msg(!strstr(answer, "\"exceptionDetails\":"), "%s: %s", text, answer);
	ck_assert_msg(string_of(answer, "value", browser->value, sizeof browser->value),
		      "no value: %s", answer);
	return browser->value;
}

const char *browser_ask(struct browser *browser, const char *format, ...)
{
	char expression[4096];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(expression, sizeof expression, format, arguments);
	va_end(arguments);
	return evaluate(browser, expression);
}

void browser_wait(struct browser *browser, const char *format, ...)
{
	uint64_t until = now_ms() + BROWSER_WAIT_MS;
	char expression[4096];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(expression, sizeof expression, format, arguments);
	va_end(arguments);
	while (strcmp(evaluate(browser, expression), "true") != 0) {
		struct wait nap = wait_begin();

		if (now_ms() > until)
			ck_abort_msg("waited in vain for: %s\n%s", expression,
				     browser_log(browser));
		wait_more(&nap, expression);
	}
}

size_t browser_said(const struct browser *browser, const char *text, const char *then)
{
	size_t n = 0;

	for (const char *at = browser->log; (at = strstr(at, text)); n++) {
		at += strlen(text);
		if (then && strncmp(at, then, strlen(then)) != 0)
			n--;
	}
	return n;
}

const char *browser_log(const struct browser *browser)
{
	return browser->log + (browser->log_n > TAIL ? browser->log_n - TAIL : 0);
}
