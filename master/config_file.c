#include "master/config_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "reactor/base/sys.h"

#define FILE_BYTES_MAX (1 << 20)
#define ROOM_BYTES     (FILE_BYTES_MAX + 2)
#define SHOWN_BYTES    128

static bool wrong(char error[CONFIG_FILE_ERROR_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool wrong(char error[CONFIG_FILE_ERROR_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(error, CONFIG_FILE_ERROR_BYTES, format, arguments);
	va_end(arguments);
	return false;
}

/* ---- its text ---- */

/* Marks that some editors put before a text (Unicode, 23.8), which no key begins with. */
static const char *byte_order_mark(const char *text)
{
	if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
		return "a UTF-8 byte order mark (BOM)";
	if (strncmp(text, "\xff\xfe", 2) == 0 || strncmp(text, "\xfe\xff", 2) == 0)
		return "the byte order mark of UTF-16";
	return NULL;
}

static unsigned lines_n(const char *text)
{
	unsigned n = 1;

	for (; (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

static bool text_is_whole(const char *text, size_t n, const char *path,
			  char error[CONFIG_FILE_ERROR_BYTES])
{
	if (byte_order_mark(text))
		return wrong(error, "%s:1: it begins with %s: save it as UTF-8 without one", path,
			     byte_order_mark(text));
	if (strlen(text) != n)
		return wrong(error, "%s: it holds a 0 byte", path);
	if (n && text[n - 1] != '\n')
		return wrong(error, "%s:%u: the last line has no newline at its end: was it cut?",
			     path, lines_n(text));
	return true;
}

static bool is_same_state(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool read_text(FILE *file, char *text, const char *path, char error[CONFIG_FILE_ERROR_BYTES])
{
	struct stat before, after;
	bool looked = fstat(fileno(file), &before) == 0;
	size_t n = fread(text, 1, FILE_BYTES_MAX + 1, file);

	if (ferror(file))
		return wrong(error, "%s: %s", path, strerror(errno));
	if (n > FILE_BYTES_MAX)
		return wrong(error, "%s: a config file has at most 1M", path);
	if (looked && S_ISREG(before.st_mode) && fstat(fileno(file), &after) == 0 &&
	    !is_same_state(&before, &after))
		return wrong(error, "%s: it changed while it was read", path);
	return text_is_whole(text, n, path, error);
}

static bool file_text(char *text, const char *path, char error[CONFIG_FILE_ERROR_BYTES])
{
	FILE *file = fopen(path, "re");
	bool good;

	if (!file)
		return wrong(error, "%s: %s", path, strerror(errno));
	good = read_text(file, text, path, error);
	(void)fclose(file);
	return good;
}

char *config_file_room(void)
{
	return sys_map(ROOM_BYTES, MAP_SHARED | MAP_ANONYMOUS, -1);
}

void config_file_forget(char *room)
{
	if (room)
		(void)munmap(room, ROOM_BYTES);
}

/* ---- its lines ---- */

struct place {
	const char *file;
	unsigned line;
};

/* Cuts white space off both ends, in place. */
static char *trim(char *text)
{
	size_t n;

	text += strspn(text, " \t\r");
	n = strlen(text);
	while (n && strchr(" \t\r", text[n - 1]))
		text[--n] = '\0';
	return text;
}

/* A # begins a comment at the start of a line and behind white space. */
static void cut_comment(char *line)
{
	for (char *at = line; (at = strchr(at, '#')); at++) {
		if (at == line || at[-1] == ' ' || at[-1] == '\t') {
			*at = '\0';
			return;
		}
	}
}

/* A byte that can't be printed is shown as a number. */
static void show(const char *key, char shown[SHOWN_BYTES])
{
	size_t n = 0;

	for (; *key && n + 5 < SHOWN_BYTES; key++)
		n += (size_t)snprintf(shown + n, 5, *key >= ' ' && *key < 0x7f ? "%c" : "\\x%02x",
				      (unsigned char)*key);
	shown[n] = '\0';
}

static bool unknown_key(const struct place *place, const char *key,
			char error[CONFIG_FILE_ERROR_BYTES])
{
	const char *nearest = config_nearest(key, true);
	char shown[SHOWN_BYTES];

	show(key, shown);
	if (nearest)
		return wrong(error, "%s:%u: unknown key \"%s\"; did you mean \"%s\"?", place->file,
			     place->line, shown, nearest);
	return wrong(error, "%s:%u: unknown key \"%s\" (weir --help lists them)", place->file,
		     place->line, shown);
}

static bool file_value(struct config *config, const struct place *place, const char *key,
		       char *value, unsigned seen[OPTION_ROWS_MAX],
		       char error[CONFIG_FILE_ERROR_BYTES])
{
	const struct option_row *row = config_find(key);
	char why[CONFIG_ERROR_BYTES];

	if (!row || row->kind == OPTION_ACTION)
		return unknown_key(place, key, error);
	if (seen[row - config_rows()])
		return wrong(error, "%s:%u: %s stands in line %u already", place->file, place->line,
			     key, seen[row - config_rows()]);
	seen[row - config_rows()] = place->line;
	if (!*value && row->kind != OPTION_TEXT)
		return wrong(error, "%s:%u: %s has no value", place->file, place->line, key);
	if (!config_set(config, row, *value ? value : NULL, why))
		return wrong(error, "%s:%u: %s %s", place->file, place->line, key, why);
	return true;
}

static bool file_line(struct config *config, const struct place *place, char *line,
		      unsigned seen[OPTION_ROWS_MAX], char error[CONFIG_FILE_ERROR_BYTES])
{
	char why[CONFIG_ERROR_BYTES], *value, *key;

	cut_comment(line);
	key = trim(line);
	if (!*key)
		return true;
	value = strchr(key, '=');
	if (!value)
		return wrong(error, "%s:%u: \"%s\" is not `key = value`", place->file, place->line,
			     key);
	*value++ = '\0';
	key = trim(key);
	value = trim(value);
	config->file_settings++;
	if (strcmp(key, "listen") != 0)
		return file_value(config, place, key, value, seen, error);
	if (!config_listen(config, value, why))
		return wrong(error, "%s:%u: listen: %s", place->file, place->line, why);
	return true;
}

bool config_file_read(struct config *config, const char *path, char *room,
		      char error[CONFIG_FILE_ERROR_BYTES])
{
	struct place place = {.file = path};
	unsigned seen[OPTION_ROWS_MAX] = {0};
	char *rest = room, *line;

	if (!file_text(room, path, error))
		return false;
	while ((line = strsep(&rest, "\n"))) {
		place.line++;
		if (!file_line(config, &place, line, seen, error))
			return false;
	}
	return true;
}
