// SPDX-License-Identifier: GPL-2.0
/*
 * The operations of hostile programs; see fuzz.h. How they are run, and what is
 * seen of them, is in fuzz.c.
 *
 * No address that is drawn leads to memory that the program does not own: it
 * would find its own stack there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuzz_run.h"

#ifndef __NR_close_range
#define __NR_close_range 436
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Where nothing is, or nothing can be. */
static const uint64_t wild[] = {
	0, 8, PAGE, ARENA - PAGE, ARENA + ARENA_SIZE, 0x7ffffffff000,
	0x800000000000, 0xffff888000000000, 0xffffffff81000000,
	0x8000000000000000, -PAGE, -16UL, -4UL,
};

/* Operations that set a device up, well or badly. */

static int64_t set_features(struct run *r, uint64_t features)
{
	return call(r, VHOST_SET_FEATURES, &features);
}

static int64_t set_num(struct run *r, int q, unsigned int num)
{
	struct vhost_vring_state state = { .index = q, .num = num };
	int64_t ret = call(r, VHOST_SET_VRING_NUM, &state);

	if (!ret && q < NR_QUEUES)
		r->num[q] = num;
	return ret;
}

static int64_t set_base(struct run *r, int q, unsigned int base)
{
	struct vhost_vring_state state = { .index = q, .num = base };
	int64_t ret = call(r, VHOST_SET_VRING_BASE, &state);

	if (!ret && q < NR_QUEUES)
		r->avail_idx[q] = base;
	return ret;
}

static int64_t set_addr(struct run *r, int q, const uint64_t *part,
			unsigned int flags, uint64_t log)
{
	struct vhost_vring_addr addr = {
		.index = q,
		.flags = flags,
		.desc_user_addr = part[DESC],
		.avail_user_addr = part[AVAIL],
		.used_user_addr = part[USED],
		.log_guest_addr = log,
	};
	int64_t ret = call(r, VHOST_SET_VRING_ADDR, &addr);

	if (!ret && q < NR_QUEUES)
		memcpy(r->part[q], part, sizeof(r->part[q]));
	return ret;
}

static int64_t set_file(struct run *r, unsigned long cmd, int q, int fd)
{
	struct vhost_vring_file file = { .index = q, .fd = fd };

	return call(r, cmd, &file);
}

static int64_t iotlb(struct run *r, int type, uint64_t iova, uint64_t size,
		     uint64_t uaddr, int perm)
{
	struct vhost_msg msg = {
		.type = VHOST_IOTLB_MSG,
		.iotlb = {
			.iova = iova,
			.size = size,
			.uaddr = uaddr,
			.perm = perm,
			.type = type,
		},
	};

	return seen(r, write(r->fd, &msg, sizeof(msg)));
}

static int64_t set_memory(struct run *r)
{
	struct mem_table table;

	mem_table_init(&table, ARENA, ARENA, ARENA_SIZE);
	return call(r, VHOST_SET_MEM_TABLE, &table);
}

static void own(struct run *r)
{
	call(r, VHOST_SET_OWNER, NULL);
	find_workers(r);
}

/* A device that works, whatever it was before. */
static void set_up(struct run *r, const struct setup *setup)
{
	uint64_t cid = GUEST_CID;

	own(r);
	run_device(r, false);
	/* Refused where nothing has been set up yet. */
	r->first_error = 0;
	set_memory(r);
	call(r, VHOST_SET_LOG_BASE, &setup->log_base);
	set_features(r, setup->features);
	if (setup->features & PLATFORM)
		iotlb(r, VHOST_IOTLB_UPDATE, ARENA, ARENA_SIZE, ARENA,
		      VHOST_ACCESS_RW);
	if (r->vsock)
		call(r, VHOST_VSOCK_SET_GUEST_CID, &cid);
	else
		ioctl(r->site->c.tap, TUNSETSNDBUF, &setup->sndbuf);
	for (int q = 0; q < NR_QUEUES; q++) {
		for (int p = 0; p < NR_PARTS; p++) {
			char zeroes[PAGE] = { };

			put(r, setup->part[q][p], zeroes,
			    part_size(setup->num, p) < PAGE ?
			    part_size(setup->num, p) : PAGE);
		}
		set_num(r, q, setup->num);
		set_base(r, q, 0);
		set_addr(r, q, setup->part[q], setup->log_used,
			 setup->part[q][USED]);
		set_file(r, VHOST_SET_VRING_KICK, q, r->kick[q]);
		set_file(r, VHOST_SET_VRING_CALL, q, r->call[q]);
		set_file(r, VHOST_SET_VRING_ERR, q, r->error[q]);
	}
	set_file(r, VHOST_SET_LOG_FD, r->logged, 0);
	run_device(r, true);
}

