#include "tests/support/servers/faulty_datagram.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/weirload/plan/pattern.h"
#include "tests/support/harness.h"

#define BYTES_MAX  65536
#define HELD_MAX   64
#define HELD_BYTES 2048

struct held {
	struct sockaddr_in to;
	uint64_t due_ms; /* with LATE and AGAIN: when it is to be sent */
	size_t n;
	unsigned char bytes[HELD_BYTES];
};

struct faulty {
	int fd;
	enum datagram_form form;
	enum datagram_fault fault;
	unsigned long every, most, since;
	struct datagram_count *count;
	struct held held[HELD_MAX], before; /* before: the last answer, to any socket */
	struct sockaddr_in from;
	size_t n;
	unsigned char bytes[BYTES_MAX];
};

static void send_to(struct faulty *faulty, const struct sockaddr_in *to, const void *bytes,
		    size_t n)
{
	ssize_t sent = sendto(faulty->fd, bytes, n, 0, (const struct sockaddr *)to, sizeof *to);

	(void)sent; /* a client that has gone needs no answer */
}

static void send_joined(struct faulty *faulty)
{
	int size = (int)faulty->n, off = 0;

	memcpy(faulty->bytes + faulty->n, faulty->bytes, faulty->n);
	ck_assert_int_eq(setsockopt(faulty->fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size), 0);
	send_to(faulty, &faulty->from, faulty->bytes, 2 * faulty->n);
	ck_assert_int_eq(setsockopt(faulty->fd, SOL_UDP, UDP_SEGMENT, &off, sizeof off), 0);
}

/* Keeps the answer, to be sent later. False: there is no room for it. */
static bool hold(struct faulty *faulty)
{
	struct held *held = faulty->held;

	while (held < faulty->held + HELD_MAX && held->n)
		held++;
	if (held == faulty->held + HELD_MAX || faulty->n > HELD_BYTES)
		return false;
	held->to = faulty->from;
	held->due_ms =
	    now_ms() + (faulty->fault == DATAGRAM_LATE ? DATAGRAM_LATE_MS : DATAGRAM_AGAIN_MS);
	held->n = faulty->n;
	memcpy(held->bytes, faulty->bytes, held->n);
	faulty->count->held++;
	return true;
}

static void release(struct faulty *faulty, struct held *held)
{
	send_to(faulty, &held->to, held->bytes, held->n);
	held->n = 0;
	faulty->count->held--;
}

static bool same_socket(const struct sockaddr_in *a, const struct sockaddr_in *b)
{
	return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

/* False: the fault cannot be applied to this answer. */
static bool answer_wrongly(struct faulty *faulty)
{
	static const struct pattern_rule any = {.forbidden = -1};
	unsigned char *bytes = faulty->bytes;

	switch (faulty->fault) {
	case DATAGRAM_DOUBLE:
		send_to(faulty, &faulty->from, bytes, faulty->n);
		break;
	case DATAGRAM_JOIN:
		send_joined(faulty);
		return true;
	case DATAGRAM_SWAP:
	case DATAGRAM_LATE:
		return hold(faulty);
	case DATAGRAM_AGAIN:
		if (!hold(faulty))
			return false;
		break;
	case DATAGRAM_ALTER:
		bytes[faulty->n / 3] ^= 1;
		break;
	case DATAGRAM_ALTER_1:
		bytes[0] ^= 0x80;
		break;
	case DATAGRAM_CUT:
		faulty->n -= 5;
		break;
	case DATAGRAM_LENGTHEN:
		faulty->n += 5;
		break;
	case DATAGRAM_EMPTY:
		faulty->n = 0;
		break;
	case DATAGRAM_FOREIGN:
		if (!faulty->before.n || same_socket(&faulty->before.to, &faulty->from))
			return false;
		send_to(faulty, &faulty->from, faulty->before.bytes, faulty->before.n);
		return true;
	case DATAGRAM_STRAY:
		send_to(faulty, &faulty->from, bytes, faulty->n);
		pattern_fill(any, 0, faulty->n * 1000000, bytes, faulty->n);
		break;
	default: /* LOSE, MUTE */
		return true;
	}
	send_to(faulty, &faulty->from, bytes, faulty->n);
	return true;
}

static void answer(struct faulty *faulty)
{
	faulty->count->asked++;
	if (faulty->form == DATAGRAM_CHARGEN) { /* one line of the pattern is enough */
		faulty->n = faulty->n < 72 ? faulty->n : 72;
		for (size_t i = 0; i < faulty->n; i++)
			faulty->bytes[i] = (unsigned char)(' ' + i);
	}
	if (faulty->fault != DATAGRAM_NONE && ++faulty->since >= faulty->every &&
	    faulty->count->faults < faulty->most && answer_wrongly(faulty)) {
		faulty->since = 0;
		faulty->count->faults++;
		return;
	}
	send_to(faulty, &faulty->from, faulty->bytes, faulty->n);
	if (faulty->n <= HELD_BYTES) {
		faulty->before = (struct held){.to = faulty->from, .n = faulty->n};
		memcpy(faulty->before.bytes, faulty->bytes, faulty->n);
	}
	for (struct held *held = faulty->held;
	     faulty->fault == DATAGRAM_SWAP && held < faulty->held + HELD_MAX; held++)
		if (held->n && same_socket(&held->to, &faulty->from))
			release(faulty, held);
}

static _Noreturn void serve(struct faulty *faulty)
{
	struct pollfd come = {.fd = faulty->fd, .events = POLLIN};

	for (;;) {
		socklen_t from_n = sizeof faulty->from;
		ssize_t n;

		for (struct held *held = faulty->held;
		     faulty->fault != DATAGRAM_SWAP && held < faulty->held + HELD_MAX; held++)
			if (held->n && now_ms() >= held->due_ms)
				release(faulty, held);
		if (poll(&come, 1, faulty->count->held ? 1 : -1) != 1)
			continue;
		n = recvfrom(faulty->fd, faulty->bytes, sizeof faulty->bytes, 0,
			     (struct sockaddr *)&faulty->from, &from_n);
		if (n < 0)
			continue;
		faulty->n = (size_t)n;
		answer(faulty);
	}
}

pid_t faulty_datagram_start(enum datagram_form form, enum datagram_fault fault, unsigned long every,
			    unsigned long most, unsigned *port, const struct datagram_count **count)
{
	static struct faulty faulty;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof address;
	pid_t pid;

	suite_datagrams();
	faulty = (struct faulty){.form = form, .fault = fault, .every = every, .most = most};
	faulty.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(faulty.fd, 0);
	ck_assert_int_eq(bind(faulty.fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(getsockname(faulty.fd, (struct sockaddr *)&address, &n), 0);
	*port = ntohs(address.sin_port);
	faulty.count = mmap(NULL, sizeof *faulty.count, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(faulty.count, MAP_FAILED);
	*count = faulty.count;
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(&faulty);
	}
	(void)close(faulty.fd);
	return pid;
}
