#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/lib/harness.sh
#
# Tests of the harness itself: whatever can go wrong in a run is reported. One
# table of boots (what /test.sh does, and how lab/vm/boot.sh must judge it), one of
# boots of a QEMU that is none, one of console lines, one of KTAP.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/./env.sh"

out=$LOGS
mkdir -p "$out"
"$LAB/vm/fetch.sh" stock >/dev/null
count=0
failed=

result() {
	count=$((count + 1))
	if [ "$1" = "$2" ]; then
		echo "ok $count lab: $3"
	else
		echo "not ok $count lab: $3"
		echo "# expected $2, got $1"
		failed=yes
	fi
}

# boots STATUS NAME SECONDS: /test.sh is on stdin.
boots() {
	root=$out/root
	[ -d "$root" ] || "$LAB/vm/root.sh" -r "$root"
	{
		echo '#!/bin/sh'
		cat
	} >"$root/test.sh"
	chmod +x "$root/test.sh"
	status=0
	"$LAB/vm/boot.sh" -k stock -r "$root" -o "$out/$2" -t "$3" >/dev/null \
		2>"$out/$2.err" || status=$?
	result "$status" "$1" "a run that $2 ends with $1"
}

# What a build finds in objects, of which one is called like one of ours.
OURS="hook_invalidate put_pages tlb_flush_all extent_insert test_hook
vhost_get_vq_desc mmu_mirror_domain_drain"
rm -rf "$out/objects"
mkdir -p "$out/objects/mm" "$out/objects/drivers/vhost"
# A list on purpose.
# shellcheck disable=SC2086
printf 'static void __attribute__((used)) %s(void) {}\n' $OURS |
	gcc -c -x c -o "$out/objects/mm/mmu_mirror_extents.o" -
echo 'void hrtimer_wakeup(void) {}' |
	gcc -c -x c -o "$out/objects/mm/another.o" -
our_symbols "$out/objects" >"$out/symbols"

# machines STATUS AGAIN NAME CONSOLE...: consoles of machines, as lab/vm/boot.sh boots
# one after another, and how it must judge, and how often boot again. After the
# last of them come machines in which all is well.
machines() {
	wanted="$1, $2 times again"
	what=$3
	shift 3
	rm -rf "$out/machines"
	mkdir -p "$out/machines" "$out/emptied"
	number=0
	for console in "$@"; do
		number=$((number + 1))
		ln -s "$console" "$out/machines/$number"
	done
	status=0
	PATH=$out/bin:$PATH ACCEL=${accel:-tcg} MACHINES=$out/machines \
		"$LAB/vm/boot.sh" -k stock -r "$out/emptied" -o "$out/imagined" \
		>"$out/imagined.log" 2>"$out/imagined.err" || status=$?
	again=$(grep -c '^# booted again' "$out/imagined.log") || true
	result "$status, $again times again" "$wanted" "$what"
}

# complains STATUS NAME: a console's lines are on stdin.
complains() {
	status=0
	"$LAB/lib/splat.awk" -v symbols="${3-$out/symbols}" >/dev/null || status=$?
	result "$status" "$1" "splat: $2"
}

# totals "LINE" NAME: KTAP is on stdin.
totals() {
	cat >"$out/ktap-case"
	last=$("$LAB/lib/summary" "$out/ktap-case" | tail -n 1) || true
	result "$last" "$1" "summary: $2"
}

printf 'TAP version 13\n'