static uint64_t draw_features(struct run *r, struct rng *g)
{
	uint64_t features = one_in(g, 8) ? 0 : VERSION_1;

	features |= one_in(g, 2) ? EVENT_IDX : 0;
	features |= one_in(g, 2) ? INDIRECT : 0;
	features |= one_in(g, 4) ? LOG_ALL : 0;
	features |= one_in(g, 4) ? PLATFORM : 0;
	features |= one_in(g, 8) ? 1ULL << VIRTIO_F_NOTIFY_ON_EMPTY : 0;
	if (r->vsock)
		features |= one_in(g, 4) ? 1ULL << VIRTIO_VSOCK_F_SEQPACKET : 0;
	else
		features |= (one_in(g, 2) ? MRG_RXBUF : 0) |
			    (one_in(g, 8) ? 1ULL << VHOST_NET_F_VIRTIO_NET_HDR
			     : 0);
	return features;
}

static const enum fuzz_region healthy[] = {
	R_ANON, R_ANON, R_MEMFD, R_MEMFD, R_COW, R_FILE, R_ANON_TOO, R_THP,
	R_HUGETLB, R_DRIVER, R_SECRET,
};

/* A place of @size bytes in @region: at its start or end, or within it. */
static uint64_t draw_place(struct rng *g, enum fuzz_region region, size_t size)
{
	uint64_t start = region_at(region);
	unsigned int pages = FUZZ_REGION / PAGE;

	switch (below(g, 8)) {
	case 0:
	case 1:
	case 2:
		return start + below(g, pages) * PAGE;
	case 3:
	case 4:
		/* The next thing is in another page. */
		return start + (below(g, pages) + 1) * PAGE - size;
	case 5:
		return start + FUZZ_REGION - size;
	default:
		return start + below(g, FUZZ_REGION / 16) * 16;
	}
}

static void draw_setup(struct run *r, struct rng *g)
{
	static const unsigned int nums[] = { 1, 2, 4, 8, 16, 64, 256, 256 };
	struct setup *good = &r->good;
	enum fuzz_region common = PICK(g, healthy);
	bool apart = one_in(g, 3);

	good->features = draw_features(r, g);
	good->num = PICK(g, nums);
	good->log_used = good->features & LOG_ALL || one_in(g, 8);
	good->log_base = region_at(PICK(g, healthy)) - LOG_OFFSET + PAGE / 2;
	good->sndbuf = one_in(g, 2) ? 1 << 20 : INT_MAX;
	for (int q = 0; q < NR_QUEUES; q++) {
		for (int p = 0; p < NR_PARTS; p++) {
			enum fuzz_region region = apart ? PICK(g, healthy) :
						  common;
			size_t size = part_size(good->num, p);
			uint64_t page = region_at(region) +
					(1 + q * NR_PARTS + p) * PAGE;

			/* Parts that end where their page does, too. */
			good->part[q][p] = one_in(g, 3) ? page + PAGE - size :
					   page;
			good->part[q][p] &= ~(p == DESC ? 15UL :
					      p == USED ? 3UL : 1UL);
		}
	}
	say(r, " num %u features %#llx rings %s%s log %s", good->num,
	    (unsigned long long)good->features, at(region_at(common)),
	    apart ? " and others" : "", at(good->log_base + LOG_OFFSET));
}

static void op_start(struct run *r, struct rng *g)
{
	say(r, "start:");
	draw_setup(r, g);
	set_up(r, &r->good);
}

/* Operations of a driver, well or badly behaved. */

static uint64_t ring_desc(struct run *r, int q, unsigned int i)
{
	return r->part[q][DESC] + (uint64_t)i * sizeof(struct vring_desc);
}

static uint64_t avail_slot(struct run *r, int q, uint16_t idx)
{
	return r->part[q][AVAIL] + sizeof(struct vring_avail) +
	       2 * (idx & (r->num[q] - 1));
}

static void make_avail(struct run *r, int q, uint16_t head)
{
	put16(r, avail_slot(r, q, r->avail_idx[q]++), head);
}

