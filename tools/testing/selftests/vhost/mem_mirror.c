// SPDX-License-Identifier: GPL-2.0
/*
 * vhost's small accesses to guest memory through a cache of kernel pointers: that
 * they go through it, and that whatever is done to the memory, packets are those that
 * they would be without.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "client.h"
#include "pages.h"

#define TIMEOUT 300
/* Rounds of each thing done to the memory. */
#define ROUNDS 12
/* Descriptors of a table that vhost reads in one section. */
#define AT_ONCE 4U
/* Tables are as long as this, at most. */
#define LONGEST (2 * AT_ONCE + 1)
/* Something vhost does within that many packets, or never. */
#define MANY 20000

#define INDIRECT_DESC _BITULL(VIRTIO_RING_F_INDIRECT_DESC)

FIXTURE(mem)
{
	struct client c;
	/* Memory for tables: whole chunks, of pages that are there. */
	char *chunk;
};

FIXTURE_VARIANT(mem)
{
	uint64_t features;
};

FIXTURE_VARIANT_ADD(mem, direct)
{
	.features = INDIRECT_DESC,
};

FIXTURE_VARIANT_ADD(mem, iotlb)
{
	.features = INDIRECT_DESC | 1ULL << VIRTIO_F_ACCESS_PLATFORM,
};

FIXTURE_SETUP(mem)
{
	struct client_config config = {
		.features = variant->features,
		.extra = 3 * CHUNK,
	};

	ASSERT_EQ(0, client_open(&self->c, &config));
	memset(self->c.extra, 0xff, config.extra);
	self->chunk = (char *)(((uintptr_t)self->c.extra + CHUNK - 1) &
			       ~(CHUNK - 1));
}

FIXTURE_TEARDOWN(mem)
{
	mem_mirror_set(true);
	ring_mirror_set(true);
	client_close(&self->c);
}

/* One packet that comes with a table of @n descriptors at @table. */
static int send_table(struct client *c, unsigned int n, void *table)
{
	client_put_table(c, n, table);
	if (queue_publish(&c->queue[TX]) || client_sent(c, 1))
		return -1;
	return client_settle(c);
}

/* What has become of vhost's accesses for such a packet. */
static int count_table(struct client *c, unsigned int n, void *table, int part,
		       struct stats *stats)
{
	struct stats before;

	if (client_settle(c) || stats_read(&before, getpid(), TX, part) ||
	    send_table(c, n, table) || stats_read(stats, getpid(), TX, part))
		return -1;
	stats->mirrored -= before.mirrored;
	stats->shared -= before.shared;
	stats->fallback -= before.fallback;
	return 0;
}

/* Send until a table there is read through the cache only. */
static int warm_up(struct client *c, unsigned int n, void *table, int part)
{
	struct stats stats;

	for (int i = 0; i < MANY; i++) {
		if (count_table(c, n, table, part, &stats))
			return -1;
		if (stats.mirrored && !stats.fallback)
			return 0;
	}
	note("%u descriptors at %p are not read through the cache", n, table);
	return -1;
}

TEST_F_TIMEOUT(mem, tables_are_read_through_the_cache, TIMEOUT)
{
	struct client *c = &self->c;
	struct stats stats;

	ASSERT_EQ(0, warm_up(c, 1, self->chunk, INDIRECT));
	for (unsigned int n = 1; n <= LONGEST; n++) {
		ASSERT_EQ(0, count_table(c, n, self->chunk, INDIRECT, &stats));
		EXPECT_EQ(n, stats.mirrored);
		EXPECT_EQ(n - (n + AT_ONCE - 1) / AT_ONCE, stats.shared);
		EXPECT_EQ(0, stats.fallback);
	}
	EXPECT_LT(0, cache_number(getpid(), " chunks="));
	EXPECT_LT(0, cache_number(getpid(), " mapped="));
	EXPECT_LT(0, cache_number(getpid(), " installed="));
}

