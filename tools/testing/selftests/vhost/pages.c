// SPDX-License-Identifier: GPL-2.0
/* Pages that are taken from under an address, or missing there; see pages.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"
#include "pages.h"

int replace_pages(void *addr, size_t size)
{
	void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		return -1;
	memcpy(copy, addr, size);
	if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, addr) !=
	    addr)
		return -1;
	return 0;
}

int unmap_and_map(void *addr, size_t size)
{
	char *copy = malloc(size);
	int ret = -1;

	memcpy(copy, addr, size);
	if (!munmap(addr, size) &&
	    mmap(addr, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == addr) {
		memcpy(addr, copy, size);
		ret = 0;
	}
	free(copy);
	return ret;
}

int move_and_back(void *addr, size_t size)
{
	char *other = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	if (other == MAP_FAILED)
		return -1;
	if (mremap(addr, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, other) !=
	    other)
		return -1;
	if (mremap(other, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, addr) !=
	    addr)
		return -1;
	return 0;
}

int trap_set(struct trap *trap, void *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	trap->page = page;
	trap->uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (trap->uffd < 0 || ioctl(trap->uffd, UFFDIO_API, &api) ||
	    ioctl(trap->uffd, UFFDIO_REGISTER, &reg)) {
		note("userfaultfd: %s", strerror(errno));
		return -1;
	}
	return 0;
}

int trap_sprung(struct trap *trap)
{
	struct pollfd pfd = { .fd = trap->uffd, .events = POLLIN };
	struct uffd_msg msg;

	if (poll(&pfd, 1, PATIENCE_MS) != 1 ||
	    read(trap->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return -1;
	return msg.event == UFFD_EVENT_PAGEFAULT &&
	       (msg.arg.pagefault.address & ~(PAGE - 1)) ==
	       (uintptr_t)trap->page ? 0 : -1;
}

int trap_release(struct trap *trap, const void *contents)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)trap->page,
		.src = (uintptr_t)contents,
		.len = PAGE,
	};

	return ioctl(trap->uffd, UFFDIO_COPY, &copy);
}
