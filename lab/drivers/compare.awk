#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# compare.awk -v wanted=RESULTS RESULTS
#
# What hmm-tests said of the kernel's own driver, as lines of "STATUS TEXT", 0 being
# good. So many tests have to pass; which of them do is the kernel's own matter, and
# not the same each time (migrate_remap_fault). What the device writes to memory
# that went through MADV_FREE (lazyfree) has to be lost: else the fault is mended,
# and this and what documents say of it are to be changed.

function say(good, text) {
	print (good ? 0 : 1) " " text
}

{ sub(/\r$/, "") }
/^# of [0-9]+ pages, [0-9]+ lost/ { lost = $5 " of " $3 }
/^(not )?ok [0-9]+/ {
	verdict = /^not ok/ ? "fails" : /# SKIP/ ? "is skipped" : "passes"
	test = $0
	sub(/^(not )?ok [0-9]+ */, "", test)
	sub(/ *# SKIP.*/, "", test)
	# Of devices that there are not, all are skipped.
	if (test ~ /lazyfree/ && verdict != "is skipped") {
		lazyfree++
		say(verdict == "fails" && lost + 0, test ": loses " \
		    (lost == "" ? "nothing" : lost " pages"))
	}
	passed += verdict == "passes"
	lost = ""
}

END {
	say(lazyfree == 3, "three tests of MADV_FREE were made")
	say(passed + 0 >= wanted, passed + 0 " other tests pass, wanted " wanted)
}
