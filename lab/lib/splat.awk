#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# splat.awk [-v symbols=FILE] CONSOLE
#
# Print what a kernel complained about on its console, with what follows it;
# exit with status 1 if there was anything. Races that KCSAN reports count if a
# function of FILE (our_symbols in lab/lib/env.sh) made one of the accesses: the kernel
# has known ones of its own. Without FILE all of them count.

BEGIN {
	while (symbols != "" && (getline symbol <symbols) > 0)
		known[symbol] = ++nr_known
}

# A frame of the stack that follows "read to" or "write to": the first is what
# accessed the memory, or a routine of the library that it called to do so.
function look_at(frame) {
	sub(/\+0x.*/, "", frame)
	sub(/.* /, "", frame)
	if (nr_known && !(frame in known))
		return depth == 1 && \
			frame ~ /find_|mem(cpy|set|move)|bitmap|cpumask|list_|tree/
	ours = 1
	return 0
}

function flush_race() {
	if (in_race && ours && !checksum) {
		printf "%s", race
		found = 1
	}
	in_race = ours = depth = checksum = hash = 0
	race = ""
}

{ sub(/\r$/, "") }

# Where it ran out of memory, as some tests have it do, it says so with a stack.
/invoked oom-killer/ { out_of_memory = 1 }
/oom-kill:|[Oo]ut of memory/ { out_of_memory = 0 }
out_of_memory && /Call Trace:/ { next }

# What it says about the processor that QEMU gave it.
/admin-guide\/hw-vuln/ { next }

/BUG: KCSAN:/ {
	flush_race()
	in_race = 1
}

# KSM takes the checksum of a page that its owner may be writing, by whichever pointer,
# and then looks again under write protection, which a window does not outlive.
in_race && hash && / (ksm_scan_thread|cmp_and_merge_page|calc_checksum)\+0x/ {
	checksum = 1
}

in_race {
	hash = / xxh64\+0x/
	race = race $0 "\n"
	if (/[ -](read|write)( \(.*\))? to 0x|race at unknown origin/) {
		depth = 1
	} else if (depth) {
		if (look_at($0))
			depth = 2
		else
			depth = 0
	}
	if (/====================/)
		flush_race()
	next
}

/BUG: |WARNING:|Oops|Call Trace:|Kernel panic|KASAN|UBSAN:|cut here/ ||
/general protection fault|unable to handle|refcount_t:/ ||
/list_(add|del) corruption|[Bb]ad page (state|map)|Bad rss-counter/ ||
/INFO: (task|possible|trying|rcu|lockdep)|rcu: INFO|blocked for more than/ ||
/soft lockup|hard LOCKUP|workqueue lockup|detected stall|-detected stall/ ||
/possible .* (deadlock|dependency|recursion)|inconsistent lock state/ ||
/bad unlock balance|held lock freed|locks? still held|lock held when/ ||
/suspicious RCU usage|DEBUG_LOCKS_WARN|locking correctness validator/ ||
/sleeping function called|scheduling while atomic|unreferenced object/ {
	found = 1
	context = 30
}

context > 0 {
	print
	context--
}

END {
	flush_race()
	exit found ? 1 : 0
}
