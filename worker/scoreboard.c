#include "worker/scoreboard.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/hash.h"
#include "reactor/base/sys.h"

static uint64_t layout_now(void)
{
	uint64_t hash = sizeof(struct scoreboard);

	for (size_t i = 0; i < stats_rows_n; i++) {
		hash = hash_mix(hash ^ stats_rows[i].offset ^ (uint64_t)stats_rows[i].kind << 32);
		for (const char *at = stats_rows[i].name; *at; at++)
			hash = hash_mix(hash ^ (unsigned char)*at);
	}
	return hash;
}

/* Describes the counters, for masters that know nothing of this version. */
static void describe(struct scoreboard *scoreboard)
{
	CHECK(stats_rows_n <= SCOREBOARD_ROWS_MAX);
	for (size_t i = 0; i < stats_rows_n; i++) {
		struct scoreboard_row *row = &scoreboard->head.rows[i];

		CHECK(strlen(stats_rows[i].name) < sizeof row->name);
		memcpy(row->name, stats_rows[i].name, strlen(stats_rows[i].name));
		row->offset = (uint32_t)stats_rows[i].offset;
		row->kind = (uint32_t)stats_rows[i].kind;
	}
	scoreboard->head.rows_n = (uint32_t)stats_rows_n;
	scoreboard->head.seats_at = offsetof(struct scoreboard, seats);
	scoreboard->head.seat_bytes = sizeof *scoreboard->seats;
	scoreboard->head.carried_at = offsetof(struct scoreboard, carried);
	scoreboard->head.carried_bytes = sizeof *scoreboard->carried;
}

struct scoreboard *scoreboard_open(int *fd)
{
	struct scoreboard *scoreboard = NULL;

	*fd = sys_memfd_create(SCOREBOARD_NAME, MFD_CLOEXEC);
	if (*fd < 0)
		return NULL;
	if (sys_ftruncate(*fd, sizeof *scoreboard) == 0)
		scoreboard = sys_map(sizeof *scoreboard, MAP_SHARED, *fd);
	if (!scoreboard) {
		(void)sys_close(*fd);
		return NULL;
	}
	scoreboard->head.version = SCOREBOARD_VERSION;
	scoreboard->head.seats_n = SEATS_MAX;
	scoreboard->head.layout = layout_now();
	describe(scoreboard);
	return scoreboard;
}

struct scoreboard *scoreboard_attach(int fd)
{
	struct stat status;
	struct scoreboard *scoreboard;

	if (sys_fstat(fd, &status) < 0 || status.st_size != (off_t)sizeof *scoreboard)
		return NULL;
	scoreboard = sys_map(sizeof *scoreboard, MAP_SHARED, fd);
	if (scoreboard && (scoreboard->head.version != SCOREBOARD_VERSION ||
			   scoreboard->head.layout != layout_now())) {
		(void)sys_munmap(scoreboard, sizeof *scoreboard);
		return NULL;
	}
	return scoreboard;
}

uint64_t scoreboard_value(const struct scoreboard *scoreboard, size_t seat,
			  const struct stats_row *row)
{
	uint64_t value = stats_value(&scoreboard->seats[seat].stats, row);

	/* If nothing is carried, that memory is not touched: pages that nobody has written cost
	 * nothing. */
	return scoreboard->head.carries
		   ? stats_combine(row, value, stats_value(&scoreboard->carried[seat], row))
		   : value;
}

void scoreboard_take_last_words(struct scoreboard_seat *seat, char words[LAST_WORDS_BYTES])
{
	memcpy(words, seat->last_words, LAST_WORDS_BYTES);
	words[LAST_WORDS_BYTES - 1] = '\0';
	memset(seat->last_words, 0, sizeof seat->last_words);
}
