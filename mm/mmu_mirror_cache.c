// SPDX-License-Identifier: GPL-2.0
/*
 * A cache of kernel pointers to user memory that is large and sparsely used: the
 * memory of a virtual machine, for one.
 *
 * It is a bounded number of windows (mm/mmu_mirror_window.c), each onto one
 * chunk, which a work item opens where readers miss. The lookup is inline, in the
 * header. Documentation/mm/mmu_range_mirror.rst says why it has this shape.
 */
#include <linux/err.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mmu_mirror_cache.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

/* The most windows: 64 GiB of chunks, and 256 MiB of pointers to them. */
#define CACHE_MAX_CHUNKS	32768U
/* Between openings, while there is room ... */
#define CACHE_REST_ROOM		max(1UL, HZ / 500UL)
/* ... when there is none, ... */
#define CACHE_REST_FULL		max(1UL, HZ / 50UL)
/* ... and where none could be had: there is no memory, or the owner is exiting. */
#define CACHE_REST_FAILED	((unsigned long)HZ)
/* A window that nobody looks up for as long may have to make way ... */
#define CACHE_AGE		max(1UL, HZ / 10UL)
/* ... for a chunk that was refused, which is remembered for as long. */
#define CACHE_GHOST		(2UL * HZ)

static u32 chunk_tag(unsigned long uaddr)
{
	return uaddr / MMU_MIRROR_CACHE_CHUNK;
}

static void cache_rest(struct mmu_mirror_cache *cache, unsigned long rest)
{
	WRITE_ONCE(cache->rest, jiffies + rest);
}

/* Add to @stats what a window has seen. */
static void stats_add(struct mmu_mirror_cache_stats *stats,
		      struct mmu_mirror_window *window)
{
	int event;

	stats->fills += READ_ONCE(window->fills);
	stats->collisions += READ_ONCE(window->collisions);
	stats->installed += READ_ONCE(window->installed);
	stats->dirtied += READ_ONCE(window->mirror.nr_dirtied);
	for (event = 0; event < MMU_MIRROR_NR_EVENTS; event++)
		stats->drops[event] += READ_ONCE(window->drops[event]);
}

/*
 * Have @window in place of what is there. Return what is to be closed: that, or
 * of a closed cache, @window.
 */
static struct mmu_mirror_window *
cache_set_window(struct mmu_mirror_cache *cache,
		 struct mmu_mirror_cache_set *set, int way,
		 struct mmu_mirror_window *window)
{
	struct mmu_mirror_window *old;

	spin_lock(&cache->lock);
	if (window && cache->closed) {
		spin_unlock(&cache->lock);
		return window;
	}
	old = set->window[way];
	if (old)
		stats_add(&cache->gone, old);
	if (old && !cache->closed)
		cache->gone.evicted++;
	if (window) {
		cache->gone.opened++;
		WRITE_ONCE(set->tag[way], chunk_tag(window->uaddr));
		WRITE_ONCE(set->young[way], 1);
	}
	/* Pairs with the dependent loads in mmu_mirror_cache_find(). */
	smp_store_release(&set->window[way], window);
	spin_unlock(&cache->lock);
	return old;
}

/* Windows that nobody has looked up since the set was last aged. */
static int set_oldest(struct mmu_mirror_cache_set *set)
{
	int way;

	for (way = 0; way < MMU_MIRROR_CACHE_WAYS; way++) {
		if (!READ_ONCE(set->young[way]))
			return way;
	}
	return -1;
}

static int set_free(struct mmu_mirror_cache_set *set)
{
	int way;

	for (way = 0; way < MMU_MIRROR_CACHE_WAYS; way++) {
		if (!READ_ONCE(set->window[way]))
			return way;
	}
	return -1;
}

/*
 * Who makes way for a chunk in a full set? Nobody, the first time that it is
 * missed: what is used once does not displace what is used always. It is
 * remembered, and from then on the windows have to be looked up to stay. When it
 * is missed again, one that was not makes way. Return which, or -1.
 */
static int set_evict(struct mmu_mirror_cache_set *set, u32 tag)
{
	u32 age = (u32)jiffies - set->aged;
	int way;

	if (age < CACHE_AGE)
		return -1;
	if (set->ghost == tag && age < CACHE_GHOST) {
		way = set_oldest(set);
		if (way >= 0) {
			/* Whoever is missed next is remembered. */
			set->aged = (u32)jiffies - CACHE_GHOST;
			return way;
		}
	} else if (age < CACHE_GHOST) {
		/* It is another's turn. */
		return -1;
	}
	set->ghost = tag;
	set->aged = jiffies;
	for (way = 0; way < MMU_MIRROR_CACHE_WAYS; way++)
		WRITE_ONCE(set->young[way], 0);
	return -1;
}

