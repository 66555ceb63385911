// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors of user memory: sequence, lock, dirty-once and the two-step
 * invalidation, on mmu_interval_notifier.
 *
 * Windows, which are built on mirrors, are in mm/mmu_mirror_window.c. The
 * overview is in Documentation/mm/mmu_range_mirror.rst.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/debugfs.h>
#include <linux/hmm.h>
#include <linux/init.h>
#include <linux/ktime.h>
#include <linux/memcontrol.h>
#include <linux/mmu_range_mirror.h>
#include <linux/mmu_range_mirror_inject.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#ifdef CONFIG_RISCV
#include <asm/mmu_context.h>
#endif

#define CREATE_TRACE_POINTS
#include <trace/events/mmu_range_mirror.h>

/* How often a lookup starts over before it reports a collision. */
#define MIRROR_RETRIES		16
/* Pages looked up at once. Fast GUP disables interrupts for all of them. */
#define MIRROR_BATCH		32

EXPORT_TRACEPOINT_SYMBOL_GPL(mmu_mirror_collision);
EXPORT_TRACEPOINT_SYMBOL_GPL(mmu_mirror_populate);

#ifdef CONFIG_MMU_RANGE_MIRROR_INJECT
DEFINE_STATIC_SRCU(injection_srcu);
static void (*injection)(enum mmu_range_mirror_point point,
			 struct mmu_range_mirror *mirror);

/**
 * mmu_range_mirror_set_injection - call a function at the injection points
 * @fn: the function, or NULL
 *
 * Context: sleeps until no earlier function runs any more.
 */
void mmu_range_mirror_set_injection(void (*fn)(enum mmu_range_mirror_point point,
					       struct mmu_range_mirror *mirror))
{
	WRITE_ONCE(injection, fn);
	synchronize_srcu(&injection_srcu);
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_set_injection);

/**
 * mmu_range_mirror_inject - an injection point
 * @point: which
 * @mirror: whose mirror got there, or NULL
 *
 * For the helper's own files.
 *
 * Context: as the point's; sleeps if the test's function does.
 */
void mmu_range_mirror_inject(enum mmu_range_mirror_point point,
			     struct mmu_range_mirror *mirror)
{
	int idx = srcu_read_lock(&injection_srcu);
	typeof(injection) fn = READ_ONCE(injection);

	if (fn)
		fn(point, mirror);
	srcu_read_unlock(&injection_srcu, idx);
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_inject);
#endif

/**
 * mmu_mirror_charge_begin - charge an mm's owner for allocations
 * @charge: for mmu_mirror_charge_end()
 * @mm: the mm, held by mm_count at least
 *
 * This covers allocations with __GFP_ACCOUNT, until mmu_mirror_charge_end().
 * Without it, a kernel thread's allocations are charged to no cgroup.
 *
 * Context: any; nests.
 */
void mmu_mirror_charge_begin(struct mmu_mirror_charge *charge,
			     struct mm_struct *mm)
{
	KUNIT_STATIC_STUB_REDIRECT(mmu_mirror_charge_begin, charge, mm);
	charge->memcg = get_mem_cgroup_from_mm(mm);
	charge->old = set_active_memcg(charge->memcg);
}
EXPORT_SYMBOL_GPL(mmu_mirror_charge_begin);

/**
 * mmu_mirror_charge_end - charge whom it was before
 * @charge: as given to mmu_mirror_charge_begin()
 *
 * Context: any.
 */
void mmu_mirror_charge_end(struct mmu_mirror_charge *charge)
{
	set_active_memcg(charge->old);
	mem_cgroup_put(charge->memcg);
}
EXPORT_SYMBOL_GPL(mmu_mirror_charge_end);

/*
 * Until it has flushed what it gathered, other invalidations find no entry, and must
 * not take that for all there is to do. Under the lock; mirror_flush_gathered() ends it.
 */
static void mirror_gathered(struct mmu_range_mirror *mirror,
			    struct mmu_mirror_gather *gather)
{
	if (!mirror->tlb || (!gather->nr && !gather->full))
		return;
	atomic_inc(&mirror->flushing);
	gather->counted = true;
}

/*
 * Drop the entries of one mirror. The sequence moves whether or not the owner
 * finds an entry: a lookup that is under way must not install what it found.
 */
static bool mirror_drop(struct mmu_range_mirror *mirror,
			const struct mmu_notifier_range *range,
			unsigned long cur_seq, struct mmu_mirror_gather *gather)
{
	bool blockable = mmu_notifier_range_blockable(range);

	if (!blockable && mirror->ops->sleeps) {
		trace_mmu_mirror_invalidate(mirror, range, true);
		return false;
	}

	mmu_range_mirror_inject(MMU_RANGE_MIRROR_NOTIFIED, mirror);
	if (blockable || mirror->lock.spin) {
		mmu_range_mirror_lock(mirror);
	} else if (mirror->lock.mutex ? mutex_trylock(mirror->lock.mutex) :
		   down_write_trylock(mirror->lock.rwsem)) {
		__acquire(mirror);
	} else {
		trace_mmu_mirror_invalidate(mirror, range, true);
		return false;
	}
	mmu_interval_set_seq(&mirror->notifier, cur_seq);
	mirror->ops->invalidate(mirror, range, gather);
	mirror_gathered(mirror, gather);
	mmu_range_mirror_unlock(mirror);
	trace_mmu_mirror_invalidate(mirror, range, false);
	mmu_range_mirror_inject(MMU_RANGE_MIRROR_DROPPED, mirror);
	return true;
}

static bool mirror_waits(struct mmu_range_mirror *mirror)
{
	return mirror->ops->wait || mirror->tlb;
}

/* What an invalidation gathers for the device's TLB, if there is one. */
static struct mmu_mirror_gather *
mirror_gather(struct mmu_range_mirror *mirror, struct mmu_mirror_gather *gather)
{
	if (!mirror->tlb)
		return NULL;
	mmu_mirror_gather_init(gather, mirror->tlb);
	return gather;
}

/*
 * Have everything flushed as well if entries were dropped whose flush the driver has
 * put off, or somebody else has not completed: the driver, or another invalidation.
 * Pairs with mmu_range_mirror_flush_end() and mirror_flush_gathered().
 */
static void mirror_gather_owed(struct mmu_range_mirror *mirror,
			       struct mmu_mirror_gather *gather)
{
	mmu_mirror_gather_marked(gather, READ_ONCE(mirror->marked));
	if (atomic_read_acquire(&mirror->flushing) > gather->counted)
		gather->full = true;
}

static void mirror_flush_owed(struct mmu_range_mirror *mirror,
			      struct mmu_mirror_gather *gather)
{
	mirror_gather_owed(mirror, gather);
	mmu_mirror_gather_flush(gather);
}

static void mirror_flush_gathered(struct mmu_range_mirror *mirror,
				  struct mmu_mirror_gather *gather)
{
	/* The gather is empty afterwards. */
	bool counted = gather->counted;

	mirror_flush_owed(mirror, gather);
	/* The release orders the flush before it: pairs with mirror_gather_owed(). */
	if (counted)
		atomic_dec_return_release(&mirror->flushing);
}

/*
 * The device may still hold what the owner dropped without a flush, even if
 * this invalidation found no entry.
 */
static void mirror_wait(struct mmu_range_mirror *mirror,
			const struct mmu_notifier_range *range,
			struct mmu_mirror_gather *gather)
{
	u64 began = 0;

	if (trace_mmu_mirror_wait_enabled())
		began = ktime_get_ns();
	if (mirror->tlb)
		mirror_flush_gathered(mirror, gather);
	if (mirror->ops->wait)
		mirror->ops->wait(mirror, range);
	if (began)
		trace_mmu_mirror_wait(mirror, range, ktime_get_ns() - began);
}

#if MMU_RANGE_MIRROR_TWO_PASS
/* That of an invalidation which gathers. */
struct mirror_finish {
	struct mmu_range_mirror_finish finish;
	struct mmu_mirror_gather gather;
};

/**
 * mmu_range_mirror_finish_alloc - memory for a finish object
 * @size: of what it is in
 *
 * Return: the memory, or NULL if to have it would need waiting.
 */
VISIBLE_IF_KUNIT void *mmu_range_mirror_finish_alloc(size_t size)
{
	KUNIT_STATIC_STUB_REDIRECT(mmu_range_mirror_finish_alloc, size);
	return kmalloc(size, GFP_NOWAIT | __GFP_NOWARN);
}
EXPORT_SYMBOL_IF_KUNIT(mmu_range_mirror_finish_alloc);

