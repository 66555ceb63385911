// SPDX-License-Identifier: GPL-2.0
/*
 * What an invalidation waits for: whoever is using an entry, in the device's
 * lock, outside of it, or in a section; on any CPU, and while the mirror is
 * closed.
 *
 * It can be built alone like mmu_range_mirror.c, with the same files. It needs
 * root, and loads test_mmu_range_mirror if it can.
 */
#include "../kselftest_harness.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "mmu_mirror_device.h"
#include "mmu_mirror_harness.h"
#include "mmu_mirror_region.h"
#include "mmu_mirror_trace.h"
#include "mmu_mirror_util.h"

/*
 * Entries in use. The holder is on a CPU of its own; the invalidation starts
 * when it is seen holding, and whether that was early enough is known
 * afterwards, from the clock.
 */

#define HOLD_TRIES	20

FIXTURE(hold)
{
	struct region r;
	int fd;
	char *addr;		/* the page that is held */
	void *alias;		/* the same page, mapped for good */
	struct job holder;
};

FIXTURE_VARIANT(hold)
{
	enum test_mirror_kind kind;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(hold, spin)
{
	.kind = TEST_MIRROR_SPIN,
};

FIXTURE_VARIANT_ADD(hold, mutex)
{
	.kind = TEST_MIRROR_MUTEX,
};

FIXTURE_VARIANT_ADD(hold, sleep)
{
	.kind = TEST_MIRROR_SLEEP,
};

FIXTURE_VARIANT_ADD(hold, section)
{
	.kind = TEST_MIRROR_WINDOW,
};

FIXTURE_VARIANT_ADD(hold, nested)
{
	.kind = TEST_MIRROR_WINDOW,
	.flags = TEST_MIRROR_NESTED,
};

FIXTURE_SETUP(hold)
{
	size_t page = NR_PAGES / 2;

	self->fd = -1;
	self->r.fd = -1;
	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	region_map(_metadata, &self->r, MEMFD);
	write_pages(&self->r, 0, NR_PAGES, 1);
	self->addr = self->r.addr + page * page_size;
	self->alias = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   self->r.fd, page * page_size);
	ASSERT_NE(MAP_FAILED, self->alias);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 variant->kind, TEST_MIRROR_WRITE));
	self->holder = (struct job) {
		.run = job_hold,
		.fd = self->fd,
		.cpu = 1,
		.hold = {
			.addr = (uintptr_t)self->addr,
			.time_us = TEST_MIRROR_HOLD_MAX_US,
			.flags = variant->flags,
		},
	};
}

FIXTURE_TEARDOWN(hold)
{
	trace_stop();
	close(self->fd);
	close(self->r.fd);
}

/* Map the page, mirror it, and have it held. */
static void hold_start(struct __test_metadata *_metadata, struct job *holder,
		       const struct region *r, enum test_mirror_kind kind,
		       uint64_t value)
{
	char *addr = (char *)(uintptr_t)holder->hold.addr;

	ASSERT_EQ(addr, mmap(addr, page_size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, r->fd, addr - r->addr));
	user_write(addr, 0);
	ASSERT_EQ(0, lookup(holder->fd, kind, addr, page_size));
	holder->hold.value = value;
	job_start(_metadata, holder);
	while (!mirror_holding(holder->fd) && !atomic_load(&holder->done))
		;
}

