#include "reactor/pubsub/journal_parts.h"

#include "reactor/base/check.h"
#include "reactor/base/siphash.h"
#include "reactor/base/sys.h"

#define JOURNAL_NAME   "weir-journal"	  /* of the memfd, as /proc/PID/maps shows it */
#define JOURNAL_MAGIC  0x6c6e72756f6a2d77 /* "w-journl" */
#define JOURNAL_LAYOUT 1 /* count it up if what lies there, or what a record means, changes */

/* ---- the memory ---- */

static bool history_fits(uint64_t bytes)
{
	return bytes >= JOURNAL_HISTORY_MIN && bytes <= JOURNAL_HISTORY_MAX;
}

static void journal_init(struct journal *journal)
{
	*journal = (struct journal){.fd = -1};
	for (unsigned i = 0; i < JOURNAL_SEATS_MAX; i++)
		journal->doorbells[i] = -1;
}

/* What follows from the size of the history. Returns how many bytes of memory that is. */
static size_t journal_measure(struct journal *journal, uint64_t history)
{
	unsigned shift = 0;

	while ((UINT64_C(1) << shift) < history / JOURNAL_RECORD_BYTES)
		shift++;
	journal->slots_shift = shift;
	journal->segments_max = (uint32_t)((history + JOURNAL_SEGMENT - 1) / JOURNAL_SEGMENT);
	journal->segments = journal->segments_max + 2 * JOURNAL_SEATS_MAX;
	return sizeof(struct journal_header) + JOURNAL_SEATS_MAX * sizeof(struct journal_seat) +
	       sizeof(uint64_t) * (journal->segments + (UINT64_C(1) << shift)) +
	       (size_t)journal->segments * JOURNAL_SEGMENT;
}

static int journal_map(struct journal *journal, int fd, size_t bytes)
{
	journal->memory = sys_map(bytes, MAP_SHARED, fd);
	if (!journal->memory)
		return -ENOMEM;
	journal->mapped_bytes = bytes;
	return 0;
}

/* Without entropy, which only a machine that boots has to wait for, the clock has to do. */
static void write_header(const struct journal *journal, uint64_t history, uint64_t first)
{
	struct journal_header *header = header_of(journal);

	*header = (struct journal_header){.magic = JOURNAL_MAGIC,
					  .layout = JOURNAL_LAYOUT,
					  .seats_max = JOURNAL_SEATS_MAX,
					  .history = history,
					  .first = first,
					  .head = first,
					  .floor = first,
					  .key = {sys_clock_us(), first}};
	(void)sys_getrandom(header->key, sizeof header->key, GRND_NONBLOCK);
}

int journal_open(struct journal *journal, unsigned seats, uint64_t history, uint64_t first)
{
	size_t bytes;
	int error;

	CHECK(seats && seats <= JOURNAL_SEATS_MAX && history_fits(history));
	journal_init(journal);
	bytes = journal_measure(journal, history);
	journal->first = first ? first : sys_realtime_us();
	journal->fd = sys_memfd_create(JOURNAL_NAME, MFD_CLOEXEC);
	if (journal->fd < 0)
		return journal->fd;
	error = sys_ftruncate(journal->fd, (off_t)bytes);
	if (!error)
		error = journal_map(journal, journal->fd, bytes);
	if (!error) {
		write_header(journal, history, journal->first);
		error = journal_use_seats(journal, seats);
	}
	if (error)
		journal_close(journal);
	return error;
}

/* Copies what the memory says of itself, and checks the copy, which cannot change. 0 or -errno. */
static int read_header(int fd, struct journal_header *header)
{
	struct journal measured;
	struct stat status;
	void *start;
	int error = sys_fstat(fd, &status);

	if (error)
		return error;
	if (status.st_size < (off_t)sizeof *header)
		return -EPROTO;
	start = sys_map(sizeof *header, MAP_SHARED, fd);
	if (!start)
		return -ENOMEM;
	*header = *(const struct journal_header *)start;
	(void)sys_munmap(start, sizeof *header);
	if (header->magic != JOURNAL_MAGIC || header->layout != JOURNAL_LAYOUT ||
	    header->seats_max != JOURNAL_SEATS_MAX || !header->seats ||
	    header->seats > JOURNAL_SEATS_MAX || !header->first || !history_fits(header->history) ||
	    status.st_size != (off_t)journal_measure(&measured, header->history))
		return -EPROTO;
	return 0;
}

int journal_attach(struct journal *journal, int fd)
{
	struct journal_header header;
	int error = read_header(fd, &header);

	journal_init(journal);
	if (!error)
		error = journal_map(journal, fd, journal_measure(journal, header.history));
	if (!error) {
		journal->first = header.first;
		journal->fd = fd;
	}
	return error;
}

void journal_close(struct journal *journal)
{
	for (unsigned i = 0; i < JOURNAL_SEATS_MAX; i++)
		if (journal->doorbells[i] >= 0)
			(void)sys_close(journal->doorbells[i]);
	if (journal->memory)
		(void)sys_munmap(journal->memory, journal->mapped_bytes);
	if (journal->fd >= 0)
		(void)sys_close(journal->fd);
	journal_init(journal);
}

uint64_t journal_hash(const struct journal *journal, const void *name, size_t n)
{
	return siphash(header_of(journal)->key, name, n);
}

/* ---- seats ---- */

unsigned journal_seats(const struct journal *journal)
{
	return seats_in_use(journal);
}

int journal_use_seats(struct journal *journal, unsigned n)
{
	CHECK(n <= JOURNAL_SEATS_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (journal->doorbells[i] >= 0)
			continue;
		journal->doorbells[i] = sys_eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (journal->doorbells[i] < 0) {
			int error = journal->doorbells[i];

			journal->doorbells[i] = -1;
			return error;
		}
	}
	if (n > LOAD(header_of(journal)->seats))
		STORE(header_of(journal)->seats, n);
	return 0;
}

/* Nobody reads the eventfd: its counter is full only when it was rung 2^64 - 2 times. */
void journal_ring_doorbell(const struct journal *journal, unsigned seat)
{
	uint64_t one = 1;

	if (journal->doorbells[seat] >= 0)
		(void)sys_write(journal->doorbells[seat], &one, sizeof one);
}

void journal_add_doorbell(struct journal *journal, unsigned seat, int fd)
{
	CHECK(seat < JOURNAL_SEATS_MAX && fd >= 0);
	if (journal->doorbells[seat] >= 0)
		(void)sys_close(fd);
	else
		journal->doorbells[seat] = fd;
	journal_ring_doorbell(journal, seat);
}

void journal_ring_all_doorbells(const struct journal *journal)
{
	for (unsigned i = 0, n = seats_in_use(journal); i < n; i++)
		if (LOAD(seat_of(journal, i)->state) != VACANT)
			journal_ring_doorbell(journal, i);
}

/* As in journal_wait.c, with sleepers: they store what they wait for, and then look; we have
 * stored, and then look who waits. */
void journal_ring_waiters(const struct journal *journal)
{
	FULL_FENCE();
	for (unsigned i = 0, n = seats_in_use(journal); i < n; i++)
		if (LOAD(seat_of(journal, i)->state) == SAID_ALL)
			journal_ring_doorbell(journal, i);
}
