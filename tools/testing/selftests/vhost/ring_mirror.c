// SPDX-License-Identifier: GPL-2.0
/*
 * vhost's rings through windows: that they are used, that nothing done to the
 * memory underneath loses or corrupts a packet, and that neither side ever
 * waits for the other's faults.
 *
 * A stale kernel pointer shows: the worker looks for new buffers in a page that
 * is not the ring any more, and the packets do not come out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "../kselftest_harness.h"
#include "../mm/mmu_mirror_util.h"
#include "client.h"
#include "pages.h"

#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_process_mrelease
#define __NR_process_mrelease 448
#endif

/* An invalidation is not to wait for a fault; this is forever to it. */
#define PROMPT_MS 5000
/* Rounds of traffic for each thing done to the memory. */
#define ROUNDS 12
/* Long to invalidate, page by page. */
#define LONG_RANGE (64UL << 20)

#define TIMEOUT 300
/* A window that is used has its pages back by then. */
#define BACK_MS 30000

/* Descriptors that vhost reads in one section. */
#define CHAIN 4U

#define UNTOUCHED 0xa5

static bool is_untouched(const char *mem, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (mem[i] != (char)UNTOUCHED)
			return false;
	return true;
}

static uint64_t device_features(void)
{
	int fd = open("/dev/vhost-net", O_RDWR);
	uint64_t features = 0;

	ioctl(fd, VHOST_GET_FEATURES, &features);
	close(fd);
	return features;
}

FIXTURE(net)
{
	struct client c;
	struct client_config config;
};

FIXTURE_VARIANT(net)
{
	unsigned int num;
	uint64_t features;
	bool kthread;
};

FIXTURE_VARIANT_ADD(net, small)
{
	.num = 256,
};

FIXTURE_VARIANT_ADD(net, small_event_idx)
{
	.num = 256,
	.features = 1ULL << VIRTIO_RING_F_EVENT_IDX,
};

/* Its used ring has elements that straddle pages. */
FIXTURE_VARIANT_ADD(net, large)
{
	.num = MAX_NUM,
};

FIXTURE_VARIANT_ADD(net, large_event_idx)
{
	.num = MAX_NUM,
	.features = 1ULL << VIRTIO_RING_F_EVENT_IDX,
};

FIXTURE_VARIANT_ADD(net, kthread)
{
	.num = 256,
	.kthread = true,
};

FIXTURE_VARIANT_ADD(net, indirect)
{
	.num = 256,
	.features = 1ULL << VIRTIO_RING_F_INDIRECT_DESC,
};

FIXTURE_VARIANT_ADD(net, indirect_event_idx)
{
	.num = MAX_NUM,
	.features = 1ULL << VIRTIO_RING_F_INDIRECT_DESC |
		    1ULL << VIRTIO_RING_F_EVENT_IDX,
};

FIXTURE_VARIANT_ADD(net, in_order)
{
	.num = MAX_NUM,
	.features = 1ULL << VIRTIO_F_IN_ORDER,
};

FIXTURE_VARIANT_ADD(net, in_order_indirect_event_idx)
{
	.num = 256,
	.features = 1ULL << VIRTIO_F_IN_ORDER |
		    1ULL << VIRTIO_RING_F_INDIRECT_DESC |
		    1ULL << VIRTIO_RING_F_EVENT_IDX,
};

FIXTURE_VARIANT_ADD(net, iotlb)
{
	.num = MAX_NUM,
	.features = 1ULL << VIRTIO_F_ACCESS_PLATFORM,
};

FIXTURE_SETUP(net)
{
	self->config = (struct client_config) {
		.num = variant->num,
		.features = variant->features,
		.kthread = variant->kthread,
	};
	if (variant->features & ~device_features())
		SKIP(return, "the device has not all of the features 0x%llx",
		     (unsigned long long)variant->features);
	ASSERT_EQ(0, client_open(&self->c, &self->config));
}

FIXTURE_TEARDOWN(net)
{
	client_close(&self->c);
}

TEST_F_TIMEOUT(net, moves_data_through_windows, TIMEOUT)
{
	struct client *c = &self->c;
	unsigned int n = 2 * c->num;
	int pid = getpid();
	struct stats before[NR_QUEUES][NR_PARTS], first, after;
	bool ordered = variant->features & (1ULL << VIRTIO_F_IN_ORDER);
	int tries = 8;

	/* What the kernel does to our memory of its own accord is not ours. */
	do {
		ASSERT_EQ(0, client_warm_up(c));
		ASSERT_EQ(0, stats_read(&first, pid, ANY, ANY));
		for (int q = 0; q < NR_QUEUES; q++)
			for (int p = 0; p < NR_PARTS; p++)
				ASSERT_EQ(0, stats_read(&before[q][p], pid, q,
							p));
		ASSERT_EQ(0, client_round(c, n));
		ASSERT_EQ(0, stats_read(&after, pid, ANY, ANY));
	} while (after.fills != first.fills && --tries);
	note("%lu drops, %lu fills meanwhile", after.drops - first.drops,
	     after.fills - first.fills);
	for (int q = 0; q < NR_QUEUES; q++) {
		for (int p = 0; p < NR_PARTS; p++) {
			unsigned long mirrored, fallback;

			ASSERT_EQ(0, stats_read(&after, pid, q, p));
			ASSERT_EQ(1, after.lines);
			mirrored = after.mirrored - before[q][p].mirrored;
			fallback = after.fallback - before[q][p].fallback;
			/*
			 * One descriptor and one head for each packet; no head
			 * where the order tells.
			 */
			EXPECT_GE(mirrored, p == DESC || (p == AVAIL && !ordered) ?
					    n : 1);
			EXPECT_GE(mirrored / 100, fallback);
		}
	}
}

