// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the external-TLB half of mm/mmu_range_mirror.c, through a device
 * with a TLB of its own (lib/test_mmu_mirror_tlb.c).
 *
 * The device accesses this process's memory all the time, through translations
 * that it fetched whenever it liked. Pages are taken away from it and used for
 * something else at once; every word of a page says which page it is and of
 * which generation, so that the device sees by itself that a translation was
 * stale. With the hook turned off it has to.
 *
 * It can be built alone like mmu_range_mirror.c. It needs root, and loads
 * test_mmu_mirror_tlb if it can.
 */
#include "../kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "mmu_mirror_util.h"
#include <lib/test_mmu_mirror_tlb_uapi.h>

#ifndef MADV_COLD
#define MADV_COLD		20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define DEVICE		"/dev/test_mmu_mirror_tlb"
#define MODULE		"test_mmu_mirror_tlb"

/* enum mmu_notifier_event */
enum { UNMAP, CLEAR, PROTECTION_VMA, PROTECTION_PAGE, SOFT_DIRTY, RELEASE };

/* Less than the TLB holds. */
#define NR_PAGES	160
#define NR_HOT		96
/* A word that is in no page of the device's. */
#define POISON		0xdeaddeadffffffffULL

/* The device. */

static int device_open(void)
{
	return open(DEVICE, O_RDWR | O_CLOEXEC);
}

