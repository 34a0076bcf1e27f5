/*
 * faulty_http: a server of HTTP that gets one answer in so many wrong, to see whether weirload
 * notices; or that does something unusual but right, to see that weirload accepts it.
 *
 * The answer to GET is "hello, world\n", or 100,000 bytes if the path is /big; POST and others get
 * their body back, or "created\n" if the path is /fixed; HEAD gets the head of a GET. Every other
 * answer is framed by Content-Length, the rest by chunks, and no two successive heads are the same.
 * A process of its own (faulty_peers.h).
 */
#ifndef TESTS_SUPPORT_SERVERS_FAULTY_HTTP_H
#define TESTS_SUPPORT_SERVERS_FAULTY_HTTP_H

enum http_fault {
	HTTP_FAULT_NONE,
	HTTP_FAULT_DRIBBLE,   /* each answer is sent byte by byte: nothing is wrong */
	HTTP_FAULT_LAST,      /* an answer says Connection: close, and the connection is closed */
	HTTP_FAULT_BEHIND,    /* an answer says Connection: close, and comes twice */
	HTTP_FAULT_LEAVE,     /* the server's side of the connection is shut after an answer */
	HTTP_FAULT_QUIT,      /* the connection is closed after an answer, whatever lies unread */
	HTTP_FAULT_RESET,     /* the connection is reset after an answer */
	HTTP_FAULT_OLD,	      /* HTTP/1.0, without a length, closed at its end: nothing is wrong */
	HTTP_FAULT_OLD_ONCE,  /* HTTP/1.0, with a length, closed at its end: nothing is wrong */
	HTTP_FAULT_OLD_KEEPS, /* HTTP/1.0, with a length and keep-alive: nothing is wrong */
	HTTP_FAULT_TO_END,    /* without a length, closed at its end: nothing is wrong */
	HTTP_FAULT_CUT,	      /* the same, a byte shorter than the others */
	HTTP_FAULT_TLS,	      /* a TLS alert */
	HTTP_FAULT_HTTPS,     /* 400 in HTTP/1.0, with a text about HTTPS, and no more answers */
	HTTP_FAULT_KEY,	      /* 403, unless the request has X-Key: 7 */
	HTTP_FAULT_STATUS,    /* 503 */
	HTTP_FAULT_VERSION,   /* HTTP/2.0 */
	HTTP_FAULT_LINE_END,  /* a line of the head ends in LF alone */
	HTTP_FAULT_FRAMES,    /* framed both by Content-Length and by chunks */
	HTTP_FAULT_UNFRAMED,  /* framed by neither */
	HTTP_FAULT_CHUNK,     /* a chunk is longer than it says */
	HTTP_FAULT_SHORTER,   /* a byte less, and the length says so */
	HTTP_FAULT_LONGER,    /* a byte more, and the length says so */
	HTTP_FAULT_LOSE,      /* a byte is missing, and there is one more at the end */
	HTTP_FAULT_ALTER,     /* one bit of the byte in the middle is changed */
	HTTP_FAULT_ALTER_END, /* one bit of the last byte is changed */
	HTTP_FAULT_APART,     /* every second connection gets another body, always the same */
	HTTP_FAULT_FOREIGN,   /* the body is that of the answer before, to whichever client */
	HTTP_FAULT_TWICE,     /* an answer comes twice */
	HTTP_FAULT_CLOSE,     /* the connection is closed in the middle of an answer */
	HTTP_FAULT_MUTE,      /* the connection is closed instead of an answer */
	HTTP_FAULT_DROP,      /* a request is not answered */
};

/* Starts a server; the fault happens once in `every` answers. Returns its port. */
unsigned faulty_http_start(enum http_fault fault, unsigned long every);

#endif
