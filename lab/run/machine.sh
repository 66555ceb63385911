#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of `make run` and `make soak`: clients of vhost-net move data while their rings are
# disturbed, first through mirrored rings and then through uaccess. What the
# kernel's counters say before and after goes to stdout, in lines of
# "PHASE MODE ..."; lab/run/report.awk makes the tables and the verdict.

set -eu

# shellcheck source=/dev/null
. /etc/run.conf
PARAM=/sys/module/vhost/parameters/ring_mirror
STATS=/sys/kernel/debug/vhost_ring_mirror
LIVE=120	# invalidations of live pages wanted of each client
BLOB=$((16 << 20))

say() {
	echo "run: $*" >&2
}

die() {
	say "$*"
	echo "error $*"
	exit 1
}

# poll SECONDS COMMAND...: until it succeeds.
poll() {
	ticks=$(($1 * 10))
	shift
	until "$@"; do
		ticks=$((ticks - 1))
		[ "$ticks" -gt 0 ] || return 1
		usleep 100000
	done
}

# The invalidations that found a live page so far.
live() {
	awk '{
		for (i = 1; i <= NF; i++) {
			if ($i !~ /^drops=/)
				continue
			n = split(substr($i, 7), event, ",")
			for (j = 1; j <= n; j++) {
				split(event[j], pair, ":")
				sum += pair[2]
			}
		}
	} END { printf "%d\n", sum }' "$STATS"
}

snapshot() {
	sed "s/^/$PHASE $MODE $1 ring /" "$STATS"
	grep -E '^(pswp|pgmigrate|thp_)' /proc/vmstat |
		sed "s/^/$PHASE $MODE $1 vm /"
	# Read once, as a log that wraps around may begin within something.
	dmesg -c | /usr/bin/splat.awk >>/tmp/splats || true
	echo "$PHASE $MODE $1 splats $(wc -l </tmp/splats)"
}

sums_up() {
	if [ "$3" = "$4" ]; then
		echo "$PHASE $MODE bytes $1 $2 $BLOB"
	else
		echo "$PHASE $MODE corrupt $1 $2 $3 $4"
	fi
}

# One blob to the guest and one from it, at the same time.
exchange() {
	timeout 60 wget -q -O - http://10.9.0.2/cgi-bin/pull >/tmp/pulled &
	pulling=$!
	timeout 60 wget -q -O - http://10.9.0.2/blob | sha256sum >/tmp/fetched
	wait "$pulling" || say "the guest does not answer"
	sums_up guest to "$(cat /www/sum)" "$(cat /tmp/pulled)"
	sums_up guest from "$GUEST_SUM" "$(cat /tmp/fetched)"
}

# disturb PID FILE: the pages that FILE names, as $PHASE demands.
disturb() {
	DISTURBER=
	case $PHASE in
	undisturbed) return ;;
	pageout) period=20000 ;;
	migrate) period=20000 ;;
	thp) period=30000 ;;
	esac
	# Nothing is to be compared then.
	[ -z "$MINUTES" ] || period=3000
	# The last word on each queue, which is a list of ranges.
	# shellcheck disable=SC2046
	/usr/bin/disturb "$PHASE" "$1" "$period" $(awk '
		{ queue = $1; $1 = ""; last[queue] = $0 }
		END { for (queue in last) print last[queue] }' "$2") \
		>/tmp/disturbed &
	DISTURBER=$!
}

undisturb() {
	[ -n "$DISTURBER" ] || return 0
	kill -TERM "$DISTURBER"
	wait "$DISTURBER" || die "the disturber failed"
	echo "$PHASE $MODE disturber $1 $(cat /tmp/disturbed)"
}

# Were there enough? With uaccess nobody counts.
enough() {
	[ "$PHASE" = undisturbed ] || [ "$MODE" = 0 ] ||
		[ "$(($(live) - BASE))" -ge "$LIVE" ]
}

now_ms() {
	awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime
}

# testpmd spins: it only runs while it is looked at.
phase_testpmd() {
	BASE=$(live)
	kill -CONT "$TESTPMD"
	disturb "$TESTPMD" /tmp/testpmd.rings
	start=$(now_ms)
	packets=$(cat /sys/class/net/pmd0/statistics/rx_packets)
	sleep "$SECONDS_EACH"
	poll 20 enough || true
	packets=$(($(cat /sys/class/net/pmd0/statistics/rx_packets) - packets))
	echo "$PHASE $MODE packets $packets $(($(now_ms) - start))"
	undisturb testpmd
	kill -STOP "$TESTPMD"
	echo "$PHASE $MODE live testpmd $(($(live) - BASE))"
}

phase_guest() {
	BASE=$(live)
	rounds=1
	[ "$PHASE" != undisturbed ] || [ "$MODE" = 0 ] || rounds=4
	disturb "$GUEST" /tmp/guest.rings
	start=$(now_ms)
	until [ "$rounds" -le 0 ] && { enough || [ "$rounds" -le -8 ]; }; do
		exchange
		rounds=$((rounds - 1))
	done
	echo "$PHASE $MODE time guest $(($(now_ms) - start))"
	undisturb guest
	echo "$PHASE $MODE live guest $(($(live) - BASE))"
}

