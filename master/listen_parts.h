/*
 * listen_parts: what the files of listen say to each other, and nobody else.
 */
#ifndef MASTER_LISTEN_PARTS_H
#define MASTER_LISTEN_PARTS_H

#include "master/listen.h"

/* Takes in a copy of a point that another master made. NULL: there are too many, or the number is
 * another one's. */
struct point *listen_inherit(const struct point *point, const struct protocol *protocol,
			     uint32_t number);
/* Has what was inherited this descriptor already? */
bool listen_inherited(int fd);

#endif
