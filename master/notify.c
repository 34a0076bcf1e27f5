#include "master/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "reactor/base/log.h"
#include "worker/config/config.h"

#define MESSAGE_BYTES	(NOTIFY_STATUS_BYTES + 128)
#define KEPT_MAX	4    /* READY, RELOADING, READY, STOPPING */
#define WATCHDOG_US_MIN 2000 /* half of it has to be a millisecond */

static struct {
	int fd; /* valid if address_bytes is not 0 */
	struct sockaddr_un address;
	socklen_t address_bytes;
	const char *taken[3]; /* texts taken out of the environment, for us alone */
	uint64_t watchdog_us; /* 0: none */
	bool warned;
	char status[NOTIFY_STATUS_BYTES];   /* the last one */
	char kept[KEPT_MAX][MESSAGE_BYTES]; /* what found the queue full */
	size_t kept_n;
	char socket_line[sizeof "NOTIFY_SOCKET=" + sizeof(struct sockaddr_un)];
	char watchdog_line[64];
} notify;

/* ---- what systemd says to us ---- */

/* A path, or @NAME in the abstract name space; nothing else is a place to write to. */
static bool read_socket(const char *text)
{
	struct sockaddr_un *address = &notify.address;
	size_t n = strlen(text);

	if ((*text != '/' && *text != '@') || n < 2 || n >= sizeof address->sun_path)
		return false;
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(address->sun_path, text, n);
	if (*text == '@')
		address->sun_path[0] = '\0';
	notify.address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return true;
}

/* A watchdog may be meant for another process, whose environment we inherited. */
static bool watchdog_is_ours(const char *pid)
{
	uint64_t number;

	return !pid || (number_parse(pid, &number) && number == (uint64_t)getpid());
}

static void read_watchdog(const char *us, const char *pid)
{
	uint64_t number;

	if (!us || !watchdog_is_ours(pid))
		return;
	if (!number_parse(us, &number) || number < WATCHDOG_US_MIN || number > INT64_MAX) {
		log_warn("WATCHDOG_USEC is no time for a watchdog", LOG_TEXT("value", us));
		return;
	}
	notify.watchdog_us = number;
	(void)snprintf(notify.watchdog_line, sizeof notify.watchdog_line, "WATCHDOG_USEC=%llu",
		       (unsigned long long)number);
}

static void open_socket(const char *text)
{
	if (!read_socket(text)) {
		log_warn("NOTIFY_SOCKET is neither a path nor an abstract name",
			 LOG_TEXT("value", text));
		return;
	}
	notify.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (notify.fd < 0) {
		log_warn("no socket to notify systemd", LOG_TEXT("error", strerror(errno)));
		notify.address_bytes = 0;
		return;
	}
	(void)snprintf(notify.socket_line, sizeof notify.socket_line, "NOTIFY_SOCKET=%s", text);
}

void notify_open(void)
{
	static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};

	memset(&notify, 0, sizeof notify);
	for (size_t i = 0; i < 3; i++)
		notify.taken[i] = getenv(names[i]);
	if (notify.taken[0])
		open_socket(notify.taken[0]);
	if (notify_is_open())
		read_watchdog(notify.taken[1], notify.taken[2]);
	for (size_t i = 0; i < 3; i++)
		(void)unsetenv(names[i]);
}

void notify_close(void)
{
	if (notify_is_open())
		(void)close(notify.fd);
	notify.address_bytes = 0;
	notify.watchdog_us = 0;
}

bool notify_is_open(void)
{
	return notify.address_bytes != 0;
}

/* ---- what we say ---- */

static bool is_full(int error)
{
	return error == EAGAIN || error == ENOBUFS;
}

/* 0, or the error. A full queue is no reason to wait: the server comes first. */
static int send_message(const char *message)
{
	ssize_t n;

	do
		n = sendto(notify.fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL,
			   (const struct sockaddr *)&notify.address, notify.address_bytes);
	while (n < 0 && errno == EINTR);
	return n < 0 ? errno : 0;
}

