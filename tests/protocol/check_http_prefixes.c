/*
 * http_parse on every prefix of every request of the corpus, and on thousands of random changes of
 * them (a hundred thousand in check-long).
 *
 * Each text is placed next to a page that can't be accessed: once it ends just before the page,
 * once it begins just after it. A prefix is refused like the whole text, or incomplete; what is
 * read of it is the beginning of what is read of the whole.
 */
#include <sys/mman.h>

#include "tests/support/harness.h"
#include "tests/protocol/http_corpus.h"
#include "tests/protocol/http_read.h"

#define ROOM_BYTES 65536
#define PAGE_BYTES 4096

static unsigned char *room; /* ROOM_BYTES */

static void open_room(void)
{
	unsigned char *all =
	    mmap(NULL, ROOM_BYTES + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(all, MAP_FAILED);
	room = all + PAGE_BYTES;
	ck_assert_int_eq(mprotect(room, ROOM_BYTES, PROT_READ | PROT_WRITE), 0);
}

static struct http_read read_at_end(const void *bytes, size_t n)
{
	ck_assert_uint_le(n, ROOM_BYTES);
	return http_read_all(memcpy(room + ROOM_BYTES - n, bytes, n), n);
}

static struct http_read read_at_beginning(const void *bytes, size_t n)
{
	ck_assert_uint_le(n, ROOM_BYTES);
	return http_read_all(memcpy(room, bytes, n), n);
}

static bool same(const struct http_read *a, const struct http_read *b)
{
	return a->status == b->status && a->at == b->at && a->inside == b->inside &&
	       strcmp(a->reads, b->reads) == 0;
}

static bool may_begin(const struct http_read *part, const struct http_read *whole)
{
	if (strncmp(part->reads, whole->reads, part->reads_n) != 0 || part->at > whole->at)
		return false;
	return !part->status || same(part, whole);
}

static const char *is_wrong(const struct http_entry *entry, const struct http_read *whole)
{
	if (strcmp(whole->reads, entry->reads) != 0)
		return "other requests are read";
	if (whole->status != (entry->kind == ENTRY_GOOD ? 0 : entry->status))
		return "another status";
	if (entry->kind == ENTRY_CUT && !whole->inside)
		return "it was refused before its body";
	if (entry->kind == ENTRY_GOOD && whole->at != entry->n &&
	    !strstr(entry->name, "is not read"))
		return "not all of it is read";
	return NULL;
}

START_TEST(the_corpus_is_read_as_it_says)
{
	unsigned kinds[3] = {0};

	open_room();
	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		const struct http_entry *entry = &http_corpus[i];
		struct http_read whole = read_at_end(entry->bytes, entry->n);
		const char *why = is_wrong(entry, &whole);

		ck_assert_msg(!why, "%s: %s: %d '%s'", entry->name, why, whole.status, whole.reads);
		kinds[entry->kind]++;
	}
	ck_assert_uint_ge(kinds[ENTRY_GOOD], 40);
	ck_assert_uint_ge(kinds[ENTRY_BAD] + kinds[ENTRY_CUT], 150);
	(void)printf(
	    "FIGURE requests of the corpus: %u good, %u malformed, %u malformed in a body\n",
	    kinds[ENTRY_GOOD], kinds[ENTRY_BAD], kinds[ENTRY_CUT]);
}
END_TEST

START_TEST(names_of_the_corpus_are_its_own)
{
	for (size_t i = 0; i < HTTP_CORPUS_N; i++)
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(http_corpus[i].name, http_corpus[k].name);
}
END_TEST

