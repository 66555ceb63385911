#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/soak.sh
#
# Rings, windows and caches, disturbed for MINUTES.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

exec "$LAB/guests/run.sh" soak
