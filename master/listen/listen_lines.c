/*
 * The bound_sockets of a set as lines of text, for the next master, which has their descriptors by
 * inheritance:
 *
 *     point number=ID protocol=NAME kind=stream|datagram address=ADDRESS bound=ADDRESS
 *           by=us|manager more=yes|no fed=N file=DEVICE:INODE backlog=N mode=OCTAL queue=BYTES
 *           send-queue=BYTES ledger=FD limiter=FD fds=FD,FD,... [topic=NUMBER]
 *     topic number=ID topic=NAME
 *
 * in this order, in one line, with one space between them. Bytes of an address that are a space, a
 * % or not printable stand as %XX, and so do those of a topic's name. -1 is no descriptor. The line
 * of a topic stands behind that of its listener and a NUL (manifest.h); an earlier version has the
 * NUMBER of a topic instead, unless it is the listener's own. The words are those of the first
 * version, because masters of any two versions may talk to each other: a `point` is a bound socket,
 * `fed` its reuseport_width.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/listen/activation.h"
#include "master/listen/listen_parts.h"

#define ESCAPED_BYTES (3 * LISTEN_TOPIC_BYTES) /* of an address, too */

/* ---- writing ---- */

static void escape(const char *text, char escaped[ESCAPED_BYTES])
{
	size_t n = 0;

	for (const char *at = text; *at; at++) {
		if (*at > ' ' && *at < 0x7f && *at != '%')
			escaped[n++] = *at;
		else
			n += (size_t)snprintf(escaped + n, 4, "%%%02X", (unsigned char)*at);
	}
	escaped[n] = '\0';
}

static void escape_address(const struct address *address, char escaped[ESCAPED_BYTES])
{
	char text[ADDRESS_TEXT_BYTES];

	address_format(address, text);
	escape(text, escaped);
}

static int write_topic(uint32_t number, const char *name, FILE *manifest)
{
	char escaped[ESCAPED_BYTES];

	escape(name, escaped);
	return fprintf(manifest, "%ctopic number=%u topic=%s", '\0', number, escaped);
}

static bool write_bound_socket(const struct listen_set *set, size_t i, FILE *manifest)
{
	const struct bound_socket *bound = set->bound_sockets[i];
	const struct bound_socket_settings *settings = &bound->settings;
	char asked[ESCAPED_BYTES], address[ESCAPED_BYTES];
	int n;

	escape_address(&bound->asked, asked);
	escape_address(&bound->address, address);
	n = fprintf(manifest,
		    "point number=%u protocol=%s kind=%s address=%s bound=%s by=%s more=%s fed=%zu "
		    "file=%llx:%llx backlog=%d mode=%04o queue=%llu send-queue=%llu "
		    "ledger=%d limiter=%d fds=",
		    set->numbers[i], set->protocols[i]->name,
		    bound->datagrams ? "datagram" : "stream", asked, address,
		    bound->borrowed ? "manager" : "us", bound->single ? "no" : "yes",
		    bound->reuseport_width, (unsigned long long)bound->file.device,
		    (unsigned long long)bound->file.inode, settings->backlog, settings->mode,
		    (unsigned long long)settings->queue_bytes,
		    (unsigned long long)settings->send_queue_bytes, bound->ledger,
		    bound->limiter.places ? bound->limiter.fd : -1);
	for (size_t fd = 0; fd < bound->fds_n && n >= 0; fd++)
		n = fprintf(manifest, "%s%d", fd ? "," : "", bound->fds[fd]);
	if (n >= 0 && *set->topics[i])
		n = write_topic(set->numbers[i], set->topics[i], manifest);
	return n >= 0 && fputc('\n', manifest) != EOF;
}

bool listen_write(const struct listen_set *set, FILE *manifest)
{
	for (size_t i = 0; i < set->bound_sockets_n; i++)
		if (!write_bound_socket(set, i, manifest))
			return false;
	return true;
}

size_t listen_descriptors(const struct listen_set *set, int fds[LISTEN_DESCRIPTORS])
{
	size_t n = 0;

	for (size_t i = 0; i < set->bound_sockets_n; i++) {
		const struct bound_socket *bound = set->bound_sockets[i];

		for (size_t fd = 0; fd < bound->fds_n; fd++)
			fds[n++] = bound->fds[fd];
		if (bound->ledger >= 0)
			fds[n++] = bound->ledger;
		if (bound->limiter.places)
			fds[n++] = bound->limiter.fd;
	}
	return n;
}

/* ---- reading ---- */

/* How far in the line it is, and what was wrong first: nothing is read after that. */
struct reading {
	const char *at;
	const char *wrong; /* the key; NULL: nothing */
};

/* "KEY=" has to stand here; VALUE is what is up to the next space, or the end. False: it is not
 * as it should be. */
