#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# lab/tiers/hmm.sh
#
# What the README says first, on the stock kernel: of pages that went through MADV_FREE
# the kernel's own lib/test_hmm.c loses what its device wrote, and a mirror does not.
# That is the first part of lab/tiers/drivers.sh.

exec "$(dirname "$0")/drivers.sh" stock
