# The classic server designs, $(BUILD)/designs/NAME. Each is linked with weir's own protocols and
# what they use of the reactor, except for its connections: conn_send() and the other verbs of a
# connection come from verbs.c and one of blocking.c, pending.c and datagram.c.

DESIGNS = iterative iterative-udp fork fork-udp spawn pass accept-many thread thread-chat select poll floor
DESIGN_PROGRAMS = $(DESIGNS:%=$(BUILD)/designs/%) $(BUILD)/designs/spawn-worker

DESIGN_ROOMS = $(patsubst %,$(BUILD)/bench/designs/%.o,serve children verbs)

$(BUILD)/designs/iterative-udp $(BUILD)/designs/fork-udp: DESIGN_VERBS = datagram
$(BUILD)/designs/select $(BUILD)/designs/poll: DESIGN_VERBS = pending
DESIGN_VERBS = blocking
$(BUILD)/designs/thread $(BUILD)/designs/thread-chat: DESIGN_LIBS = -pthread

$(DESIGN_PROGRAMS): $(BUILD)/designs/%: $(BUILD)/bench/designs/%.o $(DESIGN_ROOMS) \
		$(patsubst %,$(BUILD)/bench/designs/%.o,blocking pending datagram) $(EXTRA_OBJECT) $(LIBRARY)
	@mkdir -p $(@D)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $< $(DESIGN_ROOMS) $(BUILD)/bench/designs/$(DESIGN_VERBS).o $(EXTRA_OBJECT) \
		$(LIBRARY) -o $@ $(ALL_LDFLAGS) $(DESIGN_LIBS)

designs: $(DESIGN_PROGRAMS)
$(BUILD)/designs/spawn: $(BUILD)/designs/spawn-worker

# tests/bench/check_designs.c and others run them.
tests: designs

.PHONY: designs
