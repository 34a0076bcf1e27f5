#include "reactor/stream/buffers.h"

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

#define CHUNKS_SPARE_BYTES   (4u << 20)
#define SEGMENTS_SPARE_BYTES (64u << 10)

/* At the beginning of a chunk that is cut; its pieces follow. So no piece begins where a whole
 * chunk would, which tells small chunks from whole ones. */
struct cut {
	struct list node; /* of those with a piece left */
	uint64_t taken;	  /* a bit for each piece */
	uint32_t kind;
};

#define PIECES(n)                                                                                  \
	{                                                                                          \
		n, (CHUNK_SIZE - sizeof(struct cut)) / (n) / 8 * 8                                 \
	}
#define WHOLE	       CHUNK_KINDS
#define HEADER_BYTES   sizeof(struct chunk)
#define KIND_BYTES(at) (kinds[at].size - HEADER_BYTES)

static const struct {
	uint32_t pieces, size;
} kinds[CHUNK_KINDS + 1] = {PIECES(64), PIECES(16), PIECES(4), {1, CHUNK_SIZE}};

_Static_assert(HEADER_BYTES == CHUNK_SIZE - CHUNK_BYTES, "a whole chunk fills its size");

/* A child of this process has no use for them (helper.h), and to copy their page tables would hold
 * the loop up: 4 ms for 256 MiB. */
static void keep_from_children(const struct pool *chunks)
{
	(void)sys_madvise(chunks->taken, chunks->mapped_bytes, MADV_DONTFORK);
}

int buffers_open(struct buffers *buffers, size_t size, size_t queues, struct stats *stats)
{
	size_t chunks = size / CHUNK_SIZE;
	int error;

	CHECK(size >= BUFFERS_MIN);
	*buffers = (struct buffers){.stats = stats};
	for (unsigned kind = 0; kind < CHUNK_KINDS; kind++)
		list_init(&buffers->cut[kind]);
	error = pool_open(&buffers->chunks, CHUNK_SIZE, chunks, CHUNKS_SPARE_BYTES);
	if (!error)
		keep_from_children(&buffers->chunks);
	if (!error)
		error = pool_open(&buffers->segments, SEGMENT_BYTES,
				  chunks * SEGMENTS_PER_CHUNK + queues, SEGMENTS_SPARE_BYTES);
	if (error)
		pool_close(&buffers->chunks);
	else
		STATS_SET(stats, chunks_capacity, chunks);
	return error;
}

void buffers_close(struct buffers *buffers)
{
	pool_close(&buffers->chunks);
	pool_close(&buffers->segments);
}

/* ---- whole ones ---- */

static void *whole_take(struct buffers *buffers)
{
	void *whole = pool_take(&buffers->chunks);

	if (whole) {
		STATS_SET(buffers->stats, chunks, buffers->chunks.used);
		STATS_MAX(buffers->stats, chunks_max, buffers->chunks.used);
	}
	return whole;
}

static void whole_give(struct buffers *buffers, void *whole)
{
	pool_give(&buffers->chunks, whole);
	STATS_SET(buffers->stats, chunks, buffers->chunks.used);
}

/* ---- pieces ---- */

static unsigned kind_for(size_t n)
{
	unsigned kind = 0;

	while (n > KIND_BYTES(kind))
		kind++;
	return kind;
}

static uint64_t cut_full(unsigned kind)
{
	return UINT64_MAX >> (64 - kinds[kind].pieces);
}

static struct chunk *cut_take(struct buffers *buffers, unsigned kind)
{
	struct list *left = &buffers->cut[kind];
	struct cut *cut;
	unsigned piece;

	if (list_linked(left)) {
		cut = CONTAINER_OF(left->next, struct cut, node);
	} else {
		cut = whole_take(buffers);
		if (!cut)
			return NULL;
		cut->taken = 0;
		cut->kind = kind;
		list_append(left, &cut->node);
	}
	piece = (unsigned)__builtin_ctzll(~cut->taken);
	cut->taken |= 1ULL << piece;
	if (cut->taken == cut_full(kind))
		list_remove(&cut->node);
	return (struct chunk *)(void *)((char *)(cut + 1) + piece * kinds[kind].size);
}

/* The chunk of which it is a piece; NULL: it is whole. */
static struct cut *cut_of(const struct buffers *buffers, const struct chunk *chunk)
{
	size_t offset = (size_t)((const char *)chunk - buffers->chunks.base) % CHUNK_SIZE;

	return offset ? (struct cut *)(void *)((char *)(uintptr_t)chunk - offset) : NULL;
}

/* One that was full goes to the front: the fullest are filled first, so that the others become
 * free. */
static void cut_give(struct buffers *buffers, struct cut *cut, struct chunk *chunk)
{
	size_t offset = (size_t)((char *)chunk - (char *)(cut + 1));
	size_t piece = offset / kinds[cut->kind].size;

	CHECK(offset % kinds[cut->kind].size == 0 && cut->taken >> piece & 1);
	if (cut->taken == cut_full(cut->kind))
		list_append(buffers->cut[cut->kind].next, &cut->node);
	cut->taken &= ~(1ULL << piece);
	if (cut->taken)
		return;
	list_remove(&cut->node);
	whole_give(buffers, cut);
}

/* ---- chunks ---- */

static struct chunk *chunk_of_kind(struct buffers *buffers, unsigned kind)
{
	struct chunk *chunk = kind == WHOLE ? whole_take(buffers) : cut_take(buffers, kind);

	if (!chunk)
		return NULL;
	chunk->references = 1;
	chunk->used = 0;
	return chunk;
}

struct chunk *chunk_new(struct buffers *buffers)
{
	return chunk_of_kind(buffers, WHOLE);
}

struct chunk *chunk_new_for(struct buffers *buffers, size_t n)
{
	CHECK(n && n <= CHUNK_BYTES);
	return chunk_of_kind(buffers, kind_for(n));
}

void chunk_release(struct buffers *buffers, struct chunk *chunk)
{
	struct cut *cut;

	CHECK(chunk->references);
	if (--chunk->references)
		return;
	cut = cut_of(buffers, chunk);
	if (cut)
		cut_give(buffers, cut, chunk);
	else
		whole_give(buffers, chunk);
}

static unsigned kind_of(const struct buffers *buffers, const struct chunk *chunk)
{
	const struct cut *cut = cut_of(buffers, chunk);

	return cut ? cut->kind : WHOLE;
}

size_t chunk_kind_room(unsigned kind)
{
	CHECK(kind <= WHOLE);
	return KIND_BYTES(kind);
}

size_t chunk_room(const struct buffers *buffers, const struct chunk *chunk)
{
	return KIND_BYTES(kind_of(buffers, chunk));
}

size_t chunk_weight(const struct buffers *buffers, const struct chunk *chunk)
{
	return CHUNK_SIZE / kinds[kind_of(buffers, chunk)].pieces;
}

bool chunk_fits(const struct buffers *buffers, const struct chunk *chunk, size_t n)
{
	return kind_of(buffers, chunk) == kind_for(n);
}

size_t buffers_cost(const struct buffers *buffers, size_t n)
{
	unsigned kind = kind_for(n);

	return kind == WHOLE || !list_linked(&buffers->cut[kind]);
}
