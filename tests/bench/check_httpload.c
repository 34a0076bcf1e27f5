/*
 * weirload's HTTP: whether its results can be believed. If a server gets one answer in so many
 * wrong, weirload has to notice, and to say what was wrong; with a server that does only what it
 * may do, it finds nothing. Its requests work with weir, nginx, HAProxy and Node, if they are
 * installed. No test here is about speed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/servers/faulty_http.h"
#include "tests/support/harness.h"
#include "tests/support/clients/load.h"

#define SHORT_MS 200
#define PATIENT	 "--warmup", "50ms", "--timeout", "1m"

static const char *http_at(unsigned port)
{
	return load_listener("http", port);
}

/* Whether the machine was too busy for so short a run, which weirload says. That is no error. */
static bool was_starved(int status)
{
	return load_figure("errors") == 0 &&
	       (status == 3 || (status == 1 && load_figure("messages") == 0));
}

static bool ran(int status)
{
	return status == 0 || was_starved(status);
}

static bool has_messages(void)
{
	return load_figure("messages") > 0;
}

static bool has_errors(void)
{
	return load_figure("errors") > 0;
}

static bool has_reopened(void)
{
	return load_figure("reopened") > 0;
}

/* ---- answers that are wrong ---- */

struct case_of_fault {
	enum http_fault fault;
	const char *how[6];
	const char *counted; /* the key that has to be above 0; NULL: any key of errors */
	const char *said;
};

static const struct case_of_fault faults[] = {
    {HTTP_FAULT_STATUS, {"-p", "4"}, "errors_status", "status 503"},
    {HTTP_FAULT_STATUS, {"--churn"}, "errors_status", "status 503"},
    {HTTP_FAULT_VERSION, {"-p", "4"}, "errors_malformed", "a first line that is not HTTP/1.1"},
    {HTTP_FAULT_LINE_END, {"-p", "1"}, "errors_malformed", "LF alone"},
    {HTTP_FAULT_FRAMES, {"-s", "100"}, "errors_malformed", "Content-Length and Transfer-"},
    {HTTP_FAULT_UNFRAMED, {"-p", "4"}, "errors_truncated", "a body of more than"},
    {HTTP_FAULT_CUT, {"-p", "1"}, "errors_truncated", "a body of 12 bytes instead of 13"},
    {HTTP_FAULT_TLS, {"-p", "1"}, "errors_malformed", "looks like TLS"},
    {HTTP_FAULT_HTTPS, {"-p", "1"}, "errors_status", "the port may be one of TLS"},
    {HTTP_FAULT_STATUS, {"--status", "404,2xx"}, "errors_status", "another status than 404,2xx"},
    {HTTP_FAULT_STATUS, {"--method", "HEAD"}, "errors_status", "status 503"},
    {HTTP_FAULT_CHUNK, {"-s", "10K"}, "errors_malformed", "a chunk that is longer"},
    {HTTP_FAULT_UNFRAMED, {"--body", "any"}, "errors_timeout", NULL},
    {HTTP_FAULT_ALTER,
     {"-s", "9", "--path", "/fixed", "--body", "same"},
     "errors_altered",
     "byte 4 of its body"},
    {HTTP_FAULT_SHORTER,
     {"-s", "9", "--path", "/fixed", "--body", "same"},
     "errors_truncated",
     "a body of 7 bytes instead of 8"},
    {HTTP_FAULT_STATUS, {"--body", "any"}, "errors_status", "status 503"},
    {HTTP_FAULT_SHORTER, {"-p", "4"}, "errors_truncated", "a body of 12 bytes instead of 13"},
    {HTTP_FAULT_SHORTER, {"-s", "500"}, "errors_truncated", "a body of 499 bytes"},
    {HTTP_FAULT_LONGER, {"--path", "/big"}, "errors_truncated", NULL},
    {HTTP_FAULT_LONGER, {"-s", "64", "-p", "3"}, "errors_truncated", NULL},
    {HTTP_FAULT_LOSE, {"-p", "4"}, "errors_altered", "byte 6 of its body"},
    {HTTP_FAULT_LOSE, {"-s", "1000"}, "errors_lost", NULL},
    {HTTP_FAULT_ALTER, {"-p", "4"}, "errors_altered", "byte 6 of its body"},
    {HTTP_FAULT_ALTER, {"--path", "/big"}, "errors_altered", "byte 50000 of its body"},
    {HTTP_FAULT_ALTER, {"-s", "64"}, "errors_altered", "byte 32 of 64"},
    {HTTP_FAULT_ALTER_END, {"--path", "/big"}, "errors_altered", "behind byte 65536"},
    {HTTP_FAULT_ALTER_END, {"-s", "20K", "--chunked"}, "errors_altered", NULL},
    {HTTP_FAULT_FOREIGN, {"-s", "300"}, "errors_foreign", NULL},
    {HTTP_FAULT_TWICE, {"-p", "1"}, "errors_unexpected", "it was not asked"},
    {HTTP_FAULT_TWICE, {"-s", "64", "-p", "4"}, NULL, NULL},
    {HTTP_FAULT_BEHIND, {"-p", "4"}, "errors_unexpected", "bytes behind a last reply"},
    {HTTP_FAULT_CLOSE, {"-p", "4"}, "errors_closed", NULL},
    {HTTP_FAULT_CLOSE, {"--path", "/big"}, "errors_closed", "amid a reply"},
    {HTTP_FAULT_DROP, {"-p", "1"}, "errors_timeout", NULL},
};

