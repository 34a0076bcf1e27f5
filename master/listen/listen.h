/*
 * listen: all bound sockets of the master, and which generation has which.
 *
 * A listen_set is what one configuration listens on. Two may exist at a time, the old generation's
 * and the new one's: if both name an address, they have the same bound socket, with the clients
 * that wait there. It is closed, and its socket file removed, when no set has it any more.
 *
 *     first start:  listen_open, listen_serve
 *     reload:       listen_open(new), ... ready: listen_serve(new), ... the old workers have
 *                   gone: listen_take(old, 0), listen_drop(old); it failed: listen_drop(new)
 *     TTIN:         listen_add_slots, ... ready: listen_serve
 *     TTOU:         listen_steer_away, ... drained: listen_take, listen_close_slots
 *     after each:   listen_tidy, a while later
 */
#ifndef MASTER_LISTEN_LISTEN_H
#define MASTER_LISTEN_LISTEN_H

#include <stdio.h>
#include <sys/types.h>

#include "master/listen/bound_socket.h"
#include "worker/config/config.h"
#include "worker/worker.h"

#define LISTEN_NUMBERS_MAX 256 /* more than listeners of two sets and of another master */
#define LISTEN_TOPIC_BYTES (JOURNAL_TOPIC_MAX + 1)
#define LISTEN_DESCRIPTORS (LISTENERS_MAX * (WORKERS_MAX + 2)) /* of a set, at most */

/* Memory of its owner's, all 0 before listen_open(). Moves name a listener by its number, below
 * LISTEN_NUMBERS_MAX. A listener keeps its number as long as it has the same address and protocol,
 * and nobody else gets it while a set, or another master's generation, has it.
 *
 * The topic that the connections of a LISTENER share is named after its protocol and the first of
 * its addresses, as it was bound: chat/127.0.0.1:9000. All addresses that a LISTENER stands for
 * have one topic, and keep it as long as one of them stays, whichever come and go beside it. */
struct listen_set {
	struct config *config;
	size_t slots;
	size_t bound_sockets_n; /* as many as config has listeners, and in their order */
	struct bound_socket *bound_sockets[LISTENERS_MAX];
	uint32_t numbers[LISTENERS_MAX];
	char topics[LISTENERS_MAX][LISTEN_TOPIC_BYTES]; /* "": its connections share none */
	const struct protocol *protocols[LISTENERS_MAX];
	struct datagram_ledger ledgers[LISTENERS_MAX];
	struct limiter limiters[LISTENERS_MAX]; /* of the bound sockets, with our rates */
	bool handed_over;
};

/* ---- its life ---- */

/*
 * Bound sockets that `before` has (NULL: that another master handed over) are shared. Others are
 * the service manager's sockets (activation.h), or are bound; the ports that the kernel chose are
 * written into config, the same one for all addresses of a LISTENER. If a name has an address that
 * this machine does not have, that is left out, from config too, as long as the name has others.
 * New sockets at an old address get no clients before listen_serve(). False, and what failed on
 * which listener: all that was opened is closed again, and `before` is as it was. At most two sets
 * are open at a time.
 */
bool listen_open(struct listen_set *set, struct config *config, const struct listen_set *before,
		 char error[CONFIG_ERROR_BYTES]);
/* This set is the one that serves: new connections come to the sockets of all its slots and to no
 * others, and backlog, mode and queues are as its configuration says. May be repeated, e.g. after
 * an upgrade that failed. */
void listen_serve(struct listen_set *set);
/* Lets go of all of it: what no other set has is closed. Harmless if nothing was opened. */
void listen_drop(struct listen_set *set);

/* ---- slots come and go; those of one set, while there is no other ---- */

/* Adds slots until there are so many. False, and what failed: there are as many as before. */
bool listen_add_slots(struct listen_set *set, size_t slots, char error[CONFIG_ERROR_BYTES]);
/* New connections come only to the slots below this one; those from it on may drain. */
void listen_steer_away(struct listen_set *set, size_t first_slot_that_goes);
/* Lets go of the sockets of the slots from this number on, which nobody reads any more. */
void listen_close_slots(struct listen_set *set, size_t slots);
/*
 * Looks after sockets that no set uses any more after one of the calls above. They stay open, and
 * new connections are steered past them: a handshake that began before may still end there, and its
 * client would be reset if the socket were closed. Clients that have come to them are accepted and
 * handed to took (NULL: ended, by FIN). To be called a few times in the moment after such a call,
 * and at last with close, which closes them. If it is never called, those clients wait for the
 * slots that come next.
 */
