/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that one source is built on, from 6.12 on.
 * "make series" drops this file, and keeps of each fence the half that fits.
 */
#ifndef _LINUX_MMU_RANGE_MIRROR_COMPAT_H
#define _LINUX_MMU_RANGE_MIRROR_COMPAT_H

#include <linux/mmu_notifier.h>
#include <linux/version.h>

/*
 * Two-pass interval notifiers: invalidate_start and invalidate_finish. 7.0 has
 * none, 7.1 has them.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 1, 0)
#define MMU_RANGE_MIRROR_TWO_PASS 1
#else
#define MMU_RANGE_MIRROR_TWO_PASS 0
#endif

/*
 * What the notifiers of an mm return when they are asked about the age of
 * pages: int in 7.0, bool in 7.1. The core's own declaration says it.
 */
#define MMU_RANGE_MIRROR_YOUNG \
	typeof(((const struct mmu_notifier_ops *)0)->test_young(NULL, NULL, 0))

#endif /* _LINUX_MMU_RANGE_MIRROR_COMPAT_H */
