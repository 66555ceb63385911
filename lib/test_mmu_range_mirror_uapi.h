/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Commands of /dev/test_mmu_range_mirror, for its selftest.
 *
 * It is a test's interface: it changes with the test, and is not installed with
 * the kernel's headers.
 *
 * Each open file has at most one mirror, of a range of the process that opened
 * it. Fields named reserved, and flags that are not listed, must be zero
 * (-EINVAL). Without a mirror, commands on it fail with -ENXIO. A command that
 * is not listed is -ENOTTY.
 */
#ifndef _LIB_TEST_MMU_RANGE_MIRROR_UAPI_H
#define _LIB_TEST_MMU_RANGE_MIRROR_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * enum test_mirror_kind - what stands behind a mirror
 * @TEST_MIRROR_SPIN: a table of pages under the mirror's own spinlock. A hold
 *	keeps the lock
 * @TEST_MIRROR_MUTEX: the same under a mutex
 * @TEST_MIRROR_SLEEP: a table under the mirror's own spinlock, whose entries
 *	stay in use outside the lock: a hold is such a use, and an invalidation
 *	sleeps until those that began before it are over
 * @TEST_MIRROR_WINDOW: a window in a domain of its own. A hold is a section
 * @TEST_MIRROR_CACHE: a cache, of which only the range is used. There are no
 *	holds of it, and its injection points do not count
 * @TEST_MIRROR_NR_KINDS: how many there are
 */
enum test_mirror_kind {
	TEST_MIRROR_SPIN,
	TEST_MIRROR_MUTEX,
	TEST_MIRROR_SLEEP,
	TEST_MIRROR_WINDOW,
	TEST_MIRROR_CACHE,
	TEST_MIRROR_NR_KINDS,
};

/* struct test_mirror_open.flags: writable, pages are dirtied. */
#define TEST_MIRROR_WRITE	0x1U

/* Begin to mirror [start, start + length). A window takes any alignment. */
struct test_mirror_open {
	__u64 start;
	__u64 length;
	__u32 kind;
	__u32 flags;
	__u64 reserved;
};

/* Pages of the mirror: [start, start + length). */
struct test_mirror_range {
	__u64 start;
	__u64 length;
	__u64 reserved;
};

/*
 * Copy between data, in the caller's memory, and what the mirror reaches at
 * addr. The ioctl returns the bytes copied before the first page that is not
 * mapped, or -ENOENT if that is the first page. -EPERM: no writable mirror.
 */
struct test_mirror_io {
	__u64 addr;
	__u64 data;
	__u32 size;
	__u32 reserved;
};

#define TEST_MIRROR_IO_MAX	(64U << 10)

/* struct test_mirror_hold.flags: enter and leave inner sections all the time. */
#define TEST_MIRROR_NESTED	0x1U
#define TEST_MIRROR_HOLD_MAX_US	100000U

/*
 * Use the entry of addr for time_us or until released, then write value to the
 * eight bytes at addr if the mirror is writable. -ENOENT if it is not mapped.
 * began_ns, ended_ns are CLOCK_MONOTONIC, both taken inside; the value read on
 * entry is in was. A window may be closed meanwhile, other mirrors not.
 */
struct test_mirror_hold {
	__u64 addr;
	__u32 time_us;
	__u32 flags;
	__u64 value;
	__u64 was;
	__u64 began_ns;
	__u64 ended_ns;
};

/* The kernel's enum mmu_notifier_event. */
enum test_mirror_event {
	TEST_MIRROR_UNMAP,
	TEST_MIRROR_CLEAR,
	TEST_MIRROR_PROTECTION_VMA,
	TEST_MIRROR_PROTECTION_PAGE,
	TEST_MIRROR_SOFT_DIRTY,
	TEST_MIRROR_RELEASE,
	TEST_MIRROR_MIGRATE,
	TEST_MIRROR_EXCLUSIVE,
	TEST_MIRROR_NR_EVENTS,
};

/* The kernel's enum mmu_range_mirror_point. */
enum test_mirror_point {
	TEST_MIRROR_BEGUN,
	TEST_MIRROR_LOOKED_UP,
	TEST_MIRROR_NOTIFIED,
	TEST_MIRROR_DROPPED,
	TEST_MIRROR_SNAPSHOT,
	TEST_MIRROR_CLOSED,
	TEST_MIRROR_SUBSCRIBED,
	TEST_MIRROR_PAUSED,
	TEST_MIRROR_NR_POINTS,
};

