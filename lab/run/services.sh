#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by lab/run/guest.sh in the guests of the matrix: what they serve beside
# HTTP. Over vsock, port 5000 says what it is sent sums up to, 5001 sends the
# blob, and 5002 sends back what it gets; what becomes of its connections is in
# /www/echoed.

socat -t 300 VSOCK-LISTEN:5000,fork SYSTEM:sha256sum &
socat -t 300 -U VSOCK-LISTEN:5001,fork OPEN:/www/blob,rdonly &
socat VSOCK-LISTEN:5002,fork EXEC:cat 2>/www/echoed &
iperf3 -s >/dev/null 2>&1 &