/*
 * Each invalidation in flight needs a finish object of its own. The first takes
 * the embedded one, the others allocate, and so do those that gather, which
 * takes more room. If the allocation fails, the invalidation waits in its first
 * pass: correct, but the waits no longer overlap.
 */
static struct mmu_range_mirror_finish *
finish_get(struct mmu_range_mirror *mirror)
{
	struct mirror_finish *gathering;

	if (!mirror_waits(mirror))
		return NULL;
	if (mirror->tlb) {
		gathering = mmu_range_mirror_finish_alloc(sizeof(*gathering));
		return gathering ? &gathering->finish : NULL;
	}
	/* Pairs with the release in finish_put(). */
	if (!test_and_set_bit_lock(0, &mirror->finish_busy))
		return &mirror->finish;
	return mmu_range_mirror_finish_alloc(sizeof(struct mmu_range_mirror_finish));
}

static void finish_put(struct mmu_range_mirror *mirror,
		       struct mmu_range_mirror_finish *finish)
{
	if (finish == &mirror->finish)
		clear_bit_unlock(0, &mirror->finish_busy);
	else if (mirror->tlb && finish)
		kfree(container_of(finish, struct mirror_finish, finish));
	else
		kfree(finish);
}

static struct mmu_mirror_gather *
finish_gather(struct mmu_range_mirror_finish *finish)
{
	return &container_of(finish, struct mirror_finish, finish)->gather;
}

static bool mirror_invalidate_start(struct mmu_interval_notifier *notifier,
				    const struct mmu_notifier_range *range,
				    unsigned long cur_seq,
				    struct mmu_interval_notifier_finish **out)
{
	struct mmu_range_mirror *mirror =
		container_of(notifier, struct mmu_range_mirror, notifier);
	struct mmu_range_mirror_finish *finish = finish_get(mirror);
	struct mmu_mirror_gather on_stack;
	struct mmu_mirror_gather *gather;

	gather = mirror_gather(mirror, finish && mirror->tlb ?
			       finish_gather(finish) : &on_stack);
	if (!mirror_drop(mirror, range, cur_seq, gather)) {
		finish_put(mirror, finish);
		return false;
	}
	if (finish) {
		/* The core's caller keeps the range until both passes are over. */
		finish->range = range;
		*out = &finish->core;
	} else if (mirror_waits(mirror)) {
		mirror_wait(mirror, range, gather);
	}
	return true;
}

static void mirror_invalidate_finish(struct mmu_interval_notifier_finish *core)
{
	struct mmu_range_mirror_finish *finish =
		container_of(core, struct mmu_range_mirror_finish, core);
	struct mmu_range_mirror *mirror =
		container_of(core->notifier, struct mmu_range_mirror, notifier);

	mirror_wait(mirror, finish->range,
		    mirror->tlb ? finish_gather(finish) : NULL);
	finish_put(mirror, finish);
}

static const struct mmu_interval_notifier_ops mirror_notifier_ops = {
	.invalidate_start = mirror_invalidate_start,
	.invalidate_finish = mirror_invalidate_finish,
};
#else
static bool mirror_invalidate(struct mmu_interval_notifier *notifier,
			      const struct mmu_notifier_range *range,
			      unsigned long cur_seq)
{
	struct mmu_range_mirror *mirror =
		container_of(notifier, struct mmu_range_mirror, notifier);
	struct mmu_mirror_gather on_stack;
	struct mmu_mirror_gather *gather = mirror_gather(mirror, &on_stack);

	if (!mirror_drop(mirror, range, cur_seq, gather))
		return false;
	if (mirror_waits(mirror))
		mirror_wait(mirror, range, gather);
	return true;
}

static const struct mmu_interval_notifier_ops mirror_notifier_ops = {
	.invalidate = mirror_invalidate,
};
#endif

/*
 * External TLBs and the age of pages. Core mm has no range filter for either,
 * so the mirrors that ask share one notifier of each sort in an mm, and an mm
 * without such mirrors has none.
 */

/**
 * struct mmu_range_mirror_list - mirrors of an mm that share a notifier
 * @notifier: the notifier
 * @lock: for changes
 * @members: the mirrors, those of one TLB next to each other; read under the
 *	core's SRCU
 */
struct mmu_range_mirror_list {
	struct mmu_notifier notifier;
	spinlock_t lock;	/* changes of members */
	struct list_head members;
};

/* The number of lists, and the tasks that wait until there is none. */
static atomic_t lists_left = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(lists_gone);

static struct mmu_range_mirror_list *to_list(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct mmu_range_mirror_list, notifier);
}

static struct mmu_notifier *list_alloc(struct mm_struct *mm)
{
	struct mmu_range_mirror_list *list;

	list = kzalloc(sizeof(*list), GFP_KERNEL_ACCOUNT);
	if (!list)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&list->lock);
	INIT_LIST_HEAD(&list->members);
	atomic_inc(&lists_left);
	return &list->notifier;
}

static void list_free(struct mmu_notifier *notifier)
{
	kfree(to_list(notifier));
	if (atomic_dec_and_test(&lists_left))
		wake_up_all(&lists_gone);
}

/*
 * Wait until no list is left, and no list_free() runs. mmu_notifier_synchronize()
 * does not: it is a grace period of its own, and while SRCU has queues for each
 * CPU, the callbacks of another may still be to come.
 */
VISIBLE_IF_KUNIT void mmu_range_mirror_await_lists(void)
{
	wait_event(lists_gone, !atomic_read(&lists_left));
	/* Callbacks run with bottom halves off, which RCU waits for. */
	synchronize_rcu();
}
EXPORT_SYMBOL_IF_KUNIT(mmu_range_mirror_await_lists);

/* Inside the core's SRCU section, which lockdep cannot be told from here. */
#define for_each_mirror(mirror, which, first) \
	list_for_each_entry_rcu(mirror, first, which.node, true)

/* Have the part of [start, end) that @mirror covers flushed, if there is one. */
static void mirror_flush_range(struct mmu_range_mirror *mirror,
			       unsigned long start, unsigned long end,
			       struct mmu_mirror_gather *gather)
{
	start = max(start, mirror->start);
	end = min(end, mirror->end);
	if (start >= end)
		return;
	if (!mirror->tlb) {
		mirror->ops->invalidate_range(mirror, start, end, NULL);
		return;
	}
	if (gather->tlb != mirror->tlb) {
		mmu_mirror_gather_flush(gather);
		mmu_mirror_gather_init(gather, mirror->tlb);
	}
	mirror_gather_owed(mirror, gather);
	mirror->ops->invalidate_range(mirror, start, end, gather);
}

/* Under a page-table lock. The range may be all there is, or the kernel's. */
static void hook_invalidate(struct mmu_notifier *notifier, struct mm_struct *mm,
			    unsigned long start, unsigned long end)
{
	struct mmu_range_mirror *mirror;
	struct mmu_mirror_gather gather;

	mmu_mirror_gather_init(&gather, NULL);
	for_each_mirror(mirror, hook, &to_list(notifier)->members)
		mirror_flush_range(mirror, start, end, &gather);
	mmu_mirror_gather_flush(&gather);
}

/* Nobody calls the hook once the core has let go of the notifier. */
static void hook_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct mmu_range_mirror *mirror;

	for_each_mirror(mirror, hook, &to_list(notifier)->members) {
		WRITE_ONCE(mirror->released, true);
		if (mirror->ops->release)
			mirror->ops->release(mirror);
	}
	hook_invalidate(notifier, mm, 0, -1UL);
}

static const struct mmu_notifier_ops hook_notifier_ops = {
	.arch_invalidate_secondary_tlbs = hook_invalidate,
	.release = hook_release,
	.alloc_notifier = list_alloc,
	.free_notifier = list_free,
};

static bool list_young(struct mmu_notifier *notifier, unsigned long start,
		       unsigned long end, bool clear)
{
	struct mmu_range_mirror *mirror;
	bool young = false;

	for_each_mirror(mirror, young, &to_list(notifier)->members) {
		unsigned long from = max(start, mirror->start);
		unsigned long to = min(end, mirror->end);

		if (from < to)
			young |= mirror->ops->young(mirror, from, to, clear);
	}
	return young;
}

static MMU_RANGE_MIRROR_YOUNG
young_clear(struct mmu_notifier *notifier, struct mm_struct *mm,
	    unsigned long start, unsigned long end)
{
	return list_young(notifier, start, end, true);
}

