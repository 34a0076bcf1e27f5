/*
 * HTTP on a simulated kernel: however a request is cut, and however little of the answers the
 * kernel takes at a time, the same bytes come back, and the connection ends for the same reason.
 *
 * The answers of the first run are read by a reader of the test's own and compared with what the
 * corpus says about the requests; all other runs have to give the same bytes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "protocol/http/http_parse.h"
#include "tests/support/clients/http_reader.h"
#include "tests/support/sim/segmenter.h"
#include "tests/protocol/http_corpus.h"

#define OUT_MAX	 (64u << 10)
#define MESSAGES 100
#define BODY_MAX 1000

static unsigned char taken[OUT_MAX];

/* The result of an entry of the corpus that is sent in one piece. */
struct outcome {
	unsigned char *out;
	size_t n;
	enum close_reason reason;
};

static struct outcome outcomes[HTTP_CORPUS_N];

/* ---- a run ---- */

/* Sends an entry; the answers go to `taken`. Returns how many bytes they have. */
static size_t run_once(struct world *world, const struct http_entry *entry,
		       struct segmenter *segmenter)
{
	size_t n;

	segmenter->name = entry->name;
	segmenter->in = entry->bytes;
	segmenter->in_n = entry->n;
	n = segmenter_run(world, segmenter, taken, sizeof taken);
	/* A client that sends more after the server announced the end may get a reset. */
	EXPECT_MSG(!segmenter->was_reset || segmenter->reason == CLOSE_finished, "%s: reset",
		   entry->name);
	answer_mask_dates(taken, n);
	return n;
}

static void run_and_compare(struct world *world, const struct http_entry *entry,
			    struct segmenter segmenter, const char *how)
{
	const struct outcome *outcome = &outcomes[entry - http_corpus];
	size_t n = run_once(world, entry, &segmenter);

	EXPECT_MSG(n == outcome->n, "%s, %s: %zu bytes came, not %zu", entry->name, how, n,
		   outcome->n);
	EXPECT_MSG(memcmp(taken, outcome->out, n) == 0, "%s, %s: other bytes came", entry->name,
		   how);
	EXPECT_MSG(segmenter.reason == outcome->reason, "%s, %s: closed for %s, not %s",
		   entry->name, how, close_reason_name(segmenter.reason),
		   close_reason_name(outcome->reason));
}

static void open_world(struct world *world)
{
	world_open(world, "http", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	world->service.settings[0] = BODY_MAX;
	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		struct segmenter segmenter = {.first = http_corpus[i].n};
		struct outcome *outcome = &outcomes[i];

		outcome->n = run_once(world, &http_corpus[i], &segmenter);
		outcome->reason = segmenter.reason;
		outcome->out = malloc(outcome->n + 1);
		EXPECT(outcome->out);
		memcpy(outcome->out, taken, outcome->n);
	}
}

static void close_world(struct world *world)
{
	for (size_t i = 0; i < HTTP_CORPUS_N; i++)
		free(outcomes[i].out);
	world_close(world);
}

/* ---- whether answers are right ---- */

/* A line of an entry's `reads`: a request that weir has to read. */
struct request {
	char method[40], path[200];
	bool keep;
	const char *body;
	size_t body_n;
};

/* Parses the next request. Its body may contain line ends: it ends at one after which another
 * request begins. */
static const char *next_request(const char *reads, struct request *request)
{
	static const char *const methods[] = {"GET ",	"HEAD ",    "POST ",	"PUT ",	 "DELETE ",
					      "PATCH ", "OPTIONS ", "CONNECT ", "TRACE "};
	char keep[8];
	int used = 0;

	*request = (struct request){0};
	EXPECT(sscanf(reads, "%39s %199s %7[a-z]%n", request->method, request->path, keep, &used) ==
	       3);
	request->keep = strcmp(keep, "keep") == 0;
	reads += used;
	if (*reads == ' ') {
		const char *end = ++reads;

		request->body = reads;
		for (;; end++) {
			bool next = !end[0] || !end[1];

			if (*end != '\n')
				continue;
			for (size_t i = 0; !next && i < sizeof methods / sizeof *methods; i++)
				next = strncmp(end + 1, methods[i], strlen(methods[i])) == 0;
			if (next)
				break;
		}
		request->body_n = (size_t)(end - reads);
		reads = end;
	}
	EXPECT_MSG(*reads == '\n', "\"%s\"", reads);
	return reads + 1;
}

