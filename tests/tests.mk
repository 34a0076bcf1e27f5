# What `make check` is made of. Wherever it lies below tests/, a file check_NAME.c is a test program,
# sim_NAME.c one whose rooms were compiled against a simulated kernel (-DSYS_SIMULATED), and
# root_NAME.c one that needs root and namespaces. The program is $(BUILD)/tests/check_NAME.

TEST_FILES := $(call rooms,tests)
tests_of    = $(foreach file,$(filter-out tests/support/%,$(TEST_FILES)),$(if $(filter $(1)_%,$(notdir $(file))),$(file)))
names_of    = $(basename $(notdir $(call tests_of,$(1))))
TESTS      := $(call names_of,check)
SIM_TESTS  := $(call names_of,sim)
ROOT_TESTS := $(call names_of,root)

# What tests use: $(BUILD)/tests/support.a, and of the simulated kernel $(BUILD)/sim/tests/support.a.
SUPPORT     := $(filter tests/support/%,$(TEST_FILES))
SIM_SUPPORT := $(filter tests/support/sim/%,$(SUPPORT)) tests/support/suite.c
SIM_ROOMS    = $(call rooms,reactor protocol)
CHECK_CFLAGS := $(shell pkg-config --cflags check 2>/dev/null)
CHECK_LIBS   := $(shell pkg-config --libs check 2>/dev/null || echo -lcheck)

$(BUILD)/tests/%.o: private ALL_CFLAGS += $(CHECK_CFLAGS) -Wno-format-extra-args
$(BUILD)/sim/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(LINE) "CC $< (simulated kernel)"
	$(Q)$(CC) $(ALL_CFLAGS) $(CHECK_CFLAGS) -Wno-format-extra-args -DSYS_SIMULATED -MMD -MP -c $< -o $@

$(BUILD)/tests/support.a: $(call objects,$(filter-out tests/support/sim/%,$(SUPPORT)))
	$(ARCHIVE)
$(BUILD)/sim/tests/support.a: $(patsubst %.c,$(BUILD)/sim/%.o,$(SIM_SUPPORT))
	$(ARCHIVE)
$(BUILD)/sim/weir.a: $(patsubst %.c,$(BUILD)/sim/%.o,$(SIM_ROOMS))
	$(ARCHIVE)

define TEST_LINK
	@mkdir -p $(@D)
	$(LINE) "LD $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(filter %.o,$^) $(filter %/support.a,$^) $(filter %/weir.a,$^) -o $@ $(ALL_LDFLAGS) $(CHECK_LIBS) -lm
endef

# Its own object is wherever its file is.
$(foreach file,$(call tests_of,check) $(call tests_of,root),$(eval \
	$(BUILD)/tests/$(basename $(notdir $(file))): $(BUILD)/$(file:.c=.o)))
$(foreach file,$(call tests_of,sim),$(eval \
	$(BUILD)/tests/$(basename $(notdir $(file))): $(BUILD)/sim/$(file:.c=.o)))

$(patsubst %,$(BUILD)/tests/%,$(TESTS) $(ROOT_TESTS)): $(EXTRA_OBJECT) $(BUILD)/tests/support.a $(LIBRARY)
	$(TEST_LINK)
$(patsubst %,$(BUILD)/tests/%,$(SIM_TESTS)): $(BUILD)/sim/tests/support.a $(BUILD)/sim/weir.a
	$(TEST_LINK)

.SECONDARY:

tests: all $(TESTS:%=$(BUILD)/tests/%) $(SIM_TESTS:%=$(BUILD)/tests/%)

# ONLY="check_pool sim_conn" builds and runs these alone, with the programs that they may need.
# How long a run takes is decided by the last program to end: those that take longest begin first.
LONGEST = $(addprefix check_,httpload scripts_http scripts_earnest scripts liveness top accept spread page page_live udpload move_kill)
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

lint: all
	@command -v clang-format >/dev/null || { echo "make lint needs clang-format" >&2; exit 1; }
	$(Q)clang-format --dry-run -Werror $(C_FILES)
	$(Q)tests/lint
	$(Q)tests/circles $(BUILD) reactor protocol worker master
	$(Q)tests/circles $(BUILD) reactor protocol worker bench/weirload
	@if command -v shellcheck >/dev/null; then shellcheck -x tests/lint tests/run tests/circles tests/coverage $(SCRIPTS); \
	else echo "make lint: no shellcheck, scripts are not looked at"; fi

.PHONY: tests check check-long check-root asan asan-long coverage lint
