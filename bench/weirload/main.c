/* weirload: drives load at a server, checks every byte, and says what it measured. */
#include "bench/weirload/report/validity.h"
#include "bench/weirload/plan/plan.h"
#include "bench/weirload/report/report.h"
#include "bench/weirload/run.h"
#include "bench/weirload/talk/talk.h"
#include "protocol/protocol.h"
#include "reactor/base/inherited.h"
#include "reactor/base/log.h"

int main(int argc, char **argv)
{
	static struct outcome outcome;
	struct plan plan;

	log_name("weirload");
	inherited_repair(INHERITED_BY_TOOL);
	protocols_register();
	plan_read(&plan, argc, argv);
	if (plan.talk)
		return talk(&plan.endpoint);
	report_open(&plan);
	run(&outcome, &plan);
	validity_conclude(&outcome, &plan);
	report(&outcome, &plan);
	return outcome.exit_status;
}