/* Also closes what has been opened, and what has not. */
TEST_F_TIMEOUT(net, resets_and_closes, TIMEOUT)
{
	int pid = getpid();
	struct stats before, live, closed;
	struct client *c = &self->c;
	int fd;

	ASSERT_EQ(0, stats_read(&before, CLOSED, ANY, ANY));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, client_settle(c));
	ASSERT_EQ(0, stats_read(&live, pid, ANY, ANY));
	ASSERT_EQ(NR_QUEUES * (NR_PARTS + 1), live.lines);

	ASSERT_EQ(0, ioctl(c->fd, VHOST_RESET_OWNER));
	/* Nothing is left, and nothing of what was counted is lost. */
	ASSERT_EQ(0, stats_gone(pid));
	ASSERT_EQ(0, stats_read(&closed, CLOSED, ANY, ANY));
	EXPECT_GE(closed.mirrored, before.mirrored + live.mirrored);
	EXPECT_GE(closed.fallback, before.fallback + live.fallback);
	EXPECT_GE(closed.fills, before.fills + live.fills);

	ASSERT_EQ(0, client_start(c));
	ASSERT_EQ(0, client_warm_up(c));

	fd = open("/dev/vhost-net", O_RDWR);
	ASSERT_LE(0, fd);
	close(fd);
	fd = open("/dev/vhost-net", O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, VHOST_SET_OWNER));
	close(fd);
}

FIXTURE(plain)
{
	struct client c;
};

FIXTURE_SETUP(plain)
{
}

FIXTURE_TEARDOWN(plain)
{
	client_close(&self->c);
}

/* The kernel asks nothing of the descriptors' alignment. The windows do. */
TEST_F_TIMEOUT(plain, unaligned_descriptors_stay_on_uaccess, TIMEOUT)
{
	struct client_config config = { .skew = 8 };
	struct client *c = &self->c;
	struct stats stats;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_round(c, 4 * c->num));
	ASSERT_EQ(0, client_round_until(c, AVAIL, " mirrored="));
	ASSERT_EQ(0, client_round_until(c, USED, " mirrored="));
	for (int q = 0; q < NR_QUEUES; q++) {
		ASSERT_EQ(0, stats_read(&stats, getpid(), q, DESC));
		EXPECT_EQ(0, stats.mirrored);
		EXPECT_LE(4 * c->num, stats.fallback);
	}
}

/* No window, whose invalidations would not be found by the address. */
TEST_F_TIMEOUT(plain, tagged_rings_stay_on_uaccess, TIMEOUT)
{
	struct client_config config = { .tag = tag_addresses() };
	struct client *c = &self->c;
	struct stats stats;

	if (!config.tag)
		SKIP(return, "the CPU takes no tagged addresses");
	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_round_until(c, ANY, "failed:"));
	ASSERT_EQ(0, stats_read(&stats, getpid(), ANY, ANY));
	EXPECT_EQ(0, stats.mirrored);
	EXPECT_EQ(0, stats.installed);
	EXPECT_LT(0, stats.fallback);
}

static bool is_high(const char *mem, size_t size, unsigned long first_high)
{
	for (size_t at = 0; at < size; at += PAGE)
		if (page_pfn(mem + at) < first_high)
			return false;
	return true;
}

/* The windows are there, and empty. */
TEST_F_TIMEOUT(plain, high_memory_stays_on_uaccess, TIMEOUT)
{
	struct client_config config = {};
	unsigned long first_high;
	struct client *c = &self->c;
	struct stats stats;

	page_size = PAGE;
	first_high = first_high_pfn();
	if (!first_high)
		SKIP(return, "no high memory");
	ASSERT_EQ(0, client_open(c, &config));
	memset(c->mem, 0, c->mem_size);
	if (!is_high(c->mem, c->mem_size, first_high))
		SKIP(return, "the rings are not all in high memory");
	for (int p = 0; p < NR_PARTS; p++) {
		ASSERT_EQ(0, client_round_until(c, p, "unmapped:"));
		ASSERT_EQ(0, stats_read(&stats, getpid(), ANY, p));
		EXPECT_EQ(0, stats.mirrored);
		EXPECT_EQ(0, stats.installed);
		EXPECT_LT(0, stats.fallback);
	}
}

/* The event indices are beyond the rings that SET_VRING_NUM knows of. */
TEST_F_TIMEOUT(plain, event_index_is_mirrored, TIMEOUT)
{
	struct client_config config = {
		.features = 1ULL << VIRTIO_RING_F_EVENT_IDX,
	};
	struct client *c = &self->c;
	struct queue *queue = &c->queue[TX];
	struct pollfd pfd;
	uint16_t *used_event, *avail_event;
	uint64_t value;

	ASSERT_EQ(0, client_open(c, &config));
	used_event = queue->part[AVAIL] + client_part_size(c, AVAIL);
	avail_event = queue->part[USED] + client_part_size(c, USED);
	ASSERT_EQ(0, client_warm_up(c));
	pfd = (struct pollfd) { .fd = queue->call, .events = POLLIN };

	for (int i = 0; i < ROUNDS; i++) {
		struct stats before, after;

		/* An interrupt for the buffer that is used next, and no other. */
		ASSERT_EQ(0, client_settle(c));
		if (read(queue->call, &value, sizeof(value)) < 0)
			ASSERT_EQ(EAGAIN, errno);
		__atomic_store_n(used_event, queue->used_idx, __ATOMIC_SEQ_CST);
		ASSERT_EQ(0, stats_read(&before, getpid(), TX, AVAIL));
		ASSERT_EQ(0, client_send(c, 1));
		ASSERT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
		ASSERT_EQ(0, client_sent(c, 1));
		ASSERT_EQ(0, client_settle(c));
		/* The device wants a kick for the next one. */
		EXPECT_EQ(queue->avail_idx,
			  __atomic_load_n(avail_event, __ATOMIC_ACQUIRE));
		ASSERT_EQ(0, stats_read(&after, getpid(), TX, AVAIL));
		EXPECT_LT(before.mirrored, after.mirrored);
		EXPECT_EQ(before.fallback, after.fallback);

		/* None for one that is far off. */
		ASSERT_EQ(8, read(queue->call, &value, sizeof(value)));
		__atomic_store_n(used_event, queue->used_idx - 1,
				 __ATOMIC_SEQ_CST);
		ASSERT_EQ(0, client_send(c, 1));
		ASSERT_EQ(0, client_sent(c, 1));
		ASSERT_EQ(0, client_settle(c));
		EXPECT_EQ(-1, read(queue->call, &value, sizeof(value)));
	}
}

