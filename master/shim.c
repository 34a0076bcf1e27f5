#include "master/listen.h"
#include <fcntl.h>
#include <unistd.h>
static struct listen_set inh;
static bool has_inh;
static struct config *the_config;
static struct listen_set *the_set;
bool listen_open(struct listen_set *set, struct config *config, const struct listen_set *before,
		 char *error)
{
	(void)error;
	if (!before) {
		listen_bind_all(set, config);
		the_config = config;
		the_set = set;
		return true;
	}
	*set = *before;
	set->config = config;
	set->slots = config->workers;
	the_set = set;
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		for (size_t j = 0; j < WORKERS_MAX; j++)
			if (set->fds[i][j] >= 0)
				set->fds[i][j] = fcntl(set->fds[i][j], F_DUPFD_CLOEXEC, 0);
	return true;
}
void listen_drop(struct listen_set *set)
{
	listen_stop(set);
}
void listen_numbers(const struct listen_set *set, uint32_t numbers[LISTENERS_MAX])
{
	(void)set;
	for (uint32_t i = 0; i < LISTENERS_MAX; i++)
		numbers[i] = i;
}
bool listen_has(const struct listen_set *set, uint32_t number)
{
	return number < set->config->listeners_n;
}
bool listen_add_slots(struct listen_set *set, size_t n, char *error)
{
	(void)error;
	(void)set;
	(void)n;
	return true;
}
void listen_close_slots(struct listen_set *set, size_t n)
{
	(void)set;
	(void)n;
}
void listen_steer_away(struct listen_set *set, size_t n)
{
	(void)set;
	(void)n;
}
bool listen_is_slots_own(const struct listen_set *set, size_t i)
{
	(void)set;
	(void)i;
	return false;
}
int listen_master_socket(const struct listen_set *set, size_t i)
{
	return set->fds[i][0];
}
void options_free(struct config *config)
{
	(void)config;
}
bool options_reread(struct config *config, char *error)
{
	(void)error;
	*config = *the_config;
	return true;
}

bool listen_write(const struct listen_set *set, FILE *manifest)
{
	for (size_t i = 0; i < set->config->listeners_n; i++)
		for (size_t j = 0; j < set->slots; j++)
			fprintf(manifest, "point %zu %zu %d\n", i, j, set->fds[i][j]);
	return true;
}
size_t listen_descriptors(const struct listen_set *set, int fds[])
{
	size_t n = 0;
	for (size_t i = 0; i < set->config->listeners_n; i++)
		for (size_t j = 0; j < set->slots; j++)
			if (set->fds[i][j] >= 0)
				fds[n++] = set->fds[i][j];
	return n;
}
bool listen_read_line(const char *line, char *error)
{
	size_t i, j;
	int fd;
	(void)error;
	if (!has_inh)
		for (size_t a = 0; a < LISTENERS_MAX; a++)
			for (size_t b = 0; b < WORKERS_MAX; b++)
				inh.fds[a][b] = -1;
	has_inh = true;
	if (sscanf(line, "point %zu %zu %d", &i, &j, &fd) != 3)
		return false;
	inh.fds[i][j] = fd;
	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return true;
}
void listen_settle(void (*took)(unsigned id, int fd))
{
	(void)took;
}
void listen_handed_over(struct listen_set *set, bool h)
{
	(void)set;
	(void)h;
}
void listen_serve(struct listen_set *set)
{
	(void)set;
}
