// SPDX-License-Identifier: GPL-2.0
/*
 * The commands of the test device of mm/mmu_range_mirror.c, as functions.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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
