// SPDX-License-Identifier: GPL-2.0
/*
 * The guards: each is what a reader does before and after one access to a ring.
 * The access is the same for all of them, through mmu_mirror_window_ptr().
 *
 * Compiled twice, with and without CONFIG_PREEMPT_NONE, as the function that
 * ACCESSES names.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <urcu/urcu-bp.h>
#include <urcu/urcu-mb.h>
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>
#include <ck_epoch.h>
#include <ck_rwlock.h>
#include <ck_spinlock.h>

#include <linux/mmu_mirror_cache.h>
#include <linux/mmu_mirror_window.h>
#include "reader.h"

#define RING_SIZE	256
/* Chunks of user memory that are looked up in turn, and sets that have them. */
#define NR_CHUNKS	64
#define NR_SETS		64

/* What an emulation keeps per CPU, and per task. */
struct emulated_cpu {
	unsigned long flag;
	unsigned long srcu_lock[2];
	unsigned long srcu_unlock[2];
	void *slots[8];
};

struct emulated_task {
	int nesting;
	int special;
};

static struct {
	struct mmu_mirror_domain domain;
	struct mmu_mirror_window *window;
	struct mmu_mirror_cache *cache;
	struct emulated_cpu *emulated;
	unsigned long srcu_index;
	ck_epoch_t epoch;
	ck_epoch_record_t epoch_record;
	ck_spinlock_t ck_spin;
	ck_rwlock_t ck_rw;
	pthread_spinlock_t spin;
	pthread_rwlock_t rw;
	pthread_mutex_t mutex;
	u16 heads[RING_SIZE];
} all;

static struct emulated_task emulated_task;
static __thread struct emulated_task *current;

static void *zalloc(size_t size)
{
	void *p = aligned_alloc(PAGE_SIZE, (size + PAGE_SIZE - 1) & -PAGE_SIZE);

	if (!p)
		abort();
	return memset(p, 0, size);
}

/* A cache with a window onto each chunk from 0 on, and that with its first page. */
static void prepare_cache(void)
{
	unsigned long chunk;

	all.cache = zalloc(sizeof(*all.cache) +
			   NR_SETS * sizeof(all.cache->set[0]));
	all.cache->cpu = all.domain.cpu;
	all.cache->mask = NR_SETS - 1;
	for (chunk = 0; chunk < NR_CHUNKS; chunk++) {
		unsigned long uaddr = chunk * MMU_MIRROR_CACHE_CHUNK;
		struct mmu_mirror_cache_set *set;
		struct mmu_mirror_window *window;
		int way = 0;

		window = zalloc(sizeof(*window) +
				MMU_MIRROR_CHUNK * sizeof(window->kaddr[0]));
		window->uaddr = uaddr;
		window->kaddr[0] = zalloc(PAGE_SIZE);
		set = mmu_mirror_cache_set(all.cache, uaddr, false);
		while (set->window[way])
			way++;
		set->tag[way] = chunk;
		set->window[way] = window;
	}
}

static void prepare(void)
{
	struct mmu_mirror_window *window = zalloc(PAGE_SIZE);

	if ((int)smp_processor_id() < 0) {
		fprintf(stderr, "no restartable sequences here: no CPU number\n");
		exit(4);
	}
	all.domain.cpu = zalloc(MAX_CPUS * PERCPU_STRIDE);
	for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
		struct mmu_mirror_cpu *state = (void *)((char *)all.domain.cpu +
							cpu * PERCPU_STRIDE);

		state->domain = &all.domain;
	}
	all.domain.mask = zalloc(sizeof(struct cpumask));
	all.emulated = zalloc(MAX_CPUS * PERCPU_STRIDE);
	window->npages = 1;
	window->size = PAGE_SIZE;
	window->kaddr[0] = zalloc(PAGE_SIZE);
	prepare_cache();
	current = &emulated_task;

	ck_epoch_init(&all.epoch);
	ck_epoch_register(&all.epoch, &all.epoch_record, NULL);
	ck_spinlock_init(&all.ck_spin);
	ck_rwlock_init(&all.ck_rw);
	pthread_spin_init(&all.spin, PTHREAD_PROCESS_PRIVATE);
	pthread_rwlock_init(&all.rw, NULL);
	pthread_mutex_init(&all.mutex, NULL);
	all.window = window;
}

/*
 * One guard after the other: what comes before the access, whose result comes
 * back after it.
 */

static __always_inline unsigned long nothing(void)
{
	return 0;
}

static __always_inline void no_end(unsigned long token)
{
}

static __always_inline unsigned long section(void)
{
	mmu_mirror_enter(&all.domain);
	return 0;
}

