// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of mm/mmu_range_mirror.c through its test device.
 *
 * Memory of each kind is mirrored three times, by a table of pages, by a window and
 * by a cache, and then taken away in every way that user space has. After each, what the
 * mirrors still reach must be what the process sees. What the kernel did is
 * read from its own counters. Races are brought about with holds and, where
 * the module has them, at injection points; nothing here sleeps to give
 * somebody else the time for something.
 *
 * Besides the ordinary way, it can be built alone, in a kernel's tree and
 * against any kernel's uapi headers:
 *
 *	cd tools/testing/selftests/mm
 *	gcc -O2 -static -pthread -I../../../.. -o /tmp/test \
 *		mmu_range_mirror.c mmu_mirror_device.c \
 *		mmu_mirror_trace.c mmu_mirror_util.c
 *
 * It needs root, and loads test_mmu_range_mirror if it can. Memory of a disk's
 * file system is looked for in $TMPDIR, /var/tmp and the current directory;
 * failing that, mkfs.ext4 and a loop device make one.
 */
#include "../kselftest_harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#include "mmu_mirror_device.h"
#include "mmu_mirror_trace.h"
#include "mmu_mirror_util.h"

#ifndef __NR_memfd_secret
#define __NR_memfd_secret	447
#endif
#ifndef __NR_process_mrelease
#define __NR_process_mrelease	448
#endif

#define LIST		"/sys/kernel/debug/mmu_range_mirror"
#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/"

/* Base pages in a region: more than one batch of any lookup. */
#define NR_PAGES	96
#define NR_HUGE		4

enum memory { ANON, THP, MEMFD, DISK, HUGETLB, HUGETLB_FILE };

static size_t thp_size;
static size_t hugetlb_size;
static char disk_dir[PATH_MAX];
static pid_t settings_owner;

/* NUMA nodes, without a library. */

#define MAX_NODES	64

static int nodes_with_memory(int *nodes)
{
	char path[64];
	int n, nr = 0;

	for (n = 0; n < MAX_NODES; n++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/meminfo", n);
		if (!access(path, R_OK))
			nodes[nr++] = n;
	}
	return nr;
}

static int node_of(void *addr)
{
	int status = -1;

	if (syscall(__NR_move_pages, 0, 1UL, &addr, NULL, &status, 0))
		return -1;
	return status;
}

/* Commands that another thread issues. */

struct job {
	pthread_t thread;
	long (*run)(struct job *job);
	int fd;
	int cpu;
	char *addr;
	size_t length;
	struct test_mirror_hold hold;
	long ret;
	uint64_t ended_ns;
	sem_t go;
	atomic_bool done;
};

static void *job_main(void *arg)
{
	struct job *job = arg;

	if (job->cpu >= 0)
		pin_to_cpu(job->cpu);
	sem_wait(&job->go);
	job->ret = job->run(job);
	job->ended_ns = now_ns();
	atomic_store(&job->done, true);
	return NULL;
}

static long job_populate(struct job *job)
{
	return mirror_populate(job->fd, job->addr, job->length);
}

static long job_look_up(struct job *job)
{
	return mirror_lookup(job->fd, job->addr, job->length,
			     TEST_MIRROR_FOR_WRITING, NULL);
}

static long job_fill(struct job *job)
{
	return mirror_fill(job->fd);
}

static long job_close(struct job *job)
{
	return mirror_close(job->fd);
}

static long job_hold(struct job *job)
{
	return device_command(job->fd, TEST_MIRROR_IOC_HOLD, &job->hold);
}

static long job_discard(struct job *job)
{
	return madvise(job->addr, job->length, MADV_DONTNEED) ? -errno : 0;
}

static long job_munmap(struct job *job)
{
	return munmap(job->addr, job->length) ? -errno : 0;
}

/*
 * A new thread needs a stack, which cannot be mapped while somebody stands in
 * an invalidation with the mmap lock: it has to be made before.
 */
static void job_prepare(struct __test_metadata *_metadata, struct job *job)
{
	atomic_store(&job->done, false);
	ASSERT_EQ(0, sem_init(&job->go, 0, 0));
	ASSERT_EQ(0, pthread_create(&job->thread, NULL, job_main, job));
}

static void job_go(struct job *job)
{
	sem_post(&job->go);
}

static void job_start(struct __test_metadata *_metadata, struct job *job)
{
	job_prepare(_metadata, job);
	job_go(job);
}

static long job_wait(struct __test_metadata *_metadata, struct job *job)
{
	ASSERT_EQ(0, pthread_join(job->thread, NULL));
	return job->ret;
}

/* Regions of memory. */

/**
 * struct region - memory to be mirrored
 * @kind: what of
 * @addr: first byte, aligned to @unit
 * @size: bytes
 * @unit: what can be mapped and unmapped by itself, without splitting anything
 * @fd: of the file, or -1
 * @shared: mapped shared
 *
 * There is address space of @unit before and behind it where nothing is.
 */
struct region {
	enum memory kind;
	char *addr;
	size_t size;
	size_t unit;
	int fd;
	bool shared;
};

static size_t region_pages(const struct region *r)
{
	return r->size / page_size;
}

