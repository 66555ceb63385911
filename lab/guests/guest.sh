#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The nested guest: serves its own data, fetches the host's, and says what
# either sums up to (lab/guests/www), all over its virtio-net device, until it is
# told to go.

set -eu

mkfifo /run/off

ip link set lo up
number=$(sed -n 's/.*lab\.guest=\([0-9]*\).*/\1/p' /proc/cmdline)
ip addr add "10.9.0.$number/24" dev eth0
ip link set eth0 up
dd if=/dev/urandom of=/www/blob bs=1M count=16 2>/dev/null
sha256sum </www/blob >/www/sum
httpd -h /www
# For the matrix.
if [ -e /services.sh ]; then
	# shellcheck source=/dev/null
	. /services.sh
fi
cat /run/off
