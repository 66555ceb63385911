// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of mm/mmu_range_mirror.c through its test device: for each kind of
 * mirror its errors, its lifetime, and lookups that race with invalidations;
 * and the device itself. What becomes of the memory is in mmu_mirror_memory.c,
 * what an invalidation waits for in mmu_mirror_wait.c.
 *
 * Races are brought about with holds and, where the module has them, at
 * injection points; nothing here sleeps to give somebody else the time for
 * something.
 *
 * Besides the ordinary way, it can be built alone, in a kernel's tree and
 * against any kernel's uapi headers:
 *
 *	cd tools/testing/selftests/mm
 *	gcc -O2 -static -pthread -I../../../.. -o /tmp/test \
 *		mmu_range_mirror.c mmu_mirror_device.c mmu_mirror_region.c \
 *		mmu_mirror_trace.c mmu_mirror_util.c
 *
 * It needs root, and loads test_mmu_range_mirror if it can.
 */
#include "../kselftest_harness.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "mmu_mirror_device.h"
#include "mmu_mirror_harness.h"
#include "mmu_mirror_region.h"
#include "mmu_mirror_trace.h"
#include "mmu_mirror_util.h"

#ifndef __NR_memfd_secret
#define __NR_memfd_secret	447
#endif
#ifndef __NR_process_mrelease
#define __NR_process_mrelease	448
#endif

#define LIST		"/sys/kernel/debug/mmu_range_mirror"

/* Each kind of mirror: its errors, lifetime and races. */

FIXTURE(kind)
{
	struct region r;
	int fd;
	int other;
	int uffd;
	size_t page;	/* one in the middle */
	char *addr;	/* of it */
	struct test_mirror_stats was;
};

FIXTURE_VARIANT(kind)
{
	enum test_mirror_kind kind;
	/* What the OOM reaper is told. */
	int reaped;
};

FIXTURE_VARIANT_ADD(kind, spin)
{
	.kind = TEST_MIRROR_SPIN,
};

FIXTURE_VARIANT_ADD(kind, mutex)
{
	.kind = TEST_MIRROR_MUTEX,
};

FIXTURE_VARIANT_ADD(kind, sleep)
{
	.kind = TEST_MIRROR_SLEEP,
	.reaped = EAGAIN,
};

FIXTURE_VARIANT_ADD(kind, window)
{
	.kind = TEST_MIRROR_WINDOW,
};

FIXTURE_SETUP(kind)
{
	region_map(_metadata, &self->r, ANON);
	write_pages(&self->r, 0, region_pages(&self->r), 1);
	self->page = region_pages(&self->r) / 2;
	self->addr = self->r.addr + self->page * page_size;
	self->fd = device_open();
	self->other = device_open();
	self->uffd = -1;
	ASSERT_LE(0, self->fd);
	ASSERT_LE(0, self->other);
	self->was = mirror_stats(self->fd);
}

FIXTURE_TEARDOWN(kind)
{
	trace_stop();
	close(self->fd);
	close(self->other);
	if (self->uffd >= 0)
		close(self->uffd);
}

static void open_and_look_up(struct __test_metadata *_metadata, int fd,
			     enum test_mirror_kind kind, const struct region *r)
{
	ASSERT_EQ(0, mirror_open(fd, r->addr, r->size, kind,
				 TEST_MIRROR_WRITE));
	ASSERT_TRUE(eventually(!lookup(fd, kind, r->addr, r->size) &&
			       mirror_stats(fd).mapped == region_pages(r)));
}

enum outcome { NEEDED, SPARE, NOT_REACHED, WRONG };

/* Open and look up while the nth allocation fails, and once more. */
static enum outcome open_with_failure(unsigned int nth, const struct region *r,
				      enum test_mirror_kind kind)
{
	int fd = device_open();
	bool failed;
	long ret;

	if (fd < 0 || !fail_nth(nth))
		return WRONG;
	ret = mirror_open(fd, r->addr, r->size, kind, TEST_MIRROR_WRITE);
	if (!ret)
		ret = lookup(fd, kind, r->addr, r->size);
	failed = fail_nth_off();
	if (ret && (!failed || ret != -ENOMEM))
		return WRONG;
	if (ret) {
		long again = mirror_open(fd, r->addr, r->size, kind,
					 TEST_MIRROR_WRITE);

		if ((again && again != -EBUSY) ||
		    !eventually(!lookup(fd, kind, r->addr, r->size)))
			return WRONG;
	}
	close(fd);
	return ret ? NEEDED : failed ? SPARE : NOT_REACHED;
}

/*
 * Each allocation on the way to an established mirror fails once: an errno, and
 * nothing is left. One that somebody can do without makes no difference. In a
 * process of its own each: some are made once for an address space.
 */
TEST_F(kind, allocations_fail)
{
	const char *reason = fail_nth_ready();
	unsigned int count[WRONG + 1] = { };

	if (reason)
		SKIP(return, "%s", reason);
	for (unsigned int nth = 1; nth < 1000 && !count[NOT_REACHED]; nth++) {
		pid_t pid = fork();
		int status;

		ASSERT_LE(0, pid);
		if (!pid)
			_exit(open_with_failure(nth, &self->r, variant->kind));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) <= WRONG);
		count[WEXITSTATUS(status)]++;
		EXPECT_EQ(self->was.live, mirror_stats(self->fd).live);
	}
	EXPECT_EQ(1, count[NOT_REACHED]);
	EXPECT_EQ(0, count[WRONG]);
	EXPECT_LE(2, count[NEEDED]);
	TH_LOG("%u allocations are needed, %u are not", count[NEEDED],
	       count[SPARE]);
}

TEST_F(kind, open_errors)
{
	const char *low = (char *)(256UL << 20);
	const char *kernel = (char *)-(2 * page_size);
	struct test_mirror_open arg = {
		.start = (uintptr_t)self->r.addr,
		.length = self->r.size,
		.kind = variant->kind,
	};
	bool window = variant->kind == TEST_MIRROR_WINDOW;
	unsigned int kind = variant->kind;
	int fd = self->fd;

	EXPECT_EQ(-EINVAL, mirror_open(fd, self->r.addr, 0, kind, 0));
	EXPECT_EQ(-EOVERFLOW, mirror_open(fd, (void *)-page_size, 2 * page_size,
					  kind, 0));
	EXPECT_EQ(-EINVAL, mirror_open(fd, kernel, page_size, kind, 0));
	EXPECT_EQ(-EINVAL, mirror_open(fd, low, kernel - low, kind, 0));
	EXPECT_EQ(-E2BIG, mirror_open(fd, low, (1UL << 30) + page_size, kind,
				      0));
	if (!window) {
		EXPECT_EQ(-EINVAL, mirror_open(fd, self->r.addr + 8, page_size,
					       kind, 0));
		EXPECT_EQ(-EINVAL, mirror_open(fd, self->r.addr, page_size + 8,
					       kind, 0));
	}
	EXPECT_EQ(-EINVAL, mirror_open(fd, self->r.addr, page_size,
				       TEST_MIRROR_NR_KINDS, 0));
	EXPECT_EQ(-EINVAL, mirror_open(fd, self->r.addr, page_size, kind,
				       TEST_MIRROR_WRITE << 1));
	arg.reserved = 1;
	EXPECT_EQ(-EINVAL, device_command(fd, TEST_MIRROR_IOC_OPEN, &arg));
	EXPECT_EQ(-EFAULT, device_command(fd, TEST_MIRROR_IOC_OPEN, (void *)8));
	EXPECT_EQ(-ENOTTY, device_command(fd, _IO('Y', 0x7f), NULL));
	EXPECT_EQ(-ENOTTY,
		  device_command(fd, _IOW('X', 0, struct test_mirror_open),
				 &arg));
	EXPECT_EQ(-ENXIO, mirror_close(fd));
	EXPECT_EQ(self->was.live, mirror_stats(fd).live);

	/* The largest that there may be, mostly a hole. */
	EXPECT_EQ(0, mirror_open(fd, low, 1UL << 30, kind, 0));
	EXPECT_EQ(self->was.live + 1, mirror_stats(fd).live);
	EXPECT_EQ(-EBUSY, mirror_open(fd, self->r.addr, page_size, kind, 0));
	EXPECT_EQ(0, mirror_close(fd));
	EXPECT_EQ(self->was.live, mirror_stats(fd).live);
	EXPECT_EQ(-ENXIO, mirror_close(fd));

	/* Closing the file does as well. */
	EXPECT_EQ(0, mirror_open(fd, self->r.addr, page_size, kind, 0));
	EXPECT_EQ(self->was.live + 1, mirror_stats(self->other).live);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(self->was.live, mirror_stats(self->other).live);
}