/* Each prefix is read at both places, before and after such a page. */
START_TEST(no_prefix_is_read_otherwise)
{
	unsigned long prefixes = 0;

	open_room();
	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		const struct http_entry *entry = &http_corpus[i];
		struct http_read whole = read_at_end(entry->bytes, entry->n);

		for (size_t n = 0; n <= entry->n; n++, prefixes++) {
			struct http_read part = read_at_end(entry->bytes, n);
			struct http_read again = read_at_beginning(entry->bytes, n);

			ck_assert_msg(may_begin(&part, &whole), "%s: %zu of %zu bytes: %d '%s'",
				      entry->name, n, entry->n, part.status, part.reads);
			ck_assert_msg(same(&part, &again), "%s: %zu of %zu bytes, elsewhere",
				      entry->name, n, entry->n);
		}
	}
	(void)printf("FIGURE prefixes read: %lu\n", prefixes);
}
END_TEST

/* Input is refused as soon as the deciding byte has come, whatever bytes follow. */
START_TEST(what_follows_changes_nothing)
{
	static const char *const tails[] = {"",	       "\r\n\r\n",  "\n",
					    ": x\r\n", "0\r\n\r\n", "\0\0\0\0\0\0\0\0"};
	unsigned char bytes[ROOM_BYTES];

	open_room();
	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		const struct http_entry *entry = &http_corpus[i];
		size_t n = 0;

		if (entry->kind == ENTRY_GOOD)
			continue;
		while (!read_at_end(entry->bytes, n).status)
			ck_assert_uint_le(++n, entry->n);
		for (size_t k = 0; k < sizeof tails / sizeof *tails; k++) {
			size_t tail_n = k == 5 ? 8 : strlen(tails[k]);

			memcpy(bytes, entry->bytes, n);
			memcpy(bytes + n, tails[k], tail_n);
			ck_assert_msg(read_at_end(bytes, n + tail_n).status == entry->status,
				      "%s: %zu bytes and tail %zu", entry->name, n, k);
		}
	}
}
END_TEST

/* ---- random input ---- */

struct input {
	unsigned char bytes[ROOM_BYTES];
	size_t n;
};

static void splice(struct input *input, size_t at, size_t cut, const void *bytes, size_t n)
{
	if (at > input->n)
		at = input->n;
	if (cut > input->n - at)
		cut = input->n - at;
	if (input->n - cut + n > sizeof input->bytes)
		return;
	memmove(input->bytes + at + n, input->bytes + at + cut, input->n - at - cut);
	memcpy(input->bytes + at, bytes, n);
	input->n += n - cut;
}

static void mutate(struct input *input, uint64_t *random)
{
	static const char *const words[] = {"\r\n",	 "\r",
					    "\n",	 "\r\n\r\n",
					    " ",	 "\t",
					    ":",	 ",",
					    "0",	 "Host: a\r\n",
					    "%",	 "[::1]",
					    "HTTP/1.1",	 "HTTP/1.0\r\n",
					    "chunked",	 "Content-Length: ",
					    "\xff",	 "GET / ",
					    "OPTIONS *", "http://a",
					    ";a=\"b\"",	 "ffffffffffffffff",
					    "Expect: 1", "close"};
	const struct http_entry *other = &http_corpus[next_random(random) % HTTP_CORPUS_N];
	const char *word = words[next_random(random) % (sizeof words / sizeof *words)];
	size_t at = next_random(random) % (input->n + 1), cut = next_random(random) % 8;
	unsigned char byte = (unsigned char)next_random(random), copy[64];

	switch (next_random(random) % 6) {
	case 0:
		splice(input, at, 1, &byte, 1);
		break;
	case 1:
		splice(input, at, 0, &byte, 1);
		break;
	case 2:
		splice(input, at, cut, "", 0);
		break;
	case 3:
		splice(input, at, cut % 3, word, strlen(word));
		break;
	case 4:
		splice(input, at, cut, other->bytes, other->n < 512 ? other->n : 512);
		break;
	default:
		memcpy(copy, input->bytes, sizeof copy);
		splice(input, at, 0, copy, input->n < sizeof copy ? input->n : sizeof copy);
	}
}

