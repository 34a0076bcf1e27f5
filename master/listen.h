/*
 * listen: the listening sockets, all bound and held by the master.
 *
 * A socket belongs to a slot of the roster (reuseport), to every slot (shared) or to the
 * master (handoff). As the master holds each of them, no worker's death refuses or resets
 * a connection that waits.
 */
#ifndef MASTER_LISTEN_H
#define MASTER_LISTEN_H

#include <sys/types.h>

#include "worker/config.h"
#include "worker/worker.h"

struct listen_set {
	const struct config *config;
	size_t slots;
	int fds[LISTENERS_MAX][WORKERS_MAX]; /* for shared and handoff: all in [0] */
	struct {
		dev_t device;
		ino_t inode; /* 0: no socket file of ours */
	} files[LISTENERS_MAX];
	struct datagram_ledger ledgers[LISTENERS_MAX];
	struct limiter limiters[LISTENERS_MAX];
};

/* Binds all, and writes the ports that the kernel chose into config. Dies where it can't. */
void listen_bind_all(struct listen_set *set, struct config *config);
#define LISTEN_NUMBERS_MAX 128
bool listen_open(struct listen_set *set, struct config *config, const struct listen_set *before,
		 char *error);
void listen_drop(struct listen_set *set);
void listen_numbers(const struct listen_set *set, uint32_t numbers[LISTENERS_MAX]);
bool listen_has(const struct listen_set *set, uint32_t number);
bool listen_add_slots(struct listen_set *set, size_t n, char *error);
void listen_close_slots(struct listen_set *set, size_t n);
void listen_steer_away(struct listen_set *set, size_t n);
bool listen_is_slots_own(const struct listen_set *set, size_t i);
int listen_master_socket(const struct listen_set *set, size_t i);
/* shim */
#include <stdio.h>
bool listen_write(const struct listen_set *set, FILE *manifest);
size_t listen_descriptors(const struct listen_set *set, int fds[]);
bool listen_read_line(const char *line, char *error);
void listen_settle(void (*took)(unsigned id, int fd));
void listen_handed_over(struct listen_set *set, bool h);
void listen_serve(struct listen_set *set);
#define LISTEN_DESCRIPTORS 20000
void options_free(struct config *config);
bool options_reread(struct config *config, char *error);

/* Takes in and ends, by FIN, who waits at a slot that has no worker. */
void listen_refuse(struct listen_set *set, size_t slot);
/* The same of every socket: there is no worker at all. */
void listen_refuse_all(struct listen_set *set);
/* Closes the sockets: workers have their own, and take in who waits. */
void listen_stop(struct listen_set *set);
/* Closes all, and takes our own socket files away; also where listen_open() got half-way. */
void listen_close(struct listen_set *set);
/* The sockets that the worker of a slot listens on, by endpoint; -1: none. */
void listen_for_slot(const struct listen_set *set, size_t slot, int fds[LISTENERS_MAX]);

#endif
