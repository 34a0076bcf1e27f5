/*
 * libevent: an echo server on libevent 2.1, as its users write one: an evconnlistener, and a
 * bufferevent for every connection. One thread, epoll, level-triggered.
 *
 * What has come moves from the input buffer to the output buffer without a copy, and is written in
 * the next round of the loop. So a message costs epoll_wait, ioctl (how much is there?), readv,
 * epoll_ctl, epoll_wait, writev, epoll_ctl. A read takes 4 KiB at most, a limit that 2.1 has no
 * option for. If more than HIGH_WATER bytes are owed to a peer it does not read from that peer
 * until they are gone. After the peer's FIN all that is owed is sent before the connection is
 * closed. No timeouts, and no limit to the memory of all connections together.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/peers/peer.h"

#define HIGH_WATER 262144

static const struct timeval accept_again_after = {0, 100000};

static void on_read(struct bufferevent *peer, void *unused);
static void on_event(struct bufferevent *peer, short what, void *unused);

/* All that was owed is sent: read again. */
static void on_drained(struct bufferevent *peer, void *unused)
{
	(void)unused;
	bufferevent_setcb(peer, on_read, NULL, on_event, NULL);
	(void)bufferevent_enable(peer, EV_READ);
}

static void on_finished(struct bufferevent *peer, void *unused)
{
	(void)unused;
	bufferevent_free(peer);
}

static void on_read(struct bufferevent *peer, void *unused)
{
	struct evbuffer *output = bufferevent_get_output(peer);

	(void)unused;
	(void)evbuffer_add_buffer(output, bufferevent_get_input(peer));
	if (evbuffer_get_length(output) > HIGH_WATER) {
		(void)bufferevent_disable(peer, EV_READ);
		bufferevent_setcb(peer, on_read, on_drained, on_event, NULL);
	}
}

static void on_event(struct bufferevent *peer, short what, void *unused)
{
	(void)unused;
	if ((what & BEV_EVENT_EOF) && evbuffer_get_length(bufferevent_get_output(peer)))
		bufferevent_setcb(peer, NULL, on_finished, on_event, NULL);
	else if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		bufferevent_free(peer);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
		      int address_n, void *base)
{
	struct bufferevent *peer = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

	(void)listener, (void)address, (void)address_n;
	if (!peer) {
		(void)evutil_closesocket(fd);
		return;
	}
	bufferevent_setcb(peer, on_read, NULL, on_event, NULL);
	(void)bufferevent_enable(peer, EV_READ | EV_WRITE);
}

static void on_accept_again(evutil_socket_t fd, short what, void *listener)
{
	(void)fd, (void)what;
	(void)evconnlistener_enable(listener);
}

/* Out of descriptors: the listener stays readable, so it is disabled for a while. */
static void on_accept_error(struct evconnlistener *listener, void *base)
{
	perror("accept");
	(void)evconnlistener_disable(listener);
	(void)event_base_once(base, -1, EV_TIMEOUT, on_accept_again, listener, &accept_again_after);
}

int main(int argc, char **argv)
{
	struct evconnlistener *listener;
	struct event_base *base;
	struct address address;

	peer_begin(&address, argc, argv, "echo");
	base = event_base_new();
	if (!base)
		peer_fail("event_base_new", "epoll", errno);
	listener = evconnlistener_new_bind(
	    base, on_accept, base,
	    LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, PEER_BACKLOG,
	    (struct sockaddr *)&address.socket, (int)address.bytes);
	if (!listener)
		peer_fail("listen", argv[1], errno);
	evconnlistener_set_error_cb(listener, on_accept_error);
	peer_no_delay(evconnlistener_get_fd(listener));
	peer_ready(evconnlistener_get_fd(listener));
	(void)event_base_dispatch(base);
	return 1;
}