static MMU_RANGE_MIRROR_YOUNG
young_test(struct mmu_notifier *notifier, struct mm_struct *mm,
	   unsigned long addr)
{
	addr &= PAGE_MASK;
	return list_young(notifier, addr, addr + PAGE_SIZE, false);
}

static const struct mmu_notifier_ops young_notifier_ops = {
	.clear_flush_young = young_clear,
	.clear_young = young_clear,
	.test_young = young_test,
	.alloc_notifier = list_alloc,
	.free_notifier = list_free,
};

/* Have a list to join. Sleeps, and takes mmap_lock. */
static int member_init(struct mmu_range_mirror_member *member,
		       struct mm_struct *mm, const struct mmu_notifier_ops *ops)
{
	struct mmu_notifier *notifier;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	notifier = mmu_notifier_get_locked(ops, mm);
	mmap_write_unlock(mm);
	if (IS_ERR(notifier))
		return PTR_ERR(notifier);
	member->list = to_list(notifier);
	INIT_LIST_HEAD(&member->node);
	return 0;
}

/* Leave before mmu_notifier_synchronize(), put the list whenever. */
static void member_leave(struct mmu_range_mirror_member *member)
{
	spin_lock(&member->list->lock);
	list_del_rcu(&member->node);
	spin_unlock(&member->list->lock);
}

static void member_put(struct mmu_range_mirror_member *member)
{
	if (member->list)
		mmu_notifier_put(&member->list->notifier);
}

static void mirror_join_young(struct mmu_range_mirror *mirror)
{
	struct mmu_range_mirror_list *list = mirror->young.list;

	spin_lock(&list->lock);
	list_add_rcu(&mirror->young.node, &list->members);
	spin_unlock(&list->lock);
}

/* Next to another mirror of the TLB, so that one gather serves them all. */
static void mirror_join_hook(struct mmu_range_mirror *mirror)
{
	struct mmu_range_mirror_list *list = mirror->hook.list;
	struct mmu_range_mirror *other;
	struct list_head *after = &list->members;

	spin_lock(&list->lock);
	list_for_each_entry(other, &list->members, hook.node) {
		if (other->tlb != mirror->tlb)
			continue;
		after = &other->hook.node;
		break;
	}
	list_add_rcu(&mirror->hook.node, after);
	spin_unlock(&list->lock);
}

/* Have notifiers for what the owner asks for. Nothing is called yet. */
static int mirror_subscribe(struct mmu_range_mirror *mirror,
			    struct mm_struct *mm)
{
	int ret = 0;

	if (mirror->ops->invalidate_range)
		ret = member_init(&mirror->hook, mm, &hook_notifier_ops);
	if (!ret && mirror->ops->young)
		ret = member_init(&mirror->young, mm, &young_notifier_ops);
	if (ret)
		member_put(&mirror->hook);
	return ret;
}

/* Flush what the device may hold of the mirror before the TLB notifier goes. */
static void mirror_leave(struct mmu_range_mirror *mirror)
{
	struct mmu_mirror_gather gather;

	if (mirror->hook.list) {
		mmu_mirror_gather_init(&gather, NULL);
		mirror_flush_range(mirror, mirror->start, mirror->end, &gather);
		mmu_mirror_gather_flush(&gather);
		member_leave(&mirror->hook);
	}
	mmu_range_mirror_flush_deferred(mirror);
	if (mirror->young.list)
		member_leave(&mirror->young);
	if (mirror->hook.list || mirror->young.list)
		mmu_notifier_synchronize();
	member_put(&mirror->hook);
	member_put(&mirror->young);
}

/**
 * mmu_range_mirror_can_hook - does this machine call @invalidate_range?
 *
 * powerpc does not: it does for ranges, not for the single pages of COW, KSM,
 * write-back and reclaim. Nor does riscv without ASIDs, which skips the flush of
 * an mm that no CPU has; a module cannot ask.
 *
 * Return: true if core mm's TLB flushes reach the notifiers.
 */
VISIBLE_IF_KUNIT bool mmu_range_mirror_can_hook(void)
{
	KUNIT_STATIC_STUB_REDIRECT(mmu_range_mirror_can_hook);
#if defined(CONFIG_RISCV) && !defined(MODULE)
	return static_branch_unlikely(&use_asid_allocator);
#else
	return IS_ENABLED(CONFIG_X86) || IS_ENABLED(CONFIG_ARM64);
#endif
}
EXPORT_SYMBOL_IF_KUNIT(mmu_range_mirror_can_hook);

/*
 * GUP strips the tag of an address, the interval tree does not: a mirror of a
 * tagged range would be filled and never invalidated.
 */
static int mirror_check_untagged(struct mm_struct *mm, unsigned long start)
{
	bool tagged;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	tagged = untagged_addr_remote(mm, start) != start;
	mmap_read_unlock(mm);
	return tagged ? -EINVAL : 0;
}

/* Have lockdep know that reclaim takes the lock before reclaim does. */
static void mirror_prime_lockdep(struct mmu_range_mirror *mirror)
{
	fs_reclaim_acquire(GFP_KERNEL);
	if (mirror->lock.mutex)
		might_lock(mirror->lock.mutex);
	else if (mirror->lock.rwsem)
		might_lock(mirror->lock.rwsem);
	else
		might_lock(mirror->lock.spin);
	fs_reclaim_release(GFP_KERNEL);
}

static int mirror_check_ops(const struct mmu_range_mirror_ops *ops,
			    const struct mmu_mirror_lock *lock)
{
	if (!ops->invalidate ||
	    (lock && !!lock->spin + !!lock->mutex + !!lock->rwsem != 1))
		return -EINVAL;
	if (!ops->invalidate_range)
		return ops->release ? -EINVAL : 0;
	/* The hook's caller holds a spinlock. */
	if (lock && !lock->spin)
		return -EINVAL;
	return mmu_range_mirror_can_hook() ? 0 : -EOPNOTSUPP;
}

/* All mirrors, for the list in debugfs. */
#ifdef CONFIG_MMU_RANGE_MIRROR_DEBUGFS
static LIST_HEAD(listed);
static DEFINE_SPINLOCK(listed_lock);	/* innermost: the list, and its readers */

static void mirror_list(struct mmu_range_mirror *mirror)
{
	spin_lock(&listed_lock);
	list_add_tail(&mirror->listed, &listed);
	spin_unlock(&listed_lock);
}

static void mirror_unlist(struct mmu_range_mirror *mirror)
{
	spin_lock(&listed_lock);
	list_del(&mirror->listed);
	spin_unlock(&listed_lock);
}
#else
static inline void mirror_list(struct mmu_range_mirror *mirror)
{
}

static inline void mirror_unlist(struct mmu_range_mirror *mirror)
{
}
#endif

/*
 * The core waits for invalidations and for mmap_lock uninterruptibly, for as long as
 * an owner likes. Kernel threads that wait there are woken now and then, look, and
 * sleep again. Else khungtaskd would take them for stuck, and some hosts panic then.
 */
#define MIRROR_LOOK_AGAIN	HZ

static LIST_HEAD(waiters);
static DEFINE_SPINLOCK(waiters_lock);	/* around the scheduler's and timers' only */

struct mirror_waiter {
	struct list_head node;
	struct task_struct *task;
};

static void waiters_wake(struct timer_list *timer)
{
	struct mirror_waiter *waiter;

	spin_lock(&waiters_lock);
	list_for_each_entry(waiter, &waiters, node)
		wake_up_process(waiter->task);
	if (!list_empty(&waiters))
		mod_timer(timer, jiffies + MIRROR_LOOK_AGAIN);
	spin_unlock(&waiters_lock);
}

static DEFINE_TIMER(waiters_timer, waiters_wake);

static void waiter_enter(struct mirror_waiter *waiter)
{
	if (!(current->flags & PF_KTHREAD))
		return;
	waiter->task = current;
	spin_lock_bh(&waiters_lock);
	list_add(&waiter->node, &waiters);
	if (!timer_pending(&waiters_timer))
		mod_timer(&waiters_timer, jiffies + MIRROR_LOOK_AGAIN);
	spin_unlock_bh(&waiters_lock);
}

static void waiter_leave(struct mirror_waiter *waiter)
{
	if (!(current->flags & PF_KTHREAD))
		return;
	spin_lock_bh(&waiters_lock);
	list_del(&waiter->node);
	spin_unlock_bh(&waiters_lock);
}