/* All of the device's commands: the result, or a negative errno. */
static long command(int fd, unsigned long cmd, void *arg)
{
	long ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static struct test_tlb_open open_args(const void *addr, size_t length,
				      unsigned int flags)
{
	return (struct test_tlb_open) {
		.start = (uintptr_t)addr,
		.length = length,
		.flags = flags,
		.full_pages = 64,
		.full_ranges = 16,
	};
}

static long tlb_open(int fd, const void *addr, size_t length,
		     unsigned int flags)
{
	struct test_tlb_open arg = open_args(addr, length, flags);

	return command(fd, TEST_TLB_IOC_OPEN, &arg);
}

/* What takes a range, and perhaps flags. */
static long tlb_range(int fd, unsigned long cmd, const void *addr,
		      size_t length, unsigned int flags)
{
	struct test_tlb_range arg = {
		.start = (uintptr_t)addr,
		.length = length,
		.flags = flags,
	};

	return command(fd, cmd, &arg);
}

static long tlb_floor(int fd, const void *addr, size_t length,
		      unsigned int generation, bool zero_ok)
{
	struct test_tlb_floor arg = {
		.start = (uintptr_t)addr,
		.length = length,
		.generation = generation,
		.zero_ok = zero_ok,
	};

	return command(fd, TEST_TLB_IOC_FLOOR, &arg);
}

static struct test_tlb_stats tlb_stats(int fd)
{
	struct test_tlb_stats stats;

	if (command(fd, TEST_TLB_IOC_STATS, &stats))
		memset(&stats, 0xff, sizeof(stats));
	return stats;
}

static long tlb_run(int fd, const void *addr, size_t length, size_t hot,
		    unsigned long accesses, unsigned int flags)
{
	struct test_tlb_run arg = {
		.start = (uintptr_t)addr,
		.length = length,
		.hot_length = hot,
		.accesses = accesses,
		.flags = flags,
	};

	return command(fd, TEST_TLB_IOC_RUN, &arg);
}

/* One access: 0, or a negative errno. */
static long tlb_access(int fd, const void *addr, uint64_t *value,
		       unsigned int flags)
{
	struct test_tlb_run arg = {
		.start = (uintptr_t)addr,
		.length = page_size,
		.accesses = 1,
		.value = *value,
		.flags = flags,
	};
	long ret = command(fd, TEST_TLB_IOC_RUN, &arg);

	*value = arg.value;
	return ret;
}

static long tlb_read(int fd, const void *addr, uint64_t *value)
{
	*value = 0;
	return tlb_access(fd, addr, value, 0);
}

static long tlb_write(int fd, const void *addr, uint64_t value)
{
	return tlb_access(fd, addr, &value, TEST_TLB_WRITE);
}

/* Whether a cached translation or the table serves it, and no page request. */
static bool tlb_reaches(int fd, const void *addr)
{
	uint64_t value;

	return !tlb_access(fd, addr, &value, TEST_TLB_NO_FAULT);
}

/* Whether the TLB still has it: asks, and then looks who answered. */
static bool tlb_has(int fd, const void *addr)
{
	uint64_t was = tlb_stats(fd).hits;

	tlb_reaches(fd, addr);
	return tlb_stats(fd).hits > was;
}

static bool tlb_accounted(const struct test_tlb_stats *stats)
{
	return stats->filled == stats->resident + stats->evicted +
				stats->flushed + stats->upgrades;
}

/* Let the device go on for a while. */
static bool tlb_await(int fd, uint64_t accesses)
{
	uint64_t until = tlb_stats(fd).accesses + accesses;

	return eventually(tlb_stats(fd).accesses >= until);
}

/* Memory. */

static uint64_t user_read(const void *addr)
{
	return __atomic_load_n((const uint64_t *)addr, __ATOMIC_SEQ_CST);
}

static void user_write(void *addr, uint64_t value)
{
	__atomic_store_n((uint64_t *)addr, value, __ATOMIC_SEQ_CST);
}

static void fill(void *addr, size_t size, uint64_t value)
{
	volatile uint64_t *word = addr;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		word[i] = value;
}

/* With address space around where nothing is. */
static char *map_pages(size_t size, size_t align)
{
	char *addr = mmap(NULL, size + 3 * align, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t start = ((uintptr_t)addr + 2 * align - 1) & ~(align - 1);

	if (addr == MAP_FAILED)
		return NULL;
	addr = mmap((void *)start, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (addr == MAP_FAILED)
		return NULL;
	madvise(addr, size, MADV_NOHUGEPAGE);
	return addr;
}

/* Arguments, and what is not there. */

FIXTURE(arguments)
{
	int fd;
	char *addr;
	size_t size;
	uint64_t live;
};

FIXTURE_SETUP(arguments)
{
	self->size = NR_PAGES * page_size;
	self->addr = map_pages(self->size, page_size);
	ASSERT_NE(NULL, self->addr);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	self->live = tlb_stats(self->fd).live;
}

FIXTURE_TEARDOWN(arguments)
{
	close(self->fd);
}

TEST_F(arguments, no_device)
{
	char *addr = self->addr;
	int fd = self->fd;

	EXPECT_EQ(-ENXIO, tlb_range(fd, TEST_TLB_IOC_ADD, addr, page_size, 0));
	EXPECT_EQ(-ENXIO, tlb_range(fd, TEST_TLB_IOC_REMOVE, addr, page_size, 0));
	EXPECT_EQ(-ENXIO, tlb_range(fd, TEST_TLB_IOC_POPULATE, addr, page_size, 0));
	EXPECT_EQ(-ENXIO, tlb_range(fd, TEST_TLB_IOC_DROP, addr, page_size, 0));
	EXPECT_EQ(-ENXIO, tlb_range(fd, TEST_TLB_IOC_WATCH, addr, page_size, 0));
	EXPECT_EQ(-ENXIO, tlb_floor(fd, addr, page_size, 1, false));
	EXPECT_EQ(-ENXIO, tlb_run(fd, addr, page_size, 0, 1, 0));
	EXPECT_EQ(-ENXIO, command(fd, TEST_TLB_IOC_STOP, NULL));
	EXPECT_EQ(-ENOTTY, command(fd, _IO('Y', 0x3f), NULL));
	EXPECT_EQ(0, tlb_stats(fd).accesses);
}

TEST_F(arguments, open)
{
	const char *top = (char *)(uintptr_t)0x7ffffffff000;
	struct test_tlb_open arg;
	int fd = self->fd;

	EXPECT_EQ(-EFAULT, command(fd, TEST_TLB_IOC_OPEN, NULL));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, 0, 0));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr + 8, page_size, 0));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size + 8, 0));
	EXPECT_EQ(-EINVAL, tlb_open(fd, top, 2 * page_size, 0));
	EXPECT_EQ(-EOVERFLOW, tlb_open(fd, self->addr, -page_size, 0));
	EXPECT_EQ(-E2BIG, tlb_open(fd, self->addr, (1UL << 30) + page_size, 0));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size, 0x20));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size,
				    TEST_TLB_SHADOW | TEST_TLB_NO_HOOK));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size,
				    TEST_TLB_SHADOW | TEST_TLB_EARLY));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size,
				    TEST_TLB_SHADOW | TEST_TLB_DIRECT));
	arg = open_args(self->addr, page_size, 0);
	arg.reserved = 1;
	EXPECT_EQ(-EINVAL, command(fd, TEST_TLB_IOC_OPEN, &arg));
	arg = open_args(self->addr, page_size, 0);
	arg.full_ranges = 17;
	EXPECT_EQ(-EINVAL, command(fd, TEST_TLB_IOC_OPEN, &arg));
	arg = open_args(self->addr, page_size, 0);
	arg.flush_us = TEST_TLB_FLUSH_MAX_US + 1;
	EXPECT_EQ(-EINVAL, command(fd, TEST_TLB_IOC_OPEN, &arg));
	EXPECT_EQ(self->live, tlb_stats(fd).live);

	EXPECT_EQ(0, tlb_open(fd, self->addr, page_size, 0));
	EXPECT_EQ(-EBUSY, tlb_open(fd, self->addr, page_size, 0));
	EXPECT_EQ(self->live + 1, tlb_stats(fd).live);
}

