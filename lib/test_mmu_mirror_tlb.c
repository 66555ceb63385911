// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device with a TLB of its own, for the selftest of the external-TLB half of
 * mm/mmu_range_mirror.c: tools/testing/selftests/mm/mmu_mirror_tlb.c.
 *
 * It has no hardware. A thread stands for it: it accesses memory through a TLB,
 * fills that by walking the CPU's page tables whenever it likes, as a device
 * with ATS does, and requests pages that are not there. It neither takes part
 * in the mirror's locking nor looks at its sequence; what keeps it honest are
 * the flushes that the helper asks for. A flush has no effect before somebody
 * waits for it. What the commands mean is in lib/test_mmu_mirror_tlb_uapi.h.
 */
#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/compat.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_mirror_extents.h>
#include <linux/mmu_mirror_tlb.h>
#include <linux/mmu_range_mirror.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/pgtable.h>
#include <linux/prandom.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "test_mmu_mirror_tlb_uapi.h"

#define TLB_WAYS		4
#define TLB_SETS		(TEST_TLB_ENTRIES / TLB_WAYS)
#define TLB_QUEUE		32
/* How often a page is requested for one access. */
#define TEST_REQUESTS		8
/* Accesses before the thread looks whether it is to end. */
#define TEST_SLICE		64
/* What an early flush is to miss, and how often it is looked for. */
#define TEST_FETCHES		4
#define TEST_FETCH_TRIES	100
#define TEST_MAX_LENGTH		SZ_1G
#define TEST_OPEN_FLAGS		(TEST_TLB_SHADOW | TEST_TLB_NO_HOOK | \
				 TEST_TLB_EARLY | TEST_TLB_DIRECT | \
				 TEST_TLB_YOUNG | TEST_TLB_ANY_SIZE)
#define TEST_RUN_FLAGS		(TEST_TLB_WRITE | TEST_TLB_ASYNC | \
				 TEST_TLB_NO_FAULT | TEST_TLB_CHECK)

static_assert(TEST_TLB_NR_EVENTS == MMU_MIRROR_NR_EVENTS);

/* In struct test_range.floor: zero is fine. */
#define FLOOR_ZERO_OK		BIT(31)

struct test_device;

/**
 * struct test_range - a mirror of a device
 * @mirror: the mirror
 * @dev: the device
 * @npages: its size
 * @floor: the oldest generation that each page may hold; under @dev->lock
 * @used: what reclaim asks for, a bit for each page
 * @table: the driver's table, read by the device and written under the
 *	mirror's lock, or NULL
 * @extents: what of it is mapped
 */
struct test_range {
	struct mmu_range_mirror mirror;
	struct test_device *dev;
	unsigned long npages;
	u32 *floor;
	unsigned long *used;
	struct page **table;
	struct mmu_mirror_extents extents;
};

/**
 * struct test_entry - a translation in the TLB
 * @addr: the page's address
 * @page: the page, without a reference, or NULL
 * @writable: it is for writing
 * @lost: @page is NULL because of a full flush
 */
struct test_entry {
	unsigned long addr;
	struct page *page;
	bool writable;
	bool lost;
};

/**
 * struct test_device - a device
 * @tlb: the helper's view of its TLB
 * @ops: what its mirrors ask for
 * @mm: the address space, of which no users are held
 * @flags: of struct test_tlb_open
 * @flush_ns: how long a flush takes
 * @lock: the device is accessing memory or looking at its TLB: all that follows
 *	up to @stats. Inside page-table locks and the mirrors' locks
 * @entry: the TLB
 * @victim: the way of each set that goes next
 * @queue: flushes that were started, and are not complete
 * @nr_queued: how many
 * @queue_all: everything is to be flushed
 * @ready_ns: when they will be complete
 * @stopped: its address space is gone
 * @ranges: its mirrors, ascending
 * @nr_ranges: how many
 * @watch_addr: the watched address
 * @watch_pmd: what its page table hangs from
 * @watch_table: its page table, with a reference, or NULL
 * @watch_refs: references to it at the time
 * @stats: what is counted under the lock
 * @young_calls: see struct test_tlb_stats
 * @young: see there
 * @sem: held for reading while a range is used without @lock
 * @run: the accesses to be made; the thread's while it is running
 * @left: accesses that are left of it, or more
 * @running: a run is not over
 * @stop: it is to end
 * @random: of the run
 * @wait: for the beginning and the end of runs
 * @started: the thread has
 * @thread: the device
 */
struct test_device {
	struct mmu_mirror_tlb tlb;
	struct mmu_range_mirror_ops ops;
	struct mm_struct *mm;
	unsigned int flags;
	u64 flush_ns;

	spinlock_t lock;	/* see above */
	struct test_entry entry[TLB_SETS][TLB_WAYS];
	unsigned int victim[TLB_SETS];
	struct {
		unsigned long start;
		unsigned long end;
	} queue[TLB_QUEUE];
	unsigned int nr_queued;
	bool queue_all;
	u64 ready_ns;
	bool stopped;
	struct test_range *ranges[TEST_TLB_RANGES_MAX];
	unsigned int nr_ranges;
	unsigned long watch_addr;
	pmd_t *watch_pmd;
	struct page *watch_table;
	int watch_refs;
	struct test_tlb_stats stats;

	atomic64_t young_calls;
	atomic64_t young;

	struct rw_semaphore sem;	/* see above */
	struct test_tlb_run run;
	u64 left;
	bool running;
	bool stop;
	struct rnd_state random;
	wait_queue_head_t wait;
	struct completion started;
	struct task_struct *thread;
};

/**
 * struct test_file - an open file
 * @mutex: for changes of the device: making it, its mirrors, and starting runs
 * @dev: the device, or NULL; stays until the file is closed
 */
struct test_file {
	struct mutex mutex;	/* see above */
	struct test_device *dev;
};

static atomic_t nr_live;

