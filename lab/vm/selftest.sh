#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/selftest.sh stock|ours-SERIES|debug-6.12|kcsan-7.3|arch-ARCH-BASE
#	[TIMES [PROGRAM ARGUMENT...]]
#
# Build our kselftests the way the kernel's tree builds them, boot the kernel
# with our modules, run the tests there (lab/vm/selftest-vm.sh) and print their
# KTAP; with TIMES beyond one, that often, one KTAP line a round, and of the
# tests only the races. Which programs a kernel runs is in lab/vm/programs.tsv; ALL=1
# adds those that it is spared. With PROGRAM, of one set (mm/mmu_range_mirror), just
# that one, with arguments of kselftest_harness. MINUTES is how long that takes beyond
# what a program takes; it then runs on ext4. MIB is the machine's memory, ARGS are
# for the kernel.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/vm/arch.sh
. "$LAB/vm/arch.sh"

kernel=${1:?usage: lab/vm/selftest.sh stock|debug-6.12|kcsan-7.3|arch-... [times]}
arch "$(arch_of "$kernel")"
times=${2:-1}
shift $(($# < 2 ? $# : 2))
modules="-m zram -m loop -m ext4 -m hwpoison_inject -m vhost_vsock"
files="-b modprobe -b mkfs.ext4 -b /etc/mke2fs.conf -b mkfs.xfs"
qemu=
cpus=2
case $kernel in
stock|ours-*)
	# A mask of CPUs has two words.
	cpus=2/66
	base=6.12
	[ "$kernel" = stock ] || base=$(series_of "${kernel#ours-}")
	# The others have no xfs, and no persistent memory.
	modules="$modules -m xfs -m vhost_scsi -m target_core_mod"
	modules="$modules -m nd_e820 -m nd_pmem"
	ARGS="memmap=64M!768M ${ARGS:-}"
	seconds=800
	"$LAB/vm/modules.sh" "$kernel" >/dev/null
	# The stock kernel's modules are of its own source, and so are these.
	unset KSRC
	;;
*)
	base=${kernel##*-}
	seconds=1500
	"$LAB/vm/build.sh" "$kernel" >/dev/null
	;;
esac
case $kernel in
debug-*)
	# ACPI gives up a loop after half a minute. The one that routes the
	# interrupts of QEMU's older machine takes longer with KASAN, and then
	# a disk has none.
	qemu=${MINUTES:+-machine q35}
	;;
kcsan-*) modules="$modules -m vhost_scsi -m target_core_mod" ;;
esac
[ $# = 0 ] || seconds=$((seconds / 2 + ${MINUTES:-0} * 60))
# The rounds after the first are of a machine that is up.
seconds=$((seconds + (times - 1) * 300))

# The programs are those of a tree that has all patches, those of tests as well.
case $base in
7.*) base=7.3 ;;
esac
tree=$("$LAB/vm/tree.sh" "$base")
out=$LOGS
mkdir -p "$out"

say "building the selftests"
# What they run, and is no test.
tools="vhost/mirrorstat vhost/vhost-ring-mirror-report"
# Those that stay loaded, and those that only can be.
devices="test_mmu_range_mirror test_mmu_mirror_tlb"
samples="mirror_odp mirror_shadow mirror_window"
kind=${kernel%%-*}
[ "$kind" != ours ] || kind=stock
[ "$kernel" != ours-rt ] || kind=rt
if [ -n "$KARCH" ]; then
	# With nothing of Debian's but busybox, and nothing on a disk.
	tools=
	modules=
	files=
	if grep -q ^CONFIG_64BIT=y "$CACHE/build/$kernel/.config"; then
		kind=arch64
	else
		devices=test_mmu_range_mirror
		samples=
	fi
fi

# programs KIND...: those of the table that have one of these.
programs() {
	awk -F'\t' -v kinds="$*" '
	BEGIN { n = split(kinds, wanted, " ") }
	!/^#/ {
		for (i = 1; i <= n; i++)
			if (index(" " $2 " ", " " wanted[i] " ")) {
				print $1
				next
			}
	}' "$LAB/vm/programs.tsv"
}

