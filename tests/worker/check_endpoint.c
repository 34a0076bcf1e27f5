/*
 * endpoint: LISTENERs are parsed and written again, and combined with the options.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/worker/settings.h"
#include "worker/config/endpoint_keys.h"

static void expect_no_listener(const char *listener, const char *words)
{
	char error[CONFIG_ERROR_BYTES] = "";
	size_t before = config.listeners_n;

	ck_assert_msg(!config_listen(&config, listener, error), "%s was taken", listener);
	ck_assert_msg(strstr(error, words) != NULL, "%s: %s", listener, error);
	ck_assert_uint_eq(config.listeners_n, before);
}

START_TEST(listeners_go_round)
{
	static const char *const texts[] = {
	    "echo://127.0.0.1:7878",
	    "line://[::1]:0",
	    "increment://:9090",
	    "frame:///run/weir.sock",
	    "discard://@weir",
	    "chargen://127.0.0.1:19?accept=reuseport",
	    "echo://127.0.0.1:1?accept=shared",
	    "echo://127.0.0.1:2?accept=handoff",
	    "echo:///run/a?mode=0660",
	    "line:///run/b?accept=handoff&mode=0777&max-line=100",
	    "line:///run/c?mode=0600&max-line=1073741824",
	    "frame://127.0.0.1:4?max-frame=1",
	    "http://127.0.0.1:80?max-body=1000",
	    "chat://127.0.0.1:5?names=on&proxy=on",
	    "line:///run/d?proxy=on",
	    "echo://127.0.0.1:6?proxy=on&proxy-from=10.0.0.0/8,127.0.0.1,::1",
	    "echo://[::1]:6?proxy=on&proxy-from=1.0.0.0/8,2.0.0.0/8,::/0,4.4.4.4,5::,6::,7::,8::",
	    "echo+udp://127.0.0.1:7878",
	    "discard+udp://[::1]:9?accept=shared",
	    "chargen+udp://:19?accept=reuseport&rate=1000000&queue=4194304&send-queue=1",
	};

	config_defaults(&config);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		char text[ENDPOINT_TEXT_BYTES];

		listen_to(texts[i]);
		endpoint_format(&config.listeners[i], text);
		ck_assert_str_eq(text, texts[i]);
	}
	ck_assert_uint_eq(config.listeners_n, sizeof texts / sizeof *texts);
}
END_TEST

START_TEST(keys_of_a_listener_are_taken_apart)
{
	struct endpoint *at = config.listeners;

	config_defaults(&config);
	listen_to("frame:///run/x?max-frame=2M&mode=640&accept=shared");
	ck_assert_str_eq(at->protocol->name, "frame");
	ck_assert_uint_eq(endpoint_setting(at, "max-frame"), 2 << 20);
	ck_assert_uint_eq(at->mode, 0640);
	ck_assert_int_eq(at->accept, ACCEPT_SHARED);
	listen_to("frame://127.0.0.1:0");
	ck_assert_uint_eq(endpoint_setting(&at[1], "max-frame"), 0);
	ck_assert_uint_eq(at[1].mode, 0);
	ck_assert_int_eq(at[1].accept, -1);
	ck_assert(!at[1].datagrams);
	listen_to("echo+udp://127.0.0.1:0?rate=20&queue=3K");
	ck_assert_str_eq(at[2].protocol->name, "echo");
	ck_assert(at[2].datagrams);
	ck_assert_uint_eq(at[2].rate, 20);
	ck_assert_uint_eq(at[2].queue_bytes, 3 << 10);
}
END_TEST

START_TEST(what_is_no_listener_is_refused_with_the_reason)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
	    {"", "is not a listener"},
	    {"127.0.0.1:7878", "is not a listener"},
	    {"echo:/x", "is not a listener"},
	    {"://127.0.0.1:1", "no protocol is \"\""},
	    {"ehco://127.0.0.1:1", "no protocol is \"ehco\" (they are echo"},
	    {"echo://", "address \"\": an address is"},
	    {"echo://127.0.0.1:x", "address \"127.0.0.1:x\": a port is"},
	    {"echo://::1:7", "in brackets"},
	    {"http://127.0.0.1:1/", "address \"127.0.0.1:1/\": a listener has no path"},
	    {"http://127.0.0.1:1/a/b?names=on", "a listener has no path"},
	    {"echo://127.0.0.1:1?", "no key of a listener is \"\""},
	    {"echo://127.0.0.1:1?colour=red", "no key of a listener is \"colour\" (they are"},
	    {"echo://127.0.0.1:1?accept", "accept takes reuseport, shared or handoff, not \"\""},
	    {"echo://127.0.0.1:1?accept=", "accept takes"},
	    {"echo://127.0.0.1:1?accept=all", "accept takes reuseport, shared or handoff, not"},
	    {"echo://127.0.0.1:1?mode=0660", "mode does not apply"},
	    {"echo://@x?mode=0660", "mode does not apply"},
	    {"echo:///x?mode=0", "mode takes an octal mode"},
	    {"echo:///x?mode=1000", "mode takes"},
	    {"echo:///x?mode=-1", "mode takes"},
	    {"echo://127.0.0.1:1?max-line=1K", "max-line does not apply"},
	    {"line://127.0.0.1:1?max-frame=1K", "max-frame does not apply"},
	    {"frame://127.0.0.1:1?max-body=1K", "max-body does not apply"},
	    {"http://127.0.0.1:1?max-frame=1K", "max-frame does not apply"},
	    {"http://127.0.0.1:1?max-body=0", "max-body takes a size from 1 to 1G"},
	    {"line://127.0.0.1:1?max-line=0", "max-line takes a size from 1 to 1G"},
	    {"line://127.0.0.1:1?max-line=1073741825", "max-line takes a size from 1 to 1G"},
	    {"frame://127.0.0.1:1?max-frame=2G", "max-frame takes a size from 1 to 1G"},
	    {"line+udp://127.0.0.1:1", "line does not serve datagrams (echo discard chargen do)"},
	    {"+udp://127.0.0.1:1", "no protocol is"},
	    {"echo+tcp://127.0.0.1:1", "no protocol is \"echo+tcp\""},
	    {"echo+udp:///run/x", "datagrams need HOST:PORT"},
	    {"echo+udp://@x", "datagrams need HOST:PORT"},
	    {"echo+udp://127.0.0.1:1?accept=handoff", "accept takes reuseport or shared where"},
	    {"echo+udp://127.0.0.1:1?mode=0660", "mode does not apply"},
	    {"echo+udp://127.0.0.1:1?max-line=1K", "max-line does not apply"},
	    {"echo+udp://127.0.0.1:1?rate=1000001", "rate takes a number up to 1000000"},
	    {"echo+udp://127.0.0.1:1?rate=-1", "rate takes"},
	    {"echo+udp://127.0.0.1:1?queue=0", "queue takes a size from 1 to 1G"},
	    {"echo+udp://127.0.0.1:1?send-queue=2G", "send-queue takes a size from 1 to 1G"},
	    {"echo://127.0.0.1:1?send-queue=1K", "send-queue does not apply"},
	    {"echo://127.0.0.1:1?rate=1", "rate does not apply"},
	    {"echo://127.0.0.1:1?queue=1K", "queue does not apply"},
	    {"echo://127.0.0.1:1?proxy=yes", "proxy takes on or off, not \"yes\""},
	    {"echo+udp://127.0.0.1:1?proxy=on", "proxy does not apply"},
	    {"echo:///x?proxy=on&proxy-from=::1", "proxy-from does not apply"},
	    {"echo://127.0.0.1:1?proxy-from=::1", "proxy-from needs proxy=on"},
	    {"echo://127.0.0.1:1?proxy=on&proxy-from=", "proxy-from takes up to 8 networks"},
	    {"echo://127.0.0.1:1?proxy=on&proxy-from=10.0.0.1/8", "proxy-from takes up to 8"},
	    {"echo://127.0.0.1:1?proxy=on&proxy-from=1.1.1.1,", "proxy-from takes up to 8"},
	    {"echo://127.0.0.1:1?proxy=on&proxy-from=1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4,5.5.5.5,"
	     "6.6.6.6,7.7.7.7,8.8.8.8,9.9.9.9",
	     "proxy-from takes up to 8"},
	};
	static char long_text[ENDPOINT_TEXT_BYTES + 10] = "echo:///";

	config_defaults(&config);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		expect_no_listener(bad[i].text, bad[i].words);
	memset(long_text + 8, 'x', sizeof long_text - 9);
	expect_no_listener(long_text, "a listener has at most");
}
END_TEST

START_TEST(one_place_has_one_listener)
{
	config_defaults(&config);
	listen_to("echo://127.0.0.1:7878");
	listen_to("echo:///run/x");
	listen_to("echo://@x");
	listen_to("echo://:80");
	expect_no_listener("line://127.0.0.1:7878",
			   "it listens where \"echo://127.0.0.1:7878\" does");
	expect_no_listener("line:///run/x", "it listens where \"echo:///run/x\" does");
	expect_no_listener("line://@x", "it listens where \"echo://@x\" does");
	expect_no_listener("line://:80", "it listens where \"echo://:80\" does");
	listen_to("echo+udp://127.0.0.1:7878"); /* not the same address as TCP's */
	expect_no_listener("discard+udp://127.0.0.1:7878",
			   "it listens where \"echo+udp://127.0.0.1:7878\" does");
	listen_to("line://127.0.0.2:7878");
	listen_to("line://[::1]:7878");
	listen_to("line://@xy");
	/* Port 0 is another port each time. */
	listen_to("line://127.0.0.1:0");
	listen_to("line://127.0.0.1:0");
	while (config.listeners_n < LISTENERS_MAX)
		listen_to("line://127.0.0.1:0");
	expect_no_listener("line://127.0.0.1:0", "at most 64 listeners");
}
END_TEST

