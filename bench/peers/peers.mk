# The peers: echo servers as the users of other libraries and languages write them; node and go
# speak http too. Those whose packages are installed are built; `make peers` names the others, and
# what they need. http_floor, hold_floor and fan_floor need nothing.

PEERS = libevent libuv node go io_uring http_floor hold_floor fan_floor

PEER_IN_C      = libevent libuv io_uring http_floor hold_floor fan_floor
PKG_libevent   = libevent_core
PKG_libuv      = libuv
PKG_io_uring   = liburing
NEEDS_libevent = libevent-dev
NEEDS_libuv    = libuv1-dev
NEEDS_io_uring = liburing-dev
NEEDS_node     = nodejs
NEEDS_go       = golang-go

peer_tool     = $(shell command -v $(1) 2>/dev/null)
PEERS_BUILT  := $(foreach p,$(PEER_IN_C),$(if $(PKG_$(p)),$(if $(shell pkg-config --exists $(PKG_$(p)) 2>/dev/null && echo yes),$(p)),$(p)))
PEERS_BUILT  += $(foreach p,node go,$(if $(call peer_tool,$(p)),$(p)))
PEERS_MISSING = $(filter-out $(PEERS_BUILT),$(PEERS))

peers: $(PEERS_BUILT:%=$(BUILD)/peers/%)
	@:$(foreach p,$(PEERS_MISSING),; echo "peer $(p): not built, needs $(NEEDS_$(p))")

peer_flags = $(if $(PKG_$(1)),$(shell pkg-config $(2) $(PKG_$(1)) 2>/dev/null))

$(BUILD)/bench/peers/%.o: private ALL_CFLAGS += $(call peer_flags,$*,--cflags)

$(PEER_IN_C:%=$(BUILD)/peers/%): $(BUILD)/peers/%: $(BUILD)/bench/peers/%.o $(BUILD)/bench/peers/peer.o $(LIBRARY)
	@mkdir -p $(@D)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(LDFLAGS) $(call peer_flags,$*,--libs)

$(BUILD)/peers/node: bench/peers/node.js
	@mkdir -p $(@D)
	$(LINE) "CP $<"
	$(Q)install -m 755 $< $@

# Without cgo and modules: nothing but the compiler, and nothing from elsewhere.
$(BUILD)/peers/go: bench/peers/go.go
	@mkdir -p $(@D)
	$(LINE) "GO $<"
	$(Q)CGO_ENABLED=0 GO111MODULE=off GOFLAGS= GOCACHE=$(abspath $(BUILD))/peers/.cache go build -o $@ $<

.PHONY: peers

# Its tests are part of make check.
tests: peers
