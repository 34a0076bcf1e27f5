/*
 * listen_parts: what the files of listen share, and nobody else may use.
 */
#ifndef MASTER_LISTEN_LISTEN_PARTS_H
#define MASTER_LISTEN_LISTEN_PARTS_H

#include "master/listen/listen.h"

#define LISTEN_SETS_MAX 2

extern struct listen_all {
	struct bound_socket bound_sockets[LISTEN_NUMBERS_MAX];
	struct listen_set *sets[LISTEN_SETS_MAX]; /* that are open */
	struct listen_set inherited;		  /* of the master before us, until it has gone */
} listen_all;

const struct endpoint *listen_endpoint(const struct listen_set *set, size_t i);
enum accept_mode listen_mode(const struct listen_set *set, size_t i);
struct bound_socket_settings listen_settings(const struct config *config,
					     const struct endpoint *endpoint);
/* How many sockets of listener i this set has: the first ones. */
size_t listen_width(const struct listen_set *set, size_t i);
/* Which listener of the set has this bound socket? -1: none. */
int listen_place(const struct listen_set *set, const struct bound_socket *bound);
bool listen_has_topic(const struct listen_set *set, const char *name);
/* The name of a topic after this address. */
void listen_name_topic(const struct protocol *protocol, const struct address *address,
		       char name[LISTEN_TOPIC_BYTES]);
/* A number that no listener has. */
uint32_t listen_free_number(const struct listen_set *set);
struct bound_socket *listen_free_bound_socket(void);
void listen_register(struct listen_set *set);

/* Takes in a copy of a bound socket that another master made. NULL: there are too many, or the
 * number is another one's. */
struct bound_socket *listen_inherit(const struct bound_socket *bound,
				    const struct protocol *protocol, uint32_t number);
/* Does something that was inherited have this descriptor already? */
bool listen_inherited(int fd);

#endif