/* What was kept goes first, each message in a datagram of its own: of two states in one datagram,
 * systemd would hear only the last. */
static int send_kept(void)
{
	while (notify.kept_n) {
		int error = send_message(notify.kept[0]);

		if (is_full(error))
			return error;
		notify.kept_n--;
		memmove(notify.kept[0], notify.kept[1], notify.kept_n * sizeof notify.kept[0]);
	}
	return 0;
}

/* If too many are kept, the oldest is dropped: it says least of how things are now. */
static void keep(const char *message)
{
	if (notify.kept_n == KEPT_MAX) {
		notify.kept_n--;
		memmove(notify.kept[0], notify.kept[1], notify.kept_n * sizeof notify.kept[0]);
	}
	(void)snprintf(notify.kept[notify.kept_n++], sizeof notify.kept[0], "%s", message);
}

static bool say(const char *message, bool must_arrive)
{
	int error;

	if (!notify_is_open())
		return false;
	error = send_kept();
	if (!error)
		error = send_message(message);
	if (is_full(error) && must_arrive)
		keep(message);
	if (error && !notify.warned) {
		notify.warned = true;
		log_warn("systemd can't be notified", LOG_TEXT("error", strerror(error)));
	}
	return !error;
}

/* A newline in the text would begin another assignment of the protocol: it is replaced. */
static void one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ')
			*text = ' ';
}

static void say_state(const char *state, const char *status)
{
	char line[NOTIFY_STATUS_BYTES], message[MESSAGE_BYTES];

	(void)snprintf(line, sizeof line, "%s", status);
	one_line(line);
	(void)snprintf(message, sizeof message, "%s\nSTATUS=%s", state, line);
	(void)say(message, true);
	memcpy(notify.status, line, sizeof line);
}

void notify_ready(const char *status)
{
	say_state("READY=1", status);
}

void notify_stopping(const char *status)
{
	say_state("STOPPING=1", status);
}

/* With Type=notify-reload, systemd takes this for the answer to its HUP if the time is not before
 * that (systemd.service(5)); older versions ignore the second line. */
void notify_reloading(void)
{
	struct timespec now;
	char message[96];

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%llu",
		       (unsigned long long)now.tv_sec * 1000000 +
			   (unsigned long long)now.tv_nsec / 1000);
	(void)say(message, true);
}

void notify_status(const char *format, ...)
{
	char line[NOTIFY_STATUS_BYTES], message[MESSAGE_BYTES];
	va_list arguments;

	if (!notify_is_open())
		return;
	va_start(arguments, format);
	(void)vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	one_line(line);
	if (strcmp(line, notify.status) == 0) {
		(void)send_kept();
		return;
	}
	(void)snprintf(message, sizeof message, "STATUS=%s", line);
	if (say(message, false))
		memcpy(notify.status, line, sizeof line);
}

/* In one datagram: systemd reads the pid first, so that READY comes from the main process. */
bool notify_main_pid(pid_t pid)
{
	char message[64];

	(void)snprintf(message, sizeof message, "MAINPID=%lld\nREADY=1", (long long)pid);
	return say(message, true) || !notify_is_open();
}

uint32_t notify_watchdog_ms(void)
{
	uint64_t ms = notify.watchdog_us / 2000;

	return ms < UINT32_MAX / 4 ? (uint32_t)ms : UINT32_MAX / 4;
}

void notify_watchdog(void)
{
	if (notify.watchdog_us)
		(void)say("WATCHDOG=1", false);
}

size_t notify_environment(const char *lines[NOTIFY_LINES])
{
	size_t n = 0;

	if (!notify_is_open())
		return 0;
	lines[n++] = notify.socket_line;
	if (notify.watchdog_us)
		lines[n++] = notify.watchdog_line;
	return n;
}
