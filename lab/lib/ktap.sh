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

# conversion PATCH: which lines a driver's conversion deletes and adds; $deleted and
# $added are the sums.
conversion() {
	echo "# the conversion deletes and adds, in $(basename "$(dirname "$1")"):"
	lines=$(git apply --numstat "$1")
	echo "$lines" | awk '{ print "#   " $3 ": -" $2 " +" $1 }'
	deleted=$(echo "$lines" | awk '{ n += $2 } END { print n }')
	added=$(echo "$lines" | awk '{ n += $1 } END { print n }')
	echo "# in all: -$deleted +$added"
}
