/*
 * Clients that connect while a server changes: new workers, more, fewer, another accept mode,
 * another binary. They connect without a pause, over TCP and over a socket file. Each is accepted,
 * served and ended by FIN; none is refused or reset.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/server_control.h"

#define CLIENTS 4

/* What each client process counts, in memory shared with the test. */
static struct visits {
	volatile unsigned long served;
	volatile int error; /* of the first failure */
	volatile int step;
	volatile bool enough;
} * visits;

static int visit(const struct sockaddr *address, socklen_t n, volatile int *step)
{
	struct timeval patience = {.tv_sec = patience_ms() / 1000};
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;
	char bytes[8];
	ssize_t got;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	*step = 1;
	if (connect(fd, address, n) < 0)
		error = errno;
	if (!error && (*step = 2) && send(fd, "hello", 5, MSG_NOSIGNAL) != 5)
		error = errno;
	if (!error && (*step = 3) && recv(fd, bytes, 5, MSG_WAITALL) != 5)
		error = errno ? errno : ENODATA;
	if (!error && memcmp(bytes, "hello", 5) != 0)
		error = EBADMSG;
	(void)shutdown(fd, SHUT_WR);
	if (!error && (*step = 4) && (got = recv(fd, bytes, 1, 0)) != 0)
		error = got < 0 ? errno : EBADMSG;
	(void)close(fd);
	return error;
}

static _Noreturn void be_client(unsigned i, unsigned port, const char *path)
{
	struct sockaddr_in ip = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un file = {.sun_family = AF_UNIX};
	struct visits *own = &visits[i];
	int step = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)snprintf(file.sun_path, sizeof file.sun_path, "%s", path);
	while (!own->enough && !own->error) {
		errno = 0;
		own->error = own->served % 4 == 3
				 ? visit((struct sockaddr *)&file, sizeof file, &step)
				 : visit((struct sockaddr *)&ip, sizeof ip, &step);
		own->step = step;
		own->served += !own->error;
	}
	_exit(0);
}

static pid_t clients[CLIENTS];

static void clients_come(unsigned port, const char *path)
{
	visits = mmap(NULL, CLIENTS * sizeof *visits, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(visits, MAP_FAILED);
	for (unsigned i = 0; i < CLIENTS; i++)
		if ((clients[i] = fork()) == 0)
			be_client(i, port, path);
}

/* Waits until each client was served that many more times. */
static void clients_go_on(unsigned long more)
{
	struct wait wait = wait_begin();

	for (unsigned i = 0; i < CLIENTS; i++) {
		unsigned long wanted = visits[i].served + more;

		while (visits[i].served < wanted) {
			ck_assert_msg(!visits[i].error, "step %d of visit %lu: %s", visits[i].step,
				      visits[i].served, strerror(visits[i].error));
			wait_more(&wait, "clients to be served");
		}
	}
}

static unsigned long clients_leave(void)
{
	unsigned long served = 0;

	for (unsigned i = 0; i < CLIENTS; i++)
		visits[i].enough = true;
	for (unsigned i = 0; i < CLIENTS; i++) {
		ck_assert_int_eq(waitpid(clients[i], NULL, 0), clients[i]);
		ck_assert_msg(!visits[i].error, "step %d of visit %lu: %s", visits[i].step,
			      visits[i].served, strerror(visits[i].error));
		served += visits[i].served;
	}
	return served;
}

static void say(const char *what, int changes, unsigned long served)
{
	(void)printf("FIGURE %d %s while %lu came, refused or reset: 0\n", changes, what, served);
	(void)fflush(stdout);
}

static const char *configure(const char *workers, const char *accept, const char *more)
{
	char text[1000];

	(void)snprintf(text, sizeof text,
		       "workers = %s\naccept = %s\nlisten = echo://127.0.0.1:0\n"
		       "listen = echo://%s\n%s",
		       workers, accept, in_folder("n.sock"), more);
	return write_file("newcomers.conf", text);
}

static struct server *begin(const char *workers)
{
	struct server *server = CONTROLLED("-c", configure(workers, "reuseport", ""));

	clients_come(server->ports[0], in_folder("n.sock"));
	clients_go_on(50);
	return server;
}

static void more_and_fewer(int rounds)
{
	struct server *server = begin("2");

	for (int i = 0; i < rounds; i++) {
		(void)server_control_make(server, SERVER_CONTROL_MORE);
		(void)server_control_make(server, SERVER_CONTROL_MORE);
		clients_go_on(20);
		(void)server_control_make(server, SERVER_CONTROL_FEWER);
		(void)server_control_make(server, SERVER_CONTROL_FEWER);
		clients_go_on(20);
	}
	say("times a worker more or fewer", 4 * rounds, clients_leave());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(more_and_fewer_workers)
{
	more_and_fewer(2);
}
END_TEST

START_TEST(five_times_more_and_fewer_workers)
{
	more_and_fewer(5);
}
END_TEST

static const struct {
	const char *workers, *accept, *more;
} ways[] = {
    {"2", "shared", ""},
    {"4", "reuseport", "listen = line://127.0.0.1:0\n"},
    {"1", "reuseport", "backlog = 64\n"},
    {"3", "handoff", ""},
    {"2", "reuseport", "listen = echo+udp://127.0.0.1:0\n"},
    {"4", "handoff", ""},
    {"4", "shared", "backlog = 1000\n"},
    {"1", "handoff", ""},
    {"5", "reuseport", "overload = reject\n"},
};

static void other_ways(int times)
{
	struct server *server = begin("3");
	int n = times * (int)(sizeof ways / sizeof *ways);

	for (int i = 0; i < n; i++) {
		size_t way = (size_t)i % (sizeof ways / sizeof *ways);

		(void)configure(ways[way].workers, ways[way].accept, ways[way].more);
		(void)server_control_make(server, SERVER_CONTROL_RELOAD);
		clients_go_on(20);
	}
	say("reloads to another way of accepting", n, clients_leave());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(in_folder("n.sock")));
}

START_TEST(other_ways_to_accept)
{
	other_ways(1);
}
END_TEST

START_TEST(three_times_other_ways_to_accept)
{
	other_ways(3);
}
END_TEST

START_TEST(other_ways_by_upgrades)
{
	struct server *server = begin("3");
	int n = (int)(sizeof ways / sizeof *ways);

	for (int i = 0; i < n; i++) {
		(void)configure(ways[i].workers, ways[i].accept, ways[i].more);
		(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
		clients_go_on(20);
	}
	say("upgrades to another way of accepting", n, clients_leave());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(in_folder("n.sock")));
}
END_TEST

SUITE("newcomers", {"more and fewer workers", more_and_fewer_workers, 120},
      {"other ways to accept", other_ways_to_accept, 120},
      {"other ways by upgrades", other_ways_by_upgrades, 120},
      {"five times more and fewer workers", five_times_more_and_fewer_workers, 120,
       .kind = SUITE_LONG},
      {"three times other ways to accept", three_times_other_ways_to_accept, 120,
       .kind = SUITE_LONG})
