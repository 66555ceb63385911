/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mirroring a range of user memory: sequence, lock, dirty-once, reader wait.
 *
 * The interface of mm/mmu_range_mirror.c, and the section guard, which has to
 * be inline. Core mm knows nothing of what is declared here.
 */
#ifndef _LINUX_MMU_RANGE_MIRROR_H
#define _LINUX_MMU_RANGE_MIRROR_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/cpumask.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_mirror_tlb.h>
#include <linux/mmu_notifier.h>
#include <linux/mmu_range_mirror_compat.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

/**
 * DOC: overview
 *
 * A driver that keeps its own translation of user memory (a secondary MMU)
 * must drop it before core mm changes or frees the page underneath. Two layers
 * are offered; the upper one is built on the lower.
 *
 * A *mirror* (&struct mmu_range_mirror) is one range of one mm: a sequence
 * count against races with invalidation, the lock under which translations are
 * made and dropped, the one place that marks pages dirty, and the two hooks
 * that drop translations and wait for whoever is still using them.
 *
 * A *window* (&struct mmu_mirror_window) holds kernel pointers to the pages of
 * a range. They are read inside a *section* of the window's *domain*, the set
 * of readers that an invalidation waits for. Entering and leaving a section
 * costs no atomic and no fence; the invalidator sends the interrupts.
 *
 * No page reference is held between calls: migration, THP, KSM and swap work
 * on mirrored pages as on any other.
 */

/**
 * DOC: locking
 *
 * The mirror's lock is taken by the invalidator, which may run in reclaim and
 * must never wait for progress of memory. Under it nothing may fault, take a
 * page-table lock, call GUP, allocate with direct reclaim, or take a lock that
 * is held elsewhere across such an allocation. Insertion teaches lockdep so.
 *
 * A shadow entry is made like this; mmu_range_mirror_populate() is this loop::
 *
 *	seq = mmu_range_mirror_begin(mirror);
 *	get_user_pages_fast(...);
 *	mmu_range_mirror_lock(mirror);
 *	if (mmu_range_mirror_retry(mirror, seq))
 *		unlock, put the pages, start over
 *	make the entry
 *	mmu_range_mirror_mark_dirty(mirror, folio);	where it is writable
 *	mmu_range_mirror_unlock(mirror);
 *	put the pages
 */

/**
 * DOC: external TLBs
 *
 * A device that walks the CPU's page tables fetches translations at any time,
 * also between the start and the end of an invalidation. It is flushed by
 * @invalidate_range, which core mm calls after the entry has changed and before
 * the page, or the page table, can be used again. Permissions that grow arrive
 * there as well, if the CPU flushes for them (x86 does not), and nowhere else:
 * a device that was refused by what it has cached walks again.
 *
 * A device that walks tables of the driver's own is flushed on invalidation.
 * Only what the driver drops by itself may be flushed later, because core mm
 * cannot free that page, nor take a permission from it, without an
 * invalidation: mmu_range_mirror_defer_flush(). Reclaim's ageing flushes
 * nothing.
 *
 * The mirror's lock is never held while a device is waited for.
 */

struct mmu_range_mirror;

/**
 * struct mmu_range_mirror_ops - what the owner of a mirror does on invalidation
 * @invalidate: Required. Drop every entry of @range that the mirror holds, so
 *	that no new use of it can start. Called with the mirror's lock held and
 *	the sequence already moved. The range is the core's own (event, owner)
 *	and may reach beyond the mirror on both sides. Must not dirty pages.
 * @wait: Optional. Return when nobody uses the dropped entries any more.
 *	Called without the mirror's lock, after every @invalidate and, where the
 *	kernel has two-pass notifiers, after the @invalidate of every other
 *	mirror that the range hits. Runs concurrently with itself.
 * @wait_sleeps: @wait needs to sleep. Such a mirror answers a non-blockable
 *	range (the OOM reaper's) with -EAGAIN, and only if the range hits it.
 * @tlb: Optional. The device's TLB, which @invalidate_range gathers for and
 *	mmu_range_mirror_defer_flush() puts off. Called once, on insertion; the
 *	mirrors of a TLB are of one mm.
 * @invalidate_range: Optional: the device walks the CPU's page tables. Flush
 *	its translations of [@start, @end), which is clipped to the mirror:
 *	with @tlb, add what it may hold of them to @gather, else @gather is NULL
 *	and the flush is complete on return. In atomic context, with page-table
 *	locks held and none of the mirror's, concurrently with itself and with
 *	the other hooks, and not bracketed by an invalidation. Also called on
 *	removal and when the mm exits.
 * @release: Optional, with @invalidate_range only. The address space goes: stop
 *	the device before its page tables do. Never concurrent with itself; it
 *	may sleep.
 * @young: Optional: only the device uses the pages, and reclaim asks it. Say
 *	whether it used any of [@start, @end), clipped to the mirror, and with
 *	@clear forget so; nothing is flushed for it. In atomic context, with
 *	page-table locks held.
 */