/* What has become of the accesses to a part for a packet of @n descriptors. */
static void send_chain(struct __test_metadata *_metadata, struct client *c,
		       unsigned int n, int part, struct stats *stats)
{
	struct stats before;

	ASSERT_EQ(0, client_settle(c));
	ASSERT_EQ(0, stats_read(&before, getpid(), TX, part));
	ASSERT_EQ(0, client_send_chain(c, n));
	ASSERT_EQ(0, client_sent(c, 1));
	ASSERT_EQ(0, client_settle(c));
	ASSERT_EQ(0, stats_read(stats, getpid(), TX, part));
	stats->mirrored -= before.mirrored;
	stats->shared -= before.shared;
	stats->fallback -= before.fallback;
}

TEST_F_TIMEOUT(plain, chain_takes_one_section, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	struct stats stats;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	for (unsigned int n = 1; n <= 2 * CHAIN; n++) {
		send_chain(_metadata, c, n, DESC, &stats);
		EXPECT_EQ(n, stats.mirrored);
		EXPECT_EQ(n < CHAIN ? n : CHAIN, stats.shared);
		EXPECT_EQ(0, stats.fallback);
	}
	/* The available index with the head, the used one with its element. */
	send_chain(_metadata, c, 1, AVAIL, &stats);
	EXPECT_LE(1, stats.shared);
	send_chain(_metadata, c, 1, USED, &stats);
	EXPECT_LE(1, stats.shared);
}

/* A descriptor of the chain is in a page that has no pointer. */
TEST_F_TIMEOUT(plain, chain_with_a_hole, TIMEOUT)
{
	struct client_config config = { .num = MAX_NUM };
	struct client *c = &self->c;
	struct stats stats;

	ASSERT_EQ(0, client_open(c, &config));
	for (unsigned int hole = 0; hole < CHAIN; hole++) {
		struct vring_desc *desc = c->queue[TX].part[DESC];
		unsigned int slot;
		uintptr_t page;

		ASSERT_EQ(0, client_warm_up(c));
		ASSERT_EQ(0, client_settle(c));
		slot = c->queue[TX].avail_idx + hole * client_stride(c);
		page = (uintptr_t)&desc[slot % c->num] & ~(PAGE - 1);
		ASSERT_EQ(0, replace_pages((void *)page, PAGE));
		send_chain(_metadata, c, CHAIN, DESC, &stats);
		EXPECT_LE(1, stats.fallback);
		EXPECT_EQ(CHAIN, stats.mirrored + stats.fallback);
		EXPECT_EQ(hole, stats.shared);
	}
}

/* The smallest and the largest ring, from near their end to their beginning. */
TEST_F_TIMEOUT(plain, sizes_of_rings, TIMEOUT)
{
	static const unsigned int nums[] = { 64, 32768 };
	struct client *c = &self->c;
	struct stats before, after;

	for (int i = 0; i < 2; i++) {
		struct client_config config = {
			.num = nums[i],
			.base = nums[i] - BATCH,
		};
		long long end;

		ASSERT_EQ(0, client_open(c, &config));
		end = now_ms() + PATIENCE_MS;
		do {
			ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
			ASSERT_EQ(0, client_round(c, 2 * BATCH));
			ASSERT_EQ(0, client_settle(c));
			ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
		} while (after.fallback != before.fallback && now_ms() < end);
		EXPECT_EQ(before.fallback, after.fallback);
		EXPECT_LT(before.mirrored, after.mirrored);
		for (int q = 0; q < NR_QUEUES; q++)
			EXPECT_LE(nums[i] * sizeof(struct vring_desc),
				  stats_number(getpid(), q, DESC, " pages=") *
				  PAGE);
		client_close(c);
	}
}

#define NR_DEVICES (256 / NR_QUEUES)

/* 256 queues of one process, each with its windows. */
/* Most accesses to each ring part go through windows. */
static bool mostly_mirrored(void)
{
	struct stats stats;

	for (int p = 0; p < NR_PARTS; p++)
		if (stats_read(&stats, getpid(), ANY, p) ||
		    stats.fallback >= stats.mirrored)
			return false;
	return true;
}

TEST_F_TIMEOUT(plain, many_queues, TIMEOUT)
{
	static struct client many[NR_DEVICES];
	struct client_config config = { .num = 64 };
	struct stats stats;
	long long end;

	for (int i = 0; i < NR_DEVICES; i++)
		ASSERT_EQ(0, client_open(&many[i], &config));
	end = now_ms() + PATIENCE_MS;
	for (int round = 0; round < 4 || (!mostly_mirrored() && now_ms() < end);
	     round++)
		for (int i = 0; i < NR_DEVICES; i++)
			ASSERT_EQ(0, client_round(&many[i], BATCH));
	for (int p = 0; p < NR_PARTS; p++) {
		ASSERT_EQ(0, stats_read(&stats, getpid(), ANY, p));
		EXPECT_EQ(NR_DEVICES * NR_QUEUES, stats.lines);
	}
	EXPECT_TRUE(mostly_mirrored());
	/* One of them loses its rings; the others notice nothing. */
	ASSERT_EQ(0, replace_pages(many[0].queue[TX].part[AVAIL], PART_ROOM));
	for (int i = 0; i < NR_DEVICES; i++)
		ASSERT_EQ(0, client_round(&many[i], BATCH));
	for (int i = 0; i < NR_DEVICES; i++)
		client_close(&many[i]);
	/* A close waits no longer than a moment. */
	EXPECT_EQ(0, stats_gone(getpid()));
}

