// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests of mm/mmu_range_mirror.c share: the kernel's files and
 * settings, time, CPUs, addresses and their pages, swap, and userfaultfd. Nothing
 * of their devices is here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mmu_mirror_util.h"

size_t page_size;
cpu_set_t cpus;

void skip_all(const char *reason)
{
	ksft_print_header();
	ksft_exit_skip("%s\n", reason);
}

void require_device(const char *device, const char *module, const char *config)
{
	char line[128];
	int fd;

	if (geteuid())
		skip_all("must be run as root");
	snprintf(line, sizeof(line), "modprobe %s >/dev/null 2>&1", module);
	if (access(device, F_OK) &&
	    (system(line) || !eventually(!access(device, F_OK)))) {
		snprintf(line, sizeof(line), "no %s: needs %s", device, config);
		skip_all(line);
	}
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		snprintf(line, sizeof(line), "cannot open %s", device);
		skip_all(line);
	}
	close(fd);
}

/* Files of the kernel's. */

bool read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, buf, size - 1);
	close(fd);
	if (len < 0)
		return false;
	buf[len] = 0;
	return true;
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

bool write_number(const char *path, unsigned long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", value);
	return write_text(path, text);
}

long read_number(const char *path)
{
	char text[32];

	return read_text(path, text, sizeof(text)) ? atol(text) : -1;
}

/* The number behind a name at the beginning of a line, or -1. */
long read_field(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	size_t len = strlen(name);
	long value = -1;
	char line[256];

	if (!file)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && strchr(" :\t", line[len]))
			value = atol(line + len + 1);
	fclose(file);
	return value;
}

long vm_event(const char *name)
{
	return read_field("/proc/vmstat", name);
}

/* Settings that are put back when everything is over. */

static struct setting {
	char path[96];
	char old[64];
} settings[16];
unsigned int nr_settings;

bool set(const char *path, const char *value)
{
	struct setting *s = &settings[nr_settings];
	char *bracket;

	if (nr_settings == ARRAY_SIZE(settings) ||
	    !read_text(path, s->old, sizeof(s->old)) ||
	    !write_text(path, value))
		return false;
	/* "always [madvise] never" */
	bracket = strchr(s->old, '[');
	if (bracket) {
		memmove(s->old, bracket + 1, strlen(bracket));
		s->old[strcspn(s->old, "]")] = 0;
	}
	snprintf(s->path, sizeof(s->path), "%s", path);
	nr_settings++;
	return true;
}

/* Put back those since there were only @nr of them. */
void restore(unsigned int nr)
{
	while (nr_settings > nr) {
		nr_settings--;
		write_text(settings[nr_settings].path,
			   settings[nr_settings].old);
	}
}

#define FAIL_NTH "/proc/thread-self/fail-nth"

const char *fail_nth_ready(void)
{
	static const char * const attrs[] = { "failslab", "fail_page_alloc" };
	char path[64];

	if (access(FAIL_NTH, W_OK))
		return "the kernel has no fault injection";
	for (size_t i = 0; i < ARRAY_SIZE(attrs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/verbose",
			 attrs[i]);
		if (!set(path, "0"))
			return "no debugfs files of failing allocations";
		snprintf(path, sizeof(path),
			 "/sys/kernel/debug/%s/ignore-gfp-wait", attrs[i]);
		if (!set(path, "N"))
			return "no debugfs files of failing allocations";
	}
	return NULL;
}

bool fail_nth(unsigned int nth)
{
	return write_number(FAIL_NTH, nth);
}

bool fail_nth_off(void)
{
	bool failed = !read_number(FAIL_NTH);

	return fail_nth(0) && failed;
}

