/*
 * pid_file: a file that says which process is the master, while it runs.
 *
 * One server must not take another's file; one that was killed leaves a number behind, which is
 * replaced. After an upgrade the file is the new master's: each removes only its own number.
 */
#ifndef MASTER_PID_FILE_H
#define MASTER_PID_FILE_H

/* path NULL: there is none. Both die where they can't; the path stays the caller's. */
void pid_file_refuse_in_use(const char *path);
void pid_file_write(const char *path);
/* After an upgrade: where it can't be written that is logged, weir serves by now. */
void pid_file_take_over(const char *path);
/* Another process that had taken it over is gone: it is ours again. */
void pid_file_take_back(void);
/* What was written last goes, if it is still ours. */
void pid_file_remove(void);

#endif
