#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/stock.sh
#
# The kselftests on the stock kernel.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

exec "$LAB/vm/selftest.sh" stock
