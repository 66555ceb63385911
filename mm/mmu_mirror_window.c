// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: kernel pointers to user memory, and the section guard's
 * invalidating side. The reading side is inline, in the header.
 *
 * A window is a mirror (mm/mmu_range_mirror.c) whose entries are pointers. The
 * overview is in Documentation/mm/mmu_range_mirror.rst.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/bitops.h>
#include <linux/cacheinfo.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/memremap.h>
#include <linux/mmu_mirror_window.h>
#include <linux/mmu_range_mirror_inject.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <trace/events/mmu_range_mirror.h>

/* How often a fill starts over before it gives up until the next miss. */
#define WINDOW_RETRIES		3
/* Pages looked up at once. Fast GUP disables interrupts for all of them. */
#define WINDOW_BATCH		64
/* Pages that one fill looks at, a power of two: half a millisecond. */
#define WINDOW_FILL		8192UL
/* A window of 1 GiB; the pointers to it take 2 MiB. */
#define WINDOW_MAX_PAGES	(SZ_1G >> PAGE_SHIFT)
/* How long a window rests between fills while invalidations go on ... */
#define WINDOW_STORM_REST	max(1UL, HZ / 50UL)
/* ... and while there is nothing that could be mapped. */
#define WINDOW_EMPTY_REST	((unsigned long)HZ)

/* The section guard, invalidating side. */

/* Where a wait copies the domain's mask to, with preemption off. */
static DEFINE_PER_CPU(cpumask_var_t, drain_mask);

/**
 * mmu_mirror_domain_alloc - make a domain, the readers of some windows
 *
 * Context: process context, sleeps.
 * Return: the domain, or NULL if there is no memory.
 */
struct mmu_mirror_domain *mmu_mirror_domain_alloc(void)
{
	struct mmu_mirror_domain *domain;

	domain = kzalloc(sizeof(*domain), GFP_KERNEL_ACCOUNT);
	if (!domain)
		return NULL;
	domain->cpu = alloc_percpu_gfp(struct mmu_mirror_cpu,
				       GFP_KERNEL_ACCOUNT);
	if (!domain->cpu)
		goto free_domain;
	if (!zalloc_cpumask_var(&domain->mask, GFP_KERNEL_ACCOUNT))
		goto free_cpu;
	domain->caller = __builtin_return_address(0);
	return domain;

free_cpu:
	free_percpu(domain->cpu);
free_domain:
	kfree(domain);
	return NULL;
}
EXPORT_SYMBOL_GPL(mmu_mirror_domain_alloc);

static void domain_free(struct rcu_head *rcu)
{
	struct mmu_mirror_domain *domain =
		container_of(rcu, struct mmu_mirror_domain, rcu);

	free_cpumask_var(domain->mask);
	free_percpu(domain->cpu);
	kfree(domain);
}

/**
 * mmu_mirror_domain_destroy - free a domain
 * @domain: the domain, without windows, or NULL; nobody enters it any more
 *
 * A reader that is still inside stores its count once more when it leaves, so
 * the memory goes after an RCU grace period. This does not wait for it: a
 * driver with hundreds of domains closes in one grace period.
 *
 * Context: any.
 */
void mmu_mirror_domain_destroy(struct mmu_mirror_domain *domain)
{
	if (!domain)
		return;
	WARN_ON_ONCE(atomic_read(&domain->nr_windows));
	call_rcu(&domain->rcu, domain_free);
}
EXPORT_SYMBOL_GPL(mmu_mirror_domain_destroy);

/**
 * mmu_mirror_publish - put this CPU on the domain's mask
 * @domain: the domain being entered
 * @cpu: its state of this CPU, already counting the section
 *
 * Only mmu_mirror_enter() calls it. The flag comes last: an interrupt that
 * enters in between must not take it for the fence that it needs itself.
 *
 * Context: preemption off, depth not zero.
 */
