#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/build.sh
#
# The newer base: our files in its tree, vhost with them, and no warning of
# ours from W=1. (The older one is built by the other tiers, and sparse looks at
# it there: 7.3 wants a newer one than Debian 12 has.) What is built is a KCSAN
# kernel, so it is booted as well, and runs the selftests.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"
# shellcheck source=lab/lib/ktap.sh
. "$LAB/lib/ktap.sh"

mkdir -p "$LOGS"

begin build 2
status=0
"$LAB/vm/build.sh" kcsan-7.3 >/dev/null || status=$?
result "$status" "7.3 in tree, with strict KCSAN"

[ -z "$failed" ] || { result 1 "no warnings, for want of a build"; exit 1; }

status=0
"$LAB/vm/compiles.sh" warn-7.3 || status=1
result "$status" "no warning on 7.3 from W=1"

"$LAB/vm/selftest.sh" kcsan-7.3
[ -z "$failed" ]
