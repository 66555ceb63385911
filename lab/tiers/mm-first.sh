#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/mm-first.sh
#
# Three of the kernel's own tests of mm.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

exec "$LAB/tiers/mm.sh" mdwe mkdirty mremap
