// SPDX-License-Identifier: GPL-2.0
/* Pages that are taken from under an address; see pages.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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
