#include "tests/support/clients/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tests/support/harness.h"

static struct {
	int fd, side; /* our end, and weirctl's end, which stays open here, too */
	pid_t pid;
	struct termios before;
	size_t columns, rows, row, column;
	char cells[TERMINAL_ROWS_MAX][TERMINAL_COLUMNS_MAX + 1];
	char shown[TERMINAL_ROWS_MAX][TERMINAL_COLUMNS_MAX + 1]; /* the last whole frame */
	bool alternate, hidden, no_wrap, drawing, resized;
	bool cut; /* the kernel may have dropped any part of the output that was on its way here */
	unsigned frames;
	char escape[32];
	size_t escape_n;
	char plain[1 << 16];
	size_t plain_n;
	char came[4096]; /* what was read; from came_at on it has not been looked at */
	size_t came_at, came_n;
} terminal;

/* ---- what comes ---- */

static void clear_from(size_t row, size_t column)
{
	memset(terminal.cells[row] + column, ' ', TERMINAL_COLUMNS_MAX - column);
}

static void frame_ends(void)
{
	ck_assert(terminal.drawing && terminal.alternate && terminal.hidden && terminal.no_wrap);
	terminal.drawing = false;
	terminal.frames++;
	memcpy(terminal.shown, terminal.cells, sizeof terminal.shown);
	for (size_t i = 0; i < TERMINAL_ROWS_MAX; i++)
		terminal.shown[i][terminal.columns] = '\0';
}

static void take_mode(const char *mode, bool on)
{
	if (strcmp(mode, "?1049") == 0)
		terminal.alternate = on;
	else if (strcmp(mode, "?25") == 0)
		terminal.hidden = !on;
	else if (strcmp(mode, "?7") == 0)
		terminal.no_wrap = !on;
	else if (strcmp(mode, "?2026") == 0 && on)
		terminal.drawing = !terminal.drawing || (ck_abort_msg("a frame in a frame"), true);
	else if (strcmp(mode, "?2026") != 0)
		ck_abort_msg("mode %s", mode);
	else if (terminal.drawing)
		frame_ends();
}

/* text: the whole sequence after its ESC [. */
static void take_escape(char *text)
{
	char *end = text + strlen(text) - 1, letter = *end;
	unsigned row, column;
	char more;

	*end = '\0';
	if (letter == 'h' || letter == 'l') {
		take_mode(text, letter == 'h');
	} else if (letter == 'H') {
		ck_assert_msg(sscanf(text, "%u;%u%c", &row, &column, &more) == 2, "%sH", text);
		ck_assert_msg(terminal.resized || (row >= 1 && row <= terminal.rows),
			      "row %u of %zu", row, terminal.rows);
		terminal.row = row - 1;
		terminal.column = column - 1;
	} else if (letter == 'K' && !*text) {
		ck_assert(terminal.resized || terminal.column < terminal.columns);
		clear_from(terminal.row, terminal.column);
	} else if (letter == 'J' && !*text) {
		clear_from(terminal.row, terminal.column);
		for (size_t i = terminal.row + 1; i < TERMINAL_ROWS_MAX; i++)
			clear_from(i, 0);
	} else {
		ck_assert_msg(letter == 'm' && !text[strspn(text, "0123456789;")], "ESC [ %s%c",
			      text, letter);
	}
}

static void take_byte(char byte)
{
	if (byte == '\030') { /* CAN: the frame or sequence that was under way is void */
		terminal.cut = terminal.drawing = false;
		terminal.escape_n = 0;
	} else if (terminal.cut) {
		return;
	} else if (terminal.escape_n) {
		ck_assert_uint_lt(terminal.escape_n, sizeof terminal.escape - 1);
		terminal.escape[terminal.escape_n++] = byte;
		if (terminal.escape_n == 2) {
			ck_assert_int_eq(byte, '[');
		} else if (byte >= '@' && byte <= '~') {
			terminal.escape[terminal.escape_n] = '\0';
			terminal.escape_n = 0;
			take_escape(terminal.escape + 2);
		}
	} else if (byte == '\033') {
		terminal.escape[terminal.escape_n++] = byte;
	} else if (!terminal.drawing) {
		ck_assert_uint_lt(terminal.plain_n, sizeof terminal.plain - 1);
		terminal.plain[terminal.plain_n++] = byte;
	} else {
		ck_assert_msg(byte >= ' ' && byte <= '~', "byte %d", byte);
		ck_assert_uint_lt(terminal.column, TERMINAL_COLUMNS_MAX);
		ck_assert_msg(terminal.resized || terminal.column < terminal.columns,
			      "a character at column %zu of %zu", terminal.column,
			      terminal.columns);
		terminal.cells[terminal.row][terminal.column++] = byte;
	}
}

/* Waits for bytes, and takes them up to the end of a frame, so that it can be looked at before the
 * next one. False: the time is over. */
static bool take_some(unsigned ms)
{
	struct pollfd one = {.fd = terminal.fd, .events = POLLIN};
	unsigned frames = terminal.frames;

	if (terminal.came_at == terminal.came_n) {
		ssize_t n = poll(&one, 1, (int)ms) <= 0
				? -1
				: read(terminal.fd, terminal.came, sizeof terminal.came);

		if (n <= 0)
			return false;
		terminal.came_at = 0;
		terminal.came_n = (size_t)n;
	}
	while (terminal.frames == frames && terminal.came_at < terminal.came_n)
		take_byte(terminal.came[terminal.came_at++]);
	return true;
}

/* ---- its life ---- */