struct right {
	int status;
	const char *allow;
	char body[2000];
	size_t n;
	bool ends;
};

static bool says(const struct http_entry *entry, const char *text)
{
	return strcasestr(entry->bytes, text) != NULL;
}

static void right_answer(const struct http_entry *entry, const struct request *request,
			 struct right *right)
{
	bool reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
	unsigned n = 0;
	char end;

	*right = (struct right){.status = 200, .ends = !request->keep};
	if (strcmp(request->path, "/") == 0 || strcmp(request->path, "*") == 0) {
		right->n = (size_t)sprintf(right->body, "ok");
		right->allow = *request->path == '*' ? "GET, HEAD, POST" : "GET, HEAD";
		right->status = reads ? 200 : 405;
	} else if (sscanf(request->path, "/bytes/%u%c", &n, &end) == 1) {
		EXPECT(n < sizeof right->body);
		for (right->n = 0; right->n < n; right->n++)
			right->body[right->n] = (char)('a' + right->n % 26);
		right->allow = "GET, HEAD";
		right->status = reads ? 200 : 405;
	} else if (strcmp(request->path, "/echo") == 0) {
		right->allow = "POST";
		right->status = strcmp(request->method, "POST") == 0 ? 200 : 405;
		if (right->status == 200 && !says(entry, "content-length:") &&
		    !says(entry, "transfer-encoding:"))
			right->status = 411;
		right->n = request->body_n;
		EXPECT(right->n < sizeof right->body);
		if (right->n)
			memcpy(right->body, request->body, right->n);
	} else {
		right->allow = "GET, HEAD, POST";
		right->status = strcmp(request->method, "CONNECT") == 0 ? 405 : 404;
	}
	if (right->status != 200) {
		right->n = (size_t)sprintf(right->body, "%d %s\n", right->status,
					   http_reason(right->status));
		right->ends |= request->body_n > 0 || right->status == 411;
	}
}

static void expect_answer(const struct http_entry *entry, const struct answer *answer,
			  const struct request *request)
{
	bool head = strcmp(request->method, "HEAD") == 0;
	struct right right;

	right_answer(entry, request, &right);
	EXPECT_MSG(answer->status == right.status, "%s: %d, not %d", entry->name, answer->status,
		   right.status);
	EXPECT_MSG(answer->closes == right.ends, "%s: close %d", entry->name, answer->closes);
	EXPECT_MSG(answer->chunked || answer->length == right.n, "%s: length %zu, not %zu",
		   entry->name, answer->length, right.n);
	EXPECT_MSG(answer->whole && answer->body_n == (head ? 0 : right.n) &&
		       (head || memcmp(answer->body, right.body, right.n) == 0),
		   "%s: another body, of %zu, not %zu", entry->name, answer->body_n, right.n);
	EXPECT_MSG(right.status != 405 || strcmp(answer->allow, right.allow) == 0,
		   "%s: allows \"%s\", not \"%s\"", entry->name, answer->allow, right.allow);
	EXPECT_MSG(answer->has_date && answer->has_server, "%s: no date, no server", entry->name);
}

/* Expects answers to all requests that were read, then the refusal, then nothing. */
static void judge(const struct http_entry *entry, const struct outcome *outcome)
{
	const unsigned char *at = outcome->out, *end = at + outcome->n;
	const char *reads = entry->reads;
	bool ended = false;
	struct answer answer;

	while (*reads && !ended) {
		struct request request;

		reads = next_request(reads, &request);
		do
			at += answer_read(at, (size_t)(end - at),
					  strcmp(request.method, "HEAD") == 0, &answer);
		while (answer.status == 100);
		expect_answer(entry, &answer, &request);
		ended = answer.closes;
	}
	if (entry->kind == ENTRY_GOOD || (ended && !*reads)) {
		EXPECT_MSG(at == end, "%s: more came", entry->name);
		return;
	}
	if (entry->kind == ENTRY_CUT && outcome->n && at < end) {
		at += answer_read(at, (size_t)(end - at), false, &answer);
		if (answer.status == 100)
			at += answer_read(at, (size_t)(end - at), false, &answer);
		EXPECT_MSG(answer.status == entry->status ||
			       (answer.status == 200 && !answer.whole),
			   "%s: %d, %s", entry->name, answer.status,
			   answer.whole ? "whole" : "broken off");
	} else {
		bool head =
		    strncmp(entry->bytes, "HEAD ", 5) == 0; /* the refused one is the first */

		at += answer_read(at, (size_t)(end - at), head, &answer);
		EXPECT_MSG(answer.status == entry->status, "%s: %d, not %d", entry->name,
			   answer.status, entry->status);
		EXPECT_MSG(answer.closes && answer.whole, "%s: refused, and goes on", entry->name);
	}
	EXPECT_MSG(at == end, "%s: more came", entry->name);
	EXPECT_MSG(outcome->reason == close_reason_named("bad_request"), "%s: closed for %s",
		   entry->name, close_reason_name(outcome->reason));
}

