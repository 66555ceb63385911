#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of `make run`, of the soak, the matrix and pps: clients of vhost-net
# move data while their rings are disturbed, first through mirrored rings and
# then through uaccess. What the kernel's counters say before and after goes to
# stdout, in lines of "PHASE MODE ..."; lab/guests/report.awk makes the tables and
# the verdict. What soak, matrix and pps do instead is in their own scripts.
#
# A client is known by a name: NAME.pid, NAME.rings and NAME.disturber in /tmp
# are its process, where its rings are, and who disturbs them.

set -eu

# shellcheck source=/dev/null
. /etc/run.conf
CGROUPS=/tmp/cgroup
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

# poll SECONDS COMMAND...: until it succeeds. As with all limits in here, SECONDS
# are those of a quiet machine, and SLOW is how much slower this one is.
poll() {
	ticks=$(($1 * 10 * SLOW))
	shift
	until "$@"; do
		ticks=$((ticks - 1))
		[ "$ticks" -gt 0 ] || return 1
		usleep 100000
	done
}

# live_of PATTERN: the invalidations that found a live page so far, of the
# queues whose lines begin like that.
live_of() {
	awk -v pattern="^$1" '$0 ~ pattern {
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

live() {
	live_of pid=
}

# Read once, as a log that wraps around may begin within something.
complaints() {
	dmesg -c | /usr/bin/splat.awk >>/tmp/splats || true
	echo "$PHASE $MODE $1 splats $(wc -l </tmp/splats)"
}

snapshot() {
	sed "s/^/$PHASE $MODE $1 ring /" "$STATS"
	grep -E '^(pswp|pgmigrate|thp_)' /proc/vmstat |
		sed "s/^/$PHASE $MODE $1 vm /"
	complaints "$1"
}

sums_up() {
	if [ "$3" = "$4" ]; then
		echo "$PHASE $MODE bytes $1 $2 $BLOB"
	else
		echo "$PHASE $MODE corrupt $1 $2 $3 $4"
	fi
}

# fetch NUMBER PATH: from the guest that has this number; the host is 1. It gives
# up before lab/guests/run.sh does.
fetch() {
	timeout $((200 * SLOW)) wget -q -O - "http://10.9.0.$1/$2"
}

# exchange NAME NUMBER PEER: one blob to the guest and one from it, at the same
# time.
exchange() {
	fetch "$2" "cgi-bin/pull?$3" >/tmp/pulled &
	pulling=$!
	fetch "$3" "cgi-bin/pull?$2" >/tmp/fetched ||
		lost_guest "$1" "sends nothing to $3"
	wait "$pulling" || lost_guest "$1" "gets nothing from $3"
	sums_up "$1" to "$(cat "/tmp/sum.$3")" "$(cat /tmp/pulled)"
	sums_up "$1" from "$(cat "/tmp/sum.$2")" "$(cat /tmp/fetched)"
}

# Until it is told to leave, whoever is started will belong to the group of
# clients, and so will its memory.
enter_clients() {
	mkdir -p "$CGROUPS"
	mount -t cgroup2 none "$CGROUPS"
	echo +memory >"$CGROUPS/cgroup.subtree_control"
	mkdir "$CGROUPS/clients"
	echo 0 >"$CGROUPS/clients/cgroup.procs"
}

leave_clients() {
	echo 0 >"$CGROUPS/cgroup.procs"
}

reclaim() {
	echo 4M >"$CGROUPS/clients/memory.reclaim"
	usleep 20000
} 2>/dev/null

# over_and_over NAME KIND, until it is told to stop, in a shell of its own.
over_and_over() {
	trap 'over=1' TERM
	over=
	done=0
	until [ -n "$over" ]; do
		"$2" || true
		done=$((done + 1))
	done
	echo "kind=$2 done=$done" >"/tmp/$1.disturbed"
}

# disturb KIND NAME [QUEUES]: the pages of the client's rings, or those of the
# queues that this regular expression matches.
disturb() {
	case $1 in
	undisturbed) return ;;
	pageout) period=20000 ;;
	migrate) period=20000 ;;
	thp) period=30000 ;;
	*)
		command -v "$1" >/dev/null || die "$1 disturbs nobody"
		over_and_over "$2" "$1" &
		echo "$!" >"/tmp/$2.disturber"
		return
		;;
	esac
	# Nothing is to be compared then.
	[ -z "$MINUTES" ] || period=3000
	# The last word on each queue, which is a list of ranges.
	# shellcheck disable=SC2046
	/usr/bin/disturb "$1" "$(cat "/tmp/$2.pid")" "$period" $(awk \
		-v wanted="${3:-.}" '
		$1 ~ wanted { queue = $1; $1 = ""; last[queue] = $0 }
		END { for (queue in last) print last[queue] }' \
		"/tmp/$2.rings") >"/tmp/$2.disturbed" &
	echo "$!" >"/tmp/$2.disturber"
}

