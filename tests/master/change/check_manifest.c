/*
 * What a master hands to the next one: bound sockets as lines of text, and their descriptors over
 * an exec. The test is the old master; the new one is this program run again (successor.h).
 */
#include <sys/mman.h>
#include <sys/stat.h>

#include "reactor/base/sys.h"
#include "tests/master/change/successor.h"

static int write_manifest(void)
{
	int fd = memfd_create("manifest", MFD_CLOEXEC);
	FILE *file = fdopen(fcntl(fd, F_DUPFD_CLOEXEC, 0), "w");

	ck_assert_ptr_nonnull(file);
	ck_assert(listen_write(&set, file));
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static char *text_of(int fd)
{
	static char text[1 << 14];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	return text;
}

static size_t text_n(int fd)
{
	struct stat status;

	ck_assert_int_eq(fstat(fd, &status), 0);
	return (size_t)status.st_size;
}

static const char *listener_here(const char *protocol, const char *keys)
{
	static char texts[2][200];
	static int turn;
	char *text = texts[turn++ % 2];

	(void)snprintf(text, sizeof *texts, "%s://%s%s", protocol, in_folder("point.sock"), keys);
	return text;
}

static void connect_some(int *fds, int n)
{
	for (int i = 0; i < n; i++)
		fds[i] = connect_to(port_of(&config, 0));
}

static void expect_all_served(const int *fds, int n)
{
	for (int i = 0; i < n; i++)
		expect_served(fds[i]);
}

/* ---- handing over ---- */

START_TEST(the_next_one_has_them)
{
	int fds[90], manifest;
	struct successor successor;

	CONFIGURE(&config, 3, "echo://127.0.0.1:0", listener_here("line", ""),
		  "discard+udp://127.0.0.1:0?rate=20");
	serve_set(&set, &config);
	ck_assert(limiter_take(set.ledgers[2].limiter,
			       (struct sockaddr *)&(struct sockaddr_in){
				   .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)},
			       set.ledgers[2].limiter->begun_us));
	connect_some(fds, 30);
	manifest = write_manifest();
	/* The successor has one listener less, a new one, fewer workers, and another rate. */
	successor = successor_open(
	    "echo://127.0.0.1:0\tframe://127.0.0.1:0\tdiscard+udp://127.0.0.1:0?rate=10", manifest);
	ck_assert_uint_eq(ask(&successor, 'n'),
			  32); /* 0, 3, 2: 1 stays reserved while its listener lives */
	ck_assert_uint_eq(ask(&successor, 'c'), 3 + 2 + 3);
	ck_assert_uint_eq(ask(&successor, 'l'), 9); /* one of ten was used */
	ck_assert_uint_eq(ask(&successor, 'v'), 0);
	connect_some(fds + 30, 30);
	for (int i = 2; i < 3;
	     i++) /* the third slot's worker accepts the clients that wait there */
		(void)serve_waiting(set.bound_sockets[0]->fds[i]);
	connect_some(fds + 60, 30);
	ck_assert(!somebody_waits(set.bound_sockets[0]->fds[2]));
	listen_handed_over(&set, true);
	listen_drop(&set);
	ck_assert(exists(in_folder("point.sock")));
	(void)ask(&successor, 'a');
	expect_all_served(fds, 90);
	(void)ask(&successor, 's');
	ck_assert(!exists(in_folder("point.sock")));
	connect_some(fds, 90);
	ck_assert_uint_eq(ask(&successor, 'a'), 90);
	expect_all_served(fds, 90);
	successor_end(&successor, 'd');
	ck_assert_int_eq(try_connect(port_of(&config, 0)), -ECONNREFUSED);
}
END_TEST

/* Clients that wait at a socket which no worker will read any more are accepted before it is
 * closed, and given to a worker. */
START_TEST(late_ones_are_given_away)
{
	struct successor successor;
	int fds[60];
	size_t late, kept;

	CONFIGURE(&config, 6, "echo://127.0.0.1:0");
	serve_set(&set, &config);
	connect_some(fds, 60);
	successor = successor_open("echo://127.0.0.1:0", write_manifest());
	(void)ask(&successor, 'v');
	listen_handed_over(&set, true);
	listen_drop(&set);
	late = ask(&successor, 's');
	ck_assert_uint_gt(late, 0);
	kept = ask(&successor, 'a');
	ck_assert_uint_eq(late + kept, 60);
	expect_all_served(fds, 60);
	successor_end(&successor, 'd');
}
END_TEST