START_TEST(how_connections_come_is_decided_for_each_listener)
{
	/* The first letters of the modes: one for each --accept, one for handoff without master. */
	static const char *const cases[][2] = {{"echo://127.0.0.1:0", "rshs"},
					       {"echo://@x", "sshs"},
					       {"echo:///x?accept=reuseport", "ssss"},
					       {"echo://127.0.0.1:0?accept=reuseport", "rrrr"},
					       {"echo://127.0.0.1:0?accept=handoff", "hhhs"},
					       {"echo+udp://127.0.0.1:0", "rsrr"},
					       {"echo+udp://127.0.0.1:0?accept=shared", "ssss"}};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		config_defaults(&config);
		listen_to(cases[i][0]);
		for (unsigned mode = 0; mode < 4; mode++) {
			config.accept = mode < 3 ? mode : ACCEPT_HANDOFF;
			config.no_master = mode == 3;
			ck_assert_int_eq("rsh"[config_accept_mode(&config, config.listeners)],
					 cases[i][1][mode]);
		}
	}
}
END_TEST

static uint64_t setting(size_t i, const char *name)
{
	const struct endpoint *endpoint = &config.listeners[i];

	return config_setting(&config, endpoint, protocol_setting(endpoint->protocol, name));
}

START_TEST(a_setting_is_the_listeners_or_the_options)
{
	config_defaults(&config);
	listen_to("line://127.0.0.1:0");
	listen_to("line://127.0.0.1:0?max-line=33");
	listen_to("frame://127.0.0.1:0");
	listen_to("frame://127.0.0.1:0?max-frame=44");
	listen_to("http://127.0.0.1:0");
	listen_to("http://127.0.0.1:0?max-body=66");
	listen_to("chat://127.0.0.1:0");
	listen_to("chat://127.0.0.1:0?max-line=77&names=on");
	ck_assert_uint_eq(setting(0, "max-line"), 64 << 10);
	ck_assert_uint_eq(setting(2, "max-frame"), 1 << 20);
	ck_assert_uint_eq(setting(4, "max-body"), 1 << 30);
	ck_assert_uint_eq(setting(6, "max-line"), 16000); /* as many as it takes */
	ck_assert_uint_eq(setting(6, "names"), 0);
	set("max-line", "11");
	set("max-frame", "22");
	set("max-body", "55");
	ck_assert_uint_eq(setting(0, "max-line"), 11);
	ck_assert_uint_eq(setting(1, "max-line"), 33);
	ck_assert_uint_eq(setting(2, "max-frame"), 22);
	ck_assert_uint_eq(setting(3, "max-frame"), 44);
	ck_assert_uint_eq(setting(4, "max-body"), 55);
	ck_assert_uint_eq(setting(5, "max-body"), 66);
	ck_assert_uint_eq(setting(6, "max-line"), 11);
	ck_assert_uint_eq(setting(7, "max-line"), 77);
	ck_assert_uint_eq(setting(7, "names"), 1);
}
END_TEST

SUITE("endpoint", {"listeners go round", listeners_go_round, 10},
      {"keys of a listener are taken apart", keys_of_a_listener_are_taken_apart, 10},
      {"what is no listener is refused with the reason",
       what_is_no_listener_is_refused_with_the_reason, 20},
      {"one place has one listener", one_place_has_one_listener, 10},
      {"how connections come is decided for each listener",
       how_connections_come_is_decided_for_each_listener, 10},
      {"a setting is the listener's, or the options'", a_setting_is_the_listeners_or_the_options,
       10})
