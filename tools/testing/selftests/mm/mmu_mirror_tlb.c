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
#include <linux/const.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "mmu_mirror_trace.h"
#include "mmu_mirror_util.h"
#include <lib/test_mmu_mirror_tlb_uapi.h>

#define DEVICE		"/dev/test_mmu_mirror_tlb"
#define MODULE		"test_mmu_mirror_tlb"
#define LIST		"/sys/kernel/debug/mmu_range_mirror"

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
	uint64_t value = 0;

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
	uint64_t *word = addr;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		__atomic_store_n(&word[i], value, __ATOMIC_RELAXED);
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

/* Of the hook, the list of those who want one, the TLB: each fails once. */
TEST_F(arguments, allocations_fail)
{
	const char *reason = fail_nth_ready();
	unsigned int nth, failed = 0;
	bool injected = true;

	if (reason)
		SKIP(return, "%s", reason);
	for (nth = 1; nth < 1000 && injected; nth++) {
		int fd = device_open();
		long ret;

		ASSERT_LE(0, fd);
		ASSERT_TRUE(fail_nth(nth));
		ret = tlb_open(fd, self->addr, page_size, TEST_TLB_YOUNG);
		injected = fail_nth_off();
		if (ret) {
			EXPECT_TRUE(injected);
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(self->live, tlb_stats(self->fd).live);
			EXPECT_EQ(0, tlb_open(fd, self->addr, page_size,
					      TEST_TLB_YOUNG));
			failed++;
		}
		close(fd);
		EXPECT_EQ(self->live, tlb_stats(self->fd).live);
	}
	EXPECT_FALSE(injected);
	EXPECT_LT(0, failed);
	TH_LOG("%u of %u allocations are needed", failed, nth - 2);
}

TEST_F(arguments, open)
{
	const char *top = user_end();
	struct test_tlb_open arg;
	int fd = self->fd;

	EXPECT_EQ(-EFAULT, command(fd, TEST_TLB_IOC_OPEN, NULL));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, 0, 0));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr + 8, page_size, 0));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size + 8, 0));
	EXPECT_EQ(-EINVAL, tlb_open(fd, top, 2 * page_size, 0));
	EXPECT_EQ(-EOVERFLOW, tlb_open(fd, self->addr, -page_size, 0));
	EXPECT_EQ(-E2BIG, tlb_open(fd, self->addr, (1UL << 30) + page_size, 0));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size, 0x40));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size,
				    TEST_TLB_ANY_SIZE | TEST_TLB_SHADOW));
	EXPECT_EQ(-EINVAL, tlb_open(fd, self->addr, page_size,
				    TEST_TLB_ANY_SIZE | TEST_TLB_YOUNG));
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

TEST_F(arguments, any_size)
{
	uint64_t value = 0;
	int fd = self->fd;

	ASSERT_EQ(0, tlb_open(fd, (void *)page_size,
			      (uintptr_t)user_end() - page_size,
			      TEST_TLB_ANY_SIZE));
	EXPECT_EQ(-EINVAL, tlb_access(fd, self->addr, &value, TEST_TLB_CHECK));
	EXPECT_EQ(-EINVAL, tlb_floor(fd, self->addr, page_size, 1, false));
	EXPECT_EQ(0, tlb_read(fd, self->addr, &value));
	EXPECT_TRUE(tlb_reaches(fd, self->addr));
	EXPECT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	EXPECT_FALSE(tlb_reaches(fd, self->addr));
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
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_DROP, addr, page_size, 4));
	EXPECT_EQ(-EINVAL, tlb_range(fd, TEST_TLB_IOC_WATCH, addr + size,
				     page_size, 0));
	EXPECT_EQ(0, tlb_stats(fd).accesses);
	EXPECT_EQ(0, command(fd, TEST_TLB_IOC_STOP, NULL));
	ASSERT_EQ(0, tlb_run(fd, addr, size, 0, 0, TEST_TLB_ASYNC));
	EXPECT_EQ(-EBUSY, tlb_run(fd, addr, page_size, 0, 1, 0));
	EXPECT_EQ(0, command(fd, TEST_TLB_IOC_STOP, NULL));
	EXPECT_EQ(0, tlb_run(fd, addr, page_size, 0, 1, 0));
}

/* In a process that nobody else answers the faults of. 0, or what went wrong. */
static int close_in_a_fault(int fd, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range.len = size,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffd_msg msg;
	void *addr;
	int uffd;

	addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)addr;
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (addr == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg))
		return KSFT_SKIP;
	if (tlb_open(fd, addr, size, TEST_TLB_SHADOW) ||
	    tlb_run(fd, addr, size, 0, 1, TEST_TLB_ASYNC) ||
	    read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		return 1;
	/* The device's thread waits for us now, and must not keep us. */
	close(fd);
	close(uffd);
	return 0;
}

TEST_F(arguments, closes_in_a_fault)
{
	int status = -1;
	pid_t pid;

	close(self->fd);
	self->fd = -1;
	pid = fork();
	if (!pid)
		_exit(close_in_a_fault(device_open(), self->size));
	EXPECT_TRUE(eventually(waitpid(pid, &status, WNOHANG) == pid));
	if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		SKIP(return, "no userfaultfd");
	EXPECT_EQ(0, status);
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
	const uint64_t *word = (void *)c->poison;
	size_t i;

	for (i = 0; i < c->poison_size / sizeof(*word); i++) {
		uint64_t value = __atomic_load_n(&word[i], __ATOMIC_RELAXED);

		c->corrupted += value && value != POISON;
	}
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
TEST_F_TIMEOUT(churn, hook, 120)
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

/* Page tables go, too. */

FIXTURE(table)
{
	int fd;
	char *around;	/* three of them */
	char *addr;	/* the middle one */
	size_t size;
};

FIXTURE_SETUP(table)
{
	self->fd = -1;
	/* What one page table maps. */
	self->size = page_size / sizeof(void *) * page_size;
	self->around = map_pages(3 * self->size, self->size);
	ASSERT_NE(NULL, self->around);
	self->addr = self->around + self->size;
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, tlb_open(self->fd, self->addr, self->size, 0));
}

