#include "bench/weirload/talk/talk_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/weirload/talk/talk_output.h"

#define QUEUE_BYTES	(64 * 1024)	   /* waiting to be sent: more of stdin is not read */
#define FRAME_BYTES_MAX (64 * 1024 * 1024) /* the longest line that can be a frame */

/* ---- what is sent ---- */

/* The frame at the end of the queue is whole: writes its length into its head. */
static void frame_close(struct talk *talk)
{
	uint32_t n = htonl((uint32_t)(talk->open_bytes - FRAME_PREFIX));

	memcpy(talk->queue.at + talk->queue.end - talk->open_bytes, &n, sizeof n);
	talk->open_bytes = 0;
	talk->line_open = false;
}

static void frame_add(struct talk *talk, const unsigned char *bytes, size_t n, bool whole)
{
	static const unsigned char no_length[FRAME_PREFIX];

	if (!talk->line_open) {
		byte_queue_add(&talk->queue, no_length, sizeof no_length);
		talk->open_bytes = sizeof no_length;
		talk->line_open = true;
	}
	byte_queue_add(&talk->queue, bytes, n);
	talk->open_bytes += n;
	if (whole)
		frame_close(talk);
}

/* A line may itself contain $ and ^, so the bytes of its reply are counted by the rules of the
 * protocol. */
static void increment_add(struct talk *talk, const unsigned char *bytes, size_t n, bool whole)
{
	struct owed *owed;

	if (!talk->line_open) {
		byte_queue_add(&talk->queue, "^", 1);
		talk->owed[(talk->owed_begin + talk->owed_n++) % LINES_OWED_MAX] =
		    (struct owed){0, false};
		talk->line_open = talk->active = true;
	}
	owed = &talk->owed[(talk->owed_begin + talk->owed_n - 1) % LINES_OWED_MAX];
	byte_queue_add(&talk->queue, bytes, n);
	for (size_t i = 0; i < n; i++) {
		if (!talk->active)
			talk->active = bytes[i] == '^';
		else if (bytes[i] == '$')
			talk->active = false;
		else
			owed->bytes++;
	}
	if (!whole)
		return;
	byte_queue_add(&talk->queue, "$", 1);
	owed->whole = true;
	talk->line_open = false;
}

/* Queues a part of a line, without its \n; whole: this is its last part. */
static void line_add(struct talk *talk, const unsigned char *bytes, size_t n, bool whole)
{
	switch (talk->form) {
	case FORM_FRAMES:
		frame_add(talk, bytes, n, whole);
		break;
	case FORM_INCREMENT:
		increment_add(talk, bytes, n, whole);
		break;
	default:
		byte_queue_add(&talk->queue, bytes, n);
		if (whole)
			byte_queue_add(&talk->queue, "\n", 1);
		talk->line_open = !whole;
		break;
	}
}

static void input_end(struct talk *talk)
{
	talk->input_ended = true;
	if (talk->line_open && talk->form != FORM_BYTES && talk->form != FORM_SILENT)
		line_add(talk, NULL, 0, true);
}

static bool input_wanted(const struct talk *talk)
{
	return !talk->input_ended && !talk->broken &&
	       byte_queue_n(&talk->queue) - talk->open_bytes < QUEUE_BYTES &&
	       talk->owed_n < LINES_OWED_MAX - 1;
}

/* Reads once from stdin; little of increment, because only LINES_OWED_MAX lines may be unanswered.
 */
static void input_read(struct talk *talk)
{
	unsigned char bytes[READ_BYTES];
	size_t room =
	    talk->form == FORM_INCREMENT ? LINES_OWED_MAX - 1 - talk->owed_n : sizeof bytes;
	ssize_t n = read(STDIN_FILENO, bytes, room);
	const unsigned char *at = bytes, *end;

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0) {
		input_end(talk);
		return;
	}
	end = bytes + n;
	while (at < end) {
		const unsigned char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t part = (size_t)((newline ? newline : end) - at);

		line_add(talk, at, part, newline != NULL);
		at += part + (newline != NULL);
	}
}

static void queue_send(struct talk *talk)
{
	size_t n = byte_queue_n(&talk->queue) - talk->open_bytes;
	ssize_t sent = send(talk->fd, talk->queue.at + talk->queue.begin, n, MSG_NOSIGNAL);

	if (sent > 0) {
		byte_queue_take(&talk->queue, (size_t)sent);
		talk->sent += (uint64_t)sent;
	} else if (errno != EAGAIN && errno != EINTR) {
		/* What the peer sent before it went can still be read. */
		talk->broken = true;
	}
}

/* ---- what comes back ---- */

