/*
 * manifest: what the next master needs to know, as lines of text in a memfd.
 *
 * It names the descriptors that survive the exec by number. The first line is its version; a line
 * that the next master does not know ends the upgrade. The first versions read lines as C strings:
 * so what came later stands behind a NUL, where they do not see it, as a line of its own.
 */
#ifndef MASTER_CHANGE_MANIFEST_H
#define MASTER_CHANGE_MANIFEST_H

#include "master/change/upgrade.h"

/* Writes it into a memfd. A descriptor, closed on exec; -1, and errno. */
int manifest_open(const struct handover_state *handover, const struct listen_set *set);
/* In the child that becomes the next master: lets the descriptors that it names survive exec. */
void manifest_let_survive(const struct handover_state *handover, const struct listen_set *set);
/* In the next master: fills in the handover, and closes fd. Dies of what it can't read. */
void manifest_read(int fd, struct handover_state *handover);

#endif
