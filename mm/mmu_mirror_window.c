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
#include <linux/hashtable.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/interval_tree.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/memremap.h>
#include <linux/mmu_mirror_load.h>
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
#include <linux/wait.h>
#include <trace/events/mmu_range_mirror.h>

/* How often a fill starts over before it gives up until the next miss. */
#define WINDOW_RETRIES		3
/* Pages looked up at once. Fast GUP disables interrupts for all of them. */
#define WINDOW_BATCH		64
/* Pages that one fill looks at: half a millisecond. */
#define WINDOW_FILL		8192UL
/* Pages of a domain's windows that are dropped together: preemption is off. */
#define DROP_TOGETHER		4096UL
/* What a window without pages counts for there, at most. */
#define DROP_EMPTY		16UL
/* A window of 1 GiB. */
#define WINDOW_MAX_PAGES	(SZ_1G >> PAGE_SHIFT)
/* How long a window rests between fills while invalidations go on ... */
#define WINDOW_STORM_REST	max(1UL, HZ / 50UL)
/* ... and between looks at pages that were not there. */
#define WINDOW_EMPTY_REST	((unsigned long)HZ)
/* Of a CPU's time, the workers of an mm take one part in so many ... */
#define QUEUE_SHARE		10
/* ... except for this much at once, after a while without. */
#define QUEUE_BURST_NS		(20 * NSEC_PER_MSEC)
/* That is a fill's at most; what takes an opening, or a closing, longer is a wait. */
#define QUEUE_OPENING_NS	NSEC_PER_MSEC
/* Beyond that, what is owed is forgotten. */
#define QUEUE_DEBT_NS		(4 * QUEUE_BURST_NS)

/* Background work. */

/**
 * struct mmu_mirror_queue - the background work of an mm
 * @mm: whose; its memory may be gone, but not this structure
 * @node: among all queues of its hash
 * @id: counts up; see mmu_mirror_queue_barrier()
 * @users: how many hold it, under queues_lock
 * @wq: one item at a time. Each mm has its own: a worker may wait as long as the
 *	owner likes, and must not hold up other owners
 * @destroy: once nobody holds it
 * @domain: see mmu_mirror_queue_domain(); NULL until it is asked for
 * @spent_ns: CPU time of workers that has not been rested for
 * @rested: when it was last brought up to date
 * @rcu: for freeing after the last reader
 */
struct mmu_mirror_queue {
	struct mm_struct *mm;
	struct hlist_node node;
	unsigned long id;
	unsigned int users;
	struct workqueue_struct *wq;
	struct work_struct destroy;
	struct mmu_mirror_domain *domain;
	atomic64_t spent_ns;
	u64 rested;
	struct rcu_head rcu;
};

static DEFINE_HASHTABLE(queues, 8);
static DEFINE_SPINLOCK(queues_lock);	/* the hash, and users of a queue */
static unsigned long queues_last_id;
static atomic_t queues_left = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(queues_gone);
static struct workqueue_struct *queues_wq;

static void queue_free(struct mmu_mirror_queue *queue)
{
	destroy_workqueue(queue->wq);
	mmu_mirror_domain_destroy(queue->domain);
	mmdrop(queue->mm);
	/* A reader that is inside a section may still miss in a closed window. */
	kfree_rcu(queue, rcu);
	if (atomic_dec_and_test(&queues_left))
		wake_up_all(&queues_gone);
}

static void queue_destroy(struct work_struct *work)
{
	queue_free(container_of(work, struct mmu_mirror_queue, destroy));
}

static struct mmu_mirror_queue *queue_alloc(struct mm_struct *mm)
{
	struct mmu_mirror_queue *queue;
	struct mmu_mirror_charge charge;

	mmu_mirror_charge_begin(&charge, mm);
	queue = kzalloc(sizeof(*queue), MMU_MIRROR_GFP);
	mmu_mirror_charge_end(&charge);
	if (!queue)
		return NULL;
	queue->wq = alloc_ordered_workqueue("mmu_mirror", 0);
	if (!queue->wq) {
		kfree(queue);
		return NULL;
	}
	INIT_WORK(&queue->destroy, queue_destroy);
	mmgrab(mm);
	queue->mm = mm;
	queue->users = 1;
	queue->rested = ktime_get_ns();
	atomic_inc(&queues_left);
	return queue;
}

/* Hold the queue of @mm, if it has one; else make @new its queue, if any. */
static struct mmu_mirror_queue *queue_find(struct mm_struct *mm,
					   struct mmu_mirror_queue *new)
{
	struct mmu_mirror_queue *queue;

	spin_lock(&queues_lock);
	hash_for_each_possible(queues, queue, node, (unsigned long)mm) {
		if (queue->mm != mm)
			continue;
		queue->users++;
		spin_unlock(&queues_lock);
		return queue;
	}
	if (new) {
		new->id = ++queues_last_id;
		hash_add(queues, &new->node, (unsigned long)mm);
	}
	spin_unlock(&queues_lock);
	return new;
}

/**
 * mmu_mirror_queue_get - hold the queue of an mm
 * @mm: the mm, held by mm_count at least
 *
 * Context: process context, sleeps; waits for nothing that an owner does.
 * Return: the queue, or NULL if there is no memory.
 */
struct mmu_mirror_queue *mmu_mirror_queue_get(struct mm_struct *mm)
{
	struct mmu_mirror_queue *queue, *new;

	KUNIT_STATIC_STUB_REDIRECT(mmu_mirror_queue_get, mm);
	queue = queue_find(mm, NULL);
	if (queue)
		return queue;
	new = queue_alloc(mm);
	if (!new)
		return NULL;
	queue = queue_find(mm, new);
	if (queue != new)
		queue_free(new);
	return queue;
}
EXPORT_SYMBOL_GPL(mmu_mirror_queue_get);

/**
 * mmu_mirror_queue_put - let go of a queue
 * @queue: the queue, or NULL
 *
 * What is on it is done all the same.
 *
 * Context: process context, also in an item of the queue; does not wait.
 */
void mmu_mirror_queue_put(struct mmu_mirror_queue *queue)
{
	if (!queue)
		return;
	spin_lock(&queues_lock);
	if (!--queue->users) {
		hash_del(&queue->node);
		/* In the lock: see mmu_mirror_queue_barrier(). */
		queue_work(queues_wq, &queue->destroy);
	}
	spin_unlock(&queues_lock);
}
EXPORT_SYMBOL_GPL(mmu_mirror_queue_put);

/**
 * mmu_mirror_queue_work - do something in the background
 * @queue: the queue of the mm that the work is for
 * @work: the work; it may wait for anything that the mm's owner does
 *
 * Context: any but NMI, without the scheduler's locks.
 * Return: false if it was queued already.
 */
bool mmu_mirror_queue_work(struct mmu_mirror_queue *queue,
			   struct work_struct *work)
{
	return queue_work(queue->wq, work);
}
EXPORT_SYMBOL_GPL(mmu_mirror_queue_work);

