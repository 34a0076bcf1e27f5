/*
 * HTTP of a running weir: each status, keep-alive, 100-continue, the end of a connection; also with
 * other programs: curl, ab and wrk as clients, nginx and HAProxy as proxies in front of it.
 *
 * sim_http has the answers to all malformed requests, and requests that arrive in parts;
 * check_http_body has large bodies, slow clients and moves.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/clients/http_reader.h"
#include "tests/support/harness.h"

#define HOST "Host: weir\r\n"

static struct answer answer;

/* Reads an answer: its head, and a body as the head says. */
static void read_answer(int fd, bool to_head)
{
	static unsigned char bytes[ANSWER_BODY + 2000];
	size_t n = 0;

	while (n < 4 || memcmp(bytes + n - 4, "\r\n\r\n", 4) != 0) {
		ck_assert_uint_lt(n, 2000);
		receive_exactly(fd, bytes + n++, 1);
	}
	(void)answer_read(bytes, n, to_head, &answer);
	if (!answer.whole && !answer.chunked) {
		receive_exactly(fd, bytes + n, answer.length);
		(void)answer_read(bytes, n + answer.length, to_head, &answer);
	}
	while (!answer.whole) {
		receive_exactly(fd, bytes + n++, 1);
		ck_assert_uint_lt(n, sizeof bytes);
		if (memcmp(bytes + n - 5, "0\r\n\r\n", 5) == 0)
			(void)answer_read(bytes, n, to_head, &answer);
	}
}

static void expect_answer(int fd, int status, const char *body)
{
	read_answer(fd, false);
	ck_assert_int_eq(answer.status, status);
	if (body) {
		ck_assert_uint_eq(answer.body_n, strlen(body));
		ck_assert_int_eq(memcmp(answer.body, body, answer.body_n), 0);
	}
}

static void expect_ended(int fd, struct server *server, const char *reason)
{
	uint64_t before = server_stat(server, reason);

	finish_sending(fd);
	expect_end(fd);
	(void)close(fd);
	server_wait_stat(server, reason, before + 1);
	server_wait_stat_is(server, "connections", 0);
}

/* ---- each status ---- */

static const struct {
	const char *request;
	int status;
	bool ends;
	const char *allow;
} statuses[] = {
    {"GET / HTTP/1.1\r\n" HOST "\r\n", 200, false, ""},
    {"GET /?a HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", 200, true, ""},
    {"GET / HTTP/1.0\r\n\r\n", 200, true, ""},
    {"GET /bytes/1099511627777 HTTP/1.1\r\n" HOST "\r\n", 404, false, ""},
    {"GET /bytes/18446744073709551617 HTTP/1.1\r\n" HOST "\r\n", 404, false, ""}, /* 2^64 + 1 */
    {"GET / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n", 200, false, ""},	  /* but no body */
    {"GET /bytes/12a HTTP/1.1\r\n" HOST "\r\n", 404, false, ""},
    {"GET /bytes/ HTTP/1.1\r\n" HOST "\r\n", 404, false, ""},
    {"GET /Echo HTTP/1.1\r\n" HOST "\r\n", 404, false, ""},
    {"POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nGET / HTT", 404, true, ""},
    {"DELETE / HTTP/1.1\r\n" HOST "\r\n", 405, false, "GET, HEAD"},
    {"POST /bytes/5 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 405, false, "GET, HEAD"},
    {"PUT / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", 405, true, "GET, HEAD"},
    {"GET /echo HTTP/1.1\r\n" HOST "\r\n", 405, false, "POST"},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 405, false, "GET, HEAD, POST"},
    {"CONNECT weir:80 HTTP/1.1\r\n" HOST "\r\n", 405, false, "GET, HEAD, POST"},
    {"GET /nowhere?a[]={b}|^ HTTP/1.1\r\n" HOST "\r\n", 404, false, ""},
    {"POST /echo HTTP/1.1\r\n" HOST "\r\n", 411, true, ""},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n", 413, true, ""},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 413, true, ""},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3e9\r\n", 413, true, ""},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400, true, ""},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n", 413,
     true, ""},
    {"GET / HTTP/1.1\r\n\r\n", 400, true, ""},
    {"GET / HTTP/1.1\r\n" HOST "Expect: more\r\n\r\n", 417, true, ""},
    {"GET / HTTP/2.0\r\n" HOST "\r\n", 505, true, ""},
    {"BREW / HTTP/1.1\r\n" HOST "\r\n", 501, true, ""},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, true, ""},
    {"\x16\x03\x01\x02", 400, true, ""}, /* TLS */
};