/* A descriptor is in two pages, or in two chunks, or nowhere near its alignment. */
TEST_F_TIMEOUT(mem, tables_straddle, TIMEOUT)
{
	struct client *c = &self->c;
	struct stats stats;

	for (size_t size = PAGE; size <= CHUNK; size += CHUNK - PAGE) {
		char *end = self->chunk + size;

		ASSERT_EQ(0, warm_up(c, LONGEST, end - 64, INDIRECT));
		for (int back = 1; back <= 80; back++) {
			ASSERT_EQ(0, count_table(c, LONGEST, end - back,
						 INDIRECT, &stats));
			EXPECT_EQ(LONGEST, stats.mirrored);
			EXPECT_EQ(0, stats.fallback);
		}
	}
}

/* Each part of a table may be missing, and the rest is read through the cache. */
TEST_F_TIMEOUT(mem, table_with_a_hole, TIMEOUT)
{
	char *end = self->chunk + PAGE;
	struct client *c = &self->c;
	struct stats stats;

	/* To split a mapping takes a huge page's room from all who look there. */
	ASSERT_EQ(0, replace_pages(end, PAGE));
	for (unsigned int first = 1; first < LONGEST; first++) {
		char *table = end - first * sizeof(struct vring_desc);

		ASSERT_EQ(0, warm_up(c, LONGEST, table, INDIRECT));
		client_put_table(c, LONGEST, table);
		ASSERT_EQ(0, client_settle(c));
		ASSERT_EQ(0, stats_read(&stats, getpid(), TX, INDIRECT));
		ASSERT_EQ(0, replace_pages(end, PAGE));
		ASSERT_EQ(0, queue_publish(&c->queue[TX]));
		ASSERT_EQ(0, client_sent(c, 1));
		/* All of the first page, and it misses one of the second. */
		EXPECT_LE(stats.mirrored + first,
			  stats_number(getpid(), TX, INDIRECT, " mirrored="));
		EXPECT_LT(stats.fallback,
			  stats_number(getpid(), TX, INDIRECT, " fallback="));
	}
}

/* Write the next packet's table, which is another one, behind a new page. */
static int renew(struct client *c, char *page, int (*once)(void *, size_t))
{
	if (warm_up(c, LONGEST, page, INDIRECT) || client_settle(c) ||
	    once(page, PAGE))
		return -1;
	for (unsigned int n = 1; n <= LONGEST; n++)
		if (send_table(c, n, page))
			return -1;
	return 0;
}

static int zap(void *addr, size_t size)
{
	return madvise(addr, size, MADV_DONTNEED);
}

TEST_F_TIMEOUT(mem, pages_are_replaced, TIMEOUT)
{
	static int (* const ways[])(void *addr, size_t size) = {
		replace_pages, unmap_and_map, move_and_back, zap,
	};
	long drops = cache_number(getpid(), "unmap:") +
		     cache_number(getpid(), ",clear:");

	for (int i = 0; i < ROUNDS; i++)
		for (size_t way = 0; way < sizeof(ways) / sizeof(*ways); way++)
			ASSERT_EQ(0, renew(&self->c, self->chunk, ways[way]));
	/* Live pages were hit. */
	EXPECT_LE(drops + ROUNDS, cache_number(getpid(), "unmap:") +
				  cache_number(getpid(), ",clear:"));
}

/* vhost may read the tables, and does so through the cache. */
TEST_F_TIMEOUT(mem, read_only_tables, TIMEOUT)
{
	struct queue *queue = &self->c.queue[TX];
	struct client *c = &self->c;
	struct stats before, after;
	int tries = MANY / BATCH;

	do {
		uint16_t first = queue->avail_idx;

		for (int i = 0; i < BATCH; i++)
			client_put_table(c, 2, self->chunk + i * 64);
		ASSERT_EQ(0, mprotect(self->chunk, PAGE, PROT_READ));
		ASSERT_EQ(0, stats_read(&before, getpid(), TX, INDIRECT));
		for (int i = 0; i < BATCH; i++) {
			queue->avail_idx = first + i + 1;
			ASSERT_EQ(0, queue_publish(queue));
			ASSERT_EQ(0, client_sent(c, 1));
			ASSERT_EQ(0, client_settle(c));
		}
		ASSERT_EQ(0, stats_read(&after, getpid(), TX, INDIRECT));
		ASSERT_EQ(0, mprotect(self->chunk, PAGE,
				      PROT_READ | PROT_WRITE));
	} while (after.mirrored == before.mirrored && --tries);
	EXPECT_LT(0, tries);
}

