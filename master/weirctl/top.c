#include "master/weirctl/top.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "master/weirctl/ask.h"
#include "master/weirctl/cell.h"
#include "master/weirctl/layout.h"
#include "master/weirctl/lines.h"
#include "master/weirctl/screen.h"
#include "master/weirctl/table.h"
#include "reactor/base/printable.h"

#define REQUEST	   "top\n"
#define CONNECT_MS 1	/* a full queue is no answer, either */
#define GONE_MS	   3000 /* how long it may take to find an upgrade's new master */
#define TICK_MS	   1000 /* how often the time without an answer is shown */
#define LATE_MS	   2000 /* from then on it is shown */

static struct {
	const struct top_plan *plan;
	bool on_screen;
	struct ask ask; /* fd -1: nobody is asked now */
	char path[128];
	pid_t pid; /* of the server that listens there, as the kernel says */
	uint64_t asked_ms, heard_ms, gone_ms; /* gone_ms 0: it has not gone */
	int gone_error;
	struct sample samples[2]; /* now and before */
	bool has_sample;
	uint64_t shown_n;
	struct frame frame;
	struct frame_view view;
	char message[256], failure[512];
	int status; /* to exit with; -1: go on */
} top;

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void end(int status, const char *what, const char *why)
{
	top.status = status;
	char said[LOG_LINE_BYTES]; /* a server may have said it */

	(void)snprintf(said, sizeof said, "%s%s%s", what, *why ? ": " : "", why);
	(void)printable_text(top.failure, sizeof top.failure, said);
}

/* ---- showing ---- */

static void show_screen(void)
{
	struct frame_view *view = &top.view;
	uint64_t now = now_ms(), silent_ms = now - top.heard_ms;
	char path[CELL_BYTES];

	screen_size(&view->columns, &view->rows);
	cell_ascii(path, top.path);
	view->message = NULL;
	view->gone = top.gone_ms != 0;
	if (top.gone_ms)
		(void)snprintf(top.message, sizeof top.message,
			       "the server has gone, for %llu s (%.*s: %s)",
			       (unsigned long long)(now - top.gone_ms) / 1000, (int)sizeof top.path,
			       path, strerror(top.gone_error));
	else
		(void)snprintf(top.message, sizeof top.message, "no answer for %llu s",
			       (unsigned long long)silent_ms / 1000);
	if (top.gone_ms ||
	    (!view->paused && silent_ms >= LATE_MS && silent_ms >= 2 * top.plan->interval_ms))
		view->message = top.message;
	layout_make(&top.frame, top.has_sample ? top.samples : NULL, view);
	(void)screen_draw(&top.frame);
}

static void show_lines(void)
{
	if (top.plan->json) {
		lines_json(top.samples);
		return;
	}
	layout_make(&top.frame, top.samples, &top.view);
	lines_frame(&top.frame, top.shown_n > 0);
}

static void show_sample(void)
{
	bool has_rates = top.samples[0].span_us != 0;

	if (top.on_screen)
		show_screen();
	else if (has_rates)
		show_lines();
	top.shown_n += has_rates;
	if (top.plan->counted && top.plan->count && top.shown_n >= top.plan->count)
		top.status = 0;
	if (!top.on_screen && !lines_flush())
		end(1, "writing", strerror(errno));
}

/* ---- asking ---- */

static void forget_samples(void)
{
	for (size_t i = 0; i < 2; i++)
		sample_clear(&top.samples[i]);
	top.has_sample = false;
}

static void take_answer(void)
{
	struct sample now;
	const struct answer_record *server = answer_first(&top.ask.answer, "server");
	const struct log_field *pid = server ? answer_field(server, "pid") : NULL;
	/* If not, its processes are in another pid namespace, and their pids are others' here. */
	bool local = pid && pid->number == top.pid;

	/* A server that had gone and is there again is another one, with other counters. */
	if (top.gone_ms)
		forget_samples();
	if (!sample_take(&now, &top.ask.answer, top.has_sample ? &top.samples[0] : NULL, local)) {
		sample_clear(&now);
		end(1, "the server says what weirctl does not understand", "");
		return;
	}
	sample_clear(&top.samples[1]);
	top.samples[1] = top.samples[0];
	top.samples[0] = now;
	top.has_sample = true;
	top.heard_ms = now_ms();
	top.gone_ms = 0;
	show_sample();
}

static void ask_over(struct found found)
{
	top.pid = found.pid;
	(void)snprintf(top.path, sizeof top.path, "%s", found.path);
	ask_begin(&top.ask, found.fd, REQUEST);
}

/* If its path was given it may come again; on a terminal a person sees that it has gone. */
static void gone(int error)
{
	uint64_t now = now_ms();

	if (!top.gone_ms)
		top.gone_ms = now;
	top.gone_error = error;
	if ((!top.on_screen || !top.plan->control) && now - top.gone_ms >= GONE_MS)
		end(FIND_NONE, top.path,
		    error == ENOTUNIQ ? "it has gone, and there are several" : strerror(error));
	else if (top.on_screen)
		show_screen();
}

