#include "tests/support/sim/sim_udp_servers.h"

#include <stdlib.h>

#define BYTES_MAX 70000

/* ---- the bytes of requests, and of the answers that are owed ---- */

static void fill(unsigned char *bytes, size_t n, uint64_t serial)
{
	uint64_t word = serial;

	for (size_t i = 0; i < n; i += 8) {
		memcpy(bytes + i, &word, n - i < 8 ? n - i : 8);
		word = (word ^ serial) * 0x9e3779b97f4a7c15ULL + i;
	}
}

static bool half_answer(struct datagram *datagram)
{
	datagram->n /= 2;
	for (size_t i = 0; i < datagram->n; i++)
		datagram->bytes[i] ^= 0xff;
	return true;
}

static const struct protocol half_protocol = {.name = "half", .datagram = half_answer};

static const struct protocol *protocol_of(enum answer answer)
{
	switch (answer) {
	case ANSWER_HALF:
		return &half_protocol;
	case ANSWER_CHARGEN:
		return protocol_find("chargen");
	case ANSWER_NONE:
		return protocol_find("discard");
	default:
		return protocol_find("echo");
	}
}

/* Writes the expected answer to bytes. Returns its length. */
static size_t expected_bytes(const struct book *book, const struct owed *owed, unsigned char *bytes)
{
	size_t n = owed->n;

	switch (book->answer) {
	case ANSWER_CHARGEN: /* RFC 864's pattern of 95 characters */
		n = n < 512 ? n : 512;
		for (size_t i = 0; i < n; i++)
			bytes[i] = i % 74 == 72	  ? '\r'
				   : i % 74 == 73 ? '\n'
						  : (unsigned char)(' ' + (i / 74 + i % 74) % 95);
		return n;
	case ANSWER_HALF:
		fill(bytes, n, owed->serial);
		for (size_t i = 0; i < n / 2; i++)
			bytes[i] ^= 0xff;
		return n / 2;
	default:
		fill(bytes, n, owed->serial);
		return n;
	}
}

/* ---- called when something is sent or received ---- */

static void strike(struct book *book, struct owed **at)
{
	struct owed *owed = *at;

	*at = owed->next;
	if (book->end == &owed->next)
		book->end = at;
	book->owed_n--;
	free(owed);
}

static bool given_up(struct book *book, const struct owed *owed)
{
	if (!owed->refusals && owed->delays < DELAYS_ENOUGH)
		return false;
	book->expected.datagram_send_errors++;
	return true;
}

static bool matches(const struct book *book, const struct owed *owed, const unsigned char *bytes,
		    size_t n)
{
	static unsigned char expected[BYTES_MAX];

	return expected_bytes(book, owed, expected) == n && memcmp(expected, bytes, n) == 0;
}

static void on_sent(struct sim_socket *sock, const struct place *to, const struct in6_addr *from,
		    const unsigned char *bytes, size_t n)
{
	struct book *book = sock->owner;
	struct owed **at = &book->first;

	for (;;) {
		while (*at && !place_equal(&(*at)->peer, to))
			at = &(*at)->next;
		EXPECT_MSG(*at, "%zu bytes left that nobody was owed", n);
		if (matches(book, *at, bytes, n))
			break;
		if (book->any_order) {
			at = &(*at)->next;
			continue;
		}
		EXPECT_MSG(given_up(book, *at), "an answer of %zu bytes was left out", (*at)->n);
		strike(book, at);
	}
	EXPECT_MSG(IN6_ARE_ADDR_EQUAL(from, &(*at)->here), "it left from another address");
	strike(book, at);
	book->expected.datagrams_answered++;
	book->expected.sent_bytes += n;
}

static void on_refused(struct sim_socket *sock, const struct place *to, const unsigned char *bytes,
		       size_t n, int error, bool train)
{
	struct book *book = sock->owner;
	struct owed *owed = book->first;

	while (owed && !(place_equal(&owed->peer, to) && matches(book, owed, bytes, n)))
		owed = owed->next;
	EXPECT_MSG(owed, "%zu bytes were to leave that nobody is owed", n);
	if (train)
		return;
	if (error == EINTR || error == ENOBUFS || error == ENOMEM)
		owed->delays++;
	else
		owed->refusals++;
}

static size_t datagrams_of(const struct sim_datagram *sim_datagram)
{
	return sim_datagram->segment
		   ? (sim_datagram->n + sim_datagram->segment - 1) / sim_datagram->segment
		   : 1;
}

