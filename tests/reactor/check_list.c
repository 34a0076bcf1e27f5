/*
 * list: an intrusive circular list compared with an array that does the same the slow way.
 *
 * It can't see a node that is linked into two lists at once: the list has no way to know.
 */
#include <string.h>

#include "reactor/base/list.h"
#include "tests/support/harness.h"

/* ck_assert() writes a mark each time it is passed, which is slow for a million of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

struct item {
	int before; /* so that the node is not at the beginning of the item */
	struct list node;
	int number;
};

static struct item *item_of(struct list *node)
{
	return CONTAINER_OF(node, struct item, node);
}

/* Expects the list to have these numbers in this order, read in both directions. */
static void expect_numbers(struct list *head, const int *numbers, size_t n)
{
	struct list *back = head;
	size_t i = 0;

	LIST_EACH (head, node) {
		MUST(i < n);
		MUST(item_of(node)->number == numbers[i++]);
		MUST(node->next->prev == node);
	}
	MUST(i == n);
	while ((back = back->prev) != head)
		MUST(item_of(back)->number == numbers[--i]);
	MUST(i == 0);
	MUST(list_linked(head) == (n > 0));
}

START_TEST(appends_in_order)
{
	static const int numbers[] = {0, 1, 2, 3};
	struct item items[4];
	struct list head;

	list_init(&head);
	expect_numbers(&head, NULL, 0);
	for (int i = 0; i < 4; i++) {
		items[i].number = i;
		list_init(&items[i].node);
		ck_assert(!list_linked(&items[i].node));
		list_append(&head, &items[i].node);
		ck_assert(list_linked(&items[i].node));
		expect_numbers(&head, numbers, (size_t)i + 1);
	}
}
END_TEST

START_TEST(removing_twice_harms_nobody)
{
	static const int numbers[] = {0, 2};
	struct item items[3];
	struct list head;

	list_init(&head);
	for (int i = 0; i < 3; i++) {
		items[i].number = i;
		list_append(&head, &items[i].node);
	}
	for (int i = 0; i < 2; i++) {
		list_remove(&items[1].node);
		ck_assert(!list_linked(&items[1].node));
		expect_numbers(&head, numbers, 2);
	}
}
END_TEST

START_TEST(splices_to_the_end_and_empties_the_other)
{
	static const int numbers[] = {0, 1, 2, 3};
	struct item items[4];
	struct list to, from;

	list_init(&to);
	list_init(&from);
	list_splice(&to, &from);
	expect_numbers(&to, NULL, 0);
	for (int i = 0; i < 4; i++) {
		items[i].number = i;
		list_append(i < 2 ? &to : &from, &items[i].node);
	}
	list_splice(&to, &from);
	expect_numbers(&to, numbers, 4);
	expect_numbers(&from, NULL, 0);
	list_splice(&to, &from); /* `from` is empty: nothing is added */
	expect_numbers(&to, numbers, 4);
	list_splice(&from, &to); /* into an empty one */
	expect_numbers(&from, numbers, 4);
	expect_numbers(&to, NULL, 0);
}
END_TEST

START_TEST(the_node_in_hand_may_leave_and_go_elsewhere)
{
	static const int odd[] = {1, 3, 5}, even[] = {0, 2, 4};
	struct item items[6];
	struct list head, other;

	list_init(&head);
	list_init(&other);
	for (int i = 0; i < 6; i++) {
		items[i].number = i;
		list_append(&head, &items[i].node);
	}
	LIST_EACH_SAFE (&head, node) {
		if (item_of(node)->number % 2)
			continue;
		list_remove(node);
		list_append(&other, node);
	}
	expect_numbers(&head, odd, 3);
	expect_numbers(&other, even, 3);
}
END_TEST

/* ---- against a model ---- */

#define ITEMS 24
#define LISTS 3

static struct {
	int numbers[LISTS][ITEMS];
	size_t n[LISTS];
	int where[ITEMS]; /* the list of each item; -1: none */
} model;

static void model_remove(int number)
{
	int list = model.where[number];
	size_t i = 0;

	if (list < 0)
		return;
	while (model.numbers[list][i] != number)
		i++;
	model.n[list]--;
	memmove(&model.numbers[list][i], &model.numbers[list][i + 1],
		(model.n[list] - i) * sizeof(int));
	model.where[number] = -1;
}

static void model_append(int list, int number)
{
	model.numbers[list][model.n[list]++] = number;
	model.where[number] = list;
}

START_TEST(random_operations_agree_with_an_array)
{
	static struct item items[ITEMS];
	struct list heads[LISTS];
	uint64_t seed = 1;

	for (int i = 0; i < LISTS; i++)
		list_init(&heads[i]);
	for (int i = 0; i < ITEMS; i++) {
		items[i].number = i;
		list_init(&items[i].node);
		model.where[i] = -1;
	}
	for (unsigned long step = 0; step < suite_volume(200000); step++) {
		uint64_t random = next_random(&seed);
		int item = (int)(random % ITEMS);
		int list = (int)(random / ITEMS % LISTS), other = (list + 1) % LISTS;

		if (random >> 60 == 0) { /* now and then */
			list_splice(&heads[list], &heads[other]);
			while (model.n[other]) {
				int number = model.numbers[other][0];

				model_remove(number);
				model_append(list, number);
			}
		} else {
			list_remove(&items[item].node);
			model_remove(item);
			if (random >> 59 & 1) {
				list_append(&heads[list], &items[item].node);
				model_append(list, item);
			}
		}
		for (int i = 0; i < LISTS; i++)
			expect_numbers(&heads[i], model.numbers[i], model.n[i]);
	}
}
END_TEST

SUITE("list", {"appends in order", appends_in_order, 10},
      {"removing twice harms nobody", removing_twice_harms_nobody, 10},
      {"splices to the end and empties the other", splices_to_the_end_and_empties_the_other, 10},
      {"the node in hand may leave and go elsewhere", the_node_in_hand_may_leave_and_go_elsewhere,
       10},
      {"random operations agree with an array", random_operations_agree_with_an_array, 60})
