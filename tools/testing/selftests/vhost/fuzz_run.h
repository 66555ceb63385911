/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the running of a hostile program (fuzz.c) and its operations (fuzz_ops.c)
 * share, and nobody else needs.
 */
#ifndef SELFTESTS_VHOST_FUZZ_RUN_H
#define SELFTESTS_VHOST_FUZZ_RUN_H

#include <linux/const.h>
#include <sys/types.h>

#include "../kselftest.h"
#include "fuzz.h"

/* Guest addresses are the process's own, and so are an IOTLB's. */
#define ARENA 0x40000000UL
#define ARENA_SIZE (8UL << 20)
#define THP_AT (ARENA + (2UL << 20))
#define HUGETLB_AT (ARENA + (4UL << 20))
#define HUGE_SIZE (2UL << 20)
/* Where a log has the bit of the arena's first page. */
#define LOG_OFFSET (ARENA / PAGE / 8)

#define SLOT 2048UL
#define NR_SLOTS (FUZZ_REGION / SLOT)
#define NET_HDR sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define GUEST_CID 4242

#define EVENT_IDX _BITULL(VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT _BITULL(VIRTIO_RING_F_INDIRECT_DESC)
#define LOG_ALL _BITULL(VHOST_F_LOG_ALL)
#define PLATFORM _BITULL(VIRTIO_F_ACCESS_PLATFORM)
#define VERSION_1 _BITULL(VIRTIO_F_VERSION_1)
#define MRG_RXBUF _BITULL(VIRTIO_NET_F_MRG_RXBUF)

#define NR_FORKS 4

struct rng {
	uint64_t state;
};

/* A device that works. */
struct setup {
	uint64_t features;
	unsigned int num;
	uint64_t part[NR_QUEUES][NR_PARTS];
	bool log_used;
	uint64_t log_base;
	int sndbuf;
};

struct run {
	struct fuzz_site *site;
	struct fuzz_trace *trace;
	struct fuzz_record *record;
	bool mirror;
	bool vsock;
	int fd;
	int memfd;
	int worker[8];
	int schedstat[8];
	unsigned int nr_workers;
	/* What there is to write to the program's memory, and what was read. */
	int stage_fd;
	char *stage;
	struct setup good;
	/* As far as is known: the device may have refused it. */
	unsigned int num[NR_QUEUES];
	uint64_t part[NR_QUEUES][NR_PARTS];
	uint16_t avail_idx[NR_QUEUES];
	int kick[NR_QUEUES];
	int call[NR_QUEUES];
	int error[NR_QUEUES];
	int logged;
	uint32_t next_seq;
	int64_t first_error;
	int64_t last;
	uint64_t detail;
	pid_t forked[NR_FORKS];
	unsigned int nr_forked;
	/* Waits for nobody. */
	bool hasty;
	bool gentle;
	bool look;
	bool dies;
};

static inline uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = a + 0x9e3779b97f4a7c15ULL * (b + 1);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static inline uint64_t draw(struct rng *g)
{
	g->state = mix(g->state, 0);
	return g->state;
}

static inline unsigned int below(struct rng *g, unsigned int n)
{
	return (draw(g) >> 16) % n;
}

static inline bool one_in(struct rng *g, unsigned int n)
{
	return !below(g, n);
}

/* One in @n, but seldom in every other program: those get further. */
static inline bool odd(struct run *r, struct rng *g, unsigned int n)
{
	return one_in(g, r->gentle ? 16 * n : n);
}

#define PICK(g, array) \
	((array)[below(g, sizeof(array) / sizeof((array)[0]))])

/* Say what the operation is, in its record. */
__printf(2, 3)
void say(struct run *r, const char *fmt, ...);
/* Have what a call returned be part of the operation's result. */
int64_t seen(struct run *r, int64_t ret);
int64_t call(struct run *r, unsigned long cmd, const void *arg);

uint64_t region_at(enum fuzz_region region);
/* An address, as a region and an offset where it is in one. */
const char *at(uint64_t addr);
/* What there is none of on this machine is a hole, in each run. */
void map_region(struct run *r, enum fuzz_region region);
/* Packets to send, one in each slot of the first half of theirs. */
void fill_packets(struct run *r);
/* What is needed of a slot's packet to send it. */
uint32_t packet_size(struct run *r, unsigned int slot);
/* The bytes of a ring part, without the event index. */
size_t part_size(unsigned int num, enum part part);
/* Write as a hostile guest does: wherever, and never mind if it does not work. */
void put(struct run *r, uint64_t addr, const void *data, size_t size);
void put16(struct run *r, uint64_t addr, uint16_t value);

/* After the device may have got a new worker, or lost it. */
void find_workers(struct run *r);
/* How often the worker has got its CPU. */
unsigned long workers_ran(struct run *r);
/* Return true when the worker has nothing to do any more. */
bool settle(struct run *r);
/* Let windows be opened and filled. */
void breathe(struct run *r);
void kick(struct run *r, int q);
int64_t set_backend(struct run *r, int q, int fd);
void run_device(struct run *r, bool on);

/* Operation @n of the program that follows from @seed. */
void run_op(struct run *r, uint64_t seed, unsigned int n);
/* What is left to a stranger when the owner is gone. */
void run_strange_ops(struct run *r);

#endif