START_TEST(each_request_gets_its_answer)
{
	struct world world;

	open_world(&world);
	for (size_t i = 0; i < HTTP_CORPUS_N; i++)
		judge(&http_corpus[i], &outcomes[i]);
	(void)printf("FIGURE requests of the corpus: %zu\n", HTTP_CORPUS_N);
	(void)fflush(stdout);
	close_world(&world);
}
END_TEST

/* ---- cuts ---- */

START_TEST(every_cut_in_two)
{
	struct world world;
	unsigned long runs = 0;
	char how[80];

	open_world(&world);
	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		const struct http_entry *entry = &http_corpus[i];
		size_t step = entry->n > 1500 ? entry->n / 300 : suite_sanitized() ? 3 : 1;

		for (size_t cut = 1; cut <= entry->n; cut += step)
			for (int way = 0; way < 4; way++, runs++) {
				struct segmenter segmenter = {.seed = cut,
							      .first = cut,
							      .mid_turn = way & 1,
							      .fin_alone = way & 2};

				(void)snprintf(how, sizeof how, "cut after %zu, way %d", cut, way);
				run_and_compare(&world, entry, segmenter, how);
			}
	}
	(void)printf("FIGURE requests cut in two: %lu runs\n", runs);
	(void)fflush(stdout);
	close_world(&world);
}
END_TEST

START_TEST(a_byte_at_a_time)
{
	struct world world;

	open_world(&world);
	for (size_t i = 0; i < HTTP_CORPUS_N; i++)
		for (int way = 0; way < 8; way++) {
			struct segmenter segmenter = {.seed = 1,
						      .piece = http_corpus[i].n > 1500 ? 7 : 1,
						      .mid_turn = way & 1,
						      .fin_alone = way & 2,
						      .drain = way & 4 ? 1 : 0,
						      .space = way & 4 ? 1 : 0};

			run_and_compare(&world, &http_corpus[i], segmenter, "byte for byte");
		}
	close_world(&world);
}
END_TEST

START_TEST(random_cuttings)
{
	unsigned long n = suite_volume(300);
	struct world world;
	char how[80];

	open_world(&world);
	for (size_t i = 0; i < HTTP_CORPUS_N; i++)
		for (unsigned long k = 0; k < n; k++) {
			uint64_t seed = k * 1000003 + i;
			struct segmenter segmenter = {.mid_turn = sim_below(&seed, 2),
						      .fin_alone = sim_below(&seed, 2),
						      .space = 1 + sim_below(&seed, 300)};

			segmenter.drain = 1 + sim_below(&seed, segmenter.space);
			world.table.limits.high_water = (uint32_t)sim_below(&seed, 600);
			world.table.limits.low_water =
			    (uint32_t)sim_below(&seed, world.table.limits.high_water + 1);
			segmenter.seed = seed;
			(void)snprintf(how, sizeof how, "random cutting %lu", k);
			run_and_compare(&world, &http_corpus[i], segmenter, how);
		}
	ck_assert_uint_gt(world.stats.backpressure_on, 0);
	(void)printf("FIGURE random cuttings: %lu runs, backpressure %llu times\n",
		     n * HTTP_CORPUS_N, (unsigned long long)world.stats.backpressure_on);
	(void)fflush(stdout);
	close_world(&world);
}
END_TEST

SUITE("sim_http", {"each request gets its answer", each_request_gets_its_answer, 10},
      {"every cut in two", every_cut_in_two, 120}, {"a byte at a time", a_byte_at_a_time, 60},
      {"random cuttings", random_cuttings, 120})