void mmu_mirror_publish(struct mmu_mirror_domain *domain,
			struct mmu_mirror_cpu *cpu)
{
	cpumask_set_cpu(smp_processor_id(), domain->mask);
	/*
	 * Orders the count and the mask before the pointer loads. Pairs with
	 * the first smp_mb() of mmu_mirror_domain_drain().
	 */
	smp_mb();
	WRITE_ONCE(cpu->published, 1);
}
EXPORT_SYMBOL_GPL(mmu_mirror_publish);

static void domain_drain_ipi(void *info)
{
	struct mmu_mirror_domain *domain = info;
	struct mmu_mirror_cpu *cpu = this_cpu_ptr(domain->cpu);

	/*
	 * The fence that mmu_mirror_enter() does without: the interrupted
	 * section's count store is before it, or its pointer loads are after
	 * it. Pairs with the smp_mb()s of mmu_mirror_domain_drain() on both
	 * sides of the interrupt.
	 */
	smp_mb();
	if (!mmu_mirror_depth(READ_ONCE(cpu->count))) {
		WRITE_ONCE(cpu->published, 0);
		cpumask_clear_cpu(smp_processor_id(), domain->mask);
	}
}

/* One word of a mask that its CPUs change meanwhile. */
static unsigned long domain_mask_word(struct mmu_mirror_domain *domain,
				      unsigned int word)
{
	return READ_ONCE(cpumask_bits(domain->mask)[word]);
}

/* Wait until @cpu has left the outermost section it is in, if any. */
static void domain_wait_cpu(struct mmu_mirror_cpu *cpu)
{
	/* Every read is an acquire: pairs with the releases of enter, exit. */
	unsigned long first = smp_load_acquire(&cpu->count);
	unsigned long count = first;

	while (mmu_mirror_depth(count) &&
	       (count ^ first) < MMU_MIRROR_COMPLETED) {
		cpu_relax();
		count = smp_load_acquire(&cpu->count);	/* as above */
	}
}

static void domain_wait_readers(struct mmu_mirror_domain *domain)
{
	unsigned int word;

	for (word = 0; word < BITS_TO_LONGS(nr_cpu_ids); word++) {
		unsigned long bits = domain_mask_word(domain, word);
		unsigned int bit;

		for_each_set_bit(bit, &bits, BITS_PER_LONG)
			domain_wait_cpu(per_cpu_ptr(domain->cpu,
						    word * BITS_PER_LONG + bit));
	}
}

static void domain_interrupt_readers(struct mmu_mirror_domain *domain)
{
	struct cpumask *mask;
	unsigned int word;

	preempt_disable();
	/* Inside a section this would wait for itself. */
	WARN_ON_ONCE(mmu_mirror_depth(READ_ONCE(this_cpu_ptr(domain->cpu)->count)));
	mask = this_cpu_cpumask_var_ptr(drain_mask);
	for (word = 0; word < BITS_TO_LONGS(nr_cpu_ids); word++)
		cpumask_bits(mask)[word] = domain_mask_word(domain, word);
	on_each_cpu_mask(mask, domain_drain_ipi, domain, true);
	/* Orders the handlers before the counts that are read next. */
	smp_mb();
	preempt_enable();
}

/* On 32-bit machines the longest wait that can be told is two seconds. */
static void domain_account_wait(struct mmu_mirror_domain *domain, u64 wait_ns)
{
	long worst = atomic_long_read(&domain->worst_wait_ns);
	long ns = min_t(u64, wait_ns, LONG_MAX);

	atomic_long_inc(&domain->nr_waits);
	while (ns > worst &&
	       !atomic_long_try_cmpxchg_relaxed(&domain->worst_wait_ns, &worst,
						ns))
		;
}

