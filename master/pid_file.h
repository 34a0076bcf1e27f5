/*
 * pid_file: a file that says which process is the master, while it runs.
 *
 * One server must not take another's file: the lock beside it (lock_file.h) is held from the start
 * to the end, over upgrades. A number that is there without a lock was left by a server that was
 * killed, and is replaced. Of two masters only one has the file: the new one from when it serves,
 * or the old one again when the new one has died; a master that does not have it leaves it alone.
 * Nothing is ever written through a link, or into a file that is somebody else's too; no device or
 * socket is replaced.
 */
#ifndef MASTER_PID_FILE_H
#define MASTER_PID_FILE_H

#define PID_FILE_PATH_BYTES 4096

/* What another master hands over. */
struct pid_file_inherited {
	int lock; /* -1: it had no pid file */
	char path[PID_FILE_PATH_BYTES];
};

/* Locks it. path, NULL if there is no pid file, stays the caller's. Dies if another server has the
 * lock. inherited: of the master before us; NULL: there was none. */
void pid_file_open(const char *path, const struct pid_file_inherited *inherited);
/* Dies if it can't. */
void pid_file_write(void);
/* For the next master. */
void pid_file_export(struct pid_file_inherited *inherited);
/* In the next master, when it serves; logs if the file can't be written. Removes the file of the
 * master before, if that was another one. */
void pid_file_take_over(void);
/* In the one before: the next master has it now. */
void pid_file_hand_over(void);
/* That one is gone: it is ours again. */
void pid_file_take_back(void);
/* If it is ours, lets go of the lock, and removes the file unless somebody else has written it. */
void pid_file_remove(void);

#endif
