/* weir: reads what it is told, binds, and becomes a master, or the one process there is. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/listen.h"
#include "master/master.h"
#include "master/options.h"
#include "reactor/check.h"
#include "reactor/descriptor.h"
#include "reactor/log.h"
#include "worker/title.h"
#include "worker/worker.h"

static struct config config;
static struct listen_set set;
static struct bus bus;
static struct identity identity;

static size_t cpus_allowed(void)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
		return 1;
	return (size_t)CPU_COUNT(&allowed);
}

/* A program that was started without one of the standard descriptors would find a socket
 * in its place. */
static void open_standard_descriptors(void)
{
	int fd = open("/dev/null", O_RDWR);

	while (fd >= 0 && fd <= STDERR_FILENO)
		fd = dup(fd);
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

static int read_pid_file(const char *path)
{
	FILE *file = fopen(path, "re");
	int pid = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	(void)fclose(file);
	return pid;
}

/* One server must not take another's file; one that was killed leaves a number behind. */
static void refuse_pid_file_in_use(const char *path)
{
	int pid = read_pid_file(path);
	char comm_path[64], comm[32] = "";
	FILE *file;

	if (pid <= 0 || pid == getpid())
		return;
	(void)snprintf(comm_path, sizeof comm_path, "/proc/%d/comm", pid);
	file = fopen(comm_path, "re");
	if (!file)
		return;
	if (fgets(comm, sizeof comm, file) && strncmp(comm, "weir", 4) == 0)
		die("pid-file %s: weir runs already, as pid %d", path, pid);
	(void)fclose(file);
}

/* Written beside it and renamed: whoever reads the file reads a whole number. */
static void write_pid_file(const char *path)
{
	char beside[512];
	FILE *file;

	if ((size_t)snprintf(beside, sizeof beside, "%s.%d", path, (int)getpid()) >= sizeof beside)
		die("pid-file %s: the path is too long", path);
	file = fopen(beside, "we");
	if (!file || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file) != 0 ||
	    rename(beside, path) < 0)
		die("pid-file %s: %s", path, strerror(errno));
}

static void remove_pid_file(const char *path)
{
	if (read_pid_file(path) == getpid())
		(void)unlink(path);
}

static pid_t opener;

/* However it ends, what we left in the file system goes; workers leave it alone. */
static void clean_up(void)
{
	if (getpid() != opener)
		return;
	if (config.pid_file)
		remove_pid_file(config.pid_file);
	listen_close(&set);
}

static void ready_without_master(void)
{
	master_log_ready(&config);
}

static int run_without_master(struct board *board)
{
	static const struct stats nothing;
	struct worker_setup setup = {
	    .config = &config,
	    .identity = config.user ? &identity : NULL,
	    .slot = &board->slot[0],
	    .bus = config_has_topic(&config) ? &bus : NULL,
	    .channel = -1,
	    .ledgers = set.ledgers,
	    .ready = ready_without_master,
	};
	int status;

	listen_for_slot(&set, 0, setup.listeners);
	for (size_t i = 0; i < config.listeners_n; i++) {
		/* The worker closes its own. */
		setup.listeners[i] = fcntl(setup.listeners[i], F_DUPFD_CLOEXEC, 0);
		if (setup.listeners[i] < 0)
			die("duplicating a listener: %s", strerror(errno));
	}
	listen_stop(&set); /* who comes while it drains is refused */
	status = worker_run(&setup);
	master_log_totals(board, 1, &nothing);
	return status;
}

static int run(void)
{
	struct board *board;
	struct master_setup setup = {.config = &config, .set = &set};
	int board_fd;

	board = board_open(&board_fd);
	if (!board)
		die("shared memory for the board: %s", strerror(errno));
	if (config_has_topic(&config)) {
		int error = bus_open(&bus, (unsigned)config.workers, BUS_RING_BYTES);

		if (error)
			die("shared memory for the bus: %s", strerror(-error));
		setup.bus = &bus;
	}
	if (config.no_master)
		return run_without_master(board);
	setup.identity = config.user ? &identity : NULL;
	setup.board = board;
	log_name("master");
	title_set("weir-master", "weir: master");
	return master_run(&setup);
}

int main(int argc, char **argv)
{
	size_t descriptors = descriptors_raise_limit();

	open_standard_descriptors();
	argv = title_open(argc, argv);
	options_read(&config, argc, argv, cpus_allowed(), descriptors);
	(void)signal(SIGPIPE, SIG_IGN);
	log_open((enum log_level)config.log_level, (enum log_format)config.log_format);
	if (config.user) {
		const char *wrong = identity_find(&identity, config.user);

		if (wrong)
			die("user %s: %s", config.user, wrong);
		if (geteuid() != 0 && geteuid() != identity.uid)
			die("user %s: only root can become another user", config.user);
	}
	if (config.pid_file)
		refuse_pid_file_in_use(config.pid_file);
	if (config.max_connections_asked > config.max_connections)
		log_warn("the limit of descriptors cuts max-connections",
			 LOG_NUMBER("asked", config.max_connections_asked),
			 LOG_NUMBER("max_connections", config.max_connections));
	opener = getpid();
	(void)atexit(clean_up);
	listen_open(&set, &config);
	if (config.pid_file)
		write_pid_file(config.pid_file);
	return run();
}