# Whatever can be built, so that each can be run alone.
buildable=stock
[ -z "$KARCH" ] || buildable=$kind
programs=$(programs "$buildable")
headers=$CACHE/build/headers-$base${KARCH:+-$KARCH}
tests=$CACHE/build/selftests-$base${KARCH:+-$KARCH}
mkdir -p "$headers" "$tests/mm" "$tests/vhost"
build() {
	make -C "$tree" O="$headers" ${KARCH:+ARCH="$KARCH"} headers ||
		return 1
	"${CROSS}gcc" -O2 -Wall -Wextra -c -o "$tests/alarm.o" "$LAB/vm/alarm.c" ||
		return 1
	for program in $programs $tools; do
		make -C "$tree/tools/testing/selftests/${program%/*}" \
			${KARCH:+ARCH="$KARCH" CROSS_COMPILE="$CROSS"} \
			OUTPUT="$tests/${program%/*}" LDFLAGS="-static -Wl,--wrap=alarm $tests/alarm.o" \
			KHDR_INCLUDES="-isystem $headers/usr/include" \
			"$tests/$program" || return 1
	done
}
(locked "selftests-$base${KARCH:+-$KARCH}" && build) >"$out/build.log" 2>&1 || {
	build_errors "$out/build.log"
	die "the selftests do not build; see $out/build.log"
}

need e2fsprogs xfsprogs
root=$out/root
rm -rf "$root"
# Lists on purpose.
# shellcheck disable=SC2046,SC2086
"$LAB/vm/root.sh" ${KARCH:+-a "$KARCH"} -r "$root" -k "$kernel" $files \
	$(printf -- '-m %s ' mmu_range_mirror $devices $samples tun vhost_net) \
	$modules
for program in $programs $tools; do
	mkdir -p "$root/selftests/${program%/*}"
	cp "$tests/$program" "$root/selftests/$program"
done
cp "$LAB/vm/selftest-vm.sh" "$root/test.sh"
echo "$times" >"$root/etc/times"
echo "$devices" | tr ' ' '\n' >"$root/etc/devices"
echo "$samples" | tr -s ' ' '\n' | sed '/^$/d' >"$root/etc/samples"
# Chance has a part only in what several tasks do at once, and none where they
# are stopped at injection points.
if [ $# -gt 0 ]; then
	echo "$*"
elif [ "$times" = 1 ]; then
	programs "$kind" ${ALL:+"+$kind"}
else
	echo "mm/mmu_mirror_wait -f hold -f use"
	echo "vhost/ring_mirror -t killed_owner_is_reaped"
fi >"$root/etc/programs"

status=0
"$LAB/vm/boot.sh" -k "$kernel" -r "$root" -o "$out" -t "$seconds" \
	-s "$cpus" ${MIB:+-m "$MIB"} ${ARGS:+-a "$ARGS"} ${qemu:+-q "$qemu"} \
	${MINUTES:+-i ext4} || status=$?
cat "$out/results" 2>/dev/null || true
spared=$(programs "+$kind")
if [ -n "$spared" ] && [ -z "${ALL:-}" ] && [ $# = 0 ] && [ "$times" = 1 ]; then
	echo "# left to check-sanitizers: $(echo "$spared" | paste -sd' ')"
fi
printf 'TAP version 13\n1..1\n'
case $status in
0) echo "ok 1 $kernel: ended by itself, without a complaint" ;;
1)
	why=$(sed -n 's/^[# ]*lab: failed: //p' "$out/results" | paste -sd,)
	echo "not ok 1 $kernel: ${why:-it did not say why}"
	;;
2) echo "not ok 1 $kernel: the kernel complained" ;;
*) echo "not ok 1 $kernel: did not end in $seconds s" ;;
esac
exit "$status"
