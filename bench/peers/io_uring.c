/*
 * io_uring: an echo server on liburing 2.3 (Linux 6.0 or newer): one multishot accept, a multishot
 * recv for each connection into buffers that all share, and a send from the buffer that was filled.
 * One ring, one thread. One io_uring_enter hands in requests and takes completions, so that under
 * load one call serves many messages. A lone message costs two: one brings it, one says that its
 * reply was sent. Not used: registered files, zero-copy, polling threads.
 *
 * A connection has one send under way, so that bytes keep their order. When PENDING_MAX buffers
 * wait to be sent its recv is cancelled until half of them are gone. When all buffers are in use
 * recv ends, and begins again when one comes back; some 32 peers that never read can hold all
 * buffers, and then everybody waits. After the peer's FIN all that is owed is sent before the
 * connection is closed. No timeouts.
 */
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/peers/peer.h"

#define SQ_ENTRIES   4096
#define CQ_ENTRIES   16384
#define BUFFERS	     256 /* a power of two; with more of them fewer are in the CPU's caches */
#define BUFFER_BYTES 16384
#define BUFFER_GROUP 0
#define PENDING_MAX  8
#define NONE	     UINT16_MAX

enum operation { ACCEPT, ACCEPT_AGAIN, RECV, SEND, CANCEL, CLOSE };

struct connection {
	uint16_t first, last, pending; /* buffers that wait to be sent, and their number */
	uint32_t sent;		       /* how much of the first buffer has been sent */
	int next_starved;	       /* descriptor of the next one that waits for a buffer */
	bool receiving, cancelling, sending, starved, ended;
};

static struct io_uring ring;
static struct io_uring_buf_ring *free_buffers;
static unsigned char *memory;
static struct {
	uint32_t n;    /* bytes in it */
	uint16_t next; /* the next buffer of the same connection */
} buffers[BUFFERS];
static struct connection *connections; /* by descriptor */
static unsigned buffers_used;
static int starved_first = -1, starved_last;
static struct __kernel_timespec accept_again_after = {.tv_nsec = 100000000};

static struct io_uring_sqe *request(enum operation operation, int fd)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	while (!sqe) {
		(void)io_uring_submit(&ring);
		sqe = io_uring_get_sqe(&ring);
	}
	/* The prep functions of liburing 2.3 leave user_data as it is. */
	io_uring_sqe_set_data64(sqe, (uint64_t)operation << 32 | (uint32_t)fd);
	return sqe;
}

static uint64_t recv_of(int fd)
{
	return (uint64_t)RECV << 32 | (uint32_t)fd;
}

static void begin_accept(int listener)
{
	io_uring_prep_multishot_accept(request(ACCEPT, listener), listener, NULL, NULL,
				       SOCK_CLOEXEC);
}

static void begin_recv(int fd)
{
	struct io_uring_sqe *sqe = request(RECV, fd);

	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUFFER_GROUP;
	connections[fd].receiving = true;
}

/* The kernel sends all of it, or says why not. */
static void begin_send(int fd)
{
	struct connection *connection = &connections[fd];
	uint16_t buffer = connection->first;

	io_uring_prep_send(request(SEND, fd), fd,
			   memory + (size_t)buffer * BUFFER_BYTES + connection->sent,
			   buffers[buffer].n - connection->sent, MSG_WAITALL | MSG_NOSIGNAL);
	connection->sending = true;
}

static void give_back(uint16_t buffer)
{
	io_uring_buf_ring_add(free_buffers, memory + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES,
			      buffer, io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(free_buffers, 1);
}

static void starve(int fd)
{
	connections[fd].starved = true;
	connections[fd].next_starved = -1;
	if (starved_first < 0)
		starved_first = fd;
	else
		connections[starved_last].next_starved = fd;
	starved_last = fd;
}

static void sent_first(struct connection *connection)
{
	uint16_t buffer = connection->first;

	connection->first = buffers[buffer].next;
	connection->pending--;
	connection->sent = 0;
	buffers_used--;
	give_back(buffer);
}

/* What this connection does next, after one of its requests is done. */
static void go_on(int fd)
{
	struct connection *connection = &connections[fd];

	if (connection->pending && !connection->sending)
		begin_send(fd);
	if (connection->receiving) {
		if (connection->pending >= PENDING_MAX && !connection->cancelling) {
			io_uring_prep_cancel64(request(CANCEL, fd), recv_of(fd), 0);
			connection->cancelling = true;
		}
	} else if (connection->ended) {
		if (!connection->pending && !connection->sending && !connection->starved)
			io_uring_prep_close(request(CLOSE, fd), fd);
	} else if (!connection->starved && connection->pending < PENDING_MAX / 2) {
		begin_recv(fd);
	}
}

/* Starts recv again for as many connections as there are free buffers: each connection without a
 * buffer has something to read. */
static void feed(void)
{
	for (unsigned n = buffers_used; n < BUFFERS && starved_first >= 0; n++) {
		int fd = starved_first;

		starved_first = connections[fd].next_starved;
		connections[fd].starved = false;
		go_on(fd);
	}
}

static void accepted(int listener, const struct io_uring_cqe *cqe)
{
	if (cqe->res >= 0) {
		connections[cqe->res] = (struct connection){0};
		begin_recv(cqe->res);
	} else {
		(void)fprintf(stderr, "accept: %s\n", strerror(-cqe->res));
	}
	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	if (cqe->res >= 0)
		begin_accept(listener);
	else
		io_uring_prep_timeout(request(ACCEPT_AGAIN, listener), &accept_again_after, 0, 0);
}

static void received(int fd, const struct io_uring_cqe *cqe)
{
	struct connection *connection = &connections[fd];

	if (!(cqe->flags & IORING_CQE_F_MORE))
		connection->receiving = connection->cancelling = false;
	if (cqe->res > 0) {
		uint16_t buffer = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);

		buffers[buffer].n = (uint32_t)cqe->res;
		buffers[buffer].next = NONE;
		if (connection->pending++)
			buffers[connection->last].next = buffer;
		else
			connection->first = buffer;
		connection->last = buffer;
		buffers_used++;
	} else if (cqe->res == -ENOBUFS) {
		starve(fd);
	} else if (cqe->res != -ECANCELED) {
		connection->ended = true;
	}
	go_on(fd);
}