/**
 * mmu_mirror_domain_drain - wait until nobody uses what was dropped
 * @domain: the domain of the windows that dropped
 *
 * To be called after pointers were cleared and @domain->dropped incremented,
 * or were found cleared: another invalidation may have dropped them and still
 * be waiting. It returns early only if a wait that began after those drops has
 * ended.
 *
 * Context: process context, preemptible, outside sections. Does not sleep,
 * take a lock or allocate, so that any invalidation may call it.
 * Cost: one interrupt to each CPU that read since the last drain, and the
 * remainder of the sections in progress.
 */
void mmu_mirror_domain_drain(struct mmu_mirror_domain *domain)
{
	/* Drops are complete before their number: pairs with window_drop(). */
	long dropped = atomic_long_read_acquire(&domain->dropped);
	long drained = atomic_long_read_acquire(&domain->drained);
	u64 began;

	if (drained - dropped >= 0)
		return;
	mmu_range_mirror_inject(MMU_RANGE_MIRROR_SNAPSHOT, NULL);
	began = ktime_get_ns();
	/*
	 * Orders the cleared pointers before the mask and the counts. Pairs
	 * with the smp_mb() of mmu_mirror_publish(): a CPU that is not on the
	 * mask yet will see NULL.
	 */
	smp_mb();
	domain_interrupt_readers(domain);
	domain_wait_readers(domain);
	/* Orders the readers' last accesses before what the caller frees. */
	smp_mb();
	/* The release passes that order on to waits that return early. */
	while (drained - dropped < 0) {
		long old = atomic_long_cmpxchg_release(&domain->drained,
						       drained, dropped);

		if (old == drained)
			break;
		drained = old;
	}
	domain_account_wait(domain, ktime_get_ns() - began);
}
EXPORT_SYMBOL_GPL(mmu_mirror_domain_drain);

/* Windows. */

static struct workqueue_struct *window_wq;

static struct mmu_mirror_window *to_window(struct mmu_range_mirror *mirror)
{
	return container_of(mirror, struct mmu_mirror_window, mirror);
}

/* Clear the pointers of pages [first, last]. Return how many were set. */
static unsigned long window_drop(struct mmu_mirror_window *window,
				 unsigned long first, unsigned long last)
{
	unsigned long i, dropped = 0;

	mmu_range_mirror_assert_held(&window->mirror);
	for (i = first; i <= last; i++) {
		if (!window->kaddr[i])
			continue;
		WRITE_ONCE(window->kaddr[i], NULL);
		dropped++;
	}
	if (dropped) {
		/*
		 * A release, after the pointers: the windows of a domain have
		 * different locks, and a wait that reads the number must not
		 * cover a drop that is not complete.
		 */
		atomic_long_inc_return_release(&window->domain->dropped);
		WRITE_ONCE(window->dropped_pages,
			   window->dropped_pages + dropped);
	}
	return dropped;
}

static void window_invalidate(struct mmu_range_mirror *mirror,
			      const struct mmu_notifier_range *range)
{
	struct mmu_mirror_window *window = to_window(mirror);
	unsigned long start = max(range->start, mirror->start);
	unsigned long end = min(range->end, mirror->end);
	unsigned long first = (start - mirror->start) >> PAGE_SHIFT;
	unsigned long last = (end - 1 - mirror->start) >> PAGE_SHIFT;

	if (window_drop(window, first, last))
		WRITE_ONCE(window->drops[range->event],
			   window->drops[range->event] + 1);
}

/* Also if nothing was dropped: another invalidation may still be waiting. */
static void window_wait(struct mmu_range_mirror *mirror,
			const struct mmu_notifier_range *range)
{
	mmu_mirror_domain_drain(to_window(mirror)->domain);
}

static void window_show(struct mmu_range_mirror *mirror, struct seq_file *seq)
{
	struct mmu_mirror_window *window = to_window(mirror);

	seq_printf(seq, " mapped=%lu fills=%lu collisions=%lu installed=%lu driver=%ps",
		   mmu_mirror_window_mapped(window), READ_ONCE(window->fills),
		   READ_ONCE(window->collisions), READ_ONCE(window->installed),
		   window->domain->caller);
}