/* Who cannot read the table does not send the packet, and does so later. */
static void test_unreadable(struct __test_metadata *_metadata, struct client *c,
			    char *page)
{
	struct pollfd pfd = { .fd = c->peer, .events = POLLIN };
	struct stats before, after;

	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, warm_up(c, LONGEST, page, INDIRECT));
		ASSERT_EQ(0, stats_read(&before, getpid(), TX, INDIRECT));
		client_put_table(c, 2, page);
		ASSERT_EQ(0, mprotect(page, PAGE, PROT_NONE));
		ASSERT_EQ(0, queue_publish(&c->queue[TX]));
		do {
			ASSERT_EQ(0, client_settle(c));
			ASSERT_EQ(0, stats_read(&after, getpid(), TX,
						INDIRECT));
		} while (after.fallback == before.fallback);
		EXPECT_EQ(before.mirrored, after.mirrored);
		EXPECT_EQ(0, client_used(c, TX));
		EXPECT_EQ(0, poll(&pfd, 1, 0));
		ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ | PROT_WRITE));
		ASSERT_EQ(0, queue_publish(&c->queue[TX]));
		ASSERT_EQ(0, client_sent(c, 1));
	}
}

TEST_F_TIMEOUT(mem, unreadable_table, TIMEOUT)
{
	test_unreadable(_metadata, &self->c, self->chunk);
}

static void toggle_exec(struct disturber *d)
{
	if (mprotect(d->mem, d->size, PROT_READ | PROT_WRITE | PROT_EXEC) ||
	    mprotect(d->mem, d->size, PROT_READ | PROT_WRITE))
		d->failed++;
	sched_yield();
}

/* The table's memory comes and goes in the cache while vhost reads tables there. */
TEST_F_TIMEOUT(mem, tables_are_reprotected_under_traffic, TIMEOUT)
{
	struct disturber d = { .mem = self->chunk, .size = 2 * PAGE };
	char *table = self->chunk + PAGE - 40;
	struct client *c = &self->c;
	struct stats before, after;
	long drops;

	ASSERT_EQ(0, warm_up(c, LONGEST, table, INDIRECT));
	drops = cache_number(getpid(), "protection_vma:");
	ASSERT_EQ(0, stats_read(&before, getpid(), TX, INDIRECT));
	ASSERT_EQ(0, disturber_start(&d, c, toggle_exec));
	do {
		for (unsigned int n = 1; n <= LONGEST; n++)
			ASSERT_EQ(0, send_table(c, n, table));
		ASSERT_EQ(0, stats_read(&after, getpid(), TX, INDIRECT));
	} while (cache_number(getpid(), "protection_vma:") < drops + ROUNDS ||
		 after.mirrored == before.mirrored);
	disturber_stop(&d);
	EXPECT_EQ(0, d.failed);
	EXPECT_EQ(0, warm_up(c, LONGEST, table, INDIRECT));
}

TEST_F_TIMEOUT(mem, parameter_switches_it_off, TIMEOUT)
{
	struct client *c = &self->c;
	struct stats stats;

	for (int i = 0; i < 3; i++) {
		int (*set)(bool on) = i % 2 ? ring_mirror_set : mem_mirror_set;
		long off;

		ASSERT_EQ(0, warm_up(c, LONGEST, self->chunk, INDIRECT));
		off = stats_number(getpid(), TX, INDIRECT, "off:");
		ASSERT_EQ(0, set(false));
		ASSERT_EQ(0, count_table(c, LONGEST, self->chunk, INDIRECT,
					 &stats));
		EXPECT_EQ(0, stats.mirrored);
		EXPECT_EQ(LONGEST, stats.fallback);
		EXPECT_EQ(off + LONGEST,
			  stats_number(getpid(), TX, INDIRECT, "off:"));
		/* The rings have a parameter of their own. */
		if (set == mem_mirror_set)
			EXPECT_EQ(0, warm_up(c, 1, self->chunk, USED));
		ASSERT_EQ(0, set(true));
	}
	EXPECT_EQ(0, warm_up(c, LONGEST, self->chunk, INDIRECT));
}

