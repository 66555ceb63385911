#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/repeat.sh
#
# The races of check-debug, N times.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

exec "$LAB/vm/selftest.sh" debug-6.12 "${N:-200}"
