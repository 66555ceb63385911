// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of mm/mmu_notifier.c: an invalidation that may not block, and
 * that one of several subscribers refuses. Nobody calls the end of such an
 * invalidation, so nothing of it may stay open.
 *
 * And of architectures' flushes: a subscriber with a TLB that walks the CPU's page
 * tables hears of each.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/uaccess.h>

#define LENGTH		(4 * PAGE_SIZE)

/* A subscriber of each kind, in the mm of the test. */
struct subscribers {
	struct mmu_interval_notifier interval;
	struct mmu_notifier list;
	unsigned long start;
	int refuse;	/* so many times, the list's subscriber does */
	int refused;
	int invalidated;
};

/* A thread that does what can wait for invalidations to end. */
struct waiter {
	struct mmu_interval_notifier *interval;
	struct completion done;
};

static bool interval_invalidate(struct mmu_interval_notifier *interval,
				const struct mmu_notifier_range *range,
				unsigned long cur_seq)
{
	struct subscribers *subs =
		container_of(interval, struct subscribers, interval);

	mmu_interval_set_seq(interval, cur_seq);
	subs->invalidated++;
	return true;
}

static const struct mmu_interval_notifier_ops interval_ops = {
	.invalidate = interval_invalidate,
};

static int list_start(struct mmu_notifier *list,
		      const struct mmu_notifier_range *range)
{
	struct subscribers *subs = container_of(list, struct subscribers, list);

	if (mmu_notifier_range_blockable(range) || !subs->refuse)
		return 0;
	subs->refuse--;
	subs->refused++;
	return -EAGAIN;
}

static const struct mmu_notifier_ops list_ops = {
	.invalidate_range_start = list_start,
};

static struct subscribers *subscribe(struct kunit *test)
{
	struct subscribers *subs = kunit_kzalloc(test, sizeof(*subs), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, subs);
	subs->start = kunit_vm_mmap(test, NULL, 0, LENGTH, PROT_READ | PROT_WRITE,
				    MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)subs->start));
	subs->list.ops = &list_ops;
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&subs->list, current->mm));
	KUNIT_ASSERT_EQ(test, 0,
			mmu_interval_notifier_insert(&subs->interval, current->mm,
						     subs->start, LENGTH,
						     &interval_ops));
	return subs;
}

static void range_init(struct subscribers *subs, struct mmu_notifier_range *range)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, current->mm,
				subs->start, subs->start + LENGTH);
}

static int read_begin_main(void *data)
{
	struct waiter *waiter = data;

	mmu_interval_read_begin(waiter->interval);
	complete(&waiter->done);
	return 0;
}

static int remove_main(void *data)
{
	struct waiter *waiter = data;

	mmu_interval_notifier_remove(waiter->interval);
	complete(&waiter->done);
	return 0;
}

static void waiter_start(struct kunit *test, struct waiter *waiter,
			 int (*fn)(void *data), struct subscribers *subs)
{
	waiter->interval = &subs->interval;
	init_completion(&waiter->done);
	KUNIT_ASSERT_FALSE(test, IS_ERR(kthread_run(fn, waiter, "waiter")));
}

static bool waiter_ends(struct waiter *waiter, unsigned long timeout)
{
	return wait_for_completion_timeout(&waiter->done, timeout);
}

/*
 * Refused once: a task that waits for invalidations to end must not wait for this
 * one. If it does, close what was left open, so that the test can go on.
 */
static void refused_leaves_nothing_open(struct kunit *test,
					int (*fn)(void *data))
{
	struct subscribers *subs = subscribe(test);
	struct mmu_notifier_range range;
	struct waiter waiter;

	subs->refuse = 1;
	range_init(subs, &range);
	KUNIT_ASSERT_EQ(test, -EAGAIN,
			mmu_notifier_invalidate_range_start_nonblock(&range));
	KUNIT_EXPECT_EQ(test, 1, subs->refused);
	KUNIT_EXPECT_EQ(test, 1, subs->invalidated);

	waiter_start(test, &waiter, fn, subs);
	if (!waiter_ends(&waiter, HZ)) {
		KUNIT_FAIL(test, "waits for an invalidation that was refused");
		mmu_notifier_invalidate_range_end(&range);
		KUNIT_ASSERT_TRUE(test, waiter_ends(&waiter, 20 * HZ));
	}
	if (fn != remove_main)
		mmu_interval_notifier_remove(&subs->interval);
	mmu_notifier_unregister(&subs->list, current->mm);
}

static void refused_and_read_begin(struct kunit *test)
{
	refused_leaves_nothing_open(test, read_begin_main);
}

static void refused_and_remove(struct kunit *test)
{
	refused_leaves_nothing_open(test, remove_main);
}

