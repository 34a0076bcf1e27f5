#include "tests/harness.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reactor/address.h"
#include "reactor/stats.h"

/* ---- time ---- */

uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static unsigned patience_ms(void)
{
	return HARNESS_WAIT_MS * (suite_sanitized() ? 10 : 1);
}

struct wait wait_begin(void)
{
	return (struct wait){now_ms() + patience_ms()};
}

void wait_more(struct wait *wait, const char *what)
{
	struct timespec nap = {0, 1000000};

	if (now_ms() > wait->until_ms)
		ck_abort_msg("waited in vain for: %s", what);
	(void)nanosleep(&nap, NULL);
}

uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state ? *state : 0x9e3779b97f4a7c15ULL;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

void fill_random(void *bytes, size_t n, uint64_t seed)
{
	unsigned char *at = bytes;

	while (n) {
		uint64_t value = next_random(&seed);
		size_t part = n < sizeof value ? n : sizeof value;

		memcpy(at, &value, part);
		at += part;
		n -= part;
	}
}

bool command_exists(const char *name)
{
	const char *path = getenv("PATH");
	char rest[4096], *at = rest, *folder, file[4200];

	(void)snprintf(rest, sizeof rest, "%s", path ? path : "/usr/bin:/bin");
	while ((folder = strsep(&at, ":"))) {
		(void)snprintf(file, sizeof file, "%s/%s", folder, name);
		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static char folder_made[64];

static void remove_folder(void)
{
	char command[100];

	(void)snprintf(command, sizeof command, "rm -rf '%s'", folder_made);
	if (system(command))
		(void)fprintf(stderr, "left behind: %s\n", folder_made);
}

const char *temporary_folder(void)
{
	if (!*folder_made) {
		(void)snprintf(folder_made, sizeof folder_made, "/tmp/weir-test-XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(folder_made));
		(void)atexit(remove_folder);
	}
	return folder_made;
}

/* ---- starting and ending ---- */

static const char *weir_path(void)
{
	const char *path = getenv("WEIR");

	return path ? path : "build/weir";
}

static _Noreturn void become_weir(const char *const arguments[], int out, int err)
{
	const char *argv[64] = {weir_path()};
	sigset_t none;

	for (int i = 0; arguments[i] && i < 62; i++)
		argv[i + 1] = arguments[i];
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (out >= 0)
		(void)dup2(out, STDOUT_FILENO);
	(void)dup2(err, STDERR_FILENO);
	for (int fd = 3; fd < 1024; fd++)
		(void)close(fd);
	(void)execv(weir_path(), (char *const *)(uintptr_t)argv);
	_exit(127);
}

struct server *server_launch(const char *const arguments[])
{
	struct server *server = calloc(1, sizeof *server);
	int ends[2];

	ck_assert_ptr_nonnull(server);
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	(void)fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
	server->pid = fork();
	ck_assert_int_ge(server->pid, 0);
	if (server->pid == 0)
		become_weir(arguments, -1, ends[1]);
	(void)close(ends[1]);
	server->log_fd = ends[0];
	(void)fcntl(server->log_fd, F_SETFL, O_NONBLOCK);
	return server;
}

/* Takes in what its log pipe holds now. When the memory is full the older half goes. */
static void log_read(struct server *server)
{
	ssize_t n;

	do {
		if (server->log_n + 4096 > sizeof server->log) {
			size_t half = sizeof server->log / 2;

			memmove(server->log, server->log + half, server->log_n - half);
			server->log_n -= half;
		}
		n = read(server->log_fd, server->log + server->log_n, 4095);
		if (n > 0)
			server->log_n += (size_t)n;
		server->log[server->log_n] = '\0';
	} while (n > 0);
}

bool server_log_has(struct server *server, const char *text)
{
	log_read(server);
	return strstr(server->log, text) != NULL;
}

size_t server_log_count(struct server *server, const char *text)
{
	size_t count = 0;

	log_read(server);
	for (const char *at = server->log; (at = strstr(at, text)); at += strlen(text))
		count++;
	return count;
}

void server_wait_log(struct server *server, const char *text)
{
	struct wait wait = wait_begin();

	while (!server_log_has(server, text)) {
		struct pollfd poll_fd = {.fd = server->log_fd, .events = POLLIN};

		if (now_ms() > wait.until_ms)
			ck_abort_msg("waited in vain for \"%s\" in the log:\n%s", text,
				     server->log);
		if (poll(&poll_fd, 1, 50) > 0 && (poll_fd.revents & POLLHUP) &&
		    !(poll_fd.revents & POLLIN))
			ck_abort_msg("weir ended before it said \"%s\":\n%s", text, server->log);
	}
}

/* The memfd that its counters are in, found among the master's descriptors. */
static const struct board *board_of(pid_t pid)
{
	char folder[64], path[350], target[256];
	const struct board *board = NULL;
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while (!board && (entry = readdir(dir))) {
		ssize_t n;
		int fd;

		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		n = readlink(path, target, sizeof target - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (!strstr(target, "/memfd:" BOARD_NAME))
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		board = mmap(NULL, sizeof *board, PROT_READ, MAP_SHARED, fd, 0);
		(void)close(fd);
	}
	(void)closedir(dir);
	ck_assert_ptr_nonnull(board);
	ck_assert_uint_eq(board->version, BOARD_VERSION);
	return board;
}

static void read_ports(struct server *server)
{
	const char *at = strstr(server->log, "listeners=");
	char line[4096], *rest = line, *word;

	ck_assert_ptr_nonnull(at);
	at += strlen("listeners=");
	(void)snprintf(line, sizeof line, "%.*s", (int)strcspn(at + (*at == '"'), "\"\n"),
		       at + (*at == '"'));
	while ((word = strsep(&rest, " "))) {
		char *address = strstr(word, "://"), *keys;
		unsigned port = 0;

		if (!address)
			continue;
		address += 3;
		keys = strchr(address, '?');
		if (keys)
			*keys = '\0';
		if (*address != '/' && *address != '@')
			port = (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10);
		server->ports[server->ports_n++] = port;
	}
}

struct server *server_start(const char *const arguments[])
{
	struct server *server = server_launch(arguments);

	server_wait_log(server, "msg=ready");
	while (server->log[server->log_n - 1] != '\n')
		log_read(server);
	read_ports(server);
	server->board = board_of(server->pid);
	return server;
}

int server_wait_exit(struct server *server)
{
	struct wait wait = wait_begin();
	int status;

	wait.until_ms += 60000;
	while (waitpid(server->pid, &status, WNOHANG) == 0) {
		log_read(server);
		wait_more(&wait, "weir's end");
	}
	log_read(server);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int server_stop(struct server *server, int signal)
{
	ck_assert_int_eq(kill(server->pid, signal), 0);
	return server_wait_exit(server);
}

int server_run(const char *const arguments[], char *output, size_t output_n)
{
	struct wait wait = wait_begin();
	int ends[2], status;
	size_t n = 0;
	pid_t pid;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		become_weir(arguments, ends[1], ends[1]);
	(void)close(ends[1]);
	for (;;) {
		ssize_t part = read(ends[0], output + n, output_n - 1 - n);

		if (part <= 0)
			break;
		n += (size_t)part;
	}
	output[n] = '\0';
	(void)close(ends[0]);
	while (waitpid(pid, &status, WNOHANG) == 0)
		wait_more(&wait, "weir's end");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- counters ---- */

static const struct stats_row *row_of(const char *name)
{
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strcmp(stats_rows[i].name, name) == 0)
			return &stats_rows[i];
	ck_abort_msg("no counter is called %s", name);
}

uint64_t server_worker_stat(const struct server *server, unsigned worker, const char *name)
{
	return stats_value(&server->board->slot[worker].stats, row_of(name));
}

uint64_t server_stat(const struct server *server, const char *name)
{
	const struct stats_row *row = row_of(name);
	uint64_t total = 0;

	for (unsigned i = 0; i < WORKERS_MAX; i++)
		total = stats_combine(row, total, server_worker_stat(server, i, name));
	return total;
}

void server_wait_stat(const struct server *server, const char *name, uint64_t at_least)
{
	struct wait wait = wait_begin();
	char what[160];

	while (server_stat(server, name) < at_least) {
		(void)snprintf(what, sizeof what, "%s to be at least %llu; it is %llu", name,
			       (unsigned long long)at_least,
			       (unsigned long long)server_stat(server, name));
		wait_more(&wait, what);
	}
}

void server_wait_stat_is(const struct server *server, const char *name, uint64_t value)
{
	struct wait wait = wait_begin();
	char what[160];

	while (server_stat(server, name) != value) {
		(void)snprintf(what, sizeof what, "%s to be %llu; it is %llu", name,
			       (unsigned long long)value,
			       (unsigned long long)server_stat(server, name));
		wait_more(&wait, what);
	}
}

/* ---- processes ---- */

static bool read_file(const char *path, char *text, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t at = 0;
	ssize_t part = 0;

	if (fd < 0)
		return false;
	while (at < n - 1 && (part = read(fd, text + at, n - 1 - at)) > 0)
		at += (size_t)part;
	text[at] = '\0';
	(void)close(fd);
	return part >= 0;
}

pid_t server_worker(const struct server *server, unsigned worker)
{
	char path[96], children[8192], comm[64], wanted[32], *at = children, *end;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)server->pid,
		       (int)server->pid);
	(void)snprintf(wanted, sizeof wanted, "weir-w%u\n", worker);
	if (!read_file(path, children, sizeof children))
		return 0;
	for (;; at = end) {
		pid_t pid = (pid_t)strtol(at, &end, 10);

		if (end == at)
			return 0;
		(void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
		if (read_file(path, comm, sizeof comm) && strcmp(comm, wanted) == 0 &&
		    process_state(pid) != 'Z')
			return pid;
	}
}

pid_t server_wait_worker(const struct server *server, unsigned worker, pid_t other_than)
{
	struct wait wait = wait_begin();
	pid_t pid;

	while (!(pid = server_worker(server, worker)) || pid == other_than)
		wait_more(&wait, "a worker");
	return pid;
}

size_t process_memory(pid_t pid)
{
	char path[64], text[256];
	unsigned long size, resident, shared;

	(void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	ck_assert(read_file(path, text, sizeof text));
	ck_assert_int_eq(sscanf(text, "%lu %lu %lu", &size, &resident, &shared), 3);
	return (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

char process_state(pid_t pid)
{
	char path[64], text[512], *paren;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (!read_file(path, text, sizeof text) || !(paren = strrchr(text, ')')))
		return 0;
	return paren[2];
}

unsigned long process_ticks(pid_t pid)
{
	char path[64], text[512], *paren;
	unsigned long user = 0, system = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	ck_assert(read_file(path, text, sizeof text));
	paren = strrchr(text, ')');
	ck_assert_ptr_nonnull(paren);
	ck_assert_int_eq(sscanf(paren + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system),
			 2);
	return user + system;
}

static int text_order(const void *a, const void *b)
{
	return strcmp(a, b);
}

void process_descriptors(pid_t pid, char *text, size_t n)
{
	static char lines[4096][128];
	char folder[64], path[350];
	struct dirent *entry;
	size_t lines_n = 0, at = 0;
	DIR *dir;

	(void)snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) && lines_n < 4096) {
		ssize_t length;

		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		length = readlink(path, lines[lines_n], sizeof *lines - 1);
		if (length <= 0)
			continue;
		lines[lines_n][length] = '\0';
		/* "socket:[123]" is a socket: the number tells nothing across processes. */
		lines[lines_n][strcspn(lines[lines_n], "[")] = '\0';
		lines_n++;
	}
	(void)closedir(dir);
	qsort(lines, lines_n, sizeof *lines, text_order);
	*text = '\0';
	for (size_t i = 0; i < lines_n && at < n; i++)
		at += (size_t)snprintf(text + at, n - at, "%s\n", lines[i]);
}

size_t process_descriptors_n(pid_t pid)
{
	char folder[64];
	size_t count = 0;
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		count += *entry->d_name != '.';
	(void)closedir(dir);
	return count;
}

/* ---- clients ---- */

static void set_patience(int fd)
{
	struct timeval patience = {.tv_sec = patience_ms() / 1000};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static int connect_address(const struct address *address)
{
	int on = 1, fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	set_patience(fd);
	if (!address_is_unix(address))
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(fd, (const struct sockaddr *)&address->socket, address->bytes) < 0) {
		int error = errno;

		(void)close(fd);
		return -error;
	}
	return fd;
}

static int connect_text(const char *text)
{
	struct address address;
	const char *why = "";
	int fd;

	ck_assert_msg(address_parse(&address, text, &why), "%s: %s", text, why);
	fd = connect_address(&address);
	ck_assert_msg(fd >= 0, "connect to %s: %s", text, strerror(-fd));
	return fd;
}

int try_connect(unsigned port)
{
	struct address address;
	const char *why;

	ck_assert(address_parse(&address, "127.0.0.1:0", &why));
	address_set_port(&address, port);
	return connect_address(&address);
}

int connect_to(unsigned port)
{
	int fd = try_connect(port);

	ck_assert_msg(fd >= 0, "connect to port %u: %s", port, strerror(-fd));
	return fd;
}

int connect_to_host(const char *host, unsigned port)
{
	char text[128];

	(void)snprintf(text, sizeof text, "%s:%u", host, port);
	return connect_text(text);
}

int connect_unix(const char *path)
{
	return connect_text(path);
}

void send_all(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);

		ck_assert_msg(sent > 0, "send: %s", strerror(errno));
		at += sent;
		n -= (size_t)sent;
	}
}

void send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

void receive_exactly(int fd, void *bytes, size_t n)
{
	char *at = bytes;
	size_t left = n;

	while (left) {
		ssize_t came = recv(fd, at, left, 0);

		ck_assert_msg(came > 0, "recv: %s, %zu of %zu bytes came",
			      came ? strerror(errno) : "the end", n - left, n);
		at += came;
		left -= (size_t)came;
	}
}

size_t receive_to_end(int fd, void *bytes, size_t n)
{
	size_t at = 0;

	for (;;) {
		char extra;
		ssize_t came =
		    at < n ? recv(fd, (char *)bytes + at, n - at, 0) : recv(fd, &extra, 1, 0);

		ck_assert_msg(came >= 0, "recv: %s after %zu bytes", strerror(errno), at);
		if (!came)
			return at;
		ck_assert_msg(at < n, "more than %zu bytes came", n);
		at += (size_t)came;
	}
}

void expect_bytes(int fd, const void *bytes, size_t n)
{
	char *came = malloc(n + 1);

	ck_assert_ptr_nonnull(came);
	receive_exactly(fd, came, n);
	ck_assert_msg(memcmp(came, bytes, n) == 0, "%zu other bytes came than were expected", n);
	free(came);
}

void expect_text(int fd, const char *text)
{
	char came[4096] = {0};

	ck_assert_uint_lt(strlen(text), sizeof came);
	receive_exactly(fd, came, strlen(text));
	ck_assert_str_eq(came, text);
}

void expect_end(int fd)
{
	char byte;
	ssize_t came = recv(fd, &byte, 1, 0);

	ck_assert_msg(came == 0, "the end was expected: %s",
		      came < 0 ? strerror(errno) : "a byte came");
}

void expect_reset_or_end(int fd)
{
	char bytes[65536];
	ssize_t came;

	while ((came = recv(fd, bytes, sizeof bytes, 0)) > 0)
		;
	ck_assert_msg(came == 0 || errno == ECONNRESET, "the end was expected: %s",
		      strerror(errno));
}

void finish_sending(int fd)
{
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
}

void reset(int fd)
{
	struct linger at_once = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	(void)close(fd);
}

void set_nonblocking(int fd)
{
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void set_buffers(int fd, int send_bytes, int receive_bytes)
{
	if (send_bytes)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
	if (receive_bytes)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
}

void raise_descriptor_limit(void)
{
	struct rlimit limit;

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}
