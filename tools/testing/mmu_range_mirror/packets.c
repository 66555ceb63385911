// SPDX-License-Identifier: GPL-2.0
/*
 * What the ring accesses of a packet cost vhost's worker when queues take turns,
 * with one packet in a run: by user addresses, and through windows by the inlines
 * of drivers/vhost/ring_mirror.h as they stand. The user access is without all
 * that makes it slow, STAC, CLAC and speculation barriers: a plain load or store;
 * and once with the barrier of each load, which 6.12 has.
 *
 *	packets				times them: rows for lab/bench.sh
 *	packets lines QUEUES MODE	one round of what valgrind's lackey is to
 *					trace, between two stores to the address
 *					that is printed first
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include "ring_mirror.h"

#define NUM		256
#define MAX_QUEUES	512
#define NR_TIMES	21
/* Descriptors, and the two others behind them, as a guest's driver has them. */
#define RING_SIZE	(2 * PAGE_SIZE)
#define USED_OFFSET	(PAGE_SIZE + 576)

enum mode { PLAIN, LFENCE, MIRRORED, NR_MODES };

static const char * const names[] = { "plain", "with LFENCE", "mirrored" };

__thread unsigned int this_cpu;
bool vhost_ring_mirror_on = true;
static struct vhost_virtqueue *queues[MAX_QUEUES];
static int turn[MAX_QUEUES];
static volatile unsigned long marker;
static unsigned long read_so_far;

/* Nothing may miss here. */
void __vhost_ring_mirror_want(struct vhost_virtqueue *vq, int type,
			      const void __user *uaddr, size_t size)
{
	abort();
}

void vhost_ring_missed(struct vhost_virtqueue *vq, int type,
		       const void __user *ptr)
{
	abort();
}

void vhost_ring_trace(struct vhost_virtqueue *vq, int type,
		      enum vhost_ring_why why, const void __user *ptr)
{
	abort();
}

void vhost_ring_poisoned(struct vhost_ring_mirror *mirror, int type,
			 unsigned long offset)
{
	abort();
}

void *mmu_mirror_window_miss(struct mmu_mirror_window *window,
			     unsigned long page)
{
	abort();
}

