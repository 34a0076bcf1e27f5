#include "bench/weirload/chat/chat_client_parts.h"

#include "bench/weirload/report/diagnosis.h"
#include "reactor/base/sys.h"

void chat_client_welcomed(struct chat_client *client, struct chat *chat)
{
	client->phase = CHAT_CLIENT_OPEN;
	client->come = true;
	loop_no_deadline(&chat->sender->loop, &client->caller.source);
	chat_come(chat);
}

void chat_client_lost(struct chat_client *client, struct chat *chat, const struct chat_gap *gap)
{
	sender_wrong(chat->sender, TALLY_lost, gap->to - gap->from,
		     "client %u did not get lines %u to %u of sender %u", client->number, gap->from,
		     gap->to - 1, gap->sender);
}

/* Lines that are still missing when the client ends are lost. */
static void count_gaps(struct chat_client *client, struct chat *chat)
{
	struct chat_gap gap;

	while ((gap = chat_ledger_give_up(&client->ledger)).to)
		chat_client_lost(client, chat, &gap);
}

void chat_client_leave(struct chat_client *client, struct chat *chat, bool failed)
{
	if (client->caller.source.fd >= 0)
		(void)sys_close(client->caller.source.fd);
	client->caller.source.fd = -1;
	client->caller.source.ready = client->caller.source.want = 0;
	loop_no_deadline(&chat->sender->loop, &client->caller.source);
	if (client->phase >= CHAT_CLIENT_GREETING)
		TALLY_ADD(chat->sender->tally, open, -1);
	client->phase = CHAT_CLIENT_GONE;
	client->caller.gone = true;
	count_gaps(client, chat);
	if (!client->come)
		chat_come(chat);
	if (!client->settled)
		chat_settled(chat);
	client->come = client->settled = true;
	chat_left(chat, client, failed);
}

void chat_client_fail(struct chat_client *client, struct chat *chat, enum tally_error kind,
		      const char *detail)
{
	if (client->caller.slow && client->settled && tally_errors[kind].blame == BLAME_SERVER)
		TALLY_ADD(chat->sender->tally, slow_ended, 1); /* as a server should */
	else
		sender_wrong(chat->sender, kind, 1, "client %u: %s", client->number, detail);
	chat_client_leave(client, chat, true);
}

void chat_client_fail_of(struct chat_client *client, struct chat *chat, const char *call,
			 ssize_t error)
{
	char detail[TALLY_DETAIL_BYTES];

	diagnosis_say_errno(detail, call, (int)-error);
	chat_client_fail(client, chat, diagnosis_of_errno((int)-error), detail);
}

void chat_client_ended(struct chat_client *client, struct chat *chat)
{
	if (client->phase != CHAT_CLIENT_ENDING) {
		chat_client_fail(client, chat, TALLY_closed, "the server ended its connection");
		return;
	}
	if (client->kept_n)
		sender_wrong(chat->sender, TALLY_altered, 1,
			     "client %u: %u bytes behind the last line are none", client->number,
			     client->kept_n);
	chat_client_leave(client, chat, false);
}
