// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device that mirrors memory of its user, for the selftests of
 * mm/mmu_range_mirror.c in tools/testing/selftests/mm.
 *
 * It has no hardware. Its "device" reads and writes memory through a table of
 * pages, as a driver with page tables of its own would, or through a window.
 * Holds prolong such an access so that a test can aim an invalidation at it.
 * What the commands mean is in lib/test_mmu_range_mirror_uapi.h; nothing of
 * the helper itself is here.
 */
#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/compat.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_mirror_cache.h>
#include <linux/mmu_mirror_window.h>
#include <linux/mmu_range_mirror_inject.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "test_mmu_range_mirror_uapi.h"

#define TEST_MAX_LENGTH		SZ_1G
#define TEST_FILL_TIMEOUT_NS	(30ULL * NSEC_PER_SEC)
#define TEST_MAX_STOPS		1024
/* 32 chunks for reading, and for writing. */
#define TEST_CHUNKS		64

static_assert(TEST_MIRROR_NR_EVENTS == MMU_MIRROR_NR_EVENTS);
static_assert((int)TEST_MIRROR_MIGRATE == (int)MMU_NOTIFY_MIGRATE);
static_assert((int)TEST_MIRROR_NR_POINTS == (int)MMU_RANGE_MIRROR_NR_POINTS);
static_assert((int)TEST_MIRROR_CLOSED == (int)MMU_RANGE_MIRROR_CLOSED);
static_assert((int)TEST_MIRROR_FOR_WRITING == (int)MMU_MIRROR_FOR_WRITING);
static_assert((int)TEST_MIRROR_OR_READ == (int)MMU_MIRROR_OR_READ);

/**
 * struct test_mirror - a mirrored range
 * @kind: what the rest is used for, enum test_mirror_kind
 * @writable: entries are for writing
 * @mirror: of a table
 * @mutex: lock of @mirror, for TEST_MIRROR_MUTEX
 * @pages: the table; entries hold no reference
 * @npages: its size
 * @drops: for struct test_mirror_stats, like the following
 * @hits: see there
 * @dropped_pages: see there
 * @installed: see there
 * @nr_waits: see there
 * @worst_wait_ns: see there
 * @uses: uses of entries outside the lock, oldest first
 * @next_use: number of the next one
 * @uses_wait: for those who wait for one to end
 * @domain: of the window
 * @window: the window
 * @cache: the cache
 * @start: the range of the cache that is used
 * @end: where that ends
 * @rcu: for freeing after the last section
 *
 * All that changes is under the mirror's lock.
 */
struct test_mirror {
	unsigned int kind;
	bool writable;

	struct mmu_range_mirror mirror;
	struct mutex mutex;	/* the table and the counters */
	struct page **pages;
	unsigned long npages;
	u64 drops[MMU_MIRROR_NR_EVENTS];
	u64 hits[MMU_MIRROR_NR_EVENTS];
	u64 dropped_pages;
	u64 installed;
	u64 nr_waits;
	u64 worst_wait_ns;
	struct list_head uses;
	u64 next_use;
	wait_queue_head_t uses_wait;

	struct mmu_mirror_domain *domain;
	struct mmu_mirror_window *window;
	struct mmu_mirror_cache *cache;
	unsigned long start;
	unsigned long end;
	struct rcu_head rcu;
};

/* One use of an entry outside the lock. */
struct test_use {
	struct list_head node;
	u64 number;
};

/**
 * struct test_file - an open file
 * @sem: held for reading while @tm is used, for writing while it is replaced.
 *	Holds of windows are in RCU instead, as readers of windows should be
 * @tm: the mirror, or NULL
 * @releases: number of releases
 * @holding: holds in progress
 * @watched: the mirror whose injection points count. Only ever compared
 * @mm: whose waits count at the point that has no mirror. Only ever compared
 * @stops: how many more tasks are to be stopped, by point
 * @stop_us: for how long
 * @points: how often a point was reached while armed
 * @stopped: tasks standing there
 */
struct test_file {
	struct rw_semaphore sem;	/* see above */
	struct test_mirror __rcu *tm;
	atomic_t releases;
	atomic_t holding;

	struct mmu_range_mirror *watched;
	struct mm_struct *mm;
	atomic_t stops[MMU_RANGE_MIRROR_NR_POINTS];
	u32 stop_us[MMU_RANGE_MIRROR_NR_POINTS];
	atomic_t points[MMU_RANGE_MIRROR_NR_POINTS];
	atomic_t stopped[MMU_RANGE_MIRROR_NR_POINTS];
};

static atomic_t nr_live;

static struct mmu_range_mirror *test_core(struct test_mirror *tm)
{
	return tm->window ? &tm->window->mirror : &tm->mirror;
}

static struct test_mirror *test_file_mirror(struct test_file *tf)
{
	return rcu_dereference_protected(tf->tm, lockdep_is_held(&tf->sem));
}

static bool test_is_window(struct test_mirror *tm)
{
	return tm->kind == TEST_MIRROR_WINDOW;
}

static bool test_is_cache(struct test_mirror *tm)
{
	return tm->kind == TEST_MIRROR_CACHE;
}

