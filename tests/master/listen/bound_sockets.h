/* bound_sockets: sets of bound sockets in a test's own process, which also accepts. */
#ifndef TESTS_MASTER_LISTEN_BOUND_SOCKETS_H
#define TESTS_MASTER_LISTEN_BOUND_SOCKETS_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/listen/listen.h"
#include "tests/support/harness.h"

static inline void configure(struct config *config, size_t workers, const char *const listeners[])
{
	char error[CONFIG_ERROR_BYTES];

	config_defaults(config);
	config->workers = workers;
	for (; *listeners; listeners++)
		ck_assert_msg(config_listen(config, *listeners, error), "%s: %s", *listeners,
			      error);
	ck_assert_msg(config_complete(config, 2, 1 << 16, error), "%s", error);
}
#define CONFIGURE(config, workers, ...)                                                            \
	configure(config, workers, (const char *const[]){__VA_ARGS__, NULL})

static inline void open_set(struct listen_set *set, struct config *config,
			    const struct listen_set *before)
{
	char error[CONFIG_ERROR_BYTES];

	ck_assert_msg(listen_open(set, config, before, error), "%s", error);
}

static inline void serve_set(struct listen_set *set, struct config *config)
{
	open_set(set, config, NULL);
	listen_serve(set);
}

static inline unsigned port_of(const struct config *config, size_t listener)
{
	return address_port(&config->listeners[listener].address);
}

/* PROTOCOL://127.0.0.1:PORT and what follows. The text is valid until the fourth call after. */
static inline const char *at_port(const char *protocol, unsigned port, const char *keys)
{
	static char texts[4][128];
	static int turn;
	char *text = texts[turn++ % 4];

	(void)snprintf(text, sizeof *texts, "%s://127.0.0.1:%u%s", protocol, port, keys);
	return text;
}

/* Accepts all waiting clients and serves them: a byte and a FIN. Returns how many. */
static inline size_t serve_waiting(int listener)
{
	size_t n = 0;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		ck_assert_int_eq(send(fd, "x", 1, MSG_NOSIGNAL), 1);
		(void)close(fd);
		n++;
	}
	ck_assert_msg(errno == EAGAIN, "accept: %s", strerror(errno));
	return n;
}

static inline size_t serve_all(const struct bound_socket *bound)
{
	size_t n = 0;

	for (size_t i = 0; i < bound->fds_n; i++)
		n += serve_waiting(bound->fds[i]);
	return n;
}

static inline bool somebody_waits(int listener)
{
	struct pollfd in = {.fd = listener, .events = POLLIN};

	return poll(&in, 1, 0) == 1;
}

static inline void expect_served(int fd)
{
	expect_text(fd, "x");
	expect_end(fd);
	(void)close(fd);
}

#endif