static struct test_range *to_range(struct mmu_range_mirror *mirror)
{
	return container_of(mirror, struct test_range, mirror);
}

static struct test_device *to_device(struct mmu_mirror_tlb *tlb)
{
	return container_of(tlb, struct test_device, tlb);
}

static unsigned long test_index(struct test_range *range, unsigned long addr)
{
	return (addr - range->mirror.start) >> PAGE_SHIFT;
}

/* The last range that begins at @addr or below, plus one. */
static unsigned int test_position(struct test_device *dev, unsigned long addr)
{
	unsigned int low = 0, high = dev->nr_ranges;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (dev->ranges[middle]->mirror.start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct test_range *test_find(struct test_device *dev, unsigned long addr)
{
	unsigned int position = test_position(dev, addr);
	struct test_range *range;

	if (!position)
		return NULL;
	range = dev->ranges[position - 1];
	return addr < range->mirror.end ? range : NULL;
}

/* The TLB. Everything here is under the device's lock. */

static struct test_entry *tlb_set(struct test_device *dev, unsigned long addr)
{
	return dev->entry[(addr >> PAGE_SHIFT) % TLB_SETS];
}

static struct test_entry *tlb_find(struct test_device *dev, unsigned long addr)
{
	struct test_entry *set = tlb_set(dev, addr);
	int way;

	for (way = 0; way < TLB_WAYS; way++)
		if (set[way].page && set[way].addr == addr)
			return &set[way];
	return NULL;
}

static struct test_entry *tlb_victim(struct test_device *dev,
				     unsigned long addr)
{
	unsigned int number = (addr >> PAGE_SHIFT) % TLB_SETS;
	struct test_entry *set = dev->entry[number];
	int way;

	for (way = 0; way < TLB_WAYS; way++)
		if (set[way].lost && set[way].addr == addr)
			return &set[way];
	for (way = 0; way < TLB_WAYS; way++)
		if (!set[way].page)
			return &set[way];
	dev->stats.evicted++;
	dev->stats.resident--;
	return &set[dev->victim[number]++ % TLB_WAYS];
}

static struct test_entry *tlb_fill(struct test_device *dev, unsigned long addr,
				   struct page *page, bool writable)
{
	struct test_entry *entry = tlb_victim(dev, addr);

	if (entry->lost && entry->addr == addr)
		mmu_mirror_tlb_refilled(&dev->tlb, 1);
	*entry = (struct test_entry) {
		.addr = addr,
		.page = page,
		.writable = writable,
	};
	dev->stats.resident++;
	dev->stats.filled++;
	return entry;
}

static void tlb_drop(struct test_device *dev, struct test_entry *entry)
{
	entry->page = NULL;
	dev->stats.resident--;
}

static bool tlb_queued(struct test_device *dev, unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < dev->nr_queued; i++)
		if (addr >= dev->queue[i].start && addr < dev->queue[i].end)
			return true;
	return false;
}

/* Complete what was started. */
static void tlb_execute(struct test_device *dev)
{
	struct test_entry *entry = dev->entry[0];
	unsigned int i;

	if (!dev->nr_queued && !dev->queue_all)
		return;
	for (i = 0; i < TEST_TLB_ENTRIES; i++, entry++) {
		if (!entry->page ||
		    (!dev->queue_all && !tlb_queued(dev, entry->addr)))
			continue;
		tlb_drop(dev, entry);
		dev->stats.flushed++;
		entry->lost = dev->queue_all;
	}
	dev->nr_queued = 0;
	dev->queue_all = false;
}

/* What the helper asks of it. */

static void test_flush_range(struct mmu_mirror_tlb *tlb, unsigned long start,
			     unsigned long end)
{
	struct test_device *dev = to_device(tlb);

	spin_lock(&dev->lock);
	if (dev->nr_queued == TLB_QUEUE) {
		dev->queue_all = true;
	} else {
		dev->queue[dev->nr_queued].start = start;
		dev->queue[dev->nr_queued].end = end;
		dev->nr_queued++;
	}
	dev->ready_ns = ktime_get_ns() + dev->flush_ns;
	spin_unlock(&dev->lock);
}

static void test_flush_all(struct mmu_mirror_tlb *tlb)
{
	struct test_device *dev = to_device(tlb);

	spin_lock(&dev->lock);
	dev->queue_all = true;
	dev->ready_ns = ktime_get_ns() + dev->flush_ns;
	spin_unlock(&dev->lock);
}

/* The lock waits for the access in progress, and for the walk in it. */
static void test_sync(struct mmu_mirror_tlb *tlb)
{
	struct test_device *dev = to_device(tlb);
	bool idle;
	u64 ready;

	spin_lock(&dev->lock);
	idle = !dev->nr_queued && !dev->queue_all;
	ready = dev->ready_ns;
	spin_unlock(&dev->lock);
	if (idle)
		return;
	while (dev->flush_ns && ktime_get_ns() < ready)
		cpu_relax();
	spin_lock(&dev->lock);
	tlb_execute(dev);
	spin_unlock(&dev->lock);
}

static const struct mmu_mirror_tlb_ops test_tlb_ops = {
	.flush_range = test_flush_range,
	.flush_all = test_flush_all,
	.sync = test_sync,
};

static struct mmu_mirror_tlb *test_tlb(struct mmu_range_mirror *mirror)
{
	return &to_range(mirror)->dev->tlb;
}

/* An extent went out of the driver's table: start to flush it. */
static void test_drop(unsigned long start, unsigned long end, void *ctx)
{
	struct test_range *range = ctx;
	unsigned long addr;

	for (addr = start; addr < end; addr += PAGE_SIZE)
		WRITE_ONCE(range->table[test_index(range, addr)], NULL);
}

static void test_drop_flush(unsigned long start, unsigned long end, void *ctx)
{
	struct test_range *range = ctx;

	test_drop(start, end, ctx);
	test_flush_range(&range->dev->tlb, start, end);
}

static void test_invalidate(struct mmu_range_mirror *mirror,
			    const struct mmu_notifier_range *core,
			    struct mmu_mirror_gather *gather)
{
	struct test_range *range = to_range(mirror);
	unsigned long start = max(core->start, mirror->start);
	unsigned long end = min(core->end, mirror->end);
	struct test_device *dev = range->dev;

	spin_lock(&dev->lock);
	dev->stats.events[core->event]++;
	spin_unlock(&dev->lock);
	if (range->table)
		mmu_mirror_extents_unmap(&range->extents, start, end,
					 test_drop_flush, range);
	else if (dev->flags & TEST_TLB_EARLY)
		test_flush_range(&dev->tlb, start, end);
}

static u64 test_walks(struct test_device *dev)
{
	u64 walks;

	spin_lock(&dev->lock);
	walks = dev->stats.walks;
	spin_unlock(&dev->lock);
	return walks;
}

/*
 * The device fetches again what has been flushed, and not only if it is lucky: it
 * has some time to, if it runs.
 */
static void test_let_fetch(struct test_device *dev)
{
	u64 walks = test_walks(dev);
	int tries;

	for (tries = 0; tries < TEST_FETCH_TRIES; tries++) {
		if (test_walks(dev) - walks >= TEST_FETCHES)
			break;
		usleep_range(20, 50);
	}
}

/* Whether or not anything was dropped: it may have been a moment before. */
static void test_wait(struct mmu_range_mirror *mirror,
		      const struct mmu_notifier_range *core)
{
	struct test_device *dev = to_range(mirror)->dev;

	test_sync(&dev->tlb);
	if ((dev->flags & TEST_TLB_EARLY) &&
	    mmu_notifier_range_blockable(core))
		test_let_fetch(dev);
}

static void test_look_at_table(struct test_device *dev, unsigned long start,
			       unsigned long end)
{
	if (!dev->watch_table || dev->watch_addr < start ||
	    dev->watch_addr >= end)
		return;
	if (page_count(dev->watch_table) < dev->watch_refs)
		dev->stats.watch_late++;
	else if (pmd_none(READ_ONCE(*dev->watch_pmd)))
		dev->stats.watch_hooked++;
	else
		dev->stats.watch_linked++;
}

static void test_hook(struct mmu_range_mirror *mirror, unsigned long start,
		      unsigned long end, struct mmu_mirror_gather *gather)
{
	struct test_device *dev = to_range(mirror)->dev;

	spin_lock(&dev->lock);
	dev->stats.hooks++;
	test_look_at_table(dev, start, end);
	spin_unlock(&dev->lock);
	if (gather) {
		mmu_mirror_gather_add(gather, start, end);
	} else {
		test_flush_range(&dev->tlb, start, end);
		test_sync(&dev->tlb);
	}
}

static void test_stop_device(struct mmu_range_mirror *mirror)
{
	struct test_device *dev = to_range(mirror)->dev;

	spin_lock(&dev->lock);
	dev->stopped = true;
	dev->stats.releases++;
	dev->stats.release_tables = mm_pgtables_bytes(dev->mm);
	spin_unlock(&dev->lock);
}

static bool test_young(struct mmu_range_mirror *mirror, unsigned long start,
		       unsigned long end, bool clear)
{
	struct test_range *range = to_range(mirror);
	bool young = false;

	atomic64_inc(&range->dev->young_calls);
	for (; start < end; start += PAGE_SIZE) {
		unsigned long index = test_index(range, start);

		if (clear)
			young |= test_and_clear_bit(index, range->used);
		else
			young |= test_bit(index, range->used);
	}
	if (young)
		atomic64_inc(&range->dev->young);
	return young;
}

/* Accesses. */

/*
 * One page of the CPU's tables. The device has no reference; GUP's own goes at
 * once. A walk for writing sets the page's dirty bit, as hardware would.
 */
static struct page *test_walk_cpu(unsigned long addr, bool write)
{
	struct page *page;

	if (get_user_pages_fast_only(addr, 1, write ? FOLL_WRITE : 0,
				     &page) != 1)
		return NULL;
	if (write)
		folio_mark_dirty(page_folio(page));
	put_page(page);
	return page;
}

static struct test_entry *test_walk(struct test_device *dev,
				    struct test_range *range,
				    unsigned long addr, bool write)
{
	struct page *page;

	dev->stats.walks++;
	if (range->table) {
		/* It is for writing always. */
		page = READ_ONCE(range->table[test_index(range, addr)]);
		write = true;
	} else {
		page = test_walk_cpu(addr, write);
	}
	if (page)
		return tlb_fill(dev, addr, page, write);
	dev->stats.walks_failed++;
	return NULL;
}

static struct test_entry *test_translate(struct test_device *dev,
					 struct test_range *range,
					 unsigned long addr, bool write)
{
	struct test_entry *entry = tlb_find(dev, addr);

	if (entry && (entry->writable || !write)) {
		dev->stats.hits++;
		return entry;
	}
	if (entry) {
		dev->stats.upgrades++;
		tlb_drop(dev, entry);
	}
	return test_walk(dev, range, addr, write);
}

static void test_check(struct test_device *dev, struct test_range *range,
		       unsigned long addr, u64 value)
{
	unsigned long index = test_index(range, addr);
	u32 floor = range->floor[index];

	if (!value && (!floor || (floor & FLOOR_ZERO_OK)))
		return;
	if ((u32)value != (u32)(index + 1))
		dev->stats.stale_other++;
	else if (value >> 32 < (floor & ~FLOOR_ZERO_OK))
		dev->stats.stale_old++;
}

/*
 * What is read may be a page that is not the process's any more, if the hook
 * is off: its memory need not even be mapped.
 */
static void test_use(struct test_device *dev, struct test_range *range,
		     struct page *page, unsigned long addr)
{
	struct test_tlb_run *run = &dev->run;
	void *kaddr = kmap_local_page(page);
	u64 *word = kaddr + offset_in_page(addr);

	dev->stats.accesses++;
	if (range->used)
		set_bit(test_index(range, addr), range->used);
	if (run->flags & TEST_TLB_WRITE)
		WRITE_ONCE(*word, run->value);
	else if (copy_from_kernel_nofault(&run->value, word, sizeof(*word)))
		dev->stats.stale_other++;
	else if (run->flags & TEST_TLB_CHECK)
		test_check(dev, range, addr, run->value);
	kunmap_local(kaddr);
}

static int test_try_access(struct test_device *dev, unsigned long addr)
{
	bool write = dev->run.flags & TEST_TLB_WRITE;
	struct test_range *range;
	struct test_entry *entry;
	int ret = 0;

	spin_lock(&dev->lock);
	range = test_find(dev, addr);
	if (dev->stopped) {
		ret = -ESRCH;
	} else if (!range) {
		ret = -EFAULT;
	} else {
		entry = test_translate(dev, range, addr & PAGE_MASK, write);
		if (entry)
			test_use(dev, range, entry->page, addr);
		else
			ret = -ENOENT;
	}
	spin_unlock(&dev->lock);
	return ret;
}

static int test_install(struct mmu_range_mirror *mirror, unsigned long addr,
			struct page *page, void *ctx)
{
	struct test_range *range = to_range(mirror);
	struct mmu_mirror_extent **spare = ctx;
	int ret;

	ret = mmu_mirror_extents_map(&range->extents, addr, addr + PAGE_SIZE,
				     spare);
	if (ret)
		return ret;
	WRITE_ONCE(range->table[test_index(range, addr)], page);
	return 0;
}

/* One extent is enough for a page, and for all of them if they abut. */
static int test_populate(struct test_range *range, unsigned long start,
			 unsigned long npages)
{
	int ret = 0;

	while (npages-- && !ret) {
		struct mmu_mirror_extent *spare = mmu_mirror_extent_alloc();

		if (!spare)
			return -ENOMEM;
		ret = mmu_range_mirror_populate(&range->mirror, start, 1,
						FOLL_WRITE, test_install,
						&spare);
		mmu_mirror_extent_free(spare);
		start += PAGE_SIZE;
	}
	return ret;
}

/*
 * For writing wherever that is allowed: an access that brings in the page of
 * zeroes is lost, since GUP-fast does not see that.
 */
static int test_fault_in(unsigned long addr, bool write)
{
	struct page *page;
	long got;

	got = get_user_pages_unlocked(addr, 1, &page, FOLL_WRITE);
	if (got != 1 && !write)
		got = get_user_pages_unlocked(addr, 1, &page, 0);
	if (got == 1)
		put_page(page);
	return got == 1 ? 0 : -EFAULT;
}

/* In the thread, whose address space may have lost its last user. */
static int test_request_page(struct test_device *dev, unsigned long addr)
{
	struct test_range *range;
	int ret = -EFAULT;

	if (!mmget_not_zero(dev->mm))
		return -ESRCH;
	down_read(&dev->sem);
	spin_lock(&dev->lock);
	range = test_find(dev, addr);
	spin_unlock(&dev->lock);
	if (range && range->table)
		ret = test_populate(range, addr & PAGE_MASK, 1);
	else if (range)
		ret = test_fault_in(addr, dev->run.flags & TEST_TLB_WRITE);
	up_read(&dev->sem);
	mmput_async(dev->mm);
	return ret;
}

static int test_access(struct test_device *dev, unsigned long addr)
{
	unsigned int requests;
	int ret;

	for (requests = 0; ; requests++) {
		ret = test_try_access(dev, addr);
		if (ret != -ENOENT || (dev->run.flags & TEST_TLB_NO_FAULT))
			break;
		if (requests == TEST_REQUESTS) {
			ret = -EAGAIN;
			break;
		}
		ret = test_request_page(dev, addr);
		spin_lock(&dev->lock);
		dev->stats.faults++;
		dev->stats.retries += !!requests;
		spin_unlock(&dev->lock);
		if (ret && ret != -EAGAIN)
			break;
	}
	return ret;
}

static unsigned long test_next_addr(struct test_device *dev)
{
	u32 random = prandom_u32_state(&dev->random);
	unsigned long length = dev->run.length;

	if (dev->run.accesses == 1)
		return dev->run.start;
	if (dev->run.hot_length && random % 32)
		length = dev->run.hot_length;
	random = prandom_u32_state(&dev->random);
	return dev->run.start + (u64)random % (length / sizeof(u64)) *
	       sizeof(u64);
}

/* Whether the run is over. */
static bool test_slice(struct test_device *dev)
{
	unsigned int i;

	for (i = 0; i < TEST_SLICE; i++) {
		int ret;

		if (READ_ONCE(dev->stop))
			return true;
		ret = test_access(dev, test_next_addr(dev));
		if (ret) {
			WRITE_ONCE(dev->run.error, ret);
			spin_lock(&dev->lock);
			dev->stats.errors++;
			spin_unlock(&dev->lock);
		}
		if (ret == -ESRCH || !--dev->left)
			return true;
	}
	return false;
}

/* Whoever sees that @running has changed, sees what was done before. */
static bool test_over(struct test_device *dev)
{
	/* Pairs with the release in test_set_running(). */
	return !smp_load_acquire(&dev->running);
}

static void test_set_running(struct test_device *dev, bool running)
{
	/* Pairs with the acquire in test_over(). */
	smp_store_release(&dev->running, running);
	wake_up_all(&dev->wait);
}

static int test_thread(void *data)
{
	struct test_device *dev = data;

	/* As with ATS: what it walks is not kept by it. */
	kthread_use_mm(dev->mm);
	complete(&dev->started);
	while (!kthread_should_stop()) {
		wait_event_idle(dev->wait,
				kthread_should_stop() || !test_over(dev));
		if (test_over(dev))
			continue;
		if (test_slice(dev))
			test_set_running(dev, false);
		cond_resched();
	}
	kthread_unuse_mm(dev->mm);
	return 0;
}

static int test_stop_run(struct test_device *dev)
{
	WRITE_ONCE(dev->stop, true);
	return wait_event_killable(dev->wait, test_over(dev)) ? -EINTR : 0;
}

/* Mirrors. */

/* Insert or take out. */
static void test_list(struct test_device *dev, struct test_range *range)
{
	unsigned int at;

	spin_lock(&dev->lock);
	at = test_position(dev, range->mirror.start);
	memmove(&dev->ranges[at + 1], &dev->ranges[at],
		(dev->nr_ranges - at) * sizeof(dev->ranges[0]));
	dev->ranges[at] = range;
	dev->nr_ranges++;
	spin_unlock(&dev->lock);
}

static void test_unlist(struct test_device *dev, struct test_range *range)
{
	unsigned int at;

	spin_lock(&dev->lock);
	at = test_position(dev, range->mirror.start);
	memmove(&dev->ranges[at - 1], &dev->ranges[at],
		(dev->nr_ranges - at) * sizeof(dev->ranges[0]));
	dev->nr_ranges--;
	spin_unlock(&dev->lock);
}

static bool test_overlaps(struct test_device *dev, unsigned long start,
			  unsigned long end)
{
	unsigned int i;

	for (i = 0; i < dev->nr_ranges; i++)
		if (start < dev->ranges[i]->mirror.end &&
		    end > dev->ranges[i]->mirror.start)
			return true;
	return false;
}

static void test_free_range(struct test_range *range)
{
	kvfree(range->table);
	kvfree(range->used);
	kvfree(range->floor);
	kfree(range);
}

static struct test_range *test_alloc_range(struct test_device *dev,
					   unsigned long npages)
{
	struct test_range *range = kzalloc(sizeof(*range), GFP_KERNEL_ACCOUNT);

	if (!range)
		return NULL;
	range->dev = dev;
	range->npages = npages;
	range->floor = kvcalloc(max(npages, 1UL), sizeof(*range->floor),
				GFP_KERNEL_ACCOUNT);
	if (!range->floor)
		goto free;
	if (dev->flags & TEST_TLB_YOUNG) {
		range->used = kvcalloc(BITS_TO_LONGS(npages) ?: 1,
				       sizeof(*range->used),
				       GFP_KERNEL_ACCOUNT);
		if (!range->used)
			goto free;
	}
	if (dev->flags & TEST_TLB_SHADOW) {
		range->table = kvcalloc(max(npages, 1UL), sizeof(*range->table),
					GFP_KERNEL_ACCOUNT);
		if (!range->table)
			goto free;
	}
	return range;
free:
	test_free_range(range);
	return NULL;
}

/* The helper checks it all, but only the arrays have a limit. */
static int test_add_range(struct test_device *dev, unsigned long start,
			  unsigned long length)
{
	struct test_range *range;
	unsigned long end, npages;
	int ret;

	if (dev->nr_ranges == TEST_TLB_RANGES_MAX)
		return -ENOSPC;
	if (check_add_overflow(start, length, &end))
		return -EOVERFLOW;
	if (end <= dev->mm->task_size && length > TEST_MAX_LENGTH &&
	    !(dev->flags & TEST_TLB_ANY_SIZE))
		return -E2BIG;
	if (test_overlaps(dev, start, end))
		return -EEXIST;
	npages = min_t(unsigned long, length, TEST_MAX_LENGTH) >> PAGE_SHIFT;
	if (dev->flags & TEST_TLB_ANY_SIZE)
		npages = 0;
	range = test_alloc_range(dev, npages);
	if (!range)
		return -ENOMEM;
	range->extents.mm = dev->mm;
	ret = mmu_range_mirror_insert(&range->mirror, dev->mm, start, length,
				      &dev->ops, NULL);
	if (ret) {
		test_free_range(range);
		return ret;
	}
	test_list(dev, range);
	atomic_inc(&nr_live);
	return 0;
}

/* The device walks it no more; then what it has cached goes. */
static void test_remove_range(struct test_device *dev, struct test_range *range)
{
	down_write(&dev->sem);
	test_unlist(dev, range);
	up_write(&dev->sem);
	if (range->table) {
		mmu_range_mirror_lock(&range->mirror);
		mmu_mirror_extents_unmap(&range->extents, range->mirror.start,
					 range->mirror.end, test_drop_flush,
					 range);
		mmu_range_mirror_unlock(&range->mirror);
		test_sync(&dev->tlb);
	}
	mmu_range_mirror_remove(&range->mirror);
	if (!dev->ops.invalidate_range && !range->table) {
		test_flush_range(&dev->tlb, range->mirror.start,
				 range->mirror.end);
		test_sync(&dev->tlb);
	}
	test_free_range(range);
	atomic_dec(&nr_live);
}

/* Watching a page table. */

static void test_unwatch(struct test_device *dev)
{
	struct page *table, *upper = NULL;

	spin_lock(&dev->lock);
	table = dev->watch_table;
	if (table)
		upper = virt_to_page(dev->watch_pmd);
	dev->watch_table = NULL;
	spin_unlock(&dev->lock);
	if (table) {
		__free_page(table);
		__free_page(upper);
	}
}

static pmd_t *test_find_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud) || pud_leaf(*pud))
		return NULL;
	pmd = pmd_offset(pud, addr);
	return pmd_none(*pmd) || pmd_leaf(*pmd) ? NULL : pmd;
}