struct mmu_range_mirror_ops {
	void (*invalidate)(struct mmu_range_mirror *mirror,
			   const struct mmu_notifier_range *range);
	void (*wait)(struct mmu_range_mirror *mirror,
		     const struct mmu_notifier_range *range);
	bool wait_sleeps;
	struct mmu_mirror_tlb *(*tlb)(struct mmu_range_mirror *mirror);
	void (*invalidate_range)(struct mmu_range_mirror *mirror,
				 unsigned long start, unsigned long end,
				 struct mmu_mirror_gather *gather);
	void (*release)(struct mmu_range_mirror *mirror);
	bool (*young)(struct mmu_range_mirror *mirror, unsigned long start,
		      unsigned long end, bool clear);
};

/**
 * struct mmu_mirror_lock - a lock of the driver's own, for its mirrors
 * @spin: a spinlock, shared by any number of mirrors, or NULL
 * @mutex: a mutex, where the driver's commit has to sleep, or NULL. A
 *	non-blockable invalidation can then only try it.
 *
 * Exactly one of the two is set.
 */
struct mmu_mirror_lock {
	spinlock_t *spin;	/* sequence and entries of its mirrors */
	struct mutex *mutex;	/* the same */
};

#if MMU_RANGE_MIRROR_TWO_PASS
/* One invalidation in flight between its two passes. */
struct mmu_range_mirror_finish {
	struct mmu_interval_notifier_finish core;
	const struct mmu_notifier_range *range;
};
#endif

struct mmu_range_mirror_list;

/* Being on one of the lists of mirrors that every mm has at most one of. */
struct mmu_range_mirror_member {
	struct mmu_range_mirror_list *list;
	struct list_head node;
};

/**
 * struct mmu_range_mirror - one range of one mm, mirrored by a driver
 * @notifier: the core's subscription; @notifier.mm is the mirrored mm
 * @ops: the owner's hooks
 * @lock: the lock in use, either @own_lock or the driver's
 * @own_lock: the embedded spinlock
 * @start: first byte, page aligned
 * @end: first byte after the range, page aligned
 * @nr_dirtied: calls to mmu_range_mirror_mark_dirty(), under the lock
 * @tlb: what @ops->tlb said
 * @released: the address space is gone
 *
 * Embed it in the driver's object; it must stay until
 * mmu_range_mirror_remove() has returned. All members are private to the
 * helper, but for reading.
 */
struct mmu_range_mirror {
	struct mmu_interval_notifier notifier;
	const struct mmu_range_mirror_ops *ops;
	struct mmu_mirror_lock lock;
	spinlock_t own_lock;	/* sequence and entries, where it is in use */
	unsigned long start;
	unsigned long end;
	unsigned long nr_dirtied;
	struct mmu_mirror_tlb *tlb;
	bool released;
	/* private: */
	long marked;
	struct mmu_range_mirror_member hook;
	struct mmu_range_mirror_member young;
	/*
	 * Among all mirrors, for debugfs. Not only where that is configured: a
	 * driver outside of the kernel's tree would not know.
	 */
	struct list_head listed;
#if MMU_RANGE_MIRROR_TWO_PASS
	unsigned long finish_busy;
	struct mmu_range_mirror_finish finish;
#endif
};

int mmu_range_mirror_insert(struct mmu_range_mirror *mirror,
			    struct mm_struct *mm, unsigned long start,
			    unsigned long length,
			    const struct mmu_range_mirror_ops *ops,
			    const struct mmu_mirror_lock *lock);
void mmu_range_mirror_remove(struct mmu_range_mirror *mirror);
pid_t mmu_range_mirror_owner(struct mmu_range_mirror *mirror);

unsigned long mmu_range_mirror_begin(struct mmu_range_mirror *mirror);
void mmu_range_mirror_mark_dirty(struct mmu_range_mirror *mirror,
				 struct folio *folio);
void mmu_range_mirror_defer_flush(struct mmu_range_mirror *mirror);
void mmu_range_mirror_flush_deferred(struct mmu_range_mirror *mirror);

