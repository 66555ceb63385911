/* SPDX-License-Identifier: GPL-2.0 */
/* Other pages at the same addresses, with the same contents. 0 or -1. */
#ifndef SELFTESTS_VHOST_PAGES_H
#define SELFTESTS_VHOST_PAGES_H

#include <stddef.h>

/* Copies, put there in one step. */
int replace_pages(void *addr, size_t size);
/* The same with a hole in between. */
int unmap_and_map(void *addr, size_t size);
/* Away, and back. */
int move_and_back(void *addr, size_t size);

#endif