static bool read_word(struct reading *reading, const char *key, char *value, size_t value_n)
{
	size_t key_n = strlen(key), n;

	if (reading->wrong)
		return false;
	reading->wrong = key;
	if (*reading->at++ != ' ' || strncmp(reading->at, key, key_n) != 0 ||
	    reading->at[key_n] != '=')
		return false;
	reading->at += key_n + 1;
	n = strcspn(reading->at, " \n");
	if (!n || n >= value_n)
		return false;
	memcpy(value, reading->at, n);
	value[n] = '\0';
	reading->at += n;
	reading->wrong = NULL;
	return true;
}

static uint64_t number_of(struct reading *reading, const char *key, const char *text, int base,
			  uint64_t max)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, base);
	/* strtoull() takes spaces and signs, too. */
	if (!strchr("0123456789abcdef", *text) || !*text || *end || errno || number > max)
		reading->wrong = key;
	return number;
}

static uint64_t read_number(struct reading *reading, const char *key, int base, uint64_t max)
{
	char text[32];

	return read_word(reading, key, text, sizeof text) ? number_of(reading, key, text, base, max)
							  : 0;
}

/* Reads one of two words: is it `yes`? */
static bool read_choice(struct reading *reading, const char *key, const char *no, const char *yes)
{
	char text[16];

	if (!read_word(reading, key, text, sizeof text))
		return false;
	if (strcmp(text, no) != 0 && strcmp(text, yes) != 0)
		reading->wrong = key;
	return strcmp(text, yes) == 0;
}

static bool unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		unsigned value;

		if (*text == '%') {
			if (sscanf(text + 1, "%2X", &value) != 1 || !value || !text[2])
				return false;
			*to++ = (char)value;
			text += 2;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
	return true;
}

static void read_address(struct reading *reading, const char *key, struct address *address)
{
	char text[ESCAPED_BYTES];
	const char *why;

	if (read_word(reading, key, text, sizeof text) &&
	    (!unescape(text) || !address_parse(address, text, &why)))
		reading->wrong = key;
}

static int read_descriptor(struct reading *reading, const char *key)
{
	char text[16];

	if (!read_word(reading, key, text, sizeof text) || strcmp(text, "-1") == 0)
		return -1;
	return (int)number_of(reading, key, text, 10, INT32_MAX);
}

static void read_fds(struct reading *reading, struct bound_socket *bound)
{
	char text[WORKERS_MAX * 12], *rest = text, *word;

	if (!read_word(reading, "fds", text, sizeof text))
		return;
	while ((word = strsep(&rest, ",")) && !reading->wrong) {
		if (bound->fds_n == WORKERS_MAX || (bound->single && bound->fds_n))
			reading->wrong = "fds";
		else
			bound->fds[bound->fds_n++] =
			    (int)number_of(reading, "fds", word, 10, INT32_MAX);
	}
}

static void read_file(struct reading *reading, struct bound_socket *bound)
{
	char text[64], *colon;

	if (!read_word(reading, "file", text, sizeof text))
		return;
	colon = strchr(text, ':');
	if (!colon) {
		reading->wrong = "file";
		return;
	}
	*colon = '\0';
	bound->file.device = number_of(reading, "file", text, 16, UINT64_MAX);
	bound->file.inode = number_of(reading, "file", colon + 1, 16, UINT64_MAX);
}

static void read_settings(struct reading *reading, struct bound_socket_settings *settings)
{
	settings->backlog = (int)read_number(reading, "backlog", 10, INT32_MAX);
	settings->mode = (unsigned)read_number(reading, "mode", 8, 0777);
	settings->queue_bytes = read_number(reading, "queue", 10, 1u << 30);
	settings->send_queue_bytes = read_number(reading, "send-queue", 10, 1u << 30);
}

struct inherited {
	struct bound_socket bound;
	const struct protocol *protocol;
	uint32_t number, topic;
	int ledger, limiter;
};

/* NULL, or the key that is wrong. */
static const char *read_line(struct inherited *it, const char *line)
{
	struct reading reading = {.at = line};
	struct bound_socket *bound = &it->bound;
	char protocol[32];

	if (strncmp(line, "point", 5) != 0)
		return "point";
	reading.at += 5;
	it->number = (unsigned)read_number(&reading, "number", 10, LISTEN_NUMBERS_MAX - 1);
	/* NULL: this build has no such protocol, and so nobody claims it. */
	if (read_word(&reading, "protocol", protocol, sizeof protocol))
		it->protocol = protocol_find(protocol);
	bound->datagrams = read_choice(&reading, "kind", "stream", "datagram");
	read_address(&reading, "address", &bound->asked);
	read_address(&reading, "bound", &bound->address);
	bound->borrowed = read_choice(&reading, "by", "us", "manager");
	bound->single = !read_choice(&reading, "more", "no", "yes");
	bound->reuseport_width = read_number(&reading, "fed", 10, WORKERS_MAX);
	read_file(&reading, bound);
	read_settings(&reading, &bound->settings);
	it->ledger = read_descriptor(&reading, "ledger");
	it->limiter = read_descriptor(&reading, "limiter");
	read_fds(&reading, bound);
	it->topic = it->number;
	if (!reading.wrong && *reading.at == ' ')
		it->topic = (unsigned)read_number(&reading, "topic", 10, LISTEN_NUMBERS_MAX - 1);
	if (!reading.wrong && *reading.at && strcmp(reading.at, "\n") != 0)
		return "the end";
	if (!reading.wrong && !bound->reuseport_width)
		return "fed";
	return reading.wrong;
}

