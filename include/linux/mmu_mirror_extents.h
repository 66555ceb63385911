/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mapped parts of a mirror, where they are many, small and scattered.
 */
#ifndef _LINUX_MMU_MIRROR_EXTENTS_H
#define _LINUX_MMU_MIRROR_EXTENTS_H

#include <linux/interval_tree.h>
#include <linux/rbtree.h>
#include <linux/slab.h>

struct mm_struct;

/**
 * struct mmu_mirror_extent - one mapped part
 * @node: its pages; last is the last byte
 */
struct mmu_mirror_extent {
	struct interval_tree_node node;
};

/**
 * struct mmu_mirror_extents - the mapped parts of a mirror
 * @mm: the mirror's, whose owner is charged for parts that are cut in two; or NULL
 * @root: the parts, neither overlapping nor abutting
 * @nr: how many there are
 * @nr_mapped: ranges mapped
 * @nr_split: parts of which the middle was unmapped
 * @nr_lost: those of them whose upper half was given up for want of memory
 *
 * For a driver with thousands of small mappings in one address space: one
 * mirror over all of them, and this to know which are there. All of it is
 * under the mirror's lock. Zero it to begin with but for @mm, and
 * mmu_mirror_extents_unmap() everything to end.
 */
struct mmu_mirror_extents {
	struct mm_struct *mm;
	struct rb_root_cached root;
	unsigned long nr;
	unsigned long nr_mapped;
	unsigned long nr_split;
	unsigned long nr_lost;
};

int mmu_mirror_extents_map(struct mmu_mirror_extents *extents,
			   unsigned long start, unsigned long end,
			   struct mmu_mirror_extent **spare);
unsigned long mmu_mirror_extents_unmap(struct mmu_mirror_extents *extents,
				       unsigned long start, unsigned long end,
				       void (*drop)(unsigned long start,
						    unsigned long end,
						    void *ctx),
				       void *ctx);

#if IS_ENABLED(CONFIG_KUNIT)
struct mmu_mirror_extent *mmu_mirror_extent_alloc_nowait(struct mm_struct *mm);
#endif

/**
 * mmu_mirror_extent_alloc - what mmu_mirror_extents_map() may need
 *
 * Context: process context, sleeps.
 * Return: a spare extent, or NULL if there is no memory.
 */
static inline struct mmu_mirror_extent *mmu_mirror_extent_alloc(void)
{
	return kmalloc(sizeof(struct mmu_mirror_extent), GFP_KERNEL_ACCOUNT);
}

/**
 * mmu_mirror_extent_free - free a spare extent that was not needed
 * @spare: the extent, or NULL
 */
static inline void mmu_mirror_extent_free(struct mmu_mirror_extent *spare)
{
	kfree(spare);
}

#endif /* _LINUX_MMU_MIRROR_EXTENTS_H */
