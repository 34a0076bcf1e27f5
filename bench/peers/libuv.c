/*
 * libuv: an echo server on libuv 1, with the callbacks of its guide: memory from malloc for each
 * read, a write request for each piece, both freed when it is written. One thread (the pool of
 * threads is for files and names, and is never started), epoll.
 *
 * uv_write tries to write at once, so a message costs epoll_wait, read, write (and in 1.44 an
 * epoll_ctl that changes nothing). A read offers 64 KiB, which glibc's malloc may get from the
 * kernel and give back each time (brk, page faults). If more than HIGH_WATER bytes are owed to a
 * peer it does not read from that peer until no more than LOW_WATER are. After the peer's FIN all
 * that is owed is sent before the connection is closed (uv_shutdown). No timeouts, and no limit to
 * the memory of all connections together. When descriptors are used up libuv itself closes new
 * connections.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "bench/peers/peer.h"

#define HIGH_WATER 262144
#define LOW_WATER  65536

struct peer {
	uv_tcp_t handle; /* first, so that a pointer to one is a pointer to the other */
	bool paused;
};

struct write {
	uv_write_t request;
	char *bytes;
};

static void on_read(uv_stream_t *peer, ssize_t n, const uv_buf_t *buffer);

static void on_closed(uv_handle_t *peer)
{
	free(peer);
}

static void end(uv_stream_t *peer)
{
	if (!uv_is_closing((uv_handle_t *)peer))
		uv_close((uv_handle_t *)peer, on_closed);
}

static void on_buffer(uv_handle_t *peer, size_t suggested, uv_buf_t *buffer)
{
	(void)peer;
	buffer->base = malloc(suggested);
	buffer->len = buffer->base ? suggested : 0;
}

static void on_written(uv_write_t *request, int status)
{
	struct write *write = (struct write *)request;
	uv_stream_t *stream = request->handle;
	struct peer *peer = (struct peer *)stream;

	free(write->bytes);
	free(write);
	if (status < 0) {
		end(stream);
	} else if (peer->paused && uv_stream_get_write_queue_size(stream) <= LOW_WATER) {
		peer->paused = false;
		(void)uv_read_start(stream, on_buffer, on_read);
	}
}

static void on_shut_down(uv_shutdown_t *request, int status)
{
	(void)status;
	end(request->handle);
	free(request);
}

/* The peer sends nothing more; uv_shutdown waits until what is owed has been sent. */
static void finish(uv_stream_t *peer)
{
	uv_shutdown_t *request = malloc(sizeof *request);

	(void)uv_read_stop(peer);
	if (!request || uv_shutdown(request, peer, on_shut_down) < 0) {
		free(request);
		end(peer);
	}
}

static void on_read(uv_stream_t *peer, ssize_t n, const uv_buf_t *buffer)
{
	struct write *write = n > 0 ? malloc(sizeof *write) : NULL;
	uv_buf_t bytes = uv_buf_init(buffer->base, n > 0 ? (unsigned)n : 0);

	if (write) {
		write->bytes = buffer->base;
		if (uv_write(&write->request, peer, &bytes, 1, on_written) == 0) {
			if (uv_stream_get_write_queue_size(peer) > HIGH_WATER) {
				((struct peer *)peer)->paused = true;
				(void)uv_read_stop(peer);
			}
			return;
		}
	}
	free(write);
	free(buffer->base);
	if (n == UV_EOF)
		finish(peer);
	else if (n != 0)
		end(peer);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct peer *peer;

	if (status < 0) {
		(void)fprintf(stderr, "accept: %s\n", uv_strerror(status));
		return;
	}
	peer = calloc(1, sizeof *peer);
	if (!peer)
		return;
	(void)uv_tcp_init(listener->loop, &peer->handle);
	if (uv_accept(listener, (uv_stream_t *)peer) < 0 ||
	    uv_read_start((uv_stream_t *)peer, on_buffer, on_read) < 0)
		end((uv_stream_t *)peer);
}

int main(int argc, char **argv)
{
	uv_loop_t *loop = uv_default_loop();
	struct address address;
	uv_tcp_t listener;
	uv_os_fd_t fd = -1;
	int error;

	peer_begin(&address, argc, argv, "echo");
	(void)uv_tcp_init(loop, &listener);
	error = uv_tcp_bind(&listener, (const struct sockaddr *)&address.socket, 0);
	if (error)
		peer_fail("bind", argv[1], -error);
	/* Accepted sockets inherit it. */
	(void)uv_tcp_nodelay(&listener, 1);
	error = uv_listen((uv_stream_t *)&listener, PEER_BACKLOG, on_connection);
	if (error)
		peer_fail("listen", argv[1], -error);
	(void)uv_fileno((uv_handle_t *)&listener, &fd);
	peer_ready(fd);
	return uv_run(loop, UV_RUN_DEFAULT);
}