int mmu_range_mirror_populate(struct mmu_range_mirror *mirror,
			      unsigned long start, unsigned long npages,
			      unsigned int flags,
			      int (*install)(struct mmu_range_mirror *mirror,
					     unsigned long addr,
					     struct page *page, void *ctx),
			      void *ctx);

#if IS_ENABLED(CONFIG_KUNIT)
bool mmu_range_mirror_can_hook(void);
bool mmu_mirror_can_window(void);
#endif

/**
 * mmu_range_mirror_lock - take the lock that the invalidator takes
 * @mirror: the mirror
 *
 * Context: process context; sleeps if the driver's lock is a mutex. What may
 * be done under the lock is said in DOC: locking.
 */
static inline void mmu_range_mirror_lock(struct mmu_range_mirror *mirror)
	__acquires(mirror)
{
	if (mirror->lock.mutex) {
		mutex_lock(mirror->lock.mutex);
		__acquire(mirror);
	} else {
		spin_lock(mirror->lock.spin);
	}
}

/**
 * mmu_range_mirror_unlock - release what mmu_range_mirror_lock() took
 * @mirror: the mirror
 */
static inline void mmu_range_mirror_unlock(struct mmu_range_mirror *mirror)
	__releases(mirror)
{
	if (mirror->lock.mutex) {
		mutex_unlock(mirror->lock.mutex);
		__release(mirror);
	} else {
		spin_unlock(mirror->lock.spin);
	}
}

/**
 * mmu_range_mirror_assert_held - tell lockdep that the lock must be held
 * @mirror: the mirror
 */
static inline void
mmu_range_mirror_assert_held(struct mmu_range_mirror *mirror)
{
	if (mirror->lock.mutex)
		lockdep_assert_held(mirror->lock.mutex);
	else
		lockdep_assert_held(mirror->lock.spin);
}

/**
 * mmu_range_mirror_retry - did an invalidation collide?
 * @mirror: the mirror
 * @seq: what mmu_range_mirror_begin() returned
 *
 * The lock orders this against the invalidator, which moves the sequence under
 * it; no barrier of the caller's is needed.
 *
 * Context: under the mirror's lock.
 * Return: true if the pages looked up since the begin may be stale: start over.
 */
static inline bool mmu_range_mirror_retry(struct mmu_range_mirror *mirror,
					  unsigned long seq)
{
	mmu_range_mirror_assert_held(mirror);
	return mmu_interval_read_retry(&mirror->notifier, seq);
}

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
 */
struct mmu_mirror_cpu {
	unsigned long count;
	unsigned long published;
} __aligned(2 * sizeof(unsigned long));

/**
 * struct mmu_mirror_domain - the readers that an invalidation waits for
 * @cpu: per-CPU state
 * @mask: CPUs that may be inside a section
 * @dropped: number of invalidations that cleared a pointer
 * @drained: every reader of the first @drained drops is out
 * @nr_windows: windows open; a domain with windows must not be destroyed
 * @nr_waits: waits that had to interrupt or to look at other CPUs
 * @worst_wait_ns: the longest of them, in nanoseconds; at most %LONG_MAX, which
 *	on 32-bit machines is two seconds
 * @caller: where it was allocated, which names the driver
 * @rcu: for freeing after the last reader
 */
struct mmu_mirror_domain {
	struct mmu_mirror_cpu __percpu *cpu;
	cpumask_var_t mask;
	atomic_long_t dropped;
	atomic_long_t drained;
	atomic_t nr_windows;
	atomic_long_t nr_waits;
	atomic_long_t worst_wait_ns;
	void *caller;
	struct rcu_head rcu;
};

struct mmu_mirror_domain *mmu_mirror_domain_alloc(void);
void mmu_mirror_domain_destroy(struct mmu_mirror_domain *domain);
void mmu_mirror_domain_drain(struct mmu_mirror_domain *domain);

/* private: the slow half of mmu_mirror_enter() */
void mmu_mirror_publish(struct mmu_mirror_domain *domain,
			struct mmu_mirror_cpu *cpu);

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
	struct mmu_mirror_cpu *cpu;

	preempt_disable();
	cpu = this_cpu_ptr(domain->cpu);
	/* After an earlier section's accesses; see above. */
	smp_store_release(&cpu->count, READ_ONCE(cpu->count) + 1);
	if (unlikely(!READ_ONCE(cpu->published)))
		mmu_mirror_publish(domain, cpu);
	else
		barrier();
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
	struct mmu_mirror_cpu *cpu = this_cpu_ptr(domain->cpu);
	unsigned long count = READ_ONCE(cpu->count);

	if (likely(mmu_mirror_depth(count) == 1))
		count += MMU_MIRROR_COMPLETED;
	/* After this section's accesses; see above. */
	smp_store_release(&cpu->count, count - 1);
	preempt_enable();
}

