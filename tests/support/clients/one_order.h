/*
 * one_order: is there one order of all lines that everybody heard them in?
 *
 * Each client says of each line that it hears which one it heard before that. These pairs are the
 * edges of a graph, and one order exists exactly if it has no circle. A line's successors are few,
 * whatever the number of clients, because most of them heard the same one next.
 */
#ifndef TESTS_SUPPORT_CLIENTS_ONE_ORDER_H
#define TESTS_SUPPORT_CLIENTS_ONE_ORDER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct one_order_line {
	uint32_t *next; /* lines that somebody heard right after it */
	uint32_t next_n, next_max;
	uint32_t before; /* how many lines there are that somebody heard right before it */
};

/* A line is known by its number, from 0 on. */
struct one_order {
	struct one_order_line *lines;
	uint32_t n, max;
};

static inline bool one_order_room(struct one_order *order, uint32_t line)
{
	struct one_order_line *lines;
	uint32_t max = order->max ? order->max : 1024;

	while (max <= line)
		max *= 2;
	if (line >= order->n)
		order->n = line + 1;
	if (max == order->max)
		return true;
	lines = realloc(order->lines, max * sizeof *lines);
	if (!lines)
		return false;
	for (uint32_t i = order->max; i < max; i++)
		lines[i] = (struct one_order_line){0};
	order->lines = lines;
	order->max = max;
	return true;
}

/* Somebody heard one line, and then the other. False: there is no memory. */
static inline bool one_order_heard(struct one_order *order, uint32_t before, uint32_t line)
{
	struct one_order_line *at;

	if (!one_order_room(order, before > line ? before : line))
		return false;
	at = &order->lines[before];
	for (uint32_t i = 0; i < at->next_n; i++)
		if (at->next[i] == line)
			return true;
	if (at->next_n == at->next_max) {
		uint32_t max = at->next_max ? 2 * at->next_max : 2;
		uint32_t *next = realloc(at->next, max * sizeof *next);

		if (!next)
			return false;
		at->next = next;
		at->next_max = max;
	}
	at->next[at->next_n++] = line;
	order->lines[line].before++;
	return true;
}

/* Takes away, again and again, lines before which there is none (Kahn 1962): what is left is in
 * circles, or behind them. Returns how many lines that are, and frees all. */
static inline uint32_t one_order_circles(struct one_order *order)
{
	uint32_t *ready = malloc((order->n + 1) * sizeof *ready), ready_n = 0, left = order->n;

	for (uint32_t i = 0; ready && i < order->n; i++)
		if (!order->lines[i].before)
			ready[ready_n++] = i;
	while (ready_n) {
		struct one_order_line *line = &order->lines[ready[--ready_n]];

		left--;
		for (uint32_t i = 0; i < line->next_n; i++)
			if (!--order->lines[line->next[i]].before)
				ready[ready_n++] = line->next[i];
	}
	free(ready);
	for (uint32_t i = 0; i < order->n; i++)
		free(order->lines[i].next);
	free(order->lines);
	*order = (struct one_order){0};
	return left;
}

#endif
