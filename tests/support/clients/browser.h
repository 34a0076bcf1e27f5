/*
 * browser: a headless Chromium, driven over its debugging pipe (one page, no port, no library).
 *
 * Its events (requests, errors, console messages) are kept as JSON text, in which tests search. The
 * browser ends with the test's process, because its pipe closes. A wait that takes too long fails
 * the test; the limits are longer than the harness', because a browser takes seconds to start.
 */
#ifndef TESTS_SUPPORT_CLIENTS_BROWSER_H
#define TESTS_SUPPORT_CLIENTS_BROWSER_H

#include <stdbool.h>
#include <stddef.h>

struct browser;

/* Whether a browser is installed; if not, the test is skipped. */
bool browser_there(const char *test);
struct browser *browser_start(void);
void browser_open(struct browser *browser, const char *url);
/* The value of a JavaScript expression, as text; valid until the next call. */
const char *browser_ask(struct browser *browser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Waits until the expression is true. */
void browser_wait(struct browser *browser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* How often its events have contained text since its start; unless `then` is NULL, only if `then`
 * follows. */
size_t browser_said(const struct browser *browser, const char *text, const char *then);
/* The last of its events. */
const char *browser_log(const struct browser *browser);
void browser_end(struct browser *browser);

#endif
