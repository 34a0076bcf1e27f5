/*
 * inherited: what a process has from whoever started it, made into what its program relies on.
 *
 * A parent's choices outlive its exec: signals that it ignores or blocks, its timers, its umask,
 * its soft limits, and the standard descriptors that it closed. One that ignores SIGCHLD, for
 * instance, would leave a master that never hears of a death. So a main() begins with
 * inherited_repair(), before it opens a descriptor or starts a child; the next master of an
 * upgrade does, too. The environment is read, and checked, where it is used.
 */
#ifndef REACTOR_BASE_INHERITED_H
#define REACTOR_BASE_INHERITED_H

enum inherited_by {
	INHERITED_BY_SERVER,
	/* A command: what keeps it out of a terminal's way (nohup, a script's `&`) stays, and
	 * it ends, as others do, where nobody reads its output. */
	INHERITED_BY_TOOL,
};

void inherited_repair(enum inherited_by program);

#endif
