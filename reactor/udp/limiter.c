#include "reactor/udp/limiter.h"

#include <stddef.h>
#include <string.h>

#include "reactor/base/address.h"
#include "reactor/base/check.h"
#include "reactor/base/hash.h"
#include "reactor/base/sys.h"

#define SETS	     16384
#define WAYS	     4 /* places that an address may have: 32 bytes, of one cache line */
#define PLACES_BYTES (SETS * WAYS * sizeof(uint64_t))

/* A place: a tag of its address, and the time until which what was taken is served, in ticks. */
#define TICKS_PER_US 16 /* ticks in a microsecond */
#define TIME_BITS    52 /* of ticks: nine years */
#define TIME_MASK    ((UINT64_C(1) << TIME_BITS) - 1)

/* Behind the places: what all processes that have the table go by. */
struct heading {
	uint64_t magic; /* of this layout */
	uint64_t seed, begun_us;
};

#define MAGIC	    UINT64_C(0x7765697272617431)
#define TABLE_BYTES (PLACES_BYTES + sizeof(struct heading))

static struct heading *heading_of(const struct limiter *limiter)
{
	return (struct heading *)(void *)((char *)limiter->places + PLACES_BYTES);
}

void limiter_set_rate(struct limiter *limiter, uint64_t rate)
{
	CHECK(rate && rate <= LIMITER_RATE_MAX);
	limiter->interval = (UINT64_C(1000000) * TICKS_PER_US + rate - 1) / rate;
	limiter->ahead = limiter->interval * rate;
}

int limiter_open(struct limiter *limiter, uint64_t rate)
{
	struct heading heading = {.magic = MAGIC, .begun_us = sys_clock_us()};
	int error;

	*limiter = (struct limiter){.fd = sys_memfd_create("weir-limiter", MFD_CLOEXEC)};
	limiter_set_rate(limiter, rate);
	if (limiter->fd < 0)
		return limiter->fd;
	error = sys_ftruncate(limiter->fd, TABLE_BYTES);
	if (!error && !(limiter->places = sys_map(TABLE_BYTES, MAP_SHARED, limiter->fd)))
		error = -ENOMEM;
	if (error) {
		(void)sys_close(limiter->fd);
		return error;
	}
	heading.seed = heading.begun_us;
	(void)sys_getrandom(&heading.seed, sizeof heading.seed,
			    GRND_NONBLOCK); /* else it stays the clock's */
	*heading_of(limiter) = heading;
	limiter->seed = heading.seed;
	limiter->begun_us = heading.begun_us;
	return 0;
}

int limiter_attach(struct limiter *limiter, int fd, uint64_t rate)
{
	struct stat status;
	int error = sys_fstat(fd, &status);

	if (error)
		return error;
	if (!S_ISREG(status.st_mode) || status.st_size != (off_t)TABLE_BYTES)
		return -EPROTO;
	*limiter = (struct limiter){.fd = fd, .places = sys_map(TABLE_BYTES, MAP_SHARED, fd)};
	if (!limiter->places)
		return -ENOMEM;
	if (heading_of(limiter)->magic != MAGIC) {
		(void)sys_munmap(limiter->places, TABLE_BYTES);
		limiter->places = NULL;
		return -EPROTO;
	}
	limiter_set_rate(limiter, rate);
	limiter->seed = heading_of(limiter)->seed;
	limiter->begun_us = heading_of(limiter)->begun_us;
	return 0;
}

void limiter_close(struct limiter *limiter)
{
	if (!limiter->places)
		return;
	(void)sys_munmap(limiter->places, TABLE_BYTES);
	(void)sys_close(limiter->fd);
	limiter->places = NULL;
}

static uint64_t hash_of(const struct limiter *limiter, const struct sockaddr *peer)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
	unsigned char address[16] = {0};
	uint64_t network = 0;

	(void)address_bytes(peer, address);
	/* An address of IPv4 with the ffff before it: no network of IPv6 begins like that. */
	memcpy(&network, address + (memcmp(address, mapped, sizeof mapped) == 0 ? 8 : 0), 8);
	return hash_mix(network ^ limiter->seed);
}

/* Of the places that an address may have: its own; else a free one; else the next to be free. */
static uint64_t *place_of(uint64_t *set, uint64_t tag, uint64_t now)
{
	uint64_t *best = set;

	for (int way = 0; way < WAYS; way++) {
		uint64_t value = __atomic_load_n(&set[way], __ATOMIC_RELAXED);

		if (value >> TIME_BITS == tag && (value & TIME_MASK) > now)
			return &set[way];
		if ((value & TIME_MASK) < (__atomic_load_n(best, __ATOMIC_RELAXED) & TIME_MASK))
			best = &set[way];
	}
	return best;
}

bool limiter_take(struct limiter *limiter, const struct sockaddr *peer, uint64_t now_us)
{
	uint64_t hash = hash_of(limiter, peer), tag = hash >> TIME_BITS;
	uint64_t *set = &limiter->places[hash % SETS * WAYS];
	/* Time begins at 1, so that a place of 0 is free. */
	uint64_t now = (now_us - limiter->begun_us + 1) * TICKS_PER_US & TIME_MASK;

	for (;;) {
		uint64_t *place = place_of(set, tag, now);
		uint64_t value = __atomic_load_n(place, __ATOMIC_RELAXED);
		uint64_t busy = value & TIME_MASK, next = busy > now ? busy : now;

		next += limiter->interval;
		if (next > now + limiter->ahead)
			return false;
		if (__atomic_compare_exchange_n(place, &value, tag << TIME_BITS | next, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	}
}
