// SPDX-License-Identifier: GPL-2.0
/*
 * The ODP sample's form with mirrors: /dev/mirror_odp. A region is a mirror; its
 * lock is the mirror's own.
 */
#include <linux/mmu_range_mirror.h>

#include "odp.h"

struct odp_mirror {
	struct odp_region region;
	struct mmu_range_mirror mirror;
};

static struct odp_mirror *to_mirror(struct odp_region *region)
{
	return container_of(region, struct odp_mirror, region);
}

static void mirror_gather(unsigned long start, unsigned long end, void *gather)
{
	mmu_mirror_gather_add(gather, start, end);
}

static void mirror_invalidate(struct mmu_range_mirror *mirror,
			      const struct mmu_notifier_range *range,
			      struct mmu_mirror_gather *gather)
{
	struct odp_mirror *odp = container_of(mirror, struct odp_mirror, mirror);

	odp_table_clear(&odp->region, max(range->start, mirror->start),
			min(range->end, mirror->end), mirror_gather, gather);
}

static struct mmu_mirror_tlb *mirror_tlb(struct mmu_range_mirror *mirror)
{
	return &container_of(mirror, struct odp_mirror, mirror)->region.dev->tlb;
}

static bool mirror_writable(struct mmu_range_mirror *mirror, unsigned long addr)
{
	struct odp_mirror *odp = container_of(mirror, struct odp_mirror, mirror);

	return odp_table_entry(&odp->region, addr) & HMM_PFN_WRITE;
}

static const struct mmu_range_mirror_ops mirror_ops = {
	.invalidate = mirror_invalidate,
	.tlb = mirror_tlb,
	.writable = mirror_writable,
};

static int mirror_insert(struct odp_region *region)
{
	return mmu_range_mirror_insert(&to_mirror(region)->mirror,
				       region->dev->mm, region->start,
				       region->end - region->start, &mirror_ops,
				       NULL);
}

static void mirror_remove(struct odp_region *region)
{
	mmu_range_mirror_remove(&to_mirror(region)->mirror);
}

static int mirror_fault(struct odp_region *region, unsigned long start,
			unsigned long npages, unsigned long *pfns,
			unsigned int flags)
{
	struct mmu_mirror_span span = { start, npages, pfns };
	struct mmu_mirror_lookup what = {
		.spans = &span,
		.nr_spans = 1,
		.flags = (flags & ODP_FAULT ? MMU_MIRROR_FAULT : 0) |
			 (region->writable ? MMU_MIRROR_WRITABLE : 0) |
			 (flags & ODP_FAULT_WRITE ? MMU_MIRROR_FAULT_WRITE : 0),
	};
	struct mmu_range_mirror *mirror = &to_mirror(region)->mirror;
	int ret = mmu_range_mirror_lookup(mirror, &what);

	if (ret)
		return ret;
	odp_table_set(region, start, npages, pfns);
	mmu_range_mirror_unlock(mirror);
	return 0;
}

static void mirror_drop(struct odp_region *region, unsigned long start,
			unsigned long end)
{
	struct mmu_range_mirror *mirror = &to_mirror(region)->mirror;
	struct mmu_mirror_gather gather;

	mmu_mirror_gather_init(&gather, &region->dev->tlb);
	mmu_range_mirror_lock(mirror);
	odp_table_clear(region, start, end, mirror_gather, &gather);
	mmu_range_mirror_flush_begin(mirror);
	mmu_range_mirror_unlock(mirror);
	mmu_mirror_gather_flush(&gather);
	mmu_range_mirror_flush_end(mirror);
}

static void mirror_stop(struct odp_region *region)
{
	mmu_range_mirror_cancel(&to_mirror(region)->mirror);
}

/* The device's TLB. */

static void tlb_flush_range(struct mmu_mirror_tlb *tlb, unsigned long start,
			    unsigned long end)
{
	odp_flush(container_of(tlb, struct odp_device, tlb), start, end);
}

static void tlb_flush_all(struct mmu_mirror_tlb *tlb)
{
	tlb_flush_range(tlb, 0, ULONG_MAX);
}

static void tlb_sync(struct mmu_mirror_tlb *tlb)
{
}

static const struct mmu_mirror_tlb_ops tlb_ops = {
	.flush_range = tlb_flush_range,
	.flush_all = tlb_flush_all,
	.sync = tlb_sync,
};

static void mirror_init(struct odp_device *dev)
{
	dev->tlb.ops = &tlb_ops;
	dev->tlb.full_pages = ODP_TLB_ENTRIES;
	dev->tlb.full_ranges = MMU_MIRROR_GATHER_MAX;
}

struct odp_form odp_mirror_form = {
	.device = {
		.minor = MISC_DYNAMIC_MINOR,
		.name = "mirror_odp",
		.fops = &odp_fops,
	},
	.size = sizeof(struct odp_mirror),
	.init = mirror_init,
	.insert = mirror_insert,
	.remove = mirror_remove,
	.fault = mirror_fault,
	.drop = mirror_drop,
	.stop = mirror_stop,
};