static void toggle_param(struct disturber *d)
{
	if (mem_mirror_set(d->done % 2))
		d->failed++;
	sched_yield();
}

TEST_F_TIMEOUT(mem, toggling_loses_nothing, TIMEOUT)
{
	struct client *c = &self->c;
	struct disturber d = { };
	struct stats before, after;

	ASSERT_EQ(0, warm_up(c, LONGEST, self->chunk, INDIRECT));
	ASSERT_EQ(0, stats_read(&before, getpid(), TX, INDIRECT));
	ASSERT_EQ(0, disturber_start(&d, c, toggle_param));
	do {
		ASSERT_EQ(0, send_table(c, LONGEST, self->chunk));
		ASSERT_EQ(0, client_round(c, BATCH));
		ASSERT_EQ(0, stats_read(&after, getpid(), TX, INDIRECT));
	} while (d.done < 20 * ROUNDS || after.mirrored == before.mirrored ||
		 after.fallback == before.fallback);
	disturber_stop(&d);
	EXPECT_EQ(0, d.failed);
	ASSERT_EQ(0, mem_mirror_set(true));
	EXPECT_EQ(0, warm_up(c, LONGEST, self->chunk, INDIRECT));
}

/* They share a cache, and each has its own numbers. */
TEST_F_TIMEOUT(mem, two_devices, TIMEOUT)
{
	struct client_config config = {
		.features = variant->features,
		.extra = 2 * CHUNK,
	};
	struct stats before, after;
	static struct client other;
	struct client *c = &self->c;
	unsigned int n = LONGEST;
	long chunks;

	ASSERT_EQ(0, warm_up(c, n, self->chunk, INDIRECT));
	ASSERT_EQ(0, stats_read(&before, getpid(), TX, INDIRECT));
	ASSERT_EQ(0, client_open(&other, &config));
	memset(other.extra, 0xff, config.extra);
	ASSERT_EQ(0, warm_up(&other, n, other.extra, INDIRECT));
	ASSERT_EQ(0, stats_read(&after, getpid(), TX, INDIRECT));
	EXPECT_LT(before.mirrored, after.mirrored);
	chunks = cache_number(getpid(), " chunks=");
	EXPECT_LE(2, chunks);
	/* What one has had opened, the other still has. */
	client_close(&other);
	EXPECT_EQ(chunks, cache_number(getpid(), " chunks="));
	ASSERT_EQ(0, count_table(c, n, self->chunk, INDIRECT, &after));
	EXPECT_EQ(n, after.mirrored);
	EXPECT_EQ(0, after.fallback);
}

/* A cache that queues use, as many times as windows. */
TEST_F_TIMEOUT(mem, resets_and_closes, TIMEOUT)
{
	struct client *c = &self->c;
	struct stats live, before, closed;

	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, warm_up(c, LONGEST, self->chunk, INDIRECT));
		ASSERT_EQ(0, stats_read(&live, getpid(), TX, INDIRECT));
		ASSERT_EQ(0, stats_read(&before, CLOSED, ANY, INDIRECT));
		/* In the middle of it. */
		ASSERT_EQ(0, client_settle(c));
		ASSERT_EQ(0, ioctl(c->fd, VHOST_RESET_OWNER));
		ASSERT_EQ(0, stats_gone(getpid()));
		EXPECT_EQ(0, cache_number(getpid(), " chunks="));
		ASSERT_EQ(0, stats_read(&closed, CLOSED, ANY, INDIRECT));
		EXPECT_LE(before.mirrored + live.mirrored, closed.mirrored);
		ASSERT_EQ(0, client_start(c));
	}
	ASSERT_EQ(0, warm_up(c, LONGEST, self->chunk, INDIRECT));
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

