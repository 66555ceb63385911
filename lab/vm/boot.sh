#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/boot.sh -k stock|timed|plain|ours-SERIES|stock-SERIES|NAME -r ROOTDIR -o OUTDIR [-t SECONDS] [-m MIB]
#             [-s CPUS[/POSSIBLE]] [-i ext4] [-c CPU] [-a "KERNEL ARGUMENTS"]
#             [-q "QEMU ARGUMENTS"] [-I]
#
# Boot a kernel on ROOTDIR (see lab/vm/root.sh), run its /test.sh, and judge:
#   0  the test passed      1  it failed (or a module did not load)
#   2  the kernel complained, whatever the test said
#   3  it did not end by itself within -t SECONDS (60) of a quiet machine: on a
#      slower one (slowness in lab/lib/env.sh) the limit is longer, and the test's
#      environment has SLOW, by which its own limits are to be multiplied
# OUTDIR gets results (the test's stdout), console, splats, qemu (its stderr) and
# qemu.log (how CPUs were reset, and a triple fault).
# ROOTDIR becomes an initramfs, or with -i ext4 a disk. Memory is on two NUMA
# nodes, but for other architectures' kernels (lab/vm/arch.sh), which are always
# emulated. On stdout one line says what the machine was. Of POSSIBLE CPUs only the
# first CPUs are brought up; the test may bring up others, which cost nothing before.
#
# A run that dies of a known fault of QEMU's TCG (lab/lib/stale.awk), and of nothing
# else, is booted again, at most AGAIN times; a line on stdout says so each time,
# lab/lib/summary counts them, and OUTDIR/console.N is kept.
#
# With -I the machine has a shell on this terminal in place of /test.sh, which can
# be run from it, and there is no limit and no verdict. Its exit powers off;
# Ctrl-A X ends QEMU. After a red check-stock, for one:
#   lab/vm/boot.sh -k stock -r CACHE/build/check-stock/root -o /tmp/machine -I
#
# KVM is used if a boot of this kernel under it has succeeded since the host
# was booted (it is tried once); else TCG. -c is TCG's CPU model; under KVM it
# is the host's. ACCEL=kvm or ACCEL=tcg overrides; ACCEL=icount is TCG with a
# clock that counts instructions, for -s 1.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/vm/arch.sh
. "$LAB/vm/arch.sh"

PROBE_SECONDS=10
AGAIN=3

KERNEL=
ROOT=
OUT=
seconds=60
mib=2048
cpus=2
possible=2
image=
cpu=EPYC-Rome,+svm,+npt
args=
extra=
interactive=
while getopts k:r:o:t:m:s:i:c:a:q:I option; do
	case $option in
	k) KERNEL=$OPTARG ;;
	r) ROOT=$OPTARG ;;
	o) OUT=$OPTARG ;;
	t) seconds=$OPTARG ;;
	m) mib=$OPTARG ;;
	s)
		cpus=${OPTARG%/*}
		possible=${OPTARG#*/}
		;;
	i) image=$OPTARG ;;
	c) cpu=$OPTARG ;;
	a) args=$OPTARG ;;
	q) extra=$OPTARG ;;
	I) interactive=yes ;;
	*) die "see the head of $0" ;;
	esac
done
case $KERNEL,$ROOT,$OUT in
,*|*,,*|*,) die "lab/vm/boot.sh: -k, -r and -o are required" ;;
esac
arch "$(arch_of "$KERNEL")"
need "$QEMU_PACKAGE" cpio e2fsprogs
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)

case $KERNEL in
stock|timed|plain) vmlinuz=$CACHE/stock/boot/vmlinuz-$(stock_release) ;;
ours-*) vmlinuz=$CACHE/stock-${KERNEL#ours-}/boot/vmlinuz-$(release_of "stock-${KERNEL#ours-}") ;;
stock-*) vmlinuz=$CACHE/$KERNEL/boot/vmlinuz-$(release_of "$KERNEL") ;;
*) vmlinuz=$(kernel "$KERNEL")/$IMAGE ;;
esac
[ -f "$vmlinuz" ] || die "no kernel $KERNEL: no $vmlinuz"

pack() {
	(cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet) >"$2"
}

