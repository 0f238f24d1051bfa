# SPDX-License-Identifier: Apache-2.0
# One non-recursive Makefile. `make help` lists what there is to ask for.
#
# VARIANT picks how things are compiled: release (default), debug, asan (ASan+UBSan), tsan, cov, fuzz (clang's
# libFuzzer). Release programs land in build/, the others in build/<variant>/. BUILD moves the whole build folder.

VARIANT ?= release
BUILD   ?= build
CC      := $(if $(filter fuzz,$(VARIANT)),clang-14,$(if $(filter default undefined,$(origin CC)),gcc,$(CC)))
PROGS   := controller speaker
Q       := $(if $(V),,@)
CLANG   := $(findstring clang,$(CC))
O       := $(BUILD)/obj/$(VARIANT)$(if $(CLANG),-clang)
BIN     := $(BUILD)$(if $(filter release,$(VARIANT)),,/$(VARIANT))$(if $(CLANG),$(if $(filter fuzz,$(VARIANT)),,/clang))

VERSION ?= 0.16.1
comma   := ,
PKGS    := libcurl libcjson yaml-0.1 libuv openssl libpcap libmnl
PKGCF   := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS    := -Wl,--as-needed $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -lpthread
# The programs themselves take libcurl and libpcap without what we never call, where test/deps could build them.
LEAN    := $(shell test/deps --lean 2>/dev/null)
LEANLIBS := $(if $(LEAN),-Wl$(comma)--as-needed $(LEAN)/lib/libcurl.a $(LEAN)/lib/libpcap.a -lnghttp2) $(LIBS)
TLIBS   := $(shell pkg-config --libs check 2>/dev/null)

WARN    := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes \
           -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wimplicit-fallthrough -Wnull-dereference \
           $(if $(CLANG),-Wno-gnu-zero-variadic-macro-arguments,-Wjump-misses-init -Wlogical-op -Wduplicated-cond)
OPT_release := -O2 -g -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
OPT_debug   := -Og -g3
OPT_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan    := -O1 -g -fsanitize=thread
OPT_cov     := -O0 -g --coverage
OPT_fuzz    := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
ifeq ($(OPT_$(VARIANT)),)
$(error VARIANT is one of release debug asan tsan cov fuzz, not "$(VARIANT)")
endif
CCALL   := -std=gnu17 -D_GNU_SOURCE -I. $(PKGCF) $(OPT_$(VARIANT)) $(WARN) -fPIE -DVERSION='"$(VERSION)"' $(CFLAGS)
LDALL   := $(OPT_$(VARIANT)) -pie -Wl,-z,relro,-z,now $(LDFLAGS)

