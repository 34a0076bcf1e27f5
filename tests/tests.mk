# What `make check` is made of. A file tests/check_NAME.c is a test program, linked with
# every room but those with a main(); tests/sim_NAME.c is one whose rooms were compiled against a
# simulated kernel (-DSYS_SIMULATED); tests/root_NAME.c needs root and namespaces.

TESTS     = $(patsubst tests/%.c,%,$(wildcard tests/check_*.c))
SIM_TESTS = $(patsubst tests/%.c,%,$(wildcard tests/sim_*.c))
ROOT_TESTS = $(patsubst tests/%.c,%,$(wildcard tests/root_*.c))

TEST_ROOMS   = $(filter-out $(BUILD)/master/main.o,$(OBJECTS)) \
	$(filter-out %/main.o,$(WEIRLOAD:%.c=$(BUILD)/%.o)) \
	$(filter-out %/weirctl.o,$(WEIRCTL:%.c=$(BUILD)/%.o))
TEST_COMMON  = $(patsubst %,$(BUILD)/tests/%.o,suite harness process client files faulty faulty_peers faulty_datagram load party trace helm throng tracee crowd steer script terminal)
SIM_ROOMS    = $(patsubst %.c,$(BUILD)/sim/%.o,$(REACTOR) $(PROTOCOL))
SIM_COMMON   = $(patsubst %,$(BUILD)/sim/tests/%.o,suite kernel mailroom mail office)
CHECK_CFLAGS := $(shell pkg-config --cflags check 2>/dev/null)
CHECK_LIBS   := $(shell pkg-config --libs check 2>/dev/null || echo -lcheck)

$(BUILD)/tests/%.o: private ALL_CFLAGS += $(CHECK_CFLAGS) -Wno-format-extra-args
$(BUILD)/sim/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(LINE) "CC $< (simulated kernel)"
	$(Q)$(CC) $(ALL_CFLAGS) $(CHECK_CFLAGS) -Wno-format-extra-args -DSYS_SIMULATED -MMD -MP -c $< -o $@

$(TESTS:%=$(BUILD)/tests/%) $(ROOT_TESTS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(TEST_COMMON) $(TEST_ROOMS)
	@mkdir -p $(@D)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(ALL_LDFLAGS) $(CHECK_LIBS) -lm

$(BUILD)/tests/check_page $(BUILD)/tests/check_page_live: $(BUILD)/tests/browser.o
$(BUILD)/tests/check_httpload: $(BUILD)/tests/faulty_http.o

$(SIM_TESTS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/sim/tests/%.o $(SIM_COMMON) $(SIM_ROOMS)
	@mkdir -p $(@D)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(ALL_LDFLAGS) $(CHECK_LIBS)

.SECONDARY:

tests: all $(TESTS:%=$(BUILD)/tests/%) $(SIM_TESTS:%=$(BUILD)/tests/%)

# ONLY="check_pool sim_conn" builds and runs these alone, with the programs that they may need.
# How long a run takes is decided by the last program to end: those that take longest begin first.
LONGEST = $(addprefix check_,httpload scripts_http scripts_earnest scripts pulse top accept spread page page_live udpload move_kill)
CHECKED = $(or $(ONLY),$(LONGEST) $(filter-out $(LONGEST),$(TESTS) $(SIM_TESTS)))
RUN     = WEIR=$(BUILD)/weir BUILD=$(BUILD) CC="$(CC)" V=$(V) tests/run $(BUILD)/tests

check: all designs peers clients $(CHECKED:%=$(BUILD)/tests/%)
	@$(RUN) $(CHECKED)

# Storms, large amounts, thousands of rounds: what finds a fault once in a thousand times.
# If both are asked for, after the others: they would be the load beside those that run alone.
check-long: all designs peers clients $(CHECKED:%=$(BUILD)/tests/%) | $(filter check,$(MAKECMDGOALS))
	@TESTS_LONG=1 $(RUN) $(CHECKED)

check-root: $(BUILD)/weir $(ROOT_TESTS:%=$(BUILD)/tests/%)
	@TESTS_JOBS=1 $(RUN) $(or $(ONLY),$(ROOT_TESTS))

# The same tests under AddressSanitizer, UndefinedBehaviorSanitizer and the leak check.
SANITIZE  = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZED = ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
	$(MAKE) --no-print-directory BUILD=build/asan CFLAGS="$(SANITIZE)"
asan:
	+@$(SANITIZED) check

asan-long:
	+@$(SANITIZED) check-long

coverage:
	@command -v gcov >/dev/null || { echo "make coverage needs gcov" >&2; exit 1; }
	$(MAKE) --no-print-directory BUILD=build/coverage CFLAGS="-O0 -g --coverage" check
	@tests/coverage build/coverage

lint:
	@command -v clang-format >/dev/null || { echo "make lint needs clang-format" >&2; exit 1; }
	$(Q)clang-format --dry-run -Werror $(wildcard */*.c */*.h bench/*/*.c bench/*/*.h)
	$(Q)tests/lint
	@if command -v shellcheck >/dev/null; then shellcheck -x tests/lint tests/run tests/coverage $(SCRIPTS); \
	else echo "make lint: no shellcheck, scripts are not looked at"; fi

.PHONY: tests check check-long check-root asan asan-long coverage lint
