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

/* As ck_assert_msg, which makes a system call each time that it holds. */
#define EXPECT(condition, ...)                                                                     \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ck_abort_msg(__VA_ARGS__);                                                 \
	} while (0)

void party_open(struct party *party, struct server *server, unsigned port, unsigned max,
		size_t line_bytes)
{
	*party = (struct party){.server = server,
				.port = port,
				.epfd = epoll_create1(EPOLL_CLOEXEC),
				.guests = calloc(max, sizeof(struct guest)),
				.max = max,
				.line_bytes = line_bytes};
	ck_assert(party->guests && party->epfd >= 0 && line_bytes <= PARTY_LINE_MAX);
}

void party_close(struct party *party)
{
	for (unsigned i = 0; i < party->n; i++) {
		struct guest *guest = &party->guests[i];

		if (!guest->gone)
			(void)close(guest->fd);
		free(guest->heard);
		free(guest->since);
		free(guest->knows);
	}
	free(party->guests);
	(void)close(party->epfd);
}

/* ---- coming ---- */

static unsigned party_connect(struct party *party)
{
	unsigned number = party->n++;
	struct guest *guest = &party->guests[number];
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

	ck_assert_uint_lt(number, party->max);
	guest->fd = connect_to(party->port);
	guest->heard = calloc(party->max, sizeof *guest->heard);
	guest->since = calloc(party->max, sizeof *guest->since);
	guest->knows = calloc(party->max, sizeof *guest->knows);
	ck_assert(guest->heard && guest->since && guest->knows);
	set_nonblocking(guest->fd);
	ck_assert_int_eq(epoll_ctl(party->epfd, EPOLL_CTL_ADD, guest->fd, &event), 0);
	return number;
}

unsigned party_join(struct party *party)
{
	unsigned number = party->n;

	party_join_all(party, 1);
	return number;
}

void party_join_all(struct party *party, unsigned n)
{
	uint64_t joined = server_stat(party->server, "members_joined");

	for (unsigned i = 0; i < n; i++)
		(void)party_connect(party);
	server_wait_stat(party->server, "members_joined", joined + n);
	for (unsigned i = party->n - n; i < party->n; i++)
		for (unsigned j = 0; j < party->n; j++)
			party->guests[i].since[j] = party->guests[j].said;
}

void party_deafen(struct party *party, unsigned number)
{
	struct guest *guest = &party->guests[number];

	guest->deaf = true;
	ck_assert_int_eq(epoll_ctl(party->epfd, EPOLL_CTL_DEL, guest->fd, NULL), 0);
}

/* ---- hearing ---- */

static void guest_leave(struct party *party, struct guest *guest)
{
	guest->gone = true;
	party->gone_n++;
	(void)close(guest->fd);
}

static void guest_hear_line(struct party *party, struct guest *guest, const char *line, size_t n)
{
	unsigned self = (unsigned)(guest - party->guests);
	char *end;
	unsigned long sender = strtoul(line, &end, 10);
	unsigned long number = *end == ' ' ? strtoul(end + 1, &end, 10) : ULONG_MAX;

	EXPECT(n == party->line_bytes && *end == ' ' && sender < party->n &&
		   number < party->guests[sender].said,
	       "guest %u heard what nobody said: %.*s", self, (int)n, line);
	for (end++; end < line + n - 1; end++)
		EXPECT(*end == '.', "guest %u heard an altered line: %.*s", self, (int)n, line);
	EXPECT(sender != self, "guest %u heard itself: %.*s", self, (int)n, line);
	if (!guest->knows[sender] && number <= guest->since[sender])
		guest->heard[sender] = (uint32_t)number;
	guest->knows[sender] = true;
	EXPECT(number == guest->heard[sender] ||
		   (party->gaps_allowed && number > guest->heard[sender]),
	       "guest %u heard line %lu of guest %lu, and %u was the next", self, number, sender,
	       guest->heard[sender]);
	party->missed += number - guest->heard[sender];
	guest->heard[sender] = (uint32_t)number + 1;
	guest->heard_n++;
}

