/* The assembler takes the file in: no generated source, and nothing to unpack at run time. */
#include "master/metrics/page.h"

_Static_assert(sizeof(size_t) == 8, "page_html_n is a .quad");

/* The path is from the top of the tree, where make runs the compiler. */
__asm__(".pushsection .rodata\n"
	".balign 8\n"
	".globl page_html_n\n"
	".type page_html_n, %object\n"
	".size page_html_n, 8\n"
	"page_html_n:\n"
	".quad page_html_end - page_html\n"
	".globl page_html\n"
	".type page_html, %object\n"
	"page_html:\n"
	".incbin \"master/metrics/page.html\"\n"
	"page_html_end:\n"
	".byte 0\n"
	".size page_html, page_html_end - page_html\n"
	".popsection\n");
