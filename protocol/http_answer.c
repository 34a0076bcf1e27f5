#include "protocol/http_answer.h"

#include <string.h>
#include <time.h>

#include "reactor/check.h"

/* ---- the date ---- */

static struct {
	struct http_date date;
	uint64_t due_us; /* then another second has begun; 0: never read */
} now;

static void put_number(char *at, int64_t number, int digits)
{
	while (digits--) {
		at[digits] = (char)('0' + number % 10);
		number /= 10;
	}
}

/* Years begin in March here, so that a leap day is the last of its year (Richards, 1998). */
void http_date_format(int64_t second, char text[HTTP_DATE_BYTES + 1])
{
	static const char days[] = "ThuFriSatSunMonTueWed";
	static const char months[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";
	int64_t day = second / 86400, of_day = second % 86400;
	int64_t since = day + 719468, era = since / 146097, of_era = since % 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * of_year + 2) / 153;

	CHECK(second >= 0 && second < 253402300800);
	memcpy(text, "???, ?? ??? ???? ??:??:?? GMT", HTTP_DATE_BYTES + 1);
	memcpy(text, days + 3 * (day % 7), 3);
	put_number(text + 5, of_year - (153 * month + 2) / 5 + 1, 2);
	memcpy(text + 8, months + 3 * month, 3);
	put_number(text + 12, year + era * 400 + (month >= 10), 4);
	put_number(text + 17, of_day / 3600, 2);
	put_number(text + 20, of_day / 60 % 60, 2);
	put_number(text + 23, of_day % 60, 2);
}

const struct http_date *http_date(uint64_t now_us)
{
	struct timespec wall;

	if (now_us < now.due_us)
		return &now.date;
	(void)clock_gettime(CLOCK_REALTIME, &wall);
	now.due_us = now_us + 1000000 - (uint64_t)wall.tv_nsec / 1000;
	if (wall.tv_sec != now.date.second || !*now.date.text) {
		now.date.second = wall.tv_sec;
		http_date_format(wall.tv_sec, now.date.text);
	}
	return &now.date;
}

/* ---- the head ---- */

struct composer {
	char *at, *end;
};

static void put(struct composer *composer, const char *text, size_t n)
{
	CHECK(n <= (size_t)(composer->end - composer->at));
	memcpy(composer->at, text, n);
	composer->at += n;
}

#define PUT(composer, literal) put(composer, literal, sizeof literal - 1)

static void put_text(struct composer *composer, const char *text)
{
	put(composer, text, strlen(text));
}

static void put_decimal(struct composer *composer, uint64_t number)
{
	char digits[20];
	size_t at = sizeof digits;

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	put(composer, digits + at, sizeof digits - at);
}

static void put_head(struct composer *composer, const struct http_answer *answer, uint64_t now_us)
{
	PUT(composer, "HTTP/1.1 ");
	put_decimal(composer, (uint64_t)answer->status);
	PUT(composer, " ");
	put_text(composer, http_reason(answer->status));
	PUT(composer, "\r\nServer: weir\r\nDate: ");
	put(composer, http_date(now_us)->text, HTTP_DATE_BYTES);
	if (answer->type) {
		PUT(composer, "\r\nContent-Type: ");
		put_text(composer, answer->type);
	}
	if (answer->chunked) {
		PUT(composer, "\r\nTransfer-Encoding: chunked\r\n");
	} else {
		PUT(composer, "\r\nContent-Length: ");
		put_decimal(composer, answer->length);
		PUT(composer, "\r\n");
	}
	if (answer->fields)
		put_text(composer, answer->fields);
	if (answer->connection) {
		PUT(composer, "Connection: ");
		put_text(composer, answer->connection);
		PUT(composer, "\r\n");
	}
	PUT(composer, "\r\n");
}

const char *http_connection(const struct http_request *request)
{
	if (!request->keep_alive)
		return "close";
	return request->minor ? NULL : "keep-alive";
}

size_t http_answer_head(char *at, size_t room, const struct http_answer *answer, uint64_t now_us)
{
	struct composer composer = {at, at + room};

	put_head(&composer, answer, now_us);
	return (size_t)(composer.at - at);
}

size_t http_answer_refusal(char *at, size_t room, int status, const char *connection,
			   const char *fields, bool with_body, uint64_t now_us)
{
	struct composer composer = {at, at + room};
	const char *reason = http_reason(status);
	struct http_answer answer = {
	    .status = status,
	    .type = "text/plain; charset=utf-8",
	    .fields = fields,
	    .connection = connection,
	    .length = 3 + 1 + strlen(reason) + 1,
	};

	put_head(&composer, &answer, now_us);
	if (with_body) {
		put_decimal(&composer, (uint64_t)status);
		PUT(&composer, " ");
		put_text(&composer, reason);
		PUT(&composer, "\n");
	}
	return (size_t)(composer.at - at);
}