FIXTURE_TEARDOWN(table)
{
	close(self->fd);
}

TEST_F(table, nothing_to_watch)
{
	EXPECT_EQ(-ENOENT, tlb_range(self->fd, TEST_TLB_IOC_WATCH, self->addr,
				     page_size, 0));
	EXPECT_EQ(0, tlb_stats(self->fd).watch_refs);
}

/*
 * The device holds a reference to the table page and nothing else: when the
 * hook comes, the table must be out of use and still be the mm's.
 */
TEST_F(table, hook_before_free)
{
	struct test_tlb_stats was, stats;
	unsigned int round;

	/* What the table hangs from stays. */
	fill(self->around, page_size, 1);
	fill(self->around + 2 * self->size, page_size, 1);
	for (round = 1; round <= 10; round++) {
		ASSERT_EQ(self->addr,
			  mmap(self->addr, self->size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		madvise(self->addr, self->size, MADV_NOHUGEPAGE);
		fill(self->addr, self->size, round);
		ASSERT_EQ(0, tlb_range(self->fd, TEST_TLB_IOC_WATCH, self->addr,
				       page_size, 0));
		ASSERT_EQ(0, tlb_run(self->fd, self->addr, self->size,
				     NR_HOT * page_size, 0, TEST_TLB_ASYNC));
		ASSERT_TRUE(tlb_await(self->fd, 1000));
		was = tlb_stats(self->fd);
		EXPECT_EQ(1, was.watch_refs);
		ASSERT_EQ(0, munmap(self->addr, self->size));
		stats = tlb_stats(self->fd);
		/* And before munmap() returned. */
		EXPECT_LT(was.watch_hooked, stats.watch_hooked);
		EXPECT_EQ(0, stats.watch_late);
		EXPECT_EQ(0, stats.resident);
		/* It goes on, and finds nothing. */
		was = stats;
		EXPECT_TRUE(eventually(tlb_stats(self->fd).errors >
				       was.errors + 10));
		stats = tlb_stats(self->fd);
		EXPECT_EQ(was.accesses, stats.accesses);
		EXPECT_EQ(0, stats.resident);
		EXPECT_TRUE(eventually(!tlb_stats(self->fd).watch_refs));
		EXPECT_EQ(0, command(self->fd, TEST_TLB_IOC_STOP, NULL));
	}
	stats = tlb_stats(self->fd);
	ksft_print_msg("hook with the table in use %llu, out of use %llu, freed %llu\n",
		       stats.watch_linked, stats.watch_hooked,
		       stats.watch_late);
}

/* Permissions. */

FIXTURE(permission)
{
	int fd;
	int uffd;
	char *addr;
	size_t size;
};

FIXTURE_VARIANT(permission)
{
	unsigned int flags;
	/* The driver has dropped its entry, and put off the flush. */
	bool deferred;
};

FIXTURE_VARIANT_ADD(permission, cpu_table)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(permission, direct)
{
	.flags = TEST_TLB_DIRECT,
};

FIXTURE_VARIANT_ADD(permission, shadow)
{
	.flags = TEST_TLB_SHADOW,
};

FIXTURE_VARIANT_ADD(permission, deferred)
{
	.flags = TEST_TLB_SHADOW,
	.deferred = true,
};

FIXTURE_SETUP(permission)
{
	self->uffd = -1;
	self->size = NR_PAGES * page_size;
	self->addr = map_pages(self->size, page_size);
	ASSERT_NE(NULL, self->addr);
	fill(self->addr, self->size, 1);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, tlb_open(self->fd, self->addr, self->size,
			      variant->flags));
}

FIXTURE_TEARDOWN(permission)
{
	close(self->uffd);
	close(self->fd);
}

/* Have a translation for writing cached that nothing but a flush removes. */
static void cache_writable(struct __test_metadata *_metadata, int fd,
			   char *addr, bool deferred)
{
	ASSERT_EQ(0, tlb_write(fd, addr, 2));
	EXPECT_TRUE(tlb_has(fd, addr));
	if (!deferred)
		return;
	ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_DROP, addr, page_size,
			       TEST_TLB_DEFER));
	/* It may be used as long as nobody relies on the opposite. */
	EXPECT_TRUE(tlb_has(fd, addr));
	EXPECT_EQ(0, tlb_write(fd, addr, 3));
	EXPECT_EQ(3, user_read(addr));
}

/* The device must not write by what it had cached. */
static void expect_no_write(struct __test_metadata *_metadata, int fd,
			    char *addr)
{
	uint64_t was = user_read(addr), value = ~was;

	EXPECT_EQ(-ENOENT, tlb_access(fd, addr, &value, TEST_TLB_WRITE |
							TEST_TLB_NO_FAULT));
	EXPECT_EQ(was, user_read(addr));
}

TEST_F(permission, mprotect)
{
	cache_writable(_metadata, self->fd, self->addr, variant->deferred);
	ASSERT_EQ(0, mprotect(self->addr, page_size, PROT_READ));
	expect_no_write(_metadata, self->fd, self->addr);
	EXPECT_EQ(-EFAULT, tlb_write(self->fd, self->addr, 4));
}

TEST_F(permission, fork)
{
	int status;
	pid_t pid;

	cache_writable(_metadata, self->fd, self->addr, variant->deferred);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	expect_no_write(_metadata, self->fd, self->addr);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

TEST_F(permission, soft_dirty)
{
	cache_writable(_metadata, self->fd, self->addr, variant->deferred);
	if (!(page_bits(self->addr) & PAGEMAP_SOFT_DIRTY) ||
	    !write_text("/proc/self/clear_refs", "4"))
		SKIP(return, "no soft-dirty bits");
	expect_no_write(_metadata, self->fd, self->addr);
}

TEST_F(permission, userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)self->addr, self->size },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)self->addr, page_size },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	self->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (self->uffd < 0 || ioctl(self->uffd, UFFDIO_API, &api) ||
	    ioctl(self->uffd, UFFDIO_REGISTER, &reg))
		SKIP(return, "no write protection by userfaultfd");
	cache_writable(_metadata, self->fd, self->addr, variant->deferred);
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_WRITEPROTECT, &wp));
	expect_no_write(_metadata, self->fd, self->addr);
}