boots 0 passes 60 <<'END'
[ "$SLOW" -ge 1 ] && [ "$(cat /sys/devices/system/cpu/online)" = 0-1 ] || exit 1
echo "1..1"
END
grep -q '^1\.\.1$' "$out/passes/results" && status=0 || status=1
result "$status" 0 "what a run prints arrives"
boots 1 fails 60 <<'END'
exit 7
END
boots 2 crashes 60 <<'END'
echo c >/proc/sysrq-trigger
END
boots 2 warns 60 <<'END'
echo "WARNING: CPU: 0 PID: 1 at mm/none.c:1 none+0x0/0x0" >/dev/kmsg
END
boots 3 hangs 15 <<'END'
sleep 1000
END
boots 3 powers-off 60 <<'END'
poweroff -f
END
# What QEMU is in the next ones: it says what the files in MACHINES have for each
# machine, and if that is nothing bad, that the test has passed.
mkdir -p "$out/bin"
cat >"$out/bin/qemu-system-x86_64" <<'END'
#!/bin/sh
for word; do
	case $word in
	*/results|*/console) file=${word#*[:=]}; eval "${file##*/}=/${file#*/}" ;;
	*/qemu.log) log=$word ;;
	esac
done
runs=$(($(cat "$MACHINES/runs" 2>/dev/null || echo 0) + 1))
echo "$runs" >"$MACHINES/runs"
cat "$MACHINES/$runs" >"$console" 2>/dev/null ||
	echo "[    0.000000] Linux version 6.12.0" >"$console"
