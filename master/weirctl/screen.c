#include "master/weirctl/screen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "reactor/base/check.h"

#define ROWS_MAX  512
#define LOOK_ROOM 64 /* bytes around a line */
/* Both begin with what ends half of a sequence (a CAN) and half of a frame: the output before them
 * may have been cut anywhere, also by the kernel, which drops waiting output at Ctrl-C. */
#define ANEW	 "\030\033[?2026l"
#define ENTER	 ANEW "\033[?1049h\033[?25l\033[?7l"
#define LEAVE	 ANEW "\033[0m\033[?7h\033[?25h\033[?1049l"
#define LEAVE_MS 100 /* for a terminal that does not read */

static struct {
	bool is_open, colours, keys;
	int out; /* not blocking, and of our own if it can be had */
	int signals;
	struct termios before;
	enum { KEY_PLAIN, KEY_ESCAPE, KEY_SHIFT, KEY_SEQUENCE } key; /* seen so far */
	int key_number;						     /* the first number in it */
	char bytes[ROWS_MAX * (FRAME_COLUMNS_MAX + LOOK_ROOM)];
	size_t n, sent_n; /* of what is under way */
} screen = {.out = -1, .signals = -1};

bool screen_is_possible(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

/* ---- its modes ---- */

/* Ctrl-C and Ctrl-Z stay signals. A read never waits: poll() says when there is something. */
static void keys_begin(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &screen.before) < 0)
		return;
	raw = screen.before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = raw.c_cc[VTIME] = 0;
	screen.keys = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void keys_end(void)
{
	if (screen.keys)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &screen.before);
	screen.keys = false;
}

/* Writes text now. Output that was under way is dropped, even in the middle of a sequence. False:
 * the terminal has no room. */
static bool say_now(const char *text)
{
	struct pollfd one = {.fd = screen.out, .events = POLLOUT};
	size_t n = strlen(text);

	screen.n = screen.sent_n = 0;
	while (n && poll(&one, 1, LEAVE_MS) > 0) {
		ssize_t sent = write(screen.out, text, n);

		if (sent < 0 && errno != EINTR && errno != EAGAIN)
			return true; /* the terminal has gone */
		if (sent > 0) {
			text += sent;
			n -= (size_t)sent;
		}
	}
	return n == 0;
}

/* If a slow terminal has no room, what it has not read yet is dropped, and this tried again. */
static void leave(void)
{
	if (!say_now(LEAVE)) {
		(void)tcflush(screen.out, TCOFLUSH);
		(void)say_now(LEAVE);
	}
	keys_end();
}

static void enter(void)
{
	keys_begin();
	(void)say_now(ENTER);
}

/* ---- its life ---- */

static void take_signals(sigset_t *set)
{
	static const int numbers[] = {SIGINT,  SIGTERM, SIGHUP,	  SIGQUIT,
				      SIGTSTP, SIGCONT, SIGWINCH, SIGPIPE};

	(void)sigemptyset(set);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		(void)sigaddset(set, numbers[i]);
	(void)sigprocmask(SIG_BLOCK, set, NULL);
}

void screen_open(void)
{
	const char *no_colour = getenv("NO_COLOR");
	sigset_t set;

	take_signals(&set);
	screen.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (screen.signals < 0)
		die("signalfd: %s", strerror(errno));
	/* An open file description of our own: O_NONBLOCK on that of stdout would be the shell's,
	 * too. */
	screen.out = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (screen.out < 0)
		screen.out = STDOUT_FILENO;
	screen.colours = !no_colour || !*no_colour;
	screen.is_open = true;
	enter();
	(void)atexit(screen_close);
}

void screen_close(void)
{
	if (!screen.is_open)
		return;
	screen.is_open = false;
	leave();
}

void screen_size(size_t *columns, size_t *rows)
{
	struct winsize size;

	*columns = 80;
	*rows = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row) {
		*columns = size.ws_col < FRAME_COLUMNS_MAX ? size.ws_col : FRAME_COLUMNS_MAX;
		*rows = size.ws_row < ROWS_MAX ? size.ws_row : ROWS_MAX;
	}
}

/* ---- frames ---- */

static void put(const char *text)
{
	size_t n = strlen(text);

	CHECK(screen.n + n <= sizeof screen.bytes);
	memcpy(screen.bytes + screen.n, text, n);
	screen.n += n;
}

/* Without colours a heading is still told apart, and an alarm too. */
static const char *look_begin(enum frame_look look)
{
	switch (look) {
	case LOOK_STRONG:
		return "\033[1m";
	case LOOK_HEADING:
		return "\033[7m";
	case LOOK_ALARM:
		return screen.colours ? "\033[1;31m" : "\033[1m";
	case LOOK_FAINT:
		return screen.colours ? "\033[2m" : "";
	default:
		return "";
	}
}