/* Nothing maps it for the kernel, so nothing of it is in the cache. */
TEST_F_TIMEOUT(plain, secret_memory_stays_on_uaccess, TIMEOUT)
{
	struct client_config config = {
		.features = INDIRECT_DESC,
		.secret = true,
		.extra = PAGE,
	};
	struct client *c = &self->c;
	struct stats stats;

	if (client_open(c, &config))
		SKIP(return, "no memfd_secret()");
	for (unsigned int i = 0; i < 4 * c->num; i++)
		ASSERT_EQ(0, send_table(c, LONGEST, c->extra));
	/* Only a fill finds out why. */
	for (unsigned int i = 0; i < MANY; i++) {
		if (stats_number(getpid(), TX, INDIRECT, "unmapped:"))
			break;
		ASSERT_EQ(0, send_table(c, LONGEST, c->extra));
	}
	ASSERT_EQ(0, stats_read(&stats, getpid(), TX, INDIRECT));
	EXPECT_EQ(0, stats.mirrored);
	EXPECT_LE(4 * c->num * LONGEST, stats.fallback);
	EXPECT_LT(0, stats_number(getpid(), TX, INDIRECT, "unmapped:"));
}

/* What has become of the accesses of a kind in so many rounds. */
static int count_round(struct client *c, unsigned int n, int q, int part,
		       struct stats *stats)
{
	struct stats before;

	if (client_settle(c) || stats_read(&before, getpid(), q, part) ||
	    client_round(c, n) || client_settle(c) ||
	    stats_read(stats, getpid(), q, part))
		return -1;
	stats->mirrored -= before.mirrored;
	stats->fallback -= before.fallback;
	return 0;
}

static int warm_up_round(struct client *c, int q, int part)
{
	struct stats stats;

	for (int i = 0; i < MANY / BATCH; i++) {
		if (count_round(c, c->num, q, part, &stats))
			return -1;
		if (stats.mirrored && !stats.fallback)
			return 0;
	}
	note("queue %d: part %d is not reached through the cache", q, part);
	return -1;
}

/* What vhost itself writes to a buffer in which a packet is received. */
TEST_F_TIMEOUT(plain, received_header_is_written_through_the_cache, TIMEOUT)
{
	struct client_config config = {
		.features = 1ULL << VIRTIO_NET_F_MRG_RXBUF,
	};
	struct client *c = &self->c;
	struct stats stats;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, warm_up_round(c, RX, HEADER));
	for (int i = 0; i < ROUNDS; i++) {
		if (i % 3 == 1)
			ASSERT_EQ(0, replace_pages(c->queue[RX].bufs,
						   c->num * BUF_SIZE));
		memset(c->queue[RX].bufs, 0xff, c->num * BUF_SIZE);
		ASSERT_EQ(0, count_round(c, c->num, RX, HEADER, &stats));
		EXPECT_EQ(c->num, stats.mirrored + stats.fallback);
		if (i % 3 == 0)
			EXPECT_EQ(0, stats.fallback);
		if (i % 3 == 2)
			ASSERT_EQ(0, warm_up_round(c, RX, HEADER));
		for (unsigned int slot = 0; slot < c->num; slot++) {
			struct virtio_net_hdr_mrg_rxbuf *hdr =
				(void *)(c->queue[RX].bufs + slot * BUF_SIZE);

			ASSERT_EQ(1, hdr->num_buffers);
			ASSERT_EQ(0, hdr->hdr.flags);
		}
	}
}

/* With a packet's header or without, which depends on the kernel. */
TEST_F_TIMEOUT(plain, sent_packets_are_read_through_the_cache, TIMEOUT)
{
	struct client_config config = { };
	struct client *c = &self->c;
	struct stats stats;

	ASSERT_EQ(0, client_open(c, &config));
	ASSERT_EQ(0, warm_up_round(c, TX, PAYLOAD));
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, count_round(c, c->num, TX, PAYLOAD, &stats));
		EXPECT_LT(0, stats.mirrored);
		EXPECT_EQ(0, stats.fallback);
		/* The others are longer. */
		EXPECT_GT(c->num / 2, stats.mirrored);
		ASSERT_EQ(0, replace_pages(c->queue[TX].bufs,
					   c->num * BUF_SIZE));
		ASSERT_EQ(0, client_round(c, c->num));
		ASSERT_EQ(0, warm_up_round(c, TX, PAYLOAD));
	}
}

int main(int argc, char **argv)
{
	const char *reason = why_skip();

	if (reason)
		ksft_exit_skip("%s\n", reason);
	return test_harness_run(argc, argv);
}
