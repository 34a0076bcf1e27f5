/*
 * browser: a headless Chromium, driven over its debugging pipe (one page, no port, no library).
 *
 * What it says on its own (requests, errors, what the console gets) is kept as JSON text and
 * looked for there. It ends with the test's process: its pipe closes. All waits end in a failed
 * test; they are longer than the harness', as a browser takes seconds to start.
 */
#ifndef TESTS_SUPPORT_CLIENTS_BROWSER_H
#define TESTS_SUPPORT_CLIENTS_BROWSER_H

#include <stdbool.h>
#include <stddef.h>

struct browser;

/* Is one installed? Else the test is skipped, with this reason. */
bool browser_there(const char *test);
struct browser *browser_start(void);
void browser_open(struct browser *browser, const char *url);
/* What a JavaScript expression comes to, as text; good until the next one. */
const char *browser_ask(struct browser *browser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Waits until the expression is true. */
void browser_wait(struct browser *browser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* How often it has said this text since its start; if it is followed by then, unless that is
 * NULL. */
size_t browser_said(const struct browser *browser, const char *text, const char *then);
/* The end of all that it has said. */
const char *browser_log(const struct browser *browser);
void browser_end(struct browser *browser);

#endif
