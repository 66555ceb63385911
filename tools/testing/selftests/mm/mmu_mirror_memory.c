// SPDX-License-Identifier: GPL-2.0
/*
 * What mirrors reach of memory of every kind, whatever becomes of the memory.
 *
 * It is mirrored three times, by a table of pages, by a window and by a cache,
 * and then taken away in every way that user space has. After each, what the
 * mirrors still reach must be what the process sees. What the kernel did is
 * read from its own counters.
 *
 * It can be built alone like mmu_range_mirror.c, with mmu_mirror_device.c,
 * mmu_mirror_region.c and mmu_mirror_util.c.
 *
 * It needs root, and loads test_mmu_range_mirror if it can. Memory of a disk's
 * file system is looked for in $TMPDIR, /var/tmp and the current directory;
 * failing that, mkfs.ext4 and a loop device make one.
 */
#include "../kselftest_harness.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "mmu_mirror_device.h"
#include "mmu_mirror_harness.h"
#include "mmu_mirror_region.h"
#include "mmu_mirror_util.h"

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

/* Regions of memory. */

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

/* Before and after everything. */

static char loop_image[32];
static char loop_dir[40];
static bool loop_mounted;
static pid_t disk_owner;

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

static void remove_disk(void)
{
	if (getpid() != disk_owner || !loop_mounted)
		return;
	umount(loop_dir);
	rmdir(loop_dir);
	unlink(loop_image);
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
	disk_owner = getpid();
	/* After its settings are put back. */
	atexit(remove_disk);
	region_settings();
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
