/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A cache of kernel pointers to user memory that is large and sparsely used.
 *
 * The interface of mm/mmu_mirror_cache.c, and the lookup, which has to be inline.
 */
#ifndef _LINUX_MMU_MIRROR_CACHE_H
#define _LINUX_MMU_MIRROR_CACHE_H

#include <linux/cache.h>
#include <linux/mmu_mirror_window.h>
#include <linux/spinlock.h>

/* What one window of a cache maps, aligned to its size. */
#define MMU_MIRROR_CACHE_CHUNK	(MMU_MIRROR_CHUNK << PAGE_SHIFT)
/* Windows among which a lookup finds one. */
#define MMU_MIRROR_CACHE_WAYS	4

/**
 * struct mmu_mirror_cache_set - the windows that a chunk's can be one of
 * @tag: the low bits of each window's chunk number. A hint, which spares a look
 *	at the window
 * @young: whether a lookup has found it since the set was last aged
 * @ghost: the low bits of the chunk number that was refused then
 * @aged: jiffies of then
 * @window: the windows, or NULL
 *
 * One line. Lookups write only @young, and only when it changes.
 */
struct mmu_mirror_cache_set {
	u32 tag[MMU_MIRROR_CACHE_WAYS];
	u8 young[MMU_MIRROR_CACHE_WAYS];
	u32 ghost;
	u32 aged;
	struct mmu_mirror_window *window[MMU_MIRROR_CACHE_WAYS];
} ____cacheline_aligned;

/**
 * struct mmu_mirror_cache_stats - what a cache has seen
 * @chunks: windows that it has at the moment
 * @mapped: pages that are mapped at the moment
 * @opened: windows opened
 * @evicted: windows that made way for another
 * @fills: runs of its windows' fill work
 * @collisions: lookups that an invalidation made void
 * @installed: pages installed
 * @dirtied: pages marked dirty
 * @drops: invalidations that dropped at least one page, by event
 */
struct mmu_mirror_cache_stats {
	unsigned long chunks;
	unsigned long mapped;
	unsigned long opened;
	unsigned long evicted;
	unsigned long fills;
	unsigned long collisions;
	unsigned long installed;
	unsigned long dirtied;
	unsigned long drops[MMU_MIRROR_NR_EVENTS];
};

/**
 * struct mmu_mirror_cache - kernel pointers to what is used of an mm
 * @cpu: its domain's per-CPU state
 * @mask: number of sets less one. A set with an odd number has the windows for
 *	writing
 * @domain: its readers: mmu_mirror_queue_domain() of the mm's queue
 * @queue: the mm's
 * @missed: the address that a reader last found no window for, with bit 0 saying
 *	whether for writing
 * @rest: jiffies before which no window is opened
 * @filled: jiffies at which a fill was last asked for
 * @open: the work that opens windows, and closes those that make way
 * @reap: the work that frees a closed cache
 * @lock: of @closed, @gone, and changes of the windows
 * @closed: no window is opened any more
 * @gone: what windows have seen that are closed
 * @mm: the address space; @queue holds it
 * @caller: where it was opened, which names the driver
 * @rcu: for freeing after the last reader
 * @set: the windows
 *
 * All members but @cpu and @domain are private to the helper. What a hit reads of
 * it is in the first line, which nobody writes.
 */
struct mmu_mirror_cache {
	struct mmu_mirror_cpu __percpu *cpu;
	unsigned long mask;
	struct mmu_mirror_domain *domain;
	struct mmu_mirror_queue *queue;
	unsigned long missed ____cacheline_aligned;
	unsigned long rest;
	unsigned long filled;
	struct work_struct open;
	struct work_struct reap;
	spinlock_t lock; /* innermost, never taken by the invalidator */
	bool closed;
	struct mmu_mirror_cache_stats gone;
	struct mm_struct *mm;
	void *caller;
	struct rcu_head rcu;
	struct mmu_mirror_cache_set set[];
};

struct mmu_mirror_cache *mmu_mirror_cache_open(struct mm_struct *mm,
					       unsigned int chunks);
void mmu_mirror_cache_close(struct mmu_mirror_cache *cache);
void mmu_mirror_cache_forget(struct mmu_mirror_cache *cache,
			     unsigned long uaddr, bool write);
size_t mmu_mirror_cache_read(struct mmu_mirror_cache *cache, void *to,
			     unsigned long uaddr, size_t size);
size_t mmu_mirror_cache_write(struct mmu_mirror_cache *cache,
			      unsigned long uaddr, const void *from,
			      size_t size);
enum mmu_mirror_absence
mmu_mirror_cache_absence(struct mmu_mirror_cache *cache, unsigned long uaddr,
			 bool write);
void mmu_mirror_cache_get_stats(struct mmu_mirror_cache *cache,
				struct mmu_mirror_cache_stats *stats);

