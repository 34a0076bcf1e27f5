#include "master/weirctl/find.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/control/control_file.h"
#include "reactor/base/printable.h"

#define SERVERS_MAX 64
#define SHOWN_BYTES 1024 /* of a path or what is said of one, each byte of which may be escaped */

struct candidate {
	char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
	struct found found;
};

static struct {
	struct candidate servers[SERVERS_MAX];
	size_t n;
	char hidden[512]; /* one that we may not talk to, and why */
} find;

/* 0 or -errno. */
static int connect_there(const char *path, int wait_ms, struct found *found)
{
	struct timeval wait = {wait_ms / 1000, wait_ms % 1000 * 1000};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer = {0};
	socklen_t peer_n = sizeof peer;

	if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s", path) >=
	    sizeof address.sun_path)
		return -ENAMETOOLONG;
	found->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (found->fd < 0)
		return -errno;
	/* A full queue of a server that does not move makes connect() wait: unix(7). */
	(void)setsockopt(found->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	if (connect(found->fd, (struct sockaddr *)&address, sizeof address) < 0) {
		int error = errno == EAGAIN ? ETIMEDOUT : errno;

		(void)close(found->fd);
		return -error;
	}
	(void)getsockopt(found->fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_n);
	found->pid = peer.pid;
	found->path = path;
	return 0;
}

static bool is_server_name(const char *name)
{
	int pid, end = 0;

	return sscanf(name, "weir-%d.sock%n", &pid, &end) == 1 && end && !name[end];
}

static void look_in(const char *folder, int wait_ms)
{
	DIR *dir = folder ? opendir(folder) : NULL;
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) && find.n < SERVERS_MAX) {
		struct candidate *server = &find.servers[find.n];
		int error;

		if (!is_server_name(entry->d_name) ||
		    (size_t)snprintf(server->path, sizeof server->path, "%s/%s", folder,
				     entry->d_name) >= sizeof server->path)
			continue;
		error = connect_there(server->path, wait_ms, &server->found);
		if (!error)
			find.n++;
		else if (error != -ECONNREFUSED && error != -ENOENT)
			(void)snprintf(find.hidden, sizeof find.hidden, "%s: %s", server->path,
				       strerror(-error));
	}
	if (dir)
		(void)closedir(dir);
}

static void look_around(int wait_ms)
{
	find.n = 0;
	look_in(CONTROL_FOLDER, wait_ms);
	look_in(getenv("XDG_RUNTIME_DIR"), wait_ms);
}

static _Noreturn void tell_none(void)
{
	const char *folder = getenv("XDG_RUNTIME_DIR");
	char shown[SHOWN_BYTES];

	if (*find.hidden)
		(void)fprintf(stderr, "weirctl: %s\n",
			      printable_text(shown, sizeof shown, find.hidden));
	else
		(void)fprintf(stderr,
			      "weirctl: no server is found in " CONTROL_FOLDER
			      "%s%s (--control PATH names one that is elsewhere)\n",
			      folder ? " and " : "",
			      printable_text(shown, sizeof shown, folder ? folder : ""));
	exit(FIND_NONE);
}

static _Noreturn void tell_many(void)
{
	char shown[SHOWN_BYTES];

	(void)fprintf(stderr, "weirctl: there are %zu servers; choose one by --control PATH:\n",
		      find.n);
	for (size_t i = 0; i < find.n; i++)
		(void)fprintf(stderr, "  --control %s (pid %d)\n",
			      printable_text(shown, sizeof shown, find.servers[i].path),
			      (int)find.servers[i].found.pid);
	exit(FIND_NONE);
}

struct found find_server(const char *path, int wait_ms)
{
	char shown[SHOWN_BYTES];
	struct found found;
	int error;

	if (path) {
		error = connect_there(path, wait_ms, &found);
		if (!error)
			return found;
		(void)fprintf(stderr, "weirctl: %s: %s%s\n",
			      printable_text(shown, sizeof shown, path), strerror(-error),
			      error == -ECONNREFUSED ? " (nobody listens there)" : "");
		exit(FIND_NONE);
	}
	look_around(wait_ms);
	if (find.n == 0)
		tell_none();
	if (find.n > 1)
		tell_many();
	return find.servers[0].found;
}

int find_again(const char *path, int wait_ms, struct found *found)
{
	if (path)
		return connect_there(path, wait_ms, found);
	look_around(wait_ms);
	if (find.n == 1) {
		*found = find.servers[0].found;
		return 0;
	}
	for (size_t i = 0; i < find.n; i++)
		(void)close(find.servers[i].found.fd);
	return find.n ? -ENOTUNIQ : -ENOENT;
}
