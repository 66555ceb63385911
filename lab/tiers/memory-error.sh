#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/memory-error.sh
#
# A memory error in each load that vhost makes through a window or a cache, on the
# stock kernel: the machine goes on, the access falls back, the page leaves the window
# and comes back. And the same where one load has no entry in the exception table:
# the kernel panics. QEMU serves gdb, which stops a CPU in front of the load, and its
# monitor injects the machine check; both take TCG. KTAP.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

MERR=$LAB/memory-error
out=$LOGS
mkdir -p "$out"
out=$(cd "$out" && pwd)
unset KSRC
# A processor with machine checks that one can recover from. One: an error is told to
# all, and QEMU resets a machine that has not done with the one before.
CPU=Skylake-Client
ACCEL=tcg
export ACCEL
# A fixed direct map; and no warning of what that processor leaks.
ARGS="nokaslr mitigations=off"
# How long the packets of a boot may take, on a quiet machine.
SECONDS_EACH=120

need gdb gcc libc6-dev binutils
modules=$("$LAB/vm/modules.sh" plain)
tree=$("$LAB/vm/tree.sh" 6.12)

# loads MODULE.KO: where they are, by its exception table, after the module's name.
loads() {
	objdump -r -s -j __ex_table "$1" | "$LAB/lib/loads.awk" | sort |
		sed "s/^/$(basename "$1" .ko) /"
}

# unsafe MODULE: make its entries for machine checks ordinary ones, by their first
# byte: where, where to, and what are four bytes each.
unsafe() {
	at=$(readelf -SW "$1" | sed -n 's/.* __ex_table *PROGBITS *[^ ]* *\([^ ]*\) *\([^ ]*\).*/\1 \2/p')
	end=$((0x${at% *} + 0x${at#* }))
	at=$((0x${at% *} + 8))
	while [ "$at" -lt "$end" ]; do
		[ "$(od -An -tu1 -j "$at" -N 1 "$1" | tr -d ' ')" != 14 ] ||
			printf '\001' | dd of="$1" bs=1 seek="$at" \
				conv=notrunc status=none
		at=$((at + 12))
	done
}

build() {
	headers=$CACHE/build/headers-6.12
	mkdir -p "$headers"
	make -C "$tree" O="$headers" headers &&
		gcc -O2 -Wall -Wextra -static -pthread \
			-isystem "$headers/usr/include" \
			-I "$tree/tools/testing/selftests/vhost" \
			-o "$out/traffic" "$MERR/traffic.c" \
			"$tree/tools/testing/selftests/vhost/client.c"
}

# inject DIR: whenever its machine says that it is ready, into its loads.
inject() {
	while [ -e "$1/up" ]; do
		sleep 0.2
		grep -qs '^# ready' "$1/results" || continue
		breakpoints "$1" | cat - "$MERR/inject.gdb" >"$1/gdb.in"
		gdb -nx -batch -x "$1/gdb.in" >"$1/gdb.out" 2>&1 || true
		# Until it is gone, or booted again.
		while [ -e "$1/up" ] && grep -qs '^# ready' "$1/results"; do
			sleep 0.2
		done
	done
}

# breakpoints DIR: for gdb, in front of each load.
breakpoints() {
	echo "set architecture i386:x86-64"
	echo "target remote $1/gdb"
	echo "set \$loads = $nr_loads"
	while IFS='+ ' read -r module section offset _; do
		base=$(sed -n "s/^# section $module $section //p" "$1/results")
		echo "thbreak *($base + $offset)"
	done <"$out/loads"
}

# boot NAME ERRORS [MODULE...]: with these in place of those of their names.
boot() {
	dir=$out/$1
	rm -rf "$dir"
	mkdir -p "$dir/root"
	"$LAB/vm/root.sh" -r "$dir/root" -k plain -m vhost_net -m tun
	errors=$2
	shift 2
	for module in "$@"; do
		find "$dir/root/lib/" -name "$(basename "$module")" \
			-exec cp "$module" {} \;
	done
	cp "$out/traffic" "$dir/root/traffic"
	cp "$MERR/vm.sh" "$dir/root/test.sh"
	echo "$errors $SECONDS_EACH" >"$dir/root/etc/errors"
	: >"$dir/up"
	: >"$dir/gdb.out"
	inject "$dir" &
	status=0
	"$LAB/vm/boot.sh" -k plain -r "$dir/root" -o "$dir" -c "$CPU" -s 1 \
		-t $((SECONDS_EACH + 120)) -a "$ARGS" \
		-q "-gdb unix:$dir/gdb,server=on,wait=off" >&2 || status=$?
	rm -f "$dir/up"
	wait
	sed 's/^/# /' "$dir/results" "$dir/gdb.out" 2>/dev/null || true
	echo "# panic: $("$MERR/panic.awk" "$dir/console")"
}

said() {
	grep -q "$1" "$dir/results"
}

# Of the very load that a CPU was stopped at?
panicked_at_the_load() {
	at=$(sed -n 's/^load 1 at \(0x[0-9a-f]*\) .*/\1/p' "$dir/gdb.out")
	[ -n "$at" ] && "$MERR/panic.awk" "$dir/console" |
		grep -Eq "^memory error at $at in (vhost|mmu_mirror)_"
}

panicked_otherwise() {
	[ "$("$MERR/panic.awk" "$dir/console")" = "sysrq triggered crash" ]
}

{
	loads "$modules/drivers/vhost/vhost.ko"
	loads "$modules/mm/mmu_mirror_window.ko"
} >"$out/loads"
build >"$out/build.log" 2>&1 || {
	tail -n 5 "$out/build.log" >&2
	die "no traffic; see $out/build.log"
}
nr_loads=$(wc -l <"$out/loads")
mkdir -p "$out/unsafe"
for module in drivers/vhost/vhost.ko mm/mmu_mirror_window.ko; do
	cp "$modules/$module" "$out/unsafe/"
	unsafe "$out/unsafe/${module##*/}"
done

begin memory-error
result_of "vhost has loads that survive one" [ "$nr_loads" -gt 0 ]
result_of "the control has none" [ -z "$(
	loads "$out/unsafe/vhost.ko"
	loads "$out/unsafe/mmu_mirror_window.ko")" ]

boot recovered "$nr_loads"
about "memory-error: $nr_loads loads"
result "$status" "the machine goes on, and the kernel does not complain"
result_of "each of them met one" said "^# errors: $nr_loads$"
result_of "packets are right" said "^# packets: right"
result_of "accesses of each kind fell back for it" \
	said "^# poisoned: desc [1-9][0-9]*, avail [1-9][0-9]*, used [1-9][0-9]*, header [1-9][0-9]*, payload [1-9]"
result_of "the windows are whole again" said "^# windows: whole"

boot control "$nr_loads" "$out"/unsafe/*.ko
about "memory-error: without entries"
result_of "the kernel panics, for that" panicked_at_the_load

boot other none
about "memory-error: another panic"
result_of "it is told from that" panicked_otherwise
finish
[ -z "$failed" ]
