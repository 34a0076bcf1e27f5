/*
 * The journal that the master makes and keeps: its size, its life over reloads, upgrades and
 * deaths, what is said of it, and when its records go.
 *
 * The test takes part as a worker does: it gets the memory from the master's descriptors in /proc,
 * and publishes from a seat that no worker has.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/sys.h"
#include "reactor/pubsub/journal_parts.h"
#include "tests/support/server_control.h"

static struct journal journal;
static struct journal_port port;

/* The master's descriptor of the journal, opened again; -1: it has none. */
static int find_journal(pid_t pid)
{
	char folder[64], path[PATH_MAX], target[64];
	const struct dirent *entry;
	int fd = -1;
	DIR *fds;

	(void)snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
	fds = opendir(folder);
	ck_assert_ptr_nonnull(fds);
	while (fd < 0 && (entry = readdir(fds))) {
		ssize_t n;

		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		n = readlink(path, target, sizeof target - 1);
		target[n < 0 ? 0 : n] = '\0';
		if (strncmp(target, "/memfd:weir-journal", 19) == 0)
			fd = open(path, O_RDWR | O_CLOEXEC);
	}
	(void)closedir(fds);
	return fd;
}

static ino_t inode_of(int fd)
{
	struct stat status;

	ck_assert_int_eq(fstat(fd, &status), 0);
	return status.st_ino;
}

/* From the last seat of a generation that is not there. */
static void join(const struct server *server, unsigned seat)
{
	int fd = find_journal(server->pid);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(journal_attach(&journal, fd), 0);
	journal_take_seat(&port, &journal, seat);
}

static struct journal_message message_of(const char *text, uint64_t said_us)
{
	return (struct journal_message){
	    .topic = journal_hash(&journal, "t", 1),
	    .name = {(void *)(uintptr_t) "t", 1},
	    .payload = {{(void *)(uintptr_t)text, strlen(text)}},
	    .said_us = said_us,
	};
}

static void publish(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct journal_message message = message_of("a line", sys_clock_us());

		ck_assert_int_eq(journal_draft(&port, &message), 0);
		(void)journal_append(&port);
	}
}

static uint64_t held(void)
{
	return journal_end(&journal) - journal_floor(&journal);
}

static void wait_all_gone(const char *why)
{
	struct wait wait = wait_begin();

	while (held())
		wait_more(&wait, why);
}

/* The first generation's only worker has the other one; so has that of each second one after it. */
#define FREE_SEAT   0
#define WORKER_SEAT 1

static const char *metrics_text(void)
{
	server_control_do("metrics");
	return server_control_answer();
}

static void expect_metric(const char *name, unsigned long value)
{
	char line[128];

	(void)snprintf(line, sizeof line, "\n%s %lu\n", name, value);
	ck_assert_msg(strstr(metrics_text(), line) != NULL, "%s is not in: %.2000s", line,
		      server_control_answer());
}

/* ---- what is said of it ---- */

START_TEST(figures_are_those_of_the_memory)
{
	struct server *server =
	    CONTROLLED("--workers", "1", "--history", "4M", "chat://127.0.0.1:0");

	join(server, FREE_SEAT);
	expect_metric("weir_journal_records", 0);
	expect_metric("weir_journal_bytes", 0);
	publish(1234);
	expect_metric("weir_journal_records", 1234);
	expect_metric("weir_journal_published_total", 1234);
	expect_metric("weir_journal_history_bytes", 4 << 20);
	expect_metric("weir_journal_bytes", JOURNAL_SEGMENT);
	expect_metric("weir_journal_void_records_total", 0);
	journal_raise_floor(&journal, journal_end(&journal) - 34);
	ck_assert_int_eq(server_control_status("records"), 34);
	ck_assert_int_eq(server_control_status("published"), 1234);
	ck_assert_int_eq(server_control_status("history_bytes"), 4 << 20);
	ck_assert_int_eq(server_control_status("oldest_s"), 0);
	server_control_do("status");
	ck_assert_msg(strstr(server_control_answer(), "HISTORY") != NULL, "%s",
		      server_control_answer());
	server_control_stop(server);
}
END_TEST

START_TEST(without_a_topic_there_is_none)
{
	struct server *server = CONTROLLED("--workers", "1", "echo://127.0.0.1:0");

	ck_assert_int_eq(find_journal(server->pid), -1);
	ck_assert_int_eq(server_control_status("records"), -1);
	expect_metric("weir_journal_history_bytes", 0);
	server_control_stop(server);
}
END_TEST

