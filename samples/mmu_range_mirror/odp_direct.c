// SPDX-License-Identifier: GPL-2.0
/*
 * The ODP sample's form without mirrors: /dev/direct_odp, on
 * mmu_interval_notifier and HMM. What it has to think of by itself says so.
 */
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "odp.h"

#define DIRECT_TRIES	16

struct odp_direct {
	struct odp_region region;
	struct mmu_interval_notifier notifier;
	struct mutex lock;	/* sequence and table */
	bool stopped;
};

static struct odp_direct *to_direct(struct odp_region *region)
{
	return container_of(region, struct odp_direct, region);
}

/* What the device has to flush, as one range, which may be too large. */
struct direct_flush {
	unsigned long start;
	unsigned long end;
};

static void direct_dropped(unsigned long start, unsigned long end, void *ctx)
{
	struct direct_flush *flush = ctx;

	flush->start = min(flush->start, start);
	flush->end = max(flush->end, end);
}

/*
 * Under the lock, and so is the flush: an invalidation that finds no entry must
 * not return before the device is done with the page.
 */
static void direct_clear(struct odp_region *region, unsigned long start,
			 unsigned long end)
{
	struct direct_flush flush = { ULONG_MAX, 0 };

	odp_table_clear(region, start, end, direct_dropped, &flush);
	if (flush.start < flush.end)
		odp_flush(region->dev, flush.start, flush.end);
}

static bool direct_invalidate(struct mmu_interval_notifier *notifier,
			      const struct mmu_notifier_range *range,
			      unsigned long cur_seq)
{
	struct odp_direct *direct =
		container_of(notifier, struct odp_direct, notifier);
	struct odp_region *region = &direct->region;

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&direct->lock);
	else if (!mutex_trylock(&direct->lock))
		return false;
	/* Also if there is no entry: a fault may be about to make one. */
	mmu_interval_set_seq(notifier, cur_seq);
	direct_clear(region, max(range->start, region->start),
		     min(range->end, region->end));
	mutex_unlock(&direct->lock);
	return true;
}

static const struct mmu_interval_notifier_ops direct_ops = {
	.invalidate = direct_invalidate,
};

static int direct_insert(struct odp_region *region)
{
	struct odp_direct *direct = to_direct(region);

	mutex_init(&direct->lock);
	/* Reclaim takes it: have lockdep know before that happens. */
	fs_reclaim_acquire(GFP_KERNEL);
	might_lock(&direct->lock);
	fs_reclaim_release(GFP_KERNEL);
	return mmu_interval_notifier_insert(&direct->notifier, region->dev->mm,
					    region->start,
					    region->end - region->start,
					    &direct_ops);
}

static void direct_remove(struct odp_region *region)
{
	mmu_interval_notifier_remove(&to_direct(region)->notifier);
}

static bool direct_is_writable(struct odp_region *region, unsigned long addr)
{
	return odp_table_entry(region, addr) & HMM_PFN_WRITE;
}

/*
 * A writable PTE need not be dirty, and then reclaim drops what the device
 * writes. Here the page is still mapped, and write-back has yet to come.
 */
static void direct_dirty(struct odp_region *region, unsigned long addr,
			 unsigned long npages, unsigned long *pfns)
{
	unsigned long i, step;

	for (i = 0; i < npages; i += step, addr += step * PAGE_SIZE) {
		step = 1;
		if (!region->writable)
			pfns[i] &= ~HMM_PFN_WRITE;
		if (!(pfns[i] & HMM_PFN_WRITE))
			continue;
		step = 1UL << hmm_pfn_to_map_order(pfns[i]);
		step -= (addr >> PAGE_SHIFT) & (step - 1);
		if (!direct_is_writable(region, addr))
			folio_mark_dirty(page_folio(hmm_pfn_to_page(pfns[i])));
	}
}

/* Return with the lock held, or an error. */
static int direct_lookup(struct odp_direct *direct, struct hmm_range *range)
{
	struct mm_struct *mm = direct->notifier.mm;
	int tries, ret;

	/* Invalidations may never stop. */
	for (tries = 0; tries < DIRECT_TRIES; tries++) {
		if (READ_ONCE(direct->stopped))
			return -ECANCELED;
		range->notifier_seq = mmu_interval_read_begin(range->notifier);
		mmap_read_lock(mm);
		ret = hmm_range_fault(range);
		mmap_read_unlock(mm);
		if (ret == -EBUSY)
			continue;
		if (ret)
			return ret;
		mutex_lock(&direct->lock);
		if (!mmu_interval_read_retry(range->notifier,
					     range->notifier_seq))
			return 0;
		mutex_unlock(&direct->lock);
	}
	return -EAGAIN;
}

static int direct_fault(struct odp_region *region, unsigned long start,
			unsigned long npages, unsigned long *pfns,
			unsigned int flags)
{
	struct odp_direct *direct = to_direct(region);
	struct mm_struct *mm = direct->notifier.mm;
	struct hmm_range range = {
		.notifier = &direct->notifier,
		.start = start,
		.end = start + npages * PAGE_SIZE,
		.hmm_pfns = pfns,
	};
	int ret;

	if (flags & ODP_FAULT)
		range.default_flags |= HMM_PFN_REQ_FAULT;
	if (flags & ODP_FAULT_WRITE)
		range.default_flags |= HMM_PFN_REQ_WRITE;
	/* The thread has no mm, and must not be the one to tear it down. */
	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = direct_lookup(direct, &range);
	mmput_async(mm);
	if (ret)
		return ret;
	direct_dirty(region, start, npages, pfns);
	odp_table_set(region, start, npages, pfns);
	mutex_unlock(&direct->lock);
	return 0;
}

static void direct_drop(struct odp_region *region, unsigned long start,
			unsigned long end)
{
	struct odp_direct *direct = to_direct(region);

	mutex_lock(&direct->lock);
	direct_clear(region, start, end);
	mutex_unlock(&direct->lock);
}

/* It cannot end a page fault: that waits for as long as it likes. */
static void direct_stop(struct odp_region *region)
{
	WRITE_ONCE(to_direct(region)->stopped, true);
}

struct odp_form odp_direct_form = {
	.device = {
		.minor = MISC_DYNAMIC_MINOR,
		.name = "direct_odp",
		.fops = &odp_fops,
	},
	.size = sizeof(struct odp_direct),
	.insert = direct_insert,
	.remove = direct_remove,
	.fault = direct_fault,
	.drop = direct_drop,
	.stop = direct_stop,
};
