#include "tests/support/clients/chat_clients.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (256u << 10)

/* Like ck_assert_msg, which makes a system call each time that its condition holds. */
#define EXPECT(condition, ...)                                                                     \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ck_abort_msg(__VA_ARGS__);                                                 \
	} while (0)

void chat_clients_open(struct chat_clients *clients, struct server *server, unsigned port,
		       unsigned max, size_t line_bytes)
{
	*clients = (struct chat_clients){.server = server,
					 .port = port,
					 .epfd = epoll_create1(EPOLL_CLOEXEC),
					 .all = calloc(max, sizeof(struct chat_client)),
					 .max = max,
					 .line_bytes = line_bytes};
	ck_assert(clients->all && clients->epfd >= 0 && line_bytes <= CHAT_CLIENTS_LINE_MAX);
}

void chat_clients_close(struct chat_clients *clients)
{
	uint32_t circles = one_order_circles(&clients->order);

	EXPECT(!circles, "%u of %u lines have no place in one order that all heard", circles,
	       clients->lines_n);
	for (unsigned i = 0; i < clients->n; i++) {
		struct chat_client *client = &clients->all[i];

		if (!client->gone)
			(void)close(client->fd);
		free(client->lines);
		free(client->heard);
		free(client->since);
		free(client->knows);
	}
	free(clients->all);
	(void)close(clients->epfd);
}

/* ---- joining ---- */

static unsigned chat_clients_connect(struct chat_clients *clients)
{
	unsigned number = clients->n++;
	struct chat_client *client = &clients->all[number];
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

	ck_assert_uint_lt(number, clients->max);
	client->fd = connect_to(clients->port);
	client->heard = calloc(clients->max, sizeof *client->heard);
	client->since = calloc(clients->max, sizeof *client->since);
	client->knows = calloc(clients->max, sizeof *client->knows);
	ck_assert(client->heard && client->since && client->knows);
	set_nonblocking(client->fd);
	ck_assert_int_eq(epoll_ctl(clients->epfd, EPOLL_CTL_ADD, client->fd, &event), 0);
	return number;
}

unsigned chat_clients_join(struct chat_clients *clients)
{
	unsigned number = clients->n;

	chat_clients_join_all(clients, 1);
	return number;
}

void chat_clients_join_all(struct chat_clients *clients, unsigned n)
{
	uint64_t joined = server_stat(clients->server, "members_joined");

	for (unsigned i = 0; i < n; i++)
		(void)chat_clients_connect(clients);
	server_wait_stat(clients->server, "members_joined", joined + n);
	for (unsigned i = clients->n - n; i < clients->n; i++)
		for (unsigned j = 0; j < clients->n; j++)
			clients->all[i].since[j] = clients->all[j].said;
}

void chat_clients_deafen(struct chat_clients *clients, unsigned number)
{
	struct chat_client *client = &clients->all[number];

	client->deaf = true;
	ck_assert_int_eq(epoll_ctl(clients->epfd, EPOLL_CTL_DEL, client->fd, NULL), 0);
}

/* ---- hearing ---- */

static void client_leave(struct chat_clients *clients, struct chat_client *client)
{
	client->gone = true;
	clients->gone_n++;
	(void)close(client->fd);
}

static void client_hear_line(struct chat_clients *clients, struct chat_client *client,
			     const char *line, size_t n)
{
	unsigned self = (unsigned)(client - clients->all);
	char *end;
	unsigned long sender = strtoul(line, &end, 10);
	unsigned long number = *end == ' ' ? strtoul(end + 1, &end, 10) : ULONG_MAX;

	EXPECT(n == clients->line_bytes && *end == ' ' && sender < clients->n &&
		   number < clients->all[sender].said,
	       "client %u heard what nobody said: %.*s", self, (int)n, line);
	for (end++; end < line + n - 1; end++)
		EXPECT(*end == '.', "client %u heard an altered line: %.*s", self, (int)n, line);
	EXPECT(sender != self, "client %u heard itself: %.*s", self, (int)n, line);
	if (!client->knows[sender] && number <= client->since[sender])
		client->heard[sender] = (uint32_t)number;
	client->knows[sender] = true;
	EXPECT(number == client->heard[sender] ||
		   (clients->gaps_allowed && number > client->heard[sender]),
	       "client %u heard line %lu of client %lu, and %u was the next", self, number, sender,
	       client->heard[sender]);
	if (client->heard_n)
		EXPECT(one_order_heard(&clients->order, client->last,
				       clients->all[sender].lines[number]),
		       "memory for the order");
	client->last = clients->all[sender].lines[number];
	clients->missed += number - client->heard[sender];
	client->heard[sender] = (uint32_t)number + 1;
	client->heard_n++;
}

