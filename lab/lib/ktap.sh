# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced: a tier's own results, as KTAP. Whoever uses it ends with
# [ -z "$failed" ].

count=0
failed=

# begin SUBJECT [PLAN]: a list of results. Without a PLAN it ends with finish.
begin() {
	subject=$1
	count=0
	echo "TAP version 13"
	[ $# = 1 ] || echo "1..$2"
}

# about SUBJECT: what the list's next results are about.
about() {
	subject=$1
}

finish() {
	echo "1..$count"
}

# result STATUS TEXT
result() {
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count $subject: $2"
	else
		echo "not ok $count $subject: $2"
		failed=yes
	fi
}

# result_of TEXT COMMAND...: the command's status.
result_of() {
	text=$1
	shift
	if "$@"; then
		result 0 "$text"
	else
		result 1 "$text"
	fi
}

# conversion PATCH: say which lines a driver's conversion deletes and adds. Does it add
# fewer?
conversion() {
	echo "# the conversion deletes and adds, in $(basename "$(dirname "$1")"):"
	git apply --numstat "$1" | awk '
	{
		print "#   " $3 ": -" $2 " +" $1
		deleted += $2
		added += $1
	}
	END {
		print "# in all: -" deleted " +" added
		exit added >= deleted
	}'
}
