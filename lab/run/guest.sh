#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The nested guest: serves its own data, fetches the host's, and says what
# either sums up to, all over its virtio-net device, until it is told to go.

set -eu

mkdir -p /www/cgi-bin
cat >/www/cgi-bin/pull <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
timeout 60 wget -q -O - http://10.9.0.1/blob | sha256sum
END
cat >/www/cgi-bin/off <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo off >/run/off
END
chmod +x /www/cgi-bin/*
mkfifo /run/off

ip link set lo up
ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
dd if=/dev/urandom of=/www/blob bs=1M count=16 2>/dev/null
sha256sum </www/blob >/www/sum
httpd -h /www
cat /run/off
