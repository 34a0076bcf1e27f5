#include "bench/weirload/talk/talk_datagram.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/weirload/talk/talk_output.h"
#include "reactor/base/sys.h"

#define DATAGRAM_BYTES	     65536
#define DATAGRAMS_OWED_MAX   32 /* unanswered; more might overflow the server's queue */
#define DATAGRAM_PATIENCE_MS 2000
#define DATAGRAM_STALL_MS    100 /* if nothing comes for so long, they are taken for lost */

static uint64_t now_ms(void)
{
	return sys_clock_us() / 1000;
}

/* How long the first line of the queue is, with its \n; 0 if it is not whole. */
static size_t line_bytes(const struct talk *talk)
{
	const unsigned char *begin = talk->queue.at + talk->queue.begin;
	size_t n = byte_queue_n(&talk->queue);
	const unsigned char *newline = n ? memchr(begin, '\n', n) : NULL;

	if (newline)
		return (size_t)(newline - begin) + 1;
	return talk->input_ended ? n : 0;
}

static int datagram_send(struct talk *talk, size_t n)
{
	unsigned char bytes[DATAGRAM_BYTES + 2];
	const unsigned char *line = talk->queue.at + talk->queue.begin;
	size_t bytes_sent = n;

	if (n > DATAGRAM_BYTES)
		return -EMSGSIZE;
	if (talk->form == FORM_INCREMENT) {
		size_t text_n = n - (line[n - 1] == '\n');

		bytes[0] = '^';
		memcpy(bytes + 1, line, text_n);
		bytes[1 + text_n] = '$';
		bytes_sent = text_n + 2;
	} else {
		memcpy(bytes, line, n);
	}
	if (send(talk->fd, bytes, bytes_sent, MSG_NOSIGNAL) < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	byte_queue_take(&talk->queue, n);
	talk->sent++;
	return 1;
}

static int datagram_read(struct talk *talk)
{
	unsigned char bytes[DATAGRAM_BYTES];
	ssize_t n = recv(talk->fd, bytes, sizeof bytes, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	byte_queue_add(&talk->print, bytes, (size_t)n);
	if (!n || bytes[n - 1] != '\n')
		byte_queue_add(&talk->print, "\n", 1);
	talk->received++;
	return 1;
}

/* Reads lines into the queue unchanged: a line becomes a datagram when it is sent. */
static void datagram_input(struct talk *talk)
{
	ssize_t n = read(STDIN_FILENO, byte_queue_room(&talk->queue, READ_BYTES), READ_BYTES);

	if (n > 0)
		talk->queue.end += (size_t)n;
	else if (n == 0 || errno != EINTR)
		talk->input_ended = true;
}

static int end_status(const struct talk *talk)
{
	if (talk->form == FORM_SILENT || talk->received >= talk->sent)
		return 0;
	return talk_output_complain(talk, "%llu of %llu datagrams were not answered",
				    (unsigned long long)(talk->sent - talk->received),
				    (unsigned long long)talk->sent);
}

int talk_datagram(struct talk *talk)
{
	uint64_t moved_ms = now_ms(), forgiven = 0;

	for (;;) {
		uint64_t idle_ms = now_ms() - moved_ms;
		size_t line = line_bytes(talk);
		bool answers = talk->form != FORM_SILENT, sends, waits;
		int result = 0;

		if (!line && byte_queue_n(&talk->queue) > DATAGRAM_BYTES)
			return talk_output_complain(talk, "a line is too long for a datagram");
		if (idle_ms >= DATAGRAM_STALL_MS)
			forgiven = talk->sent;
		sends = line &&
			(!answers ||
			 talk->sent < DATAGRAMS_OWED_MAX +
					  (talk->received > forgiven ? talk->received : forgiven));
		waits = talk->input_ended && !byte_queue_n(&talk->queue);
		if (waits &&
		    (!answers || talk->received >= talk->sent || idle_ms >= DATAGRAM_PATIENCE_MS))
			return end_status(talk);

		struct pollfd all[] = {
		    {.fd = !line && !talk->input_ended ? STDIN_FILENO : -1, .events = POLLIN},
		    {.fd = talk->fd, .events = (short)(POLLIN | (sends ? POLLOUT : 0))}};

		if (poll(all, 2, line || waits ? DATAGRAM_STALL_MS : -1) < 0)
			continue;
		if (all[0].revents)
			datagram_input(talk);
		if (all[1].revents & ~POLLOUT)
			result = datagram_read(talk);
		else if (all[1].revents & POLLOUT)
			result = datagram_send(talk, line);
		if (result < 0)
			return talk_output_complain(talk, "%s", strerror(-result));
		if (result > 0)
			moved_ms = now_ms();
		if (!talk_output_all(talk))
			return talk_output_complain(talk, "stdout: %s", strerror(errno));
	}
}
