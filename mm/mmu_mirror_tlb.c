// SPDX-License-Identifier: GPL-2.0
/*
 * Flushing the TLB of a device: few commands for many ranges, and deferred
 * flushes, which wait until somebody relies on them.
 *
 * mm/mmu_range_mirror.c decides when to flush; this file says how.
 */
#include <linux/export.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mmu_mirror_tlb.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>

#define CREATE_TRACE_POINTS
#include <trace/events/mmu_mirror_tlb.h>

/**
 * mmu_mirror_gather_init - begin to gather
 * @gather: on the caller's stack
 * @tlb: whose translations are to be flushed
 *
 * Context: any.
 */
void mmu_mirror_gather_init(struct mmu_mirror_gather *gather,
			    struct mmu_mirror_tlb *tlb)
{
	gather->tlb = tlb;
	gather->nr = 0;
	gather->full = false;
	gather->counted = false;
	gather->nr_added = 0;
}
EXPORT_SYMBOL_GPL(mmu_mirror_gather_init);

/* Replace the @gone ranges from @at on by @fresh new ones, to be filled in. */
static void gather_splice(struct mmu_mirror_gather *gather, unsigned int at,
			  unsigned int gone, unsigned int fresh)
{
	memmove(&gather->range[at + fresh], &gather->range[at + gone],
		(gather->nr - at - gone) * sizeof(gather->range[0]));
	gather->nr += fresh - gone;
}

/**
 * mmu_mirror_gather_add - add a range to what will be flushed
 * @gather: begun with mmu_mirror_gather_init()
 * @start: first byte, page aligned
 * @end: first byte after it, page aligned
 *
 * Ranges that overlap or abut become one. If the array is too small, the flush
 * will be a full one.
 *
 * Context: any.
 * Cost: O(%MMU_MIRROR_GATHER_MAX).
 */
void mmu_mirror_gather_add(struct mmu_mirror_gather *gather,
			   unsigned long start, unsigned long end)
{
	unsigned int first = 0, last;

	gather->nr_added++;
	if (gather->full)
		return;
	while (first < gather->nr && gather->range[first].end < start)
		first++;
	for (last = first; last < gather->nr; last++) {
		if (gather->range[last].start > end)
			break;
		start = min(start, gather->range[last].start);
		end = max(end, gather->range[last].end);
	}
	if (first == last && gather->nr == MMU_MIRROR_GATHER_MAX) {
		gather->full = true;
		return;
	}
	gather_splice(gather, first, last - first, 1);
	gather->range[first].start = start;
	gather->range[first].end = end;
}
EXPORT_SYMBOL_GPL(mmu_mirror_gather_add);

/**
 * mmu_mirror_gather_marked - flush marked entries as well
 * @gather: begun with mmu_mirror_gather_init()
 * @mark: what mmu_mirror_tlb_mark() returned
 *
 * Does nothing if a flush that began after the mark is complete.
 *
 * Context: any. The acquire pairs with the release in
 * mmu_mirror_gather_flush(): the caller frees after that flush.
 */
void mmu_mirror_gather_marked(struct mmu_mirror_gather *gather, long mark)
{
	if (atomic_long_read_acquire(&gather->tlb->flushed) - mark < 0)
		gather->full = true;
}
EXPORT_SYMBOL_GPL(mmu_mirror_gather_marked);

static bool gather_is_full(struct mmu_mirror_gather *gather)
{
	unsigned long pages = 0;
	unsigned int i;

	if (gather->full || gather->nr > gather->tlb->full_ranges)
		return true;
	for (i = 0; i < gather->nr; i++)
		pages += (gather->range[i].end - gather->range[i].start) >>
			 PAGE_SHIFT;
	return pages > gather->tlb->full_pages;
}

/*
 * Flush everything, and with it all entries marked before the flush began. The
 * flush does not cover a mark that is made meanwhile: it stays above the snapshot.
 */
static void tlb_flush_all(struct mmu_mirror_tlb *tlb)
{
	/* Dropped entries before their mark: pairs with the release there. */
	long marks = atomic_long_read_acquire(&tlb->marks);
	long flushed = atomic_long_read(&tlb->flushed);

	tlb->ops->flush_all(tlb);
	tlb->ops->sync(tlb);
	/* After the flush: pairs with mmu_mirror_gather_marked(). */
	while (flushed - marks < 0) {
		long old = atomic_long_cmpxchg_release(&tlb->flushed, flushed,
						       marks);

		if (old == flushed)
			break;
		flushed = old;
	}
}

/**
 * mmu_mirror_gather_flush - flush what was gathered
 * @gather: empty afterwards, and may be used again
 *
 * Context: any but interrupts; spins until the device has flushed.
 */
void mmu_mirror_gather_flush(struct mmu_mirror_gather *gather)
{
	struct mmu_mirror_tlb *tlb = gather->tlb;
	unsigned int i;

	if (!gather->nr && !gather->full)
		return;
	atomic_long_add(gather->nr_added, &tlb->nr_ranges);
	atomic_long_inc(&tlb->nr_syncs);
	/* The device may have a queue for each CPU. */
	migrate_disable();
	if (gather_is_full(gather)) {
		atomic_long_inc(&tlb->nr_commands);
		atomic_long_inc(&tlb->nr_full);
		tlb_flush_all(tlb);
		trace_mmu_mirror_flush(gather, true);
	} else {
		atomic_long_add(gather->nr, &tlb->nr_commands);
		for (i = 0; i < gather->nr; i++)
			tlb->ops->flush_range(tlb, gather->range[i].start,
					      gather->range[i].end);
		tlb->ops->sync(tlb);
		trace_mmu_mirror_flush(gather, false);
	}
	migrate_enable();
	mmu_mirror_gather_init(gather, tlb);
}
EXPORT_SYMBOL_GPL(mmu_mirror_gather_flush);

/**
 * mmu_mirror_tlb_mark - note that entries were dropped and not flushed
 * @tlb: the TLB that may hold them still
 *
 * The caller must know that nothing frees the page, or takes a permission from
 * it, without an invalidation that flushes marked entries. For the entries of a
 * mirror, use mmu_range_mirror_defer_flush().
 *
 * Context: under the lock that the entries were dropped under. The release
 * puts them before the mark.
 * Return: the mark, for mmu_mirror_gather_marked(). Marks wrap.
 */
long mmu_mirror_tlb_mark(struct mmu_mirror_tlb *tlb)
{
	return atomic_long_inc_return_release(&tlb->marks);
}
EXPORT_SYMBOL_GPL(mmu_mirror_tlb_mark);

MODULE_DESCRIPTION("Flushing of device TLBs");
MODULE_LICENSE("GPL");
