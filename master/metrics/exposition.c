#include "master/metrics/exposition.h"

#include <string.h>

#include "master/options.h"
#include "master/state_words.h"
#include "reactor/base/check.h"
#include "reactor/base/writer.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* ---- text ---- */

static void put_seconds(struct writer *writer, uint64_t us)
{
	char fraction[7] = ".000000";
	uint64_t rest = us % 1000000;

	for (size_t at = sizeof fraction; rest; rest /= 10)
		fraction[--at] = (char)('0' + rest % 10);
	writer_number(writer, us / 1000000);
	writer_put(writer, fraction, sizeof fraction);
}

/* Escapes text for HELP, and inside quotes, where a quote needs a backslash, too. */
static void put_escaped(struct writer *writer, const char *text, bool quotes)
{
	for (; *text; text++) {
		char escaped[2] = {'\\', *text}, unknown = '?';

		if (*text == '\\' || (*text == '"' && quotes))
			writer_put(writer, escaped, 2);
		else
			writer_put(writer, *text >= ' ' && *text <= '~' ? text : &unknown, 1);
	}
}

/* before: '{' for the first label, ',' for one more. */
static void put_label(struct writer *writer, char before, const char *name, const char *value)
{
	writer_put(writer, &before, 1);
	writer_text(writer, name);
	writer_text(writer, "=\"");
	put_escaped(writer, value, true);
	writer_text(writer, "\"");
}

static void put_worker(struct writer *writer, const struct scrape *scrape, size_t slot)
{
	writer_text(writer, "{worker=\"");
	if (slot == scrape->slots_n)
		writer_text(writer, "master");
	else
		writer_number(writer, slot);
	writer_text(writer, "\"");
}

static void put_head(struct writer *writer, const char *metric, const char *help, const char *type)
{
	writer_text(writer, "# HELP ");
	writer_text(writer, metric);
	writer_text(writer, " ");
	put_escaped(writer, help, false);
	writer_text(writer, "\n# TYPE ");
	writer_text(writer, metric);
	writer_text(writer, " ");
	writer_text(writer, type);
	writer_text(writer, "\n");
}

/* ---- what the master knows ---- */

enum form { NUMBER, SECONDS };

/* One number of the server or, if of_slot, of each slot. */
struct fact {
	const char *metric, *type, *help;
	enum form form;
	bool of_slot;
	size_t offset; /* of the number in its struct, `narrow` bytes wide */
	size_t narrow;
};

#define SERVER(metric, type, form, field, help)                                                    \
	{                                                                                          \
		metric, type, help, form, false, offsetof(struct scrape, field),                   \
		    sizeof(((struct scrape *)0)->field)                                            \
	}
#define WORKER(metric, type, form, field, help)                                                    \
	{                                                                                          \
		metric, type, help, form, true, offsetof(struct scrape_worker, field),             \
		    sizeof(((struct scrape_worker *)0)->field)                                     \
	}

