// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the ODP sample of samples/mmu_range_mirror in both of its forms: a device
 * that reads and writes registered memory by threads without an address space.
 * What it finds must be what is there, also while it is being taken away; what it
 * writes must not be lost.
 */
#include "../kselftest_harness.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "mmu_mirror_util.h"
#include <samples/mmu_range_mirror/odp_uapi.h>

#define NR_PAGES	16
#define HUGE		(2UL << 20)
#define NR_REGIONS	1000
#define NR_ROUNDS	300

static void *map_at(void *addr, size_t length)
{
	return mmap(addr, length, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | (addr ? MAP_FIXED : 0),
		    -1, 0);
}

/* A key, or an errno below zero; likewise the others. */
static long odp_register(int fd, const void *start, size_t length,
			 unsigned int flags)
{
	struct odp_range range = {
		.start = (uintptr_t)start,
		.length = length,
		.flags = flags,
	};
	long ret = ioctl(fd, ODP_IOC_REGISTER, &range);

	return ret < 0 ? -errno : ret;
}

static long odp_deregister(int fd, long key)
{
	return ioctl(fd, ODP_IOC_DEREGISTER, key) ? -errno : 0;
}

static long odp_request(int fd, long key, enum odp_op op, const void *addr,
			size_t length, void *data)
{
	struct odp_request request = {
		.key = key,
		.op = op,
		.addr = (uintptr_t)addr,
		.length = length,
		.data = (uintptr_t)data,
	};
	long ret = ioctl(fd, ODP_IOC_REQUEST, &request);

	return ret < 0 ? -errno : ret;
}

static struct odp_stats odp_stats(int fd)
{
	struct odp_stats stats = {};

	ioctl(fd, ODP_IOC_STATS, &stats);
	return stats;
}

/* For each test, unless it was there. */
static bool odp_loaded;

static bool odp_load(void)
{
	if (!access("/dev/mirror_odp", F_OK))
		return true;
	odp_loaded = !system("modprobe mirror_odp >/dev/null 2>&1");
	return odp_loaded && !access("/dev/mirror_odp", F_OK);
}

static bool odp_unload(void)
{
	return !odp_loaded ||
	       !syscall(__NR_delete_module, "mirror_odp", O_NONBLOCK);
}

FIXTURE(odp) {
	int fd;
	size_t length;
	char *mem;
	char *data;
	long key;
};

FIXTURE_VARIANT(odp) {
	const char *device;
	/* What the other form cannot do. */
	bool cancels;
};

FIXTURE_VARIANT_ADD(odp, mirror) {
	.device = "/dev/mirror_odp",
	.cancels = true,
};

FIXTURE_VARIANT_ADD(odp, direct) {
	.device = "/dev/direct_odp",
};

FIXTURE_SETUP(odp)
{
	if (geteuid())
		SKIP(return, "needs root");
	if (!odp_load())
		SKIP(return, "no module mirror_odp");
	self->fd = open(variant->device, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->fd, 0);
	self->length = NR_PAGES * page_size;
	self->mem = map_at(NULL, self->length);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->data = malloc(self->length);
	ASSERT_NE(NULL, self->data);
	self->key = odp_register(self->fd, self->mem, self->length,
				 ODP_WRITABLE);
	ASSERT_GT(self->key, 0);
}

FIXTURE_TEARDOWN(odp)
{
	close(self->fd);
	free(self->data);
	EXPECT_TRUE(odp_unload()) TH_LOG("it is not unloaded: %m");
}

static void fill(char *data, size_t length, unsigned int with)
{
	size_t i;

	for (i = 0; i < length; i++)
		data[i] = with + i / 7;
}

static bool filled(const char *data, size_t length, unsigned int with)
{
	size_t i;

	for (i = 0; i < length; i++) {
		if (data[i] != (char)(with + i / 7))
			return false;
	}
	return true;
}

static bool zeroed(const char *data, size_t length)
{
	return !*data && !memcmp(data, data + 1, length - 1);
}