static const struct case_of_fault *wanted;

static bool is_found(void)
{
	double errors = load_figure("errors") - load_figure("errors_timeout");

	return load_figure("messages_total") > 40 &&
	       (wanted->counted ? load_figure(wanted->counted) : errors) > 0;
}

START_TEST(finds_one_wrong_answer_in_fifty)
{
	const char *arguments[LOAD_ARGUMENTS_MAX] = {"-c", "8", "--warmup", "0", "--timeout", "1s"};
	size_t n = 6;
	int status;

	wanted = &faults[_i];
	for (size_t k = 0; k < 6 && wanted->how[k]; k++)
		arguments[n++] = wanted->how[k];
	arguments[n] = http_at(faulty_http_start(wanted->fault, 50));
	status = load_longer(is_found, "-d", 400, arguments);
	ck_assert_msg(status == 1 && is_found(), "status %d, no %s:\n%s", status, wanted->counted,
		      load_said());
	ck_assert_msg(!wanted->said || strstr(load_said(), wanted->said), "not \"%s\":\n%s",
		      wanted->said, load_said());
}
END_TEST

/* Each of two processes always gets the same body, but another one than the other process: only the
 * conductor can notice. */
START_TEST(compares_what_its_processes_get)
{
	unsigned port = faulty_http_start(HTTP_FAULT_APART, 1);
	int status = LOAD("-c", "2", "-P", "2", "--idle", "-d", "1ms", http_at(port));

	ck_assert_msg(status == 1 && load_figure("errors_altered") == 1 &&
			  strstr(load_said(), "two sending processes"),
		      "status %d\n%s", status, load_said());
}
END_TEST

START_TEST(finds_what_does_not_speak_it)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0", "chargen://127.0.0.1:0");

	ck_assert_int_eq(
	    LOAD_LONGER(has_errors, SHORT_MS, "-c", "2", PATIENT, http_at(server->ports[0])), 1);
	ck_assert_msg(load_figure("errors_malformed") > 0, "%s", load_said());
	ck_assert_int_eq(
	    LOAD_LONGER(has_errors, SHORT_MS, "-c", "2", PATIENT, http_at(server->ports[1])), 1);
	ck_assert_msg(load_figure("errors_malformed") + load_figure("errors_unexpected") > 0, "%s",
		      load_said());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- what a server may do ---- */

