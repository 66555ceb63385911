#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/drivers.sh [KERNEL...] [rdma]
#
# Drivers of the kernel's with their own tests, on stock kernels, as they are and
# converted to mirrors: lib/test_hmm.c with hmm-tests, which has tests of what a
# device writes to memory that went through MADV_FREE. The kernel's own driver loses
# it. Everything else has to be the same with both. The same for on-demand paging of
# RDMA (lab/drivers/rdma.sh). And how many lines a driver of ours takes with the
# helper and without. KTAP.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

DRV=$LAB/drivers
out=$LOGS
mkdir -p "$out"
unset KSRC

# build_tests BASE
build_tests() {
	tree=$("$LAB/vm/tree.sh" "$1")
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

# Not the same each time, with the kernel's own driver.
UNSTEADY="migrate_remap_fault"

# boot KERNEL BASE own|ours: what happened is in $out/KERNEL-WHOSE/results, and how
# in $out/KERNEL-WHOSE.status.
boot() {
	into=$out/$1-$3
	root=$into/root
	rm -rf "${into:?}"
	drivers=$("$DRV/modules.sh" "$1" "$3")
	"$LAB/vm/root.sh" -r "$root" -k "$1" -m zram
	mkdir -p "$root/selftests"
	# A list on purpose.
	# shellcheck disable=SC2086
	cp "$CACHE/build/selftests-hmm-$2/hmm-tests" $drivers "$root/selftests/"
	echo "$drivers" | sed 's#.*/##' >"$root/etc/drivers"
	install -m 755 "$DRV/vm.sh" "$root/test.sh"
	# A list on purpose.
	# shellcheck disable=SC2086
	case $1 in
	stock) printf -- '-t %s ' $WITHOUT ;;
	*) echo '-T benchmark_thp_migration' ;;
	esac >"$root/etc/arguments"
	status=0
	"$LAB/vm/boot.sh" -k "$1" -r "$root" -o "$into" -t 600 -m 3072 \
		>&2 || status=$?
	echo "$status" >"$into.status"
}

# code FILE: how many lines of it are code.
code() {
	gcc -fpreprocessed -dD -E -P "$REPO/samples/mmu_range_mirror/$1" |
		grep -c .
}

# forms: the driver that is there twice.
forms() {
	mirror=$(code odp_mirror.c)
	direct=$(code odp_direct.c)
	about "the ODP sample"
	echo "# lines that mirror in it: $mirror with the helper, $direct without"
	result_of "is shorter with the helper, by a fifth at least" \
		[ $((mirror * 5)) -le $((direct * 4)) ]
}

[ $# -gt 0 ] || set -- stock stock-7.3 rdma
begin drivers
forms
rdma=
for kernel in "$@"; do
	case $kernel in
	rdma)
		rdma=yes
		continue
		;;
	stock) base=6.12 wanted=12 ;;
	*) base=${kernel#stock-} wanted=35 ;;
	esac
	build_tests "$base" >"$out/build-$base.log" 2>&1 || {
		build_errors "$out/build-$base.log"
		die "hmm-tests does not build; see $out/build-$base.log"
	}
	for whose in own ours; do
		boot "$kernel" "$base" "$whose"
		about "$kernel, $whose"
		sed 's/^/# /' "$out/$kernel-$whose/results"
		result_of "ends, and the kernel does not complain" \
			[ "$(cat "$out/$kernel-$whose.status")" = 0 ]
	done
	"$DRV/compare.awk" -v wanted="$wanted" -v unsteady="$UNSTEADY" \
		"$out/$kernel-own/results" "$out/$kernel-ours/results" \
		>"$out/$kernel.verdicts"
	while read -r status text; do
		result "$status" "$text"
	done <"$out/$kernel.verdicts"
	result_of "the conversion adds fewer lines than it deletes" \
		conversion "$REPO/patches/$base/0015-test_hmm-mirrors.patch"
done
finish
[ -z "$rdma" ] || "$DRV/rdma.sh" || failed=yes
[ -z "$failed" ]
