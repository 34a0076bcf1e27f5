/*
 * plan: what a run of weirload is to do, according to the command line.
 *
 * Made once, before the fork, and read-only from then on. If anything is wrong with the command
 * line, wrong_usage() ends the process.
 */
#ifndef BENCH_WEIRLOAD_PLAN_PLAN_H
#define BENCH_WEIRLOAD_PLAN_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/weirload/plan/client_protocol.h"
#include "bench/weirload/http/http_message.h"
#include "worker/config/endpoint.h"

#define PLAN_PROCESSES_MAX 1024
#define PLAN_DESCRIPTORS   32 /* of a sending process, beside its connections */
/* Of the conductor (run), beside one for each process: stdin, stdout, stderr, --json, --hdr, a
 * socketpair, /proc. */
#define PLAN_DESCRIPTORS_CONDUCTOR 9
#define PLAN_ADDRESSES_MAX	   65536

/* Which body a reply of HTTP has to have. */
enum plan_body {
	PLAN_BODY_UNTOLD,
	PLAN_BODY_SAME, /* the body of the first reply */
	PLAN_BODY_ECHO, /* the body that was sent */
	PLAN_BODY_ANY
};

#define PLAN_STATUS_MAX 599

struct plan {
	const char *listener;
	struct endpoint endpoint;
	const struct client_protocol *protocol;
	struct client_protocol http; /* protocol points here for http, which also needs: */
	struct http_message message;
	bool talk;
	bool chats, redis; /* chat lines are sent instead of messages; the server is Redis */
	bool churn, idle, chunked;
	bool wait;  /* begin when stdin ends */
	int nice;   /* of sending processes */
	bool batch; /* of datagrams: several by one call */
	uint64_t connections, slow, senders;
	uint64_t duration_us, warmup_us, timeout_us;
	uint64_t size, pipeline, connect_rate, processes;
	double rate;			    /* messages a second in all; 0: a closed loop */
	struct address source, destination; /* the first of each */
	uint64_t sources, destinations;	    /* how many; 0: none is bound; LISTENER's address */
	pid_t server_pid;		    /* 0: not given */
	/* For http; NULL: not given. */
	const char *path, *method, *status;
	const char *headers[HTTP_HEADERS_MAX]; /* NAME: VALUE */
	size_t headers_n;
	bool wanted[PLAN_STATUS_MAX + 1]; /* by status: whether a reply may have it */
	enum plan_body body;
	const char *json, *hdr;
};

/* Does it send at a rate, whatever comes back? */
static inline bool plan_is_open(const struct plan *plan)
{
	return plan->rate > 0;
}

void plan_read(struct plan *plan, int argc, char **argv);

/* "closed", "open", "churn" or "idle" */
const char *plan_mode(const struct plan *plan);
/* What is held: "connections", or "sockets". */
const char *plan_noun(const struct plan *plan);

static inline uint32_t plan_timeout_ms(const struct plan *plan)
{
	return (uint32_t)((plan->timeout_us + 999) / 1000);
}

/* How many of n things process i gets, if they are dealt out to the sending processes like cards.
 */
uint32_t plan_deal(const struct plan *plan, uint64_t n, unsigned i);
/* How many connections process i gets. */
uint32_t plan_share(const struct plan *plan, unsigned i);

#endif
