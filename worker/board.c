#include "worker/board.h"

#include <string.h>

#include "reactor/sys.h"

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
	board->slots = WORKERS_MAX;
	return board;
}

void board_take_last_words(struct board_slot *slot, char words[LAST_WORDS_BYTES])
{
	memcpy(words, slot->last_words, LAST_WORDS_BYTES);
	words[LAST_WORDS_BYTES - 1] = '\0';
	memset(slot->last_words, 0, sizeof slot->last_words);
}
