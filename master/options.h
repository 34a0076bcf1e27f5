/*
 * options: the command line and the config file, by the rows of worker/config/config.def.
 *
 * Whatever is wrong is said on stderr, with the flag, or the file, the line and the key, and the
 * nearest key there is; the process exits with 2, or with 1 if only a name could not be looked up
 * now. --help, --version, -t and -T answer on stdout and exit with 0.
 */
#ifndef MASTER_OPTIONS_H
#define MASTER_OPTIONS_H

#include "master/config_file.h"
#include "worker/config/config.h"

#define WEIR_VERSION "0.1.0"

#define OPTIONS_ERROR_BYTES CONFIG_FILE_ERROR_BYTES

/* How long names are looked up again and again, if no name server answers; below the time that a
 * next master is given to come up. */
#define OPTIONS_PATIENCE_MS 20000

/* Fills in a complete configuration, for `cpus` and a limit of `descriptors`. argv has to stay as
 * it is for as long as the process lives, because values point into it. */
void options_read(struct config *config, int argc, char **argv, size_t cpus, size_t descriptors);
/*
 * The same again after options_read(), with the file as it is now. The file's text goes into room,
 * from config_file_room(), which the configuration then owns; NULL: it gets one of its own. False,
 * and what options_read() would have said, or why this is more likely an accident than a wish,
 * compared with `serving` (NULL: none serves); then only room is to be freed.
 */
bool options_reread(struct config *config, const struct config *serving, char *room,
		    char error[OPTIONS_ERROR_BYTES]);
/* False, and why, if `config` is more likely what is left of a file (one that is being written, or
 * whose disk is full) than a wish: it has no setting, or names no listener, and what serves had
 * some. */
bool options_look_intended(const struct config *config, size_t file_settings,
			   bool default_listeners, char error[OPTIONS_ERROR_BYTES]);
/* Lets go of the text that its values lie in: nothing may use them any more. */
void options_free(struct config *config);

/* The config file's path, as it was given; NULL: there is none. */
const char *options_file(void);

#endif
