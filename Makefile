# SPDX-License-Identifier: GPL-2.0
#
# Every command of the project. Each installs what it lacks, keeps what it
# downloads and builds in one cache directory, and can be run alone; what
# does the work is in lab/.

# Tiers that build no kernel but UML, and tiers that build others.
CHECK := lab static litmus kunit stock hmm guest
KERNELS := mutants-first mm-first build debug
LONG := mutants fuzz repeat package series soak matrix mm pfncache drivers arch \
	memory-error kernels-all sanitizers steady

.PHONY: help run module mirrorstat deb install bench docs series check clean \
	check-kernels $(CHECK:%=check-%) $(KERNELS:%=check-%) $(LONG:%=check-%)

help:
	@echo 'The main job'
	@echo '  run            real clients of vhost-net on mirrored rings, disturbed,'
	@echo '                 under a stock kernel                 2 min; 4 the first time'
	@echo '  module         modules for the kernel that runs here            20 s'
	@echo '  mirrorstat     whose rings are mirrored, and why not: builds the tool    1 s'
	@echo '  deb, install   a DKMS package of them, for kernels of 6.12, 7.2, 7.3'
	@echo '                 whose own source is installed                    1 min'
	@echo '  bench          the guard and its peers in tables and plots, natively, in'
	@echo '                 UML and QEMU: wants a quiet machine 13 min; 30 the first time'
	@echo '  docs           the documentation as HTML, by the 7.3 source      30 s'
	@echo '  series         the upstream series for "git am" on 7.3; BASE=6.12      10 s'
	@echo
	@echo 'Tests (the last line is "N passed, N failed")'
	@echo '  check          the seven that follow: they build no kernel but UML'
	@echo '  check-lab      the harness itself                               1 min'
	@echo '  check-static   sources: checkpatch, sparse, docs, coccinelle    2 min'
	@echo '  check-litmus   the section guard against the memory model       1 min'
	@echo '  check-kunit    KUnit under UML 7.3: KASAN, lockdep   20 s; 7 min the first time'
	@echo '  check-stock    kselftests on the stock 6.12 kernel              3 min'
	@echo "  check-hmm      lib/test_hmm.c, the kernel's own and on mirrors    1 min"
	@echo '  check-guest    one nested guest, one client: make run in short  2 min'
	@echo
	@echo '  check-kernels  the four that follow: kernels to find bugs with'
	@echo '  check-mutants-first  a wrong change to each invariant, in UML   3 min'
	@echo "  check-mm-first       three of the kernel's own tests of mm      1 min"
	@echo '  check-build    7.3 with KCSAN, kselftests            5 min; 17 the first time'
	@echo '  check-debug    6.12 with KASAN, lockdep, kselftests 12 min; 23 the first time'
	@echo
	@echo '  Long:'
	@echo '  check-mutants  the tests against all small wrong changes       2 hours'
	@echo '  check-fuzz     hostile users of vhost, for MINUTES (30)        45 min'
	@echo '  check-repeat   the races of check-debug, N times (N=200)        1 hour'
	@echo '  check-package  the package in a new Debian 12 and 13, and used 40 min'
	@echo "  check-mm       the kernel's own tests of mm, virtio; all mirrored  15 min"
	@echo '  check-soak     rings, windows, caches, disturbed (MINUTES=25) 30 min'
	@echo '  check-matrix   guests: two, paused, migrated, killed; CASES="..."  10 min'
	@echo '  check-series   each commit of the series, built   8 min; 40 the first time'
	@echo '  check-pfncache KVM on windows: its selftests     3 min; 15 the first time'
	@echo "  check-drivers  the kernel's own test of HMM, and RDMA's on-demand paging over"
	@echo '                 rxe, as they are and on mirrors; a driver of ours with mirrors'
	@echo '                 and without, in lines; and check-pfncache'
	@echo '                                                  12 min; 32 the first time'
	@echo '  check-memory-error  a memory error in each load that vhost makes through'
	@echo '                 a window, and in one that does not survive it    3 min'
	@echo '  check-arch     8 architectures compiled; arm64, riscv64, i386 booted'
	@echo '                                                  10 min; 30 the first time'
	@echo '  check-kernels-all  all kernels that this is for: compiled, and booted or KUnit'
	@echo '                                                      30 min the first time'
	@echo '  check-sanitizers  what check-build and check-debug leave out: all kselftests'
	@echo '                 with KCSAN and with KASAN                 not timed yet'
	@echo '  check-steady   all that boots, N times (N=20), beside four busy loops'
	@echo '                                 some 25 min each if there were no loops'
	@echo
	@echo '  clean          remove what was built (not what was downloaded)'
	@echo
	@echo 'KSRC=/path/to/linux replaces the packaged source of its version,'
	@echo 'MRM_CACHE=/path the cache directory, ACCEL=kvm|tcg the probe for KVM.'

run:
	@lab/guests/run.sh

module:
	@lab/vm/modules.sh running

mirrorstat:
	@. lab/lib/env.sh && need gcc libc6-dev && mkdir -p "$$CACHE/build" && \
		gcc -O2 -Wall -Wextra -o "$$CACHE/build/$@" tools/mm/$@.c && \
		echo "$$CACHE/build/$@"

deb install:
	@lab/package.sh $@

bench:
	@lab/bench.sh

docs:
	@lab/docs.sh

series:
	@lab/series.sh $(BASE)

check:
	@LEFT_OUT="check-kernels $(LONG:%=check-%)" lab/check.sh $(CHECK)

check-kernels:
	@lab/check.sh $(KERNELS)

check-drivers:
	@lab/check.sh drivers pfncache

$(filter-out check-drivers,$(CHECK:%=check-%) $(KERNELS:%=check-%) $(LONG:%=check-%)):
	@lab/check.sh $(@:check-%=%)

clean:
	@. lab/lib/env.sh && rm -rf --one-file-system "$$CACHE/build" "$$CACHE/tree"
