/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Windows: kernel pointers to a range of user memory, read inside a section.
 *
 * The interface of mm/mmu_mirror_window.c, and the section guard, which has to
 * be inline.
 */
#ifndef _LINUX_MMU_MIRROR_WINDOW_H
#define _LINUX_MMU_MIRROR_WINDOW_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/cpumask.h>
#include <linux/interval_tree.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mmu_range_mirror.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/refcount.h>
#include <linux/workqueue.h>

#if IS_ENABLED(CONFIG_KUNIT)
bool mmu_mirror_can_window(void);
#endif

/**
 * DOC: section guard
 *
 * Each CPU counts the sections that it is in and the outermost sections that
 * it has completed, per domain. An invalidator clears the pointers, interrupts
 * every CPU that has read since the last invalidation (its fence stands in for
 * the one that the reader does not have), and then waits for each CPU that it
 * finds inside until that section is over.
 *
 * A CPU that enters for the first time since an invalidation puts itself on
 * the domain's mask, with a fence of its own. Until then no invalidator
 * interrupts it, so the cost follows the CPUs that read.
 */

#define MMU_MIRROR_COUNT_SHIFT	(BITS_PER_LONG / 2)
/* One completed outermost section, in &struct mmu_mirror_cpu.count. */
#define MMU_MIRROR_COMPLETED	BIT(MMU_MIRROR_COUNT_SHIFT)

/* The sections that a CPU with this count is inside of. */
static inline unsigned long mmu_mirror_depth(unsigned long count)
{
	return count & (MMU_MIRROR_COMPLETED - 1);
}

/**
 * struct mmu_mirror_cpu - a domain's state of one CPU
 * @count: low half: sections entered and not left; high half: outermost
 *	sections completed. Written by its own CPU only.
 * @published: this CPU is on the domain's mask. Set and cleared by its own CPU
 *	only.
 * @domain: the domain
 *
 * All that a section touches of its domain, in one cache line.
 */
struct mmu_mirror_cpu {
	unsigned long count;
	unsigned long published;
	struct mmu_mirror_domain *domain;
} __aligned(4 * sizeof(unsigned long));

/**
 * struct mmu_mirror_domain - the readers that an invalidation waits for
 * @cpu: per-CPU state
 * @mask: CPUs that may be inside a section
 * @dropped: number of invalidations that cleared a pointer
 * @drained: every reader of the first @drained drops is out
 * @nr_windows: windows open; a domain with windows must not be destroyed
 * @users: windows whose notifier has not been removed yet, and the driver
 * @nr_waits: waits that had to interrupt or to look at other CPUs
 * @nr_interrupts: CPUs that they interrupted, the waiting one not counted
 * @worst_wait_ns: the longest of them, in nanoseconds; at most %LONG_MAX, which
 *	on 32-bit machines is two seconds
 * @rcu: for freeing after the last reader
 * @lock: for @windows
 * @windows: of at most 512 pages, by address. Only where notifiers have one pass
 */
struct mmu_mirror_domain {
	struct mmu_mirror_cpu __percpu *cpu;
	cpumask_var_t mask;
	atomic_long_t dropped;
	atomic_long_t drained;
	atomic_t nr_windows;
	refcount_t users;
	atomic_long_t nr_waits;
	atomic_long_t nr_interrupts;
	atomic_long_t worst_wait_ns;
	struct rcu_head rcu;
#if !MMU_RANGE_MIRROR_TWO_PASS
	spinlock_t lock; /* outside the windows' own locks */
	struct rb_root_cached windows;
#endif
};

/*
 * private: how windows and caches allocate. There is another way to the memory:
 * nobody is to be killed for want of this one, or to reclaim for long.
 */
#define MMU_MIRROR_GFP	(GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN)

struct mmu_mirror_domain *mmu_mirror_domain_alloc(void);
void mmu_mirror_domain_destroy(struct mmu_mirror_domain *domain);
void mmu_mirror_domain_drain(struct mmu_mirror_domain *domain);
void mmu_mirror_domain_dropped(struct mmu_mirror_domain *domain);

/* private: the slow half of mmu_mirror_enter_cpu() */
void mmu_mirror_publish(struct mmu_mirror_domain *domain,
			struct mmu_mirror_cpu *cpu);

/**
 * mmu_mirror_enter_cpu - mmu_mirror_enter() by the domain's per-CPU state
 * @cpus: &mmu_mirror_domain.cpu, kept where the reader looks anyway
 *
 * For a reader that keeps @cpus beside its own hot data. It then does not touch the
 * domain's line, which invalidations write.
 *
 * Context and cost: as mmu_mirror_enter(), less the load of the domain's field.
 */