static void on_taken(struct sim_socket *sock, const struct sim_datagram *sim_datagram)
{
	struct book *book = sock->owner;
	struct stats *expected = &book->expected;
	size_t n = datagrams_of(sim_datagram);

	expected->datagrams_received += n;
	expected->received_bytes += sim_datagram->n < UDP_RX_BYTES ? sim_datagram->n : UDP_RX_BYTES;
	expected->datagrams_from_low_ports += sim_datagram->tag == SIM_UDP_LOW_PORT;
	expected->datagrams_from_own_ports += sim_datagram->tag == SIM_UDP_OWN_PORT;
	expected->datagrams_to_many += sim_datagram->tag == SIM_UDP_TO_MANY;
	expected->datagrams_truncated += sim_datagram->tag == SIM_UDP_TOO_LONG;
	if (book->read)
		book->read(book);
}

/* A datagram that nobody could read is owed no answer. */
static void on_spoilt(struct sim_socket *sock, const struct sim_datagram *sim_datagram)
{
	struct book *book = sock->owner;
	struct owed **at = &book->first;

	while (*at) {
		if ((*at)->serial - sim_datagram->serial < datagrams_of(sim_datagram))
			strike(book, at);
		else
			at = &(*at)->next;
	}
}

/* ---- posting requests ---- */

static void write_down(struct book *book, const struct sim_datagram *sim_datagram, size_t n,
		       uint64_t serial)
{
	struct owed *owed = calloc(1, sizeof *owed);

	EXPECT(owed);
	*owed = (struct owed){
	    .peer = sim_datagram->from, .here = sim_datagram->to, .n = n, .serial = serial};
	*book->end = owed;
	book->end = &owed->next;
	book->owed_n++;
}

/* The ith peer, of each kind that the socket can have, two peers to an address. Each empty datagram
 * comes from a peer of its own, because empty datagrams can't be told apart otherwise. */
static struct place peer_of(const struct book *book, unsigned i, size_t n)
{
	struct place peer = {ip4(10, 0, i / 16 & 255, i / 2 & 7), (uint16_t)(20000 + i % 32)};

	if (book->sock->family == AF_INET6 && (book->sock->v6only || i & 2))
		peer.address = (struct in6_addr){
		    .s6_addr = {0x20, 1, 0xd,
				0xb8, [7] = (uint8_t)(i / 8), [15] = (uint8_t)(i / 2)}};
	if (!n)
		peer.port = (uint16_t)(30000 + book->serial % 30000);
	return peer;
}

static bool has_every_address(const struct book *book)
{
	const struct in6_addr *bound = &book->sock->here.address;

	return IN6_IS_ADDR_UNSPECIFIED(bound) ||
	       (IN6_IS_ADDR_V4MAPPED(bound) && !bound->s6_addr[12]);
}

/* The address to which a peer sends: one of several of ours, if the socket has every address. */
static struct in6_addr here_of(const struct book *book, const struct place *peer, unsigned i)
{
	struct in6_addr ip6 = {
	    .s6_addr = {0x20, 1, 0xd, 0xb8, [7] = 9, [15] = (uint8_t)(1 + i % 3)}};

	if (!has_every_address(book))
		return book->sock->here.address;
	if (i % 3 == 2)
		ip6.s6_addr[0] = 0xfe, ip6.s6_addr[1] = 0x80;
	return IN6_IS_ADDR_V4MAPPED(&peer->address) ? ip4(10, 0, 1, 1 + i % 3) : ip6;
}

static size_t post(struct book *book, struct sim_datagram *sim_datagram, size_t part)
{
	static unsigned char bytes[BYTES_MAX];
	size_t posted = 0, at = 0;

	sim_datagram->bytes = bytes;
	sim_datagram->serial = book->serial;
	do {
		size_t left = sim_datagram->n - at, n = part && part < left ? part : left;

		EXPECT(sim_datagram->n <= sizeof bytes);
		fill(bytes + at, n, book->serial++);
		at += n;
		posted++;
	} while (at < sim_datagram->n);
	if (!sim_socket_post(book->sock, sim_datagram))
		return 0;
	if (sim_datagram->tag != SIM_UDP_PLAIN || book->answer == ANSWER_NONE)
		return posted;
	at = 0;
	for (size_t i = 0; i < posted; i++) {
		size_t left = sim_datagram->n - at, n = part && part < left ? part : left;

		write_down(book, sim_datagram, n, sim_datagram->serial + i);
		at += n;
	}
	return posted;
}

