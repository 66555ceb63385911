# SPDX-License-Identifier: GPL-2.0
#
# Given with -f to what judges the results of a run, such as lab/guests/report.awk:
# its demands, as KTAP. Whoever uses it may set these beforehand:
# subject: of all demands, printed before each
# plain: for readers: nothing is printed but what is not met, and a sum at the end

function demand(ok, what) {
	nr_demands++
	if (!ok)
		nr_unmet++
	if (plain && ok)
		return
	print (plain ? "FAILED: " : \
	       (ok ? "ok " : "not ok ") nr_demands " " \
	       (subject == "" ? "" : subject ": ")) what
}

# The last line. Returns the status to exit with.
function end_demands() {
	if (plain)
		printf "%d demands met, %d not\n", nr_demands - nr_unmet, nr_unmet
	else
		print "1.." nr_demands
	return nr_unmet > 0
}