static void test_replacing(struct __test_metadata *_metadata, struct client *c,
			   int (*replace)(void *addr, size_t size))
{
	struct client_config config = { .num = MAX_NUM };
	struct stats before, after;
	long long end;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
	after = before;
	end = now_ms() + PATIENCE_MS;
	/* A page that has not come back yet cannot be hit again. */
	for (int i = 0; i < ROUNDS || (after.drops - before.drops < ROUNDS &&
				       now_ms() < end); i++) {
		for (int p = 0; p < NR_PARTS; p++) {
			int q = i % NR_QUEUES;

			/* Nobody writes while the page is being copied. */
			ASSERT_EQ(0, client_settle(c));
			ASSERT_EQ(0, replace(c->queue[q].part[p], PART_ROOM));
			ASSERT_EQ(0, client_round(c, BATCH));
		}
		ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	}
	/* Live pages were hit, not only addresses. */
	EXPECT_LE(ROUNDS, after.drops - before.drops);
	EXPECT_EQ(0, client_warm_up(c));
}

TEST_F_TIMEOUT(plain, pages_are_replaced, TIMEOUT)
{
	test_replacing(_metadata, &self->c, replace_pages);
}

TEST_F_TIMEOUT(plain, rings_are_unmapped_and_mapped, TIMEOUT)
{
	test_replacing(_metadata, &self->c, unmap_and_map);
}

TEST_F_TIMEOUT(plain, rings_are_moved_and_back, TIMEOUT)
{
	test_replacing(_metadata, &self->c, move_and_back);
}

static void toggle_exec(struct disturber *d)
{
	size_t size = NR_QUEUES * NR_PARTS * PART_ROOM;

	if (mprotect(d->c->mem, size, PROT_READ | PROT_WRITE | PROT_EXEC) ||
	    mprotect(d->c->mem, size, PROT_READ | PROT_WRITE))
		d->failed++;
}

TEST_F_TIMEOUT(plain, rings_are_reprotected_under_traffic, TIMEOUT)
{
	struct client_config config = { .num = MAX_NUM };
	struct client *c = &self->c;
	struct disturber d = { };
	struct stats before, after;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
	ASSERT_EQ(0, disturber_start(&d, c, toggle_exec));
	do {
		ASSERT_EQ(0, client_round(c, c->num));
		ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	} while (after.drops_protection - before.drops_protection < ROUNDS);
	disturber_stop(&d);
	EXPECT_EQ(0, d.failed);
	EXPECT_EQ(0, client_warm_up(c));
}

/*
 * A child that shares the pages until it has been told to go. Its own memory is
 * as it was at the fork, or it says 2.
 */
static pid_t fork_child(struct client *c, int *to_child)
{
	static char before[NR_QUEUES][PART_ROOM];
	int fds[2];
	char byte;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[1]);
		for (int q = 0; q < NR_QUEUES; q++)
			memcpy(before[q], c->queue[q].part[USED], PART_ROOM);
		if (write(fds[0], "", 1) != 1 || read(fds[0], &byte, 1))
			_exit(1);
		for (int q = 0; q < NR_QUEUES; q++)
			if (memcmp(before[q], c->queue[q].part[USED],
				   PART_ROOM))
				_exit(2);
		_exit(0);
	}
	close(fds[0]);
	if (pid > 0 && read(fds[1], &byte, 1) != 1)
		return -1;
	*to_child = fds[1];
	return pid;
}

/* Otherwise the worker would write what it wrote there a round ago. */
static void change_used_rings(struct client *c)
{
	for (int q = 0; q < NR_QUEUES; q++) {
		struct vring_used *used = c->queue[q].part[USED];

		for (unsigned int i = 0; i < c->num; i++)
			used->ring[i].len = ~used->ring[i].len;
	}
}

static bool used_rings_are_mapped(void)
{
	for (int q = 0; q < NR_QUEUES; q++)
		if (stats_number(getpid(), q, USED, " mapped=") < 1)
			return false;
	return true;
}

/*
 * The fork took all pages. Go on until a fill brought back what it could, and
 * the worker has written to few of them.
 */
static int map_used_rings(struct client *c)
{
	long long deadline = now_ms() + BACK_MS;

	while (now_ms() < deadline) {
		if (client_round(c, 1) || client_settle(c))
			return -1;
		if (used_rings_are_mapped())
			return 0;
	}
	return -1;
}

/*
 * After a fork the next write to a ring page gives the process a copy, and the
 * child keeps the page that the window knew.
 */
TEST_F_TIMEOUT(plain, rings_are_copied_after_fork, TIMEOUT)
{
	struct client_config config = { .num = MAX_NUM };
	struct client *c = &self->c;
	struct stats before, after;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
	for (int i = 0; i < ROUNDS; i++) {
		int to_child, status;
		pid_t pid;

		ASSERT_EQ(0, client_settle(c));
		change_used_rings(c);
		/* With packets under way. */
		ASSERT_EQ(0, client_send(c, BATCH));
		pid = fork_child(c, &to_child);
		ASSERT_LT(0, pid);
		ASSERT_EQ(0, client_sent(c, BATCH));
		ASSERT_EQ(0, map_used_rings(c));
		/* Onto another page of the used rings. */
		ASSERT_EQ(0, client_round(c, c->num / 2));
		close(to_child);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		ASSERT_EQ(0, client_round(c, BATCH));
	}
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	EXPECT_LE(ROUNDS, after.drops - before.drops);
	EXPECT_LT(0, after.drops_protection - before.drops_protection);
	EXPECT_EQ(0, client_warm_up(c));
}

FIXTURE(merged)
{
	struct client c;
	char *twin;
	char *copy;
	size_t size;
};