/* Have room for a window in the set. Return where, or -1. */
static int cache_have_room(struct mmu_mirror_cache *cache,
			   struct mmu_mirror_cache_set *set, u32 tag)
{
	int way = set_free(set);

	if (way >= 0) {
		cache_rest(cache, CACHE_REST_ROOM);
		return way;
	}
	cache_rest(cache, CACHE_REST_FULL);
	way = set_evict(set, tag);
	if (way < 0)
		return -1;
	/* First, so that there are never more of them than was promised. */
	mmu_mirror_window_close(cache_set_window(cache, set, way, NULL));
	return way;
}

static void cache_open_window(struct mmu_mirror_cache *cache,
			      unsigned long uaddr, bool write)
{
	struct mmu_mirror_cache_set *set = mmu_mirror_cache_set(cache, uaddr,
								write);
	struct mmu_mirror_window *window;
	int way;

	way = cache_have_room(cache, set, chunk_tag(uaddr));
	if (way < 0)
		return;
	window = mmu_mirror_window_open(cache->domain, cache->mm,
					round_down(uaddr,
						   MMU_MIRROR_CACHE_CHUNK),
					MMU_MIRROR_CACHE_CHUNK, write);
	if (IS_ERR(window)) {
		cache_rest(cache, CACHE_REST_FAILED);
		return;
	}
	/* It is listed as the driver's: it is in the list already. */
	WRITE_ONCE(window->caller, cache->caller);
	/* It looks near the miss first. */
	mmu_mirror_window_miss(window, (uaddr >> PAGE_SHIFT) % MMU_MIRROR_CHUNK);
	mmu_mirror_window_close(cache_set_window(cache, set, way, window));
}

/* On the mm's queue: the only one that opens windows, and evicts. */
static void cache_open_work(struct work_struct *work)
{
	struct mmu_mirror_cache *cache =
		container_of(work, struct mmu_mirror_cache, open);
	unsigned long missed = READ_ONCE(cache->missed);
	unsigned long uaddr = missed & ~1UL;
	bool write = missed & 1, there;

	mmu_mirror_queue_rest(cache->queue);
	/* The owner is exiting: there is nothing left to read. */
	if (!mmget_not_zero(cache->mm))
		return;
	rcu_read_lock();
	there = mmu_mirror_cache_find(cache, uaddr, write);
	rcu_read_unlock();
	/* Readers missed it again meanwhile. */
	if (!there)
		cache_open_window(cache, uaddr, write);
	/* Not the last mmput() here: exit_mmap() notifies, and may be long. */
	mmput_async(cache->mm);
}

/**
 * mmu_mirror_cache_miss - a reader found no window
 * @cache: the cache
 * @uaddr: where
 * @write: for writing
 *
 * Only mmu_mirror_cache_ptr() calls it. Of misses at the same time one is
 * remembered; the others miss again.
 *
 * Return: NULL.
 */
void *mmu_mirror_cache_miss(struct mmu_mirror_cache *cache,
			    unsigned long uaddr, bool write)
{
	unsigned long left = READ_ONCE(cache->rest) - jiffies;

	/* Beyond the limit it is a rest of long ago. */
	if (left && left <= CACHE_REST_FAILED)
		return NULL;
	/* A chunk that has no window would have the others rest each time. */
	if (round_down(uaddr, MMU_MIRROR_CACHE_CHUNK) >
	    cache->mm->task_size - MMU_MIRROR_CACHE_CHUNK)
		return NULL;
	WRITE_ONCE(cache->missed, (uaddr & ~1UL) | write);
	if (!work_pending(&cache->open))
		mmu_mirror_queue_work(cache->queue, &cache->open);
	return NULL;
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_miss);

/**
 * mmu_mirror_cache_absent - a reader found a window without the page
 * @cache: the cache
 * @window: the window
 * @page: which of its pages
 *
 * Only mmu_mirror_cache_ptr() calls it. Each window rests between fills, but there
 * are many, and the queue has more to do for the mm: one fill in a jiffy is asked
 * for.
 *
 * Return: NULL.
 */
void *mmu_mirror_cache_absent(struct mmu_mirror_cache *cache,
			      struct mmu_mirror_window *window,
			      unsigned long page)
{
	unsigned long since = jiffies - READ_ONCE(cache->filled);

	/* Also for mmu_mirror_cache_absence(). */
	WRITE_ONCE(window->missed, page);
	if (!since)
		return NULL;
	mmu_mirror_window_miss(window, page);
	/* Not for one that rests. */
	if (work_pending(&window->fill))
		WRITE_ONCE(cache->filled, jiffies);
	return NULL;
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_absent);