static void publish(struct run *r, int q)
{
	put16(r, r->part[q][AVAIL] + offsetof(struct vring_avail, idx),
	      r->avail_idx[q]);
}

static uint64_t draw_buffer(struct run *r, struct rng *g, int q, uint32_t *len)
{
	unsigned int slot = below(g, NR_SLOTS / 2);

	if (odd(r, g, 24)) {
		*len = one_in(g, 4) ? draw(g) : below(g, 3 * PAGE);
		return PICK(g, wild);
	}
	if (odd(r, g, 16)) {
		/* Anything, also the rings themselves. */
		*len = below(g, 3 * PAGE);
		return draw_place(g, below(g, NR_REGIONS), PAGE / 2);
	}
	*len = q == TX ? packet_size(r, slot) : SLOT;
	if (q == RX)
		slot += NR_SLOTS / 2;
	if (odd(r, g, 16))
		*len = below(g, SLOT);
	return region_at(R_PACKETS) + slot * SLOT;
}

/* One buffer, in @n descriptors of which the first is @i; in a table or not. */
static void make_chain(struct run *r, struct rng *g, int q, uint64_t desc_at,
		       unsigned int i, unsigned int n, unsigned int mask)
{
	uint16_t write = q == RX ? VRING_DESC_F_WRITE : 0;
	uint64_t addr;
	uint32_t len;

	addr = draw_buffer(r, g, q, &len);
	for (unsigned int k = 0; k < n; k++) {
		uint32_t part = k == n - 1 ? len : len / n;
		struct vring_desc desc = {
			.addr = addr,
			.len = part,
			.flags = write | (k == n - 1 ? 0 : VRING_DESC_F_NEXT),
			.next = (i + k + 1) & mask,
		};

		addr += part;
		len -= part;
		if (odd(r, g, 24))
			desc.flags ^= 1 << below(g, 4);
		if (odd(r, g, 24))
			desc.next = one_in(g, 2) ? i : draw(g);
		put(r, desc_at + ((i + k) & mask) * sizeof(desc), &desc,
		    sizeof(desc));
	}
}

/*
 * Where a table of @n descriptors is: mostly behind a buffer, or anywhere, across
 * pages, across what a window of the cache maps, or on top of a ring.
 */
static uint64_t draw_table(struct run *r, struct rng *g, int q, unsigned int n)
{
	size_t size = n * sizeof(struct vring_desc);

	if (odd(r, g, 12))
		return draw_place(g, below(g, NR_REGIONS), size);
	if (odd(r, g, 16))
		return r->part[q][below(g, NR_PARTS)] + below(g, 4) * 16;
	if (one_in(g, 4))
		return region_at(PICK(g, healthy)) +
		       (1 + below(g, FUZZ_REGION / PAGE - 1)) * PAGE -
		       below(g, size + 1);
	if (one_in(g, 8))
		return HUGETLB_AT - below(g, size + 1);
	return region_at(R_PACKETS) + (below(g, 4) + NR_SLOTS / 2) * SLOT - 256;
}

/* @n buffers for the device, and most of the time it is told. */
static void offer(struct run *r, struct rng *g, int q, unsigned int n)
{
	unsigned int mask = r->num[q] - 1;
	unsigned int i = r->avail_idx[q] & mask;
	bool tables = r->good.features & INDIRECT && one_in(g, 2);

	if (!r->num[q])
		return;
	while (n--) {
		unsigned int len = one_in(g, 3) ? 1 + below(g, 3) : 1;

		/* More than are read at once. */
		if (tables && one_in(g, 4))
			len = 1 + below(g, 10);
		if (tables) {
			uint64_t table = draw_table(r, g, q, len);
			struct vring_desc desc = {
				.addr = table,
				.len = len * sizeof(desc),
				.flags = VRING_DESC_F_INDIRECT,
			};

			if (odd(r, g, 12))
				desc.len = draw(g) & 0xfffff;
			make_chain(r, g, q, table, 0, len, 0xff);
			put(r, ring_desc(r, q, i & mask), &desc, sizeof(desc));
			make_avail(r, q, i & mask);
			i++;
		} else {
			make_chain(r, g, q, r->part[q][DESC], i & mask, len,
				   mask);
			make_avail(r, q, i & mask);
			i += len;
		}
	}
	publish(r, q);
}