TEST_F(odp, refuses)
{
	char *mem = self->mem;
	int fd = self->fd;

	EXPECT_EQ(-EINVAL, odp_register(fd, mem, 0, 0));
	EXPECT_EQ(-EINVAL, odp_register(fd, mem + 1, page_size, 0));
	EXPECT_EQ(-EINVAL, odp_register(fd, mem, page_size, 2));
	EXPECT_GT(0, odp_register(fd, (void *)-page_size, 2 * page_size, 0));
	EXPECT_EQ(-ENOENT, odp_deregister(fd, self->key + 1));
	EXPECT_EQ(-ENOENT, odp_request(fd, self->key + 1, ODP_READ, mem, 1,
				       self->data));
	EXPECT_EQ(-EINVAL, odp_request(fd, self->key, ODP_DROP + 1, mem, 1,
				       NULL));
	EXPECT_EQ(-EINVAL, odp_request(fd, self->key, ODP_DROP, mem, 0, NULL));
	EXPECT_EQ(-EINVAL, odp_request(fd, self->key, ODP_DROP, mem - 1, 1,
				       NULL));
	EXPECT_EQ(-EINVAL, odp_request(fd, self->key, ODP_DROP, mem + 1,
				       self->length, NULL));
	EXPECT_EQ(-EFAULT, odp_request(fd, self->key, ODP_WRITE, mem, 1, NULL));
	EXPECT_EQ(0, odp_deregister(fd, self->key));
	EXPECT_EQ(-ENOENT, odp_deregister(fd, self->key));
}

/* Across pages, of memory that nobody has touched yet. */
TEST_F(odp, moves_data)
{
	size_t n = 3 * page_size + 100;
	char *at = self->mem + page_size - 50;

	fill(self->data, n, 1);
	ASSERT_EQ(n, odp_request(self->fd, self->key, ODP_WRITE, at, n,
				 self->data));
	EXPECT_TRUE(filled(at, n, 1));
	EXPECT_EQ(0, at[-1]);
	EXPECT_EQ(0, at[n]);
	EXPECT_LE(4, odp_stats(self->fd).entries);
	fill(at, n, 2);
	ASSERT_EQ(n, odp_request(self->fd, self->key, ODP_READ, at, n,
				 self->data));
	EXPECT_TRUE(filled(self->data, n, 2));
}

/* As far as there is memory that it may use. */
TEST_F(odp, stops_where_it_must)
{
	char *hole = self->mem + 2 * page_size;
	int fd = self->fd;
	long ret;

	ASSERT_EQ(0, munmap(hole, page_size));
	EXPECT_EQ(2 * page_size, odp_request(fd, self->key, ODP_READ, self->mem,
					     self->length, self->data));
	EXPECT_EQ(-EFAULT, odp_request(fd, self->key, ODP_READ, hole, 1,
				       self->data));
	EXPECT_EQ(-EFAULT, odp_request(fd, self->key, ODP_PREFETCH, self->mem,
				       self->length, NULL));
	ASSERT_EQ(hole, map_at(hole, page_size));
	EXPECT_EQ(self->length, odp_request(fd, self->key, ODP_READ, self->mem,
					    self->length, self->data));
	ASSERT_EQ(0, mprotect(hole, page_size, PROT_READ));
	ret = odp_request(fd, self->key, ODP_WRITE, hole, 1, self->data);
	EXPECT_TRUE(ret == -EPERM || ret == -EFAULT) TH_LOG("%ld", ret);
	EXPECT_EQ(1, odp_request(fd, self->key, ODP_READ, hole, 1, self->data));
}

