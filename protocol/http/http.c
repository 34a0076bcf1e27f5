/*
 * http: HTTP/1.1 and 1.0, as RFC 9110 and 9112 have it: requests on a connection one after the
 * other, or many at once, and their answers in that order.
 *
 *     GET /          "ok"
 *     GET /bytes/N   N bytes: byte i is the letter 'a' + i % 26
 *     POST /echo     its body, as it comes
 *
 * HEAD too, wherever GET is. A body that nobody asked for is read and thrown away. A request that
 * is refused while more of it may come ends the connection, because nobody can tell where the next
 * one begins.
 *
 * All answers of one read leave in one write. If a peer asks for more than it reads, it is answered
 * piece by piece, as it reads.
 */
#include <string.h>

#include "protocol/http/http_answer.h"
#include "protocol/http/http_parse.h"
#include "protocol/http/http_resource.h"
#include "protocol/protocol.h"

#define SAID_MAX    (CHUNK_BYTES / 2) /* bytes said in a turn; then the peer has to take them */
#define BYTES_SMALL 512		      /* a /bytes/N up to this is answered at once */
#define LOOKS_MIN   8	 /* bytes of a head that are always parsed: they show whether it is HEAD */
#define GIVES_TIME  4096 /* bytes of a body: for each so many, request-timeout begins anew */

enum { MAX_BODY };
static struct setting http_settings[] = {
    [MAX_BODY] =
	SETTING(SIZE, "max-body", "1G", "SIZE", 1, 1u << 30, "the longest body of an HTTP request"),
    {0}};

enum { BAD_REQUEST };
static struct reason http_reasons[] = {
    [BAD_REQUEST] = REASON("bad_request", "an HTTP request that was refused and closed with its "
					  "status: malformed, too large or not supported"),
    {0}};

enum { REFUSED };
static struct counter http_counters[] = {
    [REFUSED] = COUNTER("http_refused", "weir_http_refused_total",
			"HTTP requests refused: answered with a status of 400 or above, or broken "
			"off in the middle"),
    {0}};

enum http_step { AT_HEAD, AT_BODY, AT_CHUNK, AT_CHUNK_DATA, AT_CHUNK_END, AT_TRAILER };

struct http {
	uint64_t unsaid; /* bytes of /bytes/N that are still to be sent */
	uint32_t left;	 /* bytes of the body, or of the chunk, still to come */
	uint32_t length; /* bytes of the body, or of its chunks so far */
	uint16_t looked; /* bytes of a head or a trailer that were parsed, and were not all of it */
	uint8_t step;
	uint8_t blank;	  /* bytes of an empty line before a head; they begin no request */
	bool echoes : 1;  /* the body is the answer's, too */
	bool answers : 1; /* the answer to this request has begun */
	bool ends : 1;	  /* the connection ends with this request */
	bool stays : 1;	  /* it stays open after a request of HTTP/1.0, and the answer says so */
	bool to_head : 1; /* a head that has begun to come is of HEAD: no answer has a body */
};

_Static_assert(sizeof(struct http) <= CONN_STATE_BYTES, "the state fits");

/* ---- what is said in one input(), or outside of it ---- */

static struct {
	char heads[CHUNK_BYTES];
	size_t heads_n;
	size_t said;
	unsigned hellos;
	uint64_t now_us;
	bool over; /* no more input this time */
} turn;

/* The answer that is asked for most, many times in a row: neighbours become one span of the write
 * queue. */
#define HELLOS	    64
#define HELLO_BYTES 192

static struct {
	int64_t second; /* of its date */
	size_t n;
	char text[HELLOS * HELLO_BYTES];
} hello = {.second = -1};

static const struct http_answer hello_answer = {.status = 200, .type = "text/plain", .length = 2};

