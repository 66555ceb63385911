/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that one source is built on: 6.12 and 7.3.
 * "make series" drops this file, and keeps of each fence the half that fits.
 */
#ifndef _LINUX_MMU_RANGE_MIRROR_COMPAT_H
#define _LINUX_MMU_RANGE_MIRROR_COMPAT_H

#include <linux/version.h>

/* Two-pass interval notifiers: invalidate_start and invalidate_finish. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
#define MMU_RANGE_MIRROR_TWO_PASS 1
#else
#define MMU_RANGE_MIRROR_TWO_PASS 0
#endif

/* What the notifiers of an mm are asked about the age of pages returns. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
#define MMU_RANGE_MIRROR_YOUNG bool
#else
#define MMU_RANGE_MIRROR_YOUNG int
#endif

#endif /* _LINUX_MMU_RANGE_MIRROR_COMPAT_H */
