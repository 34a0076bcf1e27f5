/*
 * config: every kind of value, every error, and values that are written as they were read.
 *
 * Flags, the file and messages to the operator are in tests/master/check_options.c.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "reactor/stream/queue.h"
#include "tests/worker/settings.h"

static void expect_refused(const char *name, const char *value, const char *words)
{
	char error[CONFIG_ERROR_BYTES] = "";

	ck_assert_msg(!config_set(&config, row_of(name), value, error), "%s took \"%s\"", name,
		      value);
	ck_assert_msg(strstr(error, words) != NULL, "%s = %s: %s", name, value, error);
	if (strlen(value) < 100)
		ck_assert_msg(strstr(error, value) != NULL, "%s is not in: %s", value, error);
}

static void expect_value(const char *name, const char *expected)
{
	char text[512];

	config_text(&config, row_of(name), text, sizeof text);
	ck_assert_msg(strcmp(text, expected) == 0, "%s is %s, not %s", name, text, expected);
}

/* ---- texts of numbers ---- */

START_TEST(numbers)
{
	static const char *const bad[] = {"",	  " 1", "1 ",  "-1",  "+1",
					  "0x10", "1K", "one", "1.5", "18446744073709551616"};
	uint64_t value = 0;

	ck_assert(number_parse("0", &value) && value == 0);
	ck_assert(number_parse("007", &value) && value == 7);
	ck_assert(number_parse("18446744073709551615", &value) && value == UINT64_MAX);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!number_parse(bad[i], &value), "\"%s\" was taken", bad[i]);
}
END_TEST

START_TEST(sizes)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0},
		    {"0K", 0},
		    {"1", 1},
		    {"4096", 4096},
		    {"64K", 65536},
		    {"64k", 65536},
		    {"1M", 1 << 20},
		    {"2G", 2ULL << 30},
		    {"18446744073709551615", UINT64_MAX},
		    {"17179869183G", 17179869183ULL << 30}};
	static const char *const bad[] = {"",
					  "K",
					  "-1",
					  "+1",
					  " 1",
					  "1 ",
					  "1 K",
					  "1KB",
					  "1KiB",
					  "1T",
					  "1.5K",
					  "0x1",
					  "0x",
					  "1e3",
					  "18446744073709551616",
					  "17179869184G",
					  "18014398509481984K"};
	uint64_t value = 0;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		ck_assert_msg(size_parse(good[i].text, &value), "%s", good[i].text);
		ck_assert_uint_eq(value, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!size_parse(bad[i], &value), "\"%s\" was taken", bad[i]);
}
END_TEST

START_TEST(times)
{
	static const struct {
		const char *text;
		uint64_t us;
	} good[] = {{"0", 0},		{"0s", 0},
		    {"1us", 1},		{"1ms", 1000},
		    {"30s", 30000000},	{"5m", 300000000},
		    {"1h", 3600000000}, {"5124095576h", 5124095576 * 3600000000ULL}};
	static const char *const bad[] = {
	    "",	   "1",	 "30", "s",    "-1s",  "+1s",  " 1s",	      "1s ",
	    "1 s", "1S", "1d", "1.5s", "1sec", "1s30", "5124095577h", "18446744073709551616us"};
	uint64_t value = 0;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		ck_assert_msg(time_parse(good[i].text, &value), "%s", good[i].text);
		ck_assert_uint_eq(value, good[i].us);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!time_parse(bad[i], &value), "\"%s\" was taken", bad[i]);
	/* Never shorter than asked for, and 0 is still off. */
	ck_assert_uint_eq(config_ms(0), 0);
	ck_assert_uint_eq(config_ms(1), 1);
	ck_assert_uint_eq(config_ms(1000), 1);
	ck_assert_uint_eq(config_ms(1001), 2);
}
END_TEST

/* ---- options ---- */

START_TEST(defaults_are_what_the_contract_says)
{
	config_defaults(&config);
	ck_assert_uint_eq(config.workers, 0);
	ck_assert_uint_eq(config.accept, ACCEPT_REUSEPORT);
	ck_assert_uint_eq(config.affinity, 0);
	ck_assert_uint_eq(config.backlog, 4096);
	ck_assert_uint_eq(config.max_connections, 0);
	ck_assert_uint_eq(config.max_connections_per_ip, 0);
	ck_assert_uint_eq(config.overload, OVERLOAD_PAUSE);
	ck_assert_uint_eq(config.idle_timeout, 0);
	ck_assert_uint_eq(config.write_timeout, 30000000);
	ck_assert_uint_eq(config.request_timeout, 10000000);
	ck_assert_uint_eq(config.high_water, 256 << 10);
	ck_assert_uint_eq(config.low_water, 64 << 10);
	ck_assert_uint_eq(config.buffers, 256 << 20);
	ck_assert_uint_eq(config.history, 64 << 20);
	ck_assert_uint_eq(config.history_age, 300000000);
	ck_assert_uint_eq(config.max_topics, 1000000);
	ck_assert_uint_eq(config.max_subscriptions, 1000);
	ck_assert_uint_eq(config.drain_timeout, 30000000);
	ck_assert_uint_eq(config.spin, 0);
	ck_assert_ptr_null(config.user);
	ck_assert_ptr_null(config.pid_file);
	ck_assert_uint_eq(config.no_master, 0);
	ck_assert_uint_eq(config.listeners_n, 0);
}
END_TEST

