/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mirroring a range of user memory: sequence, lock, dirty-once, reader wait.
 *
 * The interface of mm/mmu_range_mirror.c, for drivers that keep translations.
 * Kernel pointers to user memory are in mmu_mirror_window.h. Core mm knows
 * nothing of what is declared here.
 */
#ifndef _LINUX_MMU_RANGE_MIRROR_H
#define _LINUX_MMU_RANGE_MIRROR_H

#include <linux/hmm.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_mirror_tlb.h>
#include <linux/mmu_notifier.h>
#include <linux/mmu_range_mirror_compat.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>

/**
 * DOC: overview
 *
 * A driver that keeps its own translation of user memory (a secondary MMU)
 * must drop it before core mm changes or frees the page underneath. There are
 * two layers, one on top of the other.
 *
 * A *mirror* (&struct mmu_range_mirror) is one range of one mm: a sequence
 * count against races with invalidation, the lock under which the driver makes
 * and drops translations, the one place that marks pages dirty, and the two
 * operations that drop translations and wait for their users.
 *
 * A *window* (&struct mmu_mirror_window, in its own header) holds kernel
 * pointers to the pages of a range. Readers use them inside a *section* of the
 * window's *domain*, the set of readers that an invalidation waits for.
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
 * A shadow entry is made like this; mmu_range_mirror_lookup() and
 * mmu_range_mirror_populate() are this loop::
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
 * also between the start and the end of an invalidation. The driver flushes it
 * in @invalidate_range, which core mm calls after the entry has changed and
 * before the page, or the page table, can be used again. A permission that
 * grows arrives there as well, if the CPU flushes for it (x86 does not), and
 * nowhere else: a device that a cached translation refuses must walk again.
 *
 * A device that walks tables of the driver's own is flushed on invalidation. A
 * driver that drops entries for reasons of its own may defer their flush with
 * mmu_range_mirror_defer_flush(): core mm cannot free their pages, nor take a
 * permission from them, without an invalidation. Reclaim's ageing flushes
 * nothing.
 *
 * The mirror's lock is never held while a device is waited for.
 */

/* Number of &enum mmu_notifier_event values, for counting by event. */
#define MMU_MIRROR_NR_EVENTS	(MMU_NOTIFY_EXCLUSIVE + 1)

struct mmu_range_mirror;
struct seq_file;

/**
 * struct mmu_range_mirror_ops - what the owner of a mirror does on invalidation
 * @invalidate: Required. Drop every entry of @range that the mirror holds, so
 *	that no new use of it can start. Called with the mirror's lock held and
 *	the sequence already moved. The range is the core's own (event, owner)
 *	and may reach beyond the mirror on both sides. With @tlb, add what the
 *	device may hold of the dropped entries to @gather, which is flushed
 *	after the lock has been released, else @gather is NULL. Must not dirty
 *	pages.
 * @wait: Optional. Return when nobody uses the dropped entries any more.
 *	Called without the mirror's lock, after every @invalidate and, where the
 *	kernel has two-pass notifiers, after the @invalidate of every other
 *	mirror that the range hits. Runs concurrently with itself. A driver whose
 *	device has to let go of the memory first may drop the entries here
 *	instead: no lookup of them ends before the invalidation has.
 * @sleeps: @wait sleeps, or @invalidate does, under a lock that allows it. Such
 *	a mirror answers a non-blockable range (the OOM reaper's) with -EAGAIN,
 *	and only if the range hits it.
 * @tlb: Optional. The device's TLB, which @invalidate and @invalidate_range
 *	gather for and mmu_range_mirror_defer_flush() puts off. Called once, on
 *	insertion; the mirrors of a TLB are of one mm.
 * @invalidate_range: Optional: the device walks the CPU's page tables. Flush
 *	its translations of [@start, @end), which is clipped to the mirror:
 *	with @tlb, add what it may hold of them to @gather, else @gather is NULL
 *	and the flush is complete on return. In atomic context, with page-table
 *	locks held and none of the mirror's, concurrently with itself and with
 *	the other operations, and not bracketed by an invalidation. Also called on
 *	removal and when the mm exits. Each flush of the mm's TLBs looks at all
 *	such mirrors of it: have few.
 * @release: Optional, with @invalidate_range only. The address space goes: stop
 *	the device before its page tables do. Never concurrent with itself; it
 *	may sleep.
 * @writable: Optional. Is there a writable entry for @addr? Then
 *	mmu_range_mirror_lookup() does not mark its page dirty again. Called
 *	with the mirror's lock held; for the first page only of what one entry
 *	of the CPU's maps.
 * @young: Optional: only the device uses the pages, and reclaim asks it. Say
 *	whether it used any of [@start, @end), clipped to the mirror, and with
 *	@clear forget so; nothing is flushed for it. In atomic context, with
 *	page-table locks held.
 * @kind: Optional: the name of such mirrors in debugfs.
 * @show: Optional: say more of a mirror in debugfs, as " name=value" for each
 *	word. Called with a spinlock held that keeps the mirror from being
 *	removed.
 */