/* What was not refused stays open until its own end, and no longer. */
static void refused_closes_only_itself(struct kunit *test)
{
	struct subscribers *subs = subscribe(test);
	struct mmu_notifier_range open, refused;
	struct waiter waiter;

	range_init(subs, &open);
	mmu_notifier_invalidate_range_start(&open);
	subs->refuse = 1;
	range_init(subs, &refused);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			mmu_notifier_invalidate_range_start_nonblock(&refused));

	waiter_start(test, &waiter, read_begin_main, subs);
	KUNIT_EXPECT_FALSE(test, waiter_ends(&waiter, HZ / 10));
	mmu_notifier_invalidate_range_end(&open);
	if (!waiter_ends(&waiter, HZ)) {
		KUNIT_FAIL(test, "waits for an invalidation that was refused");
		mmu_notifier_invalidate_range_end(&refused);
		KUNIT_ASSERT_TRUE(test, waiter_ends(&waiter, 20 * HZ));
	}
	mmu_interval_notifier_remove(&subs->interval);
	mmu_notifier_unregister(&subs->list, current->mm);
}

/* As the OOM reaper does: try again, and end what succeeded. */
static void refused_then_granted(struct kunit *test)
{
	struct subscribers *subs = subscribe(test);
	struct mmu_notifier_range range;
	struct waiter waiter;

	subs->refuse = 2;
	range_init(subs, &range);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			mmu_notifier_invalidate_range_start_nonblock(&range));
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			mmu_notifier_invalidate_range_start_nonblock(&range));
	KUNIT_EXPECT_EQ(test, 0,
			mmu_notifier_invalidate_range_start_nonblock(&range));
	KUNIT_EXPECT_EQ(test, 3, subs->invalidated);

	waiter_start(test, &waiter, read_begin_main, subs);
	KUNIT_EXPECT_FALSE(test, waiter_ends(&waiter, HZ / 10));
	mmu_notifier_invalidate_range_end(&range);
	if (!waiter_ends(&waiter, HZ)) {
		KUNIT_FAIL(test, "waits for invalidations that were refused");
		mmu_notifier_invalidate_range_end(&range);
		mmu_notifier_invalidate_range_end(&range);
		KUNIT_ASSERT_TRUE(test, waiter_ends(&waiter, 20 * HZ));
	}
	mmu_interval_notifier_remove(&subs->interval);
	mmu_notifier_unregister(&subs->list, current->mm);
}

/* A subscriber with a TLB that walks the page tables. */
struct walker {
	struct mmu_notifier notifier;
	unsigned long page;
	int told;	/* so many times, of a flush of this page */
};

static void walker_flush(struct mmu_notifier *notifier, struct mm_struct *mm,
			 unsigned long start, unsigned long end)
{
	struct walker *walker = container_of(notifier, struct walker, notifier);

	if (start <= walker->page && end >= walker->page + PAGE_SIZE)
		walker->told++;
}

static const struct mmu_notifier_ops walker_ops = {
	.arch_invalidate_secondary_tlbs = walker_flush,
};

/* Does this machine tell walkers? */
static bool walkers_are_told(void)
{
#ifdef CONFIG_PPC_RADIX_MMU
	return radix_enabled();
#else
	return IS_ENABLED(CONFIG_X86) || IS_ENABLED(CONFIG_ARM64);
#endif
}

/* A page is written that has been read: another one takes the zero page's place. */
static void walker_is_told_of_a_page(struct kunit *test)
{
	struct walker *walker = kunit_kzalloc(test, sizeof(*walker), GFP_KERNEL);
	u8 __user *p;
	u8 byte;

	if (!walkers_are_told())
		kunit_skip(test, "nobody is told of flushes here");
	KUNIT_ASSERT_NOT_NULL(test, walker);
	walker->page = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
				     PROT_READ | PROT_WRITE,
				     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)walker->page));
	walker->notifier.ops = &walker_ops;
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&walker->notifier,
						       current->mm));

	p = (u8 __user *)walker->page;
	KUNIT_EXPECT_EQ(test, 0, get_user(byte, p));
	walker->told = 0;
	KUNIT_EXPECT_EQ(test, 0, put_user(1, p));
	KUNIT_EXPECT_GT(test, walker->told, 0);
	mmu_notifier_unregister(&walker->notifier, current->mm);
}

static struct kunit_case notifier_cases[] = {
	KUNIT_CASE(refused_and_read_begin),
	KUNIT_CASE(refused_and_remove),
	KUNIT_CASE(refused_closes_only_itself),
	KUNIT_CASE(refused_then_granted),
	KUNIT_CASE(walker_is_told_of_a_page),
	{}
};

static struct kunit_suite notifier_suite = {
	.name = "mmu_notifier",
	.test_cases = notifier_cases,
};

kunit_test_suite(notifier_suite);
