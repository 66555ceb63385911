#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of lab/tiers/memory-error.sh: says where vhost's code is, and has
# packets moved; or, if that is all that is asked for, panics.

modprobe vhost_net || exit 1
modprobe tun || exit 1
read -r errors seconds </etc/errors
for module in vhost mmu_mirror_window; do
	for section in /sys/module/"$module"/sections/.text*; do
		echo "# section $module ${section##*/} $(cat "$section")"
	done
done
if [ "$errors" = none ]; then
	echo c >/proc/sysrq-trigger
	exit 1
fi
/traffic "$errors" $((seconds * SLOW))