static __always_inline void
mmu_mirror_enter_cpu(struct mmu_mirror_cpu __percpu *cpus)
{
	struct mmu_mirror_cpu *cpu;

	preempt_disable();
	cpu = this_cpu_ptr(cpus);
	/* After an earlier section's accesses; see mmu_mirror_enter(). */
	smp_store_release(&cpu->count, READ_ONCE(cpu->count) + 1);
	if (unlikely(!READ_ONCE(cpu->published)))
		mmu_mirror_publish(cpu->domain, cpu);
	else
		barrier();
}

/**
 * mmu_mirror_exit_cpu - end a section
 * @cpus: as given to mmu_mirror_enter_cpu(), or its domain's
 *
 * Context and cost: as mmu_mirror_exit(), less the load of the domain's field.
 */
static __always_inline void
mmu_mirror_exit_cpu(struct mmu_mirror_cpu __percpu *cpus)
{
	struct mmu_mirror_cpu *cpu = this_cpu_ptr(cpus);
	unsigned long count = READ_ONCE(cpu->count);

	if (likely(mmu_mirror_depth(count) == 1))
		count += MMU_MIRROR_COMPLETED;
	/* After this section's accesses; see mmu_mirror_exit(). */
	smp_store_release(&cpu->count, count - 1);
	preempt_enable();
}

/**
 * mmu_mirror_enter - begin a section
 * @domain: the domain of the windows that will be read
 *
 * Sections nest, also from interrupts. Inside one, do not sleep, fault,
 * allocate or take a lock under which somebody else does.
 *
 * The count store is ordered before the later pointer loads by the fence of
 * mmu_mirror_publish(), or else by the interrupt of mmu_mirror_domain_drain();
 * as a release it orders the accesses of an earlier section before itself
 * (pairs with the acquires of count in mmu_mirror_domain_drain()).
 *
 * Context: any but NMI. Preemption is off until mmu_mirror_exit().
 * Cost: two loads, one store and a not-taken branch, all CPU local; one fence
 * and one atomic the first time on a CPU after an invalidation.
 */
static __always_inline void mmu_mirror_enter(struct mmu_mirror_domain *domain)
{
	mmu_mirror_enter_cpu(domain->cpu);
}

/**
 * mmu_mirror_exit - end a section
 * @domain: as given to mmu_mirror_enter()
 *
 * The release orders the section's accesses before the count that ends it
 * (pairs with the acquires of count in mmu_mirror_domain_drain()). Only the
 * outermost exit counts as completed: an invalidator that sees a nested one
 * end must go on waiting.
 *
 * Context: any but NMI.
 * Cost: one load and one store, CPU local.
 */
static __always_inline void mmu_mirror_exit(struct mmu_mirror_domain *domain)
{
	mmu_mirror_exit_cpu(domain->cpu);
}

/**
 * DOC: background work
 *
 * Background work for an mm may wait as long as the mm's owner likes, for
 * mmap_lock and for invalidations to end. So each mm has a queue and a worker of
 * its own, which do one thing at a time: a fill, a removal, or what a driver
 * queues, such as opening windows. It holds up nobody else. Its memory is charged
 * to the owner, and fills have a budget of CPU time.
 */

struct mmu_mirror_queue;

struct mmu_mirror_queue *mmu_mirror_queue_get(struct mm_struct *mm);
void mmu_mirror_queue_put(struct mmu_mirror_queue *queue);
struct mmu_mirror_domain *
mmu_mirror_queue_domain(struct mmu_mirror_queue *queue);
void mmu_mirror_queue_rest(struct mmu_mirror_queue *queue);
bool mmu_mirror_queue_work(struct mmu_mirror_queue *queue,
			   struct work_struct *work);
void mmu_mirror_queue_barrier(void);

/* Pages of a window whose pointers are in one piece. */
#define MMU_MIRROR_CHUNK	512UL

/**
 * struct mmu_mirror_chunk - a piece of a large window, made when it is needed
 * @mapped: pointers that are set, under the mirror's lock
 * @kaddr: one pointer for each page, or NULL
 */
struct mmu_mirror_chunk {
	unsigned long mapped;
	void *kaddr[MMU_MIRROR_CHUNK];
};

/**
 * struct mmu_mirror_rest - how long something is left alone, if done often
 * @until: jiffies before which it is not done
 * @backoff: how far that was last pushed
 */
