#include "protocol/http/http_parse.h"

#include <endian.h>
#include <string.h>

#include "protocol/http/http_parse_parts.h"

struct span {
	const unsigned char *at, *end;
};

/* Equal but for the case of letters, if text has only small letters, digits and '-', and bytes have
 * no controls. */
static inline bool equal(const unsigned char *bytes, const char *text, size_t n)
{
	unsigned differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= (bytes[i] | 0x20u) ^ (unsigned char)text[i];
	return !differ;
}

static bool span_is(struct span span, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(span.end - span.at) == n && equal(span.at, text, n);
}

/* ---- fields ---- */

/* Takes the next member off a list, without the blanks around it. */
static bool next_member(struct span *list, struct span *member)
{
	const unsigned char *at = list->at, *end;

	if (!at)
		return false;
	end = memchr(at, ',', (size_t)(list->end - at));
	list->at = end ? end + 1 : NULL;
	if (!end)
		end = list->end;
	at = http_skip(at, end, BLANK);
	while (end > at && http_is(end[-1], BLANK))
		end--;
	*member = (struct span){at, end};
	return true;
}

static bool take_host(struct http_reading *reading, struct span value)
{
	const unsigned char *colon;

	if (reading->has_host)
		return false;
	reading->has_host = true;
	return http_is_authority(value.at, value.end, &colon);
}

static bool take_length(struct http_reading *reading, struct span value)
{
	struct http_request *request = reading->request;
	uint64_t length = 0;

	if (request->has_length || value.at == value.end)
		return false;
	for (; value.at < value.end; value.at++) {
		if (!http_is(*value.at, DIGIT))
			return false;
		if (__builtin_mul_overflow(length, 10u, &length) ||
		    __builtin_add_overflow(length, (unsigned)(*value.at - '0'), &length))
			length = UINT64_MAX;
	}
	request->has_length = true;
	request->length = length;
	return true;
}

/* All Transfer-Encoding fields together are one list. Nothing may come behind chunked. */
static bool take_codings(struct http_reading *reading, struct span value)
{
	struct span coding;

	reading->has_coding = true;
	while (next_member(&value, &coding)) {
		if (coding.at == coding.end ||
		    http_skip(coding.at, coding.end, TOKEN) < coding.end ||
		    reading->request->chunked)
			return false;
		if (span_is(coding, "chunked"))
			reading->request->chunked = true;
		else
			reading->codings_unknown = true;
	}
	return true;
}

static bool take_connection(struct http_reading *reading, struct span value)
{
	struct span option;

	while (next_member(&value, &option)) {
		if (http_skip(option.at, option.end, TOKEN) < option.end)
			return false;
		if (span_is(option, "close"))
			reading->closes = true;
		else if (span_is(option, "keep-alive"))
			reading->stays = true;
	}
	return true;
}

static bool take_expectations(struct http_reading *reading, struct span value)
{
	struct span expectation;

	while (next_member(&value, &expectation)) {
		if (span_is(expectation, "100-continue"))
			reading->request->expects_continue = true;
		else if (expectation.at < expectation.end)
			reading->expects_other = true;
	}
	return true;
}

static bool take_field(struct http_reading *reading, const unsigned char *name, size_t n,
		       struct span value)
{
	switch (n) {
	case 4:
		if (equal(name, "host", 4))
			return !reading->trailer && take_host(reading, value);
		break;
	case 6:
		if (equal(name, "expect", 6) && !reading->trailer)
			return take_expectations(reading, value);
		break;
	case 10:
		if (equal(name, "connection", 10) && !reading->trailer)
			return take_connection(reading, value);
		break;
	case 14:
		if (equal(name, "content-length", 14))
			return !reading->trailer && take_length(reading, value);
		break;
	case 17:
		if (equal(name, "transfer-encoding", 17))
			return !reading->trailer && take_codings(reading, value);
		break;
	default:
		break;
	}
	return true;
}

#define EACH_BYTE(value) (0x0101010101010101u * (value))

/* Skips eight bytes at a time, up to the first control. Only the first byte that is marked is sure
 * to be one: marks behind it may be false. */
static inline const unsigned char *skip_value(const unsigned char *at, const unsigned char *end)
{
	for (; end - at >= 8; at += 8) {
		uint64_t eight, other_than_del, controls;

		memcpy(&eight, at, 8);
		eight = le64toh(eight);
		other_than_del = eight ^ EACH_BYTE(0x7f);
		controls = (((eight - EACH_BYTE(0x20)) & ~eight) |
			    ((other_than_del - EACH_BYTE(1)) & ~other_than_del)) &
			   EACH_BYTE(0x80);
		if (controls) {
			at += __builtin_ctzll(controls) / 8;
			break;
		}
	}
	return http_skip(at, end, VALUE);
}