# hardware ACCEL: QEMU's words for the machine.
hardware() {
	if [ -n "$KARCH" ]; then
		echo "-accel tcg,thread=multi $MACHINE -smp $possible -m $mib"
		return
	fi
	case $1 in
	kvm) echo "-accel kvm -cpu host" ;;
	icount)
		echo "-accel tcg,thread=single -icount shift=0,sleep=off"
		echo "-cpu $cpu"
		;;
	*) echo "-accel tcg,thread=multi -cpu $cpu" ;;
	esac
	half=$((mib / 2))
	echo "-smp $possible,sockets=$possible,cores=1 -m $((half * 2))"
	echo "-object memory-backend-ram,id=ram0,size=${half}M"
	echo "-object memory-backend-ram,id=ram1,size=${half}M"
	echo "-numa node,memdev=ram0,cpus=0"
	echo "-numa node,memdev=ram1${cpus1:+,cpus=$cpus1}"
}

# qemu ACCEL SECONDS DIR INITRAMFS ARGUMENTS [EXTRA...]: one boot, logs in DIR.
qemu() {
	accel=$1
	limit=$2
	dir=$3
	initrd=$4
	# What migrates, a test has migrated. To switch it off later, as some tests
	# do, would patch the scheduler under an emulator that now and then runs
	# into a breakpoint that is gone.
	append="console=$CONSOLE panic=-1 oops=panic numa_balancing=disable"
	append="$append SLOW=$slow${one_cpu:+ maxcpus=1} lab.cpus=$cpus $5"
	# Without it the kernel panics if its timer does not tick at once, which
	# QEMU may have no CPU for.
	case $KARCH in
	''|i386) append="$append no_timer_check" ;;
	esac
	shift 5
	case $RESULTS in
	ttyS*) set -- -serial "file:$dir/results" "$@" ;;
	hvc1)
		append="lab.results=/dev/$RESULTS $append"
		set -- -serial "file:$dir/results" "$@"
		;;
	*)
		# There is only one serial port.
		append="lab.results=/dev/$RESULTS $append"
		set -- -chardev "file,id=results,path=$dir/results" \
			-device virtio-serial-device \
			-device virtconsole,chardev=results "$@"
		;;
	esac
	# Words on purpose.
	# shellcheck disable=SC2046
	set -- "$QEMU" $(hardware "$accel") -nodefaults -display none -no-reboot \
		-d cpu_reset -D "$dir/qemu.log" -serial chardev:console \
		-kernel "$vmlinuz" -initrd "$initrd" -append "$append" "$@"
	if [ -n "$interactive" ]; then
		"$@" -mon console -chardev \
			"stdio,id=console,mux=on,signal=off,logfile=$dir/console"
	else
		# In this process group, to be ended with it, and without its locks.
		timeout --foreground -k 5 $((limit * slow)) "$@" \
			-chardev "file,id=console,path=$dir/console" \
			</dev/null >"$dir/qemu" 2>&1 9>&-
	fi
}

ended() {
	grep -q '^# lab: exit status' "$1/results" 2>/dev/null
}

# An ordinary kernel may hang in a KVM that opens and even creates machines.
# Only a boot tells; its verdict holds until the host boots again.
choose_accel() {
	if [ -n "$KARCH" ]; then
		echo tcg
		return
	fi
	if [ -n "${ACCEL:-}" ]; then
		echo "$ACCEL"
		return
	fi
	if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
		echo tcg
		return
	fi
	verdict=$CACHE/accel/$(cat /proc/sys/kernel/random/boot_id)-$(
		printf '%s' "$vmlinuz $(stat -Lc '%Y %s' "$vmlinuz")" |
			cksum | cut -d' ' -f1)
	locked accel
	if [ ! -f "$verdict" ]; then
		say "probing whether KVM boots $KERNEL"
		dir=$CACHE/accel/probe
		rm -rf "$dir"
		mkdir -p "$dir/root"
		"$LAB/vm/root.sh" -r "$dir/root"
		pack "$dir/root" "$dir/initramfs"
		slow=$(slowness)
		qemu kvm "$PROBE_SECONDS" "$dir" "$dir/initramfs" "" || true
		if ended "$dir"; then
			echo kvm >"$verdict"
		else
			echo tcg >"$verdict"
		fi
		say "until the next boot of this host: $(cat "$verdict")"
	fi
	exec 9>&-
	cat "$verdict"
}