TEST_F(kind, command_errors)
{
	struct test_mirror_hold hold = {
		.addr = (uintptr_t)self->addr,
		.time_us = 1,
	};
	struct test_mirror_inject inject = { .point = TEST_MIRROR_NR_POINTS };
	struct test_mirror_range populate = {
		.start = (uintptr_t)self->addr,
		.length = page_size,
		.reserved = 1,
	};
	struct test_mirror_io io = {
		.addr = (uintptr_t)self->addr,
		.data = (uintptr_t)&io,
		.size = 8,
		.reserved = 1,
	};
	bool window = variant->kind == TEST_MIRROR_WINDOW;
	char *end = self->r.addr + self->r.size;
	int fd = self->fd;
	uint64_t value;
	char *big;

	EXPECT_EQ(-ENXIO, mirror_populate(fd, self->addr, page_size));
	EXPECT_EQ(-ENXIO, mirror_fill(fd));
	EXPECT_EQ(-ENXIO, mirror_read(fd, self->addr, &value));
	EXPECT_EQ(-ENXIO, mirror_write(fd, self->addr, 1));
	EXPECT_EQ(-ENXIO, device_command(fd, TEST_MIRROR_IOC_HOLD, &hold));
	open_and_look_up(_metadata, fd, variant->kind, &self->r);

	if (window) {
		EXPECT_EQ(-EOPNOTSUPP, mirror_populate(fd, self->addr,
						       page_size));
	} else {
		EXPECT_EQ(-EOPNOTSUPP, mirror_fill(fd));
		EXPECT_EQ(-EINVAL, mirror_populate(fd, self->addr, 0));
		EXPECT_EQ(-EINVAL, mirror_populate(fd, self->addr + 8,
						   page_size));
		EXPECT_EQ(-EINVAL, mirror_populate(fd, self->addr,
						   page_size + 8));
		EXPECT_EQ(-EINVAL, mirror_populate(fd, end, page_size));
		EXPECT_EQ(-EINVAL, mirror_populate(fd, end - page_size,
						   2 * page_size));
		EXPECT_EQ(-EINVAL, mirror_populate(fd, self->r.addr - page_size,
						   page_size));
		EXPECT_EQ(-EINVAL, mirror_populate(fd, self->addr, -page_size));
		EXPECT_EQ(-EINVAL, device_command(fd, TEST_MIRROR_IOC_POPULATE,
						  &populate));
	}

	EXPECT_EQ(-EINVAL, device_command(fd, TEST_MIRROR_IOC_READ, &io));
	EXPECT_EQ(-EINVAL, mirror_io(fd, TEST_MIRROR_IOC_READ, self->addr,
				     &value, 0));
	EXPECT_EQ(-E2BIG, mirror_io(fd, TEST_MIRROR_IOC_READ, self->addr,
				    &value, TEST_MIRROR_IO_MAX + 1));
	EXPECT_EQ(-EINVAL, mirror_read(fd, end, &value));
	EXPECT_EQ(-EINVAL, mirror_read(fd, end - 4, &value));
	EXPECT_EQ(-EINVAL, mirror_read(fd, self->r.addr - 8, &value));
	EXPECT_EQ(-EINVAL, mirror_read(fd, (void *)-8UL, &value));
	EXPECT_EQ(-EFAULT, mirror_io(fd, TEST_MIRROR_IOC_READ, self->addr,
				     (void *)8, 8));
	EXPECT_EQ(-EFAULT, mirror_io(fd, TEST_MIRROR_IOC_WRITE, self->addr,
				     (void *)8, 8));
	EXPECT_EQ(-EFAULT, device_command(fd, TEST_MIRROR_IOC_STATS, (void *)8));

	hold.flags = TEST_MIRROR_NESTED << 1;
	EXPECT_EQ(-EINVAL, device_command(fd, TEST_MIRROR_IOC_HOLD, &hold));
	hold.flags = TEST_MIRROR_NESTED;
	EXPECT_EQ(window ? 0 : -EINVAL,
		  device_command(fd, TEST_MIRROR_IOC_HOLD, &hold));
	hold.flags = 0;
	hold.time_us = TEST_MIRROR_HOLD_MAX_US + 1;
	EXPECT_EQ(-EINVAL, device_command(fd, TEST_MIRROR_IOC_HOLD, &hold));
	hold.time_us = 1;
	hold.addr += 4;
	EXPECT_EQ(-EINVAL, device_command(fd, TEST_MIRROR_IOC_HOLD, &hold));
	hold.addr = (uintptr_t)end;
	EXPECT_EQ(-EINVAL, device_command(fd, TEST_MIRROR_IOC_HOLD, &hold));
	EXPECT_EQ(self->was.injectable ? -EINVAL : -EOPNOTSUPP,
		  device_command(fd, TEST_MIRROR_IOC_INJECT, &inject));

	/* An access that ends where the mirror has nothing is cut short. */
	big = malloc(4 * page_size);
	ASSERT_EQ(0, munmap(self->addr, page_size));
	EXPECT_EQ(2 * (long)page_size - 8,
		  mirror_io(fd, TEST_MIRROR_IOC_READ,
			    self->addr - 2 * page_size + 8, big,
			    4 * page_size));
	EXPECT_EQ(-ENOENT, mirror_io(fd, TEST_MIRROR_IOC_READ, self->addr, big,
				     4 * page_size));
	EXPECT_EQ(-ENOENT, mirror_io(fd, TEST_MIRROR_IOC_WRITE, self->addr, big,
				     8));
	hold.addr = (uintptr_t)self->addr;
	EXPECT_EQ(-ENOENT, device_command(fd, TEST_MIRROR_IOC_HOLD, &hold));
	free(big);
}

TEST_F(kind, not_mapped)
{
	char *hole = reserve(page_size, page_size);

	ASSERT_EQ(0, munmap(hole, page_size));
	ASSERT_EQ(0, mirror_open(self->fd, hole, page_size, variant->kind, 0));
	EXPECT_EQ(variant->kind == TEST_MIRROR_WINDOW ? 0 : -EFAULT,
		  lookup(self->fd, variant->kind, hole, page_size));
	EXPECT_FALSE(mirror_reaches(self->fd, hole));
}

