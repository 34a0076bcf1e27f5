/*
 * chat_model: the clients of a simulated chat, and a model of what each of them must have heard.
 *
 * Each topic of each worker has a witness, a client that reads everything and stays: what it heard
 * is the order in which lines came to that worker. All witnesses of a topic must have heard the
 * same. Any other client must have heard what its witness heard, byte for byte, without
 * its own lines: all that was said after it joined and before it left.
 */
#ifndef TESTS_SIM_CHAT_CHAT_MODEL_H
#define TESTS_SIM_CHAT_CHAT_MODEL_H

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_chat_workers.h"

#define CLIENTS_MAX 400
#define LINES_MAX   6000
#define WITNESSES   (SIM_CHAT_WORKERS * SIM_CHAT_TOPICS)
#define NEVER	    UINT32_MAX

struct line {
	unsigned client, number; /* its number among the lines of its client */
	uint32_t sent;		 /* the step in which its end was sent; NEVER: not yet */
	size_t end;		 /* the offset of its end in the client's `says` */
};

struct client {
	unsigned worker, topic;
	struct peer *peer;
	uint32_t joined, finished;	       /* in which step; NEVER: it did not */
	bool was_reset, half_line;	       /* half_line: its last line has no end */
	bool deaf;			       /* it does not read now */
	size_t sip;			       /* how many bytes it reads at a time; 0: all */
	struct bytes says, heard;	       /* heard: all that it received */
	size_t sent;			       /* bytes of says that were sent */
	unsigned lines[LINES_MAX / 4], n;      /* its lines, as indices of all_lines */
	size_t witnessed_at_end;	       /* lines that its witness had heard when it ended */
	enum { STAYS, ENDED, WAS_CLOSED } end; /* by itself; by the server, unless it drained */
	enum close_reason reason;
};

static struct sim_chat chat;
static struct client clients[CLIENTS_MAX];
static unsigned clients_n;
static struct line all_lines[LINES_MAX];
static unsigned lines_n;
/* The lines that a witness heard, as indices of all_lines. */
static struct witness {
	unsigned heard[LINES_MAX], n;
	size_t parsed; /* bytes */
} witnesses[WITNESSES];
static uint64_t seed, seed_at_first;
static uint32_t step;
static bool draining, long_lines;
static uint32_t slow; /* the limit of a slow consumer, in bytes */