FIXTURE_SETUP(merged)
{
	struct client_config config = { .num = MAX_NUM };

	self->size = NR_QUEUES * NR_PARTS * PART_ROOM;
	self->copy = malloc(self->size);
	ASSERT_NE(NULL, self->copy);
	self->twin = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->twin);
	ASSERT_EQ(0, client_open(&self->c, &config));
	page_size = PAGE;
	if (madvise(self->twin, self->size, MADV_MERGEABLE) ||
	    madvise(self->c.mem, self->size, MADV_MERGEABLE))
		SKIP(return, "no KSM");
}

FIXTURE_TEARDOWN(merged)
{
	restore(0);
	client_close(&self->c);
	munmap(self->twin, self->size);
	free(self->copy);
}

static bool is_merged(struct client *c, const char *twin)
{
	for (int q = 0; q < NR_QUEUES; q++) {
		for (int p = 0; p < NR_PARTS; p++) {
			const char *part = c->queue[q].part[p];

			if (page_pfn(part) != page_pfn(twin + (part - c->mem)))
				return false;
		}
	}
	return true;
}

/*
 * KSM puts one page in the place of two that are equal: nobody may write to it,
 * and no reference is in its way. The worker gets a page of its own again when
 * it writes; the other who had it sees none of that.
 */
TEST_F_TIMEOUT(merged, rings_are_merged, TIMEOUT)
{
	struct client *c = &self->c;
	struct stats before, after;
	const char *missing;

	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
	missing = ksm_on();
	if (missing)
		SKIP(return, "%s", missing);
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, map_used_rings(c));
		change_used_rings(c);
		memcpy(self->twin, c->mem, self->size);
		memcpy(self->copy, c->mem, self->size);
		ASSERT_TRUE(eventually(is_merged(c, self->twin)));
		ASSERT_EQ(0, client_round(c, BATCH));
		/* Once more, with what a fill found of the merged pages. */
		ASSERT_EQ(0, map_used_rings(c));
		ASSERT_EQ(0, client_round(c, c->num / 2));
		EXPECT_EQ(0, memcmp(self->copy, self->twin, self->size));
	}
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	/* The used rings, at least, were there to be taken in each round. */
	EXPECT_LE(ROUNDS * NR_QUEUES, after.drops - before.drops);
	/* What is rewritten as it was would be merged again and again. */
	restore(0);
	EXPECT_EQ(0, client_warm_up(c));
}

static void zap_everything(struct disturber *d)
{
	/* Shared memory keeps its contents; the page tables do not. */
	if (madvise(d->mem, d->size, MADV_POPULATE_WRITE))
		d->failed++;
	d->inside = true;
	if (madvise(d->mem, d->size, MADV_DONTNEED))
		d->failed++;
	d->inside = false;
}

/* Put both queues' rings somewhere else. */
static int move_rings(struct client *c, char *to)
{
	if (client_settle(c))
		return -1;
	for (int q = 0; q < NR_QUEUES; q++) {
		for (int p = 0; p < NR_PARTS; p++) {
			char *part = to + (q * NR_PARTS + p) * PART_ROOM;

			memcpy(part, c->queue[q].part[p], PART_ROOM);
			c->queue[q].part[p] = part;
		}
		if (client_set_rings(c, q))
			return -1;
	}
	return 0;
}

static unsigned long all_drops(struct __test_metadata *_metadata)
{
	struct stats closed, live;

	ASSERT_EQ(0, stats_read(&closed, CLOSED, ANY, ANY));
	ASSERT_EQ(0, stats_read(&live, getpid(), ANY, ANY));
	return closed.drops + live.drops;
}

static void start_zapping(struct __test_metadata *_metadata,
			  struct disturber *d, struct client *c)
{
	memset(d, 0, sizeof(*d));
	d->mem = c->mem;
	d->size = c->mem_size;
	ASSERT_EQ(0, disturber_start(d, c, zap_everything));
}

/*
 * Rings change their addresses, and devices come and go, while invalidations of
 * both the old and the new place are open: what an invalidation's end finds is
 * not what its start found. If that unbalanced any count, windows would stay
 * empty ever after.
 */
TEST_F_TIMEOUT(plain, rings_are_retargeted_during_invalidations, TIMEOUT)
{
	size_t room = NR_QUEUES * NR_PARTS * PART_ROOM;
	struct client_config config = { .memfd = true, .extra = LONG_RANGE };
	unsigned long before = all_drops(_metadata);
	struct client *c = &self->c;
	unsigned int overlaps = 0;
	struct disturber d;

	ASSERT_EQ(0, client_open(c, &config));
	start_zapping(_metadata, &d, c);
	for (int i = 1; overlaps < ROUNDS ||
	     all_drops(_metadata) < before + ROUNDS; i++) {
		char *near = c->extra;
		char *far = c->extra + c->config.extra - room;

		ASSERT_EQ(0, client_round(c, BATCH));
		while (!d.inside)
			sched_yield();
		ASSERT_EQ(0, move_rings(c, i % 2 ? near : far));
		overlaps += d.inside;
		ASSERT_EQ(0, client_round(c, BATCH));
		if (i % 8)
			continue;

		while (!d.inside)
			sched_yield();
		/* The mapping stays until the disturber is done with it. */
		close(c->fd);
		c->fd = -1;
		overlaps += d.inside;
		disturber_stop(&d);
		EXPECT_EQ(0, d.failed);
		client_close(c);
		ASSERT_EQ(0, client_open(c, &config));
		start_zapping(_metadata, &d, c);
	}
	disturber_stop(&d);
	EXPECT_EQ(0, d.failed);
	EXPECT_EQ(0, client_warm_up(c));
}

/*
 * A device that is started looks at the used ring before it runs the queue, and
 * so before it has asked where the rings are now.
 */