TEST_F(arguments, mirrors)
{
	char *addr = self->addr;
	int fd = self->fd;

	ASSERT_EQ(0, tlb_open(fd, addr + page_size, page_size, 0));
	EXPECT_EQ(-EEXIST, tlb_range(fd, TEST_TLB_IOC_ADD, addr, 2 * page_size, 0));
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_ADD, addr, 0, 0));
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_ADD, addr, page_size, 1));
	EXPECT_EQ(-EOVERFLOW, tlb_range(fd, TEST_TLB_IOC_ADD, addr, -page_size, 0));
	EXPECT_EQ(-ENOENT, tlb_range(fd, TEST_TLB_IOC_REMOVE, addr, page_size, 0));
	EXPECT_EQ(-ENOENT, tlb_range(fd, TEST_TLB_IOC_REMOVE, addr + page_size,
				     2 * page_size, 0));
	EXPECT_EQ(self->live + 1, tlb_stats(fd).live);
	EXPECT_EQ(0, tlb_range(fd, TEST_TLB_IOC_ADD, addr, page_size, 0));
	EXPECT_EQ(self->live + 2, tlb_stats(fd).live);
	EXPECT_EQ(0, tlb_range(fd, TEST_TLB_IOC_REMOVE, addr, page_size, 0));
	EXPECT_EQ(0, tlb_range(fd, TEST_TLB_IOC_REMOVE, addr + page_size,
			       page_size, 0));
	EXPECT_EQ(self->live, tlb_stats(fd).live);
	EXPECT_EQ(-EINVAL, tlb_run(fd, addr, page_size, 0, 1, 0));
	EXPECT_EQ(0, tlb_range(fd, TEST_TLB_IOC_ADD, addr, page_size, 0));
	EXPECT_EQ(0, tlb_run(fd, addr, page_size, 0, 1, 0));
}