/**
 * mmu_mirror_cache_forget - drop a page that cannot be read
 * @cache: an open cache
 * @uaddr: what a reader's load failed on
 * @write: as it was looked up
 *
 * After a memory error; see mmu_mirror_window_forget().
 *
 * Context: any that may take a window's lock; outside sections.
 */
void mmu_mirror_cache_forget(struct mmu_mirror_cache *cache,
			     unsigned long uaddr, bool write)
{
	struct mmu_mirror_window *window;

	rcu_read_lock();
	window = mmu_mirror_cache_find(cache, uaddr, write);
	if (window)
		mmu_mirror_window_forget(window, uaddr - window->uaddr);
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_forget);

/**
 * mmu_mirror_cache_absence - why an address has no pointer
 * @cache: an open cache
 * @uaddr: what mmu_mirror_cache_ptr() returned NULL for
 * @write: as it was looked up
 *
 * For reporting, right after that.
 *
 * Context: any.
 * Return: the reason; %MMU_MIRROR_UNFILLED also where there is no window.
 */
enum mmu_mirror_absence
mmu_mirror_cache_absence(struct mmu_mirror_cache *cache, unsigned long uaddr,
			 bool write)
{
	enum mmu_mirror_absence why = MMU_MIRROR_UNFILLED;
	struct mmu_mirror_window *window;

	rcu_read_lock();
	window = mmu_mirror_cache_find(cache, uaddr, write);
	if (window)
		why = mmu_mirror_window_absence(window);
	rcu_read_unlock();
	return why;
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_absence);

static size_t cache_copy(struct mmu_mirror_cache *cache, unsigned long uaddr,
			 void *buf, size_t size, bool write)
{
	size_t done = 0;

	while (done < size) {
		size_t room = PAGE_SIZE - offset_in_page(uaddr + done);
		size_t n = min(size - done, room);
		size_t got = mmu_mirror_cache_copy(cache, uaddr + done,
						   buf + done, n, write);

		done += got;
		if (got < n)
			break;
	}
	return done;
}

/**
 * mmu_mirror_cache_read - read user memory through a cache
 * @cache: an open cache
 * @to: where to
 * @uaddr: of the first byte, without a tag
 * @size: bytes
 *
 * Across pages and chunks, as far as the cache has pointers. A miss asks for a
 * window or a fill. What is read is not of one moment: the process may be writing.
 *
 * Context: any that may take a window's lock, without the scheduler's locks, outside
 * sections. Neither faults nor waits.
 * Cost: for each page a section, with a copy of at most a page in it, which is
 * what an invalidation may have to wait for: mmu_mirror_load_bytes(), or memcpy().
 * Return: bytes read; fewer than @size at the first that the cache has no pointer
 * to, or that a memory error was met at: use uaccess for the rest.
 */
size_t mmu_mirror_cache_read(struct mmu_mirror_cache *cache, void *to,
			     unsigned long uaddr, size_t size)
{
	return cache_copy(cache, uaddr, to, size, false);
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_read);

/**
 * mmu_mirror_cache_write - write user memory through a cache
 * @cache: an open cache
 * @uaddr: of the first byte, without a tag
 * @from: what
 * @size: bytes
 *
 * As mmu_mirror_cache_read(); only to pages that the process may write.
 *
 * Context and cost: as mmu_mirror_cache_read().
 * Return: bytes written, likewise.
 */
size_t mmu_mirror_cache_write(struct mmu_mirror_cache *cache,
			      unsigned long uaddr, const void *from,
			      size_t size)
{
	return cache_copy(cache, uaddr, (void *)from, size, true);
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_write);

/**
 * mmu_mirror_cache_get_stats - what a cache has seen so far
 * @cache: the cache, not closed
 * @stats: where to put it
 *
 * Context: any that may take a spinlock.
 */
void mmu_mirror_cache_get_stats(struct mmu_mirror_cache *cache,
				struct mmu_mirror_cache_stats *stats)
{
	struct mmu_mirror_window *window;
	unsigned long i;
	int way;

	/* The lock keeps windows from being closed, and counted twice. */
	spin_lock(&cache->lock);
	*stats = cache->gone;
	for (i = 0; i <= cache->mask; i++) {
		for (way = 0; way < MMU_MIRROR_CACHE_WAYS; way++) {
			window = cache->set[i].window[way];
			if (!window)
				continue;
			stats_add(stats, window);
			stats->chunks++;
			stats->mapped += mmu_mirror_window_mapped(window);
		}
	}
	spin_unlock(&cache->lock);
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_get_stats);

