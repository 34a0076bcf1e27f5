/*
 * faulty: an echo server that gets one byte in so many wrong, and a chat server that gets one
 * delivery in so many wrong, to see whether weirload notices. They are processes of their own
 * (faulty_peers.h).
 */
#ifndef TESTS_SUPPORT_SERVERS_FAULTY_H
#define TESTS_SUPPORT_SERVERS_FAULTY_H

#include <sys/types.h>

enum fault {
	FAULT_NONE,
	FAULT_DROP,    /* a byte goes missing */
	FAULT_DOUBLE,  /* 24 bytes come twice */
	FAULT_SWAP,    /* two neighbouring bytes change places */
	FAULT_ALTER,   /* a byte has one bit changed */
	FAULT_FOREIGN, /* 24 bytes are those of another connection */
	FAULT_EXTRA,   /* bytes that nobody sent follow an answer */
	FAULT_CLOSE,   /* the connection is closed, nothing more is answered */
	FAULT_MUTE,    /* nothing is ever answered */
	FAULT_BABBLE,  /* bytes come before anything was asked */
	FAULT_TLS,     /* the answer to everything is a TLS alert */
	FAULT_SLOW,    /* each answer takes 5 ms, one after the other */
	FAULT_TIRED,   /* each except the first of a connection takes 8 ms, one after the other */
};

/* What the last server that was started has seen so far; in shared memory. */
struct faulty_count {
	unsigned long units; /* bytes that came, or deliveries */
	unsigned long faults;
	unsigned long closed; /* clients of a chat that were closed because they read nothing */
};
const struct faulty_count *faulty_counted(void);

/* Starts an echo server; the fault happens once in `every` bytes. */
pid_t faulty_start(enum fault fault, unsigned long every, unsigned *port);

enum chat_fault {
	CHAT_FAULT_NONE,    /* a client that reads nothing is closed, as it should be */
	CHAT_FAULT_LOSE,    /* a line does not come */
	CHAT_FAULT_DOUBLE,  /* a line comes twice */
	CHAT_FAULT_SWAP,    /* a line comes after the next one of its sender */
	CHAT_FAULT_ALTER,   /* one bit of a line is changed */
	CHAT_FAULT_SHORTEN, /* a byte of a line is missing */
	CHAT_FAULT_ECHO,    /* a line goes to its sender as well */
	CHAT_FAULT_DEAF,    /* one client gets nothing any more, all others do */
	CHAT_FAULT_CLOSE,   /* one client's connection is ended, and no other */
	CHAT_FAULT_MUTE,    /* nothing is ever delivered */
};

/* Starts a chat server; the fault happens once in `every` deliveries. */
pid_t faulty_chat_start(enum chat_fault fault, unsigned long every, unsigned *port);

#endif