/*
 * The table and what it hangs from stay for as long as they are watched: the
 * references tell whether the address space has given them up.
 */
static int test_watch_pmd(struct test_device *dev, unsigned long addr)
{
	pmd_t *pmd = test_find_pmd(dev->mm, addr);
	struct page *table;

	if (!pmd)
		return -ENOENT;
	/* Not pmd_page(): a module has none on powerpc. */
	table = virt_to_page((void *)pmd_page_vaddr(*pmd));
	get_page(table);
	get_page(virt_to_page(pmd));
	spin_lock(&dev->lock);
	dev->watch_addr = addr;
	dev->watch_pmd = pmd;
	dev->watch_table = table;
	dev->watch_refs = page_count(table);
	spin_unlock(&dev->lock);
	return 0;
}

/* Making and ending a device. */

static void test_destroy(struct test_device *dev)
{
	unsigned int i;

	WRITE_ONCE(dev->stop, true);
	/* The thread may wait for a fault that this very process should answer. */
	for (i = 0; i < dev->nr_ranges; i++)
		mmu_range_mirror_cancel(&dev->ranges[i]->mirror);
	if (dev->thread)
		kthread_stop(dev->thread);
	while (dev->nr_ranges)
		test_remove_range(dev, dev->ranges[dev->nr_ranges - 1]);
	test_unwatch(dev);
	mmdrop(dev->mm);
	kvfree(dev);
}