static const struct {
	enum http_fault fault;
	const char *how[6];
	bool reopens;
} fine[] = {
    {HTTP_FAULT_NONE, {"-p", "16"}, false},
    {HTTP_FAULT_NONE, {"-s", "100", "-p", "3"}, false},
    {HTTP_FAULT_NONE, {"-s", "1", "--chunked", "-p", "3"}, false},
    {HTTP_FAULT_NONE, {"-s", "100K", "--chunked"}, false},
    {HTTP_FAULT_NONE, {"--path", "/big", "-p", "2"}, false},
    {HTTP_FAULT_NONE, {"--churn"}, false},
    {HTTP_FAULT_NONE, {"--idle", "-s", "77"}, false},
    {HTTP_FAULT_NONE, {"-P", "3", "-p", "2"}, false},
    {HTTP_FAULT_NONE, {"--rate", "500"}, false},
    {HTTP_FAULT_NONE, {"--churn", "--rate", "200", "-s", "20"}, false},
    {HTTP_FAULT_ALTER, {"--body", "any", "-p", "4"}, false},
    {HTTP_FAULT_ALTER_END, {"--body", "any", "--path", "/big"}, false},
    {HTTP_FAULT_APART, {"--body", "any", "-P", "2"}, false},
    {HTTP_FAULT_DRIBBLE, {"-p", "4"}, false},
    {HTTP_FAULT_DRIBBLE, {"-s", "50", "-p", "4"}, false},
    {HTTP_FAULT_LAST, {"-p", "1"}, true},
    {HTTP_FAULT_LAST, {"-p", "16"}, true},
    {HTTP_FAULT_LAST, {"--rate", "1000", "-p", "4", "-s", "9"}, true},
    {HTTP_FAULT_LEAVE, {"--churn"}, false},
    /* In whatever way it ends, and whatever is under way then. */
    {HTTP_FAULT_LEAVE, {"-p", "1"}, true},
    {HTTP_FAULT_LEAVE, {"-p", "16"}, true},
    {HTTP_FAULT_QUIT, {"-p", "1"}, true},
    {HTTP_FAULT_QUIT, {"-p", "16", "-s", "3000"}, true},
    {HTTP_FAULT_QUIT, {"--rate", "1000"}, true},
    {HTTP_FAULT_RESET, {"-p", "1"}, true},
    {HTTP_FAULT_RESET, {"-p", "16"}, true},
    {HTTP_FAULT_RESET, {"--churn"}, false},
    {HTTP_FAULT_OLD_KEEPS, {"-p", "4"}, false},
    {HTTP_FAULT_OLD_ONCE, {"-p", "4"}, true},
    {HTTP_FAULT_OLD, {"-p", "1"}, true},
    {HTTP_FAULT_OLD, {"-p", "4", "--path", "/big"}, true},
    {HTTP_FAULT_OLD, {"--churn"}, false},
    {HTTP_FAULT_OLD, {"--churn", "-s", "5000"}, false},
    {HTTP_FAULT_TO_END, {"-s", "700", "-p", "2"}, true},
    {HTTP_FAULT_TO_END, {"--rate", "500"}, true},
    {HTTP_FAULT_CUT, {"--body", "any"}, true},
    {HTTP_FAULT_STATUS, {"--status", "2xx,503"}, false},
    {HTTP_FAULT_NONE, {"--method", "HEAD", "-p", "4"}, false},
    {HTTP_FAULT_NONE, {"-X", "PUT", "-s", "50", "--body", "echo"}, false},
    {HTTP_FAULT_NONE, {"-X", "DELETE", "--path", "/fixed"}, false},
    {HTTP_FAULT_NONE, {"-s", "9", "--path", "/fixed", "--body", "same"}, false},
    {HTTP_FAULT_ALTER, {"-s", "9", "--body", "any"}, false},
    {HTTP_FAULT_KEY, {"-H", "Accept: x", "-H", "X-Key: 7"}, false},
};

START_TEST(finds_nothing_where_nothing_is_wrong)
{
	const char *arguments[LOAD_ARGUMENTS_MAX] = {"-c", "8", PATIENT};
	size_t n = 6;
	int status;

	for (size_t k = 0; k < 6 && fine[_i].how[k]; k++)
		arguments[n++] = fine[_i].how[k];
	arguments[n] = http_at(faulty_http_start(fine[_i].fault, 20));
	status = load_longer(fine[_i].reopens ? has_reopened : has_messages, "-d", 150, arguments);
	if (was_starved(status))
		return;
	ck_assert_msg(status == 0 && load_figure("errors") == 0 && load_figure("messages") > 0,
		      "status %d\n%s", status, load_said());
	ck_assert_msg((load_figure("reopened") > 0) == fine[_i].reopens, "%s", load_said());
}
END_TEST

static bool has_retried(void)
{
	return has_reopened() && load_figure("retried") > 0;
}

/* A reset is never taken for a normal end, nor the other way round, whether a read or a write meets
 * it first. */
