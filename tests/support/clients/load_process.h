/*
 * load_process: clients of an echo server, in a process of their own, while a test does things to
 * the server.
 *
 * Talkers stay: a message, its echo, the next one. Comers connect, have one message echoed and
 * leave, one in eight by FIN and the others by RST (so many FINs would use up the ports). Each byte
 * is compared. A client whose connection is lost is counted, and connects again. The process ends
 * with the test's.
 */
#ifndef TESTS_SUPPORT_CLIENTS_LOAD_PROCESS_H
#define TESTS_SUPPORT_CLIENTS_LOAD_PROCESS_H

#include <stdint.h>

struct load_plan {
	const char *address;
	unsigned talkers, comers;
	unsigned pause_ms; /* of a talker between two messages */
};

struct load_figures {
	uint64_t messages, connects; /* whose echo came; which were served */
	uint64_t refused;	     /* a connect failed */
	uint64_t ended, reset;	     /* by the server, whenever: FIN, RST */
	uint64_t wrong;		     /* another byte than was sent */
	uint64_t stuck;		     /* no echo in twice patience_ms() */
	uint64_t longest_us;	     /* a talker waited for its echo */
	int error;		     /* the last one of a connect */
};

struct load_process;

/* Returns when each of them has been served once. */
struct load_process *load_process_start(const struct load_plan *plan);
struct load_figures load_process_now(const struct load_process *load);
/* Waits until so many more were served. */
void load_process_wait(const struct load_process *load, uint64_t messages, uint64_t connects);
/* Lets them finish what is under way, and go. */
struct load_figures load_process_end(struct load_process *load);
/* Nobody was refused, lost or given a wrong byte. */
void load_process_is_well(const struct load_figures *figures);
/* Both; and a FIGURE line. */
void load_process_ends_well(struct load_process *load, const char *what);

#endif
