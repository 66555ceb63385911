#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# flood INTERFACE [ADDRESS MAC]
#
# Send small packets of UDP through the interface, as fast as it goes, by the
# kernel's pktgen, until SIGTERM.

set -eu

dir=/proc/net/pktgen
echo rem_device_all >$dir/kpktgend_0
echo "add_device $1" >$dir/kpktgend_0
for setting in "count 0" "delay 0" "pkt_size 60" "dst ${2:-10.9.0.9}" \
	"dst_mac ${3:-02:00:00:00:00:09}"; do
	echo "$setting" >"$dir/$1"
done
# Whoever starts it is kept until it is over.
echo start >$dir/pgctrl &
trap 'echo stop >$dir/pgctrl' TERM
wait $! || wait $!