static void sent(int fd, const struct io_uring_cqe *cqe)
{
	struct connection *connection = &connections[fd];

	connection->sending = false;
	if (cqe->res < 0) {
		/* Nothing can be sent any more, so nothing is to be read either. */
		(void)shutdown(fd, SHUT_RDWR);
		connection->ended = true;
		while (connection->pending)
			sent_first(connection);
	} else {
		connection->sent += (uint32_t)cqe->res;
		if (connection->sent == buffers[connection->first].n)
			sent_first(connection);
	}
	go_on(fd);
}

static void done(const struct io_uring_cqe *cqe)
{
	uint64_t data = io_uring_cqe_get_data64(cqe);
	int fd = (int)(uint32_t)data;

	switch ((enum operation)(data >> 32)) {
	case ACCEPT:
		accepted(fd, cqe);
		break;
	case ACCEPT_AGAIN:
		begin_accept(fd);
		break;
	case RECV:
		received(fd, cqe);
		break;
	case SEND:
		sent(fd, cqe);
		break;
	case CANCEL:
	case CLOSE:
		break;
	}
}

static void make_ring(void)
{
	struct io_uring_params params = {
	    .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	    .cq_entries = CQ_ENTRIES,
	};
	int error = io_uring_queue_init_params(SQ_ENTRIES, &ring, &params);

	if (error == -EINVAL) {
		/* Kernels before 6.1 do not know the flags for a single thread. */
		params = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE,
						  .cq_entries = CQ_ENTRIES};
		error = io_uring_queue_init_params(SQ_ENTRIES, &ring, &params);
	}
	if (error == -EPERM || error == -ENOSYS)
		peer_fail("io_uring_setup",
			  "refused (sysctl kernel.io_uring_disabled, seccomp or an old kernel)",
			  -error);
	if (error)
		peer_fail("io_uring_setup", "ring", -error);
}

static void *map(size_t bytes, const char *what)
{
	void *memory_new = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory_new == MAP_FAILED)
		peer_fail("mmap", what, errno);
	return memory_new;
}

static void make_buffers(void)
{
	struct io_uring_buf_reg registration = {.ring_entries = BUFFERS, .bgid = BUFFER_GROUP};
	int error;

	memory = map((size_t)BUFFERS * BUFFER_BYTES, "buffers");
	free_buffers = map(BUFFERS * sizeof(struct io_uring_buf), "the ring of free buffers");
	registration.ring_addr = (uintptr_t)free_buffers;
	error = io_uring_register_buf_ring(&ring, &registration, 0);
	if (error)
		peer_fail("io_uring_register_buf_ring", "(Linux 5.19 or newer)", -error);
	io_uring_buf_ring_init(free_buffers);
	for (unsigned i = 0; i < BUFFERS; i++)
		give_back((uint16_t)i);
}

int main(int argc, char **argv)
{
	struct address address;
	struct rlimit limit;
	int listener;

	peer_begin(&address, argc, argv, "echo");
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	connections = map(limit.rlim_cur * sizeof *connections, "connections");
	make_ring();
	make_buffers();
	listener = peer_listen(&address, argv[1], 0);
	begin_accept(listener);
	peer_ready(listener);
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;
		int error = io_uring_submit_and_wait(&ring, 1);

		if (error < 0 && error != -EINTR && error != -EBUSY && error != -EAGAIN)
			peer_fail("io_uring_enter", argv[1], -error);
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			done(cqe);
			n++;
		}
		io_uring_cq_advance(&ring, n);
		feed();
	}
}