static void op_offer(struct run *r, struct rng *g)
{
	int q = below(g, NR_QUEUES);
	unsigned int n = 1 + below(g, 6);

	if (n > r->num[q])
		n = r->num[q];
	say(r, "offer %u to queue %d", n, q);
	offer(r, g, q, n);
	kick(r, q);
}

static void op_traffic(struct run *r, struct rng *g)
{
	unsigned int n = 1 + below(g, 4);
	bool first = one_in(g, 2);

	say(r, " %u packets, buffers %s", n, first ? "first" : "last");
	if (first)
		offer(r, g, RX, n);
	for (unsigned int i = 0; i < n && !r->vsock; i++) {
		char packet[SLOT];
		size_t size = client_make_packet(packet, r->next_seq++);

		seen(r, send(r->site->c.peer, packet + NET_HDR, size - NET_HDR,
			     0));
	}
	if (r->vsock || one_in(g, 2)) {
		offer(r, g, TX, n);
		kick(r, TX);
	}
	if (!first)
		offer(r, g, RX, n);
	kick(r, RX);
}

static void op_repair(struct run *r, struct rng *g)
{
	bool remap = one_in(g, 3);

	say(r, "set up again%s,", remap ? ", mapped anew" : "");
	run_device(r, false);
	if (remap) {
		for (int i = 0; i < NR_REGIONS; i++)
			map_region(r, i);
		fill_packets(r);
	}
	if (!r->good.num)
		draw_setup(r, g);
	set_up(r, &r->good);
	/* The first run of a queue is what opens its windows. */
	settle(r);
	breathe(r);
	op_traffic(r, g);
}

static void op_kick(struct run *r, struct rng *g)
{
	int q = below(g, NR_QUEUES);

	say(r, "kick queue %d", q);
	kick(r, q);
}

static void op_poke(struct run *r, struct rng *g)
{
	static const char * const names[] = { "desc", "avail", "used" };
	unsigned int n = 1 + below(g, 4);
	int q = below(g, NR_QUEUES);

	say(r, "poke queue %d:", q);
	while (n--) {
		enum part part = below(g, NR_PARTS);
		unsigned int num = r->num[q] ?: 1;
		uint64_t base = r->part[q][part];
		uint64_t offset = below(g, part_size(num, part) + 4) & ~1U;
		uint64_t value = draw(g);
		size_t size = 2;

		if (part == DESC && one_in(g, 2)) {
			offset &= ~15UL;
			size = one_in(g, 2) ? 16 : 8;
			value = one_in(g, 2) ? PICK(g, wild) :
				draw_place(g, below(g, NR_REGIONS), 256);
		} else if (part == AVAIL && one_in(g, 2)) {
			offset = below(g, 2) * 2;
			value = offset ? r->avail_idx[q] + below(g, 4) - 1 :
				below(g, 3);
			if (one_in(g, 4))
				value = r->avail_idx[q] + num +
					below(g, 3) - 1;
		} else if (part == AVAIL && one_in(g, 2)) {
			/* The event index, or an index out of range. */
			if (one_in(g, 2)) {
				offset = part_size(num, AVAIL);
				value = r->avail_idx[q] - below(g, 4);
			} else {
				offset = 4 + 2 * below(g, num);
				value = num + below(g, 8) - 4;
			}
		}
		if (size == 16) {
			struct vring_desc desc = {
				.addr = value,
				.len = one_in(g, 2) ? draw(g) : below(g, 4096),
				.flags = draw(g) & 7,
				.next = below(g, num + 2),
			};

			put(r, base + offset, &desc, sizeof(desc));
		} else {
			put(r, base + offset, &value, size);
		}
		say(r, " %s+%llu", names[part], (unsigned long long)offset);
	}
	kick(r, q);
}

/* Operations of a hostile owner. */

static void op_addr(struct run *r, struct rng *g)
{
	static const unsigned int aligns[] = { 15, 1, 3 };
	int q = one_in(g, 32) ? 7 : below(g, NR_QUEUES);
	unsigned int flags = one_in(g, 24) ? draw(g) : one_in(g, 4);
	unsigned int num = r->num[q % NR_QUEUES] ?: 1;
	uint64_t part[NR_PARTS], log;

	memcpy(part, r->part[q % NR_QUEUES], sizeof(part));
	for (int p = 0; p < NR_PARTS; p++) {
		enum fuzz_region region = one_in(g, 3) ? below(g, NR_REGIONS) :
					  PICK(g, healthy);

		if (one_in(g, 2))
			continue;
		part[p] = draw_place(g, region, part_size(num, p));
		if (one_in(g, 16))
			part[p] = PICK(g, wild);
		else if (one_in(g, 12))
			/* On top of another, or partly so. */
			part[p] = part[below(g, NR_PARTS)] + below(g, 4) * 16;
		if (!one_in(g, 12))
			part[p] &= ~(uint64_t)aligns[p];
	}
	log = one_in(g, 4) ? PICK(g, wild) : part[USED];
	say(r, "queue %d at %s %s %s flags %#x log %s", q, at(part[DESC]),
	    at(part[AVAIL]), at(part[USED]), flags, at(log));
	set_addr(r, q, part, flags, log);
	kick(r, q % NR_QUEUES);
}