static const struct fact facts[] = {
    SERVER("weir_start_time_seconds", "gauge", SECONDS, began_us,
	   "when weir was started, before all reloads and upgrades, as Unix time"),
    SERVER("weir_generation", "gauge", NUMBER, generation,
	   "the generation of workers that serves: one more with each reload or upgrade"),
    SERVER("weir_workers", "gauge", NUMBER, workers, "workers that there should be"),
    SERVER("weir_workers_ready", "gauge", NUMBER, workers_ready, "workers that serve"),
    SERVER("weir_master_start_time_seconds", "gauge", SECONDS, master_born_us,
	   "when the master that serves came, as Unix time"),
    SERVER("weir_master_cpu_seconds_total", "counter", SECONDS, master_cpu_us,
	   "CPU time of masters, in user and kernel"),
    SERVER("weir_master_resident_memory_bytes", "gauge", NUMBER, master_memory_bytes,
	   "resident memory of masters, pages that they share counted in each"),
    SERVER("weir_journal_history_bytes", "gauge", NUMBER, journal.history_bytes,
	   "what the journal may hold, as it was made; 0: there is none"),
    SERVER("weir_journal_bytes", "gauge", NUMBER, journal.bytes,
	   "memory that the journal's records take, with what workers have yet to fill"),
    SERVER("weir_journal_records", "gauge", NUMBER, journal.records,
	   "records that the journal holds"),
    SERVER("weir_journal_age_seconds", "gauge", SECONDS, journal.age_us,
	   "how long ago the oldest record in the journal was published"),
    SERVER("weir_journal_published_total", "counter", NUMBER, journal.published,
	   "records published, since the journal was made"),
    SERVER("weir_journal_void_records_total", "counter", NUMBER, journal.voids,
	   "records that a worker had begun, and not published, when it ended"),
    WORKER("weir_worker_up", "gauge", NUMBER, up,
	   "1: a worker serves in this slot; one that is stopped, or stuck, does not"),
    WORKER("weir_worker_generation", "gauge", NUMBER, generation,
	   "the generation of the slot's worker"),
    WORKER("weir_worker_pid", "gauge", NUMBER, pid, "the process of the slot's worker; 0: none"),
    WORKER("weir_worker_restarts_total", "counter", NUMBER, restarts,
	   "workers that came because the one before had died"),
    WORKER("weir_worker_start_time_seconds", "gauge", SECONDS, born_us,
	   "when the slot's worker came, as Unix time; 0: none did"),
    WORKER("weir_worker_cpu_seconds_total", "counter", SECONDS, cpu_us,
	   "CPU time of the slot's workers, in user and kernel"),
    WORKER("weir_worker_resident_memory_bytes", "gauge", NUMBER, memory_bytes,
	   "resident memory of the slot's workers, pages that they share counted in each"),
    WORKER("weir_worker_still_seconds", "gauge", SECONDS, still_us,
	   "for how long the slot's worker, though awake or stopped, has been seen to make no "
	   "progress; 0: it moves, or sleeps"),
};

#define FACTS (sizeof facts / sizeof *facts)

static uint64_t fact_value(const void *of, const struct fact *fact)
{
	const char *at = (const char *)of + fact->offset;
	uint64_t wide;
	uint32_t narrow;

	if (fact->narrow == sizeof wide) {
		memcpy(&wide, at, sizeof wide);
		return wide;
	}
	if (fact->narrow == sizeof narrow) {
		memcpy(&narrow, at, sizeof narrow);
		return narrow;
	}
	return *(const bool *)(const void *)at;
}

static void write_fact(struct writer *writer, const struct scrape *scrape, const struct fact *fact,
		       size_t item)
{
	uint64_t value =
	    fact_value(fact->of_slot ? (const void *)&scrape->slots[item] : scrape, fact);

	writer_text(writer, fact->metric);
	if (fact->of_slot) {
		put_worker(writer, scrape, item);
		writer_text(writer, "}");
	}
	writer_text(writer, " ");
	if (fact->form == SECONDS)
		put_seconds(writer, value);
	else
		writer_number(writer, value);
	writer_text(writer, "\n");
}

/* ---- what has labels of its own ---- */

static void write_build(struct writer *writer, const struct scrape *scrape, size_t item)
{
	(void)scrape;
	(void)item;
	writer_text(writer, "weir_build_info");
	put_label(writer, '{', "version", WEIR_VERSION);
	put_label(writer, ',', "compiler", COMPILER);
	writer_text(writer, "} 1\n");
}

static size_t words_n(const char *const *words)
{
	size_t n = 0;

	while (words[n])
		n++;
	return n;
}

/* Writes, behind the other labels, one of the words that a state may be, and whether it is that. */
static void put_state(struct writer *writer, char before, const char *word, const char *state)
{
	put_label(writer, before, "state", word);
	writer_text(writer, state && strcmp(word, state) == 0 ? "} 1\n" : "} 0\n");
}

static void write_state(struct writer *writer, const struct scrape *scrape, size_t item)
{
	writer_text(writer, "weir_state");
	put_state(writer, '{', state_words_of_server[item], scrape->state);
}

static void write_worker_state(struct writer *writer, const struct scrape *scrape, size_t item)
{
	size_t n = words_n(state_words_of_workers), slot = item / n;

	writer_text(writer, "weir_worker_state");
	put_worker(writer, scrape, slot);
	put_state(writer, ',', state_words_of_workers[item % n], scrape->slots[slot].state);
}

