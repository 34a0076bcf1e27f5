/*
 * lock_file: lets one process at a time look at a file and then act on it.
 *
 * What is guarded is named by its path; the lock is flock(2) on a file beside it, PATH.lock, which
 * only its maker's user can open, so that no stranger can hold it. It is there while it is held:
 * the holder removes it. A lock belongs to the open file: it outlives an exec, and a next master
 * that has the descriptor holds it, too. Nothing here waits for one.
 */
#ifndef MASTER_LOCK_FILE_H
#define MASTER_LOCK_FILE_H

#include <stdbool.h>

/* A descriptor, closed on exec; -EWOULDBLOCK: somebody else has it; or another -errno. */
int lock_file_take(const char *path);
/* Does it still keep others away? Not if somebody has removed the file. */
bool lock_file_holds(int lock, const char *path);
/* Lets go of it, and closes the descriptor. */
void lock_file_release(int lock, const char *path);

#endif