static void op_num(struct run *r, struct rng *g)
{
	static const unsigned int odd[] = { 0, 3, 65536, 0xffff, -1U };
	int q = below(g, NR_QUEUES);
	unsigned int num = one_in(g, 6) ? PICK(g, odd) : 1U << below(g, 16);
	bool stop = !one_in(g, 4);

	say(r, "queue %d of %u%s", q, num, stop ? ", stopped" : "");
	if (stop)
		run_device(r, false);
	set_num(r, q, num);
	if (one_in(g, 2))
		set_addr(r, q, r->part[q], 0, 0);
	if (stop)
		run_device(r, true);
}

static void op_base(struct run *r, struct rng *g)
{
	int q = below(g, NR_QUEUES);
	unsigned int base = one_in(g, 8) ? 1 << 20 :
			    one_in(g, 2) ? 65536 - below(g, 4) : draw(g) & 0xffff;
	bool stop = !one_in(g, 4);

	say(r, "queue %d from %u%s", q, base, stop ? ", stopped" : "");
	if (stop)
		run_device(r, false);
	set_base(r, q, base);
	if (stop)
		run_device(r, true);
}

static void op_features(struct run *r, struct rng *g)
{
	uint64_t features = r->good.features;

	switch (below(g, 6)) {
	case 0:
		features = draw_features(r, g);
		break;
	case 1:
		features ^= 1ULL << below(g, 64);
		break;
	case 2:
		features ^= EVENT_IDX;
		break;
	case 3:
		features ^= LOG_ALL;
		break;
	case 4:
		features ^= PLATFORM;
		break;
	default:
		features ^= INDIRECT | EVENT_IDX;
	}
	say(r, "features %#llx", (unsigned long long)features);
	if (!set_features(r, features))
		r->good.features = features;
	if (features & PLATFORM && !one_in(g, 4)) {
		say(r, " and all in the IOTLB");
		iotlb(r, VHOST_IOTLB_UPDATE, ARENA, ARENA_SIZE, ARENA,
		      VHOST_ACCESS_RW);
	}
	for (int q = 0; q < NR_QUEUES; q++)
		kick(r, q);
}

static void op_backend_features(struct run *r, struct rng *g)
{
	uint64_t features = one_in(g, 4) ? 1ULL << below(g, 64) :
			    (uint64_t)below(g, 2) << VHOST_BACKEND_F_IOTLB_MSG_V2;

	say(r, "backend features %#llx", (unsigned long long)features);
	call(r, VHOST_SET_BACKEND_FEATURES, &features);
}

static void op_iotlb(struct run *r, struct rng *g)
{
	unsigned int n = 1 + below(g, 3);
	int q = below(g, NR_QUEUES);

	say(r, "IOTLB:");
	while (n--) {
		int type = one_in(g, 3) ? VHOST_IOTLB_INVALIDATE :
			   VHOST_IOTLB_UPDATE;
		uint64_t part = r->part[q][below(g, NR_PARTS)];
		uint64_t iova = part & ~(PAGE - 1), size = PAGE, uaddr;
		int perm = VHOST_ACCESS_RW;

		if (one_in(g, 3)) {
			iova = ARENA;
			size = ARENA_SIZE;
		} else if (one_in(g, 3)) {
			/* A piece of a ring. */
			iova = part + below(g, 64) * 2;
			size = 1 + below(g, 2 * PAGE);
		}
		uaddr = iova;
		if (one_in(g, 4))
			uaddr += (below(g, 9) - 4) * FUZZ_REGION / 2;
		else if (one_in(g, 8))
			uaddr = PICK(g, wild);
		else if (one_in(g, 12))
			uaddr += 1 + below(g, 16);
		if (one_in(g, 10)) {
			static const uint64_t sizes[] = { 0, 1, -1ULL, 1ULL << 63 };

			size = PICK(g, sizes);
		}
		if (one_in(g, 12))
			iova = PICK(g, wild);
		if (one_in(g, 6))
			perm = below(g, 5);
		if (one_in(g, 24))
			type = below(g, 8);
		say(r, " %d %s+%#llx>%s/%d", type, at(iova),
		    (unsigned long long)size, at(uaddr), perm);
		iotlb(r, type, iova, size, uaddr, perm);
	}
	if (one_in(g, 12)) {
		char text[sizeof(struct vhost_msg)] = { VHOST_IOTLB_MSG_V2 };

		say(r, " short");
		seen(r, write(r->fd, text, below(g, sizeof(text))));
	}
	for (int i = 0; i < NR_QUEUES; i++)
		kick(r, i);
}