TEST_F(permission, taken_away)
{
	cache_writable(_metadata, self->fd, self->addr, variant->deferred);
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	EXPECT_FALSE(tlb_reaches(self->fd, self->addr));
	cache_writable(_metadata, self->fd, self->addr, variant->deferred);
	ASSERT_EQ(0, munmap(self->addr, page_size));
	EXPECT_FALSE(tlb_reaches(self->fd, self->addr));
}

/*
 * Permissions that grow. The device has the page for reading, which is shared
 * with a child. Once that is gone, the process's write makes it writable again,
 * without an invalidation; the device must get at it.
 */
TEST_F(permission, grows_without_invalidation)
{
	struct test_tlb_stats was, stats;
	uint64_t value;
	unsigned int i;
	pid_t pid;

	if (variant->flags & TEST_TLB_SHADOW)
		SKIP(return, "entries of a table are for writing always");
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, tlb_read(self->fd, self->addr, &value));
	EXPECT_EQ(1, value);
	expect_no_write(_metadata, self->fd, self->addr);
	EXPECT_EQ(0, tlb_read(self->fd, self->addr, &value));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	was = tlb_stats(self->fd);
	user_write(self->addr, 2);
	stats = tlb_stats(self->fd);
	for (i = 0; i < TEST_TLB_NR_EVENTS; i++)
		EXPECT_EQ(was.events[i], stats.events[i]);
	EXPECT_EQ(0, tlb_read(self->fd, self->addr, &value));
	EXPECT_EQ(2, value);
	/* No request: what it had for reading does not stand in the way. */
	value = 3;
	EXPECT_EQ(0, tlb_access(self->fd, self->addr, &value,
				TEST_TLB_WRITE | TEST_TLB_NO_FAULT));
	EXPECT_EQ(3, user_read(self->addr));
	ksft_print_msg("a permission that grew: %llu hooks, no invalidation, %llu fetched anew\n",
		       stats.hooks - was.hooks,
		       tlb_stats(self->fd).upgrades - was.upgrades);
}

/* The same as the copy of the page: its old one must not be read any more. */
TEST_F(permission, grows_by_copy)
{
	uint64_t value;
	pid_t pid;

	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, tlb_read(self->fd, self->addr, &value));
	user_write(self->addr, 2);
	EXPECT_EQ(0, tlb_read(self->fd, self->addr, &value));
	EXPECT_EQ(2, value);
	EXPECT_EQ(0, tlb_write(self->fd, self->addr, 3));
	EXPECT_EQ(3, user_read(self->addr));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

TEST_F(permission, grows_by_mprotect)
{
	uint64_t value;

	ASSERT_EQ(0, mprotect(self->addr, page_size, PROT_READ));
	if (!(variant->flags & TEST_TLB_SHADOW))
		EXPECT_EQ(0, tlb_read(self->fd, self->addr, &value));
	EXPECT_EQ(-EFAULT, tlb_write(self->fd, self->addr, 2));
	ASSERT_EQ(0, mprotect(self->addr, page_size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, tlb_write(self->fd, self->addr, 3));
	EXPECT_EQ(3, user_read(self->addr));
}

/* Flushes of the CPU's without an invalidation around them. */
TEST_F(permission, aged)
{
	struct test_tlb_stats was, stats;
	unsigned int i;

	if (variant->flags & TEST_TLB_SHADOW)
		SKIP(return, "has no hook");
	cache_writable(_metadata, self->fd, self->addr, false);
	user_write(self->addr, 2);
	was = tlb_stats(self->fd);
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_COLD));
	stats = tlb_stats(self->fd);
	for (i = 0; i < TEST_TLB_NR_EVENTS; i++)
		EXPECT_EQ(was.events[i], stats.events[i]);
	EXPECT_LT(was.hooks, stats.hooks);
	EXPECT_LT(was.flushed, stats.flushed);
}

/* Flushes that are put off. */

struct slow_drop {
	int fd;
	struct test_tlb_range range;
	atomic_bool done;
};

FIXTURE(deferral)
{
	struct slow_drop drop;
	int fd;
	char *addr;
	size_t size;
};

FIXTURE_SETUP(deferral)
{
	self->size = 8 * page_size;
	self->addr = map_pages(3 * self->size, page_size) + self->size;
	fill(self->addr - self->size, 3 * self->size, 1);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, tlb_open(self->fd, self->addr, self->size,
			      TEST_TLB_SHADOW));
	cache_writable(_metadata, self->fd, self->addr, true);
}

FIXTURE_TEARDOWN(deferral)
{
	close(self->fd);
}

/* One flush for what was put off, by an event that hits the mirror. */
TEST_F(deferral, event)
{
	char *next = self->addr + page_size;
	uint64_t full;

	EXPECT_EQ(0, tlb_stats(self->fd).full);
	ASSERT_EQ(0, madvise(self->addr - page_size, page_size, MADV_DONTNEED));
	EXPECT_EQ(0, tlb_stats(self->fd).full);
	EXPECT_TRUE(tlb_has(self->fd, self->addr));

	/* Not the page itself, and the driver has no entry there. */
	ASSERT_EQ(0, madvise(next, page_size, MADV_DONTNEED));
	EXPECT_FALSE(tlb_reaches(self->fd, self->addr));
	full = tlb_stats(self->fd).full;
	EXPECT_EQ(1, full);
	ASSERT_EQ(0, madvise(next, page_size, MADV_DONTNEED));
	EXPECT_EQ(full, tlb_stats(self->fd).full);

	/* Once more. */
	cache_writable(_metadata, self->fd, self->addr, true);
	cache_writable(_metadata, self->fd, next, true);
	ASSERT_EQ(0, mprotect(self->addr, self->size, PROT_READ));
	EXPECT_FALSE(tlb_reaches(self->fd, self->addr));
	EXPECT_FALSE(tlb_reaches(self->fd, next));
	EXPECT_EQ(full + 1, tlb_stats(self->fd).full);
}

