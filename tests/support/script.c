#include "tests/support/script.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK "CHECK_SCRIPTS"

char script_output[SCRIPT_OUTPUT_BYTES];

int script_run(const char *format, ...)
{
	char command[1024], patience[16];
	va_list arguments;
	FILE *pipe;
	size_t n;
	int status;

	(void)snprintf(patience, sizeof patience, "%u", suite_slowness());
	ck_assert_int_eq(setenv("BENCH_PATIENCE", patience, 1), 0);
	va_start(arguments, format);
	(void)vsnprintf(command, sizeof command, format, arguments);
	va_end(arguments);
	(void)strncat(command, " 2>&1", sizeof command - strlen(command) - 1);
	pipe = popen(command, "re");
	ck_assert_ptr_nonnull(pipe);
	n = fread(script_output, 1, sizeof script_output - 1, pipe);
	script_output[n] = '\0';
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void script_expect(const char *text)
{
	ck_assert_msg(strstr(script_output, text), "no \"%s\" in:\n%s", text, script_output);
}

static const char *build(void)
{
	const char *folder = getenv("BUILD");

	return folder ? folder : "build";
}

bool script_can_load(const char *test)
{
	static const char *const tools[] = {"timeout", "setsid"};
	static const char *const programs[] = {"weir",
					       "weirload",
					       "designs/floor",
					       "designs/thread-chat",
					       "designs/iterative-udp",
					       "peers/http_floor",
					       "peers/fan_floor",
					       "clients/slowly"};
	char path[512];

	for (size_t i = 0; i < sizeof tools / sizeof *tools; i++)
		if (!command_exists(tools[i])) {
			suite_skip(test, "needs timeout (coreutils) and setsid (util-linux)");
			return false;
		}
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", build(), programs[i]);
		if (access(path, X_OK) < 0) {
			suite_skip(test, "weirload, bench/designs, peers or clients are not built");
			return false;
		}
	}
	return true;
}

/* ---- processes that a script left ---- */

int script_marked(void)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	static char environment[1 << 16];
	char wanted[64], path[512];
	int n = 0;

	ck_assert_ptr_nonnull(folder);
	(void)snprintf(wanted, sizeof wanted, MARK "=%d", (int)getpid());
	while ((entry = readdir(folder))) {
		pid_t pid = (pid_t)atoi(entry->d_name);
		ssize_t length;
		int fd;

		if (pid <= 0 || pid == getpid() || process_state(pid) == 'Z')
			continue;
		(void)snprintf(path, sizeof path, "/proc/%s/environ", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		length = read(fd, environment, sizeof environment);
		(void)close(fd);
		if (length > 0 && memmem(environment, (size_t)length, wanted, strlen(wanted)))
			n++;
	}
	(void)closedir(folder);
	return n;
}

void script_mark(void)
{
	char value[16];

	(void)snprintf(value, sizeof value, "%d", (int)getpid());
	ck_assert_int_eq(setenv(MARK, value, 1), 0);
}

void script_expect_nothing_left(void)
{
	struct wait wait = wait_begin();

	while (script_marked())
		wait_more(&wait, "the end of all that the script started");
}

/* ---- JSON ---- */

static const char *json_value(const char *at);

static const char *json_space(const char *at)
{
	return at ? at + strspn(at, " \t\r\n") : NULL;
}

static const char *json_string(const char *at)
{
	if (*at++ != '"')
		return NULL;
	for (; *at != '"'; at++) {
		if ((unsigned char)*at < ' ')
			return NULL;
		if (*at == '\\' && !strchr("\"\\/bfnrtu", *++at))
			return NULL;
	}
	return at + 1;
}

static const char *json_number(const char *at)
{
	size_t n;

	at += *at == '-';
	n = strspn(at, "0123456789");
	if (n == 0 || (n > 1 && *at == '0'))
		return NULL;
	at += n;
	if (*at == '.') {
		n = strspn(at + 1, "0123456789");
		at = n ? at + 1 + n : NULL;
	}
	return at;
}

/* The members of an array or object, up to and with its end. */
static const char *json_members(const char *at, char end)
{
	at = json_space(at + 1);
	if (*at == end)
		return at + 1;
	for (;;) {
		if (end == '}') {
			at = json_space(json_string(at));
			if (!at || *at != ':')
				return NULL;
			at = json_space(at + 1);
		}
		at = json_space(json_value(at));
		if (!at || *at == end)
			return at ? at + 1 : NULL;
		if (*at != ',')
			return NULL;
		at = json_space(at + 1);
	}
}

static const char *json_value(const char *at)
{
	static const char *const words[] = {"true", "false", "null"};

	if (*at == '{')
		return json_members(at, '}');
	if (*at == '[')
		return json_members(at, ']');
	if (*at == '"')
		return json_string(at);
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strncmp(at, words[i], strlen(words[i])) == 0)
			return at + strlen(words[i]);
	return json_number(at);
}

bool script_is_json(const char *text)
{
	const char *end = json_space(json_value(json_space(text)));

	return end && !*end;
}

void script_expect_json(const char *path, const char *text)
{
	const char *json = read_whole(path);

	ck_assert_msg(json != NULL, "there is no %s", path);
	ck_assert_msg(script_is_json(json), "%s is not JSON:\n%s", path, json);
	ck_assert_msg(strstr(json, text), "no %s in %s:\n%s", text, path, json);
}

const char *script_false_build(const char *weirload)
{
	static char absolute[PATH_MAX];
	char command[sizeof absolute + 512];

	ck_assert_ptr_nonnull(realpath(build(), absolute));
	(void)chmod(write_file("weirload", weirload), 0755);
	(void)snprintf(
	    command, sizeof command,
	    "cd '%s' && build='%s' && mkdir designs peers clients && ln -s \"$build/weir\" weir && "
	    "ln -s \"$build/designs/floor\" \"$build/designs/thread-chat\" "
	    "\"$build/designs/iterative-udp\" designs && "
	    "ln -s \"$build/peers/http_floor\" \"$build/peers/fan_floor\" peers && "
	    "ln -s \"$build/clients/slowly\" clients && ln -s \"$build/weirctl\" weirctl",
	    temporary_folder(), absolute);
	ck_assert_int_eq(system(command), 0);
	return temporary_folder();
}