/**
 * struct test_mirror_stats - of this file's mirror, and of the device
 * @drops: invalidations that dropped at least one entry, by event
 * @hits: invalidations that reached the mirror, by event (tables only)
 * @dropped_pages: entries dropped
 * @installed: entries made
 * @nr_dirtied: pages marked dirty
 * @mapped: entries there are now
 * @fills: fills of the windows that have ended
 * @collisions: lookups that an invalidation made void (not of tables)
 * @nr_waits: waits that had to look at other CPUs, or to sleep
 * @nr_interrupts: CPUs that these interrupted (windows only)
 * @worst_wait_ns: the longest of them
 * @points: how often each injection point was reached while armed
 * @stopped: how many tasks stand at each injection point
 * @live: mirrors and windows of all open files
 * @injectable: whether the kernel has injection points
 */
struct test_mirror_stats {
	__u64 drops[TEST_MIRROR_NR_EVENTS];
	__u64 hits[TEST_MIRROR_NR_EVENTS];
	__u64 dropped_pages;
	__u64 installed;
	__u64 nr_dirtied;
	__u64 mapped;
	__u64 fills;
	__u64 collisions;
	__u64 nr_waits;
	__u64 nr_interrupts;
	__u64 worst_wait_ns;
	__u64 points[TEST_MIRROR_NR_POINTS];
	__u64 stopped[TEST_MIRROR_NR_POINTS];
	__u64 live;
	__u64 injectable;
};

/*
 * Stop the next times tasks that get to the point, each for at most time_us
 * or until released. Only this file's mirror counts. -EBUSY while another file
 * has points armed; -EOPNOTSUPP without CONFIG_MMU_RANGE_MIRROR_INJECT.
 */
#define TEST_MIRROR_STOP_MAX_US	2000000U
struct test_mirror_inject {
	__u32 point;
	__u32 times;
	__u32 time_us;
	__u32 reserved;
};

/*
 * Make entries of [start, start + length) as mmu_range_mirror_lookup() with these
 * flags says, in a work, which has no address space. done pages were found, huge
 * of them mapped by an entry for several. For tables only (-EOPNOTSUPP); an entry
 * of a writable mirror is for writing. A signal that kills the caller ends it.
 */
#define TEST_MIRROR_LOOKUP_MAX	512U
struct test_mirror_lookup {
	__u64 start;
	__u64 length;
	__u32 flags;
	__u32 reserved;
	__u64 done;
	__u64 huge;
};

/* The kernel's enum mmu_mirror_lookup_flags. */
#define TEST_MIRROR_FAULT	0x1U
#define TEST_MIRROR_WRITABLE	0x2U
#define TEST_MIRROR_FAULT_WRITE	0x4U
#define TEST_MIRROR_OR_READ	0x8U
#define TEST_MIRROR_FOR_WRITING	(TEST_MIRROR_FAULT | TEST_MIRROR_WRITABLE | \
				 TEST_MIRROR_FAULT_WRITE)

#define TEST_MIRROR_IOC_OPEN	_IOW('Y', 0x00, struct test_mirror_open)
#define TEST_MIRROR_IOC_CLOSE	_IO('Y', 0x01)
/*
 * Make entries, faulting pages in. For tables only (-EOPNOTSUPP), and by a
 * process with the mirrored address space (-EINVAL).
 */
#define TEST_MIRROR_IOC_POPULATE _IOW('Y', 0x02, struct test_mirror_range)
#define TEST_MIRROR_IOC_READ	_IOW('Y', 0x03, struct test_mirror_io)
#define TEST_MIRROR_IOC_WRITE	_IOW('Y', 0x04, struct test_mirror_io)
#define TEST_MIRROR_IOC_HOLD	_IOWR('Y', 0x05, struct test_mirror_hold)
/* End the holds and the stops of this file that have begun by now. */
#define TEST_MIRROR_IOC_RELEASE	_IO('Y', 0x06)
#define TEST_MIRROR_IOC_STATS	_IOR('Y', 0x07, struct test_mirror_stats)
/* Return how many holds are in progress; takes no lock that they hold. */
#define TEST_MIRROR_IOC_HOLDING	_IO('Y', 0x0b)
/* Return how many entries there are. Unlike a read, it asks for no fill. */
#define TEST_MIRROR_IOC_MAPPED	_IOW('Y', 0x0c, struct test_mirror_range)
#define TEST_MIRROR_IOC_LOOKUP	_IOWR('Y', 0x0d, struct test_mirror_lookup)
/* Ask for a fill of the window. A cache is asked by reading. */
#define TEST_MIRROR_IOC_PREFETCH _IO('Y', 0x08)
/*
 * The same, and wait until one that began since has ended, or -ETIMEDOUT; of a
 * cache, in each of the windows of the range.
 */
#define TEST_MIRROR_IOC_FILL	_IO('Y', 0x09)
#define TEST_MIRROR_IOC_INJECT	_IOW('Y', 0x0a, struct test_mirror_inject)

#endif /* _LIB_TEST_MMU_RANGE_MIRROR_UAPI_H */
