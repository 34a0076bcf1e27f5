/* The simulated kernel's descriptors, and what epoll reports about them. */
#include "tests/support/sim/kernel_parts.h"

#define FDS_MAX 4096

static struct {
	struct object objects[FDS_MAX];
	int ready[FDS_MAX]; /* indices of objects whose registrations are queued */
} sim;

/* ---- descriptors ---- */

struct object *object_of(int fd)
{
	struct object *object;

	if (!kernel_is_simulated() || fd < KERNEL_FD_FIRST)
		return NULL;
	EXPECT(fd < KERNEL_FD_FIRST + FDS_MAX);
	object = &sim.objects[fd - KERNEL_FD_FIRST];
	EXPECT_MSG(object->kind != NOTHING, "a call on descriptor %d, which is closed", fd);
	return object;
}

bool descriptors_used_up(void)
{
	return kernel.descriptors_max && kernel.descriptors >= kernel.descriptors_max;
}

int object_new(enum kind kind)
{
	if (descriptors_used_up()) {
		errno = EMFILE;
		return -1;
	}
	for (int i = 0; i < FDS_MAX; i++) {
		if (sim.objects[i].kind != NOTHING)
			continue;
		sim.objects[i] = (struct object){.kind = kind};
		kernel.descriptors++;
		return KERNEL_FD_FIRST + i;
	}
	ck_abort_msg("more than %d descriptors", FDS_MAX);
}

/* ---- epoll ---- */

static uint32_t object_poll(struct object *object)
{
	struct peer *peer = object->peer;
	uint32_t events = 0;

	if (object->kind == LISTENER)
		return object->backlog ? EPOLLIN : 0;
	if (object->kind == DOORBELL)
		return object->count ? EPOLLIN | EPOLLOUT : EPOLLOUT;
	if (object->kind != STREAM)
		return 0;
	if (peer->unconnected && peer->connecting)
		return 0;
	if (peer->unconnected)
		return peer->refused ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR
				     : EPOLLOUT | EPOLLHUP;
	if (peer->in.n || peer->finished || peer->was_reset)
		events |= EPOLLIN;
	if (peer->finished || peer->was_reset)
		events |= EPOLLRDHUP;
	if ((peer->finished && peer->shut) || peer->was_reset)
		events |= EPOLLHUP;
	if (peer->error)
		events |= EPOLLERR;
	if (peer->shut || peer->was_reset || peer_writable(peer))
		events |= EPOLLOUT;
	else
		peer->nospace = true;
	return events;
}

static void object_queue(struct object *object)
{
	if (object->queued)
		return;
	object->queued = true;
	sim.ready[kernel.ready_n++] = (int)(object - sim.objects);
}

void object_wake(struct object *object, uint32_t key)
{
	if (object->events && (!key || (key & (object->events | EPOLLERR | EPOLLHUP))))
		object_queue(object);
}

static void object_forget(struct object *object)
{
	size_t kept = 0;

	for (size_t i = 0; i < kernel.ready_n; i++)
		if (&sim.objects[sim.ready[i]] != object)
			sim.ready[kept++] = sim.ready[i];
	kernel.ready_n = kept;
	object->queued = false;
	object->events = 0;
}

void object_end(struct object *object)
{
	object_forget(object);
	object->kind = NOTHING;
	kernel.descriptors--;
}

static int sim_epoll_create1(int flags)
{
	(void)flags;
	return object_new(EPOLL);
}

static int sim_epoll_ctl(int ep, int op, int fd, struct epoll_event *event)
{
	struct object *object = object_of(fd);

	EXPECT(object && object_of(ep)->kind == EPOLL);
	if (op == EPOLL_CTL_ADD && object->events)
		return refuse(EEXIST);
	if (op != EPOLL_CTL_ADD && !object->events)
		return refuse(ENOENT);
	if (op == EPOLL_CTL_DEL) {
		object_forget(object);
		return 0;
	}
	if (op == EPOLL_CTL_ADD && kernel.watches_used_up)
		return refuse(ENOSPC);
	if (op == EPOLL_CTL_MOD && ((object->events | event->events) & EPOLLEXCLUSIVE))
		return refuse(EINVAL);
	if ((event->events & EPOLLEXCLUSIVE) && (event->events & EPOLLRDHUP))
		return refuse(EINVAL);
	EXPECT(!object->events || object->ep == ep);
	object->ep = ep;
	object->events = event->events | EPOLLERR | EPOLLHUP;
	object->data = event->data;
	if (object_poll(object) & object->events)
		object_queue(object);
	return 0;
}

static int sim_epoll_wait(int ep, struct epoll_event *events, int max, int timeout_ms)
{
	size_t n_before = kernel.ready_n, kept = 0, again_n = 0;
	static int again[FDS_MAX];
	int n = 0;

	EXPECT(object_of(ep)->kind == EPOLL);
	kernel.wait_asked = timeout_ms;
	for (size_t i = 0; i < n_before; i++) {
		struct object *object = &sim.objects[sim.ready[i]];
		uint32_t now;

		if (object->ep != ep || n == max) {
			sim.ready[kept++] = sim.ready[i];
			continue;
		}
		object->queued = false;
		now = object_poll(object) & object->events;
		if (!now)
			continue;
		events[n++] = (struct epoll_event){.events = now, .data = object->data};
		if (!(object->events & EPOLLET))
			again[again_n++] = sim.ready[i];
	}
	kernel.ready_n = kept;
	for (size_t i = 0; i < again_n; i++)
		object_queue(&sim.objects[again[i]]);
	if (!n && timeout_ms > 0)
		kernel.now_us += (uint64_t)timeout_ms * 1000;
	return n;
}

static int sim_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	EXPECT(n == 1 && timeout_ms == 0);
	fds->revents = (short)((int)object_poll(object_of(fds->fd)) & fds->events);
	return fds->revents != 0;
}

/* ---- doorbells ---- */

static int sim_eventfd(unsigned int value, int flags)
{
	(void)value;
	(void)flags;
	return object_new(DOORBELL);
}

void kernel_descriptors_begin(struct sys_kernel *calls)
{
	memset(&sim, 0, sizeof sim);
	calls->epoll_create1 = sim_epoll_create1;
	calls->epoll_ctl = sim_epoll_ctl;
	calls->epoll_wait = sim_epoll_wait;
	calls->poll = sim_poll;
	calls->eventfd = sim_eventfd;
}
