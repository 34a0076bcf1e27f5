/*
 * control: the unix socket over which weirctl, or a person with socat, asks the master.
 *
 *     COMMAND [ARGUMENT]\n  ->  KIND key=value ...\n for each record, then done\n or
 *                               failed why="..."\n, and the end
 *
 * One for each master, on its loop. It owns the socket, its file and the clients; a client is gone
 * as soon as its connection is, so the owner must not keep one: it finds those that wait for an
 * outcome by what they asked. Only root and the master's user may ask, no worker may. A client that
 * does not speak, or does not read, must never cost more than a place and its buffer, and that for
 * seconds only; nothing here may block.
 */
#ifndef MASTER_CONTROL_CONTROL_H
#define MASTER_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "master/control/command.h"
#include "master/control/control_file.h"
#include "reactor/base/log.h"
#include "reactor/loop/loop.h"

#define CONTROL_CLIENTS	      32
#define CONTROL_REQUEST_BYTES 256 /* with its newline */

struct control_client;

struct control_owner {
	/* argument: "" if there is none. Answers by control_record() and an end, now; or later, by
	 * control_tell() and control_finish(): the client must not be kept. */
	void (*asked)(struct control_client *client, enum command command, const char *argument);
	bool (*is_worker)(pid_t pid);
};

/* path NULL: the default place; if that can't be written, none, with a warning. Dies of a path that
 * was asked for and can't be had. Borrows loop and owner. */
void control_open(struct loop *loop, const struct control_owner *owner, const char *path);
/* The same with the socket of a master before us (its path as it was asked for), from now on. */
void control_adopt(struct loop *loop, const struct control_owner *owner, const char *path,
		   const struct control_inherited *inherited);
/* The listening socket of a path that was asked for, for the next master. */
void control_export(struct control_inherited *inherited);
/* Another master answers from now on; clients that wait here are still answered. A default file
 * goes. */
void control_hand_over(void);
/* That master has died: it is ours again, if it can be had. */
void control_take_back(void);
/* Sends what can be sent at once, and removes the file if it is still ours. May be called in any
 * state, more than once. */
void control_close(void);
/* Where it listens; NULL: nowhere. */
const char *control_path(void);

void control_record(struct control_client *client, const char *kind, const struct log_field *fields,
		    size_t n);
/* The answer is long: more() is called again and again, each time the client has taken what there
 * is, until more() ends the answer. state is forgotten when the client has gone, or it is over. */
void control_stream(struct control_client *client,
		    void (*more)(struct control_client *client, void *state),
		    void (*forget)(void *state), void *state);
void control_done(struct control_client *client);
void control_failed(struct control_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- all clients that wait for the outcome of a command ---- */

size_t control_waiting(enum command command);
void control_tell(enum command command, const char *kind, const struct log_field *fields, size_t n);
/* why NULL: done. */
void control_finish(enum command command, const char *why);

#define CONTROL_RECORD(client, kind, ...)                                                          \
	do {                                                                                       \
		const struct log_field control_fields_[] = {{0}, ##__VA_ARGS__};                   \
		control_record((client), (kind), control_fields_ + 1,                              \
			       sizeof control_fields_ / sizeof *control_fields_ - 1);              \
	} while (0)
#define CONTROL_TELL(command, kind, ...)                                                           \
	do {                                                                                       \
		const struct log_field control_fields_[] = {{0}, ##__VA_ARGS__};                   \
		control_tell((command), (kind), control_fields_ + 1,                               \
			     sizeof control_fields_ / sizeof *control_fields_ - 1);                \
	} while (0)

#endif