# A client that disturbs itself. vhost counts no accesses of a device that never
# had a window, so it is up before the rings stop being mirrored.
prepare_ringflip() {
	[ -p /tmp/flip.in ] || mkfifo /tmp/flip.in
	rm -f /tmp/flipped
	exec 4<>/tmp/flip.in
	ringflip "$((SECONDS_EACH * 1000))" "$((LIVE * MODE))" \
		<&4 >/tmp/flipped &
	FLIPPER=$!
	poll 30 test -s /tmp/flipped || die "ringflip does not start"
}

phase_ringflip() {
	echo go >&4
	wait "$FLIPPER" || {
		echo "error $PHASE, ring_mirror=$MODE: ringflip failed"
		return
	}
	sed -n "s/^flips/$PHASE $MODE disturber ringflip &/p" /tmp/flipped
	tr ' ' '\n' </tmp/flipped | awk -F= -v tag="$PHASE $MODE" '
		$1 == "to" || $1 == "from" {
			print tag, "bytes ringflip", $1, $2
		}
		$1 == "ms" { print tag, "time ringflip", $2 }'
}

phase() {
	PHASE=$1
	# shellcheck disable=SC2153
	clients=$CLIENTS
	[ "$PHASE" != flip ] || clients=ringflip
	for MODE in 1 0; do
		echo 1 >"$PARAM"
		[ "$PHASE" != flip ] || prepare_ringflip
		echo "$MODE" >"$PARAM"
		say "$PHASE, ring_mirror=$MODE"
		snapshot before
		for client in $clients; do
			"phase_$client"
		done
		snapshot after
	done
}

start_testpmd() {
	mkfifo /tmp/testpmd.in
	# Open at both ends: testpmd leaves when its input ends.
	exec 3<>/tmp/testpmd.in
	# shellcheck disable=SC2086
	RINGADDR=/tmp/testpmd.rings LD_PRELOAD=/usr/lib/ringaddr.so \
		dpdk-testpmd -l 0-1 --no-huge -m 64 --no-shconf \
		--no-telemetry --no-pci \
		$TESTPMD_DRIVERS \
		--vdev=virtio_user0,path=/dev/vhost-net,queue_size=256,iface=pmd0 \
		-- --no-mlockall --no-numa --forward-mode=txonly \
		--total-num-mbufs=8192 --stats-period=60 \
		<&3 >/tmp/testpmd.log 2>&1 &
	TESTPMD=$!
	poll 20 test -s /tmp/testpmd.rings || {
		cat /tmp/testpmd.log >&2
		die "testpmd does not start"
	}
	ip link set pmd0 up
	kill -STOP "$TESTPMD"
}

start_guest() {
	modprobe -q kvm_amd 2>/dev/null || modprobe -q kvm_intel 2>/dev/null ||
		die "no KVM in here: try again with ACCEL=tcg"
	RINGADDR=/tmp/guest.rings LD_PRELOAD=/usr/lib/ringaddr.so \
		qemu-system-x86_64 -accel kvm -cpu host -M q35 -m 256 \
		-nodefaults -display none -no-reboot \
		-serial file:/tmp/guest.console -serial file:/tmp/guest.results \
		-kernel /guest/vmlinuz -initrd /guest/initramfs \
		-append "console=ttyS0 panic=-1 quiet" \
		-netdev tap,id=net0,ifname=vm0,script=no,downscript=no,vhost=on \
		-device virtio-net-pci,netdev=net0,romfile= \
		</dev/null >/tmp/guest.qemu 2>&1 &
	GUEST=$!
	poll 10 test -d /sys/class/net/vm0 || {
		cat /tmp/guest.qemu >&2
		die "the nested QEMU does not start"
	}
	ip addr add 10.9.0.1/24 dev vm0
	ip link set vm0 up
	mkdir -p /www
	dd if=/dev/urandom of=/www/blob bs=1M count=16 2>/dev/null
	sha256sum </www/blob >/www/sum
	httpd -h /www
	poll 60 timeout 2 wget -q -O /tmp/guest.sum http://10.9.0.2/sum 2>/dev/null || {
		cat /tmp/guest.console >&2
		die "the nested guest does not come up"
	}
	GUEST_SUM=$(cat /tmp/guest.sum)
}

stop_guest() {
	timeout 10 wget -q -O /dev/null http://10.9.0.2/cgi-bin/off || true
	wait "$GUEST" || say "the nested QEMU ended with an error"
	cat /tmp/guest.console >&2
	grep '^# lab: exit status' /tmp/guest.results | sed 's/^/guest /'
}

stop_testpmd() {
	kill -CONT "$TESTPMD"
	kill -TERM "$TESTPMD"
	wait "$TESTPMD" || true
}

[ -e "$STATS" ] || die "no $STATS: vhost is not ours"
# What migrates is to have been migrated by us.
echo 0 >/proc/sys/kernel/numa_balancing
ip link set lo up
echo 512M >/sys/block/zram0/disksize
mkswap /dev/zram0 >/dev/null
swapon /dev/zram0

[ -z "$MINUTES" ] || {
	# shellcheck source=/dev/null
	. /soak.sh
	prepare_soak
}
for client in $CLIENTS; do
	"start_$client"
done
say "clients up after $(cut -d' ' -f1 /proc/uptime) s"
if [ -n "$MINUTES" ]; then
	soak
else
	# shellcheck disable=SC2153
	for name in $PHASES; do
		phase "$name"
	done
fi
for client in $CLIENTS; do
	"stop_$client"
done
echo end