struct mmu_range_mirror_ops {
	void (*invalidate)(struct mmu_range_mirror *mirror,
			   const struct mmu_notifier_range *range,
			   struct mmu_mirror_gather *gather);
	void (*wait)(struct mmu_range_mirror *mirror,
		     const struct mmu_notifier_range *range);
	bool sleeps;
	struct mmu_mirror_tlb *(*tlb)(struct mmu_range_mirror *mirror);
	void (*invalidate_range)(struct mmu_range_mirror *mirror,
				 unsigned long start, unsigned long end,
				 struct mmu_mirror_gather *gather);
	void (*release)(struct mmu_range_mirror *mirror);
	bool (*writable)(struct mmu_range_mirror *mirror, unsigned long addr);
	bool (*young)(struct mmu_range_mirror *mirror, unsigned long start,
		      unsigned long end, bool clear);
	const char *kind;
	void (*show)(struct mmu_range_mirror *mirror, struct seq_file *seq);
};

/**
 * struct mmu_mirror_lock - a lock of the driver's own, for its mirrors
 * @spin: a spinlock, shared by any number of mirrors, or NULL
 * @mutex: a mutex, where the driver's commit has to sleep, or NULL
 * @rwsem: a read-write semaphore, or NULL. The invalidator and lookups hold it
 *	for writing; the driver may use entries under it for reading.
 *
 * Exactly one of the three is set. A non-blockable invalidation can only try a
 * lock that sleeps.
 */