#define MODEL(condition)                                                                           \
	EXPECT_MSG(condition, "seed %llu, step %u: %s does not hold",                              \
		   (unsigned long long)seed_at_first, step, #condition)

/* ---- bytes and lines ---- */

static void add(struct bytes *to, const void *bytes, size_t n)
{
	if (!n)
		return;
	if (to->n + n > to->room) {
		to->room = 2 * (to->n + n);
		to->at = realloc(to->at, to->room);
		EXPECT(to->at);
	}
	memcpy(to->at + to->n, bytes, n);
	to->n += n;
}

static size_t line_text(unsigned client, unsigned number, char text[16002])
{
	static const size_t spans[] = {1, 1, 20, 20, 60, 60, 300, 3000};
	uint64_t mix = (uint64_t)client * 1000003 + number * 7919 + 1;
	size_t filler = sim_below(&mix, spans[sim_below(&mix, 8)]), n;

	if (!sim_below(&mix, long_lines ? 4 : 100))
		filler = sim_below(&mix, 15900);
	n = (size_t)sprintf(text, "%u %u ", client, number);
	for (; filler; filler--, n++)
		text[n] = (char)('a' + (n + client) % 26);
	text[n++] = '\n';
	return n;
}

static size_t line_length(unsigned line)
{
	char text[16002];

	return line_text(all_lines[line].client, all_lines[line].number, text);
}

/* ---- what clients do ---- */

static uint64_t known[SIM_CHAT_WORKERS][CLOSE_REASONS_MAX];

/* A connection has gone: finds out whose, and keeps the reason. */
static void keep_reason(struct conn_table *table)
{
	struct worker *worker = CONTAINER_OF(table, struct worker, table);
	ptrdiff_t w = worker - chat.workers;
	unsigned gone = clients_n;

	for (unsigned i = 0; i < clients_n; i++)
		if (clients[i].peer->closed && !clients[i].reason)
			gone = i;
	MODEL(gone < clients_n && clients[gone].worker == w);
	for (int reason = 1; reason < CLOSE_REASONS_MAX; reason++)
		if (worker->stats.closed[reason] != known[w][reason])
			clients[gone].reason = (enum close_reason)reason;
	memcpy(known[w], worker->stats.closed, sizeof known[w]);
}

static struct client *client_new(unsigned worker, unsigned topic)
{
	struct client *client = &clients[clients_n++];

	*client = (struct client){.worker = worker,
				  .topic = topic,
				  .joined = step,
				  .finished = NEVER,
				  .peer = sim_chat_connect(&chat, worker, topic)};
	return client;
}

static void client_prepare_line(struct client *client)
{
	struct line *line = &all_lines[lines_n];
	char text[16002];

	if (lines_n == LINES_MAX || client->n == LINES_MAX / 4)
		return;
	*line = (struct line){(unsigned)(client - clients), client->n, NEVER, 0};
	add(&client->says, text, line_text(line->client, line->number, text));
	line->end = client->says.n;
	client->lines[client->n++] = lines_n++;
}

static void client_send(struct client *client, size_t n)
{
	peer_send(client->peer, client->says.at + client->sent, n);
	client->sent += n;
	for (unsigned i = client->n; i > 0; i--) {
		struct line *line = &all_lines[client->lines[i - 1]];

		if (line->end > client->sent)
			continue;
		if (line->sent != NEVER)
			break;
		line->sent = step;
	}
}

static void client_say(struct client *client)
{
	size_t left = client->says.n - client->sent;

	if (client->peer->in.n > 60000) /* its socket is full */
		return;
	if (left < 2 || !sim_below(&seed, 3))
		for (size_t n = 1 + sim_below(&seed, sim_below(&seed, 8) ? 3 : 40); n; n--)
			client_prepare_line(client);
	left = client->says.n - client->sent;
	if (left)
		client_send(client, sim_below(&seed, 2) ? left : 1 + sim_below(&seed, left));
}

static void client_hear(struct client *client, size_t n)
{
	static unsigned char bytes[PEER_SPACE + 1];

	n = peer_receive(client->peer, bytes, n < PEER_SPACE ? n : PEER_SPACE);
	add(&client->heard, bytes, n);
}

static unsigned witness_of(const struct client *client)
{
	return client->worker * SIM_CHAT_TOPICS + client->topic;
}

/* A batch is delivered to members in several turns: a client that leaves in between may miss it,
 * although its witness has heard it. */
static void client_ends(struct client *client, bool by_itself)
{
	size_t heard = witnesses[witness_of(client)].n;
	size_t batch = by_itself ? sim_chat_under_way(&chat, client->worker, client->topic) : 0;

	client->end = by_itself ? ENDED : WAS_CLOSED;
	client->finished = step;
	client->witnessed_at_end = heard - (batch < heard ? batch : heard);
}

static void client_leave(struct client *client)
{
	client_ends(client, true);
	client->half_line = client->n &&
			    all_lines[client->lines[client->n - 1]].end > client->sent &&
			    (client->sent && client->says.at[client->sent - 1] != '\n');
	if (sim_below(&seed, 3)) {
		peer_finish(client->peer);
		return;
	}
	client->was_reset = true;
	peer_reset(client->peer);
}

/* ---- witnesses ---- */

static void witness_listen(unsigned w)
{
	struct client *client = &clients[w];
	struct witness *witness = &witnesses[w];
	unsigned char *end;

	client_hear(client, SIZE_MAX);
	while (witness->parsed < client->heard.n &&
	       (end = memchr(client->heard.at + witness->parsed, '\n',
			     client->heard.n - witness->parsed))) {
		char text[16002], *from = (char *)client->heard.at + witness->parsed;
		size_t n = (size_t)(end + 1 - client->heard.at) - witness->parsed;
		unsigned speaker = 0, number = 0;

		MODEL(sscanf(from, "%u %u ", &speaker, &number) == 2 && speaker < clients_n);
		MODEL(clients[speaker].topic == client->topic && number < clients[speaker].n);
		MODEL(line_text(speaker, number, text) == n && memcmp(text, from, n) == 0);
		witness->heard[witness->n++] = clients[speaker].lines[number];
		witness->parsed += n;
	}
}

/* ---- what must have been heard ---- */

/* Cut off, by itself or by the server: it may not have got what it was owed, or not have said all.
 */
static bool is_broken(const struct client *client)
{
	return client->was_reset || client->reason == CLOSE_slow_consumer ||
	       client->reason == CLOSE_no_buffers;
}

static void check_reason(const struct client *client)
{
	if (is_broken(client))
		return;
	if (draining && client->reason == CLOSE_drained)
		return;
	MODEL(client->end == ENDED);
	MODEL(client->reason == (client->half_line ? CLOSE_truncated : CLOSE_eof));
}

/* Checks that each witness heard each sender's lines in order, from the first one on; all whole
 * lines that were sent, unless the sender was cut off; and as many as the topic's other witnesses.
 * Returns how many lines were published. */
static unsigned check_witnesses(void)
{
	unsigned published = 0;

	for (unsigned w = 0; w < chat.n * SIM_CHAT_TOPICS; w++) {
		static unsigned next[CLIENTS_MAX], first[SIM_CHAT_TOPICS][CLIENTS_MAX];

		memset(next, 0, sizeof next);
		MODEL(witnesses[w].parsed == clients[w].heard.n);
		for (unsigned i = 0; i < witnesses[w].n; i++) {
			struct line *line = &all_lines[witnesses[w].heard[i]];

			MODEL(line->number == next[line->client]++);
			MODEL(line->sent != NEVER);
			MODEL(witnesses[w].heard[i] == witnesses[clients[w].topic].heard[i]);
		}
		for (unsigned g = 0; g < clients_n; g++) {
			unsigned whole = 0;

			if (clients[g].topic != clients[w].topic)
				continue;
			while (whole < clients[g].n &&
			       all_lines[clients[g].lines[whole]].sent != NEVER)
				whole++;
			MODEL(next[g] <= whole);
			MODEL(is_broken(&clients[g]) || next[g] == whole);
			MODEL(w < SIM_CHAT_TOPICS || next[g] == first[clients[w].topic][g]);
			first[clients[w].topic][g] = next[g];
			published += w < SIM_CHAT_TOPICS ? next[g] : 0;
		}
	}
	return published;
}

struct reading {
	size_t at;	/* bytes compared */
	uint64_t lines; /* whole ones */
	size_t lag;	/* bytes after the last line heard that were sent before its end was seen */
};

/* Whether the next thing that the client heard is this line, or at least its beginning. */
static bool heard_line(const struct client *client, struct reading *reading, unsigned line)
{
	char text[16002];
	size_t n = line_text(all_lines[line].client, all_lines[line].number, text);
	size_t left = client->heard.n - reading->at, compared = n < left ? n : left;

	if (!left || memcmp(client->heard.at + reading->at, text, compared) != 0)
		return false;
	/* Only a client that was cut off may have just the beginning of a line. */
	MODEL(compared == n || is_broken(client));
	reading->at += compared;
	reading->lines += compared == n;
	reading->lag = n - compared;
	return true;
}

static uint64_t check_client(const struct client *client)
{
	const struct witness *witness = &witnesses[witness_of(client)];
	struct reading reading = {0};
	size_t must = client->end == STAYS ? witness->n : client->witnessed_at_end;

	for (size_t i = 0; i < witness->n; i++) {
		struct line *line = &all_lines[witness->heard[i]];
		bool own = line->client == client - clients;
		bool before = line->sent < client->joined;

		if (!own && heard_line(client, &reading, witness->heard[i]))
			continue;
		if (line->sent != NEVER && line->sent <= client->finished)
			reading.lag += line_length(witness->heard[i]);
		/* It did not hear this line: then it is its own, or was said before it joined, or
		 * the client heard nothing after it. */
		MODEL(own || before || reading.at == client->heard.n);
		MODEL(own || before || is_broken(client) || i >= must);
	}
	MODEL(reading.at == client->heard.n);
	if (client->reason == CLOSE_slow_consumer && client->end == WAS_CLOSED)
		MODEL(reading.lag > slow);
	return reading.lines;
}

static void check_all(void)
{
	unsigned published = check_witnesses();
	uint64_t delivered = 0, broken = 0;

	for (unsigned i = 0; i < clients_n; i++) {
		delivered += check_client(&clients[i]);
		check_reason(&clients[i]);
		broken += is_broken(&clients[i]);
	}
	MODEL(SIM_CHAT_SUM(&chat, published) == published);
	MODEL(SIM_CHAT_SUM(&chat, messages) == published);
	MODEL(SIM_CHAT_SUM(&chat, members_joined) == clients_n);
	MODEL(SIM_CHAT_SUM(&chat, members_left) == clients_n);
	MODEL(SIM_CHAT_SUM(&chat, missed) == 0 && SIM_CHAT_SUM(&chat, left_behind) == 0);
	MODEL(broken ? SIM_CHAT_SUM(&chat, deliveries) >= delivered
		     : SIM_CHAT_SUM(&chat, deliveries) == delivered);
}

#endif
