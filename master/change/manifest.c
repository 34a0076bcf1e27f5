#include "master/change/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "master/listen/activation.h"
#include "reactor/base/check.h"

#define MANIFEST_VERSION 1

/* ---- written ---- */

static void write_file(FILE *manifest, const char *whose, const struct socket_file *file)
{
	(void)fprintf(manifest, "%s_file %llx:%llx\n", whose, (unsigned long long)file->device,
		      (unsigned long long)file->inode);
}

/* Behind NULs. Versions before it have a `bus`, and a `bell` for each of its seats. */
static void write_journal(FILE *manifest, const struct handover_state *handover)
{
	if (handover->journal < 0)
		return;
	(void)fprintf(manifest, "%cjournal %d", '\0', handover->journal);
	for (unsigned i = 0; i < handover->doorbells_n; i++)
		(void)fprintf(manifest, "%cdoorbell %d", '\0', handover->doorbells[i]);
}

static bool write_all(FILE *manifest, const struct handover_state *handover,
		      const struct listen_set *set)
{
	(void)fprintf(manifest, "weir-upgrade %d", MANIFEST_VERSION);
	write_journal(manifest, handover);
	(void)fprintf(manifest,
		      "\ngeneration %u\nslots %zu\nworkers_asked %zu\nboard %d\nlife %d\n",
		      handover->generation, handover->slots, handover->workers_asked,
		      handover->scoreboard, handover->lifeline);
	if (handover->default_listeners)
		(void)fprintf(manifest, "default_listeners 1\n");
	if (handover->file_settings)
		(void)fprintf(manifest, "file_settings %zu\n", handover->file_settings);
	if (handover->control.fd >= 0) {
		(void)fprintf(manifest, "control %d\n", handover->control.fd);
		write_file(manifest, "control", &handover->control.file);
	}
	if (handover->lifetime_counters >= 0)
		(void)fprintf(manifest, "annals %d\n", handover->lifetime_counters);
	for (size_t i = 0; i < handover->metrics.n; i++) {
		(void)fprintf(manifest, "metrics %d %s\n", handover->metrics.fds[i],
			      handover->metrics.at[i]);
		write_file(manifest, "metrics", &handover->metrics.files[i]);
	}
	if (handover->pid_file.lock >= 0)
		(void)fprintf(manifest, "pid_file %d %s\n", handover->pid_file.lock,
			      handover->pid_file.path);
	return activation_write(manifest) && listen_write(set, manifest) && fflush(manifest) == 0;
}

int manifest_open(const struct handover_state *handover, const struct listen_set *set)
{
	int fd = memfd_create("weir-manifest", MFD_CLOEXEC), copy = fd < 0 ? -1 : dup(fd);
	FILE *manifest = copy < 0 ? NULL : fdopen(copy, "w");
	int error = errno;
	bool written = false;

	if (manifest) {
		written = write_all(manifest, handover, set);
		error = errno;
		(void)fclose(manifest);
	} else if (copy >= 0) {
		(void)close(copy);
	}
	if (written && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd);
	errno = error;
	return -1;
}

/* ---- read ---- */

static bool number_of(const char *line, const char *key, long *number)
{
	size_t n = strlen(key);
	char *end;

	if (strncmp(line, key, n) != 0 || line[n] != ' ')
		return false;
	errno = 0;
	*number = strtol(line + n + 1, &end, 10);
	if (errno || *end || end == line + n + 1 || *number < 0 || *number > 1 << 30)
		die("upgrade: the old master says \"%s\"", line);
	return true;
}

static bool file_of(const char *line, const char *format, struct socket_file *file)
{
	unsigned long long device, inode;

	if (sscanf(line, format, &device, &inode) != 2)
		return false;
	file->device = device;
	file->inode = inode;
	return true;
}

/* A line with an address; or the line after it, with its socket file. */
static bool metrics_line(struct metrics_inherited *metrics, const char *line)
{
	bool good = metrics->n < METRICS_ADDRESSES_MAX &&
		    sscanf(line, "metrics %d %159[^\n]", &metrics->fds[metrics->n],
			   metrics->at[metrics->n]) == 2;

	metrics->n += good;
	return good || (metrics->n &&
			file_of(line, "metrics_file %llx:%llx", &metrics->files[metrics->n - 1]));
}

/* A bus, with its bells, is of no use here. */
static void forget_bus(struct handover_state *handover, int fd)
{
	(void)close(fd);
	handover->older_bus = true;
}