static void print_frames(struct talk *talk, const unsigned char *bytes, size_t n)
{
	while (n) {
		size_t part;

		if (talk->prefix_n < FRAME_PREFIX) {
			uint32_t length;

			talk->prefix[talk->prefix_n++] = *bytes++;
			n--;
			memcpy(&length, talk->prefix, sizeof length);
			talk->payload_left = ntohl(length);
			if (talk->prefix_n < FRAME_PREFIX)
				continue;
		}
		part = n < talk->payload_left ? n : talk->payload_left;
		byte_queue_add(&talk->print, bytes, part);
		bytes += part;
		n -= part;
		talk->payload_left -= part;
		if (!talk->payload_left) {
			byte_queue_add(&talk->print, "\n", 1);
			talk->prefix_n = 0;
		}
	}
}

/* Prints a \n after each reply that is complete. Returns the first that is not, or NULL. */
static struct owed *increment_next(struct talk *talk)
{
	while (talk->owed_n) {
		struct owed *owed = &talk->owed[talk->owed_begin];

		if (owed->bytes || !owed->whole)
			return owed;
		byte_queue_add(&talk->print, "\n", 1);
		talk->owed_begin = (talk->owed_begin + 1) % LINES_OWED_MAX;
		talk->owed_n--;
	}
	return NULL;
}

static void print_increment(struct talk *talk, const unsigned char *bytes, size_t n)
{
	if (n && !talk->greeted) {
		byte_queue_add(&talk->print, bytes++, 1);
		n--;
		talk->greeted = true;
	}
	while (n) {
		struct owed *owed = increment_next(talk);
		size_t part = n;

		/* Bytes beyond what is owed are printed unchanged. */
		if (owed && owed->bytes) {
			part = n < owed->bytes ? n : (size_t)owed->bytes;
			owed->bytes -= part;
		}
		byte_queue_add(&talk->print, bytes, part);
		bytes += part;
		n -= part;
	}
	if (talk->greeted)
		(void)increment_next(talk);
}

/* Reads once. Returns 0, 1 at the peer's end, or -errno. */
static int reply_read(struct talk *talk)
{
	unsigned char bytes[READ_BYTES];
	ssize_t n = recv(talk->fd, bytes, sizeof bytes, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	talk->received += (uint64_t)n;
	if (talk->form == FORM_FRAMES)
		print_frames(talk, bytes, (size_t)n);
	else if (talk->form == FORM_INCREMENT)
		print_increment(talk, bytes, (size_t)n);
	else
		byte_queue_add(&talk->print, bytes, (size_t)n);
	return n == 0;
}

/* ---- both directions ---- */

/* The exit status: 1 if the peer still owed something when it ended. */
static int end_status(const struct talk *talk)
{
	if (talk->broken || !talk->shut)
		return talk_output_complain(talk, "the peer ended before all was sent");
	if (talk->form == FORM_BYTES || talk->form == FORM_LINES || talk->form == FORM_FRAMES) {
		if (talk->received != talk->sent)
			return talk_output_complain(
			    talk, "the peer ended early: %llu bytes were sent, %llu came",
			    (unsigned long long)talk->sent, (unsigned long long)talk->received);
	}
	if (talk->form == FORM_INCREMENT && (!talk->greeted || talk->owed_n))
		return talk_output_complain(
		    talk, "the peer ended early: %zu lines were not answered", talk->owed_n);
	return 0;
}

static void shut_when_done(struct talk *talk)
{
	if (!talk->input_ended || talk->shut || talk->broken || byte_queue_n(&talk->queue))
		return;
	(void)shutdown(talk->fd, SHUT_WR);
	talk->shut = true;
}

int talk_stream(struct talk *talk)
{
	int end;

	for (;;) {
		bool owes = byte_queue_n(&talk->queue) > talk->open_bytes && !talk->broken;
		bool prints = byte_queue_n(&talk->print) > 0;
		struct pollfd all[] = {
		    {.fd = input_wanted(talk) ? STDIN_FILENO : -1, .events = POLLIN},
		    {.fd = prints ? STDOUT_FILENO : -1, .events = POLLOUT},
		    {.fd = owes || !prints ? talk->fd : -1,
		     .events = (short)((owes ? POLLOUT : 0) | (prints ? 0 : POLLIN))}};

		end = 0;
		if (poll(all, 3, -1) < 0)
			continue;
		if (all[1].revents && !talk_output_some(talk))
			return talk_output_complain(talk, "stdout: %s", strerror(errno));
		if (!prints && (all[2].revents & ~POLLOUT))
			end = reply_read(talk);
		if (end)
			break;
		if (owes && all[2].revents)
			queue_send(talk);
		if (all[0].revents)
			input_read(talk);
		if (talk->open_bytes > FRAME_BYTES_MAX)
			return talk_output_complain(talk, "a line is too long for a frame");
		if (talk->form == FORM_INCREMENT && talk->greeted)
			(void)increment_next(talk);
		shut_when_done(talk);
	}
	if (!talk_output_all(talk))
		return talk_output_complain(talk, "stdout: %s", strerror(errno));
	return end < 0 ? talk_output_complain(talk, "%s", strerror(-end)) : end_status(talk);
}