static bool test_is_table(struct test_mirror *tm)
{
	return !test_is_window(tm) && !test_is_cache(tm);
}

static unsigned long test_index(struct test_mirror *tm, unsigned long addr)
{
	return (addr - tm->mirror.start) >> PAGE_SHIFT;
}

/* The table. */

static void test_invalidate(struct mmu_range_mirror *mirror,
			    const struct mmu_notifier_range *range,
			    struct mmu_mirror_gather *gather)
{
	struct test_mirror *tm = container_of(mirror, struct test_mirror, mirror);
	unsigned long addr = max(range->start, mirror->start);
	unsigned long end = min(range->end, mirror->end);
	u64 dropped = 0;

	for (; addr < end; addr += PAGE_SIZE) {
		struct page **entry = &tm->pages[test_index(tm, addr)];

		if (*entry)
			dropped++;
		*entry = NULL;
	}
	tm->hits[range->event]++;
	if (dropped)
		tm->drops[range->event]++;
	tm->dropped_pages += dropped;
}

static bool test_uses_over(struct test_mirror *tm, u64 limit)
{
	struct test_use *oldest;
	bool over;

	mmu_range_mirror_lock(&tm->mirror);
	oldest = list_first_entry_or_null(&tm->uses, struct test_use, node);
	over = !oldest || oldest->number >= limit;
	mmu_range_mirror_unlock(&tm->mirror);
	return over;
}

/* Not for later uses, or a stream of them would be waited for forever. */
static void test_wait(struct mmu_range_mirror *mirror,
		      const struct mmu_notifier_range *range)
{
	struct test_mirror *tm = container_of(mirror, struct test_mirror, mirror);
	u64 began = ktime_get_ns();
	u64 limit;

	mmu_range_mirror_lock(mirror);
	limit = tm->next_use;
	mmu_range_mirror_unlock(mirror);
	if (test_uses_over(tm, limit))
		return;
	wait_event(tm->uses_wait, test_uses_over(tm, limit));
	mmu_range_mirror_lock(mirror);
	tm->nr_waits++;
	tm->worst_wait_ns = max(tm->worst_wait_ns, ktime_get_ns() - began);
	mmu_range_mirror_unlock(mirror);
}

/* Uses are over when the lock is dropped. */
static const struct mmu_range_mirror_ops test_locked_ops = {
	.invalidate = test_invalidate,
};

static const struct mmu_range_mirror_ops test_sleeping_ops = {
	.invalidate = test_invalidate,
	.wait = test_wait,
	.sleeps = true,
};

static int test_install(struct mmu_range_mirror *mirror, unsigned long addr,
			struct page *page, void *ctx)
{
	struct test_mirror *tm = container_of(mirror, struct test_mirror, mirror);

	tm->pages[test_index(tm, addr)] = page;
	tm->installed++;
	return 0;
}

static int test_open_table(struct test_mirror *tm,
			   const struct test_mirror_open *arg)
{
	struct mmu_mirror_lock lock = { .mutex = &tm->mutex };
	unsigned long end;
	int ret;

	/* The helper checks it all, but only the table has a limit. */
	if (check_add_overflow((unsigned long)arg->start,
			       (unsigned long)arg->length, &end))
		return -EOVERFLOW;
	if (end <= current->mm->task_size && arg->length > TEST_MAX_LENGTH)
		return -E2BIG;
	tm->npages = min_t(u64, arg->length, TEST_MAX_LENGTH) >> PAGE_SHIFT;
	tm->pages = kvcalloc(max(tm->npages, 1UL), sizeof(*tm->pages),
			     GFP_KERNEL_ACCOUNT);
	if (!tm->pages)
		return -ENOMEM;
	ret = mmu_range_mirror_insert(&tm->mirror, current->mm, arg->start,
				      arg->length,
				      tm->kind == TEST_MIRROR_SLEEP ?
				      &test_sleeping_ops : &test_locked_ops,
				      tm->kind == TEST_MIRROR_MUTEX ?
				      &lock : NULL);
	if (ret)
		kvfree(tm->pages);
	return ret;
}

static int test_open_window(struct test_mirror *tm,
			    const struct test_mirror_open *arg)
{
	struct mmu_mirror_window *window;

	tm->domain = mmu_mirror_domain_alloc();
	if (!tm->domain)
		return -ENOMEM;
	window = mmu_mirror_window_open(tm->domain, current->mm, arg->start,
					arg->length, tm->writable);
	if (IS_ERR(window)) {
		mmu_mirror_domain_destroy(tm->domain);
		return PTR_ERR(window);
	}
	tm->window = window;
	return 0;
}

static int test_open_cache(struct test_mirror *tm,
			   const struct test_mirror_open *arg)
{
	struct mmu_mirror_cache *cache;
	unsigned long end;

	if (check_add_overflow((unsigned long)arg->start,
			       (unsigned long)arg->length, &end))
		return -EOVERFLOW;
	if (!arg->length || end > current->mm->task_size)
		return -EINVAL;
	if (arg->length > TEST_CHUNKS / 4 * MMU_MIRROR_CACHE_CHUNK)
		return -E2BIG;
	cache = mmu_mirror_cache_open(current->mm, TEST_CHUNKS);
	if (IS_ERR(cache))
		return PTR_ERR(cache);
	tm->cache = cache;
	tm->start = arg->start;
	tm->end = end;
	return 0;
}

