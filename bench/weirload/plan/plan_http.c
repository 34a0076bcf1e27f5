#include "bench/weirload/plan/plan_http.h"

#include <stdio.h>
#include <string.h>

#include "bench/weirload/plan/wrong_usage.h"

static const char *const bodies[] = {
    [PLAN_BODY_SAME] = "same", [PLAN_BODY_ECHO] = "echo", [PLAN_BODY_ANY] = "any"};

enum plan_body plan_http_body_named(const char *name)
{
	for (unsigned i = PLAN_BODY_SAME; i < sizeof bodies / sizeof *bodies; i++)
		if (strcmp(bodies[i], name) == 0)
			return (enum plan_body)i;
	return PLAN_BODY_UNTOLD;
}

const char *plan_http_body_name(const struct plan *plan)
{
	return bodies[plan->body];
}

const char *plan_http_status(const struct plan *plan)
{
	return plan->status ? plan->status : "200";
}

/* The LISTENER of a unix socket has a path or a name in place of HOST, and no PATH to ask for. */
void plan_http_take_path(struct plan *plan)
{
	static char listener[ENDPOINT_TEXT_BYTES];
	size_t scheme = strlen("http://"), n;

	if (strncmp(plan->listener, "https://", 8) == 0 ||
	    strncmp(plan->listener, "wss://", 6) == 0)
		wrong_usage("%s: weirload speaks no TLS: ask the port behind what ends it",
			    plan->listener);
	if (strncmp(plan->listener, "http://", scheme) != 0 || strchr("/@", plan->listener[scheme]))
		return;
	n = scheme + strcspn(plan->listener + scheme, "/?");
	if (plan->listener[n] != '/' || n >= sizeof listener)
		return;
	if (plan->path)
		wrong_usage("%s has a path, and there is a --path: which of them?", plan->listener);
	plan->path = plan->listener + n;
	if (!http_message_path_is(plan->path))
		wrong_usage("%s: \"%s\" is no path such as /bytes/1000", plan->listener,
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
		wrong_usage("--%s is for http only", told);
	if (plan->body)
		wrong_usage("--body %s is for http only", plan_http_body_name(plan));
}

static void check_body(const struct plan *plan)
{
	static const char *const none[] = {"GET", "HEAD", "TRACE"};

	for (size_t i = 0; plan->size && plan->method && i < sizeof none / sizeof *none; i++)
		if (strcmp(plan->method, none[i]) == 0)
			wrong_usage("--method %s sends no body: --size is for POST, PUT and others",
				    none[i]);
	if (plan->chunked && !plan->size)
		wrong_usage("--chunked needs a --size: without it there is no body");
	if (plan->body == PLAN_BODY_ECHO && !plan->size)
		wrong_usage("--body echo needs a --size: without it nothing can come back");
}

void plan_http_make(struct plan *plan)
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
			wrong_usage("--churn says Connection: close itself: no --header %s",
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