static int disk_file(size_t size)
{
	char path[PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/mmu_range_mirror.XXXXXX", disk_dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -1;
	unlink(path);
	if (ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int memory_file(size_t size, unsigned int flags)
{
	int fd = memfd_create("mirrored", flags | MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

static char *reserve(size_t size, size_t align)
{
	char *addr = mmap(NULL, size + 3 * align, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t start = ((uintptr_t)addr + 2 * align - 1) & ~(align - 1);

	return addr == MAP_FAILED ? NULL : (char *)start;
}

/* Why there is no memory of this kind, or NULL. */
static const char *memory_missing(enum memory kind)
{
	if (kind == THP && !thp_size)
		return "no transparent huge pages";
	if (kind == DISK && !disk_dir[0])
		return "no file system of a disk, and no mkfs.ext4 to make one";
	if ((kind == HUGETLB || kind == HUGETLB_FILE) &&
	    (!hugetlb_size ||
	     read_field("/proc/meminfo", "HugePages_Free") < 2 * NR_HUGE))
		return "not enough free huge pages";
	return NULL;
}

static void region_map(struct __test_metadata *_metadata, struct region *r,
		       enum memory kind)
{
	int flags = MAP_FIXED;

	r->kind = kind;
	r->fd = -1;
	r->shared = kind == MEMFD || kind == DISK || kind == HUGETLB_FILE;
	r->unit = page_size;
	if (kind == THP)
		r->unit = thp_size;
	else if (kind == HUGETLB || kind == HUGETLB_FILE)
		r->unit = hugetlb_size;
	r->size = r->unit * (r->unit == page_size ? NR_PAGES : NR_HUGE);
	r->addr = reserve(r->size, r->unit);
	ASSERT_NE(NULL, r->addr);

	if (kind == MEMFD)
		r->fd = memory_file(r->size, 0);
	else if (kind == HUGETLB_FILE)
		r->fd = memory_file(r->size, MFD_HUGETLB);
	else if (kind == DISK)
		r->fd = disk_file(r->size);
	ASSERT_TRUE(!r->shared || r->fd >= 0);
	flags |= r->shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	if (kind == HUGETLB)
		flags |= MAP_HUGETLB;
	ASSERT_EQ(r->addr, mmap(r->addr, r->size, PROT_READ | PROT_WRITE, flags,
				r->fd, 0));
	if (kind == ANON)
		madvise(r->addr, r->size, MADV_NOHUGEPAGE);
	if (kind == THP)
		madvise(r->addr, r->size, MADV_HUGEPAGE);
}

static uint64_t token(unsigned int generation, size_t page)
{
	return (uint64_t)generation << 32 | (page + 1);
}

/* The process's own accesses, which the compiler must not do without. */
static uint64_t user_read(const void *addr)
{
	return __atomic_load_n((const uint64_t *)addr, __ATOMIC_SEQ_CST);
}

static void user_write(void *addr, uint64_t value)
{
	__atomic_store_n((uint64_t *)addr, value, __ATOMIC_SEQ_CST);
}

/* Each page's first word says which page it is, and of which generation. */
static void *page_at(const struct region *r, size_t page)
{
	return r->addr + page * page_size;
}

static uint64_t page_read(const struct region *r, size_t page)
{
	return user_read(page_at(r, page));
}

static void write_pages(const struct region *r, size_t first, size_t n,
			unsigned int generation)
{
	size_t i;

	for (i = first; i < first + n; i++)
		user_write(page_at(r, i), token(generation, i));
}

static long huge_kb(const struct region *r, const char *field)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool inside = false;
	char line[512];
	long kb = 0;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start >= (uintptr_t)r->addr &&
				 end <= (uintptr_t)r->addr + r->size;
		else if (inside && !strncmp(line, field, strlen(field)))
			kb += atol(line + strlen(field) + 1);
	}
	fclose(file);
	return kb;
}

/* All mirrors of one region. */

#define NR_MIRRORS	3

struct mirrors {
	struct region r;
	int table;
	int window;
	int cache;
	/* What snapshot() last saw of each. */
	struct test_mirror_stats was[NR_MIRRORS];
};

static int nth_mirror(const struct mirrors *m, int nth)
{
	const int fds[NR_MIRRORS] = { m->table, m->window, m->cache };

	return fds[nth];
}

/* Those that are filled in the background have been; or what went wrong. */
static long fill(const struct mirrors *m)
{
	return mirror_fill(m->window) ?: mirror_fill(m->cache);
}

/* How many pages they reach. */
static uint64_t filled(const struct mirrors *m)
{
	return mirror_stats(m->window).mapped + mirror_stats(m->cache).mapped;
}

static bool window_maps(int fd, size_t npages)
{
	return !mirror_fill(fd) && mirror_stats(fd).mapped == npages;
}

/* Write the pages, as they are. */
static bool touch_pages(const struct region *r)
{
	size_t i;

	for (i = 0; i < region_pages(r); i++)
		user_write(page_at(r, i), page_read(r, i));
	return true;
}

static void establish(struct __test_metadata *_metadata, struct mirrors *m)
{
	size_t npages = region_pages(&m->r);

	ASSERT_EQ(0, mirror_populate(m->table, m->r.addr, m->r.size));
	ASSERT_EQ(npages, mirror_stats(m->table).mapped);
	/* What writeback has just cleaned is not for writing. */
	ASSERT_TRUE(eventually(touch_pages(&m->r) &&
			       window_maps(m->window, npages) &&
			       window_maps(m->cache, npages)));
}

static void snapshot(struct mirrors *m)
{
	int i;

	for (i = 0; i < NR_MIRRORS; i++)
		m->was[i] = mirror_stats(nth_mirror(m, i));
}

static void mirrors_open(struct __test_metadata *_metadata, struct mirrors *m)
{
	m->table = device_open();
	m->window = device_open();
	m->cache = device_open();
	ASSERT_LE(0, m->table);
	ASSERT_LE(0, m->window);
	ASSERT_LE(0, m->cache);
	ASSERT_EQ(0, mirror_open(m->table, m->r.addr, m->r.size,
				 TEST_MIRROR_SPIN, TEST_MIRROR_WRITE));
	ASSERT_EQ(0, mirror_open(m->window, m->r.addr, m->r.size,
				 TEST_MIRROR_WINDOW, TEST_MIRROR_WRITE));
	ASSERT_EQ(0, mirror_open(m->cache, m->r.addr, m->r.size,
				 TEST_MIRROR_CACHE, TEST_MIRROR_WRITE));
}

static bool mirrors_setup(struct __test_metadata *_metadata, struct mirrors *m,
			  enum memory kind)
{
	const char *missing = memory_missing(kind);

	m->table = -1;
	m->window = -1;
	m->cache = -1;
	m->r.fd = -1;
	if (missing)
		SKIP(return false, "%s", missing);
	region_map(_metadata, &m->r, kind);
	write_pages(&m->r, 0, region_pages(&m->r), 1);
	if (kind == THP && huge_kb(&m->r, "AnonHugePages:") * 1024 !=
			   (long)m->r.size)
		SKIP(return false, "no huge pages to be had");
	mirrors_open(_metadata, m);
	establish(_metadata, m);
	snapshot(m);
	return true;
}

static void mirrors_teardown(struct mirrors *m)
{
	close(m->table);
	close(m->window);
	close(m->cache);
	if (m->r.fd >= 0)
		close(m->r.fd);
}

/* Pages that no mirror may reach any more. */
static void expect_gone(struct __test_metadata *_metadata, struct mirrors *m,
			size_t first, size_t n)
{
	char *addr = page_at(&m->r, first);
	int i;

	for (i = 0; i < NR_MIRRORS; i++)
		EXPECT_EQ(0, mirror_mapped(nth_mirror(m, i), addr,
					   n * page_size));
}

/* Pages that the disturbance was none of. */
static void expect_kept(struct __test_metadata *_metadata, struct mirrors *m,
			size_t first, size_t n)
{
	char *addr = page_at(&m->r, first);
	int i;

	for (i = 0; i < NR_MIRRORS; i++)
		EXPECT_EQ(n, mirror_mapped(nth_mirror(m, i), addr,
					   n * page_size));
}

/* A disturbance of at least @n pages was told to all mirrors as @event. */
static void expect_event(struct __test_metadata *_metadata, struct mirrors *m,
			 enum test_mirror_event event, size_t n)
{
	int i;

	for (i = 0; i < NR_MIRRORS; i++) {
		struct test_mirror_stats now = mirror_stats(nth_mirror(m, i));

		EXPECT_LT(m->was[i].drops[event], now.drops[event]);
		EXPECT_LE(m->was[i].dropped_pages + n, now.dropped_pages);
		/* Dropping dirties nothing. */
		EXPECT_EQ(m->was[i].nr_dirtied, now.nr_dirtied);
	}
}

static void expect_dirtied_once(struct __test_metadata *_metadata,
				struct mirrors *m)
{
	int i;

	for (i = 0; i < NR_MIRRORS; i++) {
		struct test_mirror_stats now = mirror_stats(nth_mirror(m, i));

		EXPECT_EQ(now.installed, now.nr_dirtied);
	}
}

/*
 * What the mirrors reach of pages that the process can read is what the
 * process sees, in both directions. Return how many entries were missing.
 * Of many pages only some are looked at: no batch or huge page is a multiple.
 */
static size_t expect_coherent(struct __test_metadata *_metadata,
			      struct mirrors *m, size_t first, size_t n)
{
	size_t i, step, missing = 0, wrong = 0;
	int nth;

	for (i = 0; i < n; i += step) {
		void *user = page_at(&m->r, first + i);

		/* The last one always. */
		step = n <= NR_PAGES ? 1 : 13;
		if (i < n - 1 && i + step >= n)
			step = n - 1 - i;
		for (nth = 0; nth < NR_MIRRORS; nth++) {
			int fd = nth_mirror(m, nth);
			uint64_t seen;

			if (mirror_read(fd, user, &seen)) {
				missing++;
				continue;
			}
			wrong += seen != user_read(user);
			if (mirror_write(fd, user, ~seen)) {
				missing++;
				continue;
			}
			wrong += user_read(user) != ~seen;
			user_write(user, seen);
		}
	}
	EXPECT_EQ(0, wrong);
	return missing;
}

/* The process has written anew: everything can be mirrored, and is right. */
static void expect_recovered(struct __test_metadata *_metadata,
			     struct mirrors *m, unsigned int generation)
{
	size_t n = region_pages(&m->r), missing = 1;
	int tries;

	expect_coherent(_metadata, m, 0, n);
	write_pages(&m->r, 0, n, generation);
	expect_coherent(_metadata, m, 0, n);
	/* The kernel may do something by itself in between, if rarely. */
	for (tries = 0; tries < 3 && missing; tries++) {
		establish(_metadata, m);
		missing = expect_coherent(_metadata, m, 0, n);
	}
	EXPECT_EQ(0, missing);
	expect_dirtied_once(_metadata, m);
}

/* Memory of every kind. */

FIXTURE(memory)
{
	struct mirrors m;
	size_t first;	/* the middle half of the region, in pages */
	size_t n;
	char *addr;	/* the same in bytes */
	size_t size;
};

FIXTURE_VARIANT(memory)
{
	enum memory kind;
	/* How the kernel announces these for this kind of memory. */
	enum test_mirror_event mremap;
	enum test_mirror_event fork;
};

FIXTURE_VARIANT_ADD(memory, anonymous)
{
	.kind = ANON,
	.mremap = TEST_MIRROR_UNMAP,
	.fork = TEST_MIRROR_PROTECTION_PAGE,
};

FIXTURE_VARIANT_ADD(memory, thp)
{
	.kind = THP,
	.mremap = TEST_MIRROR_UNMAP,
	.fork = TEST_MIRROR_PROTECTION_PAGE,
};

FIXTURE_VARIANT_ADD(memory, memfd)
{
	.kind = MEMFD,
	.mremap = TEST_MIRROR_UNMAP,
};

FIXTURE_VARIANT_ADD(memory, disk)
{
	.kind = DISK,
	.mremap = TEST_MIRROR_UNMAP,
};

FIXTURE_VARIANT_ADD(memory, hugetlb)
{
	.kind = HUGETLB,
	.mremap = TEST_MIRROR_CLEAR,
	.fork = TEST_MIRROR_CLEAR,
};

FIXTURE_SETUP(memory)
{
	struct region *r = &self->m.r;

	if (!mirrors_setup(_metadata, &self->m, variant->kind))
		return;
	self->size = r->size / r->unit / 2 * r->unit;
	self->addr = r->addr + r->size / r->unit / 4 * r->unit;
	self->n = self->size / page_size;
	self->first = (self->addr - r->addr) / page_size;
}

FIXTURE_TEARDOWN(memory)
{
	mirrors_teardown(&self->m);
}

/* What is outside the middle half was not disturbed. */
static void expect_rest_kept(struct __test_metadata *_metadata,
			     struct mirrors *m, size_t first, size_t n)
{
	size_t behind = first + n;

	expect_kept(_metadata, m, 0, first);
	expect_kept(_metadata, m, behind, region_pages(&m->r) - behind);
}

TEST_F(memory, established)
{
	struct test_mirror_stats table = mirror_stats(self->m.table);
	struct test_mirror_stats window;

	EXPECT_EQ(region_pages(&self->m.r), table.installed);
	expect_dirtied_once(_metadata, &self->m);
	expect_recovered(_metadata, &self->m, 2);
	/* What is there is not made again. */
	ASSERT_EQ(0, fill(&self->m));
	window = mirror_stats(self->m.window);
	EXPECT_EQ(window.mapped, window.installed - window.dropped_pages);
	expect_dirtied_once(_metadata, &self->m);
}

TEST_F(memory, munmap)
{
	ASSERT_EQ(0, munmap(self->addr, self->size));
	expect_event(_metadata, &self->m, TEST_MIRROR_UNMAP, self->n);
	expect_gone(_metadata, &self->m, self->first, self->n);
	expect_rest_kept(_metadata, &self->m, self->first, self->n);

	/* Nothing is there: neither kind of lookup finds a page. */
	EXPECT_EQ(-EFAULT, mirror_populate(self->m.table, self->addr,
					   self->size));
	EXPECT_EQ(0, fill(&self->m));
	expect_gone(_metadata, &self->m, self->first, self->n);

	ASSERT_EQ(self->addr, mmap(self->addr, self->size,
				   PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				   -1, 0));
	expect_recovered(_metadata, &self->m, 2);
}

TEST_F(memory, munmap_beyond)
{
	struct region *r = &self->m.r;

	ASSERT_EQ(0, munmap(r->addr - r->unit, r->size + 2 * r->unit));
	expect_event(_metadata, &self->m, TEST_MIRROR_UNMAP, region_pages(r));
	expect_gone(_metadata, &self->m, 0, region_pages(r));
	EXPECT_EQ(0, mirror_stats(self->m.table).mapped);
	EXPECT_EQ(0, filled(&self->m));
}

TEST_F(memory, munmap_edges)
{
	struct region *r = &self->m.r;
	size_t n = r->unit / page_size;
	size_t last = region_pages(r) - n;

	/* One unit at either end, each with what is outside the mirror. */
	ASSERT_EQ(0, munmap(r->addr - r->unit, 2 * r->unit));
	expect_gone(_metadata, &self->m, 0, n);
	expect_kept(_metadata, &self->m, n, last - n);
	ASSERT_EQ(0, munmap(r->addr + r->size - r->unit, 2 * r->unit));
	expect_gone(_metadata, &self->m, last, n);
	expect_kept(_metadata, &self->m, n, last - n);
}

TEST_F(memory, replace)
{
	ASSERT_EQ(self->addr, mmap(self->addr, self->size,
				   PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				   -1, 0));
	expect_event(_metadata, &self->m, TEST_MIRROR_UNMAP, self->n);
	expect_gone(_metadata, &self->m, self->first, self->n);
	expect_rest_kept(_metadata, &self->m, self->first, self->n);
	expect_recovered(_metadata, &self->m, 2);
}

TEST_F(memory, mremap)
{
	char *to = reserve(self->size, self->m.r.unit);

	ASSERT_NE(NULL, to);
	ASSERT_EQ(to, mremap(self->addr, self->size, self->size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	expect_event(_metadata, &self->m, variant->mremap, self->n);
	expect_gone(_metadata, &self->m, self->first, self->n);
	expect_rest_kept(_metadata, &self->m, self->first, self->n);
	/* The pages live on elsewhere, and the mirrors must not reach them. */
	EXPECT_EQ(token(1, self->first), user_read(to));
	ASSERT_EQ(self->addr, mmap(self->addr, self->size,
				   PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				   -1, 0));
	expect_recovered(_metadata, &self->m, 2);
	EXPECT_EQ(token(1, self->first), user_read(to));
}

TEST_F(memory, mprotect)
{
	ASSERT_EQ(0, mprotect(self->addr, self->size, PROT_READ));
	expect_event(_metadata, &self->m, TEST_MIRROR_PROTECTION_VMA, self->n);
	expect_gone(_metadata, &self->m, self->first, self->n);

	/* Not for writing any more. */
	EXPECT_EQ(-EFAULT, mirror_populate(self->m.table, self->addr,
					   self->size));
	EXPECT_EQ(0, fill(&self->m));
	expect_gone(_metadata, &self->m, self->first, self->n);
	EXPECT_EQ(token(1, self->first),
		  user_read(self->addr));

	ASSERT_EQ(0, mprotect(self->addr, self->size, PROT_READ | PROT_WRITE));
	expect_recovered(_metadata, &self->m, 2);
}

TEST_F(memory, discard)
{
	ASSERT_EQ(0, madvise(self->addr, self->size, MADV_DONTNEED));
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, self->n);
	expect_gone(_metadata, &self->m, self->first, self->n);
	expect_rest_kept(_metadata, &self->m, self->first, self->n);
	EXPECT_EQ(self->m.r.shared ? token(1, self->first) : 0,
		  user_read(self->addr));
	expect_recovered(_metadata, &self->m, 2);
}

/* Wait for a byte, then exit with 0 if the region holds @generation. */
static void child_check(const struct region *r, int fd, unsigned int generation)
{
	size_t i;
	char byte;

	if (read(fd, &byte, 1) != 1)
		_exit(2);
	for (i = 0; i < region_pages(r); i++)
		if (page_read(r, i) != token(generation, i))
			_exit(1);
	_exit(0);
}

TEST_F(memory, fork)
{
	struct region *r = &self->m.r;
	size_t npages = region_pages(r);
	size_t i, failed = 0;
	int status, go[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		child_check(r, go[0], r->shared ? 2 : 1);
	if (!r->shared) {
		expect_event(_metadata, &self->m, variant->fork, npages);
		expect_gone(_metadata, &self->m, 0, npages);
		/* Write protected now; making it writable is for a fault. */
		EXPECT_EQ(0, fill(&self->m));
		EXPECT_EQ(0, filled(&self->m));
		EXPECT_EQ(0, mirror_populate(self->m.table, r->addr, r->size));
	}
	/* Through the table alone, which is then on pages of the parent's. */
	for (i = 0; i < npages; i++)
		failed += mirror_write(self->m.table, page_at(r, i),
				       token(2, i)) != 0;
	EXPECT_EQ(0, failed);
	EXPECT_EQ(token(2, 0), page_read(r, 0));
	EXPECT_EQ(token(2, npages - 1), page_read(r, npages - 1));
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	expect_recovered(_metadata, &self->m, 3);
}

TEST_F(memory, migrate)
{
	size_t i, units = self->size / self->m.r.unit, failed = 0;
	int nodes[MAX_NODES], from, to;
	void *addr[NR_PAGES];
	int node[NR_PAGES], status[NR_PAGES];
	long migrated;

	if (nodes_with_memory(nodes) < 2)
		SKIP(return, "needs two NUMA nodes");
	for (i = 0; i < units; i++) {
		addr[i] = self->addr + i * self->m.r.unit;
		from = node_of(addr[i]);
		to = nodes[0] == from ? nodes[1] : nodes[0];
		node[i] = to;
	}
	migrated = vm_event("pgmigrate_success");
	ASSERT_EQ(0, syscall(__NR_move_pages, 0, units, addr, node, status,
			     MPOL_MF_MOVE_ALL));
	/* Not by the status: the second page of a folio is busy with it. */
	for (i = 0; i < units; i++)
		failed += node_of(addr[i]) != node[i];
	EXPECT_EQ(0, failed);
	EXPECT_LE(migrated + (long)self->n, vm_event("pgmigrate_success"));
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, self->n);
	expect_gone(_metadata, &self->m, self->first, self->n);
	/* A file system's folios may be larger, and move as one. */
	if (variant->kind != DISK)
		expect_rest_kept(_metadata, &self->m, self->first, self->n);
	EXPECT_EQ(token(1, self->first), user_read(self->addr));
	expect_recovered(_metadata, &self->m, 2);
}

/* Files, from behind. */

FIXTURE(file)
{
	struct mirrors m;
	size_t first;	/* the second half, in pages */
	size_t n;
	off_t offset;	/* the same in bytes */
};

FIXTURE_VARIANT(file)
{
	enum memory kind;
};

FIXTURE_VARIANT_ADD(file, memfd)
{
	.kind = MEMFD,
};

FIXTURE_VARIANT_ADD(file, disk)
{
	.kind = DISK,
};

FIXTURE_VARIANT_ADD(file, hugetlb)
{
	.kind = HUGETLB_FILE,
};

FIXTURE_SETUP(file)
{
	if (!mirrors_setup(_metadata, &self->m, variant->kind))
		return;
	self->offset = self->m.r.size / self->m.r.unit / 2 * self->m.r.unit;
	self->first = self->offset / page_size;
	self->n = region_pages(&self->m.r) - self->first;
}

FIXTURE_TEARDOWN(file)
{
	mirrors_teardown(&self->m);
}

TEST_F(file, truncate)
{
	struct region *r = &self->m.r;

	ASSERT_EQ(0, ftruncate(r->fd, self->offset));
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, self->n);
	expect_gone(_metadata, &self->m, self->first, self->n);
	expect_kept(_metadata, &self->m, 0, self->first);
	EXPECT_EQ(-EFAULT, mirror_populate(self->m.table,
					   r->addr + self->offset, r->unit));
	EXPECT_EQ(0, fill(&self->m));
	expect_gone(_metadata, &self->m, self->first, self->n);

	ASSERT_EQ(0, ftruncate(r->fd, r->size));
	EXPECT_EQ(0, page_read(r, self->first));
	expect_recovered(_metadata, &self->m, 2);
}

TEST_F(file, punch_hole)
{
	struct region *r = &self->m.r;

	ASSERT_EQ(0, fallocate(r->fd,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       self->offset, r->size - self->offset));
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, self->n);
	expect_gone(_metadata, &self->m, self->first, self->n);
	expect_kept(_metadata, &self->m, 0, self->first);
	EXPECT_EQ(0, page_read(r, self->first));
	expect_recovered(_metadata, &self->m, 2);
}

FIXTURE(disk)
{
	struct mirrors m;
	int direct;	/* the file, around the page cache */
	uint64_t *block;
};

FIXTURE_SETUP(disk)
{
	char path[64];

	self->direct = -1;
	if (!mirrors_setup(_metadata, &self->m, DISK))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->m.r.fd);
	self->direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, self->direct);
	ASSERT_EQ(0, posix_memalign((void **)&self->block, page_size,
				    page_size));
}

FIXTURE_TEARDOWN(disk)
{
	mirrors_teardown(&self->m);
	close(self->direct);
	free(self->block);
}

/*
 * After writeback the pages are clean and write protected. What the mirrors
 * write later has to get to the disk as well.
 */
TEST_F(disk, writeback)
{
	struct region *r = &self->m.r;
	size_t npages = region_pages(r);
	size_t page = npages / 2;
	void *addr = page_at(r, page);
	off_t offset = page * page_size;

	ASSERT_EQ(0, msync(r->addr, r->size, MS_SYNC));
	expect_event(_metadata, &self->m, TEST_MIRROR_PROTECTION_PAGE, npages);
	expect_gone(_metadata, &self->m, 0, npages);
	EXPECT_EQ(0, fill(&self->m));
	EXPECT_EQ(-ENOENT, mirror_write(self->m.window, addr, 1));
	ASSERT_EQ((ssize_t)page_size,
		  pread(self->direct, self->block, page_size, offset));
	EXPECT_EQ(token(1, page), self->block[0]);

	ASSERT_EQ(0, mirror_populate(self->m.table, r->addr, r->size));
	ASSERT_EQ(0, mirror_write(self->m.table, addr, token(2, page)));
	snapshot(&self->m);
	ASSERT_EQ(0, sync_file_range(r->fd, 0, r->size,
				     SYNC_FILE_RANGE_WRITE |
				     SYNC_FILE_RANGE_WAIT_AFTER));
	EXPECT_LT(self->m.was[0].drops[TEST_MIRROR_PROTECTION_PAGE],
		  mirror_stats(self->m.table).drops[TEST_MIRROR_PROTECTION_PAGE]);
	ASSERT_EQ((ssize_t)page_size,
		  pread(self->direct, self->block, page_size, offset));
	EXPECT_EQ(token(2, page), self->block[0]);

	/* The window cannot make a page writable, but follows who does. */
	user_write(addr + 8, 1);
	ASSERT_EQ(0, fill(&self->m));
	ASSERT_EQ(0, mirror_write(self->m.window, addr, token(3, page)));
	ASSERT_EQ(0, msync(r->addr, r->size, MS_SYNC));
	EXPECT_EQ(-ENOENT, mirror_write(self->m.window, addr, 1));
	ASSERT_EQ((ssize_t)page_size,
		  pread(self->direct, self->block, page_size, offset));
	EXPECT_EQ(token(3, page), self->block[0]);
	expect_recovered(_metadata, &self->m, 4);
}

/* What the kernel does to anonymous memory by itself, or when asked to. */

static int userfault_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int userfault_register(int fd, const void *addr, size_t size,
			      uint64_t mode)
{
	struct uffdio_register arg = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &arg);
}