/**
 * mmu_range_mirror_insert - start to mirror a range of user memory
 * @mirror: the mirror; must stay until mmu_range_mirror_remove() has returned
 * @mm: the address space; the caller holds mm_users
 * @start: first byte, page aligned and without a tag
 * @length: bytes, a multiple of the page size
 * @ops: what to do on invalidation
 * @lock: the driver's own lock, or NULL for the embedded spinlock. The
 *	structure is copied, the lock is not.
 *
 * Invalidations arrive from before the return, but for those that begin while one
 * that began before is under way somewhere in the mm. A lookup waits for the latter,
 * so no entry is missed: use none that was not looked up. Nothing is mapped yet.
 * Nothing need be mapped at @start: the range may cover holes.
 *
 * Context: process context, sleeps. Every insertion takes mmap_lock for read. The
 * first into an mm, and every one with @invalidate_range or @young, takes it for
 * write as well. Hold no lock that is taken under mmap_lock.
 * Cost: two allocations and all rmap locks for the first of an mm, and again
 * for the first with @invalidate_range and the first with @young; then one
 * O(log n) tree insertion.
 * Return: 0; -EINVAL on a zero or unaligned range, one above the address
 * space's end, a tagged address, missing operations, not exactly one lock, or
 * one that sleeps with @invalidate_range; -EOPNOTSUPP for @invalidate_range on a
 * machine that does not call it; -EOVERFLOW on a wrapping range; -EINTR on a
 * signal and -ENOMEM, after which the caller may simply try again later. On any
 * error nothing is registered.
 */
int mmu_range_mirror_insert(struct mmu_range_mirror *mirror,
			    struct mm_struct *mm, unsigned long start,
			    unsigned long length,
			    const struct mmu_range_mirror_ops *ops,
			    const struct mmu_mirror_lock *lock)
{
	struct mirror_waiter waiter;
	unsigned long end;
	int ret;

	if (!length || !PAGE_ALIGNED(start | length))
		return -EINVAL;
	ret = mirror_check_ops(ops, lock);
	if (ret)
		return ret;
	if (check_add_overflow(start, length, &end))
		return -EOVERFLOW;
	if (end > mm->task_size)
		return -EINVAL;
	ret = mirror_check_untagged(mm, start);
	if (ret)
		return ret;

	memset(mirror, 0, sizeof(*mirror));
	spin_lock_init(&mirror->own_lock);
	INIT_HLIST_HEAD(&mirror->faulting);
	mirror->removed = true;
	mirror->ops = ops;
	mirror->start = start;
	mirror->end = end;
	if (lock)
		mirror->lock = *lock;
	else
		mirror->lock.spin = &mirror->own_lock;
	if (ops->tlb) {
		mirror->tlb = ops->tlb(mirror);
		mirror->marked = atomic_long_read(&mirror->tlb->flushed);
	}
	mirror_prime_lockdep(mirror);

	ret = mirror_subscribe(mirror, mm);
	if (ret)
		return ret;
	mmu_range_mirror_inject(MMU_RANGE_MIRROR_SUBSCRIBED, mirror);
	waiter_enter(&waiter);
	ret = mmu_interval_notifier_insert(&mirror->notifier, mm, start, length,
					   &mirror_notifier_ops);
	waiter_leave(&waiter);
	if (ret) {
		member_put(&mirror->hook);
		member_put(&mirror->young);
		return ret;
	}
	if (mirror->hook.list)
		mirror_join_hook(mirror);
	if (mirror->young.list)
		mirror_join_young(mirror);
	mirror->removed = false;
	mirror_list(mirror);
	trace_mmu_mirror_insert(mirror);
	return 0;
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_insert);

/**
 * mmu_range_mirror_remove - stop mirroring
 * @mirror: an inserted mirror
 *
 * Between the start and the end of an invalidation, too: the core, not the
 * mirror, counts those. When it has returned, no operation runs or will run, and
 * the mirror may be freed. The owner drops its entries before the call, or
 * after it if they cannot be used by then; a device that walks the CPU's page
 * tables does so no more. It is flushed here, as is what was put off. Nobody
 * looks anything up in it by then; whoever does gets an error, and a warning.
 *
 * Context: process context, sleeps: uninterruptibly and without bound while an
 * invalidation that hit the mirror, or any other of the mm, has not ended, and
 * for an SRCU grace period if it had @invalidate_range or @young. Hold no lock
 * that an invalidation or a data path needs, and do not call it from an operation.
 */
void mmu_range_mirror_remove(struct mmu_range_mirror *mirror)
{
	struct mm_struct *mm = mirror->notifier.mm;
	struct mirror_waiter waiter;

	if (WARN_ON_ONCE(mirror->removed))
		return;
	mmu_range_mirror_lock(mirror);
	WRITE_ONCE(mirror->removed, true);
	mmu_range_mirror_unlock(mirror);
	mirror_unlist(mirror);
	mirror_leave(mirror);
	/* The notifier may hold it last, and the event says whose it was. */
	mmgrab(mm);
	waiter_enter(&waiter);
	mmu_interval_notifier_remove(&mirror->notifier);
	waiter_leave(&waiter);
	trace_mmu_mirror_remove(mirror);
	mmdrop(mm);
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_remove);

/**
 * mmu_range_mirror_mm_owner - whose an address space is
 * @mm: the mm, which something holds
 *
 * For reporting: the process may be gone by the time somebody looks.
 *
 * Context: any.
 * Return: the thread group, as the initial PID namespace has it; 0 once nobody
 * has the address space any more, and without CONFIG_MEMCG, for want of knowing.
 */
pid_t mmu_range_mirror_mm_owner(struct mm_struct *mm)
{
	pid_t pid = 0;
#ifdef CONFIG_MEMCG
	struct task_struct *owner;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	if (owner)
		pid = task_tgid_nr(owner);
	rcu_read_unlock();
#endif
	return pid;
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_mm_owner);

/**
 * mmu_range_mirror_owner - whose memory is mirrored
 * @mirror: a mirror; after its removal, only while something holds the mm
 *
 * Context: any.
 * Return: as mmu_range_mirror_mm_owner().
 */
pid_t mmu_range_mirror_owner(struct mmu_range_mirror *mirror)
{
	return mmu_range_mirror_mm_owner(mirror->notifier.mm);
}

/**
 * mmu_range_mirror_begin - begin a lookup of pages
 * @mirror: the mirror
 *
 * Context: process context, sleeps: uninterruptibly and without bound while an
 * invalidation that hit the mirror is open, or any other of the mm has not
 * ended. Do not call it where there is a fallback, nor under a lock that a
 * data path needs.
 * Cost: one spinlock pair of the mm when nothing is being invalidated.
 * Return: the sequence, for mmu_range_mirror_retry().
 */
unsigned long mmu_range_mirror_begin(struct mmu_range_mirror *mirror)
{
	struct mirror_waiter waiter;
	unsigned long seq;

	/* Whatever is returned, the retry check fails. */
	if (WARN_ON_ONCE(READ_ONCE(mirror->removed)))
		return 0;
	waiter_enter(&waiter);
	seq = mmu_interval_read_begin(&mirror->notifier);
	waiter_leave(&waiter);

	/*
	 * The core waits for the end of an invalidation with a relaxed load. If
	 * that need not sleep, nothing keeps the lookup's loads of the page
	 * table behind it, and retry would not notice what they missed. Pairs
	 * with the mm's notifier lock, under which an invalidation ends.
	 */
	smp_acquire__after_ctrl_dep();
	return seq;
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_begin);

/**
 * mmu_range_mirror_mark_dirty - mark the page of a writable entry dirty
 * @mirror: the mirror
 * @folio: the folio of a page that was looked up since the begin
 *
 * Once for each page, when the writable entry is made; never when it is
 * dropped. Here the page is still mapped, because truncation and page_mkclean()
 * would first have to get their invalidation past the lock. So it needs no
 * folio lock and no pin, and no dirty bit appears behind the file system's
 * back. (On PREEMPT_RT a file system may take sleeping spinlocks for it, as
 * this lock is one there.)
 *
 * Context: under the mirror's lock, after mmu_range_mirror_retry() said false.
 */
void mmu_range_mirror_mark_dirty(struct mmu_range_mirror *mirror,
				 struct folio *folio)
{
	mmu_range_mirror_assert_held(mirror);
	if (WARN_ON_ONCE(mirror->removed))
		return;
	folio_mark_dirty(folio);
	WRITE_ONCE(mirror->nr_dirtied, mirror->nr_dirtied + 1);
	trace_mmu_mirror_dirty(mirror, folio);
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_mark_dirty);