size_t book_post(struct book *book, unsigned i, size_t n, size_t segment)
{
	unsigned who = i % BOOK_ASKS_ANOTHER;
	struct sim_datagram sim_datagram = {
	    .from = peer_of(book, who, n), .interface = 1 + who % 2, .n = n};
	size_t posted = 0;

	sim_datagram.to = here_of(book, &sim_datagram.from, who + i / BOOK_ASKS_ANOTHER);
	if (!segment || segment >= n)
		return post(book, &sim_datagram, 0);
	if (book->sock->trains) {
		sim_datagram.segment = segment;
		return post(book, &sim_datagram, segment);
	}
	for (size_t left = n; left; left -= sim_datagram.n) {
		sim_datagram.n = left < segment ? left : segment;
		posted += post(book, &sim_datagram, 0);
	}
	return posted;
}

size_t book_post_tagged(struct book *book, int tag, size_t n)
{
	struct sim_datagram sim_datagram = {
	    .from = peer_of(book, 2, 1), .interface = 1, .tag = tag, .n = n};

	sim_datagram.to = here_of(book, &sim_datagram.from, 0);
	if (tag == SIM_UDP_LOW_PORT)
		sim_datagram.from.port = 7;
	if (tag == SIM_UDP_OWN_PORT)
		sim_datagram.from.port = SIM_UDP_OTHER;
	if (tag == SIM_UDP_TOO_LONG)
		sim_datagram.n = UDP_RX_BYTES + 1;
	if (tag == SIM_UDP_TO_MANY && has_every_address(book)) {
		if (IN6_IS_ADDR_V4MAPPED(&sim_datagram.to))
			sim_datagram.to = ip4(224, 0, 0, 1);
		else
			sim_datagram.to = (struct in6_addr){.s6_addr = {0xff, 2, [15] = 1}};
	}
	return post(book, &sim_datagram, 0);
}

/* ---- books ---- */

void book_open(struct book *book, const char *text, enum answer answer)
{
	static const struct datagram_options options = {.reuseport = true, .queue_bytes = 1 << 20};
	struct address address, other;
	const char *why;

	memset(book, 0, sizeof *book);
	book->end = &book->first;
	book->serial = 1;
	book->answer = answer;
	EXPECT(address_parse(&address, text, &why) && address_parse(&other, ":5353", &why));
	book->fd = datagram_bind(&address, &options, &why);
	EXPECT_MSG(book->fd >= 0, "%s: error %d", why, -book->fd);
	EXPECT(address_port(&address));
	book->sock = sim_socket_of(book->fd);
	book->sock->owner = book;
	book->sock->taken = on_taken;
	book->sock->spoilt = on_spoilt;
	book->sock->sent = on_sent;
	book->sock->refused = on_refused;
	reflection_guard_add(&book->guard, &address);
	reflection_guard_add(&book->guard, &other);
}

/* Requests that wait in the socket are the last of those that were written down. */
size_t book_in_hand(const struct book *book)
{
	size_t waiting = 0;

	for (const struct sim_datagram *sim_datagram = book->sock->first; sim_datagram;
	     sim_datagram = sim_datagram->next)
		if (sim_datagram->tag == SIM_UDP_PLAIN && book->answer != ANSWER_NONE)
			waiting += datagrams_of(sim_datagram);
	EXPECT(waiting <= book->owed_n);
	return book->owed_n - waiting;
}

void book_check(struct book *book)
{
	for (size_t left = book_in_hand(book); left; left--) {
		EXPECT_MSG(given_up(book, book->first), "an answer of %zu bytes never left",
			   book->first->n);
		strike(book, &book->first);
	}
}

size_t book_forget(struct book *book)
{
	size_t lost = book_in_hand(book);

	for (size_t i = 0; i < lost; i++)
		strike(book, &book->first);
	return lost;
}

void book_close(struct book *book)
{
	book_check(book);
	while (book->first)
		strike(book, &book->first);
	EXPECT(sys_close(book->fd) == 0);
}

/* ---- workers and servers ---- */

void sim_udp_worker_open(struct sim_udp_worker *worker)
{
	memset(worker, 0, sizeof *worker);
	EXPECT(loop_open(&worker->loop, &worker->stats, 0) == 0);
}

void sim_udp_worker_close(struct sim_udp_worker *worker)
{
	loop_close(&worker->loop);
}