static __always_inline void section_end(unsigned long token)
{
	mmu_mirror_exit(&all.domain);
}

/* PREEMPT_RCU: a count in the task, and a look whether somebody waits. */
static __always_inline unsigned long nesting(void)
{
	struct emulated_task *task = READ_ONCE(current);

	WRITE_ONCE(task->nesting, READ_ONCE(task->nesting) + 1);
	barrier();
	return 0;
}

static __always_inline void nesting_end(unsigned long token)
{
	struct emulated_task *task = READ_ONCE(current);
	int depth;

	barrier();
	depth = READ_ONCE(task->nesting) - 1;
	WRITE_ONCE(task->nesting, depth);
	barrier();
	if (!depth && unlikely(READ_ONCE(task->special)))
		abort();
}

/* The kernel does not inline it. */
static noinline unsigned long nesting_call(void)
{
	return nesting();
}

static noinline void nesting_call_end(unsigned long token)
{
	nesting_end(token);
}

static __always_inline unsigned long flag_fence(void)
{
	WRITE_ONCE(this_cpu_ptr(all.emulated)->flag, 1);
	smp_mb(); /* what any guard needs that does not interrupt its readers */
	return 0;
}

static __always_inline void flag_fence_end(unsigned long token)
{
	/* After the access. */
	smp_store_release(&this_cpu_ptr(all.emulated)->flag, 0);
}

#ifdef __x86_64__
/* What a user access costs at least: its speculation barrier. */
static __always_inline unsigned long lfence(void)
{
	asm volatile("lfence" : : : "memory");
	return 0;
}
#else
#define lfence nothing
#endif

static __always_inline unsigned long srcu(void)
{
	unsigned long index = READ_ONCE(all.srcu_index) & 1;

	this_cpu_ptr(all.emulated)->srcu_lock[index]++;
	smp_mb(); /* the count before the access */
	return index;
}

static __always_inline void srcu_end(unsigned long index)
{
	smp_mb(); /* the access before the count */
	this_cpu_ptr(all.emulated)->srcu_unlock[index]++;
}

/* SRCU-fast: one-instruction counts, and no fence: grace periods of RCU pay. */
static __always_inline unsigned long srcu_fast(void)
{
	unsigned long index = READ_ONCE(all.srcu_index) & 1;

	this_cpu_ptr(all.emulated)->srcu_lock[index]++;
	barrier();
	return index;
}

static __always_inline void srcu_fast_end(unsigned long index)
{
	barrier();
	this_cpu_ptr(all.emulated)->srcu_unlock[index]++;
}

/*
 * Simple hazard pointers: the first free one of the CPU's slots is to have what is
 * protected before it is looked at again. The fence is what the waiter's scan pairs
 * with.
 */
static __always_inline unsigned long hazptr(void)
{
	struct emulated_cpu *cpu = this_cpu_ptr(all.emulated);
	unsigned long slot = 0;
	void *p;

	while (unlikely(READ_ONCE(cpu->slots[slot])))
		if (++slot == 8)
			abort();
	do {
		p = READ_ONCE(all.window->kaddr[0]);
		WRITE_ONCE(cpu->slots[slot], p);
		smp_mb(); /* the slot before the second look */
	} while (unlikely(p != READ_ONCE(all.window->kaddr[0])));
	return (unsigned long)&cpu->slots[slot];
}

static __always_inline void hazptr_end(unsigned long slot)
{
	/* After the access. */
	smp_store_release((void **)slot, NULL);
}

static __always_inline unsigned long memb(void)
{
	urcu_memb_read_lock();
	return 0;
}

static __always_inline void memb_end(unsigned long token)
{
	urcu_memb_read_unlock();
}

static __always_inline unsigned long bp(void)
{
	urcu_bp_read_lock();
	return 0;
}

static __always_inline void bp_end(unsigned long token)
{
	urcu_bp_read_unlock();
}

static __always_inline unsigned long mb_flavour(void)
{
	urcu_mb_read_lock();
	return 0;
}

static __always_inline void mb_flavour_end(unsigned long token)
{
	urcu_mb_read_unlock();
}

static __always_inline unsigned long qsbr(void)
{
	urcu_qsbr_read_lock();
	return 0;
}

static __always_inline void qsbr_end(unsigned long token)
{
	urcu_qsbr_read_unlock();
}

static __always_inline unsigned long epoch(void)
{
	ck_epoch_begin(&all.epoch_record, NULL);
	return 0;
}

static __always_inline void epoch_end(unsigned long token)
{
	ck_epoch_end(&all.epoch_record, NULL);
}

static __always_inline unsigned long ck_spin(void)
{
	ck_spinlock_lock(&all.ck_spin);
	return 0;
}