static const unsigned char *read_field(struct http_reading *reading, const unsigned char *name)
{
	const unsigned char *end = reading->end, *colon = http_skip(name, end, TOKEN), *next;
	struct span value;

	if (colon == end)
		return http_want_more(reading);
	if (colon == name || *colon != ':')
		return http_refuse(reading, 400);
	if (reading->fields++ == HTTP_FIELDS_MAX)
		return http_refuse(reading, 431);
	value.at = http_skip(colon + 1, end, BLANK);
	value.end = skip_value(value.at, end);
	if (!(next = http_read_line_end(reading, value.end)))
		return NULL;
	while (value.end > value.at && http_is(value.end[-1], BLANK))
		value.end--;
	if (!take_field(reading, name, (size_t)(colon - name), value))
		return http_refuse(reading, 400);
	return next;
}

/* All of them, and the empty line that ends them. */
static const unsigned char *read_fields(struct http_reading *reading, const unsigned char *at)
{
	while (at && (at == reading->end || *at != '\r'))
		at = at == reading->end ? http_want_more(reading) : read_field(reading, at);
	return at ? http_read_line_end(reading, at) : NULL;
}

/* ---- heads, chunks and trailers ---- */

/* What the fields say together, in whatever order they came. */
static int judge(const struct http_reading *reading)
{
	struct http_request *request = reading->request;

	if (request->minor && !reading->has_host)
		return 400;
	if (reading->has_coding && (!request->minor || request->has_length || !request->chunked))
		return 400;
	if (reading->codings_unknown)
		return 501;
	if (!request->minor)
		request->expects_continue = false;
	else if (reading->expects_other)
		return 417;
	request->keep_alive = !reading->closes && (request->minor || reading->stays);
	return 0;
}

int http_parse_head(const unsigned char *bytes, size_t n, struct http_request *request)
{
	struct http_reading reading = {.request = request};
	const unsigned char *at = bytes;

	*request = (struct http_request){0};
	reading.end = bytes + (n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX);
	if (n && *at == '\r')
		at = http_read_line_end(&reading, at);
	if (at && (at = http_read_request_line(&reading, at)) && (at = read_fields(&reading, at))) {
		int status = judge(&reading);

		return status ? -status : (int)(at - bytes);
	}
	return !reading.verdict && n >= HTTP_HEAD_MAX ? -431 : reading.verdict;
}

int http_parse_trailer(const unsigned char *bytes, size_t n)
{
	struct http_reading reading = {.trailer = true};
	const unsigned char *at;

	reading.end = bytes + (n < HTTP_TRAILER_MAX ? n : HTTP_TRAILER_MAX);
	if ((at = read_fields(&reading, bytes)))
		return (int)(at - bytes);
	return !reading.verdict && n >= HTTP_TRAILER_MAX ? -431 : reading.verdict;
}

static const unsigned char *read_quoted(struct http_reading *reading, const unsigned char *at)
{
	while ((at = http_skip(at, reading->end, QUOTED)) < reading->end && *at == '\\') {
		if (++at == reading->end)
			break;
		if (!http_is(*at++, VALUE))
			return http_refuse(reading, 400);
	}
	if (at == reading->end)
		return http_want_more(reading);
	return *at == '"' ? at + 1 : http_refuse(reading, 400);
}

static const unsigned char *read_token(struct http_reading *reading, const unsigned char *at)
{
	const unsigned char *begin = at;

	if ((at = http_skip(at, reading->end, TOKEN)) == reading->end)
		return http_want_more(reading);
	return at > begin ? at : http_refuse(reading, 400);
}

/* *(BWS ";" BWS name [BWS "=" BWS value]): they have no effect, but have to be well formed. */
static const unsigned char *read_extensions(struct http_reading *reading, const unsigned char *at)
{
	const unsigned char *end = reading->end, *sign = http_skip(at, end, BLANK);

	while (sign < end && *sign == ';') {
		if (!(at = read_token(reading, http_skip(sign + 1, end, BLANK))))
			return NULL;
		sign = http_skip(at, end, BLANK);
		if (sign == end || *sign != '=')
			continue;
		at = http_skip(sign + 1, end, BLANK);
		at =
		    at < end && *at == '"' ? read_quoted(reading, at + 1) : read_token(reading, at);
		if (!at)
			return NULL;
		sign = http_skip(at, end, BLANK);
	}
	if (sign == end)
		return http_want_more(reading);
	return sign == at ? at : http_refuse(reading, 400);
}

int http_parse_chunk(const unsigned char *bytes, size_t n, uint64_t *size, unsigned *digits)
{
	struct http_reading reading = {0};
	const unsigned char *at = bytes;

	reading.end = bytes + (n < HTTP_CHUNK_LINE_MAX ? n : HTTP_CHUNK_LINE_MAX);
	for (*size = 0; at < reading.end && http_is(*at, HEX); at++) {
		if (*size > INT64_MAX >> 4)
			return -400;
		*size = *size << 4 | ((*at & 15u) + (*at >> 6) * 9u);
	}
	*digits = (unsigned)(at - bytes);
	if (at < reading.end && !*digits)
		return -400;
	if ((at = read_extensions(&reading, at)) && (at = http_read_line_end(&reading, at)))
		return (int)(at - bytes);
	return !reading.verdict && n >= HTTP_CHUNK_LINE_MAX ? -400 : reading.verdict;
}

const char *http_reason(int status)
{
	switch (status) {
	case 100:
		return "Continue";
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 417:
		return "Expectation Failed";
	case 431:
		return "Request Header Fields Too Large";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "";
	}
}
