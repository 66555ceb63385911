#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of check-mm: the kernel's own tests of mm as they are run there, twice
# in this kernel: as they are, and with the address space of every process
# mirrored. What they say goes to stdout after "PLAIN " or "MIRRORED ".

# shellcheck source=/dev/null
. /etc/mm.conf

echo 0 >/proc/sys/kernel/numa_balancing
# What run_vmtests.sh expects of a machine.
mkdir -p /dev/hugepages /mnt/huge /dev/shm
modprobe -q test_mmu_mirror_tlb || exit 1

# run NAME COMMAND...
run() {
	name=$1
	shift
	for category in $CATEGORIES; do
		echo "mm: $name $category, $(cut -d. -f1 /proc/uptime) s" >/dev/kmsg
		(cd /kselftest/mm &&
			timeout "$SECONDS_EACH" "$@" bash ./run_vmtests.sh -t "$category"
		) </dev/null 2>&1 | sed "s/^/$name $category /"
	done
}

run PLAIN env
run MIRRORED env LD_PRELOAD=/usr/lib/mirrored.so MIRRORED=/tmp/mirrored
sed 's/^/PROCESS /' /tmp/mirrored | sort | uniq -c
echo end
