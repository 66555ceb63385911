/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Commands of /dev/test_mmu_mirror_tlb, for its selftest.
 *
 * It is a test's interface: it changes with the test, and is not installed with
 * the kernel's headers.
 *
 * Each open file is at most one device, of the address space of the process
 * that issued TEST_TLB_IOC_OPEN, until it is closed. Without, commands fail
 * with -ENXIO. Fields named reserved, and flags that are not listed, must be
 * zero (-EINVAL). A command that is not listed is -ENOTTY. Once the address
 * space is gone, what would access it fails with -ESRCH.
 */
#ifndef _LIB_TEST_MMU_MIRROR_TLB_UAPI_H
#define _LIB_TEST_MMU_MIRROR_TLB_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define TEST_TLB_ENTRIES	256
#define TEST_TLB_RANGES_MAX	1024

/* struct test_tlb_open.flags */
/* The device walks a table of the driver's, not the CPU's. */
#define TEST_TLB_SHADOW		0x01U
/* Ask for no hook: what the device has cached stays. It may not write. */
#define TEST_TLB_NO_HOOK	0x02U
/* The same, and flush when an invalidation starts. */
#define TEST_TLB_EARLY		0x04U
/* Flush each mirror by itself in the hook, and gather nothing. */
#define TEST_TLB_DIRECT		0x08U
/* Tell reclaim which pages the device uses. */
#define TEST_TLB_YOUNG		0x10U
/*
 * Ranges of any size. What accesses find cannot be checked then: TEST_TLB_CHECK
 * and TEST_TLB_IOC_FLOOR are -EINVAL.
 */
#define TEST_TLB_ANY_SIZE	0x20U

#define TEST_TLB_FLUSH_MAX_US	10000U

/*
 * Make a device and mirror [start, start + length). A flush takes flush_us
 * (at most TEST_TLB_FLUSH_MAX_US), full_pages and full_ranges are those of
 * struct mmu_mirror_tlb.
 */
struct test_tlb_open {
	__u64 start;
	__u64 length;
	__u32 flags;
	__u32 flush_us;
	__u32 full_pages;
	__u32 full_ranges;
	__u64 reserved;
};

/* [start, start + length). */
struct test_tlb_range {
	__u64 start;
	__u64 length;
	__u32 flags;
	__u32 reserved;
};

/* struct test_tlb_range.flags, for a drop: put off the flush. */
#define TEST_TLB_DEFER		0x1U
/* The same: let TEST_TLB_SLOW_MS pass before it. */
#define TEST_TLB_SLOW		0x2U

#define TEST_TLB_SLOW_MS	300

/* struct test_tlb_run.flags */
/* Write value rather than read. */
#define TEST_TLB_WRITE		0x1U
/* Do not wait for the end. */
#define TEST_TLB_ASYNC		0x2U
/* Request no page: an access that the walk cannot serve is -ENOENT. */
#define TEST_TLB_NO_FAULT	0x4U
/* Check what is read; see struct test_tlb_floor. */
#define TEST_TLB_CHECK		0x8U

/**
 * struct test_tlb_run - accesses of the device
 * @start: first byte, page aligned, inside the mirrors
 * @length: of all pages
 * @hot_length: of the first of them, which get 31 of 32 accesses
 * @accesses: how many, or 0: until stopped (asynchronous only)
 * @value: to write; what was read last is returned here
 * @flags: see above
 * @error: last errno of an access, also the command's; a run that is not
 *	waited for has it in struct test_tlb_stats
 *
 * Of a page, any of its words is accessed; with one access, the word at
 * @start, which is then aligned to eight bytes only.
 */
struct test_tlb_run {
	__u64 start;
	__u64 length;
	__u64 hot_length;
	__u64 accesses;
	__u64 value;
	__u32 flags;
	__s32 error;
};

/*
 * What the words of a page hold: the page's number in its mirror and the
 * generation that it was written with, from 1 on.
 */
#define TEST_TLB_TAG(page, generation) \
	((__u64)(generation) << 32 | (((page) + 1) & 0xffffffffU))

/*
 * From now on, an access to a page of [start, start + length) that finds an
 * older generation is a stale use, as is one that finds something else than a
 * tag of this page; zero, that of a page that is not written yet, is fine with
 * zero_ok only. The device accesses nothing while this is being set.
 */
struct test_tlb_floor {
	__u64 start;
	__u64 length;
	__u32 generation;
	__u32 zero_ok;
};

#define TEST_TLB_NR_EVENTS	8

