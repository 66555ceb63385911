// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the sample drivers of samples/mmu_range_mirror: what they show of their
 * user's memory must be what is there, also while it is being taken away.
 *
 * Another process, which cannot fault anything in, gets to see only what is
 * mirrored at the moment. That is how an entry, or a page of a window, is told
 * from what the driver looks up anew. The modules are loaded and unloaded
 * around each test, unless they were there before.
 */
#include "../kselftest_harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "mmu_mirror_util.h"
#include <samples/mmu_range_mirror/mirror_sample.h>

#define NR_PAGES	MIRROR_SAMPLE_PAGES
#define NR_ROUNDS	300

FIXTURE(sample) {
	char device[32];
	bool loaded;
	int fd;
	size_t length;
	uint32_t *mem;
	/* What another process has got: a word, or an errno. */
	struct other {
		uint32_t word;
		int error;
	} *other;
};

FIXTURE_VARIANT(sample) {
	const char *module;
	/* What who cannot fault is told where nothing is mirrored. */
	int absent;
	/* All of it is mirrored from the beginning. */
	bool populated;
};

FIXTURE_VARIANT_ADD(sample, shadow) {
	.module = "mirror_shadow",
	.absent = EINVAL,
};

FIXTURE_VARIANT_ADD(sample, window) {
	.module = "mirror_window",
	.absent = EAGAIN,
	.populated = true,
};

static void *map(void *addr, size_t length)
{
	return mmap(addr, length, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | (addr ? MAP_FIXED : 0),
		    -1, 0);
}

/* Where the memory is that an open device shows. */
static int set_range(int fd, const void *start, size_t length)
{
	struct mirror_sample_range range = {
		.start = (uintptr_t)start,
		.length = length,
	};

	return ioctl(fd, MIRROR_SAMPLE_RANGE, &range) ? errno : 0;
}

/* One word of the device's; an errno. */
static int get(int fd, size_t offset, uint32_t *word)
{
	return pread(fd, word, sizeof(*word), offset) == sizeof(*word) ?
	       0 : errno;
}

static int put(int fd, size_t offset, uint32_t word)
{
	return pwrite(fd, &word, sizeof(word), offset) == sizeof(word) ?
	       0 : errno;
}

/* Have another process read a word. The range must not be in its memory. */
static struct other get_as_other(struct other *shared, int fd, size_t offset)
{
	pid_t pid;

	shared->error = ECHILD;
	pid = fork();
	if (!pid) {
		shared->error = get(fd, offset, &shared->word);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return *shared;
}

/* The driver's misses start a fill: until it is done, access. */
static bool is_mirrored(struct other *shared, int fd, size_t offset,
			uint32_t word)
{
	struct other other = get_as_other(shared, fd, offset);

	if (!other.error)
		return other.word == word;
	get(fd, offset, &word);
	return false;
}

FIXTURE_SETUP(sample)
{
	char command[64];

	if (geteuid())
		SKIP(return, "needs root");
	snprintf(self->device, sizeof(self->device), "/dev/%s",
		 variant->module);
	if (access(self->device, F_OK)) {
		snprintf(command, sizeof(command),
			 "modprobe %s >/dev/null 2>&1", variant->module);
		if (system(command) || access(self->device, F_OK))
			SKIP(return, "no module %s", variant->module);
		self->loaded = true;
	}
	self->fd = open(self->device, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->fd, 0);
	self->length = NR_PAGES * page_size;
	self->mem = map(NULL, self->length);
	ASSERT_NE(self->mem, MAP_FAILED);
	ASSERT_EQ(madvise(self->mem, self->length, MADV_DONTFORK), 0);
	self->other = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->other, MAP_FAILED);
}

FIXTURE_TEARDOWN(sample)
{
	close(self->fd);
	if (self->loaded)
		EXPECT_EQ(syscall(__NR_delete_module, variant->module,
				  O_NONBLOCK), 0)
			TH_LOG("%s is not unloaded: %m", variant->module);
}

TEST_F(sample, is_told_a_range_once)
{
	uint32_t word;

	EXPECT_EQ(get(self->fd, 0, &word), ENXIO);
	EXPECT_EQ(set_range(self->fd, self->mem, self->length + page_size),
		  E2BIG);
	EXPECT_EQ(set_range(self->fd, self->mem, 0), EINVAL);
	EXPECT_EQ(set_range(self->fd, (char *)self->mem + 1, page_size),
		  EINVAL);
	EXPECT_EQ(get(self->fd, 0, &word), ENXIO);
	ASSERT_EQ(set_range(self->fd, self->mem, self->length), 0);
	EXPECT_EQ(set_range(self->fd, self->mem, self->length), EBUSY);
	EXPECT_EQ(get(self->fd, 2, &word), EINVAL);
	EXPECT_EQ(get(self->fd, self->length, &word), EINVAL);
	EXPECT_EQ(ioctl(self->fd, _IO('m', 0x61)), -1);
}