static void ask_again(void)
{
	struct found found;
	int error = find_again(top.plan->control, CONNECT_MS, &found);

	top.asked_ms = now_ms();
	if (!error)
		ask_over(found);
	else if (error != -ETIMEDOUT)
		gone(-error);
}

static void answer_came(void)
{
	if (ask_read(&top.ask))
		return;
	if (!top.ask.why)
		take_answer();
	else if (top.ask.said)
		end(1, top.ask.why, "");
	else
		gone(ECONNRESET);
	answer_clear(&top.ask.answer);
}

static void give_up_answer(void)
{
	ask_end(&top.ask);
	answer_clear(&top.ask.answer);
	if (!top.on_screen)
		end(1, "the time is over, and there is no answer", "");
}

/* How long until something has to be done, even if nothing comes. */
static int wait_ms(uint64_t now)
{
	uint64_t due = top.asked_ms + top.plan->interval_ms;

	if (top.ask.fd >= 0)
		due = top.plan->timeout_ms ? top.asked_ms + top.plan->timeout_ms : now + TICK_MS;
	else if (top.view.paused)
		due = now + TICK_MS;
	if (due > now + TICK_MS)
		due = now + TICK_MS;
	return due > now ? (int)(due - now) : 0;
}

static void go_on(void)
{
	uint64_t now = now_ms();

	if (top.ask.fd >= 0) {
		if (top.plan->timeout_ms && now - top.asked_ms >= top.plan->timeout_ms)
			give_up_answer();
	} else if (!top.view.paused && now - top.asked_ms >= top.plan->interval_ms) {
		ask_again();
	}
}

/* ---- the whole ---- */

/* False: it is no key for that. If it scrolls too far, the next frame corrects it. */
static bool scroll(int key)
{
	size_t *at = top.view.help ? &top.view.help_first : &top.view.first;
	size_t page = top.view.page ? top.view.page : 1, step = 1;

	if (key == KEY_PAGE_UP || key == KEY_PAGE_DOWN)
		step = page;
	if (key == KEY_HOME)
		*at = 0;
	else if (key == KEY_END)
		*at = FRAME_END;
	else if (key == 'k' || key == KEY_UP || key == KEY_PAGE_UP)
		*at -= *at < step ? *at : step;
	else if (key == 'j' || key == KEY_DOWN || key == KEY_PAGE_DOWN)
		*at += step;
	else
		return false;
	return true;
}

static void take_key(int key)
{
	struct frame_view *view = &top.view;

	if (key == 'q') {
		top.status = 0;
	} else if (key == '?' || key == 'h') {
		view->help = !view->help;
		view->help_first = 0;
	} else if (!scroll(key)) {
		view->help = false;
		if (key == ' ')
			view->paused = !view->paused;
		else if (key == 'r')
			view->backwards = !view->backwards;
		else if (key == 's' || key == '>')
			table_sort(view, 1);
		else if (key == '<')
			table_sort(view, -1);
	}
	if (top.status < 0)
		show_screen();
}

static void turn_on_screen(void)
{
	uint64_t seconds = (now_ms() - top.heard_ms) / 1000;
	int key = 0;

	switch (screen_wait(top.ask.fd, wait_ms(now_ms()), &key)) {
	case SCREEN_KEY:
		take_key(key);
		break;
	case SCREEN_REDRAW:
		show_screen();
		break;
	case SCREEN_END:
		top.status = 0;
		break;
	default:
		if ((now_ms() - top.heard_ms) / 1000 > seconds)
			show_screen();
	}
}

static void turn(void)
{
	struct pollfd one = {.fd = top.ask.fd, .events = POLLIN};

	if (top.on_screen)
		turn_on_screen();
	else
		(void)poll(&one, 1, wait_ms(now_ms()));
	if (top.status < 0 && top.ask.fd >= 0)
		answer_came();
	if (top.status < 0)
		go_on();
}

int top_run(const struct top_plan *plan, struct found found)
{
	static struct top_plan once;

	top.plan = plan;
	top.status = -1;
	top.on_screen = !plan->json && screen_is_possible();
	if (!top.on_screen && !plan->counted) {
		once = *plan;
		once.counted = true;
		once.count = 1;
		top.plan = &once;
	}
	top.view.columns = 80;
	top.view.interval_ms = plan->interval_ms;
	top.heard_ms = top.asked_ms = now_ms();
	ask_over(found);
	if (top.on_screen)
		screen_open();
	while (top.status < 0)
		turn();
	screen_close();
	ask_end(&top.ask);
	answer_clear(&top.ask.answer);
	forget_samples();
	if (*top.failure)
		(void)fprintf(stderr, "weirctl: top: %s\n", top.failure);
	return top.status;
}
