#include "bench/weirload/chat/chat_client.h"

/* Takes the next client that reads and is still there. */
void chat_elect_witness(struct chat *chat, uint32_t i)
{
	uint32_t *witness = &chat->witnesses[chat_client_at(chat, i)->number];

	*witness = CHAT_NO_WITNESS;
	for (uint32_t step = 1; step < chat->readers_n; step++) {
		uint32_t k = (i + step) % chat->readers_n;

		if (chat_client_at(chat, k)->phase != CHAT_CLIENT_OPEN)
			continue;
		*witness = k;
		loop_wake(&chat->sender->loop, &chat_client_at(chat, i)->caller.source);
		return;
	}
}

void chat_come(struct chat *chat)
{
	uint32_t *come = &chat->table->come[chat->sender->number];

	CHAT_TABLE_SET(*come, *come + 1);
	sender_connected(chat->sender);
}

void chat_settled(struct chat *chat)
{
	uint32_t *settled = &chat->table->settled[chat->sender->number];

	CHAT_TABLE_SET(*settled, *settled + 1);
	sender_settled(chat->sender);
}

/* Only once all others have gone: if what slow clients leave unread holds up the others, the run
 * has to show it. Each slow client gets a turn, in which it begins to read again; that shows
 * whether the server has closed it. */
void chat_read_slow(struct chat *chat)
{
	struct sender *sender = chat->sender;

	if (sender->phase != SENDER_END || chat->readers_left || chat->slow_read)
		return;
	chat->slow_read = true;
	chat->slow_until_ms = sender->loop.now_ms + plan_timeout_ms(sender->plan);
	for (uint32_t i = chat->readers_n; i < sender->callers_n; i++)
		loop_wake(&sender->loop, &chat_client_at(chat, i)->caller.source);
}

void chat_finished(struct chat *chat, struct chat_client *client)
{
	if (client->finished)
		return;
	client->finished = true;
	sender_finished(chat->sender);
}

void chat_left(struct chat *chat, struct chat_client *client, bool failed)
{
	const struct sender *sender = chat->sender;

	if (client->caller.slow)
		chat->slow_left--;
	else
		chat->readers_left--;
	if (failed && client->sends)
		CHAT_TABLE_SET(chat->table->sent[client->number], CHAT_SENT_UNKNOWN);
	if (sender->phase == SENDER_RUN && !plan_is_open(sender->plan))
		for (uint32_t i = 0; i < chat->senders_n; i++)
			if (chat->witnesses[chat_client_at(chat, i)->number] ==
			    client->caller.number)
				chat_elect_witness(chat, i);
	chat_read_slow(chat);
	if (sender->phase == SENDER_END)
		chat_finished(chat, client);
}