/* Number of &enum mmu_notifier_event values, for counting by event. */
#define MMU_MIRROR_NR_EVENTS	(MMU_NOTIFY_EXCLUSIVE + 1)

/**
 * struct mmu_mirror_window - kernel pointers to a range of user memory
 * @mirror: the mirror underneath
 * @domain: its readers
 * @uaddr: first byte, any alignment
 * @size: bytes
 * @npages: pages touched by [@uaddr, @uaddr + @size)
 * @writable: pages are looked up for writing, and dirtied
 * @fill: the work that installs pages
 * @missed: the page that a reader last found absent
 * @hold_off: jiffies before which no miss starts a fill
 * @backoff: how far @hold_off was last pushed
 * @fills: runs of @fill
 * @collisions: lookups that an invalidation made void
 * @installed: pages installed since the window was opened
 * @dropped_pages: pages dropped since the window was opened
 * @drops: invalidations that dropped at least one page, by event
 * @looked_at: first page of those that the last fill looked at
 * @looked_after: @dropped_pages and @collisions together, as it began
 * @rcu: for freeing after the last reader
 * @kaddr: one pointer for each page, or NULL
 *
 * What a window maps never changes. All members are private to the helper, but
 * for reading; the counters are written under the mirror's lock.
 */
struct mmu_mirror_window {
	struct mmu_range_mirror mirror;
	struct mmu_mirror_domain *domain;
	unsigned long uaddr;
	unsigned long size;
	unsigned long npages;
	bool writable;
	struct work_struct fill;
	unsigned long missed;
	unsigned long hold_off;
	unsigned long backoff;
	unsigned long fills;
	unsigned long collisions;
	unsigned long installed;
	unsigned long dropped_pages;
	unsigned long drops[MMU_MIRROR_NR_EVENTS];
	unsigned long looked_at;
	unsigned long looked_after;
	struct rcu_head rcu;
	void *kaddr[] __counted_by(npages);
};

struct mmu_mirror_window *
mmu_mirror_window_open(struct mmu_mirror_domain *domain, struct mm_struct *mm,
		       unsigned long uaddr, unsigned long size, bool writable);
void mmu_mirror_window_close(struct mmu_mirror_window *window);
void mmu_mirror_window_prefetch(struct mmu_mirror_window *window);
int mmu_mirror_window_populate(struct mmu_mirror_window *window);

/**
 * enum mmu_mirror_absence - why a page of a window is absent
 * @MMU_MIRROR_UNFILLED: no fill has looked at it yet
 * @MMU_MIRROR_INVALIDATED: an invalidation took it, or kept the last fill from
 *	installing it
 * @MMU_MIRROR_UNMAPPED: the last fill found nothing that could be mapped: no
 *	page, one that the process may not write, or one without a mapping in
 *	the kernel
 */
enum mmu_mirror_absence {
	MMU_MIRROR_UNFILLED,
	MMU_MIRROR_INVALIDATED,
	MMU_MIRROR_UNMAPPED,
};

enum mmu_mirror_absence
mmu_mirror_window_absence(struct mmu_mirror_window *window);
unsigned long mmu_mirror_window_mapped(struct mmu_mirror_window *window);

/* private: the slow half of mmu_mirror_window_ptr() */
void *mmu_mirror_window_miss(struct mmu_mirror_window *window,
			     unsigned long page);

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
 * index that a guest supplied; what is read through the pointer is shared
 * memory and to be read once.
 *
 * Context: inside a section of the window's domain. Pairs with the
 * smp_store_release() that installs the page, by address dependency. A miss
 * queues work, and so may wake a task: with the scheduler's locks held, use
 * mmu_mirror_window_peek().
 * Cost: a bounds check, one load of the pointer.
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
 * For who fills the window itself, by mmu_mirror_window_populate(), and for
 * who cannot wake a task.
 *
 * Context: inside a section of the window's domain, whatever else is held.
 * Cost: as mmu_mirror_window_ptr().
 * Return: as mmu_mirror_window_ptr().
 */
static __always_inline void *
mmu_mirror_window_peek(struct mmu_mirror_window *window, unsigned long offset,
		       unsigned long size)
{
	return __mmu_mirror_window_ptr(window, offset, size, false);
}

#endif /* _LINUX_MMU_RANGE_MIRROR_H */
