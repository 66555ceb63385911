#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# panic.awk CONSOLE: why the kernel panicked: "memory error at ADDRESS in FUNCTION"
# where a load there met one that nothing recovered from; else what it said; or
# "none".

BEGIN { why = "none" }

{ sub(/\r$/, "") }

/\[Hardware Error\]: RIP .*<[0-9a-f]+> \{/ {
	at = $0
	sub(/.*</, "0x", at)
	sub(/> \{/, " in ", at)
	sub(/[+}].*/, "", at)
}

/\[Hardware Error\]: Machine check: Data load in unrecoverable area of kernel/ {
	unrecoverable = 1
}

/Kernel panic - not syncing: / && why == "none" {
	sub(/.*Kernel panic - not syncing: /, "")
	why = $0
}

END {
	if (why ~ /machine check/ && unrecoverable && at)
		why = "memory error at " at
	print why
}
