#include "master/journal_setup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/change/change.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/pubsub/history_age.h"

static struct {
	struct generation_owner *owner;
	struct journal journal; /* the owner's, once there is one */
	struct history_age age; /* of that */
	uint64_t history;	/* what the last configuration that was looked at wants */
} setup;

static uint64_t now_us(void)
{
	return setup.owner->loop->now_us;
}

/* The inode of its memory names the journal: it is the same in all processes that have it. */
static uint64_t journal_id(void)
{
	struct stat status;

	return fstat(setup.journal.fd, &status) < 0 ? 0 : (uint64_t)status.st_ino;
}

/* From now on there is one. */
static void set_journal(void)
{
	setup.owner->journal = &setup.journal;
	setup.owner->journal_id = journal_id();
	setup.history = (uint64_t)setup.journal.segments_max * JOURNAL_SEGMENT;
	history_age_open(&setup.age, setup.owner->loop, &setup.journal);
}

/* ---- seats ---- */

/* Workers that are there learn how to wake the workers that will have the new seats. */
static void tell_doorbells(unsigned from, unsigned n)
{
	for (unsigned many; from < n; from += many) {
		struct ipc_message message = {.kind = IPC_DOORBELLS, .count = from};

		many = n - from < DESCRIPTORS_MAX ? n - from : DESCRIPTORS_MAX;
		EACH_GENERATION (generation)
			EACH_SLOT (slot, generation)
				if (slot->pid)
					(void)slot_pass(slot, &message,
							&setup.journal.doorbells[from], many);
	}
}

/* Counted here and not read from the shared memory, because a next master that failed may have used
 * more. */
static unsigned doorbells_known(void)
{
	unsigned n = 0;

	while (n < JOURNAL_SEATS_MAX && setup.journal.doorbells[n] >= 0)
		n++;
	return n;
}

/* Others read and write it where it lies, so it can't become another size. Said once for each new
 * wish. */
static void warn_of_size(const struct config *config)
{
	uint64_t kept = (uint64_t)setup.journal.segments_max * JOURNAL_SEGMENT;
	uint64_t wanted =
	    (config->history + JOURNAL_SEGMENT - 1) / JOURNAL_SEGMENT * JOURNAL_SEGMENT;

	if (wanted != kept && wanted != setup.history)
		log_warn("the history keeps its size until weir is started anew",
			 LOG_NUMBER("history", config->history), LOG_NUMBER("kept", kept));
	setup.history = wanted;
}

int journal_setup_use(const struct config *config, unsigned n)
{
	unsigned before;
	int error;

	if (!setup.owner->journal && !config_has_topic(config))
		return 0;
	if (!setup.owner->journal) {
		error = journal_open(&setup.journal, n, config->history, 0);
		if (!error)
			set_journal();
		return error;
	}
	warn_of_size(config);
	before = doorbells_known();
	if (n < journal_seats(&setup.journal))
		n = journal_seats(&setup.journal);
	error = journal_use_seats(&setup.journal, n);
	if (!error)
		tell_doorbells(before, n);
	return error;
}

/* ---- what is in it ---- */

void journal_setup_look(void)
{
	const struct generation *serving = change_serving();
	bool serves = serving->phase == GENERATION_SERVING && !change_is_handed_over();

	if (setup.owner->journal)
		history_age_look(&setup.age, serves ? config_ms(serving->config.history_age) : 0);
}

struct journal_figures journal_setup_figures(void)
{
	const struct journal *journal = setup.owner ? setup.owner->journal : NULL;
	struct journal_figures figures = {.there = journal != NULL};
	struct journal_entry oldest;
	uint64_t floor, end, most;

	if (!journal)
		return figures;
	most = UINT64_C(1) << journal->slots_shift;
	floor = journal_floor(journal);
	end = journal_end(journal);
	figures.history_bytes = (uint64_t)journal->segments_max * JOURNAL_SEGMENT;
	figures.bytes = journal_bytes(journal);
	figures.voids = journal_voids(journal);
	if (end > journal->first)
		figures.published = end - journal->first;
	if (end > floor)
		figures.records = end - floor < most ? end - floor : most;
	if (journal_find(journal, floor, &oldest) == JOURNAL_FOUND && oldest.said_us < now_us())
		figures.age_us = now_us() - oldest.said_us;
	return figures;
}

/* ---- an upgrade ---- */

int journal_setup_export(const struct config *config, struct handover_state *handover)
{
	int error;

	handover->journal = -1;
	if (!setup.owner->journal)
		return 0;
	error = journal_setup_use(config, 0); /* all seats in use have doorbells by now */
	if (error)
		return error;
	handover->journal = setup.journal.fd;
	handover->doorbells_n = doorbells_known();
	memcpy(handover->doorbells, setup.journal.doorbells,
	       handover->doorbells_n * sizeof *handover->doorbells);
	return 0;
}

/* It stays the doorbell of that seat, whatever becomes of the next master. */
void journal_setup_add_doorbell(unsigned seat, int fd)
{
	int doorbell = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (doorbell < 0 || !setup.owner->journal || seat != doorbells_known()) {
		if (doorbell >= 0)
			(void)close(doorbell);
		return;
	}
	journal_add_doorbell(&setup.journal, seat, doorbell);
	tell_doorbells(seat, seat + 1);
}

static void close_inherited(const struct handover_state *handover)
{
	if (handover->journal >= 0)
		(void)close(handover->journal);
	for (unsigned i = 0; i < handover->doorbells_n; i++)
		(void)close(handover->doorbells[i]);
}

void journal_setup_inherit(const struct handover_state *handover, unsigned n)
{
	unsigned before;
	int error;

	if (handover->older_bus)
		log_warn("the master before this one has no journal: the history starts anew, and "
			 "its chats stay there");
	if (handover->journal < 0)
		return;
	error = journal_attach(&setup.journal, handover->journal);
	if (error) {
		log_warn("the journal of the master before this one can't be read: the history "
			 "starts anew, and its chats stay there",
			 LOG_TEXT("error", strerror(-error)));
		close_inherited(handover);
		return;
	}
	for (unsigned i = 0; i < handover->doorbells_n; i++)
		journal_add_doorbell(&setup.journal, i, handover->doorbells[i]);
	set_journal();
	before = doorbells_known();
	if (n < before)
		n = before;
	if (journal_use_seats(&setup.journal, n))
		die("shared memory for the journal");
	for (unsigned seat = before; seat < n; seat++)
		upgrade_tell_doorbell(seat, setup.journal.doorbells[seat]);
}

void journal_setup_init(struct generation_owner *owner)
{
	setup.owner = owner;
}