TEST_F_TIMEOUT(plain, rings_start_anew_elsewhere, TIMEOUT)
{
	size_t room = NR_QUEUES * NR_PARTS * PART_ROOM;
	struct client_config config = { .extra = 2 * room };
	struct client *c = &self->c;

	ASSERT_EQ(0, client_open(c, &config));
	for (int i = 0; i < ROUNDS; i++) {
		char *old = c->extra + (i + 1) % 2 * room;
		char *new = c->extra + i % 2 * room;

		ASSERT_EQ(0, client_warm_up(c));
		ASSERT_EQ(0, client_backend(c, false));
		memset(new, 0, room);
		for (int q = 0; q < NR_QUEUES; q++) {
			struct queue *queue = &c->queue[q];

			for (int p = 0; p < NR_PARTS; p++)
				queue->part[p] = new +
						 (q * NR_PARTS + p) * PART_ROOM;
			queue->avail_idx = 0;
			queue->used_idx = 0;
			ASSERT_EQ(0, client_set_queue(c, q));
		}
		memset(old, UNTOUCHED, room);
		ASSERT_EQ(0, client_backend(c, true));
		ASSERT_EQ(0, client_round(c, BATCH));
		EXPECT_TRUE(is_untouched(old, room));
	}
	client_close(c);
	/* Nor has it any of those places yet. */
	EXPECT_EQ(0, windows_gone(getpid()));
	/* The teardown closes it once more. */
	ASSERT_EQ(0, client_open(c, &config));
}

/* With an IOTLB the place may change without the ring's address changing. */
TEST_F_TIMEOUT(plain, iotlb_moves_the_rings, TIMEOUT)
{
	struct client_config config = {
		.features = 1ULL << VIRTIO_F_ACCESS_PLATFORM,
	};
	size_t parts = NR_QUEUES * NR_PARTS * PART_ROOM;
	struct client *c = &self->c;
	struct stats before, after;
	struct vhost_msg msg;
	struct pollfd pfd;
	char *old, *new;

	ASSERT_EQ(0, client_open(c, &config));
	pfd = (struct pollfd) { .fd = c->fd, .events = POLLIN };
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, client_warm_up(c));
		ASSERT_EQ(0, client_settle(c));
		while (poll(&pfd, 1, 0) == 1)
			ASSERT_LT(0, read(c->fd, &msg, sizeof(msg)));

		/* No translation: nothing is accessed until there is one. */
		ASSERT_EQ(0, client_iotlb(c, VHOST_IOTLB_INVALIDATE, 0,
					  c->mem_size, NULL));
		ASSERT_EQ(0, stats_read(&before, getpid(), TX, ANY));
		ASSERT_EQ(0, client_send(c, 1));
		ASSERT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
		ASSERT_EQ((ssize_t)sizeof(msg),
			  read(c->fd, &msg, sizeof(msg)));
		EXPECT_EQ(VHOST_IOTLB_MISS, msg.iotlb.type);
		ASSERT_EQ(0, client_settle(c));
		ASSERT_EQ(0, stats_read(&after, getpid(), TX, ANY));
		EXPECT_EQ(before.mirrored, after.mirrored);
		EXPECT_EQ(before.fallback, after.fallback);

		/* The same addresses, somewhere else. */
		old = c->mem;
		new = mmap(NULL, c->mem_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, new);
		memcpy(new, old, c->mem_size);
		for (int q = 0; q < NR_QUEUES; q++) {
			for (int p = 0; p < NR_PARTS; p++)
				c->queue[q].part[p] += new - old;
			c->queue[q].bufs += new - old;
		}
		c->mem = new;
		/* In one piece; or the first used ring in two: no window. */
		if (i % 2) {
			ASSERT_EQ(0, client_iotlb(c, VHOST_IOTLB_UPDATE, 0,
						  c->mem_size, new));
		} else {
			size_t cut = 2 * PART_ROOM + PAGE / 4;

			ASSERT_EQ(0, client_iotlb(c, VHOST_IOTLB_UPDATE, 0, cut,
						  new));
			ASSERT_EQ(0, client_iotlb(c, VHOST_IOTLB_UPDATE, cut,
						  c->mem_size - cut,
						  new + cut));
		}
		memset(old, UNTOUCHED, parts);
		ASSERT_EQ(0, client_sent(c, 1));
		ASSERT_EQ(0, stats_read(&before, getpid(), RX, USED));
		ASSERT_EQ(0, client_round(c, BATCH));
		ASSERT_EQ(0, stats_read(&after, getpid(), RX, USED));
		if (i % 2 == 0) {
			EXPECT_EQ(before.mirrored, after.mirrored);
			EXPECT_LT(before.fallback, after.fallback);
			ASSERT_EQ(0, client_iotlb(c, VHOST_IOTLB_INVALIDATE, 0,
						  c->mem_size, NULL));
			ASSERT_EQ(0, client_iotlb(c, VHOST_IOTLB_UPDATE, 0,
						  c->mem_size, new));
		}
		EXPECT_TRUE(is_untouched(old, parts));
		munmap(old, c->mem_size);
	}
}

/* Each message resets all queues, but what has not changed stays open. */
TEST_F_TIMEOUT(plain, iotlb_messages_keep_the_windows, TIMEOUT)
{
	struct client_config config = {
		.features = 1ULL << VIRTIO_F_ACCESS_PLATFORM,
	};
	struct client *c = &self->c;
	struct stats before, after;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, client_iotlb(c, VHOST_IOTLB_UPDATE,
					  c->mem_size + i * PAGE, PAGE,
					  c->mem));
		ASSERT_EQ(0, client_round(c, BATCH));
		ASSERT_EQ(0, client_iotlb(c, VHOST_IOTLB_INVALIDATE,
					  c->mem_size + i * PAGE, PAGE, NULL));
		ASSERT_EQ(0, client_round(c, BATCH));
	}
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	EXPECT_LT(before.mirrored, after.mirrored);
	EXPECT_EQ(before.fallback, after.fallback);
	EXPECT_EQ(before.installed, after.installed);
}

