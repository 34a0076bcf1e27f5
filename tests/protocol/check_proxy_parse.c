/*
 * proxy_parse: every form of a header, whole and in pieces; which byte refuses what is none, and
 * for what reason.
 *
 * check_proxy_values has every value of a number, every length, and bytes by chance.
 */
#include <netinet/in.h>
#include <stdio.h>

#include "tests/protocol/proxy_pieces.h"

/* ---- every form ---- */

#define IP4_A  "\xc0\0\2\1"
#define IP4_B  "\xc6\x33\x64\2"
#define ZEROS  "\0\0\0\0\0\0\0\0\0\0"
#define IP6_A  "\x20\1\x0d\xb8" ZEROS "\0\1"
#define IP6_B  "\xfe\x80" ZEROS "\0\0\xab\xcd"
#define MAPPED ZEROS "\xff\xff"
#define PORTS  "\xdc\4\1\xbb" /* 56324 and 443 */
#define UNIX_A "/run/a.sock" ZEROS ZEROS ZEROS ZEROS ZEROS ZEROS ZEROS ZEROS ZEROS "1234567"
#define TLVS   "\3\0\4abcd\4\0\1x"

static const struct form {
	const char *bytes;
	size_t n;
	const char *source, *destination; /* NULL: not known */
	uint32_t rest;			  /* which the bytes have */
} forms[] = {
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), "192.0.2.1:56324",
     "198.51.100.2:443", 0},
    {BYTES("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"), "0.0.0.0:0", "255.255.255.255:65535",
     0},
    {BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535",
     "255.255.255.255:65535", 0},
    {BYTES("PROXY TCP6 2001:db8::1 fe80::ABCD 56324 443\r\n"), "[2001:db8::1]:56324",
     "[fe80::abcd]:443", 0},
    {BYTES("PROXY TCP6 :: 1:2:3:4:5:6:7:: 1 10\r\n"), "[::]:1", "[1:2:3:4:5:6:7:0]:10", 0},
    {BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", 0},
    {BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6402 56324 443\r\n"),
     "[::ffff:192.0.2.1]:56324", "[::ffff:198.51.100.2]:443", 0},
    {BYTES("PROXY UNKNOWN\r\n"), NULL, NULL, 0},
    {BYTES("PROXY UNKNOWN \r\n"), NULL, NULL, 0},
    {BYTES("PROXY UNKNOWN a\rb\nc\n\r\r\0\xff 1 \r\n"), NULL, NULL, 0},
    {BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     NULL, NULL, 0},
    {BYTES(SIGNATURE "\x20\0\0\0"), NULL, NULL, 0},
    {BYTES(SIGNATURE "\x20\xff\0\xb" TLVS), NULL, NULL, 11},
    {BYTES(SIGNATURE "\x20\x11\0\xc" IP4_A IP4_B PORTS), NULL, NULL, 12},
    {BYTES(SIGNATURE "\x21\0\0\0"), NULL, NULL, 0},
    {BYTES(SIGNATURE "\x21\0\0\xb" TLVS), NULL, NULL, 11},
    {BYTES(SIGNATURE "\x21\x11\0\xc" IP4_A IP4_B PORTS), "192.0.2.1:56324", "198.51.100.2:443", 0},
    {BYTES(SIGNATURE "\x21\x11\0\x17" IP4_A IP4_B PORTS TLVS), "192.0.2.1:56324",
     "198.51.100.2:443", 11},
    {BYTES(SIGNATURE "\x21\x21\0\x24" IP6_A IP6_B PORTS), "[2001:db8::1]:56324", "[fe80::abcd]:443",
     0},
    {BYTES(SIGNATURE "\x21\x21\0\x2f" IP6_A IP6_B PORTS TLVS), "[2001:db8::1]:56324",
     "[fe80::abcd]:443", 11},
    {BYTES(SIGNATURE "\x21\x21\0\x24" MAPPED IP4_A MAPPED IP4_B PORTS), "[::ffff:192.0.2.1]:56324",
     "[::ffff:198.51.100.2]:443", 0},
    {BYTES(SIGNATURE "\x21\x31\0\xd8" UNIX_A UNIX_A), NULL, NULL, 216},
};

