#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/drivers/check.sh [KERNEL...]
#
# Drivers of the kernel's with their own tests, on stock kernels, without a line of
# ours: lib/test_hmm.c with hmm-tests, which has tests of what a device writes to
# memory that went through MADV_FREE. The kernel's own driver loses it. KTAP.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/../env.sh"
# shellcheck source=lab/ktap.sh
. "$LAB/ktap.sh"

DRV=$LAB/drivers
out=$LOGS
mkdir -p "$out"
unset KSRC

# build_tests BASE
build_tests() {
	tree=$("$LAB/tree.sh" "$1")
	headers=$CACHE/build/headers-$1
	tests=$CACHE/build/selftests-hmm-$1
	mkdir -p "$headers" "$tests"
	make -C "$tree" O="$headers" headers &&
		make -C "$tree/tools/testing/selftests/mm" OUTPUT="$tests" \
			LDFLAGS=-static \
			KHDR_INCLUDES="-isystem $headers/usr/include" \
			"$tests/hmm-tests"
}

# Those that need no memory of devices, which Debian's 6.12 does not have.
WITHOUT="open_close anon_read anon_read_prot anon_write anon_write_prot
anon_write_child anon_write_child_shared anon_write_huge file_read file_write
anon_teardown mixedmap anon_write_lazyfree anon_write_lazyfree_again
anon_write_lazyfree_huge"

# boot KERNEL BASE: what happened is in $out/KERNEL/results, and how in
# $out/KERNEL.status.
boot() {
	root=$out/$1/root
	rm -rf "${out:?}/$1"
	driver=$("$DRV/modules.sh" "$1")
	"$LAB/root.sh" -r "$root" -k "$1" -m zram
	mkdir -p "$root/selftests"
	cp "$CACHE/build/selftests-hmm-$2/hmm-tests" "$driver" \
		"$root/selftests/"
	install -m 755 "$DRV/vm.sh" "$root/test.sh"
	# A list on purpose.
	# shellcheck disable=SC2086
	case $1 in
	stock) printf -- '-t %s ' $WITHOUT ;;
	*) echo '-T benchmark_thp_migration' ;;
	esac >"$root/etc/arguments"
	status=0
	"$LAB/boot.sh" -k "$1" -r "$root" -o "$out/$1" -t 600 -m 3072 \
		>&2 || status=$?
	echo "$status" >"$out/$1.status"
}

[ $# -gt 0 ] || set -- stock stock-7.3
begin drivers
for kernel in "$@"; do
	case $kernel in
	stock) base=6.12 wanted=12 ;;
	*) base=${kernel#stock-} wanted=35 ;;
	esac
	build_tests "$base" >"$out/build-$base.log" 2>&1 || {
		grep -E 'error:|No rule|Error' "$out/build-$base.log" >&2
		die "hmm-tests does not build; see $out/build-$base.log"
	}
	boot "$kernel" "$base"
	about "$kernel"
	sed 's/^/# /' "$out/$kernel/results"
	result_of "ends, and the kernel does not complain" \
		[ "$(cat "$out/$kernel.status")" = 0 ]
	"$DRV/compare.awk" -v wanted="$wanted" "$out/$kernel/results" \
		>"$out/$kernel/verdicts"
	while read -r status text; do
		result "$status" "$text"
	done <"$out/$kernel/verdicts"
done
finish
[ -z "$failed" ]
