#include "bench/weirload/plan/wrong_usage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "reactor/base/printable.h"

void wrong_usage(const char *format, ...)
{
	char words[4096], shown[4096];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof words, format, arguments);
	va_end(arguments);
	(void)fprintf(stderr, "weirload: %s (weirload --help)\n",
		      printable_text(shown, sizeof shown, words));
	exit(2);
}
