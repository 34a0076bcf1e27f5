/*
 * page: it needs nothing from elsewhere; its arithmetic (tests/master/metrics/page.js, under node);
 * and what it shows, in a headless Chromium, for answers that the test makes up. check_page_live
 * has it with a running weir. Tests are skipped, with a message, without node or Chromium.
 */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "master/metrics/page.h"
#include "tests/support/clients/browser.h"
#include "tests/support/harness.h"

#define PAGE_BYTES_MAX 45056

static struct browser *browser;

START_TEST(it_is_the_file)
{
	const char *file = read_whole("master/metrics/page.html");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(page_html_n, strlen(file));
	ck_assert_mem_eq(page_html, file, page_html_n);
	ck_assert_uint_lt(page_html_n, PAGE_BYTES_MAX);
}
END_TEST

/* It loads nothing from elsewhere, and no text can become markup or code. */
START_TEST(it_is_alone)
{
	static const char *const never[] = {
	    "src=",  "@import",	  "url(",      "<link rel=\"style",    "<iframe",
	    "<base", "innerHTML", "outerHTML", "insertAdjacentHTML",   "document.write",
	    "eval(", "Function(", "https:",    "createContextualFrag", "WebSocket",
	    "//cdn",
	};
	const char *page = (const char *)page_html, *at = page;

	for (size_t i = 0; i < sizeof never / sizeof *never; i++)
		ck_assert_msg(!strstr(page, never[i]), "the page has %s", never[i]);
	/* SVG's namespace looks like an address, but is never loaded. */
	for (; (at = strstr(at, "http:")); at++)
		ck_assert_msg(strncmp(at, "http://www.w3.org/2000/svg", 26) == 0, "%.60s", at);
}
END_TEST

START_TEST(its_arithmetic)
{
	int status;

	if (!command_exists("node")) {
		suite_skip("its arithmetic", "no node is installed");
		return;
	}
	status = system("node tests/master/metrics/page.js master/metrics/page.html");
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

/* ---- answers that the test makes up ---- */

/* Opens the page as a file, so that it has no server. The test's own fetch() answers it. */
static void open_page(void)
{
	char url[PATH_MAX + 32], path[PATH_MAX];

	ck_assert_ptr_nonnull(realpath("master/metrics/page.html", path));
	(void)snprintf(url, sizeof url, "file://%s", path);
	browser = browser_start();
	browser_open(browser, url);
	browser_wait(browser, "document.documentElement.dataset.state === 'lost'");
	(void)browser_ask(browser,
			  "(window.calls = 0, window.text = null, window.ready = [true, 'ready'],"
			  "window.fetch = async what => {"
			  "	calls++;"
			  "	if (text === null) throw new Error('nobody');"
			  "	const [ok, said] = what === 'metrics' ? [true, text] : ready;"
			  "	return { ok, status: ok ? 200 : 503, text: async () => said };"
			  "})");
}

/* An answer with so many workers, all of whose counters have this value. */
static const char *answer(unsigned workers, unsigned long count)
{
	static char text[8192];
	size_t n = 0;

	for (unsigned i = 0; i < workers; i++)
		n += (size_t)snprintf(
		    text + n, sizeof text - n,
		    "weir_connections{worker=\"%u\"} %u\\nweir_received_bytes_total{worker=\"%u\"} "
		    "%lu\\nweir_connections_closed_total{worker=\"%u\",reason=\"eof\"} %lu\\n",
		    i, i + 1, i, count, i, count);
	ck_assert_uint_lt(n, sizeof text - 1);
	return text;
}

/* Gives the page this answer now. */
static void give(const char *text)
{
	(void)browser_ask(browser, "(text = '%s')", text);
	browser_wait(browser, "!asking");
	(void)browser_ask(browser, "ask()");
}

static void expect(const char *expression, const char *value)
{
	ck_assert_msg(strcmp(browser_ask(browser, "%s", expression), value) == 0,
		      "%s is \"%s\" and not \"%s\"", expression,
		      browser_ask(browser, "%s", expression), value);
}

/* No NaN or the like is shown, and nothing is on the console. */
static void expect_sound(void)
{
	static const char *const never[] = {"NaN", "undefined", "Infinity", "null"};

	for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
		const char *found = browser_ask(
		    browser, "document.querySelector('main').outerHTML.includes('%s')", never[i]);

		ck_assert_msg(strcmp(found, "false") == 0, "the page says %s", never[i]);
	}
	expect("[...document.querySelectorAll('data')].some(data => Number(data.value) < 0)",
	       "false");
	ck_assert_msg(!browser_said(browser, "Runtime.exceptionThrown", NULL), "%s",
		      browser_log(browser));
}