START_TEST(tells_a_reset_from_an_end)
{
	static const char *const depths[] = {"1", "16"};
	bool reset = _i / 2;
	int status =
	    LOAD_LONGER(_i % 2 ? has_retried : has_reopened, 150, "-c", "8", PATIENT, "-p",
			depths[_i % 2], "-s", "3000",
			http_at(faulty_http_start(reset ? HTTP_FAULT_RESET : HTTP_FAULT_LEAVE, 7)));

	if (was_starved(status))
		return;
	ck_assert_msg(status == 0 && load_figure("reopened") > 0, "status %d\n%s", status,
		      load_said());
	ck_assert_msg(load_figure("reopened_by_reset") == (reset ? load_figure("reopened") : 0),
		      "%s", load_said());
	ck_assert_msg(_i % 2 == 0 || load_figure("retried") > 0, "%s", load_said());
}
END_TEST

static bool has_warmed_up(void)
{
	return load_figure("messages_total") > 100 + load_figure("messages");
}

/* All connections were reopened in the warm-up, so no figure counts that. */
START_TEST(leaves_the_warm_up_out_of_what_it_reopened)
{
	const char *server = http_at(faulty_http_start(HTTP_FAULT_LAST, 10));
	const char *arguments[] = {"-c", "2", "-d", "1ms", "--rate", "1000", server, NULL};
	int status = load_longer(has_warmed_up, "--warmup", 300, arguments);

	ck_assert_msg(status != 2 && has_warmed_up(), "status %d\n%s", status, load_said());
	/* One answer in ten is the last of its connection; how many come in a millisecond depends
	 * on the machine. */
	ck_assert_msg(load_figure("reopened") <= 3 + load_figure("messages") / 10, "%s",
		      load_said());
}
END_TEST

/* An answer that never comes is an error, even if each connection ends between answers. */
START_TEST(finds_a_server_that_never_answers)
{
	int status = LOAD_LONGER(has_errors, SHORT_MS, "-c", "2", PATIENT,
				 http_at(faulty_http_start(HTTP_FAULT_CLOSE, 1)));

	ck_assert_msg(status == 1 && load_figure("errors_closed") > 0, "status %d\n%s", status,
		      load_said());
	status = LOAD_LONGER(has_errors, SHORT_MS, "-c", "2", PATIENT,
			     http_at(faulty_http_start(HTTP_FAULT_MUTE, 1)));
	ck_assert_msg(status == 1 && load_figure("errors_closed") > 0, "status %d\n%s", status,
		      load_said());
	ck_assert_msg(strstr(load_said(), "a port of TLS may do so") != NULL, "%s", load_said());
}
END_TEST

/* A server that is right, but does not send back what it got. */
START_TEST(says_what_else_a_body_may_be)
{
	unsigned port = faulty_http_start(HTTP_FAULT_NONE, 1);

	ck_assert_int_eq(LOAD_LONGER(has_errors, SHORT_MS, "-c", "1", PATIENT, "-s", "9", "--path",
				     "/fixed", http_at(port)),
			 1);
	ck_assert_msg(strstr(load_said(), "unless --body is same or any") != NULL, "%s",
		      load_said());
}
END_TEST

static bool has_reopened_often(void)
{
	return load_figure("reopened") > 10;
}

/* Requests that were sent after the one with the last answer are asked again. More are due than can
 * be answered, so there always are some. All that were due were answered or are reported as unsent,
 * except for those after the very last answers. */
START_TEST(loses_no_question_behind_a_last_answer)
{
	unsigned port = faulty_http_start(HTTP_FAULT_LAST, 10);
	int status = LOAD_LONGER(has_reopened_often, 500, "-c", "4", "-p", "8", "--warmup", "0",
				 "--timeout", "1m", "--rate", "100000", http_at(port));
	double due, found;

	ck_assert_msg(status == 0 || status == 3, "status %d\n%s", status, load_said());
	ck_assert_msg(load_figure("errors") == 0 && has_reopened_often(), "%s", load_said());
	due = 100000 * load_figure("duration_s");
	found = load_figure("messages_total") + load_figure("unsent");
	ck_assert_msg(found > due - 4 * 8 - 1, "%.0f of %.0f\n%s", found, due, load_said());
}
END_TEST