static void test_close(struct test_mirror *tm)
{
	if (!tm)
		return;
	if (tm->cache) {
		mmu_mirror_cache_close(tm->cache);
	} else if (tm->window) {
		mmu_mirror_window_close(tm->window);
		mmu_mirror_domain_destroy(tm->domain);
	} else {
		mmu_range_mirror_remove(&tm->mirror);
		kvfree(tm->pages);
	}
	mutex_destroy(&tm->mutex);
	kfree_rcu(tm, rcu);
	atomic_dec(&nr_live);
}

static struct test_mirror *test_create(const struct test_mirror_open *arg)
{
	struct test_mirror *tm = kzalloc(sizeof(*tm), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!tm)
		return ERR_PTR(-ENOMEM);
	tm->kind = arg->kind;
	tm->writable = arg->flags & TEST_MIRROR_WRITE;
	mutex_init(&tm->mutex);
	INIT_LIST_HEAD(&tm->uses);
	init_waitqueue_head(&tm->uses_wait);
	if (test_is_window(tm))
		ret = test_open_window(tm, arg);
	else if (test_is_cache(tm))
		ret = test_open_cache(tm, arg);
	else
		ret = test_open_table(tm, arg);
	if (ret) {
		kfree(tm);
		return ERR_PTR(ret);
	}
	atomic_inc(&nr_live);
	return tm;
}

/* On 32-bit machines, commands can name addresses that there are not. */
static bool test_representable(u64 start, u64 length)
{
	return start == (unsigned long)start &&
	       length == (unsigned long)length;
}

static long test_ioctl_open(struct test_file *tf, void __user *uarg)
{
	struct test_mirror_open arg;
	struct test_mirror *tm;
	long ret = 0;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.reserved || arg.kind >= TEST_MIRROR_NR_KINDS ||
	    (arg.flags & ~TEST_MIRROR_WRITE) ||
	    !test_representable(arg.start, arg.length))
		return -EINVAL;

	if (down_write_killable(&tf->sem))
		return -EINTR;
	if (test_file_mirror(tf)) {
		ret = -EBUSY;
		goto unlock;
	}
	tm = test_create(&arg);
	if (IS_ERR(tm)) {
		ret = PTR_ERR(tm);
		goto unlock;
	}
	rcu_assign_pointer(tf->tm, tm);
	WRITE_ONCE(tf->watched, test_is_cache(tm) ? NULL : test_core(tm));
unlock:
	up_write(&tf->sem);
	return ret;
}

/*
 * The mirror is taken out of the file first: other commands, above all those
 * that end stops, must not wait for invalidations.
 */
static long test_ioctl_close(struct test_file *tf)
{
	struct test_mirror *tm;

	if (down_write_killable(&tf->sem))
		return -EINTR;
	tm = test_file_mirror(tf);
	RCU_INIT_POINTER(tf->tm, NULL);
	up_write(&tf->sem);
	if (!tm)
		return -ENXIO;
	test_close(tm);
	return 0;
}

static long test_ioctl_populate(struct test_mirror *tm, void __user *uarg)
{
	struct test_mirror_range arg;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.reserved || !PAGE_ALIGNED(arg.length) ||
	    !test_representable(arg.start, arg.length))
		return -EINVAL;
	if (!test_is_table(tm))
		return -EOPNOTSUPP;
	return mmu_range_mirror_populate(&tm->mirror, arg.start,
					 arg.length >> PAGE_SHIFT,
					 tm->writable ? FOLL_WRITE : 0,
					 test_install, NULL);
}

/* A lookup by a worker, as drivers do it. */
struct test_lookup {
	struct work_struct work;
	struct completion done;
	struct test_mirror *tm;
	struct test_mirror_lookup *arg;
	struct mmu_mirror_span span;
	int ret;
};

static void test_lookup_install(struct test_lookup *lookup)
{
	struct test_mirror *tm = lookup->tm;
	struct mmu_mirror_span *span = &lookup->span;
	unsigned long i;

	for (i = 0; i < span->npages; i++) {
		unsigned long pfn = span->pfns[i];

		if (!(pfn & HMM_PFN_VALID) ||
		    (tm->writable && !(pfn & HMM_PFN_WRITE)))
			continue;
		tm->pages[test_index(tm, span->start + i * PAGE_SIZE)] =
			hmm_pfn_to_page(pfn);
		tm->installed++;
		lookup->arg->huge += hmm_pfn_to_map_order(pfn) > 0;
	}
}

static void test_lookup_work(struct work_struct *work)
{
	struct test_lookup *lookup = container_of(work, struct test_lookup, work);
	struct mmu_range_mirror *mirror = &lookup->tm->mirror;
	struct mmu_mirror_lookup what = {
		.spans = &lookup->span,
		.nr_spans = 1,
		.flags = lookup->arg->flags,
	};

	lookup->ret = mmu_range_mirror_lookup(mirror, &what);
	if (!lookup->ret) {
		test_lookup_install(lookup);
		mmu_range_mirror_unlock(mirror);
	}
	lookup->arg->done = what.done;
	complete(&lookup->done);
}

