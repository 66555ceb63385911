// SPDX-License-Identifier: GPL-2.0
/*
 * What is written through mirrors of a file's pages, as seen from outside.
 *
 * On file systems that insist on being told before a page gets dirty, a file is
 * written only through a mirror, while it is written back all the time. After a
 * new mount every byte has to be there, the file system must not have
 * complained, and the kernel itself counts (with a probe of folio_mark_dirty())
 * that each writable entry was dirtied once and nothing else was.
 *
 * It needs root, a loop device and the tools that make the file systems.
 */
#include "../kselftest_harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "mmu_mirror_device.h"
#include "mmu_mirror_util.h"

#define DIR		"/tmp/mmu_mirror_writeback"
#define IMAGE		DIR ".image"
#define FILE_NAME	DIR "/file"
/* The least that mkfs.xfs takes. Holes cost nothing. */
#define IMAGE_SIZE	(320L << 20)

#define NR_PAGES	64
/* Of the whole file, and of entries that were lost to it. */
#define NR_WRITEBACKS	20
#define NR_LOST		100
/* Between two writebacks. */
#define NR_WRITES	128

#define TRACING		"/sys/kernel/tracing/"
#define PROBE		TRACING "events/mmu_mirror/dirty/"

/* The kernel's log, from when it was opened. */

static int log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* Warnings, or worse, of a file system or the layer below. */
static unsigned int log_complaints(int fd)
{
	static const char * const whose[] = {
		"EXT4-fs", "JBD2", "XFS", "I/O error",
	};
	unsigned int nr = 0;
	char line[1024];
	ssize_t len;

	while ((len = read(fd, line, sizeof(line) - 1)) > 0) {
		line[len] = 0;
		if ((atoi(line) & 7) > 4)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(whose); i++) {
			if (strstr(line, whose[i])) {
				ksft_print_msg("%s", line);
				nr++;
				break;
			}
		}
	}
	return nr;
}

/* The probe: callers of folio_mark_dirty(), of the one file that is mirrored. */

#define HIST "hist:keys=from.sym:size=4096"

/* Why it cannot be had, or NULL. */
static const char *probe_on(void)
{
	if (access(TRACING "kprobe_events", F_OK) &&
	    mount("tracefs", TRACING, "tracefs", 0, NULL))
		return "no tracefs";
	if (access(TRACING "kprobe_events", W_OK))
		return "the kernel has no probe events";
	/* Nobody needs the scheduler's tracepoints for this. */
	write_text(TRACING "options/record-cmd", "0");
	if (!write_text(TRACING "kprobe_events",
			"p:mmu_mirror/dirty folio_mark_dirty from=$stack0:x64\n"))
		return "no probe of folio_mark_dirty()";
	if (!write_text(PROBE "trigger", HIST))
		return "the kernel has no histograms of events";
	return NULL;
}

static void probe_off(void)
{
	write_text(PROBE "trigger", "!" HIST);
	write_text(TRACING "kprobe_events", "-:mmu_mirror/dirty\n");
	write_text(TRACING "options/record-cmd", "1");
}

/*
 * How often code of the helper or of the test device did, wherever in it. The
 * mirror is the only one there is, and so its file is.
 */
static unsigned long probe_count(void)
{
	FILE *hist = fopen(PROBE "hist", "r");
	unsigned long nr = 0;
	char line[512], *count;

	while (hist && fgets(line, sizeof(line), hist)) {
		count = strstr(line, "hitcount:");
		if (!count)
			continue;
		if (strstr(line, "mirror"))
			nr += strtoul(count + strlen("hitcount:"), NULL, 10);
		/* The others, for who wonders, are the kernel's own. */
		ksft_print_msg("%s", line);
	}
	if (hist)
		fclose(hist);
	return nr;
}

/* A file, and who writes it back. */

struct writeback {
	char *mem;
	size_t size;
	int fd;
	int device;
	bool mounted;
	/* What every word of it must be in the end. */
	uint64_t *written;
	atomic_uint rounds;
	/* Writes through the mirror. */
	atomic_uint through;
	atomic_bool over;
};