TEST_F(hold, munmap)
{
	bool waits = variant->kind != TEST_MIRROR_SPIN &&
		     variant->kind != TEST_MIRROR_MUTEX;
	bool traced = !trace_start("mmu_range_mirror");
	unsigned long spent = 0, least = 0, most = 0;
	unsigned int i, told = 0;

	pin_to_cpu(0);
	for (i = 1; i <= HOLD_TRIES && told < 3; i++) {
		uint64_t began, ended, value;

		hold_start(_metadata, &self->holder, &self->r, variant->kind,
			   i);
		began = now_ns();
		ASSERT_EQ(0, munmap(self->addr, page_size));
		ended = now_ns();
		value = user_read(self->alias);
		ASSERT_EQ(0, job_wait(_metadata, &self->holder));
		if (began >= self->holder.hold.ended_ns)
			continue;
		told++;
		EXPECT_LT(self->holder.hold.ended_ns, ended);
		EXPECT_EQ(i, value);
		most += ended - began;
		least += (self->holder.hold.ended_ns - began) / 2;
	}
	if (!told)
		SKIP(return, "the holder was never met");
	if (traced) {
		spent = trace_sum("mmu_mirror_wait", "ns");
		EXPECT_EQ(waits, !!trace_count("mmu_mirror_wait",
					       "event=unmap start=0x%lx end=0x%lx",
					       (unsigned long)self->addr,
					       (unsigned long)self->addr +
					       page_size));
	}
	if (traced && waits && told == i - 1) {
		EXPECT_LT(least, spent);
		EXPECT_GE(most, spent);
	}
	if (waits) {
		EXPECT_LE(told, mirror_stats(self->fd).nr_waits);
		EXPECT_LT(0, mirror_stats(self->fd).worst_wait_ns);
	}
}

/* A hold that is let go does not keep anybody any longer. */
TEST_F(hold, release)
{
	pin_to_cpu(0);
	hold_start(_metadata, &self->holder, &self->r, variant->kind, 1);
	EXPECT_EQ(0, mirror_release(self->fd));
	ASSERT_EQ(0, job_wait(_metadata, &self->holder));
	EXPECT_EQ(1, user_read(self->alias));
	EXPECT_EQ(0, mirror_holding(self->fd));
	EXPECT_EQ(0, munmap(self->addr, page_size));
}

/* CPUs: more of them than a word has bits, and some that come and go. */

#define CPU_DIR		"/sys/devices/system/cpu/"

static bool cpu_set_online(int cpu, bool on)
{
	char path[64];

	snprintf(path, sizeof(path), CPU_DIR "cpu%d/online", cpu);
	return write_text(path, on ? "1" : "0");
}

static bool cpu_is_online(int cpu)
{
	char path[64];

	snprintf(path, sizeof(path), CPU_DIR "cpu%d/online", cpu);
	return read_number(path) == 1;
}

static int last_possible_cpu(void)
{
	char buf[256], *last;

	if (!read_text(CPU_DIR "possible", buf, sizeof(buf)))
		return 0;
	last = strrchr(buf, '-');
	return atoi(last ? last + 1 : buf);
}

FIXTURE(cpu)
{
	struct region r;
	int fd;
	char *addr;		/* the page that is held */
	void *alias;		/* the same page, mapped for good */
	struct job holder;
	int cpu;		/* that the test has switched on or off, or -1 */
	bool was_online;
};

FIXTURE_SETUP(cpu)
{
	size_t page = NR_PAGES / 2;

	self->cpu = -1;
	region_map(_metadata, &self->r, MEMFD);
	write_pages(&self->r, 0, NR_PAGES, 1);
	self->addr = self->r.addr + page * page_size;
	self->alias = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   self->r.fd, page * page_size);
	ASSERT_NE(MAP_FAILED, self->alias);
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 TEST_MIRROR_WINDOW, TEST_MIRROR_WRITE));
	self->holder = (struct job) {
		.run = job_hold,
		.fd = self->fd,
		.hold = { .addr = (uintptr_t)self->addr },
	};
	pin_to_cpu(0);
}

FIXTURE_TEARDOWN(cpu)
{
	if (self->cpu >= 0)
		cpu_set_online(self->cpu, self->was_online);
	close(self->fd);
	close(self->r.fd);
}

/* A section that is over when this returns. */
static void cpu_reads(struct __test_metadata *_metadata, struct job *holder,
		      const struct region *r)
{
	holder->hold.time_us = 0;
	hold_start(_metadata, holder, r, TEST_MIRROR_WINDOW, 1);
	ASSERT_EQ(0, job_wait(_metadata, holder));
}