static long test_ioctl_lookup(struct test_mirror *tm, void __user *uarg)
{
	struct test_mirror_lookup arg;
	struct test_lookup lookup = { .tm = tm, .arg = &arg };

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.reserved || !PAGE_ALIGNED(arg.length) ||
	    !test_representable(arg.start, arg.length))
		return -EINVAL;
	if (!test_is_table(tm))
		return -EOPNOTSUPP;
	lookup.span.start = arg.start;
	lookup.span.npages = arg.length >> PAGE_SHIFT;
	if (lookup.span.npages > TEST_MIRROR_LOOKUP_MAX)
		return -E2BIG;
	lookup.span.pfns = kvcalloc(TEST_MIRROR_LOOKUP_MAX,
				    sizeof(*lookup.span.pfns),
				    GFP_KERNEL_ACCOUNT);
	if (!lookup.span.pfns)
		return -ENOMEM;
	arg.huge = 0;
	init_completion(&lookup.done);
	INIT_WORK_ONSTACK(&lookup.work, test_lookup_work);
	queue_work(system_long_wq, &lookup.work);
	/* Whoever should answer the worker's fault may be this very process. */
	if (wait_for_completion_killable(&lookup.done))
		mmu_range_mirror_cancel(&tm->mirror);
	flush_work(&lookup.work);
	destroy_work_on_stack(&lookup.work);
	kvfree(lookup.span.pfns);
	if (copy_to_user(uarg, &arg, sizeof(arg)))
		return -EFAULT;
	return lookup.ret;
}

/* Reading and writing through the mirror, never beyond a page. */

static bool test_in_range(struct test_mirror *tm, u64 addr, u64 size)
{
	u64 start = tm->mirror.start;
	u64 end = tm->mirror.end;

	if (tm->window) {
		start = tm->window->uaddr;
		end = start + tm->window->size;
	} else if (tm->cache) {
		start = tm->start;
		end = tm->end;
	}
	return addr >= start && addr < end && size <= end - addr;
}

static void test_copy(void *kaddr, void *buf, size_t size, bool write)
{
	void *to = write ? kaddr : buf;
	void *from = write ? buf : kaddr;

	/* The process may be writing to its memory at the same time. */
	data_race(memcpy(to, from, size));
}

static int test_access_window(struct test_mirror *tm, unsigned long addr,
			      void *buf, size_t size, bool write)
{
	void *kaddr;

	mmu_mirror_enter(tm->domain);
	kaddr = mmu_mirror_window_ptr(tm->window, addr - tm->window->uaddr,
				      size);
	if (kaddr)
		test_copy(kaddr, buf, size, write);
	mmu_mirror_exit(tm->domain);
	return kaddr ? 0 : -ENOENT;
}

static int test_access_cache(struct test_mirror *tm, unsigned long addr,
			     void *buf, size_t size, bool write)
{
	void *kaddr;

	if (write)
		return mmu_mirror_cache_write(tm->cache, addr, buf, size) < size ?
		       -ENOENT : 0;
	if (!tm->writable)
		return mmu_mirror_cache_read(tm->cache, buf, addr, size) < size ?
		       -ENOENT : 0;
	/* The windows that are written through may be read as well. */
	mmu_mirror_enter(tm->cache->domain);
	kaddr = mmu_mirror_cache_ptr(tm->cache, addr, size, true);
	if (kaddr)
		test_copy(kaddr, buf, size, false);
	mmu_mirror_exit(tm->cache->domain);
	return kaddr ? 0 : -ENOENT;
}

static int test_access_table(struct test_mirror *tm, unsigned long addr,
			     void *buf, size_t size, bool write)
{
	struct page *page;

	mmu_range_mirror_lock(&tm->mirror);
	page = tm->pages[test_index(tm, addr)];
	if (page) {
		void *kaddr = kmap_local_page(page);

		test_copy(kaddr + offset_in_page(addr), buf, size, write);
		kunmap_local(kaddr);
	}
	mmu_range_mirror_unlock(&tm->mirror);
	return page ? 0 : -ENOENT;
}

static int test_access(struct test_mirror *tm, unsigned long addr, void *buf,
		       size_t size, bool write)
{
	if (test_is_window(tm))
		return test_access_window(tm, addr, buf, size, write);
	if (test_is_cache(tm))
		return test_access_cache(tm, addr, buf, size, write);
	return test_access_table(tm, addr, buf, size, write);
}

static long test_io(struct test_mirror *tm, const struct test_mirror_io *arg,
		    void *buf, bool write)
{
	void __user *data = u64_to_user_ptr(arg->data);
	u32 done = 0;

	while (done < arg->size) {
		unsigned long addr = arg->addr + done;
		size_t n = min_t(size_t, arg->size - done,
				 PAGE_SIZE - offset_in_page(addr));

		if (fatal_signal_pending(current))
			return -EINTR;
		if (write && copy_from_user(buf, data + done, n))
			return -EFAULT;
		if (test_access(tm, addr, buf, n, write))
			return done ?: -ENOENT;
		if (!write && copy_to_user(data + done, buf, n))
			return -EFAULT;
		done += n;
	}
	return done;
}