static void hello_write(int64_t second)
{
	size_t n = http_answer_head(hello.text, HELLO_BYTES - 2, &hello_answer, turn.now_us);

	memcpy(hello.text + n, "ok", 2);
	hello.second = second;
	hello.n = n + 2;
	for (size_t i = 1; i < HELLOS; i++)
		memcpy(hello.text + i * hello.n, hello.text, hello.n);
}

/* The heads of an earlier turn are not needed any more: what was said then is sent, or copied. */
static void turn_begin(const struct conn *conn)
{
	int64_t second;

	turn.heads_n = turn.said = turn.hellos = 0;
	turn.over = false;
	turn.now_us = conn_now_us(conn);
	second = http_date(turn.now_us)->second;
	if (second != hello.second)
		hello_write(second);
}

static void say(struct conn *conn, const void *bytes, size_t n)
{
	conn_send(conn, bytes, n);
	turn.said += n;
}

static void say_hello(struct conn *conn)
{
	say(conn, hello.text + turn.hellos++ % HELLOS * hello.n, hello.n);
}

static void say_head(struct conn *conn, const struct http_answer *answer)
{
	char *at = turn.heads + turn.heads_n;
	size_t n = http_answer_head(at, sizeof turn.heads - turn.heads_n, answer, turn.now_us);

	turn.heads_n += n;
	say(conn, at, n);
}

static void say_refusal(struct conn *conn, int status, const char *connection, const char *fields,
			bool with_body)
{
	char *at = turn.heads + turn.heads_n;
	size_t n = http_answer_refusal(at, sizeof turn.heads - turn.heads_n, status, connection,
				       fields, with_body, turn.now_us);

	conn_count(conn, REFUSED);
	turn.heads_n += n;
	say(conn, at, n);
}

/* ---- /bytes/N ---- */

#define ALPHABET 26

/* Whole alphabets, so that each piece begins with an "a". They fit in one chunk, which is all that
 * a peer that does not read holds. */
static char letters[CHUNK_BYTES / ALPHABET * ALPHABET];

static void __attribute__((constructor)) letters_fill(void)
{
	for (size_t i = 0; i < sizeof letters; i++)
		letters[i] = (char)('a' + i % ALPHABET);
}

static void say_letters(struct conn *conn, struct http *http)
{
	size_t n = http->unsaid < sizeof letters ? (size_t)http->unsaid : sizeof letters;

	say(conn, letters, n);
	http->unsaid -= n;
}

/* ---- the end of a request ---- */

static void fail(struct conn *conn)
{
	conn_fail(conn, BAD_REQUEST);
	turn.over = true;
}

static void request_done(struct conn *conn, struct http *http)
{
	http->step = AT_HEAD;
	http->blank = 0;
	if (!conn_message_done(conn))
		turn.over = true;
	if (http->ends && !http->unsaid) {
		conn_finish(conn, CLOSE_finished);
		turn.over = true;
	}
}

/* Refuses a request of which more may come: nobody will read that, so the connection ends. */
static void refuse(struct conn *conn, int status, const char *fields, bool with_body)
{
	say_refusal(conn, status, "close", fields, with_body);
	fail(conn);
}

/* ---- a request ---- */

static bool has_body(const struct http_request *request)
{
	return request->chunked || request->length;
}

/* The status that refuses a request; 0: none. *fields: header lines that have to go with it. */
static int find_refusal(const struct conn *conn, const struct http_request *request,
			enum http_resource resource, const char **fields)
{
	bool reads = request->method == HTTP_GET || request->method == HTTP_HEAD;

	if (resource == HTTP_NOTHING && request->method != HTTP_CONNECT)
		return 404;
	if (resource == HTTP_NOTHING || resource == HTTP_SERVER ||
	    (resource == HTTP_ECHO ? request->method != HTTP_POST : !reads)) {
		*fields = resource == HTTP_ECHO ? "Allow: POST\r\n"
			  : resource == HTTP_HELLO || resource == HTTP_BYTES
			      ? "Allow: GET, HEAD\r\n"
			      : "Allow: GET, HEAD, POST\r\n";
		return 405;
	}
	if (resource == HTTP_ECHO && !request->chunked && !request->has_length)
		return 411;
	if (request->length > conn_setting(conn, MAX_BODY))
		return 413;
	return 0;
}