/* Each leaves nothing that was there before. */
TEST_F(odp, sees_what_is_there)
{
	size_t n = self->length;
	int i;

	for (i = 0; i < 4; i++) {
		fill(self->data, n, i);
		ASSERT_EQ(n, odp_request(self->fd, self->key, ODP_WRITE,
					 self->mem, n, self->data));
		switch (i) {
		case 0:
			ASSERT_EQ(0, madvise(self->mem, n, MADV_DONTNEED));
			break;
		case 1:
			ASSERT_EQ(self->mem, map_at(self->mem, n));
			break;
		case 2:
			ASSERT_EQ(0, munmap(self->mem, n));
			ASSERT_EQ(self->mem, map_at(self->mem, n));
			break;
		case 3:
			ASSERT_EQ(0, odp_request(self->fd, self->key, ODP_DROP,
						 self->mem, n, NULL));
			break;
		}
		EXPECT_EQ(0, odp_stats(self->fd).entries);
		EXPECT_EQ(0, odp_stats(self->fd).cached);
		ASSERT_EQ(n, odp_request(self->fd, self->key, ODP_READ,
					 self->mem, n, self->data));
		EXPECT_TRUE(i == 3 ? filled(self->data, n, i) :
				     zeroed(self->data, n))
			TH_LOG("after disturbance %d", i);
	}
}

