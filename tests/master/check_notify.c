/*
 * notify: every message, sent to the test's own receiver at a path or an abstract name; and
 * receivers that are full or gone, or whose name is invalid.
 *
 * systemd itself does not run here; sd_notify(3) says what it does with the messages.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "master/notify.h"
#include "tests/support/servers/fake_systemd.h"

/* ---- the log ---- */

static int log_end;

static void capture_log(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(ends[1]);
	set_nonblocking(ends[0]);
	log_end = ends[0];
}

/* How many lines with this part were logged since the last call. */
static size_t logged(const char *part)
{
	static char text[1 << 16];
	ssize_t n = read(log_end, text, sizeof text - 1);
	size_t lines = 0;

	text[n > 0 ? n : 0] = '\0';
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	ck_assert_msg(!lines || strstr(text, part), "not of \"%s\": %s", part, text);
	return lines;
}

static size_t descriptors(void)
{
	return process_descriptors_n(getpid());
}

/* ---- messages ---- */

START_TEST(every_message_as_sd_notify_has_it)
{
	fake_systemd_open(_i);
	notify_open();
	ck_assert(notify_is_open());
	notify_ready("2 workers");
	expect("READY=1\nSTATUS=2 workers");
	ck_assert_int_eq(manager.from, getpid());
	notify_status("%d workers", 3);
	expect("STATUS=3 workers");
	ck_assert(notify_main_pid(12345));
	expect("MAINPID=12345\nREADY=1");
	notify_stopping("bye");
	expect("STOPPING=1\nSTATUS=bye");
	notify_watchdog(); /* sends nothing, as there is no watchdog */
	expect_nothing();
	notify_close();
	ck_assert(!notify_is_open());
	notify_ready("");
	expect_nothing();
}
END_TEST

START_TEST(a_reload_says_when_it_began)
{
	unsigned long long us, before, after;
	struct timespec now;
	char tail;

	fake_systemd_open(false);
	notify_open();
	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	before = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
	notify_reloading();
	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	after = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
	ck_assert_int_eq(
	    sscanf(next(patience_ms()), "RELOADING=1\nMONOTONIC_USEC=%llu%c", &us, &tail), 1);
	ck_assert_uint_ge(us, before);
	ck_assert_uint_le(us, after);
}
END_TEST

START_TEST(a_status_is_one_line_and_said_once)
{
	static char long_text[1000];

	memset(long_text, 'x', sizeof long_text - 1);
	fake_systemd_open(true);
	notify_open();
	notify_status("a\nMAINPID=1\tb");
	expect("STATUS=a MAINPID=1 b");
	notify_status("a\nMAINPID=1\tb");
	expect_nothing();
	notify_ready("ready\nSTOPPING=1");
	expect("READY=1\nSTATUS=ready STOPPING=1");
	notify_status("ready STOPPING=1");
	expect_nothing();
	notify_status("%s", long_text);
	ck_assert_uint_eq(strlen(next(patience_ms())), 7 + NOTIFY_STATUS_BYTES - 1);
	notify_status("%s", long_text);
	expect_nothing();
}
END_TEST

/* ---- the environment ---- */

START_TEST(children_do_not_see_it_and_an_upgrade_does)
{
	const char *lines[NOTIFY_LINES];
	char line[160];

	fake_systemd_open(_i);
	(void)snprintf(line, sizeof line, "NOTIFY_SOCKET=%s", manager.name);
	(void)setenv("WATCHDOG_USEC", "3000000", 1);
	(void)snprintf(line, sizeof line, "%d", getpid());
	(void)setenv("WATCHDOG_PID", line, 1);
	notify_open();
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
	ck_assert_ptr_null(getenv("WATCHDOG_PID"));
	(void)snprintf(line, sizeof line, "NOTIFY_SOCKET=%s", manager.name);
	ck_assert_uint_eq(notify_environment(lines), 2);
	ck_assert_str_eq(lines[0], line);
	ck_assert_str_eq(lines[1], "WATCHDOG_USEC=3000000");
	/* The next master can read them as this one did. */
	(void)setenv("NOTIFY_SOCKET", strchr(lines[0], '=') + 1, 1);
	(void)setenv("WATCHDOG_USEC", strchr(lines[1], '=') + 1, 1);
	notify_close();
	ck_assert_uint_eq(notify_environment(lines), 0);
	notify_open();
	ck_assert_uint_eq(notify_watchdog_ms(), 1500);
	notify_watchdog();
	expect("WATCHDOG=1");
}
END_TEST