/* Hold the queue with the lowest number above @id, if there is one. */
static struct mmu_mirror_queue *queue_after(unsigned long id)
{
	struct mmu_mirror_queue *queue, *next = NULL;
	int bucket;

	spin_lock(&queues_lock);
	hash_for_each(queues, bucket, queue, node) {
		if (queue->id > id && (!next || queue->id < next->id))
			next = queue;
	}
	if (next)
		next->users++;
	spin_unlock(&queues_lock);
	return next;
}

/**
 * mmu_mirror_queue_barrier - wait for everything that has been queued
 *
 * For the exit of a module whose functions were queued, when it holds no queue
 * any more.
 *
 * Context: process context, sleeps as long as any owner likes.
 */
void mmu_mirror_queue_barrier(void)
{
	struct mmu_mirror_queue *queue;
	unsigned long id = 0;

	while ((queue = queue_after(id))) {
		id = queue->id;
		flush_workqueue(queue->wq);
		mmu_mirror_queue_put(queue);
	}
	/* And those that were let go meanwhile. */
	flush_workqueue(queues_wq);
}
EXPORT_SYMBOL_GPL(mmu_mirror_queue_barrier);

/**
 * mmu_mirror_queue_rest - sleep, if an mm's work has taken much CPU time
 * @queue: the mm's queue
 *
 * What workers do for an mm, they do on nobody's CPU time. When that was more than a
 * burst, they rest until it is down to its share. Fills do by themselves; this is for
 * an item that opens or closes windows.
 *
 * Context: an item of the queue, first; sleeps for up to 0.6 s.
 */
void mmu_mirror_queue_rest(struct mmu_mirror_queue *queue)
{
	u64 now = ktime_get_ns();
	s64 spent = atomic64_read(&queue->spent_ns);
	s64 free = min_t(s64, spent, div_u64(now - queue->rested, QUEUE_SHARE));

	/* Those who closed many windows at once are not kept waiting for long. */
	free = max_t(s64, free, spent - QUEUE_DEBT_NS);
	queue->rested = now;
	spent = atomic64_sub_return(free, &queue->spent_ns);
	if (spent > QUEUE_BURST_NS)
		schedule_timeout_idle(nsecs_to_jiffies((spent -
							QUEUE_BURST_NS) *
						       QUEUE_SHARE) + 1);
}
EXPORT_SYMBOL_GPL(mmu_mirror_queue_rest);

/*
 * Who waited, for an invalidation or for a CPU, is not made to pay: beyond @most it was
 * a wait. Atomic: a kernel thread of a driver may open a window beside the queue.
 */
static void queue_spent(struct mmu_mirror_queue *queue, u64 began, u64 most)
{
	atomic64_add(min(ktime_get_ns() - began, most), &queue->spent_ns);
}

/* The section guard, invalidating side. */

/* Where a wait copies the domain's mask to, with preemption off. */
static DEFINE_PER_CPU(cpumask_var_t, drain_mask);

/**
 * mmu_mirror_domain_alloc - make a domain, the readers of some windows
 *
 * The caller is charged; in a kernel thread, see mmu_mirror_charge_begin().
 *
 * Context: process context, sleeps.
 * Return: the domain, or NULL if there is no memory.
 */
struct mmu_mirror_domain *mmu_mirror_domain_alloc(void)
{
	struct mmu_mirror_domain *domain;
	int cpu;

	KUNIT_STATIC_STUB_REDIRECT(mmu_mirror_domain_alloc);
	domain = kzalloc(sizeof(*domain), MMU_MIRROR_GFP);
	if (!domain)
		return NULL;
	domain->cpu = alloc_percpu_gfp(struct mmu_mirror_cpu,
				       MMU_MIRROR_GFP);
	if (!domain->cpu)
		goto free_domain;
	if (!zalloc_cpumask_var(&domain->mask, MMU_MIRROR_GFP))
		goto free_cpu;
	refcount_set(&domain->users, 1);
#if !MMU_RANGE_MIRROR_TWO_PASS
	spin_lock_init(&domain->lock);
	domain->windows = RB_ROOT_CACHED;
#endif
	for_each_possible_cpu(cpu)
		per_cpu_ptr(domain->cpu, cpu)->domain = domain;
	return domain;

free_cpu:
	free_percpu(domain->cpu);
free_domain:
	kfree(domain);
	return NULL;
}
EXPORT_SYMBOL_GPL(mmu_mirror_domain_alloc);

/**
 * mmu_mirror_queue_domain - the domain that an mm's windows may share
 * @queue: the mm's queue, which the caller holds as long as it uses the domain
 *
 * An invalidation drains each domain that it hits, one after the other. So whoever
 * opens many windows of an mm that one invalidation may hit, such as those of all
 * queues of a device or of all devices of a process, opens them in this domain: it
 * is drained once. In return, each of these invalidations interrupts every CPU that
 * reads for that mm.
 *
 * The queue destroys it. Its memory is charged to the owner.
 *
 * Context: process context, sleeps.
 * Return: the domain, or NULL if there is no memory.
 */
struct mmu_mirror_domain *mmu_mirror_queue_domain(struct mmu_mirror_queue *queue)
{
	/* Pairs with the release below. */
	struct mmu_mirror_domain *domain = smp_load_acquire(&queue->domain);
	struct mmu_mirror_domain *other;
	struct mmu_mirror_charge charge;

	if (domain)
		return domain;
	mmu_mirror_charge_begin(&charge, queue->mm);
	domain = mmu_mirror_domain_alloc();
	mmu_mirror_charge_end(&charge);
	if (!domain)
		return NULL;
	/* Whoever loads the pointer finds the domain made. */
	other = cmpxchg_release(&queue->domain, NULL, domain);
	if (!other)
		return domain;
	mmu_mirror_domain_destroy(domain);
	return smp_load_acquire(&queue->domain); /* as above */
}
EXPORT_SYMBOL_GPL(mmu_mirror_queue_domain);

static void domain_free(struct rcu_head *rcu)
{
	struct mmu_mirror_domain *domain =
		container_of(rcu, struct mmu_mirror_domain, rcu);

	free_cpumask_var(domain->mask);
	free_percpu(domain->cpu);
	kfree(domain);
}

static void domain_put(struct mmu_mirror_domain *domain)
{
	if (refcount_dec_and_test(&domain->users))
		call_rcu(&domain->rcu, domain_free);
}

/**
 * mmu_mirror_domain_destroy - free a domain
 * @domain: the domain, without windows, or NULL; nobody enters it any more
 *
 * A reader that is still inside stores its count once more when it leaves, so
 * the memory goes after an RCU grace period, and not before the notifiers of its
 * windows are removed. This waits for neither: a driver with hundreds of domains
 * closes in one grace period.
 *
 * Context: any.
 */
void mmu_mirror_domain_destroy(struct mmu_mirror_domain *domain)
{
	if (!domain)
		return;
	WARN_ON_ONCE(atomic_read(&domain->nr_windows));
	domain_put(domain);
}
EXPORT_SYMBOL_GPL(mmu_mirror_domain_destroy);