static void read_line(struct handover_state *handover, const char *line)
{
	char error[CONFIG_ERROR_BYTES];
	long number;

	if (number_of(line, "generation", &number))
		handover->generation = (unsigned)number;
	else if (number_of(line, "slots", &number))
		handover->slots = (size_t)number;
	else if (number_of(line, "workers_asked", &number))
		handover->workers_asked = (size_t)number;
	else if (number_of(line, "default_listeners", &number))
		handover->default_listeners = number;
	else if (number_of(line, "file_settings", &number))
		handover->file_settings = (size_t)number;
	else if (number_of(line, "board", &number))
		handover->scoreboard = (int)number;
	else if (number_of(line, "life", &number))
		handover->lifeline = (int)number;
	else if (number_of(line, "control", &number))
		handover->control.fd = (int)number;
	else if (number_of(line, "journal", &number))
		handover->journal = (int)number;
	else if (number_of(line, "bus", &number))
		forget_bus(handover, (int)number);
	else if (number_of(line, "annals", &number))
		handover->lifetime_counters = (int)number;
	else if (metrics_line(&handover->metrics, line) ||
		 file_of(line, "control_file %llx:%llx", &handover->control.file) ||
		 sscanf(line, "pid_file %d %4095[^\n]", &handover->pid_file.lock,
			handover->pid_file.path) == 2)
		return;
	else if (number_of(line, "doorbell", &number) && handover->doorbells_n < JOURNAL_SEATS_MAX)
		handover->doorbells[handover->doorbells_n++] = (int)number;
	else if (number_of(line, "bell", &number))
		(void)close((int)number);
	else if (strncmp(line, "inherited ", 10) == 0 ? !activation_read(line, error)
						      : !listen_read_line(line, error))
		die("upgrade: %s", error);
}

/* One, and what stands behind its NULs; end is behind the newline. */
static void read_lines(struct handover_state *handover, char *line, char *end)
{
	for (; line < end; line += strlen(line) + 1) {
		line[strcspn(line, "\n")] = '\0';
		read_line(handover, line);
	}
}

/* ---- the descriptors that it names ---- */

/* Calls act for all but those of listeners and of the service manager, which listen and activation
 * look after. */
static void each_descriptor(const struct handover_state *handover, void (*act)(int fd))
{
	const int fds[] = {handover->scoreboard, handover->lifeline,
			   handover->control.fd, handover->pid_file.lock,
			   handover->journal,	 handover->lifetime_counters};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		act(fds[i]);
	for (size_t i = 0; i < handover->metrics.n; i++)
		act(handover->metrics.fds[i]);
	for (unsigned i = 0; i < handover->doorbells_n; i++)
		act(handover->doorbells[i]);
}

static void survive(int fd)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, 0);
}

void manifest_let_survive(const struct handover_state *handover, const struct listen_set *set)
{
	static int fds[LISTEN_DESCRIPTORS];
	size_t n = listen_descriptors(set, fds);

	for (size_t i = 0; i < n; i++)
		survive(fds[i]);
	for (size_t i = 0; i < activation_n(); i++)
		survive(activation_fd(i));
	each_descriptor(handover, survive);
}

static void keep_from_others(int fd)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void manifest_read(int fd, struct handover_state *handover)
{
	FILE *manifest = fdopen(fd, "r");
	char *lines = NULL;
	size_t room = 0;
	ssize_t n;
	long version;

	*handover = (struct handover_state){.scoreboard = -1,
					    .lifeline = -1,
					    .journal = -1,
					    .lifetime_counters = -1,
					    .control.fd = -1,
					    .pid_file.lock = -1};
	n = manifest ? getline(&lines, &room, manifest) : -1;
	if (n < 0)
		die("upgrade: the old master left no manifest");
	lines[strcspn(lines, "\n")] = '\0';
	if (!number_of(lines, "weir-upgrade", &version) || version != MANIFEST_VERSION)
		die("upgrade: the old master says \"%s\", not weir-upgrade %d", lines,
		    MANIFEST_VERSION);
	read_lines(handover, lines + strlen(lines) + 1, lines + n);
	while ((n = getline(&lines, &room, manifest)) >= 0)
		read_lines(handover, lines, lines + n);
	free(lines);
	(void)fclose(manifest);
	each_descriptor(handover, keep_from_others);
}