/* What the device writes after a fork is the parent's. */
TEST_F(odp, writes_to_the_copy)
{
	size_t n = self->length;
	int status, go[2];
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(go));
	fill(self->data, n, 1);
	ASSERT_EQ(n, odp_request(self->fd, self->key, ODP_WRITE, self->mem, n,
				 self->data));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(read(go[0], &byte, 1) != 1 || !filled(self->mem, n, 1));
	fill(self->data, n, 2);
	EXPECT_EQ(n, odp_request(self->fd, self->key, ODP_WRITE, self->mem, n,
				 self->data));
	EXPECT_TRUE(filled(self->mem, n, 2));
	EXPECT_EQ(1, write(go[1], &byte, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Reclaim may drop what MADV_FREE was told of, but not what the device wrote. */
TEST_F(odp, keeps_what_it_wrote)
{
	size_t n = self->length;
	const char *why;

	fill(self->mem, n, 1);
	why = swap_on(64);
	if (why)
		SKIP(return, "%s", why);
	/* Mirrored for writing before, too. */
	ASSERT_EQ(0, odp_request(self->fd, self->key, ODP_PREFETCH_WRITE,
				 self->mem, n, NULL));
	ASSERT_EQ(0, madvise(self->mem, n, MADV_FREE));
	fill(self->data, n, 2);
	EXPECT_EQ(n, odp_request(self->fd, self->key, ODP_WRITE, self->mem, n,
				 self->data));
	EXPECT_EQ(0, madvise(self->mem, n, MADV_PAGEOUT));
	EXPECT_TRUE(filled(self->mem, n, 2));
	swap_off();
}

/* What is there, and nothing is faulted in for it. */
TEST_F(odp, takes_a_snapshot)
{
	int i;

	ASSERT_EQ(0, odp_request(self->fd, self->key, ODP_SNAPSHOT, self->mem,
				 self->length, NULL));
	EXPECT_EQ(0, odp_stats(self->fd).entries);
	for (i = 0; i < 3; i++)
		self->mem[i * 4 * page_size] = 1;
	ASSERT_EQ(0, odp_request(self->fd, self->key, ODP_SNAPSHOT, self->mem,
				 self->length, NULL));
	EXPECT_EQ(3, odp_stats(self->fd).entries);
	EXPECT_FALSE(page_bits(self->mem + page_size) & PAGEMAP_PRESENT);
}

TEST_F(odp, writes_only_where_it_may)
{
	long key = odp_register(self->fd, self->mem, self->length, 0);
	uint64_t faults;

	ASSERT_GT(key, 0);
	self->mem[0] = 1;
	EXPECT_EQ(-EPERM, odp_request(self->fd, key, ODP_WRITE, self->mem, 1,
				      self->data));
	EXPECT_EQ(-EPERM, odp_request(self->fd, key, ODP_PREFETCH_WRITE,
				      self->mem, 1, NULL));
	EXPECT_EQ(1, odp_request(self->fd, key, ODP_READ, self->mem, 1,
				 self->data));
	/* The other region has entries of its own. */
	faults = odp_stats(self->fd).faults;
	EXPECT_EQ(1, odp_request(self->fd, self->key, ODP_WRITE, self->mem, 1,
				 self->data));
	EXPECT_LT(faults, odp_stats(self->fd).faults);
}

/* One entry is for 2 MiB, and goes with any part of them. */
TEST_F(odp, uses_huge_entries)
{
	char *map = map_at(NULL, 3 * HUGE);
	char *mem = (char *)(((uintptr_t)map + HUGE - 1) & ~(HUGE - 1));
	struct odp_stats stats;
	long key;

	ASSERT_NE(MAP_FAILED, map);
	if (madvise(mem, 2 * HUGE, MADV_HUGEPAGE))
		SKIP(return, "no huge pages");
	memset(mem, 1, 2 * HUGE);
	if (read_field("/proc/self/smaps_rollup", "AnonHugePages:") * 1024 <
	    (long)(2 * HUGE))
		SKIP(return, "no huge pages to be had");
	key = odp_register(self->fd, mem, 2 * HUGE, ODP_WRITABLE);
	ASSERT_GT(key, 0);
	ASSERT_EQ(0, odp_request(self->fd, key, ODP_PREFETCH_WRITE, mem,
				 2 * HUGE, NULL));
	stats = odp_stats(self->fd);
	EXPECT_EQ(2, stats.huge);
	EXPECT_EQ(2, stats.entries);

	fill(self->data, self->length, 3);
	EXPECT_EQ(self->length, odp_request(self->fd, key, ODP_WRITE,
					    mem + HUGE - page_size,
					    self->length, self->data));
	EXPECT_TRUE(filled(mem + HUGE - page_size, self->length, 3));
	EXPECT_EQ(stats.faults, odp_stats(self->fd).faults);

	ASSERT_EQ(0, madvise(mem + HUGE, page_size, MADV_DONTNEED));
	EXPECT_EQ(1, odp_stats(self->fd).huge);
	ASSERT_EQ(page_size, odp_request(self->fd, key, ODP_READ, mem + HUGE,
					 page_size, self->data));
	EXPECT_TRUE(zeroed(self->data, page_size));
	ASSERT_EQ(1, odp_request(self->fd, key, ODP_READ,
				 mem + HUGE + page_size, 1, self->data));
	EXPECT_EQ(mem[HUGE + page_size], self->data[0]);
	EXPECT_EQ(0, odp_deregister(self->fd, key));
	munmap(map, 3 * HUGE);
}

/* HMM says of what order it would be: that is no entry. */
TEST_F(odp, meets_a_hole_in_hugetlbfs)
{
	struct odp_stats stats;
	char *mem;
	long key;

	if (!set("/proc/sys/vm/nr_hugepages", "2"))
		SKIP(return, "no hugetlbfs");
	mem = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (mem == MAP_FAILED)
		SKIP(return, "no pages for hugetlbfs to be had");
	mem[0] = 1;
	key = odp_register(self->fd, mem, 2 * HUGE, ODP_WRITABLE);
	ASSERT_GT(key, 0);
	ASSERT_EQ(0, odp_request(self->fd, key, ODP_SNAPSHOT, mem + HUGE, HUGE,
				 NULL));
	stats = odp_stats(self->fd);
	EXPECT_EQ(0, stats.huge);
	EXPECT_EQ(0, stats.entries);
	EXPECT_EQ(8, odp_request(self->fd, key, ODP_READ, mem + HUGE, 8,
				 self->data));
	EXPECT_TRUE(zeroed(self->data, 8));
	EXPECT_EQ(0, odp_deregister(self->fd, key));
	munmap(mem, 2 * HUGE);
	restore(0);
}

TEST_F(odp, has_many_regions)
{
	size_t length = NR_REGIONS * page_size;
	char *mem = map_at(NULL, length);
	long keys[NR_REGIONS];
	int i;

	ASSERT_NE(MAP_FAILED, mem);
	for (i = 0; i < NR_REGIONS; i++) {
		keys[i] = odp_register(self->fd, mem + i * page_size, page_size,
				       ODP_WRITABLE);
		ASSERT_GT(keys[i], 0);
	}
	for (i = 0; i < NR_REGIONS; i++) {
		char byte = i;

		ASSERT_EQ(1, odp_request(self->fd, keys[i], ODP_WRITE,
					 mem + i * page_size, 1, &byte));
	}
	EXPECT_EQ(NR_REGIONS, odp_stats(self->fd).entries);
	for (i = 0; i < NR_REGIONS; i += 2)
		ASSERT_EQ(0, odp_deregister(self->fd, keys[i]));
	EXPECT_EQ(NR_REGIONS / 2, odp_stats(self->fd).entries);
	ASSERT_EQ(0, madvise(mem, length, MADV_DONTNEED));
	EXPECT_EQ(0, odp_stats(self->fd).entries);
	/* The others go when the file is closed. */
}

/* Takes the memory away, without changing what is in it. */
struct disturber {
	char *mem;
	size_t length;
	atomic_bool over;
};

static void *disturb(void *arg)
{
	struct disturber *d = arg;
	unsigned int i;

	for (i = 0; !atomic_load(&d->over); i++) {
		switch (i % 4) {
		case 0:
			madvise(d->mem, d->length, MADV_PAGEOUT);
			break;
		case 1:
			madvise(d->mem, d->length, MADV_FREE);
			break;
		case 2:
			mprotect(d->mem, d->length, PROT_READ | PROT_WRITE |
						    PROT_EXEC);
			break;
		case 3:
			mprotect(d->mem, d->length, PROT_READ | PROT_WRITE);
			break;
		}
		usleep(100);
	}
	return NULL;
}

/* Between MADV_FREE and its write the device may find nothing; not after it. */
TEST_F(odp, loses_nothing)
{
	struct disturber d = { .mem = self->mem, .length = self->length };
	unsigned int round, lost = 0, written = 0;
	const char *why = swap_on(64);
	pthread_t thread;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, pthread_create(&thread, NULL, disturb, &d));
	for (round = 1; round <= NR_ROUNDS; round++) {
		char *at = self->mem + round % NR_PAGES * page_size;
		char byte = round;
		long ret;

		ret = odp_request(self->fd, self->key, ODP_WRITE, at, 1, &byte);
		if (ret == -EAGAIN)
			continue;
		EXPECT_EQ(1, ret);
		written++;
		/* Another MADV_FREE may have come; then it may be zero. */
		ret = __atomic_load_n((char *)at, __ATOMIC_RELAXED);
		lost += ret != byte && ret;
	}
	atomic_store(&d.over, true);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, lost);
	EXPECT_LT(NR_ROUNDS / 2, written);
	swap_off();
}

