#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/kernels.sh [SERIES...]
#
# Every kernel of lab/kernels.tsv, or those of SERIES: our files and vhost compile
# without a warning. Where Debian has an image and headers of it, that kernel boots
# with our modules and runs the selftests; elsewhere KUnit runs on it in UML. What
# the machine's own suites have is what "make check" is about, and only compiled
# here. KTAP.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=lab/ktap.sh
. "$LAB/ktap.sh"

unset KSRC
[ $# -gt 0 ] || {
	kernels >"$CACHE/.kernels"
	# Words on purpose.
	# shellcheck disable=SC2046
	set -- $(cut -f 1 "$CACHE/.kernels")
}
tab=$(printf '\t')
for series in "$@"; do
	kernels "$series" >"$CACHE/.kernels"
	IFS="$tab" read -r _ suite _ image <"$CACHE/.kernels"
	case $suite,$image in
	-,*|*,-) name=objects-$series ;;
	*) name=ours-$series ;;
	esac
	begin kernels 1
	status=0
	"$LAB/compiles.sh" "$name" || status=1
	result $status "$series: compiles without a warning"
	case $suite,$name in
	-,*) ;;
	*,ours-*)
		MRM_LOGS=$LOGS/$series "$LAB/selftest.sh" "$name" || failed=yes
		;;
	*)
		BASE=$series MRM_LOGS=$LOGS/$series "$LAB/kunit.sh" || failed=yes
		;;
	esac
done
[ -z "$failed" ]