#define FAILSLAB "/sys/kernel/debug/failslab/"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int ret = -1;

	if (fd < 0)
		return -1;
	if (write(fd, text, strlen(text)) == (ssize_t)strlen(text))
		ret = 0;
	close(fd);
	return ret;
}

/* Where a function of the kernel begins and ends. */
static int find_function(const char *name, char *start, char *end, size_t size)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	unsigned long long first = 0, next = 0, at;
	char line[512], symbol[256];

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%llx %*c %255s", &at, symbol) == 2 &&
		    !strcmp(symbol, name))
			first = at;
	rewind(file);
	while (fgets(line, sizeof(line), file)) {
		at = strtoull(line, NULL, 16);
		if (at > first && (!next || at < next))
			next = at;
	}
	fclose(file);
	snprintf(start, size, "0x%llx", first);
	snprintf(end, size, "0x%llx", next);
	return first && next ? 0 : -1;
}

/* All allocations of the work that opens the windows fail, or none. */
static int fail_openings(bool on)
{
	char start[32], end[32];

	if (!on)
		return write_file(FAILSLAB "probability", "0");
	if (find_function("mirror_work", start, end, sizeof(start)))
		return -1;
	return write_file(FAILSLAB "verbose", "0") ||
	       write_file(FAILSLAB "ignore-gfp-wait", "N") ||
	       write_file(FAILSLAB "require-start", start) ||
	       write_file(FAILSLAB "require-end", end) ||
	       write_file(FAILSLAB "times", "-1") ||
	       write_file(FAILSLAB "probability", "100") ? -1 : 0;
}

TEST_F_TIMEOUT(plain, memory_for_windows_comes_late, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	struct stats stats;

	if (access(FAILSLAB "require-start", W_OK))
		SKIP(return, "the kernel cannot fail allocations by caller");
	ASSERT_EQ(0, fail_openings(true));
	EXPECT_EQ(0, client_open(c, &config));
	EXPECT_EQ(0, client_round_until(c, ANY, "failed:"));
	EXPECT_EQ(0, stats_read(&stats, getpid(), ANY, ANY));
	EXPECT_EQ(0, stats.mirrored);
	EXPECT_LT(0, stats.fallback);
	ASSERT_EQ(0, fail_openings(false));
	/* It is tried again, a few seconds later at most. */
	EXPECT_EQ(0, client_warm_up(c));
}

static void toggle_param(struct disturber *d)
{
	if (ring_mirror_set(d->done % 2))
		d->failed++;
	sched_yield();
}

TEST_F_TIMEOUT(plain, toggling_loses_nothing, TIMEOUT)
{
	struct client_config config = { .num = MAX_NUM };
	struct client *c = &self->c;
	struct disturber d = { };
	struct stats before, after;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));

	/* Off: uaccess only, and the windows go away. */
	ASSERT_EQ(0, ring_mirror_set(false));
	ASSERT_EQ(0, client_settle(c));
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
	ASSERT_EQ(0, client_round(c, c->num));
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	EXPECT_EQ(before.mirrored, after.mirrored);
	EXPECT_LT(before.fallback, after.fallback);

	ASSERT_EQ(0, disturber_start(&d, c, toggle_param));
	before = after;
	do {
		ASSERT_EQ(0, client_round(c, c->num));
		ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	} while (d.done < 100 * ROUNDS || after.mirrored == before.mirrored ||
		 after.fallback == before.fallback);
	disturber_stop(&d);
	EXPECT_EQ(0, d.failed);
	ASSERT_EQ(0, ring_mirror_set(true));
	EXPECT_EQ(0, client_warm_up(c));
}

static void zap_unrelated(struct disturber *d)
{
	if (madvise(d->mem, d->size, MADV_POPULATE_WRITE) ||
	    madvise(d->mem, d->size, MADV_DONTNEED))
		d->failed++;
}

/*
 * While any invalidation of the mm is open, a window that was hit cannot be
 * filled. The worker must not wait for that: it uses uaccess.
 */
TEST_F_TIMEOUT(plain, storm_elsewhere_stops_nothing, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	struct disturber d[3] = { };
	struct stats before, after;
	long long worst = 0;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, client_warm_up(c));
	for (int i = 0; i < 3; i++) {
		d[i].size = 8UL << 20;
		d[i].mem = mmap(NULL, d[i].size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, d[i].mem);
		madvise(d[i].mem, d[i].size, MADV_NOHUGEPAGE);
		ASSERT_EQ(0, disturber_start(&d[i], c, zap_unrelated));
	}
	ASSERT_EQ(0, stats_read(&before, getpid(), ANY, ANY));
	for (int i = 0; i < ROUNDS; i++) {
		long long began;

		/* Empty the windows, so that they have to be filled again. */
		ASSERT_EQ(0, client_settle(c));
		ASSERT_EQ(0, replace_pages(c->mem, NR_QUEUES * NR_PARTS *
					   PART_ROOM));
		began = now_ms();
		ASSERT_EQ(0, client_round(c, 4 * BATCH));
		if (now_ms() - began > worst)
			worst = now_ms() - began;
	}
	ASSERT_EQ(0, stats_read(&after, getpid(), ANY, ANY));
	for (int i = 0; i < 3; i++) {
		disturber_stop(&d[i]);
		EXPECT_EQ(0, d[i].failed);
		EXPECT_LT(0, d[i].done);
	}
	note("worst %lld ms, %lu mirrored, %lu fallen back", worst,
	     after.mirrored - before.mirrored,
	     after.fallback - before.fallback);
	EXPECT_LT(before.fallback, after.fallback);
	EXPECT_LE(ROUNDS, after.drops - before.drops);
	EXPECT_GT(PROMPT_MS, worst);
	EXPECT_EQ(0, client_warm_up(c));
}

static int release_packet(struct trap *trap, uint32_t seq)
{
	char page[PAGE] = { };

	client_make_packet(page, seq);
	return trap_release(trap, page);
}

