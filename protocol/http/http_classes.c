/* Which bytes may stand where in a head (RFC 9110, section 5; RFC 3986, appendix A). */
#include "protocol/http/http_parse_parts.h"

const unsigned char http_classes[256] = {
    ['\t'] = TEXT | BLANK, [' '] = TEXT | BLANK,
    ['!'] = NAME,	   ['"'] = VALUE,
    ['#'] = TEXT | TOKEN,  ['$'] = NAME,
    ['%'] = TEXT | TOKEN,  ['&'] = NAME,
    ['\''] = NAME,	   ['('] = DELIM,
    [')'] = DELIM,	   ['*'] = NAME,
    ['+'] = NAME,	   [','] = DELIM,
    ['-'] = NAME,	   ['.'] = NAME,
    ['/'] = TEXT | PATH,   ['0' ... '9'] = NAME | HEX | DIGIT,
    [':'] = TEXT | PATH,   [';'] = DELIM,
    ['<'] = TEXT,	   ['='] = DELIM,
    ['>'] = TEXT,	   ['?'] = TEXT,
    ['@'] = TEXT | PATH,   ['A' ... 'F'] = NAME | HEX,
    ['G' ... 'Z'] = NAME,  ['['] = TEXT,
    ['\\'] = VALUE,	   [']'] = TEXT,
    ['^'] = TEXT | TOKEN,  ['_'] = NAME,
    ['`'] = TEXT | TOKEN,  ['a' ... 'f'] = NAME | HEX,
    ['g' ... 'z'] = NAME,  ['{'] = TEXT,
    ['|'] = TEXT | TOKEN,  ['}'] = TEXT,
    ['~'] = NAME,	   [0x80 ... 0xff] = TEXT,
};