START_TEST(a_next_one_that_fails_changes_nothing)
{
	struct successor successor;
	int fds[40];

	CONFIGURE(&config, 3, "echo://127.0.0.1:0", listener_here("line", "?mode=0600"));
	serve_set(&set, &config);
	connect_some(fds, 20);
	for (int i = 0; i < 3; i++) {
		static const char ends[] =
		    "dwd"; /* it lets go; exits at once; lets go after it served */

		successor =
		    successor_open("echo://127.0.0.1:0\tline://127.0.0.2:0", write_manifest());
		if (i == 2)
			(void)ask(&successor, 'v');
		successor_end(&successor, ends[i]);
		listen_serve(&set);
		ck_assert(exists(in_folder("point.sock")));
	}
	connect_some(fds + 20, 20);
	ck_assert_uint_eq(serve_all(set.bound_sockets[0]), 40);
	expect_all_served(fds, 40);
	(void)close(connect_unix(in_folder("point.sock")));
	listen_drop(&set);
	ck_assert(!exists(in_folder("point.sock")));
}
END_TEST

/* ---- lines ---- */

START_TEST(what_is_read_is_written_again)
{
	char listeners[2000], odd[300], name[64], got[1 << 14] = "";
	struct successor successor;
	const char *wanted;
	int manifest;
	size_t n;

	(void)snprintf(name, sizeof name, "line://@weir manifest %d", (int)getpid());
	(void)snprintf(odd, sizeof odd, "echo://%s", in_folder("a b%41\n\t'\"=,\xc3\xa9"));
	odd[strcspn(odd, "\t")] = '_'; /* a tab separates two in the successor's list */
	CONFIGURE(&config, 2, "echo://:0", "chat://127.0.0.1:0?accept=handoff",
		  "echo+udp://127.0.0.1:0?rate=5&queue=64K&send-queue=128K", odd, name,
		  "echo+udp://:0?accept=shared", listener_here("frame", "?mode=0640"));
	serve_set(&set, &config);
	(void)snprintf(set.topics[1], LISTEN_TOPIC_BYTES, "chat/a %%%c\xff", 1);
	manifest = write_manifest();
	(void)snprintf(listeners, sizeof listeners,
		       "echo://:0\tchat://127.0.0.1:0?accept=handoff\t"
		       "echo+udp://127.0.0.1:0?rate=5&queue=64K&send-queue=128K\t%s\t"
		       "%s\techo+udp://:0?accept=shared\t%s",
		       odd, name, listener_here("frame", "?mode=0640"));
	successor = successor_open(listeners, manifest);
	ck_assert_int_eq(write(successor.orders, "w", 1), 1);
	n = fread(got, 1, sizeof got - 1, successor.answers);
	wanted = text_of(manifest); /* there are NULs in it */
	ck_assert_uint_eq(n, text_n(manifest));
	ck_assert_mem_eq(got, wanted, n);
	ck_assert_uint_gt(n, strlen(got));
	listen_drop(&set);
}
END_TEST

/* Reads the line in a child process, so that this one takes over nothing. */
static bool reads(const char *line, char error[CONFIG_ERROR_BYTES])
{
	int ends[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		bool good = listen_read_line(line, error);

		(void)!write(ends[1], error, strlen(error) + 1);
		_exit(good ? 0 : 1);
	}
	(void)close(ends[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "\"%s\" ended it by signal %d", line, WTERMSIG(status));
	(void)!read(ends[0], error, CONFIG_ERROR_BYTES);
	(void)close(ends[0]);
	return WEXITSTATUS(status) == 0;
}

static void refused(const char *line)
{
	char error[CONFIG_ERROR_BYTES] = "";

	ck_assert_msg(!reads(line, error), "taken: %s", line);
	ck_assert_msg(strlen(error) > 10, "\"%s\" is refused without a word: %s", line, error);
}

/* Expects the line to be refused when its first `from` is replaced. */
static void refused_with(const char *line, const char *from, const char *to)
{
	char text[1 << 13];
	const char *at = strstr(line, from);

	ck_assert_msg(at != NULL, "\"%s\" is not in: %s", from, line);
	(void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - line), line, to,
		       at + strlen(from));
	refused(text);
}

