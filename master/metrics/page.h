/*
 * page: the window at / of the metrics address, one HTML file without outside resources.
 *
 * It is master/metrics/page.html as it stood when weir was built; it lives in the program's
 * read-only data. Whoever serves it gives it PAGE_POLICY as Content-Security-Policy: what the page
 * may do is to run what is in itself, and to ask its own address for `metrics` and `readyz`.
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