case $(cat "$console") in
*Oops*) exit ;;
*gone*) echo "Triple fault" >"$log"; exit ;;
*unhappy*) echo "# lab: exit status 1" >"$results" ;;
*) echo "# lab: exit status 0" >"$results" ;;
esac
END
chmod +x "$out/bin/qemu-system-x86_64"
# As QEMU 7.2 died of patches of the scheduler: there is no breakpoint any more.
stale=$out/stale
cat >"$stale" <<'END'
[   23.405202] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI
[   23.405730] CPU: 1 UID: 0 PID: 154 Comm: test.sh Not tainted 6.12.117+deb12-cloud-amd64 #1  Debian 6.12.117-1~deb12u1
[   23.405921] Hardware name: QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2-debian-1.16.2-1 04/01/2014
[   23.406037] RIP: 0010:update_curr_se+0x32/0x90
[   23.406380] Code: fd 48 83 ec 08 83 bf a8 0a 00 00 01 76 50 48 8b 95 c0 0a 00 00 48 89 d0 48 2b 46 58 48 85 c0 7e 0a 48 89 56 58 48 01 46 60 eb <0a> 48 83 c4 08 5d e9 73 8d b8 00 48 83 be a8 00 00 00 00 48 8d 96
[   23.406456] RSP: 0000:ffffd358c041ce38 EFLAGS: 00000012
[   23.406956] Call Trace:
[   23.407626]  <IRQ>
[   23.407732]  ? reweight_entity+0x1b9/0x250
[   23.408078]  update_curr+0x2d/0x1e0
[   23.408549] RIP: 0033:0x42ed9b
[   23.408549] Code: 48 89 1d 28 c1 1b 00 8b 03 25 00 80 00 00 0f 85 13 ff ff ff 64 4c 8b 3c 25 10 00 00 00 48 8b bb 88 00 00 00 4c 39 7f 08 74 1a <ba> 01 00 00 00 f0 0f b1 17 0f 85 9e 00 00 00 48 8b bb 88 00 00 00
[   23.405134] Oops: int3: 0000 [#2] PREEMPT SMP NOPTI
[   23.408549] Kernel panic - not syncing: Fatal exception in interrupt
END
sed 's/60 eb <0a>/60 cc <0a>/' "$stale" >"$out/breakpoint"
sed '/Code: fd/s/Code: .*/Code: Unable to access opcode bytes at 0xffffffffc0000000./' \
	"$stale" >"$out/no-code"
sed 's/int3/invalid opcode/' "$stale" >"$out/other"
{
	echo "[   22.000000] BUG: Bad page state in process test  pfn:01234"
	cat "$stale"
} >"$out/second"
{
	cat "$out/other"
	sed 's/#1/#2/' "$stale"
} >"$out/after"
echo "[   23.000000] an unhappy test" >"$out/unhappy"
echo "[   23.000000] soon gone" >"$out/gone"
machines 0 0 "a machine in which all is well"
machines 0 1 "QEMU's fault is none of the test's" "$stale"
machines 0 3 "three times QEMU's fault" "$stale" "$stale" "$stale"
machines 2 3 "four times QEMU's fault" "$stale" "$stale" "$stale" "$stale"
machines 1 1 "a test that fails after QEMU's fault" "$stale" "$out/unhappy"
machines 2 1 "another fault after QEMU's" "$stale" "$out/other"
machines 2 0 "a breakpoint that is there" "$out/breakpoint"
machines 2 0 "a breakpoint in what cannot be read" "$out/no-code"
machines 2 0 "no breakpoint" "$out/other"
machines 2 0 "QEMU's fault in a kernel that complained before" "$out/second"
machines 2 0 "QEMU's fault after another" "$out/after"
accel=kvm
machines 2 0 "QEMU's fault without its emulation" "$stale"
accel=icount
machines 2 0 "QEMU's fault without its threads" "$stale"
accel=
machines 3 0 "a machine that is gone" "$out/gone"
grep -q 'gone .*Triple fault' "$out/imagined.err" && status=0 || status=1
result "$status" 0 "a triple fault is told"
# typed: to a shell, when it is there.
typed() {
	for _ in $(seq 3000); do
		! grep -qs '^/ #' "$out/shell/console" || break
		sleep 0.2
	done
	printf '%s\n' 'echo said 4""2' exit
}

rm -rf "$out/shell"
typed | timeout 900 "$LAB/vm/boot.sh" -k stock -r "$root" -o "$out/shell" -I >/dev/null 2>&1 &&
	status=0 || status=$?
grep -q '^said 42' "$out/shell/console" || status=silent
result "$status" 0 "an interactive machine has a shell, and ends with it"
complains 0 "an ordinary console" <<'END'
[    0.000000] Linux version 6.12.0
[    0.269733] Speculative Return Stack Overflow: WARNING: See https://kernel.org/doc/html/latest/admin-guide/hw-vuln/srso.html for mitigation options.
[    1.000000] Memory failure: 0x1234: recovery action for dirty LRU page: Recovered
END
while read -r line; do
	[ -n "$line" ] || continue
	echo "[    1.000000] $line" >"$out/line"
	complains 1 "$line" <"$out/line"
done <<'END'
BUG: KASAN: slab-use-after-free in mmu_mirror_window_ptr+0x1/0x2
BUG: kernel NULL pointer dereference, address: 0000000000000000
WARNING: possible circular locking dependency detected
WARNING: suspicious RCU usage
INFO: task vhost-1:1 blocked for more than 60 seconds.
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [test:1]
Oops: general protection fault, probably for non-canonical address
unreferenced object 0xffff888003a1 (size 64):
BUG: sleeping function called from invalid context at mm/slab.c:1
BUG: Bad page state in process test  pfn:01234
Kernel panic - not syncing: sysrq triggered crash
END
complains 0 "memory that ran out" <<'END'
[    1.0] awk invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0
[    1.0] Call Trace:
[    1.0] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=awk,pid=5
[    1.0] Memory cgroup out of memory: Killed process 5 (awk)
END
complains 1 "what follows it" <<'END'
[    1.0] awk invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0
[    1.0] Call Trace:
[    1.0] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=awk,pid=5
[    1.0] Call Trace:
END
complains 0 "a race of the kernel's own" <<'END'
[    1.0] ==================================================================
[    1.0] BUG: KCSAN: data-race in hrtimer_wakeup / usleep_range_state
[    1.0] write to 0xffffc900015dbab8 of 8 bytes by interrupt on cpu 0:
[    1.0]  hrtimer_wakeup+0x2d/0x50
[    1.0] read to 0xffffc900015dbab8 of 8 bytes by task 623 on cpu 0:
[    1.0]  usleep_range_state+0x105/0x160
[    1.0]  test_hook+0x17f/0x1b0 [test_mmu_range_mirror]
[    1.0] ==================================================================
END
complains 1 "a race of ours" <<'END'
[    1.0] ==================================================================
[    1.0] BUG: KCSAN: data-race in copy_from_iter / vhost_get_vq_desc
[    1.0] write to 0xffff888004a1 of 4 bytes by task 2 on cpu 1:
[    1.0]  copy_from_iter+0x2d/0x50
[    1.0] read (marked) to 0xffff888004a1 of 4 bytes by task 1 on cpu 0:
[    1.0]  vhost_get_vq_desc+0x105/0x160 [vhost]
[    1.0] ==================================================================
END
complains 1 "a race of ours, in a routine of the library" <<'END'
[    1.0] ==================================================================
[    1.0] BUG: KCSAN: data-race in _find_next_bit / something_else
[    1.0] read to 0xffff888004a1 of 8 bytes by task 1 on cpu 0:
[    1.0]  _find_next_bit+0x2d/0x50
[    1.0]  mmu_mirror_domain_drain+0x105/0x160
[    1.0] ==================================================================
END

for reader in "xxh64 0" "memcmp 1"; do
	complains "${reader#* }" "KSM's ${reader% *}() of what vhost writes" <<-END
	[    1.0] BUG: KCSAN: data-race in vhost_get_vq_desc [vhost] / ${reader% *}
	[    1.0] write (marked) to 0xffff88807e995002 of 2 bytes by task 963 on cpu 1:
	[    1.0]  vhost_get_vq_desc+0x38b/0xec0 [vhost]
	[    1.0]  handle_rx+0x1e3/0x1050 [vhost_net]
	[    1.0] read to 0xffff88807e995000 of 8 bytes by task 35 on cpu 1:
	[    1.0]  ${reader% *}+0xae/0x390
	[    1.0]  ksm_scan_thread+0x7cb/0x3050
	[    1.0] ==================================================================
	END
done

for function in hook_invalidate put_pages tlb_flush_all extent_insert; do
	complains 1 "a race of $function()" <<-END
	[    1.0] BUG: KCSAN: data-race in $function / something_else
	[    1.0] write to 0xffff888004a1 of 4 bytes by task 2 on cpu 1:
	[    1.0]  something_else+0x2d/0x50
	[    1.0] read to 0xffff888004a1 of 4 bytes by task 1 on cpu 0:
	[    1.0]  $function+0x105/0x160
	[    1.0] ==================================================================
	END
done
complains 1 "a race, where ours are not known" "$out/no-symbols" <<'END'
[    1.0] BUG: KCSAN: data-race in hrtimer_wakeup / usleep_range_state
[    1.0] write to 0xffffc900015dbab8 of 8 bytes by interrupt on cpu 0:
[    1.0]  hrtimer_wakeup+0x2d/0x50
[    1.0] ==================================================================
END

# Loads as mmu_mirror_load.h makes them: one as it should be, one without its entry,
# one that only other faults are recovered from; and an entry of somebody else.
gcc -c -x assembler -o "$out/loads.o" - <<'END'
1:	movzwl (%rax), %ecx
2:	movzwl (%rax), %ecx
3:	movzwl (%rax), %ecx
4:	movzwl (%rax), %ecx
5:	ret
	.section __ex_table, "a"
	.long 1b - ., 5b - ., 0x100e
	.long 3b - ., 5b - ., 0x1001
	.long 4b - ., 5b - ., 0x100e
	.section .discard.mmu_mirror_load
	.long 1b - ., 2b - ., 3b - .
END
found=$(objdump -rs "$out/loads.o" | "$LAB/lib/loads.awk" | sort |
	sed 's/^.text+0x0*//' | paste -sd,)
result "$found" ".text both,3 no entry,6 no entry,9 no load" "loads and entries"

# why "WHY" NAME: a console that ends in a panic is on stdin.
why() {
	result "$("$LAB/memory-error/panic.awk")" "$1" "panic: $2"
}

cat >"$out/memory-error" <<'END'
[    4.7] mce: [Hardware Error]: CPU 0: Machine Check Exception: 7 Bank 9: bd80000000000134
[    4.7] mce: [Hardware Error]: RIP 10:<ffffffffc0450921> {vhost_get_vq_desc+0x751/0x13c0 [vhost]}
[    4.7] mce: [Hardware Error]: Machine check: Data load in unrecoverable area of kernel
[    4.7] Kernel panic - not syncing: Fatal machine check
END
why "memory error at 0xffffffffc0450921 in vhost_get_vq_desc" \
	"a load of the kernel's" <"$out/memory-error"
sed 's/Data load in.*/Processor context corrupt/' "$out/memory-error" \
	>"$out/other-error"
why "Fatal machine check" "another machine check" <"$out/other-error"
sed 's/syncing: .*/syncing: sysrq triggered crash/' "$out/memory-error" \
	>"$out/other-panic"
why "sysrq triggered crash" "another panic" <"$out/other-panic"
why "none" "none" </dev/null

totals "2 passed, 0 failed" "two" <<'END'
TAP version 13
1..2
ok 1 a
ok 2 b
END
totals "1 passed, 1 failed, 1 skipped" "a failure and a skip" <<'END'
TAP version 13
1..3
ok 1 a
not ok 2 b
ok 3 c # SKIP no root
END
totals "1 passed, 1 failed" "it died on the way" <<'END'
TAP version 13
1..2
ok 1 a
END
totals "1 passed, 1 failed" "it died, and another followed" <<'END'
TAP version 13
1..2
TAP version 13
1..1
ok 1 b
END
totals "2 passed, 1 failed" "leaves are counted, not their parents" <<'END'
KTAP version 1
1..1
    KTAP version 1
    1..3
    ok 1 a
    not ok 2 b
    ok 3 c
not ok 1 suite
END
totals "1 passed, 1 failed" "a parent that failed by itself" <<'END'
KTAP version 1
1..1
    1..1
    ok 1 a
not ok 1 suite
END
totals "1 passed, 1 failed" "bailing out" <<'END'
TAP version 13
1..3
ok 1 a
Bail out! no memory
END
totals "0 passed, 1 failed" "nothing" </dev/null
totals "0 passed, 1 failed" "no plan" <<'END'
some words
END
totals "0 passed, 0 failed, 1 skipped" "all is skipped" <<'END'
TAP version 13
1..0 # SKIP no device
END

# again "COMMAND" TIER: KTAP is on stdin.
again() {
	mkdir -p "$out/check-$2"
	cat >"$out/check-$2/ktap"
	last=$("$LAB/lib/summary" "$out/check-$2/ktap" | sed -n 's/^# again: //p') ||
		true
	result "$last" "$1" "again: $1"
}

again "lab/tiers/kunit.sh mmu_range_mirror.window_x" kunit <<'END'
KTAP version 1
1..1
    KTAP version 1
    # Subtest: mmu_range_mirror
    1..2
        KTAP version 1
        # Subtest: window_x
        not ok 1 high
        not ok 2 low
    not ok 1 window_x
    ok 2 window_y
not ok 1 mmu_range_mirror
END
again "lab/vm/selftest.sh stock 1 vhost/watch -t nowhere" stock <<'END'
# lab: program mm/mmu_range_mirror
TAP version 13
1..1
ok 1 global.x
# lab: program vhost/watch
TAP version 13
1..1
not ok 1 device.plain.nowhere
END
again "ARGS=kunit.filter_glob=a.b lab/vm/selftest.sh debug-6.12 1 mm/mmu_range_mirror" \
	debug <<'END'
KTAP version 1
1..1
    KTAP version 1
    # Subtest: a
    1..1
    not ok 1 b
not ok 1 a
END
again "make check-build" build <<'END'
TAP version 13
1..1
not ok 1 kcsan-7.3: the kernel complained
END
again "lab/tiers/static.sh 'kernel-doc'" static <<'END'
TAP version 13
1..1
not ok 1 static: kernel-doc
END
again "lab/tiers/mutants.sh wait-skipped" mutants-first <<'END'
TAP version 13
1..1
not ok 1 mutants: I1 wait-skipped survives a.b
END
again "lab/tiers/mm.sh mremap" mm-first <<'END'
TAP version 13
1..1
not ok 1 mm: mremap: ./mremap_test: without mirrors PASS , with FAIL
END
again "CASES=paused make check-matrix" matrix <<'END'
TAP version 13
1..1
not ok 1 matrix: paused: the kernel did not complain
END
again "make check-guest" guest <<'END'
TAP version 13
1..2
ok 1 undisturbed: took place
END

# A copy of the repository in which every tier passes but those of $FAILING, and $DYING,
# which takes the tiers after it along.
fake=$out/fake
rm -rf "$fake"
mkdir -p "$fake/.ci" "$fake/lab/lib" "$fake/lab/tiers" "$fake/lab/vm"
cp "$REPO/Makefile" "$fake"
cp "$REPO/.ci/run" "$fake/.ci"
cp "$LAB/check.sh" "$fake/lab"
cp "$LAB/lib/env.sh" "$LAB/lib/summary" "$fake/lab/lib"
cat >"$fake/tier" <<'END'
#!/bin/sh
name=$(basename "$0")
echo "this is $name" >"$MRM_LOGS/console"
[ "$name" != "$DYING" ] || kill -KILL 0
case " $FAILING " in
*" $name "*) failed=1 ;;
*) failed= ;;
esac
printf 'TAP version 13\n1..1\n%sok 1 %s\n' "${failed:+not }" "$name"
exit ${failed:-0}
END
chmod +x "$fake/tier"
for script in "$LAB"/tiers/*.sh; do
	cp "$fake/tier" "$fake/lab/tiers/$(basename "$script")"
done
cp "$fake/tier" "$fake/lab/vm/build.sh"

# all "LINE" STATUS WHAT [FAILING [DYING]]: what .ci/run comes to.
all() {
	status=0
	MRM_CACHE=$fake/cache FAILING=${4:-} DYING=${5:-} "$fake/.ci/run" >"$fake/said" \
		2>&1 || status=$?
	result "$(tail -n 1 "$fake/said"), $status" "$1, $2" "all: $3"
}

says() {
	grep -qxF "$1" "$fake/said" && status=0 || status=1
	result "$status" 0 "$2"
}

kept=$fake/cache/build/failed-kunit
all "10 passed, 1 failed" 1 "a failure in the first half" kunit.sh
says "ok 1 build.sh" "all: the second half runs all the same"
says "#   $kept/console" "a failure says where its logs are"
says "# again: make check-kunit" "a failure says how to run it again"
says "# not run: make check-kernels" "make check says what it did not run"
all "11 passed, 0 failed" 0 "nothing failed"
result "$(cat "$kept/console")" "this is kunit.sh" "a run that passes leaves them"
all "9 passed, 2 failed" 1 "a lane that dies, after a run that passed" "" litmus.sh
says "# FAILED check-kunit: not ok 1 check-kunit was not run to its end" \
	"what was not run has failed"
all "10 passed, 1 failed" 1 "a failure in the second half" build.sh
sed -i 's/^check-kernels:/check-nothing:/' "$fake/Makefile"
all "7 passed, 1 failed" 1 "a half without a sum"

# What says that its logs are in LOGS has them nowhere else.
grep -lE '^(out|OUT|logs)=.CACHE/build/(check|run)-' "$LAB"/*.sh "$LAB"/*/*.sh \
	>"$out/elsewhere" || true
result "$(cat "$out/elsewhere")" "" "the logs of every tier are in one place"

totals "1 passed, 0 failed" "a boot that was repeated" <<'END'
TAP version 13
# booted again, 1 of at most 3 times, for QEMU's fault: Oops: int3 at x, after 3 s
1..1
ok 1 a
END
! "$LAB/lib/summary" "$out/ktap-case" | grep -qx '# machines .* fault: 1' || counted=yes
result "${counted:-no}" yes "summary: it is counted"

echo "1..$count"
[ -z "$failed" ]
