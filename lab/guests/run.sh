#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/guests/run.sh [smoke|soak|matrix|pps KERNEL]
#
# Boot the stock kernel with our modules and let real clients of vhost-net move
# data over mirrored rings while the rings are disturbed. Prints a table for
# each phase, and fails unless everything went as it must. With "smoke" only
# one nested guest, undisturbed and swapped out, as KTAP. With "soak" testpmd
# only, for MINUTES (25), disturbed in more ways (lab/guests/soak.sh). With "matrix"
# several guests, net and vsock, migrated and killed too (lab/guests/matrix.sh). With
# "pps" rows of make bench, of plain or of a kernel that lab/vm/build.sh builds.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

RUN=$LAB/guests
mode=${1:-run}
# The windows that soak juggles are the test device's.
modules=plain
minutes=
cases=
rounds=
out=$LOGS
root=$out/root
mkdir -p "$out"
plain=

case $mode in
run)
	clients="testpmd guest"
	phases="undisturbed pageout migrate thp flip"
	limit=600
	plain=1
	need dpdk-dev
	;;
smoke)
	clients=guest
	phases="undisturbed pageout"
	limit=300
	;;
soak)
	clients=testpmd
	phases="pageout migrate thp reclaim cpus freeze owner_dies owner_starves"
	minutes=${MINUTES:-25}
	limit=$((minutes * 60 + 300))
	modules=stock
	need dpdk-dev
	;;
matrix)
	clients=
	phases=
	cases=${CASES:-pair pressed paused vsock iperf3 migrated killed}
	limit=2400
	need socat iperf3
	;;
pps)
	clients=
	phases=
	modules=${2:?no KERNEL}
	rounds=${ROUNDS:-9}
	limit=1500
	need dpdk-dev
	;;
*)
	die "usage: lab/guests/run.sh [smoke|soak|matrix|pps KERNEL]"
	;;
esac
locked "run-$mode"
need gcc libc6-dev linux-libc-dev qemu-system-x86 cpio rsync
case $modules in
*-*)
	# The guest in it is the stock kernel still.
	"$LAB/vm/build.sh" "$modules" >/dev/null
	"$LAB/vm/modules.sh" plain >/dev/null
	;;
*) "$LAB/vm/modules.sh" "$modules" >/dev/null ;;
esac

# firmware NAME: where the distribution keeps it.
firmware() {
	for dir in /usr/share/qemu /usr/share/seabios; do
		[ ! -e "$dir/$1" ] || echo "-b $dir/$1:/usr/share/qemu/$1"
	done | head -n 1
}