static int userfault_protect(int fd, const void *addr, size_t size,
			     bool protect)
{
	struct uffdio_writeprotect arg = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &arg);
}

static int userfault_zero(int fd, const void *addr)
{
	struct uffdio_zeropage arg = {
		.range = { .start = (uintptr_t)addr, .len = page_size },
	};

	return ioctl(fd, UFFDIO_ZEROPAGE, &arg);
}

/* Wait until somebody sits in a fault: its address, or 0. */
static uint64_t userfault_wait(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg;

	if (poll(&poller, 1, PATIENCE_NS / 1000000) != 1 ||
	    read(fd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		return 0;
	return msg.arg.pagefault.address;
}

static size_t count_pagemap(const struct region *r, uint64_t bits)
{
	size_t i, n = 0;

	for (i = 0; i < region_pages(r); i++)
		n += !!(page_bits(page_at(r, i)) & bits);
	return n;
}

FIXTURE(anonymous)
{
	struct mirrors m;
	int uffd;
	unsigned int nr_settings;
};

FIXTURE_SETUP(anonymous)
{
	self->uffd = -1;
	self->nr_settings = nr_settings;
	mirrors_setup(_metadata, &self->m, ANON);
}

FIXTURE_TEARDOWN(anonymous)
{
	mirrors_teardown(&self->m);
	if (self->uffd >= 0)
		close(self->uffd);
	munmap(self->m.r.addr, self->m.r.size);
	restore(self->nr_settings);
	swap_off();
}

/* A page in another CPU's LRU batch stays; dropping caches drains them all. */
static bool pages_are_out(const struct mirrors *m)
{
	return write_text("/proc/sys/vm/drop_caches", "1") &&
	       !madvise(m->r.addr, m->r.size, MADV_PAGEOUT) &&
	       count_pagemap(&m->r, PAGEMAP_SWAPPED) == region_pages(&m->r);
}

TEST_F(anonymous, swap)
{
	struct region *r = &self->m.r;
	const char *missing = swap_on(64);
	size_t i, npages = region_pages(r);
	size_t lost = 0;
	long out;

	if (missing)
		SKIP(return, "%s", missing);
	for (i = 0; i < npages; i++) {
		ASSERT_EQ(0, mirror_write(self->m.window, page_at(r, i),
					  token(2, i)));
	}
	out = vm_event("pswpout");
	ASSERT_TRUE(eventually(pages_are_out(&self->m)));
	EXPECT_LE(out + (long)npages, vm_event("pswpout"));
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, npages);
	expect_gone(_metadata, &self->m, 0, npages);
	/* A fill brings nothing in. */
	EXPECT_EQ(0, fill(&self->m));
	EXPECT_EQ(0, filled(&self->m));
	EXPECT_EQ(npages, count_pagemap(r, PAGEMAP_SWAPPED));
	/* Populating does. */
	EXPECT_EQ(0, mirror_populate(self->m.table, r->addr, r->size));
	for (i = 0; i < npages; i++)
		lost += page_read(r, i) != token(2, i);
	EXPECT_EQ(0, lost);
	expect_recovered(_metadata, &self->m, 3);
}

TEST_F(anonymous, ksm)
{
	struct region *r = &self->m.r;
	size_t npages = region_pages(r);
	const char *missing;
	size_t i;

	for (i = 0; i < npages; i++)
		memset(r->addr + i * page_size, 0x5a, page_size);
	ASSERT_EQ(0, madvise(r->addr, r->size, MADV_MERGEABLE));
	missing = ksm_on();
	if (missing)
		SKIP(return, "%s", missing);
	EXPECT_TRUE(eventually(read_number("/proc/self/ksm_merging_pages") >=
			       (long)npages));
	EXPECT_LE((long)npages - 1, read_number(KSM_DIR "pages_sharing"));
	write_text(KSM_DIR "run", "0");
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, npages);
	expect_gone(_metadata, &self->m, 0, npages);
	/* The merged page is nobody's to write. */
	EXPECT_EQ(0, fill(&self->m));
	EXPECT_EQ(0, filled(&self->m));
	ASSERT_EQ(0, mirror_populate(self->m.table, r->addr, page_size));
	ASSERT_EQ(0, mirror_write(self->m.table, r->addr, 1));
	EXPECT_EQ(1, page_read(r, 0));
	EXPECT_EQ(0x5a5a5a5a5a5a5a5aULL, page_read(r, 1));
	expect_recovered(_metadata, &self->m, 2);
}

