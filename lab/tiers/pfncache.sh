#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/pfncache.sh
#
# KVM's gfn_to_pfn_cache before and after its conversion to windows, on the
# stock kernel, with KVM of its own source, and after it on 7.3 with lockdep and
# KASAN: KVM's selftests, and event channels and runstates whose pages are swapped
# out, migrated, made huge, copied by fork, and without a struct page. KTAP. KVM
# in the virtual machine takes TCG.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

PFN=$LAB/pfncache
out=$LOGS
mkdir -p "$out"
unset KSRC
need gcc libc6-dev rsync qemu-system-x86 cpio

# Those of KVM's selftests that write through a cache, that move memslots under
# one, or that read a clock written through one. Arguments after colons.
SELFTESTS="x86_64/xen_shinfo_test x86_64/xen_vmcall_test x86_64/kvm_clock_test
x86_64/kvm_pv_test steal_time
memslot_modification_stress_test:-n:20"
# What is done to the pages of events, with windows and without.
PHASES="selftest pageout migrate thp memslots pfnmap"
# Beyond what the kernel is told that there is: no struct page.
MEMORY_MIB=2048
KNOWN_MIB=1792
PFNMAP=$(((MEMORY_MIB - 64) << 20))

# build_selftests BASE: KVM's own of that kernel, which calls the directory of an
# architecture by other names since.
build_selftests() {
	tree=$("$LAB/vm/tree.sh" "$1")
	headers=$CACHE/build/headers-$1
	tests=$CACHE/build/selftests-kvm-$1
	mkdir -p "$headers" "$tests"
	targets=
	for program in $SELFTESTS; do
		targets="$targets $tests/$(built_as "$1" "$program")"
	done
	# A list on purpose.
	# shellcheck disable=SC2086
	make -C "$tree" O="$headers" headers &&
		make -C "$tree/tools/testing/selftests/kvm" -j"$JOBS" \
			OUTPUT="$tests" LDFLAGS="-static -pthread" \
			KHDR_INCLUDES="-isystem $headers/usr/include" $targets
}

# built_as BASE PROGRAM[:ARGUMENT...]
built_as() {
	program=${2%%:*}
	case $1 in
	6.12) echo "$program" ;;
	*) echo "$program" | sed 's#^x86_64/#x86/#' ;;
	esac
}

# boot before|after|debug: what happened in $out/WHICH/results, and in
# $out/WHICH.status.
boot() {
	which=$1
	root=$out/$which/root
	rm -rf "${out:?}/$which"
	case $which in
	debug)
		kernel=kvm-7.3
		base=7.3
		"$LAB/vm/build.sh" "$kernel" >/dev/null
		seconds=900
		;;
	*)
		kernel=plain
		base=6.12
		built=$("$PFN/modules.sh" "$which")
		seconds=300
		;;
	esac
	"$LAB/vm/root.sh" -r "$root" -k "$kernel" -m mmu_mirror_window -m kvm_amd \
		-M zram
	if [ "$kernel" = plain ]; then
		release=$(stock_release)
		mkdir -p "$root/lib/modules/$release/updates"
		cp "$built"/*.ko "$root/lib/modules/$release/updates/"
		depmod -b "$root" "$release"
	fi
	gcc -O2 -Wall -Wextra -static -o "$root/usr/bin/disturb" \
		"$LAB/guests/disturb.c"
	gcc -O2 -Wall -Wextra -static -pthread -o "$root/usr/bin/events" \
		"$PFN/events.c"
	for program in $SELFTESTS; do
		from=$CACHE/build/selftests-kvm-$base/$(built_as "$base" "$program")
		program=${program%%:*}
		mkdir -p "$root/selftests/$(dirname "$program")"
		cp "$from" "$root/selftests/$program"
	done
	install -m 755 "$PFN/vm.sh" "$root/test.sh"
	cat >"$root/etc/pfncache.conf" <<END
SELFTESTS="$(echo "$SELFTESTS" | tr '\n' ' ')"
PFNMAP=$PFNMAP
END
	status=0
	ACCEL=${ACCEL:-tcg} "$LAB/vm/boot.sh" -k "$kernel" -r "$root" \
		-o "$out/$which" -t "$seconds" -m "$MEMORY_MIB" \
		-c EPYC-Rome,+svm,+npt,+invtsc \
		-a "mem=${KNOWN_MIB}M tsc=reliable" || status=$?
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
	[ "$(line before "selftest $2")" = "$(line "$1" "selftest $2")" ] &&
		line "$1" "selftest $2" | grep -Eq ' [04]$'
}

phase_passed() {
	line "$1" "phase $2 0" >/dev/null
}

# more WHICH FUNCTION WHEN SINCE LIMIT: calls of it, between the two.
more() {
	n=$(($(calls "$1" "$3" "$2") - $(calls "$1" "$4" "$2")))
	echo "# $1: $2: $n calls from $4 to $3"
	[ "$n" -gt "$5" ]
}

none() {
	! more "$@" 0
}

# windows WHICH: what has to be so if caches are windows.
windows() {
	for program in $SELFTESTS; do
		result_of "$1: KVM's $program, as before" as_before "$1" "$program"
	done
	for name in $PHASES lazyfree; do
		result_of "$1: events: $name" phase_passed "$1" "$name"
	done
	# Of the accesses between start and selftests some found no cache at all.
	result_of "$1: selftests use the caches" \
		more "$1" kvm_gpc_put selftests start 1000
	result_of "$1: selftests are invalidated under them" \
		more "$1" window_invalidate disturbed selftests 0
	result_of "$1: events use the caches" \
		more "$1" kvm_gpc_put events disturbed 10000
	result_of "$1: no event takes a lock" \
		none "$1" gpc_get_locked events disturbed
	result_of "$1: events are invalidated" \
		more "$1" window_invalidate events disturbed 100
	result_of "$1: and the pages looked up again" \
		more "$1" mmu_mirror_window_populate events disturbed 100
	result_of "$1: the lock is taken for what has no struct page" \
		more "$1" gpc_get_locked pfnmap memslots 0
}

judge() {
	for which in before after debug; do
		sed "s/^/# $which: /" "$out/$which/results"
		result_of "$which: ends, unloads, and the kernel does not complain" \
			ended_well "$which"
	done
	result_of "before: xen_shinfo_test" passed before x86_64/xen_shinfo_test
	for name in $PHASES; do
		result_of "before: events: $name" phase_passed before "$name"
	done
	windows after
	windows debug
}

begin pfncache
for base in 6.12 7.3; do
	build_selftests "$base" >"$out/build-$base.log" 2>&1 || {
		build_errors "$out/build-$base.log"
		die "KVM's selftests do not build; see $out/build-$base.log"
	}
done
boot before
boot after
boot debug
judge
for base in 6.12 7.3; do
	# It adds more: Documentation/mm/mmu_range_mirror_findings.rst says why.
	conversion "$REPO/patches/$base/0009-KVM-pfncache-windows.patch" || true
done
finish
[ -z "$failed" ]