static const struct mmu_range_mirror_ops window_ops = {
	.kind = "window",
	.invalidate = window_invalidate,
	.wait = window_wait,
	.show = window_show,
};

/**
 * mmu_mirror_can_window - may kernel pointers stand in for user addresses here?
 *
 * Return: false if a page's user and kernel addresses do not share the data
 * cache: what one side writes, the other would not see.
 */
VISIBLE_IF_KUNIT bool mmu_mirror_can_window(void)
{
	KUNIT_STATIC_STUB_REDIRECT(mmu_mirror_can_window);
	return !cpu_dcache_is_aliasing();
}
EXPORT_SYMBOL_IF_KUNIT(mmu_mirror_can_window);

/* A pointer through the direct map must be all that a page's users need. */
static bool window_page_ok(struct page *page)
{
	return !PageHighMem(page) && !is_zone_device_page(page);
}

/* The page is marked dirty under the same hold of the lock. */
static void window_set(struct mmu_mirror_window *window, unsigned long index,
		       struct page *page)
{
	/* Pairs with the dependent load in __mmu_mirror_window_ptr(). */
	smp_store_release(&window->kaddr[index], page_address(page));
	WRITE_ONCE(window->installed, window->installed + 1);
}

static void window_install(struct mmu_mirror_window *window,
			   unsigned long index, struct page *page)
{
	/* What is there is current: mmu_mirror_window_populate() was first. */
	if (!window_page_ok(page) || window->kaddr[index])
		return;
	if (window->writable)
		mmu_range_mirror_mark_dirty(&window->mirror, page_folio(page));
	window_set(window, index, page);
}

/* Look pages up without faulting any in. Return how many, or an errno. */
static long window_lookup(unsigned long addr, unsigned long n,
			  unsigned int flags, struct page **pages)
{
	if (IS_ENABLED(CONFIG_HAVE_GUP_FAST))
		return get_user_pages_fast_only(addr, n, flags, pages);
	return get_user_pages_unlocked(addr, n, pages, flags | FOLL_NOFAULT);
}

/*
 * Install up to @n pages from @index on. Return how many were looked up, 0 if
 * the first of them is not there, or -EAGAIN if invalidations won.
 */
static long window_fill_batch(struct mmu_mirror_window *window,
			      unsigned long index, unsigned long n)
{
	unsigned long addr = window->mirror.start + index * PAGE_SIZE;
	unsigned int flags = window->writable ? FOLL_WRITE : 0;
	struct page *pages[WINDOW_BATCH];
	int tries;

	for (tries = 0; tries < WINDOW_RETRIES; tries++) {
		unsigned long seq = mmu_range_mirror_begin(&window->mirror);
		bool collided;
		long got, i;

		mmu_range_mirror_inject(MMU_RANGE_MIRROR_BEGUN, &window->mirror);
		got = window_lookup(addr, n, flags, pages);
		if (got <= 0)
			return 0;
		mmu_range_mirror_inject(MMU_RANGE_MIRROR_LOOKED_UP, &window->mirror);

		mmu_range_mirror_lock(&window->mirror);
		collided = mmu_range_mirror_retry(&window->mirror, seq);
		if (collided)
			WRITE_ONCE(window->collisions, window->collisions + 1);
		for (i = 0; i < got && !collided; i++)
			window_install(window, index + i, pages[i]);
		mmu_range_mirror_unlock(&window->mirror);
		release_pages(pages, got);
		if (!collided) {
			trace_mmu_mirror_populate(&window->mirror, addr, got,
						  window->writable, 0);
			return got;
		}
		trace_mmu_mirror_collision(&window->mirror, addr, got,
					   tries + 1,
					   tries + 1 == WINDOW_RETRIES);
	}
	return -EAGAIN;
}