static void guest_hear(struct party *party, struct guest *guest)
{
	static char bytes[PARTY_LINE_MAX + READ_BYTES + 1];
	ssize_t came = recv(guest->fd, bytes + guest->part_n, READ_BYTES, 0);
	char *line = bytes, *end;
	size_t left;

	if (came <= 0) {
		if (came == 0 || errno != EAGAIN)
			guest_leave(party, guest);
		return;
	}
	memcpy(bytes, guest->part, guest->part_n);
	left = guest->part_n + (size_t)came;
	bytes[left] = '\0';
	while ((end = memchr(line, '\n', left))) {
		size_t n = (size_t)(end - line) + 1;

		guest_hear_line(party, guest, line, n);
		line += n;
		left -= n;
	}
	EXPECT(left < PARTY_LINE_MAX, "a line without an end");
	memcpy(guest->part, line, left);
	guest->part_n = left;
}

bool party_listen(struct party *party, int wait_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(party->epfd, events, 256, wait_ms);

	for (int i = 0; i < n; i++)
		guest_hear(party, &party->guests[events[i].data.u32]);
	return n > 0;
}

/* What was published of each guest: all, or, of one that is not there any more, the most that
 * anybody has heard. */
static void find_published(const struct party *party, uint32_t *published)
{
	for (unsigned i = 0; i < party->n; i++) {
		published[i] = party->guests[i].gone ? 0 : party->guests[i].said;
		for (unsigned j = 0; j < party->n; j++)
			if (!party->guests[j].gone && party->guests[j].heard[i] > published[i])
				published[i] = party->guests[j].heard[i];
	}
}

/* The first one of whom it has not heard all; party->n: there is none. */
static unsigned first_unheard(const struct party *party, const struct guest *guest,
			      const uint32_t *published)
{
	unsigned i = 0;

	while (i < party->n && (&party->guests[i] == guest || published[i] <= guest->since[i] ||
				guest->heard[i] >= published[i]))
		i++;
	return i;
}

static _Noreturn void nothing_comes(const struct party *party, unsigned number,
				    const uint32_t *published)
{
	const struct guest *guest = &party->guests[number];
	unsigned sender = first_unheard(party, guest, published);

	ck_abort_msg("guest %u waited in vain for line %u of %u of guest %u, of %u guests", number,
		     guest->heard[sender], published[sender], sender, party->n);
}

void party_hear_all(struct party *party)
{
	uint32_t *published = calloc(party->n, sizeof *published);
	struct wait wait = wait_begin();

	ck_assert(published);
	find_published(party, published);
	for (unsigned i = 0; i < party->n; i++) {
		const struct guest *guest = &party->guests[i];

		while (!guest->gone && !guest->deaf &&
		       first_unheard(party, guest, published) < party->n) {
			uint64_t gone_n = party->gone_n;

			if (party_listen(party, 1))
				wait = wait_begin();
			else if (now_ms() > wait.until_ms)
				nothing_comes(party, i, published);
			if (party->gone_n != gone_n)
				find_published(party, published);
		}
	}
	free(published);
}

/* ---- saying ---- */

bool party_say(struct party *party, unsigned number)
{
	struct guest *guest = &party->guests[number];
	char line[PARTY_LINE_MAX];
	size_t n = (size_t)snprintf(line, sizeof line, "%u %u ", number, guest->said);
	struct wait wait = wait_begin();

	memset(line + n, '.', party->line_bytes - n - 1);
	line[party->line_bytes - 1] = '\n';
	guest->said++;
	for (size_t sent = 0; sent < party->line_bytes && !guest->gone;) {
		ssize_t part = send(guest->fd, line + sent, party->line_bytes - sent, MSG_NOSIGNAL);

		if (part > 0) {
			sent += (size_t)part;
			continue;
		}
		if (errno != EAGAIN) {
			guest_leave(party, guest);
			break;
		}
		if (party_listen(party, 1))
			wait = wait_begin();
		wait_more(&wait, "the server to take a line");
	}
	return !guest->gone;
}
