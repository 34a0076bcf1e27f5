/*
 * config: what an operator may set, as values.
 *
 * A row of config.def is a field of struct config, a flag and a key; settings of protocols are
 * flags and keys, too. Values come in as text and are checked here, whoever read them (flags, the
 * file, a listener's own keys). A struct config is plain memory, written before the fork and only
 * read after; its texts lie in argv, and in the text of the config file, which it owns
 * (options_free()).
 */
#ifndef WORKER_CONFIG_CONFIG_H
#define WORKER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/config/endpoint.h"
#include "worker/config/value.h"
#include "worker/identity.h"

#define WORKERS_MAX	      256
#define METRICS_ADDRESSES_MAX 8

enum overload { OVERLOAD_PAUSE, OVERLOAD_REJECT };

enum option_kind {
	OPTION_NUMBER = SETTING_NUMBER,
	OPTION_TIME = SETTING_TIME,
	OPTION_SIZE = SETTING_SIZE,
	OPTION_CHOICE = SETTING_CHOICE,
	OPTION_SWITCH = SETTING_SWITCH,
	OPTION_ACTION = SETTING_NETWORKS + 1,
	OPTION_TEXT,
};

/* The type that a kind is kept as. */
typedef struct {
	char unused;
} config_ACTION;
typedef uint64_t config_NUMBER;
typedef uint64_t config_TIME; /* microseconds */
typedef uint64_t config_SIZE; /* bytes */
typedef uint64_t config_CHOICE;
typedef uint64_t config_SWITCH; /* 1: on */
typedef const char *config_TEXT;

struct config {
#define OPTION(kind, field, name, letter, value, argument, meaning) config_##kind field;
#include "worker/config/config.def"
#undef OPTION
	uint64_t settings[SETTINGS_MAX]; /* of protocols, by number */
	struct endpoint listeners[LISTENERS_MAX];
	size_t listeners_n;
	bool default_listeners;				  /* none was named */
	struct identity identity;			  /* of `user`, if that is set */
	struct address metrics_at[METRICS_ADDRESSES_MAX]; /* the addresses of `metrics` */
	size_t metrics_n;
	uint64_t max_connections_asked; /* before the limit of descriptors cut it; 0: auto */
	uint64_t connections_capacity;	/* what that limit allows, those that move here included */
	char *file_text;		/* holds its texts that are not in argv; NULL: none */
	size_t file_settings;		/* how many the file had */
};

struct option_row {
	enum option_kind kind;
	size_t offset; /* of the field in struct config */
	const char *name;
	char letter;	      /* 0: none */
	const char *value;    /* the default; NULL: none */
	const char *argument; /* NULL: takes none */
	const char *meaning;
	const struct setting *setting; /* of a protocol; NULL: it is of config.def */
};

#define OPTION_ROWS_MAX 96

/* All of them; NULL is the name of the row behind the last. */
const struct option_row *config_rows(void);

#define EACH_OPTION(row) for (const struct option_row *row = config_rows(); row->name; row++)

/* What serves if no listener is named; NULL ends it. */
extern const char *const config_default_listeners[];

#define CONFIG_ERROR_BYTES (ENDPOINT_TEXT_BYTES + 256)

void config_defaults(struct config *config);
const struct option_row *config_find(const char *name); /* NULL: there is none */
/* The name most like the given one, of flags or of keys of the file; NULL if none is near. */
const char *config_nearest(const char *name, bool key);

/* False, and what is wrong, without the key's name. */
bool config_set(struct config *config, const struct option_row *row, const char *value,
		char error[CONFIG_ERROR_BYTES]);
bool config_listen(struct config *config, const char *listener, char error[CONFIG_ERROR_BYTES]);
/* The value as config_set() takes it. */
void config_text(const struct config *config, const struct option_row *row, char *text, size_t n);

/* Checks what no single value shows: false, and what is wrong. Fills in "auto" and the default
 * listeners, for `cpus` and a limit of `descriptors`. */
bool config_complete(struct config *config, size_t cpus, size_t descriptors,
		     char error[CONFIG_ERROR_BYTES]);

enum accept_mode config_accept_mode(const struct config *config, const struct endpoint *endpoint);
/* Is there a listener whose connections, on all workers, are members of one topic? */
bool config_has_topic(const struct config *config);
/* The value of a protocol's setting for one of its listeners. */
uint64_t config_setting(const struct config *config, const struct endpoint *endpoint,
			const struct setting *setting);

static inline uint32_t config_ms(uint64_t us)
{
	return (uint32_t)((us + 999) / 1000);
}

#endif
