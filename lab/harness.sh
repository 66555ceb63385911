#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/harness.sh
#
# Tests of the harness itself: whatever can go wrong in a run is reported. One
# table of boots (what /test.sh does, and how lab/boot.sh must judge it), one
# of console lines, one of KTAP.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"

out=$LOGS
mkdir -p "$out"
"$LAB/fetch.sh" stock >/dev/null
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
	[ -d "$root" ] || "$LAB/root.sh" -r "$root"
	{
		echo '#!/bin/sh'
		cat
	} >"$root/test.sh"
	chmod +x "$root/test.sh"
	status=0
	"$LAB/boot.sh" -k stock -r "$root" -o "$out/$2" -t "$3" >/dev/null \
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

# complains STATUS NAME: a console's lines are on stdin.
complains() {
	status=0
	"$LAB/splat.awk" -v symbols="${3-$out/symbols}" >/dev/null || status=$?
	result "$status" "$1" "splat: $2"
}

# totals "LINE" NAME: KTAP is on stdin.
totals() {
	cat >"$out/ktap-case"
	last=$("$LAB/summary" "$out/ktap-case" | tail -n 1) || true
	result "$last" "$1" "summary: $2"
}

printf 'TAP version 13\n'

boots 0 passes 60 <<'END'
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
	last=$("$LAB/summary" "$out/check-$2/ktap" | sed -n 's/^# again: //p') ||
		true
	result "$last" "$1" "again: $1"
}

again "lab/kunit.sh mmu_range_mirror.window_x" kunit <<'END'
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
again "lab/selftest.sh stock 1 vhost/watch -t nowhere" stock <<'END'
# lab: program mm/mmu_range_mirror
TAP version 13
1..1
ok 1 global.x
# lab: program vhost/watch
TAP version 13
1..1
not ok 1 device.plain.nowhere
END
again "ARGS=kunit.filter_glob=a.b lab/selftest.sh debug-6.12 1 mm/mmu_range_mirror" \
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
again "lab/static.sh 'kernel-doc'" static <<'END'
TAP version 13
1..1
not ok 1 static: kernel-doc
END
again "lab/mutants.sh wait-skipped" mutants-first <<'END'
TAP version 13
1..1
not ok 1 mutants: I1 wait-skipped survives a.b
END
again "lab/mm/mm.sh mremap" mm-first <<'END'
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

# A copy of the repository in which every tier passes but those of $FAILING.
fake=$out/fake
rm -rf "$fake"
mkdir -p "$fake/.ci" "$fake/lab/run" "$fake/lab/mm"
cp "$REPO/Makefile" "$fake"
cp "$REPO/.ci/run" "$fake/.ci"
cp "$LAB/check.sh" "$LAB/env.sh" "$LAB/summary" "$fake/lab"
cat >"$fake/stub" <<'END'
#!/bin/sh
name=$(basename "$0")
echo "this is $name" >"$MRM_LOGS/console"
case " $FAILING " in
*" $name "*) failed=1 ;;
*) failed= ;;
esac
printf 'TAP version 13\n1..1\n%sok 1 %s\n' "${failed:+not }" "$name"
exit ${failed:-0}
END
chmod +x "$fake/stub"
for stub in harness run/gates static litmus kunit selftest run/run mutants mm/mm \
	both build; do
	cp "$fake/stub" "$fake/lab/$stub.sh"
done

# all "LINE" STATUS WHAT [FAILING]: what .ci/run comes to.
all() {
	status=0
	MRM_CACHE=$fake/cache FAILING=${4:-} "$fake/.ci/run" >"$fake/said" \
		2>&1 || status=$?
	result "$(tail -n 1 "$fake/said"), $status" "$1, $2" "all: $3"
}

says() {
	grep -qxF "$1" "$fake/said" && status=0 || status=1
	result "$status" 0 "$2"
}

kept=$fake/cache/build/failed-kunit
all "10 passed, 1 failed" 1 "a failure in the first half" kunit.sh
says "ok 1 both.sh" "all: the second half runs all the same"
says "#   $kept/console" "a failure says where its logs are"
says "# again: make check-kunit" "a failure says how to run it again"
says "# not run: make check-kernels" "make check says what it did not run"
all "11 passed, 0 failed" 0 "nothing failed"
result "$(cat "$kept/console")" "this is kunit.sh" "a run that passes leaves them"
all "10 passed, 1 failed" 1 "a failure in the second half" both.sh
sed -i 's/^check-kernels:/check-nothing:/' "$fake/Makefile"
all "7 passed, 1 failed" 1 "a half without a sum"

# What says that its logs are in LOGS has them nowhere else.
grep -lE '^(out|OUT|logs)=.CACHE/build/(check|run)-' "$LAB"/*.sh "$LAB"/*/*.sh \
	>"$out/elsewhere" || true
result "$(cat "$out/elsewhere")" "" "the logs of every tier are in one place"

echo "1..$count"
[ -z "$failed" ]
