#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/kernels-all.sh [SERIES...]
#
# Every kernel of lab/vm/kernels.tsv, or those of SERIES: our files and vhost compile
# without a warning. Where Debian has an image and headers of it, that kernel boots
# with our modules and runs the selftests; elsewhere KUnit runs on it in UML. What
# "make check" is about is only compiled here. KTAP.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

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
	IFS="$tab" read -r _ suite _ image _ <"$CACHE/.kernels"
	# For drivers only. The cloud kernel of the machine's own suites is "stock".
	case $suite,$image in
	*,generic) continue ;;
	-,cloud|*,-) name=objects-$series ;;
	*) name=ours-$series ;;
	esac
	begin kernels 1
	status=0
	"$LAB/vm/compiles.sh" "$name" || status=1
	result $status "$series: compiles without a warning"
	case $suite,$name in
	*,ours-*)
		MRM_LOGS=$LOGS/$series "$LAB/vm/selftest.sh" "$name" || failed=yes
		;;
	-,*) ;;
	*)
		BASE=$series MRM_LOGS=$LOGS/$series "$LAB/tiers/kunit.sh" || failed=yes
		;;
	esac
done
[ -z "$failed" ]
