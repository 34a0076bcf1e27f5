/*
 * plan_addresses: the destination and the local address of a connection, if there are several.
 *
 * Each pair of a local address and a destination has ports of its own, and connect() takes long to
 * find one once half of the ports of a pair are in use, those of ended connections included. One
 * more destination costs nothing. One more local address has to be bound, which costs a call, and
 * an entry in a table of the kernel for each address and port. So several local addresses are used
 * only if the server listens on a single address.
 */
#ifndef BENCH_WEIRLOAD_PLAN_PLAN_ADDRESSES_H
#define BENCH_WEIRLOAD_PLAN_PLAN_ADDRESSES_H

#include "bench/weirload/plan/plan.h"

/* Parses ADDR[-ADDR], the value of option --name: how many addresses, and the first of them. */
uint64_t plan_addresses_range(const char *name, const char *value, struct address *begin);
/* Puts the address of --destination in place of LISTENER's. */
void plan_addresses_take_destination(struct plan *plan);
/* Chooses several addresses if there are enough connections to need them, and the command line
 * names none. */
void plan_addresses_spread(struct plan *plan);

/* The local address of the nth connection of the run, if plan->sources is not 0; and its
 * destination. */
struct address plan_addresses_source(const struct plan *plan, uint64_t nth);
struct address plan_addresses_destination(const struct plan *plan, uint64_t nth);
/* Whether both ends are on this machine, as far as the address shows. */
bool plan_addresses_are_local(const struct plan *plan);

#endif