/* True: all is out. */
static bool send_rest(void)
{
	while (screen.sent_n < screen.n) {
		ssize_t n =
		    write(screen.out, screen.bytes + screen.sent_n, screen.n - screen.sent_n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		screen.sent_n += (size_t)n;
	}
	screen.n = screen.sent_n = 0;
	return true;
}

/* Line by line over what is there, with nothing cleared first: so nothing flickers, even if the
 * terminal does not know ?2026 (draw all of it at once). */
bool screen_draw(const struct frame *frame)
{
	size_t columns, rows;
	char at[32];

	if (!send_rest())
		return false;
	screen_size(&columns, &rows);
	put("\033[?2026h");
	for (size_t i = 0; i < frame->n && i < rows; i++) {
		const struct frame_line *line = &frame->lines[i];

		(void)snprintf(at, sizeof at, "\033[%zu;1H\033[0m", i + 1);
		put(at);
		put(look_begin(line->look));
		put(line->text);
		put("\033[0m");
		/* After a full line the cursor still stands on its last character, which would be
		 * cleared. */
		if (strlen(line->text) < columns)
			put("\033[K");
	}
	if (frame->n < rows)
		put("\033[J");
	put("\033[?2026l");
	(void)send_rest();
	return true;
}

/* ---- events ---- */

/* As the terminal's job control wants it: the shell goes on, with its own modes. */
static void stop_here(void)
{
	leave();
	(void)kill(getpid(), SIGSTOP);
	enter();
}

static enum screen_event take_signal(void)
{
	struct signalfd_siginfo info;

	if (read(screen.signals, &info, sizeof info) != sizeof info)
		return SCREEN_NOTHING;
	switch (info.ssi_signo) {
	case SIGWINCH:
		return SCREEN_REDRAW;
	case SIGTSTP:
		stop_here();
		return SCREEN_REDRAW;
	case SIGCONT: /* after a SIGSTOP, which can't be caught: the modes may be others' */
		keys_end();
		enter();
		return SCREEN_REDRAW;
	case SIGPIPE:
		return SCREEN_NOTHING;
	default:
		return SCREEN_END;
	}
}

/* By the letter at the end of its sequence, or the number before its ~; 0: none of ours. */
static int key_named(unsigned char end, int number)
{
	static const struct {
		unsigned char end;
		int number, key;
	} names[] = {{'A', 0, KEY_UP},	     {'B', 0, KEY_DOWN}, {'H', 0, KEY_HOME},
		     {'F', 0, KEY_END},	     {'~', 1, KEY_HOME}, {'~', 7, KEY_HOME},
		     {'~', 4, KEY_END},	     {'~', 8, KEY_END},	 {'~', 5, KEY_PAGE_UP},
		     {'~', 6, KEY_PAGE_DOWN}};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (names[i].end == end && (end != '~' || names[i].number == number))
			return names[i].key;
	return 0;
}

/* Its bytes may come one by one. 0: that is no key, or not all of one. */
static int key_byte(unsigned char byte)
{
	bool digit = byte >= '0' && byte <= '9';

	if (byte == '\033') {
		screen.key = KEY_ESCAPE;
		return 0;
	}
	if (screen.key == KEY_ESCAPE && (byte == '[' || byte == 'O')) {
		screen.key = byte == '[' ? KEY_SEQUENCE : KEY_SHIFT;
		screen.key_number = 0;
		return 0;
	}
	if (screen.key == KEY_SEQUENCE && byte >= ' ' && byte < '@') {
		if (!digit)
			screen.key_number = 1000 + screen.key_number % 1000; /* no later number
									      * counts */
		else if (screen.key_number < 100)
			screen.key_number = 10 * screen.key_number + byte - '0';
		return 0;
	}
	if (screen.key >= KEY_SHIFT) {
		screen.key = KEY_PLAIN;
		return key_named(byte, screen.key_number % 1000);
	}
	screen.key = KEY_PLAIN;
	return byte;
}

static enum screen_event take_key(int *key)
{
	unsigned char byte;

	if (read(STDIN_FILENO, &byte, 1) != 1)
		return SCREEN_NOTHING;
	*key = key_byte(byte);
	return *key ? SCREEN_KEY : SCREEN_NOTHING;
}

enum screen_event screen_wait(int other, int ms, int *key)
{
	struct pollfd fds[] = {
	    {.fd = screen.signals, .events = POLLIN},
	    {.fd = screen.keys ? STDIN_FILENO : -1, .events = POLLIN},
	    {.fd = screen.out, .events = screen.sent_n < screen.n ? POLLOUT : 0},
	    {.fd = other, .events = POLLIN},
	};

	if (poll(fds, sizeof fds / sizeof *fds, ms) <= 0)
		return SCREEN_NOTHING;
	if (fds[0].revents)
		return take_signal();
	if (fds[2].revents & (POLLERR | POLLHUP | POLLNVAL))
		return SCREEN_END;
	if (fds[2].revents)
		(void)send_rest();
	if (fds[1].revents & POLLIN)
		return take_key(key);
	return fds[1].revents ? SCREEN_END : SCREEN_NOTHING;
}