/**
 * mmu_range_mirror_defer_flush - defer the flush of dropped entries
 * @mirror: a mirror with a TLB
 *
 * For entries that the driver drops for reasons of its own, while core mm still
 * maps the pages. An invalidation that could free a page, or take a permission
 * from it, flushes before it goes on, even if it finds no entry. So do
 * @invalidate_range, removal and mmu_range_mirror_flush_deferred().
 *
 * Context: under the mirror's lock, in the same hold that dropped the entries,
 * and after that: a flush between a mark and its drop would count for it. After
 * removal, only mmu_range_mirror_flush_deferred() does such a flush.
 * Cost: one atomic operation.
 */
void mmu_range_mirror_defer_flush(struct mmu_range_mirror *mirror)
{
	mmu_range_mirror_assert_held(mirror);
	WRITE_ONCE(mirror->marked, mmu_mirror_tlb_mark(mirror->tlb));
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_defer_flush);

/**
 * mmu_range_mirror_flush_deferred - do deferred flushes now
 * @mirror: a mirror; without a TLB, nothing happens
 *
 * This covers all entries that were dropped in earlier holds of the lock, also by
 * invalidations that have not flushed yet.
 *
 * Context: any but interrupts, without the mirror's lock; spins for the device.
 */
void mmu_range_mirror_flush_deferred(struct mmu_range_mirror *mirror)
{
	struct mmu_mirror_gather gather;

	if (!mirror->tlb)
		return;
	mmu_mirror_gather_init(&gather, mirror->tlb);
	mirror_flush_owed(mirror, &gather);
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_flush_deferred);

/**
 * mmu_range_mirror_flush_begin - note that dropped entries are about to be flushed
 * @mirror: a mirror with a TLB
 *
 * For entries that the driver drops for reasons of its own, and flushes by
 * itself, after the unlock, with a gather of just their ranges. An invalidation
 * may come before that, and finds no entry: until
 * mmu_range_mirror_flush_end() it flushes everything, as for
 * mmu_range_mirror_defer_flush(). Afterwards it does not. Any number of these may
 * be under way, and end in any order.
 *
 * Context: under the mirror's lock, in the same hold that dropped the entries.
 * Cost: one atomic operation.
 */
void mmu_range_mirror_flush_begin(struct mmu_range_mirror *mirror)
{
	mmu_range_mirror_assert_held(mirror);
	atomic_inc(&mirror->flushing);
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_flush_begin);

/**
 * mmu_range_mirror_flush_end - note that they are flushed
 * @mirror: as given to mmu_range_mirror_flush_begin()
 *
 * Once for each, after mmu_mirror_gather_flush(), and before removal.
 *
 * Context: any; without the mirror's lock.
 * Cost: one atomic operation. The release orders the flush before it, and pairs
 * with the acquire of an invalidation, which flushes less then.
 */
void mmu_range_mirror_flush_end(struct mmu_range_mirror *mirror)
{
	atomic_dec_return_release(&mirror->flushing);
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_flush_end);

/*
 * Looking pages up. One loop for all: mirror_look_up(). What differs is how the
 * page table is read, which faults nothing in: by GUP, which knows what the
 * kernel itself may touch, or by HMM, which knows what there is.
 */

/**
 * struct lookup - a lookup under way, on its task's stack
 * @mirror: in which
 * @what: for whom
 * @read: fill in the pfns of the spans, in order, until one is not as wanted,
 *	and count those before it in @what->done. Return 0 if that is none;
 *	-EBUSY if an invalidation collided; -EFAULT for one that may be there
 *	after a fault; -EINTR
 * @task: whose it is
 * @node: on the mirror's list, while in a page fault
 */
struct lookup {
	struct mmu_range_mirror *mirror;
	struct mmu_mirror_lookup *what;
	int (*read)(struct lookup *lookup, unsigned long seq);
	struct task_struct *task;
	struct hlist_node node;
};

/* Is this what was wanted? What is absent now may be there after a fault. */
static bool lookup_satisfied(struct mmu_mirror_lookup *what, unsigned long pfn)
{
	if (!(what->flags & MMU_MIRROR_FAULT))
		return true;
	if (!(pfn & HMM_PFN_VALID))
		return false;
	return (pfn & HMM_PFN_WRITE) ||
	       !(what->flags & MMU_MIRROR_FAULT_WRITE);
}

/* For writing, as far as anybody can. Under mmap_lock. */
static bool lookup_for_writing(struct mmu_mirror_lookup *what,
			       struct vm_area_struct *vma)
{
	if (!(what->flags & MMU_MIRROR_FAULT_WRITE))
		return false;
	if ((vma->vm_flags & VM_WRITE) && !(vma->vm_flags & VM_SHADOW_STACK))
		return true;
	return !(what->flags & MMU_MIRROR_OR_READ);
}

/* Clear the pfns from page @at of span @i on: fault these in, they were not read. */
static void lookup_forget(struct mmu_mirror_lookup *what, unsigned int i,
			  unsigned long at)
{
	for (; i < what->nr_spans; i++, at = 0)
		memset(what->spans[i].pfns + at, 0,
		       (what->spans[i].npages - at) *
		       sizeof(*what->spans[i].pfns));
}

/* The number of pages, from @addr on, that the same page-table entry maps. */
static unsigned long lookup_step(unsigned long pfn, unsigned long addr)
{
	unsigned long step = 1UL << hmm_pfn_to_map_order(pfn);

	return step - ((addr >> PAGE_SHIFT) & (step - 1));
}

#if IS_ENABLED(CONFIG_HMM_MIRROR)
static void lookup_hide_write(struct mmu_mirror_span *span)
{
	unsigned long i;

	for (i = 0; i < span->npages; i++)
		span->pfns[i] &= ~HMM_PFN_WRITE;
}

/*
 * Each entry of the CPU's is looked at once, however many pages it maps. Without
 * flags in the range, HMM faults nothing in, whatever is in the pfns.
 */
static int lookup_read_span(struct lookup *lookup, unsigned long seq,
			    struct mmu_mirror_span *span)
{
	struct mmu_mirror_lookup *what = lookup->what;
	struct mm_struct *mm = lookup->mirror->notifier.mm;
	struct hmm_range range = {
		.notifier = &lookup->mirror->notifier,
		.notifier_seq = seq,
		.start = span->start,
		.end = span->start + span->npages * PAGE_SIZE,
		.hmm_pfns = span->pfns,
		.dev_private_owner = what->owner,
	};
	unsigned long i;
	int ret;

	ret = hmm_range_fault(&range);
	if (ret)
		return ret;
	if (!(what->flags & (MMU_MIRROR_WRITABLE | MMU_MIRROR_LOOK)))
		lookup_hide_write(span);
	for (i = 0; i < span->npages;) {
		unsigned long addr = span->start + i * PAGE_SIZE;
		unsigned long pfn = span->pfns[i];

		if (!lookup_satisfied(what, pfn) &&
		    (!(pfn & HMM_PFN_VALID) ||
		     lookup_for_writing(what, vma_lookup(mm, addr))))
			break;
		i += lookup_step(pfn, addr);
	}
	i = min(i, span->npages);
	what->done += i;
	return i < span->npages ? -EFAULT : 0;
}

static int lookup_read_hmm(struct lookup *lookup, unsigned long seq)
{
	struct mmu_mirror_lookup *what = lookup->what;
	struct mm_struct *mm = lookup->mirror->notifier.mm;
	unsigned int i;
	int ret = 0;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	for (i = 0; i < what->nr_spans && !ret; i++)
		ret = lookup_read_span(lookup, seq, &what->spans[i]);
	mmap_read_unlock(mm);
	if (ret == -EFAULT)
		lookup_forget(what, i, 0);
	return ret;
}
#endif

/* As many as there are, at most a batch; without faults. */
static long lookup_gup(struct mm_struct *mm, unsigned long start,
		       unsigned long npages, unsigned int flags,
		       struct page **pages)
{
	long got;

	if (current->mm == mm)
		return get_user_pages_fast(start, npages, flags, pages);
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	got = get_user_pages_remote(mm, start, npages, flags, pages, NULL);
	mmap_read_unlock(mm);
	return got;
}