undisturb() {
	[ -e "/tmp/$1.disturber" ] || return 0
	disturber=$(cat "/tmp/$1.disturber")
	rm "/tmp/$1.disturber"
	kill -TERM "$disturber"
	wait "$disturber" || die "the disturber of $1 failed"
	echo "$PHASE $MODE disturber $1 $(cat "/tmp/$1.disturbed")"
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
	disturb "$PHASE" testpmd
	sleep "$SECONDS_EACH"
	poll 20 enough || true
	undisturb testpmd
	kill -STOP "$TESTPMD"
	echo "$PHASE $MODE live testpmd $(($(live) - BASE))"
}

phase_guest() {
	BASE=$(live)
	rounds=1
	[ "$PHASE" != undisturbed ] || [ "$MODE" = 0 ] || rounds=4
	disturb "$PHASE" guest
	until [ "$rounds" -le 0 ] && { enough || [ "$rounds" -le -8 ]; }; do
		exchange guest 2 1
		rounds=$((rounds - 1))
	done
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
		}'
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

# start_testpmd [FORWARD-MODE]
start_testpmd() {
	[ -p /tmp/testpmd.in ] || mkfifo /tmp/testpmd.in
	rm -f /tmp/testpmd.rings
	# Open at both ends: testpmd leaves when its input ends.
	exec 3<>/tmp/testpmd.in
	# shellcheck disable=SC2086
	RINGADDR=/tmp/testpmd.rings LD_PRELOAD=/usr/lib/ringaddr.so \
		dpdk-testpmd -l 0-1 --no-huge -m 64 --no-shconf \
		--no-telemetry --no-pci \
		$TESTPMD_DRIVERS \
		--vdev=virtio_user0,path=/dev/vhost-net,queue_size=256,iface=pmd0 \
		-- --no-mlockall --no-numa --forward-mode="${1:-txonly}" \
		--total-num-mbufs=8192 --stats-period=60 \
		<&3 >/tmp/testpmd.log 2>&1 &
	TESTPMD=$!
	echo "$TESTPMD" >/tmp/testpmd.pid
	poll 20 test -s /tmp/testpmd.rings || {
		cat /tmp/testpmd.log >&2
		die "testpmd does not start"
	}
	ip link set pmd0 up
	kill -STOP "$TESTPMD"
}

# only_cpu0 COMMAND...: while the other CPUs are offline.
only_cpu0() {
	others=$(ls /sys/devices/system/cpu/cpu[1-9]*/online)
	for other in $others; do
		echo 0 >"$other"
	done
	"$@"
	for other in $others; do
		echo 1 >"$other"
	done
}

# One that never runs, and whose APIC therefore stays off.
still_guest() {
	qemu-system-x86_64 -accel kvm -cpu host,-xsave -M q35 -m 16 \
		-nodefaults -display none -S -daemonize
}

