/*
 * seqpacket: one end of a SOCK_SEQPACKET pair over which two processes exchange messages.
 *
 * The kernel has room for only so many unread messages, and for so many descriptors in flight.
 * A message that it refuses is kept here, with copies of its descriptors, and sent when there is
 * room again, before any later one: what was sent arrives, once and in order, unless the other
 * side ends. A turn reads a bounded number: one if messages come one by one, so that no read
 * finds nothing, and more if they queue up. Nothing here blocks.
 *
 * An end that answers should be `patient`: it does not read while an answer of its own is kept,
 * so that it never keeps more than the answers of one turn. Only one of the two ends may be
 * patient, or each could wait for the other. One message can be kept even if no memory is left:
 * there is a place for it from the beginning.
 */
#ifndef REACTOR_LOOP_SEQPACKET_H
#define REACTOR_LOOP_SEQPACKET_H

#include <stdbool.h>
#include <stddef.h>

#include "reactor/base/descriptor.h"
#include "reactor/loop/loop.h"

#define SEQPACKET_BYTES_MAX   512 /* of a message that a turn reads; a longer one is cut */
#define SEQPACKET_PLACE_BYTES 1024
#define SEQPACKET_TURN_MAX    64   /* messages in a turn; one with descriptors counts as so many */
#define SEQPACKET_KEPT_MAX    4096 /* messages: far more than one change sends to a worker */

struct seqpacket;
struct seqpacket_kept;

struct seqpacket_owner {
	/* A message has come. May close this end. Sets the descriptors that it keeps to -1; the
	 * others are closed after it. */
	void (*took)(struct seqpacket *end, const void *bytes, size_t n, int *fds, size_t fds_n);
	/* The other side has gone, and all that it sent was taken. This end is closed by now. */
	void (*ended)(struct seqpacket *end);
	/* Something was refused or kept, and there is room again. May be NULL. */
	void (*has_room)(struct seqpacket *end);
	/* No descriptors are meant to come, and rights_refuse() was called for fd: if one comes all
	 * the same, the end is closed. */
	bool bare;
};

struct seqpacket {
	struct source source; /* fd -1: closed */
	struct loop *loop;
	const struct seqpacket_owner *owner;
	struct seqpacket_kept *first, *last;
	size_t kept_n;
	uint64_t poll_number; /* of the last turn that read */
	unsigned batch;	      /* how much a turn may read */
	unsigned streak;      /* how many passes in a row had a turn that used up its batch */
	bool patient;
	bool awaits_room;
	bool spare_is_used;
	_Alignas(16) unsigned char spare[SEQPACKET_PLACE_BYTES]; /* for one that is kept */
};

/* Makes an end that is not open: its fd is -1. */
void seqpacket_init(struct seqpacket *end);
/* end is not open, or is all 0; fd is non-blocking. 0: the end owns fd now; or -errno: the caller
 * still does. */
int seqpacket_open(struct seqpacket *end, struct loop *loop, int fd, bool patient,
		   const struct seqpacket_owner *owner);
/* May be called in any state. Messages that are kept are lost. */
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
/* Is a message kept that has not been sent yet? */
static inline bool seqpacket_keeps(const struct seqpacket *end)
{
	return end->first != NULL;
}

/* ---- for owners that send or read in turns of their own ---- */

/* Tries again what is kept. False: some of it still is. */
bool seqpacket_flush(struct seqpacket *end);
/* Takes one message. False: there is none, or the end is closed now. */
bool seqpacket_read(struct seqpacket *end);

#endif
