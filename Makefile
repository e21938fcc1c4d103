# SPDX-License-Identifier: GPL-2.0
#
# Tests of lazy PTE page table allocation for THP.
#
# In a kernel tree this is an ordinary kselftest directory. Anywhere else the
# kselftest build rules come from KSRC, a kernel tree, which defaults to the
# few files that "make deps" has put into the cache. "make help" says more.

TEST_GEN_PROGS := thp_lazy_split thp_split_enomem thp_fork_copy thp_mremap
TEST_GEN_PROGS += thp_migrate
TEST_PROGS_EXTENDED := run_tests.sh
# For run_tests.sh: its report, what it shows, other formats
TEST_FILES := report findings.awk docs/call-sites.md

# lib.mk sets OUTPUT for the outermost make only, and this one also runs under
# others (check, deps).
OUTPUT ?= $(abspath $(or $(O),$(CURDIR)))

ifneq ($(wildcard ../lib.mk),)
selftests := ..
else
standalone := y
override OUTPUT := $(abspath $(OUTPUT))
home := $(or $(HOME),$(shell getent passwd "$$(id -u)" | cut -d: -f6))
CACHE := $(or $(XDG_CACHE_HOME),$(home)/.cache)/thp_lazy_pte
KSRC ?= $(CACHE)/linux
selftests := $(KSRC)/tools/testing/selftests
endif

goals := $(or $(MAKECMDGOALS),all)
# install with INSTALL_PATH copies this directory alone, as in a kernel tree.
packed := $(filter export gen_tar,$(goals))$(and $(KSFT_INSTALL_PATH),$(filter install,$(goals)))

ifeq ($(standalone)$(filter deps,$(goals)),ydeps)
# What deps brings decides how the rest of this file reads, so every other
# goal waits for it and then gets a make of its own.
later := $(filter-out deps help,$(goals))

deps:
	@./deps.sh $(if $(filter command environment,$(firstword \
		$(origin KSRC))),-k '$(KSRC)') '$(CACHE)' $(filter check lab,$(goals))

$(firstword $(later)): deps
	@$(MAKE) --no-print-directory $(later)

$(wordlist 2,$(words $(later)),$(later)): $(firstword $(later))
	@:

.PHONY: $(goals)

else ifneq ($(and $(standalone),$(packed)),)
# Into, or by the rules of, a kernel tree: export.sh makes one of its own.
given = $(foreach v,$1,$(if $(filter command environment,$(firstword $(origin $v))),'$v=$($v)'))

export:
	@KSRC='$(KSRC)' ./export.sh export '$(DIR)'

install gen_tar:
	@KSRC='$(KSRC)' ./export.sh $@ '$(or $(KSFT_INSTALL_PATH),$(OUTPUT)/kselftest_install)' \
		$(call given,ARCH CROSS_COMPILE LLVM CC CFLAGS LDFLAGS USERCFLAGS USERLDFLAGS \
		HAVE_LIBURING HAVE_LIBNUMA)

.PHONY: export install gen_tar

else ifneq ($(filter-out help,$(goals)),)

