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

# A room is a .c with its .h, wherever it lies below its folder. All of them stand in one archive,
# of which each program takes what it uses; what has a main() stands beside it.
rooms    = $(sort $(shell find $(1) -name '*.c'))
objects  = $(patsubst %.c,$(BUILD)/%.o,$(1))
MAINS    = master/main.c master/weirctl/weirctl.c bench/weirload/main.c
ROOMS    = $(filter-out $(MAINS),$(call rooms,reactor protocol worker master bench/weirload))
LIBRARY  = $(BUILD)/weir.a

ifdef EXTRA_PROTOCOL
EXTRA_NAME   = $(basename $(notdir $(EXTRA_PROTOCOL)))
EXTRA_OBJECT = $(BUILD)/extra/$(EXTRA_NAME).o
EXTRA_FLAG   = -DEXTRA_PROTOCOL=$(EXTRA_NAME)
endif

all: $(BUILD)/weir $(BUILD)/weirctl $(BUILD)/weirload

$(BUILD)/weir: $(BUILD)/master/main.o
$(BUILD)/weirctl: $(BUILD)/master/weirctl/weirctl.o
$(BUILD)/weirload: $(BUILD)/bench/weirload/main.o
$(BUILD)/weirload: LIBS = -lm

$(BUILD)/weir $(BUILD)/weirctl $(BUILD)/weirload: $(EXTRA_OBJECT) $(LIBRARY)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(filter %.o,$^) $(LIBRARY) -o $@ $(ALL_LDFLAGS) $(LIBS)

$(LIBRARY): $(call objects,$(ROOMS))
	$(ARCHIVE)

C_FILES = $(sort $(shell find reactor protocol worker master tests bench -name '*.[ch]'))

# All CPUs build, unless make is told how many (-j1); one that make runs shares those it has.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

# A line for each thing that is made, or with V=1 the commands.
Q    = $(if $(V),,@)
LINE = @$(if $(V),:,echo)

# Anew each time, so that no room stays in it that is gone from the tree.
define ARCHIVE
	@mkdir -p $(@D)
	$(LINE) "AR $@"
	$(Q)rm -f $@ && $(AR) qcs $@ $(filter %.o,$^)
endef

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

$(BUILD)/master/metrics/page.o: master/metrics/page.html

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
	install -m 644 master/install/weir.8 $(MAN)/man8/weir.8
	install -m 644 master/install/weirctl.8 $(MAN)/man8/weirctl.8
	install -m 644 bench/weirload/weirload.1 $(MAN)/man1/weirload.1
	sed 's,/usr/local/,$(PREFIX)/,' master/install/weir.service > $(UNIT)/weir.service
	chmod 644 $(UNIT)/weir.service
	install -m 644 master/install/weir.socket master/install/weir-sysctl.conf master/install/weir-limits.conf $(DOC)

format:
	$(Q)clang-format -i $(C_FILES)

clean:
	rm -rf $(BUILD)

include bench/bench.mk
-include tests/tests.mk

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all run install format clean FORCE