SRC     := $(wildcard common/*.c common/*/*.c $(PROGS:%=%/*.c) $(PROGS:%=%/*/*.c))
LIBOBJ  := $(patsubst %.c,$(O)/%.o,$(filter-out $(PROGS:%=%/main.c),$(SRC)))
BINS    := $(PROGS:%=$(BIN)/%)
UNITS   := $(patsubst test/unit/%.c,$(BIN)/unit/%,$(sort $(wildcard test/unit/check_*.c)))
FUZZERS := $(patsubst test/fuzz/%.c,$(BIN)/fuzz/%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
LABTOOLS := $(patsubst test/lab/%.c,$(BIN)/lab/%,$(wildcard test/lab/*.c))
HELP    := $(patsubst %.c,$(O)/%.o,$(wildcard test/lib/*.c))
WRAP    := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup

.PHONY: all deps demo test unit replay fuzzers labtools fuzz bench lint format help clean FORCE
.SECONDARY:
all: $(BINS)

deps: ## install packages and build the lab's tools (silent when all is there)
	$(Q)test/deps
demo: deps ## the main job on real parts, told step by step; KEEP=1 leaves the cluster up
	$(Q)$(MAKE) -s all labtools
	$(Q)python3 -m test.lab.demo $(if $(KEEP),--keep)
test: deps ## everything: lint, unit tests (gcc, ASan+UBSan, TSan, clang), corpora, lab
	$(Q)python3 -m test.run
bench: deps ## every figure of the documents, measured now
	$(Q)$(MAKE) -s all labtools
	$(Q)python3 -m test.bench
lint: ## format, warnings as errors with gcc and clang, banned functions, pure files, size budgets
	$(Q)python3 -m test.lint
format: ## lets clang-format rewrite the C files
	$(Q)clang-format-14 -i $$(git ls-files -co --exclude-standard '*.c' '*.h')
unit: $(UNITS) ## unit tests of this VARIANT; T=check_ip runs one
	$(Q)for t in $(if $(T),$(BIN)/unit/$(T),$(UNITS)); do $$t || exit 1; done
replay: $(FUZZERS) ## the fuzz corpora through their targets (not VARIANT=fuzz)
	$(Q)for f in $(FUZZERS); do echo "  $${f##*/}"; $$f test/corpus/$${f##*/fuzz_} || exit 1; done
fuzzers: $(FUZZERS)
labtools: $(LABTOOLS)
fuzz: ## fuzz every target for FUZZ_SECONDS each (default 60); finds land in build/finds
	$(Q)test/fuzz/run $(or $(FUZZ_SECONDS),60)
help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile
clean:
	rm -rf $(BUILD)

define archive
$(O)/$(1).a: $(filter $(O)/$(1)/%,$(LIBOBJ))
	$(Q)mkdir -p $$(@D); rm -f $$@; $(AR) rcsD $$@ $$^
endef
$(foreach a,common $(PROGS),$(eval $(call archive,$(a))))

LINK = @mkdir -p $(@D); $(if $(V),,echo '  LD    $@')
$(BINS): $(BIN)/%: $(O)/%/main.o $(O)/%.a $(O)/common.a $(O)/lean
	$(LINK)
	$(Q)$(CC) $(LDALL) -Wl,--gc-sections -o $@ $(filter-out %/lean,$^) $(LEANLIBS)
$(UNITS): $(BIN)/unit/%: $(O)/test/unit/%.o $(HELP) $(PROGS:%=$(O)/%.a) $(O)/common.a
	$(LINK)
	$(Q)$(CC) $(LDALL) $(WRAP) -o $@ $^ $(TLIBS) $(LIBS)
$(FUZZERS): $(BIN)/fuzz/%: $(O)/test/fuzz/%.o $(if $(filter fuzz,$(VARIANT)),,$(O)/test/fuzz/replay.o) \
		$(PROGS:%=$(O)/%.a) $(O)/common.a
	$(LINK)
	$(Q)$(CC) $(LDALL) $(if $(filter fuzz,$(VARIANT)),-fsanitize=fuzzer) -o $@ $^ $(LIBS)
$(LABTOOLS): $(BIN)/lab/%: $(O)/test/lab/%.o
	$(LINK)
	$(Q)$(CC) $(LDALL) -o $@ $^ $(LIBS)
$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D); $(if $(V),,echo '  CC    $<')
	$(Q)$(CC) $(CCALL) -MMD -MP -c -o $@ $<

# A changed compiler or flag rebuilds everything; an unchanged one rebuilds nothing.
$(O)/flags: FORCE
	@mkdir -p $(@D); echo '$(subst ','\'',$(CC) $(CCALL))' | cmp -s - $@ || echo '$(subst ','\'',$(CC) $(CCALL))' >$@

$(O)/lean: FORCE
	@mkdir -p $(@D); echo '$(LEANLIBS)' | cmp -s - $@ || echo '$(LEANLIBS)' >$@

-include $(patsubst %.c,$(O)/%.d,$(SRC) $(wildcard test/unit/*.c test/lib/*.c test/fuzz/*.c test/lab/*.c))