static long test_ioctl_io(struct test_mirror *tm, void __user *uarg, bool write)
{
	struct test_mirror_io arg;
	void *buf;
	long ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.reserved || !arg.size)
		return -EINVAL;
	if (arg.size > TEST_MIRROR_IO_MAX)
		return -E2BIG;
	if (!test_in_range(tm, arg.addr, arg.size))
		return -EINVAL;
	if (write && !tm->writable)
		return -EPERM;
	buf = kmalloc(PAGE_SIZE, GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;
	ret = test_io(tm, &arg, buf, write);
	kfree(buf);
	return ret;
}

/* Holds. */

struct test_holder {
	struct test_file *tf;
	struct test_mirror *tm;
	struct test_mirror_hold *arg;
};

/* The held access itself. What happens meanwhile must not let it go on. */
static void test_use_entry(struct test_holder *holder, u64 *kaddr, bool sleeps)
{
	struct test_mirror_hold *arg = holder->arg;
	struct test_mirror *tm = holder->tm;
	int releases = atomic_read(&holder->tf->releases);
	u64 end;

	arg->was = READ_ONCE(*kaddr);
	arg->began_ns = ktime_get_ns();
	end = arg->began_ns + arg->time_us * NSEC_PER_USEC;
	atomic_inc(&holder->tf->holding);
	while (ktime_get_ns() < end &&
	       releases == atomic_read(&holder->tf->releases)) {
		if (sleeps) {
			usleep_range(20, 50);
		} else if (arg->flags & TEST_MIRROR_NESTED) {
			mmu_mirror_enter(tm->domain);
			mmu_mirror_exit(tm->domain);
		} else {
			cpu_relax();
		}
	}
	if (tm->writable)
		WRITE_ONCE(*kaddr, arg->value);
	atomic_dec(&holder->tf->holding);
	arg->ended_ns = ktime_get_ns();
}

static long test_hold_window(struct test_holder *holder)
{
	struct test_mirror *tm = holder->tm;
	u64 *kaddr;

	mmu_mirror_enter(tm->domain);
	kaddr = mmu_mirror_window_ptr(tm->window,
				      holder->arg->addr - tm->window->uaddr,
				      sizeof(*kaddr));
	if (kaddr)
		test_use_entry(holder, kaddr, false);
	mmu_mirror_exit(tm->domain);
	return kaddr ? 0 : -ENOENT;
}

static void test_use_page(struct test_holder *holder, struct page *page,
			  bool sleeps)
{
	void *kaddr = kmap_local_page(page);

	test_use_entry(holder, kaddr + offset_in_page(holder->arg->addr),
		       sleeps);
	kunmap_local(kaddr);
}

static long test_hold_lock(struct test_holder *holder)
{
	struct test_mirror *tm = holder->tm;
	struct page *page;

	mmu_range_mirror_lock(&tm->mirror);
	page = tm->pages[test_index(tm, holder->arg->addr)];
	if (page)
		test_use_page(holder, page, tm->kind == TEST_MIRROR_MUTEX);
	mmu_range_mirror_unlock(&tm->mirror);
	return page ? 0 : -ENOENT;
}

/* The page stays while the use is on the list: the invalidation waits. */
static long test_hold_use(struct test_holder *holder)
{
	struct test_mirror *tm = holder->tm;
	struct test_use use;
	struct page *page;

	mmu_range_mirror_lock(&tm->mirror);
	page = tm->pages[test_index(tm, holder->arg->addr)];
	if (page) {
		use.number = tm->next_use++;
		list_add_tail(&use.node, &tm->uses);
	}
	mmu_range_mirror_unlock(&tm->mirror);
	if (!page)
		return -ENOENT;

	test_use_page(holder, page, true);

	mmu_range_mirror_lock(&tm->mirror);
	list_del(&use.node);
	mmu_range_mirror_unlock(&tm->mirror);
	wake_up_all(&tm->uses_wait);
	return 0;
}

static bool test_hold_ok(struct test_holder *holder)
{
	return test_in_range(holder->tm, holder->arg->addr, sizeof(u64)) &&
	       (test_is_window(holder->tm) || !holder->arg->flags) &&
	       !test_is_cache(holder->tm);
}

/* Return 1 if it was no window. */
static long test_hold_rcu(struct test_holder *holder)
{
	long ret = 1;

	rcu_read_lock();
	holder->tm = rcu_dereference(holder->tf->tm);
	if (!holder->tm)
		ret = -ENXIO;
	else if (!test_hold_ok(holder))
		ret = -EINVAL;
	else if (test_is_window(holder->tm))
		ret = test_hold_window(holder);
	rcu_read_unlock();
	return ret;
}

static long test_hold_sem(struct test_holder *holder)
{
	long ret;

	if (down_read_killable(&holder->tf->sem))
		return -EINTR;
	holder->tm = test_file_mirror(holder->tf);
	if (!holder->tm)
		ret = -ENXIO;
	else if (!test_hold_ok(holder))
		ret = -EINVAL;
	else if (test_is_window(holder->tm))
		ret = -EAGAIN;
	else if (holder->tm->kind == TEST_MIRROR_SLEEP)
		ret = test_hold_use(holder);
	else
		ret = test_hold_lock(holder);
	up_read(&holder->tf->sem);
	return ret;
}

