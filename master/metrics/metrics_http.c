/*
 * What is said at the metrics address. A request is answered in one turn, with a head and a short
 * body; metrics_produce() adds a long one. The text of a scrape is written a piece at a time, as
 * the peer takes it, from numbers that were read at one moment.
 *
 * Taking a scrape, and writing its text, is work on the master's loop, for which others wait: so in
 * one pass of the loop only one connection has its scrape taken, or a piece of its text written.
 * Others wait in a line, and each further pass is for the first one in it.
 */
#include "master/metrics/metrics_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "master/metrics/exposition.h"
#include "master/metrics/page.h"
#include "protocol/http/http_answer.h"
#include "reactor/base/check.h"

#define SCRAPES_MAX (METRICS_CONNECTIONS / 2) /* the other places are for short answers */
#define SCRAPE_MS   1000 /* after that it makes room, if all places are taken */
#define PIECE_BYTES (CHUNK_BYTES / 4 * 3)
#define FIELDS	    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
#define PLAIN	    "text/plain; charset=utf-8"

struct visit {
	uint32_t place; /* of its scrape, plus one; 0: none */
	struct exposition_place at;
	bool begun;   /* bytes of a request have come */
	bool to_head; /* and they are of HEAD */
	bool ends;    /* the connection ends with this answer */
	bool queued;  /* in the line */
	bool scrapes; /* it is one of the SCRAPES_MAX that may */
};

_Static_assert(sizeof(struct visit) <= CONN_STATE_BYTES, "a visit fits the state");

/* Which connection a pass of the loop is for. */
struct turn {
	uint64_t pass;
	const struct conn *conn;
};

static struct {
	const struct metrics_owner *owner;
	const struct conn_table *table;
	struct conn *line[METRICS_CONNECTIONS];
	size_t line_n;
	struct turn turns[2]; /* of this pass, and of the next one */
	struct source next_pass;
	struct under_way {
		struct scrape *scrape; /* NULL: none */
		struct conn *conn;
		uint32_t began_ms;
	} scrapes[SCRAPES_MAX];
	size_t scrapes_n; /* that may: they have numbers, or wait for them */
	char head[1024];
	char piece[PIECE_BYTES];
} http;

void metrics_http_begin(const struct metrics_owner *owner, const struct conn_table *table)
{
	http.owner = owner;
	http.table = table;
}

/* ---- one in a pass ---- */

static uint64_t pass_now(void)
{
	return STATS_READ(http.owner->loop->stats, harvests);
}

static void leave_line(struct conn *conn)
{
	struct visit *visit = conn_state(conn);
	size_t at = 0;

	if (!visit->queued)
		return;
	visit->queued = false;
	while (http.line[at] != conn)
		at++;
	http.line_n--;
	memmove(http.line + at, http.line + at + 1, (http.line_n - at) * sizeof *http.line);
}

/* Promises the next pass to the first in the line. */
static void next_pass_turn(struct loop *loop, struct source *source)
{
	uint64_t next = pass_now() + 1;
	struct conn *conn;

	source->ready = 0;
	if (!http.line_n)
		return;
	conn = http.line[0];
	leave_line(conn);
	http.turns[next % 2] = (struct turn){next, conn};
	conn_resume_input(conn);
	if (http.line_n)
		loop_wake(loop, source);
}

static void join_line(struct conn *conn)
{
	struct visit *visit = conn_state(conn);

	conn_pause_input(conn);
	if (visit->queued)
		return;
	CHECK(http.line_n < METRICS_CONNECTIONS);
	visit->queued = true;
	http.line[http.line_n++] = conn;
	if (!http.next_pass.turn)
		source_init(&http.next_pass, -1, next_pass_turn);
	loop_wake(http.owner->loop, &http.next_pass);
}

/* Is this pass of the loop for this connection? False: it waits in the line, and is asked again. */
static bool has_pass(struct conn *conn)
{
	uint64_t pass = pass_now();
	struct turn *turn = &http.turns[pass % 2];

	if (turn->pass != pass && !http.line_n)
		*turn = (struct turn){pass, conn};
	if (turn->pass == pass && turn->conn == conn)
		return true;
	join_line(conn);
	return false;
}

