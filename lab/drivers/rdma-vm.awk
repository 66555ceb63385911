#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# What Python's unittest says with -v, as KTAP: one line for each test, with what
# it printed meanwhile before it.

function say(verdict, directive) {
	print verdict " " ++n " pyverbs." test directive
	test = ""
}

/^test_[a-z_0-9]+ \(/ {
	test = $1
	sub(/.*\.\.\. ?/, "")
}
test == "" { print "# " $0; next }
/^ok$/ { say("ok", ""); next }
/^skipped / { say("ok", " # SKIP " substr($0, 9)); next }
/^(FAIL|ERROR)$/ { say("not ok", ""); next }
$0 != "" { print "# " $0 }
END {
	if (test != "")
		say("not ok", "")
}