TEST_F(arguments, commands)
{
	size_t size = self->size / 2;
	char *addr = self->addr;
	int fd = self->fd;
	uint64_t value = 0;

	ASSERT_EQ(0, tlb_open(fd, addr, size, TEST_TLB_NO_HOOK));
	EXPECT_EQ(-EFAULT, command(fd, TEST_TLB_IOC_RUN, NULL));
	EXPECT_EQ(-EINVAL, tlb_run(fd, addr, 0, 0, 1, 0));
	EXPECT_EQ(-EINVAL, tlb_run(fd, addr, size + page_size, 0, 2, 0));
	EXPECT_EQ(-EINVAL, tlb_run(fd, addr - page_size, size, 0, 2, 0));
	EXPECT_EQ(-EINVAL, tlb_run(fd, addr + 8, page_size, 0, 2, 0));
	EXPECT_EQ(-EINVAL, tlb_run(fd, addr, page_size, 2 * page_size, 2, 0));
	EXPECT_EQ(-EINVAL, tlb_run(fd, addr, page_size, 0, 0, 0));
	EXPECT_EQ(-EINVAL, tlb_run(fd, addr, page_size, 0, 1, 0x10));
	/* A device that nobody flushes must not write. */
	EXPECT_EQ(-EINVAL, tlb_access(fd, addr, &value, TEST_TLB_WRITE));
	EXPECT_EQ(-EINVAL, tlb_floor(fd, addr, size + page_size, 1, false));
	EXPECT_EQ(-EINVAL, tlb_floor(fd, addr + 8, page_size, 1, false));
	EXPECT_EQ(-EINVAL, tlb_floor(fd, addr, size, 1U << 31, false));
	EXPECT_EQ(-EOPNOTSUPP, tlb_range(fd, TEST_TLB_IOC_POPULATE, addr,
					 page_size, 0));
	EXPECT_EQ(-EOPNOTSUPP, tlb_range(fd, TEST_TLB_IOC_DROP, addr,
					 page_size, TEST_TLB_DEFER));
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_DROP, addr, page_size, 2));
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_WATCH, addr + size,
				     page_size, 0));
	EXPECT_EQ(0, tlb_stats(fd).accesses);
	EXPECT_EQ(0, command(fd, TEST_TLB_IOC_STOP, NULL));
	ASSERT_EQ(0, tlb_run(fd, addr, size, 0, 0, TEST_TLB_ASYNC));
	EXPECT_EQ(-EBUSY, tlb_run(fd, addr, page_size, 0, 1, 0));
	EXPECT_EQ(0, command(fd, TEST_TLB_IOC_STOP, NULL));
	EXPECT_EQ(0, tlb_run(fd, addr, page_size, 0, 1, 0));
}

TEST_F(arguments, shadow)
{
	char *addr = self->addr;
	int fd = self->fd;
	pid_t pid;
	int status;

	ASSERT_EQ(0, tlb_open(fd, addr, self->size, TEST_TLB_SHADOW));
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_POPULATE, addr,
				     self->size + page_size, 0));
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_POPULATE, addr, 8, 0));
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_DROP, addr, 0, 0));
	/* Another process has other pages there. */
	pid = fork();
	if (!pid)
		_exit(tlb_range(fd, TEST_TLB_IOC_POPULATE, addr, page_size,
				0) != -EINVAL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, tlb_stats(fd).extents);
	EXPECT_EQ(0, tlb_range(fd, TEST_TLB_IOC_POPULATE, addr, page_size, 0));
	EXPECT_EQ(1, tlb_stats(fd).extents);
}

/* The device by itself: translations and page requests. */

FIXTURE(walk)
{
	int fd;
	char *addr;
	size_t size;
};

FIXTURE_VARIANT(walk)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(walk, cpu_table)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(walk, direct)
{
	.flags = TEST_TLB_DIRECT,
};

FIXTURE_VARIANT_ADD(walk, shadow)
{
	.flags = TEST_TLB_SHADOW,
};

FIXTURE_SETUP(walk)
{
	self->size = 4 * TEST_TLB_ENTRIES * page_size;
	self->addr = map_pages(self->size, page_size);
	ASSERT_NE(NULL, self->addr);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, tlb_open(self->fd, self->addr, self->size,
			      variant->flags));
}

FIXTURE_TEARDOWN(walk)
{
	close(self->fd);
}

TEST_F(walk, access)
{
	struct test_tlb_stats stats;
	uint64_t value;

	user_write(self->addr, 1);
	EXPECT_EQ(0, tlb_read(self->fd, self->addr, &value));
	EXPECT_EQ(1, value);
	user_write(self->addr, 2);
	EXPECT_EQ(0, tlb_read(self->fd, self->addr, &value));
	EXPECT_EQ(2, value);
	EXPECT_EQ(0, tlb_write(self->fd, self->addr + 8, 3));
	EXPECT_EQ(0, tlb_write(self->fd, self->addr + page_size - 8, 4));
	EXPECT_EQ(3, user_read(self->addr + 8));
	EXPECT_EQ(4, user_read(self->addr + page_size - 8));
	stats = tlb_stats(self->fd);
	EXPECT_EQ(4, stats.accesses);
	/* Reading and writing are fetched apart. */
	EXPECT_EQ(!(variant->flags & TEST_TLB_SHADOW), stats.upgrades);
	EXPECT_EQ(3 - stats.upgrades, stats.hits);
	EXPECT_EQ(1, stats.resident);
	EXPECT_TRUE(tlb_accounted(&stats));
}