/* Zeroes, each in lines of its own, from one large mapping. */
static void *alloc(size_t size)
{
	static char *next, *end;
	char *p;

	size = (size + 63) & ~63UL;
	if (next + size > end) {
		next = mmap(NULL, 64UL << 20, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (next == MAP_FAILED)
			abort();
		end = next + (64UL << 20);
		madvise(next, end - next, MADV_HUGEPAGE);
	}
	p = next;
	next += size;
	return p;
}

static void *alloc_pages(size_t size)
{
	char *p = alloc(size + PAGE_SIZE);

	return p + (-(unsigned long)p & (PAGE_SIZE - 1));
}

static void make_queue(int q, char *cpus)
{
	struct vhost_virtqueue *vq = alloc(sizeof(*vq));
	struct vhost_ring_mirror *mirror = alloc(sizeof(*mirror));
	char *ring = alloc_pages(RING_SIZE);
	int type;

	vq->num = NUM;
	vq->desc = (void *)ring;
	vq->avail = (void *)(ring + PAGE_SIZE);
	vq->used = (void *)(ring + USED_OFFSET);
	/* As queues are that have run for a while. */
	vq->last_avail_idx = rand();
	vq->avail_idx = vq->last_avail_idx;
	vq->last_used_idx = vq->last_avail_idx;
	vq->avail->idx = vq->last_avail_idx + 1;
	vq->mirror = mirror;
	mirror->hot.cpu = (void *)(cpus + q * sizeof(struct mmu_mirror_cpu));
	mirror->hot.cpu->domain = alloc(sizeof(struct mmu_mirror_domain));
	mirror->hot.cpu->domain->mask = alloc(sizeof(struct cpumask));
	mirror->hot.kaddr[VHOST_ADDR_DESC] = vq->desc;
	mirror->hot.kaddr[VHOST_ADDR_AVAIL] = vq->avail;
	mirror->hot.kaddr[VHOST_ADDR_USED] = vq->used;
	mirror->hot.size[VHOST_ADDR_DESC] = NUM * sizeof(struct vring_desc);
	mirror->hot.size[VHOST_ADDR_AVAIL] = 4 + 2 * NUM + 2;
	mirror->hot.size[VHOST_ADDR_USED] = 4 + 8 * NUM + 2;
	for (type = 0; type < VHOST_NUM_ADDRS; type++)
		mirror->hot.uaddr[type] = (unsigned long)mirror->hot.kaddr[type];
	queues[q] = vq;
}

/* What a user access is, at least. */
static __always_inline void barrier_of(enum mode mode)
{
#ifdef __x86_64__
	if (mode == LFENCE)
		asm volatile("lfence" : : : "memory");
#endif
}

#define get_plain(mode, ptr) \
	({ \
		barrier_of(mode); \
		READ_ONCE(*(ptr)); \
	})

/* vhost_get_avail_idx(): is there something new? */
static __always_inline bool more(struct vhost_virtqueue *vq, enum mode mode)
{
	u16 idx = get_plain(mode, &vq->avail->idx);

	if ((u16)(idx - vq->last_avail_idx) > vq->num)
		abort();
	if (idx == vq->avail_idx)
		return false;
	vq->avail_idx = idx;
	return true;
}

/* vhost_get_vq_desc(), as far as the rings go. Return the head, or num. */
static __always_inline unsigned int get_head(struct vhost_virtqueue *vq,
					     enum mode mode)
{
	struct vring_desc chain[VHOST_RING_CHAIN];
	struct vring_desc desc;
	__virtio16 head = 0;

	if (mode == MIRRORED) {
		int n = vhost_ring_get_chain(vq, &head, chain);

		if (n < 0)
			return vq->num;
		if (!n)
			abort();
		desc = chain[0];
	} else {
		if (vq->avail_idx == vq->last_avail_idx && !more(vq, mode))
			return vq->num;
		head = get_plain(mode, &vq->avail->ring[vq->last_avail_idx &
							(vq->num - 1)]);
		if (head >= vq->num)
			abort();
		barrier_of(mode);
		mmu_mirror_load_pair((unsigned long *)&vq->desc[head],
				     (unsigned long *)&desc);
	}
	read_so_far += desc.addr + desc.len;
	vq->last_avail_idx++;
	return head;
}

/* vhost_add_used_n() of one. */
static __always_inline void add_used(struct vhost_virtqueue *vq, u32 head,
				     enum mode mode)
{
	struct vring_used_elem elem = { head, 0 }, *used;
	u16 old, new;

	if (mode == MIRRORED) {
		if (!vhost_ring_add_used(vq, &elem, 1))
			abort();
		return;
	}
	used = &vq->used->ring[vq->last_used_idx & (vq->num - 1)];
	WRITE_ONCE(used->id, elem.id);
	WRITE_ONCE(used->len, elem.len);
	old = vq->last_used_idx;
	new = (vq->last_used_idx += 1);
	if (unlikely((u16)(new - vq->signalled_used) < (u16)(new - old)))
		vq->signalled_used_valid = false;
	WRITE_ONCE(vq->used->idx, new);
}

/* vhost_notify(). */
static __always_inline void notify(struct vhost_virtqueue *vq, enum mode mode)
{
	__virtio16 flags;

	smp_mb(); /* as there */
	if (mode != MIRRORED)
		flags = get_plain(mode, &vq->avail->flags);
	else if (!vhost_ring_get16(vq, VHOST_ADDR_AVAIL, &flags,
				   &vq->avail->flags))
		abort();
	read_so_far += flags;
}

/* One run of a queue: a packet, and a look for another one. */
static __always_inline void run(struct vhost_virtqueue *vq, enum mode mode)
{
	unsigned int head;

	/* vq->mutex */
	if (__atomic_exchange_n(&vq->mutex.unused[0], 1, __ATOMIC_ACQUIRE))
		abort();
	if (mode == MIRRORED) {
		vhost_ring_mirror_want(vq, VHOST_ADDR_DESC, vq->desc,
				       vq->num * sizeof(struct vring_desc));
		vhost_ring_mirror_want(vq, VHOST_ADDR_AVAIL, vq->avail,
				       4 + 2 * vq->num + 2);
		vhost_ring_mirror_want(vq, VHOST_ADDR_USED, vq->used,
				       4 + 8 * vq->num + 2);
	}
	head = get_head(vq, mode);
	if (head == vq->num)
		abort();
	add_used(vq, head, mode);
	notify(vq, mode);
	if (get_head(vq, mode) != vq->num)
		abort();
	/* The guest's next packet, for the next round. */
	WRITE_ONCE(vq->avail->idx, vq->last_avail_idx + 1);
	if (!__atomic_exchange_n(&vq->mutex.unused[0], 0, __ATOMIC_RELEASE))
		abort();
}

static __always_inline void rounds(int nr_queues, int nr, enum mode mode)
{
	while (nr--)
		for (int i = 0; i < nr_queues; i++)
			run(queues[turn[i]], mode);
}

static noinline void measure(int nr_queues, int nr, enum mode mode)
{
	if (mode == PLAIN)
		rounds(nr_queues, nr, PLAIN);
	else if (mode == LFENCE)
		rounds(nr_queues, nr, LFENCE);
	else
		rounds(nr_queues, nr, MIRRORED);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_row(const char *name, int nr_queues, const char *unit, double *values)
{
	qsort(values, NR_TIMES, sizeof(*values), by_value);
	printf("row\tname=%s\tx=%d\tunit=%s\t", name, nr_queues, unit);
	printf("median=%.2f\tlo=%.2f\thi=%.2f\t", values[NR_TIMES / 2],
	       values[NR_TIMES / 4], values[NR_TIMES * 3 / 4]);
	printf("spread=quartiles\n");
	fflush(stdout);
}

static void time_them(int nr_queues)
{
	static double ns[NR_MODES][NR_TIMES], ratio[2][NR_TIMES];
	int nr = 200000 / nr_queues + 1;

	for (int time = -1; time < NR_TIMES; time++) {
		for (int i = 0; i < NR_MODES; i++) {
			int mode = (i + time + 1) % NR_MODES;
			double began = now();

			measure(nr_queues, nr, mode);
			if (time >= 0)
				ns[mode][time] = (now() - began) / nr /
						 nr_queues;
		}
		for (int i = 0; i < 2 && time >= 0; i++)
			ratio[i][time] = ns[i][time] / ns[MIRRORED][time];
	}
	for (int mode = 0; mode < NR_MODES; mode++)
		print_row(names[mode], nr_queues, "ns a packet, by queues", ns[mode]);
	print_row("plain to mirrored", nr_queues, "ratio", ratio[PLAIN]);
	print_row("with LFENCE to mirrored", nr_queues, "ratio", ratio[LFENCE]);
}

int main(int argc, char **argv)
{
	static const int counts[] = { 1, 8, 64, MAX_QUEUES };
	cpu_set_t cpus;
	int n;

	if (argc != 1 && argc != 4)
		return 2;
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);

	n = argc == 4 ? atoi(argv[2]) : MAX_QUEUES;
	if (n < 1 || n > MAX_QUEUES)
		return 2;
	char *per_cpu = alloc(PERCPU_STRIDE);

	for (int q = 0; q < n; q++) {
		make_queue(q, per_cpu);
		turn[q] = q;
	}
	if (argc == 4) {
		printf("%lx\n", (unsigned long)&marker);
		fflush(stdout);
		measure(n, 2, atoi(argv[3]));
		marker = 1;
		measure(n, 1, atoi(argv[3]));
		marker = 2;
		return 0;
	}
	for (int i = 0; i < 4; i++) {
		for (int q = 0; q < counts[i]; q++)
			turn[q] = q;
		for (int q = counts[i] - 1; q > 0; q--) {
			int other = rand() % (q + 1), t = turn[q];

			turn[q] = turn[other];
			turn[other] = t;
		}
		time_them(counts[i]);
	}
	return 0;
}