CFLAGS += -Wall -Wextra -O2 -g -Ilib $(addprefix -I,$(wildcard lib/*/)) -MMD -MP $(KHDR_INCLUDES)
# A 32-bit program, too, reaches all of /proc/PID/mem.
CFLAGS += -D_FILE_OFFSET_BITS=64
# Not -I: the harness macros are not ours to make -Wextra clean.
CFLAGS += -isystem $(selfdir)
CFLAGS += $(if $(HAVE_LIBURING),-DHAVE_LIBURING)
CFLAGS += $(if $(HAVE_LIBNUMA),-DHAVE_LIBNUMA)
LDLIBS += $(VAR_LDLIBS)

# Everything but the programs themselves
objdir := $(OUTPUT)/obj
EXTRA_CLEAN := $(objdir)

ifneq ($(wildcard $(selftests)/lib.mk),)
include $(selftests)/lib.mk
else ifneq ($(filter-out clean,$(goals)),)
$(error no kselftest build rules in $(selftests): run "make deps", or \
	give KSRC=/path/to/linux)
else
clean:
	rm -rf $(addprefix $(OUTPUT)/,$(TEST_GEN_PROGS)) $(EXTRA_CLEAN)
endif

ifneq ($(filter-out clean emit_tests,$(goals)),)

# Linked with the flags of the real thing: what the host has says nothing about
# a cross or a static build. HAVE_LIBURING= and HAVE_LIBNUMA= do without.
try_link = $(shell t=$$(mktemp) && echo '$(1)' | $(CC) $(USERCFLAGS) $(2) \
	-x c - $(LDFLAGS) $(3) -o $$t 2>/dev/null && echo y; rm -f $$t)
use_liburing := int main(void) { return io_uring_queue_init(1, 0, 0); }
use_libnuma := int main(void) { return numa_available(); }

ifeq ($(origin HAVE_LIBURING),undefined)
HAVE_LIBURING := $(call try_link,$(use_liburing),-include liburing.h,-luring)
endif
ifeq ($(origin HAVE_LIBNUMA),undefined)
HAVE_LIBNUMA := $(call try_link,$(use_libnuma),-include numa.h,-lnuma)
endif

endif

# Indented: kselftest_deps.sh takes what stands at the start of a line for libraries
# that have to be there.
ifneq ($(HAVE_LIBURING),)
  VAR_LDLIBS += -luring
endif
ifneq ($(HAVE_LIBNUMA),)
  VAR_LDLIBS += -lnuma
endif

lib_objs := $(patsubst %.c,$(objdir)/%.o,$(wildcard lib/*/*.c))
prog_objs := $(patsubst $(OUTPUT)/%,$(objdir)/%.o,$(TEST_GEN_PROGS))
check_progs := $(patsubst %.c,$(objdir)/%,$(wildcard check/*.c))

-include $(wildcard $(addprefix $(objdir)/,*.d */*.d */*/*.d))

# Other flags or another compiler make old objects wrong, not just old.
flags = $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(LDLIBS)
$(objdir)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(flags)' | cmp -s - $@ || echo '$(flags)' > $@

$(objdir)/%.o: %.c $(objdir)/flags
	$(call msg,CC,,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

$(TEST_GEN_PROGS): $(OUTPUT)/%: $(objdir)/%.o $(lib_objs)
	$(call msg,LINK,,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(check_progs): %: %.o $(lib_objs)
	$(call msg,LINK,,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# Make would delete them as intermediate files.
.SECONDARY: $(prog_objs) $(addsuffix .o,$(check_progs))

FORCE:
.PHONY: FORCE

ifdef standalone

# The run_tests of lib.mk calls this: here a person reads the output, so run
# everything with one verdict.
RUN_TESTS = OUTPUT='$(OUTPUT)' ./run_tests.sh $(ARGS)

check: all $(check_progs)
	@CACHE='$(CACHE)' KSRC='$(KSRC)' KTREES='$(KTREES)' \
		OUTPUT='$(OUTPUT)' ./check/run.sh $(STEPS)

# What follows from the code in README.md and docs/
documents: all $(objdir)/check/rows
	@t=$$(mktemp -d) && OUTPUT='$(OUTPUT)' ./check/documents.sh "$$t" && \
		cp "$$t/README.md" . && cp "$$t/ids" check/ && \
		cp "$$t/contract.md" "$$t/call-sites.md" docs/; \
		status=$$?; rm -rf "$$t"; exit $$status

.PHONY: check documents

# The manual pages, of what --help says
man: $(objdir)/man/run_tests.sh.1 $(objdir)/man/lab.1

$(objdir)/man/run_tests.sh.1: run_tests.sh man/run_tests.sh.h2m
$(objdir)/man/lab.1: lab/lab man/lab.h2m
$(objdir)/man/%.1:
	@mkdir -p $(@D)
	@help2man --no-info --no-discard-stderr --version-string=thp_lazy_pte \
		--include $(lastword $^) -o $@ ./$<

.PHONY: man

-include lab/lab.mk

endif # standalone

endif # not deps, not help

help:
	@echo 'make deps       install what is missing (Debian), fill the cache'
	@echo 'make            build the programs into $$(OUTPUT), here by default'
	@echo 'make run_tests  build, then run them all; ARGS= goes to run_tests.sh'
	@echo 'make check      check this repository itself; STEPS= picks some'
	@echo 'make documents  make anew what README.md and docs/ say of the code'
	@echo 'make install    INSTALL_PATH=dir: the suite; KSFT_INSTALL_PATH=dir: with the'
	@echo '                kselftest runner, as the kernel does'
	@echo 'make gen_tar    an archive of that, in KSFT_INSTALL_PATH (kselftest_install)'
	@echo 'make export     DIR=dir: the directory and patches for a kernel tree'
	@echo 'make man        manual pages of run_tests.sh and lab, in obj/man (help2man)'
	@echo 'make clean      remove what was built'
	@echo
	@echo 'KSRC=/path/to/linux        kselftest rules and headers from this tree'
	@echo 'KTREES="dir dir"           more kernel sources for make check'
	@echo 'OUTPUT=dir                 build there'
	@echo 'CROSS_COMPILE=, LLVM=1     as in a kernel tree'
	@echo 'USERLDFLAGS=-static        programs that run on any machine'
	@echo 'HAVE_LIBURING=, HAVE_LIBNUMA=  build without that library'
	@echo 'THP_LAZY_EXPECT=lazy       run_tests: what this kernel has to be'
	@echo
	@echo 'In a kernel tree, at tools/testing/selftests/thp_lazy_pte:'
	@echo 'make -C tools/testing/selftests TARGETS=thp_lazy_pte run_tests'

.PHONY: help
