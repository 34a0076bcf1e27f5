/*
 * proxy_pieces: a header of the PROXY protocol, read whole and by each of its prefixes.
 *
 * Each text is placed twice beside a page that nobody may touch: its last byte just before it, and
 * its first byte just behind it. A test calls open_room() first.
 */
#ifndef TESTS_PROTOCOL_PROXY_PIECES_H
#define TESTS_PROTOCOL_PROXY_PIECES_H

#include <string.h>
#include <sys/mman.h>

#include "protocol/proxy/proxy_parse.h"
#include "tests/support/harness.h"

#define SIGNATURE      "\r\n\r\n\0\r\nQUIT\n" /* that begins version 2 */
#define BYTES(literal) literal, sizeof(literal) - 1

#define ROOM_BYTES 4096
#define PAGE_BYTES 4096

static unsigned char *room; /* ROOM_BYTES */

static inline void open_room(void)
{
	unsigned char *all =
	    mmap(NULL, ROOM_BYTES + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(all, MAP_FAILED);
	room = all + PAGE_BYTES;
	ck_assert_int_eq(mprotect(room, ROOM_BYTES, PROT_READ | PROT_WRITE), 0);
}

static inline bool same(const struct proxy_header *a, const struct proxy_header *b)
{
	return a->known == b->known && a->rest == b->rest &&
	       (!a->known || (address_is_same(&a->source, &b->source) &&
			      address_is_same(&a->destination, &b->destination)));
}

/* As ck_assert(), which tells libcheck of each success too, and that costs a system call. */
#define EXPECT(what)                                                                               \
	do {                                                                                       \
		if (!(what))                                                                       \
			ck_abort_msg("%s", #what);                                                 \
	} while (0)

/* At both ends of the room, and whatever was in *header before. */
static inline int parse(const void *bytes, size_t n, struct proxy_header *header)
{
	struct proxy_header again;
	int answer, answer_again;

	EXPECT(n <= ROOM_BYTES);
	memset(header, 0xee, sizeof *header);
	answer = proxy_parse(memcpy(room + ROOM_BYTES - n, bytes, n), n, header);
	memset(&again, 0x11, sizeof again);
	answer_again = proxy_parse(memcpy(room, bytes, n), n, &again);
	EXPECT(answer == answer_again);
	EXPECT(answer >= -PROXY_V2_TOO_SHORT && answer <= PROXY_HEADER_MAX);
	EXPECT(answer <= 0 || ((size_t)answer <= n && same(header, &again)));
	EXPECT(answer || n < PROXY_HEADER_MAX);
	return answer;
}

/* The answer to the bytes, which must be 0 for each shorter piece that has at least `from` of them,
 * up to one that decides (*decided: how many it has; n + 1: none), and then always the same. */
static inline int parse_in_pieces(const unsigned char *bytes, size_t n, size_t from,
				  size_t *decided)
{
	struct proxy_header whole, part;
	int answer = parse(bytes, n, &whole);

	*decided = n + 1;
	for (size_t i = from; i <= n; i++) {
		int of_part = parse(bytes, i, &part);

		if (of_part && i < *decided)
			*decided = i;
		EXPECT(of_part == (i < *decided ? 0 : answer));
		EXPECT(of_part <= 0 || same(&part, &whole));
	}
	EXPECT(answer <= 0 || *decided == (size_t)answer);
	return answer;
}

#endif