/* munmap() waits for the holder, on whichever CPU it is. */
static void cpu_is_waited_for(struct __test_metadata *_metadata,
			      struct job *holder, const struct region *r,
			      const void *alias)
{
	void *addr = (void *)(uintptr_t)holder->hold.addr;
	unsigned int i, told = 0;

	holder->hold.time_us = TEST_MIRROR_HOLD_MAX_US;
	for (i = 1; i <= HOLD_TRIES && told < 3; i++) {
		uint64_t began, ended, value;

		hold_start(_metadata, holder, r, TEST_MIRROR_WINDOW, i);
		began = now_ns();
		ASSERT_EQ(0, munmap(addr, page_size));
		ended = now_ns();
		value = user_read(alias);
		ASSERT_EQ(0, job_wait(_metadata, holder));
		if (began >= holder->hold.ended_ns)
			continue;
		told++;
		EXPECT_LT(holder->hold.ended_ns, ended);
		EXPECT_EQ(i, value);
	}
	EXPECT_LT(0, told);
}

/* What is kept for each CPU in masks has a second word for this one. */
TEST_F(cpu, beyond_a_word)
{
	uint64_t interrupts;
	int cpu = last_possible_cpu();

	if (cpu < (int)(8 * sizeof(long)))
		SKIP(return, "needs a CPU with a number beyond the bits of a word");
	self->was_online = cpu_is_online(cpu);
	self->cpu = cpu;
	ASSERT_TRUE(cpu_set_online(cpu, true));
	CPU_SET(cpu, &cpus);
	self->holder.cpu = CPU_COUNT(&cpus) - 1;

	/* Whoever has been inside is interrupted, once. */
	cpu_reads(_metadata, &self->holder, &self->r);
	interrupts = mirror_stats(self->fd).nr_interrupts;
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	EXPECT_EQ(interrupts + 1, mirror_stats(self->fd).nr_interrupts);
	user_write(self->addr, 2);
	ASSERT_EQ(0, lookup(self->fd, TEST_MIRROR_WINDOW, self->addr, page_size));
	ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
	EXPECT_EQ(interrupts + 1, mirror_stats(self->fd).nr_interrupts);
	cpu_is_waited_for(_metadata, &self->holder, &self->r, self->alias);
}

/*
 * A CPU that has read goes away, misses an invalidation, and comes back, where the
 * domain takes it for one that reads already: nothing hangs, and nobody is missed.
 */
TEST_F(cpu, comes_and_goes)
{
	uint64_t interrupts, value;
	int i;

	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	/* As the machines with checkers have, where this was never tried. */
	if (last_possible_cpu() < 2)
		SKIP(return, "of two CPUs that there can be, none is switched off");
	self->holder.cpu = 1;
	cpu_reads(_metadata, &self->holder, &self->r);
	for (self->cpu = 1; !CPU_ISSET(self->cpu, &cpus);)
		self->cpu++;
	self->was_online = true;
	if (!cpu_set_online(self->cpu, false))
		SKIP(return, "cannot switch CPU %d off", self->cpu);
	for (i = 0; i < 3; i++) {
		interrupts = mirror_stats(self->fd).nr_interrupts;
		ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
		EXPECT_EQ(interrupts, mirror_stats(self->fd).nr_interrupts);
		user_write(self->addr, i);
		ASSERT_EQ(0, lookup(self->fd, TEST_MIRROR_WINDOW, self->addr,
				    page_size));
		EXPECT_EQ(0, mirror_read(self->fd, self->addr, &value));
		EXPECT_EQ((uint64_t)i, value);
		ASSERT_TRUE(cpu_set_online(self->cpu, true));
		cpu_is_waited_for(_metadata, &self->holder, &self->r,
				  self->alias);
		cpu_reads(_metadata, &self->holder, &self->r);
		ASSERT_TRUE(cpu_set_online(self->cpu, false));
	}
}

/* Entries in use outside the lock. */

FIXTURE(use)
{
	struct region r;
	int fd;
	char *addr;
	struct job holder;
};

