#include "master/metrics/carried_counters.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/sys.h"

#define NOWHERE UINT32_MAX

static struct {
	struct scoreboard *scoreboard; /* the new one; NULL: nothing is carried */
	const unsigned char *from;     /* the old one */
	size_t bytes;
	/* What the old one says of itself, checked. */
	size_t seats_n, seats_at, seat_bytes, carried_at, carried_bytes;
	bool carries;
	uint32_t *places; /* the offset of each of our rows in a seat there */
} carried;

/* ---- its description ---- */

static bool fits(uint64_t at, uint64_t each, uint64_t n)
{
	return at % 8 == 0 && each % 8 == 0 && each >= 8 && at + each * n <= carried.bytes;
}

static bool take_header(const struct scoreboard_head *head)
{
	carried.seats_n = head->seats_n < SEATS_MAX ? head->seats_n : SEATS_MAX;
	carried.seats_at = head->seats_at;
	carried.seat_bytes = head->seat_bytes;
	carried.carried_at = head->carried_at;
	carried.carried_bytes = head->carried_bytes;
	carried.carries = head->carries;
	return head->version == SCOREBOARD_VERSION && head->rows_n <= SCOREBOARD_ROWS_MAX &&
	       fits(head->seats_at, head->seat_bytes, head->seats_n) &&
	       fits(head->carried_at, head->carried_bytes, head->seats_n);
}

static uint32_t place_of(const struct scoreboard_head *head, const struct stats_row *row)
{
	size_t least =
	    carried.seat_bytes < carried.carried_bytes ? carried.seat_bytes : carried.carried_bytes;

	for (uint32_t i = 0; i < head->rows_n; i++) {
		const struct scoreboard_row *there = &head->rows[i];

		if (strncmp(there->name, row->name, sizeof there->name) == 0 &&
		    there->kind == (uint32_t)row->kind && there->offset % 8 == 0 &&
		    there->offset <= least - 8)
			return there->offset;
	}
	return NOWHERE;
}

static bool map(int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0 || status.st_size < (off_t)sizeof(struct scoreboard_head))
		return false;
	carried.bytes = (size_t)status.st_size;
	carried.from = sys_map(carried.bytes, MAP_SHARED, fd);
	return carried.from != NULL;
}

static bool follow(void)
{
	struct scoreboard_head *head = malloc(sizeof *head);
	bool good;

	carried.places = calloc(stats_rows_n, sizeof *carried.places);
	good = head && carried.places;
	if (good) {
		memcpy(head, carried.from, sizeof *head);
		good = take_header(head);
	}
	for (size_t i = 0; good && i < stats_rows_n; i++)
		carried.places[i] = place_of(head, &stats_rows[i]);
	free(head);
	return good;
}

static void let_go(void)
{
	if (carried.from)
		(void)munmap((void *)(uintptr_t)carried.from, carried.bytes);
	free(carried.places);
	memset(&carried, 0, sizeof carried);
}

bool carried_counters_open(struct scoreboard *scoreboard, int fd)
{
	bool good = map(fd) && follow();

	(void)close(fd);
	if (!good) {
		let_go();
		return false;
	}
	/* Workers get no copy of it: they count on the new one. */
	(void)madvise((void *)(uintptr_t)carried.from, carried.bytes, MADV_DONTFORK);
	carried.scoreboard = scoreboard;
	scoreboard->head.carries = true;
	carried_counters_look();
	return true;
}

/* ---- its numbers ---- */

static uint64_t number_at(size_t at)
{
	return __atomic_load_n((const uint64_t *)(const void *)(carried.from + at),
			       __ATOMIC_RELAXED);
}

static uint64_t value_of(size_t seat, const struct stats_row *row, uint32_t place)
{
	uint64_t value = number_at(carried.seats_at + seat * carried.seat_bytes + place);

	if (carried.carries)
		value = stats_combine(
		    row, value,
		    number_at(carried.carried_at + seat * carried.carried_bytes + place));
	return value;
}

void carried_counters_look(void)
{
	for (size_t seat = 0; carried.scoreboard && seat < carried.seats_n; seat++)
		for (size_t i = 0; i < stats_rows_n; i++)
			if (carried.places[i] != NOWHERE)
				stats_store(&carried.scoreboard->carried[seat], &stats_rows[i],
					    value_of(seat, &stats_rows[i], carried.places[i]));
}

void carried_counters_close(void)
{
	struct scoreboard *scoreboard = carried.scoreboard;

	if (!scoreboard)
		return;
	carried_counters_look();
	for (size_t seat = 0; seat < carried.seats_n; seat++)
		stats_clear_gauges(&scoreboard->carried[seat]);
	let_go();
}