static void op_memory(struct run *r, struct rng *g)
{
	struct {
		struct vhost_memory mem;
		struct vhost_memory_region region[8];
	} table = { .mem.nregions = 1 + below(g, 8) };
	uint64_t next = ARENA;

	if (one_in(g, 3)) {
		say(r, "all memory");
		set_memory(r);
		goto kick;
	}
	say(r, "memory in %u pieces", table.mem.nregions);
	for (unsigned int i = 0; i < table.mem.nregions; i++) {
		struct vhost_memory_region *region = &table.region[i];

		region->guest_phys_addr = next;
		region->memory_size = (1 + below(g, 32)) * PAGE;
		region->userspace_addr = next;
		next += region->memory_size;
		if (one_in(g, 8))
			region->guest_phys_addr -= 2 * PAGE;
		if (one_in(g, 12))
			region->userspace_addr += FUZZ_REGION;
		if (one_in(g, 24))
			region->userspace_addr = PICK(g, wild);
		if (one_in(g, 24))
			region->guest_phys_addr = PICK(g, wild);
		if (one_in(g, 48))
			region->memory_size = one_in(g, 2) ? 0 :
					      -region->guest_phys_addr;
	}
	if (one_in(g, 24))
		table.mem.padding = 1;
	if (one_in(g, 24))
		table.mem.nregions = draw(g);
	call(r, VHOST_SET_MEM_TABLE, &table);
kick:
	for (int q = 0; q < NR_QUEUES; q++)
		kick(r, q);
}

static void op_log_base(struct run *r, struct rng *g)
{
	enum fuzz_region region = one_in(g, 2) ? PICK(g, healthy) :
				  below(g, NR_REGIONS);
	uint64_t base = draw_place(g, region, 16) - LOG_OFFSET;

	/* Bits that land in the rings. */
	if (one_in(g, 8))
		base = r->part[below(g, NR_QUEUES)][below(g, NR_PARTS)] -
		       LOG_OFFSET;
	if (one_in(g, 8))
		base = PICK(g, wild);
	say(r, "log at %s", at(base + LOG_OFFSET));
	call(r, VHOST_SET_LOG_BASE, &base);
	for (int q = 0; q < NR_QUEUES; q++)
		kick(r, q);
}

static void op_backend(struct run *r, struct rng *g)
{
	int q = below(g, NR_QUEUES);

	if (r->vsock) {
		int running = below(g, 3);

		say(r, "running %d", running);
		call(r, VHOST_VSOCK_SET_RUNNING, &running);
	} else {
		int fds[] = { -1, r->site->c.tap, r->site->c.tap, r->kick[q],
			      12345 };
		unsigned int i = below(g, 5);

		say(r, "backend of queue %d: choice %u", q, i);
		set_backend(r, q, fds[i]);
	}
}

static void op_files(struct run *r, struct rng *g)
{
	static const struct {
		const char *name;
		unsigned long cmd;
	} cmds[] = {
		{ "kick", VHOST_SET_VRING_KICK },
		{ "call", VHOST_SET_VRING_CALL },
		{ "error", VHOST_SET_VRING_ERR },
	};
	int q = below(g, NR_QUEUES);
	unsigned int c = below(g, 3), i = below(g, 6);
	int own[] = { r->kick[q], r->call[q], r->error[q] };
	int fds[] = { own[c], own[c], own[c], -1, 12345, r->site->c.tap };

	say(r, "%s of queue %d: choice %u", cmds[c].name, q, i);
	set_file(r, cmds[c].cmd, q, fds[i]);
}

