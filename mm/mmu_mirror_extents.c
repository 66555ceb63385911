// SPDX-License-Identifier: GPL-2.0
/*
 * Which parts of a mirror are mapped, as few extents as there can be: ranges
 * that abut are one. An interval tree, because an invalidation takes extents
 * out of it and must not fail: that never allocates.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/export.h>
#include <linux/minmax.h>
#include <linux/mmu_mirror_extents.h>
#include <linux/mmu_range_mirror.h>
#include <linux/module.h>

static struct mmu_mirror_extent *extent_first(struct mmu_mirror_extents *extents,
					      unsigned long start,
					      unsigned long last)
{
	struct interval_tree_node *node;

	node = interval_tree_iter_first(&extents->root, start, last);
	return node ? container_of(node, struct mmu_mirror_extent, node) : NULL;
}

static void extent_insert(struct mmu_mirror_extents *extents,
			  struct mmu_mirror_extent *extent,
			  unsigned long start, unsigned long last)
{
	extent->node.start = start;
	extent->node.last = last;
	interval_tree_insert(&extent->node, &extents->root);
	extents->nr++;
}

static void extent_remove(struct mmu_mirror_extents *extents,
			  struct mmu_mirror_extent *extent)
{
	interval_tree_remove(&extent->node, &extents->root);
	extents->nr--;
}

/**
 * mmu_mirror_extents_map - note that a range is mapped
 * @extents: the extents of a mirror
 * @start: first byte, page aligned, not zero
 * @end: first byte after it, page aligned, not the end of the address space
 * @spare: from mmu_mirror_extent_alloc(), before the lock was taken. It is set
 *	to NULL if it was used; what is left is the caller's
 *
 * What was mapped already may be mapped again.
 *
 * Context: under the mirror's lock.
 * Cost: O(log n), and as much again for each extent that becomes part of
 * another.
 * Return: 0; -ENOMEM if a spare was needed and *@spare is NULL: nothing has
 * changed. One that has been used has to be replaced outside the lock.
 */
int mmu_mirror_extents_map(struct mmu_mirror_extents *extents,
			   unsigned long start, unsigned long end,
			   struct mmu_mirror_extent **spare)
{
	struct mmu_mirror_extent *extent = NULL, *next;
	unsigned long last = end - 1;

	/* One byte more on either side, to find what abuts. */
	while ((next = extent_first(extents, start - 1, last + 1))) {
		start = min(start, next->node.start);
		last = max(last, next->node.last);
		extent_remove(extents, next);
		kfree(extent);
		extent = next;
	}
	if (!extent) {
		extent = *spare;
		if (!extent)
			return -ENOMEM;
		*spare = NULL;
	}
	extent_insert(extents, extent, start, last);
	extents->nr_mapped++;
	return 0;
}
EXPORT_SYMBOL_GPL(mmu_mirror_extents_map);

/**
 * mmu_mirror_extent_alloc_nowait - an extent, if that needs no waiting
 * @mm: whose owner is charged, not whoever invalidates; or NULL for nobody
 *
 * Return: the extent, or NULL.
 */
VISIBLE_IF_KUNIT struct mmu_mirror_extent *
mmu_mirror_extent_alloc_nowait(struct mm_struct *mm)
{
	struct mmu_mirror_extent *extent;
	struct mmu_mirror_charge charge;

	KUNIT_STATIC_STUB_REDIRECT(mmu_mirror_extent_alloc_nowait, mm);
	if (!mm)
		return kmalloc(sizeof(*extent), GFP_NOWAIT | __GFP_NOWARN);
	mmu_mirror_charge_begin(&charge, mm);
	extent = kmalloc(sizeof(*extent),
			 GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN);
	mmu_mirror_charge_end(&charge);
	return extent;
}
EXPORT_SYMBOL_IF_KUNIT(mmu_mirror_extent_alloc_nowait);

/*
 * The part of @extent above @last stays. An invalidation cannot fail and must
 * not wait for memory: without any, that part is unmapped too, which costs the
 * device a fault.
 */
static unsigned long extent_keep_above(struct mmu_mirror_extents *extents,
				       unsigned long above, unsigned long last)
{
	struct mmu_mirror_extent *upper;

	extents->nr_split++;
	upper = mmu_mirror_extent_alloc_nowait(extents->mm);
	if (!upper) {
		extents->nr_lost++;
		return last;
	}
	extent_insert(extents, upper, above, last);
	return above - 1;
}

/* Take [start, last] out of one extent. Return what was really taken. */
static unsigned long extent_cut(struct mmu_mirror_extents *extents,
				struct mmu_mirror_extent *extent,
				unsigned long *start, unsigned long last)
{
	unsigned long first = extent->node.start, end = extent->node.last;

	extent_remove(extents, extent);
	*start = max(*start, first);
	if (first < *start) {
		if (last < end)
			end = extent_keep_above(extents, last + 1, end);
		extent_insert(extents, extent, first, *start - 1);
		return end;
	}
	if (last < end) {
		extent_insert(extents, extent, last + 1, end);
		return last;
	}
	kfree(extent);
	return end;
}

/**
 * mmu_mirror_extents_unmap - note that a range is not mapped any more
 * @extents: the extents of a mirror
 * @start: first byte, page aligned
 * @end: first byte after it, page aligned
 * @drop: called for each part that was mapped, or NULL. It may reach beyond
 *	@end: without memory for the rest of an extent, that goes as well
 * @ctx: for @drop
 *
 * Context: under the mirror's lock; never sleeps, and cannot fail.
 * Cost: O(log n) for each extent hit.
 * Return: bytes that were mapped.
 */
unsigned long mmu_mirror_extents_unmap(struct mmu_mirror_extents *extents,
				       unsigned long start, unsigned long end,
				       void (*drop)(unsigned long start,
						    unsigned long end,
						    void *ctx),
				       void *ctx)
{
	struct mmu_mirror_extent *extent;
	unsigned long bytes = 0;

	while (start < end && (extent = extent_first(extents, start, end - 1))) {
		unsigned long last = extent_cut(extents, extent, &start,
						end - 1);

		bytes += last + 1 - start;
		if (drop)
			drop(start, last + 1, ctx);
		start = last + 1;
	}
	return bytes;
}
EXPORT_SYMBOL_GPL(mmu_mirror_extents_unmap);

MODULE_DESCRIPTION("Extents of mirrored user memory");
MODULE_LICENSE("GPL");
