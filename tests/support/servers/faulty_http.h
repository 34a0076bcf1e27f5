/*
 * faulty_http: a server of HTTP that gets one answer in so many wrong, to see whether weirload
 * finds it, or does with it what a server may.
 *
 * GET has "hello, world\n", or 100,000 bytes if the path is /big; POST and others have their
 * body back, or "created\n" if the path is /fixed; HEAD has the head of a GET. One answer in two
 * is framed by Content-Length, the others by chunks, and no two heads that follow each other are
 * the same. A process of its own (faulty_peers.h).
 */
#ifndef TESTS_SUPPORT_SERVERS_FAULTY_HTTP_H
#define TESTS_SUPPORT_SERVERS_FAULTY_HTTP_H

enum http_fault {
	HTTP_FAULT_NONE,
	HTTP_FAULT_DRIBBLE,   /* each answer goes byte by byte: nothing is wrong */
	HTTP_FAULT_LAST,      /* an answer says Connection: close, and the connection is closed */
	HTTP_FAULT_BEHIND,    /* an answer says Connection: close, and comes twice */
	HTTP_FAULT_LEAVE,     /* its side of the connection is shut after an answer */
	HTTP_FAULT_QUIT,      /* the connection is closed after an answer, whatever lies unread */
	HTTP_FAULT_RESET,     /* it is reset after an answer */
	HTTP_FAULT_OLD,	      /* HTTP/1.0, without a length, closed at its end: nothing is wrong */
	HTTP_FAULT_OLD_ONCE,  /* HTTP/1.0, with a length, closed at its end: nothing is wrong */
	HTTP_FAULT_OLD_KEEPS, /* HTTP/1.0, with a length and keep-alive: nothing is wrong */
	HTTP_FAULT_TO_END,    /* without a length, closed at its end: nothing is wrong */
	HTTP_FAULT_CUT,	      /* the same, a byte shorter than the others */
	HTTP_FAULT_TLS,	      /* an alert of TLS */
	HTTP_FAULT_HTTPS,     /* 400 in HTTP/1.0, with a text about HTTPS, and no more answers */
	HTTP_FAULT_KEY,	      /* 403, unless the request has X-Key: 7 */
	HTTP_FAULT_STATUS,    /* 503 */
	HTTP_FAULT_VERSION,   /* HTTP/2.0 */
	HTTP_FAULT_LINE_END,  /* a line of the head ends in LF alone */
	HTTP_FAULT_FRAMES,    /* Content-Length and chunks */
	HTTP_FAULT_UNFRAMED,  /* neither */
	HTTP_FAULT_CHUNK,     /* a chunk is longer than it says */
	HTTP_FAULT_SHORTER,   /* a byte less, and the length says so */
	HTTP_FAULT_LONGER,    /* a byte more, and the length says so */
	HTTP_FAULT_LOSE,      /* a byte goes missing, and another one stands at the end */
	HTTP_FAULT_ALTER,     /* the byte in the middle has one bit changed */
	HTTP_FAULT_ALTER_END, /* the last one */
	HTTP_FAULT_APART,     /* each second connection has another body, always the same */
	HTTP_FAULT_FOREIGN,   /* the body is that of the answer before, of whomever */
	HTTP_FAULT_TWICE,     /* an answer comes twice */
	HTTP_FAULT_CLOSE,     /* the connection is closed in the middle of an answer */
	HTTP_FAULT_MUTE,      /* it is closed instead of an answer */
	HTTP_FAULT_DROP,      /* it is not answered */
};

/* Starts one; the fault happens once in `every` answers. Its port. */
unsigned faulty_http_start(enum http_fault fault, unsigned long every);

#endif