/* Calls with arguments that cannot be read, of any number. */
static void op_raw(struct run *r, struct rng *g)
{
	static const uint64_t args[] = {
		0, 8, 0xffff888000000000, 0x800000000000, ARENA - PAGE,
	};
	unsigned int nr = below(g, 0x90);
	unsigned long cmd = _IOC(below(g, 4), VHOST_VIRTIO, nr, below(g, 64));
	uint64_t arg = one_in(g, 2) ? PICK(g, args) : region_at(R_NO_ACCESS);

	say(r, "ioctl %#lx of %s", cmd, at(arg));
	call(r, cmd, (void *)arg);
	find_workers(r);
}

static void op_cid(struct run *r, struct rng *g)
{
	static const uint64_t cids[] = {
		0, 1, 2, 0xffffffff, 1ULL << 32, GUEST_CID, GUEST_CID,
		GUEST_CID + 1,
	};
	uint64_t cid = PICK(g, cids);

	say(r, "CID %llu", (unsigned long long)cid);
	call(r, VHOST_VSOCK_SET_GUEST_CID, &cid);
}

static void op_reset(struct run *r, struct rng *g)
{
	say(r, "reset owner");
	call(r, VHOST_RESET_OWNER, NULL);
	find_workers(r);
	if (one_in(g, 2)) {
		say(r, ", start again");
		set_up(r, &r->good);
	}
}

static void op_toggle(struct run *r, struct rng *g)
{
	say(r, "mirror off and on, where it is on");
	for (int i = 0; i < 2; i++) {
		if (r->mirror)
			ring_mirror_set(i);
		kick(r, below(g, NR_QUEUES));
		settle(r);
	}
}

/* Another one with our memory, which keeps neither a file open nor us. */
static void fork_one(struct run *r)
{
	int fds[2];
	char byte;
	pid_t pid;

	if (r->nr_forked == NR_FORKS || pipe(fds))
		return;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 0);
		syscall(__NR_close_range, 1, -1U, 0);
		while (write(0, "!", 1) == 1)
			pause();
		_exit(1);
	}
	if (pid > 0 && read(fds[0], &byte, 1) == 1)
		r->forked[r->nr_forked++] = pid;
	close(fds[0]);
	close(fds[1]);
}

/* One of the things that may happen to memory. */
static void disturb(struct run *r, struct rng *g, uint64_t addr, size_t size)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_COLD, MADV_POPULATE_WRITE, MADV_REMOVE,
		MADV_HUGEPAGE, MADV_DONTFORK, MADV_MERGEABLE,
	};
	static const int prots[] = {
		PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE | PROT_EXEC,
	};
	unsigned int what = below(g, 12);
	unsigned int i = below(g, 7);
	void *p = (void *)addr;
	void *away, *page = p;
	int node = below(g, 2), status;
	int fd;

	say(r, " %s+%#zx", at(addr), size);
	switch (what) {
	case 0:
	case 1:
		say(r, " madvise %d", advice[i]);
		seen(r, madvise(p, size, advice[i]));
		break;
	case 2:
	case 3:
		say(r, " mprotect %d", prots[i % 5]);
		seen(r, mprotect(p, size, prots[i % 5]));
		break;
	case 4:
		say(r, " munmap");
		seen(r, munmap(p, size));
		break;
	case 5:
		say(r, " mmap");
		seen(r, mmap(p, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			     MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p ? 0 : -1);
		break;
	case 6:
		say(r, " mremap away and back");
		away = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
		seen(r, mremap(p, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
			       away) == away ? 0 : -1);
		seen(r, mremap(away, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
			       p) == p ? 0 : -1);
		munmap(away, size);
		break;
	case 7:
	case 8:
		say(r, " fork");
		fork_one(r);
		break;
	case 9:
		/* Whether a page can be moved depends on who looks at it. */
		say(r, " move to node %d", node);
		syscall(SYS_move_pages, 0, 1UL, &page, &node, &status, 2);
		break;
	case 10:
		say(r, i % 2 ? " the memfd is cut" : " the memfd is whole");
		seen(r, ftruncate(r->memfd, i % 2 ? i * PAGE : FUZZ_REGION));
		break;
	default:
		say(r, i % 2 ? " soft-dirty" : " page out, collapse");
		/* As above. */
		madvise(p, size, i % 2 ? MADV_NORMAL : MADV_PAGEOUT);
		madvise((void *)THP_AT, HUGE_SIZE, MADV_COLLAPSE);
		fd = i % 2 ? open("/proc/self/clear_refs", O_WRONLY) : -1;
		if (fd >= 0) {
			seen(r, write(fd, "4", 1));
			close(fd);
		}
	}
}