const char *ksm_on(void)
{
	if (access(KSM_DIR "run", W_OK))
		return "no KSM";
	/* Not all kernels have all of them. */
	set(KSM_DIR "use_zero_pages", "0");
	set(KSM_DIR "advisor_mode", "none");
	set(KSM_DIR "smart_scan", "0");
	set(KSM_DIR "sleep_millisecs", "1");
	set(KSM_DIR "pages_to_scan", "4096");
	/* If that fails nothing is merged, and the test says so. */
	set(KSM_DIR "run", "1");
	return NULL;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

unsigned int slowness(void)
{
	const char *slow = getenv("SLOW");

	return slow && atoi(slow) > 0 ? atoi(slow) : 1;
}

void pin_to_cpu(int nth)
{
	cpu_set_t one;
	int cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &cpus) || nth--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

uint64_t page_bits(const void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (pread(fd, &entry, sizeof(entry),
		  (uintptr_t)addr / page_size * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	return entry;
}

uint64_t page_pfn(const void *addr)
{
	return page_bits(addr) & PAGEMAP_PFN;
}

unsigned long first_high_pfn(void)
{
	FILE *file = fopen("/proc/zoneinfo", "r");
	unsigned long pfn = 0;
	bool high = false;
	char line[256];

	if (!file)
		return 0;
	while (!pfn && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "Node", 4))
			high = strstr(line, "HighMem");
		else if (high)
			sscanf(line, " start_pfn: %lu", &pfn);
	}
	fclose(file);
	return pfn;
}

static bool is_last_page(char *page)
{
	void *addr = mmap(page, page_size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			  0);

	if (addr != MAP_FAILED)
		munmap(addr, page_size);
	return addr == page || (addr == MAP_FAILED && errno == EEXIST);
}

char *user_end(void)
{
	int bit = 8 * sizeof(long);

	while (--bit > 0) {
		char *end = (char *)_BITUL(bit);

		if (is_last_page(end - page_size))
			return end;
		/* Some leave a page between them and the kernel. */
		if (is_last_page(end - 2 * page_size))
			return end - page_size;
	}
	return NULL;
}

uintptr_t tag_addresses(void)
{
#if defined(__x86_64__)
	const int enable_tagged_addr = 0x4002;
	const unsigned long lam_u57_bits = 6;

	if (!syscall(__NR_arch_prctl, enable_tagged_addr, lam_u57_bits))
		return _BITUL(57);
#elif defined(__aarch64__)
	if (!prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE, 0, 0, 0))
		return _BITUL(56);
#endif
	return 0;
}

/* Swap on a zram of our own. */

static int zram = -1;

static bool swap_header(const char *device, unsigned int mib)
{
	struct {
		char boot[1024];
		uint32_t version;
		uint32_t last_page;
		uint32_t nr_bad;
	} *header = calloc(1, page_size);
	int fd = open(device, O_WRONLY | O_CLOEXEC);
	bool ok;

	header->version = 1;
	header->last_page = ((uint64_t)mib << 20) / page_size - 1;
	memcpy((char *)header + page_size - 10, "SWAPSPACE2", 10);
	ok = fd >= 0 && write(fd, header, page_size) == (ssize_t)page_size;
	close(fd);
	free(header);
	return ok;
}

void swap_off(void)
{
	char path[64];

	if (zram < 0)
		return;
	snprintf(path, sizeof(path), "/dev/zram%d", zram);
	swapoff(path);
	snprintf(path, sizeof(path), "/sys/block/zram%d/reset", zram);
	write_text(path, "1");
	write_number("/sys/class/zram-control/hot_remove", zram);
	zram = -1;
}

void *generations_run(void *arg)
{
	struct generations *g = arg;
	unsigned int generation, reads;

	for (generation = 1; generation <= g->rounds; generation++) {
		madvise(g->mem, page_size, MADV_DONTNEED);
		__atomic_store_n(g->mem, generation, __ATOMIC_SEQ_CST);
		atomic_store(&g->generation, generation);
		/* The first of two may have begun before that. */
		reads = atomic_load(&g->reads);
		if (!eventually(atomic_load(&g->reads) - reads >= 2))
			break;
	}
	atomic_store(&g->over, true);
	return NULL;
}

const char *swap_on(unsigned int mib)
{
	char path[64], size[16];

	if (access("/sys/class/zram-control", F_OK) &&
	    system("modprobe zram >/dev/null 2>&1"))
		return "no zram";
	/* Reading it makes a device. */
	zram = read_number("/sys/class/zram-control/hot_add");
	if (zram < 0)
		return "zram gives no device";
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", zram);
	snprintf(size, sizeof(size), "%uM", mib);
	if (!write_text(path, size))
		return "cannot set the size of zram";
	snprintf(path, sizeof(path), "/dev/zram%d", zram);
	if (!eventually(!access(path, F_OK)) || !swap_header(path, mib))
		return "cannot write to zram";
	if (swapon(path, 0))
		return "swapon fails";
	return NULL;
}

int userfault_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

int userfault_register(int fd, const void *addr, size_t size, uint64_t mode)
{
	struct uffdio_register arg = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &arg);
}

int userfault_protect(int fd, const void *addr, size_t size, bool protect)
{
	struct uffdio_writeprotect arg = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &arg);
}

int userfault_zero(int fd, const void *addr)
{
	struct uffdio_zeropage arg = {
		.range = { .start = (uintptr_t)addr, .len = page_size },
	};

	return ioctl(fd, UFFDIO_ZEROPAGE, &arg);
}

uint64_t userfault_wait(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg;

	if (poll(&poller, 1, PATIENCE_NS / 1000000) != 1 ||
	    read(fd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		return 0;
	return msg.arg.pagefault.address;
}