TEST_F(walk, page_request)
{
	struct test_tlb_stats stats;
	uint64_t value = 0;

	EXPECT_EQ(-ENOENT, tlb_access(self->fd, self->addr, &value,
				      TEST_TLB_NO_FAULT));
	EXPECT_EQ(0, tlb_stats(self->fd).faults);
	EXPECT_EQ(0, tlb_write(self->fd, self->addr, 5));
	EXPECT_EQ(5, user_read(self->addr));
	EXPECT_EQ(1, tlb_stats(self->fd).faults);

	ASSERT_EQ(0, mprotect(self->addr + page_size, page_size, PROT_NONE));
	EXPECT_EQ(-EFAULT, tlb_read(self->fd, self->addr + page_size, &value));
	ASSERT_EQ(0, munmap(self->addr + page_size, page_size));
	EXPECT_EQ(-EFAULT, tlb_read(self->fd, self->addr + page_size, &value));
	stats = tlb_stats(self->fd);
	EXPECT_EQ(3, stats.faults);
	EXPECT_EQ(3, stats.errors);
	EXPECT_EQ(1, stats.resident);
}

/* More pages than translations: they go one by one, and come back. */
TEST_F(walk, capacity)
{
	struct test_tlb_stats stats;

	EXPECT_EQ(0, tlb_run(self->fd, self->addr, self->size, 0, 20000,
			     TEST_TLB_CHECK));
	stats = tlb_stats(self->fd);
	EXPECT_EQ(20000, stats.accesses);
	EXPECT_EQ(TEST_TLB_ENTRIES, stats.resident);
	EXPECT_LT(1000, stats.evicted);
	EXPECT_EQ(0, stats.stale_old + stats.stale_other);
	EXPECT_TRUE(tlb_accounted(&stats));
}

/* Removing a mirror flushes it, and what is next to it stays. */
TEST_F(walk, remove)
{
	char *other = map_pages(page_size, page_size);
	int fd = self->fd;

	ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_ADD, other, page_size, 0));
	EXPECT_EQ(0, tlb_write(fd, self->addr, 1));
	EXPECT_EQ(0, tlb_write(fd, other, 2));
	EXPECT_EQ(2, tlb_stats(fd).resident);
	EXPECT_EQ(0, tlb_range(fd, TEST_TLB_IOC_REMOVE, other, page_size, 0));
	EXPECT_EQ(1, tlb_stats(fd).resident);
	EXPECT_FALSE(tlb_reaches(fd, other));
	EXPECT_TRUE(tlb_has(fd, self->addr));
}

/* Pages are taken away under a device that never rests. */

struct churn {
	int fd;
	char *addr;
	size_t size;
	char *poison;
	size_t poison_size;
	unsigned int generation;
	uint64_t corrupted;
};

static size_t churn_index(struct churn *c, const char *addr)
{
	return (addr - c->addr) / page_size;
}

static void churn_fill(struct churn *c, char *addr, size_t size)
{
	for (; size; addr += page_size, size -= page_size)
		fill(addr, page_size, TEST_TLB_TAG(churn_index(c, addr),
						   c->generation));
}

/* Have what was just freed used for something else. */
static void churn_reuse(struct churn *c)
{
	volatile uint64_t *word = (void *)c->poison;
	size_t i;

	for (i = 0; i < c->poison_size / sizeof(*word); i++)
		c->corrupted += word[i] && word[i] != POISON;
	madvise(c->poison, c->poison_size, MADV_DONTNEED);
}

static void churn_poison(struct churn *c)
{
	fill(c->poison, c->poison_size, POISON);
}

/*
 * The old content goes, and the new content comes, in some way. The device has
 * the time to fetch what comes before it is written.
 */