/*
 * The references go at once. Whatever takes a page from the mapping invalidates
 * first, and then the retry check fails.
 */
static long lookup_read_batch(struct lookup *lookup, unsigned long start,
			      unsigned long npages, unsigned long *pfns)
{
	struct page *pages[MIRROR_BATCH];
	unsigned int flags = FOLL_NOFAULT;
	unsigned long entry = HMM_PFN_VALID;
	long got, i;

	if (lookup->what->flags & MMU_MIRROR_FAULT_WRITE) {
		flags |= FOLL_WRITE;
		entry |= HMM_PFN_WRITE;
	}
	npages = min_t(unsigned long, npages, MIRROR_BATCH);
	got = lookup_gup(lookup->mirror->notifier.mm, start, npages, flags,
			 pages);
	for (i = 0; i < got; i++) {
		pfns[i] = page_to_pfn(pages[i]) | entry;
		put_page(pages[i]);
	}
	return got ?: -EFAULT;
}

static int lookup_read_gup(struct lookup *lookup, unsigned long seq)
{
	struct mmu_mirror_lookup *what = lookup->what;
	unsigned int i;

	for (i = 0; i < what->nr_spans; i++) {
		struct mmu_mirror_span *span = &what->spans[i];
		unsigned long at = 0;

		while (at < span->npages) {
			long got = lookup_read_batch(lookup, span->start +
						     at * PAGE_SIZE,
						     span->npages - at,
						     span->pfns + at);

			if (got < 0) {
				lookup_forget(what, i, at);
				return got == -EINTR ? -EINTR : -EFAULT;
			}
			at += got;
			what->done += got;
		}
	}
	return 0;
}

static bool lookup_flags_ok(unsigned int flags)
{
	if (flags == MMU_MIRROR_LOOK)
		return true;
	if (flags & ~(MMU_MIRROR_FOR_WRITING | MMU_MIRROR_OR_READ))
		return false;
	if ((flags & MMU_MIRROR_OR_READ) && !(flags & MMU_MIRROR_FAULT_WRITE))
		return false;
	return !(flags & MMU_MIRROR_FAULT_WRITE) ||
	       (flags & MMU_MIRROR_FOR_WRITING) == MMU_MIRROR_FOR_WRITING;
}

/* Why a lookup should not go on, or 0. */
static int lookup_stopped(struct mmu_range_mirror *mirror)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	if (READ_ONCE(mirror->cancelled))
		return -ECANCELED;
	if (READ_ONCE(mirror->released) || READ_ONCE(mirror->removed))
		return -ESRCH;
	return 0;
}

/* From here to lookup_leave(), mmu_range_mirror_cancel() wakes the task. */
static int lookup_enter(struct lookup *lookup)
{
	struct mmu_range_mirror *mirror = lookup->mirror;
	int ret = -ECANCELED;

	spin_lock(&mirror->own_lock);
	if (!mirror->cancelled) {
		hlist_add_head(&lookup->node, &mirror->faulting);
		ret = 0;
	}
	spin_unlock(&mirror->own_lock);
	return ret;
}

static void lookup_leave(struct lookup *lookup)
{
	spin_lock(&lookup->mirror->own_lock);
	hlist_del(&lookup->node);
	spin_unlock(&lookup->mirror->own_lock);
}

/*
 * Fault one page in. Return 0 with mmap_lock held; 1 without it, if the fault
 * had to let go of it, and may have to be repeated; or an errno, with it.
 */
static int lookup_fault_page(struct lookup *lookup, unsigned long addr,
			     unsigned int flags)
{
	struct mm_struct *mm = lookup->mirror->notifier.mm;
	struct vm_area_struct *vma = vma_lookup(mm, addr);
	vm_fault_t fault;
	bool write;

	if (!vma || (vma->vm_flags & (VM_IO | VM_PFNMAP)))
		return -EFAULT;
	write = lookup_for_writing(lookup->what, vma);
	/* GUP finds a page for writing that nobody may read; HMM does not. */
	if (!(vma->vm_flags & VM_READ) &&
	    (!write || lookup->read != lookup_read_gup))
		return -EFAULT;
	if (write) {
		if (!(vma->vm_flags & VM_WRITE) ||
		    (vma->vm_flags & VM_SHADOW_STACK))
			return -EPERM;
		flags |= FAULT_FLAG_WRITE;
	}
	if (current->mm != mm)
		flags |= FAULT_FLAG_REMOTE;
	fault = handle_mm_fault(vma, addr, flags, NULL);
	if (fault & (VM_FAULT_COMPLETED | VM_FAULT_RETRY))
		return 1;
	if (fault & VM_FAULT_ERROR)
		return vm_fault_to_errno(fault, 0) ?: -EFAULT;
	return 0;
}

