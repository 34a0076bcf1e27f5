/*
 * inherited: turns what a process got from whoever started it into what its program relies on.
 *
 * A parent's choices outlive its exec: signals that it ignores or blocks, its timers, its umask,
 * its soft limits, and the standard descriptors that it closed. One that ignores SIGCHLD, for
 * instance, would leave a master that never hears of a death. So a main() begins with
 * inherited_repair(), before it opens a descriptor or starts a child; so does the new master of
 * an upgrade. The environment is read, and checked, where it is used.
 */
#ifndef REACTOR_BASE_INHERITED_H
#define REACTOR_BASE_INHERITED_H

enum inherited_by {
	INHERITED_BY_SERVER,
	/* A command: ignored signals of a terminal (nohup, a script's `&`) stay ignored, and
	 * SIGPIPE ends it, as it ends others, if nobody reads its output. */
	INHERITED_BY_TOOL,
};

void inherited_repair(enum inherited_by program);

#endif
