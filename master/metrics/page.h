/*
 * page: the page at / of the metrics address, one HTML file without outside resources.
 *
 * It is master/metrics/page.html as it stood when weir was built; it lives in the program's
 * read-only data. It has to be served with PAGE_POLICY as Content-Security-Policy: the page may run
 * what is in itself, and ask its own address for `metrics` and `readyz`, and nothing else.
 */
#ifndef MASTER_METRICS_PAGE_H
#define MASTER_METRICS_PAGE_H

#include <stddef.h>

#define PAGE_TYPE "text/html; charset=utf-8"
#define PAGE_POLICY                                                                                \
	"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "              \
	"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "                 \
	"frame-ancestors 'none'"

extern const unsigned char page_html[];
extern const size_t page_html_n;

#endif