/* The record that a worker had begun is void, and what it had stays readable. */
START_TEST(a_dead_worker_voids_what_it_had_begun)
{
	struct server *server = CONTROLLED("--workers", "1", "chat://127.0.0.1:0");
	pid_t pid = server_worker(server, 0);
	struct journal_message message;

	join(server, WORKER_SEAT);
	publish(5);
	message = message_of("never said", 0);
	ck_assert_int_eq(journal_draft(&port, &message), 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	(void)server_wait_worker(server, 0, pid);
	expect_metric("weir_journal_void_records_total", 1);
	expect_metric("weir_journal_records", 5);
	server_control_stop(server);
}
END_TEST

static void scribble(struct journal_header *header, unsigned round, uint64_t *seed)
{
	uint64_t values[] = {0,
			     1,
			     UINT64_MAX,
			     journal.first,
			     journal.first + (UINT64_C(1) << 40),
			     next_random(seed)};

	header->head = values[round % 6];
	header->floor = values[(round + round / 6 + 1) % 6];
	header->voids = next_random(seed);
	for (unsigned i = 0; i < 100; i++)
		slots_of(&journal)[next_random(seed) % (UINT64_C(1) << journal.slots_shift)] =
		    next_random(seed);
}

static void mend(struct journal_header *header)
{
	memset(slots_of(&journal), 0, sizeof(uint64_t) << journal.slots_shift);
	header->head = header->floor = journal.first;
}

/* A worker that writes whatever it likes there, and dies: the master answers, and goes on. */
START_TEST(whatever_lies_there_the_master_goes_on)
{
	struct server *server = CONTROLLED("--workers", "1", "--history", "1M", "--watchdog", "0",
					   "chat://127.0.0.1:0");
	struct journal_header *header;
	uint64_t seed = 7;
	pid_t pid;

	join(server, WORKER_SEAT);
	header = header_of(&journal);
	for (unsigned round = 0; round < 12; round++) {
		publish(3);
		scribble(header, round, &seed);
		ck_assert_int_ge(server_control_status("records"), 0);
		(void)metrics_text();
		mend(header);
	}
	header->floor = 0; /* all ids that there may be seem to be held */
	seat_of(&journal, WORKER_SEAT)->draft = 1;
	pid = server_worker(server, 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	(void)server_wait_worker(server, 0, pid);
	ck_assert_int_ge(server_control_status("records"), 0);
	server_control_stop(server);
}
END_TEST

/* ---- its life ---- */

START_TEST(it_stays_over_reloads_and_upgrades)
{
	const char *path = server_control_config("listen = chat://127.0.0.1:0\nworkers = 2\n"
						 "history = 2M\n");
	struct server *server = CONTROLLED("--config", path);
	ino_t inode;

	join(server, FREE_SEAT);
	inode = inode_of(journal.fd);
	publish(10);
	journal_leave_seat(&port);
	/* A listener more, a worker more, another size. */
	(void)server_control_config("listen = chat://127.0.0.1:0\nlisten = chat://127.0.0.2:0\n"
				    "workers = 3\nhistory = 3M\n");
	(void)server_control_make(server, SERVER_CONTROL_RELOAD);
	server_wait_log(server, "history=3145728 kept=2097152");
	expect_metric("weir_journal_records", 10);
	ck_assert_int_eq(server_control_status("history_bytes"), 2 << 20);
	for (int i = 0; i < 2; i++) {
		(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
		server_control_wait_workers(server, 3);
		ck_assert_uint_eq(inode_of(find_journal(server->pid)), inode);
		expect_metric("weir_journal_records", 10);
		server_wait_log(server, "history=3145728 kept=2097152");
		ck_assert(!server_log_has(server, "starts anew"));
	}
	/* One that is as it is is not warned of. */
	(void)server_control_config("listen = chat://127.0.0.1:0\nworkers = 3\nhistory = 2M\n");
	(void)server_control_make(server, SERVER_CONTROL_RELOAD);
	ck_assert(!server_log_has(server, "kept="));
	journal_take_seat(&port, &journal, FREE_SEAT); /* of the fifth generation, too */
	publish(1);
	expect_metric("weir_journal_records", 11);
	server_control_stop(server);
}
END_TEST

/* What a version with another layout left can't be read: all but the history goes on. */
START_TEST(another_layout_starts_anew)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "chat://127.0.0.1:0", "echo://127.0.0.1:0");
	uint64_t first, before = sys_realtime_us();
	int client = connect_to(server->ports[1]), fd;

	send_text(client, "x");
	expect_text(client, "x");
	join(server, FREE_SEAT);
	publish(10);
	first = journal.first;
	header_of(&journal)->layout++;
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	server_wait_log(server, "the history starts anew");
	server_control_wait_workers(server, 2);
	send_text(client, "y");
	expect_text(client, "y");
	expect_metric("weir_journal_records", 0);
	fd = find_journal(server->pid);
	ck_assert_uint_ne(inode_of(fd), inode_of(journal.fd));
	ck_assert_int_eq(journal_attach(&journal, fd), 0);
	ck_assert_uint_gt(journal.first, first);
	ck_assert_uint_ge(journal.first, before);
	(void)close(client);
	server_control_stop(server);
}
END_TEST

/* ---- its age ---- */

/* No worker tells the master that the test has published; so the watch finds it. */
START_TEST(old_records_go)
{
	struct server *server =
	    CONTROLLED("--workers", "1", "--history-age", "300ms", "chat://127.0.0.1:0");
	uint64_t begun;

	join(server, FREE_SEAT);
	for (int round = 0; round < 2; round++) {
		begun = sys_clock_us();
		publish(10);
		wait_all_gone("old records to go");
		ck_assert_uint_ge(sys_clock_us() - begun, 299000);
	}
	expect_metric("weir_journal_records", 0);
	expect_metric("weir_journal_published_total", 20);
	server_control_stop(server);
}
END_TEST

START_TEST(a_reload_changes_the_age)
{
	const char *path = server_control_config("listen = chat://127.0.0.1:0\nworkers = 1\n"
						 "watchdog = 0\nhistory-age = 0\n");
	struct server *server = CONTROLLED("--config", path);

	join(server, FREE_SEAT);
	publish(10);
	journal_leave_seat(&port); /* the next generation's worker has it */
	(void)server_control_config("listen = chat://127.0.0.1:0\nworkers = 1\nwatchdog = 0\n"
				    "history-age = 1h\n");
	(void)server_control_make(server, SERVER_CONTROL_RELOAD);
	ck_assert_uint_eq(held(), 10);
	(void)server_control_config("listen = chat://127.0.0.1:0\nworkers = 1\nwatchdog = 0\n"
				    "history-age = 1ms\n");
	(void)server_control_make(server, SERVER_CONTROL_RELOAD);
	wait_all_gone("a shorter age");
	/* And the next master's: it takes over what is there. */
	(void)server_control_config("listen = chat://127.0.0.1:0\nworkers = 1\nwatchdog = 0\n"
				    "history-age = 0\n");
	(void)server_control_make(server, SERVER_CONTROL_RELOAD);
	journal_take_seat(&port, &journal, WORKER_SEAT); /* that of the fourth has the other */
	publish(10);
	journal_leave_seat(&port);
	(void)server_control_config("listen = chat://127.0.0.1:0\nworkers = 1\nwatchdog = 0\n"
				    "history-age = 1ms\n");
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	wait_all_gone("the next master's age");
	server_control_stop(server);
}
END_TEST

/* ---- in one process ---- */

START_TEST(one_process_has_one_too)
{
	struct server *server =
	    SERVER("--workers", "1", "--no-master", "--history", "3M", "chat://127.0.0.1:0");
	int fd = find_journal(server->pid);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(journal_attach(&journal, fd), 0);
	ck_assert_uint_eq(journal.segments_max * (uint64_t)JOURNAL_SEGMENT, 3 << 20);
	ck_assert_uint_eq(journal_seats(&journal), 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("journal_setup", {"figures are those of the memory", figures_are_those_of_the_memory, 20},
      {"without a topic there is none", without_a_topic_there_is_none, 10},
      {"a dead worker voids what it had begun", a_dead_worker_voids_what_it_had_begun, 20},
      {"whatever lies there, the master goes on", whatever_lies_there_the_master_goes_on, 60},
      {"it stays over reloads and upgrades", it_stays_over_reloads_and_upgrades, 40},
      {"another layout starts anew", another_layout_starts_anew, 30},
      {"old records go", old_records_go, 30},
      {"a reload changes the age", a_reload_changes_the_age, 40},
      {"one process has one too", one_process_has_one_too, 10})