/* With --idle a connection that is closed is an error, whatever its answer said. */
START_TEST(holds_connections)
{
	unsigned port = faulty_http_start(HTTP_FAULT_LAST, 3);

	ck_assert_int_eq(LOAD("-c", "5", "--idle", "-d", "10ms", http_at(port)), 1);
	ck_assert_msg(load_figure("errors_closed") > 0 && strstr(load_said(), "Connection: close"),
		      "%s", load_said());
	port = faulty_http_start(HTTP_FAULT_OLD, 3);
	ck_assert_int_eq(LOAD("-c", "5", "--idle", "-d", "10ms", http_at(port)), 1);
	ck_assert_msg(strstr(load_said(), "ends with the connection") != NULL, "%s", load_said());
}
END_TEST

/* ---- other servers, if they are installed ---- */

static const char *start_on(const char *path, const char *const argv[])
{
	static char listener[128];

	(void)program_start(path, argv);
	(void)snprintf(listener, sizeof listener, "http://%s", path);
	return listener;
}

/* echoes: a POST gets its body back. */
static void drive(const char *listener, bool echoes)
{
	static const char *const ways[][6] = {
	    {"-p", "1"},
	    {"-p", "16"},
	    {"--churn"},
	    {"--idle", "--path", "/"},
	    {"-s", "100", "-p", "3"},
	    {"-s", "70K", "--chunked"},
	};

	for (size_t i = 0; i < sizeof ways / sizeof *ways - (echoes ? 0 : 2); i++) {
		const char *arguments[LOAD_ARGUMENTS_MAX] = {"-c", "8", PATIENT};
		size_t n = 6;
		int status;

		for (size_t k = 0; k < 6 && ways[i][k]; k++)
			arguments[n++] = ways[i][k];
		arguments[n] = listener;
		status = load_longer(has_messages, "-d", SHORT_MS, arguments);
		ck_assert_msg(was_starved(status) || (status == 0 && load_figure("messages") > 0),
			      "%s, way %zu: status %d\n%s", listener, i, status, load_said());
	}
}

START_TEST(drives_nginx)
{
	const char *path = in_folder("nginx.sock"), *listener, *file;
	char text[2048];

	if (!command_exists("nginx")) {
		suite_skip("drives nginx", "nginx is not installed");
		return;
	}
	/* 100 requests a connection, instead of the default of keepalive_requests, so that
	 * connections end soon. */
	(void)snprintf(text, sizeof text,
		       "daemon off; master_process off; worker_processes 1; pid %s/nginx.pid;\n"
		       "error_log stderr crit;\nevents { worker_connections 256; }\n"
		       "http { access_log off; keepalive_requests 100;\n"
		       "client_body_temp_path %s/a; proxy_temp_path %s/b; fastcgi_temp_path %s/c;\n"
		       "uwsgi_temp_path %s/d; scgi_temp_path %s/e;\n"
		       "server { listen unix:%s; location / { return 200 \"ok\\n\"; } } }\n",
		       temporary_folder(), temporary_folder(), temporary_folder(),
		       temporary_folder(), temporary_folder(), temporary_folder(), path);
	file = write_file("nginx.conf", text);
	listener = start_on(path, (const char *const[]){"nginx", "-e", "stderr", "-c", file, NULL});
	drive(listener, false);
	ck_assert(ran(LOAD_LONGER(has_reopened, SHORT_MS, "-c", "8", PATIENT, listener)));
	ck_assert_msg(has_reopened(), "%s", load_said());
	ck_assert_int_eq(
	    LOAD_LONGER(has_errors, SHORT_MS, "-c", "8", PATIENT, "-s", "10", listener), 1);
	ck_assert_msg(load_figure("errors_truncated") > 0, "%s", load_said());
}
END_TEST

START_TEST(drives_haproxy)
{
	const char *path = in_folder("haproxy.sock"), *file;
	char text[1024];

	if (!command_exists("haproxy")) {
		suite_skip("drives haproxy", "haproxy is not installed");
		return;
	}
	(void)snprintf(text, sizeof text,
		       "global\n maxconn 256\n nbthread 1\ndefaults\n mode http\n"
		       " timeout client 20s\n timeout connect 5s\n timeout server 20s\n"
		       "frontend f\n bind unix@%s\n http-request return status 200 content-type "
		       "text/plain string \"ok\"\n",
		       path);
	file = write_file("haproxy.cfg", text);
	drive(start_on(path, (const char *const[]){"haproxy", "-f", file, NULL}), false);
}
END_TEST

