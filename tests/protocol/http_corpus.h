/*
 * http_corpus: good and malformed requests, for tests of programs that read HTTP.
 *
 *     GOOD  `reads` is what is in the bytes, a line for each request:
 *           METHOD PATH keep|close [BODY]
 *     BAD   is refused with `status`, as `section` of the RFC says; `reads` has the requests
 *           before it
 *     CUT   the same, but in a body whose answer may have begun: the answer has the status, or
 *           stops before its end
 */
#ifndef TESTS_PROTOCOL_HTTP_CORPUS_H
#define TESTS_PROTOCOL_HTTP_CORPUS_H

#include <stddef.h>

enum entry_kind { ENTRY_GOOD, ENTRY_BAD, ENTRY_CUT };

struct http_entry {
	enum entry_kind kind;
	const char *name;
	const char *bytes;
	size_t n;
	const char *reads;
	int status;
	const char *section;
};

#define X10(text)  text text text text text text text text text text
#define X100(text) X10(X10(text))

#define ENTRY(kind, name, bytes, reads, status, section)                                           \
	{kind, name, bytes, sizeof(bytes) - 1, reads, status, section},
#define GOOD(name, bytes, reads)	  ENTRY(ENTRY_GOOD, name, bytes, reads, 200, "")
#define BAD(name, bytes, status, section) ENTRY(ENTRY_BAD, name, bytes, "", status, section)
#define BAD_AFTER(name, bytes, reads, status, section)                                             \
	ENTRY(ENTRY_BAD, name, bytes, reads, status, section)
#define CUT(name, bytes, section) ENTRY(ENTRY_CUT, name, bytes, "", 400, section)

static const struct http_entry http_corpus[] = {
#include "tests/protocol/http_corpus.def"
};

#undef ENTRY
#undef GOOD
#undef BAD
#undef BAD_AFTER
#undef CUT

#define HTTP_CORPUS_N (sizeof http_corpus / sizeof *http_corpus)

#endif