#define EACH_FORM(form)                                                                            \
	(const struct form *form = forms; form < forms + sizeof forms / sizeof *forms; form++)

static void expect_address(const struct address *address, const char *wanted)
{
	char text[ADDRESS_TEXT_BYTES];
	struct address parsed;
	const char *why;

	address_format(address, text);
	ck_assert_str_eq(text, wanted);
	ck_assert(address_parse(&parsed, wanted, &why));
	ck_assert(address_is_same(address, &parsed));
}

static void expect_form(const struct form *form, const struct proxy_header *header)
{
	ck_assert_int_eq(header->known, form->source != NULL);
	ck_assert_uint_eq(header->rest, form->rest);
	if (!form->source)
		return;
	expect_address(&header->source, form->source);
	expect_address(&header->destination, form->destination);
}

/* And so it does with data in the same segment. */
START_TEST(a_header_says_what_it_says)
{
	unsigned char bytes[1024];

	open_room();
	for
		EACH_FORM(form)
		{
			struct proxy_header header;

			ck_assert_int_eq(parse(form->bytes, form->n, &header),
					 (int)(form->n - form->rest));
			expect_form(form, &header);
			memcpy(bytes, form->bytes, form->n);
			memcpy(bytes + form->n, BYTES("\r\nPROXY TCP4 \0"));
			ck_assert_int_eq(parse(bytes, form->n + 14, &header),
					 (int)(form->n - form->rest));
			expect_form(form, &header);
		}
}
END_TEST

START_TEST(a_piece_is_no_header)
{
	open_room();
	for
		EACH_FORM(form)
		{
			size_t used = form->n - form->rest, decided;

			(void)parse_in_pieces((const unsigned char *)form->bytes, form->n, used,
					      &decided);
			ck_assert_uint_eq(decided, used);
		}
}
END_TEST

/* Up to the changed byte it is still the beginning of a header. */
START_TEST(a_changed_byte_is_no_reason_to_wait)
{
	unsigned char bytes[1024];
	unsigned long refused = 0, read = 0, wanting = 0;

	open_room();
	for
		EACH_FORM(form)
		{
			size_t used = form->n - form->rest, decided;

			for (size_t at = 0; at < used; at++) {
				memcpy(bytes, form->bytes, form->n);
				for (int change = 1; change < 256; change++) {
					int answer;

					bytes[at] = (unsigned char)(form->bytes[at] ^ change);
					answer = parse_in_pieces(bytes, form->n, at, &decided);
					EXPECT(decided > at);
					refused += answer < 0;
					read += answer > 0;
					wanting += answer == 0;
				}
			}
		}
	(void)printf("FIGURE headers with a changed byte: %lu refused, %lu read, %lu unfinished\n",
		     refused, read, wanting);
	ck_assert_uint_gt(refused, read);
}
END_TEST

/* One client is the same 16 bytes to whoever counts, whichever way its proxy writes it. */
START_TEST(a_mapped_address_is_the_same_client)
{
	struct proxy_header plain, mapped;
	unsigned char plain_bytes[16], mapped_bytes[16];

	open_room();
	ck_assert_int_gt(parse(BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), &plain), 0);
	ck_assert_int_gt(parse(BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), &mapped), 0);
	ck_assert_int_eq(plain.source.socket.ss_family, AF_INET);
	ck_assert_int_eq(mapped.source.socket.ss_family, AF_INET6);
	ck_assert(address_bytes((const struct sockaddr *)&plain.source.socket, plain_bytes));
	ck_assert(address_bytes((const struct sockaddr *)&mapped.source.socket, mapped_bytes));
	ck_assert_mem_eq(plain_bytes, mapped_bytes, 16);
}
END_TEST

