#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/selftest.sh stock|ours-SERIES|debug-6.12|kcsan-7.3|arch-ARCH-BASE
#	[TIMES [PROGRAM ARGUMENT...]]
#
# Build our kselftests the way the kernel's tree builds them, boot the kernel
# with our modules, run the tests there (lab/selftest-vm.sh) and print their
# KTAP; with TIMES beyond one, that often, one KTAP line a round, and of the
# tests only the races. With PROGRAM, of one set (mm/mmu_range_mirror), just that
# one, with arguments of kselftest_harness. MINUTES is how long that takes beyond
# what a program takes; it then runs on ext4. MIB is the machine's memory, ARGS are
# for the kernel.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=lab/arch.sh
. "$LAB/arch.sh"

kernel=${1:?usage: lab/selftest.sh stock|debug-6.12|kcsan-7.3|arch-... [times]}
arch "$(arch_of "$kernel")"
times=${2:-1}
shift $(($# < 2 ? $# : 2))
modules="-m zram -m loop -m ext4 -m hwpoison_inject -m vhost_vsock"
files="-b modprobe -b mkfs.ext4 -b /etc/mke2fs.conf -b mkfs.xfs"
# What takes minutes where it is emulated, with KASAN or KCSAN.
left_out="-e writeback -e fuzz"
qemu=
cpus=2
case $kernel in
stock|ours-*)
	# A mask of CPUs has two words.
	cpus=2/66
	base=6.12
	[ "$kernel" = stock ] || base=${kernel#ours-}
	# The others have no xfs, and no persistent memory.
	modules="$modules -m xfs -m vhost_scsi -m target_core_mod"
	modules="$modules -m nd_e820 -m nd_pmem"
	ARGS="memmap=64M!768M ${ARGS:-}"
	left_out='-e ^$'
	seconds=800
	"$LAB/modules.sh" "$kernel" >/dev/null
	# The stock kernel's modules are of its own source, and so are these.
	unset KSRC
	;;
*)
	base=${kernel##*-}
	seconds=1500
	"$LAB/build.sh" "$kernel" >/dev/null
	;;
esac
case $kernel in
debug-*)
	# Its lockdep knows a cycle of vhost_scsi's mutexes and configfs',
	# whoever uses them.
	left_out="$left_out -e scsi"
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
tree=$("$LAB/tree.sh" "$base")
out=$LOGS
mkdir -p "$out"

say "building the selftests"
programs="mm/mmu_mirror_memory mm/mmu_mirror_odp mm/mmu_mirror_samples
mm/mmu_mirror_tlb mm/mmu_mirror_wait mm/mmu_mirror_writeback
mm/mmu_range_mirror vhost/dirty_log vhost/mem_mirror vhost/ring_fuzz
vhost/ring_mirror vhost/scsi vhost/tenants vhost/watch"
# What they run, and is no test.
tools="vhost/mirrorstat vhost/vhost-ring-mirror-report"
# Those that stay loaded, and those that only can be.
devices="test_mmu_range_mirror test_mmu_mirror_tlb"
samples="mirror_odp mirror_shadow mirror_window"
if [ -n "$KARCH" ]; then
	# With nothing of Debian's but busybox, and nothing on a disk.
	programs="mm/mmu_mirror_memory mm/mmu_mirror_wait mm/mmu_range_mirror
vhost/ring_mirror"
	tools=
	modules=
	files=
	if grep -q ^CONFIG_64BIT=y "$CACHE/build/$kernel/.config"; then
		programs="mm/mmu_mirror_odp mm/mmu_mirror_samples mm/mmu_mirror_tlb $programs"
	else
		devices=test_mmu_range_mirror
		samples=
	fi
fi
headers=$CACHE/build/headers-$base${KARCH:+-$KARCH}
tests=$CACHE/build/selftests-$base${KARCH:+-$KARCH}
mkdir -p "$headers" "$tests/mm" "$tests/vhost"
build() {
	make -C "$tree" O="$headers" ${KARCH:+ARCH="$KARCH"} headers ||
		return 1
	"${CROSS}gcc" -O2 -Wall -Wextra -c -o "$tests/alarm.o" "$LAB/alarm.c" ||
		return 1
	for program in $programs $tools; do
		make -C "$tree/tools/testing/selftests/${program%/*}" \
			${KARCH:+ARCH="$KARCH" CROSS_COMPILE="$CROSS"} \
			OUTPUT="$tests/${program%/*}" LDFLAGS="-static -Wl,--wrap=alarm $tests/alarm.o" \
			KHDR_INCLUDES="-isystem $headers/usr/include" \
			"$tests/$program" || return 1
	done
}
build >"$out/build.log" 2>&1 || {
	grep -E 'error:|undefined|No rule|Error' "$out/build.log" >&2
	die "the selftests do not build; see $out/build.log"
}

need e2fsprogs xfsprogs
root=$out/root
rm -rf "$root"
# Lists on purpose.
# shellcheck disable=SC2046,SC2086
"$LAB/root.sh" ${KARCH:+-a "$KARCH"} -r "$root" -k "$kernel" $files \
	$(printf -- '-m %s ' mmu_range_mirror $devices $samples tun vhost_net) \
	$modules
for program in $programs $tools; do
	mkdir -p "$root/selftests/${program%/*}"
	cp "$tests/$program" "$root/selftests/$program"
done
cp "$LAB/selftest-vm.sh" "$root/test.sh"
echo "$times" >"$root/etc/times"
echo "$devices" | tr ' ' '\n' >"$root/etc/devices"
echo "$samples" | tr -s ' ' '\n' | sed '/^$/d' >"$root/etc/samples"
# Chance has a part only in what several tasks do at once, and none where they
# are stopped at injection points.
if [ $# -gt 0 ]; then
	echo "$*"
elif [ "$times" = 1 ]; then
	# Words, too.
	# shellcheck disable=SC2086
	echo "$programs" | tr ' ' '\n' | grep -v $left_out
else
	echo "mm/mmu_mirror_wait -f hold -f use"
	echo "vhost/ring_mirror -t killed_owner_is_reaped"
fi >"$root/etc/programs"

status=0
"$LAB/boot.sh" -k "$kernel" -r "$root" -o "$out" -t "$seconds" \
	-s "$cpus" ${MIB:+-m "$MIB"} ${ARGS:+-a "$ARGS"} ${qemu:+-q "$qemu"} \
	${MINUTES:+-i ext4} || status=$?
cat "$out/results" 2>/dev/null || true
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