TEST_F(kind, read_only)
{
	bool window = variant->kind == TEST_MIRROR_WINDOW;
	struct test_mirror_stats stats;
	uint64_t seen = 0;

	/* A mapping that may be read only. */
	ASSERT_EQ(0, mprotect(self->r.addr, self->r.size, PROT_READ));
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 variant->kind, TEST_MIRROR_WRITE));
	EXPECT_EQ(window ? 0 : -EFAULT,
		  lookup(self->fd, variant->kind, self->addr, page_size));
	EXPECT_FALSE(mirror_reaches(self->fd, self->addr));
	ASSERT_EQ(0, mirror_close(self->fd));

	/* A mirror that only reads: nothing is dirtied by it. */
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 variant->kind, 0));
	EXPECT_EQ(0, lookup(self->fd, variant->kind, self->addr, page_size));
	EXPECT_EQ(0, mirror_read(self->fd, self->addr, &seen));
	EXPECT_EQ(token(1, self->page), seen);
	EXPECT_EQ(-EPERM, mirror_write(self->fd, self->addr, 1));
	stats = mirror_stats(self->fd);
	EXPECT_LT(0, stats.installed);
	EXPECT_EQ(0, stats.nr_dirtied);
}

TEST_F(kind, secret)
{
	int fd = syscall(__NR_memfd_secret, O_CLOEXEC);
	char *secret;

	if (fd < 0)
		SKIP(return, "no memfd_secret: %s", strerror(errno));
	ASSERT_EQ(0, ftruncate(fd, page_size));
	secret = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		      0);
	ASSERT_NE(MAP_FAILED, secret);
	user_write(secret, 1);
	ASSERT_EQ(0, mirror_open(self->fd, secret, page_size, variant->kind, 0));
	EXPECT_EQ(variant->kind == TEST_MIRROR_WINDOW ? 0 : -EFAULT,
		  lookup(self->fd, variant->kind, secret, page_size));
	EXPECT_FALSE(mirror_reaches(self->fd, secret));
	close(fd);
}

/* A file on persistent memory, whose pages are a device's. */
#define PMEM		"/dev/pmem0"
#define PMEM_DIR	"/tmp/mmu_mirror_pmem"
#define PMEM_MKFS	"mkfs.ext4 -q -F -b 4096 " PMEM " >/dev/null 2>&1"
#define PMEM_MOUNT	"mount -t ext4 -o dax " PMEM " " PMEM_DIR " >/dev/null 2>&1"

/* Why there is none, or NULL. */
static const char *pmem_mount(void)
{
	system("modprobe -a nd_e820 nd_pmem ext4 >/dev/null 2>&1");
	if (access("/sys/bus/nd", F_OK) || !eventually(!access(PMEM, F_OK)))
		return "no persistent memory, see memmap=nn!ss";
	mkdir(PMEM_DIR, 0700);
	if (system(PMEM_MKFS) || system(PMEM_MOUNT))
		return "no ext4 with DAX";
	return NULL;
}

TEST_F(kind, device_memory)
{
	bool window = variant->kind == TEST_MIRROR_WINDOW;
	const char *missing = pmem_mount();
	char *addr;
	int fd;

	if (missing)
		SKIP(return, "%s", missing);
	fd = open(PMEM_DIR "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	EXPECT_LE(0, fd);
	EXPECT_EQ(0, ftruncate(fd, page_size));
	addr = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT_NE(MAP_FAILED, addr);
	user_write(addr, 1);
	EXPECT_EQ(0, mirror_open(self->fd, addr, page_size, variant->kind,
				 TEST_MIRROR_WRITE));
	/* A table takes what GUP finds; the direct map is no way to it. */
	EXPECT_EQ(0, lookup(self->fd, variant->kind, addr, page_size));
	EXPECT_EQ(!window, mirror_reaches(self->fd, addr));
	mirror_close(self->fd);
	munmap(addr, page_size);
	close(fd);
	EXPECT_EQ(0, umount(PMEM_DIR));
	rmdir(PMEM_DIR);
}

TEST_F(kind, tagged)
{
	uintptr_t tag = tag_addresses();
	char *tagged = (char *)((uintptr_t)self->addr | tag);

	if (!tag)
		SKIP(return, "the CPU takes no tagged addresses");
	/* The tag is ignored by the CPU, and must not be by us. */
	ASSERT_EQ(token(1, self->page), user_read(tagged));
	EXPECT_EQ(-EINVAL, mirror_open(self->fd, tagged, page_size,
				       variant->kind, 0));
	EXPECT_EQ(self->was.live, mirror_stats(self->fd).live);
}

TEST_F(kind, unaligned)
{
	uint64_t seen = 0;

	if (variant->kind != TEST_MIRROR_WINDOW) {
		EXPECT_EQ(-EINVAL, mirror_open(self->fd, self->addr + 8,
					       2 * page_size, variant->kind,
					       0));
		return;
	}
	ASSERT_EQ(0, mirror_open(self->fd, self->addr + 8, page_size,
				 variant->kind, TEST_MIRROR_WRITE));
	ASSERT_EQ(0, mirror_fill(self->fd));
	EXPECT_EQ(2, mirror_stats(self->fd).mapped);
	EXPECT_EQ(-EINVAL, mirror_read(self->fd, self->addr, &seen));
	EXPECT_EQ(-EINVAL, mirror_read(self->fd, self->addr + page_size + 8,
				       &seen));
	EXPECT_EQ(0, mirror_read(self->fd, self->addr + page_size, &seen));
	EXPECT_EQ(token(1, self->page + 1), seen);
	/* Across the boundary: two accesses of the device's. */
	EXPECT_EQ(0, mirror_write(self->fd, self->addr + page_size - 4,
				  0x1122334455667788));
	/* Nor do all CPUs have it as one. */
	memcpy(&seen, self->addr + page_size - 4, sizeof(seen));
	EXPECT_EQ(0x1122334455667788, seen);
}

TEST_F(kind, other_process)
{
	bool window = variant->kind == TEST_MIRROR_WINDOW;
	uint64_t seen;
	int status;
	pid_t pid;

	open_and_look_up(_metadata, self->fd, variant->kind, &self->r);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* Its own pages must not get into the parent's mirror. */
		user_write(self->addr, token(2, self->page));
		if (mirror_populate(self->fd, self->addr, page_size) !=
		    (window ? -EOPNOTSUPP : -EINVAL))
			_exit(1);
		if (mirror_open(self->fd, self->addr, page_size, variant->kind,
				0) != -EBUSY)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	user_write(self->addr, token(3, self->page));
	ASSERT_EQ(0, lookup(self->fd, variant->kind, self->addr, page_size));
	ASSERT_EQ(0, mirror_read(self->fd, self->addr, &seen));
	EXPECT_EQ(token(3, self->page), seen);
}

TEST_F(kind, exit)
{
	struct test_mirror_stats stats;
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		write_pages(&self->r, 0, region_pages(&self->r), 2);
		if (mirror_open(self->fd, self->r.addr, self->r.size,
				variant->kind, TEST_MIRROR_WRITE) ||
		    lookup(self->fd, variant->kind, self->r.addr,
			   self->r.size) ||
		    mirror_stats(self->fd).mapped != region_pages(&self->r))
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	/* The file is still open here, and its mirror there. */
	stats = mirror_stats(self->fd);
	EXPECT_EQ(1, stats.drops[TEST_MIRROR_RELEASE]);
	EXPECT_EQ(region_pages(&self->r), stats.dropped_pages);
	EXPECT_EQ(0, stats.mapped);
	EXPECT_EQ(stats.installed, stats.nr_dirtied);
	EXPECT_EQ(0, mirror_close(self->fd));
	EXPECT_EQ(self->was.live, mirror_stats(self->fd).live);
}

static struct job lookup_job(int fd, enum test_mirror_kind kind, char *addr)
{
	return (struct job) {
		.run = kind == TEST_MIRROR_WINDOW ? job_fill : job_populate,
		.fd = fd,
		.cpu = -1,
		.addr = addr,
		.length = page_size,
	};
}

/* The page is replaced after a lookup has found it. */
static void lookup_race(struct __test_metadata *_metadata, int fd,
			const struct region *r, size_t page,
			enum test_mirror_kind kind,
			enum test_mirror_point point)
{
	char *addr = page_at(r, page);
	struct job job = lookup_job(fd, kind, addr);
	uint64_t seen = 0;

	if (!device_injectable(fd))
		SKIP(return, "the module has no injection points");
	ASSERT_EQ(0, mirror_open(fd, addr, page_size, kind,
				 TEST_MIRROR_WRITE));
	ASSERT_EQ(0, mirror_stop_at(fd, point, 1));
	job_start(_metadata, &job);
	ASSERT_TRUE(eventually(mirror_stopped(fd, point)));
	ASSERT_EQ(0, madvise(addr, page_size, MADV_DONTNEED));
	write_pages(r, page, 1, 2);
	mirror_release(fd);
	EXPECT_EQ(0, job_wait(_metadata, &job));
	EXPECT_EQ(0, mirror_read(fd, addr, &seen));
	EXPECT_EQ(token(2, page), seen);
	/* What was found in vain was not dirtied. */
	EXPECT_EQ(1, mirror_stats(fd).installed);
	EXPECT_EQ(1, mirror_stats(fd).nr_dirtied);
	EXPECT_EQ(1, mirror_stats(fd).points[point]);
	EXPECT_EQ(kind == TEST_MIRROR_WINDOW, mirror_stats(fd).collisions);
}

TEST_F(kind, race_looked_up)
{
	lookup_race(_metadata, self->fd, &self->r, self->page, variant->kind,
		    TEST_MIRROR_LOOKED_UP);
}

TEST_F(kind, race_begun)
{
	lookup_race(_metadata, self->fd, &self->r, self->page, variant->kind,
		    TEST_MIRROR_BEGUN);
}

/* A lookup slips in before the invalidation has got to this mirror. */
TEST_F(kind, race_notified)
{
	struct job discard = {
		.run = job_discard,
		.cpu = -1,
		.addr = self->addr,
		.length = page_size,
	};

	if (!device_injectable(self->fd))
		SKIP(return, "the module has no injection points");
	ASSERT_EQ(0, mirror_open(self->fd, self->addr, page_size, variant->kind,
				 TEST_MIRROR_WRITE));
	ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_NOTIFIED, 1));
	job_start(_metadata, &discard);
	ASSERT_TRUE(eventually(mirror_stopped(self->fd, TEST_MIRROR_NOTIFIED)));
	EXPECT_EQ(0, lookup(self->fd, variant->kind, self->addr, page_size));
	mirror_release(self->fd);
	EXPECT_EQ(0, job_wait(_metadata, &discard));
	EXPECT_FALSE(mirror_reaches(self->fd, self->addr));
	EXPECT_EQ(0, user_read(self->addr));
}