static void test_set_ops(struct test_device *dev)
{
	struct mmu_range_mirror_ops *ops = &dev->ops;

	ops->invalidate = test_invalidate;
	if (!(dev->flags & TEST_TLB_DIRECT))
		ops->tlb = test_tlb;
	if (dev->flags & (TEST_TLB_SHADOW | TEST_TLB_EARLY))
		ops->wait = test_wait;
	if (!(dev->flags & (TEST_TLB_SHADOW | TEST_TLB_NO_HOOK |
			    TEST_TLB_EARLY))) {
		ops->invalidate_range = test_hook;
		ops->release = test_stop_device;
	}
	if (dev->flags & TEST_TLB_YOUNG)
		ops->young = test_young;
}

static struct test_device *test_create(const struct test_tlb_open *arg)
{
	struct test_device *dev = kvzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->flags = arg->flags;
	dev->flush_ns = arg->flush_us * NSEC_PER_USEC;
	dev->tlb.ops = &test_tlb_ops;
	dev->tlb.full_pages = arg->full_pages;
	dev->tlb.full_ranges = arg->full_ranges;
	test_set_ops(dev);
	spin_lock_init(&dev->lock);
	init_rwsem(&dev->sem);
	init_waitqueue_head(&dev->wait);
	init_completion(&dev->started);
	mmgrab(current->mm);
	dev->mm = current->mm;