static void on_gone(struct datagram_socket *socket)
{
	struct udp_server *server = CONTAINER_OF(socket, struct udp_server, socket);

	EXPECT(!udp_server_is_open(server));
	server->gone_n++;
}

int udp_server_open(struct udp_server *server, struct sim_udp_worker *worker, struct book *book,
		    bool shared)
{
	*server = (struct udp_server){.worker = worker, .book = book};
	server->service = (struct datagram_service){
	    .protocol = protocol_of(book->answer),
	    .guard = &book->guard,
	    .dropped = &book->dropped,
	    .shared = shared,
	};
	return datagram_open(&server->socket, &worker->loop, sim_socket_dup(book->fd),
			     &server->service, on_gone);
}

void sim_udp_workers_run(struct sim_udp_worker *const *workers, size_t n, uint32_t ms)
{
	uint64_t end_us = kernel.now_us + (uint64_t)ms * 1000, last_us = 0;
	unsigned passes = 0;

	for (;;) {
		bool busy = false;

		for (size_t i = 0; i < n; i++) {
			uint64_t turns = workers[i]->stats.turns;

			loop_pass(&workers[i]->loop, 0);
			busy |= workers[i]->stats.turns != turns;
		}
		if (last_us != kernel.now_us)
			passes = 0;
		last_us = kernel.now_us;
		EXPECT_MSG(passes++ < 1000, "a worker finds no end");
		if (busy)
			continue;
		if (kernel.now_us >= end_us)
			return;
		kernel_advance(1);
	}
}

void sim_udp_worker_run(struct sim_udp_worker *worker, uint32_t ms)
{
	sim_udp_workers_run(&worker, 1, ms);
}

void sim_udp_worker_show_many(struct sim_udp_worker *worker, struct book *book)
{
	for (unsigned i = 0; !book->sock->trains; i++) {
		EXPECT(i < 50);
		(void)book_post(book, i, 100, 0);
		(void)book_post(book, i + 8, 100, 0);
		loop_pass(&worker->loop, 0);
	}
	sim_udp_worker_run(worker, 1);
}

void sim_udp_workers_expect(struct sim_udp_worker *const *workers, size_t n,
			    struct book *const *books, size_t books_n)
{
#define SAME(name)                                                                                 \
	do {                                                                                       \
		uint64_t is = 0, should = 0;                                                       \
		for (size_t i = 0; i < n; i++)                                                     \
			is += workers[i]->stats.name;                                              \
		for (size_t i = 0; i < books_n; i++)                                               \
			should += books[i]->expected.name;                                         \
		EXPECT_MSG(is == should, #name " is %llu, not %llu", (unsigned long long)is,       \
			   (unsigned long long)should);                                            \
	} while (0)
	SAME(datagrams_received);
	SAME(received_bytes);
	SAME(datagrams_answered);
	SAME(sent_bytes);
	SAME(datagrams_truncated);
	SAME(datagrams_to_many);
	SAME(datagrams_from_low_ports);
	SAME(datagrams_from_own_ports);
	SAME(datagram_send_errors);
#undef SAME
	uint64_t errors = 0, waits = 0, dropped = 0, drops = 0;

	for (size_t i = 0; i < n; i++) {
		errors += workers[i]->stats.datagram_receive_errors;
		waits += workers[i]->stats.datagram_send_waits;
		dropped += workers[i]->stats.datagrams_dropped;
	}
	for (size_t i = 0; i < books_n; i++)
		drops += books[i]->sock->drops;
	EXPECT_MSG(errors == sim_udp.errors, "%llu errors counted, not %lu",
		   (unsigned long long)errors, sim_udp.errors);
	EXPECT_MSG(waits <= sim_udp.waits && !waits == !sim_udp.waits, "%llu waits of %lu",
		   (unsigned long long)waits, sim_udp.waits);
	EXPECT_MSG(dropped <= drops, "%llu drops counted of %llu", (unsigned long long)dropped,
		   (unsigned long long)drops);
}

void sim_udp_worker_expect(struct sim_udp_worker *worker, struct book *book)
{
	sim_udp_workers_expect(&worker, 1, &book, 1);
}

/* ---- the whole ---- */

void sim_udp_servers_begin(void)
{
	kernel_begin();
	sim_udp_begin();
}

void sim_udp_servers_end(void)
{
	sim_udp_end();
	kernel_end();
}
