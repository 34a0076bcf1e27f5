/*
 * activation: sockets that systemd made before it started us (sd_listen_fds(3)).
 *
 * activation_open() reads LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, looks at each socket, and
 * removes those variables from the environment, so that no child takes them for its own. The
 * descriptors are close-on-exec and activation's, as long as the process lives: systemd has these
 * sockets too, whatever we close. Whoever listens on one takes a duplicate. Nothing here may accept
 * from one, end one (shutdown) or leave a filter on it: clients that wait there when weir stops
 * wait for the next one.
 */
#ifndef MASTER_LISTEN_ACTIVATION_H
#define MASTER_LISTEN_ACTIVATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "worker/config/config.h"

#define ACTIVATION_MAX	      LISTENERS_MAX
#define ACTIVATION_NAME_BYTES 256

struct activation_socket {
	int fd;
	char name[ACTIVATION_NAME_BYTES]; /* FileDescriptorName=; "unknown" if none is given */
	bool datagrams;
	struct address address; /* dual_stack as IPV6_V6ONLY says */
};

/* Once, before anything opens descriptors of its own. False, and what is wrong: a set of sockets
 * that can't be served is the operator's error. True, and no sockets, if those variables are not
 * for this process. */
bool activation_open(char error[CONFIG_ERROR_BYTES]);
size_t activation_n(void);
int activation_fd(size_t i);
const char *activation_name(size_t i);
const struct activation_socket *activation_socket(size_t i);

/* ---- what they are for; pure, but for config ---- */

/*
 * Makes listeners of the sockets; call it after the flags and the file, and before
 * config_complete() adds the default listeners, at start and at each reload. A socket is
 *   - the one of the LISTENER that names its address (and datagrams or not);
 *   - else, if its name is a protocol (echo, line, echo+udp), a listener of that protocol;
 *   - else, without a LISTENER, that of the default listener of this address.
 * With sockets and without a LISTENER, only sockets are served. False, and what is wrong: one that
 * is none of these is named with its address and name.
 */
bool activation_join(struct config *config, const struct activation_socket *sockets, size_t n,
		     char error[CONFIG_ERROR_BYTES]);
/* The socket that a listener of the configuration has; NULL: it is to be bound. */
const struct activation_socket *activation_find(const struct endpoint *endpoint,
						const struct activation_socket *sockets, size_t n);
/* Finds out what fd is, by getsockname(2) and getsockopt(2). False: neither a listening stream
 * socket nor a datagram socket of IP; *why says so in words. */
bool activation_look(int fd, struct activation_socket *socket, const char **why);

/* ---- an upgrade ---- */

/* A line for each, `inherited FD NAME`, which the next master reads with activation_read(). */
bool activation_write(FILE *manifest);
bool activation_read(const char *line, char error[CONFIG_ERROR_BYTES]);

#endif
