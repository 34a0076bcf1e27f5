/*
 * settings: a configuration under test, for check_config.c and check_endpoint.c.
 */
#ifndef TESTS_WORKER_SETTINGS_H
#define TESTS_WORKER_SETTINGS_H

#include "tests/support/harness.h"
#include "worker/config/config.h"

static struct config config;

static inline const struct option_row *row_of(const char *name)
{
	const struct option_row *row = config_find(name);

	ck_assert_msg(row != NULL, "no option is called %s", name);
	return row;
}

static inline void set(const char *name, const char *value)
{
	char error[CONFIG_ERROR_BYTES] = "";

	ck_assert_msg(config_set(&config, row_of(name), value, error), "%s = %s: %s", name, value,
		      error);
}

static inline void listen_to(const char *listener)
{
	char error[CONFIG_ERROR_BYTES] = "";

	ck_assert_msg(config_listen(&config, listener, error), "%s: %s", listener, error);
}

#endif
