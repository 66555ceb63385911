/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the two forms of the ODP sample share: see odp_device.c.
 */
#ifndef _ODP_H
#define _ODP_H

#include <linux/completion.h>
#include <linux/hmm.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_mirror_tlb.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "odp_uapi.h"

#define ODP_BLOCK_ORDER	9
#define ODP_BLOCK_SIZE	(PAGE_SIZE << ODP_BLOCK_ORDER)
#define ODP_TLB_ENTRIES	64

struct odp_form;

/* One translation that the device has cached. */
struct odp_cached {
	struct odp_region *region;
	unsigned long addr;
	unsigned long entry;
};

/**
 * struct odp_device - an open device
 * @form: how it mirrors
 * @mm: the address space of who opened it, held by mm_count
 * @regions: by key
 * @wq: its threads
 * @lock: a walk of the device's, and what it caches
 * @cached: its TLB
 * @tlb: of the form with mirrors
 * @nr_entries: see struct odp_stats
 * @nr_huge: see there
 * @nr_faults: see there
 */
struct odp_device {
	const struct odp_form *form;
	struct mm_struct *mm;
	struct xarray regions;
	struct workqueue_struct *wq;
	spinlock_t lock;	/* see above */
	struct odp_cached cached[ODP_TLB_ENTRIES];
	struct mmu_mirror_tlb tlb;
	atomic_long_t nr_entries;
	atomic_long_t nr_huge;
	atomic_long_t nr_faults;
};

/* The device's page table of 2 MiB: one entry, or a table of 4 KiB entries. */
struct odp_block {
	unsigned long huge;
	unsigned long nr;
	unsigned long *leaf;
};

/**
 * struct odp_region - registered memory
 * @dev: whose
 * @start: first byte, page aligned
 * @end: first byte after it
 * @writable: the device may write
 * @users: requests under way, and the registration
 * @idle: no user is left
 * @block: the page table; an entry is as hmm_range_fault() says it. Changed under
 *	the form's lock, read by the device without
 */
struct odp_region {
	struct odp_device *dev;
	unsigned long start;
	unsigned long end;
	bool writable;
	refcount_t users;
	struct completion idle;
	struct odp_block *block;
};

#define ODP_FAULT	1U	/* fault in what is absent */
#define ODP_FAULT_WRITE	2U	/* ... for writing */

/**
 * struct odp_form - a way to mirror: what the samples are about
 * @device: how user space finds it
 * @size: of a region, which begins with struct odp_region
 * @init: of a device, or NULL
 * @insert: begin to mirror a region
 * @remove: end it
 * @fault: make entries for @npages pages from @start on, all of one block. @pfns
 *	is room for as many. -EAGAIN after too many collisions
 * @drop: drop entries, which nobody has asked for but the driver
 * @stop: give up what @fault waits for, for good
 */
struct odp_form {
	struct miscdevice device;
	size_t size;
	void (*init)(struct odp_device *dev);
	int (*insert)(struct odp_region *region);
	void (*remove)(struct odp_region *region);
	int (*fault)(struct odp_region *region, unsigned long start,
		     unsigned long npages, unsigned long *pfns,
		     unsigned int flags);
	void (*drop)(struct odp_region *region, unsigned long start,
		     unsigned long end);
	void (*stop)(struct odp_region *region);
};

extern struct odp_form odp_mirror_form;
extern struct odp_form odp_direct_form;
extern const struct file_operations odp_fops;

unsigned long odp_table_entry(struct odp_region *region, unsigned long addr);
void odp_table_set(struct odp_region *region, unsigned long start,
		   unsigned long npages, const unsigned long *pfns);
void odp_table_clear(struct odp_region *region, unsigned long start,
		     unsigned long end,
		     void (*dropped)(unsigned long start, unsigned long end,
				     void *ctx),
		     void *ctx);
void odp_flush(struct odp_device *dev, unsigned long start, unsigned long end);

#endif /* _ODP_H */