/**
 * struct test_tlb_stats - of this file's device
 * @accesses: done
 * @hits: of them, served by the TLB at once
 * @walks: fetches of a translation, by walking the table
 * @walks_failed: those that found none
 * @upgrades: walks because a cached translation was not for writing
 * @faults: page requests
 * @retries: those of them that were not the first of an access
 * @errors: accesses that were given up
 * @stale_old: accesses that found an old generation of their page
 * @stale_other: accesses that found what never was in their page
 * @resident: translations in the TLB
 * @filled: translations that got into it
 * @evicted: that left for want of space
 * @flushed: that left because a flush was complete
 * @hooks: calls of the hook
 * @events: invalidations by event, enum mmu_notifier_event
 * @releases: calls of release
 * @release_tables: bytes of page tables when release was called
 * @young_calls: questions of reclaim
 * @young: those that were answered with yes
 * @ranges: to be flushed, this and the following as in struct mmu_mirror_tlb
 * @commands: see there
 * @full: see there
 * @syncs: see there
 * @refills: see there
 * @extents: mapped parts, this and the following as in struct
 *	mmu_mirror_extents, of all mirrors
 * @extents_mapped: see there
 * @extents_split: see there
 * @extents_lost: see there
 * @dirtied: pages marked dirty, by the helper
 * @watch_linked: calls of the hook for the watched address while its table was
 *	in use
 * @watch_hooked: calls of the hook when the table was out of use and not freed
 * @watch_late: calls of the hook when the table had been freed
 * @watch_refs: references to the table since it is watched that are left
 * @running: a run is not over
 * @error: last errno of an access of it
 * @two_pass: the kernel's interval notifiers are
 * @live: mirrors of all open files
 */
struct test_tlb_stats {
	__u64 accesses;
	__u64 hits;
	__u64 walks;
	__u64 walks_failed;
	__u64 upgrades;
	__u64 faults;
	__u64 retries;
	__u64 errors;
	__u64 stale_old;
	__u64 stale_other;
	__u64 resident;
	__u64 filled;
	__u64 evicted;
	__u64 flushed;
	__u64 hooks;
	__u64 events[TEST_TLB_NR_EVENTS];
	__u64 releases;
	__u64 release_tables;
	__u64 young_calls;
	__u64 young;
	__u64 ranges;
	__u64 commands;
	__u64 full;
	__u64 syncs;
	__u64 refills;
	__u64 extents;
	__u64 extents_mapped;
	__u64 extents_split;
	__u64 extents_lost;
	__u64 dirtied;
	__u64 watch_linked;
	__u64 watch_hooked;
	__u64 watch_late;
	__u64 watch_refs;
	__u64 running;
	__s64 error;
	__u64 two_pass;
	__u64 live;
};

/* -EBUSY: this file has a device. Else as mmu_range_mirror_insert(). */
#define TEST_TLB_IOC_OPEN	_IOW('Y', 0x20, struct test_tlb_open)
/* One more mirror of the same TLB. -EEXIST: overlaps, -ENOSPC: too many. */
#define TEST_TLB_IOC_ADD	_IOW('Y', 0x21, struct test_tlb_range)
/* End a mirror, given exactly. -ENOENT: there is none. */
#define TEST_TLB_IOC_REMOVE	_IOW('Y', 0x22, struct test_tlb_range)
/* -EBUSY: another run is not over. */
#define TEST_TLB_IOC_RUN	_IOWR('Y', 0x23, struct test_tlb_run)
/* End the run, and wait until it has. */
#define TEST_TLB_IOC_STOP	_IO('Y', 0x24)
#define TEST_TLB_IOC_STATS	_IOR('Y', 0x25, struct test_tlb_stats)
#define TEST_TLB_IOC_FLOOR	_IOW('Y', 0x26, struct test_tlb_floor)
/*
 * Make, or drop, entries of the driver's table, inside one mirror: by the
 * process with the mirrored address space, and with TEST_TLB_SHADOW only
 * (-EOPNOTSUPP).
 */
#define TEST_TLB_IOC_POPULATE	_IOW('Y', 0x27, struct test_tlb_range)
#define TEST_TLB_IOC_DROP	_IOW('Y', 0x28, struct test_tlb_range)
/* Watch the page table of the page at start. -ENOENT: there is none. */
#define TEST_TLB_IOC_WATCH	_IOW('Y', 0x29, struct test_tlb_range)

#endif /* _LIB_TEST_MMU_MIRROR_TLB_UAPI_H */