struct mmu_mirror_lock {
	spinlock_t *spin;	/* sequence and entries of its mirrors */
	struct mutex *mutex;	/* the same */
	struct rw_semaphore *rwsem;	/* the same */
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
 * @ops: the owner's operations
 * @lock: the lock in use, either @own_lock or the driver's
 * @own_lock: the embedded spinlock
 * @start: first byte, page aligned
 * @end: first byte after the range, page aligned
 * @nr_dirtied: calls to mmu_range_mirror_mark_dirty(), under the lock
 * @tlb: the device's TLB, from @ops->tlb
 * @released: the address space is gone
 * @cancelled: lookups are given up
 * @removed: it is inserted no more
 *
 * Embed it in the driver's object; it must stay until
 * mmu_range_mirror_remove() has returned. All members are private to the
 * helper, but for reading.
 */
struct mmu_range_mirror {
	struct mmu_interval_notifier notifier;
	const struct mmu_range_mirror_ops *ops;
	struct mmu_mirror_lock lock;
	spinlock_t own_lock;	/* sequence and entries, where it is in use; and faulting */
	unsigned long start;
	unsigned long end;
	unsigned long nr_dirtied;
	struct mmu_mirror_tlb *tlb;
	bool released;
	bool cancelled;
	bool removed;
	/* private: */
	struct hlist_head faulting;	/* lookups in page faults, under own_lock */
	long marked;
	atomic_t flushing;
	struct mmu_range_mirror_member hook;
	struct mmu_range_mirror_member young;
	/*
	 * Among all mirrors, for debugfs. Also if that is not configured: a
	 * driver from outside of the kernel's tree cannot know.
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
pid_t mmu_range_mirror_mm_owner(struct mm_struct *mm);
pid_t mmu_range_mirror_owner(struct mmu_range_mirror *mirror);

unsigned long mmu_range_mirror_begin(struct mmu_range_mirror *mirror);
void mmu_range_mirror_mark_dirty(struct mmu_range_mirror *mirror,
				 struct folio *folio);
void mmu_range_mirror_defer_flush(struct mmu_range_mirror *mirror);
void mmu_range_mirror_flush_deferred(struct mmu_range_mirror *mirror);
void mmu_range_mirror_flush_begin(struct mmu_range_mirror *mirror);
void mmu_range_mirror_flush_end(struct mmu_range_mirror *mirror);

int mmu_range_mirror_populate(struct mmu_range_mirror *mirror,
			      unsigned long start, unsigned long npages,
			      unsigned int flags,
			      int (*install)(struct mmu_range_mirror *mirror,
					     unsigned long addr,
					     struct page *page, void *ctx),
			      void *ctx);

/**
 * enum mmu_mirror_lookup_flags - what is looked up, and what is done for it
 * @MMU_MIRROR_FAULT: fault in what is absent. Without, what is there is taken
 * @MMU_MIRROR_WRITABLE: the driver means to make entries writable where the
 *	CPU's are. Without, none is reported as writable
 * @MMU_MIRROR_FAULT_WRITE: fault in for writing; all are to be writable.
 *	Together with the other two
 * @MMU_MIRROR_OR_READ: but where the mapping cannot be written to, read-only is
 *	good enough. Together with the other three
 * @MMU_MIRROR_LOOK: the driver makes no entries, but wants to know what is there,
 *	and what the CPU may write to: nothing is faulted in or marked dirty. Alone
 */
enum mmu_mirror_lookup_flags {
	MMU_MIRROR_FAULT = BIT(0),
	MMU_MIRROR_WRITABLE = BIT(1),
	MMU_MIRROR_FAULT_WRITE = BIT(2),
	MMU_MIRROR_OR_READ = BIT(3),
	MMU_MIRROR_LOOK = BIT(4),
};

/* Fault in what is to be read; fault in what is to be written. */
#define MMU_MIRROR_FOR_READING	MMU_MIRROR_FAULT
#define MMU_MIRROR_FOR_WRITING	(MMU_MIRROR_FAULT | MMU_MIRROR_WRITABLE | \
				 MMU_MIRROR_FAULT_WRITE)

/**
 * struct mmu_mirror_span - pages in a row, of a lookup
 * @start: first address, page aligned
 * @npages: number of pages, at least one; all of them inside the mirror
 * @pfns: what the lookup found, page by page, as hmm_range_fault() says it:
 *	%HMM_PFN_VALID and, if the page may be written to, %HMM_PFN_WRITE, for
 *	hmm_pfn_to_page() and hmm_pfn_to_map_order(). Without %HMM_PFN_VALID
 *	the page is absent; with %HMM_PFN_ERROR it can never be mapped. Ignore
 *	the other bits of such an entry. Set all entries to zero before the
 *	call: HMM keeps flags that are the driver's own
 */
struct mmu_mirror_span {
	unsigned long start;
	unsigned long npages;
	unsigned long *pfns;
};

/**
 * struct mmu_mirror_lookup - what to look up in a mirror
 * @spans: any number of spans, in any order
 * @nr_spans: how many
 * @flags: of &enum mmu_mirror_lookup_flags
 * @owner: pages in the memory of the device with this owner are reported as they
 *	are, and not migrated back unless they have to be faulted in for writing; or
 *	NULL
 * @done: result, also of an error: how many pages, counted from the first of
 *	the first span, were found as wanted. On -EFAULT, -EPERM and -ENOMEM, the
 *	next one is the one that cannot be had. 0 where nothing was found for good:
 *	-EAGAIN, -EINTR, -ECANCELED, -ESRCH
 */
struct mmu_mirror_lookup {
	struct mmu_mirror_span *spans;
	unsigned int nr_spans;
	unsigned int flags;
	void *owner;
	unsigned long done;
};

int mmu_range_mirror_lookup(struct mmu_range_mirror *mirror,
			    struct mmu_mirror_lookup *what);
void mmu_range_mirror_cancel(struct mmu_range_mirror *mirror);

/**
 * struct mmu_mirror_charge - a stretch of code that allocates for somebody
 * @memcg: the owner's memory cgroup
 * @old: what was charged before
 */
struct mmu_mirror_charge {
	struct mem_cgroup *memcg;
	struct mem_cgroup *old;
};

void mmu_mirror_charge_begin(struct mmu_mirror_charge *charge,
			     struct mm_struct *mm);
void mmu_mirror_charge_end(struct mmu_mirror_charge *charge);

#if IS_ENABLED(CONFIG_KUNIT)
bool mmu_range_mirror_can_hook(void);
void mmu_range_mirror_await_lists(void);
void *mmu_range_mirror_finish_alloc(size_t size);
#endif

/**
 * mmu_range_mirror_lock - take the lock that the invalidator takes
 * @mirror: the mirror
 *
 * Context: process context; sleeps if the driver's lock does. What may
 * be done under the lock is said in DOC: locking.
 */
static inline void mmu_range_mirror_lock(struct mmu_range_mirror *mirror)
	__acquires(mirror)
{
	if (mirror->lock.mutex) {
		mutex_lock(mirror->lock.mutex);
		__acquire(mirror);
	} else if (mirror->lock.rwsem) {
		down_write(mirror->lock.rwsem);
		__acquire(mirror);
	} else {
		spin_lock(mirror->lock.spin);
	}
}

/**
 * mmu_range_mirror_unlock - release the lock that the invalidator takes
 * @mirror: the mirror
 */
static inline void mmu_range_mirror_unlock(struct mmu_range_mirror *mirror)
	__releases(mirror)
{
	if (mirror->lock.mutex) {
		mutex_unlock(mirror->lock.mutex);
		__release(mirror);
	} else if (mirror->lock.rwsem) {
		up_write(mirror->lock.rwsem);
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
	else if (mirror->lock.rwsem)
		lockdep_assert_held_write(mirror->lock.rwsem);
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
 * Always true once the mirror has been removed.
 */
static inline bool mmu_range_mirror_retry(struct mmu_range_mirror *mirror,
					  unsigned long seq)
{
	mmu_range_mirror_assert_held(mirror);
	return mmu_interval_read_retry(&mirror->notifier, seq) ||
	       mirror->removed;
}

#endif /* _LINUX_MMU_RANGE_MIRROR_H */
