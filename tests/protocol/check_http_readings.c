/*
 * Different programs must read the same message in the same bytes: weir and others read the corpus.
 *
 * An attacker of a server behind a proxy looks for bytes that the two divide into different
 * requests. So Node's parser and weir must read the same requests until one of them stops. And in
 * what nginx or HAProxy pass on, weir must find as many requests as the proxy sent (each has a
 * field that the proxy adds), and give as many answers.
 *
 * If another program accepts what weir refuses, this is counted, but is no defect.
 */
#include <signal.h>
#include <sys/wait.h>

#include "tests/support/harness.h"
#include "tests/support/clients/http_answers.h"
#include "tests/protocol/http_corpus.h"
#include "tests/protocol/http_read.h"
#include "tests/support/servers/http_relay.h"

static struct server *weir(void)
{
	return SERVER("--workers", "1", "http://127.0.0.1:0");
}

/* ---- weir alone ---- */

/* What is wrong with the answers to an entry; NULL: nothing. */
static const char *are_wrong(const struct http_entry *entry, const struct http_read *read,
			     const struct http_answers *answers)
{
	if (entry->kind == ENTRY_CUT)
		return answers->last_status != 400 && !answers->broken ? "it is not refused" : NULL;
	if (answers->broken)
		return "an answer is not whole";
	if (answers->n != read->n + (entry->kind == ENTRY_BAD))
		return "another number of answers";
	if (entry->kind == ENTRY_BAD && answers->last_status != entry->status)
		return "another status";
	return NULL;
}

START_TEST(weir_answers_what_it_reads)
{
	struct server *server = weir();

	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		const struct http_entry *entry = &http_corpus[i];
		struct http_read read =
		    http_read_all((const unsigned char *)entry->bytes, entry->n);
		static char came[1 << 16];
		int fd = connect_to(server->ports[0]);
		size_t n;

		send_all(fd, entry->bytes, entry->n);
		finish_sending(fd);
		n = receive_to_end(fd, came, sizeof came - 1);
		struct http_answers answers = http_answers_of(came, n, read.methods, read.n + 1);
		const char *why = are_wrong(entry, &read, &answers);

		came[n] = '\0';
		ck_assert_msg(!why, "%s: %s: %zu answers, the last %d:\n%s", entry->name, why,
			      answers.n, answers.last_status, came);
		free(answers.body.at);
		(void)close(fd);
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- what others read ---- */

struct tally {
	unsigned alike, refused_good, refused, lax;
};

static void tally_say(const struct tally *tally, const char *who)
{
	(void)printf("FIGURE %s, of %zu requests: %u good are read alike, %u are refused there; "
		     "%u malformed are refused, %u pass there\n",
		     who, HTTP_CORPUS_N, tally->alike, tally->refused_good, tally->refused,
		     tally->lax);
}

/* Removes keep and close, because they concern only one connection, not the message. */
static const char *masked(const char *reads, char *text, size_t room)
{
	static const char *const words[] = {" keep", " close"};
	char *word;

	ck_assert_uint_lt(strlen(reads), room);
	(void)strcpy(text, reads);
	for (int i = 0; i < 2; i++)
		while ((word = strstr(text, words[i])))
			memmove(word, word + strlen(words[i]), strlen(word + strlen(words[i])) + 1);
	return text;
}

/* Both must read the same until one of them stops. Another program may refuse a good entry, but
 * must not find more requests in it than weir. */
static void compare(struct tally *tally, const char *who, const struct http_entry *entry,
		    const char *others, bool refused)
{
	static char texts[2][2 * HTTP_HEAD_MAX];
	struct http_read read = http_read_all((const unsigned char *)entry->bytes, entry->n);
	const char *mine = masked(read.reads, texts[0], sizeof texts[0]);
	const char *other = masked(others, texts[1], sizeof texts[1]);
	size_t mine_n = strlen(mine), other_n = strlen(other);
	size_t both = mine_n < other_n ? mine_n : other_n;
	bool more = other_n > mine_n;

	ck_assert_msg(memcmp(mine, other, both) == 0 && !(entry->kind == ENTRY_GOOD && more),
		      "%s: %s reads\n%sand weir\n%s", entry->name, who, other, mine);
	if (entry->kind == ENTRY_GOOD)
		(other_n == mine_n ? &tally->alike : &tally->refused_good)[0]++;
	else
		(refused && !more ? &tally->refused : &tally->lax)[0]++;
}

static const char *corpus_file(void)
{
	size_t room = 1, n = 0;
	char *text;
	const char *path;

	for (size_t i = 0; i < HTTP_CORPUS_N; i++)
		room += 2 * http_corpus[i].n + 1;
	text = malloc(room);
	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		for (size_t k = 0; k < http_corpus[i].n; k++, n += 2)
			(void)sprintf(text + n, "%02x", (unsigned char)http_corpus[i].bytes[k]);
		text[n++] = '\n';
	}
	text[n] = '\0';
	path = write_file("corpus", text);
	free(text);
	return path;
}

