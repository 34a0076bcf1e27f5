#include "master/bus_setup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/base/log.h"

static struct {
	struct generation_owner *owner;
	struct bus bus; /* the owner's, once there is one */
} seats;

/* The inode of the bus' memory names the bus: it is the same in all processes that have it. */
static uint64_t bus_id(void)
{
	struct stat status;

	return fstat(seats.bus.fd, &status) < 0 ? 0 : (uint64_t)status.st_ino;
}

/* Workers that are there learn how to wake the workers that will have the new seats. */
static void tell_doorbells(unsigned from, unsigned n)
{
	for (unsigned many; from < n; from += many) {
		struct ipc_message message = {.kind = IPC_DOORBELLS, .count = from};

		many = n - from < DESCRIPTORS_MAX ? n - from : DESCRIPTORS_MAX;
		EACH_GENERATION (generation)
			EACH_SLOT (slot, generation)
				if (slot->pid)
					(void)slot_pass(slot, &message, &seats.bus.doorbells[from],
							many);
	}
}

/* Counted here and not read from the shared memory, because a next master that failed may have used
 * more. */
static unsigned doorbells_known(void)
{
	unsigned n = 0;

	while (n < BUS_SEATS_MAX && seats.bus.doorbells[n] >= 0)
		n++;
	return n;
}

int bus_setup_use(const struct config *config, unsigned n)
{
	unsigned before;
	int error;

	if (!seats.owner->bus && !config_has_topic(config))
		return 0;
	if (!seats.owner->bus) {
		error = bus_open(&seats.bus, n, BUS_RING_BYTES);
		if (error)
			return error;
		seats.owner->bus = &seats.bus;
		seats.owner->bus_id = bus_id();
		return 0;
	}
	before = doorbells_known();
	if (n < bus_seats(&seats.bus))
		n = bus_seats(&seats.bus);
	error = bus_use_seats(&seats.bus, n);
	if (!error)
		tell_doorbells(before, n);
	return error;
}

/* ---- an upgrade ---- */

int bus_setup_export(const struct config *config, struct handover_state *handover)
{
	int error;

	handover->bus = -1;
	if (!seats.owner->bus)
		return 0;
	error = bus_setup_use(config, 0); /* all seats in use have doorbells by now */
	if (error)
		return error;
	handover->bus = seats.bus.fd;
	handover->doorbells_n = bus_seats(&seats.bus);
	memcpy(handover->doorbells, seats.bus.doorbells,
	       handover->doorbells_n * sizeof *handover->doorbells);
	return 0;
}

/* It stays the doorbell of that seat, whatever becomes of the next master. */
void bus_setup_add_doorbell(unsigned seat, int fd)
{
	int doorbell = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (doorbell < 0 || !seats.owner->bus || seat != doorbells_known()) {
		if (doorbell >= 0)
			(void)close(doorbell);
		return;
	}
	bus_add_doorbell(&seats.bus, seat, doorbell);
	tell_doorbells(seat, seat + 1);
}

void bus_setup_inherit(const struct handover_state *handover, unsigned n)
{
	unsigned before;

	if (handover->bus < 0)
		return;
	if (bus_attach(&seats.bus, handover->bus)) {
		log_warn("the bus of the master before this one is of another version: its chats "
			 "stay there");
		return;
	}
	for (unsigned i = 0; i < handover->doorbells_n; i++)
		bus_add_doorbell(&seats.bus, i, handover->doorbells[i]);
	seats.owner->bus = &seats.bus;
	seats.owner->bus_id = bus_id();
	before = bus_seats(&seats.bus);
	if (bus_use_seats(&seats.bus, n))
		die("shared memory for the bus");
	for (unsigned seat = before; seat < bus_seats(&seats.bus); seat++)
		upgrade_tell_doorbell(seat, seats.bus.doorbells[seat]);
}

void bus_setup_init(struct generation_owner *owner)
{
	seats.owner = owner;
}