/* From the drop to the end of the invalidation, lookups have to wait. */
TEST_F(kind, race_dropped)
{
	struct job job = lookup_job(self->fd, variant->kind, self->addr);
	struct job discard = {
		.run = job_discard,
		.cpu = -1,
		.addr = self->addr,
		.length = page_size,
	};
	uint64_t seen = 1;

	if (!device_injectable(self->fd))
		SKIP(return, "the module has no injection points");
	ASSERT_EQ(0, mirror_open(self->fd, self->addr, page_size, variant->kind,
				 TEST_MIRROR_WRITE));
	ASSERT_EQ(0, lookup(self->fd, variant->kind, self->addr, page_size));
	ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_DROPPED, 1));
	ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_BEGUN, 1));
	job_prepare(_metadata, &job);
	job_start(_metadata, &discard);
	ASSERT_TRUE(eventually(mirror_stopped(self->fd, TEST_MIRROR_DROPPED)));
	job_go(&job);
	/* Somebody else's invalidation starts and ends meanwhile. */
	ASSERT_EQ(0, madvise(self->r.addr, page_size, MADV_DONTNEED));
	EXPECT_EQ(0, mirror_stats(self->fd).points[TEST_MIRROR_BEGUN]);
	EXPECT_FALSE(mirror_reaches(self->fd, self->addr));
	EXPECT_FALSE(atomic_load(&discard.done));
	EXPECT_EQ(0, mirror_release(self->fd));
	/* Not before, or it would be stopped no more. */
	ASSERT_TRUE(eventually(mirror_stopped(self->fd, TEST_MIRROR_BEGUN)));
	EXPECT_EQ(0, job_wait(_metadata, &discard));
	user_write(self->addr, 2);
	EXPECT_EQ(0, mirror_release(self->fd));
	EXPECT_EQ(0, job_wait(_metadata, &job));
	EXPECT_EQ(0, mirror_read(self->fd, self->addr, &seen));
	EXPECT_EQ(2, seen);
}

/* An invalidation in every lookup: it gives up some time. */
TEST_F(kind, retries_are_bounded)
{
	struct job job = lookup_job(self->fd, variant->kind, self->addr);
	bool traced = !trace_start("mmu_range_mirror");
	unsigned int rounds = 0;

	if (!device_injectable(self->fd))
		SKIP(return, "the module has no injection points");
	ASSERT_EQ(0, mirror_open(self->fd, self->addr, page_size, variant->kind,
				 TEST_MIRROR_WRITE));
	ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_LOOKED_UP, 1000));
	job_start(_metadata, &job);
	while (rounds < 100) {
		ASSERT_TRUE(eventually(atomic_load(&job.done) ||
				       mirror_stopped(self->fd,
						      TEST_MIRROR_LOOKED_UP)));
		if (atomic_load(&job.done))
			break;
		rounds++;
		ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
		write_pages(&self->r, self->page, 1, 2);
		mirror_release(self->fd);
		ASSERT_TRUE(eventually(!mirror_stopped(self->fd,
						       TEST_MIRROR_LOOKED_UP) ||
				       mirror_stats(self->fd).points
				       [TEST_MIRROR_LOOKED_UP] > rounds));
	}
	mirror_stop_at(self->fd, TEST_MIRROR_LOOKED_UP, 0);
	mirror_release(self->fd);
	EXPECT_EQ(variant->kind == TEST_MIRROR_WINDOW ? 0 : -EAGAIN,
		  job_wait(_metadata, &job));
	EXPECT_LT(1, rounds);
	EXPECT_GT(64, rounds);
	if (traced) {
		EXPECT_EQ(rounds, trace_count("mmu_mirror_collision",
					      "start=0x%lx npages=1",
					      (unsigned long)self->addr));
		EXPECT_EQ(1, trace_count("mmu_mirror_collision",
					 "tries=%u given_up=1", rounds));
		EXPECT_EQ(1, trace_count("mmu_mirror_collision",
					 "tries=1 given_up=0"));
		EXPECT_EQ(0, trace_count("mmu_mirror_populate", "npages=1"));
	}
	EXPECT_EQ(0, mirror_stats(self->fd).nr_dirtied);
	EXPECT_FALSE(mirror_reaches(self->fd, self->addr));
	/* And the next one finds it. */
	EXPECT_TRUE(eventually(!lookup(self->fd, variant->kind, self->addr,
				       page_size) &&
			       mirror_reaches(self->fd, self->addr)));
}

