#include "worker/board.h"

#include <string.h>

#include "reactor/hash.h"
#include "reactor/sys.h"

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
	board->version = BOARD_VERSION;
	board->seats_n = SEATS_MAX;
	board->layout = layout_now();
	return board;
}

struct board *board_attach(int fd)
{
	struct stat status;
	struct board *board;

	if (sys_fstat(fd, &status) < 0 || status.st_size != (off_t)sizeof *board)
		return NULL;
	board = sys_map(sizeof *board, MAP_SHARED, fd);
	if (board && (board->version != BOARD_VERSION || board->layout != layout_now())) {
		(void)sys_munmap(board, sizeof *board);
		return NULL;
	}
	return board;
}

void board_take_last_words(struct board_seat *seat, char words[LAST_WORDS_BYTES])
{
	memcpy(words, seat->last_words, LAST_WORDS_BYTES);
	words[LAST_WORDS_BYTES - 1] = '\0';
	memset(seat->last_words, 0, sizeof seat->last_words);
}
