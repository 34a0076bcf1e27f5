#include "master/listen/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/log.h"

#define FDS_START 3 /* SD_LISTEN_FDS_START */

static struct {
	struct activation_socket sockets[ACTIVATION_MAX];
	size_t n;
	const char *taken[4]; /* texts taken out of the environment, for us alone */
} activation;

static bool wrong(char error[CONFIG_ERROR_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool wrong(char error[CONFIG_ERROR_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(error, CONFIG_ERROR_BYTES, format, arguments);
	va_end(arguments);
	return false;
}

/* ---- one socket ---- */

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t n = sizeof value;

	return getsockopt(fd, level, name, &value, &n) < 0 ? -1 : value;
}

static bool look_at_kind(int fd, struct activation_socket *sock, const char **why)
{
	bool ip = sock->address.socket.ss_family != AF_UNIX;
	int type = option(fd, SOL_SOCKET, SO_TYPE);

	if (ip && sock->address.socket.ss_family != AF_INET &&
	    sock->address.socket.ss_family != AF_INET6) {
		*why = "a socket that is neither IP nor unix";
		return false;
	}
	sock->datagrams = type == SOCK_DGRAM;
	if (type != SOCK_STREAM && !sock->datagrams) {
		*why = "a socket of neither streams nor datagrams";
		return false;
	}
	if (sock->datagrams && !ip) {
		*why = "datagrams of a unix socket; they need HOST:PORT";
		return false;
	}
	if (!sock->datagrams && option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1) {
		*why = "a connection, or not listening; a .socket unit for weir has Accept=no";
		return false;
	}
	return true;
}

bool activation_look(int fd, struct activation_socket *sock, const char **why)
{
	static const struct in6_addr any = IN6ADDR_ANY_INIT;
	struct sockaddr_in6 *ip6 = (struct sockaddr_in6 *)(void *)&sock->address.socket;

	memset(&sock->address, 0, sizeof sock->address);
	sock->fd = fd;
	sock->address.bytes = sizeof sock->address.socket;
	if (getsockname(fd, (struct sockaddr *)&sock->address.socket, &sock->address.bytes) < 0) {
		*why = errno == EBADF ? "no open descriptor" : "no socket";
		return false;
	}
	if (!look_at_kind(fd, sock, why))
		return false;
	if (address_is_unix(&sock->address) &&
	    sock->address.bytes <= offsetof(struct sockaddr_un, sun_path)) {
		*why = "a unix socket without a name";
		return false;
	}
	if (sock->address.socket.ss_family == AF_INET6 &&
	    memcmp(&ip6->sin6_addr, &any, sizeof any) == 0)
		sock->address.dual_stack = option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
	return true;
}

static bool take(int fd, const char *name, size_t name_n, char error[CONFIG_ERROR_BYTES])
{
	struct activation_socket *sock = &activation.sockets[activation.n];
	const char *why;

	if (activation.n == ACTIVATION_MAX)
		return wrong(error, "there are at most %d inherited sockets", ACTIVATION_MAX);
	if (!name_n) { /* systemd lets a name be empty */
		name = "unknown";
		name_n = strlen(name);
	}
	if (name_n >= sizeof sock->name)
		return wrong(error, "the name of inherited descriptor %d has more than %zu bytes",
			     fd, sizeof sock->name - 1);
	(void)snprintf(sock->name, sizeof sock->name, "%.*s", (int)name_n, name);
	if (!activation_look(fd, sock, &why))
		return wrong(error, "inherited descriptor %d (%s) is %s", fd, sock->name, why);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return wrong(error, "inherited descriptor %d (%s): %s", fd, sock->name,
			     strerror(errno));
	activation.n++;
	return true;
}

/* ---- what systemd says of them ---- */

static size_t names_n(const char *names)
{
	size_t n = 1;

	for (; (names = strchr(names, ':')); names++)
		n++;
	return n;
}

static bool take_all(const char *fds, const char *names, char error[CONFIG_ERROR_BYTES])
{
	uint64_t n;

	if (!fds || !number_parse(fds, &n) || n > ACTIVATION_MAX)
		return wrong(error, "LISTEN_FDS is a number up to %d, not \"%s\"", ACTIVATION_MAX,
			     fds ? fds : "");
	if (names && n && names_n(names) != n)
		return wrong(error, "LISTEN_FDNAMES has %zu names for %llu sockets", names_n(names),
			     (unsigned long long)n);
	for (int i = 0; i < (int)n; i++) {
		const char *name = names ? names : "unknown";
		size_t length = strcspn(name, ":");

		if (!take(FDS_START + i, name, length, error))
			return false;
		names = names ? names + length + 1 : NULL;
	}
	return true;
}

bool activation_open(char error[CONFIG_ERROR_BYTES])
{
	static const char *const names[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
					    "LISTEN_PIDFDID"};
	const char **taken = activation.taken;
	uint64_t number;
	bool good = true;

	activation.n = 0;
	for (size_t i = 0; i < 4; i++)
		taken[i] = getenv(names[i]);
	/* If the variables name another process, we inherited them by accident: they say nothing of
	 * our sockets. */
	if (taken[0] && number_parse(taken[0], &number) && number == (uint64_t)getpid())
		good = take_all(taken[1], taken[2], error);
	for (size_t i = 0; i < 4; i++)
		(void)unsetenv(names[i]);
	return good;
}

size_t activation_n(void)
{
	return activation.n;
}

const struct activation_socket *activation_socket(size_t i)
{
	return i < activation.n ? &activation.sockets[i] : NULL;
}

int activation_fd(size_t i)
{
	return i < activation.n ? activation.sockets[i].fd : -1;
}

const char *activation_name(size_t i)
{
	return i < activation.n ? activation.sockets[i].name : NULL;
}

/* ---- what they are for ---- */

static bool is_for(const struct activation_socket *sock, const struct endpoint *endpoint)
{
	return sock->datagrams == endpoint->datagrams &&
	       address_is_same(&sock->address, &endpoint->address);
}

const struct activation_socket *activation_find(const struct endpoint *endpoint,
						const struct activation_socket *sockets, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_for(&sockets[i], endpoint))
			return &sockets[i];
	return NULL;
}

/* "inherited socket 127.0.0.1:7878 (weir.socket): WHY" */
static bool refuse(const struct activation_socket *sock, const char *why,
		   char error[CONFIG_ERROR_BYTES])
{
	char address[ADDRESS_TEXT_BYTES];

	address_format(&sock->address, address);
	return wrong(error, "inherited socket %s%s (%.100s): %s", address,
		     sock->datagrams ? ", datagrams" : "", sock->name, why);
}

/* Makes "PROTOCOL" or "PROTOCOL+udp" of a socket's name, if that is a protocol. One unit has one
 * name for all its sockets: `echo` is good for its datagrams, too. */
static bool protocol_of(const struct activation_socket *sock, char *protocol, size_t n)
{
	size_t length = strlen(sock->name);
	bool udp = length > 4 && strcmp(sock->name + length - 4, "+udp") == 0;

	if (udp && !sock->datagrams)
		return false;
	(void)snprintf(protocol, n, "%.*s", (int)(udp ? length - 4 : length), sock->name);
	if (!protocol_find(protocol))
		return false;
	if (sock->datagrams) {
		length = strlen(protocol);
		(void)snprintf(protocol + length, n - length, "+udp");
	}
	return true;
}

/* A socket that can't be written as a LISTENER (a path with a ?) is refused: it could not be
 * dumped, shown or handed over. */
static bool add_listener(struct config *config, const struct activation_socket *sock,
			 const char *listener, char error[CONFIG_ERROR_BYTES])
{
	char why[CONFIG_ERROR_BYTES];

	if (!config_listen(config, listener, why))
		return refuse(sock, why, error);
	if (is_for(sock, &config->listeners[config->listeners_n - 1]))
		return true;
	config->listeners_n--;
	return refuse(sock, "its address can't be written as a LISTENER", error);
}

static bool add_by_name(struct config *config, const struct activation_socket *sock,
			const char *protocol, char error[CONFIG_ERROR_BYTES])
{
	char listener[ENDPOINT_TEXT_BYTES + ACTIVATION_NAME_BYTES], address[ADDRESS_TEXT_BYTES];

	address_format(&sock->address, address);
	(void)snprintf(listener, sizeof listener, "%s://%s", protocol, address);
	return add_listener(config, sock, listener, error);
}

/* NULL: no default listener has this address. */
static const char *default_of(const struct activation_socket *sock)
{
	char unused[CONFIG_ERROR_BYTES];
	struct endpoint endpoint;

	for (const char *const *text = config_default_listeners; *text; text++)
		if (endpoint_parse(&endpoint, *text, unused, sizeof unused) &&
		    is_for(sock, &endpoint))
			return *text;
	return NULL;
}

static bool twice(const struct activation_socket *sockets, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (sockets[j].datagrams == sockets[i].datagrams &&
		    address_is_same(&sockets[j].address, &sockets[i].address))
			return true;
	return false;
}

static bool join_one(struct config *config, size_t configured, const struct activation_socket *sock,
		     char error[CONFIG_ERROR_BYTES])
{
	char protocol[ACTIVATION_NAME_BYTES + 8];

	for (size_t i = 0; i < configured; i++)
		if (is_for(sock, &config->listeners[i]))
			return true;
	if (protocol_of(sock, protocol, sizeof protocol))
		return add_by_name(config, sock, protocol, error);
	if (!configured && default_of(sock))
		return add_listener(config, sock, default_of(sock), error);
	return refuse(sock, "no LISTENER has this address, and its name is no protocol", error);
}

bool activation_join(struct config *config, const struct activation_socket *sockets, size_t n,
		     char error[CONFIG_ERROR_BYTES])
{
	size_t configured = config->listeners_n;

	for (size_t i = 0; i < n; i++) {
		if (twice(sockets, i))
			return refuse(&sockets[i], "there are two of this address", error);
		if (!join_one(config, configured, &sockets[i], error))
			return false;
	}
	return true;
}

/* ---- an upgrade ---- */

bool activation_write(FILE *manifest)
{
	for (size_t i = 0; i < activation.n; i++)
		if (fprintf(manifest, "inherited %d %s\n", activation.sockets[i].fd,
			    activation.sockets[i].name) < 0)
			return false;
	return true;
}

/* The name is the rest of the line: systemd lets it hold spaces. */
bool activation_read(const char *line, char error[CONFIG_ERROR_BYTES])
{
	static const char word[] = "inherited ";
	unsigned long fd;
	char *end;

	if (strncmp(line, word, sizeof word - 1) != 0 || line[sizeof word - 1] < '0' ||
	    line[sizeof word - 1] > '9')
		return wrong(error, "\"%s\" is not `inherited FD NAME`", line);
	errno = 0;
	fd = strtoul(line + sizeof word - 1, &end, 10);
	if (errno || *end != ' ' || fd < FDS_START || fd > INT32_MAX)
		return wrong(error, "\"%s\" is not `inherited FD NAME`", line);
	return take((int)fd, end + 1, strcspn(end + 1, "\n"), error);
}
