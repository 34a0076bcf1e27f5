/* What the command line asks of HTTP: requests, and which replies are right. */
#include "bench/weirload/plan/plan_parts.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const bodies[] = {
    [PLAN_BODY_SAME] = "same", [PLAN_BODY_ECHO] = "echo", [PLAN_BODY_ANY] = "any"};
#define BODIES (sizeof bodies / sizeof *bodies)

/* ---- values ---- */

void option_path(struct plan *plan, const char *value)
{
	plan->path = value;
	if (!http_message_path_is(value))
		usage_error("--path takes a path such as /bytes/1000, not \"%s\"", value);
}

void option_method(struct plan *plan, const char *value)
{
	static const char *const known[] = {"GET",    "HEAD",  "POST",	"PUT",
					    "DELETE", "PATCH", "TRACE", "OPTIONS"};

	plan->method = value;
	if (!http_message_method_is(value))
		usage_error("--method takes a method such as PUT, not \"%s\"", value);
	if (strcasecmp(value, "CONNECT") == 0)
		usage_error("--method CONNECT asks for a tunnel, and no reply");
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcasecmp(value, known[i]) == 0 && strcmp(value, known[i]) != 0)
			usage_error("--method %s: methods tell case apart; do you mean %s?", value,
				    known[i]);
}

void option_header(struct plan *plan, const char *value)
{
	const char *wrong = http_message_header_wrong(value);
	size_t bytes = strlen(value);

	if (wrong)
		usage_error("--header \"%s\": %s", value, wrong);
	for (size_t i = 0; i < plan->headers_n; i++) {
		bytes += strlen(plan->headers[i]);
		if (http_message_header_is(value, "Host") &&
		    http_message_header_is(plan->headers[i], "Host"))
			usage_error("--header Host is there twice: which of them?");
	}
	if (plan->headers_n == HTTP_HEADERS_MAX || bytes > HTTP_HEADERS_BYTES)
		usage_error("--header: at most %d of them, and %d bytes in all", HTTP_HEADERS_MAX,
			    HTTP_HEADERS_BYTES);
	plan->headers[plan->headers_n++] = value;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* 404, or 4xx; how many bytes it has, 0 where it is neither. Those below 200 are no answers. */
static size_t take_status(struct plan *plan, const char *at)
{
	bool class = at[0] >= '2' && at[0] <= '5' && strncasecmp(at + 1, "xx", 2) == 0;
	unsigned from = (unsigned)(at[0] - '0') * 100;

	if (at[0] < '2' || at[0] > '5' || (!class && (!is_digit(at[1]) || !is_digit(at[2]))))
		return 0;
	if (!class)
		from += (unsigned)(at[1] - '0') * 10 + (unsigned)(at[2] - '0');
	for (unsigned i = 0; i < (class ? 100 : 1); i++)
		plan->wanted[from + i] = true;
	return 3;
}

void option_status(struct plan *plan, const char *value)
{
	const char *at = value;
	size_t n;

	plan->status = value;
	memset(plan->wanted, 0, sizeof plan->wanted);
	do {
		n = take_status(plan, at);
		at += n;
	} while (n && *at == ',' && *++at);
	if (!n || *at || at[-1] == ',')
		usage_error("--status takes numbers from 200 to 599 and classes, such as 404 or "
			    "2xx,304, not \"%s\"",
			    value);
}

void option_body(struct plan *plan, const char *value)
{
	size_t i = PLAN_BODY_SAME;

	while (i < BODIES && strcmp(bodies[i], value) != 0)
		i++;
	if (i == BODIES)
		usage_error("--body takes same, echo or any, not \"%s\"", value);
	plan->body = (enum plan_body)i;
}

void option_chunked(struct plan *plan, const char *value)
{
	(void)value;
	plan->chunked = true;
}

const char *plan_body_name(const struct plan *plan)
{
	return bodies[plan->body];
}

const char *plan_status(const struct plan *plan)
{
	return plan->status ? plan->status : "200";
}

/* ---- what no single value shows ---- */

/* A path and a name of a unix socket stand where HOST does. */
void plan_take_path(struct plan *plan)
{
	static char listener[ENDPOINT_TEXT_BYTES];
	size_t scheme = strlen("http://"), n;

	if (strncmp(plan->listener, "https://", 8) == 0 ||
	    strncmp(plan->listener, "wss://", 6) == 0)
		usage_error("%s: weirload speaks no TLS: ask the port behind what ends it",
			    plan->listener);
	if (strncmp(plan->listener, "http://", scheme) != 0 || strchr("/@", plan->listener[scheme]))
		return;
	n = scheme + strcspn(plan->listener + scheme, "/?");
	if (plan->listener[n] != '/' || n >= sizeof listener)
		return;
	if (plan->path)
		usage_error("%s has a path, and there is a --path: which of them?", plan->listener);
	plan->path = plan->listener + n;
	if (!http_message_path_is(plan->path))
		usage_error("%s: \"%s\" is no path such as /bytes/1000", plan->listener,
			    plan->path);
	(void)snprintf(listener, sizeof listener, "%.*s", (int)n, plan->listener);
	plan->listener = listener;
}

static void refuse_http(const struct plan *plan)
{
	const char *told = plan->path	     ? "path"
			   : plan->method    ? "method"
			   : plan->headers_n ? "header"
			   : plan->status    ? "status"
			   : plan->chunked   ? "chunked"
					     : NULL;

	if (told)
		usage_error("--%s is for http only", told);
	if (plan->body)
		usage_error("--body %s is for http only", plan_body_name(plan));
}

static void check_body(const struct plan *plan)
{
	static const char *const none[] = {"GET", "HEAD", "TRACE"};

	for (size_t i = 0; plan->size && plan->method && i < sizeof none / sizeof *none; i++)
		if (strcmp(plan->method, none[i]) == 0)
			usage_error("--method %s sends no body: --size is for POST, PUT and others",
				    none[i]);
	if (plan->chunked && !plan->size)
		usage_error("--chunked needs a --size: without it there is no body");
	if (plan->body == PLAN_BODY_ECHO && !plan->size)
		usage_error("--body echo needs a --size: without it nothing can come back");
}

void plan_make_http(struct plan *plan)
{
	struct http_request request = {.listener = plan->listener,
				       .method = plan->method,
				       .path = plan->path,
				       .size = plan->size,
				       .chunked = plan->chunked,
				       .closes = plan->churn,
				       .headers = plan->headers,
				       .headers_n = plan->headers_n};

	if (!plan->protocol->http) {
		refuse_http(plan);
		return;
	}
	check_body(plan);
	for (size_t i = 0; plan->churn && i < plan->headers_n; i++)
		if (http_message_header_is(plan->headers[i], "Connection"))
			usage_error("--churn says Connection: close itself: no --header %s",
				    plan->headers[i]);
	if (!plan->body)
		plan->body = plan->size ? PLAN_BODY_ECHO : PLAN_BODY_SAME;
	if (!plan->status)
		plan->wanted[200] = true;
	http_message_make(&plan->message, &request);
	plan->http = *plan->protocol;
	plan->http.head = plan->message.head;
	plan->http.tail = plan->message.tail;
	plan->protocol = &plan->http;
}
