#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/both.sh
#
# The newer base: our files in its tree, vhost with them, and no warning of
# ours from W=1. (The older one is built by the other tiers, and sparse looks at
# it there: 7.3 wants a newer one than Debian 12 has.) What is built is a KCSAN
# kernel, so it is booted as well, and runs the selftests.

# shellcheck source=lab/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=lab/ktap.sh
. "$LAB/ktap.sh"

out=$LOGS
mkdir -p "$out"

begin build 2
status=0
"$LAB/build.sh" kcsan-7.3 >/dev/null || status=$?
result "$status" "7.3 in tree, with strict KCSAN"

[ -z "$failed" ] || { result 1 "no warnings, for want of a build"; exit 1; }

status=0
rm -rf "$CACHE/build/warn-7.3"
"$LAB/modules.sh" warn-7.3 W=1 >/dev/null || status=1
grep -E '(warning|error):' "$CACHE/build/warn-7.3/build.log" \
	>"$out/warnings" || true
! grep -E 'mirror|drivers/vhost/' "$out/warnings" >&2 || status=1
result "$status" "no warning on 7.3 from W=1"

"$LAB/selftest.sh" kcsan-7.3
[ -z "$failed" ]