/* ---- what is refused, and by which byte ---- */

#define V4	  "PROXY TCP4 "
#define V6	  "PROXY TCP6 "
#define A4	  "1.2.3.4 "
#define GROUPS_39 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
#define GROUPS_45 "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"

/* The last byte of each decides. */
static const struct malformed {
	const char *bytes;
	size_t n;
	enum proxy_error error;
} malformed[] = {
    {BYTES("G"), PROXY_NO_HEADER},
    {BYTES("\n"), PROXY_NO_HEADER},
    {BYTES("\0"), PROXY_NO_HEADER},
    {BYTES("p"), PROXY_NO_HEADER},
    {BYTES("PO"), PROXY_NO_HEADER},
    {BYTES("PROXY\r"), PROXY_NO_HEADER},
    {BYTES("PROXY\t"), PROXY_NO_HEADER},
    {BYTES("\r\n\r\n\r"), PROXY_NO_HEADER},
    {BYTES("\r\n\r\n\0\r\nQUIT\r"), PROXY_NO_HEADER},
    {BYTES("PROXY  "), PROXY_V1_FAMILY},
    {BYTES("PROXY \r"), PROXY_V1_FAMILY},
    {BYTES("PROXY t"), PROXY_V1_FAMILY},
    {BYTES("PROXY UD"), PROXY_V1_FAMILY},
    {BYTES("PROXY TCP "), PROXY_V1_FAMILY},
    {BYTES("PROXY TCP5"), PROXY_V1_FAMILY},
    {BYTES("PROXY TCP46"), PROXY_V1_FAMILY},
    {BYTES("PROXY TCP4\r"), PROXY_V1_FAMILY},
    {BYTES("PROXY TCP6\t"), PROXY_V1_FAMILY},
    {BYTES("PROXY UNKNOWNS"), PROXY_V1_FAMILY},
    {BYTES("PROXY UNKNOWN\n"), PROXY_V1_FAMILY},
    {BYTES("PROXY UNKNOWN\r\r"), PROXY_V1_LINE_END},
    {BYTES("PROXY UNKNOWN\r "), PROXY_V1_LINE_END},
    {BYTES(V4 " "), PROXY_V1_ADDRESS},
    {BYTES(V4 "\r"), PROXY_V1_ADDRESS},
    {BYTES(V4 "a"), PROXY_V1_ADDRESS},
    {BYTES(V4 ":"), PROXY_V1_ADDRESS},
    {BYTES(V4 "-"), PROXY_V1_ADDRESS},
    {BYTES(V4 "00"), PROXY_V1_ADDRESS},
    {BYTES(V4 "256"), PROXY_V1_ADDRESS},
    {BYTES(V4 "1.2.3.256"), PROXY_V1_ADDRESS},
    {BYTES(V4 "1.2.3.01"), PROXY_V1_ADDRESS},
    {BYTES(V4 "1.."), PROXY_V1_ADDRESS},
    {BYTES(V4 "1.2.3 "), PROXY_V1_ADDRESS},
    {BYTES(V4 "1.2.3.4."), PROXY_V1_ADDRESS},
    {BYTES(V4 "1.2.3.4\t"), PROXY_V1_ADDRESS},
    {BYTES(V4 A4 " "), PROXY_V1_ADDRESS},
    {BYTES(V4 A4 "1.2.3.4\r"), PROXY_V1_ADDRESS},
    {BYTES(V6 "1."), PROXY_V1_ADDRESS},
    {BYTES(V6 ":1"), PROXY_V1_ADDRESS},
    {BYTES(V6 ": "), PROXY_V1_ADDRESS},
    {BYTES(V6 ":::"), PROXY_V1_ADDRESS},
    {BYTES(V6 "1::2::"), PROXY_V1_ADDRESS},
    {BYTES(V6 "g"), PROXY_V1_ADDRESS},
    {BYTES(V6 "12345"), PROXY_V1_ADDRESS},
    {BYTES(V6 "1 "), PROXY_V1_ADDRESS},
    {BYTES(V6 "1: "), PROXY_V1_ADDRESS},
    {BYTES(V6 "::1%"), PROXY_V1_ADDRESS},
    {BYTES(V6 "["), PROXY_V1_ADDRESS},
    {BYTES(V6 "1:2:3:4:5:6:7 "), PROXY_V1_ADDRESS},
    {BYTES(V6 "1:2:3:4:5:6:7:8:"), PROXY_V1_ADDRESS},
    {BYTES(V6 "1:2:3:4:5:6:7::8"), PROXY_V1_ADDRESS},
    {BYTES(V6 "1:2:3:4:5:6:7:1."), PROXY_V1_ADDRESS},
    {BYTES(V6 "::2:3:4:5:6:7:8:"), PROXY_V1_ADDRESS},
    {BYTES(V6 "1:2:3:4:5:6::1."), PROXY_V1_ADDRESS},
    {BYTES(V6 "::01."), PROXY_V1_ADDRESS},
    {BYTES(V6 "::f."), PROXY_V1_ADDRESS},
    {BYTES(V6 "::256."), PROXY_V1_ADDRESS},
    {BYTES(V6 "::1.2.3.4:"), PROXY_V1_ADDRESS},
    {BYTES(V6 "::1.2.3.a"), PROXY_V1_ADDRESS},
    {BYTES(V6 "::1 1."), PROXY_V1_ADDRESS},
    {BYTES(V4 A4 A4 " "), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "+"), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "65536"), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "00"), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "1\r"), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "1  "), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "1 \r"), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "1 01"), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "1 100000"), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "1 65536"), PROXY_V1_PORT},
    {BYTES(V4 A4 A4 "1 2 "), PROXY_V1_LINE_END},
    {BYTES(V4 A4 A4 "1 2\n"), PROXY_V1_LINE_END},
    {BYTES(V4 A4 A4 "1 2\r\r"), PROXY_V1_LINE_END},
    {BYTES(V6 GROUPS_39 " " GROUPS_39 " 65535 65535\r "), PROXY_V1_LINE_END},
    {BYTES(V6 GROUPS_45 " " GROUPS_45 " 6553"), PROXY_V1_TOO_LONG},
    {BYTES("PROXY UNKNOWN " GROUPS_39 " " GROUPS_39 " 65535 65535 \r"), PROXY_V1_TOO_LONG},
    {BYTES(SIGNATURE "\0"), PROXY_V2_VERSION},
    {BYTES(SIGNATURE "\x11"), PROXY_V2_VERSION},
    {BYTES(SIGNATURE "\x32"), PROXY_V2_VERSION},
    {BYTES(SIGNATURE "\x22"), PROXY_V2_COMMAND},
    {BYTES(SIGNATURE "\x2f"), PROXY_V2_COMMAND},
    {BYTES(SIGNATURE "\x21\2"), PROXY_V2_FAMILY},
    {BYTES(SIGNATURE "\x21\x12"), PROXY_V2_FAMILY},
    {BYTES(SIGNATURE "\x21\x22"), PROXY_V2_FAMILY},
    {BYTES(SIGNATURE "\x21\x32"), PROXY_V2_FAMILY},
    {BYTES(SIGNATURE "\x21\x13"), PROXY_V2_FAMILY},
    {BYTES(SIGNATURE "\x21\x41"), PROXY_V2_FAMILY},
    {BYTES(SIGNATURE "\x21\x11\0\0"), PROXY_V2_TOO_SHORT},
    {BYTES(SIGNATURE "\x21\x11\0\xb"), PROXY_V2_TOO_SHORT},
    {BYTES(SIGNATURE "\x21\x21\0\x23"), PROXY_V2_TOO_SHORT},
    {BYTES(SIGNATURE "\x21\x31\0\xd7"), PROXY_V2_TOO_SHORT},
};