START_TEST(each_kind_takes_its_values)
{
	config_defaults(&config);
	set("workers", "4");
	ck_assert_uint_eq(config.workers, 4);
	set("workers", "auto");
	ck_assert_uint_eq(config.workers, 0);
	set("max-connections", "2147483647");
	ck_assert_uint_eq(config.max_connections, INT32_MAX);
	set("accept", "handoff");
	ck_assert_uint_eq(config.accept, ACCEPT_HANDOFF);
	set("overload", "reject");
	ck_assert_uint_eq(config.overload, OVERLOAD_REJECT);
	set("no-master", "on");
	ck_assert_uint_eq(config.no_master, 1);
	set("no-master", "off");
	ck_assert_uint_eq(config.no_master, 0);
	set("idle-timeout", "90s");
	ck_assert_uint_eq(config.idle_timeout, 90000000);
	set("spin", "50us");
	ck_assert_uint_eq(config.spin, 50);
	set("buffers", "2G");
	ck_assert_uint_eq(config.buffers, 2ULL << 30);
	set("user", "nobody:nogroup");
	ck_assert_str_eq(config.user, "nobody:nogroup");
}
END_TEST

START_TEST(each_kind_refuses_what_is_none_and_says_what_it_takes)
{
	static char long_text[2000];

	config_defaults(&config);
	expect_refused("workers", "four", "takes a whole number or auto, not");
	expect_refused("workers", "", "takes a whole number or auto, not");
	expect_refused("workers", "2147483648", "takes a whole number or auto, not");
	expect_refused("backlog", "auto", "takes a whole number, not");
	expect_refused("backlog", "4K", "takes a whole number, not");
	expect_refused("accept", "share", "takes reuseport|shared|handoff, not");
	expect_refused("accept", "shared|handoff", "takes reuseport|shared|handoff, not");
	expect_refused("accept", "", "takes reuseport|shared|handoff, not");
	expect_refused("accept", "Shared", "takes reuseport|shared|handoff, not");
	expect_refused("no-master", "yes", "takes on or off, not");
	expect_refused("affinity", "1", "takes on or off, not");
	expect_refused("idle-timeout", "30", "takes a time below 6 days with its unit");
	expect_refused("idle-timeout", "200h", "takes a time below 6 days with its unit");
	expect_refused("high-water", "1T", "takes a size");
	memset(long_text, 'x', sizeof long_text - 1);
	expect_refused("high-water", long_text, "takes a size");
	/* The deadline wheel can keep no longer time. */
	set("idle-timeout", "144h");
	expect_refused("idle-timeout", "150h", "takes a time");
}
END_TEST

/* A value that was written can be read again, and means the same. */
START_TEST(texts_go_round)
{
	static const struct {
		const char *name, *value, *text;
	} texts[] = {
	    {"workers", "auto", "auto"},	  {"max-connections-per-ip", "0", "0"},
	    {"accept", "shared", "shared"},	  {"no-master", "on", "on"},
	    {"idle-timeout", "0", "0"},		  {"idle-timeout", "1500us", "1500us"},
	    {"idle-timeout", "1500ms", "1500ms"}, {"idle-timeout", "60000ms", "1m"},
	    {"idle-timeout", "120m", "2h"},	  {"buffers", "1048577", "1048577"},
	    {"buffers", "1024K", "1M"},		  {"buffers", "1024M", "1G"},
	    {"buffers", "1024G", "1024G"},	  {"pid-file", "/run/weir.pid", "/run/weir.pid"},
	};

	config_defaults(&config);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		set(texts[i].name, texts[i].value);
		expect_value(texts[i].name, texts[i].text);
		set(texts[i].name, texts[i].text);
		expect_value(texts[i].name, texts[i].text);
	}
}
END_TEST

