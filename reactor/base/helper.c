#include "reactor/base/helper.h"

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/base/sys.h"

pid_t helper_fork(void)
{
	pid_t parent = getpid(), pid = sys_fork();

	if (pid)
		return pid;
	sys_count_into(NULL);
	(void)sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* the parent ended before that */
		_exit(1);
	log_name(NULL);
	check_witness(NULL);
	return 0;
}