START_TEST(the_first_wrong_byte_decides)
{
	static const char *const tails[] = {"", "\r\n", "\n", " ::1 1.2.3.4 1 2\r\n", "\0\0\0\0"};
	unsigned char bytes[1024];
	unsigned kinds = 0;

	open_room();
	for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
		const struct malformed *entry = &malformed[i];

		memcpy(bytes, entry->bytes, entry->n);
		for (size_t k = 0; k < sizeof tails / sizeof *tails; k++) {
			size_t tail_n = k == 4 ? 4 : strlen(tails[k]), decided;
			int answer;

			memcpy(bytes + entry->n, tails[k], tail_n);
			answer = parse_in_pieces(bytes, entry->n + tail_n, 0, &decided);
			ck_assert_msg(answer == -(int)entry->error && decided == entry->n,
				      "entry %zu (%s), tail %zu: %d, by %zu of %zu bytes", i,
				      entry->bytes, k, answer, decided, entry->n);
		}
		kinds |= 1u << entry->error;
	}
	for (unsigned error = PROXY_NO_HEADER; error <= PROXY_V2_TOO_SHORT; error++)
		ck_assert_msg(kinds & 1u << error, "no entry has error %u", error);
}
END_TEST

START_TEST(every_byte_of_a_signature_counts)
{
	static const struct {
		const char *bytes;
		size_t n;
	} begins[] = {{BYTES("PROXY ")}, {BYTES(SIGNATURE)}};
	struct proxy_header header;

	open_room();
	for (size_t i = 0; i < 2; i++) {
		for (size_t at = 0; at < begins[i].n; at++) {
			for (int byte = 0; byte < 256; byte++) {
				unsigned char bytes[16];
				bool right = byte == begins[i].bytes[at] ||
					     (!at && (byte == 'P' || byte == '\r'));

				memcpy(bytes, begins[i].bytes, at);
				bytes[at] = (unsigned char)byte;
				ck_assert_int_eq(parse(bytes, at + 1, &header),
						 right ? 0 : -PROXY_NO_HEADER);
			}
		}
	}
}
END_TEST