static void set_size(size_t columns, size_t rows)
{
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

	ck_assert(columns <= TERMINAL_COLUMNS_MAX && rows <= TERMINAL_ROWS_MAX);
	ck_assert_int_eq(ioctl(terminal.fd, TIOCSWINSZ, &size), 0);
	terminal.columns = columns;
	terminal.rows = rows;
}

static void become_weirctl(const char *const arguments[])
{
	const char *argv[24] = {built("weirctl")}, *term = getenv("TERM");

	for (int i = 0; arguments[i]; i++)
		argv[i + 1] = arguments[i];
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setsid();
	(void)ioctl(terminal.side, TIOCSCTTY, 0);
	if (!term || strcmp(term, "dumb") != 0)
		(void)setenv("TERM", "xterm", 1);
	(void)dup2(terminal.side, STDIN_FILENO);
	(void)dup2(terminal.side, STDOUT_FILENO);
	(void)dup2(open(in_folder("err"), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
	(void)execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

void terminal_start(size_t columns, size_t rows, const char *const arguments[])
{
	memset(&terminal, 0, sizeof terminal);
	for (size_t i = 0; i < TERMINAL_ROWS_MAX; i++)
		clear_from(i, 0);
	terminal.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	ck_assert_int_ge(terminal.fd, 0);
	ck_assert(grantpt(terminal.fd) == 0 && unlockpt(terminal.fd) == 0);
	terminal.side = open(ptsname(terminal.fd), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(terminal.side, 0);
	ck_assert_int_eq(tcgetattr(terminal.side, &terminal.before), 0);
	set_size(columns, rows);
	terminal.pid = fork();
	ck_assert_int_ge(terminal.pid, 0);
	if (terminal.pid == 0)
		become_weirctl(arguments);
}

pid_t terminal_pid(void)
{
	return terminal.pid;
}

static void is_as_before(void)
{
	struct wait wait = wait_begin();
	struct termios now;

	/* A kernel thread carries to this end what was written, so it may come a little later. */
	while (terminal.alternate || terminal.hidden || terminal.no_wrap) {
		(void)take_some(1);
		wait_more(&wait, "a terminal as it was before");
	}
	ck_assert(!terminal.escape_n);
	ck_assert_int_eq(tcgetattr(terminal.side, &now), 0);
	ck_assert_uint_eq(now.c_lflag, terminal.before.c_lflag);
	ck_assert_uint_eq(now.c_iflag, terminal.before.c_iflag);
	ck_assert_uint_eq(now.c_oflag, terminal.before.c_oflag);
	ck_assert_int_eq(memcmp(now.c_cc, terminal.before.c_cc, sizeof now.c_cc), 0);
}

static int wait_status(int options, const char *what)
{
	struct wait wait = wait_begin();
	int status;

	while (waitpid(terminal.pid, &status, WNOHANG | options) == 0) {
		(void)take_some(1);
		wait_more(&wait, what);
	}
	while (take_some(20))
		;
	return status;
}

int terminal_end(void)
{
	int status = wait_status(0, "weirctl's end");

	is_as_before();
	(void)close(terminal.fd);
	(void)close(terminal.side);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void terminal_wait_stopped(void)
{
	ck_assert(WIFSTOPPED(wait_status(WUNTRACED, "weirctl being stopped")));
	is_as_before();
}

void terminal_neglect(void)
{
	struct pollfd one = {.fd = terminal.side, .events = POLLOUT};
	struct wait wait = wait_begin();

	while (poll(&one, 1, 0) > 0)
		wait_more(&wait, "a terminal without room");
}

void terminal_shell(void)
{
	struct wait wait = wait_begin();

	while (process_state(terminal.pid) != 'T')
		wait_more(&wait, "weirctl being stopped");
	ck_assert_int_eq(tcsetattr(terminal.side, TCSANOW, &terminal.before), 0);
}

void terminal_type(const char *keys)
{
	terminal.cut = strpbrk(keys, "\003\032") != NULL; /* it becomes a signal to weirctl */
	ck_assert_int_eq(write(terminal.fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* ---- what is to be seen ---- */

void terminal_next(void)
{
	struct wait wait = wait_begin();
	unsigned frames = terminal.frames;

	while (terminal.frames == frames) {
		(void)take_some(10);
		wait_more(&wait, "a frame");
	}
}

bool terminal_has(const char *text)
{
	for (size_t i = 0; i < terminal.rows; i++)
		if (strstr(terminal.shown[i], text))
			return true;
	return false;
}

static void wait_for(const char *text, bool there)
{
	struct wait wait = wait_begin();

	while (!terminal.frames || terminal_has(text) != there) {
		(void)take_some(10);
		wait_more(&wait, text);
	}
}

void terminal_wait(const char *text)
{
	wait_for(text, true);
}

void terminal_wait_not(const char *text)
{
	wait_for(text, false);
}

const char *terminal_line(size_t row)
{
	ck_assert_uint_lt(row, terminal.rows);
	return terminal.shown[row];
}

const char *terminal_line_of(const char *begin)
{
	for (size_t i = 0; i < terminal.rows; i++) {
		const char *line = terminal.shown[i] + strspn(terminal.shown[i], " ");

		if (strncmp(line, begin, strlen(begin)) == 0)
			return terminal.shown[i];
	}
	return NULL;
}

void terminal_resize(size_t columns, size_t rows, const char *text)
{
	struct wait wait = wait_begin();

	terminal.resized = true; /* frames of the old size may still come */
	set_size(columns, rows);
	while (strncmp(terminal.shown[rows - 1], text, strlen(text)) != 0) {
		(void)take_some(10);
		wait_more(&wait, "a frame of the new size");
	}
	terminal.resized = false;
}

const char *terminal_plain(void)
{
	terminal.plain[terminal.plain_n] = '\0';
	return terminal.plain;
}