static void mutations_refused(const char *line)
{
	static const char *const pairs[][2] = {
	    {"point ", "point  "},
	    {"point ", "pint "},
	    {" number=", " nr="},
	    {"number=0", "number=256"},
	    {"number=0", "number=-1"},
	    {"number=0", "number=0x1"},
	    {"number=0", "number="},
	    {"kind=stream", "kind=datagram"},
	    {"kind=stream", "kind=s"},
	    {"address=1", "address=x"},
	    {"bound=1", "bound=2"},
	    {"bound=127.0.0.1", "bound=%"},
	    {"bound=127.0.0.1", "bound=127.0.0.2"},
	    {"by=us", "by=you"},
	    {"more=yes", "more="},
	    {"more=yes", "more=no"},
	    {"fed=", "fed=999"},
	    {"fed=2", "fed=0"},
	    {"file=0:0", "file=0"},
	    {"file=0:0", "file=0:0:0"},
	    {"backlog=", "backlog=z"},
	    {"mode=0", "mode=9"},
	    {"mode=0", "mode=7777"},
	    {"queue=0", "queue=+0"},
	    {"ledger=-1", "ledger=-2"},
	    {"ledger=-1", "ledger=0"},
	    {"limiter=-1", "limiter=1"},
	    {"fds=", "fds=2,"},
	    {"fds=", "fds=9999,"},
	    {"fds=", "fds=,"},
	    {"fds=", "fds= "},
	    {" fds=", ""},
	    {"by=us ", ""},
	};
	static const char *const ends[] = {",9\n", " x\n", " topic=256", " topic=x", " topics=1"};
	char text[1 << 13];

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
		refused_with(line, pairs[i][0], pairs[i][1]);
	for (size_t n = 0; n + 4 < strlen(line);
	     n++) { /* cut off at every byte before the last number */
		(void)snprintf(text, sizeof text, "%.*s", (int)n, line);
		refused(text);
	}
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		(void)snprintf(text, sizeof text, "%.*s%s", (int)strcspn(line, "\n"), line,
			       ends[i]);
		refused(text);
	}
	/* The same descriptor twice, and a descriptor that is no such socket. */
	(void)snprintf(text, sizeof text, "%.*s,%d\n", (int)strcspn(line, "\n"), line,
		       set.bound_sockets[0]->fds[0]);
	refused(text);
	(void)snprintf(text, sizeof text, "%.*s,%d\n", (int)strcspn(line, "\n"), line,
		       set.bound_sockets[1]->fds[0]);
	refused(text);
}

START_TEST(malformed_lines_are_refused)
{
	char error[CONFIG_ERROR_BYTES] = "", text[1 << 14], *line, *second, swapped[64];
	int pair[2];

	CONFIGURE(&config, 2, "echo://127.0.0.1:0", "discard+udp://127.0.0.1:0?rate=1");
	serve_set(&set, &config);
	(void)snprintf(text, sizeof text, "%s", text_of(write_manifest()));
	second = strchr(text, '\n') + 1;
	line = strndup(text, (size_t)(second - text));
	ck_assert_msg(reads(line, error), "%s", error);
	ck_assert_msg(reads(second, error), "%s", error);
	mutations_refused(line);
	/* Rate limit memory that does not exist, is another listener's, or is something else. */
	(void)snprintf(swapped, sizeof swapped, "limiter=%d", set.bound_sockets[1]->limiter.fd);
	refused_with(second, swapped, "limiter=9999");
	(void)snprintf(swapped, sizeof swapped, "ledger=%d", set.bound_sockets[1]->ledger);
	refused_with(second, swapped, "ledger=-1");
	ck_assert_int_eq(pipe2(pair, O_CLOEXEC), 0);
	(void)snprintf(error, sizeof error, "ledger=%d", pair[0]);
	refused_with(second, swapped, error);
	(void)snprintf(error, sizeof error, "ledger=%d", set.bound_sockets[1]->limiter.fd);
	refused_with(second, swapped, error);
	/* The same line twice, and one whose number is already used. */
	ck_assert(listen_read_line(line, error));
	ck_assert(!listen_read_line(line, error));
	refused_with(second, "number=1", "number=0");
	free(line);
}
END_TEST

