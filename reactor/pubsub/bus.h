/*
 * bus: a broadcast through shared memory. What one process publishes, all read, in order.
 *
 * Each process has a seat, and each seat a ring that only it writes. A record is published by
 * one store of the ring's head: a writer that is killed at any instruction leaves the ring as
 * it was, or with a whole record more; nothing is locked, and the next one in that seat goes
 * on behind it. Each reader has a cursor of its own in each ring. A writer whose ring is full
 * waits; a reader in its way that has not moved for BUS_PATIENCE_MS is left behind: it loses
 * what is overwritten, finds out by the ring's floor, and counts exactly what it missed.
 *
 * Made by the process that outlives the others, which passes it on by fork, or by exec with
 * bus_attach(): positions, numbers and who sits where go on. A seat is one process' at a time.
 */
#ifndef REACTOR_PUBSUB_BUS_H
#define REACTOR_PUBSUB_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BUS_SEATS_MAX	   512
#define BUS_RING_BYTES	   (1u << 20)
#define BUS_RING_BYTES_MAX (1u << 24)
#define BUS_RECORD_MAX	   16376 /* bytes of a record, without its header */
#define BUS_PATIENCE_MS	   1000
#define BUS_LOOK_MS	   100 /* how often a waiting writer looks */

struct bus_ring;
struct bus_seat;

struct bus {
	char *memory; /* header, seats, rings: sparse, there is address space for all of them */
	size_t mapped_bytes, ring_bytes;
	int fd;			      /* of that memory, closed on exec */
	int doorbells[BUS_SEATS_MAX]; /* eventfds: whoever sits there is woken by it; -1: not here
				       */
};

/* seats: in use to begin with. ring_bytes: a power of two, at least 4 of the longest records.
 * 0 or -errno. */
int bus_open(struct bus *bus, unsigned seats, size_t ring_bytes);
/* One that another process made, whose memory fd is: it is the bus' from now on, where this
 * answers 0. Its doorbells come by bus_add_doorbell(). -EPROTO: no bus as this version makes it. */
int bus_attach(struct bus *bus, int fd);
void bus_close(struct bus *bus);

/* How many seats are in use, from 0 on; it only grows. */
unsigned bus_seats(const struct bus *bus);
/* For the master only: at least n are, and there are doorbells for those here. 0 or -errno. The
 * other processes need the doorbells of new seats (bus_add_doorbell) to wake who sits there. */
int bus_use_seats(struct bus *bus, unsigned n);
/* A doorbell that another process made: fd is the bus' from now on. It is rung once, for what was
 * published here when it was missing. One that is here already stays, and fd is closed. */
void bus_add_doorbell(struct bus *bus, unsigned seat, int fd);

/* Nobody waits for this seat, or wakes it, any more. Its process says so, or whoever reaped it. */
void bus_vacate(struct bus *bus, unsigned seat);
/* Wakes all who sit here. Whoever reaped processes calls it: they may have published and not
 * woken. It costs a call for each seat: once for all that were reaped. */
void bus_ring_all_doorbells(const struct bus *bus);
/* Wakes those who wait for space, or for all to have said all: a seat was left. */
void bus_ring_who_waits(const struct bus *bus);

/* A record as its ring holds it; its bytes follow. */
struct bus_record {
	uint64_t number; /* in its ring */
	uint32_t sender; /* as its writer said */
	uint16_t topic;
	uint16_t bytes;
};

/* A process' seat, as that process sees it. */
struct bus_port {
	struct bus *bus;
	unsigned seat;
	/* as a writer: */
	uint64_t number;  /* of the next record */
	uint64_t limit;	  /* the ring may be written up to here, as far as is known */
	bool unannounced; /* published, and not woken anybody since */
	uint64_t wanted;  /* what it waits for */
	struct {
		uint64_t cursor;
		uint32_t since_ms; /* it has not moved since then */
	} seen[BUS_SEATS_MAX];
	/* as a reader: */
	unsigned ring;		    /* whose turn it is to be read */
	bool holds;		    /* others see it where it stood when that began */
	uint64_t at[BUS_SEATS_MAX]; /* where it stands in each ring */
	uint64_t missed;
	uint64_t expected[BUS_SEATS_MAX]; /* number of the next record of each ring */
	/* at the end: */
	bool looked;
	struct {
		uint32_t looks, since_ms;
	} alive[BUS_SEATS_MAX];
};

/* Takes a seat; it reads what is published from now on. */
void bus_take_seat(struct bus_port *port, struct bus *bus, unsigned seat);
/* A number that nobody in this seat was given before, in this process or another. */
uint32_t bus_serial(struct bus_port *port);

/* ---- writing ---- */

/* Two parts, together at most BUS_RECORD_MAX bytes, become one record. False: the ring is
 * full (bus_wait). */
bool bus_publish(struct bus_port *port, uint16_t topic, uint32_t sender, struct iovec first,
		 struct iovec second);
/* Wakes the readers that sleep, if anything was published since the last call. How many? */
unsigned bus_announce(struct bus_port *port);
/* The ring was full: from now on whoever frees it rings our doorbell. False: it has space by now.
 */
bool bus_wait(struct bus_port *port, uint32_t now_ms);
/* Still waiting: leaves behind whoever has to be, and counts them in *left_behind. True:
 * there is space now. */
bool bus_wait_on(struct bus_port *port, uint32_t now_ms, unsigned *left_behind);

/* This seat publishes nothing more. Wakes those who wait for that. */
void bus_say_last(struct bus_port *port);
/* Nor does anybody else, but for those that have not asked this for BUS_PATIENCE_MS: all ask it
 * each BUS_LOOK_MS at least, from when they begin to drain. */
bool bus_all_said(struct bus_port *port, uint32_t now_ms);

/* ---- reading ---- */

/* The next record, of whichever ring's turn it is. False: there is none. */
bool bus_peek(struct bus_port *port, struct bus_record *record);
/* Copies its bytes, all of them, and moves on. False: it was overwritten meanwhile, peek again. */
bool bus_take(struct bus_port *port, const struct bus_record *record, void *bytes);
/* The next record of this ring, whose turn it is from now on. */
bool bus_peek_in(struct bus_port *port, unsigned ring, struct bus_record *record);
/* As bus_take(), without moving on. */
bool bus_copy(const struct bus_port *port, const struct bus_record *record, void *bytes);
/* Gives other rings their turn, and wakes the writers that wait for space. How many? */
unsigned bus_rest(struct bus_port *port);
/* True: all was read, and whoever publishes next rings our doorbell. False: there is more. */
bool bus_sleep(struct bus_port *port);
/* No doorbell, please. */
void bus_wake_up(struct bus_port *port);

/* ---- reading again ---- */

/* What is published from where it stands now on stays, for whoever reads it again: writers wait,
 * until bus_let_go() or for BUS_PATIENCE_MS. It reads on itself. */
void bus_hold(struct bus_port *port);
void bus_let_go(struct bus_port *port);
/* How far a ring is written. */
uint64_t bus_head(const struct bus *bus, unsigned ring);
/* Makes `again` read once more what port has read from these positions on (from 0 on in rings
 * behind n), by bus_peek_in(), bus_copy() and bus_take(): as far as port->at, which it is not kept
 * from passing. Nobody else sees it. False: some of that is not there any more. */
bool bus_read_again(struct bus_port *again, const struct bus_port *port, const uint64_t marks[],
		    unsigned n);
/* Was that all of it, and nothing overwritten in between? */
bool bus_read_all_again(const struct bus_port *again, const struct bus_port *port);

#endif