static void write_listener(struct writer *writer, const struct scrape *scrape, size_t item)
{
	const struct scrape_listener *listener = &scrape->listeners[item];

	writer_text(writer, "weir_listener_info{id=\"");
	writer_number(writer, listener->number);
	writer_text(writer, "\"");
	put_label(writer, ',', "listener", listener->text);
	put_label(writer, ',', "accept", listener->accept);
	writer_text(writer, "} 1\n");
}

static void write_result(struct writer *writer, const char *metric, size_t item, uint64_t made,
			 uint64_t failed)
{
	writer_text(writer, metric);
	put_label(writer, '{', "result", item ? "failure" : "success");
	writer_text(writer, "} ");
	writer_number(writer, item ? failed : made);
	writer_text(writer, "\n");
}

static void write_reloads(struct writer *writer, const struct scrape *scrape, size_t item)
{
	write_result(writer, "weir_reloads_total", item, scrape->reloads, scrape->reloads_failed);
}

static void write_upgrades(struct writer *writer, const struct scrape *scrape, size_t item)
{
	write_result(writer, "weir_upgrades_total", item, scrape->upgrades,
		     scrape->upgrades_failed);
}

static const struct special {
	const char *metric, *type, *help;
	enum { ONE, BOTH, STATES, SLOT_STATES_EACH, LISTENERS } times;
	void (*write)(struct writer *writer, const struct scrape *scrape, size_t item);
} specials[] = {
    {"weir_build_info", "gauge", "what runs", ONE, write_build},
    {"weir_state", "gauge", "what the master does now, as weirctl status says it", STATES,
     write_state},
    {"weir_reloads_total", "counter", "reloads", BOTH, write_reloads},
    {"weir_upgrades_total", "counter", "upgrades", BOTH, write_upgrades},
    {"weir_listener_info", "gauge", "where weir listens", LISTENERS, write_listener},
    {"weir_worker_state", "gauge", "how the slot's worker is, as weirctl workers says it",
     SLOT_STATES_EACH, write_worker_state},
};

#define SPECIALS (sizeof specials / sizeof *specials)

static size_t special_items(const struct special *special, const struct scrape *scrape)
{
	switch (special->times) {
	case ONE:
		return 1;
	case BOTH:
		return 2;
	case STATES:
		return words_n(state_words_of_server);
	case SLOT_STATES_EACH:
		return words_n(state_words_of_workers) * scrape->slots_n;
	default:
		return scrape->listeners_n;
	}
}

/* ---- the counters ---- */

static bool is_of_one_metric(size_t a, size_t b)
{
	const char *metric = stats_rows[a].metric, *other = stats_rows[b].metric;

	return metric == other || strcmp(metric, other) == 0;
}

/* How many rows from this one on belong to one metric. */
static size_t rows_of(size_t first)
{
	size_t n = 1;

	while (first + n < stats_rows_n && is_of_one_metric(first, first + n))
		n++;
	return n;
}

static const char *type_of(const struct stats_row *row)
{
	switch (row->kind) {
	case STATS_COUNTER:
	case STATS_TIME:
		return "counter";
	case STATS_GAUGE:
	case STATS_PEAK:
		return "gauge";
	default:
		return "histogram";
	}
}

static void put_sample(struct writer *writer, const struct scrape *scrape, size_t slot,
		       const struct stats_row *row, const char *suffix)
{
	writer_text(writer, row->metric);
	writer_text(writer, suffix);
	put_worker(writer, scrape, slot);
	if (row->label)
		put_label(writer, ',', row->label, row->value);
	writer_text(writer, "} ");
}

/* The sum of the buckets from `first` up to this row, which may be the one behind the last. */
static uint64_t all_up_to(const struct scrape *scrape, size_t slot, size_t first, size_t row)
{
	uint64_t sum = 0;

	for (; first <= row; first++)
		if (stats_rows[first].kind == STATS_BUCKET)
			sum += scrape_value(scrape, slot, first);
	return sum;
}