static void refuse_request(struct conn *conn, struct http *http, const struct http_request *request,
			   int status, const char *fields)
{
	bool with_body = request->method != HTTP_HEAD;

	if (status == 411 || has_body(request)) {
		refuse(conn, status, fields, with_body);
		return;
	}
	say_refusal(conn, status, http_connection(request), fields, with_body);
	request_done(conn, http);
}

static void answer(struct conn *conn, struct http *http, const struct http_request *request,
		   enum http_resource resource, uint64_t bytes)
{
	struct http_answer head;

	if (resource == HTTP_HELLO && request->method == HTTP_GET && request->minor &&
	    request->keep_alive) {
		say_hello(conn);
		return;
	}
	head = (struct http_answer){
	    .status = 200,
	    .type = "application/octet-stream",
	    .connection = http_connection(request),
	    .length = bytes,
	};
	if (resource == HTTP_HELLO) {
		head.type = hello_answer.type;
		head.length = hello_answer.length;
	}
	say_head(conn, &head);
	if (request->method == HTTP_HEAD)
		return;
	if (resource == HTTP_HELLO)
		say(conn, "ok", 2);
	if (resource != HTTP_BYTES)
		return;
	http->unsaid = bytes;
	if (bytes <= BYTES_SMALL)
		say_letters(conn, http);
}