#define ANSWER	    "document.getElementById('answer').textContent"
#define EVENTS	    "document.getElementById('events').textContent"
#define PATHS(KEY)  "document.querySelectorAll('#chart-" KEY " path.line').length"
#define TILE(KEY)   "document.getElementById('tile-" KEY "').value"
#define ROWS(TABLE) "document.getElementById('" TABLE "').rows.length"

START_TEST(what_is_not_there_is_a_dash)
{
	if (!browser_there("what is not there is a dash"))
		return;
	open_page();
	give("weir_connections{worker=\"0\"} 7\\nweir_new_in_a_later_version{a=\"b\"} "
	     "1\\nrubbish\\n");
	expect("document.documentElement.dataset.state", "live");
	expect(TILE("connections"), "7");
	expect("document.getElementById('tile-cpu').textContent", "-");
	expect("document.getElementById('version').textContent", "-");
	expect(ROWS("rows"), "1");
	expect_sound();
	/* An HTML page of another server is not taken as an answer. */
	give("<html>\\n");
	expect("document.documentElement.dataset.state", "lost");
	browser_end(browser);
}
END_TEST

START_TEST(data_stay_text)
{
	static const char evil[] = "<img src=x onerror=calls=1e9>";
	char text[512];

	if (!browser_there("data stay text"))
		return;
	open_page();
	(void)snprintf(
	    text, sizeof text,
	    "weir_connections{worker=\"%s\"} 7\\nweir_connections_closed_total{worker=\"%s\","
	    "reason=\"%s\"} 3\\nweir_build_info{version=\"%s\"} 1\\n",
	    evil, evil, evil, evil);
	(void)browser_ask(browser, "(ready = [false, '%s'])", evil);
	give(text);
	give(text);
	expect("document.images.length", "0");
	expect("document.getElementById('version').textContent", evil);
	expect("document.getElementById('closes').rows[0].cells[0].textContent", evil);
	expect("document.getElementById('state').textContent.slice(2)", evil);
	expect("calls < 1e6", "true");
	expect_sound();
	browser_end(browser);
}
END_TEST

START_TEST(silence_is_said_and_ends)
{
	if (!browser_there("silence is said and ends"))
		return;
	open_page();
	expect(ANSWER, "no answer since this page was opened");
	give(answer(2, 1000));
	expect("document.documentElement.dataset.state", "live");
	expect(ANSWER, "live");
	expect("document.getElementById('state').textContent", "✓ ready");
	(void)browser_ask(browser, "(text = null)");
	browser_wait(browser, "document.documentElement.dataset.state === 'lost'");
	expect("/^no answer since \\d\\d:\\d\\d:\\d\\d$/.test(" ANSWER ")", "true");
	expect("document.title", "weir: no answer");
	expect(TILE("connections"), "3");
	/* The page goes on asking by itself. */
	(void)browser_ask(browser, "(text = '%s', ready = [false, 'draining\\n'])",
			  answer(2, 3000));
	browser_wait(browser, "document.documentElement.dataset.state === 'live'");
	expect("document.getElementById('state').textContent", "✕ draining");
	expect(EVENTS ".includes('answers again')", "true");
	expect("document.title", "weir: 3 connections");
	/* Unknown values are a gap in the lines. */
	expect(
	    "document.querySelector('#chart-connections path.line').getAttribute('d').match(/M/g)"
	    ".length",
	    "2");
	expect_sound();
	browser_end(browser);
}
END_TEST

START_TEST(another_server_gives_no_rates)
{
	if (!browser_there("another server gives no rates"))
		return;
	open_page();
	give(answer(2, 1000000));
	give(answer(2, 2000000));
	expect("Number(" TILE("in") ") > 0", "true");
	give(answer(2, 10));
	expect(TILE("in"), "");
	expect(TILE("closed"), "");
	expect(EVENTS ".includes('another server')", "true");
	give(answer(2, 20));
	expect("Number(" TILE("in") ") > 0", "true");
	expect_sound();
	browser_end(browser);
}
END_TEST