	ret = test_add_range(dev, arg->start, arg->length);
	if (ret)
		goto destroy;
	dev->thread = kthread_run(test_thread, dev, "test_mirror_tlb");
	if (IS_ERR(dev->thread)) {
		ret = PTR_ERR(dev->thread);
		dev->thread = NULL;
		goto destroy;
	}
	/* Not later than now has the address space a user for certain. */
	wait_for_completion(&dev->started);
	return dev;

destroy:
	test_destroy(dev);
	return ERR_PTR(ret);
}

static bool test_open_valid(const struct test_tlb_open *arg)
{
	unsigned int ats = TEST_TLB_NO_HOOK | TEST_TLB_EARLY | TEST_TLB_DIRECT;

	if (arg->reserved || (arg->flags & ~TEST_OPEN_FLAGS))
		return false;
	if ((arg->flags & TEST_TLB_SHADOW) && (arg->flags & ats))
		return false;
	/* Those have a table of the range. */
	if ((arg->flags & TEST_TLB_ANY_SIZE) &&
	    (arg->flags & (TEST_TLB_SHADOW | TEST_TLB_YOUNG)))
		return false;
	return arg->flush_us <= TEST_TLB_FLUSH_MAX_US &&
	       arg->full_ranges <= MMU_MIRROR_GATHER_MAX;
}