START_TEST(random_values_go_round)
{
	static const char *const names[] = {"spin", "buffers", "backlog"};
	static const uint64_t scales[] = {1, 1000, 1000000, 60000000, 1024, 1 << 20, 3600000000};
	uint64_t seed = 11;

	config_defaults(&config);
	for (unsigned long i = 0; i < suite_volume(30000); i++) {
		const struct option_row *row = row_of(names[i % 3]);
		uint64_t *value = (uint64_t *)(void *)((char *)&config + row->offset), was;
		char text[64], error[CONFIG_ERROR_BYTES];

		*value = next_random(&seed) % 5000;
		if (row->kind != OPTION_NUMBER)
			*value *= scales[next_random(&seed) % 7];
		if (row->kind == OPTION_TIME)
			*value %= 500000000000;
		else if (row->kind == OPTION_SIZE)
			*value = BUFFERS_MIN + *value % (1ULL << 39);
		else
			*value += 1;
		was = *value;
		config_text(&config, row, text, sizeof text);
		*value = 1;
		if (!config_set(&config, row, text, error) || *value != was)
			ck_abort_msg("%s: %llu as %s", row->name, (unsigned long long)was, text);
	}
}
END_TEST

/* Every option, with its default. */
START_TEST(all_defaults_go_round)
{
	struct config before;

	config_defaults(&config);
	before = config;
	EACH_OPTION (row) {
		char text[512], error[CONFIG_ERROR_BYTES];

		config_text(&config, row, text, sizeof text);
		if (row->kind == OPTION_ACTION || !*text)
			ck_assert_ptr_null(row->value);
		else
			ck_assert_msg(config_set(&config, row, text, error), "%s: %s", row->name,
				      error);
	}
	ck_assert_mem_eq(&config, &before, sizeof config);
}
END_TEST

START_TEST(the_table_has_no_name_or_letter_twice)
{
	EACH_OPTION (row) {
		ck_assert_ptr_eq(config_find(row->name), row);
		ck_assert_uint_gt(strlen(row->meaning), 0);
		EACH_OPTION (other)
			ck_assert(!row->letter || other == row || other->letter != row->letter);
	}
	ck_assert_ptr_null(config_find(""));
	ck_assert_ptr_null(config_find("worker"));
	ck_assert_ptr_null(config_find("workers "));
}
END_TEST

START_TEST(the_nearest_key_is_offered_and_no_far_one)
{
	static const struct {
		const char *given, *nearest;
	} pairs[] = {
	    {"worker", "workers"},
	    {"wrokers", "workers"},
	    {"idle_timeout", "idle-timeout"},
	    {"idel-timeout", "idle-timeout"},
	    {"timeout", NULL},
	    {"highwater", "high-water"},
	    {"low-watr", "low-water"},
	    {"max-conections", "max-connections"},
	    {"max-connection-per-ip", "max-connections-per-ip"},
	    {"", NULL},
	    {"x", NULL},
	    {"colour", NULL},
	    {"backlogs", "backlog"},
	};
	static char long_name[500];

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		const char *nearest = config_nearest(pairs[i].given, false);

		if (pairs[i].nearest)
			ck_assert_msg(nearest && strcmp(nearest, pairs[i].nearest) == 0,
				      "%s: %s is offered", pairs[i].given,
				      nearest ? nearest : "nothing");
		else
			ck_assert_msg(!nearest, "%s: %s is offered", pairs[i].given, nearest);
	}
	EACH_OPTION (row)
		ck_assert_str_eq(config_nearest(row->name, false), row->name);
	memset(long_name, 'x', sizeof long_name - 1);
	ck_assert_ptr_null(config_nearest(long_name, false));
}
END_TEST

/* ---- the whole ---- */

static void expect_complete(size_t cpus, size_t descriptors)
{
	char error[CONFIG_ERROR_BYTES] = "";

	ck_assert_msg(config_complete(&config, cpus, descriptors, error), "%s", error);
}

START_TEST(completing_fills_in_what_is_auto)
{
	config_defaults(&config);
	expect_complete(6, 20000);
	ck_assert_uint_eq(config.workers, 6);
	ck_assert_uint_gt(config.max_connections, 19000);
	ck_assert_uint_lt(config.max_connections, 20000);
	ck_assert_uint_gt(config.listeners_n, 0);
	/* What was set is kept. */
	config_defaults(&config);
	set("workers", "3");
	set("max-connections", "77");
	listen_to("echo://127.0.0.1:0");
	expect_complete(6, 20000);
	ck_assert_uint_eq(config.workers, 3);
	ck_assert_uint_eq(config.max_connections, 77);
	ck_assert_uint_eq(config.listeners_n, 1);
	/* Very many CPUs, and very few descriptors. */
	config_defaults(&config);
	expect_complete(5000, 40);
	ck_assert_uint_eq(config.workers, WORKERS_MAX);
	ck_assert_uint_ge(config.max_connections, 1);
	ck_assert_uint_lt(config.max_connections, 40);
}
END_TEST