START_TEST(the_watchdog_is_ours_or_nobodys)
{
	static const struct {
		const char *us, *pid;
		uint32_t ms;
		size_t warnings;
	} cases[] = {
	    {"30000000", NULL, 15000, 0},
	    {"30000000", "self", 15000, 0},
	    {"30000000", "1", 0, 0},
	    {"30000000", "", 0, 0},
	    {"30000000", "x", 0, 0},
	    {"2000", NULL, 1, 0},
	    {"1999", NULL, 0, 1},
	    {"0", NULL, 0, 1},
	    {"", NULL, 0, 1},
	    {"-1", NULL, 0, 1},
	    {"1s", NULL, 0, 1},
	    {"18446744073709551615", NULL, 0, 1},
	    {NULL, NULL, 0, 0},
	    {NULL, "self", 0, 0},
	    {"x", "1", 0, 0},
	    {"9000000000000000000", NULL, UINT32_MAX / 4, 0},
	};
	const char *lines[NOTIFY_LINES];
	char self[16];

	capture_log();
	fake_systemd_open(true);
	(void)snprintf(self, sizeof self, "%d", getpid());
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *pid = cases[i].pid;

		(void)setenv("NOTIFY_SOCKET", manager.name, 1);
		if (cases[i].us)
			(void)setenv("WATCHDOG_USEC", cases[i].us, 1);
		if (pid)
			(void)setenv("WATCHDOG_PID", strcmp(pid, "self") == 0 ? self : pid, 1);
		notify_open();
		ck_assert_msg(notify_watchdog_ms() == cases[i].ms, "%zu: %u ms", i,
			      notify_watchdog_ms());
		ck_assert_msg(logged("WATCHDOG_USEC") == cases[i].warnings, "%zu", i);
		ck_assert_uint_eq(notify_environment(lines), cases[i].ms ? 2 : 1);
		notify_watchdog();
		if (cases[i].ms)
			expect("WATCHDOG=1");
		else
			expect_nothing();
		notify_close();
	}
}
END_TEST

START_TEST(what_is_no_place_is_warned_of_and_ignored)
{
	static char long_path[109], abstract[109];
	const char *const names[] = {"", "@", "/", "run/x", "vsock:2:1234", long_path, abstract};
	size_t before;

	memset(long_path, 'x', sizeof long_path - 1);
	*long_path = '/';
	memset(abstract, 'x', sizeof abstract - 1);
	*abstract = '@';
	capture_log();
	before = descriptors();
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		(void)setenv("NOTIFY_SOCKET", names[i], 1);
		(void)setenv("WATCHDOG_USEC", "3000000", 1);
		notify_open();
		ck_assert_msg(!notify_is_open(), "%s", names[i]);
		ck_assert_uint_eq(logged("NOTIFY_SOCKET"), 1);
		ck_assert_uint_eq(notify_watchdog_ms(), 0);
		ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
		ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
		notify_ready("x");
		notify_reloading();
		notify_watchdog();
		ck_assert(notify_main_pid(1)); /* true: nothing waits to be sent, so it may end */
		ck_assert_uint_eq(logged(""), 0);
	}
	ck_assert_uint_eq(descriptors(), before);
	/* One byte less is a valid name. */
	abstract[107] = '\0';
	manager.fd = bind_receiver(abstract);
	(void)setenv("NOTIFY_SOCKET", abstract, 1);
	notify_open();
	notify_ready("x");
	expect("READY=1\nSTATUS=x");
}
END_TEST

START_TEST(without_a_manager_nothing_happens)
{
	size_t before;

	capture_log();
	before = descriptors();
	(void)unsetenv("NOTIFY_SOCKET");
	(void)setenv("WATCHDOG_USEC", "3000000", 1);
	notify_open();
	ck_assert(!notify_is_open());
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
	notify_ready("x");
	notify_status("y");
	notify_stopping("z");
	ck_assert_uint_eq(descriptors(), before);
	ck_assert_uint_eq(logged(""), 0);
	notify_close();
}
END_TEST

START_TEST(its_descriptor_goes_to_no_child)
{
	size_t before;
	int found = 0;

	before = descriptors();
	fake_systemd_open(true);
	notify_open();
	ck_assert_uint_eq(descriptors(), before + 2);
	for (int fd = 0; fd < 64; fd++) {
		struct sockaddr_un address;
		socklen_t n = sizeof address;

		if (fd == manager.fd || getsockname(fd, (struct sockaddr *)&address, &n) < 0 ||
		    address.sun_family != AF_UNIX)
			continue;
		if (n != sizeof address.sun_family) /* another socket, as it has a name */
			continue;
		found++;
		ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	}
	ck_assert_int_ge(found, 1);
	notify_close();
	ck_assert_uint_eq(descriptors(), before + 1);
}
END_TEST