/* ---- answers ---- */

struct answer {
	int status;
	const char *type, *fields;
	const void *body; /* NULL: it follows */
	size_t body_n;
};

static void send_answer(struct conn *conn, const struct http_request *request,
			const struct answer *answer)
{
	const struct visit *visit = conn_state(conn);
	struct http_answer head = {
	    .status = answer->status,
	    .type = answer->type,
	    .fields = answer->fields,
	    .connection = visit->ends ? "close" : http_connection(request),
	    .length = answer->body_n,
	};

	conn_send(conn, http.head,
		  http_answer_head(http.head, sizeof http.head, &head, conn_now_us(conn)));
	if (answer->body && request->method != HTTP_HEAD)
		conn_send(conn, answer->body, answer->body_n);
}

static void send_text(struct conn *conn, const struct http_request *request, int status,
		      const char *text)
{
	send_answer(conn, request, &(struct answer){status, PLAIN, FIELDS, text, strlen(text)});
}

static void answer_healthz(struct conn *conn, const struct http_request *request)
{
	send_text(conn, request, 200, "ok\n");
}

static void answer_readyz(struct conn *conn, const struct http_request *request)
{
	static char text[128];
	const char *why = http.owner->unready();

	(void)snprintf(text, sizeof text, "%s\n", why ? why : "ok");
	send_text(conn, request, why ? 503 : 200, text);
}

static void answer_page(struct conn *conn, const struct http_request *request)
{
	send_answer(conn, request,
		    &(struct answer){200, PAGE_TYPE,
				     FIELDS "Referrer-Policy: no-referrer\r\n"
					    "Content-Security-Policy: " PAGE_POLICY "\r\n",
				     page_html, page_html_n});
}

static void answer_metrics(struct conn *conn, const struct http_request *request)
{
	const struct metrics_owner *owner = http.owner;
	struct visit *visit = conn_state(conn);
	struct scrape *scrape = scrape_take(owner->scoreboard, owner->state(), owner->own);
	uint32_t place = 0;

	if (!scrape) {
		send_text(conn, request, 503, "out of memory\n");
		return;
	}
	send_answer(conn, request,
		    &(struct answer){200, EXPOSITION_TYPE, FIELDS, NULL, exposition_bytes(scrape)});
	if (request->method == HTTP_HEAD) {
		free(scrape);
		return;
	}
	while (http.scrapes[place].scrape) {
		place++;
		CHECK(place < SCRAPES_MAX);
	}
	http.scrapes[place] = (struct under_way){scrape, conn, http.owner->loop->now_ms};
	visit->place = place + 1;
	visit->at = (struct exposition_place){0, 0};
}

static const struct resource {
	const char *path;
	void (*answer)(struct conn *conn, const struct http_request *request);
} resources[] = {
    {"/", answer_page},
    {"/metrics", answer_metrics},
    {"/healthz", answer_healthz},
    {"/readyz", answer_readyz},
};

static const struct resource *resource_of(const struct http_request *request)
{
	for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
		if (strlen(resources[i].path) == request->path_n &&
		    memcmp(resources[i].path, request->path, request->path_n) == 0)
			return &resources[i];
	return NULL;
}

static bool costs_a_pass(const struct http_request *request)
{
	const struct resource *resource = resource_of(request);

	return resource && resource->answer == answer_metrics &&
	       (request->method == HTTP_GET || request->method == HTTP_HEAD);
}

static void refuse(struct conn *conn, const struct http_request *request, int status,
		   const char *fields)
{
	const struct visit *visit = conn_state(conn);
	bool with_body = request ? request->method != HTTP_HEAD : !visit->to_head;
	const char *connection = "close";

	if (request && !visit->ends)
		connection = http_connection(request);
	conn_send(conn, http.head,
		  http_answer_refusal(http.head, sizeof http.head, status, connection, fields,
				      with_body, conn_now_us(conn)));
}

static void answer(struct conn *conn, const struct http_request *request)
{
	const struct resource *resource = resource_of(request);

	if (!resource && request->method != HTTP_CONNECT)
		refuse(conn, request, 404, FIELDS);
	else if (request->method != HTTP_GET && request->method != HTTP_HEAD)
		refuse(conn, request, 405, FIELDS "Allow: GET, HEAD\r\n");
	else
		resource->answer(conn, request);
}

