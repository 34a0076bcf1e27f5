/*
 * What a manifest says of the journal and of topics, between masters of any two versions: an older
 * one that has never heard of either reads the manifest as it always did, and this one reads an
 * older one's. Each manifest is read in a process of its own, as descriptors are taken over.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "master/change/manifest.h"
#include "tests/master/listen/bound_sockets.h"

static struct config config;
static struct listen_set set;

static int some_file(void)
{
	int fd = memfd_create("any", MFD_CLOEXEC), high = fcntl(fd, F_DUPFD_CLOEXEC, 200);

	ck_assert_int_ge(high, 200);
	(void)close(fd);
	return high;
}

static struct handover_state some_handover(void)
{
	struct handover_state handover = {.generation = 5,
					  .slots = 2,
					  .workers_asked = 2,
					  .scoreboard = some_file(),
					  .lifeline = some_file(),
					  .journal = some_file(),
					  .lifetime_counters = -1,
					  .control.fd = -1,
					  .pid_file.lock = -1,
					  .doorbells_n = 3};

	for (unsigned i = 0; i < handover.doorbells_n; i++)
		handover.doorbells[i] = some_file();
	return handover;
}

/* What the process that reads it finds. */
struct found {
	struct handover_state handover;
	char topics[3][LISTEN_TOPIC_BYTES];
};

static struct found read_it(int manifest)
{
	struct found *found =
	    mmap(NULL, sizeof *found, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	ck_assert_ptr_ne(found, MAP_FAILED);
	pid = fork();
	if (pid == 0) {
		struct config same = config;
		struct listen_set next = {0};
		char error[CONFIG_ERROR_BYTES];

		manifest_read(manifest, &found->handover);
		if (!listen_open(&next, &same, NULL, error))
			_exit(9);
		memcpy(found->topics, next.topics, sizeof found->topics);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "reading ends with %x",
		      status);
	return *found;
}

static int written(const char *text, size_t n)
{
	int fd = memfd_create("manifest", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

START_TEST(the_next_one_has_journal_doorbells_and_topics)
{
	struct handover_state handover = some_handover();
	struct found found;

	CONFIGURE(&config, 2, "echo://127.0.0.1:0", "chat://127.0.0.1:0", "chat://127.0.0.2:0");
	serve_set(&set, &config);
	(void)snprintf(set.topics[1], LISTEN_TOPIC_BYTES, "chat/an older address %%1");
	found = read_it(manifest_open(&handover, &set));
	ck_assert_int_eq(found.handover.journal, handover.journal);
	ck_assert_uint_eq(found.handover.doorbells_n, 3);
	ck_assert_mem_eq(found.handover.doorbells, handover.doorbells, 3 * sizeof(int));
	ck_assert(!found.handover.older_bus);
	ck_assert_str_eq(found.topics[0], "");
	ck_assert_str_eq(found.topics[1], "chat/an older address %1");
	ck_assert_str_eq(found.topics[2], set.topics[2]);
	handover.journal = -1;
	handover.doorbells_n = 0;
	found = read_it(manifest_open(&handover, &set));
	ck_assert_int_eq(found.handover.journal, -1);
	ck_assert_uint_eq(found.handover.doorbells_n, 0);
	listen_drop(&set);
}
END_TEST

/* It reads lines as C strings, in so much room, and dies of one that it does not know. */
#define OLDER_LINE_BYTES 16384

START_TEST(an_older_one_sees_only_what_it_knows)
{
	static const char *const known[] = {"weir-upgrade 1", "generation ", "slots ",
					    "workers_asked ", "board ",	     "life ",
					    "point number="};
	struct handover_state handover = some_handover();
	char line[OLDER_LINE_BYTES];
	size_t lines = 0;
	FILE *file;

	CONFIGURE(&config, 2, "echo://127.0.0.1:0", "chat://127.0.0.1:0");
	serve_set(&set, &config);
	for (handover.doorbells_n = 0; handover.doorbells_n < JOURNAL_SEATS_MAX;)
		handover.doorbells[handover.doorbells_n++] = 1 << 20;
	file = fdopen(manifest_open(&handover, &set), "r");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof line, file)) {
		bool knows = false;

		line[strcspn(line, "\n")] = '\0';
		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			knows |= strncmp(line, known[i], strlen(known[i])) == 0;
		ck_assert_msg(knows, "an older one dies of: %s", line);
		ck_assert_msg(!strstr(line, "topic"), "an older one dies of: %s", line);
		lines++;
	}
	ck_assert_uint_eq(lines, 6 + 2);
	(void)fclose(file);
	listen_drop(&set);
}
END_TEST

/* Its numbers of topics become names; what it has of a bus is closed. */
START_TEST(an_older_ones_manifest_is_read)
{
	char text[1 << 14], name[64];
	int bus = some_file(), bell = some_file(), n;
	struct found found;

	CONFIGURE(&config, 1, "echo://127.0.0.1:0", "chat://127.0.0.1:0", "chat://127.0.0.2:0");
	serve_set(&set, &config);
	(void)snprintf(name, sizeof name, "chat/127.0.0.1:%u", port_of(&config, 1));
	for (int shared = 0; shared < 2; shared++) {
		n = snprintf(text, sizeof text,
			     "weir-upgrade 1\ngeneration 3\nslots 1\nworkers_asked 1\nboard %d\n"
			     "life %d\nbus %d\nbell %d\n",
			     some_file(), some_file(), bus, bell);
		for (size_t i = 0; i < 3; i++) {
			char address[ADDRESS_TEXT_BYTES];

			address_format(&set.bound_sockets[i]->address, address);
			n += snprintf(text + n, sizeof text - (size_t)n,
				      "point number=%zu protocol=%s kind=stream address=%s "
				      "bound=%s by=us more=yes fed=1 file=0:0 backlog=4096 "
				      "mode=0000 queue=0 send-queue=0 ledger=-1 limiter=-1 "
				      "fds=%d%s\n",
				      i, set.protocols[i]->name, address, address,
				      set.bound_sockets[i]->fds[0],
				      shared && i == 2 ? " topic=1" : "");
		}
		found = read_it(written(text, (size_t)n));
		ck_assert(found.handover.older_bus);
		ck_assert_int_eq(found.handover.journal, -1);
		ck_assert_uint_eq(found.handover.doorbells_n, 0);
		ck_assert_uint_eq(found.handover.generation, 3);
		ck_assert_str_eq(found.topics[0], "");
		ck_assert_str_eq(found.topics[1], name);
		ck_assert_int_eq(strncmp(found.topics[2], "chat/127.0.0.2:", 15), 0);
	}
	listen_drop(&set);
}
END_TEST

SUITE("manifest_journal",
      {"the next one has journal, doorbells and topics",
       the_next_one_has_journal_doorbells_and_topics, 30},
      {"an older one sees only what it knows", an_older_one_sees_only_what_it_knows, 30},
      {"an older one's manifest is read", an_older_ones_manifest_is_read, 30})