TEST_F(anonymous, uffd_wp)
{
	struct region *r = &self->m.r;
	size_t page = region_pages(r) / 2;
	void *addr = page_at(r, page);
	struct job populate = {
		.run = job_populate,
		.fd = self->m.table,
		.cpu = -1,
		.addr = addr,
		.length = page_size,
	};

	self->uffd = userfault_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	if (self->uffd < 0 ||
	    userfault_register(self->uffd, r->addr, r->size,
			       UFFDIO_REGISTER_MODE_WP))
		SKIP(return, "no write protection by userfaultfd");
	snapshot(&self->m);
	ASSERT_EQ(0, userfault_protect(self->uffd, addr, page_size, true));
	expect_event(_metadata, &self->m, TEST_MIRROR_PROTECTION_VMA, 1);
	expect_gone(_metadata, &self->m, page, 1);
	EXPECT_EQ(0, fill(&self->m));
	expect_gone(_metadata, &self->m, page, 1);

	/* The one who protects it is asked before a mirror may write. */
	job_start(_metadata, &populate);
	EXPECT_EQ((uintptr_t)addr,
		  userfault_wait(self->uffd) & ~(page_size - 1));
	expect_gone(_metadata, &self->m, page, 1);
	ASSERT_EQ(0, userfault_protect(self->uffd, addr, page_size, false));
	EXPECT_EQ(0, job_wait(_metadata, &populate));
	expect_recovered(_metadata, &self->m, 2);
}

