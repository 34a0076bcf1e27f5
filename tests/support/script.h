/*
 * script: runs a script of bench/ to its end, and looks at its output and at what it left behind.
 *
 * All processes that a script starts inherit a mark in their environment (script_mark()), so that a
 * test can find those that outlive it. One at a time in a test's process.
 */
#ifndef TESTS_SUPPORT_SCRIPT_H
#define TESTS_SUPPORT_SCRIPT_H

#include "tests/support/harness.h"

#define SCRIPT_OUTPUT_BYTES (1 << 16)

/* What the last script said, on stdout and stderr. */
extern char script_output[SCRIPT_OUTPUT_BYTES];

/* Runs a command to its end. Returns its status. */
int script_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
void script_expect(const char *text);

/* Whether what the scripts need to make load is there; if not, the test is skipped. */
bool script_can_load(const char *test);
/* A folder with a build whose weirload is a script with this text; all else is the real build. */
const char *script_false_build(const char *weirload);

/* From now on all that this test starts is marked. */
void script_mark(void);
/* How many processes other than this one have our mark in their environment. */
int script_marked(void);
void script_expect_nothing_left(void);

bool script_is_json(const char *text);
/* Expects the file to be one JSON value, and to contain this text. */
void script_expect_json(const char *path, const char *text);

#endif
