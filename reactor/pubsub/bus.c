#include "reactor/pubsub/bus_parts.h"

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

#define BUS_NAME   "weir-bus"	      /* of the memfd, as /proc/PID/maps shows it */
#define BUS_MAGIC  0x7375622d72696577 /* "weir-bus" */
#define BUS_LAYOUT 1 /* count it up if what lies there, or what a record means, changes */

/* ---- the whole ---- */

static bool ring_bytes_fit(uint64_t bytes)
{
	return bytes >= 4 * BUS_RECORD_MAX && bytes <= BUS_RING_BYTES_MAX &&
	       (bytes & (bytes - 1)) == 0;
}

static size_t bytes_of(size_t ring_bytes)
{
	return sizeof(struct bus_header) +
	       BUS_SEATS_MAX * (sizeof(struct bus_seat) + sizeof(struct bus_ring) + ring_bytes);
}

static void bus_init(struct bus *bus)
{
	*bus = (struct bus){.fd = -1};
	for (unsigned i = 0; i < BUS_SEATS_MAX; i++)
		bus->doorbells[i] = -1;
}

static int bus_map(struct bus *bus, int fd, size_t ring_bytes)
{
	size_t bytes = bytes_of(ring_bytes);

	bus->memory = sys_map(bytes, MAP_SHARED, fd);
	if (!bus->memory)
		return -ENOMEM;
	bus->mapped_bytes = bytes;
	bus->ring_bytes = ring_bytes;
	return 0;
}

int bus_open(struct bus *bus, unsigned seats, size_t ring_bytes)
{
	int error;

	CHECK(seats && seats <= BUS_SEATS_MAX && ring_bytes_fit(ring_bytes));
	bus_init(bus);
	bus->fd = sys_memfd_create(BUS_NAME, MFD_CLOEXEC);
	if (bus->fd < 0)
		return bus->fd;
	error = sys_ftruncate(bus->fd, (off_t)bytes_of(ring_bytes));
	if (!error)
		error = bus_map(bus, bus->fd, ring_bytes);
	if (!error) {
		*header_of(bus) = (struct bus_header){.magic = BUS_MAGIC,
						      .ring_bytes = ring_bytes,
						      .layout = BUS_LAYOUT,
						      .seats_max = BUS_SEATS_MAX};
		error = bus_use_seats(bus, seats);
	}
	if (error)
		bus_close(bus);
	return error;
}

/* Copies what the memory says of itself, and checks the copy, which cannot change. 0 or -errno. */
static int read_header(int fd, struct bus_header *header)
{
	struct stat status;
	void *start;
	int error = sys_fstat(fd, &status);

	if (error)
		return error;
	if (status.st_size < (off_t)sizeof *header)
		return -EPROTO;
	start = sys_map(sizeof *header, MAP_SHARED, fd);
	if (!start)
		return -ENOMEM;
	*header = *(const struct bus_header *)start;
	(void)sys_munmap(start, sizeof *header);
	if (header->magic != BUS_MAGIC || header->layout != BUS_LAYOUT ||
	    header->seats_max != BUS_SEATS_MAX || !header->seats || header->seats > BUS_SEATS_MAX ||
	    !ring_bytes_fit(header->ring_bytes) ||
	    status.st_size != (off_t)bytes_of(header->ring_bytes))
		return -EPROTO;
	return 0;
}

int bus_attach(struct bus *bus, int fd)
{
	struct bus_header header;
	int error = read_header(fd, &header);

	bus_init(bus);
	if (!error)
		error = bus_map(bus, fd, header.ring_bytes);
	if (!error)
		bus->fd = fd;
	return error;
}

void bus_close(struct bus *bus)
{
	for (unsigned i = 0; i < BUS_SEATS_MAX; i++)
		if (bus->doorbells[i] >= 0)
			(void)sys_close(bus->doorbells[i]);
	if (bus->memory)
		(void)sys_munmap(bus->memory, bus->mapped_bytes);
	if (bus->fd >= 0)
		(void)sys_close(bus->fd);
	bus_init(bus);
}

unsigned bus_seats(const struct bus *bus)
{
	return seats_in_use(bus);
}

int bus_use_seats(struct bus *bus, unsigned n)
{
	CHECK(n <= BUS_SEATS_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (bus->doorbells[i] >= 0)
			continue;
		bus->doorbells[i] = sys_eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (bus->doorbells[i] < 0) {
			int error = bus->doorbells[i];

			bus->doorbells[i] = -1;
			return error;
		}
	}
	if (n > LOAD(header_of(bus)->seats))
		STORE(header_of(bus)->seats, n);
	return 0;
}

/* Nobody reads the eventfd: its counter is full only when it was rung 2^64 - 2 times. */
void ring_doorbell(const struct bus *bus, unsigned seat)
{
	uint64_t one = 1;

	if (bus->doorbells[seat] >= 0)
		(void)sys_write(bus->doorbells[seat], &one, sizeof one);
}

void bus_add_doorbell(struct bus *bus, unsigned seat, int fd)
{
	CHECK(seat < BUS_SEATS_MAX && fd >= 0);
	if (bus->doorbells[seat] >= 0)
		(void)sys_close(fd);
	else
		bus->doorbells[seat] = fd;
	ring_doorbell(bus, seat);
}

void bus_ring_all_doorbells(const struct bus *bus)
{
	for (unsigned i = 0, n = seats_in_use(bus); i < n; i++)
		if (LOAD(seat_of(bus, i)->state) != VACANT)
			ring_doorbell(bus, i);
}

/* As in bus_port.c, with sleepers: they store what they wait for, and then look; we have stored,
 * and then look who waits. */
void bus_ring_waiters(const struct bus *bus)
{
	FULL_FENCE();
	for (unsigned i = 0, n = seats_in_use(bus); i < n; i++) {
		const struct bus_seat *seat = seat_of(bus, i);

		if (LOAD(seat->state) == SAID_ALL || LOAD_RELAXED(seat->wants_space))
			ring_doorbell(bus, i);
	}
}

void bus_vacate(struct bus *bus, unsigned seat)
{
	struct bus_seat *own = seat_of(bus, seat);

	STORE(own->state, VACANT);
	STORE(own->wants_doorbell, 0);
	STORE(own->wants_space, 0);
}
