#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of lab/tiers/drivers.sh: the tests of a driver of the kernel's, with
# the arguments in /etc/arguments.

modprobe zram || exit 1
echo 512M >/sys/block/zram0/disksize
mkswap /dev/zram0 >/dev/null
swapon /dev/zram0
# As run_vmtests.sh does.
mkdir -p /dev/hugepages /dev/shm
while read -r module; do
	insmod "/selftests/$module" || exit 1
done </etc/drivers
# Words.
# shellcheck disable=SC2046
/selftests/hmm-tests $(cat /etc/arguments) 2>&1 </dev/null
rmmod test_hmm