static void from_hex(char *text)
{
	char *to = text;
	unsigned byte;

	for (; sscanf(text, "%2x", &byte) == 1; text += 2)
		*to++ = (char)byte;
	*to = '\0';
}

START_TEST(node_reads_the_same)
{
	struct tally tally = {0};
	static char command[512], line[1 << 16];
	FILE *pipe;

	if (!command_exists("node")) {
		suite_skip("node reads the same", "node is not installed");
		return;
	}
	(void)snprintf(command, sizeof command, "node tests/protocol/http_readings.js %s",
		       corpus_file());
	pipe = popen(command, "re");
	ck_assert_ptr_nonnull(pipe);
	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		const struct http_entry *entry = &http_corpus[i];

		ck_assert_msg(fgets(line, sizeof line, pipe) != NULL, "%zu lines", i);
		line[strcspn(line, "\n")] = '\0';
		from_hex(line + 2);
		compare(&tally, "Node", entry, line + 2, *line == '1');
	}
	ck_assert_int_eq(pclose(pipe), 0);
	tally_say(&tally, "Node");
	/* Node did read the entries, and mostly like weir. */
	ck_assert_uint_gt(tally.alike, 60);
	ck_assert_uint_gt(tally.refused, 100);
}
END_TEST

/* ---- weir behind a proxy ---- */

/* The proxy adds this once to every request that it passes on. The corpus does not have it. */
#define MARK "x-proxied: 1\r\n"

static size_t marks(const struct bytes *bytes)
{
	const unsigned char *at = bytes->at, *end = at + bytes->n;
	size_t n = 0;

	while (at && (at = memmem(at, (size_t)(end - at), MARK, strlen(MARK)))) {
		n++;
		at += strlen(MARK);
	}
	return n;
}

/* Reads what has been passed on since the last call, as weir would. */
static void read_new(struct http_relay *relay, char *reads, size_t room)
{
	*reads = '\0';
	for (size_t i = 0; i < relay->n; i++) {
		struct http_relay_pair *pair = &relay->pairs[i];
		struct http_read read = http_read_all(pair->asked.at, pair->asked.n);

		ck_assert_uint_lt(strlen(reads) + read.reads_n - pair->reads_n, room);
		(void)strcat(reads, read.reads + pair->reads_n);
		pair->reads_n = read.reads_n;
	}
}

/* weir must find as many requests as the proxy sent, and give as many answers. A refused request is
 * the last one. */
static unsigned judge(const struct http_relay_pair *pair)
{
	struct http_read read = http_read_all(pair->asked.at, pair->asked.n);
	struct http_answers answers =
	    http_answers_of(pair->answered.at, pair->answered.n, read.methods, read.n + 1);
	const char *asked = (const char *)pair->asked.at;
	int asked_n = (int)pair->asked.n;
	bool refused = read.status && !read.inside;

	ck_assert_msg(marks(&pair->asked) == read.n + read.inside + refused,
		      "weir reads %zu requests, %d: %.*s", read.n, read.status, asked_n, asked);
	ck_assert_msg(read.status || read.inside || read.at == pair->asked.n,
		      "weir does not read all: %.*s", asked_n, asked);
	if (!read.inside)
		ck_assert_msg(answers.n == read.n + refused && !answers.broken, "%zu answers: %.*s",
			      answers.n, asked_n, asked);
	else
		ck_assert_uint_ge(answers.n, read.n);
	free(answers.body.at);
	return read.status != 0;
}

