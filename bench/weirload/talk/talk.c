#include "bench/weirload/talk/talk.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/weirload/talk/talk_datagram.h"
#include "bench/weirload/talk/talk_output.h"
#include "bench/weirload/talk/talk_stream.h"

static enum form form_of(const char *protocol)
{
	static const struct {
		const char *protocol;
		enum form form;
	} forms[] = {{"echo", FORM_BYTES},
		     {"line", FORM_LINES},
		     {"frame", FORM_FRAMES},
		     {"increment", FORM_INCREMENT},
		     {"discard", FORM_SILENT}};

	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
		if (strcmp(forms[i].protocol, protocol) == 0)
			return forms[i].form;
	return FORM_OTHER;
}

static int open_socket(const struct address *address, bool datagrams)
{
	int fd = socket(address->socket.ss_family,
			(datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return -errno;
	if (!datagrams && !address_is_unix(address))
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(fd, (const struct sockaddr *)&address->socket, address->bytes) < 0 ||
	    fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		int error = errno;

		(void)close(fd);
		return -error;
	}
	return fd;
}

int talk(const struct endpoint *endpoint)
{
	static struct talk state;
	char address[ADDRESS_TEXT_BYTES], name[ENDPOINT_TEXT_BYTES];
	int status;

	address_format(&endpoint->address, address);
	(void)snprintf(name, sizeof name, "%s%s://%s", endpoint->protocol->name,
		       endpoint->datagrams ? "+udp" : "", address);
	state = (struct talk){.name = name, .form = form_of(endpoint->protocol->name)};
	(void)signal(SIGPIPE, SIG_IGN);
	state.fd = open_socket(&endpoint->address, endpoint->datagrams);
	if (state.fd < 0)
		return talk_output_complain(&state, "connect: %s", strerror(-state.fd));
	status = endpoint->datagrams ? talk_datagram(&state) : talk_stream(&state);
	(void)close(state.fd);
	free(state.queue.at);
	free(state.print.at);
	return status;
}
