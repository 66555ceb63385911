# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced: a tier's own results, as KTAP. It sets subject, prints the plan, and
# ends with [ -z "$failed" ].

count=0
failed=

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
