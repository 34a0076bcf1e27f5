#include "bench/designs/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/base/descriptor.h"
#include "reactor/loop/listener.h"
#include "reactor/base/log.h"
#include "worker/config/config.h"

#define BACKLOG 4096
#define WORKERS_MOST                                                                               \
	10000 /* more than weir's WORKERS_MAX: some designs need one for each connection */

/* ---- the command line ---- */

static _Noreturn void usage(const struct serve *serve, const char *why)
{
	(void)fprintf(stderr, "%s: %s\nusage: %s %sPROTOCOL%s://HOST:PORT, PROTOCOL being %s\n",
		      program_invocation_short_name, why, program_invocation_short_name,
		      serve->workers ? "[-w WORKERS] " : "", serve->udp ? "+udp" : "",
		      serve->chat	 ? "chat"
		      : serve->echo_only ? "echo"
					 : "echo or increment");
	exit(2);
}

const struct protocol *serve_protocol(const char *name)
{
	if (strcmp(name, "echo") != 0 && strcmp(name, "increment") != 0)
		return NULL;
	return protocol_find(name);
}

/* NULL: this design does not serve it. */
static const struct protocol *served(const struct serve *serve, const char *name)
{
	if (serve->chat)
		return strcmp(name, "chat") == 0 ? protocol_find(name) : NULL;
	if (serve->echo_only && strcmp(name, "echo") != 0)
		return NULL;
	return serve_protocol(name);
}

static void parse_listener(struct serve *serve, const char *text)
{
	char error[CONFIG_ERROR_BYTES + 128];

	if (!endpoint_parse(&serve->endpoint, text, error, sizeof error))
		usage(serve, error);
	if (serve->endpoint.datagrams != serve->udp)
		usage(serve, serve->udp ? "it serves datagrams only" : "it serves no datagrams");
	if (strchr(text, '?'))
		usage(serve, "its listener takes no keys");
	if (address_is_unix(&serve->endpoint.address))
		usage(serve, "its address is HOST:PORT");
	serve->service.protocol = served(serve, serve->endpoint.protocol->name);
	if (!serve->service.protocol)
		usage(serve, "it does not serve this protocol");
}

static void parse(struct serve *serve, int argc, char **argv)
{
	uint64_t workers;
	int letter;

	while ((letter = getopt(argc, argv, serve->workers ? "w:" : "")) != -1) {
		if (letter != 'w')
			usage(serve, "wrong usage");
		if (!number_parse(optarg, &workers) || !workers || workers > WORKERS_MOST)
			usage(serve, "-w takes a number from 1 to 10000");
		serve->workers = (unsigned)workers;
	}
	if (argc - optind != 1)
		usage(serve, "it takes one LISTENER");
	parse_listener(serve, argv[optind]);
}

/* ---- the socket ---- */

static _Noreturn void cannot(const struct serve *serve, const char *step, int error)
{
	char listener[ENDPOINT_TEXT_BYTES];

	endpoint_format(&serve->endpoint, listener);
	die("%s: %s: %s", listener, step, strerror(error));
}

/* Without SO_REUSEADDR: with it a second server could bind the same port, and get the datagrams of
 * the first. */
static int bind_datagrams(struct serve *serve)
{
	struct address *address = &serve->endpoint.address;
	socklen_t n = sizeof address->socket;
	int both = 0, fd = socket(address->socket.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		cannot(serve, "socket", errno);
	if (address->dual_stack)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both);
	if (bind(fd, (struct sockaddr *)&address->socket, address->bytes) < 0)
		cannot(serve, "bind", errno);
	(void)getsockname(fd, (struct sockaddr *)&address->socket, &n);
	return fd;
}

int serve_listen(struct serve *serve)
{
	struct listen_options options = {.backlog = BACKLOG, .reuseport = serve->reuseport};
	const char *step;
	int fd = listen_on(&serve->endpoint.address, &options, &step);

	if (fd < 0)
		cannot(serve, step, -fd);
	if (!serve->nonblocking && fcntl(fd, F_SETFL, 0) < 0)
		cannot(serve, "fcntl", errno);
	return fd;
}

void serve_open(struct serve *serve, int argc, char **argv)
{
	log_name(program_invocation_short_name);
	log_open(LOG_INFO, LOG_LOGFMT);
	parse(serve, argc, argv);
	(void)descriptors_raise_limit();
	(void)signal(SIGPIPE, SIG_IGN);
	serve->fd = serve->udp ? bind_datagrams(serve) : serve_listen(serve);
}

void serve_ready(const struct serve *serve)
{
	char listener[ENDPOINT_TEXT_BYTES];

	endpoint_format(&serve->endpoint, listener);
	log_info("ready", LOG_NUMBER("pid", getpid()), LOG_TEXT("listeners", listener));
}

/* ---- accepting ---- */

void serve_trouble(const char *step, int error)
{
	static time_t told;
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	if (told && now.tv_sec == told)
		return;
	told = now.tv_sec;
	log_warn(step, LOG_TEXT("error", strerror(error)));
}

int serve_try_accept(int listener, int flags)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, flags);

		if (fd >= 0)
			return fd;
		switch (errno) {
		case EMFILE:
		case ENFILE:
		case ENOBUFS:
		case ENOMEM:
			serve_trouble("no room to accept", errno);
			return -errno;
		case EAGAIN:
			return -EAGAIN;
		case EBADF:
		case EINVAL:
		case ENOTSOCK:
			die("accept: %s", strerror(errno));
		default: /* a connection that has gone already, or EINTR: see accept(2) */
			break;
		}
	}
}

int serve_accept(const struct serve *serve)
{
	int fd;

	while ((fd = serve_try_accept(serve->fd, SOCK_CLOEXEC)) < 0)
		(void)poll(NULL, 0, SERVE_RETRY_MS);
	return fd;
}