START_TEST(the_default_listeners_are_those_of_the_contract)
{
	static const char *const texts[] = {"echo://127.0.0.1:7878", "line://127.0.0.1:12345",
					    "increment://127.0.0.1:9090", "frame://127.0.0.1:7879"};

	config_defaults(&config);
	expect_complete(1, 1000);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		bool found = false;

		for (size_t j = 0; j < config.listeners_n; j++) {
			char text[ENDPOINT_TEXT_BYTES];

			endpoint_format(&config.listeners[j], text);
			found |= strcmp(text, texts[i]) == 0;
		}
		ck_assert_msg(found, "%s", texts[i]);
	}
}
END_TEST

START_TEST(values_out_of_range_are_refused)
{
	static const struct {
		const char *name, *value, *words;
	} bad[] = {
	    {"workers", "257", "from 1 to 256"},
	    {"backlog", "0", "at least 1"},
	    {"high-water", "0", "from 1"},
	    {"high-water", "1025M", "to 1G"},
	    {"low-water", "1025M", "at most 1G"},
	    {"buffers", "0", "from 1M"},
	    {"buffers", "1048575", "from 1M"},
	    {"buffers", "1025G", "to 1024G"},
	    {"max-line", "0", "from 1"},
	    {"max-line", "1025M", "to 1G"},
	    {"max-frame", "0", "from 1"},
	    {"max-frame", "1025M", "to 1G"},
	    {"history", "0", "from 1M"},
	    {"history", "1023K", "from 1M"},
	    {"history", "16385M", "to 16G"},
	    {"max-topics", "0", "at least 1"},
	    {"max-subscriptions", "0", "at least 1"},
	};
	static const char *const good[][2] = {
	    {"history", "1M"},	 {"history", "16G"},	    {"history-age", "0"},
	    {"max-topics", "1"}, {"max-topics", "1000000"}, {"max-subscriptions", "1"}};

	config_defaults(&config);
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		char error[CONFIG_ERROR_BYTES];

		ck_assert_msg(config_set(&config, row_of(good[i][0]), good[i][1], error),
			      "%s = %s: %s", good[i][0], good[i][1], error);
		expect_value(good[i][0], good[i][1]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		expect_refused(bad[i].name, bad[i].value, bad[i].words);
}
END_TEST

START_TEST(values_that_do_not_go_together_are_refused)
{
	static const struct {
		const char *names[2], *values[2], *words;
	} bad[] = {
	    {{"no-master", "workers"}, {"on", "2"}, "no-master needs workers = 1"},
	    {{"no-master", "workers"}, {"on", "auto"}, "no-master needs workers = 1"},
	    {{"low-water", "high-water"}, {"2K", "1K"}, "low-water (2K) is above high-water (1K)"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char error[CONFIG_ERROR_BYTES] = "";
		bool done;

		config_defaults(&config);
		set(bad[i].names[0], bad[i].values[0]);
		set(bad[i].names[1], bad[i].values[1]);
		done = config_complete(&config, 4, 20000, error);
		ck_assert_msg(!done && strstr(error, bad[i].words), "%s = %s: %s", bad[i].names[1],
			      bad[i].values[1], error);
	}
}
END_TEST

START_TEST(the_edges_of_what_goes_together_are_taken)
{
	config_defaults(&config);
	set("workers", "256");
	set("backlog", "1");
	set("low-water", "1G");
	set("high-water", "1G");
	set("buffers", "1M");
	set("max-line", "1");
	set("max-frame", "1G");
	expect_complete(4, 20000);
	ck_assert_uint_ge(config.buffers, BUFFERS_MIN);
	config_defaults(&config);
	set("no-master", "on");
	expect_complete(1, 20000); /* one CPU: auto is 1 */
	set("workers", "1");
	set("buffers", "1024G");
	expect_complete(64, 20000);
}
END_TEST

SUITE("config", {"numbers", numbers, 10}, {"sizes", sizes, 10}, {"times", times, 10},
      {"defaults are what the contract says", defaults_are_what_the_contract_says, 10},
      {"each kind takes its values", each_kind_takes_its_values, 10},
      {"each kind refuses what is none and says what it takes",
       each_kind_refuses_what_is_none_and_says_what_it_takes, 10},
      {"texts go round", texts_go_round, 10},
      {"random values go round", random_values_go_round, 20},
      {"all defaults go round", all_defaults_go_round, 10},
      {"the table has no name or letter twice", the_table_has_no_name_or_letter_twice, 10},
      {"the nearest key is offered and no far one", the_nearest_key_is_offered_and_no_far_one, 10},
      {"completing fills in what is auto", completing_fills_in_what_is_auto, 10},
      {"the default listeners are those of the contract",
       the_default_listeners_are_those_of_the_contract, 10},
      {"values out of range are refused", values_out_of_range_are_refused, 10},
      {"values that do not go together are refused", values_that_do_not_go_together_are_refused,
       10},
      {"the edges of what goes together are taken", the_edges_of_what_goes_together_are_taken, 10})