# driver NAME: the versioned file of a DPDK driver.
driver() {
	find -L /usr/lib/*/dpdk -name "librte_$1.so.*" | sort | head -n 1
}

guest_root() {
	rm -rf "$out/guest"
	"$LAB/vm/root.sh" -r "$out/guest" -k plain -M virtio_net
	install -m 755 "$RUN/guest.sh" "$out/guest/test.sh"
	cp -r "$RUN/www" "$out/guest/www"
	[ "$mode" != matrix ] || {
		"$LAB/vm/root.sh" -r "$out/guest" -k plain \
			-M vmw_vsock_virtio_transport -b socat -b iperf3 \
			-b "$out/vsockhold:/usr/bin/vsockhold"
		install -m 644 "$RUN/services.sh" "$out/guest/services.sh"
	}
	[ "$mode" != pps ] || {
		"$LAB/vm/root.sh" -r "$out/guest" -k plain -M pktgen
		install -m 755 "$RUN/flood.sh" "$out/guest/usr/bin/flood"
	}
	mkdir -p "$root/guest"
	(cd "$out/guest" && find . | cpio -o -H newc -R 0:0 --quiet) \
		>"$root/guest/initramfs"
	cp "$CACHE/stock/boot/vmlinuz-$(stock_release)" "$root/guest/vmlinuz"
}

machine_root() {
	rm -rf "$root"
	# Each is an option and its value.
	# shellcheck disable=SC2046
	"$LAB/vm/root.sh" -r "$root" -k "$modules" -M zram -M tun -M vhost_net \
		-m kvm_amd -m kvm_intel -b qemu-system-x86_64 \
		$(firmware bios-256k.bin) $(firmware kvmvapic.bin) \
		$(firmware linuxboot_dma.bin) $(firmware linuxboot.bin)
	gcc -O2 -Wall -Wextra -static -o "$root/usr/bin/disturb" \
		"$RUN/disturb.c"
	gcc -O2 -Wall -Wextra -shared -fPIC -o "$root/usr/lib/ringaddr.so" \
		"$RUN/ringaddr.c"
	install -m 755 "$LAB/lib/splat.awk" "$root/usr/bin/splat.awk"
	install -m 755 "$RUN/machine.sh" "$root/test.sh"
	cp -r "$RUN/www" "$root/www"
	drivers=
	case $mode in
	smoke) ;;
	matrix)
		"$LAB/vm/root.sh" -r "$root" -k "$modules" -M bridge \
			-M vhost_vsock -b socat -b iperf3
		gcc -O2 -Wall -Wextra -static -o "$out/vsockhold" \
			"$RUN/vsockhold.c"
		"$LAB/vm/root.sh" -r "$root" -b "$out/vsockhold:/usr/bin/vsockhold"
		install -m 644 "$RUN/matrix.sh" "$root/matrix.sh"
		;;
	*)
		gcc -O2 -Wall -Wextra -static -o "$root/usr/bin/ringflip" \
			-I"$REPO/tools/testing/selftests/vhost" "$RUN/ringflip.c" \
			"$REPO/tools/testing/selftests/vhost/client.c"
		for name in mempool_ring net_virtio; do
			file=$(driver "$name")
			[ -n "$file" ] || die "dpdk-dev has no $name"
			"$LAB/vm/root.sh" -r "$root" -b "$file"
			drivers="$drivers -d $file"
		done
		"$LAB/vm/root.sh" -r "$root" -b dpdk-testpmd
		;;
	esac
	[ "$mode" != soak ] || soak_root
	[ "$mode" != pps ] || pps_root
	cat >"$root/etc/run.conf" <<END
MINUTES="$minutes"
CLIENTS="$clients"
PHASES="$phases"
CASES="$cases"
ROUNDS="$rounds"
SECONDS_EACH=3
TESTPMD_DRIVERS="$drivers"
END
}

soak_root() {
	mm=$REPO/tools/testing/selftests/mm
	tree=$("$LAB/vm/tree.sh" 6.12)
	"$LAB/vm/root.sh" -r "$root" -k "$modules" -m test_mmu_range_mirror
	gcc -O2 -Wall -Wextra -static -o "$root/usr/bin/canary" \
		"$RUN/canary.c"
	gcc -O2 -Wall -Wextra -static -pthread -o "$root/usr/bin/juggle" \
		-I"$mm" -I"$REPO" -I"$tree/tools/testing/selftests/mm" \
		"$RUN/juggle.c" "$tree/tools/testing/selftests/mm/mmu_mirror_device.c" \
		"$tree/tools/testing/selftests/mm/mmu_mirror_util.c"
	install -m 644 "$RUN/soak.sh" "$root/soak.sh"
}

pps_root() {
	"$LAB/vm/root.sh" -r "$root" -k "$modules" -M pktgen
	gcc -O2 -Wall -Wextra -static -o "$root/usr/bin/xdpdrop" \
		"$RUN/xdpdrop.c"
	install -m 755 "$RUN/flood.sh" "$root/usr/bin/flood"
	install -m 644 "$RUN/pps.sh" "$root/pps.sh"
}

# KVM in KVM has to be allowed; TCG always has it.
nested() {
	cat /sys/module/kvm_amd/parameters/nested \
		/sys/module/kvm_intel/parameters/nested 2>/dev/null |
		grep -q '[1Y]'
}

machine_root
[ "$mode" = soak ] || guest_root
rm -f "$out/console"
# What machine.sh says of its progress.
tail --pid=$$ -n +1 -F "$out/console" 2>/dev/null |
	sed -nu 's/^run: \([^\r]*\).*/lab: \1/p' >&2 &
nested || export ACCEL="${ACCEL:-tcg}"
status=0
"$LAB/vm/boot.sh" -k "$modules" -r "$root" -o "$out" -m 3072 -t "$limit" \
	-i ext4 -c EPYC-Rome,+svm,+npt >"$out/boot.log" || status=$?
cat "$out/boot.log"
accel=$(sed -n 's/^# .* under \([a-z]*\),.*/\1/p' "$out/boot.log")

# judge SCRIPT ARGUMENT...: what the results come to.
judge() {
	judge=$1
	shift
	"$RUN/$judge" -f "$RUN/counters.awk" -f "$LAB/lib/demand.awk" -v accel="$accel" "$@" \
		"$out/results" || status=1
}

case $mode in
soak)
	judge soak.awk -v expected="$phases juggle" -v minutes="$minutes"
	;;
matrix)
	judge matrix.awk -v expected="$cases" "$RUN/matrix.tsv"
	;;
pps)
	case $modules in
	plain) judge pps.awk -v kernel=6.12 ;;
	*) judge pps.awk -v kernel="${modules##*-}" ;;
	esac
	;;
*)
	judge report.awk -v expected="$phases" -v wanted=64 -v plain="$plain"
	;;
esac
exit "$status"
