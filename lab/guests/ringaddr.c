// SPDX-License-Identifier: GPL-2.0-only
/*
 * LD_PRELOAD for a client of /dev/vhost-net: write down where its rings are.
 *
 * Each VHOST_SET_VRING_ADDR appends "DEVICE.FD.QUEUE START:LENGTH..." to the file
 * that RINGADDR names: the pages of the descriptors, the available and the used
 * ring. DEVICE is vhost-net, or vhost-vsock. That is what disturb(1) is then
 * pointed at, with mirrored rings and with others alike.
 *
 * It also makes huge pages possible where DPDK's memory would not have them.
 * There is no memfd, in which DPDK would put its memory at an address that is
 * not aligned with the file's offset: without, it takes anonymous memory. And
 * what is missing of the huge page around a ring is mapped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_FDS		256
#define MAX_QUEUES	64
#define PAGE		4096ul
#define HUGE		(2ul << 20)

static unsigned int sizes[MAX_FDS][MAX_QUEUES];

static unsigned int *size_of(int fd, unsigned int queue)
{
	return &sizes[fd % MAX_FDS][queue % MAX_QUEUES];
}

/* The last part of the device's name. */
static int device(char *buf, size_t room, int fd)
{
	char link[40], path[64];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	path[len > 0 ? len : 0] = 0;
	return snprintf(buf, room, "%s", basename(path));
}

static int pages(char *buf, size_t room, __u64 start, __u64 size)
{
	__u64 first = start & -PAGE, end = (start + size + PAGE - 1) & -PAGE;

	return snprintf(buf, room, " %#llx:%#llx", first, end - first);
}

/* What is mapped already stays what it is. */
static void make_room(__u64 start)
{
	__u64 first = start & -HUGE, addr;

	for (addr = first; addr < first + HUGE; addr += PAGE)
		mmap((void *)addr, PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

static void note(int client, const struct vhost_vring_addr *addr)
{
	unsigned int num = *size_of(client, addr->index);
	const char *name = getenv("RINGADDR");
	char line[256];
	int fd, len;

	if (!name || !num)
		return;
	make_room(addr->desc_user_addr);
	make_room(addr->avail_user_addr);
	make_room(addr->used_user_addr);
	len = device(line, sizeof(line), client);
	len += snprintf(line + len, sizeof(line) - len, ".%d.%u", client,
			addr->index);
	len += pages(line + len, sizeof(line) - len, addr->desc_user_addr,
		     16ull * num);
	len += pages(line + len, sizeof(line) - len, addr->avail_user_addr,
		     6 + 2ull * num);
	len += pages(line + len, sizeof(line) - len, addr->used_user_addr,
		     6 + 8ull * num);
	line[len++] = '\n';
	fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	/* Without it nothing is disturbed, and the run fails by that. */
	if (write(fd, line, len) != len)
		perror(name);
	close(fd);
}

int memfd_create(const char *name, unsigned int flags)
{
	(void)name;
	(void)flags;
	errno = ENOSYS;
	return -1;
}

int ioctl(int fd, unsigned long request, ...)
{
	const struct vhost_vring_state *state;
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == VHOST_SET_VRING_NUM) {
		state = arg;
		*size_of(fd, state->index) = state->num;
	} else if (request == VHOST_SET_VRING_ADDR) {
		note(fd, arg);
	}
	return syscall(SYS_ioctl, fd, request, arg);
}