TEST_F(odp, is_never_behind)
{
	struct generations generations = {
		.mem = (uint32_t *)self->mem,
		.rounds = NR_ROUNDS,
	};
	unsigned int seen = 0, stale = 0;
	uint32_t oldest, word;
	pthread_t thread;
	long ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, generations_run, &generations));
	while (!atomic_load(&generations.over)) {
		oldest = atomic_load(&generations.generation);
		ret = odp_request(self->fd, self->key, ODP_READ, self->mem,
				  sizeof(word), &word);
		if (ret == -EAGAIN)
			continue;
		ASSERT_EQ(sizeof(word), ret);
		if (word) {
			seen++;
			stale += word < oldest;
		}
		atomic_fetch_add(&generations.reads, 1);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, stale);
	EXPECT_EQ(NR_ROUNDS, generations.generation);
	EXPECT_GE(seen, NR_ROUNDS);
}

/*
 * A thread waits for userfaultfd's owner, who closes the device and not that. The
 * other form is not tried: HMM alone fails there at once, and 6.12 with
 * CONFIG_DEBUG_VM complains of the fault.
 */
TEST_F(odp, closes_in_a_fault)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)self->mem, self->length },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct odp_request prefetch = {
		.key = self->key,
		.op = ODP_PREFETCH,
		.flags = ODP_ASYNC,
		.addr = (uintptr_t)self->mem,
		.length = self->length,
	};
	struct uffd_msg msg;
	int uffd;

	if (!variant->cancels)
		SKIP(return, "HMM alone cannot wait for userfaultfd");
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	ASSERT_EQ(0, ioctl(self->fd, ODP_IOC_REQUEST, &prefetch));
	ASSERT_EQ(sizeof(msg), read(uffd, &msg, sizeof(msg)));
	EXPECT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);
	EXPECT_EQ(0, close(self->fd));
	self->fd = -1;
	close(uffd);
}

