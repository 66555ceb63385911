#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/lab.sh
#
# The lab itself, and the scripts of the package.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

status=0
"$LAB/lib/harness.sh" || status=1
"$LAB/guests/gates.sh" || status=1
"$LAB/package/cases.sh" || status=1
exit "$status"
