/*
 * page_live: the page in a headless Chromium, with a weir that is under load, is changed, and ends.
 * check_page tests what the page makes of single answers. These tests are skipped, with a message,
 * without Chromium.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/metrics/page.h"
#include "tests/support/clients/browser.h"
#include "tests/support/harness.h"
#include "tests/support/clients/load.h"

#define CLIENTS 6
#define GONE	3

static struct server *server;
static struct browser *browser;
static unsigned port;

static void open_page(void)
{
	static const char says[] = "msg=metrics address=127.0.0.1:";
	char url[64];

	server = SERVER("--workers", "2", "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0",
			"line://127.0.0.1:0?accept=handoff");
	server_wait_log(server, says);
	port = (unsigned)strtoul(strstr(server->log, says) + strlen(says), NULL, 10);
	(void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", port);
	browser = browser_start();
	browser_open(browser, url);
	browser_wait(browser, "document.documentElement.dataset.samples > 1");
}

static long figure(const char *expression)
{
	const char *text = browser_ask(browser, "%s", expression);

	ck_assert_msg(*text, "%s is empty", expression);
	return strtol(text, NULL, 10);
}

static void expect(const char *expression, const char *value)
{
	const char *found = browser_ask(browser, "%s", expression);

	ck_assert_msg(strcmp(found, value) == 0, "%s is \"%s\" and not \"%s\"", expression, found,
		      value);
}

/* All of the page's requests went to the server that it came from. */
static void expect_own_requests(void)
{
	static const char asks[] = "\"request\":{\"url\":\"";
	char own[64];

	(void)snprintf(own, sizeof own, "http://127.0.0.1:%u/", port);
	ck_assert_uint_gt(browser_said(browser, asks, own), 3);
	ck_assert_msg(browser_said(browser, asks, NULL) ==
			  browser_said(browser, asks, own) + browser_said(browser, asks, "data:"),
		      "a request went elsewhere:\n%s", browser_log(browser));
}

static void expect_no_errors(void)
{
	static const char *const never[] = {"Log.entryAdded", "Runtime.exceptionThrown",
					    "Runtime.consoleAPICalled"};

	for (size_t i = 0; i < sizeof never / sizeof *never; i++)
		ck_assert_msg(!browser_said(browser, never[i], NULL), "%s", browser_log(browser));
}

#define EVENTS	  "document.getElementById('events').textContent"
#define TILE(KEY) "document.getElementById('tile-" KEY "').value"
#define CELL(ROW, COLUMN)                                                                          \
	"document.getElementById('rows').rows[" #ROW "].cells[" #COLUMN "].textContent"
/* How many charts have a line with points for each of so many workers. */
#define CHARTS(WORKERS)                                                                            \
	"[...document.querySelectorAll('.plot')].filter(plot => "                                  \
	"[...plot.querySelectorAll('path.line')].filter(line => "                                  \
	"line.getAttribute('d').length > 5).length === " #WORKERS ").length"

static void look_at_load(void)
{
	pid_t load = load_start(
	    &load_plain, (const char *const[]){"-c", "8", "-d", "1h", "--rate", "1000",
					       load_listener("line", server->ports[1]), NULL});

	browser_wait(browser, TILE("in") " > 0 && " TILE("out") " > 0 && " TILE("messages") " > 0");
	browser_wait(browser, TILE("p99") " > 0 && " TILE("cpu") " > 0");
	browser_wait(browser, TILE("connections") " == %d", 8 + CLIENTS - GONE);
	/* The charts show what the tiles show; also lag, once both workers had something to do. */
	browser_wait(browser, CHARTS(2) " === 9");
	load_end_well(&load_plain, load);
}

