/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What the devices of mirror_shadow.c and mirror_window.c are told. Their
 * content is the range, to be accessed by pread() and pwrite() of one aligned
 * __u32 at a time.
 */
#ifndef _MIRROR_SAMPLE_H
#define _MIRROR_SAMPLE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MIRROR_SAMPLE_PAGES	16

struct mirror_sample_range {
	__u64 start;
	__u64 length;
};

/* Where the caller's memory is: once for each open file. */
#define MIRROR_SAMPLE_RANGE	_IOW('m', 0x60, struct mirror_sample_range)

#endif /* _MIRROR_SAMPLE_H */