/* ---- receivers that do not receive ---- */

static void fill(void)
{
	int i = 0;

	while (logged("can't be notified") == 0) {
		notify_status("%d", i++);
		ck_assert_int_lt(i, 100000);
	}
}

static void expect_filling(void)
{
	const char *text;

	while ((text = next(0)))
		ck_assert_int_eq(strncmp(text, "STATUS=", 7), 0);
}

START_TEST(a_full_receiver_gets_the_states_later)
{
	capture_log();
	fake_systemd_open(_i);
	notify_open();
	fill();
	for (int i = 0; i < 1000; i++)
		notify_status("full %d", i);
	notify_ready("first");
	notify_reloading();
	notify_ready("second");
	ck_assert(!notify_main_pid(77));
	ck_assert_uint_eq(logged(""), 0); /* it was logged only once */
	expect_filling();
	notify_status("second"); /* unchanged, so it only sends what was kept */
	expect("READY=1\nSTATUS=first");
	ck_assert_int_eq(strncmp(next(patience_ms()), "RELOADING=1\nMONOTONIC_USEC=", 27), 0);
	expect("READY=1\nSTATUS=second");
	expect("MAINPID=77\nREADY=1");
	expect_nothing();
	notify_status("third");
	expect("STATUS=third");
}
END_TEST

START_TEST(of_too_many_states_the_last_are_kept)
{
	static const char *const texts[] = {"0", "1", "2", "3", "4", "5"};

	capture_log();
	fake_systemd_open(true);
	notify_open();
	fill();
	for (size_t i = 0; i < 6; i++)
		notify_ready(texts[i]);
	expect_filling();
	notify_stopping("now");
	for (size_t i = 2; i < 6; i++) {
		char wanted[32];

		(void)snprintf(wanted, sizeof wanted, "READY=1\nSTATUS=%zu", i);
		expect(wanted);
	}
	expect("STOPPING=1\nSTATUS=now");
	expect_nothing();
}
END_TEST

/* A status that could not be sent, because the receiver was full, is sent again. */
START_TEST(a_lost_status_is_said_again)
{
	capture_log();
	fake_systemd_open(false);
	notify_open();
	fill();
	notify_status("lost");
	expect_filling();
	notify_status("lost");
	expect("STATUS=lost");
}
END_TEST

START_TEST(without_a_receiver_it_is_logged_once)
{
	capture_log();
	fake_systemd_open(_i);
	notify_open();
	(void)close(manager.fd);
	for (int i = 0; i < 100; i++) {
		notify_ready("x");
		notify_status("%d", i);
		(void)notify_main_pid(i);
	}
	ck_assert_uint_eq(logged("can't be notified"), 1);
	/* No message was kept for a receiver that comes later. */
	if (!_i)
		ck_assert_int_eq(unlink(manager.name), 0);
	manager.fd = bind_receiver(manager.name);
	notify_stopping("x");
	expect("STOPPING=1\nSTATUS=x");
	expect_nothing();
}
END_TEST

SUITE("notify", {"every message as sd_notify(3) has it", every_message_as_sd_notify_has_it, 10, 2},
      {"a reload says when it began", a_reload_says_when_it_began, 10},
      {"a status is one line, and said once", a_status_is_one_line_and_said_once, 10},
      {"children do not see it, and an upgrade does", children_do_not_see_it_and_an_upgrade_does,
       10, 2},
      {"the watchdog is ours or nobody's", the_watchdog_is_ours_or_nobodys, 10},
      {"what is no place is warned of, and ignored", what_is_no_place_is_warned_of_and_ignored, 10},
      {"without a manager nothing happens", without_a_manager_nothing_happens, 10},
      {"its descriptor goes to no child", its_descriptor_goes_to_no_child, 10},
      {"a full receiver gets the states later", a_full_receiver_gets_the_states_later, 20, 2},
      {"of too many states the last are kept", of_too_many_states_the_last_are_kept, 20},
      {"a lost status is said again", a_lost_status_is_said_again, 20},
      {"without a receiver it is logged once", without_a_receiver_it_is_logged_once, 10, 2})