static void take_request(struct conn *conn, struct http *http, const struct http_request *request)
{
	const char *fields = NULL;
	uint64_t bytes = 0;
	enum http_resource resource = http_find(request, &bytes);
	int status = find_refusal(conn, request, resource, &fields);

	http->ends = !request->keep_alive;
	if (status) {
		refuse_request(conn, http, request, status, fields);
		return;
	}
	http->stays = request->keep_alive && !request->minor;
	http->echoes = resource == HTTP_ECHO;
	http->answers = !http->echoes || !has_body(request); /* else it begins with the body */
	if (request->expects_continue && has_body(request))
		say(conn, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	if (http->answers)
		answer(conn, http, request, resource, bytes);
	if (has_body(request)) {
		http->step = request->chunked ? AT_CHUNK : AT_BODY;
		http->left = http->length = (uint32_t)request->length;
	} else {
		request_done(conn, http);
	}
	if (http->unsaid) {
		conn_produce(conn, true);
		turn.over = true;
	}
}

/* ---- what comes ---- */

/* Each reads one thing from n bytes, and returns how many it used; 0: the turn is over. */
typedef size_t reader(struct conn *conn, struct http *http, unsigned char *bytes, size_t n);

/*
 * If a head comes byte by byte, it must not be parsed anew for each byte. Parsing it later changes
 * no answer, because the first wrong byte decides.
 */
static bool is_worth_a_look(struct http *http, const unsigned char *bytes, size_t n)
{
	if (http->looked > n)
		http->looked = 0;
	return n >= 2u * http->looked || http->looked < LOOKS_MIN || n >= HTTP_HEAD_MAX ||
	       memchr(bytes + http->looked, '\n', n - http->looked);
}

static size_t want_more(struct http *http, size_t n)
{
	http->looked = (uint16_t)n;
	turn.over = true;
	return 0;
}

/* An empty line may stand before a head, one at most. Its bytes are not kept, so that a client that
 * sends nothing else holds no buffer. */
static bool is_blank(const struct http *http, unsigned char byte)
{
	return http->step == AT_HEAD && (http->blank == 1 || byte == '\r');
}

static size_t read_blank(struct conn *conn, struct http *http, unsigned char byte)
{
	if (http->blank < 2 && byte == "\r\n"[http->blank]) {
		http->blank++;
		return 1;
	}
	conn_request_begun(conn);
	refuse(conn, 400, NULL, true);
	return 0;
}

static size_t read_head(struct conn *conn, struct http *http, unsigned char *bytes, size_t n)
{
	struct http_request request;
	int head;

	if (!is_worth_a_look(http, bytes, n)) {
		turn.over = true;
		return 0;
	}
	head = http_parse_head(bytes, n, &request);
	http->to_head = request.method == HTTP_HEAD;
	if (!head)
		return want_more(http, n);
	http->looked = 0;
	if (head < 0) {
		refuse(conn, -head, NULL, !http->to_head);
		return 0;
	}
	if (conn_is_last(conn, n, (uint64_t)head + request.length))
		request.keep_alive = false;
	take_request(conn, http, &request);
	return (size_t)head;
}

/* An answer that has begun can't be taken back: it is broken off. */
static size_t refuse_body(struct conn *conn, const struct http *http, int status)
{
	if (!http->answers) {
		refuse(conn, status, NULL, true);
	} else {
		conn_count(conn, REFUSED);
		fail(conn);
	}
	return 0;
}

/* Not before some of the body has come: HAProxy loses the body of an answer whose head comes
 * together with 100 Continue. */
static void say_echo_head(struct conn *conn, struct http *http, size_t n)
{
	bool chunked = http->step != AT_BODY;

	if (http->answers)
		return;
	http->answers = true;
	if (conn_is_last(conn, n, http->left))
		http->ends = true;
	say_head(conn, &(struct http_answer){.status = 200,
					     .type = "application/octet-stream",
					     .connection = http->ends	 ? "close"
							   : http->stays ? "keep-alive"
									 : NULL,
					     .chunked = chunked,
					     .length = http->length});
}

static size_t read_data(struct conn *conn, struct http *http, unsigned char *bytes, size_t n)
{
	uint32_t before = (http->length - http->left) / GIVES_TIME;

	if (n > http->left)
		n = http->left;
	if (n > CHUNK_BYTES - turn.said)
		n = CHUNK_BYTES - turn.said;
	if (http->echoes)
		say(conn, bytes, n);
	http->left -= (uint32_t)n;
	if ((http->length - http->left) / GIVES_TIME != before)
		conn_message_progress(conn);
	return n;
}

static size_t read_body(struct conn *conn, struct http *http, unsigned char *bytes, size_t n)
{
	say_echo_head(conn, http, n);
	n = read_data(conn, http, bytes, n);
	if (!http->left)
		request_done(conn, http);
	return n;
}

static size_t read_chunk(struct conn *conn, struct http *http, unsigned char *bytes, size_t n)
{
	uint64_t size;
	unsigned digits, noughts = 0;
	int line = http_parse_chunk(bytes, n, &size, &digits);

	if (!line) {
		turn.over = true;
		return 0;
	}
	if (line < 0)
		return refuse_body(conn, http, -line);
	/* A reload may have made the limit less than what has come. */
	if (size && http->length + size > conn_setting(conn, MAX_BODY))
		return refuse_body(conn, http, 413);
	say_echo_head(conn, http, n);
	http->step = size ? AT_CHUNK_DATA : AT_TRAILER;
	http->left = (uint32_t)size;
	http->length += (uint32_t)size;
	if (!size || !http->echoes)
		return (size_t)line;
	/* Leading zeros are left out, because a client need not read as many of them as we do. */
	while (bytes[noughts] == '0')
		noughts++;
	if ((size_t)line == digits + 2) {
		say(conn, bytes + noughts, (size_t)line - noughts);
	} else { /* extensions are between the peer and us */
		say(conn, bytes + noughts, digits - noughts);
		say(conn, "\r\n", 2);
	}
	return (size_t)line;
}

static size_t read_chunk_data(struct conn *conn, struct http *http, unsigned char *bytes, size_t n)
{
	n = read_data(conn, http, bytes, n);
	if (!http->left)
		http->step = AT_CHUNK_END;
	return n;
}

static size_t read_chunk_end(struct conn *conn, struct http *http, unsigned char *bytes, size_t n)
{
	if (bytes[0] != '\r' || (n > 1 && bytes[1] != '\n'))
		return refuse_body(conn, http, 400);
	if (n < 2) {
		turn.over = true;
		return 0;
	}
	if (http->echoes)
		say(conn, bytes, 2);
	http->step = AT_CHUNK;
	return 2;
}

static size_t read_trailer(struct conn *conn, struct http *http, unsigned char *bytes, size_t n)
{
	int trailer;

	if (!is_worth_a_look(http, bytes, n)) {
		turn.over = true;
		return 0;
	}
	trailer = http_parse_trailer(bytes, n);
	if (!trailer)
		return want_more(http, n);
	http->looked = 0;
	if (trailer < 0)
		return refuse_body(conn, http, -trailer);
	if (http->echoes)
		say(conn, "0\r\n\r\n", 5);
	request_done(conn, http);
	return (size_t)trailer;
}

static size_t http_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	static reader *const readers[] = {
	    [AT_HEAD] = read_head,	     [AT_BODY] = read_body,
	    [AT_CHUNK] = read_chunk,	     [AT_CHUNK_DATA] = read_chunk_data,
	    [AT_CHUNK_END] = read_chunk_end, [AT_TRAILER] = read_trailer,
	};
	struct http *http = conn_state(conn);
	size_t used = 0;

	turn_begin(conn);
	while (used < n && !turn.over) {
		if (turn.said >= SAID_MAX) {
			conn_produce(conn, true);
			break;
		}
		if (is_blank(http, bytes[used])) {
			used += read_blank(conn, http, bytes[used]);
			continue;
		}
		conn_request_begun(conn);
		used += readers[http->step](conn, http, bytes + used, n - used);
	}
	return used;
}

