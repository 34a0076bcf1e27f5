#include "tests/support/clients/load_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reactor/base/address.h"
#include "tests/support/harness.h"

#define CLIENTS_MAX  4096
#define STREAM_BYTES 65536
#define LONG_EACH    64 /* one in so many messages is long */
#define LONG_BYTES   40000
#define SHORT_BYTES  600

struct member {
	int fd; /* -1: not connected; it connects when it is due */
	bool comer, connecting, wants_out, asked;
	size_t offset, length, sent, got;
	uint64_t began_us, due_us, count;
};

struct load_process {
	pid_t pid;
	int stop, all_served;
	struct load_figures figures;
};

/* Used only in the load's own process. */
static struct {
	struct load_process *load;
	struct load_plan plan;
	struct address address;
	int epoll;
	size_t n;
	struct member members[CLIENTS_MAX];
	unsigned char stream[STREAM_BYTES], bytes[STREAM_BYTES];
	uint64_t random, now_us, patience_us;
} own;

static uint64_t clock_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void count(uint64_t *figure)
{
	__atomic_fetch_add(figure, 1, __ATOMIC_RELAXED);
}

/* ---- one client ---- */

static void member_watch(struct member *member, int operation, bool out)
{
	struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = member};

	member->wants_out = out;
	(void)epoll_ctl(own.epoll, operation, member->fd, &event);
}

static void member_close(struct member *member, bool by_reset)
{
	if (by_reset)
		reset(member->fd);
	else
		(void)close(member->fd);
	member->fd = -1;
	member->asked = member->connecting = false;
	member->due_us = own.now_us;
}

static void member_lost(struct member *member, uint64_t *figure)
{
	count(figure);
	member_close(member, false);
	member->due_us = own.now_us + 10000; /* so that it does not spin if all are refused */
}

static void member_refused(struct member *member, int error)
{
	own.load->figures.error = error;
	member_lost(member, &own.load->figures.refused);
}