START_TEST(workers_come_and_go)
{
	if (!browser_there("workers come and go"))
		return;
	open_page();
	give(answer(1, 1000));
	give(answer(8, 1000));
	give(answer(8, 2000));
	expect(PATHS("connections"), "8");
	expect(ROWS("rows"), "8");
	expect("document.querySelectorAll('#legend button').length", "8");
	expect("new Set([...document.querySelectorAll('#chart-in path.line')].map(path =>"
	       " path.style.stroke)).size",
	       "8");
	expect(EVENTS ".includes('w1, w2, w3, w4, w5, w6, w7 came')", "true");
	/* With more than eight workers: the sum, the worst, and a small chart of each. */
	give(answer(12, 3000));
	expect(PATHS("connections"), "2");
	expect(ROWS("rows"), "12");
	expect("document.getElementById('each').hidden", "false");
	expect("document.querySelectorAll('#many figure').length", "12");
	expect("document.getElementById('chart-connections').getAttribute('aria-label')",
	       "Connections, now: sum 78, busiest worker 12");
	expect("document.querySelector('#chart-queued').getAttribute('aria-label')",
	       "Queued bytes, now: sum -, worst worker -");
	give(answer(2, 4000));
	expect("document.getElementById('each').hidden", "true");
	expect(ROWS("rows"), "2");
	/* Workers that no longer exist are still in the chart. */
	expect(PATHS("connections"), "12");
	expect("document.getElementById('legend').textContent.includes('w11, gone')", "true");
	expect_sound();
	browser_end(browser);
}
END_TEST

/* Gives an answer with one worker: its process, its state, and the server's. */
static void give_worker(unsigned pid, unsigned generation, unsigned restarts, unsigned up,
			const char *state)
{
	char text[1024];

	(void)snprintf(text, sizeof text,
		       "weir_connections{worker=\"0\"} 1\\nweir_worker_pid{worker=\"0\"} %u\\n"
		       "weir_worker_generation{worker=\"0\"} %u\\nweir_generation %u\\n"
		       "weir_worker_restarts_total{worker=\"0\"} %u\\n"
		       "weir_worker_up{worker=\"0\"} %u\\n"
		       "weir_worker_still_seconds{worker=\"0\"} %u\\n"
		       "weir_worker_state{worker=\"0\",state=\"%s\"} 1\\n",
		       pid, generation, generation, restarts, up, up ? 0 : 3, state);
	give(text);
}

#define NEWEST "document.querySelector('#events li span').textContent"
#define STATE  "document.getElementById('rows').rows[0].cells[2]"

START_TEST(it_says_what_happened)
{
	if (!browser_there("it says what happened"))
		return;
	open_page();
	/* For the page all of this happens at one time, however long it takes. */
	(void)browser_ask(browser,
			  "(performance.now = (t => () => t += 0.1)(performance.now()), 0)");
	give_worker(7, 1, 0, 1, "ready");
	give_worker(7, 1, 0, 0, "draining");
	expect(NEWEST, "w0 is draining");
	give_worker(0, 1, 0, 0, "vacant");
	give_worker(8, 1, 1, 1, "ready");
	expect(NEWEST, "w0 was drained and replaced");
	give_worker(9, 1, 2, 1, "ready");
	expect(NEWEST, "w0 ended and was replaced");
	/* A new generation is marked as that only. */
	give_worker(10, 2, 2, 1, "ready");
	expect(NEWEST, "generation 1 to 2");
	give_worker(10, 2, 2, 0, "ready");
	expect(NEWEST, "w0 makes no progress");
	expect(STATE ".textContent", "no progress, 3 s");
	expect("getComputedStyle(" STATE ").color === getComputedStyle(document.querySelector("
	       "'#events li span')).color && " STATE ".className",
	       "bad");
	give_worker(10, 2, 2, 1, "ready");
	expect(NEWEST, "w0 goes on");
	give_worker(10, 2, 2, 0, "stopped");
	expect(NEWEST, "w0 is stopped");
	expect("document.querySelector('.plot .name').textContent", "w0 stopped");
	expect(STATE ".className + ' ' + " STATE ".textContent", "bad stopped, 3 s");
	give_worker(10, 2, 2, 1, "ready");
	expect(STATE ".className + " STATE ".textContent", "ready");
	(void)browser_ask(browser, "(ready = [false, 'stopping: connections are drained\\n'])");
	give_worker(10, 2, 2, 1, "ready");
	expect(NEWEST, "not ready: stopping: connections are drained");
	(void)browser_ask(browser, "(ready = [true, 'ok'])");
	give_worker(10, 2, 2, 1, "ready");
	expect(NEWEST, "ready again");
	/* All events are at one time: each has its line in each chart, and no names overlap. */
	expect("document.querySelectorAll('.mark').length", "72");
	expect("document.querySelectorAll('.plot .name').length", "5");
	expect("document.querySelectorAll('#chart-connections .name').length", "5");
	expect("(boxes => boxes.some((a, i) => boxes.some((b, j) => i < j && a.left < b.right &&"
	       " b.left < a.right && a.top < b.bottom - 2 && b.top < a.bottom - 2)))("
	       "[...document.querySelectorAll('.name')].map(name => name.getBoundingClientRect()))",
	       "false");
	expect_sound();
	browser_end(browser);
}
END_TEST