/*
 * Mirrors go and come while an invalidation is open that hits one of them, and
 * another mirror of the mm.
 */
TEST_F(kind, remove_between)
{
	unsigned int kind = variant->kind;
	size_t npages = region_pages(&self->r);
	int bystander = device_open();
	int late = device_open();
	uint64_t value;
	struct job discard = {
		.run = job_discard,
		.cpu = -1,
		.addr = self->r.addr,
		.length = self->r.size / 2,
	};
	struct job closes[2] = {
		{ .run = job_close, .fd = self->other, .cpu = -1 },
		{ .run = job_close, .fd = bystander, .cpu = -1 },
	};
	char *elsewhere = self->r.addr + self->r.size - page_size;

	if (!device_injectable(self->fd))
		SKIP(return, "the module has no injection points");
	ASSERT_LE(0, bystander);
	ASSERT_LE(0, late);
	open_and_look_up(_metadata, self->fd, kind, &self->r);
	open_and_look_up(_metadata, self->other, kind, &self->r);
	ASSERT_EQ(0, mirror_open(bystander, elsewhere, page_size, kind, 0));
	ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_DROPPED, 1));
	job_prepare(_metadata, &closes[0]);
	job_prepare(_metadata, &closes[1]);
	job_start(_metadata, &discard);
	ASSERT_TRUE(eventually(mirror_stopped(self->fd, TEST_MIRROR_DROPPED)));
	job_go(&closes[0]);
	job_go(&closes[1]);
	ASSERT_TRUE(eventually(mirror_read(self->other, self->addr, &value) ==
			       -ENXIO));
	ASSERT_TRUE(eventually(mirror_read(bystander, elsewhere, &value) ==
			       -ENXIO));
	EXPECT_EQ(0, mirror_open(late, self->r.addr, self->r.size, kind,
				 TEST_MIRROR_WRITE));
	EXPECT_FALSE(atomic_load(&discard.done));
	mirror_release(self->fd);
	EXPECT_EQ(0, job_wait(_metadata, &discard));
	EXPECT_EQ(0, job_wait(_metadata, &closes[0]));
	EXPECT_EQ(0, job_wait(_metadata, &closes[1]));

	/* Nothing is left open, so lookups and removals do not hang. */
	write_pages(&self->r, 0, npages, 2);
	EXPECT_TRUE(eventually(!lookup(late, kind, self->r.addr,
				       self->r.size) &&
			       mirror_stats(late).mapped == npages));
	ASSERT_EQ(0, madvise(self->r.addr, self->r.size, MADV_DONTNEED));
	EXPECT_EQ(0, mirror_stats(late).mapped);
	EXPECT_EQ(0, mirror_stats(self->fd).mapped);
	EXPECT_EQ(0, mirror_close(self->fd));
	write_pages(&self->r, 0, npages, 3);
	open_and_look_up(_metadata, self->other, kind, &self->r);
	EXPECT_EQ(0, close(late));
	EXPECT_EQ(0, close(bystander));
	EXPECT_EQ(0, mirror_close(self->other));
	EXPECT_EQ(self->was.live, mirror_stats(self->fd).live);
}

static long job_touch(struct job *job)
{
	return user_read(job->addr);
}

/* Somebody sits in a fault of a mirrored page; invalidations do not care. */
TEST_F(kind, userfault)
{
	bool window = variant->kind == TEST_MIRROR_WINDOW;
	struct job fault = lookup_job(self->fd, variant->kind, self->addr);
	struct job discards[3] = {
		{ .run = job_discard, .addr = self->addr },
		{ .run = job_discard, .addr = self->r.addr },
		{ .run = job_munmap, .addr = self->r.addr + page_size },
	};
	int i, refused = 0;

	self->uffd = userfault_open(0);
	if (self->uffd < 0)
		SKIP(return, "no userfaultfd");
	open_and_look_up(_metadata, self->fd, variant->kind, &self->r);
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	ASSERT_EQ(0, userfault_register(self->uffd, self->addr, page_size,
					UFFDIO_REGISTER_MODE_MISSING));
	if (window)
		fault.run = job_touch;
	job_start(_metadata, &fault);
	ASSERT_EQ((uintptr_t)self->addr,
		  userfault_wait(self->uffd) & ~(page_size - 1));
	EXPECT_EQ(window ? 0 : -EOPNOTSUPP, mirror_fill(self->fd));
	for (i = 0; i < ARRAY_SIZE(discards); i++) {
		discards[i].cpu = -1;
		discards[i].length = page_size;
		job_start(_metadata, &discards[i]);
		EXPECT_TRUE(eventually(atomic_load(&discards[i].done)));
	}
	EXPECT_FALSE(atomic_load(&fault.done));
	EXPECT_FALSE(mirror_reaches(self->fd, self->r.addr));
	EXPECT_FALSE(mirror_reaches(self->fd, self->r.addr + page_size));
	ASSERT_EQ(0, userfault_zero(self->uffd, self->addr));
	EXPECT_EQ(0, job_wait(_metadata, &fault));
	for (i = 0; i < ARRAY_SIZE(discards); i++)
		refused += job_wait(_metadata, &discards[i]) != 0;
	EXPECT_EQ(0, refused);
}

/* A worker finds the pages, without an address space of its own. */
TEST_F(kind, lookup_by_a_worker)
{
	size_t i, npages = region_pages(&self->r);
	struct test_mirror_stats stats;
	uint64_t value;

	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 variant->kind, TEST_MIRROR_WRITE));
	if (variant->kind == TEST_MIRROR_WINDOW) {
		EXPECT_EQ(-EOPNOTSUPP, mirror_lookup(self->fd, self->r.addr,
						     page_size, 0, NULL));
		return;
	}
	/* One that is not there, and is not asked for. */
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	ASSERT_EQ(npages, mirror_lookup(self->fd, self->r.addr, self->r.size,
					TEST_MIRROR_WRITABLE, NULL));
	EXPECT_EQ(npages - 1, mirror_stats(self->fd).nr_dirtied);
	EXPECT_FALSE(mirror_reaches(self->fd, self->addr));
	EXPECT_FALSE(page_bits(self->addr) & PAGEMAP_PRESENT);
	ASSERT_EQ(npages, mirror_lookup(self->fd, self->r.addr, self->r.size,
					TEST_MIRROR_FOR_WRITING, NULL));
	stats = mirror_stats(self->fd);
	EXPECT_EQ(npages, stats.mapped);
	EXPECT_EQ(2 * npages - 1, stats.nr_dirtied);
	ASSERT_EQ(0, mirror_write(self->fd, self->addr, 7));
	EXPECT_EQ(7, page_read(&self->r, self->page));
	/* Nothing can be written there, and then nothing is there. */
	ASSERT_EQ(0, mprotect(self->addr, page_size, PROT_READ));
	EXPECT_EQ(-EPERM, mirror_lookup(self->fd, self->r.addr, self->r.size,
					TEST_MIRROR_FOR_WRITING, NULL));
	ASSERT_EQ(npages, mirror_lookup(self->fd, self->r.addr, self->r.size,
					TEST_MIRROR_FOR_WRITING |
					TEST_MIRROR_OR_READ, NULL));
	EXPECT_FALSE(mirror_reaches(self->fd, self->addr));
	ASSERT_EQ(0, munmap(self->addr, page_size));
	EXPECT_EQ(-EFAULT, mirror_lookup(self->fd, self->r.addr, self->r.size,
					 TEST_MIRROR_FAULT, NULL));
	for (i = 0; i < self->page; i++)
		EXPECT_EQ(0, mirror_read(self->fd, page_at(&self->r, i), &value));
}