/**
 * mmu_mirror_publish - put this CPU on the domain's mask
 * @domain: the domain being entered
 * @cpu: its state of this CPU, already counting the section
 *
 * Only mmu_mirror_enter_cpu() calls it. The flag comes last: an interrupt that
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

/* A CPU that is offline is not interrupted, nor is this one. */
static void domain_account_interrupts(struct mmu_mirror_domain *domain,
				      struct cpumask *mask)
{
	__cpumask_clear_cpu(smp_processor_id(), mask);
	atomic_long_add(cpumask_weight_and(mask, cpu_online_mask),
			&domain->nr_interrupts);
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
	domain_account_interrupts(domain, mask);
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

#if !MMU_RANGE_MIRROR_TWO_PASS
/* Would a drain return at once? */
static bool domain_is_drained(struct mmu_mirror_domain *domain)
{
	return atomic_long_read(&domain->drained) -
	       atomic_long_read(&domain->dropped) >= 0;
}
#endif

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
	/* Drops precede their number: pairs with window_dropped() and its like. */
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

/**
 * mmu_mirror_domain_dropped - entries of the driver's own were cleared
 * @domain: whose readers may be using them
 *
 * A domain needs no windows: a driver's readers may use entries of its own in
 * sections. Its @invalidate clears them and calls this, its @wait calls
 * mmu_mirror_domain_drain(), whether or not there was an entry. Publish entries as
 * with RCU: store them by smp_store_release(), load them by READ_ONCE() in the
 * section.
 *
 * Context: any; after clearing, under the same hold of the lock. The release puts
 * the cleared entries before the number that the drain reads.
 */
void mmu_mirror_domain_dropped(struct mmu_mirror_domain *domain)
{
	atomic_long_inc_return_release(&domain->dropped);
}
EXPORT_SYMBOL_GPL(mmu_mirror_domain_dropped);

/* Windows. */

static struct mmu_mirror_window *to_window(struct mmu_range_mirror *mirror)
{
	return container_of(mirror, struct mmu_mirror_window, mirror);
}

/*
 * Keep the only page's pointer in the second place as well. To readers and to
 * the drain it is one more pointer of the window.
 */
static void window_set_shadow(struct mmu_mirror_window *window, void *kaddr)
{
	if (!window->shadow)
		return;
	if (kaddr)
		kaddr += offset_in_page(window->uaddr);
	/* Pairs with the dependent load of the reader that has the second place. */
	smp_store_release(window->shadow, kaddr);
}

/* The pointers of a large window are made chunk by chunk, as they are needed. */
static bool window_is_sparse(struct mmu_mirror_window *window)
{
	return window->npages > MMU_MIRROR_CHUNK;
}

static unsigned long window_nr_chunks(struct mmu_mirror_window *window)
{
	return DIV_ROUND_UP(window->npages, MMU_MIRROR_CHUNK);
}

static bool window_any_mapped(struct mmu_mirror_window *window)
{
	return window->installed != window->dropped_pages;
}

/* Clear pointers [first, last] of @kaddr. Return how many were set. */
static unsigned long drop_pointers(void **kaddr, unsigned long first,
				   unsigned long last)
{
	unsigned long i, dropped = 0;

	for (i = first; i <= last; i++) {
		if (!kaddr[i])
			continue;
		WRITE_ONCE(kaddr[i], NULL);
		dropped++;
	}
	return dropped;
}

/*
 * Count what was dropped, before the lock is let go: whoever finds the pointers
 * cleared then waits as well. A release, after the pointers: the windows of a
 * domain have different locks, and a wait that reads the number must not cover a
 * drop that is not complete.
 */
static void window_dropped(struct mmu_mirror_window *window,
			   unsigned long dropped)
{
	if (dropped) {
		atomic_long_inc_return_release(&window->domain->dropped);
		WRITE_ONCE(window->dropped_pages,
			   window->dropped_pages + dropped);
	}
}

/*
 * Drop the pointers of a large window, and skip chunks that were never mapped.
 * Release the lock after each chunk: a fill that began before has an old sequence
 * and installs nothing, and no fill begins before the invalidation ends.
 */
static unsigned long window_drop_far(struct mmu_mirror_window *window,
				     unsigned long first, unsigned long last)
	__must_hold(&window->mirror)
{
	unsigned long total = 0;

	while (first <= last && window_any_mapped(window)) {
		unsigned long base = round_down(first, MMU_MIRROR_CHUNK);
		struct mmu_mirror_chunk *chunk =
			window->chunk[first / MMU_MIRROR_CHUNK];
		unsigned long end = min(last, base + MMU_MIRROR_CHUNK - 1);
		unsigned long dropped;

		if (chunk && chunk->mapped) {
			dropped = drop_pointers(chunk->kaddr, first - base,
						end - base);
			chunk->mapped -= dropped;
			window_dropped(window, dropped);
			total += dropped;
			mmu_range_mirror_unlock(&window->mirror);
			mmu_range_mirror_inject(MMU_RANGE_MIRROR_PAUSED,
						&window->mirror);
			mmu_range_mirror_lock(&window->mirror);
		}
		first = end + 1;
	}
	return total;
}

/*
 * Clear the pointers of pages [first, last]. Return how many were set. Of an
 * empty window, that is known; else at most a chunk's are looked at in one hold
 * of the lock.
 */
static unsigned long window_drop(struct mmu_mirror_window *window,
				 unsigned long first, unsigned long last)
{
	unsigned long dropped;

	mmu_range_mirror_assert_held(&window->mirror);
	if (!window_any_mapped(window))
		return 0;
	if (window_is_sparse(window))
		return window_drop_far(window, first, last);
	dropped = drop_pointers(&window->kaddr[0], first, last);
	if (dropped)
		window_set_shadow(window, NULL);
	window_dropped(window, dropped);
	return dropped;
}

/* Drop what @range hits, with the mirror's lock held. */
static void window_drop_range(struct mmu_mirror_window *window,
			      const struct mmu_notifier_range *range)
{
	struct mmu_range_mirror *mirror = &window->mirror;
	unsigned long start = max(range->start, mirror->start);
	unsigned long end = min(range->end, mirror->end);
	unsigned long first = (start - mirror->start) >> PAGE_SHIFT;
	unsigned long last = (end - 1 - mirror->start) >> PAGE_SHIFT;
	/* A kernel that has more events than are known here has them last. */
	unsigned int event = min_t(unsigned int, range->event,
				   MMU_MIRROR_NR_EVENTS - 1);

	if (window_drop(window, first, last))
		WRITE_ONCE(window->drops[event], window->drops[event] + 1);
}

static void window_invalidate(struct mmu_range_mirror *mirror,
			      const struct mmu_notifier_range *range,
			      struct mmu_mirror_gather *gather)
{
	window_drop_range(to_window(mirror), range);
}

#if MMU_RANGE_MIRROR_TWO_PASS
/* When the first window waits, all others have dropped what they had. */
static void domain_drop_range(struct mmu_mirror_window *first,
			      const struct mmu_notifier_range *range)
{
}

static void domain_add_window(struct mmu_mirror_domain *domain,
			      struct mmu_mirror_window *window)
{
}

static void domain_remove_window(struct mmu_mirror_domain *domain,
				 struct mmu_mirror_window *window)
{
}
#else
/*
 * Each window waits before the next one is even told. So the first that has to wait
 * drops what the others will be told to drop: then its wait is theirs, too. They are
 * told in the order of their addresses, so those before @first have been. This is
 * for speed only. A fill that knows nothing of the invalidation yet may map a page
 * again; its window drops that when it is told, and waits.
 */
static void domain_drop_range(struct mmu_mirror_window *first,
			      const struct mmu_notifier_range *range)
{
	unsigned long start = max(range->start, first->mirror.start);
	struct mmu_mirror_domain *domain = first->domain;
	struct interval_tree_node *node;
	unsigned long npages = 0;

	if (domain_is_drained(domain))
		return;
	spin_lock(&domain->lock);
	node = interval_tree_iter_first(&domain->windows, start, range->end - 1);
	for (; node; node = interval_tree_iter_next(node, start,
						    range->end - 1)) {
		struct mmu_mirror_window *window =
			container_of(node, struct mmu_mirror_window, node);

		/* An empty one is quickly passed. */
		npages += mmu_mirror_window_mapped(window) ?
				window->npages : min(window->npages, DROP_EMPTY);
		if (npages > DROP_TOGETHER)
			break;
		if (window->mirror.notifier.mm != range->mm)
			continue;
		mmu_range_mirror_lock(&window->mirror);
		window_drop_range(window, range);
		mmu_range_mirror_unlock(&window->mirror);
	}
	spin_unlock(&domain->lock);
}

/* Large windows let go of their lock while they drop: they are told, and wait. */
static void domain_add_window(struct mmu_mirror_domain *domain,
			      struct mmu_mirror_window *window)
{
	if (window_is_sparse(window))
		return;
	window->node.start = window->mirror.start;
	window->node.last = window->mirror.end - 1;
	spin_lock(&domain->lock);
	interval_tree_insert(&window->node, &domain->windows);
	spin_unlock(&domain->lock);
}

static void domain_remove_window(struct mmu_mirror_domain *domain,
				 struct mmu_mirror_window *window)
{
	if (window_is_sparse(window))
		return;
	spin_lock(&domain->lock);
	interval_tree_remove(&window->node, &domain->windows);
	spin_unlock(&domain->lock);
}
#endif

/* Also if nothing was dropped: another invalidation may still be waiting. */
static void window_wait(struct mmu_range_mirror *mirror,
			const struct mmu_notifier_range *range)
{
	domain_drop_range(to_window(mirror), range);
	mmu_mirror_domain_drain(to_window(mirror)->domain);
}

static void window_show(struct mmu_range_mirror *mirror, struct seq_file *seq)
{
	struct mmu_mirror_window *window = to_window(mirror);

	seq_printf(seq, " mapped=%lu fills=%lu collisions=%lu installed=%lu domain=%p waits=%ld interrupts=%ld driver=%ps",
		   mmu_mirror_window_mapped(window), READ_ONCE(window->fills),
		   READ_ONCE(window->collisions), READ_ONCE(window->installed),
		   window->domain, atomic_long_read(&window->domain->nr_waits),
		   atomic_long_read(&window->domain->nr_interrupts),
		   READ_ONCE(window->caller));
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

/* Where the pointer to a page is kept. A large window has the page's chunk. */
static void **window_slot(struct mmu_mirror_window *window,
			  unsigned long index)
{
	if (window_is_sparse(window))
		return &window->chunk[index / MMU_MIRROR_CHUNK]->kaddr[index % MMU_MIRROR_CHUNK];
	return &window->kaddr[index];
}

/*
 * Note that a fill looked at a page, and whether it was absent. Pages that are a
 * chunk apart share a bit: in a large window it is a hint.
 */
static void window_mark(struct mmu_mirror_window *window, unsigned long index,
			bool absent)
{
	unsigned long bit = index % MMU_MIRROR_CHUNK;

	set_bit(bit, window->seen);
	if (READ_ONCE(window->forgotten) == index + 1)
		WRITE_ONCE(window->forgotten, 0);
	if (!absent) {
		if (test_bit(bit, window->absent))
			clear_bit(bit, window->absent);
	} else if (!test_and_set_bit(bit, window->absent) &&
		   !window_is_sparse(window)) {
		WRITE_ONCE(window->gone, true);
	}
}

/* The page is marked dirty under the same hold of the lock. */
static void window_set(struct mmu_mirror_window *window, unsigned long index,
		       struct page *page)
{
	/* Pairs with the dependent load in __mmu_mirror_window_ptr(). */
	smp_store_release(window_slot(window, index), page_address(page));
	window_set_shadow(window, page_address(page));
	WRITE_ONCE(window->installed, window->installed + 1);
	if (window_is_sparse(window))
		window->chunk[index / MMU_MIRROR_CHUNK]->mapped++;
	window_mark(window, index, false);
}

static bool resting(struct mmu_mirror_rest *rest)
{
	unsigned long left = READ_ONCE(rest->until) - jiffies;

	/* Beyond the limit it is a rest of long ago. */
	return left && left <= WINDOW_EMPTY_REST;
}

/* Has a load met a memory error in the window, less than a second ago? */
static bool window_shuns(struct mmu_mirror_window *window)
{
	return READ_ONCE(window->forgotten) && resting(&window->rest);
}

static bool window_shuns_page(struct mmu_mirror_window *window,
			      unsigned long index)
{
	return READ_ONCE(window->forgotten) == index + 1 && window_shuns(window);
}

static void window_install(struct mmu_mirror_window *window,
			   unsigned long index, struct page *page)
{
	if (!window_page_ok(page)) {
		window_mark(window, index, true);
		return;
	}
	if (window_shuns_page(window, index))
		return;
	/* A pointer is current: mmu_mirror_window_populate() was first. */
	if (*window_slot(window, index))
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

/* Have room for the pointer to a page. The owner is charged. Sleeps. */
static bool window_have_room(struct mmu_mirror_window *window,
			     unsigned long index)
{
	struct mmu_mirror_chunk **chunk, *new;
	struct mmu_mirror_charge charge;

	if (!window_is_sparse(window))
		return true;
	chunk = &window->chunk[index / MMU_MIRROR_CHUNK];
	if (READ_ONCE(*chunk))
		return true;
	mmu_mirror_charge_begin(&charge, window->mirror.notifier.mm);
	new = kzalloc(sizeof(*new), MMU_MIRROR_GFP);
	mmu_mirror_charge_end(&charge);
	if (!new)
		return false;
	mmu_range_mirror_lock(&window->mirror);
	if (!*chunk) {
		/* Readers find the chunk zeroed: see mmu_mirror_window_far(). */
		smp_store_release(chunk, new);
		new = NULL;
	}
	mmu_range_mirror_unlock(&window->mirror);
	kfree(new);
	return true;
}

/*
 * Install up to @n pages from @index on, none beyond a chunk. Return how many
 * were looked up, 0 if the first of them is not there, or -EAGAIN if
 * invalidations won, or memory is short. Of a closed window, none is installed.
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
		if (!window_have_room(window, index)) {
			release_pages(pages, got);
			return -EAGAIN;
		}

		mmu_range_mirror_lock(&window->mirror);
		collided = mmu_range_mirror_retry(&window->mirror, seq);
		if (collided)
			WRITE_ONCE(window->collisions, window->collisions + 1);
		for (i = 0; i < got && !collided && !window->closed; i++)
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
	/* It was there. */
	window_mark(window, index, false);
	return -EAGAIN;
}

static void *window_kaddr(struct mmu_mirror_window *window, unsigned long index)
{
	if (window_is_sparse(window))
		return mmu_mirror_window_far(window, index);
	return READ_ONCE(window->kaddr[index]);
}

/* Count the absent pages from @index on in a chunk. Others may install meanwhile. */
static unsigned long window_absent_run(struct mmu_mirror_window *window,
				       unsigned long index, unsigned long end)
{
	unsigned long n = 0;

	end = min(end, round_down(index, MMU_MIRROR_CHUNK) + MMU_MIRROR_CHUNK);
	while (n < WINDOW_BATCH && index + n < end &&
	       !window_kaddr(window, index + n))
		n++;
	return n;
}

/*
 * Fill the absent ones of WINDOW_BATCH pages from @index on. Return how many
 * pages there are by then, or an errno.
 */
static long window_fill_block(struct mmu_mirror_window *window,
			      unsigned long index)
{
	unsigned long end = min(window->npages, index + WINDOW_BATCH);
	long there = 0;

	while (index < end && !READ_ONCE(window->closed)) {
		unsigned long n = window_absent_run(window, index, end);
		long got = n ? window_fill_batch(window, index, n) : 1;

		if (got < 0)
			return got;
		/* A hole: skip it. */
		if (!got)
			window_mark(window, index, true);
		there += got;
		index += max(got, 1L);
	}
	cond_resched();
	return there;
}

/*
 * Fill a block, and say whether to go on with the next. A large window, such as a
 * log or the chunk of a cache, is mostly empty: stop at a block without a page.
 */
static bool window_fill_on(struct mmu_mirror_window *window,
			   unsigned long index)
{
	long there = window_fill_block(window, index);

	return there > 0 || (!there && window->npages < MMU_MIRROR_CHUNK);
}

/*
 * First what is near the miss, then what is next to that, in both directions, as
 * far as there is anything.
 */
static void window_fill_pages(struct mmu_mirror_window *window,
			      unsigned long missed)
{
	unsigned long first = round_down(missed, WINDOW_BATCH);
	unsigned long left = WINDOW_FILL / WINDOW_BATCH - 1;
	unsigned long at;

	if (!window_fill_on(window, first))
		return;
	for (at = first + WINDOW_BATCH; at < window->npages && left; left--) {
		if (!window_fill_on(window, at))
			break;
		at += WINDOW_BATCH;
	}
	for (at = first; at && left; left--) {
		at -= WINDOW_BATCH;
		if (!window_fill_on(window, at))
			break;
	}
}

/*
 * Double the rest if this comes soon after the last one, @old, or before it is over.
 * If it is @old no more, a page has been forgotten meanwhile, and rests longer.
 */
static void rest_on(struct mmu_mirror_rest *rest, unsigned long old,
		    unsigned long limit)
{
	long idle = jiffies - old;

	if (idle > (long)rest->backoff + 1)
		rest->backoff = 0;
	else
		rest->backoff = clamp(rest->backoff * 2, 1UL, limit);
	cmpxchg(&rest->until, old, jiffies + rest->backoff);
}

/* Has the last fill found that there is no such page? */
static bool window_absent(struct mmu_mirror_window *window, unsigned long index)
{
	return test_bit(index % MMU_MIRROR_CHUNK, window->absent);
}

static void window_fill(struct work_struct *work)
{
	struct mmu_mirror_window *window =
		container_of(work, struct mmu_mirror_window, fill);
	struct mm_struct *mm = window->mirror.notifier.mm;
	unsigned long missed, rested, emptied;
	bool was_absent, absent, gone;
	u64 began;

	mmu_mirror_queue_rest(window->queue);
	/* Pairs with the release in mmu_mirror_window_forget(). */
	rested = smp_load_acquire(&window->rest.until);
	emptied = READ_ONCE(window->empty.until);
	/* A page has been forgotten since this was asked for. */
	if (window_shuns(window))
		return;
	/* The owner is exiting: there is nothing left to read. */
	if (!mmget_not_zero(mm))
		return;
	missed = READ_ONCE(window->missed);
	was_absent = window_absent(window, missed);
	WRITE_ONCE(window->gone, false);
	began = ktime_get_ns();
	kthread_use_mm(mm);
	window_fill_pages(window, missed);
	kthread_unuse_mm(mm);
	/* Not the last mmput() here: exit_mmap() notifies, and may be long. */
	mmput_async(mm);
	queue_spent(window->queue, began, QUEUE_BURST_NS);
	WRITE_ONCE(window->fills, window->fills + 1);
	/*
	 * One page that cannot be mapped does not keep the others waiting: neither
	 * those that are there, nor one that has only just gone, and may be back.
	 */
	gone = READ_ONCE(window->gone);
	absent = window_absent(window, missed);
	/* A page that is replaced is absent for a moment, each time a new one. */
	if (gone || (was_absent && !absent))
		window->empty.backoff = 0;
	if (gone || absent)
		rest_on(&window->empty, emptied, WINDOW_EMPTY_REST);
	if (absent)
		return;
	rest_on(&window->rest, rested, WINDOW_STORM_REST);
}

/**
 * mmu_mirror_window_prefetch - fill the absent pages of a window, later
 * @window: a window, also one that is being closed
 *
 * Queues work that looks the pages up without faulting any in. Until it is
 * done, and where a page is absent, readers use uaccess, which brings the page
 * in; their next miss asks again. It looks near the last miss first; in a window
 * of 512 pages or more it goes on as far as pages are there, at up to 8192 of
 * them. While the window rests, or the page that was missed does because it was
 * not there, nothing happens.
 *
 * Context: any but NMI, without the scheduler's locks: it may wake a worker. The
 * caller keeps the window from being freed.
 */
void mmu_mirror_window_prefetch(struct mmu_mirror_window *window)
{
	if (resting(&window->rest))
		return;
	if (window_absent(window, READ_ONCE(window->missed)) &&
	    resting(&window->empty))
		return;
	if (!work_pending(&window->fill))
		mmu_mirror_queue_work(window->queue, &window->fill);
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
	if (*window_slot(window, index))
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
 * device; -ENOMEM; otherwise as mmu_range_mirror_populate(): -EFAULT also for memory
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

		if (!window_have_room(window, index))
			return -ENOMEM;
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
 * mmu_mirror_window_shadow - keep a window's pointer in a second place
 * @window: an open window; nothing happens if it is of more than one page
 * @at: where to keep the address of the window's first byte while its page is
 *	mapped, and NULL while it is not; or NULL: nowhere any more
 *
 * For a reader that keeps what its accesses touch close together. Inside a
 * section of the window's domain it may read the pointer there, once and with
 * READ_ONCE(), in place of mmu_mirror_window_ptr(), after checking against the
 * window's size: invalidations clear both before they wait. When it finds NULL,
 * mmu_mirror_window_ptr() does what a miss does.
 *
 * The caller serialises calls for a window and for a place; a place belongs to
 * one window at a time, and is NULL when it is given up. It must stay until that
 * or until mmu_mirror_window_close() has returned.
 *
 * Context: any that may take the window's lock.
 */
void mmu_mirror_window_shadow(struct mmu_mirror_window *window, void **at)
{
	if (window->npages > 1 || window->shadow == at)
		return;
	mmu_range_mirror_lock(&window->mirror);
	window_set_shadow(window, NULL);
	window->shadow = at;
	window_set_shadow(window, window->kaddr[0]);
	mmu_range_mirror_unlock(&window->mirror);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_shadow);

/**
 * mmu_mirror_window_forget - drop a page that cannot be read
 * @window: an open window
 * @offset: of what a reader's load failed on, as for mmu_mirror_window_ptr()
 *
 * After a memory error. Readers use uaccess, which meets the error as well, and
 * has the kernel take the page from the process. In case nobody does, the window
 * is not filled again for a second: a page that stays bad costs one error more
 * in that time.
 *
 * Nobody need be waited for: the page is still the process's. The invalidation
 * that takes it finds the drop counted, and waits.
 *
 * Context: any that may take the window's lock; outside sections.
 */
void mmu_mirror_window_forget(struct mmu_mirror_window *window,
			      unsigned long offset)
{
	unsigned long page = (offset_in_page(window->uaddr) + offset) >>
			     PAGE_SHIFT;

	WRITE_ONCE(window->missed, page);
	mmu_range_mirror_lock(&window->mirror);
	WRITE_ONCE(window->forgotten, page + 1);
	/* Who finds this rest knows why, and does not cut it: window_fill(). */
	smp_store_release(&window->rest.until, jiffies + WINDOW_EMPTY_REST);
	window_drop(window, page, page);
	mmu_range_mirror_unlock(&window->mirror);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_forget);

/**
 * mmu_mirror_window_miss - a reader found a page absent
 * @window: the window
 * @page: which of its pages
 *
 * Only mmu_mirror_window_ptr() and the cache call it. Of misses at the same time one is
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

/*
 * Accesses that may sleep: through the window as far as it has pages, and by
 * uaccess where it has none, which brings them in.
 */

/**
 * struct window_user - the address space of a window, for uaccess
 * @mm: that current took on and has to give back, or NULL
 * @ok: there is something to access
 */
struct window_user {
	struct mm_struct *mm;
	bool ok;
};

/* A kernel thread takes the mm on; to another process, it is out of reach. */
static struct window_user window_user_begin(struct mmu_mirror_window *window)
{
	struct mm_struct *mm = window->mirror.notifier.mm;
	struct window_user user = { .ok = current->mm == mm };

	if (user.ok || current->mm || !(current->flags & PF_KTHREAD) ||
	    !mmget_not_zero(mm))
		return user;
	kthread_use_mm(mm);
	user.mm = mm;
	user.ok = true;
	return user;
}

static void window_user_end(struct window_user *user)
{
	if (!user->mm)
		return;
	kthread_unuse_mm(user->mm);
	/* Not the last mmput() here: the caller has locks of its own. */
	mmput_async(user->mm);
}

/**
 * mmu_mirror_copy - copy from a page that is mapped, or to it
 * @p: where in the page, from mmu_mirror_window_ptr() or mmu_mirror_cache_ptr()
 * @buf: the kernel's copy
 * @n: bytes, all in the page
 * @write: to the page
 *
 * Only the helper calls it.
 *
 * Context: in the section that @p was looked up in.
 * Cost: a read's is mmu_mirror_load_bytes(), a write's memcpy().
 * Return: bytes copied; fewer than @n at a memory error.
 */
size_t mmu_mirror_copy(void *p, void *buf, size_t n, bool write)
{
	if (!write)
		return mmu_mirror_load_bytes(buf, p, n);
	/* The process may be writing there at the same time. */
	data_race(memcpy(p, buf, n));
	return n;
}
EXPORT_SYMBOL_GPL(mmu_mirror_copy);

/* Part of one page. Return how many bytes were accessed. */
static size_t window_copy_mapped(struct mmu_mirror_window *window,
				 unsigned long offset, void *buf, size_t n,
				 bool write)
{
	size_t done = 0;
	void *p;

	mmu_mirror_enter(window->domain);
	p = mmu_mirror_window_ptr(window, offset, n);
	if (p)
		done = mmu_mirror_copy(p, buf, n, write);
	mmu_mirror_exit(window->domain);
	/* A memory error: uaccess meets it next, and reports it. */
	if (p && done < n)
		mmu_mirror_window_forget(window, offset + done);
	return done;
}

static size_t window_copy_user(struct mmu_mirror_window *window,
			       unsigned long offset, void *buf, size_t n,
			       bool write)
{
	void __user *uptr = (void __user *)(window->uaddr + offset);
	struct window_user user = window_user_begin(window);
	size_t done = 0;

	if (user.ok && write)
		done = n - copy_to_user(uptr, buf, n);
	else if (user.ok)
		done = n - copy_from_user(buf, uptr, n);
	window_user_end(&user);
	return done;
}

static size_t window_copy(struct mmu_mirror_window *window,
			  unsigned long offset, void *buf, size_t size,
			  bool write)
{
	size_t done = 0;

	might_sleep();
	if (offset >= window->size)
		return 0;
	size = min(size, window->size - offset);
	while (done < size) {
		unsigned long at = offset + done;
		size_t room = PAGE_SIZE - offset_in_page(window->uaddr + at);
		size_t n = min(size - done, room);
		size_t got = window_copy_mapped(window, at, buf + done, n,
						write);

		if (got < n)
			got += window_copy_user(window, at + got,
						buf + done + got, n - got,
						write);
		done += got;
		if (got < n)
			break;
	}
	return done;
}

/**
 * mmu_mirror_window_read - read from a window, or else from user memory
 * @window: an open window
 * @offset: of the first byte, in bytes from the window's first byte
 * @to: where to
 * @size: bytes
 *
 * Page by page: through the window's pointer where it has one, in a section of
 * its own, else by uaccess, which faults the page in; the miss asks for a fill.
 * Uaccess works in the process that owns the memory, and in a kernel thread or
 * work without an mm, which borrows the window's. Another process gets only the
 * pages that the window has.
 *
 * What is read is not of one moment: the process may be writing. Bytes that it
 * has to write first, an index for one, are for mmu_mirror_window_load().
 *
 * Context: process context, sleeps; outside sections, and without a lock that
 * a page fault needs. A fault may wait for as long as the owner likes, and in a kernel
 * thread nothing ends that wait: with memory under userfaultfd, do not wait for such a
 * thread in a release of the same process; leave that to a work.
 * Cost: for each page a section and a copy of up to 4 KiB in it, which is what an
 * invalidation may have to wait for.
 * Return: bytes read. Fewer than @size at the window's end, or if the next one
 * cannot be had: no mapping, no permission, a memory error, an address space
 * that is gone, or out of reach.
 */
size_t mmu_mirror_window_read(struct mmu_mirror_window *window,
			      unsigned long offset, void *to, size_t size)
{
	return window_copy(window, offset, to, size, false);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_read);

/**
 * mmu_mirror_window_write - write to a window, or else to user memory
 * @window: an open window, for writing; to any other, nothing is written
 * @offset: of the first byte, in bytes from the window's first byte
 * @from: what
 * @size: bytes
 *
 * As mmu_mirror_window_read(). mmu_mirror_window_store() then says that it is
 * there.
 *
 * Context and cost: as mmu_mirror_window_read().
 * Return: bytes written, likewise.
 */
size_t mmu_mirror_window_write(struct mmu_mirror_window *window,
			       unsigned long offset, const void *from,
			       size_t size)
{
	if (!window->writable)
		return 0;
	return window_copy(window, offset, (void *)from, size, true);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_write);

/* A number in one access: 2, 4 or, where a long has so many, 8 bytes. */
static bool window_is_number(struct mmu_mirror_window *window,
			     unsigned long offset, unsigned int size)
{
	if (size != sizeof(u16) && size != sizeof(u32) && size != sizeof(long))
		return false;
	return IS_ALIGNED(window->uaddr + offset, size) &&
	       offset < window->size && size <= window->size - offset;
}

static bool window_load_mapped(struct mmu_mirror_window *window,
			       unsigned long offset, unsigned int size,
			       unsigned long *value)
{
	void *p;

	mmu_mirror_enter(window->domain);
	p = mmu_mirror_window_ptr(window, offset, size);
	/* Pairs with the process's release, or its fence before the store. */
	if (p && size == sizeof(u16))
		*value = smp_load_acquire((u16 *)p);	/* see above */
	else if (p && size == sizeof(u32))
		*value = smp_load_acquire((u32 *)p);	/* see above */
	else if (p)
		*value = smp_load_acquire((unsigned long *)p);	/* see above */
	mmu_mirror_exit(window->domain);
	return p;
}

static int window_load_user(void __user *uptr, unsigned int size,
			    unsigned long *value)
{
	unsigned long word;
	u32 half;
	u16 quarter;
	int ret;

	if (size == sizeof(u16)) {
		ret = get_user(quarter, (u16 __user *)uptr);
		word = quarter;
	} else if (size == sizeof(u32)) {
		ret = get_user(half, (u32 __user *)uptr);
		word = half;
	} else {
		ret = get_user(word, (unsigned long __user *)uptr);
	}
	if (!ret)
		*value = word;
	/* As the acquire of window_load_mapped(). */
	smp_mb();
	return ret;
}

/**
 * mmu_mirror_window_load - load an index of a shared ring, with acquire
 * @window: an open window
 * @offset: of the number, in bytes from the window's first byte
 * @size: of the number: 2, 4 or sizeof(long) bytes. It is aligned in memory
 * @value: the number, in the byte order that it has in memory
 *
 * In one access, through the window or else by uaccess. What the process wrote
 * before it released this value, a later mmu_mirror_window_read() reads. Unlike
 * mmu_mirror_window_read(), it does not recover from a memory error that it meets through
 * the window.
 *
 * Context: as mmu_mirror_window_read().
 * Cost: a section and a load.
 * Return: 0; -EINVAL for another size or alignment, or if it is not inside the
 * window; -EFAULT if it cannot be had.
 */
int mmu_mirror_window_load(struct mmu_mirror_window *window,
			   unsigned long offset, unsigned int size,
			   unsigned long *value)
{
	void __user *uptr = (void __user *)(window->uaddr + offset);
	struct window_user user;
	int ret = -EFAULT;

	might_sleep();
	if (!window_is_number(window, offset, size))
		return -EINVAL;
	if (window_load_mapped(window, offset, size, value))
		return 0;
	user = window_user_begin(window);
	if (user.ok)
		ret = window_load_user(uptr, size, value);
	window_user_end(&user);
	return ret;
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_load);

static bool window_store_mapped(struct mmu_mirror_window *window,
				unsigned long offset, unsigned int size,
				unsigned long value)
{
	void *p;

	mmu_mirror_enter(window->domain);
	p = mmu_mirror_window_ptr(window, offset, size);
	/* Pairs with the process's acquire of it. */
	if (p && size == sizeof(u16))
		smp_store_release((u16 *)p, value);	/* see above */
	else if (p && size == sizeof(u32))
		smp_store_release((u32 *)p, value);	/* see above */
	else if (p)
		smp_store_release((unsigned long *)p, value);	/* see above */
	mmu_mirror_exit(window->domain);
	return p;
}

static int window_store_user(void __user *uptr, unsigned int size,
			     unsigned long value)
{
	/* As the release of window_store_mapped(). */
	smp_mb();
	if (size == sizeof(u16))
		return put_user((u16)value, (u16 __user *)uptr);
	if (size == sizeof(u32))
		return put_user((u32)value, (u32 __user *)uptr);
	return put_user(value, (unsigned long __user *)uptr);
}

/**
 * mmu_mirror_window_store - store an index of a shared ring, with release
 * @window: an open window, for writing
 * @offset: of the number, in bytes from the window's first byte
 * @size: of the number: 2, 4 or sizeof(long) bytes. It is aligned in memory
 * @value: the number, in the byte order that it is to have in memory
 *
 * In one access, through the window or else by uaccess. A process that acquires
 * this value sees what mmu_mirror_window_write() wrote before.
 *
 * Context: as mmu_mirror_window_read().
 * Cost: a section and a store.
 * Return: as mmu_mirror_window_load(); -EPERM if the window is not for writing.
 */
int mmu_mirror_window_store(struct mmu_mirror_window *window,
			    unsigned long offset, unsigned int size,
			    unsigned long value)
{
	void __user *uptr = (void __user *)(window->uaddr + offset);
	struct window_user user;
	int ret = -EFAULT;

	might_sleep();
	if (!window->writable)
		return -EPERM;
	if (!window_is_number(window, offset, size))
		return -EINVAL;
	if (window_store_mapped(window, offset, size, value))
		return 0;
	user = window_user_begin(window);
	if (user.ok)
		ret = window_store_user(uptr, size, value);
	window_user_end(&user);
	return ret;
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_store);

static struct mmu_mirror_window *window_alloc(struct mm_struct *mm,
					      unsigned long npages)
{
	struct mmu_mirror_window *window;
	struct mmu_mirror_charge charge;
	size_t size;

	BUILD_BUG_ON(sizeof(window->chunk[0]) != sizeof(window->kaddr[0]));
	if (npages > MMU_MIRROR_CHUNK)
		size = struct_size(window, chunk,
				   DIV_ROUND_UP(npages, MMU_MIRROR_CHUNK));
	else
		size = struct_size(window, kaddr, npages);
	mmu_mirror_charge_begin(&charge, mm);
	window = kzalloc(size, MMU_MIRROR_GFP);
	mmu_mirror_charge_end(&charge);
	if (window)
		window->npages = npages;
	return window;
}

static void window_free(struct rcu_head *rcu)
{
	struct mmu_mirror_window *window =
		container_of(rcu, struct mmu_mirror_window, rcu);
	unsigned long i;

	if (window_is_sparse(window)) {
		for (i = 0; i < window_nr_chunks(window); i++)
			kfree(window->chunk[i]);
	}
	kfree(window);
}

/* The rest of mmu_mirror_window_close(): what may take long. */
static void window_reap(struct work_struct *work)
{
	struct mmu_mirror_window *window =
		container_of(work, struct mmu_mirror_window, reap);
	struct mmu_mirror_queue *queue = window->queue;
	u64 began = ktime_get_ns();

	disable_work_sync(&window->fill);
	mmu_range_mirror_remove(&window->mirror);
	domain_put(window->domain);
	call_rcu(&window->rcu, window_free);
	queue_spent(queue, began, QUEUE_OPENING_NS);
	mmu_mirror_queue_put(queue);
}

/**
 * mmu_mirror_window_open - make a window onto a range of user memory
 * @domain: its readers
 * @mm: the address space; the caller holds mm_users during the call
 * @uaddr: first byte, without a tag
 * @size: bytes
 * @writable: for writing: only pages that the process may write, dirtied
 *
 * The window is empty; see mmu_mirror_window_prefetch(). It holds no mm_users:
 * the process may exit under it, which empties it for good. Its memory is
 * charged to the owner of @mm: a pointer for each page, or, beyond 512 pages, for
 * each 512 and then for those near a page that has been mapped.
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
	u64 began = ktime_get_ns();
	unsigned long end, npages;
	int ret = -ENOMEM;

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

	window = window_alloc(mm, npages);
	if (!window)
		return ERR_PTR(-ENOMEM);
	window->domain = domain;
	window->uaddr = uaddr;
	window->size = size;
	window->writable = writable;
	window->caller = __builtin_return_address(0);
	window->rest.until = jiffies;
	window->empty.until = jiffies;
	INIT_WORK(&window->fill, window_fill);
	INIT_WORK(&window->reap, window_reap);
	window->queue = mmu_mirror_queue_get(mm);
	if (!window->queue)
		goto free_window;

	ret = mmu_range_mirror_insert(&window->mirror, mm, start,
				      npages << PAGE_SHIFT, &window_ops, NULL);
	if (ret)
		goto put_queue;
	atomic_inc(&domain->nr_windows);
	refcount_inc(&domain->users);
	domain_add_window(domain, window);
	if (current->flags & PF_KTHREAD)
		queue_spent(window->queue, began, QUEUE_OPENING_NS);
	return window;

put_queue:
	mmu_mirror_queue_put(window->queue);
free_window:
	kfree(window);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_open);

/**
 * mmu_mirror_window_shut - have a window map nothing any more
 * @window: a window that is about to be closed
 *
 * Only mmu_mirror_window_close() and the cache call it, which waits once for all
 * of its windows.
 *
 * Context: any that may take the window's lock. The caller keeps the window from
 * being freed.
 */
void mmu_mirror_window_shut(struct mmu_mirror_window *window)
{
	mmu_range_mirror_lock(&window->mirror);
	WRITE_ONCE(window->closed, true);
	window_drop(window, 0, window->npages - 1);
	mmu_range_mirror_unlock(&window->mirror);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_shut);

/**
 * mmu_mirror_window_close - close a window
 * @window: the window, or NULL; no new reader can find it any more
 *
 * Readers that found it before may still be inside a section; they see no page
 * of it by the time this returns, and it is freed after they are out. The
 * notifier goes last: until the drain is over, an invalidation must find the
 * mirror, and wait too. Its removal may have to wait for anything that the owner
 * does, so the mm's queue does that; until then an invalidation finds an empty
 * window.
 *
 * Context: process context. Waits for readers, but not for invalidations.
 */
void mmu_mirror_window_close(struct mmu_mirror_window *window)
{
	u64 began = ktime_get_ns();

	if (!window)
		return;
	/* A reader's miss can no longer queue it. */
	disable_work(&window->fill);
	domain_remove_window(window->domain, window);
	mmu_mirror_window_shut(window);
	mmu_mirror_domain_drain(window->domain);
	mmu_range_mirror_inject(MMU_RANGE_MIRROR_CLOSED, &window->mirror);
	atomic_dec(&window->domain->nr_windows);
	if (current->flags & PF_KTHREAD)
		queue_spent(window->queue, began, QUEUE_OPENING_NS);
	mmu_mirror_queue_work(window->queue, &window->reap);
}
EXPORT_SYMBOL_GPL(mmu_mirror_window_close);

/**
 * mmu_mirror_window_absence - why the page that was last missed is absent
 * @window: the window
 *
 * For reporting, right after mmu_mirror_window_ptr() returned NULL for a page
 * that is not mapped, or after mmu_mirror_window_forget(). In a window of more
 * than 512 pages, pages that are 512 apart share the reason, but for the last.
 *
 * Context: any; the caller keeps the window from being freed.
 * Return: the reason.
 */
enum mmu_mirror_absence
mmu_mirror_window_absence(struct mmu_mirror_window *window)
{
	unsigned long page = READ_ONCE(window->missed);

	if (READ_ONCE(window->forgotten) == page + 1)
		return MMU_MIRROR_FORGOTTEN;
	if (!test_bit(page % MMU_MIRROR_CHUNK, window->seen))
		return MMU_MIRROR_UNFILLED;
	if (window_absent(window, page))
		return MMU_MIRROR_UNMAPPED;
	return MMU_MIRROR_INVALIDATED;
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
	queues_wq = alloc_workqueue("mmu_mirror_queues", WQ_UNBOUND, 0);
	if (!queues_wq)
		goto free_masks;
	return 0;

free_masks:
	drain_masks_free();
	return -ENOMEM;
}
subsys_initcall(mmu_mirror_window_init);

static void __exit mmu_mirror_window_exit(void)
{
	/* Closed windows whose notifiers are being removed hold one. */
	wait_event(queues_gone, !atomic_read(&queues_left));
	destroy_workqueue(queues_wq);
	/* Windows and domains are freed by functions of this module. */
	rcu_barrier();
	drain_masks_free();
}
module_exit(mmu_mirror_window_exit);

MODULE_DESCRIPTION("Windows of kernel pointers to user memory");
MODULE_LICENSE("GPL");