START_TEST(it_says_what_the_server_says)
{
	int clients[CLIENTS];
	char bytes[1000];

	if (!browser_there("it says what the server says"))
		return;
	open_page();
	expect("document.documentElement.dataset.state", "live");
	expect("document.getElementById('state').textContent", "✓ ready");
	memset(bytes, 'x', sizeof bytes);
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = connect_to(server->ports[0]);
		send_all(clients[i], bytes, sizeof bytes);
		receive_exactly(clients[i], bytes, sizeof bytes);
	}
	for (size_t i = 0; i < GONE; i++) {
		finish_sending(clients[i]);
		expect_end(clients[i]);
		(void)close(clients[i]);
	}
	look_at_load();
	server_wait_stat_is(server, "connections", CLIENTS - GONE);
	browser_wait(browser, TILE("connections") " == %d && " TILE("in") " == 0", CLIENTS - GONE);
	ck_assert_int_eq(figure("[...document.getElementById('closes').rows].find(row => "
				"row.cells[0].textContent === 'eof').cells[2].textContent"),
			 (long)server_stat(server, "closed_eof"));
	ck_assert_int_eq(figure("last.rows.get('0').connections"),
			 (long)server_worker_stat(server, 0, "connections"));
	ck_assert_int_eq(figure("raw.workers.get('0').in + raw.workers.get('1').in"),
			 (long)server_stat(server, "received_bytes"));
	ck_assert_int_eq(figure(CELL(0, 1)), server_worker(server, 0));
	ck_assert_int_eq(figure(CELL(1, 1)), server_worker(server, 1));
	expect(CELL(1, 2), "ready");
	expect("document.getElementById('generation').textContent", "1");
	expect_own_requests();
	expect_no_errors();
	(void)server_stop(server, SIGQUIT);
	browser_end(browser);
}
END_TEST

START_TEST(it_sees_changes_and_the_end)
{
	pid_t worker;

	if (!browser_there("it sees changes and the end"))
		return;
	open_page();
	worker = server_worker(server, 1);
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	browser_wait(browser, EVENTS ".includes('w1 ended and was replaced')");
	expect(CELL(1, 4), "1");
	ck_assert_int_eq(kill(server_worker(server, 0), SIGTERM), 0);
	browser_wait(browser, EVENTS ".includes('w0 ended and was replaced') || " EVENTS
				     ".includes('w0 was drained and replaced')");
	ck_assert_int_eq(kill(server->pid, SIGHUP), 0);
	browser_wait(browser, EVENTS ".includes('generation 1 to 2')");
	browser_wait(browser, "document.getElementById('generation').textContent === '2'");
	browser_wait(browser, CELL(0, 3) " === '2' && " CELL(1, 3) " === '2'");
	expect("document.querySelectorAll('.mark').length % 9", "0");
	ck_assert_int_eq(kill(server->pid, SIGTTIN), 0);
	browser_wait(browser, EVENTS ".includes('w2 came')");
	expect("document.querySelectorAll('#legend button').length", "3");
	expect("document.querySelectorAll('#chart-connections path.line').length", "3");
	ck_assert_int_eq(kill(server->pid, SIGTTOU), 0);
	browser_wait(browser, EVENTS ".includes('w2 left')");
	expect("document.getElementById('rows').rows.length", "2");
	expect_own_requests();
	expect_no_errors();
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	browser_wait(browser, "document.documentElement.dataset.state === 'lost'");
	expect("/^no answer since \\d\\d:\\d\\d:\\d\\d$/.test(document.getElementById('answer')."
	       "textContent)",
	       "true");
	expect("document.getElementById('state').textContent", "? unknown");
	browser_end(browser);
}
END_TEST

/* The page has its security policy, and the browser enforces it: the page may ask no other address,
 * and load no script. */
START_TEST(it_may_ask_nobody_else)
{
	int client;
	char answer[1024];
	size_t n;

	if (!browser_there("it may ask nobody else"))
		return;
	open_page();
	client = connect_to(port);
	send_text(client, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	n = receive_to_end(client, answer, sizeof answer - 1);
	answer[n] = '\0';
	ck_assert_msg(strstr(answer, "Content-Security-Policy: " PAGE_POLICY "\r\n"), "%s", answer);
	ck_assert_msg(strstr(answer, "Content-Type: " PAGE_TYPE "\r\n"), "%s", answer);
	expect("(window.broken = [], document.addEventListener('securitypolicyviolation', event => "
	       "broken.push(event.effectiveDirective)), 1)",
	       "1");
	(void)browser_ask(browser, "fetch('http://127.0.0.1:%u/').catch(() => 0)",
			  server->ports[0]);
	(void)browser_ask(browser, "(new Image().src = 'http://127.0.0.1:%u/')", server->ports[0]);
	(void)browser_ask(browser, "document.head.append(Object.assign(document.createElement("
				   "'script'), { src: 'metrics' }))");
	browser_wait(browser, "broken.length === 3");
	expect("broken.sort().join()", "connect-src,img-src,script-src-elem");
	ck_assert_uint_eq(server_stat(server, "accepted"), 0);
	(void)server_stop(server, SIGQUIT);
	browser_end(browser);
}
END_TEST

SUITE("page_live", {"it says what the server says", it_says_what_the_server_says, 180},
      {"it sees changes and the end", it_sees_changes_and_the_end, 180},
      {"it may ask nobody else", it_may_ask_nobody_else, 120})
