/*
 * seqpacket: one end of a SOCK_SEQPACKET pair over which two processes say messages.
 *
 * The kernel has room for so many messages that the other side has not read, and for so many
 * descriptors under way. A message that it refuses is kept here, with copies of its
 * descriptors, and goes when there is room again, before any that comes later: what was sent
 * arrives, once and in order, unless the other side ends. A turn reads a bounded number: one
 * if messages come one by one, so that none is read in vain, and more if they wait.
 *
 * An end that answers should be `patient`: it does not read while an answer of its own is kept,
 * so that it never keeps more than it said in one turn. Only one of the two ends may be, or
 * both would wait for one another. Nothing here blocks. One message can be kept whatever memory is
 * left: there is a place for it from the beginning.
 */
#ifndef REACTOR_LOOP_SEQPACKET_H
#define REACTOR_LOOP_SEQPACKET_H

#include <stdbool.h>
#include <stddef.h>

#include "reactor/base/descriptor.h"
#include "reactor/loop/loop.h"

#define SEQPACKET_BYTES_MAX   512 /* of a message that a turn reads; a longer one is cut */
#define SEQPACKET_PLACE_BYTES 1024
#define SEQPACKET_TURN_MAX    64   /* messages in a turn, or descriptors beside them */
#define SEQPACKET_KEPT_MAX    4096 /* messages: far more than one change tells one worker */

struct seqpacket;
struct seqpacket_kept;

struct seqpacket_owner {
	/* It may close this end. Descriptors that it wants it sets to -1; the rest is closed. */
	void (*took)(struct seqpacket *end, const void *bytes, size_t n, int *fds, size_t fds_n);
	/* The other side has gone, and all that it said was taken. This end is closed. */
	void (*ended)(struct seqpacket *end);
	/* Something was refused or kept, and there is room again. May be NULL. */
	void (*has_room)(struct seqpacket *end);
	/* Descriptors do not come here, and rights_refuse() was called for fd: the end is closed
	 * if one came all the same. */
	bool bare;
};

struct seqpacket {
	struct source source; /* fd -1: closed */
	struct loop *loop;
	const struct seqpacket_owner *owner;
	struct seqpacket_kept *first, *last;
	size_t kept_n;
	uint64_t poll_number; /* of the last turn that read all that it might */
	unsigned batch;	      /* how much a turn may read */
	unsigned streak;      /* so many passes in a row had such a turn */
	bool patient;
	bool awaits_room;
	bool spare_is_used;
	_Alignas(16) unsigned char spare[SEQPACKET_PLACE_BYTES]; /* of one that is kept */
};

/* Not open: fd is -1. */
void seqpacket_init(struct seqpacket *end);
/* Of one that is not open, or is all 0: fd, which is non-blocking, is this end's where it answers
 * 0; else -errno. */
int seqpacket_open(struct seqpacket *end, struct loop *loop, int fd, bool patient,
		   const struct seqpacket_owner *owner);
/* In any state. What is kept is forgotten. */
void seqpacket_close(struct seqpacket *end);
static inline bool seqpacket_is_open(const struct seqpacket *end)
{
	return end->source.fd >= 0;
}

/* 0: it is on its way, or kept. -errno: the other side has gone, or it can't be kept. The
 * descriptors stay the caller's. */
int seqpacket_send(struct seqpacket *end, const void *bytes, size_t n, const int *fds,
		   size_t fds_n);
/* The same, but nothing is kept. -EAGAIN: not now; has_room() tells when. */
int seqpacket_try(struct seqpacket *end, const void *bytes, size_t n, const int *fds, size_t fds_n);
/* Is something said here that has not gone yet? */
static inline bool seqpacket_keeps(const struct seqpacket *end)
{
	return end->first != NULL;
}

/* ---- for those with a turn of their own ---- */

/* Tries again what is kept. False: some of it still is. */
bool seqpacket_flush(struct seqpacket *end);
/* Takes one message. False: there is none, or the end is closed now. */
bool seqpacket_read(struct seqpacket *end);

#endif