TEST_F(anonymous, soft_dirty)
{
	struct region *r = &self->m.r;
	size_t npages = region_pages(r);
	size_t page = npages / 2;
	void *addr = page_at(r, page);

	if (count_pagemap(r, PAGEMAP_SOFT_DIRTY) != npages)
		SKIP(return, "no soft-dirty bits");
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	expect_event(_metadata, &self->m, TEST_MIRROR_SOFT_DIRTY, npages);
	expect_gone(_metadata, &self->m, 0, npages);
	EXPECT_EQ(0, fill(&self->m));
	EXPECT_EQ(0, filled(&self->m));
	EXPECT_EQ(0, count_pagemap(r, PAGEMAP_SOFT_DIRTY));

	/* What a mirror may write from now on is soft-dirty. */
	ASSERT_EQ(0, mirror_populate(self->m.table, addr, page_size));
	ASSERT_EQ(0, mirror_write(self->m.table, addr, 2));
	EXPECT_EQ(1, count_pagemap(r, PAGEMAP_SOFT_DIRTY));
	EXPECT_TRUE(page_bits(addr) & PAGEMAP_SOFT_DIRTY);
	expect_recovered(_metadata, &self->m, 2);
}

static sigjmp_buf bus_error;

static void on_bus_error(int sig)
{
	siglongjmp(bus_error, sig);
}

/* The signal may come from the injection, or at the first access. */
static bool poison(void *addr, int *error)
{
	struct sigaction action = { .sa_handler = on_bus_error };

	sigaction(SIGBUS, &action, NULL);
	*error = 0;
	if (sigsetjmp(bus_error, 1))
		return true;
	if (madvise(addr, page_size, MADV_HWPOISON)) {
		*error = errno;
		return false;
	}
	user_write(addr, 1);
	return false;
}

TEST_F(anonymous, hwpoison)
{
	struct region *r = &self->m.r;
	size_t page = region_pages(r) / 2;
	void *addr = page_at(r, page);
	bool killed;
	int error;

	killed = poison(addr, &error);
	if (error)
		SKIP(return, "no injection of memory errors: %s",
		     strerror(error));
	EXPECT_TRUE(killed);
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, 1);
	expect_gone(_metadata, &self->m, page, 1);
	expect_kept(_metadata, &self->m, 0, page);
	expect_kept(_metadata, &self->m, page + 1, region_pages(r) - page - 1);
	EXPECT_GT(0, mirror_populate(self->m.table, addr, page_size));
	EXPECT_EQ(0, fill(&self->m));
	expect_gone(_metadata, &self->m, page, 1);
	ASSERT_EQ(addr, mmap(addr, page_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	expect_recovered(_metadata, &self->m, 2);
}

static bool page_is_gone(void *addr)
{
	return !madvise(addr, page_size, MADV_PAGEOUT) &&
	       !(page_bits(addr) & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED));
}

/* Ways to have everything mirrored for writing. */

static bool by_filling(struct mirrors *m)
{
	return eventually(window_maps(m->window, region_pages(&m->r)));
}

static bool by_populating(struct mirrors *m)
{
	return !mirror_populate(m->table, m->r.addr, m->r.size);
}

static bool by_looking_up(struct mirrors *m)
{
	size_t at, n, most = TEST_MIRROR_LOOKUP_MAX * page_size;

	for (at = 0; at < m->r.size; at += n) {
		n = m->r.size - at < most ? m->r.size - at : most;
		if (mirror_lookup(m->table, m->r.addr + at, n,
				  TEST_MIRROR_FOR_WRITING, NULL) !=
		    (long)(n / page_size))
			return false;
	}
	return true;
}

/*
 * MADV_FREE leaves pages writable and clean; a lookup of them faults nothing,
 * so that only the mirror knows that they are written to. Reclaim drops those
 * that are clean. What was mirrored before makes no difference: it is gone.
 */
static void dirty_of_freed(struct __test_metadata *_metadata,
			   struct mirrors *m, int fd,
			   bool (*mirror)(struct mirrors *m),
			   unsigned int generation)
{
	struct region *r = &m->r;
	size_t i, npages = region_pages(r);
	unsigned int lost = 0;
	void *control = reserve(page_size, page_size);

	pin_to_cpu(0);
	ASSERT_EQ(0, mprotect(control, page_size, PROT_READ | PROT_WRITE));
	user_write(control, 1);
	ASSERT_EQ(0, madvise(control, page_size, MADV_FREE));
	ASSERT_EQ(0, madvise(r->addr, r->size, MADV_FREE));
	expect_gone(_metadata, m, 0, npages);
	ASSERT_TRUE(mirror(m));
	for (i = 0; i < npages; i++) {
		ASSERT_EQ(0, mirror_write(fd, page_at(r, i),
					  token(generation, i)));
	}
	if (!eventually(page_is_gone(control)))
		SKIP(return, "freed pages are not reclaimed here");
	ASSERT_EQ(0, madvise(r->addr, r->size, MADV_PAGEOUT));
	for (i = 0; i < npages; i++)
		lost += page_read(r, i) != token(generation, i);
	EXPECT_EQ(0, lost);
	write_pages(r, 0, npages, generation);
	munmap(control, page_size);
}

TEST_F(anonymous, dirty_of_freed)
{
	dirty_of_freed(_metadata, &self->m, self->m.window, by_filling, 2);
	dirty_of_freed(_metadata, &self->m, self->m.table, by_populating, 3);
	dirty_of_freed(_metadata, &self->m, self->m.table, by_looking_up, 4);
	expect_recovered(_metadata, &self->m, 5);
}

/* Transparent huge pages. */

FIXTURE(thp)
{
	struct mirrors m;
};

FIXTURE_SETUP(thp)
{
	mirrors_setup(_metadata, &self->m, THP);
}

FIXTURE_TEARDOWN(thp)
{
	mirrors_teardown(&self->m);
}

static bool huge_split(const struct region *r, long *failed)
{
	char text[96];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(),
		 (unsigned long)r->addr, (unsigned long)r->addr + r->size);
	if (write_text("/sys/kernel/debug/split_huge_pages", text))
		return true;
	/* Without debugfs: half of a huge page only has to be split off. */
	*failed = madvise(r->addr, thp_size / 2, MADV_COLD);
	return !*failed;
}

TEST_F(thp, split)
{
	struct region *r = &self->m.r;
	long split = vm_event("thp_split_page");
	long failed = 0;

	ASSERT_TRUE(huge_split(r, &failed));
	EXPECT_LT(split, vm_event("thp_split_page"));
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR,
		     thp_size / page_size);
	expect_gone(_metadata, &self->m, 0, thp_size / page_size);
	EXPECT_EQ(token(1, 0), page_read(r, 0));
	expect_recovered(_metadata, &self->m, 2);
}

/* One entry of the CPU's is one page to mark, for one who asks for all. */
TEST_F(thp, lookup_marks_once)
{
	struct region *r = &self->m.r;
	size_t npages = thp_size / page_size;
	uint64_t dirtied, huge;

	ASSERT_EQ(0, mprotect(r->addr, r->size, PROT_READ));
	ASSERT_EQ(0, mprotect(r->addr, r->size, PROT_READ | PROT_WRITE));
	dirtied = mirror_stats(self->m.table).nr_dirtied;
	ASSERT_EQ(npages, mirror_lookup(self->m.table, r->addr, thp_size,
					TEST_MIRROR_FOR_WRITING, &huge));
	if (huge != npages)
		SKIP(return, "the lookup knows of no huge pages");
	EXPECT_EQ(dirtied + 1, mirror_stats(self->m.table).nr_dirtied);
	expect_coherent(_metadata, &self->m, 0, npages);
}

/* Reclaim may have split them. */
static bool huge_again(const struct region *r)
{
	return !madvise(r->addr, r->size, MADV_COLLAPSE) &&
	       huge_kb(r, "AnonHugePages:") * 1024 == (long)r->size;
}

