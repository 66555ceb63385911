#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# lab/lib/stale.awk SPLATS: does what lab/lib/splat.awk found begin with a fault of QEMU's
# TCG? Then say where, else exit with status 1.
#
# The kernel patches its text under a breakpoint (int3), which it then replaces. If
# one CPU translates the breakpoint while another replaces it, QEMU may keep the
# translation: a CPU runs into a breakpoint that nobody waits for any more, and the
# kernel dies of "Oops: int3". RIP is what follows the breakpoint, and "Code:" shows
# memory around it, RIP's byte as <xx>: if the byte before it is int3 (cc), there is
# a breakpoint and the fault is the kernel's. Whatever else was complained about
# first is the kernel's as well.

NR == 1 {
	if (!/Oops: int3/)
		exit
	at_fault = 1
}

at_fault && where == "" && /RIP: [0-9a-f]*:/ {
	where = $0
	sub(/.*RIP: [0-9a-f]*:/, "", where)
	sub(/\r$/, "", where)
}

at_fault && /Code: / {
	if (match($0, / [0-9a-f][0-9a-f] <[0-9a-f][0-9a-f]>/)) {
		byte = substr($0, RSTART + 1, 2)
		stale = byte != "cc"
	}
	exit
}

END {
	if (!stale)
		exit 1
	print "Oops: int3 at " where ", where memory has " byte
}
