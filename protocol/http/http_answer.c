#include "protocol/http/http_answer.h"

#include <string.h>
#include <time.h>

#include "reactor/base/check.h"
#include "reactor/base/writer.h"

/* ---- the date ---- */

static struct {
	struct http_date date;
	uint64_t due_us; /* when another second begins; 0: the clock was never read */
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

static void put_head(struct writer *writer, const struct http_answer *answer, uint64_t now_us)
{
	writer_text(writer, "HTTP/1.1 ");
	writer_number(writer, (uint64_t)answer->status);
	writer_text(writer, " ");
	writer_text(writer, http_reason(answer->status));
	writer_text(writer, "\r\nServer: weir\r\nDate: ");
	writer_put(writer, http_date(now_us)->text, HTTP_DATE_BYTES);
	if (answer->type) {
		writer_text(writer, "\r\nContent-Type: ");
		writer_text(writer, answer->type);
	}
	if (answer->chunked) {
		writer_text(writer, "\r\nTransfer-Encoding: chunked\r\n");
	} else {
		writer_text(writer, "\r\nContent-Length: ");
		writer_number(writer, answer->length);
		writer_text(writer, "\r\n");
	}
	if (answer->fields)
		writer_text(writer, answer->fields);
	if (answer->connection) {
		writer_text(writer, "Connection: ");
		writer_text(writer, answer->connection);
		writer_text(writer, "\r\n");
	}
	writer_text(writer, "\r\n");
}

const char *http_connection(const struct http_request *request)
{
	if (!request->keep_alive)
		return "close";
	return request->minor ? NULL : "keep-alive";
}

size_t http_answer_head(char *at, size_t room, const struct http_answer *answer, uint64_t now_us)
{
	struct writer writer = {at, at + room};

	put_head(&writer, answer, now_us);
	return (size_t)(writer.at - at);
}

size_t http_answer_refusal(char *at, size_t room, int status, const char *connection,
			   const char *fields, bool with_body, uint64_t now_us)
{
	struct writer writer = {at, at + room};
	const char *reason = http_reason(status);
	struct http_answer answer = {
	    .status = status,
	    .type = "text/plain; charset=utf-8",
	    .fields = fields,
	    .connection = connection,
	    .length = 3 + 1 + strlen(reason) + 1,
	};

	put_head(&writer, &answer, now_us);
	if (with_body) {
		writer_number(&writer, (uint64_t)status);
		writer_text(&writer, " ");
		writer_text(&writer, reason);
		writer_text(&writer, "\n");
	}
	return (size_t)(writer.at - at);
}