/* Absent pages from @index on. What installs one meanwhile wins. */
static unsigned long window_absent_run(struct mmu_mirror_window *window,
				       unsigned long index, unsigned long end)
{
	unsigned long n = 0;

	while (n < WINDOW_BATCH && index + n < end &&
	       !READ_ONCE(window->kaddr[index + n]))
		n++;
	return n;
}

/*
 * A window of up to WINDOW_FILL pages is filled whole. A larger one, such as a
 * log of all of a guest's memory, is filled where it is used.
 */
static void window_fill_pages(struct mmu_mirror_window *window,
			      unsigned long index)
{
	unsigned long end = min(window->npages, index + WINDOW_FILL);

	while (index < end) {
		unsigned long n = window_absent_run(window, index, end);
		long got = n ? window_fill_batch(window, index, n) : 0;

		if (got < 0)
			return;
		/* A page that is there already, or a hole: skip it. */
		index += max(got, 1L);
		cond_resched();
	}
}

/*
 * Fills that follow each other closely rest ever longer: briefly under a storm
 * of invalidations, longer where nothing can be mapped.
 */
static void window_rest(struct mmu_mirror_window *window, bool installed)
{
	unsigned long limit = installed ? WINDOW_STORM_REST : WINDOW_EMPTY_REST;
	unsigned long idle = jiffies - window->hold_off;

	if (idle > window->backoff + 1)
		window->backoff = 0;
	else
		window->backoff = clamp(window->backoff * 2, 1UL, limit);
	WRITE_ONCE(window->hold_off, jiffies + window->backoff);
}

/* What made pages absent, or kept them so, up to now. */
static unsigned long window_voided(struct mmu_mirror_window *window)
{
	return READ_ONCE(window->dropped_pages) +
	       READ_ONCE(window->collisions);
}

static void window_fill(struct work_struct *work)
{
	struct mmu_mirror_window *window =
		container_of(work, struct mmu_mirror_window, fill);
	unsigned long index = round_down(READ_ONCE(window->missed),
					 WINDOW_FILL);
	struct mm_struct *mm = window->mirror.notifier.mm;
	unsigned long voided = window_voided(window);
	unsigned long before = window->installed;

	/* The owner is exiting: there is nothing left to read. */
	if (!mmget_not_zero(mm))
		return;
	kthread_use_mm(mm);
	window_fill_pages(window, index);
	kthread_unuse_mm(mm);
	/* Not the last mmput() here: exit_mmap() notifies, and may be long. */
	mmput_async(mm);
	WRITE_ONCE(window->looked_at, index);
	WRITE_ONCE(window->looked_after, voided);
	WRITE_ONCE(window->fills, window->fills + 1);
	window_rest(window, window->installed != before);
}

/**
 * mmu_mirror_window_prefetch - fill the absent pages of a window, later
 * @window: a window, also one that is being closed
 *
 * Queues work that looks the pages up without faulting any in. Until it is
 * done, and where a page is absent, readers use uaccess, which brings the page
 * in; their next miss asks again. While a window rests, nothing happens. Of a
 * window of more than 8192 pages, that many around the last miss are filled in.
 *
 * Context: any but NMI, without the scheduler's locks: it may wake a worker. The
 * caller keeps the window from being freed.
 */
void mmu_mirror_window_prefetch(struct mmu_mirror_window *window)
{
	unsigned long rest = READ_ONCE(window->hold_off) - jiffies;

	/* Beyond the limit it is a rest of long ago. */
	if (rest && rest <= WINDOW_EMPTY_REST)
		return;
	if (!work_pending(&window->fill))
		queue_work(window_wq, &window->fill);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_prefetch);

static int window_populate_page(struct mmu_range_mirror *mirror,
				unsigned long addr, struct page *page,
				void *ctx)
{
	struct mmu_mirror_window *window = to_window(mirror);
	unsigned long index = (addr - mirror->start) >> PAGE_SHIFT;

	if (!window_page_ok(page))
		return -EOPNOTSUPP;
	/* A fill was first. */
	if (window->kaddr[index])
		return 1;
	window_set(window, index, page);
	return 0;
}