static long test_ioctl_open(struct test_file *tf, void __user *uarg)
{
	struct test_tlb_open arg;
	struct test_device *dev;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (!test_open_valid(&arg))
		return -EINVAL;
	if (tf->dev)
		return -EBUSY;
	dev = test_create(&arg);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	/* Complete, for those who do not hold the mutex. */
	smp_store_release(&tf->dev, dev);
	return 0;
}

static bool test_get_range(struct test_tlb_range *arg, void __user *uarg,
			   unsigned int flags, int *ret)
{
	*ret = -EFAULT;
	if (copy_from_user(arg, uarg, sizeof(*arg)))
		return false;
	*ret = -EINVAL;
	return !arg->reserved && !(arg->flags & ~flags);
}

static long test_ioctl_add(struct test_device *dev, void __user *uarg)
{
	struct test_tlb_range arg;
	int ret;

	if (!test_get_range(&arg, uarg, 0, &ret))
		return ret;
	if (!mmget_not_zero(dev->mm))
		return -ESRCH;
	ret = test_add_range(dev, arg.start, arg.length);
	mmput(dev->mm);
	return ret;
}

static long test_ioctl_remove(struct test_device *dev, void __user *uarg)
{
	struct test_tlb_range arg;
	struct test_range *range;
	int ret;

	if (!test_get_range(&arg, uarg, 0, &ret))
		return ret;
	range = test_find(dev, arg.start);
	if (!range || range->mirror.start != arg.start ||
	    range->mirror.end - range->mirror.start != arg.length)
		return -ENOENT;
	test_remove_range(dev, range);
	return 0;
}

/* All of [start, start + length) is inside mirrors. */
static bool test_covered(struct test_device *dev, u64 start, u64 length)
{
	struct test_range *range;

	while (length) {
		u64 part;

		range = test_find(dev, start);
		if (!range)
			return false;
		part = min(length, range->mirror.end - start);
		start += part;
		length -= part;
	}
	return true;
}