TEST_F(deferral, removal)
{
	EXPECT_EQ(1, tlb_stats(self->fd).resident);
	ASSERT_EQ(0, tlb_range(self->fd, TEST_TLB_IOC_REMOVE, self->addr,
			       self->size, 0));
	EXPECT_EQ(0, tlb_stats(self->fd).resident);
}

static void *slow_drop(void *arg)
{
	struct slow_drop *drop = arg;

	command(drop->fd, TEST_TLB_IOC_DROP, &drop->range);
	atomic_store(&drop->done, true);
	return NULL;
}

/*
 * The driver has dropped an entry and is about to flush it. Whoever takes the
 * page away in between finds no entry, and must not return before the flush.
 */
TEST_F(deferral, about_to_flush)
{
	pthread_t thread;

	/* Nothing else is put off. */
	ASSERT_EQ(0, madvise(self->addr + page_size, page_size, MADV_DONTNEED));
	cache_writable(_metadata, self->fd, self->addr, false);
	self->drop = (struct slow_drop) {
		.fd = self->fd,
		.range = {
			.start = (uintptr_t)self->addr,
			.length = page_size,
			.flags = TEST_TLB_SLOW,
		},
	};
	ASSERT_EQ(0, pthread_create(&thread, NULL, slow_drop, &self->drop));
	ASSERT_TRUE(eventually(!tlb_stats(self->fd).extents));
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	EXPECT_FALSE(tlb_reaches(self->fd, self->addr));
	if (atomic_load(&self->drop.done))
		SKIP(return, "the flush came first");
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

/* Each mirror knows what was put off for it, and a flush does for all. */
TEST_F(deferral, two_mirrors)
{
	char *other = self->addr + self->size;

	ASSERT_EQ(0, tlb_range(self->fd, TEST_TLB_IOC_ADD, other, self->size,
			       0));
	ASSERT_EQ(0, madvise(other, page_size, MADV_DONTNEED));
	EXPECT_EQ(0, tlb_stats(self->fd).full);
	EXPECT_TRUE(tlb_has(self->fd, self->addr));
	fill(other, page_size, 1);
	cache_writable(_metadata, self->fd, other, true);
	ASSERT_EQ(0, madvise(other, page_size, MADV_DONTNEED));
	EXPECT_EQ(1, tlb_stats(self->fd).full);
	EXPECT_FALSE(tlb_reaches(self->fd, other));
	EXPECT_FALSE(tlb_reaches(self->fd, self->addr));
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	EXPECT_EQ(1, tlb_stats(self->fd).full);
}

/* Few commands for many ranges. */

#define NR_SMALL	256
/* Tens of thousands of them in the driver's table. */
#define NR_TINY		20480

FIXTURE(gather)
{
	int fd;
	char *addr;
	size_t size;
};

FIXTURE_SETUP(gather)
{
	self->size = NR_TINY * page_size;
	self->addr = map_pages(self->size, page_size);
	ASSERT_NE(NULL, self->addr);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(gather)
{
	trace_stop();
	close(self->fd);
}

/* Many mirrors of one page in one hook call. */
TEST_F_TIMEOUT(gather, mirrors, 120)
{
	struct test_tlb_stats was, stats;
	size_t i, size = NR_SMALL * page_size, some = 32 * page_size;
	char *addr = self->addr;
	int fd = self->fd;

	/* Neither in ascending order nor next to each other to begin with. */
	ASSERT_EQ(0, tlb_open(fd, addr, page_size, 0));
	for (i = 2; i < NR_SMALL; i += 2)
		ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_ADD,
				       addr + i * page_size, page_size, 0));
	for (i = NR_SMALL - 1; i < NR_SMALL; i -= 2)
		ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_ADD,
				       addr + i * page_size, page_size, 0));
	fill(addr, size, 1);
	for (i = 0; i < NR_SMALL; i++)
		ASSERT_TRUE(tlb_reaches(fd, addr + i * page_size));
	was = tlb_stats(fd);
	EXPECT_EQ(NR_SMALL, was.resident);

	ASSERT_EQ(0, madvise(addr, some, MADV_DONTNEED));
	stats = tlb_stats(fd);
	EXPECT_EQ(1, stats.commands - was.commands);
	EXPECT_EQ(1, stats.syncs - was.syncs);
	EXPECT_EQ(0, stats.full - was.full);
	EXPECT_EQ(32, stats.ranges - was.ranges);
	EXPECT_EQ(NR_SMALL - 32, stats.resident);
	was = stats;
	ASSERT_EQ(0, madvise(addr, size, MADV_DONTNEED));
	stats = tlb_stats(fd);
	EXPECT_EQ(1, stats.commands - was.commands);
	EXPECT_EQ(1, stats.full - was.full);
	EXPECT_EQ(0, stats.resident);
	ksft_print_msg("%d mirrors of one page: %llu ranges in %llu commands\n",
		       NR_SMALL, stats.ranges, stats.commands);
}

/* Each flush is an event, and says what the counters say. */
TEST_F(gather, is_traced)
{
	const char *reason = trace_start("mmu_range_mirror");
	size_t size = 8 * page_size, large = 256 * page_size;
	unsigned long start = (uintptr_t)self->addr;
	struct test_tlb_stats was, stats;
	char *other = self->addr + 2 * large;
	int fd = self->fd;

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(0, tlb_open(fd, self->addr, page_size, 0));
	for (size_t i = 1; i < 8; i++)
		ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_ADD,
				       self->addr + i * page_size, page_size,
				       0));
	ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_ADD, other, large, 0));
	fill(self->addr, size, 1);
	fill(other, large, 1);
	for (size_t i = 0; i < 8; i++)
		ASSERT_TRUE(tlb_reaches(fd, self->addr + i * page_size));
	ASSERT_TRUE(tlb_reaches(fd, other));
	was = tlb_stats(fd);
	trace_stop();
	ASSERT_EQ(NULL, trace_start("mmu_range_mirror"));

	ASSERT_EQ(0, madvise(self->addr, size, MADV_DONTNEED));
	EXPECT_EQ(1, trace_count("mmu_mirror_flush",
				 "added=8 ranges=1 start=0x%lx end=0x%lx full=0",
				 start, start + size));
	ASSERT_EQ(0, madvise(other, large, MADV_DONTNEED));
	stats = tlb_stats(fd);
	EXPECT_LT(was.full, stats.full);
	EXPECT_EQ(stats.syncs - was.syncs, trace_count("mmu_mirror_flush", ""));
	EXPECT_EQ(stats.full - was.full,
		  trace_count("mmu_mirror_flush", "full=1"));
	EXPECT_EQ(stats.ranges - was.ranges,
		  trace_sum("mmu_mirror_flush", "added"));
}