/* The scrape that has taken longest makes room for the next client. */
static void end_oldest_scrape(uint32_t now_ms)
{
	struct under_way *oldest = NULL;

	for (size_t i = 0; i < SCRAPES_MAX; i++)
		if (http.scrapes[i].scrape &&
		    (!oldest || now_ms - http.scrapes[i].began_ms > now_ms - oldest->began_ms))
			oldest = &http.scrapes[i];
	if (oldest && now_ms - oldest->began_ms >= SCRAPE_MS)
		conn_abort(oldest->conn, CLOSE_overload);
}

/* False: so many scrape that it is told to come again. */
static bool may_scrape(struct conn *conn)
{
	struct visit *visit = conn_state(conn);

	if (visit->scrapes)
		return true;
	if (http.scrapes_n == SCRAPES_MAX) /* one that ends leaves its place at once */
		end_oldest_scrape(http.owner->loop->now_ms);
	if (http.scrapes_n == SCRAPES_MAX)
		return false;
	http.scrapes_n++;
	visit->scrapes = true;
	return true;
}

/* ---- the protocol ---- */

/* A client that connects has to ask within the request timeout: a place is not had for nothing. */
static void metrics_open(struct conn *conn)
{
	conn_request_begun(conn);
}

/* No connection may stay for another request: too many are here, or they should go elsewhere. */
static bool is_pressed(void)
{
	return http.table->draining || http.table->conns.used > METRICS_CONNECTIONS / 2;
}

/* One request a turn. A request with a body is answered, and the body is not read. */
static size_t metrics_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct visit *visit = conn_state(conn);
	struct http_request request;
	int used = http_parse_head(bytes, n, &request);
	bool scrapes, refused;

	if (used <= 0) {
		conn_request_begun(conn);
		visit->begun = true;
		visit->to_head = request.method == HTTP_HEAD;
		if (used < 0) {
			refuse(conn, NULL, -used, FIELDS);
			conn_finish(conn, CLOSE_finished);
			return n;
		}
		return 0;
	}
	visit->begun = false;
	scrapes = costs_a_pass(&request);
	refused = scrapes && !may_scrape(conn);
	if (scrapes && !refused && !has_pass(conn))
		return 0;
	visit->ends =
	    !request.keep_alive || request.chunked || request.length || is_pressed() || refused;
	(void)conn_message_done(conn);
	if (refused)
		refuse(conn, &request, 503, FIELDS "Retry-After: 1\r\n");
	else
		answer(conn, &request);
	conn_produce(conn, true);
	return (size_t)used;
}

static void forget_scrape(struct visit *visit)
{
	http.scrapes_n -= visit->scrapes;
	visit->scrapes = false;
	if (!visit->place)
		return;
	free(http.scrapes[visit->place - 1].scrape);
	http.scrapes[visit->place - 1].scrape = NULL;
	visit->place = 0;
}

static void metrics_produce(struct conn *conn)
{
	struct visit *visit = conn_state(conn);
	size_t n = 0;

	if (visit->place && !has_pass(conn))
		return;
	if (visit->place)
		n = exposition_write(http.scrapes[visit->place - 1].scrape, &visit->at, http.piece,
				     sizeof http.piece);
	if (n) {
		conn_send(conn, http.piece, n);
		return;
	}
	forget_scrape(visit);
	conn_produce(conn, false);
	if (visit->ends)
		conn_finish(conn, CLOSE_finished);
}

/* Answers a request that was begun and not finished; a client that only stayed too long goes
 * without a word. */
static void metrics_timeout(struct conn *conn)
{
	const struct visit *visit = conn_state(conn);

	if (visit->begun && !visit->place)
		refuse(conn, NULL, 408, FIELDS);
}

static void metrics_conn_close(struct conn *conn)
{
	leave_line(conn);
	forget_scrape(conn_state(conn));
}

const struct protocol metrics_protocol = {
    .name = "metrics",
    .open = metrics_open,
    .input = metrics_input,
    .produce = metrics_produce,
    .timeout = metrics_timeout,
    .close = metrics_conn_close,
};