static void churn_replace(struct churn *c, char *addr, size_t size,
			  void (*take)(struct churn *c, char *addr, size_t size))
{
	tlb_floor(c->fd, addr, size, 1, true);
	c->generation++;
	churn_reuse(c);
	take(c, addr, size);
	tlb_floor(c->fd, addr, size, c->generation, true);
	churn_poison(c);
	tlb_await(c->fd, 1000);
	churn_fill(c, addr, size);
	tlb_floor(c->fd, addr, size, c->generation, false);
}

static void take_discard(struct churn *c, char *addr, size_t size)
{
	madvise(addr, size, MADV_DONTNEED);
}

static void take_munmap(struct churn *c, char *addr, size_t size)
{
	munmap(addr, size);
	mmap(addr, size, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	madvise(addr, size, MADV_NOHUGEPAGE);
}

static void take_mremap(struct churn *c, char *addr, size_t size)
{
	long to = syscall(__NR_mremap, addr, size, size,
			  MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	if (to != -1)
		munmap((void *)to, size);
}

/* The child has the old pages until it is gone. */
static void take_cow(struct churn *c, char *addr, size_t size)
{
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	churn_fill(c, addr, size);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void churn_discard(struct churn *c, char *addr, size_t size)
{
	churn_replace(c, addr, size, take_discard);
}

static void churn_munmap(struct churn *c, char *addr, size_t size)
{
	churn_replace(c, addr, size, take_munmap);
}

static void churn_mremap(struct churn *c, char *addr, size_t size)
{
	churn_replace(c, addr, size, take_mremap);
}

static void churn_cow(struct churn *c, char *addr, size_t size)
{
	churn_replace(c, addr, size, take_cow);
}

/* The content stays, and the pages do not. */
static void churn_pageout(struct churn *c, char *addr, size_t size)
{
	churn_reuse(c);
	madvise(addr, size, MADV_PAGEOUT);
	churn_poison(c);
}

static void churn_migrate(struct churn *c, char *addr, size_t size)
{
	static int node;
	void *pages[NR_PAGES];
	int nodes[NR_PAGES], status[NR_PAGES];
	size_t i;

	churn_reuse(c);
	node = !node;
	for (i = 0; i < size / page_size; i++) {
		pages[i] = addr + i * page_size;
		nodes[i] = node;
	}
	syscall(__NR_move_pages, 0, size / page_size, pages, nodes, status, 2);
	churn_poison(c);
}

static void churn_begin(struct __test_metadata *_metadata, struct churn *c,
			unsigned int flags)
{
	c->size = NR_PAGES * page_size;
	c->poison_size = 32 * page_size;
	c->generation = 1;
	c->corrupted = 0;
	c->addr = map_pages(c->size, page_size);
	c->poison = map_pages(c->poison_size, page_size);
	ASSERT_NE(NULL, c->addr);
	ASSERT_NE(NULL, c->poison);
	c->fd = device_open();
	ASSERT_LE(0, c->fd);
	churn_fill(c, c->addr, c->size);
	ASSERT_EQ(0, tlb_open(c->fd, c->addr, c->size, flags));
	ASSERT_EQ(0, tlb_floor(c->fd, c->addr, c->size, 1, false));
	ASSERT_EQ(0, tlb_run(c->fd, c->addr, c->size, NR_HOT * page_size, 0,
			     TEST_TLB_ASYNC | TEST_TLB_CHECK));
}

static void churn_report(struct churn *c, const char *what)
{
	struct test_tlb_stats stats = tlb_stats(c->fd);

	ksft_print_msg("%s: %llu accesses, hit rate %.2f %%\n", what,
		       stats.accesses,
		       100.0 * stats.hits / (stats.accesses ?: 1));
	ksft_print_msg("  %.5f page requests per access, of %llu %llu retries; %llu in vain\n",
		       1.0 * stats.faults / (stats.accesses ?: 1),
		       stats.faults, stats.retries, stats.errors);
	ksft_print_msg("  %llu hooks: %llu ranges, %llu commands, %llu full, %llu refills\n",
		       stats.hooks, stats.ranges, stats.commands, stats.full,
		       stats.refills);
	ksft_print_msg("  stale: %llu old pages, %llu used again\n",
		       stats.stale_old, stats.stale_other);
}

/* Where the pages of a round are: most in what is hot. */
static char *churn_where(struct churn *c, unsigned int round, size_t n)
{
	return c->addr + round * 7 % (NR_PAGES - n) * page_size;
}

FIXTURE(churn)
{
	struct churn c;
	bool swap;
};

FIXTURE_VARIANT(churn)
{
	const char *name;
	void (*round)(struct churn *c, char *addr, size_t size);
	size_t pages;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(churn, discard)
{
	.name = "discard",
	.round = churn_discard,
	.pages = 8,
};

FIXTURE_VARIANT_ADD(churn, discard_one)
{
	.name = "discard_one",
	.round = churn_discard,
	.pages = 1,
};

/* More than x86 flushes one by one. */
FIXTURE_VARIANT_ADD(churn, discard_many)
{
	.name = "discard_many",
	.round = churn_discard,
	.pages = 48,
};

FIXTURE_VARIANT_ADD(churn, discard_direct)
{
	.name = "discard_direct",
	.round = churn_discard,
	.pages = 8,
	.flags = TEST_TLB_DIRECT,
};

FIXTURE_VARIANT_ADD(churn, discard_shadow)
{
	.name = "discard_shadow",
	.round = churn_discard,
	.pages = 8,
	.flags = TEST_TLB_SHADOW,
};

FIXTURE_VARIANT_ADD(churn, munmap)
{
	.name = "munmap",
	.round = churn_munmap,
	.pages = 8,
};

FIXTURE_VARIANT_ADD(churn, mremap)
{
	.name = "mremap",
	.round = churn_mremap,
	.pages = 8,
};

FIXTURE_VARIANT_ADD(churn, cow)
{
	.name = "cow",
	.round = churn_cow,
	.pages = 8,
};

FIXTURE_VARIANT_ADD(churn, pageout)
{
	.name = "pageout",
	.round = churn_pageout,
	.pages = 8,
};

FIXTURE_VARIANT_ADD(churn, pageout_shadow)
{
	.name = "pageout_shadow",
	.round = churn_pageout,
	.pages = 8,
	.flags = TEST_TLB_SHADOW,
};

FIXTURE_VARIANT_ADD(churn, migrate)
{
	.name = "migrate",
	.round = churn_migrate,
	.pages = 8,
};

FIXTURE_SETUP(churn)
{
	const char *missing = NULL;

	self->c.fd = -1;
	if (variant->round == churn_migrate &&
	    access("/sys/devices/system/node/node1", F_OK))
		missing = "needs two nodes";
	if (variant->round == churn_pageout) {
		self->swap = true;
		missing = swap_on(64);
	}
	if (missing)
		SKIP(return, "%s", missing);
	pin_to_cpu(0);
	churn_begin(_metadata, &self->c, variant->flags);
}

FIXTURE_TEARDOWN(churn)
{
	close(self->c.fd);
	if (self->swap)
		swap_off();
}

/*
 * The hit rate is that of a device at work: between two rounds it has the time
 * for a good number of accesses.
 */
TEST_F(churn, hook)
{
	struct test_tlb_stats stats;
	unsigned int round;

	for (round = 0; round < 40; round++) {
		variant->round(&self->c,
			       churn_where(&self->c, round, variant->pages),
			       variant->pages * page_size);
		ASSERT_TRUE(tlb_await(self->c.fd, 10000));
	}
	EXPECT_EQ(0, command(self->c.fd, TEST_TLB_IOC_STOP, NULL));
	churn_report(&self->c, variant->name);
	stats = tlb_stats(self->c.fd);
	EXPECT_EQ(0, stats.stale_old);
	EXPECT_EQ(0, stats.stale_other);
	EXPECT_EQ(0, self->c.corrupted);
	EXPECT_LE(90 * stats.accesses, 100 * stats.hits);
	EXPECT_LE(round / 2, stats.flushed);
	/* What is only moved may be back before the device asks for it. */
	if (variant->round == churn_discard || variant->round == churn_munmap)
		EXPECT_LE(round / 2, stats.faults);
	EXPECT_TRUE(tlb_accounted(&stats));
	if (!(variant->flags & TEST_TLB_SHADOW))
		EXPECT_LE(round, stats.hooks);
}

/* Negative controls: nothing but the hook keeps the device honest. */

FIXTURE(no_hook)
{
	struct churn c;
};

FIXTURE_VARIANT(no_hook)
{
	const char *name;
	unsigned int flags;
	uint64_t enough;
};

FIXTURE_VARIANT_ADD(no_hook, off)
{
	.name = "hook off",
	.enough = 1000,
	.flags = TEST_TLB_NO_HOOK,
};

/* The device fetches again before the page goes. */
FIXTURE_VARIANT_ADD(no_hook, flushed_at_start)
{
	.name = "flushed at the start of an invalidation instead",
	.enough = 1,
	.flags = TEST_TLB_EARLY,
};

FIXTURE_SETUP(no_hook)
{
	self->c.fd = -1;
	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	pin_to_cpu(0);
	churn_begin(_metadata, &self->c, variant->flags);
}

FIXTURE_TEARDOWN(no_hook)
{
	close(self->c.fd);
}

TEST_F(no_hook, is_noticed)
{
	struct test_tlb_stats stats;
	uint64_t began = now_ns();
	unsigned int round = 0;

	do {
		churn_discard(&self->c, churn_where(&self->c, round, 48),
			      48 * page_size);
		ASSERT_TRUE(tlb_await(self->c.fd, 1000));
		round++;
		stats = tlb_stats(self->c.fd);
	} while (stats.stale_old + stats.stale_other < variant->enough &&
		 now_ns() - began < PATIENCE_NS);
	churn_report(&self->c, variant->name);
	ksft_print_msg("%s: noticed after %u rounds, %.2f s\n", variant->name,
		       round, (double)(now_ns() - began) / NSEC_PER_SEC);
	EXPECT_EQ(0, stats.hooks);
	EXPECT_LE(variant->enough, stats.stale_old + stats.stale_other);
	/* Not only before the page is used again. */
	if (variant->flags & TEST_TLB_NO_HOOK)
		EXPECT_LT(0, stats.stale_other);
}

/* The device as such; the last of all. */

FIXTURE(device)
{
	int fd;
};

FIXTURE_SETUP(device)
{
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(device)
{
	close(self->fd);
}

TEST_F(device, nothing_is_left)
{
	EXPECT_EQ(0, tlb_stats(self->fd).live);
}

TEST_F(device, reload)
{
	if (access("/sys/module/" MODULE "/initstate", F_OK))
		SKIP(return, "the device is built in");
	if (system("modprobe -D " MODULE " >/dev/null 2>&1"))
		SKIP(return, "no modprobe that could load it again");
	/* Not while it is open. */
	EXPECT_NE(0, syscall(__NR_delete_module, MODULE, O_NONBLOCK));
	close(self->fd);
	EXPECT_EQ(0, syscall(__NR_delete_module, MODULE, O_NONBLOCK));
	EXPECT_NE(0, access(DEVICE, F_OK));
	EXPECT_EQ(0, system("modprobe " MODULE));
	EXPECT_TRUE(eventually(!access(DEVICE, F_OK)));
	self->fd = device_open();
	EXPECT_LE(0, self->fd);
}

static pid_t settings_owner;

static void clean_up(void)
{
	if (getpid() == settings_owner)
		restore(0);
}

static void prepare(void)
{
	settings_owner = getpid();
	atexit(clean_up);
	/* Neither may change a page behind a test's back. */
	set("/proc/sys/kernel/numa_balancing", "0");
	set("/sys/kernel/mm/ksm/run", "0");
}

static void skip_all(const char *reason)
{
	ksft_print_header();
	ksft_exit_skip("%s\n", reason);
}

static void require_device(void)
{
	int fd;

	if (geteuid())
		skip_all("must be run as root");
	if (access(DEVICE, F_OK) &&
	    (system("modprobe " MODULE " >/dev/null 2>&1") ||
	     !eventually(!access(DEVICE, F_OK))))
		skip_all("no " DEVICE ": needs CONFIG_TEST_MMU_MIRROR_TLB");
	fd = device_open();
	if (fd < 0)
		skip_all("cannot open " DEVICE);
	close(fd);
}

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	require_device();
	prepare();
	return test_harness_run(argc, argv);
}
