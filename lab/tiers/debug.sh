#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/debug.sh
#
# The kselftests on a kernel with KASAN and lockdep.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

exec "$LAB/vm/selftest.sh" debug-6.12