static void feed(struct http_relay *relay, const char *who, const char *const argv[])
{
	const char *path = in_folder("proxy");
	pid_t pid = program_start(path, argv);
	struct tally tally = {0};
	unsigned refused = 0;

	for (size_t i = 0; i < HTTP_CORPUS_N; i++) {
		const struct http_entry *entry = &http_corpus[i];
		struct http_read mine =
		    http_read_all((const unsigned char *)entry->bytes, entry->n);
		int fd = connect_unix(path);
		static char reads[1 << 16];
		struct bytes answer = {0};

		http_relay_exchange(relay, fd, entry->bytes, entry->n, mine.n, &answer);
		read_new(relay, reads, sizeof reads);
		compare(&tally, who, entry, reads, true);
		free(answer.at);
		(void)close(fd);
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	http_relay_end(relay);
	for (size_t i = 0; i < relay->n; i++)
		refused += judge(&relay->pairs[i]);
	tally_say(&tally, who);
	(void)printf("FIGURE of what %s passed on, on %zu connections, weir refused %u\n", who,
		     relay->n, refused);
	ck_assert_uint_gt(tally.alike, 50);
	ck_assert_uint_gt(tally.refused, 100);
}

START_TEST(behind_nginx)
{
	static const char form[] =
	    "daemon off; master_process off; pid %1$s/pid; error_log stderr;\n"
	    "events { worker_connections 256; }\n"
	    "http {\n"
	    "	access_log off; client_body_temp_path %1$s/a; proxy_temp_path %1$s/b;\n"
	    "	fastcgi_temp_path %1$s/c; uwsgi_temp_path %1$s/d; scgi_temp_path %1$s/e;\n"
	    "	upstream weir { server unix:%1$s/relay; keepalive 4; }\n"
	    "	server {\n"
	    "		listen unix:%1$s/proxy; server_name weir;\n"
	    "		location / {\n"
	    "			proxy_pass http://weir; proxy_http_version 1.1;\n"
	    "			proxy_set_header Connection \"\"; proxy_set_header Host $host;\n"
	    "			proxy_set_header x-proxied 1; proxy_ignore_client_abort on;\n"
	    "			proxy_request_buffering %2$s;\n"
	    "		}\n"
	    "	}\n"
	    "}\n";
	const char *buffering = _i ? "on" : "off", *config;
	struct server *server;
	static struct http_relay relay;
	char text[2048], who[64];

	if (!command_exists("nginx")) {
		suite_skip("behind nginx", "nginx is not installed");
		return;
	}
	(void)snprintf(text, sizeof text, form, temporary_folder(), buffering);
	(void)snprintf(who, sizeof who, "nginx (request buffering %s)", buffering);
	server = weir();
	http_relay_open(&relay, in_folder("relay"), server->ports[0]);
	config = write_file("nginx.conf", text);
	feed(&relay, who, (const char *const[]){"nginx", "-c", config, "-e", "stderr", NULL});
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(behind_haproxy)
{
	static const char form[] = "defaults\n"
				   "	mode http\n"
				   "	timeout connect 60s\n"
				   "	timeout client 60s\n"
				   "	timeout server 60s\n"
				   "	http-reuse always\n"
				   "%2$s"
				   "frontend clients\n"
				   "	bind unix@%1$s/proxy\n"
				   "	default_backend weir\n"
				   "backend weir\n"
				   "	http-request set-header x-proxied 1\n"
				   "	server weir unix@%1$s/relay\n";
	static const char *const more[] = {"", "	option accept-invalid-http-request\n"};
	const char *config;
	struct server *server;
	static struct http_relay relay;
	char text[2048];

	if (!command_exists("haproxy")) {
		suite_skip("behind HAProxy", "haproxy is not installed");
		return;
	}
	(void)snprintf(text, sizeof text, form, temporary_folder(), more[_i]);
	server = weir();
	http_relay_open(&relay, in_folder("relay"), server->ports[0]);
	config = write_file("haproxy.cfg", text);
	feed(&relay, _i ? "HAProxy (that accepts invalid requests)" : "HAProxy",
	     (const char *const[]){"haproxy", "-db", "-f", config, NULL});
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("http_readings", {"weir answers what it reads", weir_answers_what_it_reads, 30},
      {"node reads the same", node_reads_the_same, 60}, {"behind nginx", behind_nginx, 60, 2},
      {"behind HAProxy", behind_haproxy, 60, 2})