/* With nothing left to say, it only waited until the peer had taken its answers. */
static void http_produce(struct conn *conn)
{
	struct http *http = conn_state(conn);

	if (http->unsaid)
		say_letters(conn, http);
	if (http->unsaid)
		return;
	conn_produce(conn, false);
	if (http->ends && http->step == AT_HEAD)
		conn_finish(conn, CLOSE_finished);
}

/* A connection ends without a word between requests, and if the answer has begun already. */
static void http_timeout(struct conn *conn)
{
	const struct http *http = conn_state(conn);

	if (http->step == AT_HEAD && !http->looked)
		return;
	if (http->step != AT_HEAD && http->answers) { /* it is broken off */
		conn_count(conn, REFUSED);
		return;
	}
	turn_begin(conn);
	say_refusal(conn, 408, "close", NULL, !http->to_head);
}

/* A request that has begun elsewhere is answered here. */
static void http_restore(struct conn *conn)
{
	const struct http *http = conn_state(conn);

	if (http->step != AT_HEAD || http->looked)
		conn_request_begun(conn);
}

/* Checks all that the readers above take for granted. */
static bool http_state_valid(const void *state, bool producing)
{
	struct http http;

	memcpy(&http, state, sizeof http);
	if (http.step > AT_TRAILER || http.blank > 2 || http.looked >= HTTP_HEAD_MAX)
		return false;
	if (http.unsaid > HTTP_BYTES_MAX || (http.unsaid && !producing) || http.left > http.length)
		return false;
	return http.step == AT_BODY || http.step == AT_CHUNK_DATA ? http.left : !http.left;
}

const struct protocol http_protocol = {
    .name = "http",
    .state_bytes = sizeof(struct http),
    .state_version = 3,
    .restore = http_restore,
    .input = http_input,
    .produce = http_produce,
    .timeout = http_timeout,
    .state_valid = http_state_valid,
    .settings = http_settings,
    .reasons = http_reasons,
    .counters = http_counters,
};
