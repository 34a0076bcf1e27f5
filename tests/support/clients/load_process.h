/*
 * load_process: clients of an echo server, in a process of their own, while a test does things to
 * the server.
 *
 * Talkers stay: each sends a message, waits for its echo, and sends the next one. Comers connect,
 * have one message echoed and leave, one in eight by FIN and the others by RST (FINs alone would
 * use up the ports). Each byte is compared. A client whose connection is lost is counted, and
 * connects again. The process ends with the test's.
 */
#ifndef TESTS_SUPPORT_CLIENTS_LOAD_PROCESS_H
#define TESTS_SUPPORT_CLIENTS_LOAD_PROCESS_H

#include <stdint.h>

struct load_plan {
	const char *address;
	unsigned talkers, comers;
	unsigned pause_ms; /* how long a talker pauses between two messages */
};

struct load_figures {
	uint64_t messages, connects; /* messages that were echoed; connections that were served */
	uint64_t refused;	     /* connects that failed */
	uint64_t ended, reset;	     /* connections ended by the server at any time: FIN, RST */
	uint64_t wrong;		     /* echoes with another byte than was sent */
	uint64_t stuck;		     /* connects and messages unanswered for twice patience_ms() */
	uint64_t longest_us;	     /* the longest that a talker waited for its echo */
	int error;		     /* the last errno of a connect */
};

struct load_process;

/* Returns when each client has been served once. */
struct load_process *load_process_start(const struct load_plan *plan);
struct load_figures load_process_now(const struct load_process *load);
/* Waits until so many more messages and connections were served. */
void load_process_wait(const struct load_process *load, uint64_t messages, uint64_t connects);
/* Lets the clients finish what is under way, and ends the process. */
struct load_figures load_process_end(struct load_process *load);
/* Expects that no client was refused, lost its connection or got a wrong byte. */
void load_process_is_well(const struct load_figures *figures);
/* Does both, and prints a FIGURE line. */
void load_process_ends_well(struct load_process *load, const char *what);

#endif
