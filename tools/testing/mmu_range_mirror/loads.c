// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the loads of include/linux/mmu_mirror_load.h as x86 has them: what they copy,
 * that they touch nothing beyond the page on either side, and that each recovers, with
 * a fault in place of a machine check and the kernel's table of exceptions.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "shim_x86.h"
#include <linux/mmu_mirror_load.h>

#define LONGEST		600UL
#define CANARY		0x5a

#define expect(what, at, n) do {					\
	if (!(what)) {							\
		fprintf(stderr, "%s:%d: %zu bytes at %zu: not %s\n",	\
			__FILE__, __LINE__, (size_t)(n), (size_t)(at),	\
			#what);						\
		exit(1);						\
	}								\
} while (0)

/* As the kernel's handler: go on where the entry says, with the A register cleared. */
static void recover(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const struct shim_extable *entry;

	for (entry = __start_shim_extable; entry < __stop_shim_extable; entry++) {
		if (entry->from != (uintptr_t)regs[REG_RIP])
			continue;
		regs[REG_RIP] = entry->to;
		regs[REG_RAX] = 0;
		return;
	}
	fprintf(stderr, "a load of %p has no entry\n", info->si_addr);
	_exit(1);
}

static size_t load_bytes(void *buf, const void *p, size_t n)
{
	return mmu_mirror_load_bytes(buf, p, n);
}

static void test_copy(const unsigned char *page, size_t at, size_t n)
{
	unsigned char buf[PAGE_SIZE + 1];

	memset(buf, CANARY, sizeof(buf));
	expect(load_bytes(buf, page + at, n) == n, at, n);
	expect(!memcmp(buf, page + at, n), at, n);
	expect(buf[n] == CANARY, at, n);
}

static void test_copies(const unsigned char *page)
{
	size_t at, n;

	for (at = 0; at < PAGE_SIZE; at += at == LONGEST ?
	     PAGE_SIZE - 2 * LONGEST : 1) {
		for (n = 1; n <= LONGEST && at + n <= PAGE_SIZE; n++)
			test_copy(page, at, n);
	}
	test_copy(page, 0, PAGE_SIZE);
}

static void test_fields(const unsigned char *page)
{
	unsigned long pair[2];
	uint16_t field, wanted;
	size_t at;

	for (at = 0; at + sizeof(pair) <= PAGE_SIZE; at++) {
		expect(mmu_mirror_load16((const void *)(page + at), &field), at, 2);
		memcpy(&wanted, page + at, sizeof(wanted));
		expect(field == wanted, at, 2);
		expect(mmu_mirror_load_pair((const void *)(page + at), pair), at,
		       sizeof(pair));
		expect(!memcmp(pair, page + at, sizeof(pair)), at, sizeof(pair));
	}
}

static void test_errors(unsigned char *page)
{
	unsigned long pair[2];
	unsigned char buf[PAGE_SIZE];
	uint16_t field;
	size_t n;

	/* Of the two words, the second. */
	n = PAGE_SIZE - sizeof(*pair);
	expect(!mmu_mirror_load_pair((const void *)(page + n), pair), n,
	       sizeof(pair));
	mprotect(page, PAGE_SIZE, PROT_NONE);
	for (n = 1; n <= LONGEST; n++) {
		expect(!load_bytes(buf, page, n), 0, n);
		expect(!load_bytes(buf, page + PAGE_SIZE - n, n), PAGE_SIZE - n, n);
	}
	expect(!mmu_mirror_load16((const void *)page, &field), 0, 2);
	expect(!mmu_mirror_load_pair((const void *)page, pair), 0, sizeof(pair));
	mprotect(page, PAGE_SIZE, PROT_READ);
}

int main(void)
{
	struct sigaction action = {
		.sa_sigaction = recover,
		.sa_flags = SA_SIGINFO,
	};
	unsigned char *page;
	size_t i;

	page = mmap(NULL, 3 * PAGE_SIZE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 2;
	/* Nothing is mapped on either side. */
	page += PAGE_SIZE;
	mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE);
	for (i = 0; i < PAGE_SIZE; i++)
		page[i] = i * 7 + i / 256;
	mprotect(page, PAGE_SIZE, PROT_READ);
	test_copies(page);
	test_fields(page);
	sigaction(SIGSEGV, &action, NULL);
	test_errors(page);
	return 0;
}