static void client_hear(struct chat_clients *clients, struct chat_client *client)
{
	static char bytes[CHAT_CLIENTS_LINE_MAX + READ_BYTES + 1];
	ssize_t came = recv(client->fd, bytes + client->part_n, READ_BYTES, 0);
	char *line = bytes, *end;
	size_t left;

	if (came <= 0) {
		if (came == 0 || errno != EAGAIN)
			client_leave(clients, client);
		return;
	}
	memcpy(bytes, client->part, client->part_n);
	left = client->part_n + (size_t)came;
	bytes[left] = '\0';
	while ((end = memchr(line, '\n', left))) {
		size_t n = (size_t)(end - line) + 1;

		client_hear_line(clients, client, line, n);
		line += n;
		left -= n;
	}
	EXPECT(left < CHAT_CLIENTS_LINE_MAX, "a line without an end");
	memcpy(client->part, line, left);
	client->part_n = left;
}

bool chat_clients_listen(struct chat_clients *clients, int wait_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(clients->epfd, events, 256, wait_ms);

	for (int i = 0; i < n; i++)
		client_hear(clients, &clients->all[events[i].data.u32]);
	return n > 0;
}

/* How many lines of each client were published: all that it said; if it has gone, the most that
 * anybody has heard. */
static void find_published(const struct chat_clients *clients, uint32_t *published)
{
	for (unsigned i = 0; i < clients->n; i++) {
		published[i] = clients->all[i].gone ? 0 : clients->all[i].said;
		for (unsigned j = 0; j < clients->n; j++)
			if (!clients->all[j].gone && clients->all[j].heard[i] > published[i])
				published[i] = clients->all[j].heard[i];
	}
}

/* The first sender some of whose lines this client has not heard; clients->n: there is none. */
static unsigned first_unheard(const struct chat_clients *clients, const struct chat_client *client,
			      const uint32_t *published)
{
	unsigned i = 0;

	while (i < clients->n && (&clients->all[i] == client || published[i] <= client->since[i] ||
				  client->heard[i] >= published[i]))
		i++;
	return i;
}

static _Noreturn void nothing_comes(const struct chat_clients *clients, unsigned number,
				    const uint32_t *published)
{
	const struct chat_client *client = &clients->all[number];
	unsigned sender = first_unheard(clients, client, published);

	ck_abort_msg("client %u waited in vain for line %u of %u of client %u, of %u clients",
		     number, client->heard[sender], published[sender], sender, clients->n);
}

void chat_clients_hear_all(struct chat_clients *clients)
{
	uint32_t *published = calloc(clients->n, sizeof *published);
	struct wait wait = wait_begin();

	ck_assert(published);
	find_published(clients, published);
	for (unsigned i = 0; i < clients->n; i++) {
		const struct chat_client *client = &clients->all[i];

		while (!client->gone && !client->deaf &&
		       first_unheard(clients, client, published) < clients->n) {
			uint64_t gone_n = clients->gone_n;

			if (chat_clients_listen(clients, 1))
				wait = wait_begin();
			else if (now_ms() > wait.until_ms)
				nothing_comes(clients, i, published);
			if (clients->gone_n != gone_n)
				find_published(clients, published);
		}
	}
	free(published);
}

/* ---- saying ---- */

void chat_clients_count_said(struct chat_clients *clients, unsigned number)
{
	struct chat_client *client = &clients->all[number];

	client->lines = realloc(client->lines, (client->said + 1) * sizeof *client->lines);
	EXPECT(client->lines, "memory for a line");
	client->lines[client->said++] = clients->lines_n++;
}

bool chat_clients_say(struct chat_clients *clients, unsigned number)
{
	struct chat_client *client = &clients->all[number];
	char line[CHAT_CLIENTS_LINE_MAX];
	size_t n = (size_t)snprintf(line, sizeof line, "%u %u ", number, client->said);
	struct wait wait = wait_begin();

	memset(line + n, '.', clients->line_bytes - n - 1);
	line[clients->line_bytes - 1] = '\n';
	chat_clients_count_said(clients, number);
	for (size_t sent = 0; sent < clients->line_bytes && !client->gone;) {
		ssize_t part =
		    send(client->fd, line + sent, clients->line_bytes - sent, MSG_NOSIGNAL);

		if (part > 0) {
			sent += (size_t)part;
			continue;
		}
		if (errno != EAGAIN) {
			client_leave(clients, client);
			break;
		}
		if (chat_clients_listen(clients, 1))
			wait = wait_begin();
		wait_more(&wait, "the server to take a line");
	}
	return !client->gone;
}
