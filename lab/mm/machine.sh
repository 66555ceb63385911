#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of check-mm: the kernel's own tests as they are run there, twice in
# this kernel: as they are, and with the address space of every process and
# vhost's rings mirrored. What they say goes to stdout after "PLAIN " or
# "MIRRORED ".

# shellcheck source=/dev/null
. /etc/mm.conf

# Some map at 1 GiB, which a heap at a random place above a program that is not
# position independent takes now and then.
echo 1 >/proc/sys/kernel/randomize_va_space
# ksm_tests waits for two scans, and means that each looks at each page.
echo 0 >/sys/kernel/mm/ksm/smart_scan
# What run_vmtests.sh expects of a machine.
mkdir -p /dev/hugepages /mnt/huge /dev/shm
# Words.
# shellcheck disable=SC2086
modprobe -q -a $MODULES || exit 1

# run NAME RINGS COMMAND...
run() {
	name=$1
	echo "$2" >/sys/module/vhost/parameters/ring_mirror
	shift 2
	for category in $CATEGORIES; do
		echo "mm: $name $category, $(cut -d. -f1 /proc/uptime) s" >/dev/kmsg
		case $category in
		virtio) set_of=virtio script=./virtio.sh ;;
		*) set_of=mm script="./run_vmtests.sh -t $category" ;;
		esac
		# Words.
		# shellcheck disable=SC2086
		(cd "/kselftest/$set_of" &&
			timeout $((SECONDS_EACH * SLOW)) "$@" bash $script
		) </dev/null 2>&1 | sed "s/^/$name $category /"
	done
}

run PLAIN N env
run MIRRORED Y env LD_PRELOAD=/usr/lib/mirrored.so MIRRORED=/tmp/mirrored
sed 's/^/PROCESS /' /tmp/mirrored | sort | uniq -c
echo end
