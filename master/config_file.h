/*
 * config_file: the file of --config, read by the rows of worker/config/config.def.
 *
 * `key = value` lines, the keys being the long options; `listen = LISTENER`, once for each.
 * Whatever is wrong is said with the file, the line and the key. A file that may have been cut is
 * refused: its last line has no newline, or it changes while it is read.
 */
#ifndef MASTER_CONFIG_FILE_H
#define MASTER_CONFIG_FILE_H

#include "worker/config/config.h"

#define CONFIG_FILE_ERROR_BYTES (CONFIG_ERROR_BYTES + 128)

/* Zeroed memory for a file's text, shared with children that are forked; NULL: there is none. */
char *config_file_room(void);
void config_file_forget(char *room);
/* Values of config then point into room, which has to stay as long. False: what is wrong with the
 * file. */
bool config_file_read(struct config *config, const char *path, char *room,
		      char error[CONFIG_FILE_ERROR_BYTES]);

#endif