TEST_F(thp, dirty_of_freed)
{
	struct region *r = &self->m.r;

	dirty_of_freed(_metadata, &self->m, self->m.window, by_filling, 2);
	if (!huge_again(r))
		SKIP(return, "no huge pages to be had");
	dirty_of_freed(_metadata, &self->m, self->m.table, by_populating, 3);
	expect_recovered(_metadata, &self->m, 4);
}

/* Each of them is marked once, and as a whole. */
TEST_F(thp, dirty_of_freed_at_once)
{
	struct region *r = &self->m.r;
	uint64_t dirtied = mirror_stats(self->m.table).nr_dirtied;

	dirty_of_freed(_metadata, &self->m, self->m.table, by_looking_up, 2);
	EXPECT_EQ(dirtied + r->size / thp_size,
		  mirror_stats(self->m.table).nr_dirtied);
}

TEST_F(thp, discard_part)
{
	struct region *r = &self->m.r;
	size_t n = thp_size / page_size / 4;

	ASSERT_EQ(0, madvise(r->addr + thp_size / 4, thp_size / 4,
			     MADV_DONTNEED));
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, n);
	expect_gone(_metadata, &self->m, n, n);
	expect_kept(_metadata, &self->m, 4 * n, region_pages(r) - 4 * n);
	EXPECT_EQ(0, page_read(r, n));
	EXPECT_EQ(token(1, 0), page_read(r, 0));
	EXPECT_EQ(token(1, 2 * n), page_read(r, 2 * n));
	expect_recovered(_metadata, &self->m, 2);
}

TEST_F(thp, protect_part)
{
	struct region *r = &self->m.r;
	size_t n = thp_size / page_size / 4;

	ASSERT_EQ(0, mprotect(r->addr + thp_size / 4, thp_size / 4, PROT_READ));
	expect_gone(_metadata, &self->m, n, n);
	expect_kept(_metadata, &self->m, 4 * n, region_pages(r) - 4 * n);
	EXPECT_EQ(0, fill(&self->m));
	EXPECT_EQ(-EFAULT, mirror_populate(self->m.table,
					   r->addr + thp_size / 4, page_size));
	expect_gone(_metadata, &self->m, n, n);
	ASSERT_EQ(0, mprotect(r->addr, r->size, PROT_READ | PROT_WRITE));
	expect_recovered(_metadata, &self->m, 2);
}

TEST_F(thp, collapse)
{
	struct region *r = &self->m.r;
	size_t npages = region_pages(r);
	long collapsed;

	/* Made of small pages first. */
	ASSERT_EQ(0, madvise(r->addr, r->size, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, madvise(r->addr, r->size, MADV_DONTNEED));
	write_pages(r, 0, npages, 2);
	ASSERT_EQ(0, huge_kb(r, "AnonHugePages:"));
	establish(_metadata, &self->m);
	snapshot(&self->m);

	collapsed = vm_event("thp_collapse_alloc");
	ASSERT_EQ(0, madvise(r->addr, r->size, MADV_HUGEPAGE));
	if (madvise(r->addr, r->size, MADV_COLLAPSE) && errno == EINVAL)
		SKIP(return, "no MADV_COLLAPSE");
	EXPECT_TRUE(eventually(!madvise(r->addr, r->size, MADV_COLLAPSE)));
	EXPECT_LE(collapsed + NR_HUGE, vm_event("thp_collapse_alloc"));
	EXPECT_EQ((long)r->size, huge_kb(r, "AnonHugePages:") * 1024);
	expect_event(_metadata, &self->m, TEST_MIRROR_CLEAR, npages);
	expect_gone(_metadata, &self->m, 0, npages);
	EXPECT_EQ(token(2, npages - 1), page_read(r, npages - 1));
	expect_recovered(_metadata, &self->m, 3);
}

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

/* What is established, the way that this kind does it. */
static long lookup(int fd, enum test_mirror_kind kind, void *addr, size_t size)
{
	if (kind == TEST_MIRROR_WINDOW)
		return mirror_fill(fd);
	return mirror_populate(fd, addr, size);
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

/*
 * The one who should answer the fault is killed while a worker of the device's
 * waits for the answer, and the device for the worker: the lookup is given up.
 */
TEST_F(kind, lookup_dies_with_its_process)
{
	int status, tries;
	pid_t pid;

	if (variant->kind == TEST_MIRROR_WINDOW)
		return;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int uffd = userfault_open(0), fd = device_open();

		if (uffd < 0 || fd < 0 ||
		    madvise(self->r.addr, self->r.size, MADV_DONTNEED) ||
		    userfault_register(uffd, self->r.addr, self->r.size,
				       UFFDIO_REGISTER_MODE_MISSING) ||
		    mirror_open(fd, self->r.addr, self->r.size, variant->kind,
				TEST_MIRROR_WRITE))
			_exit(1);
		mirror_lookup(fd, self->r.addr, self->r.size,
			      TEST_MIRROR_FOR_WRITING, NULL);
		_exit(2);
	}
	usleep(300000);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	for (tries = 0; tries < 100; tries++) {
		pid_t ended = waitpid(pid, &status, WNOHANG);

		ASSERT_LE(0, ended);
		if (ended)
			break;
		usleep(100000);
	}
	ASSERT_LT(tries, 100);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
		SKIP(return, "no userfaultfd");
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

/*
 * Entries in use. The holder is on a CPU of its own; the invalidation starts
 * when it is seen holding, and whether that was early enough is known
 * afterwards, from the clock.
 */

#define HOLD_TRIES	20

FIXTURE(hold)
{
	struct region r;
	int fd;
	char *addr;		/* the page that is held */
	void *alias;		/* the same page, mapped for good */
	struct job holder;
};

FIXTURE_VARIANT(hold)
{
	enum test_mirror_kind kind;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(hold, spin)
{
	.kind = TEST_MIRROR_SPIN,
};

FIXTURE_VARIANT_ADD(hold, mutex)
{
	.kind = TEST_MIRROR_MUTEX,
};

FIXTURE_VARIANT_ADD(hold, sleep)
{
	.kind = TEST_MIRROR_SLEEP,
};

FIXTURE_VARIANT_ADD(hold, section)
{
	.kind = TEST_MIRROR_WINDOW,
};

FIXTURE_VARIANT_ADD(hold, nested)
{
	.kind = TEST_MIRROR_WINDOW,
	.flags = TEST_MIRROR_NESTED,
};

FIXTURE_SETUP(hold)
{
	size_t page = NR_PAGES / 2;

	self->fd = -1;
	self->r.fd = -1;
	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	region_map(_metadata, &self->r, MEMFD);
	write_pages(&self->r, 0, NR_PAGES, 1);
	self->addr = self->r.addr + page * page_size;
	self->alias = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   self->r.fd, page * page_size);
	ASSERT_NE(MAP_FAILED, self->alias);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 variant->kind, TEST_MIRROR_WRITE));
	self->holder = (struct job) {
		.run = job_hold,
		.fd = self->fd,
		.cpu = 1,
		.hold = {
			.addr = (uintptr_t)self->addr,
			.time_us = TEST_MIRROR_HOLD_MAX_US,
			.flags = variant->flags,
		},
	};
}

FIXTURE_TEARDOWN(hold)
{
	trace_stop();
	close(self->fd);
	close(self->r.fd);
}

/* Map the page, mirror it, and have it held. */
static void hold_start(struct __test_metadata *_metadata, struct job *holder,
		       const struct region *r, enum test_mirror_kind kind,
		       uint64_t value)
{
	char *addr = (char *)(uintptr_t)holder->hold.addr;

	ASSERT_EQ(addr, mmap(addr, page_size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, r->fd, addr - r->addr));
	user_write(addr, 0);
	ASSERT_EQ(0, lookup(holder->fd, kind, addr, page_size));
	holder->hold.value = value;
	job_start(_metadata, holder);
	while (!mirror_holding(holder->fd) && !atomic_load(&holder->done))
		;
}

TEST_F(hold, munmap)
{
	bool waits = variant->kind != TEST_MIRROR_SPIN &&
		     variant->kind != TEST_MIRROR_MUTEX;
	bool traced = !trace_start("mmu_range_mirror");
	unsigned long spent = 0, least = 0, most = 0;
	unsigned int i, told = 0;

	pin_to_cpu(0);
	for (i = 1; i <= HOLD_TRIES && told < 3; i++) {
		uint64_t began, ended, value;

		hold_start(_metadata, &self->holder, &self->r, variant->kind,
			   i);
		began = now_ns();
		ASSERT_EQ(0, munmap(self->addr, page_size));
		ended = now_ns();
		value = user_read(self->alias);
		ASSERT_EQ(0, job_wait(_metadata, &self->holder));
		if (began >= self->holder.hold.ended_ns)
			continue;
		told++;
		EXPECT_LT(self->holder.hold.ended_ns, ended);
		EXPECT_EQ(i, value);
		most += ended - began;
		least += (self->holder.hold.ended_ns - began) / 2;
	}
	if (!told)
		SKIP(return, "the holder was never met");
	if (traced) {
		spent = trace_sum("mmu_mirror_wait", "ns");
		EXPECT_EQ(waits, !!trace_count("mmu_mirror_wait",
					       "event=unmap start=0x%lx end=0x%lx",
					       (unsigned long)self->addr,
					       (unsigned long)self->addr +
					       page_size));
	}
	if (traced && waits && told == i - 1) {
		EXPECT_LT(least, spent);
		EXPECT_GE(most, spent);
	}
	if (waits) {
		EXPECT_LE(told, mirror_stats(self->fd).nr_waits);
		EXPECT_LT(0, mirror_stats(self->fd).worst_wait_ns);
	}
}