/* One call in a thread, with a look at whether it comes back. */
struct call {
	pthread_t thread;
	void *addr;
	size_t size;
	int ret;
};

static void *call_munmap(void *arg)
{
	struct call *call = arg;

	call->ret = munmap(call->addr, call->size);
	return NULL;
}

static int call_join(struct call *call, int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	return pthread_timedjoin_np(call->thread, NULL, &until);
}

/*
 * The worker holds vq->mutex and is in a fault that only this thread ends.
 * Unmapping a page of its rings must not wait for it.
 */
TEST_F_TIMEOUT(plain, stuck_worker_does_not_delay_munmap, TIMEOUT)
{
	struct client_config config = { .num = MAX_NUM, .extra = 8 * PAGE };
	struct client *c = &self->c;
	struct stats before, after;
	char copy[PART_ROOM];

	ASSERT_EQ(0, client_open(c, &config));
	for (int p = 0; p < NR_PARTS; p++) {
		struct trap trap;
		struct call call = {
			.addr = c->queue[TX].part[p],
			.size = PART_ROOM,
		};
		long long began;
		int late;

		ASSERT_EQ(0, client_warm_up(c));
		ASSERT_EQ(0, client_settle(c));
		ASSERT_EQ(0, trap_set(&trap, c->extra + p * PAGE));
		ASSERT_EQ(0, client_send_from(c, trap.page));
		ASSERT_EQ(0, trap_sprung(&trap));

		memcpy(copy, call.addr, call.size);
		ASSERT_EQ(0, stats_read(&before, getpid(), TX, p));
		began = now_ms();
		ASSERT_EQ(0, pthread_create(&call.thread, NULL, call_munmap,
					    &call));
		late = call_join(&call, PROMPT_MS);
		note("part %d: munmap %s %lld ms", p,
		     late ? "not back after" : "took", now_ms() - began);
		if (late) {
			/* Let everybody go, or nothing can be cleaned up. */
			release_packet(&trap, c->next_seq[TX]);
			call_join(&call, PATIENCE_MS);
		}
		ASSERT_EQ(0, late);
		EXPECT_EQ(0, call.ret);
		ASSERT_EQ(0, stats_read(&after, getpid(), TX, p));
		/* Splitting the VMA may have dropped it before the unmapping. */
		EXPECT_LT(before.drops, after.drops);

		ASSERT_EQ(call.addr, mmap(call.addr, call.size,
					  PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS |
					  MAP_FIXED, -1, 0));
		memcpy(call.addr, copy, call.size);
		/* It was stuck all the time, and now it goes on. */
		EXPECT_EQ(0, client_used(c, TX));
		ASSERT_EQ(0, release_packet(&trap, c->next_seq[TX]));
		ASSERT_EQ(0, client_sent(c, 1));
		close(trap.uffd);
	}
	EXPECT_EQ(0, client_warm_up(c));
}

/* The device is ours as well, so that it outlives its owner. */
static void owner(struct client *c, const struct client_config *config, int out)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (client_open(c, config) || client_warm_up(c) || client_settle(c))
		_exit(1);
	if (write(out, "!", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/*
 * The owner is killed and does not get to the end of it: a tracer holds it
 * where it still has its memory. What the OOM reaper would do then, which must
 * not block, has to find and drop the windows.
 */
TEST_F_TIMEOUT(plain, killed_owner_is_reaped, TIMEOUT)
{
	struct client_config config = { };
	struct stats before, after;
	int fds[2], pidfd, status;
	char byte;
	pid_t pid;

	config.fd = open("/dev/vhost-net", O_RDWR);
	ASSERT_LE(0, config.fd);
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		owner(&self->c, &config, fds[1]);
	close(fds[1]);
	ASSERT_EQ(1, read(fds[0], &byte, 1));
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACEEXIT));
	ASSERT_EQ(0, stats_read(&before, pid, ANY, ANY));
	ASSERT_EQ(NR_QUEUES * (NR_PARTS + 1), before.lines);

	pidfd = syscall(__NR_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(SIGTRAP | PTRACE_EVENT_EXIT << 8, status >> 8);

	EXPECT_EQ(0, syscall(__NR_process_mrelease, pidfd, 0));
	ASSERT_EQ(0, stats_read(&after, pid, ANY, ANY));
	ASSERT_EQ(NR_QUEUES * (NR_PARTS + 1), after.lines);
	/* By what name the reaper invalidates depends on the kernel. */
	EXPECT_LE(before.drops + NR_QUEUES * NR_PARTS, after.drops);

	ptrace(PTRACE_CONT, pid, NULL, NULL);
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	EXPECT_TRUE(WIFSIGNALED(status));
	close(config.fd);
	EXPECT_EQ(0, stats_gone(pid));
}

static int module_users(const char *module)
{
	char path[128], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", module);
	fd = open(path, O_RDONLY);
	/* Built in. */
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return atoi(text);
}

TEST_F_TIMEOUT(plain, closed_in_mid_traffic, TIMEOUT)
{
	struct client_config config = { .num = MAX_NUM };
	int users = module_users("vhost_net");
	struct client *c = &self->c;

	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, client_open(c, &config));
		/* From windows not even open to windows in use. */
		if (i % 2)
			ASSERT_EQ(0, client_round(c, BATCH * i));
		ASSERT_EQ(0, client_send(c, BATCH));
		client_close(c);
		EXPECT_EQ(0, stats_gone(getpid()));
		EXPECT_EQ(users, module_users("vhost_net"));
	}
	EXPECT_EQ(0, windows_gone(getpid()));
	/* The teardown closes it once more. */
	ASSERT_EQ(0, client_open(c, &config));
}

int main(int argc, char **argv)
{
	const char *reason = why_skip();

	if (reason)
		ksft_exit_skip("%s\n", reason);
	return test_harness_run(argc, argv);
}
