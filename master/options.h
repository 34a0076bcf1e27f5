/*
 * options: the command line and the config file, by the rows of worker/config.def.
 *
 * Whatever is wrong is said on stderr, with the flag, or the file, the line and the key,
 * and the nearest key there is; the process exits with 2. --help, --version, -t and -T
 * answer on stdout and exit with 0.
 */
#ifndef MASTER_OPTIONS_H
#define MASTER_OPTIONS_H

#include "worker/config.h"

#define WEIR_VERSION "0.1.0"

#define OPTIONS_ERROR_BYTES 512

/* Fills in a complete configuration, for `cpus` and a limit of `descriptors`. argv stays as it is
 * for as long as the process lives: values lie in it. */
void options_read(struct config *config, int argc, char **argv, size_t cpus, size_t descriptors);
/* The same again, with the file as it is now, after options_read(). False: nothing is to be freed,
 * and what options_read() would have said. */
bool options_reread(struct config *config, char error[OPTIONS_ERROR_BYTES]);
/* Lets go of the text that its values lie in: nothing may use them any more. */
void options_free(struct config *config);

/* The config file's path, as it was given; NULL: there is none. */
const char *options_file(void);

#endif