# What makes the kernel patch itself. KVM patches its own code and the scheduler as
# it is loaded, when it has its first guest, and when it has the first whose APIC is
# off, or no more of them, a second after each boot; TCP what it does only once, for
# its first connection. Where TCG is the machine, another CPU may translate half a
# patch, and keep that: it hangs then, or the kernel stops at a breakpoint that is
# gone.
first_users() {
	modprobe -q kvm_amd 2>/dev/null || modprobe -q kvm_intel 2>/dev/null ||
		die "no KVM in here: try again with ACCEL=tcg"
	still_guest
	wget -q -O /dev/null http://127.0.0.1:1/ 2>/dev/null || true
}

load_kvm() {
	only_cpu0 first_users
}

# nested NAME TAP NUMBER [ARGUMENT...]: a guest whose address is 10.9.0.NUMBER. It
# is to do without XSAVE: TCG, if the host is in it, lets XSETBV through to the
# host, which then lets the guest lose what it has in vector registers.
nested() {
	name=$1
	tap=$2
	number=$3
	shift 3
	RINGADDR=/tmp/$name.rings LD_PRELOAD=/usr/lib/ringaddr.so \
		qemu-system-x86_64 -accel kvm -cpu host,-xsave -M q35 -m 256 \
		-nodefaults -display none -no-reboot \
		-serial "file:/tmp/$name.console" \
		-serial "file:/tmp/$name.results" \
		-kernel /guest/vmlinuz -initrd /guest/initramfs \
		-append "console=ttyS0 panic=-1 quiet lab.guest=$number SLOW=$SLOW" \
		-netdev "tap,id=net0,ifname=$tap,script=no,downscript=no,vhost=on" \
		-device "virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:00:09:0$number" \
		"$@" </dev/null >"/tmp/$name.qemu" 2>&1 &
	echo "$!" >"/tmp/$name.pid"
	poll 30 test -d "/sys/class/net/$tap" || {
		cat "/tmp/$name.qemu" >&2
		die "the nested QEMU of $name does not start"
	}
	ip link set "$tap" up
}

# Data of the host's own, which has number 1.
serve() {
	dd if=/dev/urandom of=/www/blob bs=1M count=16 2>/dev/null
	sha256sum </www/blob >/www/sum
	cp /www/sum /tmp/sum.1
	httpd -h /www
}

# lost_guest NAME WHAT: the end of the run, with all that the guest said and how
# far its queues are.
lost_guest() {
	cat "/tmp/$1.qemu" "/tmp/$1.console" "/tmp/$1.results" "$STATS" >&2
	die "the nested guest $1 $2"
}

# await NAME NUMBER SECONDS: until the guest serves; in seconds of uptime.
await() {
	until timeout $((2 * SLOW)) wget -q -O "/tmp/sum.$2" "http://10.9.0.$2/sum" \
		2>/dev/null; do
		if [ "$(now_ms)" -ge "$(($3 * 1000 * SLOW))" ] ||
			! kill -0 "$(cat "/tmp/$1.pid")" 2>/dev/null; then
			lost_guest "$1" "does not come up"
		fi
		usleep 100000
	done
}

# power_off NAME NUMBER
power_off() {
	fetch "$2" cgi-bin/off >/tmp/off || true
	wait "$(cat "/tmp/$1.pid")" ||
		say "the nested QEMU of $1 ended with an error"
	cat "/tmp/$1.console" >&2
	grep '^# lab: exit status' "/tmp/$1.results" | sed 's/^/guest /'
}

start_guest() {
	load_kvm
	nested guest vm0 2
	ip addr add 10.9.0.1/24 dev vm0
	serve
	await guest 2 120
}

stop_guest() {
	power_off guest 2
}

stop_testpmd() {
	kill -CONT "$TESTPMD"
	kill -TERM "$TESTPMD"
	wait "$TESTPMD" || true
}

[ -e "$STATS" ] || die "no $STATS: vhost is not ours"
ip link set lo up
echo 512M >/sys/block/zram0/disksize
mkswap /dev/zram0 >/dev/null
swapon /dev/zram0

[ -z "$CASES" ] || {
	# shellcheck source=/dev/null
	. /matrix.sh
	matrix
	echo end
	exit
}
[ -z "$ROUNDS" ] || {
	# shellcheck source=/dev/null
	. /pps.sh
	pps
	echo end
	exit
}
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