static long test_ioctl_hold(struct test_file *tf, void __user *uarg)
{
	struct test_mirror_hold arg;
	struct test_holder holder = { .tf = tf, .arg = &arg };
	long ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.time_us > TEST_MIRROR_HOLD_MAX_US ||
	    (arg.flags & ~TEST_MIRROR_NESTED) ||
	    !IS_ALIGNED(arg.addr, sizeof(u64)))
		return -EINVAL;

	ret = test_hold_rcu(&holder);
	if (ret > 0)
		ret = test_hold_sem(&holder);
	if (!ret && copy_to_user(uarg, &arg, sizeof(arg)))
		return -EFAULT;
	return ret;
}

/* Filling a window. */

static long test_ioctl_prefetch(struct test_mirror *tm)
{
	if (!test_is_window(tm))
		return -EOPNOTSUPP;
	mmu_mirror_window_prefetch(tm->window);
	return 0;
}

/* A fill that is under way may have passed what the caller has just made. */
static long test_fill(struct mmu_mirror_window *window, u64 end)
{
	unsigned long before = READ_ONCE(window->fills);

	if (work_busy(&window->fill))
		before++;
	for (;;) {
		/* Asked first, or the end of the fill could be missed. */
		bool busy = work_busy(&window->fill);

		if ((long)(READ_ONCE(window->fills) - before) > 0)
			return 0;
		if (signal_pending(current))
			return -EINTR;
		if (ktime_get_ns() > end)
			return -ETIMEDOUT;
		if (!busy)
			mmu_mirror_window_prefetch(window);
		usleep_range(50, 200);
	}
}

/* A chunk has a window once it has been missed; nothing makes it go here. */
static struct mmu_mirror_window *test_chunk_window(struct test_mirror *tm,
						   unsigned long addr)
{
	struct mmu_mirror_window *window;

	mmu_mirror_enter(tm->cache->domain);
	window = mmu_mirror_cache_find(tm->cache, addr, tm->writable);
	if (!window)
		mmu_mirror_cache_miss(tm->cache, addr, tm->writable);
	mmu_mirror_exit(tm->cache->domain);
	return window;
}

static long test_fill_cache(struct test_mirror *tm, u64 end)
{
	unsigned long addr = tm->start;
	long ret;

	while (addr < tm->end) {
		struct mmu_mirror_window *window = test_chunk_window(tm, addr);

		if (!window) {
			if (signal_pending(current))
				return -EINTR;
			if (ktime_get_ns() > end)
				return -ETIMEDOUT;
			usleep_range(50, 200);
			continue;
		}
		ret = test_fill(window, end);
		if (ret)
			return ret;
		addr = round_down(addr, MMU_MIRROR_CACHE_CHUNK) +
		       MMU_MIRROR_CACHE_CHUNK;
	}
	return 0;
}

static long test_ioctl_fill(struct test_mirror *tm)
{
	u64 end = ktime_get_ns() + TEST_FILL_TIMEOUT_NS;

	if (test_is_window(tm))
		return test_fill(tm->window, end);
	if (test_is_cache(tm))
		return test_fill_cache(tm, end);
	return -EOPNOTSUPP;
}

/* Counters. */

static bool test_window_maps(struct mmu_mirror_window *window, unsigned long i)
{
	if (window->npages > MMU_MIRROR_CHUNK)
		return mmu_mirror_window_far(window, i);
	return READ_ONCE(window->kaddr[i]);
}

static unsigned long test_count(struct test_mirror *tm, unsigned long first,
				unsigned long n)
{
	unsigned long i, mapped = 0;

	for (i = first; i < first + n; i++)
		mapped += tm->window ? test_window_maps(tm->window, i) :
				       !!tm->pages[i];
	return mapped;
}

/* Pages of [start, end) that a cache has pointers to. */
static unsigned long test_count_cache(struct test_mirror *tm,
				      unsigned long start, unsigned long end)
{
	struct mmu_mirror_window *window;
	unsigned long mapped = 0;

	for (; start < end; start += PAGE_SIZE) {
		mmu_mirror_enter(tm->cache->domain);
		window = mmu_mirror_cache_find(tm->cache, start, tm->writable);
		if (window)
			mapped += !!mmu_mirror_window_peek(window,
							   start - window->uaddr,
							   1);
		mmu_mirror_exit(tm->cache->domain);
	}
	return mapped;
}

static long test_ioctl_mapped(struct test_mirror *tm, void __user *uarg)
{
	struct mmu_range_mirror *mirror = test_core(tm);
	struct test_mirror_range arg;
	long mapped;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (!arg.reserved && PAGE_ALIGNED(arg.start | arg.length) &&
	    test_is_cache(tm) && test_in_range(tm, arg.start, arg.length))
		return test_count_cache(tm, arg.start, arg.start + arg.length);
	if (arg.reserved || !PAGE_ALIGNED(arg.start | arg.length) ||
	    arg.start < mirror->start || arg.start >= mirror->end ||
	    arg.length > mirror->end - arg.start)
		return -EINVAL;
	mmu_range_mirror_lock(mirror);
	mapped = test_count(tm, (arg.start - mirror->start) >> PAGE_SHIFT,
			    arg.length >> PAGE_SHIFT);
	mmu_range_mirror_unlock(mirror);
	return mapped;
}