/* With random bytes changed, a line is refused or still valid; it never crashes the reader. */
START_TEST(random_lines_do_no_harm)
{
	char text[1 << 14], error[CONFIG_ERROR_BYTES];
	uint64_t state = 7;

	CONFIGURE(&config, 2, "discard+udp://127.0.0.1:0?rate=1");
	serve_set(&set, &config);
	(void)snprintf(text, sizeof text, "%s", text_of(write_manifest()));
	for (unsigned long i = 0; i < suite_volume(2000); i++) {
		uint64_t random = next_random(&state);
		size_t at = random % strlen(text);
		char was = text[at];

		text[at] = (char)(random >> 32);
		(void)reads(text, error);
		text[at] = was;
	}
	listen_drop(&set);
}
END_TEST

/* ---- a service manager's sockets ---- */

static int bound_socket(int type, const struct sockaddr *name, socklen_t n)
{
	int fd = socket(name->sa_family, type | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, name, n), 0);
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 7), 0);
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 100); /* high enough for become_successor() */
	ck_assert_int_ge(fd, 100);
	return fd;
}

static unsigned port_at(int fd)
{
	struct sockaddr_in name;
	socklen_t n = sizeof name;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &n), 0);
	return ntohs(name.sin_port);
}

START_TEST(a_managers_sockets_are_borrowed)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	struct sockaddr_un path = {.sun_family = AF_UNIX};
	struct sys_filter_program nothing = {1, &SYS_FILTER_NOTHING};
	int managers[3], fds[20], unix_fd;
	socklen_t filters = 9;
	char listeners[400];
	struct successor successor;

	(void)snprintf(path.sun_path, sizeof path.sun_path, "%s", in_folder("point.sock"));
	managers[0] = bound_socket(SOCK_STREAM, (struct sockaddr *)&any, sizeof any);
	managers[1] = bound_socket(SOCK_DGRAM, (struct sockaddr *)&any, sizeof any);
	managers[2] = bound_socket(SOCK_STREAM, (struct sockaddr *)&path, sizeof path);
	ck_assert_int_eq(
	    setsockopt(managers[1], SOL_SOCKET, SO_ATTACH_FILTER, &nothing, sizeof nothing),
	    0); /* as an earlier weir would leave it */
	(void)snprintf(listeners, sizeof listeners, "%s\t%s\t%s",
		       at_port("echo", port_at(managers[0]), ""),
		       at_port("echo+udp", port_at(managers[1]), ""), listener_here("line", ""));
	successor = successor_start(listeners, -1, managers, 3);
	ck_assert_str_eq(successor_says(&successor), "open\n");
	ck_assert_uint_eq(ask(&successor, 'c'), 3); /* one for all workers */
	ck_assert_int_eq(getsockopt(managers[1], SOL_SOCKET, SO_GET_FILTER, NULL, &filters), 0);
	ck_assert_uint_eq(filters, 0);
	(void)ask(&successor, 'v');
	for (int i = 0; i < 20; i++)
		fds[i] = connect_to(port_at(managers[0]));
	unix_fd = connect_unix(path.sun_path);
	ck_assert_uint_eq(ask(&successor, 'a'), 21);
	expect_all_served(fds, 20);
	expect_served(unix_fd);
	fds[0] = connect_to(port_at(managers[0]));
	(void)ask(&successor, 'z');
	successor_end(&successor, 'd');
	for (int i = 1; i < 20; i++)
		fds[i] = connect_to(port_at(managers[0]));
	ck_assert_int_eq(getsockopt(managers[1], SOL_SOCKET, SO_GET_FILTER, NULL, &filters), 0);
	ck_assert_uint_eq(filters, 0);
	/* Clients that came since then wait for the next server. */
	ck_assert(exists(path.sun_path));
	(void)close(connect_unix(path.sun_path));
	ck_assert_int_ge(fcntl(managers[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_uint_eq(serve_waiting(managers[0]), 20);
	expect_all_served(fds, 20);
}
END_TEST

SUITE("manifest", {"the next master has them", the_next_one_has_them, 30},
      {"late ones are given away", late_ones_are_given_away, 30},
      {"a next master that fails changes nothing", a_next_one_that_fails_changes_nothing, 30},
      {"what is read is written again", what_is_read_is_written_again, 30},
      {"malformed lines are refused", malformed_lines_are_refused, 30},
      {"random lines do no harm", random_lines_do_no_harm, 30},
      {"a service manager's sockets are borrowed", a_managers_sockets_are_borrowed, 30})
