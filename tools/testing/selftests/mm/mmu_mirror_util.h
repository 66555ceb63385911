/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of mm/mmu_range_mirror.c share: the kernel's files and
 * settings, time, CPUs, swap, and userfaultfd. Nothing of their devices is here.
 */
#ifndef _MMU_MIRROR_UTIL_H
#define _MMU_MIRROR_UTIL_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Older C libraries do not have these. */
#ifndef MADV_COLD
#define MADV_COLD	20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define NSEC_PER_SEC	1000000000ULL
/* How long to poll for what must happen soon. */
#define PATIENCE_NS	(10 * NSEC_PER_SEC * slowness())

/* Both are for main() to set; the CPUs are those it was started on. */
extern size_t page_size;
extern cpu_set_t cpus;

/* Say that nothing can be tested, and why. */
void skip_all(const char *reason);
/* Load a test device's module if it is not there; skip_all() if that fails. */
void require_device(const char *device, const char *module, const char *config);

bool read_text(const char *path, char *buf, size_t size);
bool write_text(const char *path, const char *text);
bool write_number(const char *path, unsigned long value);
long read_number(const char *path);
/* The number behind a name at the beginning of a line, or -1. */
long read_field(const char *path, const char *name);
long vm_event(const char *name);

/* Settings that are put back later. */
extern unsigned int nr_settings;
bool set(const char *path, const char *value);
/* Put back those since there were only @nr of them. */
void restore(unsigned int nr);

uint64_t now_ns(void);
/* How many times slower this machine is than a quiet one: SLOW in the environment, or 1. */
unsigned int slowness(void);

/* Wait until an expression is true; what it has become is the result. */
#define eventually(condition) ({					\
	uint64_t end_ = now_ns() + PATIENCE_NS;				\
	bool seen_;							\
									\
	while (!(seen_ = (condition)) && now_ns() < end_)		\
		usleep(100);						\
	seen_;								\
})

/* Keep this thread on the @nth of the CPUs. */
void pin_to_cpu(int nth);

/* What /proc/self/pagemap says of an address, or 0. */
#define PAGEMAP_PFN		0x007fffffffffffffULL
#define PAGEMAP_SOFT_DIRTY	0x0080000000000000ULL
#define PAGEMAP_SWAPPED		0x4000000000000000ULL
#define PAGEMAP_PRESENT		0x8000000000000000ULL
uint64_t page_bits(const void *addr);
/* The frame of a page that is present, and the first frame of high memory. */
uint64_t page_pfn(const void *addr);
unsigned long first_high_pfn(void);

/* Where the addresses of programs end. */
char *user_end(void);
/* Have this thread's addresses take a tag: the bits of one, or 0. */
uintptr_t tag_addresses(void);

/*
 * Allocations that fail. fail_nth_ready() says why they cannot be had, or NULL;
 * fail_nth() has the nth one of this thread from now on fail; fail_nth_off()
 * says whether there was one.
 */
const char *fail_nth_ready(void);
bool fail_nth(unsigned int nth);
bool fail_nth_off(void);

/*
 * Have KSM merge what is equal, soon; why not, or NULL. These are settings, too.
 */
#define KSM_DIR		"/sys/kernel/mm/ksm/"
const char *ksm_on(void);

/*
 * A thread that replaces the page at @mem again and again: there is a generation
 * in its first word, or 0 between the old page and the new one; never an older.
 * Each waits for two @reads.
 */
struct generations {
	uint32_t *mem;
	unsigned int rounds;
	atomic_uint generation;
	atomic_uint reads;
	atomic_bool over;
};

void *generations_run(void *arg);

/* Swap on a zram of our own. Why there is none, or NULL. */
const char *swap_on(unsigned int mib);
void swap_off(void);

/* A userfaultfd, or -1. The mode is that of UFFDIO_REGISTER. */
int userfault_open(uint64_t features);
int userfault_register(int fd, const void *addr, size_t size, uint64_t mode);
int userfault_protect(int fd, const void *addr, size_t size, bool protect);
int userfault_zero(int fd, const void *addr);
/* Wait until somebody sits in a fault: its address, or 0. */
uint64_t userfault_wait(int fd);

#endif /* _MMU_MIRROR_UTIL_H */