static void test_stats_window(struct test_mirror *tm,
			      struct test_mirror_stats *stats)
{
	struct mmu_mirror_window *window = tm->window;
	unsigned long i;

	for (i = 0; i < MMU_MIRROR_NR_EVENTS; i++)
		stats->drops[i] = window->drops[i];
	stats->dropped_pages = window->dropped_pages;
	stats->installed = window->installed;
	stats->fills = READ_ONCE(window->fills);
	stats->collisions = window->collisions;
	stats->nr_waits = atomic_long_read(&tm->domain->nr_waits);
	stats->nr_interrupts = atomic_long_read(&tm->domain->nr_interrupts);
	stats->worst_wait_ns = atomic_long_read(&tm->domain->worst_wait_ns);
	stats->mapped = test_count(tm, 0, window->npages);
}

static void test_stats_table(struct test_mirror *tm,
			     struct test_mirror_stats *stats)
{
	memcpy(stats->drops, tm->drops, sizeof(stats->drops));
	memcpy(stats->hits, tm->hits, sizeof(stats->hits));
	stats->dropped_pages = tm->dropped_pages;
	stats->installed = tm->installed;
	stats->nr_waits = tm->nr_waits;
	stats->worst_wait_ns = tm->worst_wait_ns;
	stats->mapped = test_count(tm, 0, tm->npages);
}

/* All of it, but for the pages that are mapped. */
static void test_stats_cache(struct test_mirror *tm,
			     struct test_mirror_stats *stats)
{
	struct mmu_mirror_domain *domain = tm->cache->domain;
	struct mmu_mirror_cache_stats cache;
	unsigned long i;

	mmu_mirror_cache_get_stats(tm->cache, &cache);
	for (i = 0; i < MMU_MIRROR_NR_EVENTS; i++)
		stats->drops[i] = cache.drops[i];
	/* Whatever was installed is mapped, or has been dropped. */
	stats->dropped_pages = cache.installed - cache.mapped;
	stats->installed = cache.installed;
	stats->nr_dirtied = cache.dirtied;
	stats->fills = cache.fills;
	stats->collisions = cache.collisions;
	stats->nr_waits = atomic_long_read(&domain->nr_waits);
	stats->worst_wait_ns = atomic_long_read(&domain->worst_wait_ns);
	stats->mapped = test_count_cache(tm, tm->start & PAGE_MASK, tm->end);
}

static void test_stats_mirror(struct test_mirror *tm,
			      struct test_mirror_stats *stats)
{
	struct mmu_range_mirror *mirror = test_core(tm);

	if (test_is_cache(tm)) {
		test_stats_cache(tm, stats);
		return;
	}
	mmu_range_mirror_lock(mirror);
	stats->nr_dirtied = mirror->nr_dirtied;
	if (test_is_window(tm))
		test_stats_window(tm, stats);
	else
		test_stats_table(tm, stats);
	mmu_range_mirror_unlock(mirror);
}

static long test_ioctl_stats(struct test_file *tf, void __user *uarg)
{
	struct test_mirror_stats stats = {
		.injectable = IS_ENABLED(CONFIG_MMU_RANGE_MIRROR_INJECT),
	};
	struct test_mirror *tm;
	unsigned int i;

	if (down_read_killable(&tf->sem))
		return -EINTR;
	tm = test_file_mirror(tf);
	if (tm)
		test_stats_mirror(tm, &stats);
	up_read(&tf->sem);
	for (i = 0; i < MMU_RANGE_MIRROR_NR_POINTS; i++) {
		stats.points[i] = atomic_read(&tf->points[i]);
		stats.stopped[i] = atomic_read(&tf->stopped[i]);
	}
	stats.live = atomic_read(&nr_live);
	return copy_to_user(uarg, &stats, sizeof(stats)) ? -EFAULT : 0;
}

/* Injection points. */

#ifdef CONFIG_MMU_RANGE_MIRROR_INJECT
static DEFINE_MUTEX(inject_mutex);	/* who sets the injection */
static struct test_file *inject_owner;

/* An invalidation that must not block is only found out with debugging. */
static bool test_may_sleep(void)
{
#ifdef CONFIG_DEBUG_ATOMIC_SLEEP
	return !current->non_block_count;
#else
	return true;
#endif
}

static void test_stop(struct test_file *tf, enum mmu_range_mirror_point point)
{
	u64 end = ktime_get_ns() +
		  READ_ONCE(tf->stop_us[point]) * NSEC_PER_USEC;
	int releases = atomic_read(&tf->releases);

	atomic_inc(&tf->stopped[point]);
	while (ktime_get_ns() < end && releases == atomic_read(&tf->releases)) {
		if (test_may_sleep())
			usleep_range(20, 50);
		else
			cpu_relax();
	}
	atomic_dec(&tf->stopped[point]);
}

