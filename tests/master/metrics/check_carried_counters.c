/*
 * Counters over an upgrade to a version with other counters: those that both versions have go on,
 * found by name, wherever they are. The test makes the other version's scoreboard: its counters are
 * in reverse order, one is missing, and one is new.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "master/metrics/lifetime_counters.h"
#include "master/metrics/carried_counters.h"
#include "tests/support/harness.h"
#include "tests/support/clients/scraper.h"
#include "tests/support/server_control.h"

#define GONE "accepted" /* a counter that the other version does not have */

static struct {
	unsigned char *start;
	size_t bytes;
	int fd;
	struct scoreboard_head *head;
	struct scoreboard *scoreboard; /* ours */
} other;

static const struct stats_row *row_of(const char *name)
{
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strcmp(stats_rows[i].name, name) == 0)
			return &stats_rows[i];
	ck_abort_msg("there is no %s", name);
	return NULL;
}

static uint32_t place_there(size_t row)
{
	return (uint32_t)(stats_rows_n - row) * 8;
}

static void other_row(const char *name, uint32_t offset, uint32_t kind)
{
	struct scoreboard_row *row = &other.head->rows[other.head->rows_n++];

	(void)snprintf(row->name, sizeof row->name, "%s", name);
	row->offset = offset;
	row->kind = kind;
}

static void make_other(void)
{
	uint32_t each = (uint32_t)(stats_rows_n + 9) * 8;
	struct scoreboard_head head = {.version = SCOREBOARD_VERSION,
				       .seats_n = SEATS_MAX,
				       .layout = 1,
				       .seats_at = sizeof head,
				       .seat_bytes = each,
				       .carried_at = sizeof head + SEATS_MAX * each,
				       .carried_bytes = each};
	int fd;

	other.bytes = sizeof head + 2 * SEATS_MAX * (size_t)each;
	other.fd = memfd_create("weir-board", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(other.fd, (off_t)other.bytes), 0);
	other.start = mmap(NULL, other.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, other.fd, 0);
	ck_assert_ptr_ne(other.start, MAP_FAILED);
	other.head = (struct scoreboard_head *)(void *)other.start;
	*other.head = head;
	other_row("of_the_future", 0, STATS_COUNTER);
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strcmp(stats_rows[i].name, GONE) != 0)
			other_row(stats_rows[i].name, place_there(i), (uint32_t)stats_rows[i].kind);
	other.scoreboard = scoreboard_open(&fd);
	ck_assert_ptr_nonnull(other.scoreboard);
}

static uint64_t *number_there(size_t seat, const struct stats_row *row, bool carried)
{
	size_t at = carried ? other.head->carried_at : other.head->seats_at;

	at += seat * other.head->seat_bytes + place_there((size_t)(row - stats_rows));
	return (uint64_t *)(void *)(other.start + at);
}

static uint64_t value(size_t seat, const char *name)
{
	return scoreboard_value(other.scoreboard, seat, row_of(name));
}

START_TEST(what_both_know_goes_on_by_its_name)
{
	make_other();
	for (size_t i = 0; i < stats_rows_n; i++)
		*number_there(3, &stats_rows[i], false) = 1000 + i;
	*number_there(3, row_of("sent_bytes"), false) = 77;
	*number_there(3, row_of("connections"), false) = 2;
	STATS_ADD(&other.scoreboard->seats[3].stats, sent_bytes, 1);
	STATS_ADD(&other.scoreboard->seats[3].stats, accepted, 4);
	ck_assert(carried_counters_open(other.scoreboard, other.fd));
	ck_assert_uint_eq(value(3, "sent_bytes"), 78);
	ck_assert_uint_eq(value(3, "closed_eof"),
			  1000 + (size_t)(row_of("closed_eof") - stats_rows));
	ck_assert_uint_eq(value(3, GONE), 4); /* the other version did not count these */
	ck_assert_uint_eq(value(4, "sent_bytes"), 0);
	/* The other version's workers go on counting, and end. */
	*number_there(3, row_of("sent_bytes"), false) += 100;
	ck_assert_uint_eq(value(3, "connections"), 2);
	carried_counters_look();
	ck_assert_uint_eq(value(3, "sent_bytes"), 178);
	*number_there(3, row_of("sent_bytes"), false) += 100;
	carried_counters_close();
	ck_assert_uint_eq(value(3, "sent_bytes"), 278);
	ck_assert_uint_eq(value(3, "connections"), 0);
	*number_there(3, row_of("sent_bytes"), false) += 100;
	carried_counters_look();
	ck_assert_uint_eq(value(3, "sent_bytes"), 278);
	STATS_ADD(&other.scoreboard->seats[3].stats, sent_bytes, 1);
	ck_assert_uint_eq(value(3, "sent_bytes"), 279);
}
END_TEST

/* The other version had itself taken over counters from a version before it. */
START_TEST(it_is_carried_over_two_versions)
{
	make_other();
	other.head->carries = 1;
	*number_there(0, row_of("sent_bytes"), false) = 10;
	*number_there(0, row_of("sent_bytes"), true) = 20;
	*number_there(0, row_of("queued_bytes_max"), false) = 10;
	*number_there(0, row_of("queued_bytes_max"), true) = 20;
	ck_assert(carried_counters_open(other.scoreboard, other.fd));
	ck_assert_uint_eq(value(0, "sent_bytes"), 30);
	ck_assert_uint_eq(value(0, "queued_bytes_max"), 20); /* a maximum is not added */
}
END_TEST