/* A lookup that waits for an answer, and gets one. */
TEST_F(kind, lookup_waits_for_userfault)
{
	struct job lookup = {
		.run = job_look_up, .fd = self->fd, .addr = self->addr,
		.length = page_size, .cpu = -1,
	};

	self->uffd = userfault_open(0);
	if (self->uffd < 0)
		SKIP(return, "no userfaultfd");
	if (variant->kind == TEST_MIRROR_WINDOW)
		return;
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 variant->kind, TEST_MIRROR_WRITE));
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	ASSERT_EQ(0, userfault_register(self->uffd, self->addr, page_size,
					UFFDIO_REGISTER_MODE_MISSING));
	job_start(_metadata, &lookup);
	ASSERT_EQ((uintptr_t)self->addr,
		  userfault_wait(self->uffd) & ~(page_size - 1));
	/* Nor is an invalidation kept by it. */
	ASSERT_EQ(0, madvise(self->r.addr, page_size, MADV_DONTNEED));
	EXPECT_FALSE(atomic_load(&lookup.done));
	ASSERT_EQ(0, userfault_zero(self->uffd, self->addr));
	EXPECT_EQ(1, job_wait(_metadata, &lookup));
	EXPECT_TRUE(mirror_reaches(self->fd, self->addr));
}

struct doomed {
	int fd;
	struct region *r;
};

static void *doomed_lookup(void *arg)
{
	struct doomed *doomed = arg;

	mirror_lookup(doomed->fd, doomed->r->addr, doomed->r->size,
		      TEST_MIRROR_FOR_WRITING, NULL);
	_exit(2);
}

/* Return only if a lookup cannot be made to wait for this process. */
static void be_waited_for(struct region *r, enum test_mirror_kind kind, int told)
{
	int uffd = userfault_open(0);
	struct doomed doomed = { .fd = device_open(), .r = r };
	pthread_t thread;

	if (uffd < 0)
		_exit(KSFT_SKIP);
	if (doomed.fd < 0 || madvise(r->addr, r->size, MADV_DONTNEED) ||
	    userfault_register(uffd, r->addr, r->size,
			       UFFDIO_REGISTER_MODE_MISSING) ||
	    mirror_open(doomed.fd, r->addr, r->size, kind, TEST_MIRROR_WRITE) ||
	    pthread_create(&thread, NULL, doomed_lookup, &doomed) ||
	    !userfault_wait(uffd) || write(told, "", 1) != 1)
		return;
	for (;;)
		pause();
}

/*
 * The one who should answer the fault is killed while a worker of the device's
 * waits for the answer, and the device for the worker: the lookup is given up.
 */
TEST_F(kind, lookup_dies_with_its_process)
{
	int status, told[2];
	pid_t pid;
	char byte;

	if (variant->kind == TEST_MIRROR_WINDOW)
		return;
	ASSERT_EQ(0, pipe(told));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		be_waited_for(&self->r, variant->kind, told[1]);
		_exit(1);
	}
	close(told[1]);
	if (read(told[0], &byte, 1) != 1) {
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(KSFT_SKIP << 8, status);
		SKIP(return, "no userfaultfd");
	}
	close(told[0]);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_TRUE(eventually(waitpid(pid, &status, WNOHANG) == pid));
	EXPECT_EQ(SIGKILL, status);
}

/*
 * The child is killed while it stands in the kernel, and its memory taken from
 * it: the reaper's way of invalidating, which must not block.
 */
static void reap_victim(struct __test_metadata *_metadata, struct region *r,
			int fd, int stop, enum test_mirror_kind kind, int error)
{
	size_t npages = region_pages(r);
	int status, pidfd, ret;
	void *page;
	pid_t pid;

	if (!device_injectable(fd))
		SKIP(return, "the module has no injection points");
	page = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		write_pages(r, 0, npages, 2);
		if (mirror_open(fd, r->addr, r->size, kind,
				TEST_MIRROR_WRITE) ||
		    lookup(fd, kind, r->addr, r->size) ||
		    mirror_open(stop, page, page_size, TEST_MIRROR_SPIN, 0) ||
		    mirror_stop_at(stop, TEST_MIRROR_BEGUN, 1))
			_exit(1);
		mirror_populate(stop, page, page_size);
		_exit(2);
	}
	ASSERT_TRUE(eventually(mirror_stopped(stop, TEST_MIRROR_BEGUN)));
	EXPECT_EQ(npages, mirror_stats(fd).mapped);
	pidfd = syscall(__NR_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ret = syscall(__NR_process_mrelease, pidfd, 0);
	EXPECT_EQ(error, ret ? errno : 0);
	/* It has not exited: that was the reaper. */
	EXPECT_TRUE(mirror_stopped(stop, TEST_MIRROR_BEGUN));
	if (!error && !r->shared) {
		EXPECT_EQ(0, mirror_stats(fd).mapped);
		EXPECT_LT(0, mirror_stats(fd).drops[TEST_MIRROR_UNMAP] +
			     mirror_stats(fd).drops[TEST_MIRROR_CLEAR]);
	} else {
		EXPECT_EQ(npages, mirror_stats(fd).mapped);
	}
	mirror_release(stop);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGKILL, status);
	EXPECT_EQ(0, mirror_stats(fd).mapped);
	EXPECT_EQ(0, mirror_close(fd));
	EXPECT_EQ(0, mirror_close(stop));
	close(pidfd);
}

TEST_F(kind, oom_reaper)
{
	bool traced = !trace_start("mmu_range_mirror");

	reap_victim(_metadata, &self->r, self->fd, self->other, variant->kind,
		    variant->reaped);
	if (traced && device_injectable(self->fd)) {
		EXPECT_EQ(!variant->reaped,
			  !trace_count("mmu_mirror_invalidate",
				       "blockable=0 refused=1"));
		EXPECT_EQ(!!variant->reaped,
			  !trace_count("mmu_mirror_invalidate",
				       "blockable=0 refused=0"));
	}
}

static unsigned int traced_dirty(const struct region *r, size_t first, size_t n)
{
	unsigned int dirty = 0;

	for (size_t i = first; i < first + n; i++) {
		uint64_t pfn = page_bits(page_at(r, i)) & PAGEMAP_PFN;

		dirty += trace_count("mmu_mirror_dirty",
				     "pfn=0x%llx npages=1",
				     (unsigned long long)pfn);
	}
	return dirty;
}