/* private: the slow halves of mmu_mirror_cache_ptr() */
void *mmu_mirror_cache_miss(struct mmu_mirror_cache *cache,
			    unsigned long uaddr, bool write);
void *mmu_mirror_cache_absent(struct mmu_mirror_cache *cache,
			      struct mmu_mirror_window *window,
			      unsigned long page);

/* private: where the window that has an address can be */
static __always_inline struct mmu_mirror_cache_set *
mmu_mirror_cache_set(struct mmu_mirror_cache *cache, unsigned long uaddr,
		     bool write)
{
	unsigned long chunk = uaddr / MMU_MIRROR_CACHE_CHUNK;

	return &cache->set[(2 * chunk + write) & cache->mask];
}

/* private: the window that has an address, in a section, or NULL */
static __always_inline struct mmu_mirror_window *
mmu_mirror_cache_find(struct mmu_mirror_cache *cache, unsigned long uaddr,
		      bool write)
{
	struct mmu_mirror_cache_set *set = mmu_mirror_cache_set(cache, uaddr,
								write);
	u32 tag = uaddr / MMU_MIRROR_CACHE_CHUNK;
	struct mmu_mirror_window *window;
	int way;

	for (way = 0; way < MMU_MIRROR_CACHE_WAYS; way++) {
		if (READ_ONCE(set->tag[way]) != tag)
			continue;
		/* Pairs with the release that makes a window known. */
		window = READ_ONCE(set->window[way]);
		/* What a window maps never changes; the tag may be another's. */
		if (!window || (window->uaddr ^ uaddr) >= MMU_MIRROR_CACHE_CHUNK)
			continue;
		if (unlikely(!READ_ONCE(set->young[way])))
			WRITE_ONCE(set->young[way], 1);
		return window;
	}
	return NULL;
}

/**
 * mmu_mirror_cache_ptr - the kernel address of an object in user memory
 * @cache: an open cache, or one that is being closed
 * @uaddr: of the object, without a tag
 * @size: of the object, in bytes, at least one
 * @write: it is going to be written
 *
 * The pointer is good until mmu_mirror_exit(). The memory behind it is shared:
 * read it once. An address under speculation leads to memory that the cache maps,
 * if to any.
 *
 * Context: inside a section of the cache's domain. A miss queues work, and so may
 * wake a task: not with the scheduler's locks held.
 * Cost: the set's line, the window's, and the pointer.
 * Return: NULL where the object straddles a page or is not mapped at the moment:
 * use uaccess. The last also asks for a window or a fill.
 */
static __always_inline void *
mmu_mirror_cache_ptr(struct mmu_mirror_cache *cache, unsigned long uaddr,
		     unsigned long size, bool write)
{
	struct mmu_mirror_window *window;
	unsigned long page;
	void *kaddr;

	if (unlikely(offset_in_page(uaddr) + size > PAGE_SIZE))
		return NULL;
	window = mmu_mirror_cache_find(cache, uaddr, write);
	if (unlikely(!window))
		return mmu_mirror_cache_miss(cache, uaddr, write);
	/* All of them have as many pages. */
	page = (uaddr >> PAGE_SHIFT) % MMU_MIRROR_CHUNK;
	kaddr = READ_ONCE(window->kaddr[page]);
	if (unlikely(!kaddr))
		return mmu_mirror_cache_absent(cache, window, page);
	return kaddr + offset_in_page(uaddr);
}

/**
 * mmu_mirror_cache_copy - copy user memory through a cache, within a page
 * @cache: an open cache
 * @uaddr: of the first byte, without a tag
 * @buf: where to, or what
 * @size: bytes, at least one
 * @write: copy to user memory, not from it
 *
 * As mmu_mirror_cache_read() and mmu_mirror_cache_write(), inline, for short pieces.
 *
 * Context: as mmu_mirror_cache_read().
 * Cost: a section, mmu_mirror_cache_ptr() and mmu_mirror_copy().
 * Return: bytes copied; none where they straddle a page or the cache has no pointer,
 * and fewer than @size at a memory error: use uaccess for the rest.
 */
static __always_inline size_t
mmu_mirror_cache_copy(struct mmu_mirror_cache *cache, unsigned long uaddr,
		      void *buf, size_t size, bool write)
{
	size_t done = 0;
	void *p;

	mmu_mirror_enter_cpu(cache->cpu);
	p = mmu_mirror_cache_ptr(cache, uaddr, size, write);
	if (likely(p))
		done = mmu_mirror_copy(p, buf, size, write);
	mmu_mirror_exit_cpu(cache->cpu);
	/* Uaccess meets the error next, and reports it. */
	if (unlikely(p && done < size))
		mmu_mirror_cache_forget(cache, uaddr + done, write);
	return done;
}

#endif /* _LINUX_MMU_MIRROR_CACHE_H */