/* A hold that is let go does not keep anybody any longer. */
TEST_F(hold, release)
{
	pin_to_cpu(0);
	hold_start(_metadata, &self->holder, &self->r, variant->kind, 1);
	EXPECT_EQ(0, mirror_release(self->fd));
	ASSERT_EQ(0, job_wait(_metadata, &self->holder));
	EXPECT_EQ(1, user_read(self->alias));
	EXPECT_EQ(0, mirror_holding(self->fd));
	EXPECT_EQ(0, munmap(self->addr, page_size));
}

/* CPUs: more of them than a word has bits, and some that come and go. */

#define CPU_DIR		"/sys/devices/system/cpu/"

static bool cpu_set_online(int cpu, bool on)
{
	char path[64];

	snprintf(path, sizeof(path), CPU_DIR "cpu%d/online", cpu);
	return write_text(path, on ? "1" : "0");
}

static bool cpu_is_online(int cpu)
{
	char path[64];

	snprintf(path, sizeof(path), CPU_DIR "cpu%d/online", cpu);
	return read_number(path) == 1;
}

static int last_possible_cpu(void)
{
	char buf[256], *last;

	if (!read_text(CPU_DIR "possible", buf, sizeof(buf)))
		return 0;
	last = strrchr(buf, '-');
	return atoi(last ? last + 1 : buf);
}

FIXTURE(cpu)
{
	struct region r;
	int fd;
	char *addr;		/* the page that is held */
	void *alias;		/* the same page, mapped for good */
	struct job holder;
	int cpu;		/* that the test has switched on or off, or -1 */
	bool was_online;
};

FIXTURE_SETUP(cpu)
{
	size_t page = NR_PAGES / 2;

	self->cpu = -1;
	region_map(_metadata, &self->r, MEMFD);
	write_pages(&self->r, 0, NR_PAGES, 1);
	self->addr = self->r.addr + page * page_size;
	self->alias = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   self->r.fd, page * page_size);
	ASSERT_NE(MAP_FAILED, self->alias);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 TEST_MIRROR_WINDOW, TEST_MIRROR_WRITE));
	self->holder = (struct job) {
		.run = job_hold,
		.fd = self->fd,
		.hold = { .addr = (uintptr_t)self->addr },
	};
	pin_to_cpu(0);
}

FIXTURE_TEARDOWN(cpu)
{
	if (self->cpu >= 0)
		cpu_set_online(self->cpu, self->was_online);
	close(self->fd);
	close(self->r.fd);
}

/* A section that is over when this returns. */
static void cpu_reads(struct __test_metadata *_metadata, struct job *holder,
		      const struct region *r)
{
	holder->hold.time_us = 0;
	hold_start(_metadata, holder, r, TEST_MIRROR_WINDOW, 1);
	ASSERT_EQ(0, job_wait(_metadata, holder));
}

/* munmap() waits for the holder, on whichever CPU it is. */
static void cpu_is_waited_for(struct __test_metadata *_metadata,
			      struct job *holder, const struct region *r,
			      const void *alias)
{
	void *addr = (void *)(uintptr_t)holder->hold.addr;
	unsigned int i, told = 0;

	holder->hold.time_us = TEST_MIRROR_HOLD_MAX_US;
	for (i = 1; i <= HOLD_TRIES && told < 3; i++) {
		uint64_t began, ended, value;

		hold_start(_metadata, holder, r, TEST_MIRROR_WINDOW, i);
		began = now_ns();
		ASSERT_EQ(0, munmap(addr, page_size));
		ended = now_ns();
		value = user_read(alias);
		ASSERT_EQ(0, job_wait(_metadata, holder));
		if (began >= holder->hold.ended_ns)
			continue;
		told++;
		EXPECT_LT(holder->hold.ended_ns, ended);
		EXPECT_EQ(i, value);
	}
	EXPECT_LT(0, told);
}

/* What is kept for each CPU in masks has a second word for this one. */
TEST_F(cpu, beyond_a_word)
{
	uint64_t interrupts;
	int cpu = last_possible_cpu();

	if (cpu < (int)(8 * sizeof(long)))
		SKIP(return, "needs a CPU with a number beyond the bits of a word");
	self->was_online = cpu_is_online(cpu);
	self->cpu = cpu;
	ASSERT_TRUE(cpu_set_online(cpu, true));
	CPU_SET(cpu, &cpus);
	self->holder.cpu = CPU_COUNT(&cpus) - 1;

	/* Whoever has been inside is interrupted, once. */
	cpu_reads(_metadata, &self->holder, &self->r);
	interrupts = mirror_stats(self->fd).nr_interrupts;
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	EXPECT_EQ(interrupts + 1, mirror_stats(self->fd).nr_interrupts);
	user_write(self->addr, 2);
	ASSERT_EQ(0, lookup(self->fd, TEST_MIRROR_WINDOW, self->addr, page_size));
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	EXPECT_EQ(interrupts + 1, mirror_stats(self->fd).nr_interrupts);
	cpu_is_waited_for(_metadata, &self->holder, &self->r, self->alias);
}

/*
 * A CPU that has read goes away, misses an invalidation, and comes back, where the
 * domain takes it for one that reads already: nothing hangs, and nobody is missed.
 */
TEST_F(cpu, comes_and_goes)
{
	uint64_t interrupts, value;
	int i;

	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	/* As the machines with checkers have, where this was never tried. */
	if (last_possible_cpu() < 2)
		SKIP(return, "of two CPUs that there can be, none is switched off");
	self->holder.cpu = 1;
	cpu_reads(_metadata, &self->holder, &self->r);
	for (self->cpu = 1; !CPU_ISSET(self->cpu, &cpus);)
		self->cpu++;
	self->was_online = true;
	if (!cpu_set_online(self->cpu, false))
		SKIP(return, "cannot switch CPU %d off", self->cpu);
	for (i = 0; i < 3; i++) {
		interrupts = mirror_stats(self->fd).nr_interrupts;
		ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
		EXPECT_EQ(interrupts, mirror_stats(self->fd).nr_interrupts);
		user_write(self->addr, i);
		ASSERT_EQ(0, lookup(self->fd, TEST_MIRROR_WINDOW, self->addr,
				    page_size));
		EXPECT_EQ(0, mirror_read(self->fd, self->addr, &value));
		EXPECT_EQ((uint64_t)i, value);
		ASSERT_TRUE(cpu_set_online(self->cpu, true));
		cpu_is_waited_for(_metadata, &self->holder, &self->r,
				  self->alias);
		cpu_reads(_metadata, &self->holder, &self->r);
		ASSERT_TRUE(cpu_set_online(self->cpu, false));
	}
}

/* Entries in use outside the lock. */

FIXTURE(use)
{
	struct region r;
	int fd;
	char *addr;
	struct job holder;
};

FIXTURE_VARIANT(use)
{
	enum test_mirror_kind kind;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(use, sleep)
{
	.kind = TEST_MIRROR_SLEEP,
};

FIXTURE_VARIANT_ADD(use, section)
{
	.kind = TEST_MIRROR_WINDOW,
};

FIXTURE_VARIANT_ADD(use, nested)
{
	.kind = TEST_MIRROR_WINDOW,
	.flags = TEST_MIRROR_NESTED,
};

FIXTURE_SETUP(use)
{
	self->fd = -1;
	self->r.fd = -1;
	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	region_map(_metadata, &self->r, MEMFD);
	self->addr = self->r.addr + NR_PAGES / 2 * page_size;
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	if (!device_injectable(self->fd))
		SKIP(return, "the module has no injection points");
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 variant->kind, TEST_MIRROR_WRITE));
	self->holder = (struct job) {
		.run = job_hold,
		.fd = self->fd,
		.cpu = 1,
		.hold = {
			.addr = (uintptr_t)self->addr,
			.time_us = TEST_MIRROR_HOLD_MAX_US,
			.flags = variant->flags,
		},
	};
}

FIXTURE_TEARDOWN(use)
{
	close(self->fd);
	close(self->r.fd);
}

/*
 * The first invalidation has dropped the entry and not yet waited. The second
 * finds nothing to drop, and has to wait all the same.
 */