/* If a counter has become a gauge, it is not carried over. */
START_TEST(another_kind_is_another_counter)
{
	make_other();
	for (size_t i = 0; i < other.head->rows_n; i++)
		if (strcmp(other.head->rows[i].name, "sent_bytes") == 0)
			other.head->rows[i].kind = STATS_GAUGE;
	*number_there(0, row_of("sent_bytes"), false) = 10;
	ck_assert(carried_counters_open(other.scoreboard, other.fd));
	ck_assert_uint_eq(value(0, "sent_bytes"), 0);
}
END_TEST

/* The description may be wrong, as workers of the other version can write there. Nothing outside of
 * the scoreboard may be read. */
START_TEST(a_description_that_lies_is_not_followed)
{
	static const struct {
		size_t at;
		uint32_t lie;
	} lies[] = {
	    {offsetof(struct scoreboard_head, version), SCOREBOARD_VERSION + 1},
	    {offsetof(struct scoreboard_head, seats_n), 0x7fffffff},
	    {offsetof(struct scoreboard_head, rows_n), SCOREBOARD_ROWS_MAX + 1},
	    {offsetof(struct scoreboard_head, seats_at), 0xfffffff8},
	    {offsetof(struct scoreboard_head, seats_at), 4},
	    {offsetof(struct scoreboard_head, seat_bytes), 0xfffffff8},
	    {offsetof(struct scoreboard_head, seat_bytes), 0},
	    {offsetof(struct scoreboard_head, seat_bytes), 12},
	    {offsetof(struct scoreboard_head, carried_at), 0xfffffff8},
	    {offsetof(struct scoreboard_head, carried_bytes), 0xfffffff8},
	};

	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		make_other();
		memcpy(other.start + lies[i].at, &lies[i].lie, sizeof lies[i].lie);
		ck_assert_msg(!carried_counters_open(other.scoreboard, other.fd), "lie %zu", i);
		ck_assert(!other.scoreboard->head.carries);
	}
	make_other(); /* rows that are not within a seat are ignored */
	for (size_t i = 0; i < other.head->rows_n; i++) {
		other.head->rows[i].offset = i % 2 ? 0xfffffff8 : other.head->seat_bytes;
		memset(other.head->rows[i].name + strlen(other.head->rows[i].name), 'x', 4);
	}
	memset(other.head->rows[0].name, 'x', sizeof other.head->rows[0].name);
	ck_assert(carried_counters_open(other.scoreboard, other.fd));
	ck_assert_uint_eq(value(SEATS_MAX - 1, "sent_bytes"), 0);
}
END_TEST

/* ---- what masters count ---- */

START_TEST(a_masters_own_counters_go_on)
{
	size_t pauses = (size_t)(row_of("accept_pauses") - stats_rows);
	int fd;

	lifetime_counters_open(-1);
	lifetime_counters_add(LIFETIME_RELOADS);
	ck_assert_uint_eq(lifetime_counters_of_masters(pauses, 3), 3);
	ck_assert_uint_eq(lifetime_counters_of_masters(pauses, 5), 5);
	fd = dup(lifetime_counters_fd());
	lifetime_counters_close();
	lifetime_counters_open(fd); /* the next master */
	ck_assert_uint_eq(lifetime_counters_of_masters(pauses, 0), 5);
	ck_assert_uint_eq(lifetime_counters_of_masters(pauses, 2), 7);
	ck_assert_uint_eq(lifetime_counters_of_masters(pauses + 1, 1), 1);
	ck_assert_uint_eq(lifetime_counters_count(LIFETIME_RELOADS), 1);
	ck_assert_uint_eq(lifetime_counters_count(LIFETIME_UPGRADES), 0);
	lifetime_counters_close();
}
END_TEST

START_TEST(an_upgrade_keeps_what_the_master_counted)
{
	static const char series[] = "weir_accept_pauses_total{worker=\"master\"}";
	struct server *server =
	    CONTROLLED("--workers", "1", "--accept", "handoff", "--max-connections", "1",
		       "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int held = connect_to(server->ports[0]), waits;
	struct wait wait = wait_begin();
	const char *text;
	double before;

	send_text(held, "x");
	expect_text(held, "x");
	waits = connect_to(server->ports[0]);
	while (!(text = sample_text(scrape_at(port), series)))
		wait_more(&wait, "a pause of the master's");
	before = strtod(text, NULL);
	ck_assert(before >= 1);
	(void)close(waits);
	(void)close(held);
	server_control_do("upgrade");
	server_control_follow(server);
	text = sample_text(scrape_at(port), series);
	ck_assert_ptr_nonnull(text);
	ck_assert(strtod(text, NULL) >= before);
	server_control_stop(server);
}
END_TEST

SUITE("carried", {"what both know goes on by its name", what_both_know_goes_on_by_its_name, 10},
      {"it is carried over two versions", it_is_carried_over_two_versions, 10},
      {"another kind is another counter", another_kind_is_another_counter, 10},
      {"a description that lies is not followed", a_description_that_lies_is_not_followed, 20},
      {"a master's own counters go on", a_masters_own_counters_go_on, 10},
      {"an upgrade keeps what the master counted", an_upgrade_keeps_what_the_master_counted, 60})
