#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/matrix.sh
#
# Guests of other kinds, and what happens to them.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

exec "$LAB/guests/run.sh" matrix