/* On the mm's queue, after the last of cache_open_work(). */
static void cache_reap(struct work_struct *work)
{
	struct mmu_mirror_cache *cache =
		container_of(work, struct mmu_mirror_cache, reap);

	/* The domain is the queue's. */
	mmu_mirror_queue_put(cache->queue);
	/* A reader may still be looking something up. */
	kfree_rcu(cache, rcu);
}

/**
 * mmu_mirror_cache_open - make a cache of pointers to an mm's memory
 * @mm: the address space; the caller holds mm_count
 * @chunks: the most windows that it may have, rounded up to eight times a power
 *	of two; half of them are for reading, half for writing
 *
 * The cache is empty; readers' misses fill it. It holds no mm_users: the process
 * may exit under it, which empties it for good. Its memory is charged to the owner
 * of @mm: a line for four windows now, and for each window that is open about twice
 * what its pointers take, 8 KiB on 64-bit machines with pages of 4 KiB.
 *
 * Context: process context, sleeps; waits for nothing that the owner does.
 * Return: the cache, or an ERR_PTR: -EINVAL for no chunks, or more than 32768;
 * -ENOMEM.
 */
struct mmu_mirror_cache *mmu_mirror_cache_open(struct mm_struct *mm,
					       unsigned int chunks)
{
	struct mmu_mirror_cache *cache;
	struct mmu_mirror_charge charge;
	unsigned long sets;

	if (!chunks || chunks > CACHE_MAX_CHUNKS)
		return ERR_PTR(-EINVAL);
	sets = max(2UL, roundup_pow_of_two(DIV_ROUND_UP(chunks,
							MMU_MIRROR_CACHE_WAYS)));
	mmu_mirror_charge_begin(&charge, mm);
	cache = kzalloc(struct_size(cache, set, sets),
			MMU_MIRROR_GFP);
	mmu_mirror_charge_end(&charge);
	if (!cache)
		return ERR_PTR(-ENOMEM);
	cache->queue = mmu_mirror_queue_get(mm);
	if (!cache->queue)
		goto free;
	cache->domain = mmu_mirror_queue_domain(cache->queue);
	if (!cache->domain)
		goto put_queue;
	cache->caller = __builtin_return_address(0);
	cache->cpu = cache->domain->cpu;
	cache->mask = sets - 1;
	cache->mm = mm;
	cache->rest = jiffies;
	cache->filled = jiffies - 1;
	spin_lock_init(&cache->lock);
	INIT_WORK(&cache->open, cache_open_work);
	INIT_WORK(&cache->reap, cache_reap);
	return cache;

put_queue:
	mmu_mirror_queue_put(cache->queue);
free:
	kfree(cache);
	return ERR_PTR(-ENOMEM);
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_open);

/* Have no window map anything: then one wait for the readers is enough. */
static void cache_shut(struct mmu_mirror_cache *cache)
{
	struct mmu_mirror_window *window;
	unsigned long i;
	int way;

	rcu_read_lock();
	for (i = 0; i <= cache->mask; i++) {
		for (way = 0; way < MMU_MIRROR_CACHE_WAYS; way++) {
			/* It may be making way at the same time. */
			window = READ_ONCE(cache->set[i].window[way]);
			if (window)
				mmu_mirror_window_shut(window);
		}
	}
	rcu_read_unlock();
}

/**
 * mmu_mirror_cache_close - close a cache
 * @cache: the cache, or NULL; no new reader can find it any more
 *
 * Readers that found it before may still be inside a section. They see no page
 * of it by the time this returns. What it has is freed after they are out, by the
 * mm's queue, as soon as the owner lets that have its turn.
 *
 * Context: process context. Waits for readers, but not for invalidations.
 */
void mmu_mirror_cache_close(struct mmu_mirror_cache *cache)
{
	unsigned long i;
	int way;

	if (!cache)
		return;
	/* A reader's miss can no longer queue it. */
	disable_work(&cache->open);
	spin_lock(&cache->lock);
	cache->closed = true;
	spin_unlock(&cache->lock);
	cache_shut(cache);
	for (i = 0; i <= cache->mask; i++) {
		for (way = 0; way < MMU_MIRROR_CACHE_WAYS; way++)
			mmu_mirror_window_close(cache_set_window(cache,
								 &cache->set[i],
								 way, NULL));
	}
	mmu_mirror_queue_work(cache->queue, &cache->reap);
}
EXPORT_SYMBOL_GPL(mmu_mirror_cache_close);

static void __exit mmu_mirror_cache_exit(void)
{
	/* Of caches that are closed. */
	mmu_mirror_queue_barrier();
}
module_exit(mmu_mirror_cache_exit);

MODULE_DESCRIPTION("Caches of kernel pointers to user memory");
MODULE_LICENSE("GPL");
