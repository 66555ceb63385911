#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/vm/compiles.sh NAME
#
# Compile our files and vhost for NAME, what lab/vm/build.sh or lab/vm/modules.sh (for
# ours-SERIES and warn-7.3) makes, with W=1, and fail if there is a warning of them.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

name=${1:?usage: lab/vm/compiles.sh NAME}
build=$CACHE/build/$name
# What is not compiled again would not warn again.
[ ! -d "$build" ] || find "$build" \
	\( -name '*mirror*.o' -o -path '*/drivers/vhost/*.o' \) -delete
case $name in
ours-*|warn-*) "$LAB/vm/modules.sh" "$name" W=1 >/dev/null ;;
*) "$LAB/vm/build.sh" "$name" W=1 >/dev/null ;;
esac
! grep -E '(warning|error):' "$build/build.log" |
	grep -E 'mirror|drivers/vhost/' >&2