TEST_F(sample, shows_the_memory)
{
	uint32_t word;
	size_t page, i;

	ASSERT_EQ(set_range(self->fd, self->mem, self->length), 0);
	for (page = 0; page < NR_PAGES; page++) {
		i = page * page_size / sizeof(word) + page;
		self->mem[i] = page + 1;
		ASSERT_EQ(get(self->fd, i * sizeof(word), &word), 0);
		EXPECT_EQ(word, page + 1);
		ASSERT_EQ(put(self->fd, i * sizeof(word), page + 100), 0);
		EXPECT_EQ(self->mem[i], page + 100);
		EXPECT_TRUE(eventually(is_mirrored(self->other, self->fd,
						   i * sizeof(word),
						   page + 100)));
	}
}

/* Memory that nobody has touched: there would be misses, or there are none. */
TEST_F(sample, is_populated_or_not)
{
	struct other other;
	size_t page;

	ASSERT_EQ(set_range(self->fd, self->mem, self->length), 0);
	for (page = 0; page < NR_PAGES; page += 5) {
		other = get_as_other(self->other, self->fd, page * page_size);
		EXPECT_EQ(other.error, variant->populated ? 0 : variant->absent);
		if (!other.error)
			EXPECT_EQ(other.word, 0);
	}
}

/* Each leaves nothing mirrored, and not what was there before. */
TEST_F(sample, drops_what_is_taken)
{
	struct other other;
	uint32_t word;
	int i;

	ASSERT_EQ(set_range(self->fd, self->mem, self->length), 0);
	for (i = 0; i < 4; i++) {
		self->mem[0] = 1000 + i;
		ASSERT_TRUE(eventually(is_mirrored(self->other, self->fd, 0,
						   1000 + i)));
		switch (i) {
		case 0:
			ASSERT_EQ(madvise(self->mem, page_size, MADV_DONTNEED),
				  0);
			break;
		case 1:
			ASSERT_EQ(map(self->mem, page_size), self->mem);
			ASSERT_EQ(madvise(self->mem, page_size, MADV_DONTFORK),
				  0);
			break;
		case 2:
			ASSERT_EQ(mprotect(self->mem, page_size, PROT_NONE), 0);
			break;
		case 3:
			ASSERT_EQ(munmap(self->mem, page_size), 0);
			break;
		}
		other = get_as_other(self->other, self->fd, 0);
		EXPECT_EQ(other.error, variant->absent)
			TH_LOG("after disturbance %d: %u", i, other.word);
		if (i == 2) {
			ASSERT_EQ(mprotect(self->mem, page_size,
					   PROT_READ | PROT_WRITE), 0);
		} else if (i == 3) {
			EXPECT_EQ(get(self->fd, 0, &word), EFAULT);
		} else {
			ASSERT_EQ(get(self->fd, 0, &word), 0);
			EXPECT_EQ(word, 0);
		}
	}
}

TEST_F(sample, is_never_behind)
{
	struct generations generations = {
		.mem = self->mem,
		.rounds = NR_ROUNDS,
	};
	unsigned int seen = 0, stale = 0;
	uint32_t oldest, word;
	pthread_t thread;
	int error;

	ASSERT_EQ(set_range(self->fd, self->mem, self->length), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, generations_run, &generations), 0);
	while (!atomic_load(&generations.over)) {
		oldest = atomic_load(&generations.generation);
		error = get(self->fd, 0, &word);
		/* Too many collisions in a row. */
		if (error == EAGAIN)
			continue;
		ASSERT_EQ(error, 0);
		if (word) {
			seen++;
			stale += word < oldest;
		}
		atomic_fetch_add(&generations.reads, 1);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(stale, 0);
	EXPECT_EQ(generations.generation, NR_ROUNDS);
	EXPECT_GE(seen, NR_ROUNDS);
}

/* The device outlives the process whose memory it shows. */
TEST_F(sample, survives_its_owner)
{
	uint32_t word;
	pid_t pid;
	int status;

	pid = fork();
	if (!pid) {
		uint32_t *mem = map(NULL, self->length);

		*mem = 5;
		_exit(set_range(self->fd, mem, self->length) ||
		      get(self->fd, 0, &word) || word != 5);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_EQ(status, 0);
	/* A fill that is under way keeps the memory until it has ended. */
	for (int i = 0; i < 1000 && !get(self->fd, 0, &word); i++)
		usleep(10000);
	EXPECT_EQ(get(self->fd, 0, &word), variant->absent);
}

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	return test_harness_run(argc, argv);
}
