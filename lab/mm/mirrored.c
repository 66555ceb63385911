// SPDX-License-Identifier: GPL-2.0-only
/*
 * LD_PRELOAD for programs that know nothing of mirrors: the whole address space
 * of each process is mirrored by the test device with a TLB, from before its
 * main() on, and a child's from its fork on. So every invalidation in it goes
 * through the helper, and every flush through its hook.
 *
 * Each process that could not be mirrored adds a line to the file that MIRRORED
 * names, in place of the "mirrored" that the others add.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lib/test_mmu_mirror_tlb_uapi.h>

#define DEVICE "/dev/test_mmu_mirror_tlb"
/* Where nobody looks for a file of his. */
#define HIGH_FD 900
#define FIRST 0x10000ull
#define LAST ((1ull << 47) - 0x10000ull)

static int device = -1;

static void note(const char *what)
{
	const char *name = getenv("MIRRORED");
	char line[160];
	int fd, len;

	fd = name ? open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) :
		    -1;
	if (fd < 0)
		return;
	len = snprintf(line, sizeof(line), "%s %s\n", what,
		       program_invocation_short_name);
	if (write(fd, line, len) != len)
		perror(name);
	close(fd);
}

static void mirror(void)
{
	struct test_tlb_open arg = {
		.start = FIRST,
		.length = LAST - FIRST,
		.flags = TEST_TLB_ANY_SIZE,
	};
	int saved = errno, fd;

	/* The parent's, and of its address space. */
	if (device >= 0)
		close(device);
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	device = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
	if (device < 0)
		device = fd;
	else
		close(fd);
	note(device < 0 || ioctl(device, TEST_TLB_IOC_OPEN, &arg) ?
	     strerror(errno) : "mirrored");
	errno = saved;
}

__attribute__((constructor)) static void begin(void)
{
	pthread_atfork(NULL, NULL, mirror);
	mirror();
}