/* The list of mirrors has those of a TLB, with what the TLB counts. */
TEST_F(gather, is_listed)
{
	unsigned long start = (uintptr_t)self->addr;
	struct test_tlb_stats stats;
	char range[128], line[1024];
	unsigned int found = 0;
	FILE *file;

	if (access(LIST, R_OK))
		SKIP(return, "the kernel does not list mirrors");
	ASSERT_EQ(0, tlb_open(self->fd, self->addr, page_size, 0));
	fill(self->addr, page_size, 1);
	ASSERT_TRUE(tlb_reaches(self->fd, self->addr));
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	stats = tlb_stats(self->fd);
	EXPECT_LT(0, stats.syncs);
	snprintf(range, sizeof(range),
		 " kind=tlb start=0x%lx end=0x%lx dirtied=0 ranges=%llu commands=%llu full=%llu syncs=%llu ",
		 start, start + page_size, stats.ranges, stats.commands,
		 stats.full, stats.syncs);
	file = fopen(LIST, "r");
	ASSERT_NE(NULL, file);
	while (fgets(line, sizeof(line), file))
		found += !!strstr(line, range);
	fclose(file);
	EXPECT_EQ(1, found);
}

static void populate_every(struct __test_metadata *_metadata, int fd,
			   char *addr, size_t first, size_t n, size_t step)
{
	size_t i;

	for (i = first; i < n; i += step)
		ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_POPULATE,
				       addr + i * page_size, page_size, 0));
}

/* Tens of thousands of mappings in one mirror. */
TEST_F_TIMEOUT(gather, extents, 120)
{
	struct test_tlb_stats was, stats;
	size_t half = NR_TINY / 2 * page_size;
	struct test_tlb_open arg;
	char *addr = self->addr;
	uint64_t began, took;
	int fd = self->fd;

	arg = open_args(addr, self->size, TEST_TLB_SHADOW);
	arg.full_pages = 2 * NR_TINY;
	ASSERT_EQ(0, command(fd, TEST_TLB_IOC_OPEN, &arg));
	began = now_ns();
	populate_every(_metadata, fd, addr, 0, NR_TINY, 2);
	EXPECT_EQ(NR_TINY / 2, tlb_stats(fd).extents);
	populate_every(_metadata, fd, addr, 1, NR_TINY, 2);
	took = now_ns() - began;
	/* They abut. */
	stats = tlb_stats(fd);
	EXPECT_EQ(1, stats.extents);
	EXPECT_EQ(NR_TINY, stats.extents_mapped);
	EXPECT_EQ(NR_TINY, stats.dirtied);
	EXPECT_EQ(0, tlb_run(fd, addr, self->size, 0, 2000, TEST_TLB_NO_FAULT));
	EXPECT_EQ(TEST_TLB_ENTRIES, tlb_stats(fd).resident);

	/* The driver drops half of it: one range, one command. */
	was = tlb_stats(fd);
	ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_DROP, addr, half, 0));
	stats = tlb_stats(fd);
	EXPECT_EQ(1, stats.extents);
	EXPECT_EQ(1, stats.commands - was.commands);
	EXPECT_EQ(was.full, stats.full);
	EXPECT_FALSE(tlb_reaches(fd, addr + half - page_size));
	EXPECT_TRUE(tlb_reaches(fd, addr + half));

	/* Ten that do not abut: ten commands, and one wait. */
	populate_every(_metadata, fd, addr, 0, 20, 2);
	EXPECT_EQ(11, tlb_stats(fd).extents);
	was = tlb_stats(fd);
	ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_DROP, addr, 40 * page_size, 0));
	stats = tlb_stats(fd);
	EXPECT_EQ(1, stats.extents);
	EXPECT_EQ(10, stats.commands - was.commands);
	EXPECT_EQ(1, stats.syncs - was.syncs);

	/* More than a gather holds: everything, once. */
	populate_every(_metadata, fd, addr, 0, NR_TINY / 2, 2);
	was = tlb_stats(fd);
	EXPECT_EQ(NR_TINY / 4 + 1, was.extents);
	ASSERT_EQ(0, tlb_range(fd, TEST_TLB_IOC_DROP, addr, half, 0));
	stats = tlb_stats(fd);
	EXPECT_EQ(1, stats.extents);
	EXPECT_EQ(1, stats.commands - was.commands);
	EXPECT_EQ(1, stats.full - was.full);
	EXPECT_EQ(NR_TINY / 4, stats.ranges - was.ranges);

	/* Core mm takes all of them, and the middle of one. */
	populate_every(_metadata, fd, addr, 0, NR_TINY / 2, 2);
	ASSERT_EQ(0, madvise(addr + half, page_size, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(addr + half + 2 * page_size, page_size,
			     MADV_DONTNEED));
	stats = tlb_stats(fd);
	EXPECT_EQ(1, stats.extents_split);
	EXPECT_EQ(0, stats.extents_lost);
	EXPECT_EQ(NR_TINY / 4 + 2, stats.extents);
	began = now_ns();
	ASSERT_EQ(0, madvise(addr, self->size, MADV_DONTNEED));
	ksft_print_msg("%d mappings made in %.3f s, %llu extents gone in %.3f s\n",
		       NR_TINY, (double)took / NSEC_PER_SEC, stats.extents,
		       (double)(now_ns() - began) / NSEC_PER_SEC);
	stats = tlb_stats(fd);
	EXPECT_EQ(0, stats.extents);
	EXPECT_EQ(0, stats.resident);
}

/* Several devices at once. */