/* What http_parse.h promises about a head, for any bytes. */
static void expect_head_in_bounds(const unsigned char *bytes, size_t n)
{
	struct http_request request;
	int head = http_parse_head(bytes, n, &request);
	const char *begin = (const char *)bytes;

	if (n >= HTTP_HEAD_MAX)
		ck_assert_int_ne(head, 0);
	ck_assert_int_le(head, HTTP_HEAD_MAX);
	if (head <= 0)
		return;
	ck_assert_uint_le((size_t)head, n);
	ck_assert(memcmp(bytes + head - 4, "\r\n\r\n", 4) == 0);
	ck_assert_uint_gt(request.path_n, 0);
	ck_assert_uint_le(request.path_n, HTTP_TARGET_MAX);
	ck_assert(request.path > begin && request.path + request.path_n < begin + head);
	ck_assert(*request.path == '/' || request.method == HTTP_CONNECT ||
		  request.method == HTTP_OPTIONS);
	ck_assert(!(request.chunked && request.has_length));
	ck_assert(request.minor || (!request.chunked && !request.expects_continue));
	ck_assert(request.has_length || !request.length);
}

/* Chooses an entry; at least every second one is good. */
static const struct http_entry *choose(uint64_t *random)
{
	bool good = next_random(random) % 2;
	const struct http_entry *entry;

	do
		entry = &http_corpus[next_random(random) % HTTP_CORPUS_N];
	while (good && entry->kind != ENTRY_GOOD);
	return entry;
}

static void by_chance(unsigned long inputs)
{
	unsigned long good = 0, refused = 0;
	struct input input;
	uint64_t random = 1;

	open_room();
	for (unsigned long i = 0; i < inputs; i++) {
		const struct http_entry *entry = choose(&random);
		unsigned changes =
		    next_random(&random) % 2 ? 1 : 1 + (unsigned)(next_random(&random) % 4);
		struct http_read whole;

		input.n = 0;
		splice(&input, 0, 0, entry->bytes, entry->n);
		while (changes--)
			mutate(&input, &random);
		/* Now and then a head that is too long. */
		if (i % 64 == 0)
			while (input.n < HTTP_HEAD_MAX)
				splice(&input, next_random(&random) % (input.n + 1), 0,
				       entry->bytes, entry->n ? entry->n : 1);
		whole = read_at_end(input.bytes, input.n);
		good += whole.reads_n > 0;
		refused += whole.status != 0;
		for (int k = 0; k < 4; k++) {
			size_t n = next_random(&random) % (input.n + 1);
			struct http_read part = read_at_end(input.bytes, n);

			ck_assert_msg(may_begin(&part, &whole), "input %lu: %zu of %zu bytes", i, n,
				      input.n);
		}
		memcpy(room + ROOM_BYTES - input.n, input.bytes, input.n);
		expect_head_in_bounds(room + ROOM_BYTES - input.n, input.n);
	}
	(void)printf("FIGURE inputs by chance: %lu, %lu with a request in them, %lu refused\n",
		     inputs, good, refused);
	ck_assert_uint_gt(good, inputs / 20);
	ck_assert_uint_gt(refused, inputs / 4);
}

START_TEST(chance_finds_no_second_reading)
{
	by_chance(suite_volume(10000));
}
END_TEST

START_TEST(a_hundred_thousand_find_none)
{
	by_chance(suite_volume(100000));
}
END_TEST

SUITE("http_prefixes", {"the corpus is read as it says", the_corpus_is_read_as_it_says, 10},
      {"names of the corpus are its own", names_of_the_corpus_are_its_own, 10},
      {"no prefix is read otherwise", no_prefix_is_read_otherwise, 60},
      {"what follows changes nothing", what_follows_changes_nothing, 20},
      {"chance finds no second reading", chance_finds_no_second_reading, 60},
      {"a hundred thousand find none", a_hundred_thousand_find_none, 60, .kind = SUITE_LONG})