/**
 * mmu_mirror_window_populate - fault the absent pages of a window in, and wait
 * @window: an open window, which the caller keeps from being closed
 *
 * For a driver that has no uaccess to fall back to, and may sleep now. By the
 * time this returns, pages may have gone again.
 *
 * Context: process context with current->mm the window's and mmap_lock not
 * held; sleeps like mmu_range_mirror_begin().
 * Return: 0; -EOPNOTSUPP on a page that no window maps, in high memory or on a
 * device; otherwise as mmu_range_mirror_populate(): -EFAULT also for memory
 * without pages. Those before the one that failed may have been installed.
 */
int mmu_mirror_window_populate(struct mmu_mirror_window *window)
{
	unsigned int flags = window->writable ? FOLL_WRITE : 0;
	unsigned long index = 0;

	while (index < window->npages) {
		unsigned long addr = window->mirror.start + index * PAGE_SIZE;
		unsigned long n = window_absent_run(window, index,
						    window->npages);
		int ret = 0;

		if (n)
			ret = mmu_range_mirror_populate(&window->mirror, addr, n,
							flags,
							window_populate_page,
							NULL);
		if (ret)
			return ret;
		index += max(n, 1UL);
	}
	return 0;
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_populate);

/**
 * mmu_mirror_window_miss - a reader found a page absent
 * @window: the window
 * @page: which of its pages
 *
 * Only mmu_mirror_window_ptr() calls it. Of misses at the same time one is
 * remembered; the others miss again.
 *
 * Return: NULL.
 */
void *mmu_mirror_window_miss(struct mmu_mirror_window *window,
			     unsigned long page)
{
	WRITE_ONCE(window->missed, page);
	mmu_mirror_window_prefetch(window);
	return NULL;
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_miss);

/**
 * mmu_mirror_window_open - make a window onto a range of user memory
 * @domain: its readers
 * @mm: the address space; the caller holds mm_users during the call
 * @uaddr: first byte, without a tag
 * @size: bytes
 * @writable: for writing: only pages that the process may write, dirtied
 *
 * The window is empty; see mmu_mirror_window_prefetch(). It holds no mm_users:
 * the process may exit under it, which empties it for good.
 *
 * Context: process context, sleeps; locks like mmu_range_mirror_insert().
 * Return: the window, or an ERR_PTR: -EINVAL on a range that is empty, tagged
 * or above the address space's end; -EOVERFLOW on one that wraps; -E2BIG on
 * one of more than 1 GiB; -EOPNOTSUPP where user and kernel addresses of a
 * page do not share the data cache; -EINTR and -ENOMEM, to be tried again.
 */
struct mmu_mirror_window *
mmu_mirror_window_open(struct mmu_mirror_domain *domain, struct mm_struct *mm,
		       unsigned long uaddr, unsigned long size, bool writable)
{
	unsigned long start = uaddr & PAGE_MASK;
	struct mmu_mirror_window *window;
	unsigned long end, npages;
	int ret;

	if (!mmu_mirror_can_window())
		return ERR_PTR(-EOPNOTSUPP);
	if (!size)
		return ERR_PTR(-EINVAL);
	if (check_add_overflow(uaddr, size, &end))
		return ERR_PTR(-EOVERFLOW);
	if (end > mm->task_size)
		return ERR_PTR(-EINVAL);
	npages = (PAGE_ALIGN(end) - start) >> PAGE_SHIFT;
	if (npages > WINDOW_MAX_PAGES)
		return ERR_PTR(-E2BIG);

	window = kvzalloc(struct_size(window, kaddr, npages),
			  GFP_KERNEL_ACCOUNT);
	if (!window)
		return ERR_PTR(-ENOMEM);
	window->npages = npages;
	window->domain = domain;
	window->uaddr = uaddr;
	window->size = size;
	window->writable = writable;
	window->hold_off = jiffies;
	INIT_WORK(&window->fill, window_fill);

	ret = mmu_range_mirror_insert(&window->mirror, mm, start,
				      npages << PAGE_SHIFT, &window_ops, NULL);
	if (ret) {
		kvfree(window);
		return ERR_PTR(ret);
	}
	atomic_inc(&domain->nr_windows);
	return window;
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_open);