static void *write_back(void *arg)
{
	struct writeback *w = arg;
	unsigned int through;

	while (!atomic_load(&w->over)) {
		through = atomic_load(&w->through);
		switch (atomic_load(&w->rounds) % 3) {
		case 0:
			msync(w->mem, w->size, MS_SYNC);
			break;
		case 1:
			sync_file_range(w->fd, 0, 0,
					SYNC_FILE_RANGE_WAIT_BEFORE |
					SYNC_FILE_RANGE_WRITE |
					SYNC_FILE_RANGE_WAIT_AFTER);
			break;
		default:
			fsync(w->fd);
		}
		atomic_fetch_add(&w->rounds, 1);
		/* A window is filled only where the pages may be written to. */
		while (!atomic_load(&w->over) &&
		       atomic_load(&w->through) - through < NR_WRITES)
			usleep(100);
	}
	return NULL;
}

FIXTURE(file)
{
	struct writeback w;
	int log;
};

FIXTURE_VARIANT(file)
{
	const char *type;
	const char *make;
	const char *options;
	enum test_mirror_kind kind;
};

/* Not by the name that busybox has one of its own for. */
#define MKE2FS "mkfs.ext4 -q -F " IMAGE " >/dev/null 2>&1"
#define MKXFS "mkfs.xfs -q -f " IMAGE " >/dev/null 2>&1"

FIXTURE_VARIANT_ADD(file, ext4_table)
{
	.type = "ext4",
	.make = MKE2FS,
	.options = "",
	.kind = TEST_MIRROR_SPIN,
};

FIXTURE_VARIANT_ADD(file, ext4_window)
{
	.type = "ext4",
	.make = MKE2FS,
	.options = "",
	.kind = TEST_MIRROR_WINDOW,
};

FIXTURE_VARIANT_ADD(file, ext4_journal_table)
{
	.type = "ext4",
	.make = MKE2FS,
	.options = "data=journal",
	.kind = TEST_MIRROR_SPIN,
};

FIXTURE_VARIANT_ADD(file, ext4_journal_window)
{
	.type = "ext4",
	.make = MKE2FS,
	.options = "data=journal",
	.kind = TEST_MIRROR_WINDOW,
};

FIXTURE_VARIANT_ADD(file, xfs_table)
{
	.type = "xfs",
	.make = MKXFS,
	.options = "",
	.kind = TEST_MIRROR_SPIN,
};

FIXTURE_VARIANT_ADD(file, xfs_window)
{
	.type = "xfs",
	.make = MKXFS,
	.options = "",
	.kind = TEST_MIRROR_WINDOW,
};

/* loop and the file system are modules on most kernels. */
static bool file_mount(const char *type, const char *options)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "mount -t %s -o loop%s%s " IMAGE " " DIR " >/dev/null 2>&1",
		 type, *options ? "," : "", options);
	return !system(line);
}

FIXTURE_SETUP(file)
{
	char line[128];
	int fd;

	self->w.fd = -1;
	self->w.size = NR_PAGES * page_size;
	snprintf(line, sizeof(line),
		 "modprobe -a loop %s >/dev/null 2>&1; grep -qw %s /proc/filesystems",
		 variant->type, variant->type);
	if (system(line))
		SKIP(return, "the kernel has no %s", variant->type);
	fd = open(IMAGE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, IMAGE_SIZE));
	close(fd);
	mkdir(DIR, 0700);
	if (system(variant->make))
		SKIP(return, "cannot run %s", variant->make);
	self->w.mounted = file_mount(variant->type, variant->options);
	ASSERT_TRUE(self->w.mounted);
	/* What it says of unusual options is no complaint. */
	self->log = log_open();
	ASSERT_LE(0, self->log);
	self->w.fd = open(FILE_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, self->w.fd);
	ASSERT_EQ(0, ftruncate(self->w.fd, self->w.size));
	self->w.mem = mmap(NULL, self->w.size, PROT_READ | PROT_WRITE,
			   MAP_SHARED, self->w.fd, 0);
	ASSERT_NE(MAP_FAILED, self->w.mem);
	self->w.written = calloc(1, self->w.size);
	ASSERT_NE(NULL, self->w.written);
	self->w.device = device_open();
	ASSERT_LE(0, self->w.device);
	ASSERT_EQ(0, mirror_open(self->w.device, self->w.mem, self->w.size,
				 variant->kind, TEST_MIRROR_WRITE));
}

static void leave(struct writeback *w)
{
	if (w->mem && w->mem != MAP_FAILED)
		munmap(w->mem, w->size);
	w->mem = NULL;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	if (w->mounted && !umount(DIR))
		w->mounted = false;
}

FIXTURE_TEARDOWN(file)
{
	if (self->w.device > 0)
		close(self->w.device);
	leave(&self->w);
	free(self->w.written);
	if (self->log > 0)
		close(self->log);
	rmdir(DIR);
	unlink(IMAGE);
}