START_TEST(it_can_be_held_and_read)
{
	if (!browser_there("it can be held and read"))
		return;
	open_page();
	give(answer(2, 1000));
	give(answer(2, 2000));
	(void)browser_ask(browser, "document.getElementById('pause').click()");
	browser_wait(browser, "!asking");
	expect(ANSWER, "paused");
	(void)browser_ask(browser, "(window.held = calls)");
	/* This timer ends after the page would have asked again. */
	(void)browser_ask(browser, "new Promise(done => setTimeout(done, 1100))");
	expect("calls - held", "0");
	/* A key shows the values at the newest time, in all charts. */
	(void)browser_ask(browser, "document.getElementById('chart-connections').dispatchEvent("
				   "new KeyboardEvent('keydown', { key: 'End' }))");
	expect("document.getElementById('tip').hidden", "false");
	expect("/^Connections, [\\d:]+w12w01$/.test(document.getElementById('tip').textContent)",
	       "true");
	expect("document.querySelectorAll('.cross').length", "9");
	(void)browser_ask(browser, "document.getElementById('chart-connections').dispatchEvent("
				   "new KeyboardEvent('keydown', { key: 'Escape' }))");
	expect("document.getElementById('tip').hidden", "true");
	/* A worker that is selected in the legend is highlighted. */
	(void)browser_ask(browser, "document.querySelectorAll('#legend button')[1].click()");
	expect("document.querySelector('#chart-in path.line.dim').dataset.worker", "0");
	expect("document.querySelectorAll('#legend button')[1].getAttribute('aria-pressed')",
	       "true");
	(void)browser_ask(browser, "document.getElementById('pause').click()");
	browser_wait(browser, "calls > held");
	expect_sound();
	browser_end(browser);
}
END_TEST

/* Each button, picture and table has a name for screen readers. */
START_TEST(it_has_names)
{
	if (!browser_there("it has names"))
		return;
	open_page();
	give(answer(2, 1000));
	expect("[...document.querySelectorAll('[role=img]')].filter(image => !image.getAttribute("
	       "'aria-label')).length",
	       "0");
	expect("document.querySelectorAll('[role=img]').length", "9");
	expect("[...document.querySelectorAll('button')].filter(button =>"
	       " !button.textContent.trim()).length",
	       "0");
	expect("document.querySelectorAll('th:not([scope])').length", "0");
	expect("document.documentElement.lang", "en");
	expect("document.documentElement.scrollWidth <= innerWidth", "true");
	browser_end(browser);
}
END_TEST

SUITE("page", {"it is the file", it_is_the_file, 10}, {"it is alone", it_is_alone, 10},
      {"its arithmetic", its_arithmetic, 60},
      {"what is not there is a dash", what_is_not_there_is_a_dash, 120},
      {"data stay text", data_stay_text, 120},
      {"silence is said and ends", silence_is_said_and_ends, 120},
      {"another server gives no rates", another_server_gives_no_rates, 120},
      {"workers come and go", workers_come_and_go, 120},
      {"it says what happened", it_says_what_happened, 120},
      {"it can be held and read", it_can_be_held_and_read, 120},
      {"it has names", it_has_names, 120})
