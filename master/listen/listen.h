/*
 * listen: the bound_sockets where weir listens, all held by the master; which generation has which.
 *
 * A listen_set is what one configuration listens on. Two may exist at a time, that of the old
 * generation and that of the new one: where both name an address they have the same bound,
 * with its sockets and whoever waits there. A bound is closed, and its socket file removed,
 * when the last set lets go of it. Each listener has a number below LISTEN_NUMBERS_MAX, by which
 * moves and the bus name it: it keeps it as long as it has the same address and protocol, and
 * nobody else gets it while a set, or another master's generation, has it. The same holds of its
 * topic's number, which all addresses of one LISTENER share. An address of a name that this machine
 * has not is left out, where the name has others; the configuration has those only, then.
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

#define LISTEN_NUMBERS_MAX 256 /* a number and a topic for each listener of two sets */
#define LISTEN_DESCRIPTORS (LISTENERS_MAX * (WORKERS_MAX + 2)) /* of a set, at most */

/* Memory of its owner's, all 0 before listen_open(). */
struct listen_set {
	struct config *config;
	size_t slots;
	size_t bound_sockets_n; /* as many as config has listeners, and in their order */
	struct bound_socket *bound_sockets[LISTENERS_MAX];
	uint32_t numbers[LISTENERS_MAX];
	uint32_t
	    topics[LISTENERS_MAX]; /* on the bus: the same for all that one LISTENER stands for */
	const struct protocol *protocols[LISTENERS_MAX];
	struct datagram_ledger ledgers[LISTENERS_MAX];
	struct limiter limiters[LISTENERS_MAX]; /* the bound_sockets' places, with our rates */
	bool handed_over;
};

/* ---- its life ---- */

/*
 * Points that `before` has (NULL: that another master handed over) are shared. Others are the
 * service manager's sockets (activation.h), or are bound; the ports that the kernel chose are
 * written into config; of one LISTENER all addresses have the same. Sockets that are new at an old
 * bound get nobody before listen_serve(). False, and what failed on which listener: all that was
 * opened is closed again, and `before` is as it was. At most two sets are open at a time.
 */
bool listen_open(struct listen_set *set, struct config *config, const struct listen_set *before,
		 char error[CONFIG_ERROR_BYTES]);
/* This set is the one that serves: newcomers come to the sockets of all its slots and to no others,
 * backlog, mode and queues are as its configuration says. Good to repeat, e.g. after an upgrade
 * that failed. */
void listen_serve(struct listen_set *set);
/* Lets go of all of it: what no other set has is closed. Also where nothing was opened. */
void listen_drop(struct listen_set *set);

/* ---- slots come and go; those of one set, while there is no other ---- */

/* More slots: false, and what failed; there are as many as before then. */
bool listen_add_slots(struct listen_set *set, size_t slots, char error[CONFIG_ERROR_BYTES]);
/* Newcomers come to the slots below only: those from this one on may drain. */
void listen_steer_away(struct listen_set *set, size_t first_slot_that_goes);
/* Lets go of the sockets of the slots from this number on, which nobody reads any more. */
void listen_close_slots(struct listen_set *set, size_t slots);
/*
 * Sockets at bound_sockets of this set that no set has any more, by any of the calls above, stay
 * open and are steered past: a handshake that began before may still end there, and were that
 * socket closed, the peer would be reset. Who has come to them is accepted and given away (took
 * NULL: ended, by FIN). For a moment after such a call, again a few times, and with close, after
 * which they are gone. Where it is never called they wait for the slots that come next.
 */
void listen_tidy(struct listen_set *set, bool close, void (*took)(uint32_t number, int fd));

/* ---- who waits ---- */

/* Accepts who waits at the sockets of slots from this one on, as far as no other set has those, and
 * gives each away: number is that of the listener. For the moment before they are closed: a
 * handshake that began before newcomers were steered away ends when it likes. took NULL: they
 * are ended, by FIN. */
void listen_take(struct listen_set *set, size_t slots, void (*took)(uint32_t number, int fd));
/* The same at the bound_sockets that no other set has, and closes our sockets there: its workers
 * have let everybody in, and who comes now is refused, though their connections still drain. */
void listen_retire(struct listen_set *set, void (*took)(uint32_t number, int fd));
/* Takes in and ends, by FIN, who waits at a slot that has no worker, when weir ends. */
void listen_refuse(struct listen_set *set, size_t slot);
/* The same of every socket: there is no worker at all. */
void listen_refuse_all(struct listen_set *set);
/* Closes our copies of the sockets: workers have their own, and take in who waits. Only
 * listen_drop() is left to do then. */
void listen_stop(struct listen_set *set);

/* ---- questions ---- */

/* The sockets that the worker of a slot listens on, by listener; -1: none, it is handed
 * connections. */
void listen_for_slot(const struct listen_set *set, size_t slot, int fds[LISTENERS_MAX]);
/* The number of each listener, and of its topic. */
void listen_numbers(const struct listen_set *set, uint32_t numbers[LISTENERS_MAX]);
void listen_topics(const struct listen_set *set, uint32_t topics[LISTENERS_MAX]);
/* The numbers of those that the master before us has, and none of our sets; how many. */
size_t listen_left(uint32_t numbers[LISTENERS_MAX]);
/* Which listener has this number? -1: none. */
int listen_find(const struct listen_set *set, uint32_t number);
static inline bool listen_has(const struct listen_set *set, uint32_t number)
{
	return listen_find(set, number) >= 0;
}
/* Has each slot a socket of this listener to itself? */
bool listen_is_slots_own(const struct listen_set *set, size_t listener);
/* The one from which the master accepts, to hand over; -1: they are closed. */
int listen_master_socket(const struct listen_set *set, size_t listener);
/* Is the socket of this listener and slot of `set` also one that `other` listens on? Whoever
 * waits there is for the other's workers then, and nothing may be done to it; else ours have to
 * accept them before they go. */
bool listen_keeps(const struct listen_set *other, const struct listen_set *set, size_t listener,
		  size_t slot);
/* A service manager's: when weir stops, nobody is accepted from it, and no filter left on it;
 * workers close their copy (listener_close, datagram_leave). */
bool listen_borrowed(const struct listen_set *set, size_t listener);

/* ---- an upgrade ---- */

/* A line for each bound, `bound number=... fds=...`, for the next master. False: errno says why. */
bool listen_write(const struct listen_set *set, FILE *manifest);
/* What of it has to survive the exec; how many. */
size_t listen_descriptors(const struct listen_set *set, int fds[LISTEN_DESCRIPTORS]);
/* In the next master, before listen_open(). False: the line is not as it should be, in words; this
 * process is to end then. */
bool listen_read_line(const char *line, char error[CONFIG_ERROR_BYTES]);
/* In the next master: the one before has gone, and so all of it is ours now. What no listener of
 * ours has is closed; who still waits there is given away as listen_take() does. Before this the
 * socket files are the other one's. */
void listen_settle(void (*took)(uint32_t number, int fd));
/* In the one before: the next master has them now. Its socket files are left alone; false
 * takes that back. */
void listen_handed_over(struct listen_set *set, bool handed_over);

#endif