# prepare: the root as it is to be booted from. What ran before may have written
# to it.
prepare() {
	rm -f "$OUT/console" "$OUT/results" "$OUT/splats" "$OUT/qemu.log"
	[ "$image" = ext4 ] || return 0
	# Holes cost nothing: half a gigabyte is left to the test.
	size=$(($(du -sm "$ROOT" | cut -f1) * 5 / 4 + 512))
	rm -f "$OUT/disk"
	mke2fs -q -F -t ext4 -d "$ROOT" "$OUT/disk" "${size}M" >&2 ||
		die "no $OUT/disk"
}

# stale: did the machine die of QEMU's own fault? It takes threads.
stale() {
	[ "$accel" = tcg ] && fault=$("$LAB/lib/stale.awk" "$OUT/splats")
}

# boot: once. What the kernel complained about is in OUTDIR/splats.
boot() {
	prepare
	slow=$(slowness)
	say "booting $KERNEL under $accel, for at most $((seconds * slow)) s"
	begun=$(date +%s)
	status=0
	# $disk and $extra are words on purpose.
	# shellcheck disable=SC2086
	qemu "$accel" "$seconds" "$OUT" "$OUT/initramfs" "$args" $disk $extra ||
		status=$?
	took=$(($(date +%s) - begun))
	"$LAB/lib/splat.awk" -v symbols="$(kernel "$KERNEL")/symbols" \
		"$OUT/console" >"$OUT/splats"
}

# A kernel patches itself most while it boots: /init has the other CPUs brought up,
# but where KUnit is run at boot, and needs them.
one_cpu=yes
! grep -qs '^CONFIG_KUNIT=y' "$(kernel "$KERNEL")/.config" || one_cpu=
cpus1=
[ "$possible" -lt 2 ] || cpus1=1-$((possible - 1))
rm -f "$OUT"/console.*
accel=$(choose_accel)
case $image in
'')
	pack "$ROOT" "$OUT/initramfs"
	disk=
	;;
ext4)
	rm -rf "${OUT:?}/boot"
	"$LAB/vm/root.sh" -r "$OUT/boot" -k "$KERNEL" -M virtio_blk -m ext4
	pack "$OUT/boot" "$OUT/initramfs"
	args="lab.root=/dev/vda $args"
	disk="-drive file=$OUT/disk,if=virtio,format=raw,cache=unsafe"
	;;
*)
	die "unknown kind of root $image"
	;;
esac

if [ -n "$interactive" ]; then
	say "booting $KERNEL under $accel: /test.sh is the test, exit is the end"
	prepare
	slow=1
	# shellcheck disable=SC2086
	qemu "$accel" 0 "$OUT" "$OUT/initramfs" \
		"lab.shell=/dev/$CONSOLE TERM=${TERM:-linux} $args" $disk $extra
	exit
fi

again=0
complained=
until boot; do
	if [ "$again" = "$AGAIN" ] || ! stale; then
		complained=yes
		break
	fi
	again=$((again + 1))
	mv "$OUT/console" "$OUT/console.$again"
	echo "# booted again, $again of at most $AGAIN times, for QEMU's fault:" \
		"$fault, after $took s"
done
nodes=' on 2 nodes'
[ -z "$KARCH" ] || nodes=
of=
[ "$cpus" = "$possible" ] || of=" of $possible"
echo "# $KERNEL under $accel, $cpus$of CPUs, $mib MiB$nodes: $took s"

if [ -n "$complained" ]; then
	say "the kernel complained:"
	head -n 40 "$OUT/splats" >&2
	exit 2
fi
if ! ended "$OUT"; then
	case $status in
	124|137) say "no end after $took s; the last lines of $OUT/console:" ;;
	*)
		say "QEMU was gone after $took s, with status $status;" \
			"$(grep -s 'Triple fault' "$OUT/qemu.log" ||
				echo no triple fault). The last lines of $OUT/console:"
		;;
	esac
	tail -n 5 "$OUT/console" >&2 || true
	tail -n 5 "$OUT/qemu" >&2
	exit 3
fi
grep -q '^# lab: exit status 0' "$OUT/results" || exit 1
