/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Injection points: where tests stop mm/mmu_range_mirror.c and
 * mm/mmu_mirror_window.c to bring a race about. Nothing is compiled in without
 * CONFIG_MMU_RANGE_MIRROR_INJECT.
 */
#ifndef _LINUX_MMU_RANGE_MIRROR_INJECT_H
#define _LINUX_MMU_RANGE_MIRROR_INJECT_H

struct mmu_range_mirror;

/**
 * enum mmu_range_mirror_point - where the helper can be stopped
 * @MMU_RANGE_MIRROR_BEGUN: sequence read, pages not yet looked up
 * @MMU_RANGE_MIRROR_LOOKED_UP: pages looked up, lock not yet taken
 * @MMU_RANGE_MIRROR_NOTIFIED: invalidation arrived, sequence not yet moved
 * @MMU_RANGE_MIRROR_DROPPED: entries dropped, readers not yet waited for
 * @MMU_RANGE_MIRROR_SNAPSHOT: number of drops read, no interrupt sent yet; no
 *	mirror is given
 * @MMU_RANGE_MIRROR_CLOSED: window emptied and drained, notifier not removed
 * @MMU_RANGE_MIRROR_SUBSCRIBED: a new mirror has its notifiers for the TLB and
 *	for young, not yet the one for its range
 * @MMU_RANGE_MIRROR_PAUSED: a large window has dropped a part, and let go of its
 *	lock before the next
 * @MMU_RANGE_MIRROR_NR_POINTS: how many there are
 *
 * The function may sleep at all of them, but for an invalidation that must not
 * block.
 */
enum mmu_range_mirror_point {
	MMU_RANGE_MIRROR_BEGUN,
	MMU_RANGE_MIRROR_LOOKED_UP,
	MMU_RANGE_MIRROR_NOTIFIED,
	MMU_RANGE_MIRROR_DROPPED,
	MMU_RANGE_MIRROR_SNAPSHOT,
	MMU_RANGE_MIRROR_CLOSED,
	MMU_RANGE_MIRROR_SUBSCRIBED,
	MMU_RANGE_MIRROR_PAUSED,
	MMU_RANGE_MIRROR_NR_POINTS,
};

#ifdef CONFIG_MMU_RANGE_MIRROR_INJECT
void mmu_range_mirror_set_injection(void (*fn)(enum mmu_range_mirror_point point,
					       struct mmu_range_mirror *mirror));
void mmu_range_mirror_inject(enum mmu_range_mirror_point point,
			     struct mmu_range_mirror *mirror);
#else
static inline void mmu_range_mirror_inject(enum mmu_range_mirror_point point,
					   struct mmu_range_mirror *mirror)
{
}
#endif

#endif /* _LINUX_MMU_RANGE_MIRROR_INJECT_H */
