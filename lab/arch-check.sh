#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/arch-check.sh [ARCH...]
#
# Other architectures, those of lab/arch.sh or ARCH only: our files and vhost are
# compiled for each of them in both bases, and W=1 has nothing to say of them.
# Nothing is booted.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=lab/arch.sh
. "$LAB/arch.sh"

# A list on purpose.
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $ARCHS

# compiles KERNEL: what is not compiled again would not warn again.
compiles() {
	build=$CACHE/build/$1
	[ ! -d "$build" ] || find "$build" \
		\( -name '*mirror*.o' -o -path '*/drivers/vhost/*.o' \) -delete
	"$LAB/build.sh" "$1" W=1 >/dev/null || return 1
	! grep -E '(warning|error):' "$build/build.log" |
		grep -E 'mirror|drivers/vhost/' >&2
}

failed=
count=0
echo "TAP version 13"
echo "1..$((2 * $#))"
for name in "$@"; do
	for base in 6.12 7.3; do
		count=$((count + 1))
		if compiles "objects-$name-$base"; then
			echo "ok $count arch: $name, $base"
		else
			echo "not ok $count arch: $name, $base"
			failed=yes
		fi
	done
done
[ -z "$failed" ]