static bool test_run_valid(struct test_device *dev,
			   const struct test_tlb_run *run)
{
	bool one = run->accesses == 1;

	if ((run->flags & ~TEST_RUN_FLAGS) || run->error ||
	    (!run->accesses && !(run->flags & TEST_TLB_ASYNC)))
		return false;
	if ((run->flags & TEST_TLB_CHECK) && (dev->flags & TEST_TLB_ANY_SIZE))
		return false;
	if ((run->flags & TEST_TLB_WRITE) &&
	    ((run->flags & TEST_TLB_CHECK) ||
	     (dev->flags & (TEST_TLB_NO_HOOK | TEST_TLB_EARLY))))
		return false;
	return run->length && PAGE_ALIGNED(run->length) &&
	       PAGE_ALIGNED(run->hot_length) &&
	       run->hot_length <= run->length &&
	       IS_ALIGNED(run->start, one ? sizeof(u64) : PAGE_SIZE) &&
	       test_covered(dev, run->start & PAGE_MASK, run->length);
}

/* Also without the file's mutex: a run may be stopped while it is waited for. */
static long test_ioctl_run(struct test_file *tf, struct test_device *dev,
			   void __user *uarg)
{
	struct test_tlb_run run;

	if (copy_from_user(&run, uarg, sizeof(run)))
		return -EFAULT;
	if (mutex_lock_killable(&tf->mutex))
		return -EINTR;
	if (!test_run_valid(dev, &run) || !test_over(dev)) {
		int ret = test_over(dev) ? -EINVAL : -EBUSY;

		mutex_unlock(&tf->mutex);
		return ret;
	}
	dev->run = run;
	dev->left = run.accesses ?: U64_MAX;
	WRITE_ONCE(dev->stop, false);
	prandom_seed_state(&dev->random, run.start);
	test_set_running(dev, true);
	mutex_unlock(&tf->mutex);
	if (run.flags & TEST_TLB_ASYNC)
		return 0;
	if (wait_event_killable(dev->wait, test_over(dev))) {
		WRITE_ONCE(dev->stop, true);
		return -EINTR;
	}
	run.value = dev->run.value;
	run.error = dev->run.error;
	if (copy_to_user(uarg, &run, sizeof(run)))
		return -EFAULT;
	return run.error;
}

static long test_ioctl_floor(struct test_device *dev, void __user *uarg)
{
	struct test_tlb_floor arg;
	struct test_range *range;
	unsigned long first, i;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.zero_ok > 1 || arg.generation >= FLOOR_ZERO_OK ||
	    !PAGE_ALIGNED(arg.start | arg.length))
		return -EINVAL;
	range = test_find(dev, arg.start);
	if (!range || arg.length > range->mirror.end - arg.start ||
	    (dev->flags & TEST_TLB_ANY_SIZE))
		return -EINVAL;
	first = test_index(range, arg.start);
	spin_lock(&dev->lock);
	for (i = 0; i < arg.length >> PAGE_SHIFT; i++)
		range->floor[first + i] = arg.generation |
					  (arg.zero_ok ? FLOOR_ZERO_OK : 0);
	spin_unlock(&dev->lock);
	return 0;
}

/* The range that holds all of the argument's. */
static struct test_range *test_inside(struct test_device *dev,
				      const struct test_tlb_range *arg)
{
	struct test_range *range = test_find(dev, arg->start);

	if (!PAGE_ALIGNED(arg->start | arg->length) || !arg->length || !range ||
	    arg->length > range->mirror.end - arg->start)
		return NULL;
	return range;
}

static long test_ioctl_populate(struct test_device *dev, void __user *uarg)
{
	struct test_tlb_range arg;
	struct test_range *range;
	int ret;

	if (!test_get_range(&arg, uarg, 0, &ret))
		return ret;
	range = test_inside(dev, &arg);
	if (!range)
		return -EINVAL;
	if (!range->table)
		return -EOPNOTSUPP;
	return test_populate(range, arg.start, arg.length >> PAGE_SHIFT);
}

/* Here, as the device's commands are to be gathered. */
struct test_gathered {
	struct test_range *range;
	struct mmu_mirror_gather gather;
};

/* More than was asked for may go, when memory is short. */
static void test_drop_gather(unsigned long start, unsigned long end, void *ctx)
{
	struct test_gathered *gathered = ctx;

	test_drop(start, end, gathered->range);
	mmu_mirror_gather_add(&gathered->gather, start, end);
}

/* What the driver drops by itself: core mm still maps the pages. */
static long test_drop_range(struct test_device *dev,
			    const struct test_tlb_range *arg)
{
	unsigned long end = arg->start + arg->length;
	bool defer = arg->flags & TEST_TLB_DEFER;
	struct test_gathered gathered;
	struct test_range *range;

	spin_lock(&dev->lock);
	range = test_inside(dev, arg);
	spin_unlock(&dev->lock);
	if (!range)
		return -EINVAL;
	if (!range->table)
		return -EOPNOTSUPP;
	gathered.range = range;
	mmu_mirror_gather_init(&gathered.gather, &dev->tlb);
	mmu_range_mirror_lock(&range->mirror);
	mmu_mirror_extents_unmap(&range->extents, arg->start, end,
				 test_drop_gather, &gathered);
	/* An invalidation may get in before the flush below. */
	if (defer)
		mmu_range_mirror_defer_flush(&range->mirror);
	else
		mmu_range_mirror_flush_begin(&range->mirror);
	mmu_range_mirror_unlock(&range->mirror);
	if (defer)
		return 0;
	if (arg->flags & TEST_TLB_SLOW)
		msleep(TEST_TLB_SLOW_MS);
	mmu_mirror_gather_flush(&gathered.gather);
	mmu_range_mirror_flush_end(&range->mirror);
	return 0;
}