#define NR_DEVICES	16
#define FLUSH_US	1000

FIXTURE(devices)
{
	int fd[NR_DEVICES];
	char *addr;
};

FIXTURE_SETUP(devices)
{
	struct test_tlb_open arg;
	unsigned int i;

	self->addr = map_pages(page_size, page_size);
	ASSERT_NE(NULL, self->addr);
	for (i = 0; i < NR_DEVICES; i++) {
		self->fd[i] = device_open();
		ASSERT_LE(0, self->fd[i]);
		arg = open_args(self->addr, page_size, TEST_TLB_SHADOW);
		arg.flush_us = FLUSH_US;
		ASSERT_EQ(0, command(self->fd[i], TEST_TLB_IOC_OPEN, &arg));
	}
}

FIXTURE_TEARDOWN(devices)
{
	unsigned int i;

	for (i = 0; i < NR_DEVICES; i++)
		close(self->fd[i]);
}

/* Where the kernel starts all flushes before it waits, they overlap. */
TEST_F(devices, flushes_overlap)
{
	bool two_pass = tlb_stats(self->fd[0]).two_pass;
	uint64_t best = -1ULL;
	unsigned int i, round;

	/* The best of ten, or of more where something else runs on these CPUs. */
	for (round = 0; round < 10 ||
	     (two_pass && best / 1000 >= NR_DEVICES / 2 * FLUSH_US && round < 250);
	     round++) {
		uint64_t began, took;

		for (i = 0; i < NR_DEVICES; i++)
			ASSERT_EQ(0, tlb_write(self->fd[i], self->addr, round));
		began = now_ns();
		ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
		took = now_ns() - began;
		best = took < best ? took : best;
		for (i = 0; i < NR_DEVICES; i++)
			EXPECT_FALSE(tlb_reaches(self->fd[i], self->addr));
	}
	ksft_print_msg("%d devices with a flush of %d us: %llu us, %s\n",
		       NR_DEVICES, FLUSH_US, (unsigned long long)best / 1000,
		       two_pass ? "two passes" : "one pass");
	EXPECT_LE((two_pass ? 1 : NR_DEVICES) * FLUSH_US, best / 1000);
	EXPECT_TRUE(!two_pass || best / 1000 < NR_DEVICES / 2 * FLUSH_US);
}

/* The address space goes. */

FIXTURE(mm_exit)
{
	int fd;
	char *addr;
	char *other;
	size_t size;
	uint64_t live;
	pid_t pid;
};

FIXTURE_VARIANT(mm_exit)
{
	unsigned int flags;
	bool killed;
};

FIXTURE_VARIANT_ADD(mm_exit, cpu_table)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(mm_exit, cpu_table_killed)
{
	.flags = 0,
	.killed = true,
};

FIXTURE_VARIANT_ADD(mm_exit, direct)
{
	.flags = TEST_TLB_DIRECT,
};

FIXTURE_VARIANT_ADD(mm_exit, shadow_killed)
{
	.flags = TEST_TLB_SHADOW | TEST_TLB_YOUNG,
	.killed = true,
};

/* A child with two mirrors and a device at work on them, until it is told. */
static void exit_child(char *addr, char *other, size_t size, int fd,
		       unsigned int flags, int ready, int go)
{
	bool ok = !tlb_open(fd, addr, size, flags) &&
		  !tlb_range(fd, TEST_TLB_IOC_ADD, other, page_size, 0) &&
		  !tlb_run(fd, addr, size, 0, 0, TEST_TLB_ASYNC) &&
		  tlb_await(fd, 100);
	char byte = ok;

	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
		_exit(1);
	_exit(0);
}

FIXTURE_SETUP(mm_exit)
{
	self->size = 1024 * page_size;
	self->addr = map_pages(self->size, page_size);
	self->other = map_pages(page_size, page_size);
	ASSERT_NE(NULL, self->addr);
	ASSERT_NE(NULL, self->other);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	self->live = tlb_stats(self->fd).live;
}

FIXTURE_TEARDOWN(mm_exit)
{
	close(self->fd);
}

TEST_F(mm_exit, stops_the_device)
{
	struct test_tlb_stats stats;
	int ready[2], go[2];
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid)
		exit_child(self->addr, self->other, self->size, self->fd,
			   variant->flags, ready[1], go[0]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(1, byte);
	stats = tlb_stats(self->fd);
	EXPECT_EQ(1, stats.running);
	EXPECT_EQ(0, stats.releases);
	EXPECT_EQ(self->live + 2, stats.live);
	if (variant->killed)
		kill(pid, SIGKILL);
	else
		ASSERT_EQ(1, write(go[1], &byte, 1));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));

	/* What is left of a page request may hold the address space a little. */
	EXPECT_TRUE(eventually(!tlb_stats(self->fd).running));
	stats = tlb_stats(self->fd);
	EXPECT_EQ(-ESRCH, stats.error);
	if (variant->flags & TEST_TLB_SHADOW) {
		EXPECT_TRUE(eventually(!tlb_stats(self->fd).resident));
		stats = tlb_stats(self->fd);
		/* Both mirrors. */
		EXPECT_TRUE(eventually(tlb_stats(self->fd).events[RELEASE] == 2));
		stats = tlb_stats(self->fd);
		EXPECT_EQ(0, stats.extents);
	} else {
		EXPECT_TRUE(eventually(tlb_stats(self->fd).releases == 2));
		stats = tlb_stats(self->fd);
		/* The page tables were there when it was told. */
		EXPECT_LT(0, stats.release_tables);
		EXPECT_TRUE(eventually(!tlb_stats(self->fd).resident));
	}
	EXPECT_EQ(-ESRCH, tlb_run(self->fd, self->addr, page_size, 0, 1, 0));
	EXPECT_EQ(stats.accesses, tlb_stats(self->fd).accesses);
	EXPECT_EQ(-ESRCH, tlb_range(self->fd, TEST_TLB_IOC_ADD,
				    self->addr + self->size, page_size, 0));
	EXPECT_EQ(-ESRCH, tlb_range(self->fd, TEST_TLB_IOC_WATCH, self->addr,
				    page_size, 0));
	EXPECT_NE(0, tlb_range(self->fd, TEST_TLB_IOC_POPULATE, self->addr,
			       page_size, 0));
	EXPECT_EQ(self->live + 2, tlb_stats(self->fd).live);
	EXPECT_EQ(0, tlb_range(self->fd, TEST_TLB_IOC_REMOVE, self->other,
			       page_size, 0));
	EXPECT_EQ(self->live + 1, tlb_stats(self->fd).live);
	close(self->fd);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(self->live, tlb_stats(self->fd).live);
}

