/*
 * list: an intrusive, circular, doubly linked list.
 *
 * The head and the nodes are the same type. A node that is in no list is linked to
 * itself, so that list_remove() may be called on it again, and list_linked() answers
 * without a second flag. The list owns nothing: whoever embeds a node sees to it that
 * the node leaves before its memory goes.
 */
#ifndef REACTOR_BASE_LIST_H
#define REACTOR_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *node)
{
	node->next = node->prev = node;
}

static inline bool list_linked(const struct list *node)
{
	return node->next != node;
}

static inline void list_append(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Moves every node of from to the end of to, and leaves from empty. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (!list_linked(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define LIST_EACH(head, node)                                                                      \
	for (struct list *node = (head)->next; node != (head); node = node->next)

/* Like LIST_EACH, but the node in hand may leave the list. */
#define LIST_EACH_SAFE(head, node)                                                                 \
	for (struct list *node = (head)->next, *node##_next = node->next; node != (head);          \
	     node = node##_next, node##_next = node->next)

#endif