FIXTURE_VARIANT(use)
{
	enum test_mirror_kind kind;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(use, sleep)
{
	.kind = TEST_MIRROR_SLEEP,
};

FIXTURE_VARIANT_ADD(use, section)
{
	.kind = TEST_MIRROR_WINDOW,
};

FIXTURE_VARIANT_ADD(use, nested)
{
	.kind = TEST_MIRROR_WINDOW,
	.flags = TEST_MIRROR_NESTED,
};

FIXTURE_SETUP(use)
{
	self->fd = -1;
	self->r.fd = -1;
	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	region_map(_metadata, &self->r, MEMFD);
	self->addr = self->r.addr + NR_PAGES / 2 * page_size;
	self->fd = device_open();
	ASSERT_LE(0, self->fd);
	if (!device_injectable(self->fd))
		SKIP(return, "the module has no injection points");
	ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
				 variant->kind, TEST_MIRROR_WRITE));
	self->holder = (struct job) {
		.run = job_hold,
		.fd = self->fd,
		.cpu = 1,
		.hold = {
			.addr = (uintptr_t)self->addr,
			.time_us = TEST_MIRROR_HOLD_MAX_US,
			.flags = variant->flags,
		},
	};
}

FIXTURE_TEARDOWN(use)
{
	close(self->fd);
	close(self->r.fd);
}

/*
 * The first invalidation has dropped the entry and not yet waited. The second
 * finds nothing to drop, and has to wait all the same.
 */
TEST_F(use, second_waits)
{
	struct job first = {
		.run = job_discard,
		.cpu = -1,
		.addr = self->addr,
		.length = page_size,
	};
	unsigned int i, told = 0;

	pin_to_cpu(0);
	for (i = 1; i <= HOLD_TRIES && told < 3; i++) {
		uint64_t began, ended;

		hold_start(_metadata, &self->holder, &self->r, variant->kind,
			   i);
		/* Only now: mapping the page is an invalidation, too. */
		ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_DROPPED, 1));
		job_start(_metadata, &first);
		ASSERT_TRUE(eventually(mirror_stopped(self->fd,
						      TEST_MIRROR_DROPPED)));
		began = now_ns();
		ASSERT_EQ(0, madvise(self->addr, page_size, MADV_DONTNEED));
		ended = now_ns();
		ASSERT_EQ(0, job_wait(_metadata, &self->holder));
		mirror_release(self->fd);
		EXPECT_EQ(0, job_wait(_metadata, &first));
		if (began >= self->holder.hold.ended_ns)
			continue;
		told++;
		EXPECT_LT(self->holder.hold.ended_ns, ended);
		EXPECT_LT(self->holder.hold.ended_ns, first.ended_ns);
	}
	if (!told)
		SKIP(return, "the holder was never met");
}

/*
 * The mirror is being closed and its reader still inside: the page must not go
 * before the reader has. Only windows can be closed under a reader.
 */
TEST_F(use, close)
{
	struct job closer = {
		.run = job_close,
		.fd = self->fd,
		.cpu = -1,
	};
	unsigned int i, told = 0;

	pin_to_cpu(0);
	for (i = 1; i <= HOLD_TRIES && told < 3; i++) {
		uint64_t began, ended;

		hold_start(_metadata, &self->holder, &self->r, variant->kind,
			   i);
		ASSERT_EQ(0, mirror_stop_at(self->fd, TEST_MIRROR_SNAPSHOT, 1));
		job_start(_metadata, &closer);
		/* A table is not taken away from a holder. */
		ASSERT_TRUE(variant->kind != TEST_MIRROR_WINDOW ||
			    eventually(mirror_stopped(self->fd,
						      TEST_MIRROR_SNAPSHOT)));
		began = now_ns();
		ASSERT_EQ(0, munmap(self->addr, page_size));
		ended = now_ns();
		ASSERT_EQ(0, job_wait(_metadata, &self->holder));
		mirror_release(self->fd);
		EXPECT_EQ(0, job_wait(_metadata, &closer));
		ASSERT_EQ(0, mirror_open(self->fd, self->r.addr, self->r.size,
					 variant->kind, TEST_MIRROR_WRITE));
		if (began >= self->holder.hold.ended_ns)
			continue;
		told++;
		EXPECT_LT(self->holder.hold.ended_ns, ended);
		EXPECT_LT(self->holder.hold.ended_ns, closer.ended_ns);
	}
	if (!told)
		SKIP(return, "the holder was never met");
}

int main(int argc, char **argv)
{
	page_size = sysconf(_SC_PAGESIZE);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	require_device(DEVICE, MODULE, "CONFIG_TEST_MMU_RANGE_MIRROR");
	region_settings();
	return test_harness_run(argc, argv);
}
