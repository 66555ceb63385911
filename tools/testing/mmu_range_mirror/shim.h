/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel provides to include/linux/mmu_mirror_window.h, for a thread
 * that is bound to its CPU. Its section guard is compiled as it stands: here
 * are only the primitives under it, each at the cost that it has in the kernel
 * on x86, and stubs for what the rest of the header mentions.
 */
#ifndef _MMU_RANGE_MIRROR_SHIM_H
#define _MMU_RANGE_MIRROR_SHIM_H

#include <linux/const.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/rseq.h>
#include <urcu/call-rcu.h>	/* struct rcu_head */

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/types.h>
#include <asm/barrier.h>

#define PAGE_SHIFT		12
#define PAGE_SIZE		_BITUL(PAGE_SHIFT)
#define offset_in_page(p)	((unsigned long)(p) & (PAGE_SIZE - 1))
/* Nobody looks for races here. */
#define data_race(expr)		(expr)
/* Newer uapi headers have it. */
#ifndef __counted_by
#define __counted_by(member)
#endif
#define EXPORT_SYMBOL_GPL(symbol)
#ifndef ____cacheline_aligned
#define ____cacheline_aligned	__aligned(64)
#endif
#define ____cacheline_aligned_in_smp	____cacheline_aligned
#define DECLARE_TRACEPOINT(name)	extern const int unused_##name
#define tracepoint_enabled(name)	0

/*
 * Preemption. As on x86, the count has a bit that is clear if somebody wants
 * the CPU, so that one comparison with zero tells. Nobody ever does.
 */
#ifdef CONFIG_PREEMPT_NONE
#define preempt_disable()	barrier()
#define preempt_enable()	barrier()
#else
static __thread unsigned int preempt_count = 1U << 31;

static __always_inline void preempt_disable(void)
{
	preempt_count++;
	barrier();
}

static __always_inline void preempt_enable(void)
{
	barrier();
	if (unlikely(!--preempt_count))
		abort();
}
#endif

/* Per-CPU data: an array, whose index the kernel keeps up to date for us. */
#ifndef PERCPU_STRIDE
#define PERCPU_STRIDE		256
#endif
#define __percpu
#define prefetch(p)		__builtin_prefetch(p)
#define prefetchw(p)		__builtin_prefetch(p, 1)
#define raw_cpu_ptr(ptr)	this_cpu_ptr(ptr)
#define this_cpu_ptr(ptr) \
	((typeof(ptr))((char *)(ptr) + smp_processor_id() * PERCPU_STRIDE))

/* valgrind has no restartable sequences: then it is a variable. */
#ifdef CPU_VARIABLE
extern __thread unsigned int CPU_VARIABLE;
#define smp_processor_id()	CPU_VARIABLE
#else
static __always_inline unsigned int smp_processor_id(void)
{
	struct rseq *rseq = __builtin_thread_pointer() + __rseq_offset;

	return READ_ONCE(rseq->cpu_id);
}
#endif

#define MAX_CPUS			4096

struct cpumask {
	unsigned long bits[MAX_CPUS / BITS_PER_LONG];
};

#define cpumask_var_t		struct cpumask *

static inline void cpumask_set_cpu(unsigned int cpu, struct cpumask *mask)
{
	__atomic_fetch_or(&mask->bits[cpu / BITS_PER_LONG],
			  1UL << cpu % BITS_PER_LONG, __ATOMIC_SEQ_CST);
}

/* For inlines of the headers' other halves, which nothing here calls. */
#define spinlock_t		struct mutex
#define MMU_NOTIFY_EXCLUSIVE	0
#define lockdep_assert_held(lock)
#define lockdep_assert_held_write(lock)

#define refcount_t		atomic_t
#ifndef DECLARE_FLEX_ARRAY
#define DECLARE_FLEX_ARRAY(type, name)	\
	struct { struct { } unused_##name; type name[]; }
#endif

struct folio;
struct mm_struct;
struct mmu_notifier_range;
struct page;

/* As large as without debugging. */
struct rw_semaphore {
	int unused;
};

struct mutex {
	long unused[4];
};

struct rb_root_cached {
	void *unused[2];
};

struct interval_tree_node {
	unsigned long unused[3];
	unsigned long start;
	unsigned long last;
	unsigned long subtree_last;
};

struct work_struct {
	int unused;
};

struct mmu_interval_notifier {
	int unused;
};

struct mmu_interval_notifier_finish {
	int unused;
};

static inline void atomic_long_add(long n, atomic_long_t *v)
{
}

static inline void mutex_lock(struct mutex *lock)
{
}

static inline void mutex_unlock(struct mutex *lock)
{
}

static inline void down_write(struct rw_semaphore *lock)
{
}

static inline void up_write(struct rw_semaphore *lock)
{
}

static inline void spin_lock(spinlock_t *lock)
{
}

static inline void spin_unlock(spinlock_t *lock)
{
}

static inline bool mmu_interval_read_retry(struct mmu_interval_notifier *sub,
					   unsigned long seq)
{
	return false;
}

#endif /* _MMU_RANGE_MIRROR_SHIM_H */