/*
 * Through the mirror, a word here and there, until there was enough of it. What
 * it does not reach is written to by the process itself, which is what makes
 * the pages writable again: a window's fill has no fault of its own.
 */
static void write_all_over(struct __test_metadata *_metadata,
			   struct writeback *w, enum test_mirror_kind kind)
{
	const size_t words = w->size / sizeof(uint64_t);
	uint64_t end = now_ns() + 3 * PATIENCE_NS, value = 0, missed = 0;
	struct test_mirror_stats stats = {};
	uint64_t *word;
	pthread_t thread;
	size_t at;
	long ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, write_back, w));
	do {
		/* All words in turn, far apart: the step is prime. */
		at = ++value * 7919 % words;
		word = (uint64_t *)w->mem + at;
		if (kind != TEST_MIRROR_WINDOW)
			mirror_populate(w->device,
					(void *)((uintptr_t)word & -page_size),
					page_size);
		ret = mirror_write(w->device, word, value);
		if (!ret) {
			atomic_fetch_add(&w->through, 1);
		} else if (ret == -ENOENT) {
			*word = value;
			missed++;
		} else {
			break;
		}
		w->written[at] = value;
		stats = mirror_stats(w->device);
	} while ((w->through < words / 4 ||
		  w->rounds < NR_WRITEBACKS ||
		  stats.drops[TEST_MIRROR_PROTECTION_PAGE] < NR_LOST) &&
		 now_ns() < end);
	atomic_store(&w->over, true);
	pthread_join(thread, NULL);
	/* The last miss has asked for a fill, which the caller's counts must not miss. */
	if (kind == TEST_MIRROR_WINDOW)
		EXPECT_EQ(0, mirror_fill(w->device));
	EXPECT_LE(words / 4, w->through);
	/* It was written back under the mirror, and that took its entries. */
	EXPECT_LE(NR_WRITEBACKS, w->rounds);
	EXPECT_LE(NR_LOST, stats.drops[TEST_MIRROR_PROTECTION_PAGE]);
	TH_LOG("%u writebacks took entries %llu times, %llu writes, %llu of them by the process",
	       w->rounds,
	       (unsigned long long)stats.drops[TEST_MIRROR_PROTECTION_PAGE],
	       (unsigned long long)value, (unsigned long long)missed);
}

TEST_F_TIMEOUT(file, reaches_the_disk, 120)
{
	struct test_mirror_stats stats;
	unsigned int wrong = 0;
	uint64_t *on_disk;
	int fd;

	write_all_over(_metadata, &self->w, variant->kind);
	stats = mirror_stats(self->w.device);
	EXPECT_EQ(stats.installed, stats.nr_dirtied);
	ASSERT_EQ(0, mirror_close(self->w.device));
	leave(&self->w);
	ASSERT_FALSE(self->w.mounted);
	EXPECT_EQ(0, log_complaints(self->log));

	self->w.mounted = file_mount(variant->type, variant->options);
	ASSERT_TRUE(self->w.mounted);
	fd = open(FILE_NAME, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	on_disk = malloc(self->w.size);
	ASSERT_EQ((ssize_t)self->w.size, read(fd, on_disk, self->w.size));
	for (size_t i = 0; i < self->w.size / sizeof(*on_disk); i++)
		wrong += on_disk[i] != self->w.written[i];
	EXPECT_EQ(0, wrong);
	free(on_disk);
	close(fd);
	leave(&self->w);
}

TEST_F_TIMEOUT(file, dirties_once, 120)
{
	const char *missing = probe_on();
	struct test_mirror_stats stats;
	unsigned long counted;

	if (missing) {
		probe_off();
		SKIP(return, "%s", missing);
	}
	write_all_over(_metadata, &self->w, variant->kind);
	stats = mirror_stats(self->w.device);
	/* What is dropped at the end must not be dirtied again. */
	ASSERT_EQ(0, mirror_close(self->w.device));
	leave(&self->w);
	counted = probe_count();
	probe_off();
	EXPECT_LE(NR_PAGES + NR_LOST, stats.installed);
	EXPECT_EQ(stats.installed, counted);
	EXPECT_EQ(0, log_complaints(self->log));
}

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	require_device(DEVICE, MODULE, "CONFIG_TEST_MMU_RANGE_MIRROR");
	return test_harness_run(argc, argv);
}
