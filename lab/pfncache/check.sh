#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/pfncache/check.sh
#
# KVM's gfn_to_pfn_cache before and after its conversion to windows, on the
# stock kernel, with KVM of its own source: KVM's selftests, and event channels
# and runstates whose pages are swapped out, migrated, made huge, copied by fork,
# and without a struct page. KTAP. KVM in the virtual machine takes TCG.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/../env.sh"
# shellcheck source=lab/ktap.sh
. "$LAB/ktap.sh"

PFN=$LAB/pfncache
out=$CACHE/build/check-pfncache
mkdir -p "$out"
unset KSRC
need gcc libc6-dev rsync qemu-system-x86 cpio

# Those of KVM's selftests that write through a cache, that move memslots under
# one, or that read a clock written through one. Arguments after colons.
SELFTESTS="x86_64/xen_shinfo_test x86_64/xen_vmcall_test x86_64/kvm_clock_test
x86_64/kvm_pv_test steal_time
memslot_modification_stress_test:-n:20"
# Beyond what the kernel is told that there is: no struct page.
MEMORY_MIB=2048
KNOWN_MIB=1792
PFNMAP=$(((MEMORY_MIB - 64) << 20))

build_selftests() {
	tree=$("$LAB/fetch.sh" src-6.12)
	headers=$CACHE/build/headers-6.12
	tests=$CACHE/build/selftests-kvm
	mkdir -p "$headers" "$tests"
	targets=
	for program in $SELFTESTS; do
		targets="$targets $tests/${program%%:*}"
	done
	# A list on purpose.
	# shellcheck disable=SC2086
	make -C "$tree" O="$headers" headers &&
		make -C "$tree/tools/testing/selftests/kvm" -j"$JOBS" \
			OUTPUT="$tests" LDFLAGS="-static -pthread" \
			KHDR_INCLUDES="-isystem $headers/usr/include" $targets
}

# boot before|after: what happened in $out/WHICH/results, and in $out/WHICH.status.
boot() {
	which=$1
	built=$("$PFN/modules.sh" "$which")
	root=$out/$which/root
	rm -rf "${out:?}/$which"
	"$LAB/root.sh" -r "$root" -k plain -m mmu_range_mirror -m kvm_amd \
		-M zram
	release=$(stock_release)
	mkdir -p "$root/lib/modules/$release/updates"
	cp "$built"/*.ko "$root/lib/modules/$release/updates/"
	depmod -b "$root" "$release"
	gcc -O2 -Wall -Wextra -static -o "$root/usr/bin/disturb" \
		"$LAB/run/disturb.c"
	gcc -O2 -Wall -Wextra -static -pthread -o "$root/usr/bin/events" \
		"$PFN/events.c"
	for program in $SELFTESTS; do
		program=${program%%:*}
		mkdir -p "$root/selftests/$(dirname "$program")"
		cp "$tests/$program" "$root/selftests/$program"
	done
	install -m 755 "$PFN/vm.sh" "$root/test.sh"
	cat >"$root/etc/pfncache.conf" <<END
SELFTESTS="$(echo "$SELFTESTS" | tr '\n' ' ')"
PFNMAP=$PFNMAP
END
	status=0
	ACCEL=${ACCEL:-tcg} "$LAB/boot.sh" -k plain -r "$root" -o "$out/$which" \
		-t 300 -m "$MEMORY_MIB" -c EPYC-Rome,+svm,+npt,+invtsc \
		-a "mem=${KNOWN_MIB}M tsc=reliable no_timer_check" \
		>&2 || status=$?
	echo "$status" >"$out/$which.status"
}

# calls WHICH WHEN FUNCTION: how often it had been called by then.
calls() {
	awk -v when="$2" -v name="$3" '
	$1 == "probe" && $2 == when && $3 == name { n = $4 }
	END { print n + 0 }' "$out/$1/results"
}

ended_well() {
	[ "$(cat "$out/$1.status")" = 0 ] && grep -q '^end' "$out/$1/results" &&
		grep -q '^unloaded' "$out/$1/results"
}

line() {
	grep "^$2 " "$out/$1/results"
}

passed() {
	line "$1" "selftest $2" | grep -q ' 0$'
}

# A selftest that is skipped passes if it is skipped before, too.
as_before() {
	[ "$(line before "selftest $1")" = "$(line after "selftest $1")" ] &&
		line after "selftest $1" | grep -Eq ' [04]$'
}

phase_passed() {
	line "$1" "phase $2 0" >/dev/null
}

# more FUNCTION WHEN SINCE LIMIT: calls of it with windows, between the two.
more() {
	n=$(($(calls after "$2" "$1") - $(calls after "$3" "$1")))
	echo "# $1: $n calls from $3 to $2"
	[ "$n" -gt "$4" ]
}

none() {
	! more "$@" 0
}

judge() {
	for which in before after; do
		sed "s/^/# $which: /" "$out/$which/results"
		result_of "$which: ends, unloads, and the kernel does not complain" \
			ended_well "$which"
	done
	result_of "before: xen_shinfo_test" passed before x86_64/xen_shinfo_test
	for program in $SELFTESTS; do
		result_of "KVM's $program, as before" as_before "$program"
	done
	for name in selftest pageout migrate thp memslots pfnmap; do
		result_of "before: events: $name" phase_passed before "$name"
		result_of "after: events: $name" phase_passed after "$name"
	done
	result_of "after: events: lazyfree" phase_passed after lazyfree
	# Of the accesses between start and selftests some found no cache at all.
	result_of "after: selftests use the caches" \
		more kvm_gpc_put selftests start 1000
	result_of "after: selftests are invalidated under them" \
		more window_invalidate disturbed selftests 0
	result_of "after: events use the caches" \
		more kvm_gpc_put events disturbed 10000
	result_of "after: no event takes a lock" \
		none gpc_get_locked events disturbed
	result_of "after: events are invalidated" \
		more window_invalidate events disturbed 100
	result_of "after: and the pages looked up again" \
		more mmu_mirror_window_populate events disturbed 100
	result_of "after: the lock is taken for what has no struct page" \
		more gpc_get_locked pfnmap memslots 0
}

begin pfncache
build_selftests >"$out/build.log" 2>&1 || {
	grep -E 'error:|No rule|Error' "$out/build.log" >&2
	die "KVM's selftests do not build; see $out/build.log"
}
boot before
boot after
judge
finish
[ -z "$failed" ]
