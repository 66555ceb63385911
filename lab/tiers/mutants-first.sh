#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/mutants-first.sh
#
# A wrong change to each invariant, in UML.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

exec "$LAB/tiers/mutants.sh" first
