/*
 * scraper: asks an HTTP server as monitoring does, and finds samples in Prometheus' text.
 *
 * A reply that is not whole by its Content-Length fails the test. Replies are kept until the
 * process ends.
 */
#ifndef TESTS_SUPPORT_CLIENTS_SCRAPER_H
#define TESTS_SUPPORT_CLIENTS_SCRAPER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define REPLY_HEAD_MAX 4096

/* Memory that is never freed, but that a leak check sees to be in use. */
static inline void *keep(size_t n)
{
	static struct kept {
		struct kept *before;
		max_align_t memory[];
	} * last;
	struct kept *kept = calloc(1, sizeof *kept + n);

	ck_assert_ptr_nonnull(kept);
	kept->before = last;
	last = kept;
	return kept->memory;
}

struct reply {
	int status;
	char head[REPLY_HEAD_MAX + 1]; /* with its empty line */
	char *body;		       /* ends with a zero byte */
	size_t body_n;
};

/* Reads the reply to a request that was sent; without_body: the request was HEAD. */
static inline struct reply *read_reply(int fd, bool without_body)
{
	struct reply *reply = keep(sizeof *reply);
	const char *length;
	size_t n = 0;

	while (n < 4 || memcmp(reply->head + n - 4, "\r\n\r\n", 4) != 0) {
		ck_assert_msg(n < REPLY_HEAD_MAX, "no end of the head: %s", reply->head);
		receive_exactly(fd, reply->head + n++, 1);
	}
	ck_assert_msg(sscanf(reply->head, "HTTP/1.1 %d ", &reply->status) == 1, "%s", reply->head);
	length = strstr(reply->head, "Content-Length: ");
	ck_assert_ptr_nonnull(length);
	reply->body_n = strtoul(length + 16, NULL, 10);
	reply->body = keep(reply->body_n + 1);
	if (!without_body)
		receive_exactly(fd, reply->body, reply->body_n);
	return reply;
}

static inline struct reply *ask(int fd, const char *request)
{
	send_text(fd, request);
	return read_reply(fd, strncmp(request, "HEAD ", 5) == 0);
}

static inline struct reply *get_on(int fd, const char *path)
{
	char request[256];

	(void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	return ask(fd, request);
}

static inline struct reply *get(unsigned port, const char *path)
{
	int fd = connect_to(port);
	struct reply *reply = get_on(fd, path);

	(void)close(fd);
	return reply;
}

static inline char *scrape_at(unsigned port)
{
	struct reply *reply = get(port, "/metrics");

	ck_assert_int_eq(reply->status, 200);
	return reply->body;
}

/* The value of a series as text; NULL: there is no such series. */
static inline const char *sample_text(const char *text, const char *series)
{
	size_t n = strlen(series);

	for (const char *at = text; (at = strstr(at, series)); at += n)
		if ((at == text || at[-1] == '\n') && at[n] == ' ')
			return at + n + 1;
	return NULL;
}

static inline uint64_t sample(const char *text, const char *series)
{
	const char *value = sample_text(text, series);

	ck_assert_msg(value != NULL, "there is no %s in:\n%.2000s", series, text);
	return strtoull(value, NULL, 10);
}

static inline bool sample_is(const char *text, const char *series, const char *value)
{
	const char *at = sample_text(text, series);

	return at && strncmp(at, value, strlen(value)) == 0 && at[strlen(value)] == '\n';
}

static inline void expect_sample(const char *text, const char *series, const char *value)
{
	const char *at = sample_text(text, series);

	ck_assert_msg(at != NULL, "there is no %s in:\n%.2000s", series, text);
	ck_assert_msg(sample_is(text, series, value), "%s is %.*s, not %s", series,
		      (int)strcspn(at, "\n"), at, value);
}

/* The port at which metrics are served, as the log said last. */
static inline unsigned metrics_port(struct server *server)
{
	const char *at = NULL, *next;

	server_wait_log(server, "msg=metrics address=");
	for (next = server->log; (next = strstr(next, "msg=metrics address=")); next++)
		at = next;
	at += strcspn(at, "\n");
	while (at[-1] >= '0' && at[-1] <= '9')
		at--;
	return (unsigned)strtoul(at, NULL, 10);
}

#endif
