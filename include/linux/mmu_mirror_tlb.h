/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device's TLB: gathering ranges for a flush, and deferring the flush.
 *
 * For drivers whose devices keep translations of user memory that the CPU
 * cannot reach. mm/mmu_range_mirror.c flushes them through this at the right
 * moments; a driver uses it for flushes of its own.
 */
#ifndef _LINUX_MMU_MIRROR_TLB_H
#define _LINUX_MMU_MIRROR_TLB_H

#include <linux/atomic.h>
#include <linux/types.h>

struct mmu_mirror_tlb;

/**
 * struct mmu_mirror_tlb_ops - what a device does to its TLB
 * @flush_range: Required. Start to flush every translation of
 *	[@start, @end), both page aligned.
 * @flush_all: Required. Start to flush every translation.
 * @sync: Required. Return when all commands of this CPU are complete: the
 *	device uses no translation that was flushed, nor one that it was fetching
 *	meanwhile from an entry that is gone.
 *
 * A command is a release of all that this CPU has written or seen, and @sync an
 * acquire, as any flush between dropping an entry and freeing its page must be:
 * locks give both, and so do writel() and readl().
 *
 * All of them run concurrently with themselves and with each other, perhaps in
 * atomic context and with page-table locks held, or else preemptible. Up to its
 * @sync, a flush stays on its CPU; none begins in an interrupt. They spin for the
 * device, and must not take a lock that is held elsewhere across an allocation or a
 * fault.
 */
struct mmu_mirror_tlb_ops {
	void (*flush_range)(struct mmu_mirror_tlb *tlb, unsigned long start,
			    unsigned long end);
	void (*flush_all)(struct mmu_mirror_tlb *tlb);
	void (*sync)(struct mmu_mirror_tlb *tlb);
};

/* The ranges that a gather tells apart; more become one full flush. */
#define MMU_MIRROR_GATHER_MAX	16

/**
 * struct mmu_mirror_tlb - a device's translations of one address space
 * @ops: the device's commands
 * @full_pages: flush everything rather than more pages than this at once
 * @full_ranges: flush everything rather than more ranges than this at once, at
 *	most %MMU_MIRROR_GATHER_MAX
 * @nr_ranges: ranges that callers added
 * @nr_commands: commands that the device got for them, without the syncs
 * @nr_full: those of them that flushed everything
 * @nr_syncs: waits for the device
 * @nr_refills: translations fetched again because of full flushes, as far as
 *	the driver tells
 *
 * Embed it in the driver's object, one for each address space that the device
 * keeps apart (a PASID). The driver sets the first three members, the others
 * to zero, and reads the counters.
 */
struct mmu_mirror_tlb {
	const struct mmu_mirror_tlb_ops *ops;
	unsigned long full_pages;
	unsigned int full_ranges;
	/* private: batches dropped without a flush; the first of them, flushed */
	atomic_long_t marks;
	atomic_long_t flushed;
	/* public: */
	atomic_long_t nr_ranges;
	atomic_long_t nr_commands;
	atomic_long_t nr_full;
	atomic_long_t nr_syncs;
	atomic_long_t nr_refills;
};

/**
 * struct mmu_mirror_gather - ranges to be flushed from one TLB together
 * @tlb: the TLB, or NULL for an empty gather that must stay so
 * @nr: ranges in @range
 * @full: flush everything
 * @counted: its invalidation is among the flushes under way of the mirror
 * @nr_added: ranges added
 * @range: ascending, neither overlapping nor abutting
 *
 * It lives on the stack of the function that flushes, and allocates nothing.
 */
struct mmu_mirror_gather {
	struct mmu_mirror_tlb *tlb;
	unsigned int nr;
	bool full;
	bool counted;
	unsigned long nr_added;
	struct {
		unsigned long start;
		unsigned long end;
	} range[MMU_MIRROR_GATHER_MAX];
};

void mmu_mirror_gather_init(struct mmu_mirror_gather *gather,
			    struct mmu_mirror_tlb *tlb);
void mmu_mirror_gather_add(struct mmu_mirror_gather *gather,
			   unsigned long start, unsigned long end);
void mmu_mirror_gather_marked(struct mmu_mirror_gather *gather, long mark);
void mmu_mirror_gather_flush(struct mmu_mirror_gather *gather);
long mmu_mirror_tlb_mark(struct mmu_mirror_tlb *tlb);

/**
 * mmu_mirror_tlb_refilled - account for what a full flush cost
 * @tlb: the TLB
 * @n: translations fetched again that only a full flush had removed
 *
 * Context: any.
 */
static inline void mmu_mirror_tlb_refilled(struct mmu_mirror_tlb *tlb, long n)
{
	atomic_long_add(n, &tlb->nr_refills);
}

#endif /* _LINUX_MMU_MIRROR_TLB_H */
