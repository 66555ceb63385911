#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# In the machine of check-mm: the tests of the kernel's tools/virtio, and what
# they print in the form of run_vmtests.sh. virtio_test drives vhost's test
# device, once more with its rings disturbed (lab/mm/flipped.c); whether windows
# were used has to be as the parameter ring_mirror says (lab/mm/rings.awk).

on=$(cat /sys/module/vhost/parameters/ring_mirror)
rings=/sys/kernel/debug/vhost_ring_mirror
count=0
passed=0

# result STATUS NAME
result() {
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		passed=$((passed + 1))
		echo "ok $count $2"
	else
		echo "not ok $count $2 # exit=$1"
	fi
}

# run COMMAND...
run() {
	status=0
	echo "# running $*"
	"$@" >/tmp/said 2>&1 || status=$?
	sed 's/^/# /' /tmp/said
	return $status
}

# rings DISTURBED ARGUMENT...: virtio_test
rings() {
	disturbed=$1
	shift
	status=0
	cat $rings >/tmp/before
	(
		[ -z "$disturbed" ] ||
			export LD_PRELOAD="${LD_PRELOAD:-} /usr/lib/flipped.so"
		run ./virtio_test "$@"
	) || status=$?
	cat $rings >/tmp/after
	./rings.awk -v on="$on" -v disturbed="$disturbed" \
		/tmp/before /tmp/after || status=rings
	result $status "virtio_test${*:+ $*}${disturbed:+, disturbed}"
}

for features in "" --no-event-idx --no-indirect --no-virtio-1 \
	"--no-event-idx --no-indirect --no-virtio-1"; do
	for way in "" --delayed-interrupt "--batch=random --reset=100"; do
		for disturbed in "" yes; do
			# They are lists.
			# shellcheck disable=SC2086
			rings "$disturbed" $features $way
		done
	done
done

# Without --slow-range, which takes half a minute, if it is emulated.
for how in "" "--indirect --eventidx --virtio-1" --parallel \
	"--parallel --indirect --eventidx --virtio-1" \
	"--parallel --fast-vringh"; do
	status=0
	# shellcheck disable=SC2086
	run ./vringh_test $how || status=$?
	result $status "vringh_test${how:+ $how}"
done

echo "# SUMMARY: PASS=$passed FAIL=$((count - passed))"
echo "1..$count"
[ "$passed" = "$count" ]
