#include "bench/weirload/http/http_body.h"

#include <string.h>

#define FACTOR 0xff51afd7ed558ccdull

static uint64_t sum_word(uint64_t sum, const unsigned char *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, 8);
	sum = (sum ^ word) * FACTOR;
	return sum ^ sum >> 32;
}

/* Adds n bytes, the first of which is byte `offset` of what is summed. A word is added when it is
 * whole. */
static void sum_add(struct http_sum *sum, uint64_t offset, const unsigned char *bytes, size_t n)
{
	for (; n && offset % 8; n--) {
		sum->part[offset++ % 8] = *bytes++;
		if (offset % 8 == 0)
			sum->sum = sum_word(sum->sum, sum->part);
	}
	for (; n >= 8; n -= 8, bytes += 8)
		sum->sum = sum_word(sum->sum, bytes);
	memcpy(sum->part, bytes, n); /* either the offset is a multiple of 8, or nothing is left */
}

/* The sum of all n bytes, the last of which may be less than a word. */
static uint64_t sum_end(const struct http_sum *sum, uint64_t n)
{
	unsigned char last[8] = {0};

	memcpy(last, sum->part, n % 8);
	return sum_word(sum->sum, last);
}

static size_t same(const unsigned char *a, const unsigned char *b, size_t n)
{
	size_t i = 0;

	if (memcmp(a, b, n) == 0)
		return n;
	while (a[i] == b[i])
		i++;
	return i;
}

size_t http_body_match(struct http_body *body, struct http_sum *sum, uint64_t offset,
		       const unsigned char *bytes, size_t n)
{
	size_t part, matched = 0;

	if (offset < body->known) {
		part = body->known - (size_t)offset < n ? body->known - (size_t)offset : n;
		matched = same(bytes, body->prefix + offset, part);
		if (matched < part)
			return matched;
	}
	if (matched < n && body->known < HTTP_BODY_PREFIX) {
		part = HTTP_BODY_PREFIX - body->known < n - matched ? HTTP_BODY_PREFIX - body->known
								    : n - matched;
		memcpy(body->prefix + body->known, bytes + matched, part);
		body->known += part;
		matched += part;
	}
	if (body->whole && offset + n > body->n) /* bytes after its end are wrong */
		n = body->n > offset ? (size_t)(body->n - offset) : 0;
	if (matched < n)
		sum_add(sum, offset + matched - HTTP_BODY_PREFIX, bytes + matched, n - matched);
	return n;
}

bool http_body_end(struct http_body *body, const struct http_sum *sum, uint64_t n)
{
	uint64_t beyond = n > HTTP_BODY_PREFIX ? n - HTTP_BODY_PREFIX : 0;

	if (!body->whole) {
		body->whole = true;
		body->n = n;
		body->sum = sum_end(sum, beyond);
	}
	return body->n == n && body->sum == sum_end(sum, beyond);
}

uint64_t http_body_print(const struct http_body *body)
{
	struct http_sum sum = {0};
	size_t n = body->n < body->known ? (size_t)body->n : body->known;

	sum_add(&sum, 0, body->prefix, n);
	return sum_end(&sum, n) ^ body->sum;
}
