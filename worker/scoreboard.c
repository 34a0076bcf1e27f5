#include "worker/scoreboard.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/hash.h"
#include "reactor/base/sys.h"

static uint64_t layout_now(void)
{
	uint64_t hash = sizeof(struct board);

	for (size_t i = 0; i < stats_rows_n; i++) {
		hash = hash_mix(hash ^ stats_rows[i].offset ^ (uint64_t)stats_rows[i].kind << 32);
		for (const char *at = stats_rows[i].name; *at; at++)
			hash = hash_mix(hash ^ (unsigned char)*at);
	}
	return hash;
}

/* What whoever knows nothing of this version needs to read the counters. */
static void describe(struct board *board)
{
	CHECK(stats_rows_n <= BOARD_ROWS_MAX);
	for (size_t i = 0; i < stats_rows_n; i++) {
		struct board_row *row = &board->head.rows[i];

		CHECK(strlen(stats_rows[i].name) < sizeof row->name);
		memcpy(row->name, stats_rows[i].name, strlen(stats_rows[i].name));
		row->offset = (uint32_t)stats_rows[i].offset;
		row->kind = (uint32_t)stats_rows[i].kind;
	}
	board->head.rows_n = (uint32_t)stats_rows_n;
	board->head.seats_at = offsetof(struct board, seats);
	board->head.seat_bytes = sizeof *board->seats;
	board->head.carried_at = offsetof(struct board, carried);
	board->head.carried_bytes = sizeof *board->carried;
}

struct board *board_open(int *fd)
{
	struct board *board = NULL;

	*fd = sys_memfd_create(BOARD_NAME, MFD_CLOEXEC);
	if (*fd < 0)
		return NULL;
	if (sys_ftruncate(*fd, sizeof *board) == 0)
		board = sys_map(sizeof *board, MAP_SHARED, *fd);
	if (!board) {
		(void)sys_close(*fd);
		return NULL;
	}
	board->head.version = BOARD_VERSION;
	board->head.seats_n = SEATS_MAX;
	board->head.layout = layout_now();
	describe(board);
	return board;
}

struct board *board_attach(int fd)
{
	struct stat status;
	struct board *board;

	if (sys_fstat(fd, &status) < 0 || status.st_size != (off_t)sizeof *board)
		return NULL;
	board = sys_map(sizeof *board, MAP_SHARED, fd);
	if (board && (board->head.version != BOARD_VERSION || board->head.layout != layout_now())) {
		(void)sys_munmap(board, sizeof *board);
		return NULL;
	}
	return board;
}

uint64_t board_value(const struct board *board, size_t seat, const struct stats_row *row)
{
	uint64_t value = stats_value(&board->seats[seat].stats, row);

	/* Else not touched: memory that nobody has written is not there. */
	return board->head.carries
		   ? stats_combine(row, value, stats_value(&board->carried[seat], row))
		   : value;
}

void board_take_last_words(struct board_seat *seat, char words[LAST_WORDS_BYTES])
{
	memcpy(words, seat->last_words, LAST_WORDS_BYTES);
	words[LAST_WORDS_BYTES - 1] = '\0';
	memset(seat->last_words, 0, sizeof seat->last_words);
}