START_TEST(each_status)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0?max-body=1000");
	uint64_t refused = 0, ended = 0;

	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
		int fd = connect_to(server->ports[0]);

		send_text(fd, statuses[i].request);
		expect_answer(fd, statuses[i].status, NULL);
		ck_assert_msg(answer.closes == statuses[i].ends, "%s", statuses[i].request);
		ck_assert_str_eq(answer.allow, statuses[i].allow);
		ck_assert_str_eq(answer.type,
				 answer.status == 200 ? "text/plain" : "text/plain; charset=utf-8");
		refused += statuses[i].status != 200;
		if (statuses[i].ends) {
			expect_end(fd);
			ended += statuses[i].status != 200;
			(void)close(fd);
			continue;
		}
		send_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
		expect_answer(fd, 200, "ok");
		finish_sending(fd);
		expect_end(fd);
		(void)close(fd);
	}
	server_wait_stat_is(server, "connections", 0);
	ck_assert_uint_eq(server_stat(server, "http_refused"), refused);
	ck_assert_uint_eq(server_stat(server, "closed_bad_request"), ended);
	ck_assert_uint_eq(server_stat(server, "closed_finished"), 2);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- a connection ---- */

START_TEST(a_connection_is_kept)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	int fd = connect_to(server->ports[0]);

	for (int i = 0; i < 20; i++) {
		send_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
		expect_answer(fd, 200, "ok");
		ck_assert(!answer.keeps && !answer.closes);
		send_text(fd, "HEAD /bytes/100000 HTTP/1.1\r\n" HOST "\r\n");
		read_answer(fd, true);
		ck_assert_uint_eq(answer.length, 100000);
		send_text(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
		expect_answer(fd, 200, "hello");
		ck_assert_str_eq(answer.type, "application/octet-stream");
		send_text(fd, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
		expect_answer(fd, 200, "ok");
		ck_assert(answer.keeps);
		send_text(fd, "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\n"
			      "Content-Length: 5\r\n\r\nhello");
		expect_answer(fd, 200, "hello");
		ck_assert(answer.keeps);
		send_text(fd, "GET /bytes/10000 HTTP/1.1\r\n" HOST "\r\n");
		expect_answer(fd, 200, NULL);
		ck_assert_uint_eq(answer.body_n, 10000);
		for (unsigned k = 0; k < 10000; k++)
			ck_assert_msg(answer.body[k] == 'a' + (int)(k % 26), "byte %u", k);
	}
	ck_assert_uint_eq(server_stat(server, "accepted"), 1);
	ck_assert_uint_eq(server_stat(server, "messages"), 120);
	expect_ended(fd, server, "closed_eof");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Not time(), which uses a coarser clock that is a bit late. */
static time_t wall(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

/* The date of an answer is never before that of the previous one, and it advances. */
START_TEST(the_date_goes_on)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	int fd = connect_to(server->ports[0]);
	struct wait wait = wait_begin();
	time_t first = 0, last = 0;

	while (!first || last < first + 2) {
		time_t before = wall(), date;
		struct tm when = {0};

		send_text(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
		expect_answer(fd, 200, "ok");
		ck_assert_ptr_nonnull(strptime(answer.date, "%a, %d %b %Y %H:%M:%S GMT", &when));
		date = timegm(&when);
		ck_assert(date >= last && date >= before - 1 && date <= wall());
		first = first ? first : date;
		last = date;
		wait_more(&wait, "the date");
	}
	expect_ended(fd, server, "closed_eof");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* An answer that is larger than one write is sent whole before the connection ends. */
START_TEST(a_last_answer_is_whole)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	static const char *const requests[] = {"GET /bytes/20000 HTTP/1.0\r\n\r\n",
					       "GET /bytes/20000 HTTP/1.1\r\n" HOST
					       "Connection: close\r\n\r\n",
					       "GET /bytes/20000 HTTP/1.1\r\n" HOST
					       "Connection: close\r\nContent-Length: 3\r\n\r\nabc"};
	int fd;

	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		fd = connect_to(server->ports[0]);
		send_text(fd, requests[i]);
		expect_answer(fd, 200, NULL);
		ck_assert_uint_eq(answer.body_n, 20000);
		ck_assert(answer.closes);
		expect_end(fd);
		(void)close(fd);
	}
	server_wait_stat_is(server, "closed_finished", 3);
	fd = connect_to(server->ports[0]); /* the longest possible answer */
	send_text(fd, "HEAD /bytes/1099511627776 HTTP/1.1\r\n" HOST "\r\n");
	read_answer(fd, true);
	ck_assert_int_eq(answer.status, 200);
	ck_assert_uint_eq(answer.length, UINT64_C(1) << 40);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(the_body_waits_for_100)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	int fd = connect_to(server->ports[0]);

	for (int i = 0; i < 3; i++) {
		send_text(fd, "POST /echo HTTP/1.1\r\n" HOST
			      "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
		expect_text(fd, "HTTP/1.1 100 Continue\r\n\r\n");
		send_text(fd, "hello");
		expect_answer(fd, 200, "hello");
		send_text(fd, "POST /echo HTTP/1.1\r\n" HOST
			      "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
		expect_text(fd, "HTTP/1.1 100 Continue\r\n\r\n");
		send_text(fd, "5;ext\r\nhello\r\n0\r\nX: y\r\n\r\n");
		expect_answer(fd, 200, "hello");
	}
	expect_ended(fd, server, "closed_eof");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(half_a_request_is_truncated)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	static const char *const texts[] = {
	    "GET / HT", "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n",
	    "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"};

	for (size_t i = 0; i < 3; i++) {
		int fd = connect_to(server->ports[0]);

		send_text(fd, texts[i]);
		finish_sending(fd);
		expect_end(fd);
		(void)close(fd);
	}
	server_wait_stat_is(server, "closed_truncated", 3);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* The client goes on sending a body that weir does not take, and still gets the whole refusal. */
START_TEST(a_refusal_reaches_a_client_that_goes_on_sending)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0?max-body=1M");
	static char bytes[1 << 20];

	for (int i = 0; i < 20; i++) {
		int fd = connect_to(server->ports[0]);

		send_text(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 8388608\r\n\r\n");
		for (int k = 0; k < 8; k++)
			send_all(fd, bytes, sizeof bytes);
		expect_answer(fd, 413, NULL);
		expect_end(fd);
		(void)close(fd);
	}
	server_wait_stat_is(server, "closed_bad_request", 20);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- other programs ---- */

static char said[1 << 16];

/* Runs a command, with its output in `said`. Returns its exit status. */
static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int run(const char *format, ...)
{
	char command[1500] = "exec 2>&1; ";
	va_list arguments;
	int status;
	FILE *pipe;

	va_start(arguments, format);
	(void)vsnprintf(command + strlen(command), sizeof command - 20, format, arguments);
	va_end(arguments);
	pipe = popen(command, "re");
	ck_assert_ptr_nonnull(pipe);
	said[fread(said, 1, sizeof said - 1, pipe)] = '\0';
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static bool have(const char *command, const char *test)
{
	if (command_exists(command))
		return true;
	suite_skip(test, command);
	return false;
}

#define LARGE 8000000 /* more than all buffers together */

/* Uses curl's options for each kind of request; `where` is the URL, and options to reach it. */
static void curl_all(const char *where, size_t large)
{
	static const char *const ways[] = {"", "-H Transfer-Encoding:chunked",
					   "-H Expect:100-continue",
					   "--http1.0 -H Expect:", "-H Expect:"};
	const char *body = in_folder("body"), *back = in_folder("back");
	size_t sizes[] = {1, 5000, large};

	ck_assert_int_eq(run("curl -sSf %s/", where), 0);
	ck_assert_str_eq(said, "ok");
	ck_assert_int_eq(run("curl -sSfI %s/bytes/123", where), 0);
	ck_assert_ptr_nonnull(strcasestr(said, "\r\ncontent-length: 123\r\n"));
	ck_assert_int_eq(run("curl -sS %s/nowhere", where), 0);
	ck_assert_str_eq(said, "404 Not Found\n");
	ck_assert_int_eq(run("curl -sSf %s/bytes/1000000 | tr -d b-z | wc -c", where), 0);
	ck_assert_str_eq(said, "38462\n");
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(run("head -c %zu /dev/urandom >%s", sizes[i], body), 0);
		for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
			ck_assert_msg(run("curl -sSf -m 600 %s --data-binary @%s -o %s %s/echo && "
					  "cmp %s %s",
					  ways[k], body, back, where, body, back) == 0,
				      "%zu bytes, curl %s: %s", sizes[i], ways[k], said);
	}
}

START_TEST(curl_as_client)
{
	struct server *server;
	char where[100];

	if (!have("curl", "curl as client"))
		return;
	server = SERVER("-w", "1", "http://127.0.0.1:0");
	(void)snprintf(where, sizeof where, "http://127.0.0.1:%u", server->ports[0]);
	curl_all(where, LARGE);
	ck_assert_uint_eq(server_stat(server, "closed_bad_request"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(ab_as_client)
{
	static const char *const ways[] = {"", "-k", "-k -i", "-k -p "};
	struct server *server;

	if (!have("ab", "ab as client"))
		return;
	server = SERVER("-w", "1", "http://127.0.0.1:0");
	for (size_t i = 0; i < 4; i++) {
		const char *body = i == 3 ? write_file("post", "hello") : "";

		ck_assert_int_eq(run("ab -q -s 60 -n 2000 -c 20 %s%s http://127.0.0.1:%u/%s",
				     ways[i], body, server->ports[0], i == 3 ? "echo" : ""),
				 0);
		ck_assert_ptr_nonnull(strstr(said, "Complete requests:      2000\n"));
		ck_assert_ptr_nonnull(strstr(said, "Failed requests:        0\n"));
		ck_assert_ptr_null(strstr(said, "Non-2xx"));
		if (i)
			ck_assert_ptr_nonnull(strstr(said, "Keep-Alive requests:    2000\n"));
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(wrk_as_client)
{
	struct server *server;
	const char *script;

	if (!have("wrk", "wrk as client"))
		return;
	script = write_file("pipeline.lua",
			    "init = function(args)\n"
			    "  local r = {}\n"
			    "  for i = 1, 16 do r[i] = wrk.format(\"GET\", i % 2 == 0 and \"/\" or "
			    "\"/bytes/1000\") end\n"
			    "  all = table.concat(r)\n"
			    "end\n"
			    "request = function() return all end\n");
	server = SERVER("-w", "1", "http://127.0.0.1:0");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(run("wrk -t 1 -c 32 -d 1 --timeout 60 %s%s http://127.0.0.1:%u/",
				     i ? "-s " : "", i ? script : "", server->ports[0]),
				 0);
		ck_assert_ptr_nonnull(strstr(said, " requests in "));
		ck_assert_ptr_null(strstr(said, "Socket errors"));
		ck_assert_ptr_null(strstr(said, "Non-2xx"));
	}
	ck_assert_uint_gt(server_stat(server, "messages"), 100);
	ck_assert_uint_eq(server_stat(server, "http_refused"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

static void curl_through(const char *path, size_t large)
{
	char where[200];

	(void)snprintf(where, sizeof where, "--unix-socket %s http://weir", path);
	curl_all(where, large);
}

START_TEST(nginx_before_it)
{
	struct server *server;
	char text[2000];
	const char *path, *file, *folder = temporary_folder();

	if (!have("nginx", "nginx before it") || !have("curl", "nginx before it"))
		return;
	server = SERVER("-w", "1", "http://127.0.0.1:0");
	path = in_folder("nginx.sock");
	(void)snprintf(text, sizeof text,
		       "daemon off; pid %s/nginx.pid; error_log %s/nginx.log; worker_processes 1;\n"
		       "events { worker_connections 64; }\n"
		       "http { access_log off; client_max_body_size 0;\n"
		       "proxy_max_temp_file_size 0; client_body_buffer_size 1m;\n"
		       "client_body_temp_path %s/a; proxy_temp_path %s/b; fastcgi_temp_path %s/c;\n"
		       "uwsgi_temp_path %s/d; scgi_temp_path %s/e;\n"
		       "upstream weir { server 127.0.0.1:%u; keepalive 4; }\n"
		       "server { listen unix:%s; location / { proxy_pass http://weir;\n"
		       "proxy_http_version 1.1; proxy_set_header Connection \"\"; } } }\n",
		       folder, folder, folder, folder, folder, folder, folder, server->ports[0],
		       path);
	file = write_file("nginx.conf", text);
	pid_t pid =
	    program_start(path, (const char *const[]){"nginx", "-p", folder, "-c", file, NULL});

	/* nginx stops sending a body when the answer begins, so only bodies that fit into a
	 * socket's buffers pass it. */
	curl_through(path, 200000);
	program_stop(pid);
	ck_assert_uint_eq(server_stat(server, "closed_bad_request"), 0);
	ck_assert_uint_lt(server_stat(server, "accepted"), server_stat(server, "messages"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(haproxy_before_it)
{
	struct server *server;
	char text[1000];
	const char *path, *file;

	if (!have("haproxy", "HAProxy before it") || !have("curl", "HAProxy before it"))
		return;
	server = SERVER("-w", "1", "http://127.0.0.1:0");
	path = in_folder("haproxy.sock");
	(void)snprintf(text, sizeof text,
		       "defaults\n mode http\n timeout connect 60s\n timeout client 60s\n"
		       " timeout server 60s\nfrontend f\n bind unix@%s\n default_backend b\n"
		       "backend b\n http-reuse always\n option httpchk GET /\n"
		       " server weir 127.0.0.1:%u check inter 60s\n",
		       path, server->ports[0]);
	file = write_file("haproxy.cfg", text);
	pid_t pid =
	    program_start(path, (const char *const[]){"haproxy", "-q", "-db", "-f", file, NULL});

	curl_through(path, LARGE);
	program_stop(pid);
	ck_assert_uint_eq(server_stat(server, "closed_bad_request"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("http", {"each status", each_status, 30}, {"a connection is kept", a_connection_is_kept, 30},
      {"the date goes on", the_date_goes_on, 30},
      {"a last answer is whole", a_last_answer_is_whole, 10},
      {"the body waits for 100", the_body_waits_for_100, 10},
      {"half a request is truncated", half_a_request_is_truncated, 10},
      {"a refusal reaches a client that goes on sending",
       a_refusal_reaches_a_client_that_goes_on_sending, 60},
      {"curl as client", curl_as_client, 120}, {"ab as client", ab_as_client, 120},
      {"wrk as client", wrk_as_client, 60}, {"nginx before it", nginx_before_it, 120},
      {"HAProxy before it", haproxy_before_it, 120})