/* Memory changes, and most of the time the device is the first to see it. */
static void op_disturb(struct run *r, struct rng *g)
{
	int q = below(g, NR_QUEUES);
	uint64_t addr = r->part[q][below(g, NR_PARTS)] & ~(PAGE - 1);
	size_t size = one_in(g, 3) ? FUZZ_REGION / 2 : PAGE;

	say(r, "memory:");
	if (one_in(g, 4) || addr < ARENA || addr >= ARENA + ARENA_SIZE)
		addr = region_at(below(g, NR_REGIONS)) +
		       below(g, 5) * PAGE;
	if (one_in(g, 8)) {
		/* In the middle of it. */
		kick(r, q);
		settle(r);
		breathe(r);
	}
	disturb(r, g, addr, size);
	if (one_in(g, 2))
		offer(r, g, q, 1);
	kick(r, q);
	r->look = !one_in(g, 3);
}

static void op_die(struct run *r, struct rng *g)
{
	/* With work under way, how far that gets is a matter of time. */
	r->record->value[V_DETAIL] = one_in(g, 2);
	say(r, "die%s", r->record->value[V_DETAIL] ? " with work to do" : "");
	if (r->record->value[V_DETAIL])
		for (int q = 0; q < NR_QUEUES; q++)
			kick(r, q);
	r->dies = true;
}

static const struct {
	unsigned int weight;
	void (*run)(struct run *r, struct rng *g);
	bool vsock_only;
	bool in_one_piece;
} ops[] = {
	{ 24, op_offer, .in_one_piece = true },
	{ 24, op_traffic, .in_one_piece = true },
	{ 14, op_poke, .in_one_piece = true },
	{ 4, op_kick },
	{ 10, op_addr },
	{ 3, op_num },
	{ 3, op_base },
	{ 7, op_features },
	{ 1, op_backend_features },
	{ 9, op_iotlb },
	{ 4, op_memory },
	{ 5, op_log_base },
	{ 4, op_backend },
	{ 3, op_files },
	{ 3, op_raw },
	{ 2, op_cid, .vsock_only = true },
	{ 1, op_reset },
	{ 1, op_toggle },
	{ 16, op_disturb },
	{ 20, op_repair },
};

void run_op(struct run *r, uint64_t seed, unsigned int n)
{
	struct rng g = { .state = mix(seed, n) };
	unsigned long ran = workers_ran(r);
	unsigned int total = 0, i;

	if (!n) {
		op_start(r, &g);
		return;
	}
	/* So that there are windows in the first place. */
	if (n < 4) {
		op_traffic(r, &g);
		r->trace->torn |= workers_ran(r) != ran;
		return;
	}
	if (n == fuzz_nr_ops(seed) - 1 && one_in(&g, 6)) {
		op_die(r, &g);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		total += ops[i].weight;
	total = below(&g, total);
	for (i = 0; total >= ops[i].weight; i++)
		total -= ops[i].weight;
	if (ops[i].vsock_only && !r->vsock)
		op_offer(r, &g);
	else
		ops[i].run(r, &g);
	if (ops[i].in_one_piece)
		r->trace->torn |= workers_ran(r) != ran;
}

/* What is left to a stranger when the owner is gone. */
void run_strange_ops(struct run *r)
{
	struct vhost_vring_state state = { .num = 4 };
	uint64_t parts[NR_PARTS] = { ARENA, ARENA + PAGE, ARENA + 2 * PAGE };

	call(r, VHOST_SET_VRING_NUM, &state);
	set_addr(r, 0, parts, 0, 0);
	run_device(r, true);
	iotlb(r, VHOST_IOTLB_UPDATE, ARENA, ARENA_SIZE, ARENA, VHOST_ACCESS_RW);
	iotlb(r, VHOST_IOTLB_INVALIDATE, 0, -1ULL, 0, 0);
	set_features(r, VERSION_1 | PLATFORM);
	iotlb(r, VHOST_IOTLB_UPDATE, ARENA, ARENA_SIZE, ARENA, VHOST_ACCESS_RW);
	call(r, VHOST_SET_LOG_FD, NULL);
	call(r, VHOST_RESET_OWNER, NULL);
}
