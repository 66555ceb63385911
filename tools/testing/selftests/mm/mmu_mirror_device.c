// SPDX-License-Identifier: GPL-2.0
/*
 * The commands of the test device of mm/mmu_range_mirror.c, as functions.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_mirror_device.h"
#include "mmu_mirror_util.h"

int device_open(void)
{
	return open(DEVICE, O_RDWR | O_CLOEXEC);
}

long device_command(int fd, unsigned long cmd, void *arg)
{
	long ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

long mirror_open(int fd, const void *addr, size_t length, unsigned int kind,
		 unsigned int flags)
{
	struct test_mirror_open arg = {
		.start = (uintptr_t)addr,
		.length = length,
		.kind = kind,
		.flags = flags,
	};

	return device_command(fd, TEST_MIRROR_IOC_OPEN, &arg);
}

long mirror_close(int fd)
{
	return device_command(fd, TEST_MIRROR_IOC_CLOSE, NULL);
}

long mirror_populate(int fd, const void *addr, size_t length)
{
	struct test_mirror_range arg = {
		.start = (uintptr_t)addr,
		.length = length,
	};

	return device_command(fd, TEST_MIRROR_IOC_POPULATE, &arg);
}

long mirror_lookup(int fd, const void *addr, size_t length, unsigned int flags,
		   uint64_t *huge)
{
	struct test_mirror_lookup arg = {
		.start = (uintptr_t)addr,
		.length = length,
		.flags = flags,
	};
	long ret = device_command(fd, TEST_MIRROR_IOC_LOOKUP, &arg);

	if (huge)
		*huge = arg.huge;
	return ret < 0 ? ret : (long)arg.done;
}

long mirror_io(int fd, unsigned long cmd, const void *addr, void *data,
	       size_t size)
{
	struct test_mirror_io arg = {
		.addr = (uintptr_t)addr,
		.data = (uintptr_t)data,
		.size = size,
	};

	return device_command(fd, cmd, &arg);
}

long mirror_read(int fd, const void *addr, uint64_t *value)
{
	long ret = mirror_io(fd, TEST_MIRROR_IOC_READ, addr, value,
			     sizeof(*value));

	return ret == sizeof(*value) ? 0 : ret;
}

long mirror_write(int fd, const void *addr, uint64_t value)
{
	long ret = mirror_io(fd, TEST_MIRROR_IOC_WRITE, addr, &value,
			     sizeof(value));

	return ret == sizeof(value) ? 0 : ret;
}

long mirror_mapped(int fd, const void *addr, size_t length)
{
	struct test_mirror_range arg = {
		.start = (uintptr_t)addr,
		.length = length,
	};

	return device_command(fd, TEST_MIRROR_IOC_MAPPED, &arg);
}

bool mirror_reaches(int fd, const void *addr)
{
	return mirror_mapped(fd, addr, page_size) == 1;
}

long mirror_fill(int fd)
{
	return device_command(fd, TEST_MIRROR_IOC_FILL, NULL);
}

long mirror_release(int fd)
{
	return device_command(fd, TEST_MIRROR_IOC_RELEASE, NULL);
}

long mirror_holding(int fd)
{
	return device_command(fd, TEST_MIRROR_IOC_HOLDING, NULL);
}

long mirror_stop_at(int fd, enum test_mirror_point point, int times)
{
	struct test_mirror_inject arg = {
		.point = point,
		.times = times,
		.time_us = TEST_MIRROR_STOP_MAX_US,
	};

	return device_command(fd, TEST_MIRROR_IOC_INJECT, &arg);
}

struct test_mirror_stats mirror_stats(int fd)
{
	struct test_mirror_stats stats;

	if (device_command(fd, TEST_MIRROR_IOC_STATS, &stats))
		memset(&stats, 0xff, sizeof(stats));
	return stats;
}

bool mirror_stopped(int fd, enum test_mirror_point point)
{
	return mirror_stats(fd).stopped[point];
}

bool device_injectable(int fd)
{
	return mirror_stats(fd).injectable;
}

long lookup(int fd, enum test_mirror_kind kind, void *addr, size_t size)
{
	if (kind == TEST_MIRROR_WINDOW)
		return mirror_fill(fd);
	return mirror_populate(fd, addr, size);
}

void *job_main(void *arg)
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

long job_populate(struct job *job)
{
	return mirror_populate(job->fd, job->addr, job->length);
}

long job_look_up(struct job *job)
{
	return mirror_lookup(job->fd, job->addr, job->length,
			     TEST_MIRROR_FOR_WRITING, NULL);
}

long job_fill(struct job *job)
{
	return mirror_fill(job->fd);
}

long job_close(struct job *job)
{
	return mirror_close(job->fd);
}

long job_hold(struct job *job)
{
	return device_command(job->fd, TEST_MIRROR_IOC_HOLD, &job->hold);
}

long job_discard(struct job *job)
{
	return madvise(job->addr, job->length, MADV_DONTNEED) ? -errno : 0;
}

long job_munmap(struct job *job)
{
	return munmap(job->addr, job->length) ? -errno : 0;
}

void job_go(struct job *job)
{
	sem_post(&job->go);
}
