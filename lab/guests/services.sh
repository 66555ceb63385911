#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by lab/guests/guest.sh in the guests of the matrix: what they serve beside
# HTTP. Over vsock, port 5000 says what it is sent sums up to, 5001 sends the
# blob, and 5002 holds a connection: what becomes of it is in /www/held.

socat -t $((300 * SLOW)) VSOCK-LISTEN:5000,fork SYSTEM:sha256sum &
socat -t $((300 * SLOW)) -U VSOCK-LISTEN:5001,fork OPEN:/www/blob,rdonly &
vsockhold 5002 >/www/held 2>&1 &
iperf3 -s >/dev/null 2>&1 &