START_TEST(drives_node)
{
	const char *path = in_folder("node.sock"), *file;

	if (!command_exists("node")) {
		suite_skip("drives node", "node is not installed");
		return;
	}
	file = write_file("echo.js", "require('http').createServer((q, a) => {\n"
				     "  if (q.method === 'POST') q.pipe(a);\n"
				     "  else { a.write('hello, '); a.end('world\\n'); }\n"
				     "}).listen(process.argv[2]);\n");
	drive(start_on(path, (const char *const[]){"node", file, path, NULL}), true);
}
END_TEST

START_TEST(drives_weir)
{
	static const char *const more[][4] = {{"--slow", "2", "--path", "/"},
					      {"--slow", "2", "-s", "2000"},
					      {"-p", "1", "--path", "/bytes/200000"}};
	struct server *server = SERVER("-w", "2", "http://127.0.0.1:0");
	unsigned port = server->ports[0];

	drive(http_at(port), true);
	for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
		int status = LOAD_LONGER(has_messages, SHORT_MS, "-c", "4", PATIENT, more[i][0],
					 more[i][1], more[i][2], more[i][3], http_at(port));

		ck_assert_msg(ran(status), "status %d\n%s", status, load_said());
	}
	ck_assert_int_eq(LOAD_LONGER(has_errors, SHORT_MS, "-c", "4", PATIENT, "--path", "/nowhere",
				     http_at(port)),
			 1);
	ck_assert_msg(load_figure("errors_status") > 0 && strstr(load_said(), "status 404"), "%s",
		      load_said());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- usage ---- */

static const struct load_refusal refusals[] = {
    {{"--path", "x", "http://127.0.0.1:1"}, "--path takes a path"},
    {{"--path", "/a b", "http://127.0.0.1:1"}, "--path takes a path"},
    {{"--path", "/x", "echo://127.0.0.1:1"}, "--path is for http only"},
    {{"--chunked", "frame://127.0.0.1:1"}, "--chunked is for http only"},
    {{"--body", "any", "echo://127.0.0.1:1"}, "--body any is for http only"},
    {{"--body", "echo", "http://127.0.0.1:1"}, "--body echo needs a --size"},
    {{"--body", "all", "http://127.0.0.1:1"}, "--body takes same, echo or any"},
    {{"--method", "GET", "-s", "5", "http://127.0.0.1:1"}, "--method GET sends no body"},
    {{"--method", "put", "http://127.0.0.1:1"}, "do you mean PUT?"},
    {{"--method", "A B", "http://127.0.0.1:1"}, "--method takes a method"},
    {{"--method", "CONNECT", "http://127.0.0.1:1"}, "a tunnel"},
    {{"--method", "PUT", "echo://127.0.0.1:1"}, "--method is for http only"},
    {{"--status", "200", "echo://127.0.0.1:1"}, "--status is for http only"},
    {{"--header", "A: b", "frame://127.0.0.1:1"}, "--header is for http only"},
    {{"--status", "100", "http://127.0.0.1:1"}, "--status takes numbers from 200"},
    {{"--status", "20", "http://127.0.0.1:1"}, "--status takes numbers from 200"},
    {{"--status", "200,", "http://127.0.0.1:1"}, "--status takes numbers from 200"},
    {{"--status", "2xx 3xx", "http://127.0.0.1:1"}, "--status takes numbers from 200"},
    {{"--header", "A", "http://127.0.0.1:1"}, "it is no NAME: VALUE"},
    {{"--header", "A: b\r\nC: d", "http://127.0.0.1:1"},
     "\"A: b\\u000d\\u000aC: d\": it would break"},
    {{"--header", "Content-Length: 5", "http://127.0.0.1:1"}, "--size and --chunked say"},
    {{"-H", "Host: a", "-H", "host: b", "http://127.0.0.1:1"}, "Host is there twice"},
    {{"--churn", "-H", "Connection: x", "http://127.0.0.1:1"}, "--churn says Connection: close"},
    {{"https://127.0.0.1:1"}, "speaks no TLS"},
    {{"https://127.0.0.1:1/x"}, "speaks no TLS"},
    {{"--chunked", "http://127.0.0.1:1"}, "--chunked needs a --size"},
    {{"--path", "/x", "http://127.0.0.1:1/"}, "which of them?"},
    {{"http://127.0.0.1:1/a#b"}, "is no path"},
    {{"echo://127.0.0.1:1/"}, "a listener has no path"},
    {{"--talk", "http://127.0.0.1:1"}, "--talk does not speak http"},
};