/* ---- are they what the line says? ---- */

static bool take_descriptor(int fd)
{
	return fd > STDERR_FILENO && !listen_inherited(fd) && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static bool is_twice(const struct inherited *it, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (it->bound.fds[j] == it->bound.fds[i])
			return true;
	return it->bound.fds[i] == it->ledger || it->bound.fds[i] == it->limiter;
}

/* NULL, or what is wrong. */
static const char *take_sockets(const struct inherited *it)
{
	const struct bound_socket *bound = &it->bound;

	for (size_t i = 0; i < bound->fds_n; i++) {
		struct activation_socket found;
		const char *why;

		if (is_twice(it, i) || !take_descriptor(bound->fds[i]))
			return "a descriptor that is not there, or is there twice";
		if (!activation_look(bound->fds[i], &found, &why))
			return why;
		if (found.datagrams != bound->datagrams ||
		    found.address.bytes != bound->address.bytes ||
		    memcmp(&found.address.socket, &bound->address.socket, found.address.bytes) != 0)
			return "a socket of another address";
	}
	return NULL;
}

static const char *take_accounts(struct inherited *it)
{
	if (it->bound.datagrams != (it->ledger >= 0) || (it->limiter >= 0 && it->ledger < 0))
		return "accounts that do not belong there";
	if ((it->ledger >= 0 && !take_descriptor(it->ledger)) ||
	    (it->limiter >= 0 && (it->limiter == it->ledger || !take_descriptor(it->limiter))))
		return "a descriptor that is not there, or is there twice";
	if (bound_socket_attach_accounts(&it->bound, it->ledger, it->limiter))
		return "accounts of another form";
	return NULL;
}

/* A file that somebody removed, or replaced, can't be found again by its socket. */
static void take_file(struct bound_socket *bound)
{
	const char *path = address_path(&bound->address);
	dev_t device = bound->file.device;
	ino_t inode = bound->file.inode;

	bound->file = (struct socket_file){.held = -1};
	if (path && inode)
		(void)socket_file_adopt(&bound->file, path, device, inode);
}

/* ---- topics ---- */

/* A number of an earlier version: the first listener that has it gives the topic its name. */
static void name_by_number(const struct inherited *it)
{
	static uint32_t numbers[LISTENERS_MAX];
	struct listen_set *set = &listen_all.inherited;
	size_t mine = set->bound_sockets_n - 1;

	numbers[mine] = it->topic;
	if (!it->protocol || !it->protocol->shares)
		return;
	for (size_t i = 0; i < mine && !*set->topics[mine]; i++)
		if (numbers[i] == it->topic)
			memcpy(set->topics[mine], set->topics[i], LISTEN_TOPIC_BYTES);
	if (!*set->topics[mine])
		listen_name_topic(it->protocol, &it->bound.address, set->topics[mine]);
}

static bool read_topic(const char *line, char error[CONFIG_ERROR_BYTES])
{
	struct reading reading = {.at = line + strlen("topic")};
	struct listen_set *set = &listen_all.inherited;
	uint32_t number = (uint32_t)read_number(&reading, "number", 10, LISTEN_NUMBERS_MAX - 1);
	char name[ESCAPED_BYTES];
	int i = listen_find(set, number);

	if (read_word(&reading, "topic", name, sizeof name) &&
	    (!unescape(name) || strlen(name) >= LISTEN_TOPIC_BYTES))
		reading.wrong = "topic";
	if (!reading.wrong && *reading.at && strcmp(reading.at, "\n") != 0)
		reading.wrong = "the end";
	if (reading.wrong || i < 0) {
		(void)snprintf(error, CONFIG_ERROR_BYTES,
			       "a line of a topic is wrong at %s: %.100s",
			       reading.wrong ? reading.wrong : "number", line);
		return false;
	}
	(void)snprintf(set->topics[i], LISTEN_TOPIC_BYTES, "%s", name);
	return true;
}

bool listen_read_line(const char *line, char error[CONFIG_ERROR_BYTES])
{
	struct inherited it = {.bound = {.ledger = -1}};
	const char *wrong;

	if (strncmp(line, "topic ", 6) == 0)
		return read_topic(line, error);
	wrong = read_line(&it, line);
	if (wrong) {
		(void)snprintf(error, CONFIG_ERROR_BYTES,
			       "a line of a point is wrong at %s: %.100s", wrong, line);
		return false;
	}
	wrong = take_sockets(&it);
	if (!wrong)
		wrong = take_accounts(&it);
	if (!wrong)
		take_file(&it.bound);
	if (!wrong && !listen_inherit(&it.bound, it.protocol, it.number))
		wrong = "a point too many, or its number is another one's";
	if (wrong)
		(void)snprintf(error, CONFIG_ERROR_BYTES, "a point is %s: %.100s", wrong, line);
	else
		name_by_number(&it);
	return !wrong;
}
