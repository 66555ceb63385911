#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# loads.awk FILE: what "objdump -r -s" says of the sections __ex_table and
# .discard.mmu_mirror_load of an object or module.
#
# Print "SECTION+OFFSET what" for each load that include/linux/mmu_mirror_load.h
# made, as far as there is a list of them, and each entry of the exception table
# that recovers from a machine check: "both", "no entry" or "no load". An entry is
# three words: where, where to, and what.

# EX_TYPE_DEFAULT_MCE_SAFE, and EX_FLAG_CLEAR_AX, as the bytes are.
BEGIN { SAFE = "0e100000" }

/^RELOCATION RECORDS FOR|^Contents of section/ {
	section = $NF
	gsub(/\[|\]|:/, "", section)
	next
}

# The hundreds of an offset and its last two digits, in hexadecimal, are what an
# entry is known by: OFFSET / 12 is not needed, only whether OFFSET + 8 is there.
$2 ~ /^R_/ {
	if (section == ".discard.mmu_mirror_load") {
		load[$3] = 1
		nr_loads++
	} else if (section == "__ex_table") {
		where[number($1)] = $3
	}
	next
}

# Up to four words a line.
section == "__ex_table" && $1 ~ /^[0-9a-f]+$/ {
	offset = number($1)
	for (i = 2; i <= 5 && $i ~ /^[0-9a-f]+$/ && length($i) == 8; i++)
		word[offset + 4 * (i - 2)] = $i
}

function number(hex,	i, n) {
	for (i = 1; i <= length(hex); i++)
		n = n * 16 + index("123456789abcdef", substr(hex, i, 1))
	return n
}

END {
	for (offset in where)
		if (offset % 12 == 0 && word[offset + 8] == SAFE)
			entry[where[offset]] = 1
	for (at in load)
		print at, at in entry ? "both" : "no entry"
	for (at in entry)
		if (!(at in load))
			print at, "no load"
}