struct mmu_mirror_rest {
	unsigned long until;
	unsigned long backoff;
};

/**
 * struct mmu_mirror_window - kernel pointers to a range of user memory
 * @mirror: the mirror underneath
 * @writable: pages are looked up for writing, and dirtied
 * @fill: the work that installs pages
 * @reap: the work that removes the notifier of a closed window
 * @queue: the mm's
 * @closed: nothing is installed any more; under the mirror's lock
 * @missed: the page that a reader last found absent
 * @forgotten: one more than the page that a reader last had forgotten, until a
 *	fill looks at it again
 * @rest: of fills, from misses of pages that may be there
 * @empty: of fills, from misses of pages that were not
 * @seen: pages that a fill has looked at, by their number in a chunk
 * @absent: pages that were not there, or cannot be mapped; the same
 * @gone: the fill under way found that of a page that was not so before
 * @fills: runs of @fill
 * @collisions: lookups that an invalidation made void
 * @installed: pages installed since the window was opened
 * @dropped_pages: pages dropped since the window was opened
 * @drops: invalidations that dropped at least one page, by event
 * @shadow: where else the only page's pointer is kept, or NULL
 * @caller: where it was opened, which names the driver
 * @node: in its domain's @windows. Only where notifiers have one pass
 * @rcu: for freeing after the last reader
 * @domain: its readers
 * @uaddr: first byte, any alignment
 * @size: bytes
 * @npages: pages touched by [@uaddr, @uaddr + @size)
 * @kaddr: one pointer for each page, or NULL, of up to %MMU_MIRROR_CHUNK pages
 * @chunk: of a larger window, its pieces. NULL: no page of it has been mapped
 *
 * What a window maps never changes. All members are private to the helper, but
 * for reading; the counters are written under the mirror's lock. What an access
 * reads is in the line of the first pointers.
 */
struct mmu_mirror_window {
	struct mmu_range_mirror mirror;
	bool writable;
	struct work_struct fill;
	struct work_struct reap;
	struct mmu_mirror_queue *queue;
	bool closed;
	unsigned long missed;
	unsigned long forgotten;
	struct mmu_mirror_rest rest;
	struct mmu_mirror_rest empty;
	unsigned long seen[MMU_MIRROR_CHUNK / BITS_PER_LONG];
	unsigned long absent[MMU_MIRROR_CHUNK / BITS_PER_LONG];
	bool gone;
	unsigned long fills;
	unsigned long collisions;
	unsigned long installed;
	unsigned long dropped_pages;
	unsigned long drops[MMU_MIRROR_NR_EVENTS];
	void **shadow;
	void *caller;
#if !MMU_RANGE_MIRROR_TWO_PASS
	struct interval_tree_node node;
#endif
	struct rcu_head rcu;
	struct mmu_mirror_domain *domain ____cacheline_aligned_in_smp;
	unsigned long uaddr;
	unsigned long size;
	unsigned long npages;
	union {
		DECLARE_FLEX_ARRAY(void *, kaddr);
		DECLARE_FLEX_ARRAY(struct mmu_mirror_chunk *, chunk);
	};
};

struct mmu_mirror_window *
mmu_mirror_window_open(struct mmu_mirror_domain *domain, struct mm_struct *mm,
		       unsigned long uaddr, unsigned long size, bool writable);
void mmu_mirror_window_close(struct mmu_mirror_window *window);
/* private: of a window that is about to be closed */
void mmu_mirror_window_shut(struct mmu_mirror_window *window);
void mmu_mirror_window_prefetch(struct mmu_mirror_window *window);
int mmu_mirror_window_populate(struct mmu_mirror_window *window);
void mmu_mirror_window_shadow(struct mmu_mirror_window *window, void **at);
void mmu_mirror_window_forget(struct mmu_mirror_window *window,
			      unsigned long offset);

size_t mmu_mirror_copy(void *p, void *buf, size_t n, bool write);
size_t mmu_mirror_window_read(struct mmu_mirror_window *window,
			      unsigned long offset, void *to, size_t size);
size_t mmu_mirror_window_write(struct mmu_mirror_window *window,
			       unsigned long offset, const void *from,
			       size_t size);
int mmu_mirror_window_load(struct mmu_mirror_window *window,
			   unsigned long offset, unsigned int size,
			   unsigned long *value);
int mmu_mirror_window_store(struct mmu_mirror_window *window,
			    unsigned long offset, unsigned int size,
			    unsigned long value);

