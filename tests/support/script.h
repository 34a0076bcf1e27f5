/*
 * script: a script of bench/, run to its end as a test, and what it said and left behind.
 *
 * All processes that it starts inherit a mark in their environment (script_mark()), so that a test
 * finds those that outlive it. One at a time in a test's process.
 */
#ifndef TESTS_SUPPORT_SCRIPT_H
#define TESTS_SUPPORT_SCRIPT_H

#include "tests/support/harness.h"

#define SCRIPT_OUTPUT_BYTES (1 << 16)

/* What the last one said, to stdout and stderr. */
extern char script_output[SCRIPT_OUTPUT_BYTES];

/* Runs a command to its end: its status. */
int script_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
void script_expect(const char *text);

/* What loads need is there; else the test says why not. */
bool script_can_load(const char *test);
/* A folder with a build whose weirload is this text; the rest is the real one. */
const char *script_false_build(const char *weirload);

/* From here on, what this test starts is marked. */
void script_mark(void);
/* Processes, beside this one, that have our mark in their environment. */
int script_marked(void);
void script_expect_nothing_left(void);

bool script_is_json(const char *text);
/* The file is one JSON value, and says this somewhere. */
void script_expect_json(const char *path, const char *text);

#endif
