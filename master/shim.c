#include "master/listen.h"
#include <fcntl.h>
#include <unistd.h>
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
