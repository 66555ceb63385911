/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of mm/mmu_range_mirror.c share and asserts something: threads
 * that issue commands, and regions of memory. It is for the tests to include, and
 * not for what they are linked with.
 */
#ifndef _MMU_MIRROR_HARNESS_H
#define _MMU_MIRROR_HARNESS_H

#include "../kselftest_harness.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "mmu_mirror_device.h"
#include "mmu_mirror_region.h"
#include "mmu_mirror_util.h"

/*
 * A new thread needs a stack, which cannot be mapped while somebody stands in
 * an invalidation with the mmap lock: it has to be made before.
 */
static inline void job_prepare(struct __test_metadata *_metadata,
			       struct job *job)
{
	atomic_store(&job->done, false);
	ASSERT_EQ(0, sem_init(&job->go, 0, 0));
	ASSERT_EQ(0, pthread_create(&job->thread, NULL, job_main, job));
}

static inline void job_start(struct __test_metadata *_metadata,
			     struct job *job)
{
	job_prepare(_metadata, job);
	job_go(job);
}

static inline long job_wait(struct __test_metadata *_metadata,
			    struct job *job)
{
	ASSERT_EQ(0, pthread_join(job->thread, NULL));
	return job->ret;
}

static inline void region_map(struct __test_metadata *_metadata,
			      struct region *r, enum memory kind)
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

#endif /* _MMU_MIRROR_HARNESS_H */