/* Another process may use the keys, but its memory is not the device's. */
TEST_F(odp, is_of_one_process)
{
	int status;
	pid_t pid;

	self->mem[0] = 1;
	pid = fork();
	if (!pid) {
		self->mem[0] = 2;
		_exit(odp_register(self->fd, self->mem, self->length, 0) !=
		      -EPERM ||
		      odp_request(self->fd, self->key, ODP_READ, self->mem, 1,
				  self->data) != 1 || self->data[0] != 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* What the helper costs: a prefetch of huge pages, and their removal. */

#define NR_TIMED	9

struct timed {
	int fd;
	long key;
	uint64_t prefetch[NR_TIMED];
	uint64_t discard[NR_TIMED];
};

static int cmp_u64(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static uint64_t median(uint64_t *ns)
{
	qsort(ns, NR_TIMED, sizeof(*ns), cmp_u64);
	return ns[NR_TIMED / 2];
}

/* One round: false if there are no huge pages. */
static bool time_huge(struct timed *t, char *mem, size_t length, int round)
{
	uint64_t began;
	size_t i;

	for (i = 0; i < length; i += page_size)
		mem[i] = 1;
	began = now_ns();
	if (odp_request(t->fd, t->key, ODP_PREFETCH_WRITE, mem, length, NULL))
		return false;
	t->prefetch[round] = now_ns() - began;
	if (odp_stats(t->fd).huge != length / HUGE)
		return false;
	/* Nothing but the entries goes: the pages stay. */
	began = now_ns();
	if (mprotect(mem, length, PROT_READ) ||
	    mprotect(mem, length, PROT_READ | PROT_WRITE))
		return false;
	t->discard[round] = now_ns() - began;
	return !odp_stats(t->fd).entries;
}

/*
 * 1 GiB, or what there is room for. Nothing but time says that the helper's own
 * part is small: HMM itself fills in every page of a huge one.
 */
TEST(huge_pages_cost_no_more)
{
	static const char * const devices[] = {
		"/dev/mirror_odp", "/dev/direct_odp",
	};
	long mib = read_field("/proc/meminfo", "MemAvailable:") / 1024;
	size_t length = mib > 1600 ? 1UL << 30 : 1UL << 28;
	uint64_t prefetch[2], discard[2];
	struct timed t[2] = {};
	char *map, *mem;
	int i, round;

	if (geteuid() || !odp_load())
		SKIP(return, "no module mirror_odp");
	map = map_at(NULL, length + HUGE);
	ASSERT_NE(MAP_FAILED, map);
	mem = (char *)(((uintptr_t)map + HUGE - 1) & ~(HUGE - 1));
	madvise(mem, length, MADV_HUGEPAGE);
	for (round = 0; round < NR_TIMED; round++) {
		for (i = 0; i < 2; i++) {
			t[i].fd = open(devices[i], O_RDWR | O_CLOEXEC);
			ASSERT_GE(t[i].fd, 0);
			t[i].key = odp_register(t[i].fd, mem, length,
						ODP_WRITABLE);
			ASSERT_GT(t[i].key, 0);
			if (!time_huge(&t[i], mem, length, round))
				SKIP(return, "no huge pages to be had");
			close(t[i].fd);
		}
	}
	munmap(map, length + HUGE);
	for (i = 0; i < 2; i++) {
		prefetch[i] = median(t[i].prefetch);
		discard[i] = median(t[i].discard);
	}
	ksft_print_msg("%zu MiB, mirrors by none: prefetch %.2f, protected twice %.2f\n",
		       length >> 20, (double)prefetch[0] / prefetch[1],
		       (double)discard[0] / discard[1]);
	EXPECT_LT(prefetch[0], 3 * prefetch[1]);
	EXPECT_LT(discard[0], 3 * discard[1]);
	EXPECT_TRUE(odp_unload());
}

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	return test_harness_run(argc, argv);
}
