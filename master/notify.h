/*
 * notify: tells systemd how weir is, as sd_notify(3) says, without libsystemd.
 *
 * Only the main process speaks (NotifyAccess=main): the master, or the one process there is.
 * notify_open() takes what is for us out of the environment, so that no child sees it; an upgrade
 * passes it on with notify_environment(). Without NOTIFY_SOCKET every call does nothing. Nothing
 * here may block, or end the server: the datagram goes, or is lost and logged once. What a service
 * manager waits for (READY, RELOADING, STOPPING, MAINPID) is not lost if its queue is full, but
 * kept, and sent before what is said next.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NOTIFY_STATUS_BYTES 256
#define NOTIFY_LINES	    2

/* Once, before anything is forked or threaded. */
void notify_open(void);
void notify_close(void);
bool notify_is_open(void);

/* All workers are up, at start and after a reload. */
void notify_ready(const char *status);
/* A reload begins; notify_ready() ends it, whether it went well or not. */
void notify_reloading(void);
void notify_stopping(const char *status);
/* What `systemctl status` shows; sent only if it differs from the last one. Call it now and then:
 * it also sends what is kept. */
void notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Another process is the main one from now on, and is ready; the process that was the main one has
 * to say so. False: it is only kept (see notify_status()), and lost if this process leaves now. */
bool notify_main_pid(pid_t pid);

/* How often to call notify_watchdog(): twice in the watchdog's time; 0: there is none. */
uint32_t notify_watchdog_ms(void);
void notify_watchdog(void);

/* "NAME=value" of what the next master needs, for execve(2); how many. They live as long as the
 * process. WATCHDOG_PID is left out: without it, the watchdog is for whoever reads the line. */
size_t notify_environment(const char *lines[NOTIFY_LINES]);

#endif
