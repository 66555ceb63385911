#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/arch.sh [ARCH...]
#
# Other architectures, those of lab/vm/arch.sh or ARCH only. Our files and vhost are
# compiled for each of them in both bases, and W=1 has nothing to say of them.
# Those that can be booted run KUnit and the selftests on 7.3, emulated.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/vm/arch.sh
. "$LAB/vm/arch.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

# A list on purpose.
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $ARCHS_BOOTED $ARCHS_BUILT

begin arch $((2 * $#))
for name in "$@"; do
	for base in 6.12 7.3; do
		status=0
		"$LAB/vm/compiles.sh" "objects-$name-$base" || status=1
		result $status "$name, $base: compiles"
	done
done

# boot ARCH NAME MIB "WANTED..." [PROGRAM ARGUMENT...]: the results that are WANTED
# are to be there, and passed: a test that skips has shown nothing.
boot() {
	machine=$1
	which=$2
	mib=$3
	wanted=$4
	shift 4
	MRM_LOGS=$LOGS/$which MIB=$mib "$LAB/vm/selftest.sh" "arch-$machine-7.3" 1 "$@" ||
		failed=yes
	# A list on purpose.
	# shellcheck disable=SC2086
	begin arch "$(echo $wanted | wc -w)"
	for test in $wanted; do
		status=0
		grep -E "^ *ok [0-9]+ $test( |$)" \
			"$LOGS/$which/results" |
			grep -qv '# SKIP' || status=1
		result $status "$which: $test has run"
	done
}

all="mmu_range_mirror mmu_mirror_tlb aliasing_caches_refuse_windows
kind.window.race_dropped net.small.moves_data_through_windows"
hook="churn.munmap.hook memory.anonymous.munmap"
tagged="kind.window.tagged plain.tagged_rings_stay_on_uaccess"
for name in "$@"; do
	case $name in
	arm64) boot arm64 arm64 768 "$all $hook $tagged" ;;
	riscv) boot riscv riscv 768 "$all $hook" ;;
	i386)
		# All of it low memory.
		boot i386 i386 768 "$all"
		# Some of it is high, which is allocated first: KUnit's windows
		# would be empty.
		export ARGS=kunit.enable=0
		boot i386 i386-high 1024 global.high_memory \
			mm/mmu_mirror_memory -t high_memory
		boot i386 i386-high-vhost 1024 \
			plain.high_memory_stays_on_uaccess \
			vhost/ring_mirror -t high_memory_stays_on_uaccess
		unset ARGS
		;;
	esac
done
[ -z "$failed" ]
