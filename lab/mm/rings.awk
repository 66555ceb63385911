#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# rings.awk -v on=Y|N -v disturbed=... BEFORE AFTER
#
# Two readings of debugfs' vhost_ring_mirror with a test between them: what was
# done on the rings of the devices that it closed. With ring_mirror on, each part
# was accessed through its window for the most part, or, if it was disturbed,
# lost pages on the way; with it off, no window was ever used.

# number(KEY): what stands behind it
function number(key) {
	return match($0, key "[0-9]+") ? \
		substr($0, RSTART + length(key), RLENGTH - length(key)) : 0
}

!/ closed / || !/ part=(desc|avail|used) / { next }
{
	# What goes with the process is no disturbance.
	now["mirrored"] = number("mirrored=")
	now["fallback"] = number("fallback=")
	now["drops"] = number("clear:") + number("protection_vma:") +
		number("protection_page:")
}
FNR == NR {
	for (what in now)
		before[$3, what] = now[what]
	next
}
{
	for (what in now)
		now[what] -= before[$3, what]
	printf "# %s mirrored=%d fallback=%d drops=%d\n", $3, now["mirrored"],
		now["fallback"], now["drops"]
	parts++
	if (on != "Y")
		bad += now["mirrored"] || now["drops"]
	else if (disturbed)
		bad += !now["mirrored"] || !now["drops"]
	else
		bad += now["mirrored"] <= now["fallback"]
}
END { exit bad || parts != 3 }