/* The pages of a span that are not known to be as wanted; counted in @at. */
static int lookup_fault_span(struct lookup *lookup, struct mmu_mirror_span *span,
			     unsigned int flags, unsigned long *at)
{
	unsigned long i;
	int ret;

	for (i = 0; i < span->npages; i++, (*at)++) {
		if (lookup_satisfied(lookup->what, span->pfns[i]))
			continue;
		ret = lookup_stopped(lookup->mirror) ?:
		      lookup_fault_page(lookup, span->start + i * PAGE_SIZE,
					flags);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

/* Return as lookup_fault_page(), but never with mmap_lock held. */
static int lookup_fault(struct lookup *lookup, bool again)
{
	struct mm_struct *mm = lookup->mirror->notifier.mm;
	unsigned int flags = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
	unsigned long at = 0;
	unsigned int i;
	int ret;

	if (again)
		flags |= FAULT_FLAG_TRIED;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = lookup_enter(lookup);
	if (ret)
		goto unlock;
	for (i = 0; i < lookup->what->nr_spans && !ret; i++)
		ret = lookup_fault_span(lookup, &lookup->what->spans[i], flags,
					&at);
	lookup_leave(lookup);
	if (ret == 1)
		return 1;
	/* All pages before the one that failed are present. */
	if (ret)
		lookup->what->done = at;
unlock:
	mmap_read_unlock(mm);
	return ret;
}

/*
 * The loop. Return 0 with the mirror's lock held, or an errno without. Tries without
 * progress are bounded. A try that gets further than all before it starts the count
 * again: with userfaultfd, each fault does.
 */
static int lookup_loop(struct lookup *lookup)
{
	struct mmu_range_mirror *mirror = lookup->mirror;
	struct mmu_mirror_lookup *what = lookup->what;
	unsigned long furthest = 0, faulted_seq = 0, faulted_at = 0;
	bool faulted = false, again = false, futile = false;
	int tries, ret;

	for (tries = 0; tries < MIRROR_RETRIES; tries++) {
		unsigned long seq;

		ret = lookup_stopped(mirror);
		if (ret)
			return ret;
		seq = mmu_range_mirror_begin(mirror);
		mmu_range_mirror_inject(MMU_RANGE_MIRROR_BEGUN, mirror);
		what->done = 0;
		ret = lookup->read(lookup, seq);
		if (what->done > furthest) {
			furthest = what->done;
			tries = 0;
		}
		if (ret == -EFAULT && (what->flags & MMU_MIRROR_FAULT)) {
			/*
			 * Faulted in, not taken since, and still not as wanted?
			 * A fault also does nothing where another task's was
			 * faster, whose may have been for reading.
			 */
			futile = faulted && seq == faulted_seq &&
				 what->done == faulted_at;
			faulted_at = what->done;
			ret = lookup_fault(lookup, again);
			if (ret < 0)
				return ret;
			again = ret;
			faulted = !ret;
			faulted_seq = seq;
			continue;
		}
		if (ret && ret != -EBUSY)
			return ret;
		futile = false;
		if (!ret) {
			mmu_range_mirror_inject(MMU_RANGE_MIRROR_LOOKED_UP, mirror);
			mmu_range_mirror_lock(mirror);
			if (!mmu_range_mirror_retry(mirror, seq)) {
				/* The caller's. */
				__release(mirror);
				return 0;
			}
			mmu_range_mirror_unlock(mirror);
		}
		trace_mmu_mirror_collision(mirror, what->spans->start,
					   what->done, tries + 1,
					   tries + 1 == MIRROR_RETRIES);
	}
	/* Also if that was in the last try. */
	ret = lookup_stopped(mirror);
	if (ret)
		return ret;
	return futile ? -EFAULT : -EAGAIN;
}

static int mirror_look_up(struct lookup *lookup)
{
	struct mmu_range_mirror *mirror = lookup->mirror;
	struct mmu_mirror_charge charge;
	struct mm_struct *mm;
	int ret;

	lookup->what->done = 0;
	if (WARN_ON_ONCE(READ_ONCE(mirror->removed)))
		return -ESRCH;
	mm = mirror->notifier.mm;
	if (!mmget_not_zero(mm))
		return -ESRCH;
	lookup->task = current;
	/* What a kernel thread faults in would be charged to nobody. */
	if (current->flags & PF_KTHREAD)
		mmu_mirror_charge_begin(&charge, mm);
	ret = lookup_loop(lookup);
	if (current->flags & PF_KTHREAD)
		mmu_mirror_charge_end(&charge);
	/* If it is the last, the end of the mm arrives as an invalidation. */
	mmput_async(mm);
	/* Nothing was found for good. */
	if (ret == -EAGAIN || ret == -EINTR || ret == -ECANCELED || ret == -ESRCH)
		lookup->what->done = 0;
	return ret;
}

/* [start, start + npages) is a part of the mirror. */
static bool mirror_covers(struct mmu_range_mirror *mirror, unsigned long start,
			  unsigned long npages)
{
	return npages && PAGE_ALIGNED(start) && start >= mirror->start &&
	       start < mirror->end &&
	       npages <= (mirror->end - start) >> PAGE_SHIFT;
}

/*
 * Mark each folio that is reported as writable once. All pages of one page-table
 * entry have one permission.
 */
static void lookup_mark_dirty(struct mmu_range_mirror *mirror,
			      struct mmu_mirror_span *span)
{
	unsigned long i, step;

	for (i = 0; i < span->npages; i += step) {
		unsigned long pfn = span->pfns[i];
		unsigned long addr = span->start + i * PAGE_SIZE;
		struct folio *folio;
		struct page *page;

		step = 1;
		if (!(pfn & HMM_PFN_VALID) || !(pfn & HMM_PFN_WRITE))
			continue;
		page = hmm_pfn_to_page(pfn);
		/* The device's own: reclaim does not look for it there. */
		if (is_device_private_page(page) || is_device_coherent_page(page))
			continue;
		folio = page_folio(page);
		step = min_t(unsigned long, lookup_step(pfn, addr),
			     folio_nr_pages(folio) -
			     folio_page_idx(folio, page));
		if (!mirror->ops->writable ||
		    !mirror->ops->writable(mirror, addr))
			mmu_range_mirror_mark_dirty(mirror, folio);
	}
}

/**
 * mmu_range_mirror_lookup - find pages, and return with the mirror's lock held
 * @mirror: a mirror; of any mm, whatever current->mm is
 * @what: which pages, how, and where to say what they are
 *
 * Begin, page faults, lock and retry, all in one; the caller makes its entries
 * and calls mmu_range_mirror_unlock(). Several spans are of one sequence: what
 * is reported is true of all of them until the unlock. Each page that is
 * reported as writable is marked dirty here, unless @ops->writable says that the
 * driver has such an entry already: make no entry writable that is not. With
 * %MMU_MIRROR_LOOK nothing is marked, and the driver makes none at all.
 *
 * No reference is held: the pages are the mapping's until the unlock, and the
 * entries' until an invalidation.
 *
 * A fault may wait for whoever owns the memory: userfaultfd, a file system in
 * user space, swap. What ends that wait: a fatal signal, and
 * mmu_range_mirror_cancel(). Kernel threads and works get no signals.
 *
 * On an error nothing is held and nothing was marked; what to do on which:
 *
 * ============== ============================================================
 * -EAGAIN        16 tries in a row got no further: invalidations went on, or
 *                reclaim was faster. Let the device try again, or fall back
 * -EFAULT        the page behind @what->done cannot be mapped: no mapping, one
 *                without struct pages, a memory error. Those before it can
 * -EPERM         the mapping of that page forbids writing; see
 *                %MMU_MIRROR_OR_READ
 * -EINTR         a fatal signal; nobody waits for the result
 * -ECANCELED     mmu_range_mirror_cancel(): likewise
 * -ESRCH         the address space is gone, or the mirror removed (which warns)
 * -ENOMEM        a fault found no memory
 * -EINVAL        a span is not inside the mirror, or flags do not go together
 * -EOPNOTSUPP    without CONFIG_HMM_MIRROR: anything but %MMU_MIRROR_FOR_READING
 *                and %MMU_MIRROR_FOR_WRITING. Orders are then 0, pages in the
 *                memory of a device are migrated back, secret memory is -EFAULT
 * ============== ============================================================
 *
 * With CONFIG_HMM_MIRROR, and unlike mmu_range_mirror_populate(), it also finds
 * pages that the kernel itself must not touch: secret memory is reported like
 * any other.
 *
 * Context: process context, sleeps, as mmu_range_mirror_begin() and a page fault
 * do. Hold neither mmap_lock, nor the mirror's lock, nor one that an invalidation
 * or the owner of the memory needs. mm_users is taken and put inside; the last
 * put is left to a work.
 * Cost: a walk of the page table, and a second one if anything was faulted in.
 * Large folios that are mapped as such are marked in one go. All is marked in one
 * hold of the lock, which an invalidation waits for: as a spinlock, keep to some
 * thousand small pages for each call.
 * Return: 0 with the lock held, or an error without.
 */
int mmu_range_mirror_lookup(struct mmu_range_mirror *mirror,
			    struct mmu_mirror_lookup *what)
{
	struct lookup lookup = { .mirror = mirror, .what = what };
	unsigned int i;
	int ret;

	if (!what->nr_spans || !lookup_flags_ok(what->flags))
		return -EINVAL;
	for (i = 0; i < what->nr_spans; i++) {
		if (!mirror_covers(mirror, what->spans[i].start,
				   what->spans[i].npages))
			return -EINVAL;
	}
#if IS_ENABLED(CONFIG_HMM_MIRROR)
	lookup.read = lookup_read_hmm;
#else
	if (what->flags != MMU_MIRROR_FOR_READING &&
	    what->flags != MMU_MIRROR_FOR_WRITING)
		return -EOPNOTSUPP;
	lookup.read = lookup_read_gup;
#endif
	ret = mirror_look_up(&lookup);
	if (ret)
		return ret;
	if (what->flags == MMU_MIRROR_LOOK)
		return 0;
	for (i = 0; i < what->nr_spans; i++)
		lookup_mark_dirty(mirror, &what->spans[i]);
	return 0;
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_lookup);

/**
 * mmu_range_mirror_cancel - give the lookups of a mirror up, for good
 * @mirror: an inserted mirror
 *
 * For lookups by workers, which get no signals. A worker may wait in a page fault
 * for a task that never answers, and that may be the task that is about to wait for
 * the worker. Call this first in the device file's release, then stop the workers,
 * then remove the mirror. Lookups and
 * populations fail with -ECANCELED from here on, those that are under way
 * included, and when it has returned none is in a page fault. One may still
 * return 0: it had found its pages before.
 *
 * This wakes tasks in a page fault until they are out. A fault that only its own
 * event ends delays the return: a read of swap or of a file, or a file system in
 * user space that has not answered. If the dying task was to answer, and its file
 * of the device is closed first, this never returns: a driver that allows for such
 * memory (FUSE) has its release leave the call, and the rest, to a work.
 *
 * Context: process context, sleeps as said. Holds nothing that a fault needs.
 */
void mmu_range_mirror_cancel(struct mmu_range_mirror *mirror)
{
	struct lookup *lookup;
	bool idle;

	for (;;) {
		spin_lock(&mirror->own_lock);
		WRITE_ONCE(mirror->cancelled, true);
		hlist_for_each_entry(lookup, &mirror->faulting, node)
			wake_up_process(lookup->task);
		idle = hlist_empty(&mirror->faulting);
		spin_unlock(&mirror->own_lock);
		if (idle)
			return;
		/* It may not have gone to sleep yet when it was woken. */
		schedule_timeout_uninterruptible(1);
	}
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_cancel);

/* Return how many pages of the span were installed, or an errno. */
static long mirror_populate_span(struct mmu_range_mirror *mirror,
				 struct mmu_mirror_lookup *what,
				 unsigned int flags,
				 int (*install)(struct mmu_range_mirror *mirror,
						unsigned long addr,
						struct page *page, void *ctx),
				 void *ctx)
{
	struct lookup lookup = {
		.mirror = mirror,
		.what = what,
		.read = lookup_read_gup,
	};
	struct mmu_mirror_span *span = what->spans;
	unsigned long i;
	int ret;

	ret = mirror_look_up(&lookup);
	if (ret)
		return ret == -EPERM ? -EFAULT : ret;
	__acquire(mirror);
	/* An error from here on is @install's. */
	what->done = 0;
	for (i = 0; i < span->npages && ret >= 0; i++) {
		struct page *page = hmm_pfn_to_page(span->pfns[i]);

		ret = install(mirror, span->start + i * PAGE_SIZE, page, ctx);
		if (!ret && (flags & FOLL_WRITE))
			mmu_range_mirror_mark_dirty(mirror, page_folio(page));
	}
	mmu_range_mirror_unlock(mirror);
	ret = min(ret, 0);
	trace_mmu_mirror_populate(mirror, span->start, ret ? i - 1 : i,
				  flags & FOLL_WRITE, ret);
	return ret ?: i;
}

/**
 * mmu_range_mirror_populate - make shadow entries for pages of the caller
 * @mirror: a mirror of the caller's address space
 * @start: first address, page aligned
 * @npages: number of pages; all of them inside the mirror
 * @flags: FOLL_WRITE for writable entries, or 0
 * @install: makes one entry, under the mirror's lock; a negative errno ends
 *	the population, and that page is not marked dirty. Nor is one for which
 *	it returns 1, because there was an entry already
 * @ctx: for @install
 *
 * The whole loop of DOC: locking, faulting pages in. On an error, pages before
 * the failing one may have been installed; they are mirrored like any other.
 *
 * Context: process context with current->mm the mirrored one and mmap_lock not
 * held; sleeps like mmu_range_mirror_begin().
 * Return: 0; -EINVAL if the mm is not the caller's, the pages are not inside
 * the mirror or other flags were given; -EAGAIN after a bounded number of
 * collisions; -EINTR on a fatal signal; -ECANCELED after
 * mmu_range_mirror_cancel(); -ESRCH once the address space is gone, or the
 * mirror removed, which warns; -EFAULT for a page that cannot be had, and -ENOMEM
 * for one that there is no memory for; what @install said.
 */
int mmu_range_mirror_populate(struct mmu_range_mirror *mirror,
			      unsigned long start, unsigned long npages,
			      unsigned int flags,
			      int (*install)(struct mmu_range_mirror *mirror,
					     unsigned long addr,
					     struct page *page, void *ctx),
			      void *ctx)
{
	unsigned long pfns[MIRROR_BATCH];
	struct mmu_mirror_span span = { .pfns = pfns };
	struct mmu_mirror_lookup what = {
		.spans = &span,
		.nr_spans = 1,
		.flags = flags & FOLL_WRITE ? MMU_MIRROR_FOR_WRITING :
					      MMU_MIRROR_FOR_READING,
	};

	if (WARN_ON_ONCE(READ_ONCE(mirror->removed)))
		return -ESRCH;
	if (current->mm != mirror->notifier.mm || (flags & ~FOLL_WRITE))
		return -EINVAL;
	if (!mirror_covers(mirror, start, npages))
		return -EINVAL;

	while (npages) {
		long n;

		span.start = start;
		span.npages = min_t(unsigned long, npages, MIRROR_BATCH);
		n = mirror_populate_span(mirror, &what, flags, install, ctx);
		if (n == -EFAULT && what.done) {
			/* Up to the page that cannot be had. */
			span.npages = what.done;
			n = mirror_populate_span(mirror, &what, flags, install,
						 ctx);
		}
		if (n < 0)
			return n;
		start += n * PAGE_SIZE;
		npages -= n;
		cond_resched();
	}
	return 0;
}
EXPORT_SYMBOL_GPL(mmu_range_mirror_populate);
#ifdef CONFIG_MMU_RANGE_MIRROR_DEBUGFS
/*
 * The list of mirrors in debugfs. Mirrors come and go between two reads of it,
 * and there may be a million: a reader's place is an entry of the list, without
 * ops, before what it shows next.
 */
static struct dentry *listed_file;

static struct mmu_range_mirror *listed_after(struct list_head *node)
{
	struct mmu_range_mirror *mirror;

	for (node = node->next; node != &listed; node = node->next) {
		mirror = list_entry(node, struct mmu_range_mirror, listed);
		if (mirror->ops)
			return mirror;
	}
	return NULL;
}

static void *listed_start(struct seq_file *seq, loff_t *pos)
	__acquires(&listed_lock)
{
	struct mmu_range_mirror *place = seq->private;

	spin_lock(&listed_lock);
	if (!*pos)
		return listed_after(&listed);
	/* At the end it has none. */
	return list_empty(&place->listed) ? NULL : listed_after(&place->listed);
}

static void *listed_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct mmu_range_mirror *mirror = v;

	++*pos;
	return listed_after(&mirror->listed);
}

static void listed_stop(struct seq_file *seq, void *v)
	__releases(&listed_lock)
{
	struct mmu_range_mirror *place = seq->private;
	struct mmu_range_mirror *mirror = v;

	list_del_init(&place->listed);
	if (mirror)
		list_add_tail(&place->listed, &mirror->listed);
	spin_unlock(&listed_lock);
}

static void listed_show_tlb(struct seq_file *seq, struct mmu_mirror_tlb *tlb)
{
	seq_printf(seq, " ranges=%ld commands=%ld full=%ld syncs=%ld refills=%ld",
		   atomic_long_read(&tlb->nr_ranges),
		   atomic_long_read(&tlb->nr_commands),
		   atomic_long_read(&tlb->nr_full),
		   atomic_long_read(&tlb->nr_syncs),
		   atomic_long_read(&tlb->nr_refills));
}

static const char *listed_kind(struct mmu_range_mirror *mirror)
{
	if (mirror->ops->kind)
		return mirror->ops->kind;
	return mirror->tlb || mirror->ops->invalidate_range ? "tlb" : "mirror";
}

/* The mm stays until the mirror is removed, which the lock keeps it from. */
static int listed_show(struct seq_file *seq, void *v)
{
	struct mmu_range_mirror *mirror = v;

	seq_printf(seq, "mirror=%p pid=%d kind=%s start=0x%lx end=0x%lx dirtied=%lu",
		   mirror, mmu_range_mirror_owner(mirror), listed_kind(mirror),
		   mirror->start, mirror->end, READ_ONCE(mirror->nr_dirtied));
	if (mirror->tlb)
		listed_show_tlb(seq, mirror->tlb);
	if (mirror->ops->show)
		mirror->ops->show(mirror, seq);
	else
		seq_printf(seq, " driver=%ps", mirror->ops->invalidate);
	seq_putc(seq, '\n');
	return 0;
}

static const struct seq_operations listed_seq_ops = {
	.start = listed_start,
	.next = listed_next,
	.stop = listed_stop,
	.show = listed_show,
};

static int listed_open(struct inode *inode, struct file *file)
{
	struct mmu_range_mirror *place;

	place = __seq_open_private(file, &listed_seq_ops, sizeof(*place));
	if (!place)
		return -ENOMEM;
	INIT_LIST_HEAD(&place->listed);
	/* seq_file seeks by showing all that comes before, in one hold of the lock. */
	return nonseekable_open(inode, file);
}

static int listed_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;
	struct mmu_range_mirror *place = seq->private;

	spin_lock(&listed_lock);
	list_del(&place->listed);
	spin_unlock(&listed_lock);
	return seq_release_private(inode, file);
}

static const struct file_operations listed_fops = {
	.owner = THIS_MODULE,
	.open = listed_open,
	.read = seq_read,
	.release = listed_release,
};

static void listed_init(void)
{
	listed_file = debugfs_create_file("mmu_range_mirror", 0400, NULL, NULL,
					  &listed_fops);
}

static void listed_exit(void)
{
	debugfs_remove(listed_file);
}
#else
static inline void listed_init(void)
{
}

static inline void listed_exit(void)
{
}
#endif
static int __init mmu_range_mirror_init(void)
{
	listed_init();
	return 0;
}
subsys_initcall(mmu_range_mirror_init);

static void __exit mmu_range_mirror_exit(void)
{
	listed_exit();
	timer_delete_sync(&waiters_timer);
	/* Lists are freed by a function of this module. */
	mmu_range_mirror_await_lists();
}
module_exit(mmu_range_mirror_exit);

MODULE_DESCRIPTION("Mirroring of user memory for secondary MMUs");
MODULE_LICENSE("GPL");