START_TEST(a_line_is_cut_off)
{
	struct proxy_header header;
	char text[256];

	open_room();
	for (int fill = 0; fill < 150; fill++) {
		int n = snprintf(text, sizeof text, "PROXY UNKNOWN %0*d\r\n", fill, 0);
		size_t decided;
		int answer = parse_in_pieces((const unsigned char *)text, (size_t)n, 0, &decided);

		ck_assert_int_eq(answer, n <= PROXY_HEADER_MAX ? n : -PROXY_V1_TOO_LONG);
		ck_assert_uint_eq(decided, (size_t)(n <= PROXY_HEADER_MAX ? n : PROXY_HEADER_MAX));
	}
	/* Addresses may fill it, too. */
	for (unsigned port = 1; port < 100000; port *= 10) {
		int n = snprintf(text, sizeof text, V6 GROUPS_45 " %s %u 2\r\n", GROUPS_39,
				 port / 2 + 1);

		ck_assert_int_eq(parse(text, (size_t)n, &header),
				 n <= PROXY_HEADER_MAX ? n : -PROXY_V1_TOO_LONG);
	}
}
END_TEST

SUITE("proxy_parse", {"a header says what it says", a_header_says_what_it_says, 10},
      {"a piece is no header", a_piece_is_no_header, 10},
      {"a changed byte is no reason to wait", a_changed_byte_is_no_reason_to_wait, 60},
      {"a mapped address is the same client", a_mapped_address_is_the_same_client, 10},
      {"the first wrong byte decides", the_first_wrong_byte_decides, 10},
      {"every byte of a signature counts", every_byte_of_a_signature_counts, 10},
      {"a line is cut off", a_line_is_cut_off, 10})