/* From the first to the last event of a mirror, each with what it is about. */
TEST_F(kind, is_traced)
{
	const char *reason = trace_start("mmu_range_mirror");
	bool waits = variant->kind == TEST_MIRROR_SLEEP ||
		     variant->kind == TEST_MIRROR_WINDOW;
	unsigned long start = (uintptr_t)self->addr;
	unsigned long end = start + 4 * page_size;
	unsigned long hole = start + page_size;

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(0, mirror_open(self->fd, self->addr, 4 * page_size,
				 variant->kind, TEST_MIRROR_WRITE));
	EXPECT_EQ(1, trace_count("mmu_mirror_insert",
				 "start=0x%lx end=0x%lx dirtied=0", start,
				 end));
	if (trace_count("mmu_mirror_insert", "pid=0")) {
		TH_LOG("the kernel does not know whose memory it is");
	} else {
		EXPECT_EQ(1, trace_count("mmu_mirror_insert", "pid=%d",
					 getpid()));
	}
	EXPECT_EQ(0, trace_count("mmu_mirror_populate", ""));

	ASSERT_EQ(0, lookup(self->fd, variant->kind, self->addr,
			    4 * page_size));
	EXPECT_EQ(1, trace_count("mmu_mirror_populate",
				 "start=0x%lx npages=4 write=1 ret=0", start));
	EXPECT_EQ(4, trace_count("mmu_mirror_dirty", ""));
	EXPECT_EQ(4, traced_dirty(&self->r, self->page, 4));
	EXPECT_EQ(0, trace_count("mmu_mirror_invalidate", ""));

	ASSERT_EQ(0, madvise((void *)hole, page_size, MADV_DONTNEED));
	EXPECT_EQ(1, trace_count("mmu_mirror_invalidate",
				 "event=clear start=0x%lx end=0x%lx blockable=1 refused=0",
				 hole, hole + page_size));
	EXPECT_EQ(waits, trace_count("mmu_mirror_wait",
				     "event=clear start=0x%lx end=0x%lx", hole,
				     hole + page_size));
	EXPECT_EQ(waits, !!trace_sum("mmu_mirror_wait", "ns"));
	EXPECT_EQ(0, trace_count("mmu_mirror_collision", ""));

	/* Some more, of which nobody is told. */
	trace_pause();
	ASSERT_EQ(0, madvise((void *)hole, page_size, MADV_DONTNEED));
	EXPECT_EQ(1, trace_count("mmu_mirror_invalidate", ""));
	EXPECT_EQ(0, trace_count("mmu_mirror_remove", ""));
	trace_stop();

	ASSERT_EQ(NULL, trace_start("mmu_range_mirror"));
	EXPECT_EQ(0, mirror_close(self->fd));
	/* A window's notifier goes in the background. */
	EXPECT_TRUE(eventually(trace_count("mmu_mirror_remove",
					   "start=0x%lx end=0x%lx dirtied=4",
					   start, end) == 1));
}

/* A line of the list of mirrors that has all of the words. */
static bool listed(const char *words, ...)
{
	char wanted[256], text[1024];
	FILE *file = fopen(LIST, "r");
	bool found = false;
	va_list ap;

	va_start(ap, words);
	vsnprintf(wanted, sizeof(wanted), words, ap);
	va_end(ap);
	while (file && !found && fgets(text, sizeof(text), file))
		found = strstr(text, wanted);
	if (file)
		fclose(file);
	return found;
}

TEST_F(kind, is_listed)
{
	bool window = variant->kind == TEST_MIRROR_WINDOW;
	unsigned long start = (uintptr_t)self->addr;
	struct test_mirror_stats stats;
	char range[96];

	if (access(LIST, R_OK))
		SKIP(return, "the kernel does not list mirrors");
	snprintf(range, sizeof(range), "start=0x%lx end=0x%lx", start,
		 start + 4 * page_size);
	EXPECT_FALSE(listed("%s", range));
	ASSERT_EQ(0, mirror_open(self->fd, self->addr, 4 * page_size,
				 variant->kind, TEST_MIRROR_WRITE));
	EXPECT_TRUE(listed(" kind=%s %s dirtied=0 ",
			   window ? "window" : "mirror", range));
	EXPECT_TRUE(listed(" pid=%d ", getpid()) || listed(" pid=0 "));
	ASSERT_EQ(0, lookup(self->fd, variant->kind, self->addr,
			    4 * page_size));
	EXPECT_TRUE(listed(" %s dirtied=4 ", range));
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	stats = mirror_stats(self->fd);
	if (window) {
		EXPECT_TRUE(listed("%s dirtied=4 mapped=3 fills=%llu ",
				   range, stats.fills));
		EXPECT_TRUE(listed(" collisions=%llu installed=4 domain=",
				   stats.collisions));
		EXPECT_TRUE(listed(" waits=%llu interrupts=%llu driver=",
				   stats.nr_waits, stats.nr_interrupts));
	}
	EXPECT_EQ(0, mirror_close(self->fd));
	/* The notifier of a window goes a moment later. */
	EXPECT_TRUE(eventually(!listed("%s", range)));
}

/* Nor does a mirror that has to sleep object to what does not concern it. */
TEST_F(kind, oom_reaper_elsewhere)
{
	struct region file;

	region_map(_metadata, &file, MEMFD);
	reap_victim(_metadata, &file, self->fd, self->other, variant->kind, 0);
	close(file.fd);
}

/*
 * An invalidation elsewhere in the mm is open: fills must wait for its end,
 * readers and those who ask for fills must not.
 */
TEST_F(kind, readers_go_on)
{
	char *elsewhere = self->r.addr;
	struct job discard = {
		.run = job_discard,
		.cpu = -1,
		.addr = elsewhere,
		.length = page_size,
	};
	uint64_t seen = 0;

	if (!device_injectable(self->fd))
		SKIP(return, "the module has no injection points");
	ASSERT_EQ(0, mirror_open(self->fd, self->addr, 2 * page_size,
				 variant->kind, TEST_MIRROR_WRITE));
	ASSERT_EQ(0, lookup(self->fd, variant->kind, self->addr,
			    2 * page_size));
	ASSERT_EQ(0, mirror_open(self->other, elsewhere, page_size,
				 TEST_MIRROR_SPIN, 0));
	ASSERT_EQ(0, mirror_stop_at(self->other, TEST_MIRROR_DROPPED, 1));
	job_start(_metadata, &discard);
	ASSERT_TRUE(eventually(mirror_stopped(self->other,
					      TEST_MIRROR_DROPPED)));
	/* Hits this mirror, which cannot be filled again until both end. */
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	write_pages(&self->r, self->page, 1, 2);
	EXPECT_EQ(-ENOENT, mirror_read(self->fd, self->addr, &seen));
	EXPECT_EQ(0, mirror_read(self->fd, self->addr + page_size, &seen));
	EXPECT_EQ(token(1, self->page + 1), seen);
	EXPECT_EQ(variant->kind == TEST_MIRROR_WINDOW ? 0 : -EOPNOTSUPP,
		  device_command(self->fd, TEST_MIRROR_IOC_PREFETCH, NULL));
	EXPECT_EQ(-ENOENT, mirror_read(self->fd, self->addr, &seen));
	EXPECT_TRUE(mirror_stopped(self->other, TEST_MIRROR_DROPPED));
	mirror_release(self->other);
	EXPECT_EQ(0, job_wait(_metadata, &discard));
	EXPECT_EQ(0, lookup(self->fd, variant->kind, self->addr, page_size));
	EXPECT_EQ(0, mirror_read(self->fd, self->addr, &seen));
	EXPECT_EQ(token(2, self->page), seen);
}