static void test_inject(enum mmu_range_mirror_point point,
			struct mmu_range_mirror *mirror)
{
	struct test_file *tf = READ_ONCE(inject_owner);

	if (!tf || (mirror ? mirror != READ_ONCE(tf->watched) :
			     current->mm != tf->mm))
		return;
	if (atomic_dec_if_positive(&tf->stops[point]) < 0)
		return;
	atomic_inc(&tf->points[point]);
	test_stop(tf, point);
}

static long test_ioctl_inject(struct test_file *tf, void __user *uarg)
{
	struct test_mirror_inject arg;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.reserved || arg.point >= TEST_MIRROR_NR_POINTS ||
	    arg.times > TEST_MAX_STOPS || arg.time_us > TEST_MIRROR_STOP_MAX_US)
		return -EINVAL;

	if (mutex_lock_killable(&inject_mutex))
		return -EINTR;
	if (inject_owner && inject_owner != tf) {
		mutex_unlock(&inject_mutex);
		return -EBUSY;
	}
	WRITE_ONCE(tf->stop_us[arg.point], arg.time_us);
	if (!inject_owner) {
		tf->mm = current->mm;
		WRITE_ONCE(inject_owner, tf);
		mmu_range_mirror_set_injection(test_inject);
	}
	atomic_set(&tf->stops[arg.point], arg.times);
	mutex_unlock(&inject_mutex);
	return 0;
}

static void test_disarm(struct test_file *tf)
{
	unsigned int i;

	mutex_lock(&inject_mutex);
	if (inject_owner == tf) {
		for (i = 0; i < MMU_RANGE_MIRROR_NR_POINTS; i++)
			atomic_set(&tf->stops[i], 0);
		atomic_inc(&tf->releases);
		/* Nobody stands at a point when this is over. */
		mmu_range_mirror_set_injection(NULL);
		WRITE_ONCE(inject_owner, NULL);
	}
	mutex_unlock(&inject_mutex);
}
#else
static long test_ioctl_inject(struct test_file *tf, void __user *uarg)
{
	return -EOPNOTSUPP;
}

static void test_disarm(struct test_file *tf)
{
}
#endif

/* The file. */

static long test_ioctl_mirror(struct test_mirror *tm, unsigned int cmd,
			      void __user *uarg)
{
	switch (cmd) {
	case TEST_MIRROR_IOC_POPULATE:
		return tm ? test_ioctl_populate(tm, uarg) : -ENXIO;
	case TEST_MIRROR_IOC_LOOKUP:
		return tm ? test_ioctl_lookup(tm, uarg) : -ENXIO;
	case TEST_MIRROR_IOC_READ:
		return tm ? test_ioctl_io(tm, uarg, false) : -ENXIO;
	case TEST_MIRROR_IOC_WRITE:
		return tm ? test_ioctl_io(tm, uarg, true) : -ENXIO;
	case TEST_MIRROR_IOC_MAPPED:
		return tm ? test_ioctl_mapped(tm, uarg) : -ENXIO;
	case TEST_MIRROR_IOC_PREFETCH:
		return tm ? test_ioctl_prefetch(tm) : -ENXIO;
	case TEST_MIRROR_IOC_FILL:
		return tm ? test_ioctl_fill(tm) : -ENXIO;
	default:
		return -ENOTTY;
	}
}

static long test_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct test_file *tf = file->private_data;
	void __user *uarg = (void __user *)arg;
	struct test_mirror *tm;
	long ret;

	switch (cmd) {
	case TEST_MIRROR_IOC_OPEN:
		return test_ioctl_open(tf, uarg);
	case TEST_MIRROR_IOC_CLOSE:
		return test_ioctl_close(tf);
	case TEST_MIRROR_IOC_HOLD:
		return test_ioctl_hold(tf, uarg);
	case TEST_MIRROR_IOC_HOLDING:
		return atomic_read(&tf->holding);
	case TEST_MIRROR_IOC_RELEASE:
		atomic_inc(&tf->releases);
		return 0;
	case TEST_MIRROR_IOC_STATS:
		return test_ioctl_stats(tf, uarg);
	case TEST_MIRROR_IOC_INJECT:
		return test_ioctl_inject(tf, uarg);
	}

	if (down_read_killable(&tf->sem))
		return -EINTR;
	tm = test_file_mirror(tf);
	ret = test_ioctl_mirror(tm, cmd, uarg);
	up_read(&tf->sem);
	return ret;
}

static int test_open(struct inode *inode, struct file *file)
{
	struct test_file *tf = kzalloc(sizeof(*tf), GFP_KERNEL_ACCOUNT);

	if (!tf)
		return -ENOMEM;
	init_rwsem(&tf->sem);
	file->private_data = tf;
	return nonseekable_open(inode, file);
}

static int test_release(struct inode *inode, struct file *file)
{
	struct test_file *tf = file->private_data;

	test_disarm(tf);
	test_close(rcu_dereference_protected(tf->tm, true));
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
	.name = "test_mmu_range_mirror",
	.fops = &test_fops,
	.mode = 0600,
};

module_misc_device(test_misc);

MODULE_DESCRIPTION("Test device for the mirroring of user memory");
MODULE_LICENSE("GPL");