START_TEST(refuses_wrong_usage)
{
	load_expect_refusals(refusals, sizeof refusals / sizeof *refusals);
}
END_TEST

START_TEST(says_what_it_asked)
{
	unsigned port = faulty_http_start(HTTP_FAULT_NONE, 1);

	ck_assert(ran(LOAD("-c", "2", "-d", "50ms", "--warmup", "0", http_at(port))));
	ck_assert_ptr_nonnull(strstr(load_said(), "2 connections, GET /, 1 process"));
	ck_assert(load_says("body", "\"same\""));
	ck_assert(load_says("method", "\"GET\"") && load_says("path", "\"/\""));
	ck_assert(ran(
	    LOAD("-c", "2", "-d", "50ms", "--warmup", "0", "-s", "5", "--chunked", http_at(port))));
	ck_assert_ptr_nonnull(
	    strstr(load_said(), "2 connections, POST /echo, 5 bytes in a chunk, 1 process"));
	ck_assert(load_says("method", "\"POST\"") && load_figure("size") == 5);
	ck_assert(
	    ran(LOAD("-c", "2", "-d", "50ms", "--warmup", "0", "--body", "any", http_at(port))));
	ck_assert_ptr_nonnull(strstr(load_said(), "GET /, bodies not compared, 1 process"));
	ck_assert(load_says("body", "\"any\""));
	/* The value of a header may be a secret: weirload says only how many headers there are. */
	ck_assert(ran(LOAD("-c", "2", "-d", "50ms", "--warmup", "0", "-X", "PUT", "-s", "5", "-H",
			   "Authorization: s3cret", "--status", "2xx", http_at(port))));
	ck_assert_ptr_nonnull(
	    strstr(load_said(), "PUT /echo, 5 bytes, 1 header, status 2xx, 1 process"));
	ck_assert(!strstr(load_said(), "s3cret") && load_says("body", "\"echo\""));
	ck_assert(load_says("status", "\"2xx\"") && load_figure("headers") == 1);
}
END_TEST

/* As in a browser: a query belongs to the path, the host does not. */
START_TEST(takes_the_path_of_its_listener)
{
	unsigned port = faulty_http_start(HTTP_FAULT_NONE, 1);
	static const char *const paths[] = {"/", "/big", "/a?b=/c"};
	char text[96];

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		(void)snprintf(text, sizeof text, "%s%s", http_at(port), paths[i]);
		ck_assert_msg(ran(LOAD("-c", "2", "-d", "50ms", "--warmup", "0", text)), "%s",
			      load_said());
		(void)snprintf(text, sizeof text, "\"%s\"", paths[i]);
		ck_assert_msg(load_says("path", text), "%s", load_said());
		(void)snprintf(text, sizeof text, "\"%s\"", http_at(port));
		ck_assert_msg(load_says("listener", text), "%s", load_said());
	}
}
END_TEST

SUITE("httpload",
      {"finds one wrong answer in fifty", finds_one_wrong_answer_in_fifty, 20,
       sizeof faults / sizeof *faults},
      {"compares what its processes get", compares_what_its_processes_get, 20},
      {"finds what does not speak it", finds_what_does_not_speak_it, 20},
      {"finds nothing where nothing is wrong", finds_nothing_where_nothing_is_wrong, 20,
       sizeof fine / sizeof *fine},
      {"loses no question behind a last answer", loses_no_question_behind_a_last_answer, 20},
      {"tells a reset from an end", tells_a_reset_from_an_end, 20, 4},
      {"leaves the warm-up out of what it reopened", leaves_the_warm_up_out_of_what_it_reopened,
       20},
      {"finds a server that never answers", finds_a_server_that_never_answers, 20},
      {"says what else a body may be", says_what_else_a_body_may_be, 20},
      {"holds connections", holds_connections, 20}, {"drives nginx", drives_nginx, 30},
      {"drives haproxy", drives_haproxy, 30}, {"drives node", drives_node, 30},
      {"drives weir", drives_weir, 30}, {"refuses wrong usage", refuses_wrong_usage, 20},
      {"says what it asked", says_what_it_asked, 20},
      {"takes the path of its listener", takes_the_path_of_its_listener, 20})
