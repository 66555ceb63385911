/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory to be mirrored by the test device of mm/mmu_range_mirror.c.
 * region_map() is in mmu_mirror_harness.h.
 */
#ifndef _MMU_MIRROR_REGION_H
#define _MMU_MIRROR_REGION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Base pages in a region: more than one batch of any lookup. */
#define NR_PAGES	96
#define NR_HUGE		4

enum memory { ANON, THP, MEMFD, DISK, HUGETLB, HUGETLB_FILE };

/* region_settings() finds the first; the others are for who maps such memory. */
extern size_t thp_size;
extern size_t hugetlb_size;
extern char disk_dir[PATH_MAX];

/* Until the program ends the kernel changes no page by itself. */
void region_settings(void);

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

size_t region_pages(const struct region *r);
int disk_file(size_t size);
int memory_file(size_t size, unsigned int flags);
/* Address space, with as much as @align before and behind it; or NULL. */
char *reserve(size_t size, size_t align);

/* The process's own accesses, which the compiler must not do without. */
uint64_t user_read(const void *addr);
void user_write(void *addr, uint64_t value);

/* Each page's first word says which page it is, and of which generation. */
uint64_t token(unsigned int generation, size_t page);
void *page_at(const struct region *r, size_t page);
uint64_t page_read(const struct region *r, size_t page);
void write_pages(const struct region *r, size_t first, size_t n,
		 unsigned int generation);

#endif /* _MMU_MIRROR_REGION_H */
