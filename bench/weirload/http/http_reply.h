/*
 * http_reply: one reply of HTTP/1.1 or 1.0, read as its bytes come, in whatever pieces.
 *
 * Strict, because its purpose is to find servers that are not: every line ends in CR LF; a body is
 * framed by Content-Length, by chunks (only in 1.1), or by the connection's end, and never by two
 * of these; nothing is longer than it may be.
 *
 * Owned by a connection, zeroed when a reply begins. It keeps only the beginning of a line that is
 * not whole yet. A head that equals the last one byte for byte (within the same second most do) is
 * not parsed again: see struct http_head. No I/O, no allocation.
 */
#ifndef BENCH_WEIRLOAD_HTTP_HTTP_REPLY_H
#define BENCH_WEIRLOAD_HTTP_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_REPLY_LINES_MAX 32768 /* bytes of a head and of the 1xx before it */
#define HTTP_REPLY_LINE_MAX  192   /* bytes of each line that are looked at */
#define HTTP_HEAD_BYTES	     1024  /* a longer head is parsed each time */

/* What a head says. */
struct http_facts {
	uint64_t length; /* Content-Length */
	uint16_t status; /* 0: the head is not whole yet */
	bool old;	 /* HTTP/1.0 */
	bool has_length, chunked;
	bool bodiless;		/* because of its status, or because it answers a HEAD */
	bool until_close;	/* its body ends when the connection does */
	bool says_close, keeps; /* Connection: close, keep-alive */
	bool closes;		/* it is the last reply of its connection, for whatever reason */
};

struct http_reply {
	struct http_facts facts;
	uint64_t left;	 /* bytes of the body, or of its chunk, that are to come */
	uint64_t body_n; /* bytes of the body that have come */
	uint32_t lines_n, line_n;
	enum {
		HTTP_REPLY_STATUS,
		HTTP_REPLY_FIELD,
		HTTP_REPLY_BODY,
		HTTP_REPLY_CHUNK_LINE,
		HTTP_REPLY_CHUNK,
		HTTP_REPLY_CHUNK_END,
		HTTP_REPLY_TRAILER,
	} at;
	bool to_head;			/* it answers a HEAD */
	bool cr;			/* the last byte of the line was a CR */
	char line[HTTP_REPLY_LINE_MAX]; /* the beginning of a line that is not whole */
};

/* The last head that was parsed, on any connection of a process. */
struct http_head {
	struct http_facts facts;
	size_t n; /* 0: none */
	unsigned char bytes[HTTP_HEAD_BYTES];
};

struct http_piece {
	size_t taken; /* how many of the given bytes were used: 1 or more */
	bool head;    /* the head became whole: facts are valid */
	const unsigned char *body;
	size_t body_n;
	bool whole;	   /* the reply has ended with this */
	const char *wrong; /* NULL; or why this is no reply of HTTP/1: then nothing else is set */
};

void http_reply_begin(struct http_reply *reply, bool to_head);
/* Reads some of n bytes, at least 1, and at most up to the end of a piece of the body, or of the
 * reply. head may be NULL. */
void http_reply_read(struct http_reply *reply, struct http_head *head, const unsigned char *bytes,
		     size_t n, struct http_piece *piece);
/* Whether any byte of the reply, or of a 1xx before it, has come. */
bool http_reply_is_begun(const struct http_reply *reply);
/* The connection has ended: whether that makes the reply whole. */
bool http_reply_end(const struct http_reply *reply);

#endif
