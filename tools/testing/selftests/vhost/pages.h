/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Other pages at the same addresses, with the same contents; and pages that come
 * late. Those that return int return 0, or -1.
 */
#ifndef SELFTESTS_VHOST_PAGES_H
#define SELFTESTS_VHOST_PAGES_H

#include <stddef.h>

/* Copies, put there in one step. */
int replace_pages(void *addr, size_t size);
/* The same with a hole in between. */
int unmap_and_map(void *addr, size_t size);
/* Away, and back. */
int move_and_back(void *addr, size_t size);

/* A page that faults only when we say so. */
struct trap {
	int uffd;
	char *page;
};

/* It may be there for now. */
int trap_set(struct trap *trap, void *page);
/* Wait until somebody is in it. */
int trap_sprung(struct trap *trap);
/* Have the page be there, with these contents. */
int trap_release(struct trap *trap, const void *contents);

#endif
