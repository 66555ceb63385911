// SPDX-License-Identifier: GPL-2.0
/*
 * Memory to be mirrored, and the settings that keep the kernel off it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu_mirror_region.h"
#include "mmu_mirror_util.h"

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/"

size_t thp_size;
size_t hugetlb_size;
char disk_dir[PATH_MAX];
static pid_t settings_owner;

size_t region_pages(const struct region *r)
{
	return r->size / page_size;
}

int disk_file(size_t size)
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

int memory_file(size_t size, unsigned int flags)
{
	int fd = memfd_create("mirrored", flags | MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

char *reserve(size_t size, size_t align)
{
	char *addr = mmap(NULL, size + 3 * align, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t start = ((uintptr_t)addr + 2 * align - 1) & ~(align - 1);

	return addr == MAP_FAILED ? NULL : (char *)start;
}

uint64_t token(unsigned int generation, size_t page)
{
	return (uint64_t)generation << 32 | (page + 1);
}

uint64_t user_read(const void *addr)
{
	return __atomic_load_n((const uint64_t *)addr, __ATOMIC_SEQ_CST);
}

void user_write(void *addr, uint64_t value)
{
	__atomic_store_n((uint64_t *)addr, value, __ATOMIC_SEQ_CST);
}

void *page_at(const struct region *r, size_t page)
{
	return r->addr + page * page_size;
}

uint64_t page_read(const struct region *r, size_t page)
{
	return user_read(page_at(r, page));
}

void write_pages(const struct region *r, size_t first, size_t n,
		 unsigned int generation)
{
	size_t i;

	for (i = first; i < first + n; i++)
		user_write(page_at(r, i), token(generation, i));
}

static void clean_up(void)
{
	if (getpid() == settings_owner)
		restore(0);
}

void region_settings(void)
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
}