/**
 * mmu_mirror_window_close - close a window
 * @window: the window, or NULL; no new reader can find it any more
 *
 * Readers that found it before may still be inside a section; they see no page
 * of it by the time this returns, and it is freed after they are out. The
 * notifier goes last: until the drain is over, an invalidation must find the
 * mirror, and wait too.
 *
 * Context: process context, sleeps like mmu_range_mirror_remove().
 */
void mmu_mirror_window_close(struct mmu_mirror_window *window)
{
	if (!window)
		return;
	/* A reader's miss can no longer queue it. */
	disable_work_sync(&window->fill);
	mmu_range_mirror_lock(&window->mirror);
	window_drop(window, 0, window->npages - 1);
	mmu_range_mirror_unlock(&window->mirror);
	mmu_mirror_domain_drain(window->domain);
	mmu_range_mirror_inject(MMU_RANGE_MIRROR_CLOSED, &window->mirror);
	mmu_range_mirror_remove(&window->mirror);
	atomic_dec(&window->domain->nr_windows);
	kvfree_rcu(window, rcu);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_close);

/**
 * mmu_mirror_window_absence - why the page that was last missed is absent
 * @window: the window
 *
 * For reporting, right after mmu_mirror_window_ptr() returned NULL for a page
 * that is not mapped. What the window knows is of all its pages together: until
 * the fill that the miss asked for has ended, one that cannot be mapped counts
 * as invalidated if another one was.
 *
 * Context: any; the caller keeps the window from being freed.
 * Return: the reason.
 */
enum mmu_mirror_absence
mmu_mirror_window_absence(struct mmu_mirror_window *window)
{
	unsigned long page = READ_ONCE(window->missed);

	if (!READ_ONCE(window->fills) ||
	    round_down(page, WINDOW_FILL) != READ_ONCE(window->looked_at))
		return MMU_MIRROR_UNFILLED;
	if (window_voided(window) != READ_ONCE(window->looked_after))
		return MMU_MIRROR_INVALIDATED;
	return MMU_MIRROR_UNMAPPED;
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_absence);

/**
 * mmu_mirror_window_mapped - how many pages of a window are mapped
 * @window: the window
 *
 * Context: any; the caller keeps the window from being freed.
 * Return: the number of pages, by the counters of the moment.
 */
unsigned long mmu_mirror_window_mapped(struct mmu_mirror_window *window)
{
	unsigned long dropped = READ_ONCE(window->dropped_pages);

	/* A dropped page had been installed, but the CPU may look earlier. */
	return min(READ_ONCE(window->installed) - dropped, window->npages);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_mapped);

static void drain_masks_free(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		free_cpumask_var(per_cpu(drain_mask, cpu));
}

static int __init mmu_mirror_window_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		if (!zalloc_cpumask_var_node(&per_cpu(drain_mask, cpu),
					     GFP_KERNEL, cpu_to_node(cpu)))
			goto free_masks;
	}
	window_wq = alloc_workqueue("mmu_mirror_window", WQ_UNBOUND, 0);
	if (!window_wq)
		goto free_masks;
	return 0;

free_masks:
	drain_masks_free();
	return -ENOMEM;
}
subsys_initcall(mmu_mirror_window_init);

static void __exit mmu_mirror_window_exit(void)
{
	destroy_workqueue(window_wq);
	/* Domains are freed by a function of this module. */
	rcu_barrier();
	drain_masks_free();
}
module_exit(mmu_mirror_window_exit);

MODULE_DESCRIPTION("Windows of kernel pointers to user memory");
MODULE_LICENSE("GPL");
