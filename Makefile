# weir: make, make run, make check, make check-long, make check-root, make asan, make asan-long,
#       make coverage, make lint, make designs, make peers, make clients, make bench, make format,
#       make install PREFIX= DESTDIR=, make clean
#
#   CC=clang                      another compiler (musl-gcc with STATIC=1: one static binary)
#   EXTRA_PROTOCOL=path/upper.c   a protocol that lives outside the tree
#   BUILD=dir                     where everything that is made goes
#   V=1                           shows whole commands, and with check the figures of tests
#   ONLY="check_pool sim_conn"    with check: these test programs alone

ifeq ($(origin CC),default)
CC = gcc
endif
BUILD  ?= build
PREFIX ?= /usr/local
SBIN    = $(DESTDIR)$(PREFIX)/sbin
BIN     = $(DESTDIR)$(PREFIX)/bin
MAN     = $(DESTDIR)$(PREFIX)/share/man
DOC     = $(DESTDIR)$(PREFIX)/share/doc/weir
UNIT    = $(DESTDIR)$(PREFIX)/lib/systemd/system

# Frame pointers and symbols stay in the release: perf and gdb see what runs.
OPTIMIZE ?= -O2
CFLAGS   ?= $(OPTIMIZE) -g -fno-omit-frame-pointer
WARNINGS  = -Wall -Wextra -Wshadow -Wconversion
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -I. $(WARNINGS) $(CFLAGS)
ALL_LDFLAGS = $(LDFLAGS) $(if $(STATIC),-static)

REACTOR  = $(wildcard reactor/*.c)
PROTOCOL = $(wildcard protocol/*.c)
WORKER   = $(wildcard worker/*.c)
WEIRCTL  = $(wildcard master/weirctl*.c)
MASTER   = $(filter-out $(WEIRCTL),$(wildcard master/*.c))
SOURCES  = $(REACTOR) $(PROTOCOL) $(WORKER) $(MASTER)
OBJECTS  = $(SOURCES:%.c=$(BUILD)/%.o)
REACTOR_OBJECTS  = $(REACTOR:%.c=$(BUILD)/%.o)
PROTOCOL_OBJECTS = $(PROTOCOL:%.c=$(BUILD)/%.o)

ifdef EXTRA_PROTOCOL
EXTRA_NAME   = $(basename $(notdir $(EXTRA_PROTOCOL)))
EXTRA_OBJECT = $(BUILD)/extra/$(EXTRA_NAME).o
EXTRA_FLAG   = -DEXTRA_PROTOCOL=$(EXTRA_NAME)
endif

# Beside what it is made of: the loop's log, how times are written, and what a process is.
WEIRCTL_ROOMS = $(REACTOR) $(PROTOCOL) worker/endpoint.c worker/config.c master/proc.c
WEIRCTL_OBJECTS = $(patsubst %.c,$(BUILD)/%.o,$(WEIRCTL) $(WEIRCTL_ROOMS))

all: $(BUILD)/weir $(BUILD)/weirctl $(BUILD)/weirload

$(BUILD)/weir: $(OBJECTS) $(EXTRA_OBJECT)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(ALL_LDFLAGS)

$(BUILD)/weirctl: $(WEIRCTL_OBJECTS) $(EXTRA_OBJECT)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(ALL_LDFLAGS)

# All CPUs build, unless make is told how many (-j1); one that make runs shares those it has.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

# A line for each thing that is made, or with V=1 the commands.
Q    = $(if $(V),,@)
LINE = @$(if $(V),:,echo)

# Whatever changes how things are built builds them anew.
FLAGS_NOW = $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(EXTRA_PROTOCOL)
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(FLAGS_NOW)' | cmp -s - $@ || echo '$(FLAGS_NOW)' > $@
FORCE:

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(LINE) "CC $<"
	$(Q)$(CC) $(ALL_CFLAGS) $(if $(filter protocol/protocol.c,$<),$(EXTRA_FLAG)) -MMD -MP -c $< -o $@

$(BUILD)/master/page.o: master/page.html

$(EXTRA_OBJECT): $(EXTRA_PROTOCOL) $(BUILD)/flags
	@mkdir -p $(@D)
	$(LINE) "CC $<"
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

run: all
	$(BUILD)/weir $(ARGS)

install: all
	install -d $(SBIN) $(BIN) $(MAN)/man8 $(MAN)/man1 $(DOC) $(UNIT)
	install -m 755 $(BUILD)/weir $(SBIN)/weir
	install -m 755 $(BUILD)/weirctl $(SBIN)/weirctl
	install -m 755 $(BUILD)/weirload $(BIN)/weirload
	install -m 644 master/weir.8 $(MAN)/man8/weir.8
	install -m 644 master/weirctl.8 $(MAN)/man8/weirctl.8
	install -m 644 bench/weirload/weirload.1 $(MAN)/man1/weirload.1
	sed 's,/usr/local/,$(PREFIX)/,' master/weir.service > $(UNIT)/weir.service
	chmod 644 $(UNIT)/weir.service
	install -m 644 master/weir.socket master/weir-sysctl.conf master/weir-limits.conf $(DOC)

format:
	clang-format -i $(wildcard */*.c */*.h bench/*/*.c bench/*/*.h)

clean:
	rm -rf $(BUILD)

include bench/bench.mk
-include tests/tests.mk

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all run install format clean FORCE
