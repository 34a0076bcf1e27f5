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

/* What the kernel calls the memory of the bus: the same in all processes that have it. */
static uint64_t bus_id(void)
{
	struct stat status;

	return fstat(seats.bus.fd, &status) < 0 ? 0 : (uint64_t)status.st_ino;
}

/* Workers that are there learn how to wake those who will sit in the new seats. */
static void tell_bells(unsigned from, unsigned n)
{
	for (unsigned many; from < n; from += many) {
		struct note note = {.kind = NOTE_BELLS, .count = from};

		many = n - from < DESCRIPTORS_MAX ? n - from : DESCRIPTORS_MAX;
		EACH_GENERATION (generation)
			EACH_SLOT (slot, generation)
				if (slot->pid)
					(void)slot_pass(slot, &note, &seats.bus.bells[from], many);
	}
}

/* Not as the shared memory has it: a master that came to nothing may have used more. */
static unsigned bells_known(void)
{
	unsigned n = 0;

	while (n < BUS_SEATS_MAX && seats.bus.bells[n] >= 0)
		n++;
	return n;
}

int seats_use(const struct config *config, unsigned n)
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
	before = bells_known();
	if (n < bus_seats(&seats.bus))
		n = bus_seats(&seats.bus);
	error = bus_use_seats(&seats.bus, n);
	if (!error)
		tell_bells(before, n);
	return error;
}

/* ---- an upgrade ---- */

int seats_bequeath(const struct config *config, struct upgrade_estate *estate)
{
	int error;

	estate->bus = -1;
	if (!seats.owner->bus)
		return 0;
	error = seats_use(config, 0); /* there are bells of all that are used */
	if (error)
		return error;
	estate->bus = seats.bus.fd;
	estate->bells_n = bus_seats(&seats.bus);
	memcpy(estate->bells, seats.bus.bells, estate->bells_n * sizeof *estate->bells);
	return 0;
}

/* It stays the bell of that seat, whatever becomes of the next master. */
void seats_add_bell(unsigned seat, int fd)
{
	int bell = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (bell < 0 || !seats.owner->bus || seat != bells_known()) {
		if (bell >= 0)
			(void)close(bell);
		return;
	}
	bus_add_bell(&seats.bus, seat, bell);
	tell_bells(seat, seat + 1);
}

void seats_inherit(const struct upgrade_estate *estate, unsigned n)
{
	unsigned before;

	if (estate->bus < 0)
		return;
	if (bus_attach(&seats.bus, estate->bus)) {
		log_warn("the bus of the master before this one is of another version: its chats "
			 "stay there");
		return;
	}
	for (unsigned i = 0; i < estate->bells_n; i++)
		bus_add_bell(&seats.bus, i, estate->bells[i]);
	seats.owner->bus = &seats.bus;
	seats.owner->bus_id = bus_id();
	before = bus_seats(&seats.bus);
	if (bus_use_seats(&seats.bus, n))
		die("shared memory for the bus");
	for (unsigned seat = before; seat < bus_seats(&seats.bus); seat++)
		upgrade_tell_bell(seat, seats.bus.bells[seat]);
}

void seats_init(struct generation_owner *owner)
{
	seats.owner = owner;
}