/* Nothing that the device has or does keeps an address space, or its memory. */
TEST_F_TIMEOUT(mm_exit, again_and_again, 120)
{
	int ready[2], go[2], fds[16];
	unsigned int i;
	char byte = 0;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	for (i = 0; i < 16; i++) {
		pid_t pid;

		fds[i] = device_open();
		ASSERT_LE(0, fds[i]);
		pid = fork();
		if (!pid)
			exit_child(self->addr, self->other, self->size, fds[i],
				   variant->flags, ready[1], go[0]);
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		ASSERT_EQ(1, byte);
		if (variant->killed)
			kill(pid, SIGKILL);
		else
			ASSERT_EQ(1, write(go[1], &byte, 1));
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	}
	for (i = 0; i < 16; i++) {
		EXPECT_TRUE(eventually(!tlb_stats(fds[i]).running));
		EXPECT_EQ(-ESRCH, tlb_stats(fds[i]).error);
	}
	EXPECT_EQ(self->live + 32, tlb_stats(self->fd).live);
	for (i = 0; i < 16; i++)
		close(fds[i]);
	EXPECT_EQ(self->live, tlb_stats(self->fd).live);
}

/* Pages that only a device uses, and reclaim. */

#define CGROUP		"/sys/fs/cgroup"
#define GROUP		CGROUP "/mmu_mirror_tlb"
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define MIB		_BITUL(20)
#define HOT_MIB		8
#define IDLE_MIB	8
#define LIMIT_MIB	24
/* What the process fills and never looks at again. */
#define STREAM_MIB	1
#define STREAM_MAX	16
#define STREAM_ROUNDS	40
/* Page requests that are enough of a difference. */
#define ENOUGH_REQUESTS	300
#define NO_LIMIT	_BITULL(40)
/* To be reclaimed at once, and how often. */
#define COLD_MIB	8
#define COLD_ROUNDS	3

FIXTURE(young)
{
	unsigned int nr_settings;
	bool swap;
	int hot_fd;
	int idle_fd;
	char *hot;
	char *idle;
};

FIXTURE_VARIANT(young)
{
	const char *lru;
};

FIXTURE_VARIANT_ADD(young, mglru)
{
	.lru = "y",
};

FIXTURE_VARIANT_ADD(young, classic_lru)
{
	.lru = "n",
};

/* Why there is no group with a limit for this process, or NULL. */
static const char *group_enter(unsigned int mib)
{
	write_text(CGROUP "/cgroup.subtree_control", "+memory");
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		return "no control group to be had";
	if (!write_number(GROUP "/memory.max", mib * MIB) ||
	    !write_number(GROUP "/cgroup.procs", getpid()))
		return "no memory controller";
	return NULL;
}

static void group_leave(void)
{
	write_number(CGROUP "/cgroup.procs", getpid());
	rmdir(GROUP);
}

static long group_stat(const char *name)
{
	return read_field(GROUP "/memory.stat", name);
}

FIXTURE_SETUP(young)
{
	const char *missing;

	self->hot_fd = -1;
	self->idle_fd = -1;
	self->nr_settings = nr_settings;
	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	if (!set(LRU_GEN, variant->lru) && variant->lru[0] == 'y')
		SKIP(return, "no multi-generational LRU");
	self->swap = true;
	missing = swap_on(256);
	if (!missing)
		missing = group_enter(LIMIT_MIB);
	if (missing)
		SKIP(return, "%s", missing);
	pin_to_cpu(0);
}

FIXTURE_TEARDOWN(young)
{
	close(self->hot_fd);
	close(self->idle_fd);
	group_leave();
	if (self->swap)
		swap_off();
	restore(self->nr_settings);
}

static size_t resident_pages(const char *addr, size_t size)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t i, n = 0;
	uint64_t entry;

	for (i = 0; i < size / page_size; i++)
		if (pread(fd, &entry, sizeof(entry),
			  ((uintptr_t)addr / page_size + i) * sizeof(entry)) ==
		    sizeof(entry))
			n += entry >> 63;
	close(fd);
	return n;
}

/* Write memory once, and unmap the oldest of what was written. */
static void stream(char **part)
{
	size_t size = STREAM_MIB * MIB;

	if (*part)
		munmap(*part, size);
	*part = map_pages(size, page_size);
	if (*part)
		fill(*part, size, POISON);
}

/*
 * As often as told, or until the device has made so many page requests; of a
 * slow machine, less is enough. If that is to be hot, the device gets the time
 * to be at its pages again in each round: all of them, but for one of 400.
 */
static unsigned int stream_many(int fd, unsigned int rounds, uint64_t requests,
				bool hot)
{
	uint64_t end = now_ns() + PATIENCE_NS;
	char *parts[STREAM_MAX] = { NULL };
	unsigned int i, done = 0;

	while (done < rounds && tlb_stats(fd).faults < requests &&
	       (now_ns() < end || tlb_stats(fd).faults < requests / 4)) {
		if (hot)
			tlb_await(fd, 6 * HOT_MIB * MIB / page_size);
		stream(&parts[done++ % STREAM_MAX]);
	}
	for (i = 0; i < STREAM_MAX; i++)
		if (parts[i])
			munmap(parts[i], STREAM_MIB * MIB);
	return done;
}

struct pressure {
	unsigned int rounds;
	uint64_t requests;
	long refaults;
	size_t hot;
	size_t idle;
	uint64_t asked;
};

/*
 * On one node: a refault on another does not count as one. Whoever touches it,
 * as the device's thread may be anywhere.
 */
