/*
 * chat_move_model: clients of a simulated chat that move between workers, and what each of them
 * hears.
 *
 * However clients move, each hears every line that others of its topic said after it joined, once,
 * in one order that is the same for everybody, and none of its own. The order is what the journal
 * says, which is looked at after each step.
 */
#ifndef TESTS_SIM_CHAT_CHAT_MOVE_MODEL_H
#define TESTS_SIM_CHAT_CHAT_MOVE_MODEL_H

#define SIM_CHAT_WORKERS 6 /* two for each of the first three: only one of them stays */

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_move.h"
#include "tests/support/sim/sim_chat_workers.h"

#define CLIENTS_MAX 120
#define UNKNOWN	    UINT32_MAX
#define LINES_MAX   20000 /* of one client */

struct client {
	unsigned worker, topic;
	struct peer *peer;
	bool moves, leaves;
	uint32_t said;	    /* whole lines */
	struct bytes says;  /* lines that it has not sent yet */
	struct bytes heard; /* a line that has come in part */
	size_t sip;	    /* how many bytes it reads at a time; 0: all */
	uint32_t
	    since[CLIENTS_MAX];	    /* by sender: how many lines it had said when this one joined */
	uint32_t next[CLIENTS_MAX]; /* by sender: its next line; UNKNOWN: none has come yet */
	uint64_t place;		    /* in the order: of the last line that it heard */
	uint32_t begun;		    /* lines that were said, or are in `says` */
};

static struct sim_chat chat;
static bool busy; /* long lines, many of them */
static struct client clients[CLIENTS_MAX];
static unsigned clients_n;
static uint64_t seed, seed_at_first;
static unsigned step;

/* By client and number: where a line is in the order; 0: it is not published yet. */
static uint64_t places[CLIENTS_MAX][LINES_MAX];
static uint64_t ordered; /* all records of the journal below this id are there */

static struct {
	uint64_t lines, heard, moved, replayed, refused, lost, waits, reloads;
} sums;

#define MODEL(condition)                                                                           \
	EXPECT_MSG(condition, "seed %llu, step %u: %s does not hold",                              \
		   (unsigned long long)seed_at_first, step, #condition)

/* ---- clients ---- */

static size_t line_text(unsigned client, unsigned number, char text[4000])
{
	static const size_t spans[] = {1, 1, 20, 20, 60, 300, 3000};
	uint64_t mix = (uint64_t)client * 1000003 + number * 7919 + 1;
	size_t filler = sim_below(&mix, spans[busy ? 6 : sim_below(&mix, 7)]), n;

	n = (size_t)sprintf(text, "%u %u ", client, number);
	for (; filler; filler--, n++)
		text[n] = (char)('a' + (n + client) % 26);
	text[n++] = '\n';
	return n;
}

static void order_lines(void)
{
	struct journal_entry entry;

	for (; journal_find(&chat.journal, ordered, &entry) == JOURNAL_FOUND; ordered++) {
		unsigned sender = 0, number = 0;

		MODEL(sscanf((const char *)journal_payload(&entry), "%u %u ", &sender, &number) ==
		      2);
		MODEL(sender < clients_n && number < LINES_MAX && !places[sender][number]);
		places[sender][number] = ordered;
	}
	MODEL(ordered == journal_end(&chat.journal));
}

static void client_new(unsigned worker, unsigned topic)
{
	struct client *client = &clients[clients_n++];

	*client = (struct client){
	    .worker = worker, .topic = topic, .peer = sim_chat_connect(&chat, worker, topic)};
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		client->since[i] = clients[i].said;
		client->next[i] = UNKNOWN;
	}
	client->sip = sim_below(&seed, 2) ? 0 : 1 + sim_below(&seed, 3000);
}

static void client_prepare(struct client *client)
{
	char text[4000];

	MODEL(client->begun < LINES_MAX);
	bytes_add(&client->says, text,
		  line_text((unsigned)(client - clients), client->begun++, text));
}

static void client_send(struct client *client, size_t n)
{
	for (size_t i = 0; i < n; i++)
		client->said += client->says.at[client->says.start + i] == '\n';
	peer_send(client->peer, client->says.at + client->says.start, n);
	(void)bytes_take(&client->says, NULL, n);
}

static void client_say(struct client *client)
{
	if (client->leaves || client->peer->in.n > 30000)
		return;
	for (size_t n = sim_below(&seed, !busy && sim_below(&seed, 8) ? 3 : 30); n; n--)
		client_prepare(client);
	if (client->says.n)
		client_send(client, sim_below(&seed, 2) ? client->says.n
							: 1 + sim_below(&seed, client->says.n));
}

static void client_hear_line(struct client *client, const char *line, size_t n)
{
	unsigned sender = 0, number = 0;
	char text[4000];

	MODEL(sscanf(line, "%u %u ", &sender, &number) == 2 && sender < clients_n);
	MODEL(line_text(sender, number, text) == n && memcmp(text, line, n) == 0);
	MODEL(&clients[sender] != client && clients[sender].topic == client->topic);
	MODEL(number < clients[sender].said);
	if (client->next[sender] == UNKNOWN) {
		MODEL(number <= client->since[sender]);
		client->next[sender] = number;
	}
	EXPECT_MSG(client->next[sender] == number,
		   "seed %llu, step %u: client %td hears line %u of %u in place of %u",
		   (unsigned long long)seed_at_first, step, client - clients, number, sender,
		   client->next[sender]);
	client->next[sender]++;
	MODEL(places[sender][number] > client->place);
	client->place = places[sender][number];
	sums.heard++;
}

static void client_hear(struct client *client)
{
	static unsigned char bytes[PEER_SPACE];
	size_t n = client->sip && !client->peer->closed ? client->sip : sizeof bytes;
	unsigned char *end;

	n = peer_receive(client->peer, bytes, n);
	bytes_add(&client->heard, bytes, n);
	while (client->heard.n &&
	       (end = memchr(client->heard.at + client->heard.start, '\n', client->heard.n))) {
		const unsigned char *line = client->heard.at + client->heard.start;

		n = (size_t)(end + 1 - line);
		client_hear_line(client, (const char *)line, n);
		(void)bytes_take(&client->heard, NULL, n);
	}
}

static void all_hear(void)
{
	order_lines();
	for (unsigned i = 0; i < clients_n; i++)
		client_hear(&clients[i]);
}

static void check_client(const struct client *client)
{
	MODEL(client->heard.n == 0 && !client->peer->closed);
	for (unsigned i = 0; i < clients_n; i++) {
		const struct client *sender = &clients[i];

		if (sender == client || sender->topic != client->topic)
			continue;
		EXPECT_MSG(client->next[i] == sender->said ||
			       (client->next[i] == UNKNOWN && sender->said == client->since[i]),
			   "seed %llu: client %td has heard %u of %u lines of %u, who had said %u",
			   (unsigned long long)seed_at_first, client - clients, client->next[i],
			   sender->said, i, client->since[i]);
	}
}

#endif
