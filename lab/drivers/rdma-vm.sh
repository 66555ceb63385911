#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# /test.sh of lab/drivers/rdma.sh: rdma-core's tests of on-demand paging, ours of
# what it does to memory, and perftest's, over rxe on a dummy link. KTAP.

# Each run of a test is stopped after as long as all of them may take.
limit=$((300 * SLOW))
count=0

# result STATUS NAME
result() {
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count perftest.$2"
	else
		echo "not ok $count perftest.$2"
	fi
}

# pair PROGRAM: perftest's server and client, disturbed.
pair() {
	status=0
	set -- "$1" --odp -d rxe0 -x "$gid" -F -s 65536 -D 5
	"$@" >/tmp/server 2>&1 &
	server=$!
	sleep 2
	"$@" 127.0.0.1 >/tmp/client 2>&1 &
	client=$!
	python3.13 /rdma-disturb.py $server $client
	wait $client || status=client
	wait $server || status=server
	sed 's/^/# /' /tmp/client
	[ $status = 0 ] || sed 's/^/# /' /tmp/server
	result $status "$1"
}

modprobe zram || exit 1
echo 512M >/sys/block/zram0/disksize
mkswap /dev/zram0 >/dev/null
swapon /dev/zram0
echo 8 >/proc/sys/vm/nr_hugepages

# A packet carries 4096 bytes: pages, where the memory is aligned.
modprobe -a dummy ib_uverbs rdma_rxe || exit 1
ip link set lo up
ip link add wire type dummy
ip link set wire mtu 9000 up
ip addr add 192.0.2.1/24 dev wire
rdma link add rxe0 type rxe netdev wire || exit 1
rdma link show | sed 's/^/# /'
gid=
for _ in 1 2 3 4 5 6 7 8 9; do
	gid=$(grep -l ffff:c000:0201 \
		/sys/class/infiniband/rxe0/ports/1/gids/* | sed 's#.*/##')
	[ -z "$gid" ] || break
	sleep 1
done
grep '^ib_core \|^mmu_range_mirror ' /proc/modules | sed 's/^/# module /'

timeout "$limit" python3.13 /rdma.py rxe0 "$gid" 2>&1 </dev/null
timeout "$limit" python3.13 /usr/lib/rdma-tests/run_tests.py -v --dev rxe0 \
	2>&1 </dev/null | /rdma-vm.awk
for program in ib_write_bw ib_read_bw; do
	pair $program
done
rdma link delete rxe0
echo "# end"