static void write_histogram(struct writer *writer, const struct scrape *scrape, size_t slot,
			    size_t first, size_t at)
{
	const struct stats_row *row = &stats_rows[at];

	if (row->kind == STATS_BUCKET) {
		put_sample(writer, scrape, slot, row, "_bucket");
		writer_number(writer, all_up_to(scrape, slot, first, at));
	} else {
		put_sample(writer, scrape, slot, row, "_sum");
		put_seconds(writer, scrape_value(scrape, slot, at));
		writer_text(writer, "\n");
		put_sample(writer, scrape, slot, row, "_count");
		writer_number(writer, all_up_to(scrape, slot, first, at));
	}
	writer_text(writer, "\n");
}

/* Nobody needs the numbers of the master's loop, and a counter that is 0 is one that it never
 * counts. */
static bool master_shows(const struct scrape *scrape, size_t row)
{
	return (stats_rows[row].kind == STATS_COUNTER || stats_rows[row].kind == STATS_TIME) &&
	       strncmp(stats_rows[row].metric, "weir_loop_", 10) != 0 &&
	       scrape_value(scrape, scrape->slots_n, row) != 0;
}

static void write_row(struct writer *writer, const struct scrape *scrape, size_t first, size_t item)
{
	size_t n = rows_of(first), slot = item / n, at = first + item % n;
	const struct stats_row *row = &stats_rows[at];

	if (slot == scrape->slots_n && !master_shows(scrape, at))
		return;
	if (row->kind == STATS_BUCKET || row->kind == STATS_SUM) {
		write_histogram(writer, scrape, slot, first, at);
		return;
	}
	put_sample(writer, scrape, slot, row, "");
	if (row->kind == STATS_TIME)
		put_seconds(writer, scrape_value(scrape, slot, at));
	else
		writer_number(writer, scrape_value(scrape, slot, at));
	writer_text(writer, "\n");
}

/* ---- the whole ---- */

/* Families are specials, facts, and the first row of each metric, in this order. Item 0 is the
 * head. */
static void write_item(struct writer *writer, const struct scrape *scrape,
		       struct exposition_place place, size_t *items, size_t *next)
{
	size_t family = place.family, item = place.item;

	*next = family + 1;
	if (family < SPECIALS) {
		const struct special *special = &specials[family];

		*items = special_items(special, scrape);
		if (!item)
			put_head(writer, special->metric, special->help, special->type);
		else if (item <= *items)
			special->write(writer, scrape, item - 1);
	} else if (family < SPECIALS + FACTS) {
		const struct fact *fact = &facts[family - SPECIALS];

		*items = fact->of_slot ? scrape->slots_n : 1;
		if (!item)
			put_head(writer, fact->metric, fact->help, fact->type);
		else if (item <= *items)
			write_fact(writer, scrape, fact, item - 1);
	} else {
		size_t first = family - SPECIALS - FACTS;
		const struct stats_row *row = &stats_rows[first];

		*items = rows_of(first) * (scrape->slots_n + 1);
		*next = family + rows_of(first);
		if (!item)
			put_head(writer, row->metric, row->metric_text, type_of(row));
		else if (item <= *items)
			write_row(writer, scrape, first, item - 1);
	}
}

size_t exposition_write(const struct scrape *scrape, struct exposition_place *place, char *at,
			size_t room)
{
	struct writer writer = {at, at + room};
	size_t families = SPECIALS + FACTS + stats_rows_n;

	CHECK(room >= EXPOSITION_ROOM_MIN);
	while (place->family < families && writer.end - writer.at >= EXPOSITION_ROOM_MIN) {
		size_t items, next;

		write_item(&writer, scrape, *place, &items, &next);
		if (place->item++ < items)
			continue;
		*place = (struct exposition_place){(uint32_t)next, 0};
	}
	return (size_t)(writer.at - at);
}

size_t exposition_bytes(const struct scrape *scrape)
{
	struct exposition_place place = {0, 0};
	char piece[16384];
	size_t total = 0, n;

	while ((n = exposition_write(scrape, &place, piece, sizeof piece)))
		total += n;
	return total;
}