/* Without the file's mutex: statistics are wanted while it is slow. */
static long test_ioctl_drop(struct test_device *dev, void __user *uarg)
{
	struct test_tlb_range arg;
	int ret;

	if (!test_get_range(&arg, uarg, TEST_TLB_DEFER | TEST_TLB_SLOW, &ret))
		return ret;
	down_read(&dev->sem);
	ret = test_drop_range(dev, &arg);
	up_read(&dev->sem);
	return ret;
}

static long test_ioctl_watch(struct test_device *dev, void __user *uarg)
{
	struct test_tlb_range arg;
	int ret;

	if (!test_get_range(&arg, uarg, 0, &ret))
		return ret;
	if (!test_find(dev, arg.start))
		return -EINVAL;
	if (!mmget_not_zero(dev->mm))
		return -ESRCH;
	test_unwatch(dev);
	mmap_write_lock(dev->mm);
	ret = test_watch_pmd(dev, arg.start);
	mmap_write_unlock(dev->mm);
	mmput(dev->mm);
	return ret;
}

static void test_stats_extents(struct test_device *dev,
			       struct test_tlb_stats *stats)
{
	unsigned int i;

	for (i = 0; i < dev->nr_ranges; i++) {
		struct test_range *range = dev->ranges[i];

		mmu_range_mirror_lock(&range->mirror);
		stats->extents += range->extents.nr;
		stats->extents_mapped += range->extents.nr_mapped;
		stats->extents_split += range->extents.nr_split;
		stats->extents_lost += range->extents.nr_lost;
		stats->dirtied += range->mirror.nr_dirtied;
		mmu_range_mirror_unlock(&range->mirror);
	}
}

static void test_stats_device(struct test_device *dev,
			      struct test_tlb_stats *stats)
{
	spin_lock(&dev->lock);
	*stats = dev->stats;
	if (dev->watch_table)
		stats->watch_refs = page_count(dev->watch_table) -
				    (dev->watch_refs - 1);
	spin_unlock(&dev->lock);
	stats->young_calls = atomic64_read(&dev->young_calls);
	stats->young = atomic64_read(&dev->young);
	stats->ranges = atomic_long_read(&dev->tlb.nr_ranges);
	stats->commands = atomic_long_read(&dev->tlb.nr_commands);
	stats->full = atomic_long_read(&dev->tlb.nr_full);
	stats->syncs = atomic_long_read(&dev->tlb.nr_syncs);
	stats->refills = atomic_long_read(&dev->tlb.nr_refills);
	stats->running = !test_over(dev);
	stats->error = READ_ONCE(dev->run.error);
	test_stats_extents(dev, stats);
}

static long test_ioctl_stats(struct test_file *tf, void __user *uarg)
{
	struct test_tlb_stats stats = { };

	if (tf->dev)
		test_stats_device(tf->dev, &stats);
	stats.two_pass = MMU_RANGE_MIRROR_TWO_PASS;
	stats.live = atomic_read(&nr_live);
	return copy_to_user(uarg, &stats, sizeof(stats)) ? -EFAULT : 0;
}

/* Under the file's mutex. */
static long test_ioctl_device(struct test_device *dev, unsigned int cmd,
			      void __user *uarg)
{
	switch (cmd) {
	case TEST_TLB_IOC_ADD:
		return dev ? test_ioctl_add(dev, uarg) : -ENXIO;
	case TEST_TLB_IOC_REMOVE:
		return dev ? test_ioctl_remove(dev, uarg) : -ENXIO;
	case TEST_TLB_IOC_FLOOR:
		return dev ? test_ioctl_floor(dev, uarg) : -ENXIO;
	case TEST_TLB_IOC_POPULATE:
		return dev ? test_ioctl_populate(dev, uarg) : -ENXIO;
	case TEST_TLB_IOC_WATCH:
		return dev ? test_ioctl_watch(dev, uarg) : -ENXIO;
	default:
		return -ENOTTY;
	}
}

static long test_ioctl_locked(struct test_file *tf, unsigned int cmd,
			      void __user *uarg)
{
	long ret;

	if (mutex_lock_killable(&tf->mutex))
		return -EINTR;
	if (cmd == TEST_TLB_IOC_OPEN)
		ret = test_ioctl_open(tf, uarg);
	else if (cmd == TEST_TLB_IOC_STATS)
		ret = test_ioctl_stats(tf, uarg);
	else
		ret = test_ioctl_device(tf->dev, cmd, uarg);
	mutex_unlock(&tf->mutex);
	return ret;
}

static long test_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct test_file *tf = file->private_data;
	void __user *uarg = (void __user *)arg;
	/* Pairs with the release in test_ioctl_open(). */
	struct test_device *dev = smp_load_acquire(&tf->dev);

	switch (cmd) {
	case TEST_TLB_IOC_RUN:
		return dev ? test_ioctl_run(tf, dev, uarg) : -ENXIO;
	case TEST_TLB_IOC_STOP:
		return dev ? test_stop_run(dev) : -ENXIO;
	case TEST_TLB_IOC_DROP:
		return dev ? test_ioctl_drop(dev, uarg) : -ENXIO;
	}
	return test_ioctl_locked(tf, cmd, uarg);
}

static int test_open(struct inode *inode, struct file *file)
{
	struct test_file *tf = kzalloc(sizeof(*tf), GFP_KERNEL_ACCOUNT);

	if (!tf)
		return -ENOMEM;
	mutex_init(&tf->mutex);
	file->private_data = tf;
	return nonseekable_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct test_file *tf = file->private_data;

	if (tf->dev)
		test_destroy(tf->dev);
	mutex_destroy(&tf->mutex);
	kfree(tf);
	return 0;
}

static const struct file_operations test_fops = {
	.owner = THIS_MODULE,
	.open = test_open,
	.release = test_release,
	.unlocked_ioctl = test_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice test_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "test_mmu_mirror_tlb",
	.fops = &test_fops,
	.mode = 0600,
};

module_misc_device(test_misc);

MODULE_DESCRIPTION("Test device with a TLB for the mirroring of user memory");
MODULE_LICENSE("GPL");