static __always_inline void ck_spin_end(unsigned long token)
{
	ck_spinlock_unlock(&all.ck_spin);
}

static __always_inline unsigned long ck_rw(void)
{
	ck_rwlock_read_lock(&all.ck_rw);
	return 0;
}

static __always_inline void ck_rw_end(unsigned long token)
{
	ck_rwlock_read_unlock(&all.ck_rw);
}

static __always_inline unsigned long spin(void)
{
	pthread_spin_lock(&all.spin);
	return 0;
}

static __always_inline void spin_end(unsigned long token)
{
	pthread_spin_unlock(&all.spin);
}

static __always_inline unsigned long rw(void)
{
	pthread_rwlock_rdlock(&all.rw);
	return 0;
}

static __always_inline void rw_end(unsigned long token)
{
	pthread_rwlock_unlock(&all.rw);
}

static __always_inline unsigned long mutex(void)
{
	pthread_mutex_lock(&all.mutex);
	return 0;
}

static __always_inline void mutex_end(unsigned long token)
{
	pthread_mutex_unlock(&all.mutex);
}

/* As vhost reads the avail ring: entry after entry, into memory of its own. */
static __always_inline void accesses(unsigned long n,
				     unsigned long (*begin)(void),
				     void (*end)(unsigned long token))
{
	unsigned long i;

	for (i = 0; i < n; i++) {
		unsigned long token = begin();
		u16 *entry = mmu_mirror_window_ptr(all.window,
						   4 + 2 * (i % RING_SIZE),
						   sizeof(*entry));

		WRITE_ONCE(all.heads[i % RING_SIZE], READ_ONCE(*entry));
		end(token);
		/* Nothing is kept in registers from one to the next. */
		barrier();
	}
}

/* The same in the memory of a guest: in @chunks chunks of it, in turn. */
static __always_inline void cache_accesses(unsigned long n,
					   unsigned long chunks)
{
	unsigned long i;

	for (i = 0; i < n; i++) {
		unsigned long uaddr = i % chunks * MMU_MIRROR_CACHE_CHUNK +
				      4 + 2 * (i % RING_SIZE);
		u16 *entry;

		mmu_mirror_enter_cpu(all.cache->cpu);
		entry = mmu_mirror_cache_ptr(all.cache, uaddr, sizeof(*entry),
					     false);
		WRITE_ONCE(all.heads[i % RING_SIZE], READ_ONCE(*entry));
		mmu_mirror_exit_cpu(all.cache->cpu);
		barrier();
	}
}

void ACCESSES(enum guard guard, unsigned long n)
{
	if (!all.window)
		prepare();

	switch (guard) {
	case GUARD_SECTION:
		accesses(n, section, section_end);
		break;
	case GUARD_CACHE:
		cache_accesses(n, 1);
		break;
	case GUARD_CACHE_FAR:
		cache_accesses(n, NR_CHUNKS);
		break;
	case GUARD_NESTING:
		accesses(n, nesting, nesting_end);
		break;
	case GUARD_NESTING_CALL:
		accesses(n, nesting_call, nesting_call_end);
		break;
	case GUARD_FLAG_FENCE:
		accesses(n, flag_fence, flag_fence_end);
		break;
	case GUARD_LFENCE:
		accesses(n, lfence, no_end);
		break;
	case GUARD_SRCU:
		accesses(n, srcu, srcu_end);
		break;
	case GUARD_SRCU_FAST:
		accesses(n, srcu_fast, srcu_fast_end);
		break;
	case GUARD_HAZPTR:
		accesses(n, hazptr, hazptr_end);
		break;
	case GUARD_URCU_MEMB:
		accesses(n, memb, memb_end);
		break;
	case GUARD_URCU_BP:
		accesses(n, bp, bp_end);
		break;
	case GUARD_URCU_MB:
		accesses(n, mb_flavour, mb_flavour_end);
		break;
	case GUARD_URCU_QSBR:
		accesses(n, qsbr, qsbr_end);
		break;
	case GUARD_CK_EPOCH:
		accesses(n, epoch, epoch_end);
		break;
	case GUARD_CK_SPINLOCK:
		accesses(n, ck_spin, ck_spin_end);
		break;
	case GUARD_CK_RWLOCK:
		accesses(n, ck_rw, ck_rw_end);
		break;
	case GUARD_PTHREAD_SPINLOCK:
		accesses(n, spin, spin_end);
		break;
	case GUARD_PTHREAD_RWLOCK:
		accesses(n, rw, rw_end);
		break;
	case GUARD_PTHREAD_MUTEX:
		accesses(n, mutex, mutex_end);
		break;
	default:
		accesses(n, nothing, no_end);
	}
}
