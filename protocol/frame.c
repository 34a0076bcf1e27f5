/*
 * frame: length-prefix framing. 4 bytes of length, big-endian, then the payload; each frame
 * comes back with its prefix. A length above max-frame closes the connection at once, with
 * nothing allocated for it. A frame is passed on as it comes: however long it is, the
 * connection keeps three bytes of it at most, the beginning of a prefix.
 */
#include "protocol/protocol.h"

#define PREFIX_BYTES 4

enum { MAX_FRAME };
static struct setting frame_settings[] = {
    [MAX_FRAME] =
	SETTING(SIZE, "max-frame", "1M", "SIZE", 1, 1u << 30, "the longest payload of a frame"),
    {0}};

enum { TOO_LARGE };
static struct reason frame_reasons[] = {
    [TOO_LARGE] = REASON("frame_too_large", "a frame's length above max-frame"), {0}};

struct frame {
	uint32_t left; /* bytes of the payload still to come */
};

static uint32_t prefix_length(const unsigned char prefix[PREFIX_BYTES])
{
	return (uint32_t)prefix[0] << 24 | (uint32_t)prefix[1] << 16 | (uint32_t)prefix[2] << 8 |
	       prefix[3];
}

static size_t frame_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct frame *frame = conn_state(conn);
	size_t used = 0;

	while (used < n) {
		size_t part = n - used;

		conn_message_begun(conn);
		if (!frame->left) {
			if (part < PREFIX_BYTES)
				return used;
			frame->left = prefix_length(bytes + used);
			if (frame->left > conn_setting(conn, MAX_FRAME)) {
				conn_fail(conn, TOO_LARGE);
				return used;
			}
			part = PREFIX_BYTES;
			conn_send(conn, bytes + used, part);
		} else {
			if (part > frame->left)
				part = frame->left;
			conn_send(conn, bytes + used, part);
			frame->left -= (uint32_t)part;
		}
		used += part;
		if (!frame->left && !conn_message_done(conn))
			return used;
	}
	return used;
}

const struct protocol frame_protocol = {
    .name = "frame",
    .state_bytes = sizeof(struct frame),
    .input = frame_input,
    .settings = frame_settings,
    .reasons = frame_reasons,
};