/**
 * enum mmu_mirror_absence - why a page of a window is absent
 * @MMU_MIRROR_UNFILLED: no fill has looked at it yet
 * @MMU_MIRROR_INVALIDATED: an invalidation took it, or kept the last fill from
 *	installing it
 * @MMU_MIRROR_UNMAPPED: the last fill found nothing that could be mapped: no
 *	page, one that the process may not write, or one without a mapping in
 *	the kernel
 * @MMU_MIRROR_FORGOTTEN: a reader had it forgotten, and no fill has looked at it
 *	since
 */
enum mmu_mirror_absence {
	MMU_MIRROR_UNFILLED,
	MMU_MIRROR_INVALIDATED,
	MMU_MIRROR_UNMAPPED,
	MMU_MIRROR_FORGOTTEN,
};

enum mmu_mirror_absence
mmu_mirror_window_absence(struct mmu_mirror_window *window);
unsigned long mmu_mirror_window_mapped(struct mmu_mirror_window *window);

/* private: the slow half of mmu_mirror_window_ptr() */
void *mmu_mirror_window_miss(struct mmu_mirror_window *window,
			     unsigned long page);

/* private: the pointer of a page of a window of more than a chunk */
static inline void *mmu_mirror_window_far(struct mmu_mirror_window *window,
					  unsigned long page)
{
	struct mmu_mirror_chunk *chunk;

	/* Pairs with the release that makes a chunk known. It then stays. */
	chunk = READ_ONCE(window->chunk[page / MMU_MIRROR_CHUNK]);
	return chunk ? READ_ONCE(chunk->kaddr[page % MMU_MIRROR_CHUNK]) : NULL;
}

/* private: of mmu_mirror_window_ptr() and mmu_mirror_window_peek() */
static __always_inline void *
__mmu_mirror_window_ptr(struct mmu_mirror_window *window, unsigned long offset,
			unsigned long size, bool fill)
{
	unsigned long pos, page;
	void *kaddr;

	if (unlikely(offset >= window->size || size > window->size - offset))
		return NULL;
	pos = offset_in_page(window->uaddr) + offset;
	if (unlikely(offset_in_page(pos) + size > PAGE_SIZE))
		return NULL;
	page = array_index_nospec(pos >> PAGE_SHIFT, window->npages);
	if (unlikely(window->npages > MMU_MIRROR_CHUNK))
		kaddr = mmu_mirror_window_far(window, page);
	else
		kaddr = READ_ONCE(window->kaddr[page]);
	if (unlikely(!kaddr))
		return fill ? mmu_mirror_window_miss(window, page) : NULL;
	return kaddr + offset_in_page(pos);
}

/**
 * mmu_mirror_window_ptr - the kernel address of an object in a window
 * @window: an open window, or one that is being closed
 * @offset: of the object, in bytes from the window's first byte
 * @size: of the object, in bytes, at least one
 *
 * The pointer is good until mmu_mirror_exit(). The page that an out-of-range
 * offset would select is clamped under speculation, so the caller may pass an
 * index that a guest supplied. The memory behind the pointer is shared: read it
 * once.
 *
 * Context: inside a section of the window's domain. Pairs with the
 * smp_store_release() that installs the page, by address dependency. A miss
 * queues work, and so may wake a task: with the scheduler's locks held, use
 * mmu_mirror_window_peek().
 * Cost: two bounds checks and one load of the pointer; of a window of more than
 * 512 pages, two loads.
 * Return: NULL where the object is out of range, straddles a page or is not
 * mapped at the moment: use uaccess. The last also asks for a fill.
 */
static __always_inline void *
mmu_mirror_window_ptr(struct mmu_mirror_window *window, unsigned long offset,
		      unsigned long size)
{
	return __mmu_mirror_window_ptr(window, offset, size, true);
}

/**
 * mmu_mirror_window_peek - mmu_mirror_window_ptr() that asks for no fill
 * @window: an open window, or one that is being closed
 * @offset: of the object, in bytes from the window's first byte
 * @size: of the object, in bytes, at least one
 *
 * For callers that populate the window themselves or must not wake a task.
 *
 * Context: inside a section of the window's domain, with any locks held.
 * Cost: as mmu_mirror_window_ptr().
 * Return: as mmu_mirror_window_ptr().
 */
static __always_inline void *
mmu_mirror_window_peek(struct mmu_mirror_window *window, unsigned long offset,
		       unsigned long size)
{
	return __mmu_mirror_window_ptr(window, offset, size, false);
}

#endif /* _LINUX_MMU_MIRROR_WINDOW_H */