static void member_send(struct member *member)
{
	while (member->sent < member->length) {
		ssize_t n = send(member->fd, own.stream + member->offset + member->sent,
				 member->length - member->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			break; /* the next recv() says what it is */
		member->sent += (size_t)n;
	}
	if (member->wants_out != (member->sent < member->length))
		member_watch(member, EPOLL_CTL_MOD, !member->wants_out);
}

static void member_ask(struct member *member)
{
	uint64_t random = next_random(&own.random);

	member->length =
	    ++member->count % LONG_EACH == 0 ? LONG_BYTES : 1 + (size_t)(random % SHORT_BYTES);
	member->offset = (size_t)(random >> 32) % (STREAM_BYTES - member->length);
	member->sent = member->got = 0;
	member->asked = true;
	member->began_us = own.now_us;
	member_send(member);
}

static void member_come(struct member *member)
{
	member->fd =
	    socket(own.address.socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (member->fd < 0) {
		own.load->figures.error = errno;
		count(&own.load->figures.refused);
		member->due_us = own.now_us + 10000;
		return;
	}
	member->began_us = own.now_us;
	member->connecting = true;
	if (connect(member->fd, (struct sockaddr *)&own.address.socket, own.address.bytes) == 0 ||
	    errno == EINPROGRESS) {
		member_watch(member, EPOLL_CTL_ADD, true);
	} else if (errno == EAGAIN) { /* a unix socket's queue is full: tries again later */
		member_close(member, false);
		member->due_us = own.now_us + 1000;
	} else {
		member_refused(member, errno);
	}
}

static void member_answered(struct member *member)
{
	struct load_figures *figures = &own.load->figures;

	member->asked = false;
	count(&figures->messages);
	if (member->comer) {
		count(&figures->connects);
		member_close(member, member->count % 8 != 0);
		return;
	}
	if (own.now_us - member->began_us > figures->longest_us)
		figures->longest_us = own.now_us - member->began_us;
	member->due_us = own.now_us + own.plan.pause_ms * 1000;
	if (!own.plan.pause_ms && !own.load->stop)
		member_ask(member);
}

/* Reads; only the next bytes of the message may come. */
static void member_receive(struct member *member)
{
	size_t room = member->asked ? member->length - member->got : 1;
	ssize_t n = recv(member->fd, own.bytes, room, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		member_lost(member, n ? &own.load->figures.reset : &own.load->figures.ended);
		return;
	}
	if (!member->asked || (size_t)n > member->sent - member->got ||
	    memcmp(own.bytes, own.stream + member->offset + member->got, (size_t)n) != 0) {
		member_lost(member, &own.load->figures.wrong);
		return;
	}
	member->got += (size_t)n;
	if (member->got == member->length)
		member_answered(member);
}

static void member_turn(struct member *member, uint32_t events)
{
	if (member->fd < 0)
		return;
	if (member->connecting) {
		int error = 0;
		socklen_t n = sizeof error;

		(void)getsockopt(member->fd, SOL_SOCKET, SO_ERROR, &error, &n);
		if (error) {
			member_refused(member, error);
			return;
		}
		member->connecting = false;
		member_ask(member);
		return;
	}
	if (events & EPOLLOUT)
		member_send(member);
	if (events & ~(uint32_t)EPOLLOUT)
		member_receive(member);
}

/* Does what no event announces: timeouts, the end, the next connect or message. */
static void member_look(struct member *member)
{
	bool stop = own.load->stop;

	if (member->fd >= 0 && (member->asked || member->connecting)) {
		if (own.now_us - member->began_us > own.patience_us)
			member_lost(member, &own.load->figures.stuck);
	} else if (member->fd >= 0 && stop) {
		member_close(member, false);
	} else if (!stop && own.now_us >= member->due_us) {
		if (member->fd < 0)
			member_come(member);
		else
			member_ask(member);
	}
}

/* ---- the load's process ---- */

static bool all_gone(void)
{
	for (size_t i = 0; i < own.n; i++)
		if (own.members[i].fd >= 0)
			return false;
	return true;
}

static bool all_were_served(void)
{
	for (size_t i = 0; i < own.n; i++)
		if (own.members[i].count < 2 &&
		    (own.members[i].fd < 0 || own.members[i].asked || own.members[i].connecting))
			return false;
	return true;
}

static _Noreturn void load_process_run(void)
{
	struct epoll_event events[256];
	uint64_t looked_us = 0;

	while (!own.load->stop || !all_gone()) {
		int n = epoll_wait(own.epoll, events, 256, 1);

		own.now_us = clock_us();
		for (int i = 0; i < n; i++)
			member_turn(events[i].data.ptr, events[i].events);
		if (!own.plan.comers && own.now_us - looked_us < 1000)
			continue;
		looked_us = own.now_us;
		for (size_t i = 0; i < own.n; i++)
			member_look(&own.members[i]);
		if (!own.load->all_served && all_were_served())
			own.load->all_served = 1;
	}
	_exit(0);
}

static _Noreturn void become_load_process(const struct load_plan *plan)
{
	const char *why;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	raise_descriptor_limit();
	own.plan = *plan;
	own.random = 1 + (uint64_t)getpid();
	own.patience_us = 2000 * (uint64_t)patience_ms();
	own.n = plan->talkers + plan->comers;
	own.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!address_parse(&own.address, plan->address, &why))
		_exit(1);
	fill_random(own.stream, sizeof own.stream, 7);
	for (size_t i = 0; i < own.n; i++) {
		own.members[i].fd = -1;
		own.members[i].comer = i >= plan->talkers;
	}
	load_process_run();
}

/* ---- for the test ---- */

struct load_process *load_process_start(const struct load_plan *plan)
{
	struct wait wait = wait_begin();
	struct load_process *load =
	    mmap(NULL, sizeof *load, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	ck_assert_ptr_ne(load, MAP_FAILED);
	ck_assert_uint_le(plan->talkers + plan->comers, CLIENTS_MAX);
	own.load = load;
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		become_load_process(plan);
	load->pid = pid;
	while (!__atomic_load_n(&load->all_served, __ATOMIC_RELAXED))
		wait_more(&wait, "clients to be served");
	return load;
}

struct load_figures load_process_now(const struct load_process *load)
{
	return *(const volatile struct load_figures *)&load->figures;
}

void load_process_wait(const struct load_process *load, uint64_t messages, uint64_t connects)
{
	struct load_figures begin = load_process_now(load), now = begin;
	struct wait wait = wait_begin();

	while (now.messages - begin.messages < messages ||
	       now.connects - begin.connects < connects) {
		wait_more(&wait, "clients' messages and connects");
		now = load_process_now(load);
	}
}

struct load_figures load_process_end(struct load_process *load)
{
	int status;

	__atomic_store_n(&load->stop, 1, __ATOMIC_RELAXED);
	ck_assert_int_eq(waitpid(load->pid, &status, 0), load->pid);
	ck_assert_int_eq(status, 0);
	return load->figures;
}

void load_process_is_well(const struct load_figures *figures)
{
	ck_assert_msg(!figures->refused && !figures->ended && !figures->reset && !figures->wrong &&
			  !figures->stuck,
		      "of %llu messages and %llu connects: refused %llu (%s), ended %llu, reset "
		      "%llu, wrong %llu, stuck %llu",
		      (unsigned long long)figures->messages, (unsigned long long)figures->connects,
		      (unsigned long long)figures->refused, strerror(figures->error),
		      (unsigned long long)figures->ended, (unsigned long long)figures->reset,
		      (unsigned long long)figures->wrong, (unsigned long long)figures->stuck);
}

void load_process_ends_well(struct load_process *load, const char *what)
{
	struct load_figures figures = load_process_end(load);

	load_process_is_well(&figures);
	(void)printf("FIGURE %s: %llu messages, %llu connects, 0 lost; longest wait %.1f ms\n",
		     what, (unsigned long long)figures.messages,
		     (unsigned long long)figures.connects, (double)figures.longest_us / 1000);
	(void)fflush(stdout);
}