TEST_F(use, second_waits)
{
	struct job first = {
		.run = job_discard,
		.cpu = -1,
		.addr = self->addr,
		.length = page_size,
	};
	unsigned int i, told = 0;

	pin_to_cpu(0);
	for (i = 1; i <= HOLD_TRIES && told < 3; i++) {
		uint64_t began, ended;

		hold_start(_metadata, &self->holder, &self->r, variant->kind,
			   i);
		/* Only now: mapping the page is an invalidation, too. */
		ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_DROPPED, 1));
		job_start(_metadata, &first);
		ASSERT_TRUE(eventually(mirror_stopped(self->fd,
						      TEST_MIRROR_DROPPED)));
		began = now_ns();
		ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
		ended = now_ns();
		ASSERT_EQ(0, job_wait(_metadata, &self->holder));
		mirror_release(self->fd);
		EXPECT_EQ(0, job_wait(_metadata, &first));
		if (began >= self->holder.hold.ended_ns)
			continue;
		told++;
		EXPECT_LT(self->holder.hold.ended_ns, ended);
		EXPECT_LT(self->holder.hold.ended_ns, first.ended_ns);
	}
	if (!told)
		SKIP(return, "the holder was never met");
}

/*
 * The mirror is being closed and its reader still inside: the page must not go
 * before the reader has. Only windows can be closed under a reader.
 */
TEST_F(use, close)
{
	struct job closer = {
		.run = job_close,
		.fd = self->fd,
		.cpu = -1,
	};
	unsigned int i, told = 0;

	pin_to_cpu(0);
	for (i = 1; i <= HOLD_TRIES && told < 3; i++) {
		uint64_t began, ended;

		hold_start(_metadata, &self->holder, &self->r, variant->kind,
			   i);
		ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_SNAPSHOT, 1));
		job_start(_metadata, &closer);
		/* A table is not taken away from a holder. */
		ASSERT_TRUE(variant->kind != TEST_MIRROR_WINDOW ||
			    eventually(mirror_stopped(self->fd,
						      TEST_MIRROR_SNAPSHOT)));
		began = now_ns();
		ASSERT_EQ(0, munmap(self->addr, page_size));
		ended = now_ns();
		ASSERT_EQ(0, job_wait(_metadata, &self->holder));
		mirror_release(self->fd);
		EXPECT_EQ(0, job_wait(_metadata, &closer));
		ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
					 variant->kind, TEST_MIRROR_WRITE));
		if (began >= self->holder.hold.ended_ns)
			continue;
		told++;
		EXPECT_LT(self->holder.hold.ended_ns, ended);
		EXPECT_LT(self->holder.hold.ended_ns, closer.ended_ns);
	}
	if (!told)
		SKIP(return, "the holder was never met");
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

/* Before and after everything. */

static char loop_image[32];
static char loop_dir[40];
static bool loop_mounted;

/* Pages to either side of where high memory ends and low memory begins. */
#define NR_BESIDE	32

/* Memory that begins in high memory and ends in low, or NULL. */
static char *high_and_low(size_t size, unsigned long first_high)
{
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t at;

	if (mem == MAP_FAILED)
		return NULL;
	madvise(mem, size, MADV_NOHUGEPAGE);
	for (at = 0; at < size; at += page_size)
		user_write(mem + at, at + 1);
	for (at = NR_BESIDE * page_size; at < size - NR_BESIDE * page_size;
	     at += page_size)
		if (page_pfn(mem + at - page_size) >= first_high &&
		    page_pfn(mem + at) < first_high)
			return mem + at - NR_BESIDE * page_size;
	return NULL;
}

/*
 * A window has the pages of low memory, and refuses those of high memory one by
 * one; a table has them all. High memory is allocated first: to get both, take
 * more than there is of it.
 */
TEST(high_memory)
{
	unsigned long first_high = first_high_pfn(), nr_high = 0;
	size_t size = 2 * NR_BESIDE * page_size;
	int table = device_open(), window = device_open();
	char *mem;

	if (!first_high)
		SKIP(return, "no high memory");
	mem = high_and_low(read_field("/proc/meminfo", "HighFree") * 1024 +
			   (64UL << 20), first_high);
	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, mirror_open(table, mem, size, TEST_MIRROR_SPIN,
				 TEST_MIRROR_WRITE));
	ASSERT_EQ(0, mirror_open(window, mem, size, TEST_MIRROR_WINDOW,
				 TEST_MIRROR_WRITE));
	ASSERT_EQ(0, mirror_populate(table, mem, size));
	ASSERT_EQ(0, mirror_fill(window));
	for (size_t at = 0; at < size; at += page_size) {
		bool high = page_pfn(mem + at) >= first_high;
		uint64_t seen = 0;

		nr_high += high;
		EXPECT_EQ(!high, mirror_reaches(window, mem + at));
		EXPECT_EQ(high ? -ENOENT : 0,
			  mirror_write(window, mem + at, at + 2));
		EXPECT_EQ(0, mirror_read(table, mem + at, &seen));
		EXPECT_EQ(user_read(mem + at), seen);
	}
	EXPECT_LT(0, nr_high);
	EXPECT_LT(nr_high, size / page_size);
	TH_LOG("%lu pages of high memory", nr_high);
	close(table);
	close(window);
}

static bool is_disk(const char *dir)
{
	struct statfs fs;

	if (statfs(dir, &fs) || access(dir, W_OK))
		return false;
	switch ((unsigned long)fs.f_type) {
	case 0xef53:		/* ext4 */
	case 0x58465342:	/* xfs */
	case 0x9123683e:	/* btrfs */
	case 0xf2f52010:	/* f2fs */
		return true;
	}
	return false;
}

/* A file system in an image, where all that is writable is in memory. */
static void make_disk(void)
{
	char line[256];
	int fd;

	snprintf(loop_image, sizeof(loop_image), "%s",
		 "/tmp/mmu_range_mirror.XXXXXX");
	fd = mkstemp(loop_image);
	if (fd < 0)
		return;
	snprintf(loop_dir, sizeof(loop_dir), "%s.d", loop_image);
	if (!ftruncate(fd, 64 << 20) && !mkdir(loop_dir, 0700)) {
		/* busybox has a mke2fs of its own, and in its shell that wins. */
		snprintf(line, sizeof(line),
			 "{ modprobe loop; { mkfs.ext4 -q -F %s || mke2fs -F %s; } && mount -t ext4 -o loop %s %s; } >/dev/null 2>&1",
			 loop_image, loop_image, loop_image, loop_dir);
		loop_mounted = !system(line);
	}
	close(fd);
	disk_dir[0] = 0;
	if (loop_mounted) {
		strcpy(disk_dir, loop_dir);
	} else {
		rmdir(loop_dir);
		unlink(loop_image);
	}
}

static bool use_disk(const char *dir)
{
	return dir && is_disk(dir) && realpath(dir, disk_dir);
}

/* A disk that is new is written back at once, unless it has a share of its own. */
static void find_disk(void)
{
	struct stat st;
	char path[96];

	if (!use_disk(getenv("TMPDIR")) && !use_disk("/var/tmp") &&
	    !use_disk("."))
		make_disk();
	if (!disk_dir[0] || stat(disk_dir, &st))
		return;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/bdi/min_ratio",
		 major(st.st_dev), minor(st.st_dev));
	if (set(path, "50"))
		return;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../bdi/min_ratio",
		 major(st.st_dev), minor(st.st_dev));
	set(path, "50");
}

static void clean_up(void)
{
	if (getpid() != settings_owner)
		return;
	restore(0);
	if (loop_mounted) {
		umount(loop_dir);
		rmdir(loop_dir);
		unlink(loop_image);
	}
}

/* Huge pages for two regions, on each node: one is to be migrated. */
static void reserve_huge_pages(void)
{
	int nodes[MAX_NODES], i, nr = nodes_with_memory(nodes);
	char path[96], want[16];

	hugetlb_size = read_field("/proc/meminfo", "Hugepagesize") * 1024;
	if ((long)hugetlb_size <= 0 || hugetlb_size > 32UL << 20) {
		hugetlb_size = 0;
		return;
	}
	snprintf(want, sizeof(want), "%d", 3 * NR_HUGE);
	if (!nr)
		set("/proc/sys/vm/nr_hugepages", want);
	for (i = 0; i < nr && i < 2; i++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/nr_hugepages",
			 nodes[i], hugetlb_size / 1024);
		set(path, want);
	}
}

static void prepare(void)
{
	settings_owner = getpid();
	atexit(clean_up);
	/* None of them may change a page behind a test's back. */
	set("/proc/sys/kernel/numa_balancing", "0");
	set("/proc/sys/vm/dirty_writeback_centisecs", "0");
	set(THP_DIR "khugepaged/scan_sleep_millisecs", "3600000");
	set(KSM_DIR "run", "0");
	if (read_number(THP_DIR "hpage_pmd_size") > 0 &&
	    set(THP_DIR "enabled", "madvise"))
		thp_size = read_number(THP_DIR "hpage_pmd_size");
	reserve_huge_pages();
	find_disk();
}

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	require_device(DEVICE, MODULE, "CONFIG_TEST_MMU_RANGE_MIRROR");
	prepare();
	return test_harness_run(argc, argv);
}