static char *map_on_node(size_t size)
{
	char *addr = map_pages(size, page_size);
	unsigned long node = 1;

	syscall(__NR_mbind, addr, size, MPOL_BIND, &node, 8 * sizeof(node), 0);
	fill(addr, size, 1);
	return addr;
}

static int young_device(char **addr, size_t mib, unsigned int flags)
{
	int fd = device_open();

	*addr = map_on_node(mib * MIB);
	if (tlb_open(fd, *addr, mib * MIB, TEST_TLB_SHADOW | flags) ||
	    tlb_range(fd, TEST_TLB_IOC_POPULATE, *addr, mib * MIB, 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A hot and an idle device, while the process fills memory. */
static struct pressure put_under_pressure(struct __test_metadata *_metadata,
					  int *hot_fd, int *idle_fd,
					  unsigned int flags,
					  unsigned int rounds,
					  uint64_t requests)
{
	struct test_tlb_stats was, stats;
	struct pressure p;
	char *hot, *idle;
	uint64_t began;
	long refaults;

	*idle_fd = young_device(&idle, IDLE_MIB, flags);
	*hot_fd = young_device(&hot, HOT_MIB, flags);
	ASSERT_LE(0, *idle_fd);
	ASSERT_LE(0, *hot_fd);
	ASSERT_EQ(0, tlb_run(*hot_fd, hot, HOT_MIB * MIB, 0, 0,
			     TEST_TLB_ASYNC));
	ASSERT_TRUE(tlb_await(*hot_fd, 50000));
	was = tlb_stats(*hot_fd);
	refaults = group_stat("workingset_refault_anon");
	began = now_ns();
	p.rounds = stream_many(*hot_fd, rounds, was.faults + requests,
			       flags & TEST_TLB_YOUNG);
	began = now_ns() - began;
	stats = tlb_stats(*hot_fd);
	p.refaults = group_stat("workingset_refault_anon") - refaults;
	p.requests = stats.faults - was.faults;
	p.asked = stats.young_calls + tlb_stats(*idle_fd).young_calls;
	p.hot = resident_pages(hot, HOT_MIB * MIB);
	p.idle = resident_pages(idle, IDLE_MIB * MIB);
	ksft_print_msg("%s: %zu hot pages resident, %zu idle ones, of %lu each\n",
		       flags & TEST_TLB_YOUNG ? "asked" : "not asked", p.hot,
		       p.idle, HOT_MIB * MIB / page_size);
	ksft_print_msg("  %llu page requests, %ld refaults, %llu accesses\n",
		       (unsigned long long)p.requests, p.refaults,
		       stats.accesses - was.accesses);
	ksft_print_msg("  %u MiB written in %.2f s, %llu questions\n",
		       STREAM_MIB * p.rounds, (double)began / NSEC_PER_SEC,
		       (unsigned long long)p.asked);
	close(*hot_fd);
	close(*idle_fd);
	*hot_fd = -1;
	*idle_fd = -1;
	munmap(hot, HOT_MIB * MIB);
	munmap(idle, IDLE_MIB * MIB);
	return p;
}

TEST_F_TIMEOUT(young, hot_stays, 240)
{
	struct pressure without, with;

	without = put_under_pressure(_metadata, &self->hot_fd, &self->idle_fd,
				     0, STREAM_ROUNDS, ENOUGH_REQUESTS);
	EXPECT_EQ(0, without.asked);
	/* At least one round of reclaim has been over them. */
	if (without.requests < ENOUGH_REQUESTS / 4)
		SKIP(return, "reclaim is too slow here to come round");
	with = put_under_pressure(_metadata, &self->hot_fd, &self->idle_fd,
				  TEST_TLB_YOUNG, without.rounds, NO_LIMIT);
	EXPECT_LT(0, with.asked);
	EXPECT_LE(HOT_MIB * MIB / page_size * 3 / 4, with.hot);
	EXPECT_GT(with.hot, with.idle);
	/*
	 * Page requests are no measure: reclaim may unmap a page first, and ask
	 * then; it is found again before it has gone anywhere.
	 */
	EXPECT_GE(without.refaults * 3 / 4, with.refaults);
}

/*
 * What the question costs reclaim, where the answer is no: the time to reclaim
 * memory of nobody's, of a device, and of one that is asked.
 */
TEST_F_TIMEOUT(young, cost, 120)
{
	static const struct {
		const char *name;
		bool mirrored;
		unsigned int flags;
	} ways[] = {
		{ "not mirrored", false, 0 },
		{ "mirrored", true, 0 },
		{ "mirrored and asked", true, TEST_TLB_YOUNG },
	};
	size_t i, round, size = COLD_MIB * MIB, n = size / page_size;

	if (access(GROUP "/memory.reclaim", W_OK))
		SKIP(return, "no memory.reclaim");
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		double each, best = 0;
		uint64_t asked = 0;

		for (round = 0; round < COLD_ROUNDS; round++) {
			size_t gone;
			char *addr;

			if (ways[i].mirrored)
				self->idle_fd = young_device(&addr, COLD_MIB,
							     ways[i].flags);
			else
				addr = map_on_node(size);
			madvise(addr, size, MADV_COLD);
			each = now_ns();
			write_number(GROUP "/memory.reclaim", size);
			each = now_ns() - each;
			gone = n - resident_pages(addr, size);
			if (ways[i].mirrored) {
				asked += tlb_stats(self->idle_fd).young_calls;
				close(self->idle_fd);
				self->idle_fd = -1;
			}
			munmap(addr, size);
			EXPECT_LT(n / 2, gone);
			each = each / 1000 / (gone ?: 1);
			if (!round || each < best)
				best = each;
		}
		EXPECT_EQ(!!(ways[i].flags & TEST_TLB_YOUNG), !!asked);
		ksft_print_msg("%s: %.1f us for each page reclaimed, %.2f questions\n",
			       ways[i].name, best,
			       (double)asked / (n * COLD_ROUNDS));
	}
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

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	require_device(DEVICE, MODULE, "CONFIG_TEST_MMU_MIRROR_TLB");
	prepare();
	return test_harness_run(argc, argv);
}
