/*
 * successor: this test program run again as the next master, for tests of what it inherits.
 *
 * It reads the manifest, opens the configuration in SUCCESSOR, and gets orders on stdin, a letter
 * each. It writes the results to stdout. The test is the old master.
 */
#ifndef TESTS_MASTER_CHANGE_SUCCESSOR_H
#define TESTS_MASTER_CHANGE_SUCCESSOR_H

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "master/listen/activation.h"
#include "tests/master/listen/bound_sockets.h"

static struct config config;
static struct listen_set set;

/* ---- the next master ---- */

static size_t given;

static void count_given(uint32_t number, int fd)
{
	(void)number;
	given += write(fd, "x", 1) == 1;
	(void)close(fd);
}

static _Noreturn void successor_fails(const char *why)
{
	(void)printf("failed: %s\n", why);
	(void)fflush(stdout);
	_exit(3);
}

static size_t successor_accepts(void)
{
	size_t n = 0;
	int fd;

	for (size_t i = 0; i < set.bound_sockets_n; i++)
		for (size_t slot = 0;
		     !set.bound_sockets[i]->datagrams && slot < set.bound_sockets[i]->fds_n; slot++)
			while ((fd = accept4(set.bound_sockets[i]->fds[slot], NULL, NULL, 0)) >=
			       0) {
				n += write(fd, "x", 1) == 1;
				(void)close(fd);
			}
	return n;
}

static size_t successor_takes_from_limiter(void)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	struct limiter *limiter = NULL;
	size_t n = 0;

	for (size_t i = 0; i < set.bound_sockets_n; i++)
		if (set.ledgers[i].limiter)
			limiter = set.ledgers[i].limiter;
	while (limiter && limiter_take(limiter, (struct sockaddr *)&peer, limiter->begun_us))
		n++;
	return n;
}

static void successor_obeys(char letter)
{
	size_t n = 0;

	switch (letter) {
	case 'v':
		listen_serve(&set);
		break;
	case 'a':
		n = successor_accepts();
		break;
	case 's':
		listen_end_sharing(count_given);
		n = given;
		break;
	case 'l':
		n = successor_takes_from_limiter();
		break;
	case 'n': /* the numbers of its listeners, a digit each */
		for (size_t i = 0; i < set.bound_sockets_n; i++)
			n = 10 * n + set.numbers[i];
		break;
	case 'c': /* how many of its sockets an exec would close */
		for (size_t i = 0; i < set.bound_sockets_n; i++)
			for (size_t slot = 0; slot < set.bound_sockets[i]->fds_n; slot++)
				n +=
				    fcntl(set.bound_sockets[i]->fds[slot], F_GETFD) == FD_CLOEXEC &&
				    fcntl(set.bound_sockets[i]->fds[slot], F_GETFL) & O_NONBLOCK;
		break;
	case 'z': /* what a worker does before it stops serving */
		for (size_t i = 0; i < set.bound_sockets_n; i++) {
			struct sys_filter_program nothing = {1, &SYS_FILTER_NOTHING};

			if (set.bound_sockets[i]->datagrams)
				(void)setsockopt(set.bound_sockets[i]->fds[0], SOL_SOCKET,
						 SO_ATTACH_FILTER, &nothing, sizeof nothing);
			else
				(void)listen(set.bound_sockets[i]->fds[0], 0);
		}
		break;
	case 'w':
		(void)listen_write(&set, stdout);
		(void)fflush(stdout);
		_exit(0);
	case 'd':
		listen_drop(&set);
		_exit(0);
	default:
		_exit(4);
	}
	(void)printf("%zu\n", n);
	(void)fflush(stdout);
}

static void successor_inherits(const char *manifest)
{
	char error[CONFIG_ERROR_BYTES], *line = NULL;
	FILE *file = fdopen(atoi(manifest), "r");
	size_t room = 0;
	ssize_t n;

	while (file && (n = getline(&line, &room, file)) >= 0)
		for (char *at = line; at < line + n; at += strlen(at) + 1) /* lines behind NULs */
			if (!listen_read_line(at, error))
				successor_fails(error);
	free(line);
}