/* A page that is replaced all the time, and who replaces it. */
struct juggler {
	struct job job;
	int fd;
	atomic_uint turn;	/* odd while the page is being replaced */
	atomic_uint seen;	/* reads that met it in between */
	atomic_bool stop;
};

/* Every other turn a reader gets the time to see the page. */
static bool juggle_on(struct juggler *j, unsigned int turn, unsigned int seen)
{
	return turn % 2 || atomic_load(&j->seen) != seen ||
	       atomic_load(&j->stop);
}

static long juggle(struct job *job)
{
	struct juggler *j = (struct juggler *)job;
	unsigned int turn;

	for (turn = 0; !atomic_load(&j->stop); turn++) {
		unsigned int seen = atomic_load(&j->seen);
		void *mapped;

		atomic_fetch_add(&j->turn, 1);
		mapped = mmap(job->addr, page_size, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED | MAP_POPULATE, j->fd,
			      turn % NR_PAGES * page_size);
		if (mapped == MAP_FAILED)
			return -errno;
		user_write(job->addr, token(turn, 0));
		atomic_fetch_add(&j->turn, 1);
		eventually(juggle_on(j, turn, seen));
	}
	return 0;
}

#define NR_SEEN		60

TEST_F(kind, storm)
{
	struct juggler j = {
		.job = { .run = juggle, .cpu = -1, .addr = self->addr },
		.fd = memory_file(NR_PAGES * page_size, 0),
	};
	uint64_t end = now_ns() + PATIENCE_NS;
	unsigned int stale = 0, last = 0;

	ASSERT_LE(0, j.fd);
	ASSERT_EQ(0, mirror_open(self->fd, self->addr, page_size, variant->kind,
				 TEST_MIRROR_WRITE));
	job_start(_metadata, &j.job);
	while (atomic_load(&j.seen) < NR_SEEN && now_ns() < end) {
		unsigned int turn = atomic_load(&j.turn);
		uint64_t value;
		long ret;

		ret = mirror_read(self->fd, self->addr, &value);
		if (!(turn & 1) && turn != last && turn == atomic_load(&j.turn) &&
		    !ret) {
			last = turn;
			stale += value != token(turn / 2 - 1, 0);
			atomic_fetch_add(&j.seen, 1);
		}
		if (ret != -ENOENT)
			continue;
		if (variant->kind == TEST_MIRROR_WINDOW)
			device_command(self->fd, TEST_MIRROR_IOC_PREFETCH, NULL);
		else
			mirror_populate(self->fd, self->addr, page_size);
	}
	atomic_store(&j.stop, true);
	EXPECT_EQ(0, job_wait(_metadata, &j.job));
	EXPECT_EQ(0, stale);
	EXPECT_LE(NR_SEEN, atomic_load(&j.seen));
	EXPECT_LT(1, mirror_stats(self->fd).drops[TEST_MIRROR_UNMAP]);
	EXPECT_EQ(mirror_stats(self->fd).installed,
		  mirror_stats(self->fd).nr_dirtied);
	EXPECT_TRUE(eventually(!lookup(self->fd, variant->kind, self->addr,
				       page_size) &&
			       mirror_reaches(self->fd, self->addr)));
	close(j.fd);
}

/* The device itself; the last of all. */

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
	EXPECT_EQ(0, mirror_stats(self->fd).live);
}

TEST_F(device, injection_has_one_owner)
{
	int other = device_open();

	if (!device_injectable(self->fd))
		SKIP(return, "the module has no injection points");
	ASSERT_LE(0, other);
	EXPECT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_BEGUN, 0));
	EXPECT_EQ(-EBUSY, mirror_stop_at(other, TEST_MIRROR_BEGUN, 0));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, mirror_stop_at(other, TEST_MIRROR_BEGUN, 0));
	close(other);
	self->fd = device_open();
	EXPECT_LE(0, self->fd);
}

#define NR_LISTED	200

struct changes {
	pthread_t thread;
	char *addr;
	atomic_bool stop;
	atomic_ulong rounds;
	atomic_ulong failed;
};

static void *come_and_go(void *arg)
{
	struct changes *changes = arg;
	int fd[8];

	for (unsigned int i = 0; !changes->stop; i++) {
		int *f = &fd[i % 8];

		if (i >= 8)
			close(*f);
		*f = device_open();
		if (mirror_open(*f, changes->addr, page_size, TEST_MIRROR_SPIN,
				0))
			changes->failed++;
		changes->rounds++;
	}
	return NULL;
}

/* Read it all by a few bytes at a time. How often each of ours is there. */
static bool read_list(const char *addr, unsigned int *seen)
{
	int fd = open(LIST, O_RDONLY | O_CLOEXEC);
	unsigned long start;
	char line[1024];
	size_t len = 0;
	ssize_t got;

	if (fd < 0)
		return false;
	while ((got = read(fd, line + len, 37)) > 0) {
		char *end;

		len += got;
		line[len] = 0;
		end = strchr(line, '\n');
		if (!end && len > sizeof(line) - 64)
			break;
		if (!end)
			continue;
		if (strncmp(line, "mirror=", 7) ||
		    sscanf(strstr(line, " start=") ?: "", " start=%lx",
			   &start) != 1)
			break;
		start = (start - (uintptr_t)addr) / page_size;
		if (start < NR_LISTED)
			seen[start]++;
		len -= end + 1 - line;
		memmove(line, end + 1, len);
	}
	close(fd);
	return !got && !len;
}

/* Other machines are only known emulated. */
#ifdef __x86_64__
#define LIST_TIMEOUT	TEST_TIMEOUT_DEFAULT
#else
#define LIST_TIMEOUT	300
#endif

/*
 * Who reads the list sees each mirror that stays once, whatever comes and goes
 * meanwhile, and nothing but whole lines.
 */
TEST_F_TIMEOUT(device, list_is_read_while_it_changes, LIST_TIMEOUT)
{
	size_t size = (NR_LISTED + 1) * page_size;
	char *addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct changes changes = { .addr = addr + NR_LISTED * page_size };
	unsigned int seen[NR_LISTED], odd = 0;
	int fd[NR_LISTED];

	if (access(LIST, R_OK))
		SKIP(return, "the kernel does not list mirrors");
	ASSERT_NE(MAP_FAILED, addr);
	for (int i = 0; i < NR_LISTED; i++) {
		fd[i] = device_open();
		/* A cache has none before it is used. */
		ASSERT_EQ(0, mirror_open(fd[i], addr + i * page_size, page_size,
					 i % TEST_MIRROR_CACHE, 0));
	}
	ASSERT_EQ(0, pthread_create(&changes.thread, NULL, come_and_go,
				    &changes));
	for (int i = 0; i < 40 || changes.rounds < 100; i++) {
		memset(seen, 0, sizeof(seen));
		ASSERT_TRUE(read_list(addr, seen));
		for (int j = 0; j < NR_LISTED; j++)
			odd += seen[j] != 1;
	}
	changes.stop = true;
	pthread_join(changes.thread, NULL);
	EXPECT_EQ(0, odd);
	EXPECT_EQ(0, changes.failed);
	TH_LOG("%lu mirrors came and went", changes.rounds);
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

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	require_device(DEVICE, MODULE, "CONFIG_TEST_MMU_RANGE_MIRROR");
	region_settings();
	return test_harness_run(argc, argv);
}
