/*
 * bus: a broadcast through shared memory. What one process publishes, all read, in order.
 *
 * Each process has a seat, and each seat a ring that only it writes. A record is published by
 * one store of the ring's head: a writer that is killed at any instruction leaves the ring as
 * it was, or with a whole record more; nothing is locked, and the next process in that seat
 * goes on behind it. Each reader has a cursor of its own in each ring. A writer whose ring is full
 * waits; a reader in its way that has not moved for BUS_PATIENCE_MS is left behind: it loses
 * what is overwritten, finds out by the ring's floor, and counts exactly what it missed.
 *
 * Made by the process that outlives the others, which passes it on by fork, or by exec with
 * bus_attach(): positions, numbers and who sits where go on. A seat belongs to one process at a
 * time.
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
	int doorbells[BUS_SEATS_MAX]; /* eventfds that wake whoever sits there; -1: not here */
};

/* seats: how many are in use to begin with. ring_bytes: a power of two, at least 4 of the longest
 * records. 0 or -errno. */
int bus_open(struct bus *bus, unsigned seats, size_t ring_bytes);
/* Opens a bus that another process made; fd is its memory, which the bus owns if this returns 0.
 * Its doorbells come by bus_add_doorbell(). Or -errno; -EPROTO: no bus of this version's layout. */
int bus_attach(struct bus *bus, int fd);
void bus_close(struct bus *bus);

/* How many seats are in use, from 0 on; it only grows. */
unsigned bus_seats(const struct bus *bus);
/* For the master only: from now on at least n are in use, and have doorbells here. 0 or -errno.
 * Other processes need the doorbells of new seats (bus_add_doorbell) to wake who sits there. */
int bus_use_seats(struct bus *bus, unsigned n);
/* Takes over fd, a doorbell that another process made, and rings it once, for what was published
 * here while it was missing. If there already is one here, that stays, and fd is closed. */
void bus_add_doorbell(struct bus *bus, unsigned seat, int fd);

/* Nobody waits for this seat, or wakes it, any more. For its process, or whoever reaped that. */
void bus_vacate(struct bus *bus, unsigned seat);
/* Wakes the processes in all seats. For whoever reaped processes, because these may have published
 * and woken nobody. It costs a system call for each seat: once for all that were reaped. */
void bus_ring_all_doorbells(const struct bus *bus);
/* After a seat was left: wakes whoever waits for space, or for all to have said all. */
void bus_ring_waiters(const struct bus *bus);

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
	uint64_t wanted;  /* how far it last wanted to write */
	struct {
		uint64_t cursor;
		uint32_t since_ms; /* it has not moved since then */
	} seen[BUS_SEATS_MAX];
	/* as a reader: */
	unsigned ring;		    /* the one whose turn it is to be read */
	bool holds;		    /* bus_hold(): others see it where it stood then */
	uint64_t at[BUS_SEATS_MAX]; /* where it stands in each ring */
	uint64_t missed;
	uint64_t expected[BUS_SEATS_MAX]; /* number of the next record of each ring */
	/* for bus_all_said(): */
	bool looked; /* it was called before */
	struct {
		uint32_t looks, since_ms;
	} alive[BUS_SEATS_MAX];
};

/* Takes a seat; it reads what is published from now on. */
void bus_take_seat(struct bus_port *port, struct bus *bus, unsigned seat);
/* A number that was never given in this seat before, by this process or another. */
uint32_t bus_serial(struct bus_port *port);

/* ---- writing ---- */

/* Two parts, together at most BUS_RECORD_MAX bytes, become one record. False: the ring is
 * full (bus_wait). */
bool bus_publish(struct bus_port *port, uint16_t topic, uint32_t sender, struct iovec first,
		 struct iovec second);
/* Wakes the readers that sleep, if anything was published since the last call. Returns how many. */
unsigned bus_announce(struct bus_port *port);
/* The ring was full: from now on whoever frees it rings our doorbell. False: it has space by now.
 */
bool bus_wait(struct bus_port *port, uint32_t now_ms);
/* While it waits: leaves behind the readers that have to be, and counts them in *left_behind. True:
 * there is space now. */
bool bus_wait_on(struct bus_port *port, uint32_t now_ms, unsigned *left_behind);

/* This seat publishes nothing more. Wakes those who wait for that. */
void bus_say_last(struct bus_port *port);
/* Nor does any other seat? Those that have not asked this for BUS_PATIENCE_MS do not count: all ask
 * it every BUS_LOOK_MS at least, from when they begin to drain. */
bool bus_all_said(struct bus_port *port, uint32_t now_ms);

/* ---- reading ---- */

/* The next record, of whichever ring's turn it is. False: there is none. */
bool bus_peek(struct bus_port *port, struct bus_record *record);
/* Copies its bytes, all of them, and moves on. False: it was overwritten meanwhile, peek again. */
bool bus_take(struct bus_port *port, const struct bus_record *record, void *bytes);
/* The next record of this ring, whose turn it is from now on. */
bool bus_peek_in(struct bus_port *port, unsigned ring, struct bus_record *record);
/* Like bus_take(), without moving on. */
bool bus_copy(const struct bus_port *port, const struct bus_record *record, void *bytes);
/* Gives other rings their turn, and wakes the writers that wait for space. Returns how many. */
unsigned bus_rest(struct bus_port *port);
/* True: all was read, and whoever publishes next rings our doorbell. False: there is more. */
bool bus_sleep(struct bus_port *port);
/* Asks for no doorbell any more. */
void bus_wake_up(struct bus_port *port);

/* ---- reading again ---- */

/* Keeps what is published behind where it stands now, so that it can be read again: writers wait
 * for that, until bus_let_go() or for BUS_PATIENCE_MS. The port itself reads on. */
void bus_hold(struct bus_port *port);
void bus_let_go(struct bus_port *port);
/* How far a ring is written. */
uint64_t bus_head(const struct bus *bus, unsigned ring);
/* Makes `again` a port that reads once more, with bus_peek_in(), bus_copy() and bus_take(), what
 * port has read from these marks on (from 0 on in rings from n on). It is to stop at port->at:
 * nothing else stops it there. No other process sees this port. False: some of that is gone. */
bool bus_read_again(struct bus_port *again, const struct bus_port *port, const uint64_t marks[],
		    unsigned n);
/* Has it read all of that, and was nothing overwritten in between? */
bool bus_read_all_again(const struct bus_port *again, const struct bus_port *port);

#endif
