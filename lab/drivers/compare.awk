#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0
#
# compare.awk -v wanted=N -v unsteady=TESTS [-v mended=TESTS] OWN OURS
#
# What tests said of the kernel's own driver and of the one that is converted
# to mirrors, as lines of "STATUS TEXT", 0 being good. So many tests have to pass;
# which of them do is the kernel's own matter, but it has to be the same with both,
# for all but the unsteady ones, and the mended ones, which have to pass with ours
# only. What the device writes to memory that went through MADV_FREE (lazyfree) has to
# be lost with the kernel's own, and with ours it must not be. If it is not lost any
# more, the fault is mended, and this and what documents say of it are to be changed.

function say(good, text) {
	print (good ? 0 : 1) " " text
}

{ sub(/\r$/, "") }
FNR == 1 {
	whose = NR == 1 ? "own" : "ours"
	loss = ""
}
/^# of [0-9]+ pages, [0-9]+ lost/ { loss = $5 " of " $3 }
/^(not )?ok [0-9]+/ {
	verdict = /^not ok/ ? "fails" : /# SKIP/ ? "is skipped" : "passes"
	test = $0
	sub(/^(not )?ok [0-9]+ */, "", test)
	sub(/ *# SKIP.*/, "", test)
	if (whose == "own")
		order[++n] = test
	else if (!(("own", test) in result))
		strange = strange " " test
	result[whose, test] = verdict
	lost[whose, test] = loss
	loss = ""
}

END {
	split(unsteady, names, " ")
	for (i in names)
		may_differ[names[i]] = 1
	split(mended, names, " ")
	for (i in names)
		own_fails[names[i]] = 1
	for (i = 1; i <= n; i++) {
		test = order[i]
		own = result["own", test]
		ours = result["ours", test]
		# Of devices that there are not, all are skipped.
		if (test ~ /lazyfree/ && own != "is skipped") {
			lazyfree++
			say(own == "fails" && lost["own", test] + 0,
			    test ": the kernel's own driver loses " \
			    (lost["own", test] == "" ? "nothing" : \
			     lost["own", test] " pages"))
			say(ours == "passes", test ": a mirror loses " \
			    (lost["ours", test] == "" ? "what nobody counted" : \
			     lost["ours", test] " pages"))
			continue
		}
		name = test
		sub(/.*\./, "", name)
		if (name in own_fails) {
			say(own == "fails" && ours == "passes",
			    test ": " own " with the kernel's own driver, and " \
			    "with ours it " ours)
			continue
		}
		passed += own == "passes"
		if (own == ours)
			same++
		else if (name in may_differ)
			print "0 " test ": " own ", and with mirrors it " ours \
			      ", as it may"
		else
			say(0, test ": " own ", and with mirrors it " \
			    (ours == "" ? "is not made" : ours))
	}
	say(lazyfree == 3, lazyfree + 0 " tests of MADV_FREE were made, wanted 3")
	say(passed + 0 >= wanted, passed + 0 " other tests pass, wanted " wanted)
	say(strange == "", same + 0 " give the same with mirrors, and none is new" \
	    (strange == "" ? "" : " but" strange))
}
