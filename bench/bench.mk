# bench/: weirload, the classic server designs, the peers, and the scripts that measure them.
#
# weirload is built with weir, and so is what bench/slow and bench/http need of the tree;
# `make designs`, `make peers` and `make clients` build the rest.

-include bench/designs/designs.mk
-include bench/peers/peers.mk

# Clients that only scripts need.
$(BUILD)/clients/%: $(BUILD)/bench/clients/%.o $(LIBRARY)
	@mkdir -p $(@D)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(ALL_LDFLAGS)

clients: $(BUILD)/clients/slowly

# What bench/slow, bench/http, bench/million and bench/members cannot do without is built with weir.
all: clients $(BUILD)/peers/http_floor $(BUILD)/peers/hold_floor $(BUILD)/peers/fan_floor

SCRIPTS = $(addprefix bench/,lib.sh servers.sh load.sh figures.sh ready.sh namespace.sh ladder compare syscalls memory accept scale chat http slow profile million members suite)

# The short suite: under two minutes, one table.
bench: all designs peers
	@BUILD=$(BUILD) bench/suite $(ARGS)

.PHONY: bench clients
