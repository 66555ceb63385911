#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/guest.sh
#
# One nested guest, one client: make run in short.

# shellcheck source=lab/lib/env.sh
. "$(dirname "$0")/../lib/env.sh"

exec "$LAB/guests/run.sh" smoke