void listen_tidy(struct listen_set *set, bool close, void (*took)(uint32_t number, int fd));

/* ---- clients that wait ---- */

/* Accepts the clients that wait at the sockets of slots from this one on, as far as no other set
 * has those, and hands each to took: number is that of the listener. For the moment before they are
 * closed: a handshake that began before newcomers were steered away may end at any time. took NULL:
 * they are ended, by FIN. */
void listen_take(struct listen_set *set, size_t slots, void (*took)(uint32_t number, int fd));
/* The same at the bound_sockets that no other set has, and closes our sockets there: its workers
 * have let everybody in, and clients that come now are refused, though the workers' connections
 * still drain. */
void listen_retire(struct listen_set *set, void (*took)(uint32_t number, int fd));
/* When weir ends: accepts and ends, by FIN, the clients that wait at a slot that has no worker. */
void listen_refuse(struct listen_set *set, size_t slot);
/* The same of every socket: there is no worker at all. */
void listen_refuse_all(struct listen_set *set);
/* Closes our copies of the sockets: workers have their own, and let in clients that wait. Only
 * listen_drop() is left to do then. */
void listen_stop(struct listen_set *set);

/* ---- what others ask ---- */

/* The sockets that the worker of a slot listens on, by listener; -1: none, it is handed
 * connections. */
void listen_for_slot(const struct listen_set *set, size_t slot, int fds[LISTENERS_MAX]);
/* The number of each listener, and the name of its topic; NULL: it has none. Borrowed. */
void listen_numbers(const struct listen_set *set, uint32_t numbers[LISTENERS_MAX]);
void listen_topics(const struct listen_set *set, const char *topics[LISTENERS_MAX]);
/* The numbers of listeners that the master before us has and none of our sets; how many. */
size_t listen_left(uint32_t numbers[LISTENERS_MAX]);
/* Which listener has this number? -1: none. */
int listen_find(const struct listen_set *set, uint32_t number);
static inline bool listen_has(const struct listen_set *set, uint32_t number)
{
	return listen_find(set, number) >= 0;
}
/* Does each slot have a socket of this listener to itself? */
bool listen_is_slots_own(const struct listen_set *set, size_t listener);
/* The one from which the master accepts, to hand over; -1: they are closed. */
int listen_master_socket(const struct listen_set *set, size_t listener);
/* Does `other` listen on the socket of this listener and slot of `set`, too? Then the other's
 * workers let in the clients that wait there, and nothing may be done to the socket; else ours have
 * to accept them before they go. */
bool listen_keeps(const struct listen_set *other, const struct listen_set *set, size_t listener,
		  size_t slot);
/* Is it a service manager's? Then, when weir stops, no client is accepted from it, no filter is
 * left on it, and workers close their copy (listener_close, datagram_leave). */
bool listen_borrowed(const struct listen_set *set, size_t listener);

/* ---- an upgrade ---- */

/* A line for each bound socket, for the next master, and behind a NUL one for its topic
 * (listen_lines.c). False: errno says why. */
bool listen_write(const struct listen_set *set, FILE *manifest);
/* The descriptors that have to survive the exec; how many. */
size_t listen_descriptors(const struct listen_set *set, int fds[LISTEN_DESCRIPTORS]);
/* In the next master, before listen_open(). False: the line is not as it should be, in words; this
 * process has to end then. */
bool listen_read_line(const char *line, char error[CONFIG_ERROR_BYTES]);
/* In the next master: the one before has gone, and so all of it is ours now. What no listener of
 * ours has is closed; clients that still wait there are handed to took as listen_take() does.
 * Before this the socket files are the other one's. */
void listen_end_sharing(void (*took)(uint32_t number, int fd));
/* In the old master: the next one has the socket files now, so they are left alone; false takes
 * that back. */
void listen_handed_over(struct listen_set *set, bool handed_over);

#endif