__attribute__((constructor)) static void be_successor(void)
{
	const char *listeners = getenv("SUCCESSOR"), *manifest = getenv("SUCCESSOR_MANIFEST");
	char error[CONFIG_ERROR_BYTES], text[4096], *rest = text, *word, letter;

	if (!listeners)
		return;
	config_defaults(&config);
	config.workers = 2;
	(void)snprintf(text, sizeof text, "%s", listeners);
	while ((word = strsep(&rest, "\t")))
		if (*word && !config_listen(&config, word, error))
			successor_fails(error);
	if (manifest)
		successor_inherits(manifest);
	if (!activation_open(error) ||
	    !activation_join(&config, activation_socket(0), activation_n(), error) ||
	    !config_complete(&config, 2, 1 << 16, error) ||
	    !listen_open(&set, &config, NULL, error))
		successor_fails(error);
	(void)printf("open\n");
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &letter, 1) == 1)
		successor_obeys(letter);
	_exit(0);
}

/* ---- the old master ---- */

struct successor {
	pid_t pid;
	int orders;
	FILE *answers;
};

static _Noreturn void become_successor(const char *listeners, int manifest, int in, int out,
				       const int *inherited, size_t inherited_n)
{
	static int fds[LISTEN_DESCRIPTORS];
	char number[32];
	size_t n = listen_descriptors(&set, fds);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(in, STDIN_FILENO);
	(void)dup2(out, STDOUT_FILENO);
	(void)setenv("SUCCESSOR", listeners, 1);
	for (size_t i = 0; i < n; i++)
		(void)fcntl(fds[i], F_SETFD, 0);
	if (manifest >= 0) {
		(void)fcntl(manifest, F_SETFD, 0);
		(void)snprintf(number, sizeof number, "%d", manifest);
		(void)setenv("SUCCESSOR_MANIFEST", number, 1);
	}
	for (size_t i = 0; i < inherited_n; i++) /* their own numbers are higher than these */
		(void)dup2(inherited[i], 3 + (int)i);
	if (inherited_n) {
		(void)snprintf(number, sizeof number, "%zu", inherited_n);
		(void)setenv("LISTEN_FDS", number, 1);
		(void)snprintf(number, sizeof number, "%d", (int)getpid());
		(void)setenv("LISTEN_PID", number, 1);
	}
	(void)execl("/proc/self/exe", "successor", NULL);
	_exit(127);
}

static struct successor successor_start(const char *listeners, int manifest, const int *inherited,
					size_t inherited_n)
{
	struct successor successor;
	int in[2], out[2];

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	successor.pid = fork();
	ck_assert_int_ge(successor.pid, 0);
	if (!successor.pid)
		become_successor(listeners, manifest, in[0], out[1], inherited, inherited_n);
	(void)close(in[0]);
	(void)close(out[1]);
	successor.orders = in[1];
	successor.answers = fdopen(out[0], "r");
	ck_assert_ptr_nonnull(successor.answers);
	return successor;
}

static const char *successor_says(struct successor *successor)
{
	static char line[1 << 12];

	*line = '\0';
	(void)!fgets(line, sizeof line, successor->answers);
	return line;
}

static struct successor successor_open(const char *listeners, int manifest)
{
	struct successor successor = successor_start(listeners, manifest, NULL, 0);

	ck_assert_str_eq(successor_says(&successor), "open\n");
	return successor;
}

static size_t ask(struct successor *successor, char letter)
{
	ck_assert_int_eq(write(successor->orders, &letter, 1), 1);
	return (size_t)strtoul(successor_says(successor), NULL, 10);
}

static void successor_end(struct successor *successor, char letter)
{
	int status;

	ck_assert_int_eq(write(successor->orders, &letter, 1), 1);
	(void)close(successor->orders);
	ck_assert_int_eq(waitpid(successor->pid, &status, 0), successor->pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	(void)fclose(successor->answers);
}

#endif
