#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/sanitizers.sh
#
# What check-build and check-debug leave out for the sake of time: all kselftests on
# the kernels with KCSAN and with KASAN.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

status=0
for kernel in kcsan-7.3 debug-6.12; do
	ALL=1 MRM_LOGS=$LOGS/$kernel "$LAB/vm/selftest.sh" "$kernel" || status=1
done
exit "$status"
